"""Connections: TLS, limits, being thrown out, slow readers, hostile input."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
from pathlib import Path

import pytest
from msgspec import structs

from govmail.store.connection import Connection
from tests.kit.imap import ImapClient
from tests.kit.imap_server import TEST_LIMITS, Stage, person_id, running
from tests.kit.tls import client_context


async def test_no_login_in_clear(stage: Stage) -> None:
    async with ImapClient(stage.starttls) as client:
        assert b"LOGINDISABLED" in client.greeting
        for text in (b"LOGIN a@jx.example secret", b"AUTHENTICATE PLAIN AGEAYg=="):
            _, tagged = await client.command(text)
            assert tagged.startswith(b"NO [PRIVACYREQUIRED]")


async def test_starttls_then_login(stage: Stage) -> None:
    async with ImapClient(stage.starttls) as client:
        await client.start_tls(client_context())
        capability = (await client.ok(b"CAPABILITY"))[0]
        assert b"STARTTLS" not in capability
        assert b"AUTH=PLAIN" in capability
        await client.login("tls@jx.example")
        await client.ok(b"SELECT INBOX")
        _, tagged = await client.command(b"STARTTLS")
        assert tagged.startswith(b"BAD")


async def test_what_was_sent_before_tls_is_forgotten(stage: Stage) -> None:
    """CVE-2021-33515 and its kin: commands smuggled behind STARTTLS must not run inside TLS."""
    async with ImapClient(stage.starttls) as client:
        await client.send(b"a STARTTLS\r\nb NOOP\r\nc LOGIN half")
        _, tagged = await client.until(b"a")
        assert tagged.startswith(b"a OK")
        await client.writer.start_tls(client_context())
        await client.send(b"d NOOP\r\n")
        assert await client.response() == b"d OK NOOP completed\r\n"


async def test_implicit_tls(stage: Stage) -> None:
    async with ImapClient(stage.implicit, tls=client_context()) as client:
        assert client.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 ")
        await client.login("implicit@jx.example")
        version = client.writer.get_extra_info("ssl_object").version()
        assert version == "TLSv1.3"


async def test_failed_handshake_leaves_the_server_alone(stage: Stage) -> None:
    async with ImapClient(stage.starttls) as client:
        await client.ok(b"STARTTLS")
        await client.send(b"this is not TLS\r\n")
        assert await client.reader.read() != b"* OK"
    async with ImapClient(stage.starttls) as client:
        await client.ok(b"NOOP")


async def test_disabling_a_person_ends_all_connections(stage: Stage) -> None:
    """R-28: a revoked access ends live IDLE sessions."""
    async with ImapClient(stage.plain) as idle, ImapClient(stage.plain) as other, ImapClient(stage.plain) as stranger:
        await idle.login("gone@jx.example")
        await idle.ok(b"SELECT INBOX")
        await idle.send(b"i IDLE\r\n")
        assert (await idle.response()).startswith(b"+")
        await other.login("gone@jx.example")
        await stranger.login("stays@jx.example")
        assert stage.server.connections_of(person_id("gone@jx.example")) == 2
        assert await stage.server.kick(person_id("gone@jx.example")) == 2
        for client in (idle, other):
            assert (await client.response()).startswith(b"* BYE your access has changed")
            assert await client.response() == b""
        await stranger.ok(b"NOOP")
        assert await stage.server.kick(person_id("never@jx.example")) == 0


async def test_shutdown_says_bye(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path) as stage, ImapClient(stage.plain) as client:
        await client.login("a@jx.example")
        await stage.server.close()
        assert (await client.response()).startswith(b"* BYE server is going down")


async def test_connections_of_one_account_are_limited(tmp_path: Path) -> None:
    limits = structs.replace(TEST_LIMITS, connections_per_account=1)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as one, ImapClient(stage.plain) as two:
        await one.login("a@jx.example")
        _, tagged = await two.command(b"LOGIN a@jx.example secret")
        assert tagged.startswith(b"NO [LIMIT]")
        await one.command(b"LOGOUT")
        await one.reader.read()
        await two.login("a@jx.example")


async def test_connections_of_one_source_are_limited(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path, structs.replace(TEST_LIMITS, connections_per_source=1)) as stage:
        async with ImapClient(stage.plain) as one:
            async with ImapClient(stage.plain) as two:
                assert two.greeting.startswith(b"* BYE [UNAVAILABLE] too many connections")
            await one.ok(b"NOOP")
            await one.command(b"LOGOUT")
            await one.reader.read()
        async with ImapClient(stage.plain) as three:
            assert three.greeting.startswith(b"* OK")


async def test_time_to_log_in_and_inactivity(tmp_path: Path) -> None:
    limits = structs.replace(TEST_LIMITS, imap_login_seconds=1.0, imap_stall_seconds=1.0)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as late, ImapClient(stage.plain) as half:
        await half.login("half@jx.example")
        await half.send(b"a SEARCH TEXT {10}\r\n")
        assert (await half.response()).startswith(b"+")
        await half.send(b"abc")
        assert (await late.response()).startswith(b"* BYE too long without login")
        assert (await half.response()).startswith(b"* BYE nothing was read or sent")


async def test_idle_says_something_now_and_then(tmp_path: Path) -> None:
    limits = structs.replace(TEST_LIMITS, imap_keepalive_seconds=1.0)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as client:
        await client.login("a@jx.example")
        await client.send(b"a IDLE\r\n")
        assert (await client.response()).startswith(b"+")
        assert await client.response() == b"* OK still here\r\n"
        assert await client.response() == b"* OK still here\r\n"
        await client.send(b"DONE\r\n")
        assert await client.response() == b"a OK IDLE completed\r\n"


async def test_a_login_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """UNAUTHENTICATE (RFC 8437): not counted, not kicked, not told any more; and there is a time to log in again."""
    limits = structs.replace(TEST_LIMITS, imap_login_seconds=1.0)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as client:
        await client.login("first@jx.example")
        await client.ok(b"SELECT INBOX")
        await client.ok(b"UNAUTHENTICATE")
        assert stage.server.connections_of(person_id("first@jx.example")) == 0
        assert await stage.server.kick(person_id("first@jx.example")) == 0
        await client.login("second@jx.example")
        assert stage.server.connections_of(person_id("second@jx.example")) == 1
        await stage.deliver("first@jx.example", b"Subject: x\r\n\r\n")
        assert await client.ok(b"NOOP") == []
        await client.ok(b"UNAUTHENTICATE")
        assert (await client.response()).startswith(b"* BYE too long without login")


async def test_a_slow_command_says_that_it_goes_on(tmp_path: Path) -> None:
    """INPROGRESS (RFC 9585): here somebody else holds the store."""
    limits = structs.replace(TEST_LIMITS, imap_progress_seconds=1.0)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as client, ImapClient(stage.plain) as other:
        await client.login("a@jx.example")
        await client.append(b"Subject: x\r\n\r\n")
        await client.ok(b"SELECT INBOX")
        await other.login("a@jx.example")
        await other.ok(b"EXAMINE INBOX")
        held, release = threading.Event(), threading.Event()

        def hold(conn: Connection) -> None:
            held.set()
            release.wait(20)

        holding = asyncio.ensure_future(stage.database.write(hold))
        await asyncio.to_thread(held.wait, 20)
        try:
            await client.send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
            await other.send(b"a]b COPY 1 Trash\r\n")
            assert await client.response() == b'* OK [INPROGRESS ("a" NIL NIL)] still working\r\n'
            assert await client.response() == b'* OK [INPROGRESS ("a" NIL NIL)] still working\r\n'
            assert await other.response() == b"* OK [INPROGRESS (NIL NIL NIL)] still working\r\n"
        finally:
            release.set()
            await holding
        assert await client.response() == b"* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"
        assert await client.response() == b"a OK STORE completed\r\n"
        assert not stage.server.working


async def test_too_many_bad_commands(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.send(b"x NONSENSE\r\n" * 100)
        untagged, last = await client.until(b"*")
        assert len(untagged) == stage.server.limits.imap_errors
        assert last == b"* BYE too many bad commands\r\n"


@pytest.mark.parametrize("attack", [
    b"a {4294967295+}\r\n" * 50_000, b"a LOGIN " + b"(" * 100_000, b"x" * 1_000_000, b"a LOGIN {4000+}\r\n" + (b"y" * 4000 + b" {4000+}\r\n") * 10,
], ids=["absurd literals", "parentheses", "endless line", "many literals"])  # fmt: skip
async def test_attacks_before_login(stage: Stage, attack: bytes) -> None:
    """CVE-2024-34055, CVE-2024-37358, CVE-2025-61600, CVE-2026-27857."""
    async with ImapClient(stage.plain) as client:
        try:
            await client.send(attack)
            text = await client.reader.read()
            assert b"* BYE command too long" in text
        except (ConnectionError, BrokenPipeError):
            pass
    async with ImapClient(stage.plain) as client:
        await client.login("after@jx.example")


async def test_a_client_that_vanishes_in_the_middle(stage: Stage) -> None:
    for octets in (b"a APPEND INBOX {100}\r\nabc", b"a AUTHENTICATE PLAIN\r\n", b"a SELECT INBOX\r\nb IDLE\r\n", b"a SELECT INBOX\r\nb FETCH 1:* "):
        async with ImapClient(stage.plain) as client:
            if b"AUTHENTICATE" not in octets:
                await client.login("vanishes@jx.example")
            await client.send(octets)
            await client.response()
            client.writer.transport.abort()
    async with ImapClient(stage.plain) as client:
        await client.login("vanishes@jx.example")
        assert await client.ok(b"STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)\r\n"]
    assert stage.server.budget.used == 0


def big_message(octets: int) -> bytes:
    return b"Subject: big\r\n\r\n" + b"".join(b"%074d\r\n" % number for number in range(octets // 76))


async def test_big_messages_go_through_files(stage: Stage) -> None:
    message = big_message(9_000_000)
    async with ImapClient(stage.plain, limit=1 << 24) as client:
        await client.login("big@jx.example")
        await client.append(message)
        await client.ok(b"SELECT INBOX")
        got = await client.ok(b"FETCH 1 (UID BODY.PEEK[] FLAGS)")
        assert got == [b"* 1 FETCH (UID 1 FLAGS (\\Recent) BODY[] {%d}\r\n" % len(message) + message + b")\r\n"]
        for first, count in ((0, 10), (10, 100_000), (8_999_000, 5000), (300_000, 3_000_000)):
            got = await client.ok(b"FETCH 1 BODY.PEEK[]<%d.%d>" % (first, count))
            piece = message[first : first + count]
            assert got == [b"* 1 FETCH (BODY[]<%d> {%d}\r\n" % (first, len(piece)) + piece + b")\r\n"]
        got = await client.ok(b"FETCH 1 BODY.PEEK[TEXT]<100.7>")
        assert got == [b"* 1 FETCH (BODY[TEXT]<100> {7}\r\n" + message[116:123] + b")\r\n"]
    assert stage.server.budget.used == 0


async def test_a_slow_reader_does_not_make_the_server_grow(stage: Stage) -> None:
    message = big_message(6_000_000)
    async with ImapClient(stage.plain) as client:
        await client.login("slow@jx.example")
        await client.append(message)
        await client.ok(b"SELECT INBOX")
        await client.send(b"".join(b"f%d FETCH 1 BODY.PEEK[]\r\n" % number for number in range(20)))
        session = next(iter(stage.server._sessions))
        # The reader's own buffer fills, then the kernel's, then ours: the command waits there.
        for _ in itertools.takewhile(lambda _: not session._paused, itertools.count()):
            await asyncio.sleep(0)
        assert session.transport.get_write_buffer_size() <= 2 * stage.server.limits.imap_output_octets
        client.writer.transport.abort()


async def test_all_unfinished_messages_together_are_bounded(tmp_path: Path) -> None:
    limits = structs.replace(TEST_LIMITS, inflight_octets=1000)
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as one, ImapClient(stage.plain) as two:
        for client in (one, two):
            await client.login("a@jx.example")
        await one.send(b"a APPEND INBOX {900}\r\n")
        assert (await one.response()).startswith(b"+")
        _, tagged = await two.command(b"APPEND INBOX {900}")
        assert tagged.startswith(b"NO [UNAVAILABLE]")
        await one.send(b"x" * 900 + b"\r\n")
        _, tagged = await one.until(b"a")
        assert tagged.startswith(b"a OK")
        await two.append(b"y" * 900)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(stage: Stage) -> None:
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await ImapClient(stage.implicit, tls=context).__aenter__()
