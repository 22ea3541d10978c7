"""govmail group: one address that reaches many people."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, read_file, reads, writes
from admin.cli.output import Column

ADDED = (
    Column("address", "地址", "address"), Column("status", "结果", "status", "word"), Column("members", "成员", "members", "number"),
    Column("unit", "单位", "unit"),
)
GROUPS = (
    Column("address", "地址", "address"), Column("name", "名称", "name"), Column("members", "成员", "members", "number"),
    Column("unit", "单位", "unit"),
)
MEMBERS = (Column("address", "地址", "address"), Column("kind", "类型", "kind", "word"), Column("name", "名称", "name"))


@click.group(cls=Group, help="Groups: one address, many people.", zh="邮件组：一个地址，多名人员。")
def group() -> None:
    pass


@group.command("add", help="Add a group, or members to one that is there.", zh="新建邮件组，或向已有的组添加成员。")
@click.argument("address")
@option("--unit", help="The unit it belongs to; that of its domain where missing.", zh="所属单位；缺省为其邮件域的单位。")
@option("--name", help="Its name.", zh="名称。")
@option("--member", "members", multiple=True, metavar="ADDRESS", help="A member; may be repeated.", zh="成员地址，可重复。")
@option("--members-file", metavar="FILE", help="Members, one address per line; '-' for standard input.", zh="成员文件，每行一个地址；“-”为标准输入。")
@writes
def add(run: Run, address: str, unit: str | None, name: str | None, members: tuple[str, ...], members_file: str | None) -> None:
    data = read_file(members_file) if members_file is not None else b""
    run.one("group.add", {"address": address, "unit": unit, "name": name, "members": members}, ADDED, data=data)


@group.command("list", help="Groups of a unit and the units below it.", zh="列出某单位及其下级的邮件组。")
@option("--unit", help="The unit; the whole tree where missing.", zh="单位；缺省为全部。")
@reads
def list_(run: Run, unit: str | None) -> None:
    run.rows("group.list", {"unit": unit}, GROUPS)


@group.command("show", help="The members of a group.", zh="显示邮件组的成员。")
@click.argument("group")
@reads
def show(run: Run, group: str) -> None:
    run.rows("group.show", {"group": group}, MEMBERS)
