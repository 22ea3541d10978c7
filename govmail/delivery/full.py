"""Which mailboxes had no room a moment ago, so that RCPT can say so before the octets travel.

Invariants: a hint, never the truth, which is the check inside the storing transaction; nobody is refused here for a mail
smaller than the one that did not fit; what is remembered ends with the next change of the account, or after a minute.

RFC 5321 §4.2.3 (452), RFC 3463 §3.3 (4.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from govmail.errors import OverQuota
from govmail.interfaces import Bus, Clock, Hint, Resolution
from govmail.store.values import Delivered

REMEMBER_SECONDS = 60.0  # for changes whose hint did not come: made in another process, or just now
MOST = 10_000  # mailboxes that are remembered


@dataclass(frozen=True, slots=True)
class _Full:
    size: int  # octets of the mail that did not fit
    until: float
    forget: Callable[[], None]  # ends the subscription to the account's changes


class FullMailboxes:
    """For one event loop."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._full: dict[str, _Full] = {}  # by directory_id, the oldest first

    def note(self, answers: Iterable[Delivered], size: int) -> None:
        """What a delivery of `size` octets came to."""
        for one in answers:
            if one.error != OverQuota.__name__:
                continue
            self._drop(one.directory_id)
            if len(self._full) >= MOST:
                self._drop(next(iter(self._full)))
            forget = self._bus.subscribe(one.account_id, partial(self._changed, one.directory_id))
            self._full[one.directory_id] = _Full(size, self._clock().timestamp() + REMEMBER_SECONDS, forget)

    def refuses(self, resolution: Resolution, size: int) -> bool:
        """Whether a mail of `size` octets would not fit for anybody whom the address stands for."""
        if not self._full or not resolution.targets or resolution.remote:
            return False
        return all(self._lacks_room(one.directory_id, size) for one in resolution.targets)

    def _lacks_room(self, owner: str, size: int) -> bool:
        found = self._full.get(owner)
        if found is None:
            return False
        if found.until <= self._clock().timestamp():
            self._drop(owner)
            return False
        return size >= found.size

    def _changed(self, owner: str, _hint: Hint) -> None:
        self._drop(owner)

    def _drop(self, owner: str) -> None:
        found = self._full.pop(owner, None)
        if found is not None:
            found.forget()
