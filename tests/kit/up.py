"""A whole `govmail up` of our own: data directory, engines and ports that collide with nobody's."""

from __future__ import annotations

import csv
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from admin.setup import Ports
from govmail.config import Config

COMMAND = Path(sys.executable).with_name("govmail")
START_SECONDS = 180.0  # rspamd compiles its patterns at the first start


def eventually(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `holds` returns once it is true; AssertionError when it is not in time. For what nobody can announce."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.1)):
        found = holds()
        if found:
            return found
        pause.wait(0.1)
    raise AssertionError(f"not within {seconds} s: {holds}")


class Up:
    """A running `govmail up`; commands go to it as an operator's would."""

    def __init__(self, data: Path, offset: int, arguments: Sequence[str], prefix: Sequence[str]) -> None:
        self.data = data
        self.offset = offset
        self.arguments = arguments
        self.prefix = prefix
        self.ports = Ports.at(offset)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        output = (self.data.parent / "up.out").open("ab")
        self.process = subprocess.Popen(
            [*self.prefix, COMMAND, "up", "--data", self.data, "--port-offset", str(self.offset), *self.arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.data.parent,
        )  # fmt: skip
        eventually(self._ready, START_SECONDS)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output
        return (self.data / "run" / "ready").exists()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    @property
    def output(self) -> str:
        return (self.data.parent / "up.out").read_text("utf-8")

    @property
    def logins(self) -> list[dict[str, str]]:
        with (self.data / "sample-logins.tsv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def run(self, *arguments: str, data: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, COMMAND, "--data", self.data, *arguments], input=data, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def ask(self, *arguments: str) -> Any:
        """The one object that the command prints as JSON."""
        (row,) = self.rows(*arguments)
        return row

    def rows(self, *arguments: str) -> list[Any]:
        """The objects that the command prints as JSON, one a line."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def engine_pid(self, name: str) -> int:
        """Of the child with this program name."""
        assert self.process is not None
        found = subprocess.run(["pgrep", "-P", str(self.process.pid), "-x", name], capture_output=True, text=True, check=True)
        return int(found.stdout.split()[0])


def free_offset() -> int:
    """A port offset with which every port of ours is free."""
    while True:
        offset = random.randrange(10_000, 30_000)
        ports = Ports.at(offset)
        wanted = [getattr(ports, name) for name in Ports.__slots__]
        try:
            for port in [*wanted, ports.rspamd + 1]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return offset


@contextmanager
def running_up(*arguments: str, user: str = "", link_in: Path | None = None) -> Iterator[Up]:
    """`arguments` go to `govmail up`; `user`: started by that user instead of us; `link_in`: there lies a link to the data."""
    # Not pytest's directory: as root the server becomes another user, who could not walk there.
    base = Path(tempfile.mkdtemp(prefix="govmail-up-"))
    base.chmod(0o755)
    prefix: list[str] = []
    if user:
        entry = pwd.getpwnam(user)
        os.chown(base, entry.pw_uid, entry.pw_gid)
        # setpriv replaces itself, so that the process we stop is the server.
        prefix = ["setpriv", "--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups", "--"]
    data = base / "var"
    if link_in is not None:
        entry = pwd.getpwnam(Config().user)
        data.mkdir()
        os.chown(data, entry.pw_uid, entry.pw_gid)
        (link_in / "var").symlink_to(data)
        data = link_in / "var"
    up = Up(data, free_offset(), arguments, prefix)
    try:
        up.start()
        yield up
    finally:
        if up.process is not None and up.process.poll() is None:
            up.stop()
        shutil.rmtree(base)
