"""One engine as a child process: its files, its life, its end.

Invariants
- An engine listens on 127.0.0.1 only and reads and writes below `DIR/engines/<name>`, `DIR/dkim` and `DIR/log` only (and the
  packages' own files, which are never changed); nothing is shared with a daemon that the system runs.
- It runs without privileges, gains none (no_new_privs), and ends when we end, however we end (PR_SET_PDEATHSIG).
- *ready* means that it has answered in its own protocol, not that a port is open.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import structlog

from govmail.errors import EngineUnavailable

log = structlog.stdlib.get_logger("admin.engines")

READY_SECONDS = 180.0  # clamd reads a gigabyte of signatures, rspamd compiles its patterns at the first start
PROBE_SECONDS = 2.0
STOP_SECONDS = 10.0
LOG_OCTETS = 16 * 1024 * 1024  # a larger log is put aside at the next start
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Where the engines' programs are looked for; a normal user's PATH often lacks the sbin directories."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """For `govmail doctor` and the log. `state`: absent, stopped, starting, ready, down."""

    name: str
    state: str
    version: str
    pid: int | None
    restarts: int
    warning: str


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that engines run as."""

    name: str
    uid: int
    gid: int


class Engine(ABC):
    """One child process and the files it needs."""

    name: ClassVar[str]
    binary: ClassVar[str]
    package: ClassVar[str]
    package_user: ClassVar[str]

    def __init__(self, data_dir: Path, port: int, *, user: str | None = None, search_path: str = SEARCH_PATH) -> None:
        self._search_path = search_path
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / "engines" / self.name
        self.port = port
        self.account = _account(user, self.package_user)
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""
        self.restarts = 0
        self.exit_status: int | None = None  # of the last child; negative: the signal
        self.is_ready = asyncio.Event()

    @property
    def path(self) -> str | None:
        """The program; None when its package is not installed."""
        return shutil.which(self.binary, path=self._search_path)

    @property
    def available(self) -> bool:
        return self.path is not None

    @property
    def warning(self) -> str:
        """What operators should know about a running engine, in their language; "" when there is nothing."""
        return ""

    @property
    def state(self) -> EngineState:
        if not self.available:
            word = "absent"
        elif self.process is None:
            word = "stopped"
        elif not self.alive:
            word = "down"
        else:
            word = "ready" if self.is_ready.is_set() else "starting"
        pid = self.process.pid if self.process and self.alive else None
        return EngineState(self.name, word, self.version, pid, self.restarts, self.warning)

    @property
    def alive(self) -> bool:
        """Whether the child runs. One that has ended is not reaped here: its pid names its group until `kill`."""
        if self.process is None or self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @abstractmethod
    def configure(self) -> None:
        """Write the configuration below `home`. Blocks."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """What follows the program's name; the child stays in the foreground."""

    @abstractmethod
    async def probe(self) -> str:
        """Ask the engine in its own protocol; its version. Raises EngineUnavailable."""

    def start(self) -> None:
        """`prepare` and `spawn`."""
        self.prepare()
        self.spawn()

    def prepare(self) -> None:
        """Write what the child needs. Blocks. Raises EngineUnavailable, OSError."""
        if self.path is None:
            raise EngineUnavailable(f"{self.name} is not installed (package {self.package})")
        self._make_directory(self.home)
        self.configure()

    def spawn(self) -> None:
        """Start the child, in a thread that lives as long as the child should: its end ends the child. Raises OSError."""
        assert self.path is not None
        with self._open_log() as output:
            self.process = subprocess.Popen(
                [*self._demote(), self.path, *self.arguments()],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.home,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home), "TZ": "UTC"},
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop our children in order
            )

    async def wait_ready(self, seconds: float = READY_SECONDS) -> str:
        """The version, once the engine answers. Raises EngineUnavailable when it dies or stays silent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive:
                raise EngineUnavailable(f"{self.name} ended while it started; see {self.log_file}")
            try:
                self.version = await self.probe()
            except EngineUnavailable:
                await asyncio.sleep(0.1)
            else:
                self.is_ready.set()
                return self.version
        raise EngineUnavailable(f"{self.name} does not answer after {seconds:g} s; see {self.log_file}")

    async def wait_end(self) -> None:
        """Until the child has ended."""
        assert self.process is not None
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.process.pid)
        try:
            loop.add_reader(descriptor, ended.set)
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after STOP_SECONDS. Blocks."""
        self.is_ready.clear()
        if self.process is None:
            return
        if self.alive:
            self.process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.02)
            if self.alive:
                log.warning("engine.killed", engine=self.name)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the child and to the workers that it may have left behind; they would hold its port."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.exit_status = self.process.wait()
        self.process = None

    @property
    def log_file(self) -> Path:
        return self.data_dir / "log" / f"{self.name}.log"

    def write(self, name: str, text: str) -> Path:
        """A private file below `home`, readable by the engine."""
        path = self.home / name
        self._make_directory(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        self._give(path)
        return path

    def _make_directory(self, path: Path) -> None:
        # DIR/engines itself stays ours but can be walked through.
        (self.data_dir / "engines").mkdir(mode=0o755, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._give(path)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _open_log(self) -> BinaryIO:
        self.log_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_OCTETS:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return self.log_file.open("ab")

    def _demote(self) -> list[str]:
        # setpriv sets the death signal after the change of user, which would clear it; no code of ours runs between
        # fork and exec, where a program with threads must not run any.
        command = ["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]
        if self.account is not None:
            command += ["--reuid", str(self.account.uid), "--regid", str(self.account.gid), "--clear-groups"]
        return [*command, "--"]


def _account(user: str | None, package_user: str) -> Account | None:
    """Who the child becomes: nobody else when we are not root; else `user`, or the package's own user."""
    if os.geteuid() != 0:
        return None
    for name in (user, package_user):
        if name is None:
            continue
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EngineUnavailable(f"neither {user} nor {package_user} is a user of this system")


def secret(path: Path) -> str:
    """The secret in `path`, made when it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    secret = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return secret


def quote(text: str) -> str:
    """A text in quotes for UCL (rspamd) and clamd.conf, which know no other escape."""
    if any(char in text for char in '"\\\n\r'):
        raise EngineUnavailable(f"{text!r} cannot be written into an engine's configuration")
    return f'"{text}"'
