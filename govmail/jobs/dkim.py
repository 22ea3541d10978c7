"""Makes a DKIM key for every local domain that has none, also for domains that others have put into the directory.

Invariant: a key that is there is never touched; a key takes a tenth of a second of a thread, so few are made at a time.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from directory.model import DirectoryService
from filters import dkim
from govmail.store.database import Database

BATCH = 5


class Keys:
    """The job of one data directory, whose rspamd reads the keys."""

    def __init__(self, directory: DirectoryService, data_dir: Path) -> None:
        self._directory = directory
        self._data_dir = data_dir

    async def make(self, database: Database, now: int) -> bool:
        """Some of the missing keys; whether more are missing."""
        domains = [one.domain for one in await self._directory.domains()]
        missing = [one for one in domains if not dkim.key_file(self._data_dir, one).exists()]
        for domain in missing[:BATCH]:
            await asyncio.to_thread(dkim.ensure_key, self._data_dir, domain)
        return len(missing) > BATCH
