"""SCRAM-SHA-256: the vectors of the RFCs, and whoever tries to be in the middle."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from govmail.errors import AuthenticationFailed, SyntaxProblem
from govmail.interfaces import Principal
from govmail.wire.sasl import Channel, Exchange, Keys
from govmail.wire.sasl_scram import Verifier, make_verifier, parse_verifier, saslprep, scram, scram_plus
from tests.kit.scram import final_message

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = make_verifier("pencil", SALT, 4096)
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = f"r={CLIENT_NONCE}{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
SOMEBODY = Principal("id", "user", "unit", ("user@jx.example",))
PLUS = Channel(b"hash of the certificate", nonce=SERVER_NONCE)
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def begin(client_first: bytes, channel: Channel = Channel(nonce=SERVER_NONCE), kind: Callable[[Channel], Exchange] = scram) -> Exchange:
    exchange = kind(channel)
    assert next(exchange) == b""
    question = exchange.send(client_first)
    assert isinstance(question, Keys)
    return exchange


def end(exchange: Exchange, final: bytes) -> Principal:
    signature = exchange.send(final)
    assert isinstance(signature, bytes)
    assert signature.startswith(b"v=")
    with pytest.raises(StopIteration) as ended:
        exchange.send(b"")
    principal: Principal = ended.value.value
    return principal


def test_the_example_of_rfc_7677() -> None:
    exchange = scram(Channel(nonce=SERVER_NONCE))
    assert next(exchange) == b""
    assert exchange.send(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Keys("user")
    assert exchange.send((KEYS, SOMEBODY)) == SERVER_FIRST
    assert exchange.send(FINAL) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    with pytest.raises(StopIteration) as ended:
        exchange.send(b"")
    assert ended.value.value is SOMEBODY


def test_keys_are_read_as_they_are_written_and_rubbish_is_none() -> None:
    assert parse_verifier(str(KEYS)) == KEYS
    written = str(KEYS)
    for bad in ("", "x", written[:-3], written.replace("4096", "1"), written.replace("4096", "99999999999"), written.replace("SHA-256", "SHA-1"), "$argon2id$v=19$m=64"):
        assert parse_verifier(bad) is None
    assert "stored_key" not in repr(KEYS)


@pytest.mark.parametrize("flag", [b"n,,", b"y,,", b"n,a=zs=2Co=3Dx@jx.example,"])
def test_who_does_not_bind_logs_in_without_plus(flag: bytes) -> None:
    exchange = begin(flag + b"n=zs=2Co=3Dx@jx.example,r=abc")
    challenge = exchange.send((KEYS, SOMEBODY))
    assert isinstance(challenge, bytes)
    assert end(exchange, final_message("pencil", flag, b"n=zs=2Co=3Dx@jx.example,r=abc", challenge)) is SOMEBODY


def test_plus_binds_to_the_certificate() -> None:
    header, bare = b"p=tls-server-end-point,,", b"n=user,r=abc"
    for seen, right in ((PLUS.binding, True), (b"hash of another certificate", False), (b"", False)):
        exchange = begin(header + bare, PLUS, scram_plus)
        challenge = exchange.send((KEYS, SOMEBODY))
        assert isinstance(challenge, bytes)
        final = final_message("pencil", header, bare, challenge, binding=seen)
        if right:
            assert end(exchange, final) is SOMEBODY
        else:
            with pytest.raises(AuthenticationFailed):
                exchange.send(final)


def test_a_client_from_which_plus_was_hidden_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match="authentication failed") as refused:
        begin(b"y,,n=user,r=abc", PLUS)
    assert "downgrade" in (refused.value.private or "")


def test_a_flag_that_was_changed_on_the_way_is_found_in_the_proof() -> None:
    exchange = begin(b"n,,n=user,r=abc", PLUS)  # the client said "y"
    challenge = exchange.send((KEYS, SOMEBODY))
    assert isinstance(challenge, bytes)
    with pytest.raises(AuthenticationFailed):
        exchange.send(final_message("pencil", b"y,,", b"n=user,r=abc", challenge))


@pytest.mark.parametrize("flag", [b"n,,", b"y,,", b"p=tls-exporter,,", b"p=tls-unique,,", b"p=,,"])
def test_plus_takes_no_other_binding(flag: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        begin(flag + b"n=user,r=abc", PLUS, scram_plus)


def test_plus_without_anything_to_bind_to_is_refused() -> None:
    with pytest.raises(AuthenticationFailed):
        begin(b"p=tls-server-end-point,,n=user,r=abc", Channel(nonce=SERVER_NONCE), scram_plus)


@pytest.mark.parametrize("change", ["password", "nonce", "salt", "keys"])
def test_nobody_gets_in(change: str) -> None:
    bare = b"n=user,r=abc"
    exchange = begin(b"n,," + bare)
    challenge = exchange.send((KEYS, None if change == "keys" else SOMEBODY))
    assert isinstance(challenge, bytes)
    if change == "nonce":  # replayed from another exchange
        final = final_message("pencil", b"n,,", bare, challenge.replace(SERVER_NONCE.encode(), b"other"))
    elif change == "salt":
        final = final_message("pencil", b"n,,", bare, challenge.replace(b"i=4096", b"i=1"))
    else:
        final = final_message("pencil" if change == "keys" else "wrong", b"n,,", bare, challenge)
    with pytest.raises(AuthenticationFailed):
        exchange.send(final)


@pytest.mark.parametrize(
    "message",
    [b"", b"n", b"n,,", b"n,,n=user", b"n,,n=,r=abc", b"n,,n=us=er,r=abc", b"n,,n=us=2cer,r=abc", b"n,,m=x,n=user,r=abc", b"n,,n=user,r=", b"x,,n=user,r=abc",
     b"n,,n=user,r=" + b"a" * 600, b"n,,n=user,r=a\x00b", b"n,,n=\xff,r=abc", b"p=tls-exporter,,n=user,r=abc"],
)  # fmt: skip
def test_bad_first_messages(message: bytes) -> None:
    exchange = scram(Channel(nonce="x"))
    next(exchange)
    with pytest.raises(SyntaxProblem):
        exchange.send(message)


@pytest.mark.parametrize("message", [b"", b"c=biws", b"c=biws,r=abcx", b"r=abcx,c=biws,p=AAAA", b"c=!,r=abcx,p=AAAA", b"c=biws,r=abcx,p=!"])
def test_bad_final_messages(message: bytes) -> None:
    exchange = scram(Channel(nonce="x"))
    next(exchange)
    exchange.send(b"n,,n=user,r=abc")
    exchange.send((KEYS, SOMEBODY))
    with pytest.raises(SyntaxProblem):
        exchange.send(message)


def test_a_short_proof_is_a_wrong_one() -> None:
    exchange = begin(b"n,,n=user,r=abc")
    exchange.send((KEYS, SOMEBODY))
    with pytest.raises(AuthenticationFailed):
        exchange.send(b"c=biws,r=abc" + SERVER_NONCE.encode() + b",p=AAAA")


def test_saslprep_examples() -> None:
    # RFC 4013 §3
    assert saslprep("I\u00adX") == "IX"
    assert saslprep("user") == "user"
    assert saslprep("USER") == "USER"
    assert saslprep("\u00aa") == "a"
    assert saslprep("\u2168") == "IX"
    for bad in ("\u0007", "\u0627\u0031", ""):
        with pytest.raises(SyntaxProblem):
            saslprep(bad)
    assert saslprep("密码 １２") == "密码 12"


def test_the_same_password_in_another_form_has_the_same_keys() -> None:
    assert make_verifier("ｐｅｎｃｉｌ", SALT, 4096) == KEYS
    assert isinstance(KEYS, Verifier)
