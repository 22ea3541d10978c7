"""Verified logins, remembered as keyed hashes so that reconnecting clients don't cost a slow hash each.

Invariant: a row holds HMAC-SHA-256(key, password || password stamp); the key is not in the database.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.store.schema import login_memory
from govmail.store.sql import Prepared

_new = upsert(login_memory)
_REMEMBER = Prepared(
    _new.on_conflict_do_update(
        index_elements=[login_memory.c.directory_id], set_={"mac": _new.excluded.mac, "verified": _new.excluded.verified}
    ),
    ["directory_id", "mac", "verified"],
)
_RECALL = Prepared(
    select(login_memory.c.mac, login_memory.c.verified).where(login_memory.c.directory_id == bindparam("owner"))
)
_FORGET = Prepared(delete(login_memory).where(login_memory.c.directory_id == bindparam("owner")))
_EXPIRE = Prepared(delete(login_memory).where(login_memory.c.verified < bindparam("before")))


def remember(conn: Connection, directory_id: str, mac: bytes, now: int) -> None:
    """This login was verified now; replaces what was remembered."""
    _REMEMBER.run(conn, {"directory_id": directory_id, "mac": mac, "verified": now})


def recall(conn: Connection, directory_id: str) -> tuple[bytes, int] | None:
    """(mac, when verified) of the last verified login; how old it may be is the caller's to judge."""
    row = _RECALL.first(conn, {"owner": directory_id})
    return None if row is None else (bytes(row[0]), row[1])


def forget(conn: Connection, directory_id: str) -> None:
    """After a change of password, state or unit."""
    _FORGET.run(conn, {"owner": directory_id})


def expire(conn: Connection, before: int) -> int:
    """Drop what was verified before; how many."""
    return _EXPIRE.run(conn, {"before": before})
