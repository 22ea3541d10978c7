"""From SMTP to the mailbox with the real store: what is stored, for whom, and what the sender hears."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from govmail.bus import LocalBus
from govmail.config import Limits, Listener
from govmail.delivery.budget import Budget
from govmail.delivery.full import FullMailboxes
from govmail.delivery.readers import ThreadReader
from govmail.errors import ReaderFailed
from govmail.interfaces import Action, Decision, MessageReader, Resolution, ScanRequest
from govmail.mail.envelope import Notify
from govmail.mail.message import Message
from govmail.mail.reading import Reading
from govmail.smtp.receive import Receiver
from govmail.smtp.server import SmtpServer
from govmail.smtp.session import Services
from govmail.store import accounts, blobs, contents, mailboxes, messages, quarantine, queue
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import HeldRecipient, NewContent, NewQuarantineItem
from tests.kit.people import People, person_id
from tests.kit.smtp import SmtpClient

LIFETIME = 7200
RETRY_AFTER = 77
NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
MESSAGE = b"From: Zhang San <zhangsan@jx.example>\r\nTo: lisi@jx.example\r\nDate: Mon, 23 Nov 2026 16:30:00 +0800\r\nMessage-ID: <1@jx.example>\r\nSubject: hello\r\n\r\nbody\r\n"
OUTSIDE = MESSAGE.replace(b"zhangsan@jx.example", b"a@else.example")


class Chain:
    """Decides what the test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.decision = Decision(Action.ACCEPT)
        self.requests: list[tuple[ScanRequest, bytes]] = []
        self.hang = False

    async def decide(self, request: ScanRequest) -> Decision:
        self.requests.append((request, request.message.read()))
        if self.hang:
            await asyncio.Event().wait()
        return self.decision


def hold(
    conn: Connection,
    content: NewContent,
    request: ScanRequest,
    decision: Decision,
    resolutions: Sequence[Resolution],
    *,
    subject: str,
    now: int,
) -> int:
    item = NewQuarantineItem(request.queue_id, decision.reason, now + 100, str(request.envelope.sender), subject, "{}", "{}", "[]")
    people = [
        HeldRecipient(str(target.address), target.directory_id, target.unit_id, Notify.FAILURE, None)
        for one in resolutions
        for target in one.targets
    ]
    return quarantine.hold(conn, content, item, people, now=now)


class House:
    """A whole mail house on SQLite in a directory of its own."""

    def __init__(self, directory: Path, readers: MessageReader | None = None, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.people = People()
        for name in ("zhangsan", "lisi", "wangwu"):
            self.people.add(name)
        self.people.add_group("all@jx.example", ["zhangsan", "lisi", "wangwu"])
        self.people.add_group("mixed@jx.example", ["lisi"], ["partner@else.example"])
        self.chain = Chain()
        self.woken: list[str] = []  # the queue, each time it was
        bus = LocalBus()
        self.database = Database.open("", data_dir=directory, durable=False, bus=bus)
        self.now = NOW
        full = FullMailboxes(bus, lambda: self.now)
        ids = itertools.count(1)
        self.budget = Budget(self.limits.inflight_octets)
        receiver = Receiver(
            hostname="mail.jx.example",
            limits=self.limits,
            database=self.database,
            chain=self.chain,
            hold=hold,
            clock=lambda: NOW,
            new_id=lambda: f"q{next(ids)}",
            queue_lifetime=LIFETIME,
            retry_after=RETRY_AFTER,
            on_queued=lambda: self.woken.append("queue"),
            full=full,
            readers=readers or ThreadReader(self.limits),
        )
        self.spool = directory / "spool"
        self.server = SmtpServer(
            Services(
                "mail.jx.example", self.limits, self.people, self.people, receiver.accept, self.budget, self.spool, lambda: f"s{next(ids)}", full
            )
        )

    async def listen(self, protocol: str = "smtp") -> int:
        plain = protocol == "submission"
        return await self.server.start(
            Listener(name=protocol, protocol=protocol, port=0, tls="none", allow_plain_login=plain)  # type: ignore[arg-type]
        )

    async def mailbox(self, name: str, mailbox: str = "INBOX") -> list[bytes]:
        """The messages in a mailbox, whole."""

        def read(conn: Connection) -> list[bytes]:
            account = accounts.find(conn, person_id(name))
            if account is None:
                return []
            box = mailboxes.get(conn, account.account_id, mailbox)
            found = []
            for row in messages.rows(conn, account.account_id, box.mailbox_id, None):
                header = contents.headers(conn, [row.content_id])[row.content_id]
                blob_id = contents.envelopes(conn, [row.content_id])[row.content_id].blob_id
                ref = blobs.locate(conn, [blob_id])[blob_id]
                octets = header + blobs.read(ref, 0, ref.size, self.database.blobs)
                assert len(octets) == row.size
                found.append(octets)
            return found

        return await self.database.read(read)

    async def queued(self) -> list[tuple[str, str, str | None]]:
        entries = await self.database.write(
            queue.lease, "test", now=int(NOW.timestamp()) + 10**6, limit=100, lease_seconds=60, busy_domains=()
        )
        return sorted((one.kind, one.recipient, one.last_status) for one in entries)

    async def fill(self, name: str) -> None:
        """Leave no room in this person's mailbox."""
        await self.database.write(accounts.ensure, person_id(name), now=1)
        await self.database.write(accounts.set_quota, person_id(name), 1)

    async def send(self, recipients: list[str], message: bytes = OUTSIDE, sender: str = "a@else.example", parameters: str = "") -> str:
        async with SmtpClient(await self.listen()) as client:
            await client.hello()
            return await client.mail(sender, recipients, message, parameters=parameters)

    async def submit(self, recipients: list[str], message: bytes, sender: str = "zhangsan@jx.example", parameters: str = "") -> str:
        async with SmtpClient(await self.listen("submission")) as client:
            await client.hello()
            assert (await client.login("zhangsan@jx.example", "secret")).startswith("235")
            return await client.mail(sender, recipients, message, parameters=parameters)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async for one in _house(tmp_path):
        yield one


async def _house(directory: Path, **limits: Any) -> AsyncIterator[House]:
    made = House(directory, **limits)
    yield made
    await made.server.stop(grace=0)
    await made.database.close()
    assert made.budget.used == 0
    assert not list(made.spool.glob("*"))


async def test_one_recipient(house: House) -> None:
    assert await house.send(["lisi@jx.example"]) == "250 2.0.0 q1"
    (stored,) = await house.mailbox("lisi")
    assert stored == (
        b"Return-Path: <a@else.example>\r\n"
        b"Received: from client.example ([127.0.0.1]) by mail.jx.example with ESMTP id\r\n"
        b" q1 for <lisi@jx.example>; Mon, 23 Nov 2026 08:30:00 +0000\r\n" + OUTSIDE
    )
    request, scanned = house.chain.requests[0]
    assert scanned == OUTSIDE
    assert (request.sign, request.queue_id) == (False, "q1")


async def test_all_get_equal_octets_that_name_nobody(house: House) -> None:
    reply = await house.send(["lisi@jx.example", "all@jx.example", "LISI@jx.example"])
    assert reply.startswith("250")
    copies = [await house.mailbox(name) for name in ("zhangsan", "lisi", "wangwu")]
    assert copies[0] == copies[1] == copies[2]
    assert len(copies[0]) == 1  # lisi three times over, one copy
    assert b" for " not in copies[0][0].split(b"Subject")[0]
    assert await house.queued() == []


async def test_verdict_headers_and_forgeries(house: House) -> None:
    house.chain.decision = Decision(Action.TAG, headers=(("X-Govmail-Spam", "yes"),), spam=True)
    forged = b"Return-Path: <boss@jx.example>\r\nAuthentication-Results: MAIL.jx.example; dkim=pass\r\nAuthentication-Results: else.example; spf=pass\r\nX-Govmail-Spam: no\r\n"
    assert (await house.send(["lisi@jx.example"], forged + OUTSIDE)).startswith("250")
    assert await house.mailbox("lisi") == []
    (stored,) = await house.mailbox("lisi", "Junk")
    header = stored.partition(b"\r\n\r\n")[0]
    assert re.findall(rb"(?mi)^(return-path|x-govmail-spam|authentication-results): *([^\r]*)", header) == [
        (b"Return-Path", b"<a@else.example>"),
        (b"X-Govmail-Spam", b"yes"),
        (b"Authentication-Results", b"else.example; spf=pass"),
    ]


@pytest.mark.parametrize(
    ("action", "reply"), [(Action.REJECT, "550 5.7.1 because"), (Action.DEFER, "451 4.7.1 because")]
)
async def test_refusals_store_nothing(house: House, action: Action, reply: str) -> None:
    house.chain.decision = Decision(action, public="because")
    assert await house.send(["lisi@jx.example"]) == reply
    assert await house.mailbox("lisi") == []


async def test_a_chain_that_hangs_defers(tmp_path: Path) -> None:
    async for house in _house(tmp_path, accept_seconds=0.05):
        house.chain.hang = True
        assert (await house.send(["lisi@jx.example"])).startswith("451 4.7.1")


async def test_quarantine(house: House) -> None:
    house.chain.decision = Decision(Action.QUARANTINE, reason="virus", headers=(("X-Govmail-Virus", "infected"),))
    assert (await house.send(["lisi@jx.example", "wangwu@jx.example"])).startswith("250")
    assert await house.mailbox("lisi") == []
    (item,) = await house.database.read(quarantine.list_page, state=None, unit_ids=None, limit=10)
    assert (item.reason, item.subject) == ("virus", "hello")
    assert sorted(one.address for one in item.recipients) == ["lisi@jx.example", "wangwu@jx.example"]


async def test_ambiguous_structure_is_held(house: House) -> None:
    twice = OUTSIDE.replace(b"Subject", b"Content-Type: multipart/mixed; boundary=a\r\nContent-Type: text/plain\r\nSubject")
    assert (await house.send(["lisi@jx.example"], twice)).startswith("250")
    assert await house.mailbox("lisi") == []
    (item,) = await house.database.read(quarantine.list_page, state=None, unit_ids=None, limit=10)
    assert item.reason == "policy"


async def test_loops_end(house: House) -> None:
    assert (await house.send(["lisi@jx.example"], b"Received: from x\r\n" * 51 + OUTSIDE)).startswith("554 5.4.6")
    assert (await house.send(["lisi@jx.example"], b"Received: from x\r\n" * 50 + OUTSIDE)).startswith("250")


async def test_a_header_cannot_continue_ours(house: House) -> None:
    assert (await house.send(["lisi@jx.example"], b" ; dkim=pass\r\n" + OUTSIDE)).startswith("554 5.6.0")


async def test_all_over_quota_is_one_reply(house: House) -> None:
    await house.fill("lisi")
    assert await house.send(["lisi@jx.example"]) == "452 4.2.2 mailbox is full"
    assert await house.queued() == []
    assert house.woken == []


async def test_a_full_mailbox_is_refused_before_the_octets_travel(house: House) -> None:
    await house.fill("lisi")
    size = len(OUTSIDE)
    async with SmtpClient(await house.listen()) as client:
        await client.hello()

        async def asked(recipient: str, parameters: str = f" SIZE={size}") -> str:
            await client.command("RSET")
            await client.command(f"MAIL FROM:<a@else.example>{parameters}")
            return await client.command(f"RCPT TO:<{recipient}>")

        assert (await asked("lisi@jx.example"))[:3] == "250"  # nobody has tried yet
        assert await house.send(["lisi@jx.example"]) == "452 4.2.2 mailbox is full"
        assert await asked("lisi@jx.example") == "452 4.2.2 mailbox is full"
        assert (await asked("lisi@jx.example", f" SIZE={size - 1}"))[:3] == "250"  # this may fit
        assert (await asked("lisi@jx.example", ""))[:3] == "250"
        assert (await asked("all@jx.example"))[:3] == "250"  # others have room
        house.now = NOW + timedelta(minutes=2)
        assert (await asked("lisi@jx.example"))[:3] == "250"
        assert await house.send(["lisi@jx.example"]) == "452 4.2.2 mailbox is full"
        await house.database.write(accounts.set_quota, person_id("lisi"), None)
        assert (await asked("lisi@jx.example"))[:3] == "250"


async def test_who_submits_is_not_refused_a_single_recipient(house: House) -> None:
    await house.fill("lisi")
    assert (await house.submit(["lisi@jx.example"], MESSAGE)).startswith("452")
    parameters = f" SIZE={len(MESSAGE)}"
    assert (await house.submit(["lisi@jx.example", "wangwu@jx.example"], MESSAGE, parameters=parameters)).startswith("250")


async def test_some_over_quota_is_tried_again(house: House) -> None:
    await house.fill("lisi")
    assert (await house.send(["lisi@jx.example", "wangwu@jx.example"])).startswith("250")
    assert await house.mailbox("lisi") == []
    assert len(await house.mailbox("wangwu")) == 1
    (entry,) = await house.database.read(queue.list_page, after=0, limit=10)
    assert (entry.attempts, entry.next_attempt) == (1, NOW.timestamp() + RETRY_AFTER)  # this was the first one
    assert await house.queued() == [("local", "lisi@jx.example", "4.2.2")]
    assert house.woken == ["queue"]


async def test_remote_recipients_are_queued(house: House) -> None:
    assert (await house.send(["mixed@jx.example"])).startswith("250")
    assert await house.queued() == [("remote", "partner@else.example", None)]
    assert len(await house.mailbox("lisi")) == 1
    (entry,) = await house.database.read(queue.list_page, after=0, limit=10)
    assert entry.expires == NOW.timestamp() + LIFETIME


async def test_outgoing_mail_does_not_wait(house: House) -> None:
    """The queue is woken by the commit that gives it work, and by no other."""
    await house.send(["lisi@jx.example"])
    assert house.woken == []
    await house.submit(["partner@else.example"], MESSAGE)
    assert house.woken == ["queue"]


async def test_large_lists_are_queued(tmp_path: Path) -> None:
    async for house in _house(tmp_path, expand_now=2):
        assert (await house.send(["wangwu@jx.example", "all@jx.example"])).startswith("250")
        assert await house.queued() == [("list", "all@jx.example", None)]
        assert await house.mailbox("lisi") == []
        assert len(await house.mailbox("wangwu")) == 1


async def test_success_notices_come_from_the_queue(house: House) -> None:
    async with SmtpClient(await house.listen()) as client:
        await client.send(
            b"EHLO c.example\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<lisi@jx.example> NOTIFY=SUCCESS\r\nDATA\r\n" + OUTSIDE + b".\r\n"
        )
        assert [(await client.reply())[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]
    assert await house.queued() == [("local", "lisi@jx.example", None)]


@pytest.mark.parametrize("octets", [100_000, 3_000_000, 6_000_000])
async def test_large_messages(house: House, octets: int) -> None:
    body = b"".join(b"%075d\r\n" % number for number in range(octets // 77))
    assert (await house.send(["lisi@jx.example", "wangwu@jx.example"], OUTSIDE + body)).startswith("250")
    (stored,) = await house.mailbox("lisi")
    assert stored.endswith(OUTSIDE + body)


class BrokenReader:
    """As when the process that reads dies of a message."""

    async def read(self, message: Message) -> Reading:
        raise ReaderFailed


async def test_a_message_that_kills_its_reader_is_deferred(tmp_path: Path) -> None:
    async for house in _house(tmp_path, readers=BrokenReader()):
        assert (await house.send(["lisi@jx.example"], OUTSIDE + b"x\r\n" * 50_000)).startswith("451 4.3.0")
        assert await house.mailbox("lisi") == []


async def test_binary_becomes_text(house: House) -> None:
    message = (
        b"From: a@else.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n.\r\n\n\xff\r\n--b--\r\n"
    )
    async with SmtpClient(await house.listen()) as client:
        await client.send(
            b"EHLO c.example\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<lisi@jx.example>\r\nBDAT %d LAST\r\n" % len(message) + message
        )
        assert [(await client.reply())[:3] for _ in range(4)] == ["250"] * 4
    (stored,) = await house.mailbox("lisi")
    assert b"Content-Type: text/plain\r\n\r\nplain\r\n--b" in stored
    assert b"base64" in stored
    assert not re.search(rb"\0|(?<!\r)\n|\r(?!\n)", stored)


# -- submission ---------------------------------------------------------------------------------------------------


async def test_submission_repairs(house: House) -> None:
    message = b"From: zhangsan@jx.example\r\nTo: lisi@jx.example\r\nBCC: wangwu@jx.example,\r\n secret@jx.example\r\nResent-Bcc: x@jx.example\r\nSubject: hi\r\n\r\nbody\r\n"
    assert (await house.submit(["lisi@jx.example", "wangwu@jx.example"], message)).startswith("250")
    for name in ("lisi", "wangwu"):
        (stored,) = await house.mailbox(name)
        assert b"wangwu" not in stored
        assert b"secret" not in stored
        assert re.search(rb"with ESMTPA\s", stored)
        assert stored.endswith(
            b"Date: Mon, 23 Nov 2026 08:30:00 +0000\r\nMessage-ID: <q1@mail.jx.example>\r\n"
            b"From: zhangsan@jx.example\r\nTo: lisi@jx.example\r\nSubject: hi\r\n\r\nbody\r\n"
        )
    request, scanned = house.chain.requests[0]
    assert request.sign
    assert b"Message-ID" in scanned
    assert b"cc" not in scanned.lower()


async def test_a_complete_submission_is_not_changed(house: House) -> None:
    assert (await house.submit(["lisi@jx.example"], MESSAGE)).startswith("250")
    (stored,) = await house.mailbox("lisi")
    assert stored.endswith(b"\r\n" + MESSAGE)


async def test_large_submissions_are_repaired_too(house: House) -> None:
    body = b"".join(b"%075d\r\n" % number for number in range(40_000))
    message = b"From: zhangsan@jx.example\r\nBcc: wangwu@jx.example\r\n\r\n" + body
    assert (await house.submit(["lisi@jx.example"], message)).startswith("250")
    (stored,) = await house.mailbox("lisi")
    assert stored.endswith(b"From: zhangsan@jx.example\r\n\r\n" + body)
    request, scanned = house.chain.requests[0]
    assert scanned.endswith(b"From: zhangsan@jx.example\r\n\r\n" + body)
    assert request.message.size == len(scanned)


@pytest.mark.parametrize(
    ("header", "reply"),
    [
        (b"From: San <San.Zhang@JX.example>", "250"),
        (b"From: lisi@jx.example", "550 5.7.1 From names lisi@jx.example, which is not one of your addresses"),
        (b'From: "zhangsan@jx.example" <boss@jx.example>', "550 5.7.1"),
        (b"From: zhangsan@jx.example, lisi@jx.example", "550 5.7.1"),
        (b"From: zhangsan@jx.example\r\nFrom: lisi@jx.example", "550 5.7.1"),
        (b"From: zhangsan@jx.example\r\nfrom : lisi@jx.example", "550 5.7.1"),
        (b"From: zhangsan@jx.example\r\nSender: lisi@jx.example", "550 5.7.1 Sender names"),
        (b"From: group: lisi@jx.example;", "550 5.7.1"),
        (b"From: nobody:;", "554 5.6.0"),
        (b"From: zhangsan", "550 5.7.1"),
        (b"From: =?utf-8?b?eGg=?= <zhangsan@jx.example>", "250"),
        (b"Subject: no sender", "554 5.6.0 the message has no From field"),
        (b"X: y\r\n" * 1000 + b"From: lisi@jx.example", "554 5.6.0"),
    ],
)
async def test_the_sender_is_who_has_logged_in(house: House, header: bytes, reply: str) -> None:
    house.people.add("zhangsan", "secret", "san.zhang@jx.example")
    assert (await house.submit(["lisi@jx.example"], header + b"\r\n\r\nbody\r\n")).startswith(reply)


async def test_the_null_path_is_for_receipts(house: House) -> None:
    receipt = b"From: zhangsan@jx.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\nread\r\n--b--\r\n"
    assert (await house.submit(["lisi@jx.example"], receipt, sender="")).startswith("250")
    assert (await house.submit(["lisi@jx.example"], MESSAGE, sender="")).startswith("550 5.7.1")


async def test_what_leaves_is_seven_bit_before_it_is_signed(house: House) -> None:
    message = (
        "From: 张三 <zhangsan@jx.example>\r\nSubject: 通知\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n开会\r\n"
    ).encode()
    assert (await house.submit(["lisi@jx.example"], message, parameters=" BODY=8BITMIME")).startswith("250")
    assert house.chain.requests[-1][1].endswith("开会\r\n".encode())
    assert (await house.submit(["lisi@jx.example", "b@else.example"], message, parameters=" BODY=8BITMIME")).startswith("250")
    assert house.chain.requests[-1][1].isascii()
    stored = (await house.mailbox("lisi"))[-1]
    assert stored.isascii()
    assert await house.queued() == [("remote", "b@else.example", None)]


async def test_a_large_seven_bit_copy(house: House) -> None:
    body = "第一季度工作会议通知\r\n".encode() * 100_000
    message = b"From: zhangsan@jx.example\r\nBcc: x@jx.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
    assert (await house.submit(["b@else.example"], message, parameters=" BODY=8BITMIME")).startswith("250")
    assert house.chain.requests[-1][1].isascii()


# -- crash of what we depend on -----------------------------------------------------------------------------------


async def test_a_store_that_fails_is_temporary(house: House) -> None:
    async with SmtpClient(await house.listen()) as client:
        await client.hello()
        await house.database.close()
        reply = await client.mail("a@else.example", ["lisi@jx.example"], OUTSIDE)
        assert reply[:1] == "4"
        house.database = Database.open("", data_dir=house.spool.parent, durable=False)
