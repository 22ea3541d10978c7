"""Held mail: who sees it, what release and delete do, and that each happens once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from filters.chain import FilterChain, combine
from filters.quarantine import Quarantine, verdicts_of, worse
from govmail.config import Config, Filters, Limits, Queue
from govmail.errors import Conflict, MailError, NotFound, NotPermitted, NotScanned, Refused
from govmail.interfaces import Resolution, ScanRequest, Symbol, Target, Verdict
from govmail.mail.address import Address
from govmail.mail.address import Path as ReversePath
from govmail.mail.envelope import Envelope, Notify, Origin, Recipient
from govmail.mail.message import Message
from govmail.store import accounts, blobs, contents, messages, queue
from govmail.store.database import Database
from tests.kit.contents import new_content, raw_mail
from tests.kit.filters import CLEAN, HAM, HELD, INFECTED, SPAM, TAGGED, UNSCANNABLE, UNSCANNED, Scripted

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
GZ, YD = str(uuid.UUID(int=100)), str(uuid.UUID(int=200))  # units


def person(number: int, unit: str = GZ) -> Target:
    return Target(str(uuid.UUID(int=number)), Address.parse(f"p{number}@jx.example"), unit)


def local(*targets: Target) -> Resolution:
    return Resolution(targets[0].address, True, targets)


REMOTE = Resolution(Address.parse("partner@else.example"), False)


class Bench:
    """A quarantine whose filters say what the test wants."""

    def __init__(self, database: Database, spool: Path, config: Config | None = None) -> None:
        self.database = database
        self.spam, self.virus = Scripted(HELD, "rspamd"), Scripted(CLEAN, "clamav")
        self.config = config or Config(filters=Filters(share_seconds=0), queue=Queue(lifetime_seconds=7200))
        chain = FilterChain(self.config.filters, [self.spam], [self.virus])
        self.quarantine = Quarantine(database, chain, self.config, clock=lambda: NOW, spool_dir=spool)

    async def hold(
        self, *resolutions: Resolution, raw: bytes | None = None, verdicts: tuple[Verdict, Verdict] = (HELD, CLEAN), queue_id: str = "q1"
    ) -> int:
        raw = raw or raw_mail("通知")
        recipients = tuple(Recipient(one.address, Notify.FAILURE, f"rfc822;{one.address}") for one in resolutions)
        envelope = Envelope(ReversePath.parse("a@else.example"), recipients, envid="e1")
        request = ScanRequest(Message.of(raw), envelope, Origin("192.0.2.1", "mx.else.example"), queue_id)
        spam, virus = replace(verdicts[0], engine="rspamd"), replace(verdicts[1], engine="clamav")
        decision = combine([spam], [virus], self.config.filters)
        content = new_content(raw, files=self.database.blobs)
        return await self.database.write(
            self.quarantine.hold, content, request, decision, resolutions, subject="通知", now=int(NOW.timestamp())
        )

    async def inbox(self, target: Target) -> list[bytes]:
        """The mails in a person's INBOX."""
        owner = await self.database.read(accounts.find, target.directory_id)
        if owner is None:
            return []
        mails = []
        for row in await self.database.read(messages.rows, owner.account_id, 1, None):
            header = (await self.database.read(contents.headers, [row.content_id]))[row.content_id]
            stored = (await self.database.read(contents.envelopes, [row.content_id]))[row.content_id]
            ref = (await self.database.read(blobs.locate, [stored.blob_id]))[stored.blob_id]
            mails.append(header + b"".join(blobs.stream(ref, self.database.blobs)))
        return mails


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "spool")


async def test_a_held_mail_is_listed_and_shown_with_its_findings(bench: Bench) -> None:
    verdict = replace(HELD, symbols=(Symbol("X", 9.0, ("o" * 5000,)),), headers=(("A", "b"),))
    item_id = await bench.hold(local(person(1)), REMOTE, verdicts=(verdict, CLEAN))
    (listed,) = await bench.quarantine.list_page()
    shown, verdicts = await bench.quarantine.show(item_id)
    assert listed == shown
    assert (shown.reason, shown.subject, shown.sender, shown.queue_id) == ("spam", "通知", "a@else.example", "q1")
    assert shown.expires - shown.held == 30 * 86_400
    assert [(one.address, one.unit_id, one.notify) for one in shown.recipients] == [
        ("p1@jx.example", GZ, Notify.FAILURE), ("partner@else.example", None, Notify.FAILURE),
    ]  # fmt: skip
    assert (verdicts[0].engine, verdicts[0].score, len(verdicts[0].symbols[0].options[0])) == ("rspamd", 12.0, 200)
    assert await bench.inbox(person(1)) == []


async def test_reviewers_see_and_release_only_what_is_theirs(bench: Bench) -> None:
    mine, theirs = person(1, GZ), person(2, YD)
    item_id = await bench.hold(local(mine), local(theirs))
    shown, _ = await bench.quarantine.show(item_id, unit_ids=[GZ])
    assert [one.address for one in shown.recipients] == ["p1@jx.example"]
    assert await bench.quarantine.list_page(unit_ids=["nowhere"]) == []
    with pytest.raises(NotFound):
        await bench.quarantine.show(item_id, unit_ids=["nowhere"])
    with pytest.raises(NotFound):
        await bench.quarantine.release(item_id, "r", addresses=["p2@jx.example"], unit_ids=[GZ])
    await bench.quarantine.release(item_id, "r", unit_ids=[GZ])
    assert len(await bench.inbox(mine)) == 1
    assert await bench.inbox(theirs) == []


async def test_released_mail_arrives_once_octet_for_octet(bench: Bench) -> None:
    raw = raw_mail("通知", "x" * 200_000)
    item_id = await bench.hold(local(person(1)), local(person(2)), raw=raw)
    first = await bench.quarantine.release(item_id, "reviewer", addresses=["P1@jx.example"])
    assert [(one.address, one.status) for one in first] == [("p1@jx.example", "released")]
    again = await bench.quarantine.release(item_id, "reviewer")
    assert {one.address: one.status for one in again} == {"p1@jx.example": "released", "p2@jx.example": "released"}
    await bench.quarantine.release(item_id, "somebody")
    assert await bench.inbox(person(1)) == [raw]
    assert await bench.inbox(person(2)) == [raw]
    shown, _ = await bench.quarantine.show(item_id)
    assert {(one.state, one.actor) for one in shown.recipients} == {("released", "reviewer")}
    assert await bench.quarantine.list_page() == []


async def test_two_reviewers_at_once_deliver_one_copy(bench: Bench) -> None:
    item_id = await bench.hold(local(person(1)))
    results = await asyncio.gather(*(bench.quarantine.release(item_id, f"r{number}") for number in range(8)), return_exceptions=True)
    assert all(isinstance(one, list | Conflict) for one in results)
    assert len(await bench.inbox(person(1))) == 1


async def test_a_large_mail_is_scanned_again_from_a_file_that_goes(database: Database, tmp_path: Path) -> None:
    config = Config(filters=Filters(share_seconds=0), limits=Limits(memory_octets=10_000))
    bench = Bench(database, tmp_path / "spool", config)
    raw = raw_mail("large", "y" * 300_000)
    item_id = await bench.hold(local(person(1)), raw=raw)
    await bench.quarantine.release(item_id, "r")
    assert await bench.inbox(person(1)) == [raw]
    assert list((tmp_path / "spool").iterdir()) == []


async def test_members_elsewhere_and_large_lists_go_through_the_queue(database: Database, tmp_path: Path) -> None:
    config = Config(filters=Filters(share_seconds=0), limits=Limits(expand_now=2))
    bench = Bench(database, tmp_path / "spool", config)
    crowd = Resolution(Address.parse("all@jx.example"), True, tuple(person(number) for number in range(1, 5)), is_group=True)
    team = Resolution(Address.parse("team@jx.example"), True, (person(1), person(9)), (Address.parse("x@far.example"),), is_group=True)
    item_id = await bench.hold(crowd, team, REMOTE)
    await bench.quarantine.release(item_id, "r", addresses=["partner@else.example"])
    await bench.quarantine.release(item_id, "r")
    entries = await database.read(queue.list_page, after=0, limit=10)
    assert sorted((one.kind, one.recipient, one.domain) for one in entries) == [
        ("list", "all@jx.example", "jx.example"),
        ("remote", "partner@else.example", "else.example"),
        ("remote", "x@far.example", "far.example"),
    ]
    assert {one.message.sender for one in entries} == {"a@else.example"}
    assert len(await bench.inbox(person(9))) == 1


async def test_who_is_reached_twice_gets_one_copy(bench: Bench) -> None:
    alias = Resolution(Address.parse("office@jx.example"), True, (replace(person(1), address=Address.parse("office@jx.example")),))
    item_id = await bench.hold(local(person(1)), alias)
    await bench.quarantine.release(item_id, "r")
    assert len(await bench.inbox(person(1))) == 1


async def test_a_full_mailbox_keeps_its_copy_held(bench: Bench) -> None:
    item_id = await bench.hold(local(person(1)), local(person(2)))
    await bench.database.write(accounts.ensure, person(1).directory_id, now=0)
    await bench.database.write(accounts.set_quota, person(1).directory_id, 10)
    done = await bench.quarantine.release(item_id, "r")
    assert {one.address: one.status for one in done} == {"p1@jx.example": "mailbox is full", "p2@jx.example": "released"}
    shown, _ = await bench.quarantine.show(item_id)
    assert {one.address: one.state for one in shown.recipients} == {"p1@jx.example": "held", "p2@jx.example": "released"}


@pytest.mark.parametrize("verdicts", [(HAM, INFECTED), (SPAM, INFECTED), (HELD, INFECTED)])
async def test_a_virus_is_never_released_but_deleted(bench: Bench, verdicts: tuple[Verdict, Verdict]) -> None:
    item_id = await bench.hold(local(person(1)), verdicts=verdicts)
    bench.virus.verdict = CLEAN  # even if the engine has changed its mind
    with pytest.raises(NotPermitted, match="virus"):
        await bench.quarantine.release(item_id, "r")
    assert await bench.quarantine.delete(item_id, "r") == ["p1@jx.example"]
    assert await bench.quarantine.delete(item_id, "r") == []
    assert await bench.inbox(person(1)) == []


async def test_deleted_mail_cannot_be_released(bench: Bench) -> None:
    item_id = await bench.hold(local(person(1)))
    await bench.quarantine.delete(item_id, "r")
    assert [one.status for one in await bench.quarantine.release(item_id, "r")] == ["deleted"]
    assert await bench.inbox(person(1)) == []


@pytest.mark.parametrize(
    ("spam", "virus", "error"),
    [(SPAM, CLEAN, Refused), (HELD, INFECTED, Refused), (HELD, UNSCANNED, NotScanned), (UNSCANNED, CLEAN, NotScanned)],
)
async def test_what_has_become_worse_stays_held(bench: Bench, spam: Verdict, virus: Verdict, error: type[MailError]) -> None:
    item_id = await bench.hold(local(person(1)))
    bench.spam.verdict, bench.virus.verdict = spam, virus
    with pytest.raises(error):
        await bench.quarantine.release(item_id, "r")
    assert await bench.inbox(person(1)) == []
    assert len(await bench.quarantine.list_page()) == 1
    bench.spam.verdict, bench.virus.verdict = TAGGED, CLEAN  # milder
    await bench.quarantine.release(item_id, "r")
    assert len(await bench.inbox(person(1))) == 1


async def test_the_queue_gives_up_released_mail_when_the_configuration_says(bench: Bench) -> None:
    item_id = await bench.hold(REMOTE)
    await bench.quarantine.release(item_id, "r")
    (entry,) = await bench.database.read(queue.list_page, after=0, limit=10)
    assert entry.expires == NOW.timestamp() + bench.config.queue.lifetime_seconds


def test_worse() -> None:
    engine = replace(UNSCANNED, engine="a"), replace(UNSCANNED, engine="b")
    assert worse([HELD], [HELD]) is None
    assert worse([replace(HELD, score=12.0)], [replace(HELD, score=13.0)]) is None
    assert worse([HELD], [HAM]) is None
    assert worse([HELD], [SPAM]) == "spam"
    assert worse([HELD], [HELD, INFECTED]) == "virus"
    assert worse([engine[0]], [engine[0]]) is None
    assert worse([engine[0]], [engine[1]]) == "unscanned"
    assert worse([UNSCANNABLE], [UNSCANNABLE]) is None
    assert worse([UNSCANNABLE], [CLEAN]) is None
    assert worse([UNSCANNABLE], [UNSCANNED]) == "unscanned"  # what could be seen then was seen; now nothing is
    assert worse([CLEAN], [UNSCANNABLE]) == "unscanned"
    assert worse([UNSCANNABLE], [INFECTED]) == "virus"


async def test_unknown_items_and_recipients(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.quarantine.show(77)
    item_id = await bench.hold(local(person(1)))
    with pytest.raises(NotFound):
        await bench.quarantine.delete(item_id, "r", addresses=["p2@jx.example"])
    assert verdicts_of((await bench.quarantine.show(item_id))[0])[1].engine == "clamav"
