"""Removes body files that belong to transactions that never committed.

Invariant: only files older than a day that no row names; see `store.collect.orphans`.
"""

from __future__ import annotations

import asyncio

from govmail.store import collect as store
from govmail.store.database import Database


async def remove(database: Database, now: int) -> bool:
    """All of them; they are few."""
    for path in await database.read(store.orphans, database.blobs, now):
        await asyncio.to_thread(database.blobs.remove, path)
    return False
