"""FETCH items: what may be asked for, and under which name it is answered.

Invariants: `parse(print(item)) = item`. Which octets a section names is decided by `mail.parts`.

RFC 3501 §6.4.5, §7.4.2; RFC 9051 §6.4.5.1 (sections); RFC 3516 (BINARY), 8474 (EMAILID, THREADID), 8514 (SAVEDATE),
8970 (PREVIEW).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum

from govmail.errors import SyntaxProblem
from govmail.wire.imap.responses import astring
from govmail.wire.imap.tokens import Tokens

PARTIAL_LIMIT = 2**63 - 1  # number64 (RFC 9051 §9)


class Plain(Enum):
    """Items without parameters; the value is the name on the wire."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"  # RFC 7162 §3.1.5
    EMAILID = b"EMAILID"
    THREADID = b"THREADID"
    SAVEDATE = b"SAVEDATE"
    PREVIEW = b"PREVIEW"


class Text(Enum):
    """section-msgtext and section-text; FULL is the empty one."""

    FULL = b""
    HEADER = b"HEADER"
    FIELDS = b"HEADER.FIELDS"
    FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[...]: part numbers, which text of that part, and the field names as written."""

    path: tuple[int, ...] = ()
    text: Text = Text.FULL
    fields: tuple[bytes, ...] = ()

    def __bytes__(self) -> bytes:
        pieces = [b"%d" % number for number in self.path]
        if self.text is not Text.FULL:
            pieces.append(self.text.value)
        spec = b".".join(pieces)
        if self.fields:
            spec += b" (" + b" ".join(map(astring, self.fields)) + b")"
        return spec


@dataclass(frozen=True, slots=True)
class BodySection:
    """BODY[section]<first.count>, or one of the RFC822 items, which are the same under another name."""

    section: Section
    peek: bool = False
    partial: tuple[int, int] | None = None
    alias: bytes = b""  # RFC822, RFC822.HEADER, RFC822.TEXT

    @property
    def label(self) -> bytes:
        """The name in the response: without PEEK, and only the origin octet of a partial (RFC 3501 §7.4.2)."""
        if self.alias:
            return self.alias
        origin = b"<%d>" % self.partial[0] if self.partial else b""
        return b"BODY[%b]%b" % (bytes(self.section), origin)

    def __bytes__(self) -> bytes:
        if self.alias:
            return self.alias
        partial = b"<%d.%d>" % self.partial if self.partial else b""
        return b"BODY%b[%b]%b" % (b".PEEK" if self.peek else b"", bytes(self.section), partial)


@dataclass(frozen=True, slots=True)
class BinarySection:
    """BINARY[part]<first.count>, or BINARY.SIZE[part] with `size_only` (RFC 3516 §4.2; RFC 9051 §6.4.5)."""

    path: tuple[int, ...] = ()
    peek: bool = False
    partial: tuple[int, int] | None = None
    size_only: bool = False

    @property
    def section(self) -> Section:
        """The same part, as BODY names it."""
        return Section(self.path)

    @property
    def label(self) -> bytes:
        origin = b"<%d>" % self.partial[0] if self.partial else b""
        return b"BINARY%b[%b]%b" % (b".SIZE" if self.size_only else b"", bytes(self.section), origin)

    def __bytes__(self) -> bytes:
        kind = b".SIZE" if self.size_only else b".PEEK" if self.peek else b""
        partial = b"<%d.%d>" % self.partial if self.partial else b""
        return b"BINARY%b[%b]%b" % (kind, bytes(self.section), partial)


Item = Plain | BodySection | BinarySection

_MACROS: dict[bytes, tuple[Item, ...]] = {
    b"FAST": (Plain.FLAGS, Plain.INTERNALDATE, Plain.SIZE),
    b"ALL": (Plain.FLAGS, Plain.INTERNALDATE, Plain.SIZE, Plain.ENVELOPE),
    b"FULL": (Plain.FLAGS, Plain.INTERNALDATE, Plain.SIZE, Plain.ENVELOPE, Plain.BODY),
}
_RFC822 = {
    b"RFC822": BodySection(Section(), alias=b"RFC822"),
    b"RFC822.HEADER": BodySection(Section((), Text.HEADER), peek=True, alias=b"RFC822.HEADER"),
    b"RFC822.TEXT": BodySection(Section((), Text.TEXT), alias=b"RFC822.TEXT"),
}
_PLAIN = {item.value: item for item in Plain}
_NAME = re.compile(rb"[A-Za-z0-9]+(?:\.[A-Za-z]+)*")
_PART = re.compile(rb"([1-9][0-9]{0,5})\.?")
_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_PARTIAL = re.compile(rb"<([0-9]{1,19})\.([0-9]{1,19})>")

PATH_LIMIT = 100  # deeper than any stored structure
FIELDS_LIMIT = 200
ITEMS_LIMIT = 200
BINARY_LIMIT = 10  # pieces of one part: each costs decoding the part up to there


def parse_items(tokens: Tokens) -> tuple[Item, ...]:
    """fetch-att / "(" fetch-att *(SP fetch-att) ")" / macro. Each item once, in the order given. Raises SyntaxProblem."""
    if tokens.peek() != b"(":
        for name in (b"FAST", b"ALL", b"FULL"):
            start = tokens.at
            if tokens.take(name):
                if tokens.peek() in (b"", b" "):
                    return _MACROS[name]
                tokens.at = start
        return (parse_item(tokens),)
    items = tuple(dict.fromkeys(tokens.items(lambda: parse_item(tokens))))
    decoded = Counter(item.path for item in items if isinstance(item, BinarySection))
    if len(items) > ITEMS_LIMIT or any(count > BINARY_LIMIT for count in decoded.values()):
        raise SyntaxProblem("too many FETCH items")
    return items


def parse_item(tokens: Tokens) -> Item:
    name = tokens.match(_NAME, "a FETCH item")[0].upper()
    if name in (b"BODY", b"BODY.PEEK") and tokens.peek() == b"[":
        return _body(tokens, peek=name == b"BODY.PEEK")
    if name in (b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"):
        return _binary(tokens, name)
    if name == b"PREVIEW" and tokens.take(b" ("):
        # "PREVIEW" SP "(" "LAZY" ")" (RFC 8970 §5): the preview is made at delivery, so both forms give the same
        tokens.expect(b"LAZY)")
    item = _PLAIN.get(name) or _RFC822.get(name)
    if item is None:
        raise SyntaxProblem("unknown FETCH item")
    return item


def _body(tokens: Tokens, *, peek: bool) -> BodySection:
    section = parse_section(tokens)
    return BodySection(section, peek, _partial(tokens))


def _binary(tokens: Tokens, name: bytes) -> BinarySection:
    """section-binary = "[" [section-part] "]" (RFC 3516 §7)"""
    section = parse_section(tokens)
    if section.text is not Text.FULL:
        raise SyntaxProblem("BINARY needs a part number")
    if name == b"BINARY.SIZE":
        return BinarySection(section.path, peek=True, size_only=True)
    return BinarySection(section.path, name == b"BINARY.PEEK", _partial(tokens))


def parse_section(tokens: Tokens) -> Section:
    """section = "[" [section-spec] "]". Raises SyntaxProblem."""
    tokens.expect(b"[")
    path: list[int] = []
    while (number := tokens.try_match(_PART)) is not None:
        path.append(int(number[1]))
        if len(path) > PATH_LIMIT:
            raise SyntaxProblem("section too deep")
        if not number[0].endswith(b"."):
            break
    else:
        number = None
    text = Text.FULL
    fields: tuple[bytes, ...] = ()
    found = tokens.try_match(_TEXT) if number is None else None
    if found is not None:
        text = Text(found[0].upper())
        if text is Text.MIME and not path:
            raise SyntaxProblem("MIME needs a part number")
        if text in (Text.FIELDS, Text.FIELDS_NOT):
            tokens.space()
            fields = tokens.items(tokens.astring)
            if len(fields) > FIELDS_LIMIT:
                raise SyntaxProblem("too many header fields")
    elif path and number is None:
        raise SyntaxProblem("bad section")
    tokens.expect(b"]")
    return Section(tuple(path), text, fields)


def _partial(tokens: Tokens) -> tuple[int, int] | None:
    found = tokens.try_match(_PARTIAL)
    if found is None:
        return None
    first, count = int(found[1]), int(found[2])
    if first > PARTIAL_LIMIT or not 0 < count <= PARTIAL_LIMIT:
        raise SyntaxProblem("bad partial")
    return first, count
