"""The configuration of a slapd of our own: one text from the template in `directory/data/ldap`.

Invariants: listens where the caller says (`slapd -h`), holds its password as a salted hash only; the files it needs come
with the package, so an installed govmail can start one.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

DATA = Path(__file__).parent / "data" / "ldap"
ADMIN_RDN = "cn=govmail"

SLAPD = Path("/usr/sbin/slapd")
SYSTEM_SCHEMA = Path("/etc/ldap/schema")
MODULES = Path("/usr/lib/ldap")


def suffix_of(base: str) -> str:
    """The naming context of a base: its dc components, or its last one ("ou=agencies,dc=jx,dc=example" -> "dc=jx,dc=example")."""
    parts = [part.strip() for part in base.split(",")]
    dcs = [part for part in parts if part.lower().startswith("dc=")]
    return ",".join(dcs or parts[-1:])


def admin_dn(base: str) -> str:
    """The service identity of a slapd that was configured by `render`."""
    return f"{ADMIN_RDN},{suffix_of(base)}"


def render(
    base: str, *, data_dir: Path, run_dir: Path, admin_password: str, durable: bool = True,
    system_schema: Path = SYSTEM_SCHEMA, modules: Path = MODULES, salt: bytes | None = None,
) -> str:
    """slapd.conf for a directory below `base`. `data_dir` and `run_dir` must exist when slapd starts.

    `durable` False: changes may be lost in a power cut; for tests and throw-away trees. The file holds a password hash:
    mode 0600.
    """
    values = {
        "SYSTEM_SCHEMA": str(system_schema), "SCHEMA": str(DATA), "MODULES": str(modules), "RUN": str(run_dir),
        "SUFFIX": suffix_of(base), "ADMIN_DN": admin_dn(base), "ADMIN_PASSWORD": _ssha(admin_password, salt or os.urandom(16)),
        "DATA": str(data_dir), "SYNC": "# every change is synced" if durable else "dbnosync",
    }
    text = (DATA / "slapd.conf.in").read_text("utf-8")
    for name, value in values.items():
        if any(char in value for char in '"\n@') and name != "ADMIN_PASSWORD":
            raise ValueError(f"{name}: {value!r} cannot stand in slapd.conf")
        text = text.replace(f"@{name}@", value)
    return text


def _ssha(password: str, salt: bytes) -> str:
    # A random secret of 128 bits needs no slow hash; slapd checks it for every connection.
    digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324 - the scheme that slapd has built in
    return "{SSHA}" + base64.b64encode(digest + salt).decode()
