"""Mail of our own people on its way out: login, rspamd's signature, queue, a real Postfix, and what operators see of it."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from admin import setup
from admin.actions import domain, person, queue, unit
from admin.actions.context import Actor, Context
from admin.engines import RspamdEngine
from filters import dkim
from filters.rspamd import Rspamd
from govmail import app, config, datadir
from govmail.app import Parts
from govmail.control import context_of
from govmail.mail.address import Address
from tests.kit.engines import data_directory, running_rspamd
from tests.kit.malware import request
from tests.kit.nameserver import running_nameserver
from tests.kit.postfix import Postfix, running_postfix
from tests.kit.queue import mails_in

OPERATOR = Actor.of_uid(0, "test")
PASSWORD = "correct horse battery staple"
ZHANG, LI = "zhangsan@jx.example", "lisi@jx.example"
REFUSED = {"later@peer.example": "450 4.2.0 come back later", "never@peer.example": "550 5.7.1 we take nothing from you"}
T = TypeVar("T")


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    root = tmp_path_factory.mktemp("postfix")
    for parent in root.parents[:2]:  # pytest's are 0700; Postfix's own users must get through
        parent.chmod(0o755)
    with running_postfix(root, domain="peer.example", users=("ok", "signed"), refused=REFUSED) as one:
        yield one


@pytest.fixture(scope="module")
def verifier(rspamd_engine: RspamdEngine) -> Iterator[RspamdEngine]:
    """Another rspamd, which finds our public key in the DNS."""
    account = rspamd_engine.account
    dkim.ensure_key(rspamd_engine.data_dir, "jx.example", owner=(account.uid, account.gid) if account else None)
    zone = dict([dkim.record(rspamd_engine.data_dir, "jx.example")])
    with running_nameserver(zone) as port, data_directory() as path, running_rspamd(path, nameservers=(f"127.0.0.1:{port}",)) as engine:
        yield engine


@dataclass
class House:
    """A whole server whose outgoing mail goes to Postfix."""

    parts: Parts
    ctx: Context

    def send(self, mail: EmailMessage, recipients: Sequence[str], notify: str = "") -> None:
        """As a mail client does it: port 587, STARTTLS, login. Blocks."""
        with smtplib.SMTP("127.0.0.1", self.parts.ports["submission"], timeout=60) as client:
            client.starttls(context=ssl._create_unverified_context())
            client.login(ZHANG, PASSWORD)
            assert client.send_message(mail, ZHANG, recipients, rcpt_options=[f"NOTIFY={notify}"] if notify else []) == {}

    async def inbox(self, address: str) -> list[EmailMessage]:
        (target,) = (await self.parts.resolver.resolve(Address.parse(address))).targets
        return await self.parts.database.read(mails_in, target.directory_id, "INBOX", self.parts.database.blobs)

    async def queued(self) -> list[queue.EntryRow]:
        return [one async for one in queue.list_entries(self.ctx, OPERATOR)]


@pytest.fixture
async def house(tmp_path: Path, postfix: Postfix, rspamd_engine: RspamdEngine) -> AsyncIterator[House]:
    setup.prepare(tmp_path, engines=False, hostname="mail.jx.example")
    loaded = config.load(datadir.config_file(tmp_path))
    password = str(rspamd_engine.data_dir / "secrets" / "rspamd.password")
    parts = await app.build(
        msgspec.structs.replace(
            loaded,
            listener=tuple(msgspec.structs.replace(one, port=0) for one in loaded.listener),
            queue=msgspec.structs.replace(loaded.queue, smarthost=f"127.0.0.1:{postfix.port}"),
            filter=(msgspec.structs.replace(rspamd_engine.filter_table(), password_file=password),),
        ),
        tmp_path,
    )
    await parts.directory.prepare()
    ctx = context_of(parts)
    await unit.add(ctx, OPERATOR, "江西省")
    await domain.add(ctx, OPERATOR, "jx.example")
    for name, address in (("张三", ZHANG), ("李四", LI)):
        await person.add(ctx, OPERATOR, name, unit="江西省", address=address, password=PASSWORD)
    async with app.listening(parts):
        yield House(parts, ctx)
    await parts.close()


def a_mail(*recipients: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"张三 <{ZHANG}>", ", ".join(recipients), "关于召开会议的通知"
    mail.set_content("请各单位准时参加。\n", charset="utf-8", cte="8bit")
    return mail


async def once(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """What is seen when it `holds`; the queue tells nobody when it has tried."""
    for _ in range(3000):
        if holds(found := await look()):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def test_a_login_s_mail_arrives_elsewhere_signed(house: House, postfix: Postfix, verifier: RspamdEngine) -> None:
    await asyncio.to_thread(house.send, a_mail("signed@peer.example"), ["signed@peer.example"])
    (arrived,) = await asyncio.to_thread(postfix.wait_for, "signed")
    assert arrived.count(b"Return-Path:") == 1  # Postfix's own
    assert b"with ESMTPSA id" in arrived
    assert arrived.isascii()  # before it was signed, so nobody on the way has to change it
    rspamd = Rspamd(verifier.filter_table(), hostname="mx.peer.example", data_dir=verifier.data_dir)
    verdict = await rspamd.check(request(arrived))
    await rspamd.close()
    assert "dkim=pass" in dict(verdict.headers)["Authentication-Results"]
    assert await once(house.queued, lambda entries: not entries) == []


async def test_a_refusal_comes_back_to_who_sent_it(house: House, postfix: Postfix) -> None:
    await asyncio.to_thread(house.send, a_mail("never@peer.example"), ["never@peer.example", "ok@peer.example"])
    (notice,) = await once(lambda: house.inbox(ZHANG), bool)
    assert notice["Subject"] == "退信通知：邮件未能送达"
    assert "550 <never@peer.example>: Recipient address rejected: we take nothing from you" in next(iter(notice.iter_parts())).get_content()
    await asyncio.to_thread(postfix.wait_for, "ok")


async def test_a_delivery_report_for_a_recipient_here(house: House) -> None:
    await asyncio.to_thread(house.send, a_mail(LI), [LI], "SUCCESS")
    (report,) = await once(lambda: house.inbox(ZHANG), bool)
    assert [str(one["Subject"]) for one in await house.inbox(LI)] == ["关于召开会议的通知"]
    text, status, original = report.iter_parts()
    assert report["Subject"] == "送达通知" and LI in text.get_content()
    assert "Action: delivered" in status.as_string() and "Status: 2.1.5" in status.as_string()
    assert original.get_content_type() == "text/rfc822-headers"


async def test_operators_see_retry_and_delete_what_waits(house: House) -> None:
    await asyncio.to_thread(house.send, a_mail("later@peer.example"), ["later@peer.example"])
    (entry,) = await once(house.queued, lambda entries: entries[0].attempts == 1)
    assert (entry.sender, entry.recipient, entry.state) == (ZHANG, "later@peer.example", "ready")
    [*_] = [one async for one in queue.retry(house.ctx, OPERATOR, (entry.entry_id,))]
    await once(house.queued, lambda entries: entries[0].attempts == 2)
    detail = await queue.show(house.ctx, OPERATOR, entry.entry_id)
    assert [(one.code, one.status) for one in detail.tries] == [(450, "4.2.0")] * 2
    assert "come back later" in detail.tries[0].text
    [*_] = [one async for one in queue.delete(house.ctx, OPERATOR, (entry.entry_id,))]
    assert await house.queued() == []
    assert await house.inbox(ZHANG) == []
