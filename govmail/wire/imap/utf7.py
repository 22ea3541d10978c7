"""Mailbox names in modified UTF-7.

Invariants: decode(encode(name)) = name for every text without surrogates; `decode` takes only what `encode` could have
made, so that a mailbox has one name on the wire. Characters beyond the BMP (䶮 is inside, 𬭊 beyond) travel as surrogate pairs.

RFC 3501 §5.1.3.
"""

from __future__ import annotations

import base64
import binascii
import re

from govmail.errors import SyntaxProblem

_PLAIN = re.compile(r"[\x20-\x25\x27-\x7e]*\Z")
_SHIFT = re.compile(r"[^\x20-\x7e]+|&")
_SHIFTED = re.compile(rb"&([^-&]*)-")  # "&" ends the search for an end: a name full of "&" would be searched again and again
_DIRECT = re.compile(rb"[\x20-\x25\x27-\x7e]*\Z")
_CODED = re.compile(rb"[A-Za-z0-9+,]+\Z")


def encode(name: str) -> bytes:
    """The name as IMAP4rev1 writes it. Raises SyntaxProblem for text that is not Unicode (lone surrogates)."""
    if _PLAIN.match(name):
        return name.encode("ascii")
    try:
        return _SHIFT.sub(_shift, name).encode("ascii")
    except UnicodeEncodeError:
        raise SyntaxProblem("mailbox name is not Unicode text") from None


def _shift(found: re.Match[str]) -> str:
    text = found[0]
    if text == "&":
        return "&-"
    coded = base64.b64encode(text.encode("utf-16-be"), b"+,")
    return "&" + coded.rstrip(b"=").decode("ascii") + "-"


def decode(octets: bytes) -> str:
    """The name in `octets`. Raises SyntaxProblem; UTF-8, which some clients send in spite of the standard, is read as such."""
    if not octets.isascii():
        # A quirk: clients that know UTF8=ACCEPT from elsewhere send UTF-8 without asking. No valid name has such octets.
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            raise SyntaxProblem("mailbox name is not modified UTF-7") from None
    if b"&" not in octets:
        if not _DIRECT.match(octets):
            raise SyntaxProblem("control character in mailbox name")
        return octets.decode("ascii")
    pieces: list[str] = []
    at = 0
    for found in _SHIFTED.finditer(octets):
        pieces.append(_direct(octets[at : found.start()]))
        pieces.append(_unshift(found[1]))
        at = found.end()
    pieces.append(_direct(octets[at:]))
    name = "".join(pieces)
    if encode(name) != octets:
        raise SyntaxProblem("mailbox name is not in canonical modified UTF-7")
    return name


def plain(octets: bytes) -> str:
    """The name in `octets` as a client writes it that has enabled UTF-8 (RFC 6855 §3). Raises SyntaxProblem."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("mailbox name is not UTF-8") from None


def _direct(octets: bytes) -> str:
    if not _DIRECT.match(octets):
        raise SyntaxProblem("bad modified UTF-7")
    return octets.decode("ascii")


def _unshift(coded: bytes) -> str:
    if not coded:
        return "&"
    if not _CODED.match(coded):
        raise SyntaxProblem("bad modified UTF-7")
    try:
        return base64.b64decode(coded + b"=" * (-len(coded) % 4), b"+,").decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise SyntaxProblem("bad modified UTF-7") from None
