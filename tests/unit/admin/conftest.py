"""A context of real parts: SQLite, the local directory, its cache, cheap password hashes, a clock that tests own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from admin.actions.context import Actor, Context
from admin.actions.perform import perform
from directory.cache import CachedResolver
from directory.local import LocalDirectory
from directory.passwords import PasswordPool
from filters.chain import FilterChain
from filters.quarantine import Quarantine
from govmail.config import Config, DirectoryTable
from govmail.control import ControlServer
from govmail.store.database import Database
from govmail.wire.control import Done, Failure, Frame, Progress, Request, Row

NOW = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
ME = Actor.of_uid(os.geteuid(), "test")


@dataclass
class World:
    """The context, and what acts did to the parts around it."""

    ctx: Context
    resolver: CachedResolver
    kicked: list[str] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    kicking: asyncio.Event = field(default_factory=asyncio.Event)
    may_kick: asyncio.Event = field(default_factory=asyncio.Event)
    server: ControlServer | None = None

    async def frames(self, act: str, arguments: dict[str, Any] | None = None, *, actor: Actor = ME, data: bytes = b"", **more: Any) -> list[Frame]:
        """Everything that the act answers."""
        frames: list[Frame] = []

        async def emit(frame: Frame) -> None:
            frames.append(frame)

        async def lines() -> AsyncIterator[bytes]:
            for line in data.splitlines():
                yield line

        await perform(self.ctx, actor, Request(act, arguments or {}, **more), emit, lines())
        return frames

    async def do(self, act: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        """The result of an act that is done: its value, or the list of its rows."""
        frames = await self.frames(act, arguments, **more)
        last = frames[-1]
        assert isinstance(last, Done), last
        rows = [frame.value for frame in frames if isinstance(frame, Row)]
        return rows if last.value is None else last.value

    async def refused(self, act: str, arguments: dict[str, Any] | None = None, **more: Any) -> Failure:
        frames = [frame for frame in await self.frames(act, arguments, **more) if not isinstance(frame, Progress)]
        assert isinstance(frames[-1], Failure), frames
        return frames[-1]

    async def audit(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.do("audit.list")
        return rows

    async def province(self) -> None:
        """江西省/赣州市/发改委 with domains jx.example and fgw.gz.jx.example, and 张三 in it."""
        await self.do("unit.add", {"path": "江西省"})
        await self.do("domain.add", {"domain": "jx.example", "unit": "江西省"})
        await self.do("unit.add", {"path": "江西省/赣州市/发改委", "line": "发改", "kind": "政府", "label": "fgw", "domain": "fgw.gz.jx.example"})
        await self.do("person.add", {"name": "张三", "unit": "江西省/赣州市/发改委"})


@asynccontextmanager
async def make_world(data_dir: Path) -> AsyncIterator[World]:
    """A world in `data_dir`, for as long as the context lasts."""
    database = Database.open("", data_dir=data_dir, durable=False)
    directory = LocalDirectory(database, clock=lambda: NOW)
    pool = PasswordPool(cores=2, memory_kib=64, passes=1)
    world: World

    async def kick(directory_id: str) -> int:
        world.kicked.append(directory_id)
        world.kicking.set()
        await world.may_kick.wait()
        return 2

    config = Config()
    quarantine = Quarantine(database, FilterChain(config.filters, (), ()), config, clock=lambda: NOW, spool_dir=data_dir / "spool")
    resolver = CachedResolver(directory, DirectoryTable())
    ctx = Context(
        config=config, data_dir=data_dir, database=database, directory=directory, cache=resolver, hasher=pool,
        quarantine=quarantine, kick=kick, clock=lambda: NOW, wake_queue=lambda: world.woken.append("queue"),
    )  # fmt: skip
    world = World(ctx, resolver)
    world.may_kick.set()
    yield world
    await pool.close()
    await database.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as made:
        yield made
