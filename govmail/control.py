"""The control socket: operators' acts reach the running server, answers stream back.

Invariants
- The socket is for its owner only (0600, in a 0700 directory); besides, the kernel tells who is at the other end
  (SO_PEERCRED) and `admin.actions.context.require` decides by that uid alone, never by anything a client says.
- One connection carries one request. Nothing a client does makes the server wait or hold memory without a limit.
- A client that vanishes ends a stream between two changes; an act that has begun a change finishes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from admin.actions.context import Actor, Cache, Context, exit_code
from admin.actions.perform import Vanished, perform
from admin.engines import EngineState
from admin.texts import say, speaking
from directory.model import DirectoryService
from directory.passwords import PasswordPool
from filters.quarantine import Quarantine
from govmail import datadir
from govmail.config import Config
from govmail.errors import BadInput, MailError, SyntaxProblem
from govmail.interfaces import Clock, Kick
from govmail.store.database import Database
from govmail.wire.control import REQUEST_OCTETS, Failure, Frame, Request, decode_request, encode

log = structlog.get_logger(__name__)

OPERATORS = 32  # connections at the same time
REQUEST_SECONDS = 10.0  # for the request line
INPUT_SECONDS = 60.0  # for each piece of input
READER_SECONDS = 120.0  # for the client to take some of the answer
CLOSING_SECONDS = 5.0  # for running acts when the server stops
LINE_OCTETS = 64 * 1024  # one line of input
OUTPUT_OCTETS = 256 * 1024  # unsent answer; beyond it the act waits

_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class ControlServer:
    """Listens on `run/control.sock` of the context's data directory, whose lock the caller holds."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._path: Path = datadir.control_socket(ctx.data_dir)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        datadir.run_dir(self._ctx.data_dir)
        # The caller holds the lock, so a socket that lies here was left by a process that is gone.
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with datadir.socket_address(self._path) as address:
            listening.bind(address)
        self._path.chmod(0o600)  # before anybody can connect: it does not listen yet
        self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=REQUEST_OCTETS)

    async def close(self) -> None:
        """No new operators; acts that run get a few seconds to finish, then streams are cut."""
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._serve(reader, writer)
        except (Vanished, ConnectionError, TimeoutError):
            log.info("operator_vanished")
        finally:
            self._running.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(CLOSING_SECONDS):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=OUTPUT_OCTETS)
        actor = Actor.of_uid(peer_uid(writer), "control")

        async def emit(frame: Frame) -> None:
            if writer.is_closing():
                raise Vanished
            writer.write(encode(frame))
            try:
                async with asyncio.timeout(READER_SECONDS):
                    await writer.drain()
            except (ConnectionError, TimeoutError) as error:
                raise Vanished from error

        request: Request | None = None
        try:
            if len(self._running) > OPERATORS:
                raise MailError(say("too_many_operators"))
            request = await read_request(reader)
            with speaking(request.language):
                limit = self._ctx.config.limits.control_octets
                if request.input > limit:
                    raise BadInput(say("input_too_large", octets=request.input, limit=limit))
        except MailError as error:
            await emit(Failure(exit_code(error), type(error).__name__, error.public))
            return
        log.info("act", act=request.act, actor=actor.name, dry_run=request.dry_run)
        await perform(self._ctx, actor, request, emit, read_lines(reader, request.input))


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid that the kernel vouches for."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    return int(uid)


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Raises SyntaxProblem for anything but a whole request line in time."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise SyntaxProblem(f"control request: more than {REQUEST_OCTETS} octets") from error
    except asyncio.IncompleteReadError as error:
        raise SyntaxProblem("control request: no line end") from error
    except TimeoutError as error:
        raise SyntaxProblem("control request: too slow") from error
    return decode_request(line)


async def read_lines(reader: asyncio.StreamReader, octets: int) -> AsyncIterator[bytes]:
    """The input of a request, line by line, read only as fast as the act takes them. Raises BadInput."""
    rest = b""
    number = 0
    while octets:
        try:
            async with asyncio.timeout(INPUT_SECONDS):
                piece = await reader.read(min(octets, LINE_OCTETS))
        except TimeoutError as error:
            raise BadInput(say("input_late")) from error
        if not piece:
            raise Vanished
        octets -= len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            yield line.removesuffix(b"\r")
        if len(rest) > LINE_OCTETS:
            raise BadInput(say("table_line_long", row=number + 1, limit=LINE_OCTETS))
    if rest:
        yield rest.removesuffix(b"\r")


class QueueRunner(Protocol):
    def wake(self) -> None:
        """Something in the queue is due now."""


class Parts(Protocol):
    """What `govmail.app` has built, as far as operators act on it."""

    @property
    def config(self) -> Config: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def database(self) -> Database: ...
    @property
    def directory(self) -> DirectoryService: ...
    @property
    def resolver(self) -> Cache: ...
    @property
    def hasher(self) -> PasswordPool: ...
    @property
    def quarantine(self) -> Quarantine: ...
    @property
    def queue(self) -> QueueRunner: ...
    @property
    def kick(self) -> Kick: ...
    @property
    def unlock(self) -> Callable[[str], int]: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def engines(self) -> Callable[[], Sequence[EngineState]]: ...
    @property
    def ports(self) -> Mapping[str, int]:
        """Where listeners really listen, by their names; those that are missing listen where the configuration says."""


def context_of(parts: Parts) -> Context:
    """What acts need of a server."""
    return Context(
        config=parts.config, data_dir=parts.data_dir, database=parts.database, directory=parts.directory, cache=parts.resolver,
        hasher=parts.hasher, quarantine=parts.quarantine, kick=parts.kick, clock=parts.clock, wake_queue=parts.queue.wake,
        engines=parts.engines, ports=parts.ports, unlock=parts.unlock,
    )
