"""Engines as children: started, found ready, kept alive, gone with us."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from admin import engines
from admin.engines import ClamdEngine, Engine, Engines, SlapdEngine
from filters.chain import build as build_chain
from govmail.config import Config
from govmail.config import Engines as Ports
from govmail.errors import EngineUnavailable
from govmail.interfaces import Action
from tests.kit.engines import MESSAGE_OCTETS, data_directory, free_port
from tests.kit.malware import EICAR, mail, request, with_attachment


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_directory() as path:
        yield path


@asynccontextmanager
async def supervised(*children: Engine) -> AsyncIterator[Engines]:
    supervisor = Engines(list(children))
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    try:
        await asyncio.wait_for(gone.wait(), 20)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def test_a_killed_engine_comes_back_and_all_end_together(data_dir: Path) -> None:
    clamd = ClamdEngine(data_dir, free_port(), message_octets=MESSAGE_OCTETS)
    slapd = SlapdEngine(data_dir, free_port(), base="dc=jx,dc=example")
    async with supervised(clamd, slapd) as supervisor:
        assert await supervisor.wait_ready(60)
        assert [(one.name, one.state) for one in supervisor.states] == [("clamd", "ready"), ("slapd", "ready")]
        first = supervisor.states[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until_gone(first)
        while supervisor.states[0].restarts == 0:  # noqa: ASYNC110 - the supervisor tells nobody
            await asyncio.sleep(0.05)
        assert await supervisor.wait_ready(60)
        second = supervisor.states[0].pid
        assert second not in (None, first)
    assert [one.state for one in supervisor.states] == ["stopped", "stopped"]
    assert not is_running(second or 0)


async def test_a_warning_says_that_the_signatures_are_only_for_tests(data_dir: Path) -> None:
    clamd = ClamdEngine(data_dir, free_port(), message_octets=MESSAGE_OCTETS, signatures=data_dir)
    clamd.start()
    try:
        await clamd.wait_ready()
        assert "freshclam" in clamd.state.warning
        assert clamd.state.version.startswith("ClamAV")
    finally:
        clamd.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_engine_runs_without_privileges(clamd_engine: ClamdEngine) -> None:
    pid = clamd_engine.state.pid
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split()[1] != "0"
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    assert (clamd_engine.home / "clamd.conf").stat().st_mode & 0o077 == 0


async def test_an_engine_that_cannot_start_is_reported(data_dir: Path) -> None:
    first = ClamdEngine(data_dir, free_port(), message_octets=MESSAGE_OCTETS)
    first._make_directory(first.home)
    (first.home / "clamd.conf").mkdir()  # where its configuration should be
    with pytest.raises(OSError, match=r"clamd\.conf"):
        first.start()
    first.stop()
    with running_port() as taken:
        second = SlapdEngine(data_dir, taken, base="dc=jx,dc=example")
        second.start()
        with pytest.raises(EngineUnavailable, match="ended while it started"):
            await second.wait_ready()
        second.stop()


@contextmanager
def running_port() -> Iterator[int]:
    """A port where somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


async def test_an_engine_that_is_not_installed_is_left_out(data_dir: Path) -> None:
    class Absent(ClamdEngine):
        name = "absent"
        binary = "no-such-engine"

    absent = Absent(data_dir, free_port(), message_octets=MESSAGE_OCTETS)
    slapd = SlapdEngine(data_dir, free_port(), base="dc=jx,dc=example")
    assert not absent.available
    async with supervised(absent, slapd) as supervisor:
        assert await supervisor.wait_ready(60)
        assert [one.state for one in supervisor.states] == ["absent", "ready"]


_PARENT = """
import asyncio, sys
from pathlib import Path
from admin.engines import ClamdEngine
engine = ClamdEngine(Path(sys.argv[1]), int(sys.argv[2]), message_octets=1_000_000)
engine.start()
asyncio.run(engine.wait_ready())
print(engine.state.pid, flush=True)
sys.stdin.read()
"""


async def test_engines_end_when_we_are_killed(data_dir: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(data_dir), str(free_port())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(engines.__file__).parents[2])},
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    descriptor = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    await asyncio.wait_for(gone.wait(), 20)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)
    parent.stdin.close()
    parent.stdout.close()


async def test_the_configuration_and_the_engines_fit_together(data_dir: Path) -> None:
    port = free_port()
    clamd = ClamdEngine(data_dir, port, message_octets=MESSAGE_OCTETS)
    config = Config(engines=Ports(clamd_port=port), filter=(clamd.filter_table(),))
    supervisor = engines.build(config, data_dir, nameservers=())
    async with supervised(*supervisor.engines) as running:
        assert await running.wait_ready(60)
        chain = build_chain(config, data_dir)
        assert (await chain.decide(request(with_attachment(EICAR)))).action is Action.QUARANTINE
        assert (await chain.decide(request(mail("通知\r\n".encode())))).action is Action.ACCEPT
        await chain.close()
