"""`govmail up` and `govmail serve`: a process from its start to its end.

Invariants: privileges are gone before the first octet from outside is read; one process owns a data directory; ports open
when every part answers, then `DIR/run/ready` appears, and it goes before they close; engines end with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TextIO

import msgspec
import structlog
import uvloop
from rich.cells import set_cell_size
from rich.console import Console
from rich.text import Text

from admin import engines as engine_parts
from admin import sample as sample_tree
from admin import setup
from admin.actions.context import Context
from admin.bar import Bar
from admin.engines import Engines
from admin.texts import choose
from govmail import datadir, telemetry
from govmail.app import build, listening
from govmail.config import BadConfig, Config, load
from govmail.control import context_of
from govmail.supervisor import CannotStart, become, claim, raise_open_files

log = structlog.get_logger()

def up(
    data_dir: Path, *, port_offset: int = setup.PORT_OFFSET, sample: sample_tree.Tree = "small", search_path: str = engine_parts.SEARCH_PATH,
) -> int:
    """One machine, everything. Returns the exit code once a signal has ended it. Raises MailError when it cannot start.

    `search_path`: the directories where the engines' programs are looked for, as in PATH.
    """
    check = f"{_program()} --data {_short(data_dir.absolute())} doctor"  # as typed where the operator stands
    data_dir = data_dir.resolve()  # a link may stand where our own user cannot walk
    path = datadir.config_file(data_dir)
    user = load(path).user if path.exists() else Config().user
    raise_open_files()
    claim(data_dir, user)
    become(user, for_directory=data_dir)
    lock = datadir.take_lock(data_dir)
    try:
        for made in setup.prepare(data_dir, port_offset=port_offset, ldap=shutil.which("slapd", path=search_path) is not None):
            say(choose(f"已生成 {data_dir / made}", f"made {data_dir / made}"))
        config = load(path)
        require_free_ports(config, path)
        with _log_file(data_dir).open("a", encoding="utf-8") as stream:
            telemetry.configure(config.log_level, stream)
            return _run(_up(config, data_dir, sample, search_path, check))
    finally:
        lock.release()


def serve(config_path: Path) -> int:
    """The mail server alone; its engines run elsewhere. Logs go to standard error."""
    config_path = config_path.resolve()
    config, data_dir = load(config_path), config_path.parent
    raise_open_files()
    become(config.user, for_directory=data_dir)
    lock = datadir.take_lock(data_dir)
    try:
        require_free_ports(config, config_path)
        telemetry.configure(config.log_level)
        return _run(_serve(config, data_dir, lambda: None))
    finally:
        lock.release()


def require_free_ports(config: Config, path: Path) -> None:
    """Before anything starts: nobody else listens where we or our engines will. Raises BadConfig."""
    wanted = [(f"listener {one.name}", one.host, one.port) for one in config.listener]
    engines = config.engines
    wanted += [(f"engines.{name}_port", "127.0.0.1", port) for name, port in (
        ("slapd", engines.slapd_port), ("rspamd", engines.rspamd_port), ("rspamd", engines.rspamd_port and engines.rspamd_port + 1),
        ("clamd", engines.clamd_port),
    )]  # fmt: skip
    with contextlib.ExitStack() as stack:  # all at once, so that two of ours on one port are found as well
        for key, host, port in wanted:
            probe = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                if port:
                    probe.listen(1)
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise BadConfig(choose(f"{path}：{key}：{host} 端口 {port}：{reason}", f"{path}: {key}: {host} port {port}: {reason}")) from error


def say(text: str, stream: TextIO | None = None) -> None:
    """A line for the person at the terminal."""
    print(text, file=stream or sys.stderr, flush=True)


def _run(main: Coroutine[None, None, None]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
    return 0


async def _up(config: Config, data_dir: Path, sample: sample_tree.Tree, search_path: str, check: str) -> None:
    nameservers = await engine_parts.find_nameservers()
    engines = engine_parts.build(config, data_dir, nameservers=nameservers, search_path=search_path)
    stopping = asyncio.create_task(_signalled())
    keeping = asyncio.create_task(engines.run())
    try:
        config = await _with_engines(config, engines, stopping)
        if not stopping.done():
            await _serve(config, data_dir, lambda: _welcome(config, engines, check), engines=engines, sample=sample, stopping=stopping)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        stopping.cancel()
        say(choose("已停止。", "stopped."))


async def _with_engines(config: Config, engines: Engines, stopping: asyncio.Task[str]) -> Config:
    """The configuration without the filters whose engine is not installed, once the others answer."""
    absent = {engine.name for engine in engines.engines if not engine.available}
    for engine in engines.engines:
        if engine.available:
            say(choose(f"正在启动 {engine.name} …", f"starting {engine.name} …"))
        else:
            say(choose(
                f"!! 没有安装 {engine.package}：不经过 {engine.name} 运行，邮件标为“未扫描”。",
                f"!! {engine.package} is not installed: running without {engine.name}; mail is marked unscanned.",
            ))  # fmt: skip
    if config.directory.kind == "ldap" and "slapd" in absent:
        raise CannotStart("the directory lies in LDAP, but slapd is not installed any more")
    waiting = asyncio.create_task(engines.wait_ready())
    await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
    elif not waiting.result():
        late = ", ".join(one.name for one in engines.states if one.state not in ("ready", "absent"))
        raise CannotStart(f"no answer from {late}; see its log beside govmail.log")
    kept = tuple(one for one in config.filter if one.kind not in absent)
    return msgspec.structs.replace(config, filter=kept)


async def _serve(
    config: Config, data_dir: Path, welcome: Callable[[], None], *,
    engines: Engines | None = None, sample: sample_tree.Tree = "none", stopping: asyncio.Task[str] | None = None,
) -> None:
    stopping = stopping or asyncio.create_task(_signalled())
    parts = await build(config, data_dir)
    if engines is not None:
        parts.engines = lambda: engines.states
    ready = datadir.run_dir(data_dir) / "ready"
    try:
        await parts.directory.prepare()
        if sample != "none":
            await _sample(context_of(parts), sample)
        async with listening(parts):
            ready.write_text(f"{os.getpid()}\n", "ascii")
            log.info("server.ready", pid=os.getpid())
            welcome()
            reason = await stopping
            log.info("server.stopping", signal=reason)
            ready.unlink(missing_ok=True)
    finally:
        ready.unlink(missing_ok=True)
        await parts.close()


async def _signalled() -> str:
    """The name of the first SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[str] = loop.create_future()

    def note(name: str) -> None:
        if not came.done():
            came.set_result(name)

    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, note, one.name)
    return await came


async def _sample(ctx: Context, kind: sample_tree.Kind) -> None:
    """The sample tree, once: nothing where the directory is in use already."""
    bar = Bar(choose("建立示例", "building the sample"))
    try:
        logins = await sample_tree.build(ctx, kind, bar.show)
    finally:
        bar.close()
    if logins is None:
        return
    say(choose(f"示例账号（也在 {logins.path}，仅此一次显示密码）：", f"sample logins (also in {logins.path}; passwords are shown this once):"))
    for address, password in logins.shown:
        say(f"  {address}  {password}")


def _welcome(config: Config, engines: Engines, check: str) -> None:
    """What to type into a mail client, in both languages: who reads it may not be who started the server."""
    ports = {one.name: one for one in config.listener}
    lines = ["", "govmail 已就绪 · ready", ""]
    rows = (
        ("收信 · IMAP", "imaps", "SSL/TLS"), ("", "imap", "STARTTLS"), ("发信 · SMTP", "submissions", "SSL/TLS"),
        ("", "submission", "STARTTLS"), ("外部来信 · inbound", "smtp", "STARTTLS"),
    )  # fmt: skip
    for label, name, security in rows:
        if name in ports:
            where = f"{ports[name].host}:{ports[name].port}"
            lines.append(f"  {set_cell_size(label, 20)}{where:<17}{security}")
    lines += [
        "",
        "  用户名是完整邮箱地址；证书为自签名，首次连接时请确认信任。",
        "  The user name is the whole address; the certificate is self-signed:",
        "  the client asks once whether to trust it.",
    ]
    for one in engines.states:
        if one.warning:
            lines += ["", f"  !! {one.name}", *(f"     {line}" for line in _folded(one.warning, 72))]
    lines += [
        "",
        f"  检查 · check   {check}",
        "  停止 · stop    Ctrl-C",
        "",
    ]
    say("\n".join(lines))


def _folded(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells; a Chinese character takes two."""
    return [line.plain.rstrip() for line in Text(text).wrap(Console(), width)]


def _program() -> str:
    """What to type for this command: the virtual environment's is not in PATH."""
    return "govmail" if shutil.which("govmail") else _short(Path(sys.argv[0]).absolute())


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _log_file(data_dir: Path) -> Path:
    directory = data_dir / "log"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / "govmail.log"
