"""Flags and keywords: names on the wire, bits in the store.

Invariants: the lines of the system flags are made once; keyword names of an account are shared by its sessions.

RFC 3501 §2.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from govmail.store.values import Flag

SYSTEM = {"\\Answered": Flag.ANSWERED, "\\Flagged": Flag.FLAGGED, "\\Deleted": Flag.DELETED, "\\Seen": Flag.SEEN, "\\Draft": Flag.DRAFT}


def _system_names(flags: int) -> list[str]:
    return [name for name, bit in SYSTEM.items() if flags & bit]


_LINES = tuple(" ".join(_system_names(flags)).encode() for flags in range(32))
_PLAIN = tuple(b"(" + line + b")" for line in _LINES)
_RECENT = tuple(b"(" + b" ".join(filter(None, (line, b"\\Recent"))) + b")" for line in _LINES)


def split(names: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Bits of the system flags, and the keywords."""
    bits = 0
    for name in names:
        bits |= SYSTEM.get(name, 0)
    return bits, tuple(name for name in names if name not in SYSTEM)


class FlagNames:
    """The keywords of one account as of some moment."""

    __slots__ = ("__weakref__", "_lines", "known", "names")

    def __init__(self, names: Mapping[int, str]) -> None:
        """`names` by bit."""
        self.names = dict(names)
        self.known = sum(1 << bit for bit in names)
        self._lines: dict[tuple[int, int, bool], bytes] = {}

    def line(self, flags: int, keywords: int, *, recent: bool = False) -> bytes:
        """`(\\Seen work)`. Keywords that came up after these names were read are left out: see `known`."""
        if not keywords:
            return _RECENT[flags] if recent else _PLAIN[flags]
        found = self._lines.get((flags, keywords, recent))
        if found is None:
            words = [*_system_names(flags), *(["\\Recent"] if recent else ()), *(name for bit, name in self.names.items() if keywords >> bit & 1)]
            found = ("(" + " ".join(words) + ")").encode("ascii")
            if len(self._lines) < 10_000:
                self._lines[flags, keywords, recent] = found
        return found

    def all(self) -> list[str]:
        """For the FLAGS response."""
        return [*SYSTEM, *self.names.values()]


NO_KEYWORDS = FlagNames({})
