"""One function per SMTP command: what it does in which state, and its reply.

Invariants: a verb changes the session or the world only when it answers 2xx or 3xx, but for DATA and BDAT, which end the
mail either way; octets announced by BDAT are read whatever the answer.

RFC 5321 §4.1 and §4.1.4 (order of commands), RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from govmail.errors import (
    AuthenticationFailed,
    BadLineEnding,
    BadMessage,
    Busy,
    DirectoryUnavailable,
    MessageTooBig,
    OverQuota,
)
from govmail.login import Login, begin
from govmail.mail.address import Address
from govmail.mail.envelope import Body, Recipient
from govmail.smtp import policy, replies
from govmail.smtp.intake import Intake
from govmail.wire import sasl
from govmail.wire.smtp import (
    Auth,
    Bdat,
    Data,
    Ehlo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTls,
    Vrfy,
)
from govmail.wire.smtp_data import ChunkCounter, DataDecoder, Fault

if TYPE_CHECKING:
    from govmail.smtp.session import Session, Transaction


async def ehlo(session: Session, command: Ehlo) -> Reply:
    await session.reset()  # RFC 5321 §4.1.4
    session.helo = command
    if not command.regular:
        session.log.info("smtp.odd_name", name=command.name)
    return replies.hello(session.services.hostname, session.keywords() if command.extended else ())


async def mail(session: Session, command: Mail) -> Reply:
    if session.helo is None:
        return replies.HELLO_FIRST
    if session.transaction is not None:
        return replies.NESTED_MAIL
    if session.submission:
        if session.principal is None:
            return replies.LOGIN_NEEDED if session.auth_offered else replies.TLS_NEEDED
        policy.check_sender(command.path, session.principal)
    if command.size is not None and command.size > session.limits.message_octets:  # RFC 1870 §6.1
        raise MessageTooBig
    if not session.services.budget.room(command.size or 0):
        raise Busy
    session.begin(command)
    return replies.SENDER_OK


async def rcpt(session: Session, command: Rcpt) -> Reply:
    transaction = session.transaction
    if transaction is None:
        return replies.MAIL_FIRST
    if len(transaction.recipients) >= session.limits.smtp_recipients:
        return replies.TOO_MANY_RECIPIENTS
    address = command.address or await _postmaster(session)
    if not (address.ascii or transaction.mail.smtputf8):
        return replies.EAI_RECIPIENT
    resolution = await session.services.resolver.resolve(address)
    policy.check_recipient(resolution, may_relay=session.principal is not None)
    # Not at submission: mail clients take a refused recipient for the end of the whole mail
    size = transaction.mail.size
    if size is not None and session.principal is None and session.services.full.refuses(resolution, size):
        raise OverQuota
    transaction.recipients.append(Recipient(address, command.notify, command.orcpt))
    transaction.resolutions.append(resolution)
    return replies.RECIPIENT_OK


async def _postmaster(session: Session) -> Address:
    """RFC 5321 §4.5.1: the one of the nearest local domain at or above our own name."""
    domain = session.services.hostname
    while "." in domain and not await session.services.resolver.is_local_domain(domain):
        domain = domain.partition(".")[2]
    return Address("postmaster", domain if "." in domain else session.services.hostname)


async def data(session: Session, _command: Data) -> Reply:
    transaction = session.transaction
    if transaction is None:
        return replies.MAIL_FIRST
    if transaction.intake is not None:
        return replies.MIXED_DATA
    if not transaction.recipients:
        return replies.RCPT_FIRST
    if transaction.mail.body is Body.BINARYMIME:
        await session.reset()
        return replies.BINARY_BY_DATA
    session.put(replies.START_DATA)
    transaction.intake = intake = session.new_intake()
    decoder = DataDecoder(session.new_line_ends())
    started = session.wire.time()
    octets = session.take_input()
    while True:
        if octets:
            await _add(intake, decoder.feed(octets))
            if decoder.done:
                break
        octets = await session.receive_data(started)
    session.put_back(decoder.rest)
    _judge(intake, decoder.faults)
    session.transaction = None
    return await session.accept(transaction, intake)


async def bdat(session: Session, command: Bdat) -> Reply:
    transaction = session.transaction
    if transaction is None or not transaction.recipients:
        await _read_chunk(session, command, None, None)
        return replies.MAIL_FIRST if transaction is None else replies.RCPT_FIRST
    if transaction.intake is None:
        transaction.intake = session.new_intake()
        transaction.started = session.wire.time()
        if transaction.mail.body is not Body.BINARYMIME:
            transaction.line_ends = session.new_line_ends()
    intake = transaction.intake
    await _read_chunk(session, command, transaction, intake)
    if not command.last and intake.fault is None:
        return replies.chunk(command.size)
    session.transaction = None  # after a refused chunk the ones that follow find no mail: RFC 3030 §2
    if transaction.line_ends is not None:
        transaction.line_ends.close()
        _judge(intake, transaction.line_ends.faults)
    return await session.accept(transaction, intake)


async def _read_chunk(session: Session, command: Bdat, transaction: Transaction | None, intake: Intake | None) -> None:
    counter = ChunkCounter(command.size)
    started = session.wire.time() if transaction is None else transaction.started
    octets = session.take_input()
    while True:
        octets, rest = counter.take(octets)
        if intake is not None and transaction is not None:
            await _add(intake, octets if transaction.line_ends is None else transaction.line_ends.feed(octets))
        if not counter.left:
            session.put_back(rest)
            return
        octets = await session.receive_data(started)


async def _add(intake: Intake, octets: bytes) -> None:
    if intake.add(octets):
        try:
            await intake.flush()
        except OSError as error:  # a full disk refuses this mail, it does not break the dialogue
            intake.refuse(Busy(private=f"spool: {error}"))


def _judge(intake: Intake, faults: Fault) -> None:
    if faults is Fault.NONE:
        return
    if faults & (Fault.BARE_CR | Fault.BARE_LF):
        intake.refuse(BadLineEnding())
    elif faults & Fault.LONG_LINE:
        intake.refuse(BadMessage("the message holds a line that is too long"))
    elif faults & Fault.NUL:
        intake.refuse(BadMessage("the message holds NUL octets"))


async def rset(session: Session, _command: Rset) -> Reply:
    await session.reset()
    return replies.OK


async def noop(_session: Session, _command: Noop) -> Reply:
    return replies.OK


async def quit_(session: Session, _command: Quit) -> Reply:
    session.over = True
    return replies.BYE


async def vrfy(_session: Session, _command: Vrfy) -> Reply:
    return replies.CANNOT_VERIFY  # RFC 5321 §7.3: we tell nobody who is here


async def help_(_session: Session, _command: Help) -> Reply:
    return replies.HELP


async def starttls(session: Session, _command: StartTls) -> Reply | None:
    if session.wire.tls is not None:
        return replies.TLS_ACTIVE
    if not session.starttls_offered:
        return replies.NOT_OFFERED
    await session.reset()
    session.put(replies.READY_FOR_TLS)
    await session.start_tls()
    return None


# -- AUTH ---------------------------------------------------------------------------------------------------------


async def auth(session: Session, command: Auth) -> Reply:
    if not session.submission:
        return replies.NOT_OFFERED
    if session.principal is not None:
        return replies.LOGGED_IN_ALREADY
    if session.transaction is not None:
        return replies.AUTH_IN_MAIL
    if not session.auth_offered:
        return replies.TLS_FOR_LOGIN
    if session.helo is None:
        return replies.HELLO_FIRST
    proofs = session.services.proofs
    exchange = begin(command.mechanism, session.means, proofs, session.wire.tls_object)
    if exchange is None:
        return replies.UNKNOWN_MECHANISM
    attempt = Login(session.services.authenticator, proofs, session.wire.peer_ip)
    try:
        session.principal = await attempt.run(exchange, command.initial, partial(_ask, session))
    except sasl.Cancelled:
        return replies.LOGIN_CANCELLED
    except AuthenticationFailed:
        session.auth_failures += 1
        session.log.warning("smtp.login_failed", login=attempt.name, failures=session.auth_failures)
        if session.auth_failures >= session.limits.smtp_auth_failures:
            return replies.TOO_MANY_LOGINS
        raise
    except DirectoryUnavailable:
        return replies.LOGIN_UNAVAILABLE
    session.login = attempt.name
    session.wire.logged_in(session.principal.directory_id)
    session.log = session.log.bind(login=attempt.name)
    session.log.info("smtp.login", directory_id=session.principal.directory_id, tls=session.wire.tls)
    return replies.LOGGED_IN


async def _ask(session: Session, challenge: bytes) -> bytes:
    session.put(replies.challenge(challenge.decode("ascii")))
    line = await session.read_line()
    if line is None or line == b"*":
        raise sasl.Cancelled
    return line


VERBS: dict[type, Callable[[Any, Any], Awaitable[Reply | None]]] = {
    Ehlo: ehlo,
    Mail: mail,
    Rcpt: rcpt,
    Data: data,
    Bdat: bdat,
    Rset: rset,
    Noop: noop,
    Quit: quit_,
    Vrfy: vrfy,
    Help: help_,
    StartTls: starttls,
    Auth: auth,
}
