"""Real rspamd and clamd on free loopback ports, one of each for a test session, and a proxy to get in their way."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from admin.engines import ClamdEngine, Engine, RspamdEngine

MESSAGE_OCTETS = 8 * 1024 * 1024
AnyEngine = TypeVar("AnyEngine", bound=Engine)


def free_port(count: int = 1) -> int:
    """A port on 127.0.0.1 that nobody listens on, and so the `count - 1` after it."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        try:
            for following in range(port + 1, port + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", following))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")


@contextmanager
def data_directory() -> Iterator[Path]:
    """A data directory that an unprivileged engine can walk to (pytest's own are closed to it)."""
    path = Path(tempfile.mkdtemp(prefix="govmail-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(engine: AnyEngine) -> Iterator[AnyEngine]:
    """The engine, answering; stopped at the end even where a test has put it to sleep."""
    engine.start()
    try:
        asyncio.run(engine.wait_ready())
        yield engine
    finally:
        wake(engine)
        engine.stop()


@contextmanager
def running_rspamd(data_dir: Path, *, nameservers: tuple[str, ...] = ()) -> Iterator[RspamdEngine]:
    with running(new_rspamd(data_dir, nameservers=nameservers)) as engine:
        yield engine


def new_rspamd(data_dir: Path, *, nameservers: tuple[str, ...] = ()) -> RspamdEngine:
    # The compiled patterns are kept between sessions: they take rspamd a quarter of a minute.
    cache = Path(tempfile.gettempdir()) / f"govmail-test-rspamd-{os.getuid()}"
    return RspamdEngine(data_dir, free_port(2), message_octets=MESSAGE_OCTETS, nameservers=nameservers, cache_dir=cache)


@contextmanager
def running_clamd(data_dir: Path) -> Iterator[ClamdEngine]:
    with running(ClamdEngine(data_dir, free_port(), message_octets=MESSAGE_OCTETS)) as engine:
        yield engine


def family(pid: int) -> list[int]:
    """A process and its children, from /proc."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


def freeze(engine: Engine) -> None:
    """Engine and workers stop where they are: connections are still accepted by the kernel, nothing is answered."""
    assert engine.process is not None
    for pid in family(engine.process.pid):
        os.kill(pid, signal.SIGSTOP)


def wake(engine: Engine) -> None:
    if engine.process is not None and engine.alive:
        for pid in family(engine.process.pid):
            os.kill(pid, signal.SIGCONT)


class Proxy:
    """Between a client and an engine: counts connections, can hold answers back or cut the line in mid-stream."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.cut_after: int | None = None  # octets towards the engine
        self.answers = asyncio.Event()  # clear: answers wait
        self.answers.set()
        self.arrived = asyncio.Event()  # set by the first octet of each connection

    async def _serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            engine_reader, engine_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return

        async def forward() -> None:
            sent = 0
            while piece := await reader.read(4096):
                self.arrived.set()
                sent += len(piece)
                if self.cut_after is not None and sent > self.cut_after:
                    writer.transport.abort()
                    engine_writer.transport.abort()
                    return
                engine_writer.write(piece)
                await engine_writer.drain()

        async def back() -> None:
            while piece := await engine_reader.read(4096):
                await self.answers.wait()
                writer.write(piece)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(forward(), back())
        except OSError:
            pass
        finally:
            writer.close()
            engine_writer.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(lambda reader, writer: proxy._serve(port, reader, writer), "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.answers.set()
        server.close()
