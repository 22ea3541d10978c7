"""Fuzzes the readers of foreign octets for a while, each in turn.

    python tests/fuzz/run.py --seconds 60                 all targets, a minute in total
    python tests/fuzz/run.py --seconds 600 mime header    these two, ten minutes
    python tests/fuzz/run.py --list

What breaks is made small and printed with its octets; the exit code is then 1. The next run begins with what broke the
last one (`.hypothesis/`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from hypothesis import HealthCheck, given, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.inputs import check_growth, octets, repetitions
from tests.fuzz.targets import TARGETS, Target

ROUND = 400  # inputs before the next target has its turn
DATABASE = DirectoryBasedExampleDatabase(".hypothesis/fuzz")


def laws(target: Target, examples: int) -> Callable[[], None]:
    """A function that throws so many inputs at the target's laws, and as many at the growth of its work."""
    chosen = settings(max_examples=examples, deadline=None, database=DATABASE, suppress_health_check=list(HealthCheck), print_blob=False)

    @chosen
    @given(octets(target))
    def keeps_its_laws(data: bytes) -> None:
        try:
            target.check(data)
        except target.refuses:
            pass

    @settings(chosen, max_examples=max(examples // 10, 5))
    @given(repetitions(target))
    def grows_with_its_input(parts: tuple[bytes, bytes, bytes]) -> None:
        check_growth(target, *parts)

    def both() -> None:
        keeps_its_laws()
        grows_with_its_input()

    return both


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all when none is named")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--list", action="store_true", help="name the targets")
    options = parser.parse_args()
    if options.list:
        print("\n".join(TARGETS))
        return 0
    if strange := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(strange))}")
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    rounds = {target.name: laws(target, ROUND) for target in chosen}
    done, broken = dict.fromkeys(rounds, 0), set[str]()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end and len(broken) < len(rounds):
        for name, run in rounds.items():
            if name in broken or time.monotonic() >= end:
                continue
            try:
                run()
            except Exception as error:
                broken.add(name)
                print(f"BROKEN {name}: {type(error).__name__}: {error}", *getattr(error, "__notes__", ()), sep="\n  ", flush=True)
            done[name] += ROUND
    print("  ".join(f"{name} {count}{' BROKEN' if name in broken else ''}" for name, count in done.items()))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
