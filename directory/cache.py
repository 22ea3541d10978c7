"""Answers of the directory, reused for a short while: the `Resolver` of the mail path over either directory.

Invariants
- Only the live directory says that an address or domain is not there, or takes no mail. While it cannot be asked, what
  was found earlier is served for delivery; everything else is DirectoryUnavailable.
- After `invalidate` no answer is served that was asked for before it; a question in flight at that moment is not kept.
- A hit awaits nothing. One question per address is under way at a time, however many wait for its answer.
- Keys are canonical addresses and domains; an answer carries directory ids, so it names people and not spellings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from directory.model import DirectoryService
from govmail.config import DirectoryTable
from govmail.errors import DirectoryUnavailable
from govmail.interfaces import Resolution
from govmail.mail.address import Address

T = TypeVar("T")

RETRY_SECONDS = 1.0  # after a failure the directory is left alone so long: a hanging one would hold up every delivery


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    answer: T
    positive: bool
    asked: float
    fresh_until: float
    weight: int


class _Answers(Generic[T]):
    """One kind of question, by key."""

    def __init__(
        self, ask: Callable[[str], Awaitable[T]], positive: Callable[[T], bool], weight: Callable[[T], int],
        config: DirectoryTable, clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._positive = positive
        self._weigh = weight
        self._config = config
        self._clock = clock
        self._entries: dict[str, _Entry[T]] = {}  # oldest answer first
        self._weight = 0
        self._generation = 0
        self._invalidated = float("-inf")
        self._under_way: dict[str, asyncio.Task[T]] = {}
        self._quiet_until = float("-inf")

    def hit(self, key: str) -> T | None:
        """A fresh answer, if there is one."""
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry.fresh_until and entry.asked > self._invalidated:
            return entry.answer
        return None

    async def get(self, key: str) -> T:
        """The answer of the directory, or what it said earlier while it is away."""
        if self._clock() < self._quiet_until:
            return self._stale(key)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._question(key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        try:
            return await asyncio.shield(task)  # one who goes away does not take the answer from the others
        except DirectoryUnavailable:
            return self._stale(key)

    async def _question(self, key: str) -> T:
        generation, asked = self._generation, self._clock()
        try:
            answer = await self._ask(key)
        except DirectoryUnavailable:
            self._quiet_until = self._clock() + RETRY_SECONDS
            raise
        if generation == self._generation:
            self._keep(key, answer, asked)
        return answer

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
        if not task.cancelled():
            task.exception()  # everybody who waited may have gone away; it is not lost, the next one asks again

    def _keep(self, key: str, answer: T, asked: float) -> None:
        positive = self._positive(answer)
        lifetime = self._config.positive_seconds if positive else self._config.negative_seconds
        self._drop(key)
        entry = _Entry(answer, positive, asked, asked + lifetime, self._weigh(answer))
        self._entries[key] = entry
        self._weight += entry.weight
        while self._weight > self._config.cache_entries and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry.weight

    def _stale(self, key: str) -> T:
        entry = self._entries.get(key)
        if entry is None or not entry.positive or self._clock() > entry.asked + self._config.stale_seconds:
            raise DirectoryUnavailable
        return entry.answer

    def invalidate(self, key: str | None) -> None:
        """None: everything. Positive answers stay for times without a directory, but are asked for again."""
        self._generation += 1
        if key is None:
            self._invalidated = self._clock()
            self._under_way.clear()
        else:
            self._drop(key)
            self._under_way.pop(key, None)


class CachedResolver:
    """`interfaces.Resolver` over a directory. Event loop only."""

    def __init__(self, directory: DirectoryService, config: DirectoryTable, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._resolutions: _Answers[Resolution] = _Answers(
            lambda key: directory.resolve(_address(key)), lambda answer: answer.exists,
            lambda answer: 1 + len(answer.targets) + len(answer.remote), config, clock,
        )
        self._domains: _Answers[bool] = _Answers(directory.is_local_domain, bool, lambda _: 1, config, clock)

    async def is_local_domain(self, domain: str) -> bool:
        """See `interfaces.Resolver`."""
        answer = self._domains.hit(domain)
        return await self._domains.get(domain) if answer is None else answer

    async def resolve(self, address: Address) -> Resolution:
        """See `interfaces.Resolver`."""
        key = address.key
        answer = self._resolutions.hit(key)
        if answer is None:
            answer = await self._resolutions.get(key)
        return answer if answer.address == address else replace(answer, address=address)

    def invalidate(self) -> None:
        """After any change of the directory: everything is asked for again."""
        self._resolutions.invalidate(None)
        self._domains.invalidate(None)

    def invalidate_address(self, address: Address) -> None:
        """After an add, alias or rename that concerns one address only."""
        self._resolutions.invalidate(address.key)


def _address(key: str) -> Address:
    local, _, domain = key.rpartition("@")
    return Address(local, domain)
