"""What nobody names goes, what somebody names stays; also beside a delivery, and when the process dies between two steps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Engine, make_url, text

from govmail.config import Limits
from govmail.mail.envelope import DEFAULT_NOTIFY
from govmail.store import (
    blobs,
    collect,
    contents,
    incoming,
    mailboxes,
    messages,
    postgres,
    quarantine,
    queue,
)
from govmail.store.database import Database
from govmail.store.migrate import to_head
from govmail.store.values import (
    Delivery,
    Flag,
    HeldRecipient,
    NewContent,
    NewEntry,
    NewQuarantineItem,
    NewQueueMessage,
)
from tests.kit.contents import new_content, numbered, raw_mail

NOW = 1_800_000_000
LATER = NOW + collect.UNTOUCHED_SECONDS
LI = [Delivery("li", "li@jx.example")]
TO_FILE = Limits(blob_inline_octets=10)


def large(db: Database) -> NewContent:
    """A mail whose body lies in a file."""
    return new_content(raw_mail("Annex", os.urandom(600).hex() + "\r\n"), files=db.blobs, limits=TO_FILE)


def remove_all(db: Database, account_id: int, now: int = NOW) -> None:
    db.run_write(messages.store_flags, account_id, 1, [(1, 99)], "add", int(Flag.DELETED), [])
    db.run_write(messages.expunge, account_id, 1, None, now=now)


def count(db: Database, table: str) -> int:
    return db.run_read(lambda conn: int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()))


def files(db: Database) -> set[str]:
    return {path for path, _ in db.blobs.paths()}


def test_a_content_goes_with_its_last_message(db: Database) -> None:
    li, wang = db.run_write(
        incoming.deliver, large(db), [*LI, Delivery("wang", "wang@jx.example")], internal_date=NOW, now=NOW
    )
    remove_all(db, li.account_id)
    assert db.run_write(collect.contents, LATER, 10) == []
    assert count(db, "content") == 1
    remove_all(db, wang.account_id)
    assert db.run_write(collect.contents, LATER - 1, 10) == []
    paths = db.run_write(collect.contents, LATER, 10)
    assert set(paths) == files(db)
    assert [count(db, table) for table in ("content", "content_header", "content_parts", "content_text", "blob", "content_gone")] == [0] * 6


def test_deleting_a_mailbox_gives_up_its_contents(db: Database) -> None:
    [done] = db.run_write(
        incoming.deliver, numbered(1), [replace(LI[0], mailbox="Junk")], internal_date=NOW, now=NOW
    )
    db.run_write(mailboxes.delete, done.account_id, "Junk", now=NOW)
    db.run_write(collect.contents, LATER, 10)
    assert count(db, "content") == 0


def test_the_queue_keeps_a_content(db: Database) -> None:
    entry = NewEntry("remote", "x@far.example", "far.example", DEFAULT_NOTIFY)
    [done] = db.run_write(
        incoming.deliver, numbered(1), LI, internal_date=NOW, now=NOW, queue=NewQueueMessage("q1", "a@b.example", (entry,), 86_400)
    )
    remove_all(db, done.account_id)
    db.run_write(collect.contents, LATER, 10)
    assert count(db, "content") == 1
    [waiting] = db.run_read(queue.list_page, after=0, limit=10)
    db.run_write(queue.delete_entries, [waiting.entry_id], now=LATER)
    db.run_write(collect.contents, LATER + collect.UNTOUCHED_SECONDS, 10)
    assert count(db, "content") == 0


def test_the_quarantine_keeps_a_content(db: Database) -> None:
    item = NewQuarantineItem("q1", "spam", LATER, "a@b.example", "Subject", "{}", "{}", "[]")
    held = [HeldRecipient("li@jx.example", "li", "unit", DEFAULT_NOTIFY, None)]
    db.run_write(quarantine.hold, numbered(1), item, held, now=NOW)
    [done] = db.run_write(incoming.deliver, numbered(1), LI, internal_date=NOW, now=NOW)
    remove_all(db, done.account_id)
    db.run_write(collect.contents, LATER, 10)
    assert count(db, "content") == 1
    assert db.run_write(quarantine.expire, LATER) == 1
    db.run_write(collect.contents, LATER + collect.UNTOUCHED_SECONDS, 10)
    assert count(db, "content") == 0


def test_what_is_used_again_stays(db: Database) -> None:
    new = large(db)
    [done] = db.run_write(incoming.deliver, new, LI, internal_date=NOW, now=NOW)
    remove_all(db, done.account_id)
    db.run_write(incoming.deliver, new, LI, internal_date=NOW, now=LATER)
    remove_all(db, done.account_id, now=LATER)
    assert db.run_write(collect.contents, LATER + 1, 10) == []  # touched a moment ago
    assert count(db, "content_gone") == 1
    assert len(db.run_write(collect.contents, LATER + collect.UNTOUCHED_SECONDS, 10)) == 1


# -- files, and a process that dies between two steps ---------------------------------------------------------------


def test_a_file_without_a_row_is_an_orphan_after_a_day(db: Database) -> None:
    """Died after writing the file, before the commit."""
    large(db)
    [path] = files(db)
    written = int((db.blobs.directory / path).stat().st_mtime)
    assert db.run_read(collect.orphans, db.blobs, written + collect.ORPHAN_SECONDS - 60) == []
    assert db.run_read(collect.orphans, db.blobs, written + collect.ORPHAN_SECONDS + 60) == [path]
    db.blobs.remove(path)
    assert files(db) == set()


def test_a_file_with_a_row_is_never_an_orphan(db: Database) -> None:
    db.run_write(incoming.deliver, large(db), LI, internal_date=NOW, now=NOW)
    assert db.run_read(collect.orphans, db.blobs, NOW * 2) == []


def test_dying_before_the_unlink_leaves_an_orphan(db: Database) -> None:
    [done] = db.run_write(incoming.deliver, large(db), LI, internal_date=NOW, now=NOW)
    remove_all(db, done.account_id)
    [path] = db.run_write(collect.contents, LATER, 10)  # and the process dies here
    assert db.run_read(collect.orphans, db.blobs, NOW * 2) == [path]


def test_an_unfinished_file_is_swept_too(db: Database) -> None:
    folder = db.blobs.directory / "ab"
    folder.mkdir(parents=True)
    (folder / f"{blobs.TEMP}cdef").write_bytes(b"half")
    assert db.run_read(collect.orphans, db.blobs, NOW * 2) == [f"ab/{blobs.TEMP}cdef"]


def test_the_file_of_an_equal_content_becomes_an_orphan(db: Database) -> None:
    raw = raw_mail("Annex", "x" * 500)
    for _ in range(2):
        new = new_content(raw, files=db.blobs, limits=TO_FILE)
        [done] = db.run_write(incoming.deliver, new, LI, internal_date=NOW, now=NOW)
    assert (count(db, "content"), count(db, "blob"), len(files(db))) == (1, 1, 2)
    [spare] = db.run_read(collect.orphans, db.blobs, NOW * 2)
    [kept] = files(db) - {spare}
    [row] = db.run_read(messages.rows, done.account_id, 1, [(1, 1)])
    [content] = db.run_read(contents.envelopes, [row.content_id]).values()
    assert db.run_read(blobs.locate, [content.blob_id])[content.blob_id].path == kept


# -- a delivery and the collector at the same time ------------------------------------------------------------------


class Race:
    """Two connections to one PostgreSQL database; on SQLite the one writer makes them follow each other."""

    def __init__(self, engine: Engine) -> None:
        self.deliverer, self.collector, self.watcher = engine.connect(), engine.connect(), engine.connect()

    def deliver(self) -> None:
        self.deliverer.begin()
        incoming.deliver(self.deliverer, numbered(1), LI, internal_date=NOW, now=LATER)

    def collect(self) -> None:
        self.collector.begin()
        collect.contents(self.collector, LATER, 10)

    @contextmanager
    def blocked(self, act: Callable[[], None]) -> Iterator[None]:
        """Run `act` in a thread, go on when it waits for a lock, join it at the end."""
        thread = threading.Thread(target=act)
        thread.start()
        while thread.is_alive() and not self._somebody_waits():
            pass
        assert thread.is_alive()
        yield
        thread.join(30)
        assert not thread.is_alive()

    def _somebody_waits(self) -> bool:
        waiting = self.watcher.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one()
        self.watcher.rollback()
        return int(waiting) > 0

    def state(self) -> tuple[int, int]:
        """(contents, messages whose content is there)"""
        found = self.watcher.execute(
            text("SELECT (SELECT count(*) FROM content), (SELECT count(*) FROM message JOIN content USING (content_id))")
        ).one()
        messages_all = self.watcher.execute(text("SELECT count(*) FROM message")).scalar_one()
        self.watcher.rollback()
        assert messages_all == found[1]
        return int(found[0]), int(found[1])


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Iterator[Race]:
    """A content that was expunged an hour ago: due for collection."""
    with request.getfixturevalue("postgres").database() as url:
        engine = postgres.make_engine(make_url(url), durable=False)
        to_head(engine)
        with engine.begin() as conn:
            [done] = incoming.deliver(conn, numbered(1), LI, internal_date=NOW, now=NOW)
            messages.store_flags(conn, done.account_id, 1, [(1, 1)], "add", int(Flag.DELETED), [])
            messages.expunge(conn, done.account_id, 1, None, now=NOW)
        race = Race(engine)
        yield race
        for conn in (race.deliverer, race.collector, race.watcher):
            conn.close()


def test_delivery_first_then_the_collector_leaves_it(race: Race) -> None:
    race.deliver()
    with race.blocked(race.collect):
        race.deliverer.commit()
    race.collector.commit()
    assert race.state() == (1, 1)


def test_delivery_that_dies_lets_the_collector_take_it(race: Race) -> None:
    race.deliver()
    with race.blocked(race.collect):
        race.deliverer.rollback()
    race.collector.commit()
    assert race.state() == (0, 0)


def test_collector_first_then_the_delivery_stores_it_anew(race: Race) -> None:
    race.collect()
    with race.blocked(race.deliver):
        race.collector.commit()
    race.deliverer.commit()
    assert race.state() == (1, 1)


def test_collector_that_dies_leaves_it_to_the_delivery(race: Race) -> None:
    race.collect()
    with race.blocked(race.deliver):
        race.collector.rollback()
    race.deliverer.commit()
    assert race.state() == (1, 1)
