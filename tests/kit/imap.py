"""A raw IMAP client: sends exactly the octets it is given and returns responses as they came, literals included."""

from __future__ import annotations

import asyncio
import re
import ssl
from types import TracebackType

REPLY_SECONDS = 20.0
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")


class ImapClient:
    """`async with ImapClient(port) as client`: connected, the greeting read into `greeting`."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, limit: int = 1 << 20) -> None:
        self._where = (host, port)
        self._tls = tls
        self._limit = limit
        self._tags = 0
        self.greeting = b""

    async def __aenter__(self) -> ImapClient:
        self.reader, self.writer = await asyncio.open_connection(*self._where, ssl=self._tls, limit=self._limit)
        self.greeting = await self.response()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass

    async def send(self, octets: bytes) -> None:
        """Exactly these octets."""
        self.writer.write(octets)
        await self.writer.drain()

    async def response(self) -> bytes:
        """One response with its literals and its line end; empty when the server has closed."""
        whole = b""
        async with asyncio.timeout(REPLY_SECONDS):
            while True:
                line = await self.reader.readline()
                whole += line
                literal = _LITERAL.search(line)
                if literal is None:
                    return whole
                whole += await self.reader.readexactly(int(literal[1]))

    async def until(self, tag: bytes) -> tuple[list[bytes], bytes]:
        """(untagged responses, the tagged one); the tagged one is empty when the server has closed."""
        untagged: list[bytes] = []
        while True:
            response = await self.response()
            if not response or response.startswith(tag + b" "):
                return untagged, response
            untagged.append(response)

    async def command(self, text: bytes) -> tuple[list[bytes], bytes]:
        """Send one command under a tag of our own; what came back, the tagged response without its tag."""
        self._tags += 1
        tag = b"t%d" % self._tags
        await self.send(tag + b" " + text + b"\r\n")
        untagged, tagged = await self.until(tag)
        return untagged, tagged[len(tag) + 1 :]

    async def ok(self, text: bytes) -> list[bytes]:
        """The untagged responses of a command that must succeed."""
        untagged, tagged = await self.command(text)
        assert tagged.startswith(b"OK"), (text, tagged)
        return untagged

    async def login(self, name: str, password: str = "secret") -> None:
        await self.ok(f'LOGIN "{name}" "{password}"'.encode())

    async def append(self, message: bytes, mailbox: str = "INBOX", flags: str = "") -> None:
        await self.ok(f"APPEND {mailbox} ({flags}) {{{len(message)}+}}\r\n".encode() + message)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.ok(b"STARTTLS")
        await self.writer.start_tls(context)
