"""Removes contents that no mailbox, queue entry or held mail names any more, and the files of their bodies.

Invariant: files go after the commit that removed their rows; a crash between leaves an orphan for `jobs.orphans`.
"""

from __future__ import annotations

import asyncio

from govmail.store import collect as store
from govmail.store.database import Database

BATCH = 1000  # in one transaction, every ten seconds: 360,000 an hour


async def collect(database: Database, now: int) -> bool:
    """One batch. The next one waits for its turn: removing is never urgent."""
    paths = await database.write_alone(store.contents, now, BATCH)
    for path in paths:
        await asyncio.to_thread(database.blobs.remove, path)
    return False
