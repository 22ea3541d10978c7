"""Leases: one process at a time does a periodic job.

Invariant: a lease has one owner until `until`; it is taken over only after that, or when released.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, or_
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.store.schema import lease
from govmail.store.sql import Prepared

_new = upsert(lease)
_TAKE = Prepared(
    _new.on_conflict_do_update(
        index_elements=[lease.c.name],
        set_={"owner": _new.excluded.owner, "until": _new.excluded.until},
        where=or_(lease.c.owner == _new.excluded.owner, lease.c.until <= bindparam("now")),
    ).returning(lease.c.owner),
    ["name", "owner", "until"],
)
_RELEASE = Prepared(delete(lease).where(lease.c.name == bindparam("called"), lease.c.owner == bindparam("whose")))


def take(conn: Connection, name: str, owner: str, until: int, now: int) -> bool:
    """Take or prolong the lease; False: somebody else has it."""
    return _TAKE.first(conn, {"name": name, "owner": owner, "until": until, "now": now}) is not None


def release(conn: Connection, name: str, owner: str) -> None:
    """Give the lease back; that it was lost already is no error."""
    _RELEASE.run(conn, {"called": name, "whose": owner})
