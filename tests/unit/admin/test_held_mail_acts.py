"""Queue and quarantine as operators work on them."""

from __future__ import annotations

from typing import Any

import pytest

from admin.actions.context import Actor
from govmail.interfaces import Action, Decision, Scan, ScanRequest, Verdict
from govmail.mail.address import Address, Path
from govmail.mail.envelope import DEFAULT_NOTIFY, Envelope, Origin, Recipient
from govmail.mail.message import Message
from govmail.store import incoming
from govmail.store.values import NewEntry, NewQueueMessage
from govmail.wire.control import Done
from tests.kit.contents import new_content, raw_mail
from tests.unit.admin.conftest import World

ZHANG = "zhangsan@fgw.gz.jx.example"
STRANGER = Actor("stranger", 65_533, "test")

async def queued(world: World, *recipients: str) -> list[int]:
    """Mail to these addresses waits in the queue; the entries' numbers."""
    entries = tuple(NewEntry("remote", one, one.rpartition("@")[2], DEFAULT_NOTIFY) for one in recipients)
    message = NewQueueMessage("q1", "office@jx.example", entries, 86_400)
    await world.ctx.database.write(incoming.deliver, new_content(), [], internal_date=world.ctx.now, now=world.ctx.now, queue=message)
    return [one["entry_id"] for one in await world.do("queue.list")]


async def held(world: World, verdict: Verdict, reason: str = "spam") -> int:
    """A mail to 张三, held for this reason; the item's number."""
    raw = raw_mail("Winner \x1b[31m")
    address = Address.parse(ZHANG)
    envelope = Envelope(Path.parse("evil@outside.example"), (Recipient(address),))
    request = ScanRequest(Message.of(raw), envelope, Origin("192.0.2.7", "outside.example"), "held1")
    resolution = await world.ctx.directory.resolve(address)
    decision = Decision(Action.QUARANTINE, (verdict,), reason=reason)
    return await world.ctx.database.write(
        world.ctx.quarantine.hold, new_content(raw), request, decision, [resolution], subject="Winner \x1b[31m", now=world.ctx.now
    )


SPAM = Verdict("rspamd", Action.QUARANTINE, score=12.5, threshold=15.0, spam=True)
VIRUS = Verdict("clamav", Action.REJECT, Scan.INFECTED, threats=("Win.Test.EICAR_HDB-1",))


async def test_the_queue_is_listed_shown_retried_and_deleted(world: World) -> None:
    one, two = await queued(world, "a@x.example", "b@y.example")
    assert [row["recipient"] for row in await world.do("queue.list", {"domain": "y.example"})] == ["b@y.example"]
    shown = await world.do("queue.show", {"entry": one})
    assert (shown["entry"]["sender"], list(shown["tries"])) == ("office@jx.example", [])
    assert [row["status"] for row in await world.do("queue.retry", {"entries": [one, two]})] == ["retried", "retried"]
    assert world.woken == ["queue"]
    assert [row["status"] for row in await world.do("queue.delete", {"entries": [one]})] == ["deleted"]
    assert [row["recipient"] for row in await world.do("queue.list")] == ["b@y.example"]
    acts = [(entry["act"], entry["result"]) for entry in await world.audit()]
    assert acts == [("queue.retry", "done"), ("queue.delete", "done")]


async def test_an_entry_that_is_gone_is_said_so(world: World) -> None:
    [one] = await queued(world, "a@x.example")
    frames = await world.frames("queue.delete", {"entries": [one, 999]})
    last = frames[-1]
    assert isinstance(last, Done)
    assert last.code == 2
    assert await world.do("queue.list") == []


@pytest.mark.parametrize("act", ["queue.retry", "queue.delete"])
async def test_a_dry_run_and_a_stranger_leave_the_queue_alone(world: World, act: str) -> None:
    entries = await queued(world, "a@x.example")
    before = await world.do("queue.list")
    await world.do(act, {"entries": entries}, dry_run=True)
    assert (await world.refused(act, {"entries": entries}, actor=STRANGER)).code == 3
    assert await world.do("queue.list") == before
    assert [(one["act"], one["result"]) for one in await world.audit()] == [(act, "refused")]


async def test_spam_is_released_once(world: World) -> None:
    await world.province()
    item = await held(world, SPAM)
    [row] = await world.do("quarantine.list")
    assert (row["item_id"], list(row["recipients"]), row["reason"]) == (item, [ZHANG], "spam")
    detail = await world.do("quarantine.show", {"item": item})
    assert list(detail["findings"]) == ["rspamd  quarantine  12.5/15.0"]
    assert await world.do("quarantine.release", {"item": item}) == [{"item_id": item, "recipient": ZHANG, "status": "released"}]
    assert (await world.do("mailbox.count"))["messages"] == 1
    assert (await world.refused("quarantine.release", {"item": item})).code == 2
    assert (await world.do("mailbox.count"))["messages"] == 1
    assert await world.do("quarantine.list") == []
    assert [one["item_id"] for one in await world.do("quarantine.list", {"state": "released"})] == [item]


async def test_a_virus_is_refused_with_the_reason_and_can_be_deleted(world: World) -> None:
    await world.province()
    item = await held(world, VIRUS, "virus")
    failure = await world.refused("quarantine.release", {"item": item}, language="zh")
    assert failure.code == 3
    assert "Win.Test.EICAR_HDB-1" in failure.text
    assert "两名" in failure.text
    assert (await world.do("mailbox.count"))["messages"] == 0
    last = (await world.audit())[-1]
    assert (last["act"], last["result"], last["detail"]["reason"]) == ("quarantine.release", "refused", "virus")
    assert await world.do("quarantine.delete", {"item": item}) == [{"item_id": item, "recipient": ZHANG, "status": "deleted"}]
    assert await world.do("quarantine.list") == []


@pytest.mark.parametrize("act", ["quarantine.release", "quarantine.delete"])
async def test_a_dry_run_and_a_stranger_leave_held_mail_alone(world: World, act: str) -> None:
    await world.province()
    item = await held(world, SPAM)
    before: Any = await world.audit()
    assert [one["recipient"] for one in await world.do(act, {"item": item}, dry_run=True)] == [ZHANG]
    assert await world.audit() == before
    assert (await world.refused(act, {"item": item}, actor=STRANGER)).code == 3
    assert len(await world.do("quarantine.list")) == 1


@pytest.mark.parametrize("act", ["quarantine.release", "quarantine.delete"])
async def test_a_recipient_who_is_not_on_the_item_is_bad_input(world: World, act: str) -> None:
    await world.province()
    item = await held(world, SPAM)
    assert (await world.refused(act, {"item": item, "recipients": ["wrong@jx.example"]})).code == 2
    assert (await world.refused(act, {"item": 999})).code == 2
