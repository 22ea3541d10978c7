"""What the door to the store promises: one commit for a group, nothing half stored, snapshots, bounds, hints."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from govmail.errors import Busy, Conflict, StoreFailed
from govmail.interfaces import Hint
from govmail.store import changes, lease, postgres, sqlite
from govmail.store.database import Database
from govmail.store.jobs import Job, JobQueue
from govmail.store.migrate import to_head


class RecordingBus:
    """A Bus that remembers."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []

    def publish(self, hints: Sequence[Hint]) -> None:
        self.hints += hints

    def subscribe(self, account_id: int, wake: object) -> object:
        raise AssertionError("nobody subscribes here")


def put(conn: Connection, name: str, *, fail: Exception | None = None) -> str:
    """Write a row, note a hint, perhaps refuse."""
    lease.take(conn, name, "owner", 10, 0)
    changes.note(conn, Hint(1, len(name)))
    if fail is not None:
        raise fail
    return name


def names(conn: Connection) -> set[str]:
    return {row[0] for row in conn.execute(text("SELECT name FROM lease"))}


class Gate:
    """Holds the writing thread inside a transaction until opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self, conn: Connection) -> None:
        self.reached.set()
        assert self.opened.wait(30)


async def queued(*writes: asyncio.Task[object]) -> None:
    """Let every task come to the point where it waits for the store."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_write_is_read_afterwards(url: str, tmp_path: Path) -> None:
    bus = RecordingBus()
    db = Database.open(url, data_dir=tmp_path, durable=False, bus=bus)  # type: ignore[arg-type]
    assert await db.write(put, "a") == "a"
    assert await db.read(names) == {"a"}
    assert bus.hints == [Hint(1, 1)]
    await db.close()
    again = Database.open(url, data_dir=tmp_path, durable=False)
    assert await again.read(names) == {"a"}
    await again.close()


async def test_a_refusal_stores_nothing_and_says_nothing(url: str, tmp_path: Path) -> None:
    bus = RecordingBus()
    db = Database.open(url, data_dir=tmp_path, durable=False, bus=bus)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        await db.write(put, "a", fail=Conflict())
    with pytest.raises(ZeroDivisionError):
        await db.write(put, "b", fail=ZeroDivisionError())
    assert await db.read(names) == set()
    assert bus.hints == []
    await db.close()


async def test_the_database_of_memory(tmp_path: Path) -> None:
    db = Database.open("sqlite://", data_dir=tmp_path)
    await asyncio.gather(*(db.write(put, name) for name in "abc"))
    assert await db.read(names) == {"a", "b", "c"}
    await db.close()


async def test_driver_errors_become_store_failed(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)

    def nonsense(conn: Connection) -> None:
        conn.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(StoreFailed) as caught:
        await db.write(nonsense)
    assert "no_such_table" in (caught.value.private or "")
    with pytest.raises(StoreFailed):
        await db.read(nonsense)
    assert await db.write(put, "a") == "a"
    await db.close()


async def test_readers_cannot_write(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    with pytest.raises(StoreFailed):
        await db.read(put, "a")
    assert await db.read(names) == set()
    await db.close()


async def test_a_read_is_one_snapshot(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    first_read, written = threading.Event(), threading.Event()

    def twice(conn: Connection) -> tuple[set[str], set[str]]:
        before = names(conn)
        first_read.set()
        assert written.wait(30)
        return before, names(conn)

    reading = asyncio.create_task(db.read(twice))
    await asyncio.to_thread(first_read.wait, 30)
    await db.write(put, "late")
    written.set()
    assert await reading == (set(), set())
    assert await db.read(names) == {"late"}
    await db.close()


async def test_a_caller_that_left_before_its_turn_is_not_served(tmp_path: Path) -> None:
    db = Database.open("", data_dir=tmp_path, durable=False)
    gate = Gate()
    holding = asyncio.create_task(db.write(gate.wait))
    await asyncio.to_thread(gate.reached.wait, 30)
    leaving = asyncio.create_task(db.write(put, "gone"))
    staying = asyncio.create_task(db.write(put, "here"))
    await queued()
    leaving.cancel()
    await queued()
    gate.opened.set()
    await holding
    await staying
    assert await db.read(names) == {"here"}
    await db.close()


# -- the group of SQLite --------------------------------------------------------------------------------------------


async def test_waiting_writes_share_a_commit_and_refuse_alone(tmp_path: Path) -> None:
    db = Database.open("", data_dir=tmp_path, durable=False)
    statements: list[str] = []
    gate = Gate()

    def watch(conn: Connection) -> None:
        sqlite.driver(conn).set_trace_callback(statements.append)
        gate.wait(conn)

    holding = asyncio.create_task(db.write(watch))
    await asyncio.to_thread(gate.reached.wait, 30)
    tasks = [asyncio.create_task(db.write(put, f"name-{number}", fail=Conflict() if number == 3 else None)) for number in range(8)]
    await queued()
    statements.clear()
    gate.opened.set()
    await holding
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(results) if isinstance(result, Conflict)] == [3]
    assert await db.read(names) == {f"name-{number}" for number in range(8) if number != 3}
    assert statements.count("COMMIT") == 2  # of the one that held the thread, and of all others together
    await db.close()


async def test_heavy_writes_run_alone(tmp_path: Path) -> None:
    db = Database.open("", data_dir=tmp_path, durable=False)
    statements: list[str] = []
    gate = Gate()

    def watch(conn: Connection) -> None:
        sqlite.driver(conn).set_trace_callback(statements.append)
        gate.wait(conn)

    holding = asyncio.create_task(db.write(watch))
    await asyncio.to_thread(gate.reached.wait, 30)
    tasks = [asyncio.create_task(put_one) for put_one in (db.write(put, "a"), db.write_alone(put, "b"), db.write(put, "c"))]
    await queued()
    gate.opened.set()
    await asyncio.gather(holding, *tasks)
    assert statements.count("COMMIT") == 4
    await db.close()


async def test_a_full_disk_refuses_only_what_does_not_fit(tmp_path: Path) -> None:
    """SQLITE_FULL may end the whole transaction: nobody may be told "stored" who is not."""
    db = Database.open("", data_dir=tmp_path, durable=False)
    calls: list[str] = []
    gate = Gate()

    def fill_disk(conn: Connection) -> None:
        raw = sqlite.driver(conn)
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages + 4}")
        gate.wait(conn)

    def small(conn: Connection, name: str) -> None:
        calls.append(name)
        lease.take(conn, name, "owner", 10, 0)

    def large(conn: Connection) -> None:
        calls.append("large")
        conn.execute(text("INSERT INTO counter SELECT 'x', zeroblob(1000000)"))

    holding = asyncio.create_task(db.write(fill_disk))
    await asyncio.to_thread(gate.reached.wait, 30)
    writes = (db.write(small, "a"), db.write(small, "b"), db.write(large), db.write(small, "c"))
    tasks = [asyncio.create_task(one) for one in writes]
    await queued()
    gate.opened.set()
    await holding
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), type(None), StoreFailed, type(None)]
    assert await db.read(names) == {"a", "b", "c"}
    assert max(calls.count(name) for name in calls) <= 2
    await db.close()


async def test_an_early_end_of_the_transaction_is_noticed(tmp_path: Path) -> None:
    """A member that ends everybody's transaction, as SQLite itself may, costs nobody their mail."""
    db = Database.open("", data_dir=tmp_path, durable=False)
    gate = Gate()

    def end(conn: Connection) -> None:
        sqlite.driver(conn).execute("ROLLBACK")

    holding = asyncio.create_task(db.write(gate.wait))
    await asyncio.to_thread(gate.reached.wait, 30)
    tasks = [asyncio.create_task(one) for one in (db.write(put, "a"), db.write(end), db.write(put, "b"))]
    await queued()
    gate.opened.set()
    await holding
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await db.read(names) == {"a", "b"}
    await db.close()


def test_too_many_waiting_is_busy() -> None:
    jobs = JobQueue(limit=2)
    for _ in range(2):
        jobs.put(Job(names, (), {}, float("inf"), alone=False))
    with pytest.raises(Busy):
        jobs.put(Job(names, (), {}, float("inf"), alone=False))
    assert len(jobs.take(10)) == 2
    jobs.close()
    with pytest.raises(StoreFailed):
        jobs.put(Job(names, (), {}, float("inf"), alone=False))


def test_a_job_that_waited_too_long_is_busy() -> None:
    job = Job(names, (), {}, deadline=0.0, alone=False)
    assert not job.startable()
    assert isinstance(job.error, Busy)


def test_durable_means_synced(tmp_path: Path) -> None:
    for durable, level in ((True, 2), (False, 0)):
        engine = sqlite.make_engine(tmp_path / f"{durable}.sqlite", durable=durable)
        with engine.connect() as conn:
            assert sqlite.driver(conn).execute("PRAGMA synchronous").fetchone()[0] == level
            assert sqlite.driver(conn).execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_the_files_are_closed_to_others(tmp_path: Path) -> None:
    db = Database.open("", data_dir=tmp_path)
    db.run_write(put, "a")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("mail.sqlite*")}
    db.run_close()
    assert "mail.sqlite-wal" in modes
    assert set(modes.values()) == {0o600}


def test_another_writer_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    engine = sqlite.make_engine(path, durable=False)
    to_head(engine)
    conn = engine.connect()
    sqlite.driver(conn).execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    job = Job(put, ("a",), {}, float("inf"), alone=False)
    assert isinstance(sqlite.run_group(conn, [job]), StoreFailed)
    other.execute("COMMIT")
    assert sqlite.run_group(conn, [job]) is None
    other.close()
    conn.close()


# -- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_deadlock_is_run_again(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    await db.write(put, "a")
    await db.write(put, "b")
    both = threading.Barrier(2)
    runs: list[str] = []

    def cross(conn: Connection, first: str, second: str) -> None:
        runs.append(first)
        conn.execute(text("UPDATE lease SET until = until + 1 WHERE name = :name"), {"name": first})
        if len(runs) <= 2:
            both.wait(30)
        conn.execute(text("UPDATE lease SET until = until + 1 WHERE name = :name"), {"name": second})

    await asyncio.gather(db.write(cross, "a", "b"), db.write(cross, "b", "a"))
    assert len(runs) == 3
    assert await db.read(lambda conn: {row[0] for row in conn.execute(text("SELECT until FROM lease"))}) == {12}
    await db.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_broken_connection_is_replaced(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)

    def cut(conn: Connection) -> None:
        lease.take(conn, "cut", "owner", 10, 0)
        raw = postgres.driver(conn)
        raw.close()

    for _ in range(2 * postgres.WRITERS):
        with pytest.raises(StoreFailed):
            await db.write(cut)
    assert await db.write(put, "a") == "a"
    assert await db.read(names) == {"a"}
    await db.close()
