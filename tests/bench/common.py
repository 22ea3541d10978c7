"""What the load generators share: arguments, figures, one JSON line per result.

Invariant: nothing here opens a connection to anything but a loopback address.
"""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

PASSWORD = "pass"  # of every account in a benchmark
DOMAIN = "bench.test"


def user_address(number: int) -> str:
    return f"u{number}@{DOMAIN}"


def endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT for argparse; refuses what is not loopback."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    if not ipaddress.ip_address(host).is_loopback:
        sys.exit(f"{host}: these tools load loopback addresses only")
    return host, int(port)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` percent lie; 0.0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share / 100 * (len(ordered) - 1)))]


def milliseconds(values: Sequence[float], share: float) -> float:
    return round(percentile(values, share) * 1000, 3)


Result = dict[str, object]


def emit(result: Result) -> None:
    """One JSON line on standard output."""
    rounded = {key: round(value, 4 if abs(value) < 1 else 2) if isinstance(value, float) else value for key, value in result.items()}
    print(json.dumps(rounded, ensure_ascii=False), flush=True)


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Median, least, greatest."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[0], ordered[-1]


class Usage:
    """Wall time, CPU of this process and of the machine, from here to `stop`."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._own = time.process_time()
        self._machine = _machine_ticks()

    def stop(self) -> Result:
        """`client_cpu`: cores that the generator used; above 0.7 it is the limit itself. `machine_busy`: 1.0 = all cores."""
        wall = time.perf_counter() - self._wall
        ticks = [after - before for before, after in zip(self._machine, _machine_ticks(), strict=True)]
        total = sum(ticks) or 1
        return {
            "wall_s": round(wall, 3),
            "client_cpu": round((time.process_time() - self._own) / wall, 3) if wall else 0.0,
            "machine_busy": round(1 - (ticks[3] + ticks[4]) / total, 3),
        }


def _machine_ticks() -> list[int]:
    with Path("/proc/stat").open() as file:
        return [int(field) for field in file.readline().split()[1:9]]


def memory_kilobytes(roots: Iterable[int]) -> int:
    """Proportional set size of these processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(int(entry))
    total, waiting = 0, list(roots)
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        try:
            rollup = Path("/proc", str(pid), "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
