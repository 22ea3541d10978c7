"""Loads an IMAP server: logins, filling a mailbox, first synchronisation, searches, idle connections.

    python tests/bench/imap_load.py HOST:PORT login  --conns 20 --seconds 5     LOGIN, SELECT, LOGOUT in circles
    python tests/bench/imap_load.py HOST:PORT fill   --user 0 --corpus DIR      APPEND of the corpus, pipelined
    python tests/bench/imap_load.py HOST:PORT append --conns 10 --messages 500  APPEND, one at a time per connection
    python tests/bench/imap_load.py HOST:PORT sync   --user 0                   flags, headers, envelopes, bodies of a mailbox
    python tests/bench/imap_load.py HOST:PORT search --user 0 --words zebrafish,斑马鱼
    python tests/bench/imap_load.py HOST:PORT idle   --conns 1000 --smtp HOST:PORT --server-pid PID

Prints one JSON line per result. Responses are counted, not parsed.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import random
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import smtp_load
from common import (
    PASSWORD,
    Result,
    Usage,
    emit,
    endpoint,
    memory_kilobytes,
    milliseconds,
    raise_file_limit,
    user_address,
)

TIMEOUT = 300.0
THUNDERBIRD = (
    b"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References "
    b"Newsgroups In-Reply-To Content-Type Reply-To)])"
)


@functools.cache
def unverified() -> ssl.SSLContext:
    """One for all connections; it loads no authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Imap(asyncio.Protocol):
    """One connection: counts octets and FETCH responses, keeps the last octets, or all on request."""

    def __init__(self) -> None:
        self.octets = 0
        self.fetched = 0
        self.on_exists: Callable[[], None] | None = None
        self._kept = b""
        self._keep_all = False
        self._awaited: tuple[bytes, asyncio.Future[bytes]] | None = None
        self._tags = itertools.count(1)

    @classmethod
    async def connect(cls, server: tuple[str, int], *, tls: bool = False) -> Imap:
        context = None
        if tls:
            context = unverified()
        _, connection = await asyncio.get_running_loop().create_connection(cls, *server, ssl=context)
        await connection.until(b"* ")
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._awaited is not None and not self._awaited[1].done():
            self._awaited[1].set_exception(ConnectionError(f"closed after {self._kept[-200:]!r}"))

    def data_received(self, data: bytes) -> None:
        self.octets += len(data)
        self.fetched += (self._kept[-7:] + data).count(b" FETCH (")
        if self.on_exists is not None and b" EXISTS" in data:
            self.on_exists()
        self._kept = self._kept + data if self._keep_all or len(data) < 4096 > len(self._kept) else (self._kept[-64:] + data)[-4096:]
        self._check()

    def _check(self) -> None:
        """Whether the last line but the line end begins as awaited."""
        if self._awaited is None or self._awaited[1].done() or not self._kept.endswith(b"\r\n"):
            return
        start = self._kept.rfind(b"\r\n", 0, -2)
        if self._kept.startswith(self._awaited[0], start + 2 if start >= 0 else 0):
            kept, self._kept = self._kept, b""
            self._awaited[1].set_result(kept)

    async def until(self, beginning: bytes) -> bytes:
        """What came up to and with a last line that begins so."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._awaited = (beginning, future)
        self._check()
        async with asyncio.timeout(TIMEOUT):
            return await future

    async def command(self, text: bytes, *, keep: bool = False) -> bytes:
        """The responses (the last 4 KB of them unless `keep`). Raises RuntimeError for NO and BAD."""
        tag = b"x%d" % next(self._tags)
        self.octets = self.fetched = 0
        self._keep_all = keep
        self.transport.write(tag + b" " + text + b"\r\n")
        answer = await self.until(tag + b" ")
        last = answer[answer.rfind(tag + b" ") :]
        if not last.startswith(tag + b" OK"):
            raise RuntimeError(last[:200].decode("utf-8", "replace"))
        return answer

    async def login(self, user: int) -> None:
        await self.command(b"LOGIN %s %s" % (user_address(user).encode(), PASSWORD.encode()))

    async def noop(self) -> float:
        began = time.perf_counter()
        await self.command(b"NOOP")
        return time.perf_counter() - began

    async def append(self, mailbox: bytes, message: bytes) -> None:
        await self.command(b"APPEND %s (\\Seen) {%d+}\r\n%s" % (mailbox, len(message), message))


async def opened(options: argparse.Namespace, user: int, *, select: bool = True) -> Imap:
    connection = await Imap.connect(options.server, tls=options.tls)
    await connection.login(user)
    if select:
        await connection.command(b"SELECT INBOX")
    return connection


async def login(options: argparse.Namespace) -> Result:
    latencies: list[float] = []
    stop, rng = time.perf_counter() + options.seconds, random.Random(5)

    async def worker() -> None:
        while time.perf_counter() < stop:
            began = time.perf_counter()
            connection = await opened(options, rng.randrange(options.users))
            await connection.command(b"LOGOUT")
            connection.transport.close()
            latencies.append(time.perf_counter() - began)

    usage, began = Usage(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(options.conns)))
    rate = len(latencies) / (time.perf_counter() - began)
    return {"conns": options.conns, "per_s": rate, "p50_ms": milliseconds(latencies, 50), "p99_ms": milliseconds(latencies, 99), **usage.stop()}


async def fill(options: argparse.Namespace) -> Result:
    messages = [path.read_bytes() for path in sorted(options.corpus.rglob("*.eml"))[: options.messages]]
    connection = await opened(options, options.user, select=False)
    usage, began = Usage(), time.perf_counter()
    for start in range(0, len(messages), 16):
        window = messages[start : start + 16]
        parts = [b"f%d APPEND INBOX (\\Seen) {%d+}\r\n%s\r\n" % (start + index, len(one), one) for index, one in enumerate(window)]
        connection.transport.write(b"".join(parts))
        answer = await connection.until(b"f%d " % (start + len(window) - 1))
        if b" NO " in answer or b" BAD " in answer:
            raise RuntimeError(answer.decode("utf-8", "replace"))
    wall = time.perf_counter() - began
    connection.transport.close()
    return {"messages": len(messages), "per_s": len(messages) / wall, "mb_s": sum(map(len, messages)) / wall / 1e6, **usage.stop()}


async def append(options: argparse.Namespace) -> Result:
    message = b"From: <a@bench.test>\r\nSubject: append\r\n\r\n" + (b"x" * 74 + b"\r\n") * (options.size // 76)
    latencies: list[float] = []
    numbers = itertools.count()
    connections = [await opened(options, options.user + number, select=False) for number in range(options.conns)]

    async def worker(connection: Imap) -> None:
        while (number := next(numbers)) < options.messages:
            began = time.perf_counter()
            await connection.append(b"INBOX", b"X-Number: %d\r\n" % number + message)
            latencies.append(time.perf_counter() - began)

    usage, began = Usage(), time.perf_counter()
    await asyncio.gather(*map(worker, connections))
    rate = len(latencies) / (time.perf_counter() - began)
    return {"conns": options.conns, "size": options.size, "per_s": rate, "p50_ms": milliseconds(latencies, 50), "p99_ms": milliseconds(latencies, 99),
            **usage.stop()}  # fmt: skip


async def sync(options: argparse.Namespace) -> Result:
    connection = await opened(options, options.user, select=False)
    result: Result = {}
    usage = Usage()
    steps = {
        "select": b"SELECT INBOX",
        "flags": b"UID FETCH 1:* (FLAGS)",
        "headers": b"UID FETCH 1:* " + THUNDERBIRD,
        "envelopes": b"UID FETCH 1:* (UID RFC822.SIZE INTERNALDATE FLAGS ENVELOPE BODYSTRUCTURE)",
        "bodies": b"UID FETCH 1:* (BODY.PEEK[])",
    }
    for name, command in steps.items():
        began = time.perf_counter()
        await connection.command(command)
        result[f"{name}_s"] = time.perf_counter() - began
        if name != "select":
            result["messages"] = connection.fetched
    result["bodies_mb"] = connection.octets / 1e6
    await connection.command(b"LOGOUT")
    return result | usage.stop()


async def search(options: argparse.Namespace) -> Result:
    connection = await opened(options, options.user)
    result: Result = {}
    usage = Usage()
    for word in options.words.split(","):
        octets = word.encode()
        for key in options.keys.split(","):
            began = time.perf_counter()
            answer = await connection.command(b"UID SEARCH CHARSET UTF-8 %s {%d+}\r\n%s" % (key.encode(), len(octets), octets), keep=True)
            found = re.search(rb"\* SEARCH ?([0-9 ]*)", answer)
            result[f"{key.lower()}_{word}_s"] = time.perf_counter() - began
            result[f"{key.lower()}_{word}_hits"] = len(found[1].split()) if found else 0
    connection.transport.close()
    return result | usage.stop()


async def idle(options: argparse.Namespace) -> Result:
    before = memory_kilobytes(options.server_pid)
    gate = asyncio.Semaphore(20)
    connections: dict[int, Imap] = {}

    async def one(number: int) -> None:
        async with gate:
            connection = await opened(options, options.first_user + number % options.users)
            connection.transport.write(b"i IDLE\r\n")
            await connection.until(b"+")
            connections[number] = connection

    usage, began = Usage(), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(options.conns)))
    result: Result = {"conns": len(connections), "open_per_s": len(connections) / (time.perf_counter() - began)}
    await asyncio.sleep(options.settle)
    if options.server_pid:
        after = memory_kilobytes(options.server_pid)
        result |= {"before_mb": before / 1024, "after_mb": after / 1024, "kb_per_idle": (after - before) / max(1, len(connections))}
    result |= usage.stop()
    if options.smtp:
        result |= await _push(options, connections)
    for connection in connections.values():
        connection.transport.abort()
    return result


async def _push(options: argparse.Namespace, connections: dict[int, Imap]) -> Result:
    """How long after the 250 an idle client hears of a message."""
    sender = smtp_load.Connection(smtp_load.Load(options.smtp))
    await sender.open()
    delays: list[float] = []
    lost = 0
    for number in random.Random(3).sample(list(connections), min(options.deliveries, len(connections))):
        heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def hear(heard: asyncio.Future[float] = heard) -> None:
            if not heard.done():
                heard.set_result(time.perf_counter())

        connections[number].on_exists = hear
        recipient = user_address(options.first_user + number % options.users)
        await sender.send([recipient], b"Subject: idle probe\r\nMessage-ID: <%d@bench.test>\r\n\r\nhello\r\n" % time.time_ns())
        accepted = time.perf_counter()
        try:
            async with asyncio.timeout(40):
                delays.append(max(0.0, await heard - accepted))
        except TimeoutError:
            lost += 1
    await sender.quit()
    return {"deliveries": len(delays), "lost": lost, "push_p50_ms": milliseconds(delays, 50), "push_p99_ms": milliseconds(delays, 99)}


TESTS = {"login": login, "fill": fill, "append": append, "sync": sync, "search": search, "idle": idle}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", type=endpoint, metavar="HOST:PORT")
    parser.add_argument("test", choices=TESTS)
    parser.add_argument("--label", default="")
    parser.add_argument("--tls", action="store_true", help="implicit TLS; certificates are not verified")
    parser.add_argument("--conns", type=int, default=20, help="connections side by side")
    parser.add_argument("--seconds", type=float, default=5.0, help="login: how long")
    parser.add_argument("--users", type=int, default=1000, help="login, idle: u0 … u<N-1>, in turn")
    parser.add_argument("--user", type=int, default=0, help="fill, append, sync, search: this one (append: and the following)")
    parser.add_argument("--first-user", type=int, default=0, help="idle: this one and the following")
    parser.add_argument("--corpus", type=Path, help="fill: directory with .eml files")
    parser.add_argument("--messages", type=int, default=1000, help="fill, append: how many")
    parser.add_argument("--size", type=int, default=4096, help="append: octets of a message")
    parser.add_argument("--words", default="zebrafish,斑马鱼", help="search: needles")
    parser.add_argument("--keys", default="TEXT,BODY,SUBJECT", help="search: keys")
    parser.add_argument("--smtp", type=endpoint, metavar="HOST:PORT", help="idle: deliver through this server and time the push")
    parser.add_argument("--server-pid", type=int, action="append", default=[], help="idle: measure the memory of these process trees")
    parser.add_argument("--settle", type=float, default=2.0, help="idle: seconds to wait before memory is read")
    parser.add_argument("--deliveries", type=int, default=300, help="idle: messages to push")
    return parser


async def measure(options: argparse.Namespace) -> Result:
    """Run one test and describe it as one result."""
    return {"test": f"imap_{options.test}", "label": options.label, **await TESTS[options.test](options)}


def main() -> None:
    options = arguments().parse_args()
    raise_file_limit()
    emit(asyncio.run(measure(options)))


if __name__ == "__main__":
    main()
