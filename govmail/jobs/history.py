"""Forgets old expunges, so that what QRESYNC can tell exactly stays small (RFC 7162 §3.2.5.2).

Invariant: a mailbox's floor rises in the transaction that forgets what lies below it.
"""

from __future__ import annotations

from govmail.store import accounts
from govmail.store import collect as store
from govmail.store.database import Database

BATCH = 500  # accounts


class History:
    """Goes through all accounts, a batch at a time, and begins again."""

    def __init__(self) -> None:
        self._after = 0

    async def trim(self, database: Database, now: int) -> bool:
        """One batch; whether more accounts follow."""
        page = await database.read(accounts.list_page, after=self._after, limit=BATCH)
        if not page:
            self._after = 0
            return False
        upto = page[-1].account_id
        await database.write(store.history, after=self._after, upto=upto, now=now)
        self._after = upto
        return True
