"""Commands about the connection: CAPABILITY, NOOP, LOGOUT, ID, STARTTLS, COMPRESS.

RFC 3501 §6.1, §6.2.1; RFC 2971 (ID); RFC 4978 (COMPRESS).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from govmail.imap import capabilities, quirks
from govmail.imap.compress import Deflated, Inflating
from govmail.imap.state import OK, Disconnected, Result
from govmail.wire.imap import commands, responses

if TYPE_CHECKING:
    from govmail.imap.session import Session

log = structlog.get_logger()

LOGGED_ID_FIELDS = ("name", "version", "os", "os-version", "vendor")
LOGGED_OCTETS = 100


async def capability(session: Session, command: commands.Bare, tag: bytes) -> Result:
    session.write(b"* " + session.server.capability(session) + b"\r\n")
    return OK


async def noop(session: Session, command: commands.Bare, tag: bytes) -> Result:
    return OK


async def logout(session: Session, command: commands.Bare, tag: bytes) -> None:
    await session.leave_mailbox()
    session.write(responses.untagged(b"BYE", "good bye"))
    session.write(responses.tagged(tag, b"OK", "LOGOUT completed"))
    session.close()


async def identify(session: Session, command: commands.Id, tag: bytes) -> Result:
    """Name and version of clients are worth a log line: reports of trouble begin with them."""
    told = {name: value[:LOGGED_OCTETS] for name, value in command.pairs if name in LOGGED_ID_FIELDS}
    if told:
        log.info("imap.client", peer=session.peer, client=told)
    session.write(b'* ID ("name" "govmail")\r\n')
    unfit = quirks.unfit(command.pairs)
    if not unfit <= session.without:  # what was announced before must not stand
        session.without = capabilities.with_dependents(session.without | unfit)
        session.write(b"* " + session.server.capability(session) + b"\r\n")
    return OK


async def starttls(session: Session, command: commands.Bare, tag: bytes) -> Result | None:
    """RFC 3501 §6.2.1. Whatever came in clear after the command is thrown away: it may be an attacker's."""
    context = session.port.starttls
    if session.tls or context is None or isinstance(session.transport, Deflated):
        return Result(b"BAD", "TLS is not available here")
    session.write(responses.tagged(tag, b"OK", "begin TLS negotiation now"))
    await session.flush()
    session.framer.discard()
    try:
        transport = await asyncio.get_running_loop().start_tls(
            session.transport, session, context, server_side=True, ssl_handshake_timeout=session.server.limits.tls_handshake_seconds
        )
    except (OSError, asyncio.IncompleteReadError) as error:
        log.info("imap.tls_failed", peer=session.peer, error=str(error))
        session.transport.abort()
        raise Disconnected from error
    if transport is None:
        raise Disconnected
    session.use_transport(transport)
    session.tls = True
    return None


async def compress(session: Session, command: commands.Compress, tag: bytes) -> Result | None:
    """RFC 4978 §3. After login only, so that strangers cost no memory. What came after the command in clear is thrown away."""
    if command.mechanism != "DEFLATE":
        return Result(b"NO", "only DEFLATE")
    if isinstance(session.transport, Deflated):
        return Result(b"NO", "already compressed", b"COMPRESSIONACTIVE")
    session.write(responses.tagged(tag, b"OK", "DEFLATE active"))
    await session.flush()
    session.framer.discard()
    below = session.transport
    below.set_protocol(Inflating(below, session))
    session.use_transport(Deflated(below))
    return None
