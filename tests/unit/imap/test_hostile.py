"""What hostile clients send: memory stays bounded, nobody else suffers, and the answer is a refusal rather than an incident."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from govmail.imap.session import READ_AHEAD, STRANGER_OCTETS, Session
from tests.kit.imap import ImapClient
from tests.kit.imap_server import TEST_LIMITS, Stage, person_id, running

LOGIN = "hostile@jx.example"
MESSAGE = b"Subject: hello\r\n\r\nx\r\n"


def held(session: Session) -> int:
    """Octets from the client that the session keeps."""
    return session.framer.buffered + len(session.framer._held)


async def until(holds: object) -> None:
    """Let the loop run until `holds()`."""
    assert callable(holds)
    for _ in itertools.takewhile(lambda _: not holds(), itertools.count()):
        await asyncio.sleep(0)


async def flood(client: ImapClient, octets: bytes) -> bytes:
    """Send as much as the server takes; everything that it said, until it closed."""
    with contextlib.suppress(ConnectionError):
        await client.send(octets)
    try:
        return await client.reader.read()
    except ConnectionError:
        return b""


async def test_a_million_absurd_literals(stage: Stage) -> None:
    for login in (False, True):
        async with ImapClient(stage.plain) as client:
            if login:
                await client.login(LOGIN)
            text = await flood(client, b"a SEARCH TEXT " + b"{4294967295+}\r\n" * 1_000_000)
            assert text in (b"", b"* BYE command too long\r\n")
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)


async def test_a_thousand_strangers_hold_little(tmp_path: Path) -> None:
    """Each sends what it can, in every state before login: little of it is kept, and somebody else can still log in."""
    async with running("sqlite://", tmp_path, structs.replace(TEST_LIMITS, imap_failure_seconds=1.0)) as stage:
        beginnings = (b"a LOGIN nobody wrong\r\n", b"a AUTHENTICATE PLAIN\r\n", b"a LOGIN {4000+}\r\n", b"")
        clients = [await ImapClient(stage.plain).__aenter__() for _ in range(1000)]
        for client, start in zip(clients, itertools.cycle(beginnings)):
            client.writer.write(start + b"x" * 6000)
        everybody = list(stage.server._sessions)
        await until(lambda: all(held(session) or not session.open for session in everybody))
        for client in clients:
            client.writer.write(b"NOOP\r\n" * 10_000)
        async with ImapClient(stage.plain) as friend:
            await friend.login(LOGIN)
            await friend.ok(b"SELECT INBOX")
        assert len(everybody) == 1000
        assert max(held(session) for session in everybody) <= STRANGER_OCTETS + stage.server.limits.imap_login_octets
        for client in clients:
            client.writer.transport.abort()


async def test_who_has_not_logged_in_cannot_flood(stage: Stage) -> None:
    """ID, NOOP and CAPABILITY are for everybody, but not without end: each ID is a line in the log."""
    for text in (b'a ID ("name" "x")\r\n', b"a NOOP\r\n", b"a CAPABILITY\r\n"):
        async with ImapClient(stage.plain) as client:
            answer = await flood(client, text * 500)
            assert answer.count(b"a OK") < stage.server.limits.imap_errors
            assert answer.endswith(b"* BYE too many bad commands\r\n")


async def test_floods_of_harmless_commands_after_login(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        texts = [b'ID ("name" "%b")' % (b"x" * 100), b"ENABLE " + b" X" * 500, b"NOOP", b"CAPABILITY"]
        await client.send(b"".join(b"f%d %b\r\n" % (number, texts[number % 4]) for number in range(2000)))
        _, tagged = await client.until(b"f1999")
        assert tagged.startswith(b"f1999 OK")


async def test_who_does_not_read_is_not_read(stage: Stage) -> None:
    """Commands whose answers nobody takes: output stops at its limit, and then input does, too."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        (session,) = stage.server._sessions
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        writing = asyncio.ensure_future(client.send(b'a LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))\r\n' * 20_000))
        await until(lambda: session._paused and session._held)
        assert session.transport.get_write_buffer_size() <= 2 * stage.server.limits.imap_output_octets
        assert held(session) <= 2 * READ_AHEAD + 256 * 1024  # one read of the socket beyond the limit
        client.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writing
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)


async def test_trickling_does_not_win_time_before_login(tmp_path: Path) -> None:
    limits = structs.replace(TEST_LIMITS, imap_login_seconds=1.0)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as client:

        async def trickle() -> None:
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.05)

        writing = asyncio.ensure_future(trickle())
        assert (await client.response()).startswith(b"* BYE too long without login")
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writing


async def test_a_command_octet_by_octet(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        for octet in b'a LOGIN {19+}\r\nhostile@jx.example " secret"\r\n'.replace(b"{19+}", b"{18+}").replace(b" secret", b"secret"):
            await client.send(bytes([octet]))
        assert (await client.response()).startswith(b"a OK")


async def test_parentheses(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(MESSAGE)
        await client.ok(b"SELECT INBOX")
        for text in (
            b"SEARCH " + b"(" * 30_000, b"SEARCH " + b"(" * 100 + b"ALL" + b")" * 100, b"SEARCH " + b"NOT " * 10_000 + b"ALL",
            b"SEARCH " + b"OR ALL " * 5000 + b"ALL", b"FETCH 1 " + b"(" * 30_000, b'LIST ("" "*"', b"STORE 1 FLAGS " + b"(" * 1000, b"ID " + b"(" * 1000,
            b"NOTIFY SET " + b"(" * 1000, b'LIST "" ' + b"(" * 1000,
        ):  # fmt: skip
            _, tagged = await client.command(text)
            assert tagged.startswith(b"BAD"), text[:40]


async def test_the_largest_sets(stage: Stage) -> None:
    """They name four thousand million messages and cost what is there."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        whole, many = b"1:4294967295", b",".join([b"1:4294967295", b"4294967295:*"] * 2000)
        await client.ok(b"SELECT INBOX")
        for numbers in (whole, many):  # an empty mailbox
            assert await client.ok(b"UID FETCH " + numbers + b" FLAGS") == []
        for _ in range(3):
            await client.append(MESSAGE)
        await client.ok(b"NOOP")
        for numbers in (whole, many):
            assert len(await client.ok(b"UID FETCH " + numbers + b" FLAGS")) == 3
            assert await client.ok(b"UID SEARCH UID " + numbers) == [b"* SEARCH 1 2 3\r\n"]
            assert await client.ok(b"SEARCH " + numbers) == [b"* SEARCH 1 2 3\r\n"]
            assert len(await client.ok(b"UID STORE " + numbers + b" +FLAGS (\\Flagged)")) == 3
            _, tagged = await client.command(b"UID COPY " + numbers + b" Trash")
            assert b" 1:3 " in tagged
            _, tagged = await client.command(b"FETCH " + numbers + b" FLAGS")
            assert tagged.startswith(b"BAD")  # no such sequence number
        _, tagged = await client.command(b"UID FETCH 4294967296 FLAGS")
        assert tagged.startswith(b"BAD")
        assert await client.ok(b"UID EXPUNGE " + many) == []


@pytest.mark.parametrize("line", [b"x" * 60_000, b"\0\xff\x80", b"done please", b"a NOOP", b"", b"{5+}"])
async def test_idle_with_garbage(stage: Stage, line: bytes) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.send(b"i IDLE\r\n")
        assert (await client.response()).startswith(b"+")
        await client.send(line + b"\r\n")
        assert await client.response() == b"i BAD expected DONE\r\n"
        await client.ok(b"NOOP")


async def test_idle_with_an_endless_line(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.send(b"i IDLE\r\n")
        assert (await client.response()).startswith(b"+")
        assert await flood(client, b"x" * 1_000_000) in (b"", b"* BYE line too long\r\n")  # a reset may overtake the words
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)


async def test_vanishing_is_no_incident(stage: Stage) -> None:
    """Whatever the store is being asked for a connection that has just gone."""
    with capture_logs() as logs:
        for text in (b"i IDLE\r\n", b"n NOOP\r\n", b"s SELECT Trash\r\n", b"f FETCH 1 (FLAGS BODY[])\r\n", b"n NOTIFY SET (personal (MessageNew MessageExpunge))\r\n"):
            for _ in range(10):
                async with ImapClient(stage.plain) as client:
                    await client.login(LOGIN)
                    await client.append(MESSAGE)
                    await client.ok(b"SELECT INBOX")
                    (session,) = stage.server._people[person_id(LOGIN)]
                    await client.send(text)
                    await until(lambda session=session: session._task is not None)
                    session.transport.abort()
                await until(lambda: not stage.server._tasks and not stage.server._sessions)
    assert not [one for one in logs if one["event"] == "imap.incident"]
