"""A bound on the octets of all unfinished messages together, shared by SMTP DATA, BDAT and IMAP APPEND.

Invariants: `used` never exceeds `limit`; whoever took gives back exactly as much.
"""

from __future__ import annotations


class Budget:
    """Octets that may be on their way in at the same time (`Limits.inflight_octets`). For one event loop."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, octets: int) -> bool:
        """Reserve, or say no and change nothing."""
        if self.used + octets > self.limit:
            return False
        self.used += octets
        return True

    def give(self, octets: int) -> None:
        """Give back what was taken."""
        assert octets <= self.used
        self.used -= octets

    def room(self, octets: int) -> bool:
        """Whether `take` would succeed now."""
        return self.used + octets <= self.limit
