"""A short turn of the fuzzer in every run of the tests; `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest

from tests.fuzz.inputs import check_growth
from tests.fuzz.run import laws
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_seeds_are_read_or_refused(target: Target) -> None:
    """…and most of them are read, or they would be poor seeds."""
    refused = 0
    for seed in target.seeds:
        try:
            target.check(seed)
        except target.refuses:
            refused += 1
    assert refused < len(target.seeds) / 2


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_laws_hold(target: Target) -> None:
    laws(target, 25)()


@pytest.mark.parametrize(("name", "unit"), [("imap-utf7", b"&")])
def test_what_once_grew_too_fast(name: str, unit: bytes) -> None:
    """Repetitions that the fuzzer found to cost the square of their length."""
    check_growth(TARGETS[name], b"", unit, b"")
