"""SASL mechanisms as state machines without I/O: a generator each, and the table of their names.

A mechanism yields octets for the client (a challenge; what the client answers is sent in), or a question for the server
(its answer is sent in, or AuthenticationFailed thrown), and returns who has logged in. `govmail.login` runs them.

Invariants: nobody acts for another – an authorization identity is empty or the login itself; whatever the client says,
the outcome is a Principal, SyntaxProblem or AuthenticationFailed; a mechanism that was not offered cannot be run.

RFC 4422 (SASL, EXTERNAL in appendix A), RFC 4616 (PLAIN), draft-murchison-sasl-login (LOGIN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from govmail.errors import AuthenticationFailed
from govmail.interfaces import Principal
from govmail.wire import sasl, sasl_bearer, sasl_scram
from govmail.wire.sasl import Certificate, Channel, Exchange, Password


def plain(_channel: Channel) -> Exchange:
    identity, login, password = sasl.decode_plain((yield b""))
    if identity not in ("", login):
        raise AuthenticationFailed(private="authorization identity differs")
    principal: Principal = yield Password(login, password)
    return principal


def login(_channel: Channel) -> Exchange:
    name = sasl.decode_login((yield b"Username:"))
    principal: Principal = yield Password(name, sasl.decode_password((yield b"Password:")))
    return principal


def external(channel: Channel) -> Exchange:
    """The client's certificate says who it is; the response, when there is one, which of its names is meant."""
    identity = yield b""
    if not channel.names:
        raise AuthenticationFailed(private="no client certificate with an address")
    principal: Principal = yield Certificate(channel.names, sasl.decode_login(identity) if identity else "")
    return principal


@dataclass(frozen=True, slots=True)
class Means:
    """What listener and directory can do."""

    scram: bool = False  # the directory has keys
    binding: bool = False  # the listener binds SCRAM to its certificate
    bearer: bool = False  # there is an issuer of tokens
    certificate: bool = False  # the listener asks for client certificates

    @property
    def in_clear(self) -> Means:
        """Without TLS: nothing to bind to, no certificate."""
        return replace(self, binding=False, certificate=False)


NO_MEANS = Means()


@dataclass(frozen=True, slots=True)
class Mechanism:
    rfc: str
    start: Callable[[Channel], Exchange]
    fits: Callable[[Means], bool] = lambda _: True


# The strongest first: clients without an opinion take the first one that they know. PLAIN stands before LOGIN for them.
MECHANISMS: Mapping[str, Mechanism] = {
    "EXTERNAL": Mechanism("RFC 4422 §A", external, lambda means: means.certificate),
    "SCRAM-SHA-256-PLUS": Mechanism("RFC 7677 §3", sasl_scram.scram_plus, lambda means: means.scram and means.binding),
    "SCRAM-SHA-256": Mechanism("RFC 7677 §3", sasl_scram.scram, lambda means: means.scram),
    "OAUTHBEARER": Mechanism("RFC 7628 §3", sasl_bearer.oauthbearer, lambda means: means.bearer),
    "XOAUTH2": Mechanism("RFC 7628 §1", sasl_bearer.xoauth2, lambda means: means.bearer),
    "PLAIN": Mechanism("RFC 4616 §2", plain),
    "LOGIN": Mechanism("RFC 4422 §3", login),
}


def offered(means: Means) -> tuple[str, ...]:
    """Names to announce on a connection where logins are allowed."""
    return tuple(name for name, mechanism in MECHANISMS.items() if mechanism.fits(means))


def start(name: str, means: Means, channel: Channel) -> Exchange | None:
    """The mechanism of this name (in any case) at work; None when it is not offered here."""
    mechanism = MECHANISMS.get(name.upper())
    return mechanism.start(channel) if mechanism is not None and mechanism.fits(means) else None
