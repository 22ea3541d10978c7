"""Periodic work on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from directory.local import LocalDirectory
from directory.model import NewUnit
from filters import dkim
from govmail.config import Config
from govmail.errors import StoreFailed
from govmail.jobs.dkim import Keys
from govmail.jobs.runner import Job, JobRunner, standard_jobs
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.store import accounts, contents, incoming, mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import Delivery

OWNER = "00000000-0000-0000-0000-000000000001"


class Time:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database.open("", data_dir=tmp_path, durable=False, readers=1)
    yield opened
    await opened.close()


async def nothing(database: Database, now: int) -> bool:
    return False


async def test_one_process_at_a_time_does_a_job(database: Database) -> None:
    time, done = Time(), []

    async def batch(database: Database, now: int) -> bool:
        done.append(now)
        return True

    job = Job("work", 3600.0, batch)
    first, second = (JobRunner(Config(), database, clock=time, jobs=[job]) for _ in range(2))
    assert await first.run_once(job)
    assert not await second.run_once(job)
    assert await first.run_once(job)
    time.now += timedelta(hours=2)  # the first one has gone
    assert await second.run_once(job)
    assert not await first.run_once(job)
    assert len(done) == 3


async def test_a_failing_job_fails_alone(database: Database) -> None:
    ran = asyncio.Event()

    async def refused(database: Database, now: int) -> bool:
        raise StoreFailed

    async def broken(database: Database, now: int) -> bool:
        raise ZeroDivisionError

    async def good(database: Database, now: int) -> bool:
        ran.set()
        return False

    runner = JobRunner(Config(), database, clock=Time(), jobs=[Job("a", 60, refused), Job("b", 60, broken), Job("c", 60, good)])
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        await ran.wait()
        runner.stop()


async def test_standard_jobs_run_on_an_empty_store(database: Database) -> None:
    runner = JobRunner(Config(), database, clock=Time())
    assert [await runner.run_once(job) for job in standard_jobs()] == [False] * 4


def _expunge_all(conn: Connection, now: int) -> None:
    account = accounts.find(conn, OWNER)
    assert account is not None
    box = mailboxes.get(conn, account.account_id, "INBOX")
    messages.store_flags(conn, account.account_id, box.mailbox_id, [(1, 1000)], "add", 8, [])
    messages.expunge(conn, account.account_id, box.mailbox_id, None, now=now)


async def test_what_nobody_holds_is_collected(database: Database) -> None:
    time, config = Time(), Config()
    mail = Message.of(b"Subject: big\r\n\r\n" + b"".join(b"%d line\r\n" % (n * n * 7919) for n in range(80_000)))
    content = contents.prepare(read(mail, config.limits), mail, database.blobs)
    start = int(time.now.timestamp())
    await database.write(incoming.deliver, content, [Delivery(OWNER, "a@jx.example")], internal_date=start, now=start)
    collect = next(job for job in standard_jobs() if job.name == "contents")
    runner = JobRunner(config, database, clock=time, jobs=[])
    time.now += timedelta(hours=3)
    await runner.run_once(collect)
    assert len(list(database.blobs.paths())) == 1
    await database.write(_expunge_all, int(time.now.timestamp()))
    await runner.run_once(collect)
    time.now += timedelta(hours=3)
    await runner.run_once(collect)
    assert list(database.blobs.paths()) == []


async def test_every_domain_gets_a_dkim_key(database: Database, tmp_path: Path) -> None:
    people = LocalDirectory(database)
    await people.prepare()
    root = await people.add_unit(NewUnit("江西省", "jx", None, 1, domain="jx.example"))
    for number in range(6):
        await people.add_domain(f"d{number}.jx.example", root.unit_id)
    job = Keys(people, tmp_path)
    kept = dkim.ensure_key(tmp_path, "jx.example").read_bytes()
    assert await job.make(database, 0) is True
    assert await job.make(database, 0) is False
    assert len(list(dkim.key_dir(tmp_path).iterdir())) == 7
    assert dkim.key_file(tmp_path, "jx.example").read_bytes() == kept
