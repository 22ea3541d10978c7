"""What nobody needs any more: contents without messages, files without rows, old history.

Invariants
- A content is removed only under its row's lock, when it was untouched for an hour and no message, queued message or held
  mail names it; a delivery that reuses it touches and locks the same row, so one of the two sees the other.
- Its file is unlinked by the caller after the commit; a crash before that leaves an orphan, never a row without a file.
- A file is an orphan when no row names it and it is older than any transaction can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sqlalchemy import Connection, bindparam, delete, func, select, update

from govmail.store.blobs import BlobFiles
from govmail.store.schema import (
    blob,
    content,
    content_gone,
    content_header,
    content_parts,
    content_text,
    expunged,
    mailbox,
    message,
    quarantine_item,
    queue_message,
)
from govmail.store.sql import Prepared, as_set, one_of

ORPHAN_SECONDS = 86_400
UNTOUCHED_SECONDS = 3600
HISTORY_SECONDS = 30 * 86_400  # how long QRESYNC learns exactly what vanished
HISTORY_RANGES = 10_000  # of a mailbox
BATCH = 500

_NAMED_FILES = Prepared(select(blob.c.path).where(one_of(blob.c.path, "paths")))
_GONE = Prepared(
    select(content_gone.c.content_id)
    .where(content_gone.c.since <= bindparam("before"))
    .order_by(content_gone.c.content_id)
    .limit(bindparam("most"))
)
_LOCK = Prepared(
    select(content.c.content_id, content.c.blob_id, content.c.touched)
    .where(one_of(content.c.content_id, "ids"))
    .order_by(content.c.content_id)
    .with_for_update()
)
# One question for each kind of table: accounts and contents may lie in different databases.
_NAMED = [
    Prepared(select(column).distinct().where(one_of(column, "ids")))
    for column in (message.c.content_id, queue_message.c.content_id, quarantine_item.c.content_id)
]
_DELETE = [
    Prepared(delete(table).where(one_of(table.c.content_id, "ids"))) for table in (content, content_header, content_parts, content_text)
]
_DELETE_GONE = Prepared(delete(content_gone).where(one_of(content_gone.c.content_id, "ids")))
_DELETE_BLOBS = Prepared(delete(blob).where(one_of(blob.c.blob_id, "ids")).returning(blob.c.path))

_LONG_HISTORY = Prepared(
    select(expunged.c.account_id, expunged.c.mailbox_id)
    .where(expunged.c.account_id > bindparam("after"), expunged.c.account_id <= bindparam("upto"))
    .group_by(expunged.c.account_id, expunged.c.mailbox_id)
    .having((func.count() > HISTORY_RANGES) | (func.min(expunged.c.at) < bindparam("old")))
)
_OLD = Prepared(
    select(func.max(expunged.c.modseq)).where(
        expunged.c.account_id == bindparam("account"),
        expunged.c.mailbox_id == bindparam("mailbox"),
        expunged.c.at < bindparam("old"),
    )
)
_SURPLUS = Prepared(
    select(expunged.c.modseq)
    .where(expunged.c.account_id == bindparam("account"), expunged.c.mailbox_id == bindparam("mailbox"))
    .order_by(expunged.c.modseq.desc())
    .limit(1)
    .offset(HISTORY_RANGES)
)
_RAISE_FLOOR = Prepared(
    update(mailbox)
    .where(
        mailbox.c.account_id == bindparam("account"),
        mailbox.c.mailbox_id == bindparam("mailbox"),
        mailbox.c.expunged_floor < bindparam("floor"),
    )
    .values(expunged_floor=bindparam("floor"))
)
_FORGET = Prepared(
    delete(expunged).where(
        expunged.c.account_id == bindparam("account"),
        expunged.c.mailbox_id == bindparam("mailbox"),
        expunged.c.modseq <= bindparam("floor"),
    )
)


def orphans(conn: Connection, files: BlobFiles, now: int) -> list[str]:
    """Files that no row names and that are older than a day; for the caller to remove. Run under `read`; walks all files."""
    found: list[str] = []
    old = (path for path, written in files.paths() if written < now - ORPHAN_SECONDS)
    while batch := list(islice(old, BATCH)):
        named = {row[0] for row in _NAMED_FILES.rows(conn, {"paths": as_set(batch)})}
        found += [path for path in batch if path not in named]
    return found


def contents(conn: Connection, now: int, limit: int) -> list[str]:
    """Remove at most `limit` contents that nothing names; paths of files to remove after the commit."""
    before = now - UNTOUCHED_SECONDS
    noted = [row[0] for row in _GONE.rows(conn, {"before": before, "most": limit})]
    if not noted:
        return []
    there = {row[0]: (row[1], row[2]) for row in _LOCK.rows(conn, {"ids": as_set(noted)})}
    named = {row[0] for question in _NAMED for row in question.rows(conn, {"ids": as_set(noted)})}
    free = [content_id for content_id in there if content_id not in named and there[content_id][1] <= before]
    for statement in _DELETE:
        statement.run(conn, {"ids": as_set(free)})
    paths = _DELETE_BLOBS.rows(conn, {"ids": as_set([there[content_id][0] for content_id in free])})
    waiting = there.keys() - named - set(free)  # touched lately: looked at again next time
    _DELETE_GONE.run(conn, {"ids": as_set([content_id for content_id in noted if content_id not in waiting])})
    return [row[0] for row in paths if row[0] is not None]


def history(conn: Connection, *, after: int, upto: int, now: int) -> int:
    """Forget old expunges of the accounts after..upto (ids); how many mailboxes were trimmed."""
    old = now - HISTORY_SECONDS
    trimmed: Sequence[tuple[int, ...]] = _LONG_HISTORY.rows(conn, {"after": after, "upto": upto, "old": old})
    for account_id, mailbox_id in trimmed:
        key = {"account": account_id, "mailbox": mailbox_id}
        floors = [row[0] for row in (_OLD.first(conn, {**key, "old": old}), _SURPLUS.first(conn, key)) if row and row[0]]
        if floors:
            _RAISE_FLOOR.run(conn, {**key, "floor": max(floors)})
            _FORGET.run(conn, {**key, "floor": max(floors)})
    return len(trimmed)
