"""Sequence sets, checked against plain Python sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.errors import SyntaxProblem
from govmail.wire.imap import numset
from govmail.wire.imap.numset import STAR, NumSet

small = st.frozensets(st.integers(1, 60))
written = st.lists(st.tuples(st.integers(1, 80) | st.just(STAR), st.integers(1, 80) | st.just(STAR)), min_size=1, max_size=8)


def numbers(ranges: numset.Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def canonical(ranges: numset.Ranges) -> bool:
    return all(a <= b for a, b in ranges) and all(ranges[i][1] + 1 < ranges[i + 1][0] for i in range(len(ranges) - 1))


@given(written)
def test_parse_inverts_print(pairs: list[tuple[int, int]]) -> None:
    one = NumSet(tuple(pairs))
    assert NumSet.parse(bytes(one)) == one


@given(written, st.integers(1, 90))
def test_resolve(pairs: list[tuple[int, int]], largest: int) -> None:
    expected: set[int] = set()
    for pair in pairs:
        first, last = sorted(largest if number == STAR else number for number in pair)
        expected |= set(range(first, last + 1))
    ranges = NumSet(tuple(pairs)).resolve(largest)
    assert numbers(ranges) == expected
    assert canonical(ranges)


@given(small, small)
def test_algebra(one: frozenset[int], other: frozenset[int]) -> None:
    a, b = numset.from_numbers(sorted(one)), numset.from_numbers(sorted(other))
    assert numbers(a) == one
    assert numset.count(a) == len(one)
    for got, expected in ((numset.union(a, b), one | other), (numset.intersect(a, b), one & other), (numset.subtract(a, b), one - other)):
        assert numbers(got) == expected
        assert canonical(got)


def test_star_of_an_empty_mailbox() -> None:
    assert NumSet.parse(b"*").resolve(0) == ()


def test_higher_than_the_last_includes_the_last() -> None:
    """RFC 3501 §6.4.8: 559:* includes the largest UID even when there is none of 559 or more."""
    assert NumSet.parse(b"559:*").resolve(12) == ((12, 559),)


@pytest.mark.parametrize("text", [b"", b"0", b"1,", b",1", b"1:", b":1", b"1:2:3", b"-1", b"4294967296", b"99999999999", b"a", b"1 2", b"*:*:1", b"01"])
def test_refuses(text: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        NumSet.parse(text)


def test_limit() -> None:
    with pytest.raises(SyntaxProblem):
        NumSet.parse(b"1," * 10_000 + b"1", 10_000)


def test_huge_ranges_are_not_expanded() -> None:
    assert NumSet.parse(b"1:4294967295").resolve(7) == ((1, 4294967295),)
