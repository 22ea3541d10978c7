"""Reads the tokens of IMAP's grammar from one complete command.

Invariants: every method takes exactly what the grammar says or raises SyntaxProblem; no method looks at an octet twice.
Strings come out as octets, because only the command knows their charset.

RFC 3501 §9, with the charset of astrings and quoted strings widened to 8 bits: real clients send raw GB18030 and UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import TypeVar

from govmail.errors import SyntaxProblem
from govmail.wire.imap import utf7
from govmail.wire.imap.enabled import NOTHING, Enabled
from govmail.wire.imap.numset import LARGEST, NumSet

T = TypeVar("T")

# ATOM-CHAR = any CHAR except "(" ")" "{" SP CTL "%" "*" DQUOTE "\" "]"; the 8-bit part is a quirk
_ATOM = re.compile(rb'[^\x00-\x20\x7f(){%*"\\\]]+')
_ASTRING = re.compile(rb'[^\x00-\x20\x7f(){%*"\\]+')  # ASTRING-CHAR = ATOM-CHAR / "]"
_LIST_MAILBOX = re.compile(rb'[^\x00-\x20\x7f(){"\\]+')  # list-char = ATOM-CHAR / "%" / "*" / "]"
_TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,64}')
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n")
_NUMBER = re.compile(rb"[0-9]{1,10}(?![0-9])")
_NUMBER64 = re.compile(rb"[0-9]{1,19}(?![0-9])")
_SET = re.compile(rb"[0-9*:,]+|\$")
_FLAG = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
# date = DQUOTE date-text DQUOTE / date-text; date-day is 1*2DIGIT
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
# date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
_DATE_TIME = re.compile(rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"')

MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")

LARGEST64 = 2**63 - 1  # number64, mod-sequence-value: 63 bits, unsigned


class UidRequired(SyntaxProblem):
    """A sequence number from a client that has enabled UIDONLY: BAD [UIDREQUIRED] (RFC 9586 §3.2)."""

    text = "message sequence numbers are not allowed once UIDONLY is enabled"


class Tokens:
    """A cursor over the octets of a command, literals included."""

    __slots__ = ("_depth", "_octets", "at", "depth_limit", "enabled", "key_limit", "set_limit")

    def __init__(
        self, octets: bytes, *, depth_limit: int = 50, set_limit: int = 10_000, key_limit: int = 1000, enabled: Enabled = NOTHING
    ) -> None:
        self._octets = octets
        self.at = 0
        self.depth_limit = depth_limit
        self.set_limit = set_limit
        self.key_limit = key_limit
        self.enabled = enabled
        self._depth = 0

    def whole(self) -> bytes:
        """All octets of the command, for one that has a reader of its own."""
        return self._octets

    # -- punctuation ----------------------------------------------------------------------------------------------

    def peek(self) -> bytes:
        """The next octet, empty at the end."""
        return self._octets[self.at : self.at + 1]

    def take(self, text: bytes) -> bool:
        """Whether `text` (in capitals) came next in any case; then it is taken."""
        end = self.at + len(text)
        if self._octets[self.at : end].upper() != text:
            return False
        self.at = end
        return True

    def expect(self, text: bytes) -> None:
        if not self.take(text):
            raise SyntaxProblem(f"expected {text.decode('ascii')!r}")

    def space(self) -> None:
        """One space. More are tolerated: some clients pad."""
        self.expect(b" ")
        while self.take(b" "):
            pass

    def end(self) -> None:
        """The end of the command; trailing spaces are tolerated."""
        while self.take(b" "):
            pass
        if self.at != len(self._octets):
            raise SyntaxProblem("unexpected text at the end of the command")

    def items(self, item: Callable[[], T], *, empty: bool = False) -> tuple[T, ...]:
        """`"(" item *(SP item) ")"`, or `"()"` where `empty` allows it."""
        self.expect(b"(")
        self._depth += 1
        if self._depth > self.depth_limit:
            raise SyntaxProblem("too many nested parentheses")
        found: list[T] = []
        if not (empty and self.peek() == b")"):
            found.append(item())
            while not self.take(b")"):
                self.space()
                if self.take(b")"):
                    break
                found.append(item())
        else:
            self.expect(b")")
        self._depth -= 1
        return tuple(found)

    # -- words ----------------------------------------------------------------------------------------------------

    def try_match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """What `pattern` takes here, or None and nothing is taken."""
        found = pattern.match(self._octets, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        """The same; raises SyntaxProblem that names `what` was expected."""
        found = self.try_match(pattern)
        if found is None:
            raise SyntaxProblem(f"expected {what}")
        return found

    def tag(self) -> bytes:
        return self.match(_TAG, "a tag")[0]

    def atom(self) -> bytes:
        return self.match(_ATOM, "an atom")[0]

    def word(self) -> bytes:
        """An atom in capitals."""
        return self.atom().upper()

    def number(self) -> int:
        """number: 32 bits, unsigned (RFC 3501 §9)."""
        value = int(self.match(_NUMBER, "a number")[0])
        if value > LARGEST:
            raise SyntaxProblem("number too large")
        return value

    def number64(self) -> int:
        """number64 and mod-sequence-valzer (RFC 9051 §9, RFC 7162 §7)."""
        value = int(self.match(_NUMBER64, "a number")[0])
        if value > LARGEST64:
            raise SyntaxProblem("number too large")
        return value

    def nz_number(self) -> int:
        """nz-number: not 0."""
        value = self.number()
        if not value:
            raise SyntaxProblem("a number above 0 is needed")
        return value

    def string(self) -> bytes:
        """string = quoted / literal"""
        if self.peek() == b"{":
            return self.literal()
        text = self.match(_QUOTED, "a string")[1]
        return re.sub(rb"\\(.)", rb"\1", text) if b"\\" in text else text

    def literal(self) -> bytes:
        size = int(self.match(_LITERAL, "a literal")[1])
        end = self.at + size
        if end > len(self._octets):
            raise SyntaxProblem("literal is not complete")
        octets = self._octets[self.at : end]
        if b"\0" in octets:
            raise SyntaxProblem("NUL in a literal")  # CHAR8 = %x01-ff
        self.at = end
        return octets

    def literal_size(self) -> int:
        """The size of a literal whose octets went elsewhere (the message of APPEND)."""
        return int(self.match(_LITERAL, "a literal")[1])

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        return None if self.take(b"NIL") else self.string()

    def astring(self) -> bytes:
        """astring = 1*ASTRING-CHAR / string"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self.match(_ASTRING, "a string")[0]

    def list_mailbox(self) -> bytes:
        """list-mailbox = 1*list-char / string"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self.match(_LIST_MAILBOX, "a mailbox pattern")[0]

    # -- what has a meaning ---------------------------------------------------------------------------------------

    def mailbox(self) -> str:
        """mailbox, with INBOX in any case as "INBOX" (RFC 3501 §5.1)."""
        name = self.name(self.astring())
        if not name:
            raise SyntaxProblem("empty mailbox name")
        return canonical_mailbox(name)

    def name(self, octets: bytes) -> str:
        """A mailbox name or pattern, in the encoding that is in use on this connection."""
        return utf7.plain(octets) if self.enabled.utf8 else utf7.decode(octets)

    def number_set(self) -> NumSet:
        return NumSet.parse(self.match(_SET, "a sequence set")[0], self.set_limit)

    def flag(self) -> str:
        return self.match(_FLAG, "a flag")[0].decode("ascii")

    def date(self) -> date:
        found = self.match(_DATE, "a date")
        try:
            return date(int(found[4]), _month(found[3]), int(found[2]))
        except ValueError:
            raise SyntaxProblem("no such date") from None

    def date_time(self) -> datetime:
        """Aware, in the zone that was given."""
        found = self.match(_DATE_TIME, "a date and time")
        offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
        try:
            zone = timezone(-offset if found[7] == b"-" else offset)
            return datetime(int(found[3]), _month(found[2]), int(found[1]), int(found[4]), int(found[5]), int(found[6]), tzinfo=zone)
        except ValueError:
            raise SyntaxProblem("no such date") from None


def canonical_mailbox(name: str) -> str:
    """INBOX in any case, also as the first level of a name; a trailing separator dropped (Thunderbird, old Apple Mail)."""
    if len(name) > 1 and name.endswith("/"):
        name = name[:-1]
    head, separator, rest = name.partition("/")
    return "INBOX" + separator + rest if head.upper() == "INBOX" else name


def _month(name: bytes) -> int:
    try:
        return MONTHS.index(name.lower()) + 1
    except ValueError:
        raise SyntaxProblem("no such month") from None
