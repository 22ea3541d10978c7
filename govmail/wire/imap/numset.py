"""Sets of sequence numbers and UIDs as ranges.

Invariants: a `NumSet` is what the client wrote, in its order; `Ranges` are ascending, disjoint, not adjacent and never
expanded into single numbers; every operation costs the number of ranges, whatever the numbers are.

RFC 3501 §9, RFC 9051 §9: sequence-set = (seq-number / seq-range) ["," sequence-set]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from govmail.errors import SyntaxProblem

Range = tuple[int, int]
"""First and last number, both included."""

Ranges = tuple[Range, ...]

LARGEST = 0xFFFFFFFF  # nz-number is an unsigned 32-bit integer, RFC 3501 §9
STAR = LARGEST + 1  # "*", the largest number in use

_SET = re.compile(rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*\Z")


@dataclass(frozen=True, slots=True)
class NumSet:
    """A sequence set as written; `STAR` stands for `*`. `saved`: it is `$`, what the last SEARCH has saved (RFC 5182 §2.1)."""

    ranges: Ranges
    saved: bool = False

    @classmethod
    def parse(cls, text: bytes, limit: int = 10_000) -> NumSet:
        """The set in `text`, of at most `limit` ranges. Raises SyntaxProblem."""
        if text == b"$":
            return SAVED
        if not _SET.match(text):
            raise SyntaxProblem("bad sequence set")
        pieces = text.split(b",")
        if len(pieces) > limit:
            raise SyntaxProblem("sequence set has too many ranges")
        return cls(tuple(map(_range, pieces)))

    def resolve(self, largest: int) -> Ranges:
        """The set with `*` = `largest`; numbers beyond it stay (RFC 3501 §6.4.8: a UID need not exist).

        `559:*` always includes the largest number, even when 559 is higher. Empty when `largest` is 0 and only `*` is meant.
        """
        numbers = []
        for first, last in self.ranges:
            if first == STAR:
                first = largest
            if last == STAR:
                last = largest
            if first > last:
                first, last = last, first
            numbers.append((max(first, 1), last))
        return normalise(one for one in numbers if one[1])

    @property
    def highest(self) -> int:
        """The largest number written, 0 when there is only `*`."""
        return max((number for one in self.ranges for number in one if number != STAR), default=0)

    def __bytes__(self) -> bytes:
        if self.saved:
            return b"$"
        return b",".join(_number(first) if first == last else b"%b:%b" % (_number(first), _number(last)) for first, last in self.ranges)


SAVED = NumSet((), saved=True)


def _range(piece: bytes) -> Range:
    first, colon, last = piece.partition(b":")
    start = _value(first)
    return start, _value(last) if colon else start


def _value(text: bytes) -> int:
    if text == b"*":
        return STAR
    value = int(text)
    if value > LARGEST:
        raise SyntaxProblem("number too large in sequence set")
    return value


def _number(value: int) -> bytes:
    return b"*" if value == STAR else b"%d" % value


# -- algebra ------------------------------------------------------------------------------------------------------


def normalise(ranges: Iterable[Range]) -> Ranges:
    """The same numbers as ascending, disjoint, not adjacent ranges. Every range must have first <= last."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = merged[-1][0], last
        else:
            merged.append((first, last))
    return tuple(merged)


def from_numbers(numbers: Iterable[int]) -> Ranges:
    """Ranges of ascending numbers without repetition."""
    merged: list[Range] = []
    first = last = -1
    for number in numbers:
        if number == last + 1 and last >= 0:
            last = number
            continue
        if last >= 0:
            merged.append((first, last))
        first = last = number
    if last >= 0:
        merged.append((first, last))
    return tuple(merged)


def count(ranges: Sequence[Range]) -> int:
    """How many numbers."""
    return sum(last - first + 1 for first, last in ranges)


def union(one: Sequence[Range], other: Sequence[Range]) -> Ranges:
    return normalise([*one, *other])


def intersect(one: Sequence[Range], other: Sequence[Range]) -> Ranges:
    """Numbers in both; both ascending and disjoint."""
    found: list[Range] = []
    i = j = 0
    while i < len(one) and j < len(other):
        first, last = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if first <= last:
            found.append((first, last))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(one: Sequence[Range], other: Sequence[Range]) -> Ranges:
    """Numbers of `one` that are not in `other`; both ascending and disjoint."""
    left: list[Range] = []
    j = 0
    for first, last in one:
        while j < len(other) and other[j][1] < first:
            j += 1
        k = j
        while k < len(other) and other[k][0] <= last:
            if other[k][0] > first:
                left.append((first, other[k][0] - 1))
            first = other[k][1] + 1
            k += 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def take(ranges: Sequence[Range], most: int) -> tuple[Ranges, Ranges]:
    """The lowest `most` numbers, and the others."""
    head: list[Range] = []
    for index, (first, last) in enumerate(ranges):
        size = last - first + 1
        if size > most:
            if most:
                head.append((first, first + most - 1))
            return tuple(head), ((first + most, last), *ranges[index + 1 :])
        head.append((first, last))
        most -= size
    return tuple(head), ()


def print_ranges(ranges: Sequence[Range]) -> bytes:
    """As COPYUID and the like send them (RFC 4315 §4: uid-set)."""
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in ranges)
