"""Leases, retries, history and the end of queue entries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from govmail.errors import NotFound
from govmail.mail.envelope import DEFAULT_NOTIFY, Notify
from govmail.store import incoming, queue
from govmail.store.database import Database
from govmail.store.values import AttemptResult, NewEntry, NewQueueMessage, QueueEntry
from tests.kit.contents import numbered

LIFETIME = 5 * 86_400
NOW = 1_800_000_000
LATER = AttemptResult("mx.far.example [127.0.0.1]", 451, "4.3.0", "稍后再试")


def enqueue(db: Database, queue_id: str, *recipients: str, number: int = 1, now: int = NOW) -> list[int]:
    entries = tuple(NewEntry("remote", one, one.partition("@")[2], Notify.FAILURE, f"rfc822;{one}") for one in recipients)
    message = NewQueueMessage(queue_id, "a@b.example", entries, LIFETIME, envid="env", ret_full=True, smtputf8=True, login="li", client_ip="::1")
    db.run_write(incoming.deliver, numbered(number), [], internal_date=now, now=now, queue=message)
    return [one.entry_id for one in db.run_read(queue.show, queue_id)[0]]


def lease(db: Database, owner: str, now: int = NOW, limit: int = 100, busy: tuple[str, ...] = ()) -> list[QueueEntry]:
    return db.run_write(queue.lease, owner, now=now, limit=limit, lease_seconds=60, busy_domains=busy)


def recipients(entries: list[QueueEntry]) -> list[str]:
    return [one.recipient for one in entries]


def test_what_went_in_comes_out(db: Database) -> None:
    enqueue(db, "q1", "x@far.example")
    [one] = lease(db, "w1")
    message = one.message
    assert (message.queue_id, message.sender, message.envid, message.ret_full, message.smtputf8, message.login, message.client_ip) == (
        "q1", "a@b.example", "env", True, True, "li", "::1",
    )  # fmt: skip
    assert (one.kind, one.domain, one.notify, one.orcpt, one.state) == ("remote", "far.example", Notify.FAILURE, "rfc822;x@far.example", "leased")
    assert (one.attempts, one.delay_notified, one.lease_owner, one.lease_until) == (0, False, "w1", NOW + 60)
    assert one.expires > NOW


def test_an_entry_is_leased_once_until_the_lease_runs_out(db: Database) -> None:
    enqueue(db, "q1", "x@far.example")
    assert len(lease(db, "w1")) == 1
    assert lease(db, "w2", NOW + 59) == []
    [taken] = lease(db, "w2", NOW + 60)
    assert taken.lease_owner == "w2"
    assert not db.run_write(queue.retry, taken.entry_id, LATER, now=NOW + 61, next_attempt=NOW + 99, owner="w1")
    assert not db.run_write(queue.extend, taken.entry_id, until=NOW + 999, owner="w1")
    assert db.run_write(queue.extend, taken.entry_id, until=NOW + 999, owner="w2")
    assert lease(db, "w3", NOW + 998) == []


def test_busy_domains_and_limits(db: Database) -> None:
    enqueue(db, "q1", "a@far.example", "b@near.example", "c@far.example")
    assert recipients(lease(db, "w1", busy=("far.example",))) == ["b@near.example"]
    assert len(lease(db, "w1", limit=1)) == 1


def test_the_longest_due_comes_first(db: Database) -> None:
    enqueue(db, "late", "late@far.example", now=NOW)
    enqueue(db, "early", "early@far.example", number=2, now=NOW - 10)
    assert recipients(lease(db, "w1")) == ["early@far.example", "late@far.example"]


def test_retry_keeps_history(db: Database) -> None:
    [entry_id] = enqueue(db, "q1", "x@far.example")
    lease(db, "w1")
    assert db.run_write(queue.retry, entry_id, LATER, now=NOW + 5, next_attempt=NOW + 300, owner="w1")
    assert lease(db, "w1", NOW + 299) == []
    assert db.run_read(queue.next_due) == NOW + 300
    [again] = lease(db, "w1", NOW + 300)
    assert (again.attempts, again.last_code, again.last_status, again.last_text, again.last_mta) == (
        1, 451, "4.3.0", "稍后再试", LATER.mta,
    )  # fmt: skip
    _, attempts = db.run_read(queue.show, "q1")
    assert [(one.at, one.result) for one in attempts] == [(NOW + 5, LATER)]


def test_a_message_lives_as_long_as_its_entries(db: Database) -> None:
    one, two = enqueue(db, "q1", "x@far.example", "y@far.example")
    db.run_write(queue.complete, one, LATER, now=NOW)
    assert recipients(db.run_read(queue.show, "q1")[0]) == ["y@far.example"]
    db.run_write(queue.fail, two, LATER, now=NOW)
    with pytest.raises(NotFound):
        db.run_read(queue.show, "q1")
    db.run_write(queue.complete, one, LATER, now=NOW)  # twice is no error
    assert db.run_read(queue.next_due) is None


def test_operators_hold_kick_and_delete(db: Database) -> None:
    one, two, three = enqueue(db, "q1", "x@far.example", "y@far.example", "z@far.example")
    assert db.run_write(queue.hold, [one]) == 1
    assert recipients(lease(db, "w1")) == ["y@far.example", "z@far.example"]
    db.run_write(queue.retry, two, LATER, now=NOW, next_attempt=NOW + 9999)
    assert db.run_write(queue.kick, [one, two, three], now=NOW + 1) == 2  # the third is being tried
    assert recipients(lease(db, "w1", NOW + 1)) == ["x@far.example", "y@far.example"]
    assert db.run_write(queue.put_back, three, now=NOW)
    assert db.run_write(queue.delete_entries, [one, two, three, 999], now=NOW) == 3
    assert db.run_read(queue.list_page, after=0, limit=10) == []


def test_pages(db: Database) -> None:
    ids = enqueue(db, "q1", *(f"x{number}@far.example" for number in range(5)))
    first = db.run_read(queue.list_page, after=0, limit=3)
    assert [one.entry_id for one in first + db.run_read(queue.list_page, after=first[-1].entry_id, limit=3)] == ids
    assert [one.entry_id for one in db.run_read(queue.get, [ids[3], ids[1], 999])] == [ids[1], ids[3]]


def test_delay_and_progress_are_remembered(db: Database) -> None:
    [entry_id] = enqueue(db, "q1", "all@jx.example")
    db.run_write(queue.mark_delay_notified, [entry_id])
    db.run_write(queue.advance, entry_id, "member-9")
    [one] = db.run_read(queue.get, [entry_id])
    assert (one.delay_notified, one.progress) == (True, "member-9")


async def test_workers_side_by_side_never_share_an_entry(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    entries = tuple(NewEntry("remote", f"x{number}@far.example", "far.example", DEFAULT_NOTIFY) for number in range(60))
    await db.write(incoming.deliver, numbered(1), [], internal_date=NOW, now=NOW, queue=NewQueueMessage("q1", "", entries, LIFETIME))

    async def work(owner: str) -> list[int]:
        mine: list[int] = []
        while taken := await db.write(queue.lease, owner, now=NOW, limit=4, lease_seconds=60, busy_domains=[]):
            mine += [one.entry_id for one in taken]
        return mine

    shares = await asyncio.gather(*(work(f"w{number}") for number in range(6)))
    together = [entry_id for share in shares for entry_id in share]
    assert len(together) == len(set(together)) == 60
    await db.close()
