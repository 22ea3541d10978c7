"""Tables, TSV and JSON of the command line."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.console import Console

from admin.cli.output import Column, clean, octets, plain, pretty, table_of
from admin.texts import speaking

COLUMNS = (
    Column("address", "地址", "address"), Column("name", "姓名", "name"), Column("unit", "单位", "unit"),
    Column("octets", "已用", "used", "octets"),
)  # fmt: skip


def lines(rows: list[dict[str, object]], width: int = 80) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(table_of(rows, COLUMNS))
    return captured.get().splitlines()


def test_tables_with_chinese_fit_80_columns_and_lose_nothing() -> None:
    unit = "江西省/赣州市/章贡区/发展和改革委员会/固定资产投资科"
    rows: list[dict[str, object]] = [{"address": f"ouyangzhenhua{n}@fgw.ganzhou.jx.example", "name": "欧阳振华", "unit": unit, "octets": 12345678} for n in range(3)]
    with speaking("zh"):
        printed = lines(rows)
    assert max(cell_len(line) for line in printed) <= 80
    text = "".join("".join(printed).split())
    assert "欧阳振华" in text
    assert "11.8MB" in text


def test_columns_align_by_cells_not_characters() -> None:
    rows: list[dict[str, object]] = [{"address": "a@b.example", "name": name, "unit": "x", "octets": 1} for name in ("李", "欧阳振华", "Li")]
    printed = [line for line in lines(rows) if "a@b.example" in line]
    ends = {cell_len(line[: line.index("1 B")]) for line in printed}
    assert len(ends) == 1


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J\x1b[31mred", "a\tb\nc", "abc\u202egnp.exe", "\x9b31m", "zero\u200bwidth", "\ud800"],
)
def test_what_came_from_a_mail_cannot_steer_the_terminal_or_break_a_line(hostile: str) -> None:
    for shown in (clean(hostile), plain(hostile), pretty(hostile)):
        assert not any(char in shown for char in "\x1b\t\n\x9b\u202e\u200b\ud800")


def test_rich_markup_in_names_is_text() -> None:
    assert any("[bold]x[/bold]" in line for line in lines([{"address": "[bold]x[/bold]", "name": "", "unit": "", "octets": 0}]))


def test_pipes_get_exact_values() -> None:
    assert plain(1234567, "octets") == "1234567"
    assert plain(0, "time") == "1970-01-01T00:00:00Z"
    assert plain(["a@x.example", "b@x.example"]) == "a@x.example,b@x.example"
    assert plain(None) == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (5 * 1024**3, "5.0 GB"), (10**18, "909494.7 TB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert octets(count) == text


def test_what_is_copied_into_the_next_command_stays_in_one_piece() -> None:
    rows: list[dict[str, object]] = [{"address": "huangguangming@nanchang.jx.example", "name": "黄光明", "unit": "江西省/南昌市/南昌县/发展和改革委员会", "octets": 5}]
    assert any("huangguangming@nanchang.jx.example" in line for line in lines(rows))
    assert max(map(cell_len, lines(rows))) <= 80
