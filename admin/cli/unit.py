"""govmail unit: regions and the organs of government in them."""

from __future__ import annotations

from typing import Any

import click

from admin.cli.base import Group, Run, complain, option, read_file, reads, writes
from admin.cli.output import Column, pretty
from admin.texts import say

ADDED = (Column("path", "单位", "unit"), Column("status", "结果", "status", "word"))
UNITS = (
    Column("path", "单位", "unit"), Column("label", "标签", "label"), Column("level", "级", "level", "number"),
    Column("line", "条线", "line"), Column("domain", "邮件域", "domain"), Column("unit_id", "编号", "id", hidden=True),
)
DETAIL = (
    Column("path", "单位", "unit"), Column("label", "标签", "label"), Column("level", "级", "level"), Column("kind", "类型", "kind", "word"),
    Column("line", "条线", "line"), Column("code", "代码", "code"), Column("rank", "级别", "rank"), Column("domain", "邮件域", "domain"),
    Column("keeper", "管理员", "keeper"), Column("children", "下级单位", "units below"), Column("people", "人员", "people"),
    Column("groups", "邮件组", "groups"), Column("unit_id", "编号", "id"),
)
TREE = (Column("depth", "层", "depth", "number"), Column("name", "名称", "name"), Column("label", "标签", "label"),
        Column("line", "条线", "line"), Column("domain", "邮件域", "domain"), Column("path", "路径", "path"))


@click.group(cls=Group, help="Units of the government tree.", zh="单位（组织机构树）。")
def unit() -> None:
    pass


@unit.command("add", help="Add a unit, 江西省/赣州市/发改委, and what is missing above it; or many from a table.",
              zh="新建单位，如 江西省/赣州市/发改委，缺少的上级一并建立；或从表格批量导入。")
@click.argument("path", required=False)
@option("--from-file", metavar="FILE", help="Table in UTF-8, separated by TAB, '-' for standard input. Columns: unit label line kind code rank domain.",
        zh="UTF-8 制表符分隔的表格，“-”为标准输入。列：unit label line kind code rank domain。")
@option("--label", help="Name in domains and DNs: lower-case letters, digits, hyphens.", zh="用于域名和 DN 的标签：小写字母、数字、连字符。")
@option("--line", help="Functional line, e.g. 发改.", zh="条线，如 发改。")
@option("--kind", help="Kind, e.g. 政府.", zh="类型，如 政府。")
@option("--code", help="Official code, e.g. GB/T 2260.", zh="行政区划代码等。")
@option("--rank", help="Administrative rank.", zh="行政级别。")
@option("--domain", help="Its own mail domain.", zh="本单位的邮件域。")
@writes
def add(run: Run, path: str | None, from_file: str | None, **given: Any) -> None:
    if from_file is not None:
        run.rows("unit.add_many", {}, ADDED, data=read_file(from_file), label=say("importing"), each=_report)
        return
    if not path:
        raise click.UsageError(say("unit_path_empty"))
    run.one("unit.add", {"path": path, **given}, ADDED)


def _report(row: dict[str, Any]) -> None:
    if row["error"]:
        complain(row["error"])


@unit.command("list", help="Units of a subtree, by path.", zh="列出某单位及其下级。")
@click.argument("unit", required=False)
@option("--line", help="Only units of this functional line.", zh="只列此条线。")
@option("--level", type=click.IntRange(1, 4), help="Only this level: 1 province, 2 city, 3 county, 4 township.", zh="只列此级：1 省，2 市，3 县，4 乡。")
@reads
def list_(run: Run, **given: Any) -> None:
    run.rows("unit.list", given, UNITS)


@unit.command("tree", help="The tree below a unit.", zh="以树形显示某单位的下级。")
@click.argument("unit", required=False)
@option("--depth", type=click.IntRange(0), help="Levels below it.", zh="向下几层。")
@reads
def tree(run: Run, **given: Any) -> None:
    if run.printer.plain:
        run.rows("unit.tree", given, TREE)
        return
    run.stream("unit.tree", given, lambda row: run.printer.text(_line(row)))


def _line(row: dict[str, Any]) -> str:
    remarks = "  ".join(pretty(row[key]) for key in ("label", "domain") if row[key])
    return f"{'    ' * row['depth']}{pretty(row['name'])}  ({remarks})"


@unit.command("show", help="One unit.", zh="显示一个单位。")
@click.argument("unit")
@reads
def show(run: Run, unit: str) -> None:
    run.one("unit.show", {"unit": unit}, DETAIL, flatten="unit")
