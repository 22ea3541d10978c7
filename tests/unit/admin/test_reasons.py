"""Reasons that come from the directory, told to Chinese operators."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from admin.reasons import explain
from admin.texts import speaking
from directory.ldap import pool
from govmail.errors import BadInput, MailError
from tests.unit.admin.conftest import World

KINDS = {"BadInput", "Conflict", "NotFound", "NotPermitted", "LimitReached"}
ORGAN = "江西省/赣州市/发改委"


async def both(world: World, act: str, arguments: dict[str, Any]) -> tuple[str, str]:
    return (await world.refused(act, arguments, language="zh")).text, (await world.refused(act, arguments)).text


@pytest.mark.parametrize(
    ("password", "zh", "en"),
    [
        ("Kurz-1", "至少 8 个字符", "at least 8 characters"),
        ("12345678", "容易被猜中", "tried first"),
        ("Zhangsan-2026", "姓名或账号", "contain a name"),
        ("klein-gross", "三类", "three of"),
    ],
)
async def test_a_weak_password_is_refused_and_the_reason_said(world: World, password: str, zh: str, en: str) -> None:
    await world.province()
    for act, arguments in (
        ("person.passwd", {"person": "zhangsan@fgw.gz.jx.example", "password": password}),
        ("person.add", {"name": "张三", "unit": ORGAN, "address": "zhangsan2@jx.example", "password": password}),
    ):
        chinese, english = await both(world, act, arguments)
        assert zh in chinese
        assert en in english
        assert password not in chinese + english


@pytest.mark.parametrize(
    ("act", "arguments", "zh"),
    [
        ("unit.add", {"path": "江西省/教育厅", "label": "Bad Label"}, "标签“Bad Label”：只可用小写字母"),
        ("unit.add", {"path": "湖南省"}, "已有根单位"),
        ("unit.add", {"path": "江西省/" + "厅" * 300}, "超过"),
        ("unit.show", {"unit": "江西省/无"}, "没有单位“江西省/无”"),
        ("domain.add", {"domain": "example"}, "至少两级"),
        ("person.add", {"name": "李四", "unit": ORGAN, "address": "lisi@elsewhere.example"}, "不是本系统的邮件域"),
        ("person.add", {"name": "李四", "unit": ORGAN, "address": "zhangsan@fgw.gz.jx.example"}, "已属于 张三"),
        ("person.add", {"name": "李四", "unit": ORGAN, "address": "li si@jx.example"}, "写法有误"),
        ("person.show", {"person": "niemand@jx.example"}, "没有人员或地址"),
    ],
)
async def test_what_goes_wrong_every_day_is_said_in_chinese(world: World, act: str, arguments: dict[str, Any], zh: str) -> None:
    await world.province()
    chinese, english = await both(world, act, arguments)
    assert zh in chinese
    assert not re.search(r"\b(not|the|exists|already|must|longer)\b", chinese)
    assert re.search("[a-z]{3} ", english)


def gap(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    return "'1'" if isinstance(part, ast.FormattedValue) and part.conversion == ord("r") else "1"


def sentences() -> Iterator[tuple[str, str]]:
    """What the directories may tell an operator, from their source: where, and the sentence with 1 in each gap."""
    files = [*Path("directory").rglob("*.py"), Path("govmail/store/directory.py"), Path("govmail/store/ledger.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                inner = [part for joined in ast.walk(node.args[0]) if isinstance(joined, ast.JoinedStr) for part in joined.values]
                for text in ast.walk(node.args[0]):
                    if isinstance(text, ast.JoinedStr):
                        yield f"{file}:{node.lineno}", "".join(map(gap, text.values))
                    elif isinstance(text, ast.Constant) and isinstance(text.value, str) and text not in inner and " " in text.value:
                        yield f"{file}:{node.lineno}", text.value
    yield from (("directory/ldap/pool.py", text) for text in (*pool._BAD_INPUT.values(), *pool._NOT_NOW.values()))


def test_every_sentence_of_the_directories_is_known_in_chinese() -> None:
    found = list(sentences())
    assert len(found) > 50
    with speaking("zh"):
        unknown = [(where, text) for where, text in found if explain(BadInput(text)) == text]
    assert unknown == []


def test_the_cause_stays_out_of_what_operators_read() -> None:
    for code in range(1, 124):
        with pytest.raises(MailError) as caught:
            pool._raise_for({"result": code, "description": "secretName", "message": "cn=secret: no write access"})
        with speaking("zh"):
            text = explain(caught.value)
        assert "secret" not in text
        assert not text.isascii(), (code, text)
        assert caught.value.private == "secretName: cn=secret: no write access"


async def test_rows_of_a_table_are_answered_in_chinese_too(world: World) -> None:
    await world.province()
    rows = await world.do("unit.add_many", data="unit\tlabel\n江西省/教育厅\tBad Label\n".encode(), language="zh")
    assert rows[0]["error"].startswith("第 2 行，unit：标签")
