"""What changed: the modseq of accounts, hints for waiting sessions, and the one question all of them ask.

Invariants
- Every change to an account takes the account's next modseq in its own transaction, and so locks the account: changes of
  one account follow one another, and a reader that sees modseq n sees every change up to n.
- Above `mailbox.expunged_floor` every expunged UID stands in `expunged`; below it, what vanished is told by what is left.

RFC 7162 (CONDSTORE, QRESYNC; §3.2.5.2 for what is told when history is gone).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, update

from govmail.errors import NotFound
from govmail.interfaces import Hint
from govmail.store.jobs import HINTS
from govmail.store.schema import account, expunged, mailbox, message
from govmail.store.sql import Prepared
from govmail.store.values import FlagChange, MailboxChanges, UidRange

LAST_UID = 2**63 - 1  # "no upper end" in ranges

_NEXT = Prepared(
    update(account)
    .where(account.c.account_id == bindparam("of"))
    .values(modseq=account.c.modseq + 1)
    .returning(account.c.modseq)
)
_STATE = Prepared(
    select(mailbox.c.highest_modseq, mailbox.c.uid_next, mailbox.c.expunged_floor).where(
        mailbox.c.account_id == bindparam("account"), mailbox.c.mailbox_id == bindparam("mailbox")
    )
)
_CHANGED = Prepared(
    select(message.c.uid, message.c.modseq, message.c.flags, message.c.keywords).where(
        message.c.account_id == bindparam("account"),
        message.c.mailbox_id == bindparam("mailbox"),
        message.c.modseq > bindparam("after"),
    )
)
_VANISHED = Prepared(
    select(expunged.c.uid_first, expunged.c.uid_last).where(
        expunged.c.account_id == bindparam("account"),
        expunged.c.mailbox_id == bindparam("mailbox"),
        expunged.c.modseq > bindparam("after"),
    )
)
_UIDS = Prepared(
    select(message.c.uid)
    .where(message.c.account_id == bindparam("account"), message.c.mailbox_id == bindparam("mailbox"))
    .order_by(message.c.uid)
)
_MODSEQS = Prepared(
    select(mailbox.c.mailbox_id, mailbox.c.highest_modseq).where(mailbox.c.account_id == bindparam("account"))
)


def next_modseq(conn: Connection, account_id: int) -> int:
    """The modseq of the change that this transaction makes; locks the account until the commit. Raises NotFound."""
    row = _NEXT.first(conn, {"of": account_id})
    if row is None:
        raise NotFound("no such account")
    modseq: int = row[0]
    return modseq


def note(conn: Connection, hint: Hint) -> None:
    """Publish this hint when the transaction is committed, and only then."""
    conn.info.setdefault(HINTS, []).append(hint)


def since(conn: Connection, account_id: int, mailbox_id: int, modseq: int, uid_next: int) -> MailboxChanges:
    """What a session must learn that knows the mailbox as of `modseq`, with UIDs below `uid_next`.

    A mailbox that is not there any more is `gone`.
    """
    key = {"account": account_id, "mailbox": mailbox_id, "after": modseq}
    state = _STATE.first(conn, key)
    if state is None:
        return MailboxChanges(modseq, uid_next, (), (), (), gone=True)
    highest, next_uid, floor = state
    if highest <= modseq:
        return MailboxChanges(modseq, next_uid, (), (), ())
    changed = sorted(_CHANGED.rows(conn, key))
    known = _vanished(conn, key, floor)
    vanished = complement(uid_ranges(conn, account_id, mailbox_id), next_uid) if known is None else known
    return MailboxChanges(
        modseq=highest,
        uid_next=next_uid,
        arrived=tuple(FlagChange(*row) for row in changed if row[0] >= uid_next),
        flags=tuple(FlagChange(*row) for row in changed if row[0] < uid_next),
        vanished=tuple(vanished),
    )


def changed(conn: Connection, account_id: int, mailbox_id: int, modseq: int) -> list[FlagChange]:
    """Messages whose last change is later than `modseq`, ascending; costs the changes, not the mailbox."""
    return [FlagChange(*row) for row in sorted(_CHANGED.rows(conn, {"account": account_id, "mailbox": mailbox_id, "after": modseq}))]


def vanished(conn: Connection, account_id: int, mailbox_id: int, modseq: int) -> list[UidRange] | None:
    """UIDs expunged after `modseq`; None when this is longer ago than is remembered, or has not been yet: a modseq from the
    future is one of a store that was lost."""
    key = {"account": account_id, "mailbox": mailbox_id, "after": modseq}
    state = _STATE.first(conn, key)
    if state is None or modseq > state[0]:
        return None
    return _vanished(conn, key, state[2])


def _vanished(conn: Connection, key: dict[str, int], floor: int) -> list[UidRange] | None:
    return merge(_VANISHED.rows(conn, key)) if key["after"] >= floor else None


def mailbox_modseqs(conn: Connection, account_id: int) -> dict[int, int]:
    """Highest modseq of each mailbox, by mailbox id."""
    return {row[0]: row[1] for row in _MODSEQS.rows(conn, {"account": account_id})}


def uid_ranges(conn: Connection, account_id: int, mailbox_id: int) -> list[UidRange]:
    """All UIDs of a mailbox."""
    return compressed(row[0] for row in _UIDS.rows(conn, {"account": account_id, "mailbox": mailbox_id}))


# -- arithmetic of ranges ------------------------------------------------------------------------------------------


def compressed(uids: Iterable[int]) -> list[UidRange]:
    """Ascending numbers as ranges."""
    ranges: list[UidRange] = []
    first = last = -1
    for uid in uids:
        if uid == last + 1 and first >= 0:
            last = uid
        else:
            if first >= 0:
                ranges.append((first, last))
            first = last = uid
    if first >= 0:
        ranges.append((first, last))
    return ranges


def merge(ranges: Iterable[tuple[int, ...]]) -> list[UidRange]:
    """Any ranges as ascending, disjoint ones."""
    merged: list[UidRange] = []
    for first, last in sorted((one[0], one[1]) for one in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def complement(ranges: Iterable[UidRange], end: int) -> list[UidRange]:
    """What ascending, disjoint ranges leave of 1..end-1."""
    left: list[UidRange] = []
    start = 1
    for first, last in ranges:
        if first > start:
            left.append((start, first - 1))
        start = last + 1
    if start < end:
        left.append((start, end - 1))
    return left
