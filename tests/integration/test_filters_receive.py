"""From acceptance to mailbox or quarantine, with the real engines and the real store."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from admin.engines import ClamdEngine, RspamdEngine
from filters.chain import FilterChain
from filters.clamd import Clamd
from filters.quarantine import Quarantine
from filters.rspamd import Rspamd
from govmail.bus import LocalBus
from govmail.config import Config
from govmail.delivery.full import FullMailboxes
from govmail.delivery.readers import ThreadReader
from govmail.errors import NotPermitted, NotScanned
from govmail.interfaces import Acceptance
from govmail.mail.address import Address
from govmail.mail.address import Path as ReversePath
from govmail.mail.envelope import Envelope, Origin, Recipient
from govmail.mail.message import Message
from govmail.smtp.receive import Receiver
from govmail.store import accounts, contents, messages
from govmail.store.database import Database
from tests.kit.engines import freeze, wake
from tests.kit.malware import EICAR, GTUBE, mail, with_attachment, zip_with_raw_name
from tests.kit.people import People, person_id

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
HOSTNAME = "mail.jx.example"


@dataclass
class Gateway:
    receiver: Receiver
    quarantine: Quarantine
    database: Database
    people: People

    async def send(self, data: bytes, login: str | None = None) -> Acceptance:
        recipient = Address.parse("lisi@jx.example")
        envelope = Envelope(ReversePath.parse("zhangsan@jx.example"), (Recipient(recipient),), login=login and person_id(login))
        principal = await self.people.authenticate(f"{login}@jx.example", "secret", "") if login else None
        origin = Origin("192.0.2.7", "mx.else.example", login=login)
        return await self.receiver.accept(envelope, Message.of(data), origin, [await self.people.resolve(recipient)], principal)

    async def headers(self) -> list[str]:
        """Those of the recipient's mails."""
        owner = await self.database.read(accounts.find, person_id("lisi"))
        if owner is None:
            return []
        rows = await self.database.read(messages.rows, owner.account_id, 1, None)
        found = await self.database.read(contents.headers, [row.content_id for row in rows])
        return [found[row.content_id].decode("utf-8", "replace") for row in rows]


_ids = itertools.count(1)


def receiver(database: Database, chain: FilterChain, quarantine: Quarantine) -> Receiver:
    return Receiver(
        hostname=HOSTNAME, limits=Config().limits, database=database, chain=chain, hold=quarantine.hold, clock=lambda: NOW,
        new_id=lambda: f"q{next(_ids)}", queue_lifetime=86_400, on_queued=lambda: None,
        full=FullMailboxes(LocalBus(), lambda: NOW), readers=ThreadReader(Config().limits),
    )  # fmt: skip


@pytest.fixture
async def gateway(clamd_engine: ClamdEngine, rspamd_engine: RspamdEngine, tmp_path: Path) -> AsyncIterator[Gateway]:
    config = Config(hostname=HOSTNAME, filters=msgspec.structs.replace(Config().filters, deadline_seconds=20.0))
    database = Database.open("", data_dir=tmp_path, durable=False)
    rspamd = Rspamd(rspamd_engine.filter_table(), hostname=HOSTNAME, data_dir=rspamd_engine.data_dir)
    clamd = Clamd(clamd_engine.filter_table())
    chain = FilterChain(config.filters, [rspamd], [clamd])
    quarantine = Quarantine(database, chain, config, clock=lambda: NOW, spool_dir=tmp_path / "spool")
    people = People()
    people.add("zhangsan")
    people.add("lisi")
    yield Gateway(receiver(database, chain, quarantine), quarantine, database, people)
    await chain.close()
    await database.close()


async def test_clean_mail_carries_the_verdicts_and_no_forged_ones(gateway: Gateway) -> None:
    forged = f"X-Govmail-Virus: clean\r\nX-Govmail-Spam: no\r\nAuthentication-Results: {HOSTNAME}; dkim=pass\r\n"
    answer = await gateway.send(mail("请查收。\r\n".encode("gb18030"), content_type="text/plain; charset=gb18030", first=forged))
    assert answer.code == 250
    (header,) = await gateway.headers()
    assert header.count("X-Govmail-Virus: ") == header.count("X-Govmail-Spam: ") == 1
    assert "X-Govmail-Virus: clean (clamav, ClamAV-" in header
    assert "X-Govmail-Spam: no, score=" in header
    assert header.count(f"Authentication-Results: {HOSTNAME};") == 1
    assert "dkim=pass" not in header


async def test_spam_is_refused_while_the_sender_waits(gateway: Gateway) -> None:
    answer = await gateway.send(mail(GTUBE + b"\r\n"))
    assert (answer.code, answer.status, answer.text) == (550, "5.7.1", "message refused as spam")
    assert await gateway.headers() == []
    assert await gateway.quarantine.list_page() == []


async def test_a_virus_is_accepted_held_and_can_only_be_deleted(gateway: Gateway) -> None:
    answer = await gateway.send(with_attachment(EICAR))
    assert answer.code == 250
    assert await gateway.headers() == []
    (item,) = await gateway.quarantine.list_page()
    assert (item.reason, item.queue_id, [one.address for one in item.recipients]) == ("virus", answer.queue_id, ["lisi@jx.example"])
    assert item.subject == "关于财政工作"
    _, verdicts = await gateway.quarantine.show(item.item_id)
    assert [threat for verdict in verdicts for threat in verdict.threats] == ["Eicar-Test-Signature.UNOFFICIAL"]
    with pytest.raises(NotPermitted):
        await gateway.quarantine.release(item.item_id, "reviewer")
    assert await gateway.quarantine.delete(item.item_id, "reviewer") == ["lisi@jx.example"]


async def test_nothing_is_accepted_as_clean_while_an_engine_hangs(gateway: Gateway, clamd_engine: ClamdEngine) -> None:
    hasty = FilterChain(Config().filters, [], [Clamd(msgspec.structs.replace(clamd_engine.filter_table(), timeout_seconds=0.3))])
    impatient = replace(gateway, receiver=receiver(gateway.database, hasty, gateway.quarantine))
    freeze(clamd_engine)
    try:
        answer = await impatient.send(mail(b"hello\r\n"))
    finally:
        wake(clamd_engine)
    assert (answer.code, answer.status) == (451, "4.7.1")
    assert await gateway.headers() == []
    assert (await impatient.send(mail(b"hello\r\n"))).code == 250
    await hasty.close()


async def test_an_encrypted_archive_is_held_and_may_be_released(gateway: Gateway, clamd_engine: ClamdEngine) -> None:
    sealed = zip_with_raw_name(b"\x17" * 500, b"salaries.xls", encrypted=True)
    assert (await gateway.send(with_attachment(sealed, b"salaries.zip"))).code == 250
    assert await gateway.headers() == []
    (item,) = await gateway.quarantine.list_page()
    assert item.reason == "unscannable"
    freeze(clamd_engine)  # without an engine, not even what it could see is seen
    try:
        hasty = FilterChain(Config().filters, [], [Clamd(msgspec.structs.replace(clamd_engine.filter_table(), timeout_seconds=0.3))])
        with pytest.raises(NotScanned):
            await Quarantine(gateway.database, hasty, Config(), clock=lambda: NOW, spool_dir=Path("unused")).release(item.item_id, "reviewer")
    finally:
        wake(clamd_engine)
    await hasty.close()
    assert [one.status for one in await gateway.quarantine.release(item.item_id, "reviewer")] == ["released"]
    (header,) = await gateway.headers()
    assert "X-Govmail-Virus: unscanned (clamav, ClamAV-" in header
    assert ", unscannable)" in header


async def test_an_ambiguous_mail_is_held_and_arrives_once_when_it_is_released(gateway: Gateway) -> None:
    ambiguous = mail(
        b"--a\r\n\r\none\r\n--a--\r\n", content_type="multipart/mixed; boundary=a", first="Content-Type: multipart/mixed; boundary=b\r\n"
    )
    assert (await gateway.send(ambiguous)).code == 250
    assert await gateway.headers() == []
    (item,) = await gateway.quarantine.list_page()
    assert item.reason == "policy"
    for _ in range(2):
        assert [one.status for one in await gateway.quarantine.release(item.item_id, "reviewer")] == ["released"]
    (header,) = await gateway.headers()
    assert header.startswith("Return-Path: <zhangsan@jx.example>\r\nReceived: from mx.else.example")
    assert "Content-Type: multipart/mixed; boundary=b\r\n" in header
