"""SCRAM-SHA-256: the example of RFC 7677, and what must fail."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from govmail.errors import AuthenticationFailed, SyntaxProblem
from govmail.wire.sasl_scram import Server, Verifier, decoy, verifier

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KNOWN = verifier("pencil", SALT)
NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
EXPORTER = {"tls-exporter": b"e" * 32}


def test_the_example_of_rfc_7677() -> None:
    server = Server(plus=False, bindings={})
    server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert server.name == "user"
    assert server.challenge(KNOWN, NONCE) == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.final(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def play(server: Server, *, gs2: bytes = b"n,,", binding: bytes = b"", password: str = "pencil", known: Verifier = KNOWN, nonce: bytes = b"") -> bytes:
    """A client that may lie; what the server says last."""
    bare = b"n=user,r=abc"
    server.first(gs2 + bare)
    challenge = server.challenge(known, NONCE)
    without = b"c=" + base64.b64encode(gs2 + binding) + b",r=" + (nonce or b"abc" + NONCE)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), known.salt, known.iterations)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), b",".join((bare, challenge, without)), "sha256")
    proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
    return server.final(without + b",p=" + base64.b64encode(proof))


def test_bound_to_the_connection() -> None:
    assert play(Server(plus=True, bindings=EXPORTER), gs2=b"p=tls-exporter,,", binding=b"e" * 32).startswith(b"v=")
    assert play(Server(plus=False, bindings={}), gs2=b"y,,").startswith(b"v=")
    assert play(Server(plus=False, bindings=EXPORTER), gs2=b"n,,").startswith(b"v=")


@pytest.mark.parametrize(
    ("plus", "gs2", "binding"),
    [
        (True, b"p=tls-exporter,,", b"f" * 32),  # another connection: somebody sits between
        (True, b"p=tls-exporter,,", b""),
        (True, b"p=tls-unique,,", b"e" * 32),
        (True, b"n,,", b""),
        (True, b"y,,", b""),
        (False, b"y,,", b""),  # PLUS was taken from the list
        (False, b"p=tls-exporter,,", b"e" * 32),
        (False, b"n,,", b"e" * 32),
        (False, b"n,a=other,", b""),
    ],
)
def test_a_binding_that_does_not_fit(plus: bool, gs2: bytes, binding: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        play(Server(plus=plus, bindings=EXPORTER), gs2=gs2, binding=binding)


def test_wrong_password_unknown_name_and_foreign_nonce() -> None:
    with pytest.raises(AuthenticationFailed):
        play(Server(plus=False, bindings={}), password="pencils")
    with pytest.raises(AuthenticationFailed):
        play(Server(plus=False, bindings={}), known=decoy(b"k" * 32, "user"))
    with pytest.raises(AuthenticationFailed):
        play(Server(plus=False, bindings={}), nonce=b"abc")


def test_an_unknown_name_has_the_same_salt_each_time() -> None:
    assert decoy(b"k" * 32, "user") == decoy(b"k" * 32, "user")
    assert decoy(b"k" * 32, "user").salt != decoy(b"k" * 32, "other").salt


@pytest.mark.parametrize(
    "message", [b"", b"n", b"x,,n=a,r=b", b"n,,m=x,n=a,r=b", b"n,,n=,r=b", b"n,,n=a=,r=b", b"n,,n=a,r=", b"n,,n=\xff,r=b", b"n,,n=a,r=" + b"x" * 5000]
)
def test_a_first_message_that_is_none(message: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        Server(plus=False, bindings={}).first(message)


@pytest.mark.parametrize("message", [b"", b"c=biws", b"c=biws,r=abc", b"c=!,r=abc,p=eA==", b"p=eA=="])
def test_a_last_message_that_is_none(message: bytes) -> None:
    server = Server(plus=False, bindings={})
    server.first(b"n,,n=user,r=abc")
    server.challenge(KNOWN, NONCE)
    with pytest.raises(SyntaxProblem):
        server.final(message)
