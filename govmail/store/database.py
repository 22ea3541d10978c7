"""The door to the store: plain functions run in worker threads, each inside one transaction.

Invariants
- `fn(conn, …)` under `read` sees one snapshot and writes nothing; under `write` it is stored when the call returns, and
  not at all when the call raises (but see StoreFailed).
- A function under `write` may run more than once and has no effect outside `conn`. Nothing in it can await.
- What it noted (`changes.note`) is published on the event loop after the commit, before the caller goes on.
- Nobody waits without a bound: a full queue is Busy at once, a wait beyond `WAIT_SECONDS` is Busy, a write that was begun
  and not answered in that time is StoreFailed.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, make_url

from govmail.errors import StoreFailed
from govmail.interfaces import Bus
from govmail.store import migrate, postgres, sqlite
from govmail.store.blobs import BlobFiles
from govmail.store.jobs import Job

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

WAITING_JOBS = 5000  # reads or writes that wait for a thread; beyond it Busy
WAIT_SECONDS = 60.0  # for the thread, and again for the transaction


class Backend(Protocol):
    """The threads of one database."""

    def read(self, job: Job) -> None: ...
    def write(self, job: Job) -> None: ...
    def close(self) -> None: ...


class Database:
    """One database and its blob files. See `open`."""

    def __init__(self, backend: Backend, blobs: BlobFiles) -> None:
        self._backend = backend
        self.blobs = blobs

    @classmethod
    def open(cls, url: str, *, data_dir: Path, durable: bool = True, readers: int = 4, bus: Bus | None = None) -> Database:
        """Open and migrate to the newest schema. Blocks; raises StoreFailed.

        `url`: "" = SQLite in `data_dir`, "sqlite://" = in memory, "sqlite:///file", "postgresql://…". `durable` False:
        commits may be lost in a power cut. `readers`: reading threads.
        """
        blobs = BlobFiles(data_dir / "blobs")
        parsed = make_url(url or f"sqlite:///{data_dir / 'mail.sqlite'}")
        backend: Backend
        if parsed.get_backend_name() == "sqlite":
            path = Path(parsed.database) if parsed.database and parsed.database != ":memory:" else None
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives the WAL the same mode
            engine = sqlite.make_engine(path, durable=durable)
            migrate.to_head(engine)
            backend = sqlite.SqliteBackend(engine, readers=readers, waiting=WAITING_JOBS, bus=bus)
        elif parsed.get_backend_name() == "postgresql":
            engine = postgres.make_engine(parsed, durable=durable)
            migrate.to_head(engine)
            backend = postgres.PostgresBackend(engine, readers=readers, waiting=WAITING_JOBS, bus=bus)
        else:
            raise StoreFailed(f"no such kind of database: {parsed.get_backend_name()}")
        return cls(backend, blobs)

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(conn, …)` in one snapshot. Raises what it raises, Busy, StoreFailed."""
        return await self._wait(self._backend.read, fn, args, kwargs, alone=False)

    async def write(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(conn, …)` in one transaction, committed when this returns. Raises what it raises, Busy, StoreFailed.

        Cancelling the caller does not undo what has begun; shield where the answer matters.
        """
        return await self._wait(self._backend.write, fn, args, kwargs, alone=False)

    async def write_together(self, fn: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
        """`write` for what many do at once: `fn(conn, items)` gets the items of all who wait now, and answers in their order.

        When it raises, it is called again with each item alone, so one caller's trouble is not another's.
        """
        return await self._wait(self._backend.write, fn, (item,), {}, alone=False, joins=True)

    async def write_alone(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a function that writes more than 1,000 rows or 1 MB: it shares its commit with nobody."""
        return await self._wait(self._backend.write, fn, args, kwargs, alone=True)

    def run_read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` for callers without an event loop. Blocks."""
        return self._block(self._backend.read, fn, args, kwargs)

    def run_write(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for callers without an event loop; hints go nowhere. Blocks."""
        return self._block(self._backend.write, fn, args, kwargs)

    async def close(self) -> None:
        """Finish what waits and close all connections."""
        await asyncio.to_thread(self._backend.close)

    def run_close(self) -> None:
        """`close` for callers without an event loop. Blocks."""
        self._backend.close()

    async def _wait(
        self, put: Callable[[Job], None], fn: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object],
        *, alone: bool, joins: bool = False,
    ) -> T:  # fmt: skip
        job = Job(fn, args, kwargs, time.monotonic() + WAIT_SECONDS, alone, joins)
        job.loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = job.loop.create_future()
        job.future = future
        put(job)
        # Not asyncio.timeout: this is on the way of every mail, and a plain timer costs a tenth of it.
        timer = job.loop.call_later(2 * WAIT_SECONDS, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    def _block(self, put: Callable[[Job], None], fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
        job = Job(fn, args, kwargs, time.monotonic() + WAIT_SECONDS, alone=False)
        job.done = threading.Event()
        put(job)
        job.done.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result


def _give_up(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(StoreFailed(private="the database did not answer in time; the outcome is unknown"))
