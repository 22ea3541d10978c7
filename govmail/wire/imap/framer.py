"""Cuts the client's octets into commands, before any grammar runs and before anybody has logged in.

Invariants
- How the octets arrive never changes the events.
- What is held is bounded: a command by its line and literal limits, a message literal by what was read in one go; a
  refused literal is counted, not kept. Each octet is looked at once.
- The framer never answers; the events say what the session must do.

RFC 3501 §4.3 (literals), RFC 7888 (LITERAL+, LITERAL-: what to do with a literal that is too big, §4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from govmail.config import Limits
from govmail.errors import SyntaxProblem

LITERAL_MINUS = 4096  # RFC 7888 §5: the most that a non-synchronising literal may have under LITERAL-

# literal = "{" number ["+"] "}" CRLF at the end of a line
_LITERAL = re.compile(rb"\{([0-9]{1,19})(\+)?\}\Z")
# The literal directly after APPEND or REPLACE's number is the mailbox name; any later one is a message or a piece of one.
_APPEND = re.compile(rb"[^ ]+ (?:APPEND|(?:UID )?REPLACE [0-9*]{1,10}) (?!\{[0-9]+\+?\}\Z)", re.IGNORECASE)
# tag = 1*<any ASTRING-CHAR except "+">
_TAG = re.compile(rb"[\x21\x23\x24\x26\x27\x2c-\x5b\x5d-\x7a\x7c-\x7e]{1,64}(?= |\Z)")


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command without its last line end; literals stand in it as they were sent: `{3}` CR LF and 3 octets.

    After a streamed message literal, `octets` has `{size}` CR LF and nothing of the message itself.
    """

    octets: bytes


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits for `+` before it sends a literal that fits."""


@dataclass(frozen=True, slots=True)
class MessageLiteral:
    """APPEND or REPLACE announces `size` octets of a message: answer with `accept` or `refuse`. `head` is the command so far."""

    head: bytes
    size: int
    waits: bool  # the client waits for "+"


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of the accepted message literal."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class TooBig:
    """A command was dropped because of its literals; the dialogue is in step again."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class Fatal:
    """Beyond any limit: say BYE and close."""

    reason: str


Event = Command | Continue | MessageLiteral | Piece | TooBig | Fatal


class Framer:
    """`feed` octets, then take events with `next_event` until it returns None."""

    __slots__ = ("_buffer", "_dropped", "_fatal", "_held", "_left", "_limits", "_lines", "_literals", "_mode", "_scan", "authenticated")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.authenticated = False
        self._buffer: bytes | bytearray = b""
        self._scan = 0  # no line end before this
        self._held: bytes | bytearray = b""  # the command before the line that is being read
        self._lines = 0  # octets of the command outside of literals
        self._literals = 0  # octets of the command in literals
        self._left = 0  # octets of the current literal still to come
        self._mode = _LINE
        self._dropped: bytes | None = None  # tag of a command that is being dropped
        self._fatal = False

    # -- in -------------------------------------------------------------------------------------------------------

    def feed(self, octets: bytes) -> None:
        """Takes what came from the client."""
        if not self._buffer:
            self._buffer = octets
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += octets

    @property
    def buffered(self) -> int:
        """Octets that no event has taken yet; the session stops reading when there are many."""
        return len(self._buffer)

    @property
    def idle(self) -> bool:
        """Whether nothing of a command has come."""
        return not self._buffer and not self._held and self._mode is _LINE

    def discard(self) -> None:
        """Forgets everything unread: nothing sent before TLS survives STARTTLS (RFC 3501 §6.2.1, CVE-2021-33515)."""
        self._buffer = b""
        self._scan = 0
        self._start_over()

    # -- out ------------------------------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """The next event, None when more octets are needed (or an answer to MessageLiteral is)."""
        while not self._fatal:
            if self._mode is _ASKED:
                return None
            if self._mode is _MESSAGE and self._left:
                if not self._buffer:
                    return None
                piece = self._take(min(self._left, len(self._buffer)))
                self._left -= len(piece)
                return Piece(piece)
            if self._mode is _SWALLOW and self._left:
                if not self._buffer:
                    return None
                self._left -= len(self._take(min(self._left, len(self._buffer))))
                continue
            if self._mode is _LITERAL_BODY and self._left:
                if len(self._buffer) < self._left:
                    return None
                self._hold(self._take(self._left))
                self._left = 0
            self._mode = _LINE
            line = self._take_line(self._line_limit() - self._lines)
            if line is None:
                return self._too_long() if self._fatal else None
            event = self._line(line)
            if event is not None:
                return event
        return None

    def next_line(self, limit: int) -> bytes | None:
        """A line outside of commands (DONE, a SASL response) without its line end. Raises SyntaxProblem when over `limit`."""
        line = self._take_line(limit)
        if line is None and self._fatal:
            raise SyntaxProblem("line too long")
        return line

    def accept(self) -> None:
        """The message literal may come: its octets follow as Pieces, then the Command."""
        assert self._mode is _ASKED
        self._mode = _MESSAGE

    def refuse(self, *, waits: bool) -> bytes:
        """The message literal is not wanted; returns the tag to answer.

        A client that waits will not send it, so the command ends here: answer NO at once. One that does not wait is
        sending: the literal is swallowed and TooBig follows (RFC 7888 §4); answer then.
        """
        assert self._mode is _ASKED
        tag = tag_of(bytes(self._held))
        if waits:
            self._start_over()
        else:
            self._drop(bytes(self._held), self._left)
        return tag

    # -- inside ---------------------------------------------------------------------------------------------------

    def _line_limit(self) -> int:
        return self._limits.imap_line_octets if self.authenticated else self._limits.imap_login_octets

    def _take(self, size: int) -> bytes:
        buffer = self._buffer
        self._scan = 0
        if size == len(buffer):
            self._buffer = b""
            return bytes(buffer)
        taken = bytes(buffer[:size])
        if type(buffer) is bytearray:
            del buffer[:size]
        else:
            self._buffer = bytearray(memoryview(buffer)[size:])
        return taken

    def _take_line(self, limit: int) -> bytes | None:
        """A line without its end; None when it is not complete. Sets `_fatal` when it is over `limit`."""
        end = self._buffer.find(b"\n", self._scan)
        if end < 0:
            self._scan = len(self._buffer)
            self._fatal = self._scan > limit
            return None
        if end > limit:
            self._fatal = True
            return None
        line = self._take(end + 1)
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _line(self, line: bytes) -> Event | None:
        self._lines += len(line) + 2
        found = _LITERAL.search(line) if line.endswith(b"}") else None
        if self._dropped is not None:
            return self._line_of_dropped(found)
        if found is None:
            octets = bytes(self._held) + line if self._held else line
            self._start_over()
            return Command(octets)
        size, waits = int(found[1]), found[2] is None
        self._hold(line)
        if self.authenticated and _APPEND.match(self._held):
            head = bytes(self._held)
            self._hold(b"\r\n")
            self._left = size
            self._mode = _ASKED
            return MessageLiteral(head, size, waits)
        if self._fits(size, waits):
            self._hold(b"\r\n")
            self._literals += size
            self._left = size
            self._mode = _LITERAL_BODY
            return Continue() if waits else None
        head = bytes(self._held)
        if waits:
            self._start_over()
            return TooBig(tag_of(head))
        return self._drop(head, size)

    def _hold(self, octets: bytes) -> None:
        if type(self._held) is bytes:
            self._held = bytearray(self._held)
        self._held += octets

    def _fits(self, size: int, waits: bool) -> bool:
        if self.authenticated:
            return self._literals + size <= self._limits.imap_literal_octets
        return self._lines + self._literals + size <= self._limits.imap_login_octets and (waits or size <= LITERAL_MINUS)

    def _drop(self, head: bytes, size: int) -> Event | None:
        """Swallows a literal that is on its way, and the rest of its command; closes when it is absurd (RFC 7888 §4)."""
        if size > (self._limits.message_octets if self.authenticated else LITERAL_MINUS):
            return self._too_long()
        self._dropped = tag_of(head)
        self._held = b""
        self._left = size
        self._literals += size
        self._mode = _SWALLOW
        return None

    def _line_of_dropped(self, literal: re.Match[bytes] | None) -> Event | None:
        assert self._dropped is not None
        if literal is None or literal[2] is None:  # the end, or a literal that will not come without our "+"
            tag = self._dropped
            self._start_over()
            return TooBig(tag)
        self._left = int(literal[1])
        self._literals += self._left
        if self._literals > (2 * self._limits.message_octets if self.authenticated else self._limits.imap_login_octets):
            return self._too_long()
        self._mode = _SWALLOW
        return None

    def _too_long(self) -> Fatal:
        self._fatal = True
        self.discard()
        return Fatal("command too long")

    def _start_over(self) -> None:
        self._held = b""
        self._lines = self._literals = self._left = 0
        self._mode = _LINE
        self._dropped = None


_LINE, _LITERAL_BODY, _SWALLOW, _ASKED, _MESSAGE = range(5)


def tag_of(head: bytes) -> bytes:
    """The tag of a command that is not going to be parsed, `*` when it has none."""
    found = _TAG.match(head)
    return found[0] if found else b"*"
