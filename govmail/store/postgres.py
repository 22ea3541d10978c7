"""PostgreSQL behind the store: reading and writing threads with a connection each.

Invariants
- A write is one READ COMMITTED transaction; functions lock the accounts they change, in ascending order, before anything
  else, so that changes of one account follow one another and modseq grows in the order of commits.
- A write that lost a race (serialization failure, deadlock) is run again, at most RETRIES times.
- A read is one REPEATABLE READ, READ ONLY snapshot.
- A connection that broke is replaced; a write whose COMMIT was cut off is answered with StoreFailed, for nobody can know.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from govmail.errors import StoreFailed
from govmail.interfaces import Bus
from govmail.store.jobs import Job, JobQueue, answer, as_refusal

DRIVER_ERRORS = (psycopg.Error, SQLAlchemyError)
WRITERS = 8  # writing threads; a commit waits for the disk, and the server groups what waits
RETRIES = 5
CONNECT_SECONDS = 10
STATEMENT_MS = 60_000
LOCK_MS = 30_000

_RACES = ("40001", "40P01")  # serialization_failure, deadlock_detected


def make_engine(url: URL, *, durable: bool) -> Engine:
    """An engine whose connections carry their time limits."""
    options = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={LOCK_MS} -c idle_in_transaction_session_timeout={STATEMENT_MS}"
    if not durable:
        options += " -c synchronous_commit=off"
    if "options" in url.query:
        options = f"{url.query['options']} {options}"
        url = url.difference_update_query(["options"])
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS, "options": options},
    )


class PostgresBackend:
    """The threads of one PostgreSQL database."""

    def __init__(self, engine: Engine, *, readers: int, waiting: int, bus: Bus | None) -> None:
        self._bus = bus
        self._engine = engine
        self._writes = JobQueue(waiting)
        self._reads = JobQueue(waiting)
        self._threads = [
            threading.Thread(target=self._loop, args=(self._writes, False), name=f"store-writer-{number}", daemon=True)
            for number in range(WRITERS)
        ] + [
            threading.Thread(target=self._loop, args=(self._reads, True), name=f"store-reader-{number}", daemon=True)
            for number in range(readers)
        ]
        for thread in self._threads:
            thread.start()

    def write(self, job: Job) -> None:
        """Raises Busy."""
        self._writes.put(job)

    def read(self, job: Job) -> None:
        """Raises Busy."""
        self._reads.put(job)

    def close(self) -> None:
        """Do what waits, then end the threads and close the connections. Blocks."""
        self._writes.close()
        self._reads.close()
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    def _loop(self, jobs: JobQueue, reading: bool) -> None:
        conn: Connection | None = None
        while taken := jobs.take():
            for job in taken:
                if job.startable():
                    conn = self._run(conn, job, reading)
            answer(taken, self._bus)
        if conn is not None:
            conn.close()

    def _run(self, conn: Connection | None, job: Job, reading: bool) -> Connection | None:
        """Run the job; returns the connection to go on with, None when it broke."""
        for attempt in range(RETRIES + 1):
            try:
                conn = conn or self._connect(reading)
                with conn.begin():
                    job.call(conn)
            except Exception as error:
                if conn is None or driver(conn).closed or driver(conn).broken:
                    _discard(conn)
                    conn = None
                if attempt < RETRIES and _lost_race(error):
                    time.sleep(random.uniform(0.001, 0.01) * 2**attempt)
                    continue
                job.fail(as_refusal(error, DRIVER_ERRORS))
            return conn
        return conn

    def _connect(self, reading: bool) -> Connection:
        conn = self._engine.connect()
        if reading:
            return conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return conn


def driver(conn: Connection) -> psycopg.Connection[Any]:
    """The driver's connection under SQLAlchemy's."""
    raw = conn.connection.dbapi_connection
    inner = getattr(raw, "driver_connection", raw)
    assert isinstance(inner, psycopg.Connection)
    return inner


def _discard(conn: Connection | None) -> None:
    if conn is not None:
        try:
            conn.invalidate()
            conn.close()
        except DRIVER_ERRORS:
            pass


def _lost_race(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, StoreFailed):
        cause = error.__cause__
    return isinstance(cause, psycopg.Error) and cause.sqlstate in _RACES
