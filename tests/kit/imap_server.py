"""An IMAP server for tests: the real one on a real store, with people who are made up as they log in."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from govmail.bus import LocalBus
from govmail.config import Config, Limits, Listener
from govmail.errors import AuthenticationFailed
from govmail.imap.server import ImapServer
from govmail.imap.upload import prepare
from govmail.interfaces import Principal
from govmail.mail.message import Message
from govmail.store import accounts, acl, incoming
from govmail.store.database import Database
from govmail.store.values import Delivery
from tests.kit.tls import server_context

PASSWORD = "secret"
NOW = 1_800_000_000  # 2027-01-15 16:00:00 +0800
TEST_LIMITS = Limits(imap_failure_seconds=0.0)


def person_id(login: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, login.lower()))


class Everybody:
    """An Authenticator, and People: everybody with the right password is somebody, once they were seen."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self.quotas: dict[str, int | None] = {}  # by login

    async def find(self, login: str) -> str | None:
        if "@" not in login or "nobody" in login:
            return None
        self._seen[person_id(login)] = login.lower()
        return person_id(login)

    async def logins(self, directory_ids: tuple[str, ...]) -> dict[str, str]:
        return {one: self._seen[one] for one in directory_ids if one in self._seen}

    async def authenticate(self, login: str, password: str, source_ip: str) -> Principal:
        if password != PASSWORD or "nobody" in login:
            raise AuthenticationFailed
        self._seen[person_id(login)] = login.lower()
        return Principal(person_id(login), login, "unit", (login,), self.quotas.get(login))


@dataclass
class Stage:
    """A running server. `plain` takes logins in clear, `starttls` does not, `implicit` speaks TLS from the start."""

    server: ImapServer
    database: Database
    bus: LocalBus
    people: Everybody
    plain: int
    starttls: int
    implicit: int

    async def deliver(self, login: str, octets: bytes, mailbox: str = "INBOX") -> None:
        """Mail arrives."""
        content = await prepare(Message.of(octets), self.server.readers, self.database.blobs)
        await self.database.write(
            incoming.deliver, content, [Delivery(person_id(login), login, mailbox)], internal_date=NOW, now=NOW
        )

    async def share(self, name: str, administrator: str) -> None:
        """A mailbox of a unit, which one person keeps."""
        await self.database.write(acl.share, person_id(name), name, person_id(administrator), now=NOW, most=100)

    async def set_quota(self, login: str, octets: int | None, messages: int | None = None) -> None:
        self.people.quotas[login] = octets
        await self.database.write(accounts.ensure, person_id(login), now=NOW)
        await self.database.write(accounts.set_quota, person_id(login), octets, messages=messages)


@asynccontextmanager
async def running(url: str, data_dir: Path, limits: Limits = TEST_LIMITS) -> AsyncIterator[Stage]:
    bus = LocalBus()
    database = Database.open(url, data_dir=data_dir, durable=False, readers=2, bus=bus)
    people = Everybody()
    server = ImapServer(
        Config(hostname="mail.jx.example", limits=limits), database, people, bus, people=people,
        clock=lambda: datetime.fromtimestamp(NOW, UTC),
    )  # fmt: skip
    try:
        ports = []
        for name, tls in (("plain", "none"), ("starttls", "starttls"), ("implicit", "implicit")):
            listener = Listener(name=name, protocol="imap", port=0, tls=tls, allow_plain_login=name == "plain")  # type: ignore[arg-type]
            listening = await server.start(listener, server_context() if tls != "none" else None)
            ports.append(listening.sockets[0].getsockname()[1])
        yield Stage(server, database, bus, people, *ports)
    finally:
        await server.close()
        await database.close()
