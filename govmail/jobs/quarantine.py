"""Removes held mail whose time is over (`Filters.quarantine_days`)."""

from __future__ import annotations

from govmail.store import quarantine as store
from govmail.store.database import Database

BATCH = 100


async def expire(database: Database, now: int) -> bool:
    """One batch; whether more may wait."""
    return await database.write(store.expire, now, limit=BATCH) >= BATCH
