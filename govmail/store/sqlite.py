"""SQLite behind the store: one writing thread that commits in groups, several reading threads.

Invariants
- Only the writing thread writes. It takes what waits, runs each function in a savepoint, commits once and answers then;
  what arrives during a commit forms the next group, so the group grows with the load and nobody waits for it to fill.
- When a COMMIT fails, or an error ends the transaction under us, nobody of the group is answered as stored: its members
  run again alone, once, and are refused with StoreFailed if that fails too.
- A reader sees one snapshot and cannot write.
- The driver is in autocommit mode and BEGIN stands here: under pysqlite's own transactions the release of the outermost
  savepoint commits early.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from govmail.errors import StoreFailed
from govmail.interfaces import Bus
from govmail.store.jobs import Job, JobQueue, answer, as_refusal, call_together, joined

DRIVER_ERRORS = (sqlite3.Error, SQLAlchemyError)
GROUP_MEMBERS = 64  # jobs in one commit: bounds what one failing COMMIT repeats and how long the first waits
BUSY_SECONDS = 10.0  # for locks of other processes: a backup, the CLI's read
PAGE_OCTETS = 8192  # a 4 KB mail with its rows fits; larger pages write more per commit

# Errors that say "this transaction is over" or "the disk does not take more": no savepoint helps.
_FATAL = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip


def make_engine(path: Path | None, *, durable: bool) -> Engine:
    """An engine on the file, or in memory (one shared connection) when None."""
    arguments = {"isolation_level": None, "check_same_thread": False, "timeout": BUSY_SECONDS, "cached_statements": 512}
    engine = create_engine(
        "sqlite://" if path is None else f"sqlite:///{path}",
        poolclass=StaticPool if path is None else NullPool,
        connect_args=arguments,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            f"page_size={PAGE_OCTETS}",  # before the first table
            "journal_mode=WAL",  # readers and the writer don't wait for each other
            f"synchronous={'FULL' if durable else 'OFF'}",  # FULL: the WAL is synced at every commit
            # Copying the WAL into the file costs two syncs and a write per distinct page: rarely, in larger pieces.
            "wal_autocheckpoint=4000",  # pages: 32 MB
            "journal_size_limit=67108864",
            "cache_size=-65536",  # KB; of the writer
            "mmap_size=0",  # a disk error under mmap is a SIGBUS, which would end the whole server
            "temp_store=MEMORY",
            # Foreign keys are not declared: every reference is kept by the functions of the store, in one transaction,
            # and accounts and contents may one day lie in different databases.
            "foreign_keys=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


class SqliteBackend:
    """The threads of one SQLite database. In memory, reads run in the writing thread: there is one connection only."""

    def __init__(self, engine: Engine, *, readers: int, waiting: int, bus: Bus | None) -> None:
        self._bus = bus
        self._engine = engine
        self._writes = JobQueue(waiting)
        in_memory = isinstance(engine.pool, StaticPool)
        self._reads = self._writes if in_memory else JobQueue(waiting)
        self._threads = [threading.Thread(target=self._write_loop, args=(engine.connect(),), name="store-writer", daemon=True)]
        if not in_memory:
            self._threads += [
                threading.Thread(target=self._read_loop, args=(engine.connect(),), name=f"store-reader-{number}", daemon=True)
                for number in range(readers)
            ]
        self._reads_alone = in_memory
        for thread in self._threads:
            thread.start()

    def write(self, job: Job) -> None:
        """Raises Busy."""
        self._writes.put(job)

    def read(self, job: Job) -> None:
        """Raises Busy."""
        job.alone = self._reads_alone
        self._reads.put(job)

    def close(self) -> None:
        """Do what waits, then end the threads and close the connections. Blocks."""
        self._writes.close()
        self._reads.close()
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    def _write_loop(self, conn: Connection) -> None:
        with conn:
            while group := self._writes.take(GROUP_MEMBERS):
                ready = [job for job in group if job.startable()]
                if ready:
                    self._commit(conn, ready)
                answer(group, self._bus)

    def _commit(self, conn: Connection, group: Sequence[Job]) -> None:
        """One transaction for the group; if it is lost, one for each of them."""
        failure = run_group(conn, group)
        if failure is None:
            return
        if len(group) == 1:
            group[0].fail(failure)
            return
        for job in group:
            again = run_group(conn, [job])
            if again is not None:
                job.fail(again)

    def _read_loop(self, conn: Connection) -> None:
        with conn:
            driver(conn).execute("PRAGMA query_only=ON")
            driver(conn).execute("PRAGMA cache_size=-4096")  # KB; the system's page cache serves all readers
            while taken := self._reads.take():
                for job in taken:
                    if job.startable():
                        read_one(conn, job)
                answer(taken, self._bus)


def driver(conn: Connection) -> sqlite3.Connection:
    """The driver's connection under SQLAlchemy's."""
    return cast(sqlite3.Connection, conn.connection.dbapi_connection)


def run_group(conn: Connection, group: Sequence[Job]) -> StoreFailed | None:
    """Run all in one transaction and commit; a failure that undid all of them is returned. Members that refuse are marked."""
    raw = driver(conn)
    try:
        raw.execute("BEGIN IMMEDIATE")
        if len(group) == 1:
            _run_only(conn, raw, group[0])
        else:
            for batch in joined(group):
                _run_batch(conn, raw, batch)
        if raw.in_transaction:  # not after a lone job that refused
            raw.execute("COMMIT")
    except Exception as error:
        _rollback(raw)
        return _failed(error)
    return None


def _run_only(conn: Connection, raw: sqlite3.Connection, job: Job) -> None:
    try:
        job.call(conn)
    except Exception as error:
        _rollback(raw)
        job.fail(as_refusal(error, DRIVER_ERRORS))


def _run_batch(conn: Connection, raw: sqlite3.Connection, batch: Sequence[Job]) -> None:
    """Jobs in one call; where that fails, one by one, so that a refusal hits only whom it concerns."""
    if len(batch) > 1:
        raw.execute("SAVEPOINT batch")
        try:
            call_together(conn, batch)
        except Exception as error:
            if is_fatal(error):
                raise
            _still_open(raw)
            raw.execute("ROLLBACK TO batch")
        else:
            _still_open(raw)
            raw.execute("RELEASE batch")
            return
        raw.execute("RELEASE batch")
    for job in batch:
        _run_member(conn, raw, job)


def _run_member(conn: Connection, raw: sqlite3.Connection, job: Job) -> None:
    raw.execute("SAVEPOINT member")
    try:
        job.call(conn)
    except Exception as error:
        if is_fatal(error):
            raise
        _still_open(raw)
        raw.execute("ROLLBACK TO member")
        job.fail(as_refusal(error, DRIVER_ERRORS))
    _still_open(raw)
    raw.execute("RELEASE member")


def _still_open(raw: sqlite3.Connection) -> None:
    # SQLite may end the whole transaction on an error, also on one that the function swallowed.
    if not raw.in_transaction:
        raise sqlite3.OperationalError("the transaction ended early")


def read_one(conn: Connection, job: Job) -> None:
    """Run in one snapshot."""
    raw = driver(conn)
    try:
        raw.execute("BEGIN")
        job.call(conn)
    except Exception as error:
        job.fail(as_refusal(error, DRIVER_ERRORS))
    finally:
        _rollback(raw)


def is_fatal(error: BaseException) -> bool:
    """Whether the error is one of the disk or of the whole transaction, not of one statement."""
    cause = error.orig if isinstance(error, SQLAlchemyError) and hasattr(error, "orig") else error
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _FATAL


def _rollback(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        try:
            raw.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # it was rolled back by the error already


def _failed(error: BaseException) -> StoreFailed:
    refusal = StoreFailed(private=f"{type(error).__name__}: {error}")
    refusal.__cause__ = error
    return refusal
