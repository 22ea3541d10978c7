"""When a delivery is tried again, and when it is given up.

Invariants: the wait before attempt n never shrinks with n; the last attempt is made at the entry's expiry, never after it.

RFC 5321 §4.5.4.1 (retry at least after 30 minutes, give up after 4-5 days).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

JITTER = 0.1  # of the wait, either way: mail that failed together is not retried together


def next_attempt(attempts: int, waits: Sequence[int], *, now: int, expires: int, rng: random.Random) -> int | None:
    """When to try again after `attempts` (≥ 1) failures, in seconds since the epoch; None: it is time to give up.

    `waits` are `Queue.retry_seconds`, the last one repeats.
    """
    if now >= expires:
        return None
    wait = waits[min(attempts, len(waits)) - 1]
    at = now + max(1, round(wait * rng.uniform(1 - JITTER, 1 + JITTER)))
    return min(at, expires)


def delay_notice_due(*, created: int, now: int, after: int) -> bool:
    """Whether a sender should hear that the mail still waits; `after` is `Queue.delay_notice_seconds`, 0 = never."""
    return after > 0 and now - created >= after
