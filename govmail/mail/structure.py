"""ENVELOPE, BODYSTRUCTURE and BODY in the octets that IMAP sends.

Invariants
- What comes out is seven-bit and a valid answer in RFC 3501 and RFC 9051 whatever the mail contains. Raw 8-bit text
  of the mail leaves as encoded words in UTF-8 (percent-encoded in RFC 2231 parameters), 8-bit addresses as literals.
- Quoted strings hold neither CR, LF nor 8-bit; what needs them is a literal. NUL, which no literal may hold, becomes "?".

RFC 3501 §7.4.2, RFC 9051 §7.5.2; §4.3 of both for strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from govmail.mail.addresses import HeaderAddress
from govmail.mail.header import Header, encode_word
from govmail.mail.parts import Octets
from govmail.mail.scan import Node
from govmail.mail.text import decode_words

_PLAIN = re.compile(rb"[ !#-\[\]-~]{0,2000}\Z").match  # printable, without quote and backslash
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]{0,2000}\Z")
_LANGUAGE = re.compile(rb"[A-Za-z0-9-]{1,40}")
_MD5 = re.compile(rb"[A-Za-z0-9+/=]{1,40}\Z")


def string(value: bytes) -> bytes:
    """`string` of RFC 3501: quoted where it can be, else a literal."""
    if _PLAIN(value):
        return b'"' + value + b'"'
    if _QUOTABLE.match(value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    value = value.replace(b"\0", b"?")
    if _QUOTABLE.match(value):
        return string(value)
    return b"{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None) -> bytes:
    return b"NIL" if value is None else string(value)


def seven_bit(value: bytes | None) -> bytes | None:
    """Header text as it may leave: as it is when ASCII, else as encoded words."""
    if value is None or value.isascii():
        return value
    return encode_word(decode_words(value))


# -- ENVELOPE -----------------------------------------------------------------------------------------------------


def envelope(header: Header) -> bytes:
    """The ENVELOPE of a message with this header, with its parentheses."""
    sender_of_all = _address_list(header.addresses(b"from"))
    out = [
        nstring(seven_bit(header.get(b"date"))),
        nstring(seven_bit(header.get(b"subject"))),
        sender_of_all,
    ]
    for name in (b"sender", b"reply-to"):  # absent or empty: as From
        given = _address_list(header.addresses(name)) if name in header else b"NIL"
        out.append(sender_of_all if given == b"NIL" else given)
    out += [_address_list(header.addresses(name)) if name in header else b"NIL" for name in (b"to", b"cc", b"bcc")]
    out.append(nstring(seven_bit(header.get(b"in-reply-to"))))
    out.append(nstring(seven_bit(header.get(b"message-id"))))
    return b"(" + b" ".join(out) + b")"


def _address_list(addresses: Iterable[HeaderAddress]) -> bytes:
    out = [
        b"(%b %b %b %b)" % (nstring(seven_bit(name)), nstring(route), nstring(local), nstring(domain))
        for name, route, local, domain in addresses
    ]
    return b"(" + b"".join(out) + b")" if out else b"NIL"


# -- BODYSTRUCTURE ------------------------------------------------------------------------------------------------


def structures(root: Node) -> tuple[bytes, bytes]:
    """BODYSTRUCTURE, and BODY: the same without extension data. Recursion is bounded by `mime_depth`."""
    extended: list[bytes] = []
    plain: list[bytes] = []
    _body(root, extended, plain)
    return b"".join(extended), b"".join(plain)


# What a multipart without a single part shows, because the grammar wants one (1*body).
_NO_PART = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'


def _body(node: Node, extended: list[bytes], plain: list[bytes]) -> None:
    main, _, sub = node.type.encode("ascii").partition(b"/")
    header = node.header
    extended.append(b"(")
    plain.append(b"(")
    if node.is_multipart:
        for child in node.children:
            _body(child, extended, plain)
        if not node.children:
            extended.append(_NO_PART + b" NIL NIL NIL NIL)")
            plain.append(_NO_PART + b")")
        last = b" " + string(sub)
        extended += (last, b" ", _params(node.content_type.wire), _extension(node), b")")
        plain += (last, b")")
        return
    wire = node.content_type.wire
    if main == b"text" and not node.octets & Octets.EIGHT_BIT and "charset" not in node.content_type.params:
        wire = (*wire, (b"charset", b"us-ascii"))  # RFC 2045 §5.2: what it means when nothing is said
    basic = b"%b %b %b %b %b %b %d" % (
        string(main),
        string(sub),
        _params(wire),
        nstring(seven_bit(header.get(b"content-id"))),
        nstring(seven_bit(header.get(b"content-description"))),
        string(node.encoding.encode("ascii")),
        node.body_size,
    )
    extended.append(basic)
    plain.append(basic)
    # RFC 3501 §9 has an envelope here for message/rfc822 only; a strict reader of message/global would stumble over it
    is_rfc822 = node.type == "message/rfc822"
    if is_rfc822:
        child = node.children[0]
        enclosed = b" " + envelope(child.header) + b" "
        extended.append(enclosed)
        plain.append(enclosed)
        _body(child, extended, plain)
    if is_rfc822 or main == b"text":
        lines = b" %d" % node.lines
        extended.append(lines)
        plain.append(lines)
    md5 = header.get(b"content-md5")
    extended += (b" ", nstring(md5 if md5 is not None and _MD5.match(md5) else None), _extension(node), b")")
    plain.append(b")")


def _params(wire: Iterable[tuple[bytes, bytes]]) -> bytes:
    out = [string(name) + b" " + string(value) for name, value in wire]
    return b"(" + b" ".join(out) + b")" if out else b"NIL"


def _extension(node: Node) -> bytes:
    """body-fld-dsp, -lang and -loc, each with a space in front."""
    header = node.header
    disposition = node.disposition
    kind = disposition.value.encode("ascii", "replace")
    dsp = b"(%b %b)" % (string(kind), _params(disposition.wire)) if kind else b"NIL"
    languages = _LANGUAGE.findall(header.get(b"content-language") or b"")[:20]
    lang = string(languages[0]) if len(languages) == 1 else b"(" + b" ".join(map(string, languages)) + b")" if languages else b"NIL"
    return b" %b %b %b" % (dsp, lang, nstring(seven_bit(header.get(b"content-location"))))
