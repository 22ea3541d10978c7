"""Ids of mails: as answered in the 250, written in Received and searched for in logs.

Invariants: within a process each id is greater than the one before it, as text; between processes they differ by chance
(15 random bits in the same microsecond); 14 characters of lower-case base32 without the letters i, l, o and u.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from govmail.interfaces import Clock

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
_TIME_DIGITS, _RANDOM_DIGITS = 11, 3  # 55 bits of microseconds last 1,100 years


def id_source(clock: Clock, random_bits: Callable[[int], int]) -> Callable[[], str]:
    """A function that makes ids. `random_bits(n)`: n random bits, e.g. secrets.randbits. For one thread."""
    last = 0

    def new_id() -> str:
        nonlocal last
        last = max(last + 1, int((clock().timestamp() - _EPOCH) * 1e6))
        return _base32(last, _TIME_DIGITS) + _base32(random_bits(5 * _RANDOM_DIGITS), _RANDOM_DIGITS)

    return new_id


def _base32(number: int, digits: int) -> str:
    return "".join([_DIGITS[number >> shift & 31] for shift in range(5 * digits - 5, -5, -5)])
