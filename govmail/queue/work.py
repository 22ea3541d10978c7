"""What is done with entries of each kind: relayed, delivered here, expanded, or answered with a notification.

Invariants
- A job's entries belong to one message and are of one kind and domain; all of them have a verdict when `perform` returns.
- Trouble of our own (directory, store) is a temporary failure of the entries, never a reason to bounce.
- A list is expanded in batches in the order of directory_id, and how far it is is written with each batch: a crash
  repeats at most nothing of what was committed.

RFC 5321 §6.1, RFC 3461 §5.2.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from govmail.config import Config
from govmail.errors import Busy, MailError, StoreFailed
from govmail.interfaces import Clock, Resolver, Target
from govmail.mail.address import Address
from govmail.mail.envelope import Notify
from govmail.queue import bounce, parcel
from govmail.queue.parcel import Parcel
from govmail.queue.verdict import Verdict, judge, refuse
from govmail.relay.attempt import Relay
from govmail.relay.outcome import Answer, Outcome, Result, ours
from govmail.store import incoming, queue
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.mailboxes import INBOX
from govmail.store.values import Delivered, Delivery, NewEntry, NewQueueMessage, QueueEntry

log = structlog.get_logger()

SETTLE_WAITS = (1.0, 5.0, 15.0)  # between tries to write down what was done, while the store fails
EXPAND_ROWS = 5_000  # members of a list that one transaction serves

_DELIVERED_HERE = Answer(Result.DELIVERED, "2.1.5", "delivered")


@dataclass(frozen=True, slots=True)
class Job:
    """Entries that are handled together: same message, kind and domain."""

    entries: tuple[QueueEntry, ...]

    @property
    def queue_id(self) -> str:
        return self.entries[0].message.queue_id

    @property
    def kind(self) -> str:
        return self.entries[0].kind

    @property
    def domain(self) -> str:
        return self.entries[0].domain


class Worker:
    """Performs jobs. `owner` is the name under which their entries are leased; `new_id` makes queue ids."""

    def __init__(
        self, config: Config, database: Database, resolver: Resolver, relay: Relay, *, owner: str, clock: Clock,
        rng: random.Random, new_id: Callable[[], str],
    ) -> None:  # fmt: skip
        self._config = config
        self._database = database
        self._resolver = resolver
        self._relay = relay
        self._owner = owner
        self._clock = clock
        self._rng = rng
        self._new_id = new_id

    def now(self) -> int:
        return int(self._clock().timestamp())

    async def perform(self, job: Job) -> bool:
        """Do the job and write what came of it; False when its leases were lost meanwhile.

        Raises MailError when the store fails; the leases then run out and another attempt is made.
        """
        one = await self._database.read(parcel.find, job.entries[0].message)
        try:
            verdicts = await self._verdicts(job, one)
        except MailError as error:
            answer = ours(f"4{error.status[1:]}", error.public)
            verdicts = [self._judge(entry, answer) for entry in job.entries]
        return await self.settle(one, verdicts)

    async def settle(self, one: Parcel, verdicts: Sequence[Verdict]) -> bool:
        """Write verdicts, with the notifications that they ask for."""
        letters = []
        for action in sorted({verdict.notice for verdict in verdicts if verdict.notice is not None}, key=lambda action: action.value):
            told = [verdict for verdict in verdicts if verdict.notice is action]
            content = await asyncio.to_thread(
                bounce.write, one, told, action, config=self._config, files=self._database.blobs, now=self._clock()
            )
            sender = one.sender.address
            assert sender is not None
            letter = await bounce.address(
                content, sender, self._resolver, self._new_id, lifetime=self._config.queue.lifetime_seconds,
                retry_after=self._config.queue.retry_seconds[0],
            )
            if letter is not None:
                letters.append(letter)
            else:
                log.info("notification dropped: sender gone", queue_id=one.message.queue_id, sender=str(sender))
        done = await self._written(verdicts, letters)
        for verdict in verdicts:
            log.info(
                "queue entry" if done else "queue entry lost", queue_id=one.message.queue_id, recipient=verdict.entry.recipient,
                kind=verdict.entry.kind, state=verdict.state, status=verdict.result.status, code=verdict.result.code,
                text=verdict.result.text, mta=verdict.result.mta, notice=verdict.notice and verdict.notice.value,
            )  # fmt: skip
        return done

    async def _written(self, verdicts: Sequence[Verdict], letters: Sequence[bounce.Letter]) -> bool:
        """The transaction, again where the store failed: what is not written down now will be sent once more."""
        for wait in SETTLE_WAITS:
            try:
                return await self._database.write(bounce.settle, self._owner, verdicts, letters, now=self.now())
            except (StoreFailed, Busy) as error:
                log.warning("queue: not written yet", error=error.public, cause=error.private)
                await asyncio.sleep(wait)
        return await self._database.write(bounce.settle, self._owner, verdicts, letters, now=self.now())

    def _judge(self, entry: QueueEntry, outcome: Outcome | Answer) -> Verdict:
        return judge(entry, outcome, self._config.queue, now=self.now(), rng=self._rng)

    async def _verdicts(self, job: Job, one: Parcel) -> list[Verdict]:
        match job.kind:
            case "bounce":
                return [refuse(entry) for entry in job.entries]
            case "remote":
                return await self._relayed(job.entries, one)
            case "local":
                return [self._judge(entry, await self._delivered(entry, one)) for entry in job.entries]
            case "list":
                return [self._judge(entry, await self._expanded(entry, one)) for entry in job.entries]
            case other:
                return [self._judge(entry, ours("5.3.5", f"queue entry of unknown kind {other}")) for entry in job.entries]

    # -- elsewhere ---------------------------------------------------------------------------------------------

    async def _relayed(self, entries: Sequence[QueueEntry], one: Parcel) -> list[Verdict]:
        recipients = [parcel.recipient(entry) for entry in entries]
        shipment = parcel.shipment(one, recipients, self._database.blobs)
        outcomes = await self._relay.send(entries[0].domain, shipment)
        return [self._judge(entry, outcome) for entry, outcome in zip(entries, outcomes, strict=True)]

    # -- here --------------------------------------------------------------------------------------------------

    async def _delivered(self, entry: QueueEntry, one: Parcel) -> Outcome | Answer:
        """One more try for a recipient here whose first one failed for the time being."""
        found = await self._resolver.resolve(Address.parse(entry.recipient))
        if not found.domain_is_local:
            # A notification that was queued while the directory was away: its recipient is elsewhere after all
            return (await self._relay.send(entry.domain, parcel.shipment(one, [parcel.recipient(entry)], self._database.blobs)))[0]
        if entry.directory_id is None and (found.remote or len(found.targets) > 1):
            return await self._expanded(entry, one)  # tried as a whole, those who have it would get it again
        targets = [target for target in found.targets if entry.directory_id in (None, target.directory_id)]
        if not targets:
            return ours("5.2.1", "mailbox disabled") if found.disabled else ours("5.1.1", "no such mailbox here")
        deliveries = [_delivery(target, entry.recipient, entry) for target in targets]
        now = self.now()
        for answer in await self._database.write(
            incoming.deliver_stored, entry.message.content_id, one.size, deliveries, internal_date=now, now=now
        ):
            if answer.error is not None:
                return ours(bounce.refusal(answer.error).status, answer.text)
        return _DELIVERED_HERE

    async def _expanded(self, entry: QueueEntry, one: Parcel) -> Answer:
        """A list: a copy for each member here, an entry for each member elsewhere."""
        found = await self._resolver.resolve(Address.parse(entry.recipient))
        if not found.exists:
            return ours("5.1.1", "no such mailbox here")
        served = entry.progress or ""
        waiting = iter(sorted((one for one in found.targets if one.directory_id > served), key=lambda one: one.directory_id))
        kept = True
        while kept and (batch := list(islice(waiting, EXPAND_ROWS))):
            kept = await self._database.write_alone(
                serve_members, self._owner, entry, one.size, batch, self._new_id(), self.now(), self._config.queue.retry_seconds[0]
            )
        if kept and found.remote and served < ALL_HERE:
            kept = await self._database.write(forward_members, self._owner, entry, found.remote, self._new_id(), self.now())
        return _DELIVERED_HERE if kept else ours("4.3.0", "the entry passed to another worker")


ALL_HERE = "~"  # progress of a list whose members elsewhere have their entries: behind every directory_id


def serve_members(
    conn: Connection, owner: str, entry: QueueEntry, size: int, batch: Sequence[Target], queue_id: str, now: int, retry_after: int
) -> bool:
    """A copy for each of `batch` and how far the list is, in one transaction; False when the entry is another worker's."""
    if not queue.extend(conn, entry.entry_id, until=now + _BATCH_SECONDS, owner=owner):
        return False
    content_id = entry.message.content_id
    # Somebody may be a recipient, and a member of several lists that are recipients
    served = incoming.have_it(conn, content_id, entry.message.queue_id, [target.directory_id for target in batch])
    fresh = [target for target in batch if target.directory_id not in served]
    deliveries = [_delivery(target, str(target.address), entry) for target in fresh]
    done = incoming.deliver_stored(conn, content_id, size, deliveries, internal_date=now, now=now)
    waiting = [_refused(entry, target, one, retry_after) for target, one in zip(fresh, done, strict=True) if one.error is not None]
    if waiting:
        queue.enqueue(conn, _successor(entry, queue_id, now), content_id, now=now, entries=waiting)
    queue.advance(conn, entry.entry_id, batch[-1].directory_id)
    return True


def forward_members(
    conn: Connection, owner: str, entry: QueueEntry, remote: Sequence[Address], queue_id: str, now: int
) -> bool:
    """Entries for the members elsewhere; False when the entry is another worker's."""
    if not queue.extend(conn, entry.entry_id, until=now + _BATCH_SECONDS, owner=owner):
        return False
    notify = entry.notify & ~Notify.SUCCESS
    entries = [NewEntry("remote", str(address), address.domain, notify, entry.orcpt) for address in remote]
    queue.enqueue(conn, _successor(entry, queue_id, now), entry.message.content_id, now=now, entries=entries)
    queue.advance(conn, entry.entry_id, ALL_HERE)
    return True


_BATCH_SECONDS = 600  # a lease lasts at least this long from one batch to the next


def _delivery(target: Target, delivered_to: str, entry: QueueEntry) -> Delivery:
    return Delivery(target.directory_id, delivered_to, entry.mailbox or INBOX, quota_octets=target.quota_octets)


def _refused(entry: QueueEntry, target: Target, failure: Delivered, retry_after: int) -> NewEntry:
    """What becomes of a member whose mailbox did not take the copy: tried again, or the sender is told."""
    status = bounce.refusal(failure.error or "").status
    temporary = status.startswith("4")
    return NewEntry(
        "local" if temporary else "bounce", str(target.address), target.address.domain,
        entry.notify & ~Notify.SUCCESS, entry.orcpt, target.directory_id, None, status, failure.text,
        entry.mailbox, retry_after if temporary else 0,
    )  # fmt: skip


def _successor(entry: QueueEntry, queue_id: str, now: int) -> NewQueueMessage:
    """The same message under another queue id, for members of a list; it expires when the list's entry does."""
    of = entry.message
    lifetime = max(entry.expires - now, 0)
    return NewQueueMessage(queue_id, of.sender, (), lifetime, of.envid, of.ret_full, of.smtputf8, of.login, of.client_ip)
