"""Octets to throw at a target: its seeds, changed; its words, mixed; and repetitions, to see how work grows."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.targets import Target

CHANGES = 6
SMALL_OCTETS, LARGE_OCTETS = 4_000, 16_000  # the sizes whose work is compared
NEIGHBOURS = 4  # small inputs, each a repetition shorter
GROWTH = 6.0  # linear work grows by 4, quadratic by 16
LINES_SLACK = 2_000
SECONDS_SEEN = 0.02  # C calls shorter than this are not judged


@st.composite
def changed(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A seed with some changes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, CHANGES))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.integers(0, 20)))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:at] + data[to:]
            case 1:
                data = data[:at] + draw(st.sampled_from(words)) + data[at:]
            case 2:
                data = data[:to] + data[at:to] * draw(st.integers(1, 4)) + data[to:]
            case 3:
                data = data[:at] + draw(st.binary(max_size=4)) + data[to:]
            case _:
                other = draw(st.sampled_from(seeds))
                data = data[:at] + other[draw(st.integers(0, len(other))) :]
    return data


def octets(target: Target) -> st.SearchStrategy[bytes]:
    soup = st.lists(st.sampled_from(target.words), max_size=30).map(b"".join)
    return st.one_of(changed(target.seeds, target.words), changed(target.seeds, target.words), soup, st.binary(max_size=60))


def repetitions(target: Target) -> st.SearchStrategy[tuple[bytes, bytes, bytes]]:
    """What stands before, what is repeated, what stands after."""
    short = st.one_of(st.lists(st.sampled_from(target.words), max_size=3).map(b"".join), st.binary(max_size=3))
    head = st.one_of(st.just(b""), short, st.sampled_from(target.seeds).flatmap(lambda seed: st.integers(0, len(seed)).map(lambda at: seed[:at])))
    return st.tuples(head, short.filter(bool), short)


def check_growth(target: Target, before: bytes, unit: bytes, after: bytes) -> None:
    """Four times the input costs about four times the work: lines of ours counted, C calls timed.

    Of small inputs the dearest of some is taken: one may be refused early where its neighbours are read to the end.
    """
    large = before + unit * (LARGE_OCTETS // len(unit)) + after
    smalls = [before + unit * (SMALL_OCTETS // len(unit) - less) + after for less in range(NEIGHBOURS)]
    few, many = max(_lines(target, data) for data in smalls), _lines(target, large)
    assert many <= GROWTH * few + LINES_SLACK, f"{few} lines for {len(smalls[0])} octets, {many} for {len(large)}"
    if _seconds(target, large, 1) > SECONDS_SEEN:
        quick, slow = max(_seconds(target, data, 5) for data in smalls), _seconds(target, large, 5)
        assert slow <= 2 * GROWTH * quick, f"{quick * 1000:.1f} ms for {len(smalls[0])} octets, {slow * 1000:.1f} ms for {len(large)}"


def _run(target: Target, data: bytes) -> None:
    try:
        target.read(data)
    except target.refuses:
        pass


def _lines(target: Target, data: bytes) -> int:
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        _run(target, data)
    finally:
        sys.settrace(before)
    return count


def _seconds(target: Target, data: bytes, times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.thread_time()
        _run(target, data)
        best = min(best, time.thread_time() - start)
    return best
