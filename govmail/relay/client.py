"""One SMTP session with another server: a message to its recipients, one Answer for each.

Invariants
- Every recipient gets exactly one answer, or stays in `Session.pending` when the server as a whole failed.
- No bare CR, no bare LF and no unstuffed dot leaves, whatever the message holds (SMTP smuggling).
- Every wait has a timeout of the configuration; a message is sent in pieces and never loaded whole.
- After the final dot a lost connection is a temporary failure, not a reason to try the next server: the message may have
  been taken (RFC 5321 §4.5.3.2.6, §6.1 on duplicates).

RFC 5321, RFC 1870 (SIZE), RFC 3207 and 7435 (opportunistic TLS), RFC 3461 (DSN), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import aiosmtplib
from aiosmtplib.response import SMTPResponse

from govmail.config import Queue
from govmail.mail.address import Path
from govmail.mail.dsn import utf8_xtext
from govmail.mail.envelope import Body, Recipient
from govmail.relay.outcome import Answer, Outcome, Result, from_reply, ours
from govmail.relay.route import Endpoint
from govmail.wire.smtp import Command, Data, Ehlo, Mail, Rcpt, Rset, print_command

_QUIT_SECONDS = 5.0


Pieces = Callable[[], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True)
class Shipment:
    """What is to be sent. `open` gives the octets from the start, as often as it is called, in pieces of moderate size.

    `open_seven_bit` gives them re-encoded for a server without 8BITMIME (RFC 6152 §3); None where that would break a
    signature.
    """

    sender: Path
    recipients: tuple[Recipient, ...]
    size: int
    open: Pieces
    open_seven_bit: Pieces | None = None
    eight_bit: bool = False  # the body holds octets above 127
    utf8_header: bool = False  # the header does: RFC 6532, needs SMTPUTF8
    ret_full: bool | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """For a smarthost. The password is only sent under TLS that was verified, or to a loopback address."""

    user: str
    password: str


class _ServerFailed(Exception):
    """The server as a whole cannot be used now; others may."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


class _TlsBroken(Exception):
    """The handshake failed; the connection is lost, a new one may do without (RFC 7435 §3)."""


@cache
def _tls_context(*, verified: bool, ca_file: str = "") -> ssl.SSLContext:
    """Verified where a password goes or the configuration says so; else any certificate is better than none (RFC 7435 §3).

    Made once: reading the machine's CA certificates costs tens of milliseconds, on the event loop. Raises OSError.
    """
    if verified:
        return ssl.create_default_context(cafile=ca_file or None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: BaseException) -> str:
    """What OpenSSL says, which aiosmtplib wraps."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate not valid: {cause.verify_message}"
    return str(cause or error)


class Session:
    """An attempt at one endpoint. Use: `await Session(…).run(shipment, recipients)`; then read `outcomes`, `pending`, `failure`."""

    def __init__(
        self, endpoint: Endpoint, queue: Queue, *, hostname: str, login: Login | None = None, tls: bool = True, ca_file: str = ""
    ) -> None:
        """`ca_file`: certificates that a verified smarthost is believed by; "" = the machine's."""
        self.endpoint = endpoint
        self.outcomes: list[Outcome] = []
        self.pending: list[Recipient] = []
        self.failure: Answer | None = None  # why recipients are still pending
        self._queue = queue
        self._hostname = hostname
        self._login = login
        self._tls = tls
        self._ca_file = ca_file
        self._demanded = bool(queue.smarthost) and queue.smarthost_tls == "verified"  # TLS with a valid certificate, or no mail
        self._client: aiosmtplib.SMTP | None = None

    async def run(self, shipment: Shipment, recipients: Sequence[Recipient]) -> None:
        """Send to as many of `recipients` as the server takes. Never raises for what the server does."""
        self.pending = list(recipients)
        try:
            try:
                await self._open(self._tls)
            except _TlsBroken as broken:
                self._close()
                if self._verified:
                    raise _ServerFailed(ours("4.7.5", f"TLS with the smarthost: {broken}", self.endpoint.mta)) from broken
                await self._open(False)
            while self.pending:
                before = len(self.pending)
                await self._transaction(shipment)
                if len(self.pending) == before:
                    break
            await self._quit()
        except _ServerFailed as failed:
            self.failure = failed.answer
        except TimeoutError:
            self.failure = ours("4.4.2", "the server did not answer in time", self.endpoint.mta)
        except OSError as error:  # aiosmtplib.SMTPServerDisconnected is one
            self.failure = ours("4.4.2", f"connection lost: {error}", self.endpoint.mta)
        except aiosmtplib.SMTPException as error:  # "Malformed SMTP response line" and the like
            self.failure = ours("4.5.0", f"not SMTP: {error}", self.endpoint.mta)
        finally:
            self._close()

    # -- the connection ----------------------------------------------------------------------------------------

    async def _open(self, tls: bool) -> None:
        await self._connect()
        await self._greet()
        if not self._encrypted and tls and self._smtp.supports_extension("starttls"):
            await self._start_tls()
        if self._demanded and not self._encrypted:
            raise _ServerFailed(ours("4.7.4", "the smarthost offers no TLS, without which it gets no mail", self.endpoint.mta))
        if self._login is not None:
            await self._authenticate(self._login)

    async def _connect(self) -> None:
        """TCP connect and the greeting."""
        address, port = self.endpoint.address, self.endpoint.port
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(self._queue.connect_seconds):
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except TimeoutError as error:
            connection.close()
            raise _ServerFailed(ours("4.4.1", "connection timed out", self.endpoint.mta)) from error
        except OSError as error:
            connection.close()
            raise _ServerFailed(ours("4.4.1", f"no connection: {error.strerror or error}", self.endpoint.mta)) from error
        implicit = port == 465  # RFC 8314 §3.3
        self._client = aiosmtplib.SMTP(
            hostname=self.endpoint.host.strip("[]"), sock=connection, use_tls=implicit, start_tls=False,
            tls_context=self._context(), local_hostname=self._hostname, timeout=self._queue.command_seconds,
        )  # fmt: skip
        try:
            await self._client.connect()
        except aiosmtplib.SMTPConnectResponseError as error:
            raise _ServerFailed(self._answer(SMTPResponse(error.code, error.message))) from error

    async def _greet(self) -> None:
        response = await self._command(Ehlo(self._hostname))
        if response.code == 250:
            self._smtp.last_ehlo_response = response
            return
        if response.code // 100 == 5:
            response = await self._command(Ehlo(self._hostname, extended=False))
        if response.code != 250:
            raise _ServerFailed(self._answer(response))

    async def _start_tls(self) -> None:
        try:
            await self._smtp.starttls(
                server_hostname=self.endpoint.host.strip("[]"), tls_context=self._context(), timeout=self._queue.command_seconds
            )
        except aiosmtplib.SMTPResponseException:
            return  # refused, in clear we go on (RFC 3207 §4); what needs TLS checks for it
        except (OSError, aiosmtplib.SMTPException) as error:  # ssl.SSLError is an OSError
            raise _TlsBroken(_reason(error)) from error
        await self._greet()  # RFC 3207 §4.2: what was said before does not count

    def _context(self) -> ssl.SSLContext:
        return _tls_context(verified=True, ca_file=self._ca_file) if self._verified else _tls_context(verified=False)

    @property
    def _verified(self) -> bool:
        return self._demanded or (self._login is not None and not self._loopback)

    async def _authenticate(self, login: Login) -> None:
        if not self._encrypted and not self._loopback:
            raise _ServerFailed(ours("4.7.0", "the smarthost offers no TLS, so no password is sent", self.endpoint.mta))
        try:
            await self._smtp.login(login.user, login.password, timeout=self._queue.command_seconds)
        except aiosmtplib.SMTPAuthenticationError as error:
            # The operator's mistake: the mail waits until it is mended
            text = self._answer(SMTPResponse(error.code, error.message)).text
            raise _ServerFailed(ours("4.7.8", f"the smarthost refuses our login: {text}", self.endpoint.mta)) from error
        except aiosmtplib.SMTPException as error:
            raise _ServerFailed(ours("4.7.0", f"no login at the smarthost: {error}", self.endpoint.mta)) from error

    async def _quit(self) -> None:
        """Politely, but nobody's outcome depends on it."""
        try:
            await self._smtp.execute_command(b"QUIT", timeout=_QUIT_SECONDS)
        except (OSError, aiosmtplib.SMTPException):
            pass

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def _smtp(self) -> aiosmtplib.SMTP:
        if self._client is None:
            raise ConnectionError("not connected")
        return self._client

    @property
    def _encrypted(self) -> bool:
        return self._smtp.get_transport_info("sslcontext") is not None

    @property
    def _loopback(self) -> bool:
        return ipaddress.ip_address(self.endpoint.address).is_loopback

    # -- commands and answers ----------------------------------------------------------------------------------

    async def _command(self, command: Command) -> SMTPResponse:
        """One command, one reply. 421 ends the session, whatever was asked (RFC 5321 §3.8)."""
        response = await self._smtp.execute_command(print_command(command), timeout=self._queue.command_seconds)
        if response.code == 421:
            raise _ServerFailed(self._answer(response))
        return response

    def _answer(self, response: SMTPResponse, *, dsn_passed: bool = False) -> Answer:
        # aiosmtplib hides octets that are not UTF-8 as surrogates; here they come back
        octets = response.message.encode("utf-8", "surrogateescape")
        return from_reply(response.code, octets, self.endpoint.mta, dsn_passed=dsn_passed)

    def _settle(self, recipients: Sequence[Recipient], answer: Answer) -> None:
        done = set(map(id, recipients))
        self.pending = [one for one in self.pending if id(one) not in done]
        self.outcomes += [answer.for_(one) for one in recipients]

    # -- the transaction ---------------------------------------------------------------------------------------

    async def _transaction(self, shipment: Shipment) -> None:
        """MAIL, RCPT for all who are pending, DATA. Those that the server finds too many for one transaction stay pending."""
        if not self._possible(shipment):
            return
        response = await self._command(self._mail(shipment))
        if response.code // 100 != 2:
            answer = self._answer(response)
            if answer.result is Result.PERMANENT:
                self._settle(self.pending, answer)
                return
            raise _ServerFailed(answer)
        accepted = await self._recipients()
        if not accepted:
            await self._command(Rset())
            return
        await self._data(shipment, accepted)

    def _possible(self, shipment: Shipment) -> bool:
        """Settles who cannot be served here, by what EHLO said; whether anybody is left."""
        limit = self._smtp.esmtp_extensions.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < shipment.size:  # RFC 1870 §4: 0 or nothing means no fixed limit
            text = f"the message has {shipment.size} octets, the server takes {limit}"
            self._settle(self.pending, ours("5.3.4", text, self.endpoint.mta))
        elif shipment.eight_bit and shipment.open_seven_bit is None and not self._smtp.supports_extension("8bitmime"):
            text = "the server takes seven-bit mail only, and re-encoding would break the message's signature"
            self._settle(self.pending, ours("5.6.3", text, self.endpoint.mta))
        elif not self._smtp.supports_extension("smtputf8"):
            # RFC 6531 §3.2, item 4: no way to rewrite an address or a header
            answer = ours("5.6.7", "the server does not support internationalised addresses (SMTPUTF8)", self.endpoint.mta)
            sender = shipment.sender.address
            if shipment.utf8_header or (sender is not None and not sender.ascii):
                self._settle(self.pending, answer)
            self._settle([one for one in self.pending if not one.address.ascii], answer)
        return bool(self.pending)

    def _mail(self, shipment: Shipment) -> Mail:
        """MAIL with the parameters that the server knows."""
        offers = self._smtp.supports_extension
        sender = shipment.sender.address
        addresses = [one.address for one in self.pending] + ([sender] if sender else [])
        return Mail(
            shipment.sender,
            size=shipment.size if offers("size") else None,
            body=Body.EIGHTBITMIME if shipment.eight_bit and offers("8bitmime") else Body.SEVENBIT,
            smtputf8=shipment.utf8_header or not all(address.ascii for address in addresses),
            ret_full=shipment.ret_full if offers("dsn") else None,
            envid=shipment.envid if offers("dsn") else None,
        )

    async def _recipients(self) -> list[Recipient]:
        """RCPT for each who is pending; returns the accepted ones, who stay pending."""
        accepted: list[Recipient] = []
        temporary: list[tuple[Recipient, Answer]] = []
        for recipient in list(self.pending):
            response = await self._command(self._rcpt(recipient))
            if response.code in (250, 251):
                accepted.append(recipient)
                continue
            answer = self._answer(response)
            if answer.result is Result.PERMANENT:
                self._settle([recipient], answer)
            elif response.code == 452 and accepted:
                break  # too many recipients: the rest comes in the next transaction (RFC 5321 §4.5.3.1.10)
            else:
                temporary.append((recipient, answer))
        for recipient, answer in temporary:
            self._settle([recipient], answer)
        return accepted

    def _rcpt(self, recipient: Recipient) -> Rcpt:
        if not self._smtp.supports_extension("dsn"):
            return Rcpt(recipient.address)
        orcpt = recipient.orcpt
        if orcpt is not None and not orcpt.isascii():
            orcpt = utf8_xtext(orcpt)
        return Rcpt(recipient.address, recipient.notify, orcpt)

    async def _data(self, shipment: Shipment, accepted: Sequence[Recipient]) -> None:
        response = await self._command(Data())
        if response.code == 354:
            answer = await self._message(shipment)
        elif response.code // 100 == 2:
            answer = ours("4.5.0", f"the server answered DATA with {response.code}", self.endpoint.mta)
        else:
            answer = self._answer(response)
        self._settle(accepted, answer)

    async def _message(self, shipment: Shipment) -> Answer:
        """The message and the final dot. The reply is awaited meanwhile: a server may refuse before the end."""
        protocol, transport = self._smtp.protocol, self._smtp.transport
        if protocol is None or transport is None:
            raise ConnectionError("connection lost")
        dsn_passed = self._smtp.supports_extension("dsn")  # lost with the connection
        converts = shipment.eight_bit and not self._smtp.supports_extension("8bitmime")
        source = shipment.open_seven_bit if converts and shipment.open_seven_bit else shipment.open
        loop = asyncio.get_running_loop()
        writer = asyncio.StreamWriter(cast(asyncio.WriteTransport, transport), protocol, None, loop)
        stuffer = DotStuffer()
        reply = asyncio.ensure_future(protocol.read_response(timeout=None))
        try:
            await asyncio.sleep(0)  # the reader must stand before the first octet leaves
            async with aclosing(source()) as pieces:
                async for piece in pieces:
                    writer.write(stuffer.feed(piece))
                    await self._drained(writer, reply)
                    if reply.done():
                        break
                else:
                    writer.write(stuffer.end())
                    return await self._after_dot(reply, dsn_passed)
            answer = self._answer(await reply)
            self._close()  # in the middle of the data nothing else can be said on this connection
            return answer if answer.result is not Result.DELIVERED else ours("4.5.0", answer.text, self.endpoint.mta)
        finally:
            reply.cancel()

    async def _after_dot(self, reply: asyncio.Future[SMTPResponse], dsn_passed: bool) -> Answer:
        try:
            async with asyncio.timeout(self._queue.data_seconds):
                return self._answer(await reply, dsn_passed=dsn_passed)
        except OSError:  # a timeout or a lost connection
            self._close()
            return ours("4.4.2", "no answer to the end of data; the message may have been taken", self.endpoint.mta)

    async def _drained(self, writer: asyncio.StreamWriter, reply: asyncio.Future[SMTPResponse]) -> None:
        """Waits until more can be written, or the server has answered. Raises TimeoutError, ConnectionError."""
        drain = asyncio.ensure_future(writer.drain())
        try:
            either: set[asyncio.Future[Any]] = {drain, reply}
            await asyncio.wait(either, timeout=self._queue.command_seconds, return_when=asyncio.FIRST_COMPLETED)
            if drain.done():
                drain.result()
            elif not reply.done():
                raise TimeoutError
        finally:
            drain.cancel()


_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class DotStuffer:
    """Octets of a message to octets of DATA: dots at line starts doubled (RFC 5321 §4.5.2), every line end CR LF.

    Pieces may be cut anywhere. A bare CR or LF becomes a line end, so that no other server can read one as such while we
    did not.
    """

    def __init__(self) -> None:
        self._line_start = True
        self._cr = False  # the last octet was a CR; its LF may come with the next piece

    def feed(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        if self._cr:
            piece = b"\r" + piece
            self._cr = False
        if piece.endswith(b"\r"):
            piece = piece[:-1]
            self._cr = True
            if not piece:
                return b""
        if piece.count(b"\r\n") != piece.count(b"\n") or piece.count(b"\r\n") != piece.count(b"\r"):
            piece = _BARE.sub(b"\r\n", piece)
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        if self._line_start and piece.startswith(b"."):
            stuffed = b"." + stuffed
        self._line_start = piece.endswith(b"\n")
        return stuffed

    def end(self) -> bytes:
        """What closes the data: a line end where one is missing, and the dot."""
        return b".\r\n" if self._line_start and not self._cr else b"\r\n.\r\n"
