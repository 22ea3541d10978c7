"""Hints reach those who wait for an account, and only them."""

from govmail.bus import LocalBus
from govmail.interfaces import Hint


def test_only_the_account_asked_for_is_woken() -> None:
    bus = LocalBus()
    seen: list[Hint] = []
    bus.subscribe(1, seen.append)
    bus.publish([Hint(1, 5), Hint(2, 6), Hint(1, 7)])
    assert [hint.modseq for hint in seen] == [5, 7]


def test_after_unsubscribing_nothing_arrives() -> None:
    bus = LocalBus()
    seen: list[Hint] = []
    stop = bus.subscribe(1, seen.append)
    stop()
    stop()
    bus.publish([Hint(1, 5)])
    assert seen == []


def test_a_failing_session_does_not_starve_the_others() -> None:
    bus = LocalBus()
    seen: list[Hint] = []

    def broken(hint: Hint) -> None:
        raise RuntimeError("gone")

    bus.subscribe(1, broken)
    bus.subscribe(1, seen.append)
    bus.publish([Hint(1, 5)])
    assert len(seen) == 1
