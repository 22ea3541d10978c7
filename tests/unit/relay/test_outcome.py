"""Replies of other servers become answers."""

from __future__ import annotations

import pytest

from govmail.relay.outcome import Result, from_reply, ours, readable


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("发信IP被禁止".encode("gbk"), "发信IP被禁止"),
        ("发信IP被禁止".encode(), "发信IP被禁止"),
        ("朱镕基 𬭊".encode("gb18030"), "朱镕基 𬭊"),
        (b"odd \xff\xff bytes", "odd \\xff\\xff bytes"),
        (b"tabs\tand\x00controls\x1b[31m", "tabs and controls [31m"),
        (b"two\n\nlines ", "two\nlines"),
    ],
)
def test_foreign_text_is_readable(octets: bytes, text: str) -> None:
    assert readable(octets) == text


def test_long_text_is_cut() -> None:
    assert len(readable(b"x" * 30_000)) == 1000


@pytest.mark.parametrize(
    ("code", "text", "result", "status"),
    [
        (250, b"2.1.5 ok", Result.DELIVERED, "2.1.5"),
        (250, b"ok", Result.DELIVERED, "2.0.0"),
        (550, b"5.1.1 no such user", Result.PERMANENT, "5.1.1"),
        (550, b"black ip", Result.PERMANENT, "5.0.0"),
        (552, b"too much", Result.PERMANENT, "5.2.2"),
        (550, b"4.7.1 the class of the code counts", Result.PERMANENT, "5.0.0"),
        (450, b"4.2.0 greylisted", Result.TEMPORARY, "4.2.0"),
        (421, b"busy", Result.TEMPORARY, "4.3.2"),
        (354, b"what?", Result.TEMPORARY, "4.0.0"),
        (612, b"what?", Result.TEMPORARY, "4.0.0"),
    ],
)
def test_codes_and_enhanced_codes(code: int, text: bytes, result: Result, status: str) -> None:
    answer = from_reply(code, text, "mx.example [192.0.2.1]")
    assert (answer.result, answer.status) == (result, status)


def test_enhanced_codes_are_not_repeated_in_the_text() -> None:
    answer = from_reply(550, b"5.7.1 refused\n5.7.1 see https://mx.example/why", "mx.example")
    assert answer.text == "refused\nsee https://mx.example/why"


def test_our_own_answers_have_no_code() -> None:
    assert ours("5.6.7", "no SMTPUTF8").result is Result.PERMANENT
    assert ours("4.4.1", "no connection").code is None
