"""Annotations of mailboxes and of the server: names and values that clients keep here.

Invariants: an entry is /shared, or belongs to one reader (a directory id) and is seen by nobody else; mailbox 0 is the
server as the account sees it; entry names come in lower case. Of the octets a value has nothing is interpreted.

RFC 5464.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.config import Limits
from govmail.errors import LimitReached
from govmail.interfaces import Hint
from govmail.store.changes import next_modseq, note
from govmail.store.schema import annotation
from govmail.store.sql import Prepared, as_set, one_of

SERVER = 0

_READERS = or_(annotation.c.reader == "", annotation.c.reader == bindparam("reader"))
_OF_MAILBOXES = Prepared(
    select(annotation.c.mailbox_id, annotation.c.entry, annotation.c.value).where(
        annotation.c.account_id == bindparam("account"), one_of(annotation.c.mailbox_id, "mailboxes"), _READERS
    )
)
_PUT = upsert(annotation).values(
    account_id=bindparam("account"), mailbox_id=bindparam("mailbox"), reader=bindparam("whose"), entry=bindparam("called"), value=bindparam("octets")
)
_SET = Prepared(
    _PUT.on_conflict_do_update(
        index_elements=[annotation.c.account_id, annotation.c.mailbox_id, annotation.c.reader, annotation.c.entry],
        set_={"value": _PUT.excluded.value},
    )
)
_THIS = (annotation.c.account_id == bindparam("account"), annotation.c.mailbox_id == bindparam("mailbox"))
_DELETE = Prepared(delete(annotation).where(*_THIS, annotation.c.reader == bindparam("whose"), annotation.c.entry == bindparam("called")))
_COUNT = Prepared(select(func.count()).select_from(annotation).where(*_THIS, annotation.c.reader == bindparam("whose")))


def read(conn: Connection, account_id: int, mailbox_ids: Collection[int], reader: str) -> dict[int, dict[str, bytes]]:
    """What `reader` sees on these mailboxes, by mailbox and entry, in one question."""
    found: dict[int, dict[str, bytes]] = {}
    key = {"account": account_id, "mailboxes": as_set(list(mailbox_ids)), "reader": reader}
    for mailbox_id, entry, value in sorted(_OF_MAILBOXES.rows(conn, key), key=lambda row: row[1]):
        found.setdefault(mailbox_id, {})[entry] = bytes(value)
    return found


def write(
    conn: Connection, account_id: int, mailbox_id: int, reader: str, values: Sequence[tuple[str, bytes | None]], limits: Limits
) -> None:
    """Set or (None) remove entries, all or none. Raises LimitReached."""
    modseq = next_modseq(conn, account_id)
    key = {"account": account_id, "mailbox": mailbox_id}
    for entry, value in values:
        this = {**key, "whose": _whose(entry, reader), "called": entry}
        if value is None:
            _DELETE.run(conn, this)
        else:
            _SET.run(conn, {**this, "octets": value})
    for whose in {_whose(entry, reader) for entry, _ in values}:  # nobody fills what is another's
        count = _COUNT.first(conn, {**key, "whose": whose})
        if count is not None and count[0] > limits.annotations:
            raise LimitReached
    note(conn, Hint(account_id, modseq))


def _whose(entry: str, reader: str) -> str:
    return "" if entry.startswith("/shared/") else reader
