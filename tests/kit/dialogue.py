"""Dialogue files: what clients send and what they must see, line by line.

    # comment
    C: a1 NOOP              send this line
    C> a1 SELECT INBOX      send it, and read everything up to its tagged response, which must be OK
    S: a1 OK NOOP completed the next response, exactly
    S~ a1 OK .*             the next response matches this regular expression, wholly
    S.                      the server has closed the connection
    D: plain                message `plain` is delivered to the account
    [2]                     what follows is said on connection 2 (connection 1 at the start)
    @ no login              at the top: connections do not log in by themselves
    @ quota 1000            at the top: the account may hold so many octets; a second number: messages
    @ shared name           at the top: there is a shared mailbox of this name, kept by the account
    [li@jx.example]         what follows is said on a connection of somebody else

Every file has an account of its own, and every connection logs in to it unless told otherwise. `{#plain}` in a sent line is the
literal of that message: its size, then – after `+` has come – its octets; `{#plain+}` does not wait. In an expected
line it is the literal as the server sends it. `$(login)` is the account's login, `$(crlf)` a line end within a literal,
`$(nul)` an octet of zero. What a
named group of a pattern has matched – `(?P<first>[0-9]+)` – is `$(first)` from then on.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage

_WORD = re.compile(r"\$\((\w+)\)")
_MESSAGE = re.compile(r"\{#([a-z0-9-]+)(\+?)\}")


class Dialogue:
    def __init__(self, path: Path, stage: Stage) -> None:
        self._path = path
        self._stage = stage
        self.login = f"{path.stem}@jx.example"
        self._lines = path.read_text("utf-8").splitlines()
        self._clients: dict[str, ImapClient] = {}
        self._greeting = False
        self._words = {"login": self.login, "crlf": "\r\n", "nul": "\0"}

    def message(self, name: str) -> bytes:
        """A message file, with CR LF."""
        return (self._path.parent / "messages" / f"{name}.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    async def run(self) -> None:
        """Play it. Raises AssertionError with file and line."""
        current = "1"
        try:
            for number, line in enumerate(self._lines, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                if connection := re.fullmatch(r"\[([\w@.-]+)\]", line.strip()):
                    current = connection[1]
                    await self._client(current)
                    continue
                try:
                    await self._step(current, line)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{self._path.name}:{number}: {line}\n{error}") from error
        finally:
            for client in self._clients.values():
                await client.__aexit__(None, None, None)

    async def _step(self, current: str, line: str) -> None:
        sign, _, text = line.partition(" ")
        if sign == "@":
            await self._set_up(text)
            return
        if sign == "D:":
            await self._stage.deliver(self.login, self.message(text))
            return
        client = await self._client(current)
        if sign == "C:":
            await self._send(client, text)
        elif sign == "C>":
            await self._send(client, text)
            _, tagged = await client.until(text.partition(" ")[0].encode())
            assert tagged.split(b" ")[1:2] == [b"OK"], f"got  {tagged!r}"
        elif sign == "S:":
            got = await client.response()
            assert got == self._expected(text), f"got  {got!r}\nwant {self._expected(text)!r}"
        elif sign == "S~":
            got = await client.response()
            found = re.fullmatch(self._filled(text), got.decode("utf-8", "replace").rstrip("\r\n"), re.DOTALL)
            assert found, f"got  {got!r}"
            self._words.update(found.groupdict())
        elif sign == "S.":
            got = await client.response()
            assert got == b"", f"got  {got!r}"
        else:
            raise AssertionError("no such step")

    async def _set_up(self, text: str) -> None:
        what, _, value = text.partition(" ")
        if what == "no":
            self._greeting = True
        elif what == "quota":
            await self._stage.set_quota(self.login, *map(int, value.split()))
        elif what == "shared":
            await self._stage.share(value, self.login)
        else:
            raise AssertionError("no such setting")

    async def _client(self, name: str) -> ImapClient:
        if name not in self._clients:
            client = self._clients[name] = await ImapClient(self._stage.plain).__aenter__()
            if not self._greeting:
                await client.login(name if "@" in name else self.login)
        return self._clients[name]

    async def _send(self, client: ImapClient, text: str) -> None:
        """A line with its literals."""
        text = self._filled(text)
        at = 0
        for found in _MESSAGE.finditer(text):
            octets = self.message(found[1])
            await client.send(text[at : found.start()].encode() + b"{%d%b}\r\n" % (len(octets), found[2].encode()))
            if not found[2]:
                got = await client.response()
                assert got.startswith(b"+ "), f"got  {got!r}"
            await client.send(octets)
            at = found.end()
        await client.send(text[at:].encode() + b"\r\n")

    def _filled(self, text: str) -> str:
        return _WORD.sub(lambda found: self._words[found[1]], text)

    def _expected(self, text: str) -> bytes:
        def literal(found: re.Match[str]) -> str:
            octets = self.message(found[1])
            return f"{{{len(octets)}}}\r\n" + octets.decode("utf-8", "surrogateescape")

        return _MESSAGE.sub(literal, self._filled(text)).encode("utf-8", "surrogateescape") + b"\r\n"
