"""Loads an SMTP or LMTP server with mail and tells how fast it was accepted and, on request, delivered.

    python tests/bench/smtp_load.py HOST:PORT --conns 20 --messages 2000 --size 4096 --users 1000

Prints one JSON line. "Delivered" is measured from the first MAIL until all messages are in the mailboxes, as
`--count-cmd` (a command that prints the number of messages in all mailboxes) says. Every message has an id of its own in
`X-Bench-Id`; `--record` writes what became of each: `ack`, `refused` or `unknown`, TAB, id, TAB, recipients.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from common import Result, Usage, emit, endpoint, milliseconds, raise_file_limit, user_address

SENDER = "sender@load.bench.test"
CORPUS_MESSAGES = 2000  # that are read into memory
REPLY_SECONDS = 300.0
RETRY_SECONDS = 0.1  # after a failure: a server that is down is not called a thousand times a second


class Refused(Exception):
    """A reply that is not the hoped-for one."""


@dataclass(frozen=True)
class Load:
    """What is to be sent, and how."""

    server: tuple[str, int]
    messages: int = 1000
    conns: int = 20
    size: int = 4096
    corpus: Path | None = None
    users: int = 1000
    first_user: int = 0
    recipients: int = 1  # per message
    recipient: str | None = None  # a fixed one, e.g. a list
    per_connection: int = 0  # messages; 0: never reconnect
    lmtp: bool = False
    pipelining: bool = False
    auth: tuple[str, str] | None = None
    retry: int = 0  # tries after the first one
    prefix: str = field(default_factory=lambda: f"{os.getpid():x}.{time.time_ns():x}")

    def recipients_of(self, number: int) -> list[str]:
        if self.recipient:
            return [self.recipient]
        first = number * self.recipients
        return [user_address(self.first_user + (first + step) % self.users) for step in range(self.recipients)]


@dataclass
class Outcome:
    """What came of a load; `latencies` in seconds, of whole transactions."""

    latencies: list[float] = field(default_factory=list)
    octets: int = 0
    recipients: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Connection:
    """One SMTP connection: `open`, `send`, `quit`."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.sent_at = 0.0  # time.perf_counter() when the final dot had left

    async def open(self) -> None:
        host, port = self._load.server
        self._reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 20)
        await self._expect(b"2")
        await self._say(b"%s load.bench.test" % (b"LHLO" if self._load.lmtp else b"EHLO"), b"2")
        if self._load.auth:
            user, password = self._load.auth
            await self._say(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()), b"235")

    async def send(self, recipients: Sequence[str], message: bytes) -> float:
        """Seconds for the transaction. `message` has CR LF line ends and stuffed dots. Raises Refused, OSError."""
        began = time.perf_counter()
        commands = [b"MAIL FROM:<%s>" % SENDER.encode(), *(b"RCPT TO:<%s>" % one.encode() for one in recipients)]
        if self._load.pipelining:
            self._writer.write(b"\r\n".join([*commands, b"DATA", b""]))
            for _ in commands:
                await self._expect(b"2")
            await self._expect(b"354")
        else:
            for command in commands:
                await self._say(command, b"2")
            await self._say(b"DATA", b"354")
        self._writer.write(message)
        self._writer.write(b".\r\n")
        await self._writer.drain()
        self.sent_at = time.perf_counter()
        for _ in recipients if self._load.lmtp else [None]:
            await self._expect(b"2")
        return time.perf_counter() - began

    async def noop(self) -> float:
        began = time.perf_counter()
        await self._say(b"NOOP", b"2")
        return time.perf_counter() - began

    async def quit(self) -> None:
        await self._say(b"QUIT", b"2")
        self.close()

    def close(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.close()

    async def _say(self, command: bytes, hoped: bytes) -> None:
        self._writer.write(command + b"\r\n")
        await self._expect(hoped)

    async def _expect(self, hoped: bytes) -> None:
        async with asyncio.timeout(REPLY_SECONDS):
            while (line := await self._reader.readline())[3:4] == b"-":
                pass
        if not line.endswith(b"\n"):
            raise ConnectionError("connection closed")
        if not line.startswith(hoped):
            raise Refused(line.decode("utf-8", "replace").strip())


def make_message(load: Load) -> Callable[[int], tuple[str, bytes]]:
    """Number -> (id, message): of the corpus, or text of `load.size` octets."""
    line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789\r\n"
    body = line * (max(0, load.size - 300) // len(line))
    corpus = [path.read_bytes().replace(b"\r\n.", b"\r\n..") for path in _corpus_files(load)]

    def message(number: int) -> tuple[str, bytes]:
        ident = f"{load.prefix}.{number}"
        mark = b"X-Bench-Id: %s\r\n" % ident.encode()
        if corpus:
            return ident, mark + corpus[number % len(corpus)]
        header = (
            b"From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: bench %d\r\nMessage-ID: <%s@load.bench.test>\r\n"
            b"Date: Thu, 05 Mar 2026 09:00:00 +0800\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
        ) % (SENDER.encode(), number, ident.encode())
        return ident, mark + header + body

    return message


def _corpus_files(load: Load) -> list[Path]:
    if load.corpus is None:
        return []
    return sorted(load.corpus.rglob("*.eml"))[: min(load.messages, CORPUS_MESSAGES)]


async def run(load: Load, record: TextIO | None = None) -> Outcome:
    """Send everything over `load.conns` connections. What fails is counted, and tried again as often as `load.retry` says."""
    message, outcome, numbers = make_message(load), Outcome(), itertools.count()

    def note(fate: str, ident: str, recipients: Sequence[str]) -> None:
        if record is not None:
            record.write(f"{fate}\t{ident}\t{','.join(recipients)}\n")
            record.flush()

    async def worker() -> None:
        connection: Connection | None = None
        used = 0
        while (number := next(numbers)) < load.messages:
            ident, octets = message(number)
            recipients = load.recipients_of(number)
            for _ in range(load.retry + 1):
                try:
                    if connection is None:
                        connection, used = Connection(load), 0
                        await connection.open()
                    outcome.latencies.append(await connection.send(recipients, octets))
                except Refused as error:
                    outcome.errors[str(error)[:9]] += 1
                    note("refused", ident, recipients)
                except (OSError, asyncio.IncompleteReadError) as error:
                    outcome.errors[type(error).__name__] += 1
                    note("unknown", ident, recipients)
                else:
                    note("ack", ident, recipients)
                    outcome.octets += len(octets)
                    outcome.recipients += len(recipients)
                    used += 1
                    break
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(RETRY_SECONDS)
            if connection is not None and load.per_connection and used >= load.per_connection:
                await connection.quit()
                connection = None
        if connection is not None:
            await connection.quit()

    await asyncio.gather(*(worker() for _ in range(load.conns)))
    return outcome


async def count_messages(command: str) -> int:
    """The number that a command prints first."""
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return int(output.split()[0])


async def _wait_for(command: str, wanted: int, timeout: float) -> int:
    """How many messages there are when there are `wanted`, or when the time is up."""
    deadline = time.perf_counter() + timeout
    while True:
        present = await count_messages(command)
        if present >= wanted or time.perf_counter() > deadline:
            return present
        await asyncio.sleep(0.1)


async def measure(load: Load, *, label: str = "", count_cmd: str | None = None,
                  expect: int | None = None, timeout: float = 300.0, record: TextIO | None = None) -> Result:
    """Run a load and describe it as one result."""
    before = await count_messages(count_cmd) if count_cmd else 0
    usage, began = Usage(), time.perf_counter()
    outcome = await run(load, record)
    accepted = time.perf_counter() - began
    result: Result = {
        "test": "smtp", "label": label, "size": 0 if load.corpus else load.size, "conns": load.conns, "messages": len(outcome.latencies),
        "accepted_msg_s": len(outcome.latencies) / accepted, "accepted_mb_s": outcome.octets / accepted / 1e6,
        "accept_p50_ms": milliseconds(outcome.latencies, 50), "accept_p99_ms": milliseconds(outcome.latencies, 99),
        "errors": sum(outcome.errors.values()), **usage.stop(),
    }  # fmt: skip
    if outcome.errors:
        result["error_kinds"] = dict(outcome.errors)
    if count_cmd:
        wanted = before + (expect if expect is not None else outcome.recipients)
        delivered = await _wait_for(count_cmd, wanted, timeout) - before
        result |= {"delivered": delivered, "delivered_msg_s": delivered / (time.perf_counter() - began)}
    return result


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", type=endpoint, metavar="HOST:PORT")
    parser.add_argument("--conns", type=int, default=20, help="connections side by side")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=4096, help="octets of a generated message")
    parser.add_argument("--corpus", type=Path, help="send the .eml files of this directory instead")
    parser.add_argument("--users", type=int, default=1000, help="recipients are u0 … u<N-1>@bench.test in turn")
    parser.add_argument("--first-user", type=int, default=0)
    parser.add_argument("--recipients", type=int, default=1, help="per message")
    parser.add_argument("--recipient", help="a fixed one instead, e.g. a list address")
    parser.add_argument("--per-connection", type=int, default=0, help="messages before reconnecting; 0: never")
    parser.add_argument("--lmtp", action="store_true")
    parser.add_argument("--pipelining", action="store_true", help="MAIL, RCPT and DATA in one write")
    parser.add_argument("--auth", metavar="USER:PASSWORD")
    parser.add_argument("--retry", default="none", help="tries after the first one for a message that failed, or 'none'")
    parser.add_argument("--count-cmd", help="command that prints the number of messages in all mailboxes")
    parser.add_argument("--expect", type=int, help="messages to wait for; default: one per accepted recipient")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for them")
    parser.add_argument("--record", type=Path, help="write what became of each message to this file")
    parser.add_argument("--label", default="")
    return parser


def main() -> None:
    options = arguments().parse_args()
    raise_file_limit()
    user, _, password = (options.auth or "").partition(":")
    load = Load(
        options.server, options.messages, options.conns, options.size, options.corpus, options.users, options.first_user,
        options.recipients, options.recipient, options.per_connection, options.lmtp, options.pipelining,
        (user, password) if user else None, 0 if options.retry == "none" else int(options.retry),
    )  # fmt: skip
    record = options.record.open("a") if options.record else None
    try:
        emit(asyncio.run(measure(load, label=options.label, count_cmd=options.count_cmd, expect=options.expect, timeout=options.timeout, record=record)))
    finally:
        if record is not None:
            record.close()


if __name__ == "__main__":
    main()
