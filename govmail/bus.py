"""Hints within one process: who changed what, told to the sessions that wait.

Invariants: `publish` runs on the event loop, never blocks and never raises; a subscriber may unsubscribe at any time,
also while it is being woken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from govmail.interfaces import Hint

log = structlog.get_logger()

Wake = Callable[[Hint], None]


class LocalBus:
    """Subscribers by account; a hint costs a dictionary look-up when nobody waits."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[int, Wake]] = {}
        self._next = 0

    def publish(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            for wake in list(self._waiting.get(hint.account_id, {}).values()):
                try:
                    wake(hint)
                except Exception:  # one broken session must not keep the hint from the others
                    log.exception("bus.wake_failed", account_id=hint.account_id)

    def subscribe(self, account_id: int, wake: Wake) -> Callable[[], None]:
        self._next += 1
        token = self._next
        self._waiting.setdefault(account_id, {})[token] = wake

        def unsubscribe() -> None:
            waiting = self._waiting.get(account_id)
            if waiting is not None and waiting.pop(token, None) is not None and not waiting:
                del self._waiting[account_id]

        return unsubscribe
