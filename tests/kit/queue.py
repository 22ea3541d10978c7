"""A store with a queue runner on it, a directory of a few people, and a clock that the test turns."""

from __future__ import annotations

import asyncio
import email
import email.policy
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from govmail.config import Config, Queue
from govmail.errors import DirectoryUnavailable
from govmail.interfaces import Resolution, Target
from govmail.mail.address import Address
from govmail.mail.envelope import DEFAULT_NOTIFY, Notify
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.queue.runner import QueueRunner
from govmail.relay.attempt import Relay
from govmail.store import accounts, blobs, contents, incoming, mailboxes, messages, queue
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import NewEntry, NewQueueMessage, QueueEntry
from tests.kit.peer import Peer, running

MESSAGE = b"From: <zhang@jx.example>\r\nTo: <x@a.example>\r\nMessage-ID: <1@jx.example>\r\nSubject: test\r\n\r\nbody\r\n"


class Directory:
    """jx.example is ours; people are a name each, `everyone@jx.example` is all of them."""

    def __init__(self, *people: str, remote: Sequence[str] = ()) -> None:
        self.people = {name: f"00000000-0000-0000-0000-{index:012d}" for index, name in enumerate(people, 1)}
        self.remote = tuple(map(Address.parse, remote))
        self.away = False

    async def is_local_domain(self, domain: str) -> bool:
        if self.away:
            raise DirectoryUnavailable
        return domain == "jx.example"

    async def resolve(self, address: Address) -> Resolution:
        if not await self.is_local_domain(address.domain):
            return Resolution(address, False)
        if address.local in ("everyone", "office"):  # two lists with the same members
            everybody = tuple(Target(one, Address(name, "jx.example"), "unit") for name, one in self.people.items())
            return Resolution(address, True, everybody, self.remote, is_group=True)
        found = self.people.get(address.local)
        return Resolution(address, True, (Target(found, address, "unit"),) if found else ())


class Hosts:
    """Every domain is served on 127.0.0.1."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return [(10, f"mx.{domain}")]

    async def addresses(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"]


class House:
    """A store with a queue runner on it, and a clock that the test turns."""

    def __init__(self, tmp_path: Path, directory: Directory, port: int = 1, url: str = "", **settings: Any) -> None:
        self.path, self.directory = tmp_path, directory
        waits = {"command_seconds": 60.0, "data_seconds": 60.0, "connect_seconds": 60.0}
        self.config = Config(hostname="mail.jx.example", queue=Queue(port=port, **(waits | settings)))
        self.time = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
        self.database = Database.open(url, data_dir=tmp_path, durable=False, readers=1)
        self.count = 0

    def clock(self) -> datetime:
        return self.time

    @property
    def now(self) -> int:
        return int(self.time.timestamp())

    def new_id(self) -> str:
        self.count += 1
        return f"made{self.count}"

    def runner(self, *, alone: bool = True) -> QueueRunner:
        """It does not poll: what it does, it does at once or because it was woken."""
        relay = Relay(self.config, Hosts(), rng=random.Random(1))
        return QueueRunner(
            self.config, self.database, self.directory, relay, clock=self.clock, alone=alone, rng=random.Random(1), new_id=self.new_id,
            poll_seconds=3600.0,
        )

    async def work(self, **later: float) -> None:
        self.time += timedelta(**later)
        async with asyncio.timeout(120):
            await self.runner().run_due()

    async def enqueue(self, *entries: NewEntry, sender: str = "zhang@jx.example", octets: bytes = MESSAGE, **more: Any) -> str:
        mail = Message.of(octets)
        content = await asyncio.to_thread(contents.prepare, read(mail, self.config.limits), mail, self.database.blobs)
        message = NewQueueMessage(self.new_id(), sender, entries, **({"lifetime": self.config.queue.lifetime_seconds} | more))
        await self.database.write(incoming.deliver, content, (), internal_date=self.now, now=self.now, queue=message)
        return message.queue_id

    async def entries(self) -> list[QueueEntry]:
        return await self.database.read(queue.list_page, after=0, limit=1000)

    async def inbox(self, name: str, mailbox: str = "INBOX") -> list[EmailMessage]:
        """What lies in a person's mailbox, parsed."""
        return await self.database.read(mails_in, self.directory.people[name], mailbox, self.database.blobs)

    async def notices(self, name: str = "zhang") -> list[str]:
        """The subjects in a person's INBOX."""
        return [str(one["Subject"]) for one in await self.inbox(name)]


def mails_in(conn: Connection, owner: str, mailbox: str, files: blobs.BlobFiles) -> list[EmailMessage]:
    """What lies in a mailbox, parsed."""
    account = accounts.find(conn, owner)
    if account is None:
        return []
    box = mailboxes.get(conn, account.account_id, mailbox)
    found = []
    for one in messages.rows(conn, account.account_id, box.mailbox_id, None):
        row = contents.envelopes(conn, [one.content_id])[one.content_id]
        ref = blobs.locate(conn, [row.blob_id])[row.blob_id]
        octets = contents.headers(conn, [one.content_id])[one.content_id] + blobs.read(ref, 0, ref.size, files)
        found.append(email.message_from_bytes(octets, policy=email.policy.default))
    return found


def remote(recipient: str, notify: Notify = DEFAULT_NOTIFY) -> NewEntry:
    return NewEntry("remote", recipient, recipient.partition("@")[2], notify)


@asynccontextmanager
async def house(
    tmp_path: Path, peer: Peer | None = None, directory: Directory | None = None, *, url: str = "", **settings: Any
) -> AsyncIterator[House]:
    """`url`: of an empty database; SQLite in `tmp_path` without one."""
    async with running(peer or Peer()) as listening:
        one = House(tmp_path, directory or Directory("zhang"), listening.port, url, **settings)
        try:
            yield one
        finally:
            await one.database.close()
