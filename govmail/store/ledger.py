"""Addresses ever issued: one is never given to another owner within the term after it was released.

Invariant: a row is made at the first issue and never deleted; `released` null means in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, bindparam, func, null, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.errors import Conflict
from govmail.store.schema import ledger
from govmail.store.sql import BIG, STR, Prepared, as_rows, as_set, field, one_of, rows_in

TERM_SECONDS = 2 * 365 * 86_400  # after its release an address stays with its last owner so long

_new = rows_in("rows")
_given = upsert(ledger).from_select(
    ["address_key", "owner_id", "issued"],
    select(field(_new, 0, STR), field(_new, 1, STR), bindparam("now", type_=BIG)).where(true()),
)
# The row is taken over by its own owner at any time, by another one when the term has passed.
_ISSUE = Prepared(
    _given.on_conflict_do_update(
        index_elements=[ledger.c.address_key],
        set_={"owner_id": _given.excluded.owner_id, "issued": _given.excluded.issued, "released": null()},
        where=or_(
            ledger.c.owner_id == _given.excluded.owner_id,
            and_(ledger.c.released.is_not(None), ledger.c.released <= bindparam("over", type_=BIG)),
        ),
    ).returning(ledger.c.address_key)
)
_RELEASE = Prepared(
    update(ledger)
    .where(ledger.c.address_key == bindparam("key"), ledger.c.released.is_(None))
    .values(released=bindparam("now"))
)
_OWNER = Prepared(select(ledger.c.owner_id).where(ledger.c.address_key == bindparam("key")))
_OWNERS = Prepared(
    select(ledger.c.address_key, ledger.c.owner_id, ledger.c.released).where(one_of(ledger.c.address_key, "keys"))
)
_COUNT = Prepared(select(func.count()).select_from(ledger))


def issue(conn: Connection, address_key: str, owner_id: str, now: int) -> None:
    """Give the address to the owner; again to the same owner is no error. Raises Conflict: another one has it, or had it within the term."""
    if issue_many(conn, [(address_key, owner_id)], now):
        raise Conflict(f"{address_key}: belongs or belonged to somebody else and is not given out again yet")


def issue_many(conn: Connection, wanted: Iterable[tuple[str, str]], now: int) -> set[str]:
    """Give (address_key, owner_id) pairs; the keys that could not be given. Of a key asked for twice the first owner counts."""
    owners: dict[str, str] = {}
    refused = set()
    for key, owner_id in wanted:
        if owners.setdefault(key, owner_id) != owner_id:
            refused.add(key)
    if not owners:
        return refused
    rows = as_rows(sorted(owners.items()))  # in one order everywhere, so that two imports don't lock each other out
    given = {row[0] for row in _ISSUE.rows(conn, {"rows": rows, "now": now, "over": now - TERM_SECONDS})}
    return refused | (owners.keys() - given)


def release(conn: Connection, address_key: str, now: int) -> None:
    """The owner gave it up: the term begins. Idempotent."""
    _RELEASE.run(conn, {"key": address_key, "now": now})


def owner(conn: Connection, address_key: str) -> str | None:
    """Who has the address, or had it last."""
    row = _OWNER.first(conn, {"key": address_key})
    return None if row is None else row[0]


def owners(conn: Connection, address_keys: Iterable[str]) -> dict[str, tuple[str, int | None]]:
    """Key -> (owner, when released or None) of those that were ever issued."""
    return {row[0]: (row[1], row[2]) for row in _OWNERS.rows(conn, {"keys": as_set(list(address_keys))})}


def count(conn: Connection) -> int:
    """Addresses ever issued."""
    row = _COUNT.first(conn, {})
    return row[0] if row else 0
