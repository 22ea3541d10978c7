"""What a client sees of the server: order of commands, replies, limits, TLS and logins, on both event loops."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from govmail.errors import NotScanned
from govmail.interfaces import Acceptance
from govmail.mail.envelope import Body, Notify
from tests.kit.people import person_id
from tests.kit.smtp import SmtpClient
from tests.kit.tls import client_context

Stage = Any
Make = Callable[..., Stage]
MESSAGE = b"From: a@else.example\r\nSubject: hello\r\n\r\n.dot\r\nbody\r\n"


async def talk(client: SmtpClient, script: list[tuple[str | bytes, str]]) -> None:
    """Each line must be answered by a reply that the pattern matches from its start."""
    for line, pattern in script:
        reply = await client.command(line)
        assert re.match(pattern, reply), f"{line!r}: {reply!r}, expected {pattern!r}"


async def test_greeting_and_capabilities(stage: Make) -> None:
    made = stage(message_octets=1_000_000)
    async with SmtpClient(await made.listen()) as client:
        assert client.greeting == "220 mail.jx.example ESMTP govmail"
        reply = await client.hello()
    assert [line[4:] for line in reply.split("\n")] == [
        "mail.jx.example",
        "SIZE 1000000",
        "PIPELINING",
        "8BITMIME",
        "BINARYMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=1000 MAILMAX=100000",
        "STARTTLS",
    ]


async def test_a_mail_arrives_byte_for_byte(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        reply = await client.mail("a@else.example", ["zhangsan@jx.example", "LiSi@JX.example"], MESSAGE)
        assert reply == "250 2.0.0 M1"
        assert await client.command("QUIT") == "221 2.0.0 goodbye"
        assert await client.closed()
    (mail,) = made.mails
    assert mail.data == MESSAGE
    assert str(mail.envelope.sender) == "a@else.example"
    assert [str(one.address) for one in mail.envelope.recipients] == ["zhangsan@jx.example", "LiSi@jx.example"]
    assert (mail.origin.helo, mail.origin.protocol, mail.origin.client_ip) == ("client.example", "ESMTP", "127.0.0.1")


async def test_envelope_parameters(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(
            client,
            [
                ("MAIL FROM:<> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=abc+2Bd", "250 2.1.0"),
                ("RCPT TO:<zhangsan@jx.example> NOTIFY=SUCCESS ORCPT=rfc822;z@x.example", "250 2.1.5"),
                ("DATA", "354"),
            ],
        )
        assert (await client.data(MESSAGE)).startswith("250")
    envelope = made.mails[0].envelope
    assert envelope.sender.null
    assert (envelope.body, envelope.ret_full, envelope.envid, envelope.declared_size) == (Body.EIGHTBITMIME, False, "abc+d", 100)
    assert (envelope.recipients[0].notify, envelope.recipients[0].orcpt) == (Notify.SUCCESS, "rfc822;z@x.example")


async def test_order_of_commands(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await talk(
            client,
            [
                ("NOOP", "250 2.0.0"),
                ("HELP", "214 2.0.0"),
                ("VRFY zhangsan", "252 2.5.0"),
                ("EXPN all", "502 5.5.1"),
                ("XYZZY", "500 5.5.1"),
                ("MAIL FROM:<a@else.example>", "503 5.5.1 send EHLO"),
                ("HELO client.example", "250 mail.jx.example$"),
                ("RCPT TO:<zhangsan@jx.example>", "503 5.5.1"),
                ("DATA", "503 5.5.1"),
                ("MAIL FROM:<a@else.example>", "250 2.1.0"),
                ("MAIL FROM:<a@else.example>", "503 5.5.1"),
                ("DATA", "503 5.5.1"),
                ("RCPT TO:<zhangsan@jx.example>", "250 2.1.5"),
                ("RSET", "250 2.0.0"),
                ("RCPT TO:<zhangsan@jx.example>", "503 5.5.1"),
                ("MAIL FROM:<a@else.example>", "250 2.1.0"),
                ("EHLO again.example", "250"),
                ("DATA", "503 5.5.1"),
                ("AUTH PLAIN", "502 5.5.1"),
            ],
        )


async def test_recipients(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(
            client,
            [
                ("MAIL FROM:<a@else.example>", "250"),
                ("RCPT TO:<nobody@jx.example>", "550 5.1.1 "),
                ("RCPT TO:<wangwu@jx.example>", "550 5.2.1 "),
                ("RCPT TO:<b@other.example>", "550 5.7.1 relaying denied"),
                ("RCPT TO:<b@[127.0.0.1]>", "550 5.7.1 "),
                ('RCPT TO:<"b@other.example"@jx.example>', "550 5.1.1 "),
                ("RCPT TO:<@jx.example:b@other.example>", "550 5.7.1 "),
                ("RCPT TO:<b%other.example@jx.example>", "550 5.1.1 "),
                ("RCPT TO:<all@jx.example>", "250 2.1.5"),
                ("RCPT TO:<Postmaster>", "250 2.1.5"),
                ("RCPT TO:<postmaster@jx.example>", "250 2.1.5"),
                ("RCPT TO:<San.Zhang@jx.example>", "250 2.1.5"),
                ("RCPT TO:<张三@jx.example>", "553 5.6.7 "),
            ],
        )
        made.people.down = True
        await talk(client, [("RCPT TO:<nobody@jx.example>", "451 4.4.3 "), ("RCPT TO:<lisi@jx.example>", "451 4.4.3 ")])


async def test_pipelined_groups_are_answered_in_one_write(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await client.send(
            b"MAIL FROM:<a@else.example>\r\nRCPT TO:<nobody@jx.example>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\n"
        )
        group = await client.reader.read(65536)
        assert [line[:3] for line in group.split(b"\r\n")[:-1]] == [b"250", b"550", b"250", b"354"]
        # the end of the data, the next mail and QUIT in one piece
        await client.send(
            b"one\r\n.\r\nMAIL FROM:<b@else.example>\r\nRCPT TO:<zhangsan@jx.example>\r\nBDAT 5\r\ntwo\r\nBDAT 0 LAST\r\nQUIT\r\n"
        )
        replies = [await client.reply() for _ in range(6)]
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "250", "250", "221"]
    assert [mail.data for mail in made.mails] == [b"one\r\n", b"two\r\n"]


async def test_every_cut_gives_the_same_dialogue(stage: Make) -> None:
    made = stage()
    sent = b"EHLO c.example\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\n..a\r\n\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nBDAT 2\r\nx\rBDAT 4 LAST\r\n\ny\r\nQUIT\r\n"
    port = await made.listen()
    async with SmtpClient(port) as client:
        await client.send(sent)
        whole = await client.reader.read()
    for step in (1, 2, 3, 7):
        async with SmtpClient(port) as client:
            for start in range(0, len(sent), step):
                await client.send(sent[start : start + step])
                await asyncio.sleep(0)
            assert re.sub(rb"M\d+", b"", await client.reader.read()) == re.sub(rb"M\d+", b"", whole)
    assert {mail.data for mail in made.mails} == {b".a\r\n\r\n", b"x\r\ny\r\n"}  # a CR LF cut by two chunks is whole


BARE = [b"a\n.\nMAIL FROM:<boss@jx.example>\r\n", b"a\r.\r", b"a\n", b"a\rb\r\n", b"a\r\n.\n", b"a\n.\r\n", b"a\r\n.\r", b"\n.\r\n"]


@pytest.mark.parametrize("data", BARE)
async def test_bare_line_ends_are_refused_after_the_data(stage: Make, data: bytes) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        await client.send(data + b"\r\n.\r\n")
        assert (await client.reply()).startswith("550 5.6.11 ")
        await talk(client, [("NOOP", "250"), ("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250")])
        await client.send(b"BDAT %d LAST\r\n" % len(data) + data)
        assert (await client.reply()).startswith("550 5.6.11 ")
        assert await client.command("NOOP") == "250 2.0.0 OK"
    assert made.mails == []


async def test_nul_is_refused(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        assert (await client.data(b"a\0b\r\n")).startswith("554 5.6.0 ")


async def test_long_lines(stage: Make) -> None:
    made = stage(line_octets=1000)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        assert (await client.mail("", ["lisi@jx.example"], b"x" * 998 + b"\r\n")).startswith("250")
        assert (await client.mail("", ["lisi@jx.example"], b"x" * 999 + b"\r\n")).startswith("554 5.6.0")


async def test_binary_keeps_every_octet(stage: Make) -> None:
    made = stage()
    octets = bytes(range(256)) + b"\n.\r\n.\r\n\r"
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<> BODY=BINARYMIME", "250"), ("RCPT TO:<lisi@jx.example>", "250")])
        await client.send(b"BDAT 100\r\n" + octets[:100])
        assert await client.reply() == "250 2.0.0 100 octets received"
        await talk(client, [("DATA", "503 5.5.1")])
        await client.send(b"BDAT %d LAST\r\n" % len(octets[100:]) + octets[100:])
        assert (await client.reply()).startswith("250 2.0.0 M1")
        await talk(
            client, [("MAIL FROM:<> BODY=BINARYMIME", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "503 5.5.1")]
        )
    assert made.mails[0].data == octets


async def test_bdat_without_a_mail_swallows_its_octets(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await client.send(b"BDAT 10 LAST\r\nQUIT\r\nXXXX")
        assert (await client.reply()).startswith("503")
        await talk(client, [("MAIL FROM:<>", "250")])
        await client.send(b"BDAT 6\r\nQUIT\r\n")
        assert (await client.reply()).startswith("503")
        assert (await client.command("BDAT x")).startswith("501")
        assert await client.closed()


async def test_size(stage: Make) -> None:
    made = stage(message_octets=65536)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<> SIZE=65537", "552 5.3.4"), ("MAIL FROM:<> SIZE=65536", "250")])
        await talk(client, [("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        assert (await client.data(b"x" * 65535 + b"\r\n")).startswith("552 5.3.4")
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        assert (await client.data(b"x" * 65534 + b"\r\n")).startswith("250")
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250")])
        await client.send(b"BDAT 40000\r\n" + b"x" * 40000 + b"BDAT 40000\r\n" + b"x" * 40000 + b"BDAT 5 LAST\r\nQUIT\r")
        assert [(await client.reply())[:9] for _ in range(3)] == ["250 2.0.0", "552 5.3.4", "503 5.5.1"]


async def test_large_mails_go_through_the_spool(stage: Make) -> None:
    made = stage(memory_octets=65536)
    body = b"".join(b"%07d\r\n" % number for number in range(400_000))
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        assert (await client.mail("", ["lisi@jx.example"], body)).startswith("250")
    assert made.mails[0].data == body


async def test_octets_in_flight(stage: Make) -> None:
    made = stage(inflight_octets=100_000)
    port = await made.listen()
    async with SmtpClient(port) as one, SmtpClient(port) as two:
        for client in (one, two):
            await client.hello()
            await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250")])
        await one.send(b"BDAT 90000\r\n" + b"x" * 90000)
        assert (await one.reply()).startswith("250")
        await talk(two, [("DATA", "354")])
        assert (await two.data(b"x" * 20000 + b"\r\n")).startswith("452 4.3.1")
        await talk(two, [("MAIL FROM:<> SIZE=20000", "452 4.3.1")])
        assert (await one.command("BDAT 0 LAST")).startswith("250")
        await talk(two, [("MAIL FROM:<> SIZE=20000", "250")])


async def test_a_disk_without_room_takes_no_new_mail(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        made.disk.floor = 1 << 62
        await talk(client, [("MAIL FROM:<>", "452 4.3.1"), ("MAIL FROM:<> SIZE=10", "452 4.3.1"), ("NOOP", "250")])
        made.disk.floor = 0
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        made.disk.floor = 1 << 62  # it has run full meanwhile
        assert (await client.data(MESSAGE)).startswith("452 4.3.1")
        made.disk.floor = 0
        assert (await client.mail("", ["lisi@jx.example"], MESSAGE)).startswith("250")
    assert [one.data for one in made.mails] == [MESSAGE]


async def test_chunks_over_tls_wherever_they_are_cut(stage: Make) -> None:
    """BDAT and the octets behind it in one record, in many, and broken off (Exim CVE-2026-45185)."""
    made = stage()
    port = await made.listen()
    body = b"a\r\n.\r\nBDAT 5 LAST\r\nQUIT\r\n" * 3
    whole = b"MAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\n" + b"BDAT 20\r\n" + body[:20] + b"BDAT %d LAST\r\n" % len(body[20:]) + body[20:]
    async with SmtpClient(port) as client:
        await client.hello()
        assert (await client.command("STARTTLS")).startswith("220")
        await client.start_tls(client_context())
        await client.hello()
        for cut in range(0, len(whole), 7):
            await client.send(whole[:cut])
            await client.send(whole[cut:])
            assert [(await client.reply())[:3] for _ in range(4)] == ["250"] * 4
        taken = len(made.mails)
        await client.send(whole[:-5])  # and gone
    assert {one.data for one in made.mails[:taken]} == {body}
    async with SmtpClient(port) as client:
        assert (await client.hello()).startswith("250")
    assert len(made.mails) == taken


async def test_too_many_recipients(stage: Make) -> None:
    made = stage(smtp_recipients=100)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await client.send(b"MAIL FROM:<>\r\n" + b"RCPT TO:<lisi@jx.example>\r\n" * 101 + b"DATA\r\n")
        replies = [await client.reply() for _ in range(103)]
        assert {reply[:3] for reply in replies[:101]} == {"250"}
        assert replies[101].startswith("452 4.5.3")
        assert replies[102].startswith("354")
        assert (await client.data(b"x\r\n")).startswith("250")
    assert len(made.mails[0].envelope.recipients) == 100


async def test_errors_end_the_connection(stage: Make) -> None:
    made = stage(smtp_errors=3)
    async with SmtpClient(await made.listen()) as client:
        await talk(client, [("X", "500"), ("X", "500"), ("X", "421 4.7.0 too many errors")])
        assert await client.closed()


async def test_an_accepted_mail_forgives_errors(stage: Make) -> None:
    made = stage(smtp_errors=3)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        for _ in range(3):
            await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<x@jx.example>", "550"), ("RCPT TO:<y@jx.example>", "550")])
            await talk(client, [("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
            assert (await client.data(MESSAGE)).startswith("250")


async def test_idle_commands_and_mails_are_limited(stage: Make) -> None:
    made = stage(smtp_commands=5, smtp_transactions=2)
    port = await made.listen()
    async with SmtpClient(port) as client:
        await talk(client, [("NOOP", "250")] * 5 + [("NOOP", "421 4.7.0 too many commands")])
        assert await client.closed()
    async with SmtpClient(port) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<>", "250"), ("RSET", "250"), ("MAIL FROM:<>", "250"), ("RSET", "250")])
        await talk(client, [("MAIL FROM:<>", "421 4.7.0 enough mail")])
        assert await client.closed()


async def test_connections_per_source(stage: Make) -> None:
    made = stage(connections_per_source=1)
    port = await made.listen()
    other = await made.listen()
    async with SmtpClient(port) as first:
        async with SmtpClient(port) as second:
            assert second.greeting.startswith("421 4.7.0")
            assert await second.closed()
        async with SmtpClient(other) as third:
            assert third.greeting.startswith("220")
        await first.command("QUIT")
        assert await first.closed()
    async with SmtpClient(port) as client:
        assert client.greeting.startswith("220")


async def test_lines(stage: Make) -> None:
    made = stage(smtp_line_octets=1000)
    async with SmtpClient(await made.listen()) as client:
        await client.send(b"NOOP " + b"x" * 5000)
        await client.send(b"x" * 5000 + b"\r\nNOOP\r\n")
        assert (await client.reply()).startswith("500 5.5.2 line too long")
        assert await client.reply() == "250 2.0.0 OK"
        await client.send(b"NOOP\nNOOP\r\nNO\rOP\r\n\r\n")
        assert [(await client.reply())[:9] for _ in range(4)] == ["500 5.5.2", "250 2.0.0", "500 5.5.2", "500 5.5.1"]


async def test_timeouts(stage: Make) -> None:
    made = stage(smtp_idle_seconds=0.05, smtp_data_seconds=0.05)
    port = await made.listen()
    async with SmtpClient(port) as client:
        assert await client.reply() == "421 4.4.2 timed out, closing"
        assert await client.closed()
    made = stage(smtp_idle_seconds=30, smtp_data_seconds=0.05)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        await client.send(b"x" * 1000)
        assert await client.reply() == "421 4.4.2 timed out, closing"
        assert await client.closed()
    made = stage(smtp_idle_seconds=0.05, smtp_data_seconds=30)
    made.go = asyncio.Event()
    async with SmtpClient(await made.listen()) as client:  # our own slowness is not the client's
        await client.send(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\nx\r\n.\r\n")
        await made.begun.wait()
        await asyncio.sleep(0.2)
        made.go.set()
        replies = [await client.reply() for _ in range(5)]
        assert replies[4].startswith("250")


async def test_a_trickle_does_not_prolong_the_wait(stage: Make) -> None:
    made = stage(smtp_idle_seconds=0.2)
    async with SmtpClient(await made.listen()) as client:
        reply = asyncio.create_task(client.reply())
        while not reply.done():
            await client.send(b"x")
            await asyncio.wait([reply], timeout=0.02)
        assert reply.result().startswith("421 4.4.2")


async def test_a_whole_message_has_its_time(stage: Make) -> None:
    made = stage(smtp_data_total_seconds=0.2)
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        await talk(client, [("MAIL FROM:<>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")])
        reply = asyncio.create_task(client.reply())
        while not reply.done():
            await client.send(b"x\r\n")
            await asyncio.wait([reply], timeout=0.02)
        assert reply.result().startswith("421 4.4.2")


# -- what aiosmtpd would do ---------------------------------------------------------------------------------------


async def test_exceptions_do_not_leak(stage: Make) -> None:
    made = stage()
    made.answer = RuntimeError("secret detail of the inside")
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        reply = await client.mail("", ["lisi@jx.example"], MESSAGE)
        assert re.fullmatch(r"451 4\.3\.0 internal error, incident Q\d+", reply)
        assert await client.command("NOOP") == "250 2.0.0 OK"


async def test_refusals_show_their_public_text_only(stage: Make) -> None:
    made = stage()
    made.answer = NotScanned("try later\r\n250 ok 你", private="engine at 10.0.0.1 down")
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        assert await client.mail("", ["lisi@jx.example"], MESSAGE) == "451 4.7.1 try later 250 ok \\u4f60"
    made.answer = Acceptance(550, "5.7.1", "no\r\n250 yes")
    async with SmtpClient(await made.listen()) as client:
        await client.hello()
        assert await client.mail("", ["lisi@jx.example"], MESSAGE) == "550 5.7.1 no 250 yes"


async def test_half_close_still_gets_its_reply(stage: Make) -> None:
    made = stage()
    made.go = asyncio.Event()
    async with SmtpClient(await made.listen()) as client:
        await client.send(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\nx\r\n.\r\n")
        client.writer.write_eof()
        await made.begun.wait()
        made.go.set()
        replies = [await client.reply() for _ in range(5)]
        assert replies[4] == "250 2.0.0 M1"
        assert await client.closed()


async def test_a_client_that_vanishes_does_not_stop_the_acceptance(stage: Make) -> None:
    made = stage()
    made.go = asyncio.Event()
    client = SmtpClient(await made.listen())
    async with client:
        await client.send(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\nx\r\n.\r\n")
        await made.begun.wait()
        client.writer.transport.abort()
    made.go.set()
    await made.server.stop()
    assert [mail.data for mail in made.mails] == [b"x\r\n"]


async def test_a_client_that_vanishes_in_the_data_leaves_nothing(stage: Make) -> None:
    made = stage(memory_octets=65536)
    async with SmtpClient(await made.listen()) as client:
        await client.send(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\n" + b"x" * 3_000_000)
    await made.server.stop()
    assert made.mails == []  # the fixture looks for files and budget


async def test_limits_are_not_shared_between_servers(stage: Make) -> None:
    narrow, wide = stage(smtp_line_octets=600), stage(smtp_line_octets=5000)
    async with SmtpClient(await narrow.listen()) as one, SmtpClient(await wide.listen()) as two:
        line = "NOOP " + "x" * 1000
        assert (await one.command(line)).startswith("500 5.5.2")
        assert (await two.command(line)).startswith("250")


# -- TLS and logins -----------------------------------------------------------------------------------------------


async def test_starttls_forgets_what_was_said_in_clear(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen("submission")) as client:
        assert "AUTH" not in await client.hello()
        await talk(client, [("AUTH PLAIN", "538 5.7.11"), ("MAIL FROM:<zhangsan@jx.example>", "530 5.7.0 send STARTTLS")])
        # what is pipelined behind STARTTLS must not be read after the handshake
        await client.send(b"STARTTLS\r\nEHLO injected.example\r\nNOOP\r\n")
        assert await client.reply() == "220 2.0.0 ready to start TLS"
        await client.start_tls(client_context())
        await talk(client, [("MAIL FROM:<>", "503 5.5.1 send EHLO")])
        reply = await client.hello()
        assert "AUTH PLAIN LOGIN" in reply
        assert "STARTTLS" not in reply
        await talk(client, [("STARTTLS", "503"), ("MAIL FROM:<zhangsan@jx.example>", "530 5.7.0 log in first")])
        await talk(client, [("RCPT TO:<x@y.example>", "503")])
        assert await client.login("zhangsan@jx.example", "secret") == "235 2.7.0 logged in"
        assert "AUTH" not in await client.hello()
        assert (await client.mail("zhangsan@jx.example", ["b@other.example"], MESSAGE)).startswith("250")
    (mail,) = made.mails
    assert (mail.origin.protocol, mail.origin.login) == ("ESMTPSA", "zhangsan@jx.example")
    assert mail.origin.tls.startswith("TLSv1.3 ")
    assert mail.envelope.login == person_id("zhangsan")


async def test_implicit_tls_offers_auth(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await made.listen("submission", tls="implicit"), tls=client_context()) as client:
        assert "AUTH PLAIN LOGIN" in await client.hello()
        assert (await client.login("san.zhang@jx.example", "secret")).startswith("235")
        body = b"x" * 70_000 + b"\r\n"
        assert (await client.mail("zhangsan@jx.example", ["lisi@jx.example"], body * 20)).startswith("250")
    assert made.mails[0].data == body * 20


async def test_a_failed_handshake_ends_quietly(stage: Make) -> None:
    made = stage(tls_handshake_seconds=0.1)
    port = await made.listen("submission", tls="implicit")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"EHLO plain.example\r\n")
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # never says anything
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    async with SmtpClient(port, tls=client_context()) as client:
        assert client.greeting.startswith("220")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def submission(made: Stage) -> int:
    return int(await made.listen("submission", tls="none", allow_plain_login=True))


async def test_auth_login(stage: Make) -> None:
    made = stage()
    port = await submission(made)
    name, password = b64("zhangsan@jx.example"), b64("secret")
    async with SmtpClient(port) as client:
        await client.hello()
        await talk(client, [("AUTH LOGIN", "334 VXNlcm5hbWU6$"), (name, "334 UGFzc3dvcmQ6$"), (password, "235 2.7.0")])
        await talk(client, [("AUTH LOGIN", "503 5.5.1")])
    async with SmtpClient(port) as client:
        await client.hello()
        await talk(client, [(f"AUTH LOGIN {name}", "334 UGFzc3dvcmQ6$"), (password, "235 2.7.0")])
    async with SmtpClient(port) as client:
        await client.hello()
        await talk(client, [("AUTH PLAIN", "334 $"), (b64("\0zhangsan@jx.example\0secret"), "235")])
    async with SmtpClient(port) as client:
        await client.hello()
        await talk(
            client,
            [
                ("AUTH PLAIN " + b64("zhangsan@jx.example\0zhangsan@jx.example\0secret"), "235"),
                ("MAIL FROM:<san.zhang@jx.example>", "250"),
                ("RSET", "250"),
                ("MAIL FROM:<lisi@jx.example>", "550 5.7.1 lisi@jx.example is not one of your addresses"),
                ("MAIL FROM:<>", "250"),
            ],
        )


async def test_auth_refused(stage: Make) -> None:
    made = stage(smtp_auth_failures=3)
    port = await submission(made)
    async with SmtpClient(port) as client:
        await talk(client, [("AUTH LOGIN", "503 5.5.1 send EHLO")])
        await client.hello()
        await talk(
            client,
            [
                ("AUTH LOGIN", "334"),
                ("*", "501 5.7.0"),
                ("AUTH LOGIN", "334"),
                (b64("zhangsan@jx.example"), "334"),
                ("*", "501 5.7.0"),
                ("AUTH PLAIN", "334"),
                ("*", "501 5.7.0"),
                ("AUTH PLAIN", "334"),
                ("!!!", "501 5.5.4 bad base64"),
                ("AUTH PLAIN =", "501"),
                ("AUTH CRAM-MD5", "504 5.5.4"),
                ("AUTH PLAIN " + b64("\0zhangsan@jx.example\0"), "501"),
                ("AUTH PLAIN " + b64("lisi@jx.example\0zhangsan@jx.example\0secret"), "535 5.7.8"),
                ("AUTH PLAIN " + b64("\0zhangsan@jx.example\0wrong"), "535 5.7.8"),
                ("AUTH PLAIN " + b64("\0nobody@jx.example\0secret"), "421 4.7.0 too many failed logins"),
            ],
        )
        assert await client.closed()
    made.people.down = True
    async with SmtpClient(port) as client:
        await client.hello()
        assert (await client.login("zhangsan@jx.example", "secret")).startswith("454 4.")


async def test_long_tokens(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await submission(made)) as client:
        await client.hello()
        await talk(client, [("AUTH PLAIN", "334"), ("A" * 12_000, "501"), ("AUTH PLAIN", "334"), ("A" * 13_000, "500 5.5.2")])
        assert (await client.login("zhangsan@jx.example", "secret")).startswith("235")


@pytest.mark.parametrize("name", [b"\xd5\xc5\xc8\xfd-PC", "张三-PC".encode(), b"WIN_PC", b"[10.1]", b"a\0b"])
async def test_odd_names(stage: Make, name: bytes) -> None:
    made = stage()
    async with SmtpClient(await made.listen()) as client:
        await talk(client, [(b"EHLO " + name, "501 5.5.4"), (b"HELO " + name, "501 5.5.4")])
    async with SmtpClient(await submission(made)) as client:
        await talk(client, [(b"EHLO " + name, "250")])
        assert (await client.login("zhangsan@jx.example", "secret")).startswith("235")
        assert (await client.mail("zhangsan@jx.example", ["lisi@jx.example"], MESSAGE)).startswith("250")
    assert made.mails[0].origin.helo.isprintable()


async def test_submission_repairs_bare_lf_only(stage: Make) -> None:
    made = stage()
    async with SmtpClient(await submission(made)) as client:
        await client.hello()
        await client.login("zhangsan@jx.example", "secret")
        for data, reply in ((b"a\nb\n.\nc", "250"), (b"a\rb", "550 5.6.11")):
            await talk(
                client,
                [("MAIL FROM:<zhangsan@jx.example>", "250"), ("RCPT TO:<lisi@jx.example>", "250"), ("DATA", "354")],
            )
            await client.send(data + b"\r\n.\r\n")
            assert (await client.reply()).startswith(reply)
    assert [mail.data for mail in made.mails] == [b"a\r\nb\r\n.\r\nc\r\n"]


async def test_kick(stage: Make) -> None:
    made = stage()
    port = await submission(made)
    async with SmtpClient(port) as his, SmtpClient(port) as hers:
        for client, login in ((his, "zhangsan@jx.example"), (hers, "lisi@jx.example")):
            await client.hello()
            assert (await client.login(login, "secret")).startswith("235")
        assert await made.server.kick(person_id("zhangsan")) == 1
        assert await his.reply() == "421 4.7.0 your login has ended"
        assert await his.closed()
        assert await hers.command("NOOP") == "250 2.0.0 OK"
    assert await made.server.kick(person_id("zhangsan")) == 0


async def test_graceful_stop(stage: Make) -> None:
    made = stage()
    made.go = asyncio.Event()
    port = await made.listen()
    async with SmtpClient(port) as idle, SmtpClient(port) as busy:
        await busy.send(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<lisi@jx.example>\r\nDATA\r\n")
        for _ in range(4):
            await busy.reply()
        stopping = asyncio.create_task(made.server.stop(grace=20))
        assert await idle.reply() == "421 4.3.2 shutting down, try again later"
        await busy.send(b"x\r\n.\r\n")
        await made.begun.wait()
        made.go.set()
        assert (await busy.reply()).startswith("250")
        assert await busy.reply() == "421 4.3.2 shutting down, try again later"
        await stopping
    assert made.server.connections == 0
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_client_that_does_not_read_is_dropped(stage: Make) -> None:
    made = stage(smtp_idle_seconds=0.2, smtp_commands=10**7)
    async with SmtpClient(await made.listen(), limit=1024) as client:
        client.writer.transport.set_write_buffer_limits(high=2**30)
        client.writer.write(b"HELP\r\n" * 500_000)
        async with asyncio.timeout(20):
            await made.server.stop(grace=60)
        assert made.server.connections == 0
