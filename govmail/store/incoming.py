"""Delivery into mailboxes: contents stored once, a row in each mailbox, whatever goes on into the queue.

Invariants
- Accounts are locked first, in ascending order, by taking their next modseq; UIDs come from `UPDATE mailbox … RETURNING`.
- The counters of mailbox and account change with their messages, and are exact.
- N mails for M recipients cost the same number of statements as one for one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, or_, select, update

from govmail.errors import OverQuota
from govmail.interfaces import Hint
from govmail.store import accounts, contents, mailboxes
from govmail.store import queue as mail_queue
from govmail.store.accounts import INBOX_ID
from govmail.store.changes import note
from govmail.store.messages import insert_rows
from govmail.store.schema import account, mailbox, message, queue_entry
from govmail.store.sql import BIG, INT, STR, Prepared, as_rows, as_set, field, one_of, rows_in
from govmail.store.values import Delivered, Delivery, Flag, NewContent, NewEntry, NewQueueMessage

_given = rows_in("rows")

_LOCK_OWNERS = Prepared(
    select(account.c.account_id).where(one_of(account.c.directory_id, "owners")).order_by(account.c.account_id).with_for_update()
)
# Rows: owner, octets
_CHARGE = Prepared(
    update(account)
    .where(
        account.c.directory_id == field(_given, 0, STR),
        or_(account.c.quota_octets.is_(None), account.c.used_octets + field(_given, 1, BIG) <= account.c.quota_octets),
        or_(account.c.quota_messages.is_(None), account.c.used_messages < account.c.quota_messages),
    )
    .values(
        modseq=account.c.modseq + 1,
        used_octets=account.c.used_octets + field(_given, 1, BIG),
        used_messages=account.c.used_messages + 1,
    )
    .returning(account.c.directory_id, account.c.account_id, account.c.modseq)
)
# Rows: account, mailbox, modseq, unseen, deleted, octets
_ENTER = Prepared(
    update(mailbox)
    .where(mailbox.c.account_id == field(_given, 0, BIG), mailbox.c.mailbox_id == field(_given, 1, INT))
    .values(
        uid_next=mailbox.c.uid_next + 1,
        messages=mailbox.c.messages + 1,
        unseen=mailbox.c.unseen + field(_given, 3, INT),
        deleted=mailbox.c.deleted + field(_given, 4, INT),
        octets=mailbox.c.octets + field(_given, 5, BIG),
        highest_modseq=field(_given, 2, BIG),
    )
    .returning(mailbox.c.account_id, mailbox.c.mailbox_id, mailbox.c.uid_next - 1)
)
_NAMED = Prepared(
    select(mailbox.c.account_id, mailbox.c.mailbox_id).where(
        one_of(mailbox.c.account_id, "accounts"),
        or_(mailbox.c.name == bindparam("called"), mailbox.c.special_use == bindparam("use")),
    )
)
_HOLDERS = Prepared(
    select(account.c.directory_id)
    .distinct()
    .join_from(message, account, message.c.account_id == account.c.account_id)
    .where(message.c.content_id == bindparam("content"), one_of(account.c.directory_id, "owners"))
)
_WAITING = Prepared(
    select(queue_entry.c.directory_id)
    .where(queue_entry.c.queue_id == bindparam("queued"), queue_entry.c.kind == "local", one_of(queue_entry.c.directory_id, "owners"))
)
_SEEN, _DELETED = int(Flag.SEEN), int(Flag.DELETED)  # the operators of an enum cost microseconds


@dataclass(frozen=True, slots=True)
class Mail:
    """A content and where its copies go.

    `queue` is stored in the same transaction, with what `on_failure` (pure) makes of failures when anything was stored
    at all.
    """

    content: NewContent
    deliveries: Sequence[Delivery]
    internal_date: int
    now: int
    queue: NewQueueMessage | None = None
    on_failure: Callable[[Delivered], NewEntry | None] | None = None


@dataclass(frozen=True, slots=True)
class _Copy:
    """One delivery of one of several mails: where it stands among them, and its octets."""

    mail: int
    index: int
    delivery: Delivery
    size: int


@dataclass(frozen=True, slots=True)
class _Placed:
    copy: _Copy
    answer: Delivered
    modseq: int


def deliver(
    conn: Connection,
    content: NewContent,
    deliveries: Sequence[Delivery],
    *,
    internal_date: int,
    now: int,
    queue: NewQueueMessage | None = None,
    on_failure: Callable[[Delivered], NewEntry | None] | None = None,
) -> list[Delivered]:
    """`deliver_all` for one mail."""
    return deliver_all(conn, [Mail(content, deliveries, internal_date, now, queue, on_failure)])[0]


def deliver_all(conn: Connection, mails: Sequence[Mail]) -> list[list[Delivered]]:
    """Store each mail once and a row in each mailbox; the answers of each mail stand in the order of its deliveries.

    Accounts are made where missing. What fails for one recipient (over quota) is said in its Delivered and stops nobody
    else. A mailbox that is not there stands for INBOX, so mail is never lost on a name. If every delivery of a mail
    fails and it has no queue entry, nothing of it is stored.
    """
    copies = [
        _Copy(number, index, delivery, mail.content.size)
        for number, mail in enumerate(mails)
        for index, delivery in enumerate(mail.deliveries)
    ]
    answers, placed = _take_in(conn, copies, [len(mail.deliveries) for mail in mails], mails[0].now)
    with_rows = {one.copy.mail for one in placed}
    kept = [number for number, mail in enumerate(mails) if number in with_rows or (mail.queue and mail.queue.entries)]
    if not kept:
        return answers
    stored = contents.store_all(conn, [mails[number].content for number in kept], now=mails[0].now)
    ids = dict(zip(kept, stored, strict=True))
    _insert(conn, placed, {number: (ids[number], mails[number].internal_date, mails[number].now) for number in with_rows})
    for number in kept:
        mail = mails[number]
        if mail.queue is not None and (entries := _entries(mail, answers[number])):
            mail_queue.enqueue(conn, mail.queue, ids[number], entries=entries, now=mail.now)
    return answers


def deliver_stored(
    conn: Connection, content_id: int, size: int, deliveries: Sequence[Delivery], *, internal_date: int, now: int
) -> list[Delivered]:
    """`deliver` for a content that is stored already and that something names (a queue entry, a held mail)."""
    copies = [_Copy(0, index, delivery, size) for index, delivery in enumerate(deliveries)]
    answers, placed = _take_in(conn, copies, [len(deliveries)], now)
    _insert(conn, placed, {0: (content_id, internal_date, now)})
    return answers[0]


def have_it(conn: Connection, content_id: int, queue_id: str, owners: Collection[str]) -> set[str]:
    """Those of `owners` who hold a copy of this mail, or for whom one waits in the queue under `queue_id`."""
    asked = {"content": content_id, "queued": queue_id, "owners": as_set(owners)}
    return {row[0] for row in (*_HOLDERS.rows(conn, asked), *_WAITING.rows(conn, asked))}


def _entries(mail: Mail, answers: Sequence[Delivered]) -> tuple[NewEntry, ...]:
    """What of this mail goes into the queue."""
    assert mail.queue is not None
    if mail.on_failure is None:
        return mail.queue.entries
    failed = (mail.on_failure(answer) for answer in answers if answer.error is not None)
    return mail.queue.entries + tuple(entry for entry in failed if entry is not None)


def _take_in(
    conn: Connection, copies: Sequence[_Copy], counts: Sequence[int], now: int
) -> tuple[list[list[Delivered]], list[_Placed]]:
    """Charge accounts and take UIDs: the answers by mail, and where rows are to be made. `counts`: copies of each mail."""
    found: list[list[Delivered | None]] = [[None] * count for count in counts]
    placed: list[_Placed] = []
    for turn in _turns(copies):
        for one in _place(conn, turn, now):
            found[one.copy.mail][one.copy.index] = one.answer
            if one.answer.error is None:
                placed.append(one)
    return [[answer for answer in answers if answer is not None] for answers in found], placed


def _insert(conn: Connection, placed: Sequence[_Placed], mails: Mapping[int, tuple[int, int, int]]) -> None:
    """The rows of all copies; `mails`: content id, internal date and present of each mail."""
    if not placed:
        return
    rows: list[tuple[int | str | None, ...]] = []
    for one in placed:
        content_id, internal_date, now = mails[one.copy.mail]
        answer, delivery = one.answer, one.copy.delivery
        rows.append(
            (answer.account_id, answer.mailbox_id, answer.uid, one.modseq, content_id, delivery.flags, 0, internal_date, now,
             one.copy.size, delivery.delivered_to)
        )  # fmt: skip
        note(conn, Hint(answer.account_id, one.modseq, (answer.mailbox_id,)))
    insert_rows(conn, rows)


def _turns(copies: Sequence[_Copy]) -> list[list[_Copy]]:
    """The copies in turns in which no owner appears twice; nearly always one."""
    turns: list[list[_Copy]] = []
    seen: dict[str, int] = {}
    for one in copies:
        owner = one.delivery.directory_id
        turn = seen.get(owner, 0)
        seen[owner] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(one)
    return turns


def _place(conn: Connection, copies: Sequence[_Copy], now: int) -> Iterable[_Placed]:
    """One turn: charge accounts and take UIDs, an answer for each copy."""
    sizes = {one.delivery.directory_id: one.size for one in copies}
    charged = _charge(conn, sizes)
    full: dict[str, int] = {}
    if len(charged) < len(sizes):
        missing = set(sizes) - charged.keys()
        full = accounts.known(conn, missing)
        missing -= full.keys()
        if missing:
            quotas = {one.delivery.directory_id: one.delivery.quota_octets for one in copies}
            accounts.create_missing(conn, missing, now=now, quotas=quotas)
            charged |= _charge(conn, {owner: sizes[owner] for owner in missing})
            if missing := missing - charged.keys():  # larger than all that the new account may hold
                full |= accounts.known(conn, missing)
    taken = [(one, *charged[one.delivery.directory_id]) for one in copies if one.delivery.directory_id in charged]
    mailbox_of = _mailboxes(conn, [(account_id, one.delivery.mailbox) for one, account_id, _ in taken])
    entering = [
        (account_id, mailbox_of.get(account_id, INBOX_ID), modseq, int(not one.delivery.flags & _SEEN),
         int(bool(one.delivery.flags & _DELETED)), one.size)
        for one, account_id, modseq in taken
    ]  # fmt: skip
    entered = {row[0]: (row[1], row[2]) for row in _ENTER.rows(conn, {"rows": as_rows(entering)})} if entering else {}
    for one in copies:
        owner = one.delivery.directory_id
        if owner not in charged:
            yield _Placed(one, Delivered(owner, full.get(owner, 0), error=OverQuota.__name__, text=OverQuota.text), 0)
            continue
        account_id, modseq = charged[owner]
        mailbox_id, uid = entered[account_id]
        yield _Placed(one, Delivered(owner, account_id, mailbox_id, uid), modseq)


def _charge(conn: Connection, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Owner -> (account, modseq) of those accounts that exist and have room; they are locked."""
    if conn.dialect.name == "postgresql":  # an UPDATE locks in whatever order it finds rows
        _LOCK_OWNERS.rows(conn, {"owners": as_set(list(sizes))})
    return {row[0]: (row[1], row[2]) for row in _CHARGE.rows(conn, {"rows": as_rows(sizes.items())})}


def _mailboxes(conn: Connection, wanted: Sequence[tuple[int, str]]) -> dict[int, int]:
    """Account -> mailbox for names other than INBOX; a name or alias that leads nowhere is left out."""
    names: dict[str, list[int]] = {}
    for account_id, name in wanted:
        if name != mailboxes.INBOX:
            names.setdefault(mailboxes.canonical(name), []).append(account_id)
    found: dict[int, int] = {}
    for name, account_ids in names.items():
        use = mailboxes.special_use_of(name)
        found |= dict(_NAMED.rows(conn, {"accounts": as_set(account_ids), "called": name, "use": use}))
    return found
