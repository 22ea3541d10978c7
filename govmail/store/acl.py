"""Access rights that others have in an account's mailboxes, and the accounts that belong to nobody but are shared.

Invariants
- The owner has every right by being the owner; no row says so, none can take it away.
- `who` is a directory id or ANYONE, never a login: a right stays with its person through any change of address.
- ANYONE stands only in shared accounts, which operators make: nobody can put a mailbox into everybody's list.
- A right is in force, or not any more, for every question asked after the commit; each change is a hint to those who
  wait in the account.
- A new mailbox starts with the rights of its parent; a deleted one leaves none.

RFC 4314.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.config import Limits
from govmail.errors import BadMailboxName, LimitReached, MailboxExists, NotPermitted
from govmail.interfaces import Hint
from govmail.store import accounts
from govmail.store import rights as letters
from govmail.store.changes import next_modseq, note
from govmail.store.mailboxes import FIELDS, check_name, from_row, list_all
from govmail.store.schema import account, acl, mailbox, shared
from govmail.store.sql import Prepared, as_set, one_of
from govmail.store.values import Mailbox

ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a mailbox's access control list."""

    who: str
    negative: bool
    rights: str


@dataclass(frozen=True, slots=True)
class Found:
    """A mailbox of somebody else, with the rights of who asked. `shared_name` "": it is in a person's account."""

    mailbox: Mailbox
    owner: str  # directory id
    shared_name: str
    rights: str


_THIS = (acl.c.account_id == bindparam("account"), acl.c.mailbox_id == bindparam("mailbox"))
_MINE = one_of(acl.c.who, "me")
_TO_MAILBOX = and_(acl.c.account_id == mailbox.c.account_id, acl.c.mailbox_id == mailbox.c.mailbox_id)
_FOUND = (*FIELDS, account.c.directory_id, shared.c.name.label("shared_name"), acl.c.negative, acl.c.rights)
_ACCOUNT = account.outerjoin(shared, shared.c.account_id == account.c.account_id)

_LIST = Prepared(select(acl.c.who, acl.c.negative, acl.c.rights).where(*_THIS))
_PUT = upsert(acl).values(account_id=bindparam("account"), mailbox_id=bindparam("mailbox"), who=bindparam("whom"),
                          negative=bindparam("minus"), rights=bindparam("given"))  # fmt: skip
_SET = Prepared(
    _PUT.on_conflict_do_update(
        index_elements=[acl.c.account_id, acl.c.mailbox_id, acl.c.who, acl.c.negative], set_={"rights": _PUT.excluded.rights}
    )
)
_DELETE = Prepared(delete(acl).where(*_THIS, acl.c.who == bindparam("whom"), acl.c.negative == bindparam("minus")))
_TOUCH = Prepared(
    update(mailbox)
    .where(mailbox.c.account_id == bindparam("account"), mailbox.c.mailbox_id == bindparam("mailbox"))
    .values(modseq=bindparam("now_at"))
)
_IN_FORCE = Prepared(select(acl.c.negative, acl.c.rights).where(*_THIS, _MINE))
_BY_OWNER = Prepared(
    select(*_FOUND)
    .select_from(_ACCOUNT.join(mailbox, mailbox.c.account_id == account.c.account_id).outerjoin(acl, and_(_TO_MAILBOX, _MINE)))
    .where(account.c.directory_id == bindparam("owner"), one_of(mailbox.c.name, "names"))
)
_BY_SHARED_NAME = Prepared(
    select(*_FOUND)
    .select_from(
        shared.join(account, account.c.account_id == shared.c.account_id)
        .join(mailbox, mailbox.c.account_id == shared.c.account_id)
        .outerjoin(acl, and_(_TO_MAILBOX, _MINE))
    )
    .where(shared.c.name == bindparam("owner"), one_of(mailbox.c.name, "names"))
)
_VISIBLE = Prepared(
    select(*_FOUND)
    .select_from(acl.join(mailbox, _TO_MAILBOX).join(account, account.c.account_id == acl.c.account_id)
                 .outerjoin(shared, shared.c.account_id == acl.c.account_id))
    .where(_MINE)
    .order_by(acl.c.account_id, acl.c.mailbox_id)
    .limit(bindparam("most"))
)  # fmt: skip
_SUBTREE = Prepared(
    select(mailbox.c.mailbox_id, acl.c.negative, acl.c.rights)
    .select_from(mailbox.outerjoin(acl, and_(_TO_MAILBOX, _MINE)))
    .where(mailbox.c.account_id == bindparam("account"), func.substr(mailbox.c.name, 1, bindparam("length")) == bindparam("start"))
)
_ANY_RIGHT = Prepared(
    select(acl.c.mailbox_id, acl.c.negative, acl.c.rights).where(acl.c.account_id == bindparam("account"), _MINE)
)
_SHARED = upsert(shared).values(account_id=bindparam("account"), name=bindparam("called"))
_SHARE = Prepared(_SHARED.on_conflict_do_update(index_elements=[shared.c.account_id], set_={"name": _SHARED.excluded.name}))
_NAMED = Prepared(select(shared.c.account_id).where(shared.c.name == bindparam("called")))
_IS_SHARED = Prepared(select(shared.c.name).where(shared.c.account_id == bindparam("account")))


# -- whose rights ---------------------------------------------------------------------------------------------------


def identities(directory_id: str) -> tuple[str, ...]:
    """Every identifier that stands for this person."""
    return directory_id, ANYONE


def in_force(conn: Connection, account_id: int, mailbox_id: int, directory_id: str) -> str:
    """What this person, who is not the owner, may do in the mailbox now; "" also when it is gone."""
    rows = _IN_FORCE.rows(conn, {"account": account_id, "mailbox": mailbox_id, "me": as_set(identities(directory_id))})
    return letters.effective((bool(row[0]), row[1]) for row in rows)


def nearest(conn: Connection, owner: str, name: str, directory_id: str, *, is_shared: bool) -> Found | None:
    """The mailbox `name` or the nearest one above it that exists. `owner`: a directory id, or the name of a shared account."""
    levels = name.split("/")
    names = ["/".join(levels[:depth]) for depth in range(1, len(levels) + 1)]
    statement = _BY_SHARED_NAME if is_shared else _BY_OWNER
    rows = statement.rows(conn, {"owner": owner, "names": as_set(names), "me": as_set(identities(directory_id))})
    found = _grouped(rows)
    return max(found, key=lambda one: len(one.mailbox.name), default=None)


def visible(conn: Connection, directory_id: str, most: int) -> list[Found]:
    """Mailboxes of others that this person may see, at most about `most`."""
    rows = _VISIBLE.rows(conn, {"me": as_set(identities(directory_id)), "most": most})
    return [one for one in _grouped(rows) if "l" in one.rights and one.owner != directory_id]


def below(conn: Connection, account_id: int, name: str, directory_id: str) -> list[str]:
    """The person's rights in each mailbox below `name`."""
    start = name + "/"
    key = {"account": account_id, "start": start, "length": len(start), "me": as_set(identities(directory_id))}
    found: dict[int, list[tuple[bool, str]]] = {}
    for mailbox_id, negative, rights in _SUBTREE.rows(conn, key):
        found.setdefault(mailbox_id, []).append((bool(negative), rights or ""))
    return [letters.effective(entries) for entries in found.values()]


def reads_somewhere(conn: Connection, account_id: int, directory_id: str) -> bool:
    """Whether the person may read at least one mailbox of the account."""
    found: dict[int, list[tuple[bool, str]]] = {}
    for mailbox_id, negative, rights in _ANY_RIGHT.rows(conn, {"account": account_id, "me": as_set(identities(directory_id))}):
        found.setdefault(mailbox_id, []).append((bool(negative), rights))
    return any("r" in letters.effective(entries) for entries in found.values())


def _grouped(rows: Sequence[Sequence[object]]) -> list[Found]:
    entries: dict[tuple[object, object], list[tuple[bool, str]]] = {}
    first: dict[tuple[object, object], Sequence[object]] = {}
    for row in rows:
        key = row[0], row[1]
        first.setdefault(key, row)
        entries.setdefault(key, []).append((bool(row[-2]), str(row[-1] or "")))
    return [
        Found(from_row(row[:-4]), str(row[-4]), str(row[-3] or ""), letters.effective(entries[key])) for key, row in first.items()
    ]


# -- the list of a mailbox ------------------------------------------------------------------------------------------


def entries(conn: Connection, account_id: int, mailbox_id: int) -> list[Entry]:
    """All rows, the positive ones first."""
    rows = _LIST.rows(conn, {"account": account_id, "mailbox": mailbox_id})
    return sorted((Entry(who, bool(negative), rights) for who, negative, rights in rows), key=lambda one: (one.negative, one.who))


def change(
    conn: Connection, account_id: int, mailbox_id: int, who: str, *, negative: bool, operation: str, rights: str, most: int
) -> None:
    """Set ("set"), add ("add") or take away ("remove") rights of an identifier; no right left is no row left.

    Raises NotPermitted (ANYONE in a person's account), LimitReached (more than `most` rows).
    """
    modseq = next_modseq(conn, account_id)  # holds the account: the list is read and written in one
    if who == ANYONE and not negative and operation != "remove" and rights and not is_shared(conn, account_id):
        raise NotPermitted("only mailboxes of a unit can be shared with everybody")
    known = {(one.who, one.negative): one.rights for one in entries(conn, account_id, mailbox_id)}
    before = known.get((who, negative), "")
    after = {"set": rights, "add": before + rights, "remove": "".join(set(before) - set(rights))}[operation]
    after = letters.ordered(after)
    key = {"account": account_id, "mailbox": mailbox_id, "whom": who, "minus": negative}
    if not after:
        _DELETE.run(conn, key)
    elif not before and len(known) >= most:
        raise LimitReached
    else:
        _SET.run(conn, {**key, "given": after})
    _TOUCH.run(conn, {"account": account_id, "mailbox": mailbox_id, "now_at": modseq})
    note(conn, Hint(account_id, modseq))


# -- shared accounts ------------------------------------------------------------------------------------------------


def share(conn: Connection, directory_id: str, name: str, keeper: str, *, now: int, most: int) -> None:
    """Show the account of this unit to others under `name`, made where missing; its keeper may do everything in its mailboxes.

    Raises MailboxExists (the name is another unit's), BadMailboxName, LimitReached.
    """
    check_name(name, Limits())
    if "/" in name:
        raise BadMailboxName("a name of one level")
    account_id = accounts.ensure(conn, directory_id, now=now).account_id
    taken = _NAMED.first(conn, {"called": name})
    if taken is not None and taken[0] != account_id:
        raise MailboxExists
    _SHARE.run(conn, {"account": account_id, "called": name})
    for one in list_all(conn, account_id):
        change(conn, account_id, one.mailbox_id, keeper, negative=False, operation="set", rights=letters.ALL, most=most)


def is_shared(conn: Connection, account_id: int) -> bool:
    return _IS_SHARED.first(conn, {"account": account_id}) is not None
