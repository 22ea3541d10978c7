"""PLAIN and LOGIN responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.errors import SyntaxProblem
from govmail.wire import sasl

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(st.one_of(st.just(""), texts), texts, texts)
def test_plain_gives_back_what_was_put_in(authzid: str, login: str, password: str) -> None:
    assert sasl.decode_plain(f"{authzid}\0{login}\0{password}".encode()) == (authzid, login, password)


def test_plain_example_of_rfc_4616() -> None:
    assert sasl.decode_plain(b"Ursel\0Kurt\0xipj3plmq") == ("Ursel", "Kurt", "xipj3plmq")


@pytest.mark.parametrize(
    "response",
    [b"", b"\0\0", b"\0login\0", b"\0\0password", b"login\0password", b"\0login\0pass\0word",
     b"\0" + b"a" * 2000 + b"\0b", b"\0a\0\xff"],
    ids=["nothing", "all empty", "empty password", "empty login", "two fields", "NUL inside", "too long", "not UTF-8"],
)  # fmt: skip
def test_plain_refuses(response: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        sasl.decode_plain(response)


def test_base64() -> None:
    assert sasl.decode_base64(b"VXNlcm5hbWU6") == b"Username:"
    assert sasl.decode_base64(b"=") == b""
    for bad in (b"VXNlcm5hbWU", b"VXNl cm5h", b"*", b"A" * 20_000):
        with pytest.raises(SyntaxProblem):
            sasl.decode_base64(bad)


@given(st.binary(max_size=300))
def test_nothing_but_syntax_problem(response: bytes) -> None:
    try:
        sasl.decode_plain(response)
    except SyntaxProblem:
        pass
