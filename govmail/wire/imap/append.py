"""APPEND and REPLACE, read up to each literal: the octets of messages come outside of the command.

Invariants: what has been read is not read again; a literal is announced before its octets are taken, so it can be refused;
how often messages and parts come is bounded.

RFC 3501 §6.3.11, RFC 3502 (MULTIAPPEND), RFC 3516 §4.4 (literal8), RFC 4469 (CATENATE), RFC 8508 (REPLACE), RFC 6855 §4 (UTF8); RFC 4466 §4 for how
they go together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from govmail.errors import BadMessage, LimitReached, SyntaxProblem
from govmail.wire.imap.numset import STAR, NumSet
from govmail.wire.imap.parser import parse_flags, parse_start
from govmail.wire.imap.tokens import Tokens
from govmail.wire.imap.url import MessageUrl, parse_url

URL_OCTETS = 4096  # of a URL that comes as a literal


@dataclass(slots=True)
class NewMessage:
    """What is said of one message beside its octets. `binary`: some of them came as literal8."""

    flags: tuple[str, ...] = ()
    when: datetime | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Octets:
    """Octets of the last message, all of it or a TEXT part: `size` of them come now."""

    size: int


@dataclass(frozen=True, slots=True)
class UrlOctets:
    """A URL that comes as a literal: hand it to `parse_url`."""

    size: int


Step = Octets | UrlOctets | MessageUrl
"""What the last message goes on with."""


@dataclass(slots=True)
class AppendReader:
    """Call `next` with the command as far as it has come; `messages` grows as they begin.

    `most`: how many messages one command may bring.
    """

    most: int = 1000
    name: str = ""  # APPEND, REPLACE, UID REPLACE
    mailbox: str = ""
    replaced: NumSet | None = None  # REPLACE: the one message, by number or UID
    messages: list[NewMessage] = field(default_factory=list)
    _at: int = 0
    _parts: int = -1  # parts of the CATENATE that is open; -1: none is
    _in_utf8: bool = False  # inside "UTF8 (" … ")"

    def next(self, tokens: Tokens) -> Step | None:
        """The next step, None at the end of the command. Raises SyntaxProblem, BadUrl, BadMessage, LimitReached."""
        if not self.name:
            self._start(tokens)
        else:
            tokens.at = self._at
        step = self._step(tokens)
        self._at = tokens.at
        return step

    def _start(self, tokens: Tokens) -> None:
        _, self.name = parse_start(tokens)
        tokens.space()
        if self.name != "APPEND":
            number = STAR if tokens.take(b"*") else tokens.number()
            if not number:
                raise SyntaxProblem("no such message")
            self.replaced = NumSet(((number, number),))
            tokens.space()
        self.mailbox = tokens.mailbox()

    def _step(self, tokens: Tokens) -> Step | None:
        if self._in_utf8:
            tokens.expect(b")")
            self._in_utf8 = False
        if self._parts > 0 and tokens.take(b")"):
            self._parts = -1
        if self._parts < 0:
            if self.messages and (self.replaced is not None or tokens.peek() != b" "):
                tokens.end()
                return None
            tokens.space()
            if self.messages and not tokens.peek():
                return None  # a trailing space
            self._message(tokens)
            if self._parts < 0:
                octets = self._octets(tokens)
                if not octets.size:
                    raise BadMessage("empty message: nothing is appended")  # RFC 3502 §6.3.11: a client's way to stop
                return octets
        return self._part(tokens)

    def _message(self, tokens: Tokens) -> None:
        """[flag-list SP] [date-time SP] (literal / literal8 / "CATENATE" SP "(" / "UTF8" SP "(")"""
        if len(self.messages) >= self.most:
            raise LimitReached("too many messages in one command")
        message = NewMessage()
        if tokens.peek() == b"(":
            message.flags = parse_flags(tokens)
            tokens.space()
        if tokens.peek() == b'"':
            message.when = tokens.date_time()
            tokens.space()
        if tokens.take(b"CATENATE ("):
            self._parts = 0
        elif tokens.enabled.utf8_accept and tokens.take(b"UTF8 (~"):
            # append-data =/ "UTF8" SP "(" literal8 ")" (RFC 6855 §4); its octets are taken as those of a plain literal
            self._in_utf8 = True
        self.messages.append(message)

    def _part(self, tokens: Tokens) -> Step:
        """cat-part = "TEXT" SP literal / "URL" SP astring"""
        if self._parts:
            tokens.space()
        self._parts += 1
        if tokens.take(b"TEXT "):
            return self._octets(tokens)
        tokens.expect(b"URL ")
        if tokens.peek() != b"{":
            return parse_url(tokens.astring())
        size = tokens.literal_size()
        if size > URL_OCTETS:
            raise SyntaxProblem("URL too long")
        return UrlOctets(size)

    def _octets(self, tokens: Tokens) -> Octets:
        if tokens.peek() not in (b"~", b"{"):
            raise SyntaxProblem("expected a literal")
        if tokens.take(b"~"):
            self.messages[-1].binary = True
        return Octets(tokens.literal_size())
