"""The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, as values and a state machine without I/O.

Invariants
- A name that has no verifier goes through the same steps with a made-up one and fails at the proof; its salt is the same each time.
- The channel binding that the client sends is compared with this connection's own, for every GS2 flag: "n" and "y" with none, "p" with the
  one that was agreed. "y" (the client could bind, and thinks that we cannot) fails where PLUS was offered: somebody took it from the list.
- Proofs are compared in constant time; each machine answers one login.

RFC 5802 §5-§7 (SCRAM), RFC 7677 (SHA-256), RFC 9266 (tls-exporter), RFC 5929 §4 (tls-server-end-point).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from govmail.errors import AuthenticationFailed, SyntaxProblem

ITERATIONS = 4096  # RFC 7677 §4 asks for this at least; the argon2 hash is what protects a stolen table
SALT_OCTETS = 16
NONCE_LENGTH = 256  # characters of the client's
MESSAGE_OCTETS = 4096


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a directory keeps of a password (RFC 5802 §3). Enough to check a proof, not to make one."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "Verifier(...)"  # never in a log


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> Verifier:
    """Takes milliseconds: not for the event loop."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Verifier(salt, iterations, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def decoy(key: bytes, name: str) -> Verifier:
    """For a name that has none: the same each time, and known to nobody without `key`."""
    made = [hmac.digest(key, f"{use}\0{name}".encode(), "sha256") for use in ("salt", "stored", "server")]
    return Verifier(made[0][:SALT_OCTETS], ITERATIONS, made[1], made[2])


class Server:
    """One login: `first`, then `challenge` with the verifier of `name`, then `final`; each once, in this order."""

    def __init__(self, *, plus: bool, bindings: Mapping[str, bytes]) -> None:
        """`plus`: the client chose the mechanism with channel binding. `bindings`: this connection's, by name; empty where PLUS is not offered."""
        self._plus = plus
        self._bindings = bindings
        self._gs2 = self._client_first = self._server_first = b""
        self._binding = b""
        self._nonce = b""
        self._verifier: Verifier | None = None
        self.name = ""

    def first(self, message: bytes) -> None:
        """The client's first message; sets `name`. Raises SyntaxProblem, AuthenticationFailed."""
        if len(message) > MESSAGE_OCTETS:
            raise SyntaxProblem("SCRAM message too long")
        parts = message.split(b",", 2)
        if len(parts) != 3:
            raise SyntaxProblem("bad SCRAM message")
        flag, authzid, bare = parts
        self._bind(flag)
        fields = bare.split(b",")
        if len(fields) < 2 or not fields[0].startswith(b"n=") or not fields[1].startswith(b"r="):
            raise SyntaxProblem("bad SCRAM message")  # also m=, which demands extensions that we do not know (§5.1)
        self.name = _name(fields[0][2:])
        if authzid and (not authzid.startswith(b"a=") or _name(authzid[2:]) != self.name):
            raise AuthenticationFailed  # nobody may act for another
        self._nonce = fields[1][2:]
        if not 0 < len(self._nonce) <= NONCE_LENGTH or not all(33 <= octet <= 126 for octet in self._nonce):
            raise SyntaxProblem("bad SCRAM nonce")
        self._gs2 = flag + b"," + authzid + b","
        self._client_first = bare

    def _bind(self, flag: bytes) -> None:
        """RFC 5802 §6."""
        if flag.startswith(b"p="):
            kind = flag[2:].decode("ascii", "replace")
            if not self._plus or kind not in self._bindings:
                raise AuthenticationFailed
            self._binding = self._bindings[kind]
        elif flag not in (b"n", b"y"):
            raise SyntaxProblem("bad SCRAM message")
        elif self._plus or (flag == b"y" and self._bindings):
            raise AuthenticationFailed

    def challenge(self, known: Verifier, nonce: bytes) -> bytes:
        """The server's first message. `nonce`: fresh, printable, without a comma."""
        assert self._client_first
        assert self._verifier is None
        self._verifier = known
        self._nonce += nonce
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(known.salt), known.iterations)
        return self._server_first

    def final(self, message: bytes) -> bytes:
        """The server's last message, which proves to the client who we are. Raises SyntaxProblem, AuthenticationFailed."""
        known, self._verifier = self._verifier, None
        assert known is not None
        if len(message) > MESSAGE_OCTETS:
            raise SyntaxProblem("SCRAM message too long")
        without, comma, proof_field = message.rpartition(b",p=")
        fields = without.split(b",")
        if not comma or len(fields) < 2 or not fields[0].startswith(b"c=") or not fields[1].startswith(b"r="):
            raise SyntaxProblem("bad SCRAM message")
        binding, proof = _base64(fields[0][2:]), _base64(proof_field)
        signed = self._client_first + b"," + self._server_first + b"," + without
        signature = hmac.digest(known.stored_key, signed, "sha256")
        client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=False))
        proven = hmac.compare_digest(hashlib.sha256(client_key).digest(), known.stored_key) and len(proof) == len(signature)
        bound = hmac.compare_digest(binding, self._gs2 + self._binding) and hmac.compare_digest(fields[1][2:], self._nonce)
        if not (proven and bound):
            raise AuthenticationFailed
        return b"v=" + base64.b64encode(hmac.digest(known.server_key, signed, "sha256"))


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SyntaxProblem("bad base64") from error


def _name(field: bytes) -> str:
    """saslname: "=2C" is a comma, "=3D" an equals sign, and no other "=" is allowed (RFC 5802 §5.1)."""
    plain = field.replace(b"=2C", b"").replace(b"=3D", b"")
    if not field or b"=" in plain or b"\0" in field:
        raise SyntaxProblem("bad SCRAM name")
    try:
        return field.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("login name is not UTF-8") from None
