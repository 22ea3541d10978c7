"""Held mail: one item for each mail, one row for each recipient, with the state of that recipient's copy.

Invariants
- A recipient goes from held to released, deleted or expired once; of two reviewers who act on the same one, one wins.
- An item keeps its content until it expires, also when all its recipients are settled: it is what was decided on.
- A reviewer's question names units; items and recipients outside of them are not in the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Select, bindparam, delete, exists, insert, select, update

from govmail.errors import NotFound
from govmail.mail.envelope import Notify
from govmail.store import contents
from govmail.store.schema import quarantine_item as item_table
from govmail.store.schema import quarantine_recipient as recipient_table
from govmail.store.sql import Prepared, as_set, one_of
from govmail.store.values import HeldRecipient, NewContent, NewQuarantineItem, QuarantineItem

State = Literal["held", "released", "deleted", "expired"]

_ADD_ITEM = Prepared(
    insert(item_table).returning(item_table.c.item_id),
    ["content_id", "queue_id", "reason", "held", "expires", "sender", "subject", "size", "envelope", "origin", "verdicts"],
)
_ADD_RECIPIENT = Prepared(
    insert(recipient_table), ["item_id", "address", "directory_id", "unit_id", "notify", "orcpt", "state"]
)
_ITEM = (
    item_table.c.item_id, item_table.c.content_id, item_table.c.queue_id, item_table.c.reason, item_table.c.held,
    item_table.c.expires, item_table.c.sender, item_table.c.subject, item_table.c.size, item_table.c.envelope,
    item_table.c.origin, item_table.c.verdicts,
)  # fmt: skip
_RECIPIENT = (
    recipient_table.c.address, recipient_table.c.directory_id, recipient_table.c.unit_id, recipient_table.c.notify,
    recipient_table.c.orcpt, recipient_table.c.state, recipient_table.c.acted, recipient_table.c.actor,
)  # fmt: skip
_ONE = Prepared(select(*_ITEM).where(item_table.c.item_id == bindparam("of")))
_RECIPIENTS = Prepared(
    select(recipient_table.c.item_id, *_RECIPIENT)
    .where(one_of(recipient_table.c.item_id, "items"))
    .order_by(recipient_table.c.item_id, recipient_table.c.address)
)


def _page(*, of_state: bool, of_units: bool) -> Prepared:
    mine = recipient_table.c.item_id == item_table.c.item_id
    conditions = [mine]
    if of_state:
        conditions.append(recipient_table.c.state == bindparam("wanted"))
    if of_units:
        conditions.append(one_of(recipient_table.c.unit_id, "units"))
    query: Select[Any] = (
        select(*_ITEM)
        .where(item_table.c.item_id < bindparam("before"), exists().where(*conditions))
        .order_by(item_table.c.item_id.desc())
        .limit(bindparam("most"))
    )
    return Prepared(query)


_PAGES = {(of_state, of_units): _page(of_state=of_state, of_units=of_units) for of_state in (False, True) for of_units in (False, True)}
_MARK = Prepared(
    update(recipient_table)
    .where(recipient_table.c.item_id == bindparam("of"), one_of(recipient_table.c.address, "addresses"), recipient_table.c.state == "held")
    .values(state=bindparam("wanted"), acted=bindparam("now"), actor=bindparam("who"))
    .returning(recipient_table.c.address)
)
_EXPIRED = Prepared(
    select(item_table.c.item_id, item_table.c.content_id)
    .where(item_table.c.expires <= bindparam("now"))
    .order_by(item_table.c.item_id)
    .limit(bindparam("most"))
)
_DROP_ITEMS = Prepared(delete(item_table).where(one_of(item_table.c.item_id, "items")))
_DROP_RECIPIENTS = Prepared(delete(recipient_table).where(one_of(recipient_table.c.item_id, "items")))
_LAST = 2**62


def hold(
    conn: Connection, content: NewContent, item: NewQuarantineItem, recipients: Sequence[HeldRecipient], *, now: int
) -> int:
    """Store a mail as held; its item id."""
    content_id = contents.store(conn, content, now=now)
    row = _ADD_ITEM.first(
        conn,
        {
            "content_id": content_id, "queue_id": item.queue_id, "reason": item.reason, "held": now, "expires": item.expires,
            "sender": item.sender, "subject": item.subject, "size": content.size, "envelope": item.envelope,
            "origin": item.origin, "verdicts": item.verdicts,
        },
    )  # fmt: skip
    assert row is not None
    item_id: int = row[0]
    _ADD_RECIPIENT.many(
        conn,
        [
            {
                "item_id": item_id, "address": one.address, "directory_id": one.directory_id, "unit_id": one.unit_id,
                "notify": one.notify.value, "orcpt": one.orcpt, "state": "held",
            }
            for one in {one.address: one for one in recipients}.values()
        ],
    )  # fmt: skip
    return item_id


def list_page(
    conn: Connection, *, state: State | None, unit_ids: Collection[str] | None, before: int | None = None, limit: int
) -> list[QuarantineItem]:
    """At most `limit` items, newest first, with ids below `before`, that have a recipient in `state` (None: any) in `unit_ids`.

    Of the recipients only those in `unit_ids` are told. None: all units, and recipients elsewhere.
    """
    statement = _PAGES[state is not None, unit_ids is not None]
    params = {"before": _LAST if before is None else before, "most": limit, "wanted": state, "units": as_set(unit_ids or ())}
    return _with_recipients(conn, statement.rows(conn, params), unit_ids)


def show(conn: Connection, item_id: int, *, unit_ids: Collection[str] | None = None) -> QuarantineItem:
    """One item, seen from `unit_ids` (None: all). Raises NotFound, also when none of its recipients is there."""
    found = _with_recipients(conn, _ONE.rows(conn, {"of": item_id}), unit_ids)
    if not found or (unit_ids is not None and not found[0].recipients):
        raise NotFound(f"no held mail {item_id}")
    return found[0]


def mark(conn: Connection, item_id: int, addresses: Collection[str], state: State, actor: str, now: int) -> list[str]:
    """Settle held recipients; those that this call settled. Who releases delivers in the same transaction.

    Raises NotFound.
    """
    if _ONE.first(conn, {"of": item_id}) is None:
        raise NotFound(f"no held mail {item_id}")
    settled = _MARK.rows(conn, {"of": item_id, "addresses": as_set(addresses), "wanted": state, "now": now, "who": actor})
    return sorted(row[0] for row in settled)


def expire(conn: Connection, now: int, *, limit: int = 100) -> int:
    """Remove items whose time is over, with their recipients; how many, at most `limit`."""
    found = _EXPIRED.rows(conn, {"now": now, "most": limit})
    items = as_set([row[0] for row in found])
    _DROP_RECIPIENTS.run(conn, {"items": items})
    _DROP_ITEMS.run(conn, {"items": items})
    contents.note_gone(conn, [row[1] for row in found], now=now)
    return len(found)


def _with_recipients(
    conn: Connection, items: Sequence[Sequence[Any]], unit_ids: Collection[str] | None
) -> list[QuarantineItem]:
    if not items:
        return []
    visible = None if unit_ids is None else set(unit_ids)
    by_item: dict[int, list[HeldRecipient]] = {}
    for row in _RECIPIENTS.rows(conn, {"items": as_set([one[0] for one in items])}):
        if visible is None or row[3] in visible:
            by_item.setdefault(row[0], []).append(_recipient(row[1:]))
    return [QuarantineItem(*[*one, tuple(by_item.get(one[0], ()))]) for one in items]


def _recipient(row: Iterable[Any]) -> HeldRecipient:
    address, directory_id, unit_id, notify, *rest = row
    return HeldRecipient(address, directory_id, unit_id, Notify(notify), *rest)
