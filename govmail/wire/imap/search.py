"""SEARCH keys, and the charset of what is searched for.

Invariants: `parse(print(key)) = key`; depth and number of keys are bounded; text is str once it has left this module.

RFC 3501 §6.4.4; RFC 5032 (WITHIN); RFC 5182 (`$`); RFC 8474 §6 (EMAILID, THREADID); RFC 8514 §4.3 (SAVEDBEFORE, SAVEDON, SAVEDSINCE).
Charsets: every Chinese label is read as GB 18030, which contains GB 2312 and GBK.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum

from govmail.errors import SyntaxProblem
from govmail.mail.text import guess
from govmail.wire.imap.numset import NumSet
from govmail.wire.imap.responses import astring, plain_date
from govmail.wire.imap.tokens import Tokens, UidRequired

CHARSETS = ("US-ASCII", "UTF-8", "GB2312", "GBK", "GB18030")
_CODECS = {"US-ASCII": "ascii", "ASCII": "ascii", "UTF-8": "utf-8", "UTF8": "utf-8", "GB2312": "gb18030", "GBK": "gb18030", "GB18030": "gb18030", "GB_2312-80": "gb18030", "CP936": "gb18030", "EUC-CN": "gb18030"}


class BadCharset(SyntaxProblem):
    """Not a syntax error to the client: NO [BADCHARSET (...)] (RFC 3501 §7.1)."""

    text = "charset not supported"


@dataclass(frozen=True, slots=True)
class And:
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Or:
    one: Key
    other: Key


@dataclass(frozen=True, slots=True)
class Not:
    key: Key


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class HasFlag:
    """SEEN, UNSEEN and the like: `name` as in FETCH FLAGS (`\\Seen`), or a keyword."""

    name: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class Recent:
    """RECENT, and OLD when not `present`."""

    present: bool = True


@dataclass(frozen=True, slots=True)
class Numbers:
    numbers: NumSet
    uid: bool = False


class When(Enum):
    """Which date a date key is about."""

    INTERNAL = ""
    SENT = "SENT"
    SAVED = "SAVED"  # RFC 8514 §4.3


@dataclass(frozen=True, slots=True)
class Dated:
    """BEFORE, ON, SINCE and SENT...: `relation` is the key without SENT."""

    when: When
    relation: str
    day: date


@dataclass(frozen=True, slots=True)
class Size:
    """LARGER (or else SMALLER) than `octets`."""

    larger: bool
    octets: int


@dataclass(frozen=True, slots=True)
class Within:
    """YOUNGER (or else OLDER): the internal date is no more than `seconds` ago (RFC 5032 §3)."""

    younger: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class HeaderContains:
    """FROM, SUBJECT … and HEADER; `name` in capitals; an empty `text` asks whether the field is there."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Contains:
    """TEXT (header too) or BODY."""

    scope: str
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """MODSEQ: a modseq of at least this (RFC 7162 §3.1.5). An entry name may stand before it; a message has one modseq for all."""

    modseq: int



@dataclass(frozen=True, slots=True)
class ObjectId:
    """EMAILID or THREADID (RFC 8474 §6)."""

    kind: str
    value: str


Key = And | Or | Not | All | HasFlag | Recent | Numbers | Dated | Size | Within | HeaderContains | Contains | Changed | ObjectId


_FLAG_KEYS = {
    b"ANSWERED": HasFlag("\\Answered"), b"UNANSWERED": HasFlag("\\Answered", False),
    b"DELETED": HasFlag("\\Deleted"), b"UNDELETED": HasFlag("\\Deleted", False),
    b"DRAFT": HasFlag("\\Draft"), b"UNDRAFT": HasFlag("\\Draft", False),
    b"FLAGGED": HasFlag("\\Flagged"), b"UNFLAGGED": HasFlag("\\Flagged", False),
    b"SEEN": HasFlag("\\Seen"), b"UNSEEN": HasFlag("\\Seen", False),
}  # fmt: skip
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}")  # objectid, RFC 8474 §7
_FIELDS = (b"BCC", b"CC", b"FROM", b"SUBJECT", b"TO")
_NEW = And((Recent(), HasFlag("\\Seen", False)))


@dataclass(slots=True)
class _Reader:
    """One SEARCH being read."""

    tokens: Tokens
    codec: str | None
    left: int  # keys that may still come

    def keys(self) -> Key:
        """search-key *(SP search-key), all of which must hold."""
        found = [self.key(0)]
        while self.tokens.peek() == b" ":
            self.tokens.space()
            if not self.tokens.peek():
                break
            found.append(self.key(0))
        return found[0] if len(found) == 1 else And(tuple(found))

    def key(self, depth: int) -> Key:
        self.left -= 1
        if self.left < 0 or depth > self.tokens.depth_limit:
            raise SyntaxProblem("SEARCH too complex")
        tokens = self.tokens
        first = tokens.peek()
        if first == b"(":
            inner = tokens.items(lambda: self.key(depth + 1))
            return inner[0] if len(inner) == 1 else And(inner)
        if first == b"$":
            return Numbers(tokens.number_set())
        if first.isdigit() or first == b"*":
            if tokens.enabled.uid_only:
                raise UidRequired
            return Numbers(tokens.number_set())
        return self._named(tokens.word(), depth)

    def _named(self, name: bytes, depth: int) -> Key:
        tokens = self.tokens
        if name in _FLAG_KEYS:
            return _FLAG_KEYS[name]
        if name == b"ALL":
            return All()
        if name == b"NEW":
            return _NEW
        if name == b"SAVEDATESUPPORTED":
            return All()  # RFC 8514 §4.3: every mailbox here knows when its messages came
        if name in (b"RECENT", b"OLD"):
            return Recent(name == b"RECENT")
        tokens.space()
        if name == b"NOT":
            return Not(self.key(depth + 1))
        if name == b"OR":
            one = self.key(depth + 1)
            tokens.space()
            return Or(one, self.key(depth + 1))
        if name == b"UID":
            return Numbers(tokens.number_set(), uid=True)
        if name in (b"KEYWORD", b"UNKEYWORD"):
            return HasFlag(tokens.flag(), name == b"KEYWORD")
        if name in (b"LARGER", b"SMALLER"):
            return Size(name == b"LARGER", tokens.number64())
        if name == b"MODSEQ":
            return self._changed()
        if name in (b"YOUNGER", b"OLDER"):
            return Within(name == b"YOUNGER", tokens.nz_number())
        if name in (b"BEFORE", b"ON", b"SINCE"):
            return Dated(When.INTERNAL, name.decode(), tokens.date())
        if name in (b"SENTBEFORE", b"SENTON", b"SENTSINCE"):
            return Dated(When.SENT, name[4:].decode(), tokens.date())
        if name in (b"SAVEDBEFORE", b"SAVEDON", b"SAVEDSINCE"):
            return Dated(When.SAVED, name[5:].decode(), tokens.date())
        if name in (b"EMAILID", b"THREADID"):
            return ObjectId(name.decode(), tokens.match(_OBJECT_ID, "an object id")[0].decode("ascii"))
        if name in _FIELDS:
            return HeaderContains(name.decode(), self._text())
        if name in (b"TEXT", b"BODY"):
            return Contains(name.decode(), self._text())
        if name == b"HEADER":
            field = tokens.astring()
            tokens.space()
            if not field.isascii():
                raise SyntaxProblem("bad header field name")
            return HeaderContains(field.decode("ascii").upper(), self._text())
        raise SyntaxProblem("unknown SEARCH key")

    def _changed(self) -> Changed:
        """[entry-name SP ("priv" / "shared" / "all") SP] mod-sequence-valzer (RFC 7162 §3.1.5)"""
        tokens = self.tokens
        if tokens.peek() == b'"':
            tokens.string()
            tokens.space()
            if tokens.word() not in (b"PRIV", b"SHARED", b"ALL"):
                raise SyntaxProblem("bad entry type")
            tokens.space()
        return Changed(tokens.number64())

    def _text(self) -> str:
        octets = self.tokens.astring()
        if self.codec is None:
            return guess(octets)  # Foxmail and others send raw UTF-8 or GB 18030 without saying so
        try:
            return octets.decode(self.codec)
        except UnicodeDecodeError:
            if self.codec == "ascii":
                return guess(octets)
            raise SyntaxProblem("text is not in the charset that was named") from None


def parse_keys(tokens: Tokens) -> Key:
    """["CHARSET" SP astring SP] search-key *(SP search-key). Raises SyntaxProblem, BadCharset."""
    if tokens.take(b"CHARSET "):
        if tokens.enabled.utf8_accept:
            raise SyntaxProblem("no CHARSET once UTF8=ACCEPT is enabled")  # RFC 6855 §3
        return parse_keys_in(tokens)
    return _Reader(tokens, "utf-8" if tokens.enabled.utf8 else None, tokens.key_limit).keys()


def parse_keys_in(tokens: Tokens) -> Key:
    """charset SP search-key *(SP search-key), as SORT and THREAD have them. Raises SyntaxProblem, BadCharset."""
    label = tokens.astring()
    tokens.space()
    codec = _CODECS.get(label.decode("ascii", "replace").upper())
    if codec is None:
        raise BadCharset
    return _Reader(tokens, codec, tokens.key_limit).keys()


def asks_modseq(key: Key) -> bool:
    """Whether MODSEQ is among the keys, so that the answer tells a modseq as well (RFC 7162 §3.1.6)."""
    return any(isinstance(one, Changed) for one in walk(key))


def has_numbers(key: Key) -> bool:
    """Whether sequence numbers stand in it, which mean nothing in mailboxes that are not selected."""
    return any(isinstance(one, Numbers) and not one.uid for one in walk(key))


def walk(key: Key) -> Iterator[Key]:
    """The key and all keys in it."""
    waiting = [key]
    while waiting:
        one = waiting.pop()
        yield one
        match one:
            case And(keys):
                waiting.extend(keys)
            case Or(left, right):
                waiting += (left, right)
            case Not(inner):
                waiting.append(inner)


def print_key(key: Key) -> bytes:
    """The key as a client writes it, text in UTF-8."""
    match key:
        case And(keys):
            return b"(" + b" ".join(map(print_key, keys)) + b")"
        case Or(one, other):
            return b"OR %b %b" % (print_key(one), print_key(other))
        case Not(inner):
            return b"NOT " + print_key(inner)
        case All():
            return b"ALL"
        case HasFlag(name, present):
            if name.startswith("\\"):
                return (b"" if present else b"UN") + name[1:].upper().encode()
            return (b"KEYWORD " if present else b"UNKEYWORD ") + name.encode()
        case Recent(present):
            return b"RECENT" if present else b"OLD"
        case Numbers(numbers, uid):
            return (b"UID " if uid else b"") + bytes(numbers)
        case Dated(when, relation, day):
            return (when.value + relation).encode() + b" " + plain_date(day)
        case Size(larger, octets):
            return b"%b %d" % (b"LARGER" if larger else b"SMALLER", octets)
        case Changed(modseq):
            return b"MODSEQ %d" % modseq
        case Within(younger, seconds):
            return b"%b %d" % (b"YOUNGER" if younger else b"OLDER", seconds)
        case HeaderContains(name, text):
            lead = name.encode() if name.encode() in _FIELDS else b"HEADER " + astring(name.encode())
            return lead + b" " + astring(text.encode())
        case Contains(scope, text):
            return scope.encode() + b" " + astring(text.encode())
        case ObjectId(kind, value):
            return f"{kind} {value}".encode()
