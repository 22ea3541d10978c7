"""Mailboxes of an account: names, special uses, subscriptions.

Invariants
- Names are NFC Unicode with "/" between levels; INBOX in any case is "INBOX"; every parent of a mailbox is a mailbox.
- At most one mailbox of an account has a given special use. The names that other servers and clients use for such a
  mailbox mean that mailbox, so no second "sent" mailbox appears.
- A deleted or renamed mailbox leaves its name to a later one only with a higher UIDVALIDITY.

RFC 9051 §5.1 (names), §6.3.4-6.3.9; RFC 3501 §6.3.5 (renaming INBOX); RFC 6154 (special uses).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.config import Limits
from govmail.errors import (
    BadMailboxName,
    LimitReached,
    MailboxExists,
    MailboxHasChildren,
    MailboxInUse,
    NoSuchMailbox,
)
from govmail.interfaces import Hint
from govmail.store.accounts import INBOX_ID, next_uidvalidity
from govmail.store.changes import next_modseq, note
from govmail.store.contents import note_gone
from govmail.store.schema import (
    account,
    acl,
    annotation,
    expunged,
    mailbox,
    mailbox_gone,
    message,
    subscription,
)
from govmail.store.sql import INT, Prepared, as_set, one_of
from govmail.store.values import AccountId, Mailbox, MailboxId

INBOX = "INBOX"
SPECIAL_USES = ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")

ALIASES: dict[str, str] = {
    **dict.fromkeys(
        ("已发送", "已发送邮件", "已发送邮件箱", "发件箱", "Sent", "Sent Items", "Sent Messages", "Sent Mail"), "\\Sent"
    ),
    **dict.fromkeys(("草稿箱", "草稿夹", "草稿", "Drafts", "Draft"), "\\Drafts"),
    **dict.fromkeys(
        ("已删除", "已删除邮件", "废件箱", "垃圾箱", "Trash", "Deleted", "Deleted Items", "Deleted Messages"), "\\Trash"
    ),
    **dict.fromkeys(
        ("垃圾邮件", "垃圾邮件箱", "垃圾电子邮件", "Junk", "Junk E-mail", "Junk Email", "Bulk Mail", "Spam"), "\\Junk"
    ),
    **dict.fromkeys(("归档", "存档", "Archive", "Archives"), "\\Archive"),
}
"""Names under which clients know a mailbox of a special use, as seen at other servers and in localised clients."""
_ALIASES = {name.casefold(): use for name, use in ALIASES.items()}

FIELDS = (
    mailbox.c.account_id,
    mailbox.c.mailbox_id,
    mailbox.c.name,
    mailbox.c.uidvalidity,
    mailbox.c.uid_next,
    mailbox.c.recent_uid,
    mailbox.c.highest_modseq,
    mailbox.c.special_use,
    mailbox.c.messages,
    mailbox.c.unseen,
    mailbox.c.deleted,
    mailbox.c.octets,
)
_OF = mailbox.c.account_id == bindparam("account")
_THIS = (_OF, mailbox.c.mailbox_id == bindparam("mailbox"))

_ALL = Prepared(select(*FIELDS).where(_OF))
_BY_NAME = Prepared(select(*FIELDS).where(_OF, mailbox.c.name == bindparam("called")))
_BY_ID = Prepared(select(*FIELDS).where(*_THIS))
_BY_IDS = Prepared(select(*FIELDS).where(_OF, one_of(mailbox.c.mailbox_id, "ids")))
_CHANGED = Prepared(
    select(*FIELDS).where(_OF, or_(mailbox.c.modseq > bindparam("after"), mailbox.c.highest_modseq > bindparam("after")))
)
_GONE_SINCE = Prepared(
    select(mailbox_gone.c.mailbox_id).where(mailbox_gone.c.account_id == bindparam("account"), mailbox_gone.c.modseq > bindparam("after"))
)
_BY_USE = Prepared(select(*FIELDS).where(_OF, mailbox.c.special_use == bindparam("use")))
_COUNT = Prepared(select(func.count()).select_from(mailbox).where(_OF))
_TAKE_ID = Prepared(
    update(account)
    .where(account.c.account_id == bindparam("account"))
    .values(next_mailbox_id=account.c.next_mailbox_id + 1, modseq=account.c.modseq + 1)
    .returning(account.c.next_mailbox_id - 1, account.c.modseq)
)
_INSERT = Prepared(
    insert(mailbox),
    ["account_id", "mailbox_id", "name", "uidvalidity", "uid_next", "recent_uid", "modseq", "highest_modseq",
     "special_use", "messages", "unseen", "deleted", "octets", "expunged_floor"],
)  # fmt: skip
_RENAME = Prepared(update(mailbox).where(*_THIS).values(name=bindparam("called"), modseq=bindparam("now_at"), uidvalidity=bindparam("validity")))
_DELETE = Prepared(delete_from(mailbox).where(*_THIS))
_DELETE_MESSAGES = Prepared(
    delete_from(message).where(message.c.account_id == bindparam("account"), message.c.mailbox_id == bindparam("mailbox"))
)
_DELETE_EXPUNGED = Prepared(
    delete_from(expunged).where(expunged.c.account_id == bindparam("account"), expunged.c.mailbox_id == bindparam("mailbox"))
)
_DELETE_ACL = Prepared(delete_from(acl).where(acl.c.account_id == bindparam("account"), acl.c.mailbox_id == bindparam("mailbox")))
_DELETE_ANNOTATIONS = Prepared(
    delete_from(annotation).where(annotation.c.account_id == bindparam("account"), annotation.c.mailbox_id == bindparam("mailbox"))
)
_INHERIT_ACL = Prepared(
    insert(acl).from_select(
        ["account_id", "mailbox_id", "who", "negative", "rights"],
        select(acl.c.account_id, bindparam("child", type_=INT), acl.c.who, acl.c.negative, acl.c.rights).where(
            acl.c.account_id == bindparam("account"),
            acl.c.mailbox_id == select(mailbox.c.mailbox_id).where(_OF, mailbox.c.name == bindparam("called")).scalar_subquery(),
        ),
    )
)
_CONTENTS = Prepared(
    select(message.c.content_id)
    .distinct()
    .where(message.c.account_id == bindparam("account"), message.c.mailbox_id == bindparam("mailbox"))
)
_GIVE_BACK = Prepared(
    update(account)
    .where(account.c.account_id == bindparam("account"))
    .values(used_octets=account.c.used_octets - bindparam("octets"), used_messages=account.c.used_messages - bindparam("count"))
)
_GONE = Prepared(insert(mailbox_gone), ["account_id", "mailbox_id", "modseq", "name"])
_SUBSCRIPTIONS = Prepared(select(subscription.c.name).where(subscription.c.account_id == bindparam("account")))
_SUBSCRIBE = Prepared(upsert(subscription).on_conflict_do_nothing(), ["account_id", "name"])
_UNSUBSCRIBE = Prepared(
    delete_from(subscription).where(subscription.c.account_id == bindparam("account"), subscription.c.name == bindparam("called"))
)
_RECENT = Prepared(select(mailbox.c.recent_uid, mailbox.c.uid_next).where(*_THIS))
_CLAIM_RECENT = Prepared(update(mailbox).where(*_THIS, mailbox.c.recent_uid < bindparam("upto")).values(recent_uid=bindparam("upto")))
_COUNT_ALL = Prepared(select(func.coalesce(func.sum(account.c.used_messages), 0)))

# Renaming INBOX moves its messages under the UIDs they have.
_MOVE_ALL = Prepared(
    update(message)
    .where(message.c.account_id == bindparam("account"), message.c.mailbox_id == INBOX_ID)
    .values(mailbox_id=bindparam("target"), modseq=bindparam("now_at"))
)
_FILL = Prepared(
    update(mailbox)
    .where(*_THIS)
    .values(
        uid_next=bindparam("next_uid"), messages=bindparam("count"), unseen=bindparam("new"), deleted=bindparam("marked"),
        octets=bindparam("size"), highest_modseq=bindparam("now_at"),
    )
)  # fmt: skip
_ADD_EXPUNGED = Prepared(insert(expunged), ["account_id", "mailbox_id", "modseq", "uid_first", "uid_last", "at"])


def list_all(conn: Connection, account_id: int) -> list[Mailbox]:
    """All mailboxes, INBOX first, then by name."""
    found = [from_row(row) for row in _ALL.rows(conn, {"account": account_id})]
    return sorted(found, key=lambda one: (one.name != INBOX, one.name))


def subscriptions(conn: Connection, account_id: int) -> set[str]:
    """Subscribed names, of mailboxes that may not exist (RFC 9051 §6.3.9)."""
    return {row[0] for row in _SUBSCRIPTIONS.rows(conn, {"account": account_id})}


def get(conn: Connection, account_id: int, name: str) -> Mailbox:
    """The mailbox of this name, or that an alias of this name means. Raises NoSuchMailbox."""
    name = canonical(name)
    row = _BY_NAME.first(conn, {"account": account_id, "called": name})
    if row is None and (use := special_use_of(name)):
        row = _BY_USE.first(conn, {"account": account_id, "use": use})
    if row is None:
        raise NoSuchMailbox
    return from_row(row)


def by_id(conn: Connection, account_id: int, mailbox_id: int) -> Mailbox:
    """Raises NoSuchMailbox."""
    row = _BY_ID.first(conn, {"account": account_id, "mailbox": mailbox_id})
    if row is None:
        raise NoSuchMailbox
    return from_row(row)


def by_ids(conn: Connection, account_id: int, mailbox_ids: Collection[int]) -> list[Mailbox]:
    """Those of them that there are."""
    return [from_row(row) for row in _BY_IDS.rows(conn, {"account": account_id, "ids": as_set(list(mailbox_ids))})]


def changed_since(conn: Connection, account_id: int, modseq: int) -> list[Mailbox]:
    """Mailboxes whose name, use or messages changed after `modseq`."""
    return [from_row(row) for row in _CHANGED.rows(conn, {"account": account_id, "after": modseq})]


def gone_since(conn: Connection, account_id: int, modseq: int) -> list[int]:
    """Ids of mailboxes deleted after `modseq`."""
    return [row[0] for row in _GONE_SINCE.rows(conn, {"account": account_id, "after": modseq})]


def create(
    conn: Connection,
    account_id: int,
    name: str,
    *,
    special_use: str | None = None,
    now: int,
    limits: Limits | None = None,
    aliases: bool = True,
) -> Mailbox:
    """Make a mailbox and its missing parents; with the access rights of the nearest one above. `aliases` False: names mean themselves.

    An alias of a special use gives the mailbox that has this use, or makes it with the use. Raises MailboxExists,
    BadMailboxName, LimitReached.
    """
    limits = limits or Limits()
    name = canonical(name.removesuffix("/"))  # RFC 9051 §6.3.4: a trailing separator declares children to come
    check_name(name, limits)
    alias = special_use_of(name) if aliases else None
    use = special_use or alias
    if use is not None:
        holder = _BY_USE.first(conn, {"account": account_id, "use": use})
        if holder is not None and alias is not None:
            return from_row(holder)
        if holder is not None:
            raise MailboxExists("another mailbox has this special use")  # RFC 6154 §3: USEATTR
    if _BY_NAME.first(conn, {"account": account_id, "called": name}) is not None:
        raise MailboxExists
    levels = name.split("/")
    for depth in range(1, len(levels)):
        parent = canonical("/".join(levels[:depth]))
        if _BY_NAME.first(conn, {"account": account_id, "called": parent}) is None:
            _insert(conn, account_id, parent, None, now, limits)
    made = _insert(conn, account_id, name, use, now, limits)
    return by_id(conn, account_id, made)


def delete(conn: Connection, account_id: int, name: str, *, now: int) -> None:
    """Delete a mailbox with its messages. Raises NoSuchMailbox, MailboxInUse (INBOX), MailboxHasChildren.

    A parent stays as it is while it has children: clients file mail into it (RFC 9051 §6.3.5 allows to refuse).
    """
    this = get(conn, account_id, name)
    if this.mailbox_id == INBOX_ID:
        raise MailboxInUse("INBOX cannot be deleted")
    modseq = next_modseq(conn, account_id)
    if _children(conn, account_id, this.name):
        raise MailboxHasChildren
    this = by_id(conn, account_id, this.mailbox_id)  # its counters now that the account is ours
    key = {"account": account_id, "mailbox": this.mailbox_id}
    note_gone(conn, [row[0] for row in _CONTENTS.rows(conn, key)], now=now)
    _DELETE_MESSAGES.run(conn, key)
    _DELETE_EXPUNGED.run(conn, key)
    _DELETE.run(conn, key)
    _DELETE_ACL.run(conn, key)
    _DELETE_ANNOTATIONS.run(conn, key)
    _GIVE_BACK.run(conn, {"account": account_id, "octets": this.octets, "count": this.messages})
    _GONE.run(conn, {"account_id": account_id, "mailbox_id": this.mailbox_id, "modseq": modseq, "name": this.name})
    note(conn, Hint(account_id, modseq))


def rename(
    conn: Connection, account_id: int, old: str, new: str, *, now: int, limits: Limits | None = None, aliases: bool = True
) -> None:
    """Rename a mailbox with its children; renaming INBOX moves its messages to a new mailbox and leaves it (RFC 3501 §6.3.5).

    Raises NoSuchMailbox, MailboxExists, BadMailboxName, LimitReached.
    """
    limits = limits or Limits()
    this = get(conn, account_id, old)
    new = canonical(new.removesuffix("/"))
    check_name(new, limits)
    alias = special_use_of(new) if aliases else None
    if alias is not None and alias != this.special_use and _BY_USE.first(conn, {"account": account_id, "use": alias}):
        raise MailboxExists
    if this.mailbox_id == INBOX_ID:
        _move_inbox(conn, account_id, new, now, limits)
        return
    if new.startswith(this.name + "/"):
        raise BadMailboxName("a mailbox cannot become its own child")
    if _BY_NAME.first(conn, {"account": account_id, "called": new}) is not None:
        raise MailboxExists
    levels = new.split("/")
    for depth in range(1, len(levels)):
        parent = canonical("/".join(levels[:depth]))
        if _BY_NAME.first(conn, {"account": account_id, "called": parent}) is None:
            _insert(conn, account_id, parent, None, now, limits)
    modseq = next_modseq(conn, account_id)
    # A client that knows a mailbox by name must not take the renamed one for an earlier one of the new name.
    validity = next_uidvalidity(conn, now=now)
    for one in [this, *_children(conn, account_id, this.name)]:
        called = new + one.name[len(this.name) :]
        check_name(called, limits)
        _RENAME.run(
            conn, {"account": account_id, "mailbox": one.mailbox_id, "called": called, "now_at": modseq, "validity": validity}
        )
    note(conn, Hint(account_id, modseq))


def subscribe(conn: Connection, account_id: int, name: str) -> None:
    """Subscribe to a name; the mailbox need not exist. Idempotent. Raises BadMailboxName, LimitReached."""
    name = _subscribed(conn, account_id, name)
    check_name(name, Limits())
    if len(subscriptions(conn, account_id)) >= 2 * Limits().mailboxes_per_account:
        raise LimitReached
    if _SUBSCRIBE.run(conn, {"account_id": account_id, "name": name}):
        note(conn, Hint(account_id, next_modseq(conn, account_id)))


def unsubscribe(conn: Connection, account_id: int, name: str) -> None:
    """Idempotent."""
    name = canonical(name)
    gone = _UNSUBSCRIBE.run(conn, {"account": account_id, "called": name})
    if gone or _UNSUBSCRIBE.run(conn, {"account": account_id, "called": _subscribed(conn, account_id, name)}):
        note(conn, Hint(account_id, next_modseq(conn, account_id)))


def claim_recent(conn: Connection, account_id: int, mailbox_id: int) -> tuple[int, int]:
    r"""(first UID that no session has had as \Recent, uid_next); the next caller gets what comes later. Raises NoSuchMailbox."""
    key = {"account": account_id, "mailbox": mailbox_id}
    row = _RECENT.first(conn, key)
    if row is None:
        raise NoSuchMailbox
    first, uid_next = row
    if first < uid_next:
        _CLAIM_RECENT.run(conn, {**key, "upto": uid_next})
    return first, uid_next


def count_messages(conn: Connection) -> int:
    """Messages in all mailboxes of all accounts."""
    row = _COUNT_ALL.first(conn, {})
    return int(row[0]) if row else 0


def special_use_of(name: str) -> str | None:
    """The special use that an alias stands for."""
    return _ALIASES.get(name.casefold())


def canonical(name: str) -> str:
    """NFC, with INBOX as first level in capitals."""
    name = unicodedata.normalize("NFC", name)
    first, slash, rest = name.partition("/")
    return f"{INBOX}{slash}{rest}" if first.upper() == INBOX else name


def check_name(name: str, limits: Limits) -> None:
    """Raises BadMailboxName: empty levels, control characters, wildcards, too long, too deep."""
    levels = name.split("/")
    if not all(level.strip().strip(".") for level in levels):  # "." and ".." would be directories in what clients write to disk
        raise BadMailboxName("empty level in mailbox name")
    if len(levels) > limits.mailbox_depth or len(name.encode("utf-8", "surrogatepass")) > limits.mailbox_name_octets:
        raise BadMailboxName("mailbox name too long")
    # RFC 9051 §5.1: no controls; "*" and "%" cannot be named in LIST
    if any(char in "*%" or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        raise BadMailboxName("character not allowed in mailbox name")


def _subscribed(conn: Connection, account_id: int, name: str) -> str:
    """The real name behind an alias."""
    try:
        return get(conn, account_id, name).name
    except NoSuchMailbox:
        return canonical(name)


def _children(conn: Connection, account_id: int, name: str) -> list[Mailbox]:
    return [one for one in list_all(conn, account_id) if one.name.startswith(name + "/")]


def _insert(
    conn: Connection, account_id: int, name: str, use: str | None, now: int, limits: Limits, *, validity: int | None = None
) -> int:
    taken = _TAKE_ID.first(conn, {"account": account_id})
    if taken is None:
        raise NoSuchMailbox("no such account")
    mailbox_id, modseq = taken
    count = _COUNT.first(conn, {"account": account_id})
    if count is not None and count[0] >= limits.mailboxes_per_account:
        raise LimitReached
    _INSERT.run(
        conn,
        {
            "account_id": account_id, "mailbox_id": mailbox_id, "name": name, "special_use": use,
            "uidvalidity": validity or next_uidvalidity(conn, now=now), "uid_next": 1, "recent_uid": 1, "modseq": modseq,
            "highest_modseq": modseq, "messages": 0, "unseen": 0, "deleted": 0, "octets": 0, "expunged_floor": modseq,
        },
    )  # fmt: skip
    parent, slash, _ = name.rpartition("/")
    if slash:  # RFC 4314 leaves it open; like this a subtree that is shared stays shared
        _INHERIT_ACL.run(conn, {"account": account_id, "called": parent, "child": mailbox_id})
    note(conn, Hint(account_id, modseq))
    return int(mailbox_id)


def _move_inbox(conn: Connection, account_id: int, new: str, now: int, limits: Limits) -> None:
    if new == INBOX:
        raise MailboxExists
    target = create(conn, account_id, new, now=now, limits=limits)
    modseq = next_modseq(conn, account_id)
    inbox = by_id(conn, account_id, INBOX_ID)
    key = {"account": account_id, "now_at": modseq}
    _MOVE_ALL.run(conn, {**key, "target": target.mailbox_id})
    _FILL.run(
        conn,
        {**key, "mailbox": target.mailbox_id, "next_uid": inbox.uid_next, "count": inbox.messages, "new": inbox.unseen,
         "marked": inbox.deleted, "size": inbox.octets},
    )  # fmt: skip
    _FILL.run(
        conn,
        {**key, "mailbox": INBOX_ID, "next_uid": inbox.uid_next, "count": 0, "new": 0, "marked": 0, "size": 0},
    )
    if inbox.uid_next > 1:
        _ADD_EXPUNGED.run(
            conn,
            {"account_id": account_id, "mailbox_id": INBOX_ID, "modseq": modseq, "uid_first": 1,
             "uid_last": inbox.uid_next - 1, "at": now},
        )  # fmt: skip
    note(conn, Hint(account_id, modseq))


def from_row(row: Sequence[object]) -> Mailbox:
    """What FIELDS say."""
    account_id, mailbox_id, *rest = row
    return Mailbox(AccountId(account_id), MailboxId(mailbox_id), *rest)  # type: ignore[arg-type]

