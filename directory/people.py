"""Logins as people, and back, for access rights in mailboxes.

Invariants: both ways answer from what the directory said within `positive_seconds`; groups and addresses elsewhere are
nobody here, since nothing can say quickly which groups a person is in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from directory.cache import CachedResolver
from directory.model import DirectoryService
from govmail.config import DirectoryTable
from govmail.errors import DirectoryUnavailable, SyntaxProblem
from govmail.mail.address import Address


class DirectoryPeople:
    """`interfaces.People` over a directory. Event loop only."""

    def __init__(
        self, directory: DirectoryService, resolver: CachedResolver, config: DirectoryTable, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: monotonic seconds."""
        self._directory = directory
        self._resolver = resolver
        self._config = config
        self._clock = clock
        self._logins: dict[str, tuple[str, float]] = {}  # login and until when, by directory id; oldest first

    async def find(self, login: str) -> str | None:
        """See `interfaces.People`."""
        try:
            found = await self._resolver.resolve(Address.parse(login))
        except SyntaxProblem:
            return None
        if found.is_group or found.remote or len(found.targets) != 1:
            return None
        return found.targets[0].directory_id

    async def logins(self, directory_ids: tuple[str, ...]) -> dict[str, str]:
        """See `interfaces.People`."""
        now = self._clock()
        found = {one: known[0] for one in directory_ids if (known := self._logins.get(one)) is not None and known[1] > now}
        missing = [one for one in directory_ids if one not in found]
        if missing:
            try:
                people = await self._directory.people_by_id(missing)
            except DirectoryUnavailable:  # a list of mailboxes is better a little old than refused
                return found | {one: self._logins[one][0] for one in missing if one in self._logins}
            for person_id, person in people.items():
                found[person_id] = person.primary.key
                self._logins.pop(person_id, None)
                self._logins[person_id] = person.primary.key, now + self._config.positive_seconds
            while len(self._logins) > self._config.cache_entries:
                del self._logins[next(iter(self._logins))]
        return found
