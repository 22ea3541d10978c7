"""DKIM keys of our domains: rspamd signs with them, this module only makes them and says what goes into DNS.

Invariants: a key is written once, whole or not at all, readable by its owner only; its file name is a checked domain.

RFC 6376 §3.6.1 (the record), RFC 8301 §3.2 (2048 bits).
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from govmail.mail.address import canonical_domain

SELECTOR = "govmail"
KEY_BITS = 2048


def key_dir(data_dir: Path) -> Path:
    return data_dir / "dkim"


def key_file(data_dir: Path, domain: str) -> Path:
    """Where the domain's private key lies, or will. Raises BadAddress."""
    return key_dir(data_dir) / f"{canonical_domain(domain)}.{SELECTOR}.key"


def ensure_key(data_dir: Path, domain: str, *, owner: tuple[int, int] | None = None) -> Path:
    """The domain's private key, made when there is none; `owner` is the (uid, gid) it is for. Raises BadAddress, OSError.

    Takes about a tenth of a second: call it in a thread.
    """
    path = key_file(data_dir, domain)
    if path.exists():
        return path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = rsa.generate_private_key(65537, KEY_BITS).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_suffix(f".{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
        if owner is not None:
            os.chown(draft, *owner)
    if owner is not None:
        os.chown(path.parent, *owner)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # somebody else was faster, and may have published that key already
    finally:
        draft.unlink()
    return path


def record(data_dir: Path, domain: str) -> tuple[str, str]:
    """Name and text of the TXT record that publishes the domain's key. Raises FileNotFoundError when it has none."""
    domain = canonical_domain(domain)
    private = load_pem_private_key(key_file(data_dir, domain).read_bytes(), None)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{SELECTOR}._domainkey.{domain}", f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode('ascii')}"
