"""What FETCH sends is well-formed, whatever the mail looks like, and complete, however large the mailbox is."""

from __future__ import annotations

import base64
import quopri
import random

import pytest

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage
from tests.kit.imap_values import parse_value

LOGIN = "fetch@jx.example"

ODD = [
    b"",
    b"\r\n",
    b"no header at all",
    b"Subject: only a header",
    b'From: "\\\\" <a@jx.example>\r\nSubject: "quoted\\"\r\n\r\nx',
    "From: 王伟 <a@jx.example>\r\nSubject: 公文\r\n\r\n正文".encode("gb18030"),
    b"Subject: \xff\xfe\x80\r\nTo: <>, , ;\r\n\r\n",
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n--b--',
    b"Content-Type: multipart/mixed\r\n\r\nno boundary",
    b"Content-Type: text/plain; name*0*=gb2312''%B9%AB; name*1*=%CE%C4\r\nContent-Disposition: attachment; filename==?gb2312?B?uavOxA==?=\r\n\r\nx",
    b"bare\nline\nends\n\nbody\n",
]  # fmt: skip


@pytest.mark.parametrize("octets", [one for one in ODD if one], ids=range(1, len(ODD)))
async def test_odd_mail(stage: Stage, octets: bytes) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(octets)
        await client.ok(b"SELECT INBOX")
        names = [b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"BODY[]", b"BODY[HEADER]", b"BODY[TEXT]", b"BODY[1]"]
        (rest,) = await client.ok(b"FETCH 1 (" + b" ".join(names) + b" FLAGS)")
        values: dict[bytes, object] = {}
        rest = b" " + rest.removeprefix(b"* 1 FETCH (")
        for name in names:
            if name == b"BODY[]":  # FLAGS comes before the sections
                rest = rest.removeprefix(b" FLAGS (\\Seen \\Recent)")
            assert rest.startswith(b" " + name + b" ")
            values[name], rest = parse_value(rest[len(name) + 2 :])
        assert rest == b")\r\n"
        assert values[b"BODY[]"] == octets
        assert values[b"BODY[HEADER]"] + values[b"BODY[TEXT]"] == octets  # type: ignore[operator]


async def test_batches_join_without_a_seam(stage: Stage) -> None:
    """More messages than one batch holds, with gaps between their UIDs."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Subject: one\r\n\r\n" + b"x" * 20_000)
        await client.ok(b"SELECT INBOX")
        for _ in range(8):
            await client.ok(b"COPY 1:* INBOX")
        await client.ok(b"STORE 2,7,100:110,256 +FLAGS.SILENT (\\Deleted)")
        await client.ok(b"EXPUNGE")
        uids = [uid for uid in range(1, 257) if uid not in {2, 7, 256, *range(100, 111)}]
        for items in (b"UID", b"(UID ENVELOPE)", b"(UID BODY.PEEK[TEXT])", b"(UID BODY[1])"):
            lines = await client.ok(b"FETCH 1:* " + items)
            assert [int(line.split(b"UID ")[1].split()[0].rstrip(b")")) for line in lines] == uids
            assert [int(line.split()[1]) for line in lines] == list(range(1, len(uids) + 1))
        assert (await client.ok(b"SEARCH UNSEEN")) == [b"* SEARCH\r\n"]


async def test_a_part_in_a_file_comes_decoded_and_streamed(stage: Stage) -> None:
    """BINARY of what is too large for the database: whole, in pieces, its size; the encoding full of odd lines."""
    octets = random.Random(1).randbytes(1_500_000)
    text = "\r\n".join(f"caf\u00e9 {number}" for number in range(60_000)).encode()
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n").replace(b"=", b"")
    quoted = quopri.encodestring(text.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    mail = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded +
        b"\r\n--b\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n" + quoted + b"\r\n--b--\r\n"
    )  # fmt: skip
    async with ImapClient(stage.plain, limit=1 << 23) as client:
        await client.login(LOGIN)
        await client.append(mail)
        await client.ok(b"SELECT INBOX")
        (line,) = await client.ok(b"FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1] BINARY.PEEK[2])")
        start = b"* 1 FETCH (BINARY.SIZE[1] 1500000 BINARY[1] ~{1500000}\r\n" + octets
        assert line == start + b" BINARY[2] ~{%d}\r\n" % len(text) + text + b")\r\n"
        (line,) = await client.ok(b"FETCH 1 (BINARY.PEEK[1]<1000000.7> UID BINARY.PEEK[1]<1499999.7>)")
        assert line == b"* 1 FETCH (UID 1 BINARY[1]<1000000> ~{7}\r\n%b BINARY[1]<1499999> ~{1}\r\n%b)\r\n" % (
            octets[1_000_000:1_000_007], octets[-1:],
        )  # fmt: skip


async def test_large_headers_come_in_bounded_batches(stage: Stage) -> None:
    """The batch ends where it holds enough, and the next goes on there."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Subject: long\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\ntext")
        await client.ok(b"SELECT INBOX")
        for _ in range(9):
            await client.ok(b"COPY 1:* INBOX")
        lines = await client.ok(b"FETCH 1:* (UID BODY[HEADER])")
        seen = [line for line in lines if b"BODY[HEADER]" in line]
        assert [int(line.split()[4]) for line in seen] == list(range(1, 513))
        assert all(b"FLAGS (\\Seen" in line for line in seen)
        assert all(line.endswith(b"x\r\n\r\n)\r\n") for line in seen)


async def test_field_names_are_never_a_format(stage: Stage) -> None:
    """Names of fields stand in the answer as they were asked for, whatever is in them."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Subject: a\r\nX%d: b\r\nX.: c\r\n\r\ntext")
        await client.ok(b"SELECT INBOX")
        for name, found in ((b"X%d", b"X%d: b\r\n"), (b"X.", b"X.: c\r\n"), (b"%b%(x)s", b""), (b"[", b""), (b"Subject: a", b"")):
            (line,) = await client.ok(b'FETCH 1 BODY.PEEK[HEADER.FIELDS ("%b")]' % name)
            assert line.startswith(b"* 1 FETCH (BODY[HEADER.FIELDS (")
            assert line.endswith(b"{%d}\r\n%b\r\n)\r\n" % (len(found) + 2, found))
            (line,) = await client.ok(b'FETCH 1 (UID BODY.PEEK[HEADER.FIELDS ("%b")] BODY.PEEK[TEXT])' % name)
            assert line.endswith(b" {%d}\r\n%b\r\n BODY[TEXT] {4}\r\ntext)\r\n" % (len(found) + 2, found))


async def test_a_file_that_is_gone_ends_the_connection_not_the_grammar(stage: Stage) -> None:
    """A response was begun: neither NO nor another response may follow in it."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(random.Random(3).randbytes(900_000)))
        await client.ok(b"SELECT INBOX")
    (path,) = [path for path, _ in stage.database.blobs.paths()]
    for item, begun in ((b"BINARY.PEEK[1]", b"* 1 FETCH (BINARY[1] "), (b"BODY.PEEK[]", b"* 1 FETCH (BODY[] {")):
        async with ImapClient(stage.plain) as client:
            await client.login(LOGIN)
            await client.ok(b"EXAMINE INBOX")
            stage.database.blobs.remove(path)
            await client.send(b"a1 FETCH 1 " + item + b"\r\n")
            said = await client.reader.read()
            assert said.startswith(begun)
            assert b"a1 " not in said
