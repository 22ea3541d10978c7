"""The cached resolver: what is reused, what never is, and what happens while the directory is away."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from directory.cache import RETRY_SECONDS, CachedResolver
from directory.model import DirectoryService
from govmail.config import DirectoryTable
from govmail.errors import DirectoryUnavailable
from govmail.interfaces import Resolution, Target
from govmail.mail.address import Address

TABLE = DirectoryTable(positive_seconds=60.0, negative_seconds=10.0, stale_seconds=86_400.0, cache_entries=10)
ZHANG = Address.parse("zhangsan@jx.example")


class Directory:
    """The two questions of the mail path, counted; slow, away or changed at will."""

    def __init__(self) -> None:
        self.owners = {ZHANG.key: "one"}
        self.disabled: set[str] = set()
        self.asked: list[str] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, address: Address) -> Resolution:
        self.asked.append(address.key)
        await self.gate.wait()
        if self.away:
            raise DirectoryUnavailable
        owner = self.owners.get(address.key)
        if owner is None:
            return Resolution(address, True)
        if owner in self.disabled:
            return Resolution(address, True, disabled=True)
        return Resolution(address, True, (Target(owner, address, "unit"),))

    async def is_local_domain(self, domain: str) -> bool:
        self.asked.append(domain)
        if self.away:
            raise DirectoryUnavailable
        return domain == "jx.example"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(directory: Directory, clock: Clock) -> CachedResolver:
    return CachedResolver(cast(DirectoryService, directory), TABLE, clock=clock)


async def owner(resolver: CachedResolver, address: Address = ZHANG) -> list[str]:
    return [target.directory_id for target in (await resolver.resolve(address)).targets]


async def test_an_answer_is_reused_for_its_time_only(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    for now, asked in [(0, 1), (59, 1), (60, 2)]:
        clock.now = 1000.0 + now
        assert await owner(resolver) == ["one"]
        assert len(directory.asked) == asked


async def test_nobody_is_reused_for_a_shorter_time(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    nobody = Address.parse("nobody@jx.example")
    for now, asked in [(0, 1), (9, 1), (10, 2)]:
        clock.now = 1000.0 + now
        assert await owner(resolver, nobody) == []
        assert len(directory.asked) == asked


async def test_spellings_share_an_answer_and_keep_their_own_address(resolver: CachedResolver, directory: Directory) -> None:
    await resolver.resolve(ZHANG)
    found = await resolver.resolve(Address.parse("ZhangSan@JX.example"))
    assert found.address.local == "ZhangSan" and found.targets[0].directory_id == "one"
    assert len(directory.asked) == 1


async def test_an_add_is_seen_at_once(resolver: CachedResolver, directory: Directory) -> None:
    fresh = Address.parse("lisi@jx.example")
    assert await owner(resolver, fresh) == []
    directory.owners[fresh.key] = "two"
    resolver.invalidate_address(fresh)
    assert await owner(resolver, fresh) == ["two"]


async def test_the_same_address_for_another_person_is_seen_at_once(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    assert await owner(resolver) == ["one"]
    directory.owners[ZHANG.key] = "two"
    clock.now += 1
    resolver.invalidate()
    clock.now += 1
    assert await owner(resolver) == ["two"]


async def test_an_answer_that_was_under_way_during_a_change_is_not_kept(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    directory.gate.clear()
    waiting = asyncio.create_task(owner(resolver))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now += 1
    resolver.invalidate()
    directory.gate.set()
    await waiting
    clock.now += 1
    await resolver.resolve(ZHANG)
    assert len(directory.asked) == 2


async def test_many_at_once_ask_once(resolver: CachedResolver, directory: Directory) -> None:
    directory.gate.clear()
    waiting = [asyncio.create_task(owner(resolver)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # whoever asked first may go away
    await asyncio.sleep(0)
    directory.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [["one"]] * 49
    assert len(directory.asked) == 1


async def test_without_the_directory_known_people_still_get_mail(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    await resolver.resolve(ZHANG)
    assert await resolver.is_local_domain("jx.example")
    directory.away = True
    clock.now += 3600
    assert await owner(resolver) == ["one"]
    assert await resolver.is_local_domain("jx.example")
    clock.now += 86_400
    with pytest.raises(DirectoryUnavailable):
        await resolver.resolve(ZHANG)
    with pytest.raises(DirectoryUnavailable):
        await resolver.is_local_domain("jx.example")


async def test_without_the_directory_nobody_is_called_unknown_or_disabled(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    off = Address.parse("off@jx.example")
    directory.owners[off.key] = "three"
    directory.disabled.add("three")
    nobody = Address.parse("nobody@jx.example")
    assert (await resolver.resolve(off)).disabled
    assert not (await resolver.resolve(nobody)).exists
    assert not await resolver.is_local_domain("elsewhere.example")
    directory.away = True
    clock.now += 61
    for address in (off, nobody, Address.parse("never-asked@jx.example")):
        with pytest.raises(DirectoryUnavailable):
            await resolver.resolve(address)
    with pytest.raises(DirectoryUnavailable):
        await resolver.is_local_domain("elsewhere.example")


async def test_a_directory_that_failed_is_left_alone_for_a_moment(resolver: CachedResolver, directory: Directory, clock: Clock) -> None:
    directory.away = True
    for number in range(20):
        with pytest.raises(DirectoryUnavailable):
            await resolver.resolve(Address.parse(f"x{number}@jx.example"))
    assert len(directory.asked) == 1
    directory.away = False
    clock.now += RETRY_SECONDS
    assert await owner(resolver) == ["one"]


async def test_the_cache_has_a_size(resolver: CachedResolver, directory: Directory) -> None:
    for number in range(30):
        await resolver.resolve(Address.parse(f"x{number}@jx.example"))
    directory.asked.clear()
    for number in range(29, -1, -1):
        await resolver.resolve(Address.parse(f"x{number}@jx.example"))
    assert 20 <= len(directory.asked) < 30
