"""A server killed under load keeps every promise it made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "bench" / "crash.py"


@pytest.mark.slow
@pytest.mark.parametrize("size", [4096, 200_000], ids=["bodies in the database", "bodies in files"])
def test_what_was_acknowledged_is_there_once(size: int) -> None:
    done = subprocess.run(
        [sys.executable, TOOL, "--kills", "3", "--users", "5", "--size", str(size)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["acknowledged"] > 0
    assert (report["lost"], report["doubled"], report["refused_but_there"], report["half"]) == (0, 0, 0, 0)
