"""Periodic work: each job runs in one process at a time, does a bounded batch, and yields.

Invariants
- A job runs under the store's lease "job:<name>", taken for its whole period and not given back: however many processes
  there are, a job runs once in a period, and another process takes over when its runner has gone.
- A job that fails is logged and tried again in the next period; it ends neither the others nor the process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from govmail.config import Config
from govmail.errors import MailError
from govmail.interfaces import Clock
from govmail.jobs import contents, history, orphans, quarantine
from govmail.store import lease
from govmail.store.database import Database
from govmail.telemetry import incident

log = structlog.get_logger()

BREATH_SECONDS = 0.2  # between two batches of a job, so that mail goes first


@dataclass(frozen=True, slots=True)
class Job:
    """`batch(database, now)` does a bounded piece of work at `now` (seconds) and says whether more waits."""

    name: str
    every: float  # seconds
    batch: Callable[[Database, int], Awaitable[bool]]


def standard_jobs() -> tuple[Job, ...]:
    """What every server does."""
    return (
        Job("contents", 10.0, contents.collect),
        Job("orphans", 6 * 3600.0, orphans.remove),
        Job("quarantine", 600.0, quarantine.expire),
        Job("history", 3600.0, history.History().trim),
    )


class JobRunner:
    """One per process that does backstage work: `await run()` in a task group; `stop()` ends it after the running batches."""

    def __init__(self, config: Config, database: Database, *, clock: Clock, jobs: Sequence[Job] | None = None) -> None:
        self._grace = config.queue.lease_seconds  # a batch may take this long before its lease can pass on
        self._database = database
        self._clock = clock
        self._jobs = standard_jobs() if jobs is None else jobs
        self._owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Begin no further batch."""
        self._stopped.set()

    async def run(self) -> None:
        """Until `stop`, or until cancelled: a batch is a transaction, so that harms nothing."""
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._repeat(job))

    async def run_once(self, job: Job) -> bool:
        """One batch of `job`, if the lease is ours; whether more waits. What goes wrong is logged."""
        now = int(self._clock().timestamp())
        until = now + max(int(job.every), self._grace)
        try:
            if not await self._database.write(lease.take, f"job:{job.name}", self._owner, until, now):
                return False
            return await job.batch(self._database, now)
        except MailError as error:
            log.warning("job failed", job=job.name, error=error.public, cause=error.private)
        except Exception:
            log.exception("job failed", job=job.name, incident=incident())
        return False

    async def _repeat(self, job: Job) -> None:
        while not self._stopped.is_set():
            more = await self.run_once(job)
            try:
                async with asyncio.timeout(BREATH_SECONDS if more else job.every):
                    await self._stopped.wait()
            except TimeoutError:
                continue
