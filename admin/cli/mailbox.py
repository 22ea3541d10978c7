"""govmail mailbox: how much mail lies where, what IMAP offers there, and mailboxes of units."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, reads, tell, writes
from admin.cli.output import Column, octets
from admin.texts import say

ACCOUNTS = (
    Column("address", "地址", "address"), Column("name", "姓名", "name"), Column("unit", "单位", "unit", hidden=True),
    Column("messages", "邮件", "messages", "number"), Column("octets", "已用", "used", "octets"),
    Column("quota_octets", "上限", "quota", "octets"),
)
MAILBOXES = (
    Column("name", "邮箱", "mailbox"), Column("special_use", "用途", "use"), Column("messages", "邮件", "messages", "number"),
    Column("unseen", "未读", "unseen", "number"), Column("octets", "大小", "size", "octets"),
)
CAPABILITIES = (
    Column("address", "地址", "address"), Column("off", "已关闭", "off"), Column("gone", "因此不再提供", "not offered"),
)
SHARED = (Column("name", "邮箱", "mailbox"), Column("unit", "单位", "unit"), Column("keeper", "管理人", "keeper"))
COUNT = (Column("messages", "邮件", "messages", "number"),)


@click.group(cls=Group, help="Mailboxes.", zh="邮箱。")
def mailbox() -> None:
    pass


@mailbox.command("list", help="All accounts with what they hold.", zh="列出全部账户及用量。")
@reads
def list_(run: Run) -> None:
    run.rows("mailbox.list", {}, ACCOUNTS)


@mailbox.command("show", help="The mailboxes of one person, and how much of the quota they use.", zh="显示一名人员的各个邮箱及容量使用情况。")
@click.argument("person")
@reads
def show(run: Run, person: str) -> None:
    run.rows("mailbox.show", {"person": person}, MAILBOXES)
    usage = run.look("mailbox.usage", {"person": person})
    used, limit = octets(usage["used_octets"]), usage["quota_octets"]
    tell(say("usage_free", used=used) if limit is None else say("usage", used=used, limit=octets(limit)))


@mailbox.command("count", help="Messages in all mailboxes together.", zh="全部邮箱的邮件总数。")
@reads
def count(run: Run) -> None:
    run.one("mailbox.count", {}, COUNT)


@mailbox.command("capability", help="IMAP capabilities that are not offered to one person, for a client that bears them badly; from the next login on.",
                 zh="对某人不提供的 IMAP 能力，用于处理不佳的客户端；自下次登录起生效。")
@click.argument("person")
@option("--off", multiple=True, metavar="NAME", help="Do not offer it any more.", zh="不再提供。")
@option("--on", multiple=True, metavar="NAME", help="Offer it again.", zh="重新提供。")
@writes
def capability(run: Run, person: str, off: tuple[str, ...], on: tuple[str, ...]) -> None:
    run.one("mailbox.capability", {"person": person, "off": off, "on": on}, CAPABILITIES)


@mailbox.command("share", help="Give a unit a mailbox, or another keeper of it.", zh="为单位开设共享邮箱，或增加其管理人。")
@click.argument("unit")
@option("--keeper", required=True, metavar="ADDRESS", help="Who may do everything in it, and give rights to others.", zh="管理人：拥有全部权限，可授权他人。")
@option("--name", help="What it is called; as the unit where missing.", zh="名称；缺省为单位名。")
@writes
def share(run: Run, unit: str, keeper: str, name: str | None) -> None:
    run.one("mailbox.share", {"unit": unit, "keeper": keeper, "name": name}, SHARED)
