"""Arithmetic of UID ranges."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from govmail.store.changes import complement, compressed, merge

uids = st.sets(st.integers(1, 60))


def expanded(ranges: list[tuple[int, int]]) -> set[int]:
    return {uid for first, last in ranges for uid in range(first, last + 1)}


@given(uids)
def test_compressed_holds_the_same_and_is_shortest(numbers: set[int]) -> None:
    ranges = compressed(sorted(numbers))
    assert expanded(ranges) == numbers
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(ranges))


@given(uids)
def test_complement_is_the_rest(numbers: set[int]) -> None:
    assert expanded(complement(compressed(sorted(numbers)), 61)) == set(range(1, 61)) - numbers


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))))
def test_merge_is_the_union(ranges: list[tuple[int, int]]) -> None:
    merged = merge(ranges)
    assert expanded(merged) == expanded(ranges)
    assert merged == compressed(sorted(expanded(ranges)))
