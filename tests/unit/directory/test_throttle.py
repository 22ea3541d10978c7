"""Guessing is slowed down; people who are not guessing do not notice."""

from __future__ import annotations

import pytest
from msgspec import structs

from directory.throttle import Throttle, network
from govmail.config import Limits
from govmail.errors import AuthenticationBusy

OFFICE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


class Guesser:
    """A throttle and a clock."""

    def __init__(self, **limits: int | float) -> None:
        self.throttle = Throttle(structs.replace(Limits(), **limits))
        self.now = 1_800_000_000.0
        self.guesses = 0

    def wrong(self, account: str, source: str, times: int = 1) -> int:
        """Another wrong password each time; how many of them were looked at."""
        looked_at = 0
        for _ in range(times):
            self.guesses += 1
            try:
                self.throttle.begin(account, source, f"guess {self.guesses}", self.now)
            except AuthenticationBusy:
                continue
            looked_at += 1
        return looked_at

    def right(self, account: str, source: str) -> None:
        """Raises AuthenticationBusy."""
        self.throttle.succeeded(self.throttle.begin(account, source, "right", self.now))


def test_the_wait_grows_and_ends() -> None:
    guesser = Guesser()
    assert guesser.wrong("zhang", OFFICE, 20) == 5
    with pytest.raises(AuthenticationBusy):
        guesser.right("zhang", OFFICE)
    waits = []
    for _ in range(12):
        before = guesser.now
        guesser.now = guesser.throttle.locks(guesser.now)[0].until
        waits.append(guesser.now - before)
        assert guesser.wrong("zhang", OFFICE, 5) == 1
    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert max(waits) == 900.0
    guesser.now += 900.0
    guesser.right("zhang", OFFICE)
    assert guesser.wrong("zhang", OFFICE, 20) == 5


def test_an_office_behind_one_address_stays_in() -> None:
    guesser = Guesser()
    guesser.wrong("zhang", OFFICE, 20)
    for number in range(200):
        guesser.right(f"colleague {number}", OFFICE)
        assert guesser.wrong(f"colleague {number}", OFFICE, 1) == 1


def test_an_old_password_in_a_telephone_locks_nobody_out() -> None:
    guesser = Guesser()
    for _ in range(1000):
        guesser.throttle.begin("zhang", OFFICE, "old", guesser.now)
    guesser.right("zhang", OFFICE)


def test_many_connections_with_the_right_password_at_once() -> None:
    guesser = Guesser()
    attempts = [guesser.throttle.begin("zhang", OFFICE, "right", guesser.now) for _ in range(20)]
    for attempt in attempts:
        guesser.throttle.succeeded(attempt)
    assert guesser.wrong("zhang", OFFICE, 20) == 5


def test_guesses_at_once_gain_nothing() -> None:
    guesser = Guesser()
    attempts = [guesser.throttle.begin("zhang", OFFICE, f"at once {number}", guesser.now) for number in range(5)]
    with pytest.raises(AuthenticationBusy):
        guesser.throttle.begin("zhang", OFFICE, "one more", guesser.now)
    for attempt in attempts:  # the directory was away
        guesser.throttle.undo(attempt)
    assert not guesser.throttle.locks(guesser.now)
    assert guesser.wrong("zhang", OFFICE, 20) == 5


def test_an_account_guessed_from_everywhere_keeps_its_owner() -> None:
    guesser = Guesser(login_failures_account=50)
    guesser.right("zhang", OFFICE)
    assert sum(guesser.wrong("zhang", f"203.0.113.{number}") for number in range(200)) == 50
    guesser.right("zhang", OFFICE)
    with pytest.raises(AuthenticationBusy):
        guesser.right("zhang", ELSEWHERE)


def test_a_source_that_tries_everybody_must_wait_but_not_who_is_known_there() -> None:
    guesser = Guesser(login_failures_source=100)
    guesser.right("zhang", ELSEWHERE)
    assert sum(guesser.wrong(f"person {number}", ELSEWHERE) for number in range(300)) == 100
    guesser.right("zhang", ELSEWHERE)


def test_success_forgives_only_its_own_pair() -> None:
    """An attacker's own account must not wipe the slate of the source."""
    guesser = Guesser(login_failures_source=10)
    looked_at = 0
    for number in range(30):
        looked_at += guesser.wrong(f"person {number}", ELSEWHERE)
        try:
            guesser.right("mallory", ELSEWHERE)
        except AuthenticationBusy:
            break
    assert looked_at <= 10


def test_an_operator_can_clear_an_account() -> None:
    guesser = Guesser()
    guesser.wrong("zhang", OFFICE, 9)
    [lock] = guesser.throttle.locks(guesser.now)
    assert (lock.account, lock.source, lock.failures) == ("zhang", OFFICE, 5)
    assert guesser.throttle.clear("zhang")
    guesser.right("zhang", OFFICE)


def test_memory_is_bounded() -> None:
    guesser = Guesser(login_throttle_entries=100)
    for number in range(500):
        guesser.wrong(f"person {number}", f"192.0.2.{number % 250}", 6)
        guesser.right(f"other {number}", OFFICE)
    assert len(guesser.throttle._counts) <= 100
    assert len(guesser.throttle._known) <= 100


@pytest.mark.parametrize(
    ("address", "whose"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("::ffff:192.0.2.1", "192.0.2.1"), ("", "")],
)
def test_ipv6_hosts_have_many_addresses(address: str, whose: str) -> None:
    assert network(address) == whose
