"""The time zone of dates that people read: INTERNALDATE, days in SEARCH, notifications.

Invariants: one zone for everybody, whatever the machine's own is. China has one, and since 1991 no summer time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

ZONE_SECONDS = 8 * 3600  # east of Greenwich
ZONE = timezone(timedelta(seconds=ZONE_SECONDS))


def moment(seconds: int) -> datetime:
    """A moment since the epoch, in this zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(ZONE)
