"""The order in which people look for names and subjects."""

from __future__ import annotations

import random

import pytest

from govmail.mail.pinyin import collation, name_collation

# as a list of people is sorted: by syllable, tone, character; Latin names in between
PEOPLE = ["Alice", "曹明", "陈刚", "王", "Wang Wei", "王伟", "王玮", "欧阳修", "任强", "单雄", "单子", "沈括", "曾国", "张三", "张四", "章一", "zhou"]
SORTED = [
    "Alice", "曹明", "陈刚", "欧阳修", "任强", "单雄", "单子", "沈括", "Wang Wei", "王", "王伟", "王玮", "曾国", "张三", "张四", "章一", "zhou",
]


def test_names() -> None:
    shuffled = PEOPLE[:]
    random.Random(3).shuffle(shuffled)
    assert sorted(shuffled, key=name_collation) == SORTED


@pytest.mark.parametrize(("first", "second"), [("ALICE", "bob"), ("a", "Ｂ"), ("关于印发", "关于召开"), ("2027年计划", "关于"), ("计划", "通知"), ("abc", "波")])
def test_subjects(first: str, second: str) -> None:
    assert name_collation(first) < name_collation(second)


def test_keys_tell_texts_apart() -> None:
    assert len({collation(text) for text in ("王伟", "王玮", "汪伟", "wangwei", "wang2王 wei", "")}) == 6
