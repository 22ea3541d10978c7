"""COMPRESS=DEFLATE: the same dialogue in fewer octets, bombs end where plain octets would."""

from __future__ import annotations

import asyncio
import zlib

import pytest

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage
from tests.kit.tls import client_context


class Packed:
    """The client's side of the layer."""

    def __init__(self, client: ImapClient) -> None:
        self.client = client
        self.pack, self.unpack = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
        self.text = b""
        self.received = 0

    def packed(self, octets: bytes) -> bytes:
        return self.pack.compress(octets) + self.pack.flush(zlib.Z_SYNC_FLUSH)

    async def say(self, octets: bytes) -> None:
        await self.client.send(self.packed(octets))

    async def until(self, end: bytes) -> bytes:
        """Everything up to and with the line that starts so; what there is when the server has closed."""
        async with asyncio.timeout(20):
            while not (self.text.startswith(end) or b"\r\n" + end in self.text) or not self.text.endswith(b"\r\n"):
                data = await self.client.reader.read(65536)
                if not data:
                    break
                self.received += len(data)
                self.text += self.unpack.decompress(data)
        text, self.text = self.text, b""
        return text

    async def ok(self, command: bytes) -> bytes:
        await self.say(b"x " + command + b"\r\n")
        answer = await self.until(b"x ")
        assert b"x OK" in answer, answer
        return answer


async def begin(client: ImapClient, name: str) -> Packed:
    await client.login(name)
    await client.ok(b"COMPRESS DEFLATE")
    return Packed(client)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_dialogue_inside_the_layer(stage: Stage, tls: bool) -> None:
    port, context = (stage.implicit, client_context()) if tls else (stage.plain, None)
    async with ImapClient(port, tls=context) as client:
        packed = await begin(client, "packed@jx.example")
        body = b"Subject: x\r\n\r\n" + b"the same line again and again\r\n" * 5000
        await packed.ok(b"SELECT INBOX")
        await packed.ok(b"APPEND INBOX {%d+}\r\n" % len(body) + body)
        before = packed.received
        assert body[14:] in await packed.ok(b"UID FETCH 1:* BODY.PEEK[]")
        assert packed.received - before < len(body) / 10
        for _ in range(50):  # the client's stream goes on though ours starts anew each time
            await packed.ok(b"STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY)")
        await packed.say(b"i IDLE\r\n")
        await packed.until(b"+ ")
        await stage.deliver("packed@jx.example", body)
        assert b"* 2 EXISTS" in await packed.until(b"* 2 EXISTS")
        await packed.say(b"DONE\r\n")
        assert b"i OK" in await packed.until(b"i ")
        await packed.say(b"o LOGOUT\r\n")
        assert b"o OK" in await packed.until(b"o ")


async def test_octets_one_by_one(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        packed = await begin(client, "slow@jx.example")
        for octet in packed.packed(b"a NOOP\r\nb NOOP\r\n"):
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        assert b"b OK" in await packed.until(b"b ")


async def test_when_it_is_refused(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        assert (await client.command(b"COMPRESS DEFLATE"))[1].startswith(b"BAD")
        await client.login("refused@jx.example")
        assert b"COMPRESS=DEFLATE" in (await client.ok(b"CAPABILITY"))[0]
        assert (await client.command(b"COMPRESS LZMA"))[1].startswith(b"NO")
        await client.ok(b"COMPRESS DEFLATE")
        packed = Packed(client)
        await packed.say(b"a COMPRESS DEFLATE\r\n")
        assert b"a NO [COMPRESSIONACTIVE]" in await packed.until(b"a ")
        await packed.ok(b"UNAUTHENTICATE")
        await packed.say(b"b STARTTLS\r\n")
        assert b"b BAD" in await packed.until(b"b ")


@pytest.mark.parametrize("before", [b"", b"a AUTHENTICATE PLAIN\r\n"])
async def test_a_bomb_ends_where_a_long_line_does(stage: Stage, before: bytes) -> None:
    async with ImapClient(stage.plain) as client:
        packed = await begin(client, "bomb@jx.example")
        await packed.say(before + b"a NOOP " + b"x" * 50_000_000)
        assert b"* BYE" in await packed.until(b"* BYE")


@pytest.mark.parametrize("octets", [b"plain NOOP\r\n" * 20, zlib.compress(b"a NOOP\r\n"), b"\x03\x00"])
async def test_what_is_no_stream_ends_the_connection_and_nothing_else(stage: Stage, octets: bytes) -> None:
    async with ImapClient(stage.plain) as client, ImapClient(stage.plain) as other:
        await begin(client, "broken@jx.example")
        await client.send(octets)
        async with asyncio.timeout(20):
            try:
                assert await client.reader.read() == b""
            except ConnectionResetError:
                pass
        await other.ok(b"NOOP")
