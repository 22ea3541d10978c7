"""Copies the quotas of the directory to the accounts, for changes that were made with other tools, or to the default.

Invariant: an account that has its owner's quota already is not written. What operators change with govmail is copied at once,
and everybody's at login; this finds the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from directory.model import DirectoryService, Person, limit_of
from govmail.config import DirectoryTable
from govmail.store import accounts
from govmail.store.database import Database


class Quotas:
    """The job of one server: a page of people at a time."""

    def __init__(self, directory: DirectoryService, config: DirectoryTable) -> None:
        self._directory = directory
        self._default = config.quota_octets
        self._walk: AsyncGenerator[list[Person]] | None = None

    async def copy(self, database: Database, now: int) -> bool:
        """The next page; whether there are more."""
        walk, self._walk = self._walk or self._people(), None
        page = await anext(walk, None)
        if page is None:
            return False
        await database.write(accounts.set_quotas, {one.person_id: limit_of(one.quota_octets, self._default) for one in page})
        self._walk = walk
        return True

    async def _people(self) -> AsyncGenerator[list[Person]]:
        root = await self._directory.root()
        if root is not None:
            async for page in self._directory.people(root.unit_id, subtree=True):
                yield page
