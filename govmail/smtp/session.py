"""One SMTP connection: what the client has said so far, and the loop that answers it.

Invariants
- Every command gets one reply, in order; the replies to a pipelined group leave in one write (RFC 2920 §3.2).
- Refused data is read to its end; where that cannot be told, the connection ends.
- Nothing but replies reaches the client: what is unexpected goes to the log under the incident id that the 451 names.
- What a client feeds is bounded: line, errors, commands, mails, logins (`config.Limits`), and each wait has an end.

RFC 5321 §3 and §4, RFC 2920 (pipelining), RFC 3207 §4.2 (the state after STARTTLS).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from govmail.config import Limits, Listener
from govmail.delivery.budget import Budget
from govmail.delivery.full import FullMailboxes
from govmail.errors import MailError
from govmail.interfaces import Acceptance, Authenticator, Principal, Resolution, Resolver
from govmail.login import Proofs, means_of
from govmail.mail.envelope import Envelope, Origin, Recipient
from govmail.mail.message import Message
from govmail.smtp import policy, replies, verbs
from govmail.smtp.intake import Intake
from govmail.wire.sasl_mechanisms import Means, offered
from govmail.wire.smtp import BadCommand, Ehlo, Mail, Reply, parse_command
from govmail.wire.smtp_data import LineEnds

log = structlog.stdlib.get_logger("govmail.smtp")

OUTPUT_OCTETS = 16 * 1024  # replies of a pipelined group collected before they are sent


Accept = Callable[[Envelope, Message, Origin, Sequence[Resolution], Principal | None], Awaitable[Acceptance]]
"""Takes responsibility for a message, or says no: `receive.Receiver.accept`. The resolutions stand in the recipients' order."""


class Ended(Exception):
    """The connection is over for another reason than the client's wish; `reply` is the last word."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Gone(Exception):
    """The client is no longer there."""


class Wire(Protocol):
    """The connection as a session sees it."""

    peer_ip: str
    tls: str | None  # "TLSv1.3 TLS_AES_256_GCM_SHA384", None in clear

    @property
    def tls_object(self) -> Any:
        """The ssl object, None in clear."""

    def time(self) -> float:
        """Monotonic seconds."""

    def expire_at(self, when: float) -> None:
        """From then on `receive` raises Ended."""

    async def receive(self) -> bytes:
        """Some octets; b"" when the client will send no more. Raises Ended (time-out, kick, shutdown)."""

    async def send(self, octets: bytes) -> None:
        """Write, with back-pressure. Raises Gone."""

    async def start_tls(self) -> None:
        """The handshake, as server; unread clear octets are dropped. Raises Gone when it fails."""

    def end(self, reply: Reply) -> None:
        """`receive` raises Ended with this reply from now on."""

    def logged_in(self, directory_id: str) -> None:
        """From now on this connection ends when that person is kicked."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of one process share."""

    hostname: str
    limits: Limits
    resolver: Resolver
    authenticator: Authenticator
    accept: Accept
    budget: Budget
    spool: Path  # directory for unfinished messages
    new_id: Callable[[], str]  # short, sortable, unique
    full: FullMailboxes
    proofs: Proofs | None = None  # logins without a password


@dataclass(slots=True)
class Transaction:
    """A mail between MAIL and its end."""

    mail: Mail
    recipients: list[Recipient] = field(default_factory=list)
    resolutions: list[Resolution] = field(default_factory=list)
    intake: Intake | None = None  # since the first BDAT
    line_ends: LineEnds | None = None
    started: float = 0.0


class Session:
    """State of one connection and its loop."""

    def __init__(self, wire: Wire, services: Services, listener: Listener) -> None:
        self.wire = wire
        self.services = services
        self.limits = services.limits
        self.listener = listener
        self.submission = listener.protocol == "submission"
        self.helo: Ehlo | None = None
        self.principal: Principal | None = None
        self.login = ""  # as typed
        self.transaction: Transaction | None = None
        self.over = False
        self.auth_failures = 0
        self.log = log.bind(listener=listener.name, ip=wire.peer_ip)
        self._in_data = False
        self._closing: Reply | None = None
        self._errors = 0
        self._idle_commands = 0
        self._mails = 0
        self._input = b""
        self._position = 0
        self._output: list[bytes] = []
        self._output_octets = 0

    async def run(self) -> None:
        """Talk until the end. Raises nothing but cancellation."""
        try:
            self.put(replies.greeting(self.services.hostname))
            while not self.over:
                reply = await self._answer()
                if reply is not None:
                    self.put(self._count(reply))
                if self._closing is not None and self.transaction is None:
                    raise Ended(self._closing)
                if self._output_octets > OUTPUT_OCTETS:
                    await self.flush()
            await self.flush()
        except Ended as end:
            self.log.info("smtp.ended", reason=end.reply.text)
            self.put(end.reply)
            try:
                await self.flush()
            except Gone:
                pass
        except Gone:
            self.log.info("smtp.gone", in_mail=self.transaction is not None)
        finally:
            await self.reset()

    async def _answer(self) -> Reply | None:
        """Read one command and carry it out. None: nothing more to say."""
        try:
            line = await self.read_line()
            if line is None:
                self.over = True
                return None
            command = parse_command(line, tolerant=self.submission)
            self._idle_commands += 1
            return await verbs.VERBS[type(command)](self, command)
        except BadCommand as error:
            self.over = self.over or error.fatal
            return error.reply
        except MailError as error:
            if error.private:
                self.log.warning("smtp.refused", status=error.status, public=error.public, private=error.private)
            return replies.refusal(error)
        except (Ended, Gone):
            raise
        except Exception:
            self.over = self.over or self._in_data
            return self.incident()

    def finish(self, reply: Reply) -> None:
        """End with this reply as soon as no mail is on its way."""
        self._closing = reply
        if self.transaction is None:
            self.wire.end(reply)

    def incident(self) -> Reply:
        """Log the exception being handled; the client learns the id only."""
        incident_id = self.services.new_id()
        self.log.exception("smtp.incident", incident=incident_id)
        return replies.incident(incident_id)

    def _count(self, reply: Reply) -> Reply:
        """The reply, or a 421 in its place when the client has used up its patience with us."""
        if self.over or reply.code in (250, 354, 334):
            final = None
        elif reply.code == 421:
            self.over, final = True, None
        elif reply.failed:
            self._errors += 1
            final = replies.TOO_MANY_ERRORS if self._errors >= self.limits.smtp_errors else None
        else:
            final = None
        if final is None and self._idle_commands > self.limits.smtp_commands and not self.over:
            final = replies.TOO_MANY_COMMANDS
        if final is None:
            return reply
        self.over = True
        self.log.warning("smtp.too_many", reason=final.text, last=reply.text)
        return final

    # -- what verbs use ---------------------------------------------------------------------------------------

    @property
    def auth_offered(self) -> bool:
        secure = self.wire.tls is not None or self.listener.allow_plain_login
        return self.submission and secure and self.principal is None

    @property
    def means(self) -> Means:
        means = means_of(self.listener, self.services.proofs)
        return means if self.wire.tls is not None else means.in_clear

    @property
    def starttls_offered(self) -> bool:
        return self.listener.tls == "starttls" and self.wire.tls is None

    def keywords(self) -> tuple[str, ...]:
        return tuple(policy.ehlo_keywords(self.limits, starttls=self.starttls_offered, auth=offered(self.means) if self.auth_offered else ()))

    def begin(self, command: Mail) -> None:
        """A mail begins."""
        self._mails += 1
        if self._mails > self.limits.smtp_transactions:
            raise Ended(replies.TOO_MANY_MAILS)
        self._idle_commands = 0
        self.transaction = Transaction(command)

    async def reset(self) -> None:
        """RSET: forget the mail, and what came of it."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None and transaction.intake is not None:
            await transaction.intake.release()

    async def start_tls(self) -> None:
        """RFC 3207 §4.2: afterwards nothing is known that was said in clear."""
        await self.flush()
        dropped = len(self._input) - self._position
        self._input, self._position = b"", 0
        await self.wire.start_tls()
        self.helo = None
        self.log.debug("smtp.tls", tls=self.wire.tls, dropped=dropped)

    def new_intake(self) -> Intake:
        services = self.services
        return Intake(self.limits, services.budget, lambda: services.spool / f"{services.new_id()}.in")

    def new_line_ends(self) -> LineEnds:
        """Our own people's programs may be sloppy; between servers the standard holds."""
        return LineEnds(normalise=self.submission, longest=0 if self.submission else self.limits.line_octets)

    def envelope(self, transaction: Transaction) -> Envelope:
        mail = transaction.mail
        return Envelope(
            mail.path,
            tuple(transaction.recipients),
            mail.body,
            mail.smtputf8,
            mail.size,
            mail.ret_full,
            mail.envid,
            self.principal.directory_id if self.principal else None,
        )

    def origin(self, transaction: Transaction) -> Origin:
        helo = self.helo
        if helo is None or not helo.extended:
            protocol = "SMTP"
        else:  # RFC 3848, RFC 6531 §4.3
            protocol = "UTF8SMTP" if transaction.mail.smtputf8 else "ESMTP"
            protocol += ("S" if self.wire.tls else "") + ("A" if self.principal else "")
        return Origin(
            self.wire.peer_ip,
            helo.name if helo else "",
            protocol,
            self.wire.tls,
            None,
            self.login or None,
            self.listener.name,
        )

    async def accept(self, transaction: Transaction, intake: Intake) -> Reply:
        """The octets are all here: the last word about them."""
        try:
            if intake.fault is not None:
                raise intake.fault
            message = await intake.finish()
            acceptance = await self.services.accept(
                self.envelope(transaction),
                message,
                self.origin(transaction),
                transaction.resolutions,
                self.principal,
            )
        finally:
            await intake.release()
        if acceptance.code == 250:
            self._errors = 0
        return replies.reply(acceptance.code, acceptance.status, acceptance.text)

    # -- octets in and out ------------------------------------------------------------------------------------

    async def read_line(self) -> bytes | None:
        """The next line without its CR LF; None at the end. Raises BadCommand for a line that is none."""
        limit = self.limits.smtp_line_octets
        overlong = waiting = False
        while True:
            end = self._input.find(b"\n", self._position)
            if end >= 0:
                line = self._input[self._position : end]
                self._position = end + 1
                if overlong or len(line) >= limit:
                    raise _refused(replies.LINE_TOO_LONG)
                if not line.endswith(b"\r") or b"\r" in line[:-1]:
                    raise _refused(replies.BARE_LINE_END)
                return line[:-1]
            rest = self._input[self._position :]
            if len(rest) > limit:
                overlong, rest = True, b""
            if not waiting:  # once per line: octets that trickle in do not prolong the wait
                waiting = True
                await self.flush()
                self.wire.expire_at(self.wire.time() + self.limits.smtp_idle_seconds)
            more = await self.wire.receive()
            if not more:
                return None
            self._input, self._position = rest + more if rest else more, 0

    def take_input(self) -> bytes:
        """What has come already beyond the last line."""
        octets = self._input[self._position :]
        self._input, self._position = b"", 0
        return octets

    def put_back(self, octets: bytes) -> None:
        """The data has been read; these octets belong to the next command."""
        self._in_data = False
        self._input, self._position = octets, 0

    async def receive_data(self, started: float) -> bytes:
        """More octets of a message that began at `started`. Raises Ended, Gone."""
        self._in_data = True
        await self.flush()
        self.wire.expire_at(
            min(self.wire.time() + self.limits.smtp_data_seconds, started + self.limits.smtp_data_total_seconds)
        )
        octets = await self.wire.receive()
        if not octets:
            raise Gone
        return octets

    def put(self, reply: Reply) -> None:
        """Say this with the next write."""
        octets = bytes(reply)
        self._output.append(octets)
        self._output_octets += len(octets)

    async def flush(self) -> None:
        if self._output:
            octets = b"".join(self._output)
            self._output.clear()
            self._output_octets = 0
            await self.wire.send(octets)


def _refused(reply: Reply) -> BadCommand:
    return BadCommand(reply.code, reply.status or "", reply.text)

