"""OAUTHBEARER and XOAUTH2: a token of an issuer that the server trusts, instead of a password.

Invariants: a refused token is answered with the error challenge that the client expects, and the exchange fails after the
client's next response whatever that holds; the token itself is never repeated.

RFC 7628 (OAUTHBEARER), RFC 6750 §2.1 (the token); XOAUTH2 is what came before it and clients still speak.
"""

from __future__ import annotations

import re

from govmail.errors import AuthenticationFailed, SyntaxProblem
from govmail.interfaces import Principal
from govmail.wire.sasl import Channel, Exchange, Token, decode_login

SEPARATOR = b"\x01"
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)

INVALID_TOKEN = b'{"status":"invalid_token"}'  # RFC 7628 §3.2.2
XOAUTH2_REFUSED = b'{"status":"401","schemes":"bearer","scope":""}'


def oauthbearer(_channel: Channel) -> Exchange:
    header, separator, rest = (yield b"").partition(SEPARATOR)
    parts = header.split(b",")
    # gs2-header of RFC 5801 §4; "p=" would need a -PLUS mechanism, and there is none
    if not separator or len(parts) != 3 or parts[0] not in (b"n", b"y") or parts[2] or not (not parts[1] or parts[1].startswith(b"a=")):
        raise SyntaxProblem("bad OAUTHBEARER response")
    login = decode_login(parts[1][2:].replace(b"=2C", b",").replace(b"=3D", b"=")) if parts[1] else ""
    return (yield from _exchange(Token(login, _token(_pairs(rest))), INVALID_TOKEN))


def xoauth2(_channel: Channel) -> Exchange:
    pairs = _pairs((yield b""))
    return (yield from _exchange(Token(decode_login(pairs.get(b"user", b"")), _token(pairs)), XOAUTH2_REFUSED))


def _exchange(token: Token, refusal: bytes) -> Exchange:
    try:
        principal: Principal = yield token
        return principal
    except AuthenticationFailed as error:
        yield refusal
        raise error from None


def _pairs(text: bytes) -> dict[bytes, bytes]:
    r"""kvpairs: key "=" value, each ended by \x01, and one more \x01 (RFC 7628 §3.1)."""
    fields = text.split(SEPARATOR)
    if len(fields) < 3 or fields[-1] or fields[-2] or not all(b"=" in field for field in fields[:-2]):
        raise SyntaxProblem("bad bearer response")
    pairs = {key.lower(): value for key, _, value in (field.partition(b"=") for field in fields[:-2])}
    if len(pairs) != len(fields) - 2:
        raise SyntaxProblem("bad bearer response: a key given twice")
    return pairs


def _token(pairs: dict[bytes, bytes]) -> str:
    found = _BEARER.fullmatch(pairs.get(b"auth", b""))
    if found is None:
        raise SyntaxProblem("bad bearer response: no token")
    return found[1].decode("ascii")
