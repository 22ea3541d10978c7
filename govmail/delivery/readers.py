"""The server's side of the processes that read messages.

Reading holds the interpreter lock for half of what a mail costs, and it is where hostile octets meet most of our code: in a
process of its own it neither stops other connections nor reaches anything.

Invariants
- Every read is answered: with a Reading or with ReaderFailed, which is temporary.
- When a process dies or hangs, the message it was reading has failed; those that wait behind it go to its successor.
- Messages over Limits.process_parse_octets have a process to themselves, so that no small one waits for them; it ends when
  it has had nothing to do for a while, for the memory that it took.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from contextlib import suppress
from typing import cast

import msgspec
import structlog

from govmail.config import Limits
from govmail.delivery.reader import DONE, FRAME, READ, READ_FILE, Bounds
from govmail.errors import ReaderFailed
from govmail.mail.message import Message
from govmail.mail.reading import Reading, read

log = structlog.get_logger()

MOST_PROCESSES = 4
SOCKET_OCTETS = 1024 * 1024  # of buffer, each way: a mail goes over in one piece
WATCHES = 4  # within Limits.read_seconds
CLOSE_SECONDS = 5.0


class Readers:
    """Some processes for ordinary messages and one for large ones; each starts with its first message."""

    def __init__(self, limits: Limits, processes: int = 0) -> None:
        """`processes`: for ordinary messages; 0: one less than the machine has cores."""
        self._limits = limits
        count = processes or min(max((os.cpu_count() or 2) - 1, 1), MOST_PROCESSES)
        self._ordinary = [_Process(limits) for _ in range(count)]
        self._large = _Process(limits, stays=False)

    async def read(self, message: Message) -> Reading:
        """Raises ReaderFailed. A spooled message must stay where it is until then, also when the caller is cancelled."""
        if message.size > self._limits.process_parse_octets:
            process = self._large
        else:
            process = min(self._ordinary, key=_Process.waiting)
        if message.data is not None:
            return await process.ask(READ, message.data)
        return await process.ask(READ_FILE, os.fsencode(str(message.path)))

    @property
    def pids(self) -> list[int]:
        """Of those processes that run."""
        return [one.pid for one in (*self._ordinary, self._large) if one.pid]

    async def close(self) -> None:
        """End the processes; what is being read fails."""
        await asyncio.gather(*(one.close() for one in (*self._ordinary, self._large)))


class ThreadReader:
    """Reads in a thread of this process: for tools and tests that read a few messages of their own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def read(self, message: Message) -> Reading:
        try:
            return await asyncio.to_thread(read, message, self._limits)
        except OSError as error:
            raise ReaderFailed(private=str(error)) from error


class _Request:
    __slots__ = ("answer", "kind", "octets")

    def __init__(self, kind: int, octets: bytes, answer: asyncio.Future[Reading]) -> None:
        self.kind = kind
        self.octets = octets
        self.answer = answer


class _Process(asyncio.Protocol):
    """One process: requests go out in order, answers come back in order."""

    def __init__(self, limits: Limits, *, stays: bool = True) -> None:
        self._limits = limits
        self._stays = stays
        self._asked: deque[_Request] = deque()  # in the order in which their answers will come
        self._transport: asyncio.WriteTransport | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(Reading)
        self._progress = 0.0  # loop time of the last answer, or of the first request after a rest
        self._watch: asyncio.TimerHandle | None = None
        self._leaving = False  # it has been told to end; who asks now waits for its successor
        self._closed = False

    def waiting(self) -> int:
        return len(self._asked)

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._child.pid if self._child is not None and self._transport is not None else 0

    async def ask(self, kind: int, octets: bytes) -> Reading:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ReaderFailed(private="the readers are closed")
        request = _Request(kind, octets, loop.create_future())
        if not self._asked:
            self._progress = loop.time()
        self._asked.append(request)
        if self._transport is None:
            self._begin()
        elif not self._leaving:
            self._send(request)
        if self._watch is None:
            self._watch = loop.call_later(self._limits.read_seconds / WATCHES, self._look)
        return await request.answer

    def _send(self, request: _Request) -> None:
        assert self._transport is not None
        self._transport.writelines((FRAME.pack(len(request.octets), request.kind), request.octets))

    # -- the process --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                for end in (ours, theirs):
                    end.setblocking(end is theirs)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_OCTETS)
                self._child = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-m", "govmail.delivery.reader", stdin=theirs.fileno(), stdout=asyncio.subprocess.DEVNULL,
                    env={"PATH": os.environ.get("PATH", "")},
                )  # fmt: skip
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except OSError as error:
            log.exception("reader.cannot_start")
            self._fail(len(self._asked), f"cannot start: {error}")
        finally:
            self._starting = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._buffer.clear()
        bounds = msgspec.json.encode(msgspec.convert(self._limits, Bounds, from_attributes=True))
        self._transport.write(FRAME.pack(len(bounds), READ) + bounds)
        self._progress = asyncio.get_running_loop().time()
        for request in self._asked:
            self._send(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= FRAME.size:
            length, kind = FRAME.unpack_from(buffer, start)
            begin = start + FRAME.size
            if len(buffer) - begin < length:
                break
            start = begin + length
            self._answer(kind, bytes(memoryview(buffer)[begin:start]))
        if start:
            del buffer[:start]

    def _answer(self, kind: int, octets: bytes) -> None:
        request = self._asked.popleft()
        self._progress = asyncio.get_running_loop().time()
        if request.answer.done():
            return  # the caller has gone
        if kind == DONE:
            request.answer.set_result(self._decoder.decode(octets))
        else:
            request.answer.set_exception(ReaderFailed(private=octets.decode("utf-8", "replace")))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._closed:
            return
        if self._leaving:
            self._leaving = False
        else:
            log.error("reader.died", waiting=len(self._asked))
            self._fail(1, "the reader died")
        if self._asked:
            self._begin()

    def _fail(self, count: int, reason: str) -> None:
        for _ in range(min(count, len(self._asked))):
            request = self._asked.popleft()
            if not request.answer.done():
                request.answer.set_exception(ReaderFailed(private=reason))

    def _look(self) -> None:
        """A process that owes an answer for too long hangs; one that had nothing to do for a while may go."""
        self._watch = None
        loop = asyncio.get_running_loop()
        interval = self._limits.read_seconds / WATCHES
        quiet = loop.time() - self._progress
        if self._asked:
            if self._child is not None and self._transport is not None and quiet > self._limits.read_seconds:
                log.error("reader.hangs", waiting=len(self._asked))
                with suppress(ProcessLookupError):
                    self._child.kill()
        elif self._stays or self._transport is None:
            return
        elif quiet >= interval:
            self._leaving = True
            self._transport.close()
            return
        self._watch = loop.call_later(interval, self._look)

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._starting is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._starting), CLOSE_SECONDS)
        self._fail(len(self._asked), "the server ends")
        if self._transport is not None:
            self._transport.close()
        if self._child is not None:
            try:
                await asyncio.wait_for(self._child.wait(), CLOSE_SECONDS)
            except TimeoutError:
                self._child.kill()
