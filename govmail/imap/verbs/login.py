"""LOGIN, AUTHENTICATE and UNAUTHENTICATE.

Invariants: no password is accepted in clear unless the listener allows it; a refusal never tells whether the login
exists; failures cost time and, after a few, the connection.

RFC 3501 §6.2.2, §6.2.3; RFC 4959 (SASL-IR); RFC 8437 (UNAUTHENTICATE). The mechanisms stand in `wire.sasl_mechanisms`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from govmail.errors import AuthenticationFailed, LimitReached
from govmail.imap import status
from govmail.imap.state import Disconnected, Result
from govmail.login import Login, begin
from govmail.store import accounts
from govmail.wire import sasl
from govmail.wire.imap import commands

if TYPE_CHECKING:
    from govmail.imap.session import Session
    from govmail.interfaces import Principal

log = structlog.get_logger()

IN_CLEAR = Result(b"NO", "use TLS first", b"PRIVACYREQUIRED")


async def login(session: Session, command: commands.Login, tag: bytes) -> Result:
    if not session.may_login:
        return IN_CLEAR
    attempt = _attempt(session)
    return await _enter(session, attempt, attempt.password(sasl.decode_login(command.login), sasl.decode_password(command.password)))


async def authenticate(session: Session, command: commands.Authenticate, tag: bytes) -> Result:
    if not session.may_login:
        return IN_CLEAR
    tls = session.transport.get_extra_info("ssl_object")
    exchange = begin(command.mechanism, session.port.means, session.server.proofs, tls)
    if exchange is None:
        return Result(b"NO", "mechanism not supported", b"CANNOT")
    attempt = _attempt(session)
    return await _enter(session, attempt, attempt.run(exchange, command.initial, partial(_ask, session)))


def _attempt(session: Session) -> Login:
    return Login(session.server.authenticator, session.server.proofs, session.peer)


async def _ask(session: Session, challenge: bytes) -> bytes:
    session.write(b"+ " + challenge + b"\r\n")
    response = await session.line(sasl.RESPONSE_OCTETS)
    if response == b"*":
        raise sasl.Cancelled  # RFC 3501 §6.2.2: BAD
    return response


async def _enter(session: Session, attempt: Login, authenticated: Awaitable[Principal]) -> Result:
    server = session.server
    try:
        principal = await authenticated
        account = await server.database.read(accounts.find, principal.directory_id)
        if account is not None and account.suspended:
            raise AuthenticationFailed
    except AuthenticationFailed:
        await _failed(session, attempt.name)
        raise
    if account is None or account.quota_octets != principal.quota_octets:
        account = await server.database.write(accounts.limit, principal.directory_id, principal.quota_octets, now=server.now())
    if not session.open:
        raise Disconnected
    if not server.claim(session, principal):
        raise LimitReached("too many connections of this account")
    session.enter(principal, account)
    log.info("imap.login", account=account.account_id, person=principal.directory_id, peer=session.peer, tls=session.tls)
    return Result(b"OK", "logged in", server.capability(session))


async def unauthenticate(session: Session, command: commands.Bare, tag: bytes) -> Result:
    """RFC 8437 §3: as after the greeting, so that a proxy may use the connection for somebody else."""
    await session.forget_login()
    return Result(b"OK", "", session.server.capability(session))


async def _failed(session: Session, name: str) -> None:
    session.failures += 1
    log.info("imap.login_failed", login=name[:200], peer=session.peer, failures=session.failures)
    await session.server.wheel.sleep(session.server.limits.imap_failure_seconds)
    if session.failures >= session.server.limits.imap_auth_failures:
        session.close(status.BYE_FAILURES)
        raise Disconnected
