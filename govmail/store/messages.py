"""Messages in mailboxes: delivered, appended, flagged, copied, moved, expunged.

Invariants
- Every function locks the accounts it changes first, in ascending order, by taking their next modseq; all it does to one
  account carries that modseq.
- UIDs are given by `UPDATE mailbox … RETURNING`, ascend and are never given again (RFC 9051 §2.3.1.1).
- The counters of mailbox and account change in the transaction that changes their messages, and are exact.
- N recipients cost the same number of statements as one.
- Flags are set, added and removed in SQL, on what is stored then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from operator import gt
from typing import Literal

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)

from govmail.errors import NoSuchMailbox, NotFound, OverQuota
from govmail.interfaces import Hint
from govmail.store import accounts, contents, mailboxes
from govmail.store.changes import LAST_UID, compressed, note, uid_ranges
from govmail.store.keywords import keyword_bits, keyword_names
from govmail.store.rights import ALL_FLAGS, ALL_KEYWORDS
from govmail.store.schema import UNSEEN, account, expunged, mailbox, message
from govmail.store.sql import (
    BIG,
    INT,
    STR,
    Prepared,
    as_rows,
    as_set,
    by_index,
    decode_integers,
    field,
    listed,
    one_of,
    rows_in,
)
from govmail.store.values import (
    Appended,
    AppendResult,
    Columns,
    CopyResult,
    Flag,
    FlagChange,
    StoredMessage,
    UidRange,
)

__all__ = [
    "append", "columns", "copy", "deleted_octets", "expunge", "first_unseen", "highest_modseq", "hold", "insert_rows", "keyword_bits",
    "keyword_names", "move", "replace", "rows", "store_flags", "store_flags_if_unchanged", "uids",
]  # fmt: skip

_given = rows_in("rows")
_ranges = rows_in("ranges")

# -- accounts and mailboxes that take something in ------------------------------------------------------------------

_LOCK_ACCOUNTS = Prepared(
    select(account.c.account_id).where(one_of(account.c.account_id, "accounts")).order_by(account.c.account_id).with_for_update()
)
_FITS = and_(
    or_(account.c.quota_octets.is_(None), account.c.used_octets + bindparam("octets", type_=BIG) <= account.c.quota_octets),
    or_(account.c.quota_messages.is_(None), account.c.used_messages + bindparam("count", type_=BIG) <= account.c.quota_messages),
)
_CHARGED = {
    "modseq": account.c.modseq + 1,
    "used_octets": account.c.used_octets + bindparam("octets", type_=BIG),
    "used_messages": account.c.used_messages + bindparam("count", type_=BIG),
}
_CHARGE = Prepared(
    update(account)
    .where(account.c.account_id == bindparam("account"), or_(_FITS, bindparam("octets", type_=BIG) <= 0))
    .values(**_CHARGED)
    .returning(account.c.modseq)
)
_CHANGE_COUNTS = Prepared(
    update(mailbox)
    .where(mailbox.c.account_id == bindparam("account"), mailbox.c.mailbox_id == bindparam("mailbox"))
    .values(
        uid_next=mailbox.c.uid_next + bindparam("given", type_=BIG),
        messages=mailbox.c.messages + bindparam("count", type_=INT),
        unseen=mailbox.c.unseen + bindparam("new", type_=INT),
        deleted=mailbox.c.deleted + bindparam("marked", type_=INT),
        octets=mailbox.c.octets + bindparam("size", type_=BIG),
        highest_modseq=bindparam("modseq", type_=BIG),
    )
    .returning(mailbox.c.uid_next, mailbox.c.uidvalidity)
)
# Rows: account, mailbox, uid, modseq, content, flags, keywords, internal date, saved date, size, delivered to
_INSERT = Prepared(
    insert(message).from_select(
        ["account_id", "mailbox_id", "uid", "modseq", "content_id", "flags", "keywords", "internal_date", "saved_date", "size",
         "delivered_to"],
        select(*(field(_given, index, STR if index == 10 else BIG) for index in range(11))),
        include_defaults=False,
    )
)  # fmt: skip

def insert_rows(conn: Connection, rows: Sequence[tuple[int | str | None, ...]]) -> None:
    """Rows of message: account, mailbox, uid, modseq, content, flags, keywords, internal date, saved date, size, delivered to."""
    _INSERT.run(conn, {"rows": as_rows(rows)})


# -- messages of one mailbox ----------------------------------------------------------------------------------------

# Rows: account, mailbox, first, last UID. Every column of the key comes from the ranges, so a planner can only go from
# them to the messages, one search of the key each, and not through the mailbox.
_IN = (
    message.c.account_id == field(_ranges, 0, BIG),
    message.c.mailbox_id == field(_ranges, 1, BIG),
    message.c.uid.between(field(_ranges, 2, BIG), field(_ranges, 3, BIG)),
)
_FIELDS = (
    message.c.uid, message.c.modseq, message.c.content_id, message.c.flags, message.c.keywords, message.c.internal_date,
    message.c.size, message.c.saved_date, message.c.delivered_to,
)  # fmt: skip
_ROWS = Prepared(select(*_FIELDS).select_from(_ranges.join(message, true())).where(*_IN))
_COLUMNS = (
    message.c.uid, message.c.flags, message.c.keywords, message.c.modseq, message.c.content_id, message.c.internal_date, message.c.size,
    message.c.saved_date,
)  # fmt: skip
_FLAG_COLUMNS = Prepared(select(*map(listed, _COLUMNS[:4])).select_from(_ranges.join(message, true())).where(*_IN))
_ALL_COLUMNS = Prepared(select(*map(listed, _COLUMNS)).select_from(_ranges.join(message, true())).where(*_IN))
_FLAGS = Prepared(
    select(message.c.uid, message.c.modseq, message.c.flags, message.c.keywords)
    .select_from(_ranges.join(message, true()))
    .where(*_IN)
)
_NEW_FLAGS = message.c.flags.op("&")(bindparam("keep_flags", type_=INT)).op("|")(bindparam("set_flags", type_=INT))
_NEW_KEYWORDS = message.c.keywords.op("&")(bindparam("keep_keywords", type_=BIG)).op("|")(bindparam("set_keywords", type_=BIG))
_DELETED_OCTETS = Prepared(
    select(message.c.mailbox_id, func.sum(message.c.size))
    .where(
        message.c.account_id == bindparam("account"), one_of(message.c.mailbox_id, "mailboxes"),
        message.c.flags.op("&")(literal_column(str(int(Flag.DELETED)))) != literal_column("0"),
    )
    .group_by(message.c.mailbox_id)
)  # fmt: skip
_STORE = Prepared(
    update(message)
    .where(*_IN, or_(message.c.flags != _NEW_FLAGS, message.c.keywords != _NEW_KEYWORDS))
    .values(flags=_NEW_FLAGS, keywords=_NEW_KEYWORDS, modseq=bindparam("now_at", type_=BIG))
)
_unseen = by_index(message, "message_unseen")
_FIRST_UNSEEN = Prepared(
    select(_unseen.c.uid)
    .where(_unseen.c.account_id == bindparam("account"), _unseen.c.mailbox_id == bindparam("mailbox"), UNSEEN)
    .order_by(_unseen.c.uid)
    .limit(literal_column("1"))
)
_DELETE = Prepared(
    delete(message).where(
        message.c.account_id == bindparam("account"), message.c.mailbox_id == bindparam("mailbox"), one_of(message.c.uid, "uids")
    )
)
_EXPUNGED = Prepared(insert(expunged), ["account_id", "mailbox_id", "modseq", "uid_first", "uid_last", "at"])

_EVERYTHING: tuple[UidRange, ...] = ((1, LAST_UID),)
_SEEN, _DELETED = int(Flag.SEEN), int(Flag.DELETED)  # the operators of an enum cost microseconds
_ALL = (ALL_FLAGS, ALL_KEYWORDS)


def append(conn: Connection, account_id: int, name: str, news: Sequence[Appended], *, now: int) -> AppendResult:
    """Store messages in one mailbox, all or none (RFC 3501 §6.3.11, RFC 3502), in as many statements as one.

    Raises NoSuchMailbox, OverQuota, LimitReached (keywords).
    """
    target = mailboxes.get(conn, account_id, name)
    size = sum(one.content.size for one in news)
    modseq = _charge(conn, account_id, size, len(news))
    bits = {words: keyword_bits(conn, account_id, words, create=True) for words in {tuple(one.keywords) for one in news}}
    uid_next, uidvalidity = _change_counts(
        conn, account_id, target.mailbox_id, modseq, given=len(news), count=len(news), size=size,
        unseen=_count_unseen(one.flags for one in news), deleted=_count_deleted(one.flags for one in news),
    )  # fmt: skip
    ids = contents.store_all(conn, [one.content for one in news], now=now)
    first = uid_next - len(news)
    insert_rows(
        conn,
        [
            (account_id, target.mailbox_id, uid, modseq, content_id, one.flags, bits[tuple(one.keywords)], one.internal_date, now,
             one.content.size, None)
            for uid, (one, content_id) in enumerate(zip(news, ids, strict=True), first)
        ],
    )  # fmt: skip
    return AppendResult(uidvalidity, (first, uid_next - 1))


def replace(
    conn: Connection, account_id: int, mailbox_id: int, uid: int, target_account_id: int, name: str, new: Appended, *, now: int
) -> AppendResult:
    """Append `new` to the mailbox `name` and expunge message `uid` in one step (RFC 8508 §3). Only what it is larger counts
    for the quota. Raises NotFound (no such message any more), and as `append`."""
    _lock(conn, account_id, target_account_id)
    found = rows(conn, account_id, mailbox_id, ((uid, uid),))
    if not found:
        raise NotFound("the message does not exist any more")
    _remove(conn, account_id, mailbox_id, found, now=now, discharge=True)
    contents.note_gone(conn, [one.content_id for one in found], now=now)
    return append(conn, target_account_id, name, (new,), now=now)


def rows(conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None) -> list[StoredMessage]:
    """Messages whose UIDs lie in `ranges` (ascending, disjoint; None: all), ascending."""
    return [StoredMessage(*row) for row in sorted(_ROWS.rows(conn, _key(account_id, mailbox_id, ranges)))]


def columns(conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange], *, flags_only: bool = False) -> Columns:
    """The same by column. With `flags_only` there is nothing in those after `modseqs`."""
    statement = _FLAG_COLUMNS if flags_only else _ALL_COLUMNS
    row = statement.first(conn, _key(account_id, mailbox_id, ranges))
    assert row is not None
    found = [decode_integers(one or "[]") for one in row]
    if any(map(gt, found[0], found[0][1:])):  # no database promises the order of an aggregate
        found = [list(one) for one in zip(*sorted(zip(*found, strict=True)), strict=True)]
    return Columns(*found)


def uids(conn: Connection, account_id: int, mailbox_id: int) -> list[UidRange]:
    """All UIDs of the mailbox."""
    return uid_ranges(conn, account_id, mailbox_id)


def deleted_octets(conn: Connection, account_id: int, mailbox_ids: Collection[int]) -> dict[int, int]:
    r"""Octets of the messages with \Deleted in each of these mailboxes (RFC 9208 §4.1.4); reads the mailboxes through."""
    return {row[0]: int(row[1]) for row in _DELETED_OCTETS.rows(conn, {"account": account_id, "mailboxes": as_set(list(mailbox_ids))})}


def store_flags(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Sequence[UidRange],
    op: Literal["set", "add", "remove"],
    flags: int,
    keywords: Sequence[str],
    *,
    within: tuple[int, int] = _ALL,
) -> list[FlagChange]:
    """Change flags; all messages in `ranges` as they are then, ascending. Only those that changed have a new modseq.

    `within`: system flags and keywords that may change (RFC 4314 §4); all others stay as they are.
    Raises LimitReached (keywords).
    """
    key = _key(account_id, mailbox_id, ranges)
    _lock(conn, account_id)
    bits = keyword_bits(conn, account_id, keywords, create=op != "remove")
    keep_flags, set_flags = _masks(op, flags, ALL_FLAGS, within[0])
    keep_keywords, set_keywords = _masks(op, bits, ALL_KEYWORDS, within[1])
    before = sorted(_FLAGS.rows(conn, key))
    after = [(uid, modseq, old & keep_flags | set_flags, words & keep_keywords | set_keywords) for uid, modseq, old, words in before]
    if before == after:
        return [FlagChange(*row) for row in before]
    modseq = _charge(conn, account_id, 0, 0)
    _STORE.run(
        conn,
        {**key, "keep_flags": keep_flags, "set_flags": set_flags, "keep_keywords": keep_keywords, "set_keywords": set_keywords,
         "now_at": modseq},
    )  # fmt: skip
    _change_counts(
        conn, account_id, mailbox_id, modseq,
        unseen=_count_unseen(row[2] for row in after) - _count_unseen(row[2] for row in before),
        deleted=_count_deleted(row[2] for row in after) - _count_deleted(row[2] for row in before),
    )  # fmt: skip
    return [FlagChange(new[0], modseq if new != old else old[1], new[2], new[3]) for old, new in zip(before, after, strict=True)]


def store_flags_if_unchanged(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Sequence[UidRange],
    since: int,
    op: Literal["set", "add", "remove"],
    flags: int,
    keywords: Sequence[str],
    *,
    within: tuple[int, int] = _ALL,
) -> tuple[list[FlagChange], list[FlagChange]]:
    """`store_flags` for messages that have not changed after modseq `since`, and as they are: those that have.

    The account is locked before anything is read, so no other change falls between test and change (RFC 7162 §3.1.3).
    """
    _lock(conn, account_id)
    found = sorted(_FLAGS.rows(conn, _key(account_id, mailbox_id, ranges)))
    left = [FlagChange(*row) for row in found if row[1] > since]
    unchanged = compressed(row[0] for row in found if row[1] <= since)
    return store_flags(conn, account_id, mailbox_id, unchanged, op, flags, keywords, within=within) if unchanged else [], left


def first_unseen(conn: Connection, account_id: int, mailbox_id: int) -> int:
    r"""The lowest UID without \Seen, 0 when there is none; costs one search of an index that only unseen mail is in."""
    row = _FIRST_UNSEEN.first(conn, {"account": account_id, "mailbox": mailbox_id})
    return int(row[0]) if row else 0


def highest_modseq(conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange]) -> int:
    """Of these messages; 0 when there are none."""
    return max((row[1] for row in _FLAGS.rows(conn, _key(account_id, mailbox_id, ranges))), default=0)


def copy(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Sequence[UidRange],
    target_account_id: int,
    target_mailbox_id: int,
    *,
    now: int,
    within: tuple[int, int] = _ALL,
) -> CopyResult:
    """Copy with flags, keywords and internal dates (RFC 9051 §6.4.7); of the flags those in `within`. Raises NoSuchMailbox, OverQuota, LimitReached."""
    _lock(conn, account_id, target_account_id)
    found = rows(conn, account_id, mailbox_id, ranges)
    return _put(conn, account_id, found, target_account_id, target_mailbox_id, now=now, charge=True, within=within)


def move(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Sequence[UidRange],
    target_account_id: int,
    target_mailbox_id: int,
    *,
    now: int,
    within: tuple[int, int] = _ALL,
) -> CopyResult:
    """Copy and expunge in one step (RFC 9051 §6.4.8); within an account the quota is not asked. Raises as `copy`."""
    _lock(conn, account_id, target_account_id)
    found = rows(conn, account_id, mailbox_id, ranges)
    charge = account_id != target_account_id
    result = _put(conn, account_id, found, target_account_id, target_mailbox_id, now=now, charge=charge, within=within)
    _remove(conn, account_id, mailbox_id, found, now=now, discharge=account_id != target_account_id)
    return result


def expunge(
    conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None, *, now: int
) -> list[UidRange]:
    r"""Remove the messages with \Deleted in `ranges` (None: all); their UIDs."""
    _lock(conn, account_id)
    found = [one for one in rows(conn, account_id, mailbox_id, ranges) if one.flags & _DELETED]
    _remove(conn, account_id, mailbox_id, found, now=now, discharge=True)
    contents.note_gone(conn, [one.content_id for one in found], now=now)
    return compressed(one.uid for one in found)


def _put(
    conn: Connection,
    account_id: int,
    found: Sequence[StoredMessage],
    target_account_id: int,
    target_mailbox_id: int,
    *,
    now: int,
    charge: bool,
    within: tuple[int, int],
) -> CopyResult:
    if within != _ALL:
        found = [dataclasses.replace(one, flags=one.flags & within[0], keywords=one.keywords & within[1]) for one in found]
    target = mailboxes.by_id(conn, target_account_id, target_mailbox_id)
    if not found:
        return CopyResult(target.uidvalidity, (), ())
    octets = sum(one.size for one in found)
    modseq = _charge(conn, target_account_id, octets if charge else 0, len(found) if charge else 0)
    words = _translated(conn, account_id, target_account_id, {one.keywords for one in found})
    uid_next, uidvalidity = _change_counts(
        conn, target_account_id, target_mailbox_id, modseq, given=len(found), count=len(found), size=octets,
        unseen=_count_unseen(one.flags for one in found), deleted=_count_deleted(one.flags for one in found),
    )  # fmt: skip
    first = uid_next - len(found)
    _INSERT.run(
        conn,
        {
            "rows": as_rows(
                (target_account_id, target_mailbox_id, uid, modseq, one.content_id, one.flags, words[one.keywords],
                 one.internal_date, now, one.size, one.delivered_to)
                for uid, one in enumerate(found, first)
            )
        },
    )  # fmt: skip
    return CopyResult(uidvalidity, tuple(compressed(one.uid for one in found)), ((first, uid_next - 1),))


def _remove(
    conn: Connection, account_id: int, mailbox_id: int, found: Sequence[StoredMessage], *, now: int, discharge: bool
) -> None:
    if not found:
        return
    octets = sum(one.size for one in found)
    modseq = _charge(conn, account_id, -octets if discharge else 0, -len(found) if discharge else 0)
    _DELETE.run(conn, {"account": account_id, "mailbox": mailbox_id, "uids": as_set([one.uid for one in found])})
    _EXPUNGED.many(
        conn,
        [
            {"account_id": account_id, "mailbox_id": mailbox_id, "modseq": modseq, "uid_first": first, "uid_last": last, "at": now}
            for first, last in compressed(one.uid for one in found)
        ],
    )
    _change_counts(
        conn, account_id, mailbox_id, modseq, count=-len(found), size=-octets,
        unseen=-_count_unseen(one.flags for one in found), deleted=-_count_deleted(one.flags for one in found),
    )  # fmt: skip


def _charge(conn: Connection, account_id: int, octets: int, count: int) -> int:
    """The account's next modseq; locks and charges it. Raises OverQuota, NoSuchMailbox."""
    row = _CHARGE.first(conn, {"account": account_id, "octets": octets, "count": count})
    if row is None:
        accounts.by_id(conn, account_id)
        raise OverQuota
    return int(row[0])


def _change_counts(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    modseq: int,
    *,
    given: int = 0,
    count: int = 0,
    unseen: int = 0,
    deleted: int = 0,
    size: int = 0,
) -> tuple[int, int]:
    """Move the counters and give UIDs: (uid_next afterwards, uidvalidity). Raises NoSuchMailbox."""
    row = _CHANGE_COUNTS.first(
        conn,
        {"account": account_id, "mailbox": mailbox_id, "given": given, "count": count, "new": unseen, "marked": deleted,
         "size": size, "modseq": modseq},
    )  # fmt: skip
    if row is None:
        raise NoSuchMailbox
    note(conn, Hint(account_id, modseq, (mailbox_id,)))
    return int(row[0]), int(row[1])


def hold(conn: Connection, account_id: int) -> None:
    """Let nobody change the account until the commit; for those who look before they change."""
    _lock(conn, account_id)


def _lock(conn: Connection, *account_ids: int) -> None:
    """On PostgreSQL, hold the accounts before reading what is to change; SQLite has one writer."""
    if conn.dialect.name == "postgresql":
        _LOCK_ACCOUNTS.rows(conn, {"accounts": as_set(sorted(set(account_ids)))})


def _translated(conn: Connection, account_id: int, target_account_id: int, used: set[int]) -> dict[int, int]:
    """Keyword bits of one account as those of another."""
    if account_id == target_account_id or used == {0}:
        return {bits: bits for bits in used}
    names = keyword_names(conn, account_id)
    return {
        bits: keyword_bits(conn, target_account_id, [name for bit, name in names.items() if bits >> bit & 1], create=True)
        for bits in used
    }


def _key(account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None) -> dict[str, str]:
    chosen = _EVERYTHING if ranges is None else ranges
    return {"ranges": as_rows([(account_id, mailbox_id, first, last) for first, last in chosen])}


def _masks(op: Literal["set", "add", "remove"], bits: int, everything: int, within: int) -> tuple[int, int]:
    """(bits to keep, bits to set)."""
    bits &= within
    if op == "set":
        return everything & ~within, bits
    return (everything, bits) if op == "add" else (everything & ~bits, 0)


def _count_unseen(flags: Iterable[int]) -> int:
    return sum(1 for one in flags if not one & _SEEN)


def _count_deleted(flags: Iterable[int]) -> int:
    return sum(1 for one in flags if one & _DELETED)
