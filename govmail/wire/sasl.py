"""What SASL mechanisms are made of: base64, fields, and what a mechanism may ask the server; shared by SMTP and IMAP.

Invariants: whatever comes in, the outcome is a value or SyntaxProblem; an empty password and NUL inside a field never
reach an authenticator (RFC 4513 §5.1.2: an empty password would be an anonymous bind).

RFC 4616 (PLAIN), RFC 4422 (SASL), draft-murchison-sasl-login (LOGIN), RFC 4648 §4 (base64).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from govmail.errors import SyntaxProblem
from govmail.interfaces import Principal

RESPONSE_OCTETS = 12_288  # base64 text of one response, RFC 4954 §4
FIELD_OCTETS = 1024  # authzid, login, password each; RFC 4616 §2 has 255 characters


class Cancelled(SyntaxProblem):
    """The client has answered a challenge with "*"."""

    text = "authentication cancelled"


# -- what a mechanism knows and asks ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """The connection as a mechanism sees it."""

    binding: bytes = b""  # tls-server-end-point (RFC 5929 §4) where SCRAM-SHA-256-PLUS is offered, else empty
    names: tuple[str, ...] = ()  # addresses in the client's verified certificate
    nonce: str = field(default="", repr=False)  # the server's, fresh for each exchange; printable ASCII without ","


@dataclass(frozen=True, slots=True)
class Password:
    """Is this the password? Answered with a Principal."""

    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a SCRAM proof of this login is checked against. Answered with (sasl_scram.Verifier, Principal or None)."""

    login: str


@dataclass(frozen=True, slots=True)
class Token:
    """Whose is this bearer token? `login` "": whoever it names. Answered with a Principal."""

    login: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who has one of these addresses? `login` "": they must all be one person's. Answered with a Principal."""

    names: tuple[str, ...]
    login: str


Question = Password | Keys | Token | Certificate
Exchange = Generator[bytes | Question, Any, Principal]
"""A mechanism at work: see `sasl_mechanisms`."""


# -- fields -------------------------------------------------------------------------------------------------------


def decode_base64(line: bytes) -> bytes:
    """The octets in a base64 response line without its line end; "=" alone is the empty response (RFC 4954 §4)."""
    if len(line) > RESPONSE_OCTETS:
        raise SyntaxProblem("authentication response too long")
    if line == b"=":
        return b""
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SyntaxProblem("bad base64") from error


def decode_plain(response: bytes) -> tuple[str, str, str]:
    """(authzid, login, password) of a PLAIN response, already decoded from base64.

    message = [authzid] UTF8NUL authcid UTF8NUL passwd (RFC 4616 §2). Raises SyntaxProblem.
    """
    fields = response.split(b"\0")
    if len(fields) != 3:
        raise SyntaxProblem("bad PLAIN response")
    authzid, login, password = fields
    return _text(authzid, "authorization identity"), decode_login(login), decode_password(password)


def decode_login(field: bytes) -> str:
    """A login name as sent by AUTH LOGIN or IMAP LOGIN. Raises SyntaxProblem."""
    if not field:
        raise SyntaxProblem("empty login name")
    return _text(field, "login name")


def decode_password(field: bytes) -> str:
    """A password as sent by AUTH LOGIN or IMAP LOGIN. Raises SyntaxProblem."""
    if not field:
        raise SyntaxProblem("empty password")
    return _text(field, "password")


def _text(field: bytes, name: str) -> str:
    if len(field) > FIELD_OCTETS:
        raise SyntaxProblem(f"{name} too long")
    if b"\0" in field:
        raise SyntaxProblem(f"NUL in {name}")
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem(f"{name} is not UTF-8") from None
