"""Logins by something else than a password, over either directory: SCRAM keys, bearer tokens, client certificates.

Invariants
- The directory is asked live: who is suspended or disabled is nobody from that moment on.
- A login that is nobody's, or has no keys, gets a salt that is always the same for it and looks like anybody's.
- A certificate or token opens the mailbox of the one person who has its address, whatever name the client gives beside.

RFC 5802 §5 (salt and iteration count), RFC 5929 §4.1 (tls-server-end-point).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding

from directory.issuers import Issuers
from directory.model import DirectoryService, principal_of
from govmail.config import DirectoryTable
from govmail.errors import AuthenticationFailed, BadAddress
from govmail.interfaces import Clock, PersonState, Principal, utc_now
from govmail.mail.address import Address
from govmail.wire.sasl_scram import SALT_OCTETS, Verifier, parse_verifier


class DirectoryProofs:
    """`govmail.login.Proofs`."""

    def __init__(
        self, directory: DirectoryService, issuers: Issuers, key: bytes, config: DirectoryTable, *, end_point: bytes = b"", clock: Clock = utc_now,
    ) -> None:
        """`key`: see `passwords.load_key`."""
        self.scram = config.scram_iterations > 0
        self.bearer = bool(issuers)
        self.end_point = end_point
        self._directory = directory
        self._issuers = issuers
        self._key = hmac.digest(key, b"SCRAM decoys", "sha256")
        self._iterations = config.scram_iterations
        self._quota_octets = config.quota_octets
        self._clock = clock

    async def keys(self, login: str) -> tuple[Verifier, Principal | None]:
        """See `govmail.login.Proofs`."""
        try:
            address = Address.parse(login)
        except BadAddress:
            return self._decoy(login), None
        found = await self._directory.credentials(address)
        verifier = parse_verifier(found.password_hash.partition(" ")[2]) if found else None
        if found is None or verifier is None:
            return self._decoy(address.key), None
        return verifier, principal_of(found.person, self._quota_octets) if found.person.state is PersonState.ACTIVE else None

    def _decoy(self, login: str) -> Verifier:
        octets = hmac.digest(self._key, login.encode("utf-8", "replace"), hashlib.sha512)
        return Verifier(octets[:SALT_OCTETS], self._iterations, octets[:32], octets[32:])

    async def token(self, login: str, token: str) -> Principal:
        """See `govmail.login.Proofs`."""
        address = await self._issuers.address(token, int(self._clock().timestamp()))
        return await self.certificate((address,), login)

    async def certificate(self, names: Sequence[str], login: str) -> Principal:
        """See `govmail.login.Proofs`."""
        people = {one.directory_id: one for name in names if (one := await self._person(name)) is not None}
        if len(people) != 1:
            raise AuthenticationFailed(private=f"{len(people)} people have the addresses {', '.join(names)[:200]}")
        principal = next(iter(people.values()))
        if login and _key(login) not in principal.addresses:
            raise AuthenticationFailed(private="authorization identity differs")
        return principal

    async def _person(self, name: str) -> Principal | None:
        try:
            found = await self._directory.credentials(Address.parse(name))
        except BadAddress:
            return None
        return principal_of(found.person, self._quota_octets) if found and found.person.state is PersonState.ACTIVE else None


def end_point_of(certificate: Path) -> bytes:
    """tls-server-end-point of the first certificate in a PEM file. Raises OSError, ValueError.

    Its hash is the one that it is signed with, but no weaker than SHA-256; empty where that is not defined (Ed25519).
    """
    found = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    algorithm = found.signature_hash_algorithm
    if algorithm is None:
        return b""
    digest = Hash(SHA256() if isinstance(algorithm, MD5 | SHA1) else algorithm)
    digest.update(found.public_bytes(Encoding.DER))
    return digest.finalize()


def _key(login: str) -> str:
    try:
        return Address.parse(login).key
    except BadAddress:
        return ""
