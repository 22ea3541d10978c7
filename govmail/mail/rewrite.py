"""A message made fit for a transport that carries less than it holds: BINARYMIME to text, 8-bit to 7-bit.

Invariants
- Decoded, every part is what it was; only transfer encodings, line ends between parts and raw 8-bit header text change.
- Parts that offend nobody are passed on octet for octet. At most CHUNK_OCTETS are held at a time, headers apart.

RFC 3030 §3 (what BINARYMIME may hold), RFC 6152 §3, RFC 2045 §6.4 (containers are 7bit, 8bit or binary only).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from govmail.mail import compose, transfer
from govmail.mail.addresses import parse_addresses
from govmail.mail.header import iterate, parse_parameterised, unfold
from govmail.mail.message import CHUNK_OCTETS, Message
from govmail.mail.parts import BINARY, Octets, Part
from govmail.mail.text import decode_words

_LINE_END = re.compile(rb"\r\n|\r|\n")
_ADDRESSED = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"resent-from", b"resent-to", b"resent-cc"))
_PARAMETERISED = frozenset((b"content-type", b"content-disposition"))
_ADDRESSES = 10_000


def offends(part: Part, *, seven_bit: bool) -> bool:
    """Whether this part alone (not its children) cannot go as text, or as 7-bit text."""
    if part.octets & BINARY or part.encoding == "binary":
        return True
    return seven_bit and bool(part.octets & Octets.EIGHT_BIT)


def must_rewrite(header: bytes, root: Part, *, seven_bit: bool) -> bool:
    """Whether the message cannot be sent as it is. Its own header counts, too."""
    return not _plain(header, seven_bit) or any(offends(part, seven_bit=seven_bit) for part in root.walk())


def textualise(message: Message, root: Part, header_size: int, *, seven_bit: bool = False) -> Iterator[bytes]:
    """The message with offending parts encoded: base64, or quoted-printable for text that is merely 8-bit.

    Without `seven_bit` the result is fit for 8BITMIME, with it for anybody, unless an address itself is outside ASCII
    (RFC 6531). Blocks on a spooled message.
    """
    position = 0
    for part in root.walk():
        start = 0 if part is root else header_size + part.header_start
        body = header_size + part.body_start
        yield from _between(message, position, start, seven_bit)
        yield _header(message.read(start, body - start), part, seven_bit)
        position = body
        if part.children or part.is_multipart:
            continue
        if offends(part, seven_bit=seven_bit):
            yield from _encoded(message, body, part, _new_encoding(part, seven_bit))
        else:
            yield from _octets(message, body, part.body_size)
        position = body + part.body_size
    yield from _between(message, position, message.size, seven_bit)


def _new_encoding(part: Part, seven_bit: bool) -> str:
    if part.children or part.is_multipart:
        return "7bit" if seven_bit else "8bit"
    if part.encoding in ("base64", "quoted-printable"):
        return part.encoding
    return "quoted-printable" if part.type.startswith("text/") and not part.octets & BINARY else "base64"


def _octets(message: Message, offset: int, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = message.read(offset, min(length, CHUNK_OCTETS))
        if not piece:
            return
        yield piece
        offset += len(piece)
        length -= len(piece)


# -- headers and what stands between parts ------------------------------------------------------------------------


def _plain(octets: bytes, seven_bit: bool) -> bool:
    ends = octets.count(b"\r\n")
    regular = ends == octets.count(b"\n") and ends == octets.count(b"\r") and b"\0" not in octets
    return regular and (not seven_bit or octets.isascii())


def _lines(message: Message, start: int, stop: int) -> Iterator[bytes]:
    """The octets in [start, stop) with every kind of line end as CR LF, none cut in two."""
    after_cr = False
    for piece in _octets(message, start, stop - start):
        if after_cr:
            piece = b"\r" + piece
        after_cr = piece.endswith(b"\r")
        if after_cr:
            piece = piece[:-1]
        yield piece if _plain(piece, False) else _LINE_END.sub(b"\r\n", piece)
    if after_cr:
        yield b"\r\n"


def _between(message: Message, start: int, stop: int, seven_bit: bool) -> Iterator[bytes]:
    """Delimiters, preambles, epilogues: text for nobody, made regular."""
    for piece in _lines(message, start, stop):
        yield piece if _plain(piece, seven_bit) else piece.translate(_TO_ASCII if seven_bit else _NO_NUL)


_NO_NUL = bytes((ord("?"), *range(1, 256)))
_TO_ASCII = bytes(octet if 0 < octet < 128 else ord("?") for octet in range(256))


def _header(raw: bytes, part: Part, seven_bit: bool) -> bytes:
    recode = offends(part, seven_bit=seven_bit) and _new_encoding(part, seven_bit) != part.encoding
    if part.children or part.is_multipart:
        recode = recode and part.encoding in ("8bit", "binary")  # "7bit" and what nobody knows stay as they are
    if not recode and _plain(raw, seven_bit):
        return raw
    out: list[bytes] = []
    end = 0
    for field in iterate(raw):
        end = field.end
        if recode and field.name.lower() == b"content-transfer-encoding":
            continue
        out.append(_field(field.name, raw[field.start : field.end], unfold(field.value), seven_bit))
    if recode:
        out.append(b"Content-Transfer-Encoding: " + _new_encoding(part, seven_bit).encode("ascii") + b"\r\n")
    has_empty_line = raw.endswith((b"\n\r\n", b"\n\n")) or raw in (b"\r\n", b"\n") or end < len(raw)
    if has_empty_line or part.body_size:
        out.append(b"\r\n")
    return b"".join(out)


def _field(name: bytes, raw: bytes, value: bytes, seven_bit: bool) -> bytes:
    octets = _LINE_END.sub(b"\r\n", raw.replace(b"\0", b"?"))
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    if not seven_bit or octets.isascii():
        return octets
    key, label = name.lower(), name.decode("ascii")
    if key in _ADDRESSED:
        listed = [(one.display, one.address) for one in parse_addresses(value, _ADDRESSES) if one.is_mailbox]
        return compose.address_list(label, listed)
    if key in _PARAMETERISED:
        found = parse_parameterised(value)
        return compose.parameterised(label, found.value, found.params.items())
    return compose.unstructured(label, decode_words(value))


# -- leaves -------------------------------------------------------------------------------------------------------


def _encoded(message: Message, body: int, part: Part, encoding: str) -> Iterator[bytes]:
    if part.encoding == "quoted-printable":
        return _requoted(message, body, part)
    decoded = _decoded(message, body, part)
    return _base64(decoded) if encoding == "base64" else _quoted_printable(decoded)


_UNQUOTED = re.compile(rb"[\0\x80-\xff]")


def _requoted(message: Message, body: int, part: Part) -> Iterator[bytes]:
    """Quoted-printable that was none: its line ends are those of the text, what should have been quoted is."""
    for piece in _lines(message, body, body + part.body_size):
        yield _UNQUOTED.sub(lambda octet: b"=%02X" % ord(octet[0]), piece)


def _decoded(message: Message, body: int, part: Part) -> Iterator[bytes]:
    decoder = transfer.decoder(part.encoding)
    for piece in _octets(message, body, part.body_size):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) - len(held) % 57
        yield _base64_lines(held[:whole])
        held = held[whole:]
    yield _base64_lines(held)


def _base64_lines(octets: bytes) -> bytes:
    return b"".join(binascii.b2a_base64(octets[start : start + 57], newline=False) + b"\r\n" for start in range(0, len(octets), 57))


def _quoted_printable(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        held += piece
        cut = held.rfind(b"\n") + 1
        if cut:
            yield _quoted_lines(held[:cut])
            held = held[cut:]
        while len(held) > CHUNK_OCTETS:  # a line without end
            yield _quoted_lines(held[: CHUNK_OCTETS - 1]) + b"=\r\n"
            held = held[CHUNK_OCTETS - 1 :]
    if held:
        yield _quoted_lines(held)


def _quoted_lines(octets: bytes) -> bytes:
    # b2a_qp ends its soft line breaks with a bare LF where the text itself has no CR LF
    return binascii.b2a_qp(octets, istext=True).replace(b"=\n", b"=\r\n")
