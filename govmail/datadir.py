"""Where things lie in the data directory, and the lock that says which process owns it.

Invariants: one process at a time writes to a data directory; who holds `run/lock` does. The lock goes with the
process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from govmail.errors import MailError

SOCKET_PATH_OCTETS = 107  # sun_path of unix(7), without its NUL


class DataDirBusy(MailError):
    """Another process owns the data directory."""

    status = "4.3.0"
    text = "another govmail process owns the data directory"


def config_file(data_dir: Path) -> Path:
    return data_dir / "govmail.toml"


def secrets_dir(data_dir: Path) -> Path:
    return data_dir / "secrets"


def run_dir(data_dir: Path) -> Path:
    """Made when it is missing; for the owner only."""
    path = data_dir / "run"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lock_file(data_dir: Path) -> Path:
    return data_dir / "run" / "lock"


def empty_spool(data_dir: Path) -> Path:
    """The directory of unfinished messages, made when it is missing, without what a killed process left there.

    For the holder of the lock: nothing in it is anybody's. Raises OSError.
    """
    path = data_dir / "spool"
    path.mkdir(mode=0o700, exist_ok=True)
    for left in path.iterdir():
        left.unlink()
    return path


def control_socket(data_dir: Path) -> Path:
    return data_dir / "run" / "control.sock"


class Lock:
    """The held lock; `release` or the end of the process gives it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take_lock(data_dir: Path) -> Lock:
    """Own the data directory until the lock is released. Raises DataDirBusy."""
    run_dir(data_dir)
    descriptor = os.open(lock_file(data_dir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise DataDirBusy(f"{data_dir}: owned by process {owner or '?'}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return Lock(descriptor)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for bind and connect, also where the path is longer than a socket address can be."""
    if len(os.fsencode(path)) <= SOCKET_PATH_OCTETS:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
