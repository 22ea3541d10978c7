"""A server with a directory in memory that notes what it accepts instead of storing it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop

from govmail.bus import LocalBus
from govmail.config import Limits, Listener
from govmail.delivery.budget import Budget, Disk
from govmail.delivery.full import FullMailboxes
from govmail.interfaces import Acceptance, Principal, Resolution
from govmail.mail.envelope import Envelope, Origin
from govmail.mail.message import Message
from govmail.smtp.server import SmtpServer
from govmail.smtp.session import Services
from tests.kit.people import People
from tests.kit.tls import server_context


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Dialogues run on both event loops: their transports differ in what they do around TLS and closing."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name == "test_dialogue.py":
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@dataclass
class Accepted:
    envelope: Envelope
    data: bytes
    origin: Origin
    principal: Principal | None


@dataclass
class Stage:
    """A running server and what it was given."""

    people: People
    limits: Limits
    spool: Path
    mails: list[Accepted] = field(default_factory=list)
    answer: Acceptance | Exception | None = None  # instead of 250
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # an acceptance has begun
    go: asyncio.Event | None = None  # it waits for this
    ids: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.disk = Disk(self.spool.parent, 0)
        self.budget = Budget(self.limits.inflight_octets, self.disk)
        self.server = SmtpServer(
            Services(
                "mail.jx.example",
                self.limits,
                self.people,
                self.people,
                self.accept,
                self.budget,
                self.spool,
                lambda: f"Q{next(self.ids)}",
                FullMailboxes(LocalBus(), lambda: datetime.now(UTC)),
            )
        )

    async def accept(
        self,
        envelope: Envelope,
        message: Message,
        origin: Origin,
        resolutions: Sequence[Resolution],
        principal: Principal | None,
    ) -> Acceptance:
        self.begun.set()
        if self.go is not None:
            await self.go.wait()
        assert [one.address for one in resolutions] == [one.address for one in envelope.recipients]
        if isinstance(self.answer, Exception):
            raise self.answer
        self.mails.append(Accepted(envelope, message.read(), origin, principal))
        return self.answer or Acceptance(250, "2.0.0", f"M{len(self.mails)}")

    async def listen(self, protocol: str = "smtp", **options: Any) -> int:
        listener = Listener(name=protocol, protocol=protocol, port=0, **{"tls": "starttls", **options})
        return await self.server.start(listener, server_context())


Staging = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Callable[..., Stage]]:
    """Makes a Stage; `limits` as keywords."""
    stages: list[Stage] = []

    def make(**limits: Any) -> Stage:
        people = People()
        people.add("zhangsan", "secret", "san.zhang@jx.example")
        people.add("lisi")
        people.add("wangwu")
        people.disabled.add("wangwu")
        people.add_group("all@jx.example", ["zhangsan", "lisi"], ["partner@else.example"])
        people.add_group("postmaster@jx.example", ["zhangsan"])
        made = Stage(people, Limits(**limits), tmp_path / "spool")
        stages.append(made)
        return made

    yield make
    for one in stages:
        if one.go is not None:
            one.go.set()
        await one.server.stop(grace=0)
        assert one.budget.used == 0
        assert not list(one.spool.glob("*"))
