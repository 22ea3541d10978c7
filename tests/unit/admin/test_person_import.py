"""Tables of people: row-wise errors, repeatable, passwords shown once."""

from __future__ import annotations

from typing import Any

import pytest

from govmail.store import accounts
from govmail.wire.control import Done, Progress
from tests.unit.admin.conftest import World

ORGAN = "江西省/赣州市/发改委"


async def load(world: World, table: str | bytes, **arguments: Any) -> tuple[list[dict[str, Any]], int]:
    """The answers, and the exit code."""
    data = table.encode() if isinstance(table, str) else table
    frames = await world.frames("person.add_many", arguments, data=data)
    assert isinstance(frames[-1], Done), frames[-1]
    return [frame.value for frame in frames if hasattr(frame, "value") and not isinstance(frame, Done)], frames[-1].code


async def test_a_table_becomes_people_with_mailboxes(world: World) -> None:
    await world.province()
    table = f"name\tunit\taddress\tpassword\n李四\t{ORGAN}\tlisi@jx.example\tpass\n王五\t{ORGAN}\t\t\n"
    answers, code = await load(world, table)
    assert code == 0
    assert [(one["address"], one["status"], one["row"]) for one in answers] == [("lisi@jx.example", "added", 2), ("wangwu@fgw.gz.jx.example", "added", 3)]
    assert answers[0]["password"] == ""
    assert len(answers[1]["password"]) >= 16
    page = await world.ctx.database.read(accounts.list_page, after=0, limit=10)
    assert len(page) == 3


async def test_repeating_it_says_exists_and_changes_nothing(world: World) -> None:
    await world.province()
    table = f"name\tunit\taddress\n李四\t{ORGAN}\tlisi@jx.example\n王五\t{ORGAN}\t\n王五\t{ORGAN}\t\n"
    first, _ = await load(world, table)
    people = await world.do("person.list")
    again, code = await load(world, table)
    assert code == 0
    assert [one["status"] for one in again] == ["exists"] * 3
    assert [one["address"] for one in again] == [one["address"] for one in first] == ["lisi@jx.example", "wangwu@fgw.gz.jx.example", "wangwu2@fgw.gz.jx.example"]
    assert [one["password"] for one in again] == [""] * 3
    assert await world.do("person.list") == people


async def test_bad_rows_are_named_and_the_others_are_made(world: World) -> None:
    await world.province()
    rows = [
        "name\tunit\taddress\tpassword",
        f"好人\t{ORGAN}\tgood@jx.example\tx",
        f"\t{ORGAN}\tnoname@jx.example\tx",
        "无位\t江西省/没有\tnounit@jx.example\tx",
        f"外人\t{ORGAN}\tout@elsewhere.example\tx",
        f"坏址\t{ORGAN}\tno address\tx",
        f"重复\t{ORGAN}\tgood@jx.example\tx",
        f"占用\t{ORGAN}\tzhangsan@fgw.gz.jx.example\tx",
        f"多列\t{ORGAN}\tmany@jx.example\tx\textra",
        f"好人二\t{ORGAN}\tgood2@jx.example\tx",
    ]
    answers, code = await load(world, "\n".join(rows))
    assert code == 2
    errors = {one["row"]: one["error"] for one in answers if one["status"] == "error"}
    assert [one["row"] for one in answers] == list(range(2, 11))
    assert [one["address"] for one in answers if one["status"] == "added"] == ["good@jx.example", "good2@jx.example"]
    for row, field in {3: "name", 4: "unit", 5: "address", 6: "address", 7: "address", 8: "address"}.items():
        assert errors[row].startswith(f"row {row}, {field}: "), errors[row]
    assert "govmail domain add elsewhere.example" in errors[5]
    assert "row 2" in errors[7]
    assert "张三" in errors[8]
    assert "5 columns" in errors[9]


async def test_tables_of_offices_are_understood(world: World) -> None:
    await world.province()
    table = f"\ufeff姓名\t部门\t邮箱\t密码\r\n李四\t{ORGAN}\tlisi@jx.example\tp\r\n\r\n".encode()
    answers, code = await load(world, table)
    assert (code, answers[0]["status"]) == (0, "added")


async def test_the_unit_may_be_given_once_for_all(world: World) -> None:
    await world.province()
    answers, _ = await load(world, "name\n李四\n", unit=ORGAN)
    assert (answers[0]["address"], answers[0]["unit"]) == ("lisi@fgw.gz.jx.example", ORGAN)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"name\tcolour\n", "colour"),
        (b"name\tname\n", "twice"),
        (b"unit\taddress\n", "'name' is missing"),
        ("姓名\t单位\n".encode("gb18030"), "iconv"),
    ],
)
async def test_a_table_without_a_usable_header_is_refused_whole(world: World, table: bytes, text: str) -> None:
    failure = await world.refused("person.add_many", data=table)
    assert failure.code == 2
    assert text in failure.text


async def test_a_row_in_another_encoding_is_an_error_of_that_row(world: World) -> None:
    await world.province()
    answers, code = await load(world, b"name\n" + "李四\n".encode("gb18030") + "王五\n".encode(), unit=ORGAN)
    assert code == 2
    assert [one["status"] for one in answers] == ["error", "added"]
    assert "row 2" in answers[0]["error"]


async def test_progress_counts_rows_and_batches_are_audited(world: World) -> None:
    await world.province()
    table = "name\taddress\tpassword\n" + "".join(f"人{n}\tu{n}@jx.example\tpass\n" for n in range(600))
    frames = await world.frames("person.add_many", {"unit": ORGAN, "total": 600}, data=table.encode())
    assert [frame for frame in frames if isinstance(frame, Progress)] == [Progress(250, 600), Progress(500, 600), Progress(600, 600)]
    entries = [one for one in await world.audit() if one["act"] == "person.add_many"]
    assert [one["target"] for one in entries] == ["rows 2-251", "rows 252-501", "rows 502-601"]
    assert sum(len(one["detail"]["added"]) for one in entries) == 600
    assert (await world.do("mailbox.count"))["messages"] == 0


async def test_a_dry_run_of_a_table_says_what_would_happen(world: World) -> None:
    await world.province()
    table = f"name\tunit\taddress\n李四\t{ORGAN}\tlisi@jx.example\n张三\t{ORGAN}\tzhangsan@fgw.gz.jx.example\nx\t{ORGAN}\tx@no.example\n"
    frames = await world.frames("person.add_many", {}, data=table.encode(), dry_run=True)
    rows = [frame.value for frame in frames if hasattr(frame, "value") and not isinstance(frame, Done)]
    assert [(one["status"], one["password"]) for one in rows] == [("added", ""), ("exists", ""), ("error", "")]
    assert len(await world.do("person.list")) == 1
