"""Mail that the filters have held: what reviewers do with it.

Invariants
- Holding, and releasing to any number of recipients, is one transaction: a copy in the mailbox (or an entry in the
  queue) and the state *released* come together or not at all, and once.
- Release scans again. What is as bad as what was reviewed, or milder, goes through; anything worse, and what cannot be
  scanned although it could be then, stays held.
- Mail with a virus is never released by one person; until there are two, it can only be deleted.
- A reviewer's `unit_ids` bound every act: of an item outside of them there is none, of its recipients only those inside.

The audit entry is the caller's.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from filters.chain import STRENGTH
from govmail.config import Config
from govmail.errors import Conflict, NotFound, NotPermitted, NotScanned, Refused, StoreFailed
from govmail.interfaces import Chain, Clock, Decision, Resolution, Scan, ScanRequest, Verdict
from govmail.mail.address import Address
from govmail.mail.envelope import Envelope, Origin, Recipient
from govmail.mail.message import Message
from govmail.store import blobs, contents, incoming
from govmail.store import quarantine as store
from govmail.store import queue as store_queue
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import (
    BlobRef,
    Delivery,
    HeldRecipient,
    NewContent,
    NewEntry,
    NewQuarantineItem,
    NewQueueMessage,
    QuarantineItem,
)

log = structlog.stdlib.get_logger("filters.quarantine")

SUBJECT_CHARACTERS = 500  # of the subject that lists show
OPTION_CHARACTERS = 200  # of a symbol's option that is kept
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Released:
    """How the release went for one recipient. `status`: released, or the reason why the mail is still held."""

    address: str
    status: str


class Quarantine:
    """The quarantine of one server."""

    def __init__(self, database: Database, chain: Chain, config: Config, *, clock: Clock, spool_dir: Path) -> None:
        self._database = database
        self._chain = chain
        self._config = config
        self._clock = clock
        self._spool_dir = spool_dir

    def hold(
        self,
        conn: Connection,
        content: NewContent,
        request: ScanRequest,
        decision: Decision,
        resolutions: Sequence[Resolution],
        *,
        subject: str,
        now: int,
    ) -> int:
        """Store the mail as held for all its recipients, in the caller's transaction; its item id.

        Implements `smtp.receive.Hold`. `content` is what would have been delivered, trace fields and all.
        """
        recipients, lists = held_recipients(request.envelope, resolutions, self._config.limits.expand_now)
        item = NewQuarantineItem(
            queue_id=request.queue_id,
            reason=decision.reason or "policy",
            expires=now + self._config.filters.quarantine_days * DAY_SECONDS,
            sender=str(request.envelope.sender),
            subject=subject[:SUBJECT_CHARACTERS],
            envelope=_encode(replace(request.envelope, recipients=lists)),
            origin=_encode(request.origin),
            verdicts=_encode([_trim(verdict) for verdict in decision.verdicts]),
        )
        return store.hold(conn, content, item, recipients, now=now)

    async def list_page(
        self, *, state: store.State | None = "held", unit_ids: Collection[str] | None = None, before: int | None = None, limit: int = 100
    ) -> list[QuarantineItem]:
        """Newest first; `before` is the last item id of the page before."""
        return await self._database.read(store.list_page, state=state, unit_ids=unit_ids, before=before, limit=limit)

    async def show(self, item_id: int, *, unit_ids: Collection[str] | None = None) -> tuple[QuarantineItem, tuple[Verdict, ...]]:
        """The item and what the filters said. Raises NotFound."""
        item = await self._database.read(store.show, item_id, unit_ids=unit_ids)
        return item, verdicts_of(item)

    async def release(
        self, item_id: int, actor: str, *, addresses: Collection[str] | None = None, unit_ids: Collection[str] | None = None
    ) -> list[Released]:
        """Scan again, then deliver to `addresses` (None: all that are held and visible). Doing it twice delivers once.

        Raises NotFound, NotPermitted (virus), NotScanned, Refused (worse than what was reviewed), Conflict, StoreFailed.
        """
        item, reviewed = await self.show(item_id, unit_ids=unit_ids)
        if item.reason == "virus" or any(verdict.scan is Scan.INFECTED for verdict in reviewed):
            raise NotPermitted("mail with a virus cannot be released, only deleted")
        wanted = _choose(item, addresses)
        if any(one.state == "held" for one in wanted):
            await self._scan_again(item, reviewed, wanted)
        return await self._database.write(
            release, item_id, [one.address for one in wanted], unit_ids, actor, self._now(), self._config.queue.lifetime_seconds
        )

    async def delete(
        self, item_id: int, actor: str, *, addresses: Collection[str] | None = None, unit_ids: Collection[str] | None = None
    ) -> list[str]:
        """The addresses that were held until now and are deleted. Raises NotFound, StoreFailed."""
        item, _ = await self.show(item_id, unit_ids=unit_ids)
        wanted = [one.address for one in _choose(item, addresses)]
        return await self._database.write(store.mark, item_id, wanted, "deleted", actor, self._now())

    def _now(self) -> int:
        return int(self._clock().timestamp())

    async def _scan_again(self, item: QuarantineItem, reviewed: Sequence[Verdict], wanted: Sequence[HeldRecipient]) -> None:
        envelope = replace(
            msgspec.json.decode(item.envelope, type=Envelope),
            recipients=tuple(Recipient(Address.parse(one.address), one.notify, one.orcpt) for one in wanted),
        )
        origin = msgspec.json.decode(item.origin, type=Origin)
        async with self._stored(item) as message:
            decision = await self._chain.decide(ScanRequest(message, envelope, origin, item.queue_id))
        problem = worse(reviewed, decision.verdicts)
        if problem is None:
            return
        log.warning("quarantine.kept", item=item.item_id, problem=problem)
        if problem == "unscanned":
            raise NotScanned("the mail could not be scanned again; it stays held, try later")
        raise Refused(f"the mail is worse than what was reviewed ({problem}); it stays held")

    @asynccontextmanager
    async def _stored(self, item: QuarantineItem) -> AsyncIterator[Message]:
        """The held octets: in memory when small, else in a spool file for as long as the context lasts."""
        header, ref = await self._database.read(_locate, item.content_id)
        if item.size <= self._config.limits.memory_octets:
            data = await asyncio.to_thread(lambda: b"".join((header, *blobs.stream(ref, self._database.blobs))))
            yield await asyncio.to_thread(Message.of, data)
            return
        path = self._spool_dir / f"review-{item.item_id}-{secrets.token_hex(8)}"
        try:
            yield await asyncio.to_thread(_spool, path, header, ref, self._database.blobs)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)


def held_recipients(
    envelope: Envelope, resolutions: Sequence[Resolution], expand: int
) -> tuple[list[HeldRecipient], tuple[Recipient, ...]]:
    """A row for each mailbox owner and each address elsewhere; and those recipients that are lists of more than `expand`
    members: a list has one row, and is resolved when it is released. `resolutions` stand in the order of the recipients.
    """
    rows: dict[str, HeldRecipient] = {}
    owners: set[str] = set()
    lists: list[Recipient] = []
    for recipient, resolution in zip(envelope.recipients, resolutions, strict=True):
        notify, orcpt = recipient.notify, recipient.orcpt
        if len(resolution.targets) > expand:
            lists.append(recipient)
            rows.setdefault(str(recipient.address), HeldRecipient(str(recipient.address), None, None, notify, orcpt))
            continue
        for target in resolution.targets:
            if target.directory_id not in owners:  # somebody may be reached by several addresses, and gets one copy
                owners.add(target.directory_id)
                address = str(target.address)
                rows.setdefault(address, HeldRecipient(address, target.directory_id, target.unit_id, notify, orcpt))
        elsewhere = resolution.remote if resolution.domain_is_local else (recipient.address,)
        for remote in elsewhere:
            rows.setdefault(str(remote), HeldRecipient(str(remote), None, None, notify, orcpt))
    return list(rows.values()), tuple(lists)


def verdicts_of(item: QuarantineItem) -> tuple[Verdict, ...]:
    """What the filters said when the mail was held."""
    return msgspec.json.decode(item.verdicts, type=tuple[Verdict, ...])


_DOUBT = {Scan.UNSCANNABLE: 1, Scan.UNSCANNED: 2}  # how little an engine has seen of a mail


def worse(before: Sequence[Verdict], after: Sequence[Verdict]) -> str | None:
    """Why a mail that was reviewed with `before` may not pass with `after`: virus, unscanned, spam; None when it may.

    An engine's own action is compared, so a filter that was added since then counts from *accept*.
    """
    if any(verdict.scan is Scan.INFECTED for verdict in after) and not any(verdict.scan is Scan.INFECTED for verdict in before):
        return "virus"
    doubt = {verdict.engine: _DOUBT.get(verdict.scan, 0) for verdict in before}
    if any(_DOUBT.get(verdict.scan, 0) > doubt.get(verdict.engine, 0) for verdict in after):
        return "unscanned"
    return "spam" if _strength(after) > _strength(before) else None


def _strength(verdicts: Sequence[Verdict]) -> int:
    return max((STRENGTH[verdict.action] for verdict in verdicts if verdict.scan not in _DOUBT), default=0)


def release(
    conn: Connection, item_id: int, addresses: Collection[str], unit_ids: Collection[str] | None, actor: str, now: int, lifetime: int
) -> list[Released]:
    """Deliver to those of `addresses` that are held, and mark them, in this transaction.

    `lifetime`: seconds until the queue gives up on recipients elsewhere. Who cannot be delivered to (over quota) stays held. Raises NotFound; Conflict when somebody else acted meanwhile.
    """
    item = store.show(conn, item_id, unit_ids=unit_ids)
    wanted = [one for one in item.recipients if one.address in addresses]
    status = {one.address: one.state for one in wanted}
    held = [one for one in wanted if one.state == "held"]
    here = [(one, one.directory_id) for one in held if one.directory_id is not None]
    deliveries = [Delivery(directory_id, one.address) for one, directory_id in here]
    done: list[str] = []
    if deliveries:
        answers = incoming.deliver_stored(conn, item.content_id, item.size, deliveries, internal_date=now, now=now)
        for (one, _), answer in zip(here, answers, strict=True):
            status[one.address] = answer.text
            if answer.error is None:
                done.append(one.address)
    elsewhere = [one for one in held if one.directory_id is None]
    if elsewhere:
        store_queue.enqueue(conn, _queued(item, elsewhere, lifetime), item.content_id, now=now)
        done += [one.address for one in elsewhere]
    settled = store.mark(conn, item_id, done, "released", actor, now) if done else []
    if sorted(settled) != sorted(done):
        raise Conflict("somebody else acted on this item just now; look at it again")
    return [Released(address, "released" if address in done else text) for address, text in status.items()]


def _queued(item: QuarantineItem, recipients: Sequence[HeldRecipient], lifetime: int) -> NewQueueMessage:
    """The recipients that are not here: other systems, and lists that are expanded in the queue."""
    envelope: Envelope = msgspec.json.decode(item.envelope, type=Envelope)
    origin: Origin = msgspec.json.decode(item.origin, type=Origin)
    lists = {str(recipient.address) for recipient in envelope.recipients}
    entries = [
        NewEntry("list" if one.address in lists else "remote", one.address, Address.parse(one.address).domain, one.notify, one.orcpt)
        for one in recipients
    ]
    # An item may be released in parts, each with a queue id of its own.
    part = hashlib.sha256("\n".join(one.address for one in recipients).encode("utf-8", "replace")).hexdigest()[:6]
    return NewQueueMessage(
        queue_id=f"{item.queue_id[:25]}-{part}",
        sender=item.sender,
        entries=tuple(entries),
        lifetime=lifetime,
        envid=envelope.envid,
        ret_full=envelope.ret_full,
        smtputf8=envelope.smtputf8,
        login=envelope.login,
        client_ip=origin.client_ip,
    )


def _choose(item: QuarantineItem, addresses: Collection[str] | None) -> list[HeldRecipient]:
    if addresses is None:
        return list(item.recipients)
    keys = {Address.parse(address).key for address in addresses}
    chosen = [one for one in item.recipients if Address.parse(one.address).key in keys]
    if len(chosen) < len(keys):
        raise NotFound(f"item {item.item_id} has no such recipient")
    return chosen


def _locate(conn: Connection, content_id: int) -> tuple[bytes, BlobRef]:
    row = contents.envelopes(conn, [content_id]).get(content_id)
    if row is None:
        raise StoreFailed(private=f"content {content_id} of a held mail is missing")
    return contents.headers(conn, [content_id])[content_id], blobs.locate(conn, [row.blob_id])[row.blob_id]


def _spool(path: Path, header: bytes, ref: BlobRef, files: blobs.BlobFiles) -> Message:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(header)
        for chunk in blobs.stream(ref, files):
            file.write(chunk)
    return Message.spooled(path)


def _trim(verdict: Verdict) -> Verdict:
    symbols = tuple(replace(symbol, options=tuple(option[:OPTION_CHARACTERS] for option in symbol.options)) for symbol in verdict.symbols)
    return replace(verdict, symbols=symbols, headers=())


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode("utf-8")
