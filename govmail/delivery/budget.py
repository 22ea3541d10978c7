"""A bound on the octets of all unfinished messages together, shared by SMTP DATA, BDAT and IMAP APPEND.

Invariants: `used` never exceeds `limit`; whoever took gives back exactly as much; nothing is taken while the disk has less
room than it must keep for what was accepted already: queue, bounces, flags, the audit trail.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.stdlib.get_logger("govmail.disk")

LOOK_SECONDS = 1.0  # the disk is looked at this often


class Disk:
    """Whether the file system of `path` has less than `floor` octets left for us; 0 = never."""

    def __init__(self, path: Path, floor: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.floor = floor
        self._path = path
        self._monotonic = monotonic
        self._look_at = float("-inf")
        self._full = False

    def full(self) -> bool:
        """A system call of microseconds, once in LOOK_SECONDS."""
        now = self._monotonic()
        if not self.floor:
            return False
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            found = os.statvfs(self._path)
            free = found.f_bavail * found.f_frsize
            if (free < self.floor) != self._full:
                self._full = not self._full
                log.error("disk.full" if self._full else "disk.has_room", path=str(self._path), free=free, floor=self.floor)
        return self._full


class Budget:
    """Octets that may be on their way in at the same time (`Limits.inflight_octets`). For one event loop."""

    __slots__ = ("_disk", "limit", "used")

    def __init__(self, limit: int, disk: Disk | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._disk = disk

    def take(self, octets: int) -> bool:
        """Reserve, or say no and change nothing."""
        if not self.room(octets):
            return False
        self.used += octets
        return True

    def give(self, octets: int) -> None:
        """Give back what was taken."""
        assert octets <= self.used
        self.used -= octets

    def room(self, octets: int) -> bool:
        """Whether `take` would succeed now."""
        return self.used + octets <= self.limit and not (self._disk is not None and self._disk.full())
