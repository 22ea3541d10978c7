"""Reads and verifies the audit trail of operator acts; `govmail.store.audit` writes it.

Invariants: nothing here changes an entry. Reading goes page by page, so a trail of millions streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from govmail.store import audit
from govmail.store.database import Database
from govmail.store.values import AuditEntry

PAGE = 1000


async def read(database: Database, *, after: int = 0) -> AsyncIterator[AuditEntry]:
    """The entries with numbers above `after`, ascending."""
    while page := await database.read(audit.entries, after, PAGE):
        for entry in page:
            yield entry
        after = page[-1].seq


async def count(database: Database) -> int:
    """How many entries there are."""
    return await database.read(audit.count)


async def verify(database: Database) -> int | None:
    """The number of the first entry at which the chain breaks; None when it is whole."""
    return await database.read(audit.verify)
