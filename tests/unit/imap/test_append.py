"""What is appended can be had again, whatever its octets; what is not, leaves nothing behind."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from govmail.config import Limits
from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage, running

LOGIN = "append@jx.example"
BINARY = (
    b"Subject: zeros\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n%b\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nplain text\r\n--b--\r\n"
)


def files(stage: Stage) -> list[Path]:
    return list(Path(stage.server.spool or tempfile.gettempdir()).glob("append-*"))


@pytest.mark.parametrize("size", [600, 5_000_000], ids=["in memory", "in files"])
@pytest.mark.parametrize("form", [b"{%d+}", b"~{%d+}"], ids=["literal", "literal8"])
async def test_nul_comes_back_from_binary_and_never_from_body(tmp_path: Path, size: int, form: bytes) -> None:
    """RFC 3516 §4.4: such octets are re-encoded; RFC 3501 §4.3: no literal holds NUL. The part itself is what it was."""
    octets = b"\0\n\r" + random.Random(size).randbytes(size)
    mail = BINARY % octets
    async with running("sqlite://", tmp_path) as stage, ImapClient(stage.plain, limit=1 << 24) as client:
        stage.server.spool = tmp_path
        await client.login(LOGIN)
        _, tagged = await client.command(b"APPEND INBOX " + form % len(mail) + b"\r\n" + mail)
        assert tagged.startswith(b"OK"), tagged
        await client.ok(b"SELECT INBOX")
        (line,) = await client.ok(b"FETCH 1 BINARY.PEEK[1]")
        assert line == b"* 1 FETCH (BINARY[1] ~{%d}\r\n" % len(octets) + octets + b")\r\n"
        (line,) = await client.ok(b"FETCH 1 BODY[]")
        assert b"\0" not in line
        assert line.count(b"\n") == line.count(b"\r\n") == line.count(b"\r")
        (line,) = await client.ok(b"FETCH 1 (BODY[2] BODY[HEADER.FIELDS (Subject)])")
        assert b"plain text" in line
        assert b"Subject: zeros" in line
        assert stage.server.budget.used == 0
        assert not files(stage)


async def test_bare_line_ends_stay_in_a_literal_and_go_from_a_literal8(stage: Stage) -> None:
    mail = b"Subject: a\nX: b\n\nline\nline\n"
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(mail), mail))
        await client.ok(b"APPEND INBOX ~{%d+}\r\n%b" % (len(mail), mail))
        await client.ok(b"SELECT INBOX")
        (line,) = await client.ok(b"FETCH 1 BODY[]")
        assert line.endswith(mail + b")\r\n")
        (line,) = await client.ok(b"FETCH 2 (BINARY[1] BODY[HEADER])")
        assert b"~{10}\r\nline\nline\n" in line
        assert b"Subject: a\r\nX: b\r\n" in line


async def test_a_large_attachment_is_forwarded_without_being_sent(tmp_path: Path) -> None:
    """CATENATE of a part that lies in a file, with text before and after, into a message that goes through the spool."""
    part = random.Random(2).randbytes(3_000_000).hex().encode()
    mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + part + b"\r\n--b--\r\n"
    async with running("sqlite://", tmp_path) as stage, ImapClient(stage.plain, limit=1 << 24) as client:
        stage.server.spool = tmp_path
        await client.login(LOGIN)
        await client.append(mail)
        await client.ok(b'APPEND Drafts CATENATE (TEXT {12+}\r\nSubject: a\r\n TEXT {2+}\r\n\r\n URL "/INBOX/;UID=1/;SECTION=1" TEXT {3+}\r\nend)')
        await client.ok(b"EXAMINE Drafts")
        (line,) = await client.ok(b"FETCH 1 BODY[]")
        assert line.partition(b"}\r\n")[2] == b"Subject: a\r\n\r\n" + part + b"end)\r\n"
        assert stage.server.budget.used == 0
        assert not files(stage)


async def test_parts_that_urls_name_count(tmp_path: Path) -> None:
    """RFC 4469 §5: TOOBIG; and what all unfinished messages may be together."""
    limits = Limits(message_octets=100_000, inflight_octets=250_000)
    part = b'URL "/INBOX/;UID=1"'
    async with running("sqlite://", tmp_path, limits) as stage, ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Subject: x\r\n\r\n" + b"y" * 59_986)
        _, tagged = await client.command(b"APPEND INBOX CATENATE (" + part + b" " + part + b")")
        assert tagged.startswith(b"NO [TOOBIG]")
        _, tagged = await client.command(b"APPEND INBOX" + (b" CATENATE (" + part + b")") * 5)
        assert tagged.startswith(b"NO [UNAVAILABLE]")
        assert stage.server.budget.used == 0
        await client.ok(b"APPEND INBOX" + (b" CATENATE (" + part + b")") * 4)
        (line,) = await client.ok(b"STATUS INBOX (MESSAGES)")
        assert b"MESSAGES 5" in line


async def test_too_many_messages_are_refused_and_read(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path, Limits(imap_append_messages=3)) as stage, ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        _, tagged = await client.command(b"APPEND INBOX" + b" {14+}\r\nSubject: a\r\n\r\n" * 4)
        assert tagged.startswith(b"NO [LIMIT]")
        await client.ok(b"APPEND INBOX" + b" {14+}\r\nSubject: a\r\n\r\n" * 3)
        assert stage.server.budget.used == 0


async def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path) as stage:
        stage.server.spool = tmp_path
        async with ImapClient(stage.plain) as client:
            await client.login(LOGIN)
            await client.send(b"a1 APPEND INBOX {5000000+}\r\n" + b"x" * 5_000_000 + b" {5000000}\r\n")
            assert await client.response() == b"+ go on\r\n"
            assert stage.server.budget.used == 10_000_000
            assert len(files(stage)) == 1
        await stage.server.close()
        assert stage.server.budget.used == 0
        assert not files(stage)


async def test_a_full_disk_refuses_and_the_dialogue_stays_in_step(stage: Stage, tmp_path: Path) -> None:
    stage.server.spool = tmp_path / "nowhere"
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        _, tagged = await client.command(b"APPEND INBOX {5000000+}\r\n" + b"x" * 5_000_000 + b" {14+}\r\nSubject: a\r\n\r\n")
        assert tagged.startswith(b"NO [UNAVAILABLE]")
        (line,) = await client.ok(b"STATUS INBOX (MESSAGES)")
        assert b"MESSAGES 0" in line
        assert stage.server.budget.used == 0
