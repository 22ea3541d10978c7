"""The command line as operators meet it: output, exit codes, languages, input from files."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from structlog.testing import capture_logs

from admin import setup
from admin.cli.main import cli, run
from admin.texts import speaking
from govmail import datadir
from govmail.control import ControlServer
from tests.unit.admin.conftest import make_world

ORGAN = "江西省/赣州市/发改委"
ZHANG = "zhangsan@fgw.gz.jx.example"


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Terminal:
    """Runs commands against a server in another thread, as in another process."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def __call__(self, *arguments: str, stdin: str | bytes = b"", language: Any = "en") -> Result:
        with ExitStack() as stack:
            stack.enter_context(speaking(language))
            out, err, _ = stack.enter_context(CliRunner().isolation(input=stdin))
            code = run(["--data", str(self.data_dir), *arguments])
            return Result(code, out.getvalue().decode(), err.getvalue().decode())


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    data_dir = tmp_path_factory.mktemp("var")
    datadir.config_file(data_dir).write_text('hostname = "mail.jx.example"\n')
    lock = datadir.take_lock(data_dir)
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with make_world(data_dir) as world:
            await world.province()
            server = ControlServer(world.ctx)
            await server.start()
            end = asyncio.Event()
            stop.append((asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()
            await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    with capture_logs():  # the server would log to the standard output of the commands, which is this process's
        thread.start()
        assert ready.wait(30)
        yield Terminal(data_dir)
        loop, end = stop[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()
    lock.release()


def test_a_person_is_added_and_the_password_printed_once(terminal: Terminal) -> None:
    result = terminal("person", "add", "孙一", "--unit", ORGAN)
    assert result.code == 0
    address, status, password = result.out.rstrip("\n").split("\t")
    assert (address, status) == ("sunyi@fgw.gz.jx.example", "added")
    assert len(password) >= 16
    assert "once" in result.err
    again = terminal("person", "add", "孙一", "--unit", ORGAN, "--address", address)
    assert again.out == f"{address}\texists\t\n"


def test_a_password_comes_from_standard_input_only(terminal: Terminal) -> None:
    result = terminal("person", "add", "孙二", "--unit", ORGAN, "--password-stdin", stdin="Vier-Worte-Reichen-8\n")
    assert result.out.split("\t") == ["suner@fgw.gz.jx.example", "added", "\n"]
    assert terminal("person", "passwd", "suner@fgw.gz.jx.example", "--password-stdin", stdin="123456\n").code == 2
    assert terminal("person", "passwd", "suner@fgw.gz.jx.example", "--password-stdin", stdin="").code == 2
    for _, command in walk():
        assert not [one for one in command.params if isinstance(one, click.Option) and one.name == "password"]


def test_a_table_of_people_answers_row_by_row(terminal: Terminal, tmp_path: Path) -> None:
    table = f"name\tunit\taddress\tpassword\n周一\t{ORGAN}\tz1@jx.example\tpass\n周二\t{ORGAN}\tz2@nowhere.example\tpass\n"
    file = tmp_path / "people.tsv"
    file.write_text(table)
    first = terminal("person", "add", "--from-file", str(file))
    assert first.code == 2
    assert first.out == "z1@jx.example\tadded\t\nz2@nowhere.example\terror\t\n"
    assert "row 3, address" in first.err
    again = terminal("person", "add", "--from-file", "-", stdin=table)
    assert again.out.startswith("z1@jx.example\texists\t\n")


def test_a_group_takes_members_from_a_pipe(terminal: Terminal) -> None:
    result = terminal("group", "add", "leitung@jx.example", "--members-file", "-", stdin=f"{ZHANG}\n")
    assert result.out == "leitung@jx.example\tadded\t1\t江西省\n"
    assert terminal("group", "show", "leitung@jx.example").out == f"{ZHANG}\tperson\t张三\n"
    assert terminal("group", "add", "leer@jx.example").code == 2


def test_json_has_one_object_per_result_or_row(terminal: Terminal) -> None:
    assert terminal("mailbox", "count", "--json").json == {"messages": 0}
    rows = terminal("unit", "list", "--json").rows
    assert [one["path"] for one in rows][:3] == ["江西省", "江西省/赣州市", ORGAN]
    assert set(rows[0]) == {"path", "name", "label", "level", "kind", "line", "code", "rank", "domain", "is_region", "unit_id"}
    assert terminal("person", "show", ZHANG, "--json").json["name"] == "张三"
    assert terminal("audit", "verify", "--json").json["whole"] is True


def test_pipes_get_one_line_per_row_without_headings(terminal: Terminal) -> None:
    lines = terminal("unit", "list").out.splitlines()
    assert lines[0].split("\t")[:2] == ["江西省", "jiangxi"]
    assert terminal("unit", "tree").out.splitlines()[0].split("\t")[:2] == ["0", "江西省"]


def test_records_that_name_localhost_come_with_a_warning(terminal: Terminal) -> None:
    result = terminal("domain", "dns", "jx.example", "--json")
    assert result.code == 0
    assert "warning: the host name 'localhost'" in result.err
    assert "warning" not in result.out


def test_a_quota_is_set_and_shown(terminal: Terminal) -> None:
    assert terminal("person", "quota", ZHANG, "2G", "--json").json["quota_octets"] == 2 << 30
    assert "used of 2.0 GB" in terminal("mailbox", "show", ZHANG).err
    assert terminal("mailbox", "list").out.splitlines()[0].split("\t")[-1] == str(2 << 30)
    assert "不限容量" in [terminal("person", "quota", ZHANG, "none"), terminal("mailbox", "show", ZHANG, language="zh")][1].err


def test_a_dry_run_says_so_and_changes_nothing(terminal: Terminal) -> None:
    before = terminal("audit", "list", "--json").out
    result = terminal("unit", "add", "江西省/上饶市/水利局", "--dry-run")
    assert result.code == 0
    assert "dry run" in result.err
    assert "上饶" not in terminal("unit", "list").out
    assert terminal("audit", "list", "--json").out == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("person", "show", "niemand@jx.example"), 2),
        (("person", "add", "李四", "--unit", "无此单位"), 2),
        (("person", "add", "李四", "--unit", ORGAN, "--address", "x@nowhere.example"), 2),
        (("person", "add", "李四", "--unit", ORGAN, "--address", ZHANG), 3),
        (("person", "add"), 2),
        (("person", "add", "李四"), 2),
        (("person", "add", "--from-file", "/no/such/file"), 2),
        (("person", "add", "李四", "--unit", ORGAN, "--quota", "viel"), 2),
        (("person", "quota", ZHANG, "2 Gigabyte"), 2),
        (("person", "disable"), 2),
        (("unit", "add"), 2),
        (("unit", "list", "--level", "9"), 2),
        (("unit", "list", "--colour"), 2),
        (("explode",), 2),
        (("queue", "show", "77"), 2),
        (("queue", "retry", "77"), 2),
        (("quarantine", "show", "77"), 2),
        (("quarantine", "release", "77"), 2),
        (("version",), 0),
    ],
)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_exit_codes(terminal: Terminal, arguments: tuple[str, ...], code: int, language: str) -> None:
    result = terminal(*arguments, language=language)
    assert result.code == code, result
    assert "Traceback" not in result.err
    if code:
        assert ("错误：" if language == "zh" else "error: ") in result.err or "missing" in result.out


def test_without_a_data_directory_the_error_says_what_to_do(tmp_path: Path) -> None:
    result = Terminal(tmp_path / "none")("mailbox", "count")
    assert result.code == 1
    assert "govmail up" in result.err


def test_a_server_that_owns_the_data_but_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    datadir.config_file(tmp_path).write_text("")
    lock = datadir.take_lock(tmp_path)
    try:
        result = Terminal(tmp_path)("mailbox", "count", language="zh")
    finally:
        lock.release()
    assert result.code == 4
    assert "无应答" in result.err


def test_help_without_a_command_and_for_every_command(terminal: Terminal) -> None:
    for path, _ in walk():
        result = terminal(*path, "--help")
        assert result.code == 0
        assert result.out.startswith("Usage: govmail")


def walk(command: click.Command = cli, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            found += walk(one, (*path, name))
    return found


WRITING = [path for path, command in walk() if any(one.name == "dry_run" for one in command.params)]


def test_every_command_that_changes_something_has_a_dry_run_and_all_have_json() -> None:
    names = {" ".join(path) for path in WRITING}
    assert names == {
        "unit add", "person add", "person passwd", "person quota", "person disable", "person enable", "person unlock", "domain add", "group add", "queue retry",
        "queue delete", "quarantine release", "quarantine delete", "mailbox capability", "mailbox share",
    }  # fmt: skip
    for path, command in walk():
        if not isinstance(command, click.Group) and path not in {("up",), ("serve",)}:
            assert any(one.name == "as_json" for one in command.params), path


def test_tables_on_a_terminal_of_80_columns(terminal: Terminal) -> None:
    """A pseudo-terminal, so that the command itself decides for tables."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "TERM": "xterm", "PYTHONUTF8": "1"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "admin.cli", "--data", str(terminal.data_dir), "person", "list"]
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environment) as child:
        assert child.wait(60) == 0
    os.close(slave)
    printed = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        printed += piece
    os.close(master)
    plain = click.unstyle(printed.decode())
    assert "姓名" in plain
    assert "张三" in plain
    assert max(cell_len(line) for line in plain.splitlines()) <= 80


def test_a_reader_that_has_gone_ends_the_command_silently(terminal: Terminal, tmp_path: Path) -> None:
    setup.prepare(tmp_path, engines=False)
    Terminal(tmp_path)("unit", "add", "江西省")
    for data_dir in (terminal.data_dir, tmp_path):  # with a server, and without one
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "admin.cli", "--data", str(data_dir), "unit", "list"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_the_command_silently(terminal: Terminal) -> None:
    command = [sys.executable, "-m", "admin.cli", "--data", str(terminal.data_dir), "person", "add", "--from-file", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(b"x" * 200_000)  # more than a pipe holds: somebody reads
        child.send_signal(signal.SIGINT)
        child.stdin.close()  # a signal between two reads is seen only when the next one returns
        assert child.wait(60) == 130
        assert child.stderr.read() == b"\n"  # behind the ^C that a terminal shows


def test_the_lock_and_socket_of_the_server_are_its_own(terminal: Terminal) -> None:
    assert stat.S_IMODE(datadir.control_socket(terminal.data_dir).stat().st_mode) == 0o600
