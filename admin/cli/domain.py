"""govmail domain: domains whose mail stays here."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, reads, tell, writes
from admin.cli.output import Column
from admin.texts import say

ADDED = (Column("domain", "邮件域", "domain"), Column("status", "结果", "status", "word"), Column("unit", "单位", "unit"))
RECORDS = (Column("name", "名称", "name"), Column("type", "类型", "type"), Column("value", "值", "value"))
DOMAINS = (Column("domain", "邮件域", "domain"), Column("unit", "单位", "unit"))


@click.group(cls=Group, help="Domains whose mail stays here.", zh="本系统的邮件域。")
def domain() -> None:
    pass


@domain.command("add", help="Add a domain.", zh="新建邮件域。")
@click.argument("domain")
@option("--unit", help="The unit that answers for it and gets its addresses in it; the root where missing.", zh="负责此域的单位，其新地址使用此域；缺省为根单位。")
@writes
def add(run: Run, domain: str, unit: str | None) -> None:
    run.one("domain.add", {"domain": domain, "unit": unit}, ADDED)


@domain.command("list", help="All domains.", zh="列出全部邮件域。")
@reads
def list_(run: Run) -> None:
    run.rows("domain.list", {}, DOMAINS)


@domain.command("dns", help="The DNS records to publish for a domain: MX, SPF, DKIM, DMARC.", zh="显示应在 DNS 发布的记录：MX、SPF、DKIM、DMARC。")
@click.argument("domain")
@reads
def dns(run: Run, domain: str) -> None:
    run.rows("domain.dns", {"domain": domain}, RECORDS)
    if problem := run.look("domain.host", {})["problem"]:
        tell(say("warning", text=problem))
