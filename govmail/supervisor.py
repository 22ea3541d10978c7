"""What a server process does to itself before it serves: privileges, limits, files.

Invariants: after `become` the process is nobody special for good (real, effective and saved ids); what it creates is
for its own user only.
"""

from __future__ import annotations

import os
import pwd
import resource
from pathlib import Path

from govmail.errors import MailError


class CannotStart(MailError):
    """The machine is not as a server needs it; the text says what to do."""

    status = "4.3.5"
    text = "cannot start"


def raise_open_files() -> int:
    """As many open files as the system allows: a connection needs one. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.geteuid() == 0:
        hard = max(hard, 1 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft
    return hard


def claim(directory: Path, user: str) -> None:
    """Make `directory` where it is missing; as root, for `user`. Raises CannotStart."""
    entry = _entry(user) if os.geteuid() == 0 else None
    try:
        made = not directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if entry is not None and made:
            os.chown(directory, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        raise CannotStart(f"{directory}: {os.strerror(error.errno or 0)}") from error


def become(user: str, *, for_directory: Path) -> None:
    """As root: be `user` from now on, with no way back, and stand in `for_directory`. Otherwise nothing. Raises CannotStart."""
    os.umask(0o077)
    if os.geteuid() != 0:
        return
    entry = _entry(user)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    if not os.access(for_directory, os.R_OK | os.W_OK | os.X_OK):
        raise CannotStart(f"{for_directory} is closed to the user {user}: it must own it and be able to walk there (chmod o+x the directories above)")
    os.chdir(for_directory)  # where root stood may be closed to the user, and children inherit it


def become_owner(directory: Path) -> None:
    """As root: be the owner of `directory`, so that what is written there stays the server's. Otherwise nothing."""
    if os.geteuid() != 0:
        return
    owner = directory.stat().st_uid
    if owner != 0:
        become(pwd.getpwuid(owner).pw_name, for_directory=directory)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise CannotStart(f"no such system user: {user} (as root: useradd --system --no-create-home {user})") from None
