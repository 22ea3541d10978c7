"""One timer for all connections.

Invariants: however many connections there are, the loop has one pending call; a connection stands in at most one slot;
times are whole seconds, and nothing fires early.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol


class Timed(Protocol):
    """What a wheel can wake."""

    due: int  # the slot it stands in, 0 when in none; the wheel's own

    def on_time(self, now: int) -> int | None:
        """Called at or after the time; returns when to call again, None for never."""


class Wheel:
    """Slots of one second. `now` counts seconds and is cheap to read."""

    def __init__(self) -> None:
        self.now = 1
        self._slots: dict[int, set[Timed]] = {}
        self._sleepers: dict[int, list[asyncio.Future[None]]] = {}
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._handle is None:
            self._tick_later()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for sleepers in self._sleepers.values():
            for future in sleepers:
                future.cancel()
        self._sleepers.clear()

    def put(self, one: Timed, at: int) -> None:
        """Wake `one` at `at`, and no longer when it was to be woken before."""
        self.drop(one)
        one.due = max(at, self.now + 1)
        self._slots.setdefault(one.due, set()).add(one)

    def drop(self, one: Timed) -> None:
        slot = self._slots.get(one.due)
        if slot is not None:
            slot.discard(one)
            if not slot:
                del self._slots[one.due]
        one.due = 0

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`, without a timer of one's own."""
        if seconds <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.setdefault(self.now + 1 + math.ceil(seconds), []).append(future)
        await future

    def _tick_later(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(1.0, self._tick)

    def _tick(self) -> None:
        self._tick_later()
        self.now += 1
        for future in self._sleepers.pop(self.now, ()):
            if not future.done():
                future.set_result(None)
        for one in self._slots.pop(self.now, ()):
            one.due = 0
            again = one.on_time(self.now)
            if again is not None:
                self.put(one, again)
