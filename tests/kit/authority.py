"""A certificate authority and an issuer of tokens for tests, made in memory."""

from __future__ import annotations

import base64
import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


class Authority:
    """Gives out client certificates and revokes them; its files lie in `home`."""

    def __init__(self, home: Path, name: str = "Test CA") -> None:
        self._home = home
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._revoked: list[int] = []
        self._lists = 0
        self.file = home / f"{name}.pem"
        self.crl = home / f"{name}.crl"
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = self._builder(self._name, self._key.public_key(), [])
        certificate = certificate.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        self.file.write_bytes(self._sign(certificate).public_bytes(serialization.Encoding.PEM))
        self.write_crl()

    def _builder(self, subject: x509.Name, key: Any, names: list[x509.GeneralName]) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - datetime.timedelta(hours=1)).not_valid_after(self._now + datetime.timedelta(days=1))
        )  # fmt: skip
        return builder.add_extension(x509.SubjectAlternativeName(names), False) if names else builder

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, *addresses: str, file: str = "client.pem") -> tuple[Path, int]:
        """(PEM file with certificate and key, serial number)."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.RFC822Name(address) for address in addresses]
        certificate = self._sign(self._builder(_name("somebody"), key.public_key(), names))
        path = self._home / file
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
        return path, certificate.serial_number

    def revoke(self, serial: int) -> None:
        self._revoked.append(serial)
        self.write_crl()

    def write_crl(self) -> None:
        """Each list is a second newer than the one before."""
        self._lists += 1
        made = self._now - datetime.timedelta(hours=1) + datetime.timedelta(seconds=self._lists)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(made)
        builder = builder.next_update(self._now + datetime.timedelta(days=1))
        for serial in self._revoked:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made).build()
            builder = builder.add_revoked_certificate(one)
        self.crl.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def b64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


@dataclass
class TokenMaker:
    """Signs tokens with a key of each kind; `jwks` is what it publishes."""

    rsa_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ed_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    def jwks(self, prefix: str = "") -> bytes:
        numbers = self.rsa_key.public_key().public_numbers()
        point = self.ec_key.public_key().public_numbers()
        raw = self.ed_key.public_key().public_bytes_raw()
        keys = [
            {"kty": "RSA", "kid": f"{prefix}RS256", "n": b64url(numbers.n.to_bytes(256, "big")), "e": "AQAB", "use": "sig"},
            {"kty": "EC", "crv": "P-256", "kid": f"{prefix}ES256", "x": b64url(point.x.to_bytes(32, "big")), "y": b64url(point.y.to_bytes(32, "big"))},
            {"kty": "OKP", "crv": "Ed25519", "kid": f"{prefix}EdDSA", "x": b64url(raw), "alg": "EdDSA"},
            {"kty": "oct", "kid": "secret", "k": "AAAA"},
            "rubbish",
        ]
        return json.dumps({"keys": keys}).encode()

    def token(self, claims: dict[str, Any], algorithm: str = "ES256", **header: Any) -> str:
        whole = {"alg": algorithm, "typ": "JWT", "kid": algorithm, **header}
        signed = f"{b64url(json.dumps(whole).encode())}.{b64url(json.dumps(claims).encode())}"
        return f"{signed}.{b64url(self._sign(signed.encode(), algorithm))}"

    def _sign(self, signed: bytes, algorithm: str) -> bytes:
        if algorithm == "RS256":
            return self.rsa_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "EdDSA":
            return self.ed_key.sign(signed)
        r, s = decode_dss_signature(self.ec_key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
