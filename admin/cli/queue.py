"""govmail queue: mail that waits to go on."""

from __future__ import annotations

import click

from admin.cli.base import Group, Run, option, reads, writes
from admin.cli.output import Column

ENTRIES = (
    Column("entry_id", "编号", "no", "number"), Column("recipient", "收件人", "recipient"), Column("state", "状态", "state", "word"),
    Column("next_attempt", "下次尝试", "next attempt", "time"), Column("attempts", "次数", "attempts", "number"),
    Column("last_text", "最近的答复", "last answer"),
)
DETAIL = (
    Column("entry_id", "编号", "no"), Column("queue_id", "队列号", "queue id"), Column("kind", "类型", "kind", "word"), Column("sender", "发件人", "sender"),
    Column("recipient", "收件人", "recipient"), Column("state", "状态", "state", "word"), Column("created", "入队", "queued", "time"),
    Column("next_attempt", "下次尝试", "next attempt", "time"), Column("expires", "放弃时间", "given up", "time"),
    Column("last_code", "答复码", "code"), Column("last_status", "状态码", "status"), Column("last_text", "最近的答复", "last answer"),
    Column("tries", "历次尝试", "attempts"),
)
CHANGED = (Column("entry_id", "编号", "no", "number"), Column("recipient", "收件人", "recipient"), Column("status", "结果", "status", "word"))


@click.group(cls=Group, help="Mail that waits to go on.", zh="待发队列。")
def queue() -> None:
    pass


@queue.command("list", help="Entries of the queue, one per recipient.", zh="列出队列，每个收件人一条。")
@option("--domain", help="Only recipients in this domain.", zh="只列此域的收件人。")
@option("--state", type=click.Choice(["ready", "leased", "held", "failed"]), help="Only this state.", zh="只列此状态。")
@reads
def list_(run: Run, domain: str | None, state: str | None) -> None:
    run.rows("queue.list", {"domain": domain, "state": state}, ENTRIES)


@queue.command("show", help="One entry with its attempts.", zh="显示一条及其历次尝试。")
@click.argument("entry", type=int)
@reads
def show(run: Run, entry: int) -> None:
    run.one("queue.show", {"entry": entry}, DETAIL, flatten="entry")


@queue.command("retry", help="Try entries again now.", zh="立即重试。")
@click.argument("entries", type=int, nargs=-1, required=True)
@writes
def retry(run: Run, entries: tuple[int, ...]) -> None:
    run.rows("queue.retry", {"entries": entries}, CHANGED)


@queue.command("delete", help="Remove entries; nobody is told.", zh="删除，不通知任何人。")
@click.argument("entries", type=int, nargs=-1, required=True)
@writes
def delete(run: Run, entries: tuple[int, ...]) -> None:
    run.rows("queue.delete", {"entries": entries}, CHANGED)
