"""Runs a SASL mechanism for either protocol: its challenges go to the client, its questions to the directory.

Invariants: what a mechanism is told comes from the connection and from the directory, never from the client; a refusal
by the directory reaches the mechanism first, which may have a last word for the client.

RFC 4422 §3, RFC 4954 §4, RFC 3501 §6.2.2.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from govmail.config import Listener
from govmail.errors import AuthenticationFailed, SyntaxProblem
from govmail.interfaces import Authenticator, Principal
from govmail.wire import sasl, sasl_mechanisms
from govmail.wire.sasl import Certificate, Channel, Exchange, Keys, Password, Question, Token
from govmail.wire.sasl_mechanisms import Means
from govmail.wire.sasl_scram import Verifier

CERTIFICATE_NAMES = 16  # addresses looked at in one certificate


class Proofs(Protocol):
    """Logins by something else than the password itself: `directory.proofs`. All raise DirectoryUnavailable."""

    scram: bool
    bearer: bool
    end_point: bytes  # hash of the server's certificate (RFC 5929 §4)

    async def keys(self, login: str) -> tuple[Verifier, Principal | None]:
        """What a proof is checked against. None: nobody, whatever the proof says; the keys look like anybody's."""

    async def token(self, login: str, token: str) -> Principal:
        """Whose token this is. Raises AuthenticationFailed."""

    async def certificate(self, names: Sequence[str], login: str) -> Principal:
        """Whose addresses these are. Raises AuthenticationFailed."""


def means_of(listener: Listener, proofs: Proofs | None) -> Means:
    """What can be offered on a listener's encrypted connections."""
    if proofs is None:
        return Means()
    return Means(proofs.scram, listener.channel_binding and bool(proofs.end_point), proofs.bearer, bool(listener.client_ca_file))


def begin(mechanism: str, means: Means, proofs: Proofs | None, tls: Any) -> Exchange | None:
    """The mechanism at work on this connection; None when it is not offered here. `tls`: its ssl object, None in clear."""
    here = means if tls is not None else means.in_clear
    binding = proofs.end_point if proofs is not None and here.binding else b""
    names = _names(tls) if here.certificate else ()
    return sasl_mechanisms.start(mechanism, here, Channel(binding, names, secrets.token_urlsafe(24)))


def _names(tls: Any) -> tuple[str, ...]:
    if tls.session_reused:  # the certificate was verified then, not now: it may have been revoked since
        return ()
    # getpeercert is empty for a certificate that was not verified; rfc822Name as in RFC 5280 §4.2.1.6
    certificate = tls.getpeercert() or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    return tuple(names[:CERTIFICATE_NAMES])


class Login:
    """One attempt to log in. `name`: as the client gave it, for the log; "" until then."""

    def __init__(self, authenticator: Authenticator, proofs: Proofs | None, source_ip: str) -> None:
        self.name = ""
        self._authenticator = authenticator
        self._proofs = proofs
        self._source_ip = source_ip

    async def password(self, login: str, password: str) -> Principal:
        self.name = login
        return await self._authenticator.authenticate(login, password, self._source_ip)

    async def run(self, exchange: Exchange, initial: bytes | None, ask: Callable[[bytes], Awaitable[bytes]]) -> Principal:
        """Who has logged in. `initial`: base64 of an initial response; `ask`: sends a challenge, base64, and brings the response.

        Raises AuthenticationFailed, SyntaxProblem, and what authenticator, proofs and `ask` raise.
        """
        event = next(exchange)
        refusal: AuthenticationFailed | None = None
        while True:
            try:
                if isinstance(event, bytes):
                    response = initial if initial is not None else await ask(base64.b64encode(event))
                    initial = None
                    event = exchange.send(sasl.decode_base64(response))
                else:
                    try:
                        answer = await self._answer(event)
                    except AuthenticationFailed as error:
                        refusal = error
                        event = exchange.throw(error)
                    else:
                        event = exchange.send(answer)
            except SyntaxProblem:
                if refusal is not None:  # cancelling afterwards does not make the failure undone
                    raise refusal from None
                raise
            except StopIteration as end:
                principal: Principal = end.value
                self.name = self.name or principal.primary
                return principal

    async def _answer(self, question: Question) -> object:
        if isinstance(question, Password):
            return await self.password(question.login, question.password)
        self.name = question.login
        if self._proofs is None:
            raise AuthenticationFailed
        match question:
            case Keys(login):
                return await self._proofs.keys(login)
            case Token(login, token):
                return await self._proofs.token(login, token)
            case Certificate(names, login):
                return await self._proofs.certificate(names, login)
