"""Retry times and expiry."""

from __future__ import annotations

import random

import pytest

from govmail.queue.schedule import delay_notice_due, next_attempt

WAITS = (60, 300, 900, 3600)


@pytest.mark.parametrize(("attempts", "wait"), [(1, 60), (2, 300), (3, 900), (4, 3600), (5, 3600), (50, 3600)])
def test_waits_follow_the_table_and_the_last_one_repeats(attempts: int, wait: int) -> None:
    for seed in range(20):
        at = next_attempt(attempts, WAITS, now=1000, expires=10**9, rng=random.Random(seed))
        assert at is not None
        assert wait * 0.9 <= at - 1000 <= wait * 1.1


def test_mail_that_failed_together_is_not_retried_together() -> None:
    rng = random.Random(1)
    times = {next_attempt(4, WAITS, now=0, expires=10**9, rng=rng) for _ in range(50)}
    assert len(times) > 25


def test_the_last_attempt_is_made_at_expiry() -> None:
    assert next_attempt(4, WAITS, now=1000, expires=1500, rng=random.Random(1)) == 1500


def test_after_expiry_it_is_given_up() -> None:
    assert next_attempt(4, WAITS, now=1500, expires=1500, rng=random.Random(1)) is None


def test_delay_notice() -> None:
    assert not delay_notice_due(created=0, now=14_399, after=14_400)
    assert delay_notice_due(created=0, now=14_400, after=14_400)
    assert not delay_notice_due(created=0, now=10**9, after=0)
