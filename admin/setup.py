"""Makes a data directory at first use: configuration, certificate, secrets.

Invariants: what is there already is never changed, so it may run at every start; secrets and keys are for their owner
only (0600, directories 0700) from the moment they exist; every file appears whole or not at all.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from directory import slapd
from govmail import datadir
from govmail.config import read_secret
from govmail.errors import BadInput

PORT_OFFSET = 2000
LDAP_BASE = "dc=jx,dc=example"  # of the slapd that `govmail up` runs
STREAM_OCTETS = 61 * 1024 * 1024  # clamd scans the largest mail whole: Limits.message_octets and some more
CERTIFICATE_DAYS = 397  # what clients accept at most

SECRETS = ("rspamd.password", "slapd.password", "doctor")
"""Files in `secrets/`: the passwords of the engines and of the account that `govmail doctor` sends its probe with."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where `govmail up` listens: the standard ports plus an offset, so that it needs no privileges."""

    smtp: int
    submission: int
    submissions: int
    imap: int
    imaps: int
    slapd: int
    rspamd: int
    clamd: int

    @classmethod
    def at(cls, offset: int) -> Ports:
        """Raises BadInput when a port would lie outside 1…65535."""
        if not 0 <= offset <= 65535 - 993:
            raise BadInput(f"port offset {offset}: 0 to {65535 - 993}")
        return cls(
            smtp=offset + 25, submission=offset + 587, submissions=offset + 465, imap=offset + 143, imaps=offset + 993,
            slapd=offset + 389, rspamd=offset + 333, clamd=offset + 310,
        )


def prepare(
    data_dir: Path, *, port_offset: int = PORT_OFFSET, host: str = "127.0.0.1", hostname: str | None = None,
    engines: bool = True, ldap: bool = False, now: datetime | None = None,
) -> list[str]:
    """Makes what is missing in `data_dir` and returns the names of what was made.

    `engines`: rspamd, clamd and slapd run as children and are configured; `ldap`: the directory lies in that slapd, not in
    our own tables. Raises BadInput, OSError.
    """
    ports = Ports.at(port_offset)
    host_name = hostname or default_hostname()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    datadir.run_dir(data_dir)
    made: list[str] = []
    for part in ("secrets", "tls"):
        (data_dir / part).mkdir(mode=0o700, exist_ok=True)
    for name in SECRETS:
        made += _once(datadir.secrets_dir(data_dir) / name, lambda: secrets.token_urlsafe(24).encode() + b"\n")
    if not (data_dir / "tls" / "cert.pem").exists():
        certificate, key = self_signed(host_name, now or datetime.now(UTC))
        _replace(data_dir / "tls" / "key.pem", key)
        _replace(data_dir / "tls" / "cert.pem", certificate)
        made += ["tls/key.pem", "tls/cert.pem"]
    made += _once(datadir.config_file(data_dir), lambda: configuration(ports, host, host_name, engines=engines, ldap=ldap).encode())
    return [str(Path(one).relative_to(data_dir)) if os.path.isabs(one) else one for one in made]


def secret(path: Path) -> str:
    """The secret in the file, made where it is missing. Raises BadConfig when others can read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _once(path, lambda: secrets.token_urlsafe(24).encode() + b"\n")
    return read_secret(path)


def default_hostname() -> str:
    """This machine's name, where it has one with a domain."""
    name = socket.gethostname()
    return name if "." in name else "localhost"


def _once(path: Path, content: Callable[[], bytes]) -> list[str]:
    if path.exists():
        return []
    _replace(path, content())
    return [str(path)]


def _replace(path: Path, content: bytes) -> None:
    """Writes the file so that it appears whole, and stays over a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def self_signed(hostname: str, now: datetime) -> tuple[bytes, bytes]:
    """A certificate for `hostname`, localhost and the loopback addresses, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
    names: list[x509.GeneralName] = [x509.DNSName(one) for one in dict.fromkeys((hostname, "localhost"))]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def configuration(ports: Ports, host: str, hostname: str, *, engines: bool, ldap: bool = False) -> str:
    """The text of govmail.toml for one machine."""
    text = f"""\
# Made by `govmail up`. Every setting and its default stands in deploy/govmail.toml of the distribution.
hostname = "{hostname}"

[[listener]]
name = "smtp"
protocol = "smtp"
host = "{host}"
port = {ports.smtp}

[[listener]]
name = "submission"
protocol = "submission"
host = "{host}"
port = {ports.submission}

[[listener]]
name = "submissions"
protocol = "submission"
host = "{host}"
port = {ports.submissions}
tls = "implicit"

[[listener]]
name = "imap"
protocol = "imap"
host = "{host}"
port = {ports.imap}

[[listener]]
name = "imaps"
protocol = "imap"
host = "{host}"
port = {ports.imaps}
tls = "implicit"
"""
    if engines:
        text += f"""
[engines]
slapd_port = {ports.slapd if ldap else 0}
rspamd_port = {ports.rspamd}
clamd_port = {ports.clamd}

[[filter]]
name = "rspamd"
kind = "rspamd"
url = "http://127.0.0.1:{ports.rspamd}"
controller_url = "http://127.0.0.1:{ports.rspamd + 1}"
password_file = "secrets/rspamd.password"
workers = 32

[[filter]]
name = "clamav"
kind = "clamd"
url = "tcp://127.0.0.1:{ports.clamd}"
stream_octets = {STREAM_OCTETS}
"""
    if ldap:
        text += f"""
[directory]
kind = "ldap"
url = "ldap://127.0.0.1:{ports.slapd}"
base = "{LDAP_BASE}"
bind_dn = "{slapd.admin_dn(LDAP_BASE)}"
bind_password_file = "secrets/slapd.password"
"""
    return text
