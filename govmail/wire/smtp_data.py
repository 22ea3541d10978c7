"""Message octets as SMTP carries them: the DATA decoder, line ends, BDAT counting.

Invariants
- How the octets are cut into chunks never changes what comes out.
- Only CR LF . CR LF ends data. A bare CR or LF never does, whatever stands beside it (SMTP smuggling).
- A fault never ends the reading: the dialogue stays in step, the refusal comes after the end of data.
- Work is a few C calls per chunk, whatever the chunk holds; no loop over lines.

RFC 5321 §4.1.1.4 and §4.5.2 (dot transparency), §2.3.8 (line ends); RFC 3030 §2 (BDAT).
"""

from __future__ import annotations

import re
from enum import Flag, auto

END_OF_DATA = b"\r\n.\r\n"


class Fault(Flag):
    """What a message must not hold unless it came as BINARYMIME."""

    NONE = 0
    BARE_CR = auto()
    BARE_LF = auto()
    NUL = auto()
    LONG_LINE = auto()


_BARE_LF = re.compile(rb"(?<!\r)\n")


class LineEnds:
    """Watches line ends; with `normalise` it turns a bare LF into CR LF, which is then no fault.

    `longest`: octets a line may have with its line end, 0 = any number.
    """

    __slots__ = ("_after_cr", "_line", "_longest", "_normalise", "faults")

    def __init__(self, *, normalise: bool = False, longest: int = 0) -> None:
        self.faults = Fault.NONE
        self._longest = longest
        self._line = 0  # octets of the line that has begun
        self._normalise = normalise
        self._after_cr = False  # the last octet seen was a CR

    def feed(self, data: bytes) -> bytes:
        """The octets to keep of `data`."""
        if not data:
            return data
        if self._longest:
            self._measure(data)
        paired = self._after_cr and data[0] == 0x0A  # the CR of this LF came with the chunk before
        if self._after_cr and not paired:
            self.faults |= Fault.BARE_CR
        self._after_cr = data[-1] == 0x0D
        # Without its pairs, whatever CR or LF is left is bare. (Three times as fast as counting each.)
        singles = data[paired : len(data) - self._after_cr].replace(b"\r\n", b"")
        if b"\r" in singles:
            self.faults |= Fault.BARE_CR
        if b"\0" in singles:
            self.faults |= Fault.NUL
        if b"\n" not in singles:
            return data
        if not self._normalise:
            self.faults |= Fault.BARE_LF
            return data
        return b"\n" + _BARE_LF.sub(b"\r\n", data[1:]) if paired else _BARE_LF.sub(b"\r\n", data)

    def _measure(self, data: bytes) -> None:
        *whole, begun = map(len, data.split(b"\n"))
        if whole:
            whole[0] += self._line
            self._line = 0
        self._line += begun
        if max(self._line, 1 + max(whole, default=-1)) > self._longest:
            self.faults |= Fault.LONG_LINE

    def close(self) -> None:
        """No octets follow."""
        if self._after_cr:
            self.faults |= Fault.BARE_CR


class DataDecoder:
    """Turns what follows a 354 into the octets of the message.

    Feed it until `done`; `rest` then holds the octets after the end of data, which belong to the next command.
    """

    __slots__ = ("_held", "_line_ends", "_virtual", "done", "rest")

    def __init__(self, line_ends: LineEnds | None = None) -> None:
        self.done = False
        self.rest = b""
        self._line_ends = line_ends or LineEnds()
        # The CR LF of the DATA line counts as the one before the first line, but is no part of the message.
        self._held = b"\r\n"
        self._virtual = 2

    @property
    def faults(self) -> Fault:
        return self._line_ends.faults

    def feed(self, data: bytes) -> bytes:
        """The message octets that have become certain."""
        assert not self.done
        octets = self._held + data
        dot = octets.find(b"\r\n.")
        if dot < 0:
            end = len(octets) - _undecided(octets)
            self._held = octets[end:]
            return self._emit(octets[:end])
        end = octets.find(END_OF_DATA, dot)
        if end >= 0:
            self.done = True
            self.rest = octets[end + 5 :]
            end += 2  # the CR LF before the dot ends the last line
            self._held = b""
        else:
            end = len(octets) - _undecided(octets)
            self._held = octets[end:]
        # The dot that the client put in front of a line comes off again. No pair of these overlaps, and the end of
        # data is not among them.
        return self._emit(octets[:end].replace(b"\r\n.", b"\r\n"))

    def _emit(self, octets: bytes) -> bytes:
        if self._virtual and octets:
            octets, self._virtual = octets[self._virtual :], 0
        return self._line_ends.feed(octets)


def _undecided(octets: bytes) -> int:
    """How many octets at the end may yet turn out to begin a dot line or the end of data."""
    for length in (4, 3, 2, 1):
        if octets.endswith(END_OF_DATA[:length]):
            return length
    return 0


class ChunkCounter:
    """Takes the octets of one BDAT chunk from the stream: they are counted, never searched."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The part of `data` that belongs to the chunk, and what comes after it."""
        chunk, rest = data[: self.left], data[self.left :]
        self.left -= len(chunk)
        return chunk, rest
