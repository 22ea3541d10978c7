"""Header fields for sending: encoded where they must be, folded, and never able to carry another field in.

Invariants
- A field is seven-bit, ends with CR LF, has no other CR or LF than its folds, and no line over 998 octets; lines stay
  within 78 where there is a blank to fold at (RFC 5322 §2.1.1).
- What `Header.text`, `addresses` and `parse_parameterised` read from it is what was put in, but for control
  characters, which become spaces.

RFC 5322 §2.2.3, RFC 2047, RFC 2231, RFC 2183.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime

from govmail.mail.header import encode_word, percent_encode

LINE_OCTETS = 78
LONGEST_OCTETS = 998
_CONTROL = re.compile("[\0-\x1f\x7f\ud800-\udfff\x80-\x9f\u2028\u2029]+")
_NEEDS_WORD = re.compile(r"=\?|[^\x20-\x7e]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`{|}~-]+\Z")


def clean(text: str) -> str:
    """The text without what could end a line or the header."""
    return _CONTROL.sub(" ", text)


def fold(name: str, value: bytes) -> bytes:
    """`name: value` with CR LF, folded at blanks. `value` is ASCII without line ends."""
    words = value.split(b" ")
    line = name.encode("ascii") + b":"
    lines: list[bytes] = []
    for word in words:
        # a line that is only blanks would end the header for careless readers: an empty word never starts one
        if len(line) + 1 + len(word) > LINE_OCTETS and word and line.strip() and not (not lines and line.endswith(b":")):
            lines.append(line)
            line = b" " + word
        else:
            line += b" " + word
    lines.append(line)
    out: list[bytes] = []
    for line in lines:
        while len(line) > LONGEST_OCTETS:  # no blank in 998 octets: RFC 5322 §2.1.1 allows no longer line
            out.append(line[: LONGEST_OCTETS - 1])
            line = b" " + line[LONGEST_OCTETS - 1 :]
        out.append(line)
    return b"\r\n".join(out) + b"\r\n"


def unstructured(name: str, text: str) -> bytes:
    """A field like Subject."""
    return fold(name, _text(clean(text).strip()))


def _text(text: str) -> bytes:
    if _NEEDS_WORD.search(text) or "  " in text or any(len(word) > 900 for word in text.split(" ")):
        return encode_word(text)
    return text.encode("ascii")


def display_name(text: str) -> bytes:
    """A phrase: atoms, a quoted string, or encoded words (RFC 2047 §5 forbids those inside quotes)."""
    text = clean(text).strip()
    if _NEEDS_WORD.search(text):
        return encode_word(text)
    if _ATOMS.match(text):
        return text.encode("ascii")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'


def address_list(name: str, addresses: Iterable[tuple[str, str]]) -> bytes:
    """A field like To from (display name, address) pairs.

    An address outside ASCII stays UTF-8 (RFC 6532): such a message needs SMTPUTF8.
    """
    out: list[bytes] = []
    for display, address in addresses:
        octets = clean(address).replace(" ", "").encode("utf-8", "replace")
        out.append(display_name(display) + b" <" + octets + b">" if display.strip() else octets)
    return fold(name, b", ".join(out))


def parameterised(name: str, value: str, params: Iterable[tuple[str, str]]) -> bytes:
    """A field like Content-Disposition.

    A parameter outside ASCII goes out twice: as an encoded word, which RFC 2047 forbids and many clients read, then in the
    form of RFC 2231, which the others read.
    """
    out = [value.encode("ascii", "replace")]
    for key, raw in params:
        text, ascii_key = clean(raw), key.encode("ascii")
        if _TOKEN.match(text):
            out.append(ascii_key + b"=" + text.encode("ascii"))
        elif _NEEDS_WORD.search(text) or len(text) > 500:
            out.append(ascii_key + b'="' + encode_word(text) + b'"')
            out += _rfc2231(ascii_key, percent_encode(text))
        else:
            out.append(ascii_key + b'="' + text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"')
    return fold(name, b"; ".join(out))


def _rfc2231(key: bytes, encoded: bytes) -> list[bytes]:
    whole = key + b"*=utf-8''" + encoded
    if len(whole) <= LINE_OCTETS - 2:
        return [whole]
    pieces: list[bytes] = []  # continuations, RFC 2231 §3; never cut inside %XX
    while encoded:
        stop = min(50, len(encoded))
        cut = encoded.rfind(b"%", max(0, stop - 2), stop)
        if cut > 0 and stop < len(encoded):
            stop = cut
        start = b"utf-8''" if not pieces else b""
        pieces.append(key + b"*%d*=" % len(pieces) + start + encoded[:stop])
        encoded = encoded[stop:]
    return pieces


def date(epoch: int) -> bytes:
    """The value of a Date field, in UTC (RFC 5322 §3.3)."""
    return format_datetime(datetime.fromtimestamp(epoch, UTC)).encode("ascii")
