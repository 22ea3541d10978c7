"""A raw SMTP client: sends exactly the octets it is given and returns replies as they came."""

from __future__ import annotations

import asyncio
import base64
import ssl
from types import TracebackType

REPLY_SECONDS = 20.0


class SmtpClient:
    """`async with SmtpClient(port) as client`: connected, the greeting read into `greeting`."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, limit: int = 1 << 20) -> None:
        self._where = (host, port)
        self._tls = tls
        self._limit = limit
        self.greeting = ""

    async def __aenter__(self) -> SmtpClient:
        self.reader, self.writer = await asyncio.open_connection(*self._where, ssl=self._tls, limit=self._limit)
        self.greeting = await self.reply()
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

    async def reply(self) -> str:
        """The next reply, lines joined by \\n, without the last line end; "" when the server has closed."""
        lines = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), REPLY_SECONDS)
            if not line:
                return "\n".join(lines)
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def command(self, line: bytes | str) -> str:
        """Send one line and CR LF; its reply."""
        await self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def hello(self, name: str = "client.example") -> str:
        return await self.command(f"EHLO {name}")

    async def mail(self, sender: str, recipients: list[str], message: bytes, *, parameters: str = "") -> str:
        """A whole mail by DATA; the last reply. `message` has CR LF line ends; dots are stuffed here."""
        reply = await self.command(f"MAIL FROM:<{sender}>{parameters}")
        assert reply.startswith("250"), reply
        for recipient in recipients:
            reply = await self.command(f"RCPT TO:<{recipient}>")
            assert reply.startswith("250"), reply
        reply = await self.command("DATA")
        assert reply.startswith("354"), reply
        return await self.data(message)

    async def data(self, message: bytes) -> str:
        stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
        await self.send(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        return await self.reply()

    async def login(self, login: str, password: str) -> str:
        response = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return await self.command(f"AUTH PLAIN {response}")

    async def start_tls(self, tls: ssl.SSLContext) -> None:
        """After a 220 to STARTTLS."""
        await self.writer.start_tls(tls)

    async def closed(self) -> bool:
        """Whether the server has closed, or closes now."""
        return await asyncio.wait_for(self.reader.read(), REPLY_SECONDS) == b""
