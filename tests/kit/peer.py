"""A mail server that does what a test tells it, however rude."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

DROP = b"<drop>"  # close the connection instead of answering
HANG = b"<hang>"  # never answer

DEFAULT_EHLO = ("PIPELINING", "SIZE 1000000", "8BITMIME", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass
class Taken:
    """A message that the peer took."""

    mail: str
    rcpts: list[str]
    data: bytes  # as it came: stuffed, without the final dot
    tls: bool


@dataclass
class Peer:
    """`replies` maps the beginning of a command line (or "." for the end of data, "" for the greeting) to the whole reply.

    The longest match counts; a list gives its elements in turn, the last one repeats. `refuse_after`: octets of data
    after which the reply to "." is given without reading on.
    """

    replies: Mapping[str, bytes | Sequence[bytes]] = field(default_factory=dict)
    ehlo: Sequence[str] = DEFAULT_EHLO
    tls: ssl.SSLContext | None = None
    refuse_after: int | None = None
    port: int = 0
    connections: int = 0
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    _turns: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to have been said or taken."""
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _reply(self, line: str, default: bytes) -> bytes:
        matches = [key for key in self.replies if (key == line if key in ("", ".") else line.upper().startswith(key.upper()))]
        if not matches:
            return default
        key = max(matches, key=len)
        reply = self.replies[key]
        if isinstance(reply, bytes):
            return reply
        turn = self._turns.get(key, 0)
        self._turns[key] = turn + 1
        return reply[min(turn, len(reply) - 1)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._changed.set()
        try:
            await self._dialogue(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes) -> bool:
        """Whether the dialogue goes on."""
        if reply == HANG:
            await reader.read(-1)
            return False
        if reply == DROP:
            return False
        writer.write(reply)
        await writer.drain()
        return True

    async def _dialogue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mail, rcpts, tls = "", [], False
        if not await self._say(reader, writer, self._reply("", b"220 peer.example ESMTP\r\n")):
            return
        while raw := await reader.readline():
            line = raw.decode().rstrip("\r\n")
            self.commands.append(line)
            self._changed.set()
            verb = line.split(" ")[0].upper()
            default = b"250 2.0.0 ok\r\n"
            if verb == "EHLO":
                offers = [*self.ehlo, *(["STARTTLS"] if self.tls and not tls else [])]
                default = b"".join(b"250-%s\r\n" % word.encode() for word in ["peer.example", *offers]) + b"250 HELP\r\n"
            elif verb == "DATA":
                default = b"354 go on\r\n"
            elif verb in ("QUIT", "STARTTLS"):
                default = b"221 bye\r\n" if verb == "QUIT" else b"220 go on\r\n"
            reply = self._reply(line, default)
            if not await self._say(reader, writer, reply):
                return
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and reply.startswith(b"220") and self.tls:
                await writer.start_tls(self.tls)
                tls = True
            elif verb == "MAIL":
                mail, rcpts = line, []
            elif verb == "RCPT" and reply.startswith(b"25"):
                rcpts.append(line)
            elif verb == "DATA" and reply.startswith(b"354"):
                if self.refuse_after is not None:
                    await reader.readexactly(self.refuse_after)
                    await self._say(reader, writer, self._reply(".", b"552 5.3.4 too much\r\n"))
                    await asyncio.sleep(0)
                    return
                data = await reader.readuntil(b"\r\n.\r\n")
                self.commands.append(".")
                self._changed.set()
                reply = self._reply(".", b"250 2.0.0 taken\r\n")
                if reply.startswith(b"250") or reply == DROP:
                    self.taken.append(Taken(mail, rcpts, data[:-3], tls))
                    self._changed.set()
                if not await self._say(reader, writer, reply):
                    return


@asynccontextmanager
async def running(peer: Peer, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """The peer on a free port of `host`."""
    server = await asyncio.start_server(peer.serve, host, peer.port, limit=1 << 24)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
