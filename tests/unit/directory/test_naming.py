"""Addresses from names: readings of surnames, ü, suffixes, reserved words."""

from __future__ import annotations

import pytest

from directory import naming
from govmail.mail.address import Address
from govmail.mail.pinyin import split_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("单雄信", "shan xiongxin"), ("曾国", "zeng guo"), ("解缙", "xie jin"), ("仇英", "qiu ying"), ("查良", "zha liang"),
        ("区小红", "ou xiaohong"), ("朴正", "piao zheng"), ("盖文", "ge wen"), ("任重", "ren zhong"), ("翟天", "zhai tian"),
        ("吕思源", "lv siyuan"), ("黄绿", "huang lv"), ("欧阳文", "ouyang wen"), ("单于文", "chanyu wen"), ("万俟文", "moqi wen"),
        ("欧阳", "ou yang"), ("尉迟恭", "yuchi gong"), ("龚䶮", "gong yan"), ("张三", "zhang san"), ("Ann Lee", "annlee"),
    ],
)
def test_readings(name: str, expected: str) -> None:
    assert naming.pinyin(name) == expected


@pytest.mark.parametrize(
    ("name", "parts"), [("欧阳修", ("欧阳", "修")), ("欧阳", ("欧", "阳")), ("张", ("张", "")), ("Ann Lee", ("Lee", "Ann")), ("X", ("X", ""))]
)
def test_surname_and_given_name(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_namesakes_get_the_next_free_number() -> None:
    taken: set[str] = set()
    made = []
    for _ in range(4):
        address = naming.suggest("王伟", "fgw.jx.example", lambda wanted: wanted.key in taken)
        taken.add(address.key)
        made.append(str(address))
    assert made == [f"wangwei{n}@fgw.jx.example" for n in ("", "2", "3", "4")]


@pytest.mark.parametrize("name", ["😀", "。。。", "\u200b", "ء"])
def test_a_name_without_a_reading_gets_an_address_all_the_same(name: str) -> None:
    assert Address.parse(str(naming.suggest(name, "jx.example", lambda _: False))).local.isascii()


def test_reserved_words_are_never_suggested() -> None:
    assert naming.suggest("root", "jx.example", lambda _: False).local == "root2"
    assert all(naming.suggest(word, "jx.example", lambda _: False).local not in naming.RESERVED for word in naming.RESERVED)


def test_a_long_name_fits_into_a_local_part() -> None:
    Address.parse(str(naming.suggest("穆罕默德" * 30, "jx.example", lambda wanted: wanted.local[-1].isalpha())))
