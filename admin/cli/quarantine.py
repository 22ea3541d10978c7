"""govmail quarantine: mail that the filters have held."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, reads, writes
from admin.cli.output import Column

ITEMS = (
    Column("item_id", "编号", "no", "number"), Column("held", "拦截时间", "held", "time"), Column("reason", "原因", "reason", "word"),
    Column("sender", "发件人", "sender"), Column("recipients", "收件人", "recipients"), Column("subject", "主题", "subject"),
)
DETAIL = (
    Column("item_id", "编号", "no"), Column("queue_id", "队列号", "queue id"), Column("reason", "原因", "reason", "word"), Column("held", "拦截时间", "held", "time"),
    Column("expires", "到期", "expires", "time"), Column("sender", "发件人", "sender"), Column("subject", "主题", "subject"),
    Column("size", "大小", "size", "octets"), Column("findings", "检查结果", "findings"), Column("recipients", "收件人", "recipients"),
)
CHANGED = (Column("item_id", "编号", "no", "number"), Column("recipient", "收件人", "recipient"), Column("status", "结果", "status", "word"))


@click.group(cls=Group, help="Mail that the filters have held.", zh="隔离区。")
def quarantine() -> None:
    pass


@quarantine.command("list", help="Held items, newest first.", zh="列出被隔离的邮件，新的在前。")
@option("--state", type=click.Choice(["held", "released", "deleted", "expired"]), help="Items with recipients in this state; 'held' where missing.", zh="按收件人状态；缺省为 held。")
@reads
def list_(run: Run, state: str | None) -> None:
    run.rows("quarantine.list", {"state": state}, ITEMS)


@quarantine.command("show", help="One item, with what the filters said.", zh="显示一封邮件及检查结果。")
@click.argument("item", type=int)
@reads
def show(run: Run, item: int) -> None:
    run.one("quarantine.show", {"item": item}, DETAIL, flatten="item")


@quarantine.command("release", help="Scan again and deliver; what turns out worse stays held. Not for viruses.", zh="重新检查后投递；结果更坏则继续隔离。病毒邮件不可放行。")
@click.argument("item", type=int)
@option("--recipient", "recipients", multiple=True, help="Only for this recipient; may be repeated.", zh="只对此收件人，可重复。")
@writes
def release(run: Run, item: int, recipients: tuple[str, ...]) -> None:
    run.rows("quarantine.release", {"item": item, "recipients": recipients}, CHANGED)


@quarantine.command("delete", help="Delete an item.", zh="删除。")
@click.argument("item", type=int)
@option("--recipient", "recipients", multiple=True, help="Only for this recipient; may be repeated.", zh="只对此收件人，可重复。")
@writes
def delete(run: Run, item: int, recipients: tuple[str, ...]) -> None:
    run.rows("quarantine.delete", {"item": item, "recipients": recipients}, CHANGED)
