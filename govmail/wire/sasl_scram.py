"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: the client proves that it knows the password, and the server that it knows its keys.

Invariants
- A login without keys runs to the same point with the same messages as one with a wrong password.
- The client's channel binding flag, its header and its data are compared octet for octet: a man in the middle who takes
  -PLUS from the list, or brings the proof over another TLS connection, is found out (RFC 5802 §6).
- The proof is compared in constant time; what was compared never leaves this module.

Of the channel bindings only tls-server-end-point is here. Python's ssl cannot export keying material, so tls-exporter
(RFC 9266) is out of reach, and the tls-unique that it has is not safe without RFC 7627 and undefined in TLS 1.3.

RFC 5802, RFC 7677 (SHA-256), RFC 5929 §4 (tls-server-end-point), RFC 4013 (SASLprep).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import stringprep
import unicodedata
from dataclasses import dataclass, field

from govmail.errors import AuthenticationFailed, SyntaxProblem
from govmail.interfaces import Principal
from govmail.wire.sasl import Channel, Exchange, Keys, decode_base64, decode_login

NAME = "SCRAM-SHA-256"
END_POINT = "tls-server-end-point"
MIN_ITERATIONS, MAX_ITERATIONS = 4096, 10_000_000  # RFC 7677 §4; a stored number beyond is rubbish
SALT_OCTETS = 16
NONCE_OCTETS = 512


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the server keeps of a password: it can check a proof with it, but not make one."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        """`SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5803 §3)."""
        salt, stored, server = (base64.b64encode(one).decode() for one in (self.salt, self.stored_key, self.server_key))
        return f"{NAME}${self.iterations}:{salt}${stored}:{server}"


def make_verifier(password: str, salt: bytes, iterations: int) -> Verifier:
    """RFC 5802 §3. Slow by intention. Raises SyntaxProblem for a password that SASLprep forbids."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Verifier(salt, iterations, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def parse_verifier(text: str) -> Verifier | None:
    """The inverse of `str`; None when it is no verifier that can be used."""
    try:
        name, cost, keys = text.split("$")
        (iterations, salt), (stored, server) = cost.split(":"), keys.split(":")
        found = Verifier(_octets(salt), int(iterations), _octets(stored), _octets(server))
    except ValueError:
        return None
    whole = len(found.stored_key) == len(found.server_key) == 32 and found.salt
    return found if name == NAME and whole and MIN_ITERATIONS <= found.iterations <= MAX_ITERATIONS else None


def _octets(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def saslprep(text: str) -> str:
    """RFC 4013 for stored strings. Raises SyntaxProblem for what it forbids."""
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char))
    result = unicodedata.normalize("NFKC", mapped)
    if not result or any(test(char) for char in result for test in _FORBIDDEN):
        raise SyntaxProblem("text not allowed by SASLprep")
    if any(map(stringprep.in_table_d1, result)) and (  # RFC 3454 §6: right-to-left text is all right-to-left
        any(map(stringprep.in_table_d2, result)) or not (stringprep.in_table_d1(result[0]) and stringprep.in_table_d1(result[-1]))
    ):
        raise SyntaxProblem("text not allowed by SASLprep")
    return result


_FORBIDDEN = (
    stringprep.in_table_a1, stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
)  # fmt: skip


# -- the exchange -------------------------------------------------------------------------------------------------


def scram(channel: Channel) -> Exchange:
    """The client does not bind. Where -PLUS is offered, one that says it would have ("y") has been lied to."""
    return (yield from _exchange(channel, bound=False))


def scram_plus(channel: Channel) -> Exchange:
    return (yield from _exchange(channel, bound=True))


def _exchange(channel: Channel, *, bound: bool) -> Exchange:
    header, login, nonce, client_first = _parse_first((yield b""))
    _check_flag(header, channel, bound=bound)
    answer: tuple[Verifier, Principal | None] = yield Keys(login)
    keys, principal = answer
    nonce += channel.nonce
    server_first = f"r={nonce},s={base64.b64encode(keys.salt).decode()},i={keys.iterations}".encode()
    without_proof, binding, echoed, proof = _parse_final((yield server_first))
    expected = header + (channel.binding if bound else b"")
    message = b",".join((client_first, server_first, without_proof))
    # All is compared before anything is refused.
    good = _proves(keys, message, proof)
    good &= hmac.compare_digest(binding, expected)
    good &= hmac.compare_digest(echoed, nonce.encode())
    if not good or principal is None:
        raise AuthenticationFailed
    signature = hmac.digest(keys.server_key, message, "sha256")
    if (yield b"v=" + base64.b64encode(signature)):
        raise SyntaxProblem("nothing may follow the server's signature")
    return principal


def _proves(keys: Verifier, message: bytes, proof: bytes) -> bool:
    signature = hmac.digest(keys.stored_key, message, "sha256")
    if len(proof) != len(signature):
        return False
    client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), keys.stored_key)


def _check_flag(header: bytes, channel: Channel, *, bound: bool) -> None:
    flag = header.split(b",", 1)[0]
    if bound:
        if flag != b"p=" + END_POINT.encode() or not channel.binding:
            raise AuthenticationFailed(private="channel binding not supported: " + flag[:60].decode("ascii", "replace"))
    elif flag == b"y":
        if channel.binding:
            raise AuthenticationFailed(private="downgrade: the client was not shown SCRAM-SHA-256-PLUS")
    elif flag != b"n":
        raise SyntaxProblem("channel binding needs SCRAM-SHA-256-PLUS")


def _parse_first(message: bytes) -> tuple[bytes, str, str, bytes]:
    """(gs2-header, login, client's nonce, client-first-message-bare)."""
    parts = message.split(b",", 2)
    if len(parts) < 3:
        raise SyntaxProblem("bad SCRAM message")
    flag, identity, bare = parts
    fields = bare.split(b",")
    if len(fields) < 2 or fields[0][:2] != b"n=" or fields[1][:2] != b"r=":  # also an extension (m=) that must be known
        raise SyntaxProblem("bad SCRAM message")
    login, nonce = _name(fields[0][2:]), fields[1][2:]
    if identity and (identity[:2] != b"a=" or _name(identity[2:]) != login):
        raise AuthenticationFailed(private="authorization identity differs")
    if not 0 < len(nonce) <= NONCE_OCTETS or not all(0x21 <= octet <= 0x7E for octet in nonce):
        raise SyntaxProblem("bad SCRAM nonce")
    return flag + b"," + identity + b",", login, nonce.decode("ascii"), bare


def _name(field: bytes) -> str:
    """saslname: "," and "=" are written =2C and =3D, nothing else is."""
    if field.count(b"=") != field.count(b"=2C") + field.count(b"=3D"):
        raise SyntaxProblem("bad SCRAM name")
    return decode_login(field.replace(b"=2C", b",").replace(b"=3D", b"="))


def _parse_final(message: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """(client-final-message-without-proof, channel binding, nonce, proof)."""
    without_proof, mark, proof = message.rpartition(b",p=")
    fields = without_proof.split(b",")
    if not mark or len(fields) < 2 or fields[0][:2] != b"c=" or fields[1][:2] != b"r=":
        raise SyntaxProblem("bad SCRAM message")
    return without_proof, decode_base64(fields[0][2:]), fields[1][2:], decode_base64(proof)
