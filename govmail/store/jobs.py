"""A function on its way through a transaction, and the bounded queue in which it waits for a thread.

Invariants
- A job is answered exactly once: with its result after the commit, or with an error after which nothing of it is stored
  (but for `StoreFailed` on a connection that broke in COMMIT, where nobody can know).
- A job that waited beyond its deadline, or whose caller has gone, is never begun.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from govmail.errors import Busy, MailError, StoreFailed
from govmail.interfaces import Bus, Hint

HINTS = "govmail.hints"  # key in Connection.info of what the running function has noted


class Job:
    """`fn(conn, *args, **kwargs)` in one transaction, and who waits for it: a future on a loop, or an event.

    `joins`: the only argument is an item, and `fn(conn, items)` answers for several of them at once.
    """

    __slots__ = ("alone", "args", "deadline", "done", "error", "fn", "future", "hints", "joins", "kwargs", "loop", "result")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], deadline: float, alone: bool, joins: bool = False
    ) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.deadline = deadline  # time.monotonic()
        self.alone = alone  # no other job shares its transaction
        self.joins = joins
        self.result: Any = None
        self.error: BaseException | None = None
        self.hints: list[Hint] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[Any] | None = None
        self.done: threading.Event | None = None

    def call(self, conn: Connection) -> None:
        """Run the function and keep its result and its hints; what it raises goes to the caller of this."""
        conn.info[HINTS] = self.hints = []
        self.error = None
        self.result = self.fn(conn, self.args)[0] if self.joins else self.fn(conn, *self.args, **self.kwargs)

    def fail(self, error: BaseException) -> None:
        """Answer with an error; what is not a MailError of the function's own becomes StoreFailed where it is the store's."""
        self.result = None
        self.hints = []
        self.error = error

    def startable(self) -> bool:
        """Whether anybody still waits; sets Busy on a job that has waited too long."""
        if self.future is not None and self.future.cancelled():
            return False
        if time.monotonic() > self.deadline:
            self.fail(Busy(private="waited too long for a database thread"))
            return False
        return True


def call_together(conn: Connection, jobs: Sequence[Job]) -> None:
    """One call for the items of jobs that join, all of one function. What it raises concerns none of them yet."""
    hints: list[Hint] = []
    conn.info[HINTS] = hints
    results = jobs[0].fn(conn, [job.args[0] for job in jobs])
    for job, result in zip(jobs, results, strict=True):
        job.result, job.error, job.hints = result, None, []
    jobs[0].hints = hints


def joined(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """The jobs in their order, neighbours that can be done in one call together."""
    batch: list[Job] = []
    for job in jobs:
        if batch and not (job.joins and batch[0].joins and job.fn is batch[0].fn):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


class JobQueue:
    """First in, first out, between any threads; refuses with Busy when `limit` jobs wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Job) -> None:
        """Raises Busy when full, StoreFailed when the store is closed."""
        with self._changed:
            if self._closed:
                raise StoreFailed(private="the store is closed")
            if len(self._jobs) >= self._limit:
                raise Busy(private=f"{self._limit} database jobs are waiting")
            self._jobs.append(job)
            self._changed.notify()

    def take(self, most: int = 1) -> list[Job]:
        """Wait for jobs; at most `most` at once, an `alone` one by itself. Empty: closed and drained."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            taken: list[Job] = []
            while self._jobs and len(taken) < most:
                if self._jobs[0].alone and taken:
                    break
                taken.append(self._jobs.popleft())
                if taken[-1].alone:
                    break
            return taken

    def close(self) -> None:
        """Accept nothing more; what waits is still done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def answer(jobs: Sequence[Job], bus: Bus | None) -> None:
    """Tell the callers of finished jobs, all of one loop in one call. From any thread."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if job.loop is not None:
            loops.setdefault(job.loop, []).append(job)
        elif job.done is not None:
            job.done.set()
    for loop, its in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, its, bus)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(jobs: Sequence[Job], bus: Bus | None) -> None:
    if bus is not None:
        hints = [hint for job in jobs for hint in job.hints]
        if hints:
            bus.publish(hints)
    for job in jobs:
        future = job.future
        if future is None or future.done():
            continue
        if job.error is not None:
            future.set_exception(job.error)
        else:
            future.set_result(job.result)


def as_refusal(error: BaseException, driver_error: tuple[type[BaseException], ...]) -> BaseException:
    """What the caller gets to see of an exception in its function: driver errors become StoreFailed, others pass."""
    if isinstance(error, MailError) or not isinstance(error, driver_error):
        return error
    refusal = StoreFailed(private=f"{type(error).__name__}: {error}")
    refusal.__cause__ = error
    return refusal
