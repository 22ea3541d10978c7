"""Accounts: what belongs to one mailbox owner, known by the owner's directory id.

Invariants
- An account comes into being with its INBOX (mailbox 1, which is never deleted) and one mailbox for each special use, all
  subscribed, in one transaction; whoever needs it first makes it, and two at once make one.
- `used_octets` and `used_messages` are what its mailboxes hold together, exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, Integer, bindparam, case, insert, literal_column, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.errors import NotFound
from govmail.interfaces import Hint
from govmail.store.changes import note
from govmail.store.schema import account, counter, mailbox, subscription
from govmail.store.sql import BIG, STR, Prepared, as_rows, as_set, field, one_of, rows_in
from govmail.store.values import NO_NAMES, Account, AccountId

INBOX_ID = 1
DEFAULTS: tuple[tuple[str, str | None], ...] = (
    ("INBOX", None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
    ("Archive", "\\Archive"),
)

_FIELDS = (
    account.c.account_id,
    account.c.directory_id,
    account.c.modseq,
    account.c.suspended,
    account.c.quota_octets,
    account.c.used_octets,
    account.c.used_messages,
    account.c.without,
    account.c.quota_messages,
)
_FIND = Prepared(select(*_FIELDS).where(account.c.directory_id == bindparam("owner")))
_BY_ID = Prepared(select(*_FIELDS).where(account.c.account_id == bindparam("of")))
_PAGE = Prepared(
    select(*_FIELDS).where(account.c.account_id > bindparam("after")).order_by(account.c.account_id).limit(bindparam("most"))
)
_KNOWN = Prepared(select(account.c.directory_id, account.c.account_id).where(one_of(account.c.directory_id, "owners")))
_SUSPEND = Prepared(
    update(account).where(account.c.directory_id == bindparam("owner")).values(suspended=bindparam("flag", type_=Integer()) == 1)
)
_SET_QUOTA = Prepared(
    update(account)
    .where(account.c.directory_id == bindparam("owner"))
    .values(quota_octets=bindparam("octets"), quota_messages=bindparam("count"))
    .returning(account.c.account_id, account.c.modseq)
)
_SET_WITHOUT = Prepared(update(account).where(account.c.directory_id == bindparam("owner")).values(without=bindparam("names")))

_new = rows_in("rows")
# Rows: owner, octets
_SET_QUOTAS = Prepared(
    update(account)
    .where(account.c.directory_id == field(_new, 0, STR), account.c.quota_octets.is_distinct_from(field(_new, 1, BIG)))
    .values(quota_octets=field(_new, 1, BIG))
    .returning(account.c.account_id, account.c.modseq)
)
_CREATE = Prepared(
    upsert(account)
    .from_select(
        ["directory_id", "modseq", "next_mailbox_id", "suspended", "used_octets", "used_messages", "created", "quota_octets"],
        select(
            field(_new, 0, STR),
            literal_column("1"),
            literal_column(str(len(DEFAULTS) + 1)),
            literal_column("false"),
            literal_column("0"),
            literal_column("0"),
            field(_new, 1, BIG),
            field(_new, 2, BIG),
        ).where(true()),  # SQLite cannot tell ON CONFLICT from a join's ON without a WHERE
        include_defaults=False,
    )
    .on_conflict_do_nothing(index_elements=[account.c.directory_id])
    .returning(account.c.account_id)
)
_CREATE_MAILBOXES = Prepared(
    insert(mailbox).from_select(
        ["account_id", "mailbox_id", "name", "special_use", "uidvalidity", "uid_next", "recent_uid", "modseq",
         "highest_modseq", "messages", "unseen", "deleted", "octets", "expunged_floor"],
        select(
            field(_new, 0, BIG), field(_new, 1, BIG), field(_new, 2, STR), field(_new, 3, STR), field(_new, 4, BIG),
            *(literal_column(number) for number in ("1", "1", "1", "1", "0", "0", "0", "0", "0")),
        ),
        include_defaults=False,
    )
)  # fmt: skip
_CREATE_SUBSCRIPTIONS = Prepared(
    insert(subscription).from_select(["account_id", "name"], select(field(_new, 0, BIG), field(_new, 2, STR)))
)
_NEXT_VALIDITY = Prepared(
    update(counter)
    .where(counter.c.name == "uidvalidity")
    .values(value=case((counter.c.value >= bindparam("now", type_=BIG), counter.c.value + 1), else_=bindparam("now", type_=BIG)))
    .returning(counter.c.value)
)
_START_VALIDITY = Prepared(
    upsert(counter).values(name="uidvalidity", value=literal_column("1")).on_conflict_do_nothing(index_elements=[counter.c.name])
)


def find(conn: Connection, directory_id: str) -> Account | None:
    """The account of this owner, if it exists."""
    row = _FIND.first(conn, {"owner": directory_id})
    return None if row is None else _account(row)


def by_id(conn: Connection, account_id: int) -> Account:
    """Raises NotFound."""
    row = _BY_ID.first(conn, {"of": account_id})
    if row is None:
        raise NotFound("no such account")
    return _account(row)


def ensure(conn: Connection, directory_id: str, *, now: int) -> Account:
    """The account of this owner, made with its mailboxes if it does not exist."""
    found = find(conn, directory_id)
    if found is None:
        create_missing(conn, [directory_id], now=now)
        found = find(conn, directory_id)
        assert found is not None
    return found


def create_missing(
    conn: Connection, directory_ids: Collection[str], *, now: int, quotas: Mapping[str, int | None] | None = None
) -> None:
    """Make accounts with their mailboxes for those of these owners that have none, in a few statements.

    `quotas`: octets by owner, as in `set_quota`; who is not in it has no limit.
    """
    limits = quotas or {}
    wanted = sorted(set(directory_ids))
    made = [row[0] for row in _CREATE.rows(conn, {"rows": as_rows((owner, now, limits.get(owner)) for owner in wanted)})]
    if not made:
        return
    validity = next_uidvalidity(conn, now=now)
    rows = as_rows(
        (account_id, number, name, use, validity) for account_id in made for number, (name, use) in enumerate(DEFAULTS, INBOX_ID)
    )
    _CREATE_MAILBOXES.run(conn, {"rows": rows})
    _CREATE_SUBSCRIPTIONS.run(conn, {"rows": rows})


def known(conn: Connection, directory_ids: Collection[str]) -> dict[str, int]:
    """The account of each of these owners who has one."""
    return {row[0]: row[1] for row in _KNOWN.rows(conn, {"owners": as_set(directory_ids)})}


def suspend(conn: Connection, directory_id: str, flag: bool) -> None:
    """Mark that the owner's directory entry has vanished, or is back. Raises NotFound."""
    if _SUSPEND.run(conn, {"owner": directory_id, "flag": int(flag)}) == 0:
        raise NotFound("no such account")


def set_quota(conn: Connection, directory_id: str, octets: int | None, *, messages: int | None = None) -> None:
    """Limit the account to so many octets, and so many messages; None: no limit. Raises NotFound."""
    row = _SET_QUOTA.first(conn, {"owner": directory_id, "octets": octets, "count": messages})
    if row is None:
        raise NotFound("no such account")
    note(conn, Hint(row[0], row[1]))


def set_without(conn: Connection, directory_id: str, names: Collection[str]) -> None:
    """Which IMAP capabilities are not offered to this account. Raises NotFound."""
    if _SET_WITHOUT.run(conn, {"owner": directory_id, "names": " ".join(sorted(names)) or None}) == 0:
        raise NotFound("no such account")


def set_quotas(conn: Connection, quotas: Mapping[str, int | None]) -> int:
    """`set_quota` for many owners, of whom those without account are passed over; how many limits have changed."""
    changed = _SET_QUOTAS.rows(conn, {"rows": as_rows(quotas.items())})
    for account_id, modseq in changed:
        note(conn, Hint(account_id, modseq))
    return len(changed)


def limit(conn: Connection, directory_id: str, octets: int | None, *, now: int) -> Account:
    """The account of this owner, made if it does not exist, with this quota."""
    create_missing(conn, [directory_id], now=now, quotas={directory_id: octets})
    set_quotas(conn, {directory_id: octets})
    return ensure(conn, directory_id, now=now)


def list_page(conn: Connection, *, after: int, limit: int) -> list[Account]:
    """At most `limit` accounts with ids above `after`, ascending."""
    return [_account(row) for row in _PAGE.rows(conn, {"after": after, "most": limit})]


def next_uidvalidity(conn: Connection, *, now: int) -> int:
    """A UIDVALIDITY for mailboxes made in this transaction; never given before, and above those of a store lost before.

    It follows the clock, so a store that is rebuilt from nothing does not repeat what clients remember of the old one
    (RFC 9051 §2.3.1.1). Mailboxes of different names or accounts may share one.
    """
    for _ in range(2):
        row = _NEXT_VALIDITY.first(conn, {"now": now})
        if row is not None:
            value: int = row[0]
            return value
        _START_VALIDITY.run(conn, {})
    raise AssertionError("the counter was made just now")


def _account(row: Sequence[object]) -> Account:
    account_id, directory_id, modseq, suspended, quota, used, messages, without, most = row
    assert isinstance(account_id, int)
    assert isinstance(directory_id, str)
    assert isinstance(modseq, int)
    assert isinstance(used, int)
    assert isinstance(messages, int)
    assert quota is None or isinstance(quota, int)
    assert without is None or isinstance(without, str)
    off = frozenset(without.split()) if without else NO_NAMES
    assert most is None or isinstance(most, int)
    return Account(AccountId(account_id), directory_id, modseq, bool(suspended), quota, used, messages, off, most)
