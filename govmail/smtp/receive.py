"""From the octets of a message to its acceptance: the commit point of the whole system.

Invariants
- 250 means stored: every recipient's copy, queue entry or quarantine row is in one committed transaction.
- Whoever is refused knows it at once, and nothing of what was refused is stored.
- All recipients get equal octets; what is personal stands in the message row.
- The event loop is never held: messages are read, hashed and compressed in other processes.

RFC 5321 §4.4 (trace), §6.1 (responsibility), §6.3 (loops); RFC 6409 §8 (what submission may repair).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import structlog

from govmail.config import Limits
from govmail.delivery import local
from govmail.delivery.full import FullMailboxes
from govmail.errors import BadMessage, MailError, NotScanned, Refused, TooManyHops
from govmail.interfaces import (
    Acceptance,
    Action,
    Chain,
    Clock,
    Decision,
    MessageReader,
    Principal,
    Resolution,
    ScanRequest,
)
from govmail.mail import trace
from govmail.mail.envelope import Body, Envelope, Origin
from govmail.mail.header import Header
from govmail.mail.message import Message
from govmail.mail.reading import Reading, with_trace
from govmail.smtp import policy, replies
from govmail.smtp.rewrite import Draft, repaired, rewritten
from govmail.store import contents, incoming
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import Delivered, NewContent

log = structlog.stdlib.get_logger("govmail.smtp")

T = TypeVar("T")


class Hold(Protocol):
    """Puts a mail into quarantine; runs inside the storing transaction. `filters.quarantine` implements it."""

    def __call__(
        self,
        conn: Connection,
        content: NewContent,
        request: ScanRequest,
        decision: Decision,
        resolutions: Sequence[Resolution],
        *,
        subject: str,
        now: int,
    ) -> int: ...


class Receiver:
    """Takes responsibility for messages. `accept` is what SMTP sessions call."""

    def __init__(
        self,
        *,
        hostname: str,
        limits: Limits,
        database: Database,
        chain: Chain,
        hold: Hold,
        clock: Clock,
        new_id: Callable[[], str],
        queue_lifetime: int,
        retry_after: int = 60,
        on_queued: Callable[[], None],
        full: FullMailboxes,
        readers: MessageReader,
    ) -> None:
        """`queue_lifetime`: `config.Queue.lifetime_seconds`; `retry_after`: the first of its `retry_seconds`. `on_queued` is called
        after a commit that made queue entries."""
        self._hostname = hostname
        self._limits = limits
        self._database = database
        self._chain = chain
        self._hold = hold
        self._clock = clock
        self._new_id = new_id
        self._queue_lifetime = queue_lifetime
        self._retry_after = retry_after
        self._on_queued = on_queued
        self._full = full
        self._readers = readers

    async def accept(
        self,
        envelope: Envelope,
        message: Message,
        origin: Origin,
        resolutions: Sequence[Resolution],
        principal: Principal | None = None,
    ) -> Acceptance:
        """Filter the message and store it for everybody, or say why not. `principal`: who submits it; None: from outside.

        `resolutions` stand in the order of the envelope's recipients. A spooled `message` stays the caller's. Never
        raises MailError. Cancelling does not undo a commit that has begun.
        """
        queue_id = self._new_id()
        draft = Draft(message)
        try:
            done = await self._accept(queue_id, envelope, draft, origin, resolutions, principal)
        except MailError as error:
            reply = replies.refusal(error)
            log.info(
                "smtp.refused", queue_id=queue_id, code=reply.code, status=reply.status, reason=reply.text,
                private=error.private, sender=str(envelope.sender), ip=origin.client_ip,
            )  # fmt: skip
            return Acceptance(reply.code, reply.status or "", reply.text, queue_id)
        finally:
            await self._off_loop(draft.discard, message.size)
        return done

    async def _accept(
        self,
        queue_id: str,
        envelope: Envelope,
        draft: Draft,
        origin: Origin,
        resolutions: Sequence[Resolution],
        principal: Principal | None,
    ) -> Acceptance:
        draft.reading = arrived = await self._readers.read(draft.message)
        fields = Header(arrived.header, self._limits)
        self._check(arrived, fields, envelope, principal)
        if principal is not None:
            header = repaired(arrived.header, fields, hostname=self._hostname, queue_id=queue_id, now=self._clock())
            await self._change_header(draft, header)
        await self._rewrite(draft, envelope, resolutions, principal)
        await self._off_loop(draft.settle, draft.message.size)

        sign = principal is not None
        request = ScanRequest(draft.message, envelope, origin, queue_id, sign=sign, digest=arrived.digest)
        decision = await self._decide(request)
        if arrived.ambiguity and decision.action in (Action.ACCEPT, Action.TAG):
            # Filter and reader may see different mails (CVE-2024-28054): held, not guessed
            decision = replace(decision, action=Action.QUARANTINE, reason="policy")
        if decision.action is Action.REJECT:
            raise Refused(decision.public or None)
        if decision.action is Action.DEFER:
            raise NotScanned(decision.public or None)

        now = self._clock()
        content = await self._prepare(draft, self._trace(envelope, origin, queue_id, decision))
        if decision.action is Action.QUARANTINE:
            item = await self._database.write(
                self._hold, content, request, decision, resolutions, subject=fields.subject, now=int(now.timestamp())
            )
            self._say("smtp.held", queue_id, envelope, origin, content, reason=decision.reason, item=item)
            return _accepted(queue_id, envelope, "held")

        plan = local.plan(
            envelope, resolutions, queue_id=queue_id, spam=decision.spam, client_ip=origin.client_ip, limits=self._limits,
            lifetime=self._queue_lifetime, retry_after=self._retry_after,
        )  # fmt: skip
        done = await self._store(content, plan, int(now.timestamp()))
        self._full.note(done, draft.message.size)
        failed = [one for one in done if one.error is not None]
        if len(failed) == len(done) and not plan.queue_message.entries:
            raise local.refusal(done)
        if plan.queue_message.entries or failed:
            self._on_queued()
        self._say(
            "smtp.accepted", queue_id, envelope, origin, content, delivered=len(done) - len(failed), failed=len(failed),
            queued=len(plan.queue_message.entries), spam=decision.spam, message_id=fields.message_id[:200],
        )  # fmt: skip
        return _accepted(queue_id, envelope, "accepted")

    # -- steps ------------------------------------------------------------------------------------------------

    def _check(self, arrived: Reading, fields: Header, envelope: Envelope, principal: Principal | None) -> None:
        if fields.received_count > self._limits.received_fields:
            raise TooManyHops
        if arrived.header[:1] in (b" ", b"\t"):  # it would continue the last of our own fields
            raise BadMessage("the header begins with white space")
        if principal is not None:
            policy.check_identity(fields, envelope.sender, principal)
            if arrived.ambiguity:
                raise BadMessage(f"the structure of the message is ambiguous: {arrived.ambiguity}")

    async def _change_header(self, draft: Draft, header: bytes) -> None:
        if header != draft.reading.header:
            await self._off_loop(partial(draft.change_header, header, self._limits), draft.message.size)

    async def _rewrite(
        self, draft: Draft, envelope: Envelope, resolutions: Sequence[Resolution], principal: Principal | None
    ) -> None:
        """BINARYMIME is stored as text. What leaves the house is made 7-bit now, before it is signed: nobody knows
        yet what the next server can carry, and changing it later would break the signature. SMTPUTF8 implies 8BITMIME
        there (RFC 6531 §3.1)."""
        leaves = any(not one.domain_is_local or one.remote for one in resolutions)
        seven_bit = principal is not None and leaves and not envelope.smtputf8
        if not seven_bit and envelope.body is not Body.BINARYMIME:
            return
        message = await self._off_loop(partial(rewritten, draft, seven_bit=seven_bit), draft.message.size)
        if message is not None:
            draft.replace(message, await self._readers.read(message))

    async def _decide(self, request: ScanRequest) -> Decision:
        try:
            async with asyncio.timeout(self._limits.accept_seconds):
                return await self._chain.decide(request)
        except TimeoutError:
            raise NotScanned(private="the filters took too long") from None

    def _trace(self, envelope: Envelope, origin: Origin, queue_id: str, decision: Decision) -> list[bytes]:
        """The fields that we put in front, each with its CR LF."""
        return [
            trace.return_path(envelope.sender),
            trace.received(origin, envelope, hostname=self._hostname, queue_id=queue_id, now=self._clock()),
            *(f"{name}: {value}\r\n".encode("ascii", "replace") for name, value in decision.headers),
        ]

    async def _prepare(self, draft: Draft, fields: list[bytes]) -> NewContent:
        message = draft.message  # its header may differ from now on, its body stays the end of it
        await self._change_header(draft, trace.strip(draft.reading.header, authserv_id=self._hostname))
        prepare = partial(contents.prepare, with_trace(draft.reading, fields), message, self._database.blobs)
        return prepare() if draft.reading.packed is not None else await asyncio.to_thread(prepare)

    async def _store(self, content: NewContent, plan: local.Plan, now: int) -> list[Delivered]:
        mail = incoming.Mail(content, plan.deliveries, now, now, plan.queue_message, plan.on_failure)
        if len(plan.deliveries) <= COPIES_TOGETHER:
            return await self._database.write_together(incoming.deliver_all, mail)
        write = self._database.write if len(plan.deliveries) <= ROWS_TOGETHER else self._database.write_alone
        return (await write(incoming.deliver_all, [mail]))[0]

    # -- where work is done -----------------------------------------------------------------------------------

    async def _off_loop(self, work: Callable[[], T], size: int) -> T:
        """Small work here and now, large work in a thread."""
        return work() if size <= self._limits.inline_parse_octets else await asyncio.to_thread(work)

    def _say(self, event: str, queue_id: str, envelope: Envelope, origin: Origin, content: NewContent, **more: object) -> None:
        log.info(
            event, queue_id=queue_id, sender=str(envelope.sender), recipients=len(envelope.recipients), size=content.size,
            ip=origin.client_ip, login=origin.login, listener=origin.listener, **more,
        )  # fmt: skip


COPIES_TOGETHER = 20  # a mail with more copies does not join the mails of others in one call
ROWS_TOGETHER = 1000  # a delivery with more rows shares its commit with nobody


def _accepted(queue_id: str, envelope: Envelope, state: str) -> Acceptance:
    return Acceptance(250, "2.0.0", queue_id, queue_id, tuple((one.address, state) for one in envelope.recipients))
