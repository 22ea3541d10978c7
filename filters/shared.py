"""Antivirus verdicts on equal bytes, scanned once.

Invariants
- Only a verdict *clean* (of the whole mail) or *infected* is kept or handed to another mail; anything else counts for
  the one mail that it was given for.
- Equal mails in flight wait for one scan; when that scan gives nothing that may be shared, or its mail is given up, each
  of the others is scanned by itself.
- At most `entries` verdicts are kept, each for `seconds`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from govmail.interfaces import Scan, Verdict

Key = tuple[str, bytes]
"""Identity of the engine (name, versions, limits) and SHA-256 of the bytes as received."""


class SharedVerdicts:
    """Belongs to one event loop."""

    def __init__(self, seconds: float, entries: int, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._entries = entries
        self._monotonic = monotonic
        self._kept: OrderedDict[Key, tuple[float, Verdict]] = OrderedDict()  # oldest first; value: expiry and verdict
        self._in_flight: dict[Key, asyncio.Future[Verdict | None]] = {}

    async def get(self, key: Key, scan: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """The kept verdict for `key`, that of the scan in flight, or a new one of `scan`."""
        kept = self._recall(key)
        if kept is not None:
            return kept
        flight = self._in_flight.get(key)
        if flight is not None:
            # A waiter's cancellation must not cancel the future that others wait for.
            verdict = await asyncio.shield(flight)
            return await scan() if verdict is None else replace(verdict, elapsed=0.0)
        return await self._lead(key, scan)

    async def _lead(self, key: Key, scan: Callable[[], Awaitable[Verdict]]) -> Verdict:
        flight: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = flight
        shareable: Verdict | None = None
        try:
            verdict = await scan()
            if verdict.scan in (Scan.CLEAN, Scan.INFECTED):
                shareable = verdict
                self._keep(key, verdict)
            return verdict
        finally:
            del self._in_flight[key]
            flight.set_result(shareable)

    def _recall(self, key: Key) -> Verdict | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        expires, verdict = entry
        if self._monotonic() >= expires:
            del self._kept[key]
            return None
        return replace(verdict, elapsed=0.0)

    def _keep(self, key: Key, verdict: Verdict) -> None:
        self._kept[key] = (self._monotonic() + self._seconds, verdict)
        self._kept.move_to_end(key)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)
