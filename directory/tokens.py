"""Bearer tokens: JWTs of an issuer, checked against its public keys. Pure: keys and time are given.

Invariants
- The algorithm is one of three, each with its own type of key: neither "none" nor an HMAC over a public key verifies, and
  no key is used for an algorithm that it was not made for.
- Nothing in a token is looked at as true before its signature is; then iss, aud and exp must be there and fit.

RFC 7515 (JWS), RFC 7517 (JWK), RFC 7519 (JWT), RFC 8725 (best practice), RFC 8037 (EdDSA).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from govmail.config import Issuer
from govmail.errors import AuthenticationFailed

LEEWAY_SECONDS = 60  # clocks differ
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
KEYS = 50  # of one issuer

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the one algorithm that it verifies. `kid` "": has no name."""

    kid: str
    algorithm: str
    key: PublicKey


class UnknownKey(AuthenticationFailed):
    """The token is signed with a key that is not among these; the issuer may have a new one."""


def read_keys(text: bytes) -> list[Key]:
    """The usable keys of a JWK set; what is of another kind is left out. Raises ValueError when it is no JWK set."""
    document = json.loads(text)
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise ValueError("no JWK set")
    keys = [_key(jwk) for jwk in found[:KEYS] if isinstance(jwk, dict)]
    return [key for key in keys if key is not None]


def _key(jwk: dict[str, Any]) -> Key | None:
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        return None
    try:
        match jwk.get("kty"), jwk.get("crv"):
            case "RSA", _:
                algorithm = "RS256"
                number = _number(jwk["n"])
                if not MIN_RSA_BITS <= number.bit_length() <= MAX_RSA_BITS:
                    return None
                key: PublicKey = rsa.RSAPublicNumbers(_number(jwk["e"]), number).public_key()
            case "EC", "P-256":
                algorithm = "ES256"
                key = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1()).public_key()
            case "OKP", "Ed25519":
                algorithm = "EdDSA"
                key = Ed25519PublicKey.from_public_bytes(_octets(jwk["x"]))
            case _:
                return None
    except (KeyError, TypeError, ValueError):
        return None
    return Key(str(jwk.get("kid", "")), algorithm, key) if jwk.get("alg", algorithm) == algorithm else None


def issuer_of(token: str) -> str:
    """Whose token it claims to be, to choose the keys by. Raises AuthenticationFailed."""
    return str(_object(_parts(token)[1]).get("iss", ""))


def check(token: str, keys: Sequence[Key], issuer: Issuer, now: int) -> dict[str, Any]:
    """The claims of a token that holds. Raises AuthenticationFailed, UnknownKey. `now`: seconds since the epoch."""
    head, body, signature, signed = _parts(token)
    header = _object(head)
    if "crit" in header or not isinstance(header.get("kid", ""), str):  # RFC 7515 §4.1.11: we know no extension
        raise AuthenticationFailed(private="token: header not understood")
    kid, algorithm = header.get("kid", ""), header.get("alg")
    candidates = [one for one in keys if one.algorithm == algorithm and (not kid or one.kid == kid)]
    if not candidates:
        raise UnknownKey(private=f"token: no {str(algorithm)[:20]!r} key {kid[:80]!r}")
    if not any(_verifies(one.key, signature, signed) for one in candidates):
        raise AuthenticationFailed(private="token: bad signature")
    claims = _object(body)
    problem = _problem(claims, issuer, now)
    if problem:
        raise AuthenticationFailed(private=f"token: {problem}")
    return claims


def _verifies(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if len(signature) != 64:  # RFC 7518 §3.4: r and s, 32 octets each
                return False
            pair = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
            key.verify(pair, signed, ec.ECDSA(SHA256()))
        else:
            key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _problem(claims: dict[str, Any], issuer: Issuer, now: int) -> str:
    audience = claims.get("aud")
    if claims.get("iss") != issuer.issuer:
        return "another issuer"
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        return "made for another audience"
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    if "exp" not in times or not all(type(when) in (int, float) for when in times.values()):
        return "no end, or bad times"
    if now >= times["exp"] + LEEWAY_SECONDS:
        return "expired"
    if now < times.get("nbf", now) - LEEWAY_SECONDS:
        return "not valid yet"
    return ""


def _parts(token: str) -> tuple[bytes, bytes, bytes, bytes]:
    """(header, claims, signature, what is signed)."""
    parts = token.split(".")
    try:
        head, body, signature = map(_octets, parts)
    except ValueError:
        raise AuthenticationFailed(private="token: no JWT") from None
    return head, body, signature, f"{parts[0]}.{parts[1]}".encode()


def _object(octets: bytes) -> dict[str, Any]:
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AuthenticationFailed(private="token: no JWT")
    return found


def _octets(text: str) -> bytes:
    """base64url without padding (RFC 7515 §2)."""
    if len(text) % 4 == 1 or not text.isascii() or "=" in text:
        raise ValueError("bad base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_octets(text), "big")
