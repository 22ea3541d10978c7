"""`make bench`: the machine, govmail beside Postfix + Dovecot, and a few crashes; a Markdown report on standard output.

    make bench                                   all of it
    make bench ARGS="--quick"                    one run of each, few accounts: a few minutes
    make bench ARGS="--no-peer --workloads smtp-4k,idle"
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from pathlib import Path

import compare
import crash


def machine() -> str:
    """What the figures were measured on."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {model}, {memory} GB, Linux {platform.release()}, Python {platform.python_version()}, load before: {load:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compare.add_arguments(parser)
    parser.add_argument("--quick", action="store_true", help="one run, 50 accounts, 3 kills")
    parser.add_argument("--kills", type=int, default=20, help="of the crash test; 0: none")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.users, options.kills = 1, 50, min(options.kills, 3)
    print(f"# Benchmark\n\n{machine()}\n")
    print(compare.run(options))
    if options.kills:
        with tempfile.TemporaryDirectory(prefix="govmail-crash-") as directory:
            found = asyncio.run(crash.measure(Path(directory), kills=options.kills, users=10, size=4096, seed=1, store_url=options.store_url))
        print(f"\nkill -9 × {found['kills']}: {found['acknowledged']} acknowledged, {found['lost']} lost, {found['doubled']} doubled, {found['half']} half")


if __name__ == "__main__":
    main()
