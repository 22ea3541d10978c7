"""The queue: what became of accepted mail that is not in a mailbox yet, one entry for each recipient.

Invariants
- An entry exists until its recipient's future is settled: delivered, given up (with its notification queued in the same
  transaction), or deleted by an operator. The message row lives as long as one of its entries.
- A leased entry belongs to one worker until `lease_until`; then whoever asks next takes it over. No entry is leased twice
  at a time.
- Every attempt is kept with its reply until the entry goes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    not_,
    null,
    or_,
    select,
    update,
)

from govmail.errors import NotFound
from govmail.mail.envelope import Notify
from govmail.store.contents import note_gone
from govmail.store.schema import attempt, queue_entry, queue_message
from govmail.store.sql import STR, Prepared, as_set, one_of
from govmail.store.values import Attempt, AttemptResult, NewEntry, NewQueueMessage, QueueEntry, QueueMessage

TEXT_OCTETS = 2000  # of a reply that is kept

_ADD_MESSAGE = Prepared(
    insert(queue_message),
    ["queue_id", "content_id", "sender", "envid", "ret_full", "smtputf8", "login", "client_ip", "created"],
)
_ADD_ENTRY = Prepared(
    insert(queue_entry),
    ["queue_id", "kind", "recipient", "domain", "directory_id", "mailbox_name", "notify", "orcpt", "state", "next_attempt", "attempts",
     "expires", "delay_notified", "last_code", "last_status", "last_text"],
)  # fmt: skip
_ADD_ATTEMPT = Prepared(insert(attempt), ["entry_id", "at", "mta", "code", "status", "text"])

_MESSAGE = (
    queue_message.c.queue_id, queue_message.c.content_id, queue_message.c.sender, queue_message.c.envid,
    queue_message.c.ret_full, queue_message.c.smtputf8, queue_message.c.login, queue_message.c.client_ip,
    queue_message.c.created,
)  # fmt: skip
_ENTRY = (
    queue_entry.c.kind, queue_entry.c.recipient, queue_entry.c.domain, queue_entry.c.directory_id, queue_entry.c.notify,
    queue_entry.c.orcpt, queue_entry.c.state, queue_entry.c.next_attempt, queue_entry.c.attempts, queue_entry.c.lease_owner,
    queue_entry.c.lease_until, queue_entry.c.expires, queue_entry.c.delay_notified, queue_entry.c.last_code,
    queue_entry.c.last_status, queue_entry.c.last_text, queue_entry.c.last_mta, queue_entry.c.progress,
    queue_entry.c.mailbox_name,
)  # fmt: skip
_JOINED = select(queue_entry.c.entry_id, *_MESSAGE, *_ENTRY).join_from(
    queue_entry, queue_message, queue_entry.c.queue_id == queue_message.c.queue_id
)

_DUE = or_(
    and_(queue_entry.c.state == "ready", queue_entry.c.next_attempt <= bindparam("now")),
    and_(queue_entry.c.state == "leased", queue_entry.c.lease_until <= bindparam("now")),
)
_LEASE = Prepared(
    update(queue_entry)
    .where(
        queue_entry.c.entry_id.in_(
            select(queue_entry.c.entry_id)
            .where(_DUE, not_(one_of(queue_entry.c.domain, "busy")))
            .order_by(queue_entry.c.next_attempt)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
    .values(state="leased", lease_owner=bindparam("worker"), lease_until=bindparam("until"))
    .returning(queue_entry.c.entry_id)
)
_BY_IDS = Prepared(_JOINED.where(one_of(queue_entry.c.entry_id, "ids")))
_BY_QUEUE_ID = Prepared(_JOINED.where(queue_entry.c.queue_id == bindparam("id")).order_by(queue_entry.c.entry_id))
_PAGE = Prepared(
    _JOINED.where(queue_entry.c.entry_id > bindparam("after")).order_by(queue_entry.c.entry_id).limit(bindparam("most"))
)
_ATTEMPTS = Prepared(
    select(attempt.c.entry_id, attempt.c.at, attempt.c.mta, attempt.c.code, attempt.c.status, attempt.c.text)
    .where(one_of(attempt.c.entry_id, "ids"))
    .order_by(attempt.c.attempt_id)
)
_NEXT_DUE = Prepared(
    select(queue_entry.c.next_attempt).where(queue_entry.c.state == "ready").order_by(queue_entry.c.next_attempt).limit(1)
)
_NEXT_EXPIRED_LEASE = Prepared(
    select(queue_entry.c.lease_until).where(queue_entry.c.state == "leased").order_by(queue_entry.c.lease_until).limit(1)
)
_MINE = and_(
    queue_entry.c.entry_id == bindparam("of"), or_(bindparam("worker", type_=STR).is_(None), queue_entry.c.lease_owner == bindparam("worker", type_=STR))
)
_RETRY = Prepared(
    update(queue_entry)
    .where(_MINE)
    .values(
        state="ready", next_attempt=bindparam("at"), attempts=queue_entry.c.attempts + 1, lease_owner=null(), lease_until=null(),
        last_code=bindparam("code"), last_status=bindparam("reply_status"), last_text=bindparam("reply"), last_mta=bindparam("mta"),
    )
)  # fmt: skip
_PUT_BACK = Prepared(
    update(queue_entry)
    .where(_MINE, queue_entry.c.state == "leased")
    .values(state="ready", lease_owner=null(), lease_until=null(), next_attempt=bindparam("at"))
)
_EXTEND = Prepared(update(queue_entry).where(_MINE, queue_entry.c.state == "leased").values(lease_until=bindparam("until")))
_ADVANCE = Prepared(update(queue_entry).where(queue_entry.c.entry_id == bindparam("of")).values(progress=bindparam("upto")))
_DELAY_NOTIFIED = Prepared(
    update(queue_entry).where(one_of(queue_entry.c.entry_id, "ids")).values(delay_notified=literal_column("true"))
)
_KICK = Prepared(
    update(queue_entry)
    .where(one_of(queue_entry.c.entry_id, "ids"), or_(queue_entry.c.state == "ready", queue_entry.c.state == "held"))
    .values(state="ready", next_attempt=bindparam("now"))
)
_HOLD = Prepared(
    update(queue_entry).where(one_of(queue_entry.c.entry_id, "ids"), queue_entry.c.state == "ready").values(state="held")
)
_OF_ENTRIES = Prepared(select(queue_entry.c.queue_id).distinct().where(one_of(queue_entry.c.entry_id, "ids")))
_DELETE_ENTRIES = Prepared(delete(queue_entry).where(one_of(queue_entry.c.entry_id, "ids")))
_DELETE_ATTEMPTS = Prepared(delete(attempt).where(one_of(attempt.c.entry_id, "ids")))
_DELETE_EMPTY = Prepared(
    delete(queue_message)
    .where(
        one_of(queue_message.c.queue_id, "ids"),
        ~select(queue_entry.c.entry_id).where(queue_entry.c.queue_id == queue_message.c.queue_id).exists(),
    )
    .returning(queue_message.c.content_id)
)
_LOCK_MESSAGES = Prepared(
    select(queue_message.c.queue_id)
    .where(one_of(queue_message.c.queue_id, "ids"))
    .order_by(queue_message.c.queue_id)
    .with_for_update()
)


def enqueue(
    conn: Connection,
    message: NewQueueMessage,
    content_id: int,
    *,
    now: int,
    entries: Sequence[NewEntry] | None = None,
) -> None:
    """Add a message and its entries (`entries`, else those of the message), due at once or as they say."""
    _ADD_MESSAGE.run(
        conn,
        {
            "queue_id": message.queue_id, "content_id": content_id, "sender": message.sender, "envid": message.envid,
            "ret_full": message.ret_full, "smtputf8": message.smtputf8, "login": message.login, "client_ip": message.client_ip,
            "created": now,
        },
    )  # fmt: skip
    _ADD_ENTRY.many(
        conn,
        [
            {
                "queue_id": message.queue_id, "kind": one.kind, "recipient": one.recipient, "domain": one.domain,
                "directory_id": one.directory_id, "mailbox_name": one.mailbox, "notify": one.notify.value, "orcpt": one.orcpt,
                "state": "ready",
                "next_attempt": now + min(one.wait, message.lifetime), "attempts": int(one.wait > 0), "expires": now + message.lifetime, "delay_notified": False,
                "last_code": one.code, "last_status": one.status, "last_text": one.text,
            }
            for one in (message.entries if entries is None else entries)
        ],
    )  # fmt: skip


def lease(
    conn: Connection, owner: str, *, now: int, limit: int, lease_seconds: int, busy_domains: Collection[str] = ()
) -> list[QueueEntry]:
    """Take at most `limit` due entries, the longest due first, whose domain is not in `busy_domains`; theirs until
    now + `lease_seconds`. Entries whose lease ran out count as due."""
    taken = _LEASE.rows(
        conn,
        {"now": now, "busy": as_set(busy_domains), "most": limit, "worker": owner, "until": now + lease_seconds},
    )
    if not taken:
        return []
    entries = [_entry(row) for row in _BY_IDS.rows(conn, {"ids": as_set([row[0] for row in taken])})]
    return sorted(entries, key=lambda one: (one.next_attempt, one.entry_id))


def next_due(conn: Connection) -> int | None:
    """When `lease` will find something next, in seconds since the epoch; None: the queue is empty or held."""
    found = [row[0] for row in (_NEXT_DUE.first(conn, {}), _NEXT_EXPIRED_LEASE.first(conn, {})) if row is not None]
    return min(found) if found else None


def complete(conn: Connection, entry_id: int, result: AttemptResult, *, now: int) -> None:
    """The recipient has the mail: the entry goes. True also for a worker whose lease ran out meanwhile."""
    del result  # what was said of a success is the log's
    delete_entries(conn, [entry_id], now=now)


def retry(conn: Connection, entry_id: int, result: AttemptResult, *, now: int, next_attempt: int, owner: str | None = None) -> bool:
    """Note the attempt and try again at `next_attempt`; False: the entry is gone or another worker's."""
    text = result.text[:TEXT_OCTETS]
    kept = _RETRY.run(
        conn,
        {"of": entry_id, "worker": owner, "at": next_attempt, "code": result.code, "reply_status": result.status, "reply": text,
         "mta": result.mta},
    )  # fmt: skip
    if kept:
        row = {"entry_id": entry_id, "at": now, "mta": result.mta, "code": result.code, "status": result.status, "text": text}
        _ADD_ATTEMPT.run(conn, row)
    return bool(kept)


def fail(conn: Connection, entry_id: int, result: AttemptResult, *, now: int) -> None:
    """The entry is given up and goes; queue its notification in the same transaction."""
    del result  # it is in the notification
    delete_entries(conn, [entry_id], now=now)


def put_back(conn: Connection, entry_id: int, *, now: int, owner: str | None = None) -> bool:
    """End a lease without an attempt, as on shutdown; due at once."""
    return bool(_PUT_BACK.run(conn, {"of": entry_id, "worker": owner, "at": now}))


def extend(conn: Connection, entry_id: int, *, until: int, owner: str) -> bool:
    """Keep a lease longer; False: it was lost."""
    return bool(_EXTEND.run(conn, {"of": entry_id, "worker": owner, "until": until}))


def advance(conn: Connection, entry_id: int, progress: str) -> None:
    """Of a list: the members up to this directory_id have their copy."""
    _ADVANCE.run(conn, {"of": entry_id, "upto": progress})


def mark_delay_notified(conn: Connection, entry_ids: Collection[int]) -> None:
    """The sender has been told that these wait; queue the notification in the same transaction."""
    _DELAY_NOTIFIED.run(conn, {"ids": as_set(entry_ids)})


def list_page(conn: Connection, *, after: int, limit: int) -> list[QueueEntry]:
    """At most `limit` entries with ids above `after`, ascending."""
    return [_entry(row) for row in _PAGE.rows(conn, {"after": after, "most": limit})]


def get(conn: Connection, entry_ids: Collection[int]) -> list[QueueEntry]:
    """These entries, ascending; those that are gone are left out."""
    return sorted((_entry(row) for row in _BY_IDS.rows(conn, {"ids": as_set(entry_ids)})), key=lambda one: one.entry_id)


def show(conn: Connection, queue_id: str) -> tuple[list[QueueEntry], list[Attempt]]:
    """The entries of a message and all their attempts, oldest first. Raises NotFound."""
    entries = [_entry(row) for row in _BY_QUEUE_ID.rows(conn, {"id": queue_id})]
    if not entries:
        raise NotFound(f"no message {queue_id} in the queue")
    return entries, attempts(conn, [one.entry_id for one in entries])


def attempts(conn: Connection, entry_ids: Collection[int]) -> list[Attempt]:
    """Past attempts of these entries, oldest first."""
    found = _ATTEMPTS.rows(conn, {"ids": as_set(entry_ids)})
    return [Attempt(row[0], row[1], AttemptResult(*row[2:])) for row in found]


def kick(conn: Connection, entry_ids: Collection[int], *, now: int) -> int:
    """Make waiting and held entries due at once; how many."""
    return _KICK.run(conn, {"ids": as_set(entry_ids), "now": now})


def hold(conn: Connection, entry_ids: Collection[int]) -> int:
    """Keep waiting entries from being tried; how many."""
    return _HOLD.run(conn, {"ids": as_set(entry_ids)})


def delete_entries(conn: Connection, entry_ids: Collection[int], *, now: int) -> int:
    """Remove entries with their attempts, and messages that have none left; how many entries there were."""
    ids = as_set(entry_ids)
    queue_ids = as_set([row[0] for row in _OF_ENTRIES.rows(conn, {"ids": ids})])
    _LOCK_MESSAGES.rows(conn, {"ids": queue_ids})  # two workers that finish the last two entries: one sees none left
    _DELETE_ATTEMPTS.run(conn, {"ids": ids})
    count = _DELETE_ENTRIES.run(conn, {"ids": ids})
    note_gone(conn, [row[0] for row in _DELETE_EMPTY.rows(conn, {"ids": queue_ids})], now=now)
    return count


def _entry(row: Sequence[object]) -> QueueEntry:
    entry_id, message, rest = row[0], list(row[1:10]), list(row[10:])
    message[4] = None if message[4] is None else bool(message[4])
    message[5] = bool(message[5])
    rest[4] = Notify(rest[4])
    rest[12] = bool(rest[12])
    return QueueEntry(entry_id, QueueMessage(*message), *rest)  # type: ignore[arg-type]
