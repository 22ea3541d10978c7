"""govmail audit: who did what, and whether the record of it is whole."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, reads
from admin.cli.output import Column

ENTRIES = (
    Column("seq", "序号", "no", "number"), Column("at", "时间", "time", "time"), Column("actor", "操作者", "actor"), Column("act", "操作", "act"),
    Column("target", "对象", "target"), Column("result", "结果", "result", "word"),
)
VERIFIED = (Column("text", "结果", "result"), Column("entries", "条数", "entries", "number"))


@click.group(cls=Group, help="The audit trail.", zh="审计记录。")
def audit() -> None:
    pass


@audit.command("list", help="Entries, oldest first; --json shows all details.", zh="按时间列出记录；--json 显示全部细节。")
@option("--after", type=click.IntRange(0), help="Only entries with higher numbers.", zh="只列此序号之后的。")
@option("--act", help="Only this act, e.g. person.disable.", zh="只列此操作，如 person.disable。")
@option("--actor", "who", help="Only this operator.", zh="只列此操作者。")
@reads
def list_(run: Run, after: int | None, act: str | None, who: str | None) -> None:
    run.rows("audit.list", {"after": after, "act": act, "who": who}, ENTRIES)


@audit.command("verify", help="Check that no entry was changed or removed.", zh="检查记录是否被改动或删除。")
@reads
def verify(run: Run) -> None:
    run.rows("audit.verify", {}, VERIFIED)
