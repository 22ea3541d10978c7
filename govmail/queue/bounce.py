"""Notifications of the queue, written together with what they tell of.

Invariants
- An entry's new state and the notification about it are one transaction: a crash loses neither and doubles neither.
- An entry whose lease has passed to another worker is not touched, and nothing is said about it.
- Notifications have the null reverse-path; nobody is notified about a notification.

RFC 3461 §6 (what a notification looks like), RFC 3464 §2 (one for all recipients of a message that met the same fate).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from govmail import errors
from govmail.config import Config
from govmail.errors import MailError
from govmail.interfaces import Resolver
from govmail.mail.address import Address
from govmail.mail.dsn import Action, Notice, Original, Report, compose
from govmail.mail.envelope import Notify
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.mail.zone import ZONE, moment
from govmail.queue.parcel import Parcel
from govmail.queue.verdict import Verdict
from govmail.store import blobs, contents, incoming, queue
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.values import Delivery, NewContent, NewEntry, NewQueueMessage

_LOCAL_MAILBOX = "INBOX"


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification ready to be stored: into mailboxes here, or as a queue entry when the sender is elsewhere."""

    content: NewContent
    deliveries: tuple[Delivery, ...]
    waiting: NewQueueMessage  # what it is in the queue, where it cannot be delivered now


def write(parcel: Parcel, verdicts: Sequence[Verdict], action: Action, *, config: Config, files: BlobFiles, now: datetime) -> NewContent:
    """The notification of `action` for those verdicts, all of one message. Blocks; raises StoreFailed."""
    sender = parcel.sender.address
    assert sender is not None, "the null reverse-path is never notified"
    now = now.astimezone(ZONE)
    whole = action is Action.FAILED and parcel.message.ret_full is not False and parcel.size <= config.limits.bounce_octets
    notice = Notice(
        sender=sender,
        reports=[_report(one, action, now) for one in verdicts],
        original=Original(parcel.header, blobs.read(parcel.body, 0, parcel.body.size, files) if whole else None),
        hostname=config.hostname,
        message_id=f"{secrets.token_hex(12)}@{config.hostname}",
        now=now,
        arrival=moment(parcel.message.created),
        envid=parcel.message.envid,
        smtputf8=parcel.message.smtputf8,
        language=config.language,
    )
    octets = b"Return-Path: <>\r\n" + compose(notice)
    message = Message.of(octets)
    return contents.prepare(read(message, config.limits), message, files)


def _report(verdict: Verdict, action: Action, now: datetime) -> Report:
    entry, result = verdict.entry, verdict.result
    return Report(
        recipient=Address.parse(entry.recipient),
        action=action,
        status=result.status or "5.0.0",
        orcpt=entry.orcpt,
        code=result.code,
        text=result.text,
        mta=result.mta,
        last_attempt=now,
        retry_until=moment(entry.expires) if action is Action.DELAYED else None,
    )


async def address(
    content: NewContent, sender: Address, resolver: Resolver, new_id: Callable[[], str], *, lifetime: int, retry_after: int
) -> Letter | None:
    """Where the notification to `sender` goes; None: the sender is not there any more. `lifetime` and `retry_after`: of a
    queue entry. One to several people is expanded by the queue, which knows who has it already."""

    def waiting(kind: str, wait: int = 0) -> NewQueueMessage:
        entry = NewEntry(kind, str(sender), sender.domain, Notify.NEVER, wait=wait)
        return NewQueueMessage(new_id(), "", (entry,), lifetime, smtputf8=not sender.ascii)

    try:
        if not await resolver.is_local_domain(sender.domain):
            return Letter(content, (), waiting("remote"))
        found = await resolver.resolve(sender)
    except MailError:  # the directory cannot be asked: later
        return Letter(content, (), waiting("local", retry_after))
    if not found.exists:
        return None
    if found.remote or len(found.targets) > 1:
        return Letter(content, (), waiting("list"))
    [one] = found.targets
    delivery = Delivery(one.directory_id, str(one.address), _LOCAL_MAILBOX, quota_octets=one.quota_octets)
    return Letter(content, (delivery,), waiting("local", retry_after))


def settle(conn: Connection, owner: str, verdicts: Sequence[Verdict], letters: Sequence[Letter], *, now: int) -> bool:
    """Write the verdicts and send the letters; False when a lease is not ours any more and nothing was done."""
    # Extending first locks the entries: what another worker has taken over is his to settle
    if not all(queue.extend(conn, one.entry.entry_id, until=now + 1, owner=owner) for one in verdicts):
        return False
    settled = [one.entry.entry_id for one in verdicts if one.state != "retry"]
    for one in verdicts:
        if one.retry_at is not None:
            queue.retry(conn, one.entry.entry_id, one.result, now=now, next_attempt=one.retry_at)
    queue.mark_delay_notified(conn, [one.entry.entry_id for one in verdicts if one.notice is Action.DELAYED])
    for letter in letters:
        _post(conn, letter, now=now)
    if settled:
        queue.delete_entries(conn, settled, now=now)
    return True


def _post(conn: Connection, letter: Letter, *, now: int) -> None:
    waits = not letter.deliveries
    if letter.deliveries:
        done = incoming.deliver(conn, letter.content, letter.deliveries, internal_date=now, now=now)
        waits = any(one.error is not None and refusal(one.error).status.startswith("4") for one in done)
    if waits:
        incoming.deliver(conn, letter.content, (), internal_date=now, now=now, queue=letter.waiting)


def refusal(name: str) -> type[MailError]:
    """The error class that `Delivered.error` names."""
    found = getattr(errors, name, MailError)
    return found if isinstance(found, type) and issubclass(found, MailError) else MailError
