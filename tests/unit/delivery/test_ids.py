from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from govmail.delivery.budget import Budget
from govmail.delivery.ids import id_source


def test_ids_sort_by_time_even_when_the_clock_stands_still_or_goes_back() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    times = [now, now, now, now - timedelta(hours=1), now + timedelta(microseconds=50), now + timedelta(days=300)]
    source = iter(times)
    new_id = id_source(lambda: next(source), random.Random(1).getrandbits)
    ids = [new_id() for _ in times]
    assert ids == sorted(set(ids))
    assert {len(one) for one in ids} == {14}
    assert all(one.isalnum() and one == one.lower() for one in ids)


def test_two_processes_in_the_same_microsecond() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    one, two = (id_source(lambda: now, random.Random(seed).getrandbits) for seed in (1, 2))
    assert one() != two()


def test_budget() -> None:
    budget = Budget(10)
    assert budget.take(6)
    assert not budget.take(5)
    assert budget.room(4)
    assert not budget.room(5)
    budget.give(6)
    assert budget.take(10)
