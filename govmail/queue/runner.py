"""Moves what is in the queue: leases due entries, has them worked on side by side, and sleeps until the next is due.

Invariants
- An entry is worked on only under a lease, and leases are extended while work goes on: a worker that dies loses its entries
  to another after `Queue.lease_seconds`, a slow one keeps them.
- No more than `Queue.workers` jobs at a time, of these no more than `Queue.per_domain` to one domain elsewhere.
- A message may be sent twice only where SMTP cannot exclude it: when the other server took it and we died, or lost the
  connection, before that was written down (RFC 5321 §6.1). It is never lost.

RFC 5321 §4.5.4 (retry strategies).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable

import structlog

from govmail.config import Config
from govmail.errors import Busy, MailError, StoreFailed
from govmail.interfaces import Clock, Resolver
from govmail.queue.work import Job, Worker
from govmail.relay.attempt import Relay
from govmail.store import queue
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import QueueEntry
from govmail.telemetry import incident

log = structlog.get_logger()

POLL_SECONDS = 5.0  # how late an entry of another process may be noticed
STOP_SECONDS = 20.0  # jobs may finish this long after `stop`


class QueueRunner:
    """One per process. `await run()` inside a task group; `wake()` after an enqueue; `stop()` to end gracefully.

    `alone`: no other process works on this queue (SQLite), so leases found at the start are a dead predecessor's.
    `new_id` makes queue ids for the messages that the queue makes itself (`delivery.ids.id_source`).
    """

    def __init__(
        self, config: Config, database: Database, resolver: Resolver, relay: Relay, *, clock: Clock, alone: bool,
        new_id: Callable[[], str], rng: random.Random | None = None, poll_seconds: float = POLL_SECONDS,
    ) -> None:  # fmt: skip
        self._settings = config.queue
        self._batch = config.limits.relay_recipients
        self._database = database
        self._clock = clock
        self._alone = alone
        self._poll = poll_seconds
        self._owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._worker = Worker(
            config, database, resolver, relay, owner=self._owner, clock=clock, rng=rng or random.SystemRandom(), new_id=new_id
        )
        self._waiting: deque[Job] = deque()  # leased, not begun
        self._active: dict[asyncio.Task[None], Job] = {}
        self._news = asyncio.Event()  # something was enqueued or finished
        self._stopping = False

    def wake(self) -> None:
        """Something was enqueued. From the event loop."""
        self._news.set()

    def stop(self) -> None:
        """Begin nothing new; `run` returns when what has begun is finished, or after STOP_SECONDS."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Work until `stop`. Cancelling loses nothing either: leases run out."""
        await self._work(until_idle=False)

    async def run_due(self) -> None:
        """Work off what is due now, and what comes due by it, then return. For tests and `queue` commands."""
        await self._work(until_idle=True)

    async def _work(self, *, until_idle: bool) -> None:
        if self._alone:
            await self._database.write(release_all, now=self._now())
        async with asyncio.TaskGroup() as group:
            heart = group.create_task(self._extend_leases())
            try:
                while not self._stopping:
                    self._news.clear()
                    found = await self._lease()
                    self._begin(group)
                    if until_idle and not (found or self._active or self._waiting):
                        break
                    if not found or self._busy:
                        await self._pause()
                await self._finish()
            finally:
                heart.cancel()
                await self._put_back()

    # -- taking ------------------------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        """Whether so much is leased that more would only wait here."""
        return len(self._active) + len(self._waiting) >= 2 * self._settings.workers

    async def _lease(self) -> bool:
        """Take due entries; whether there were any."""
        if self._busy:
            return False
        load = Counter(job.domain for job in (*self._active.values(), *self._waiting) if job.kind == "remote")
        full = [domain for domain, count in load.items() if count >= self._settings.per_domain]
        try:
            entries = await self._database.write(
                queue.lease, self._owner, now=self._now(), limit=self._batch, lease_seconds=self._settings.lease_seconds,
                busy_domains=full,
            )  # fmt: skip
        except (StoreFailed, Busy) as error:
            log.warning("queue: no lease", error=error.public, cause=error.private)
            return False
        self._waiting.extend(jobs(entries))
        return bool(entries)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Start waiting jobs as far as workers and domains have room."""
        load = Counter(job.domain for job in self._active.values() if job.kind == "remote")
        for _ in range(len(self._waiting)):
            if len(self._active) >= self._settings.workers:
                return
            job = self._waiting.popleft()
            if job.kind == "remote" and load[job.domain] >= self._settings.per_domain:
                self._waiting.append(job)
                continue
            load[job.domain] += job.kind == "remote"
            task = group.create_task(self._perform(job))
            self._active[task] = job
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._news.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._news.wait()
        except TimeoutError:
            pass

    # -- doing -------------------------------------------------------------------------------------------------

    async def _perform(self, job: Job) -> None:
        """The job; whatever happens stays in it. An entry that made us stumble waits for its lease to run out."""
        try:
            await self._worker.perform(job)
        except MailError as error:
            log.warning("queue: not written down", queue_id=job.queue_id, error=error.public, cause=error.private)
        except Exception:
            log.exception("queue: job failed", incident=incident(), queue_id=job.queue_id, kind=job.kind)

    # -- leases ------------------------------------------------------------------------------------------------

    async def _extend_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            held = [entry.entry_id for job in (*self._active.values(), *self._waiting) for entry in job.entries]
            try:
                await self._database.write(extend_all, self._owner, held, until=self._now() + self._settings.lease_seconds)
            except MailError as error:
                log.warning("queue: leases not extended", error=error.public, cause=error.private)

    async def _finish(self) -> None:
        """Let what has begun come to its end, for a while."""
        if self._active:
            await asyncio.wait(set(self._active), timeout=STOP_SECONDS)
        for task in list(self._active):
            task.cancel()

    async def _put_back(self) -> None:
        """What was leased and not begun is due again at once; what was broken off too."""
        left = [entry.entry_id for job in (*self._waiting, *self._active.values()) for entry in job.entries]
        self._waiting.clear()
        if left:
            await self._database.write(put_back_all, self._owner, left, now=self._now())

    def _now(self) -> int:
        return int(self._clock().timestamp())


def jobs(entries: Iterable[QueueEntry]) -> list[Job]:
    """Entries grouped by message, kind and domain, in the order of their first ones."""
    groups: dict[tuple[str, str, str], list[QueueEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.message.queue_id, entry.kind, entry.domain), []).append(entry)
    return [Job(tuple(group)) for group in groups.values()]


def extend_all(conn: Connection, owner: str, entry_ids: Iterable[int], *, until: int) -> None:
    """Keep these leases; those that were lost stay lost."""
    for entry_id in entry_ids:
        queue.extend(conn, entry_id, until=until, owner=owner)


def put_back_all(conn: Connection, owner: str, entry_ids: Iterable[int], *, now: int) -> None:
    """End these leases; the entries are due at once."""
    for entry_id in entry_ids:
        queue.put_back(conn, entry_id, now=now, owner=owner)


def release_all(conn: Connection, *, now: int) -> None:
    """End every lease: whoever held them is gone."""
    after = 0
    while page := queue.list_page(conn, after=after, limit=1000):
        for entry in page:
            if entry.state == "leased":
                queue.put_back(conn, entry.entry_id, now=now)
        after = page[-1].entry_id
