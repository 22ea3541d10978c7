"""The audit trail of operator acts: appended in the transaction of the act, chained by hashes.

Invariants
- digest = SHA-256(previous digest || canonical JSON of the entry with its seq and time); the first entry follows 32 zero
  octets. Changing, removing or inserting an entry breaks the chain at that place.
- seq counts 1, 2, 3 … without gaps: it is taken from the entry before, not from the database's own counter.
- Nothing here updates or deletes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, text

from govmail.store.schema import audit
from govmail.store.sql import Prepared
from govmail.store.values import AuditEntry

START = bytes(32)
PAGE = 1000  # entries that `verify` holds at a time
_LOCK = 7_236_001  # PostgreSQL advisory lock: one append at a time

_FIELDS = (
    audit.c.seq, audit.c.at, audit.c.actor, audit.c.source, audit.c.act, audit.c.target, audit.c.result, audit.c.detail,
    audit.c.previous, audit.c.digest,
)  # fmt: skip
_LAST = Prepared(select(audit.c.seq, audit.c.digest).order_by(audit.c.seq.desc()).limit(1))
_APPEND = Prepared(insert(audit), [column.name for column in _FIELDS])
_PAGE = Prepared(select(*_FIELDS).where(audit.c.seq > bindparam("after")).order_by(audit.c.seq).limit(bindparam("most")))
_COUNT = Prepared(select(func.count()).select_from(audit))


def append(
    conn: Connection, *, at: int, actor: str, source: str, act: str, target: str, result: str, detail: dict[str, Any]
) -> int:
    """Add an entry; its seq. `at` in microseconds; `detail` must be JSON and hold no secrets."""
    if conn.dialect.name == "postgresql":  # SQLite has one writer; here two appends must not follow the same entry
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    last = _LAST.first(conn, {})
    seq, previous = (1, START) if last is None else (last[0] + 1, bytes(last[1]))
    entry = AuditEntry(seq, at, actor, source, act, target, result, canonical_json(detail), previous, b"")
    _APPEND.run(
        conn,
        {
            "seq": seq, "at": at, "actor": actor, "source": source, "act": act, "target": target, "result": result,
            "detail": entry.detail, "previous": previous, "digest": entry_digest(entry),
        },
    )  # fmt: skip
    return seq


def entries(conn: Connection, after: int, limit: int) -> list[AuditEntry]:
    """At most `limit` entries with seq above `after`, ascending."""
    return [_entry(row) for row in _PAGE.rows(conn, {"after": after, "most": limit})]


def count(conn: Connection) -> int:
    """How many entries there are."""
    row = _COUNT.first(conn, {})
    return row[0] if row else 0


def verify(conn: Connection) -> int | None:
    """The seq of the first entry that does not fit: changed, inserted, or following a gap; None when all do."""
    seq, previous = 0, START
    while page := entries(conn, seq, PAGE):
        for entry in page:
            if entry.seq != seq + 1:
                return seq + 1  # is missing
            if entry.previous != previous or entry.digest != entry_digest(entry):
                return entry.seq
            seq, previous = entry.seq, entry.digest
    return None


def entry_digest(entry: AuditEntry) -> bytes:
    """What the digest of an entry must be."""
    fields = (entry.seq, entry.at, entry.actor, entry.source, entry.act, entry.target, entry.result, entry.detail)
    return hashlib.sha256(entry.previous + canonical_json(fields).encode("utf-8", "surrogatepass")).digest()


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, no escapes but those that JSON demands."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _entry(row: Sequence[Any]) -> AuditEntry:
    seq, at, actor, source, act, target, result, detail, previous, digest = row
    return AuditEntry(seq, at, actor, source, act, target, result, detail, bytes(previous), bytes(digest))
