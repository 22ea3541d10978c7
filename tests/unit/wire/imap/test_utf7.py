"""Mailbox names on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.errors import SyntaxProblem
from govmail.wire.imap import utf7

# As real servers and clients send them
KNOWN = [
    ("已发送", b"&XfJT0ZAB-"), ("草稿箱", b"&g0l6P3ux-"), ("草稿夹", b"&g0l6P1k5-"), ("已删除", b"&XfJSIJZk-"),
    ("垃圾邮件", b"&V4NXPpCuTvY-"), ("病毒文件夹", b"&dcVr0mWHTvZZOQ-"), ("广告邮件", b"&Xn9USpCuTvY-"),
    ("已发送邮件", b"&XfJT0ZABkK5O9g-"), ("垃圾电子邮件", b"&V4NXPnU1W1CQrk72-"), ("其他文件夹", b"&UXZO1mWHTvZZOQ-"),
    ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"), ("R&D", b"R&-D"), ("&", b"&-"), ("", b""),
    ("\u4dae和\U0002c38a", b"&Ta5UjNhw34o-"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wire"), KNOWN)
def test_known_names(name: str, wire: bytes) -> None:
    assert utf7.encode(name) == wire
    assert utf7.decode(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decode_inverts_encode(name: str) -> None:
    assert utf7.decode(utf7.encode(name)) == name


@given(st.text(st.sampled_from("𬭊喆堃镕䶮𠮷a&-")))
def test_characters_outside_the_bmp(name: str) -> None:
    assert utf7.decode(utf7.encode(name)) == name


@pytest.mark.parametrize("wire", [b"&", b"&AGE", b"&AGE-", b"&Jjo!", b"&U,BTFw-&ZeVnLIqe-", b"a\x00", b"a\r\n", b"&2D3-", b"&====-", b"\xff\xfe", b"&U,BTFx-"])
def test_refuses(wire: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        utf7.decode(wire)


def test_raw_utf8_is_read() -> None:
    assert utf7.decode("项目".encode()) == "项目"


@given(st.binary(max_size=40))
def test_nothing_but_syntax_problem(wire: bytes) -> None:
    try:
        name = utf7.decode(wire)
    except SyntaxProblem:
        return
    assert not wire.isascii() or utf7.encode(name) == wire
