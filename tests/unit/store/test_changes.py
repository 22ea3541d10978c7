"""The one question that IDLE, NOOP and QRESYNC ask."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from govmail.imap.verbs.fetch import flag_and_look
from govmail.store import changes, collect, incoming, mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import Delivery, Flag, MailboxChanges, UidRange
from tests.kit.contents import numbered

NOW = 1_800_000_000
LI = [Delivery("li", "li@jx.example")]
DELETED = int(Flag.DELETED)


def fill(db: Database, count: int) -> int:
    for number in range(count):
        [done] = db.run_write(incoming.deliver, numbered(number), LI, internal_date=NOW, now=NOW)
    return done.account_id


def expunge(db: Database, account_id: int, *ranges: UidRange, now: int = NOW) -> None:
    db.run_write(messages.store_flags, account_id, 1, ranges, "add", DELETED, [])
    db.run_write(messages.expunge, account_id, 1, ranges, now=now)


def test_arrived_flags_and_vanished(db: Database) -> None:
    li = fill(db, 4)
    inbox = db.run_read(mailboxes.by_id, li, 1)
    db.run_write(messages.store_flags, li, 1, [(2, 2)], "add", int(Flag.SEEN), [])
    expunge(db, li, (1, 1), (3, 3))
    fill(db, 2)
    told = db.run_read(changes.since, li, 1, inbox.highest_modseq, inbox.uid_next)
    assert [one.uid for one in told.arrived] == [5, 6]
    assert [(one.uid, one.flags) for one in told.flags] == [(2, int(Flag.SEEN))]
    assert told.vanished == ((1, 1), (3, 3))
    assert (told.uid_next, told.gone) == (7, False)
    nothing = db.run_read(changes.since, li, 1, told.modseq, told.uid_next)
    assert (nothing.arrived, nothing.flags, nothing.vanished) == ((), (), ())


def test_changes_elsewhere_are_not_told(db: Database) -> None:
    li = fill(db, 2)
    inbox = db.run_read(mailboxes.by_id, li, 1)
    trash = db.run_read(mailboxes.get, li, "Trash")
    db.run_write(messages.copy, li, 1, [(1, 2)], li, trash.mailbox_id, now=NOW)
    told = db.run_read(changes.since, li, 1, inbox.highest_modseq, inbox.uid_next)
    assert (told.arrived, told.flags, told.vanished) == ((), (), ())
    modseqs = db.run_read(changes.mailbox_modseqs, li)
    assert modseqs[1] == inbox.highest_modseq < modseqs[trash.mailbox_id]


def test_both_paths_of_vanished_give_the_same_mailbox(db: Database) -> None:
    """With its history and without it, a client that applies the answer has the same messages."""
    li = fill(db, 8)
    known = {one.uid for one in db.run_read(messages.rows, li, 1, None)}
    inbox = db.run_read(mailboxes.by_id, li, 1)
    expunge(db, li, (2, 3), (7, 7))
    fill(db, 1)
    expunge(db, li, (5, 5))
    with_history = db.run_read(changes.since, li, 1, inbox.highest_modseq, inbox.uid_next)
    later = NOW + collect.HISTORY_SECONDS + 1
    assert db.run_write(collect.history, after=0, upto=li, now=later) == 1
    assert db.run_write(collect.history, after=0, upto=li, now=later) == 0
    without = db.run_read(changes.since, li, 1, inbox.highest_modseq, inbox.uid_next)

    def left(vanished: tuple[UidRange, ...]) -> set[int]:
        return {uid for uid in known if not any(first <= uid <= last for first, last in vanished)}

    assert left(with_history.vanished) == left(without.vanished) == {1, 4, 6, 8}
    assert with_history.arrived == without.arrived
    expunge(db, li, (1, 1), now=later)
    now = db.run_read(mailboxes.by_id, li, 1)
    told = db.run_read(changes.since, li, 1, now.highest_modseq - 1, now.uid_next)
    assert told.vanished == ((1, 1),)


def test_a_long_history_is_cut(db: Database) -> None:
    li = fill(db, 1)

    def many(conn: object) -> None:
        changes_of = [
            {"account_id": li, "mailbox_id": 1, "modseq": number, "uid_first": number, "uid_last": number, "at": NOW}
            for number in range(1, collect.HISTORY_RANGES + 101)
        ]
        messages._EXPUNGED.many(conn, changes_of)  # type: ignore[arg-type]

    db.run_write(many)
    assert db.run_write(collect.history, after=0, upto=li, now=NOW) == 1
    assert db.run_write(collect.history, after=0, upto=li, now=NOW) == 0


async def test_a_reader_that_follows_concurrent_writers_misses_nothing(url: str, tmp_path: Path) -> None:
    """Whatever `since` said once it never has to correct: what it did not tell yet has a higher modseq."""
    db = Database.open(url, data_dir=tmp_path, durable=False)
    [first] = await db.write(incoming.deliver, numbered(0), LI, internal_date=NOW, now=NOW)
    account_id = first.account_id
    known: set[int] = set()
    done = asyncio.Event()

    async def follow() -> None:
        modseq, uid_next = 0, 1
        while True:
            last = done.is_set()
            told = await db.read(changes.since, account_id, 1, modseq, uid_next)
            known.update(one.uid for one in told.arrived)
            known.difference_update(uid for first, last_uid in told.vanished for uid in range(first, last_uid + 1))
            modseq, uid_next = told.modseq, told.uid_next
            if last:
                return

    async def write(start: int) -> None:
        for number in range(start, start + 15):
            [one] = await db.write(incoming.deliver, numbered(number), LI, internal_date=NOW, now=NOW)
            if number % 3 == 0:
                await db.write(messages.store_flags, account_id, 1, [(one.uid, one.uid)], "add", DELETED, [])
                await db.write(messages.expunge, account_id, 1, [(one.uid, one.uid)], now=NOW)

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(1000 * number) for number in range(1, 5)))
    done.set()
    await following
    assert known == {row.uid for row in await db.read(messages.rows, account_id, 1, None)}
    await db.close()


def test_a_silent_store_hides_no_change_of_others(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of somebody else that wants to come between the look and the change comes before the one or after the other."""
    li = fill(db, 1)
    known = db.run_read(changes.since, li, 1, 0, 1)
    other = threading.Thread(target=db.run_write, args=(messages.store_flags, li, 1, ((1, 1),), "add", int(Flag.FLAGGED), ()))
    look = changes.since

    def since(conn: Connection, *arguments: int) -> MailboxChanges:
        found = look(conn, *arguments)
        if other.ident is None:
            other.start()
            other.join(0.2)  # it ends within only where nothing holds it back
        return found

    monkeypatch.setattr(changes, "since", since)
    done = db.run_write(flag_and_look, li, 1, ((1, 1),), "add", int(Flag.SEEN), (), known.modseq, known.uid_next, silent=True)
    other.join()
    later = db.run_read(look, li, 1, done.news.modseq, done.news.uid_next)
    told = [one for one in done.news.flags if one.uid not in done.own] + list(later.flags)
    assert [one.flags for one in told] == [int(Flag.FLAGGED | Flag.SEEN)]
