"""govmail person: people, their passwords and states."""

from __future__ import annotations

from typing import Any

import click

from admin.cli.base import Group, Run, complain, option, read_file, read_password, reads, tell, writes
from admin.cli.output import Column
from admin.texts import say

ADDED = (Column("address", "地址", "address"), Column("status", "结果", "status", "word"), Column("password", "密码", "password"))
PEOPLE = (
    Column("address", "地址", "address"), Column("name", "姓名", "name"), Column("unit", "单位", "unit"),
    Column("title", "职务", "title", hidden=True), Column("state", "状态", "state", "word"), Column("person_id", "编号", "id", hidden=True),
)
DETAIL = (
    Column("address", "地址", "address"), Column("aliases", "别名", "aliases"), Column("name", "姓名", "name"), Column("pinyin", "拼音", "pinyin"),
    Column("unit", "单位", "unit"), Column("title", "职务", "title"), Column("state", "状态", "state", "word"),
    Column("quota_octets", "容量上限", "quota", "octets"), Column("used_octets", "已用", "used", "octets"),
    Column("messages", "邮件", "messages", "number"), Column("person_id", "编号", "id"),
)
PASSWORD = (Column("address", "地址", "address"), Column("password", "密码", "password"))
QUOTA = (Column("address", "地址", "address"), Column("quota_octets", "容量上限", "quota", "octets"), Column("used_octets", "已用", "used", "octets"))
STATE = (Column("address", "地址", "address"), Column("state", "状态", "state", "word"), Column("connections", "结束的连接", "connections ended", "number"))

UNLOCKED = (Column("address", "地址", "address"), Column("cleared", "已清除", "cleared", "number"))


@click.group(cls=Group, help="People and their mailboxes.", zh="人员及其邮箱。")
def person() -> None:
    pass


@person.command("add", help="Add a person; without --password-stdin a password is generated and shown once. Or many from a table.",
                zh="新建人员；未用 --password-stdin 时生成密码并只显示一次。或从表格批量导入。")
@click.argument("name", required=False)
@option("--unit", help="Its unit, e.g. 江西省/赣州市/发改委; with --from-file for rows that name none.", zh="所属单位，如 江西省/赣州市/发改委；批量导入时用于未写单位的行。")
@option("--address", help="Primary address; made of the name where missing.", zh="主地址；缺省时由姓名生成。")
@option("--title", help="Title.", zh="职务。")
@option("--quota", metavar="SIZE", help="What the mailboxes may hold: 500M, 2G; 0 or none: no limit. Where missing, that of the configuration.",
        zh="邮箱容量上限：500M、2G；0 或 none 表示不限；缺省时按配置。")
@option("--password-stdin", is_flag=True, help="Read the password from standard input.", zh="从标准输入读取密码。")
@option("--from-file", metavar="FILE", help="Table in UTF-8, separated by TAB, '-' for standard input. Columns: name unit address password title quota.",
        zh="UTF-8 制表符分隔的表格，“-”为标准输入。列：name unit address password title quota。")
@writes
def add(run: Run, name: str | None, unit: str | None, address: str | None, title: str | None, quota: str | None, password_stdin: bool, from_file: str | None) -> None:
    if from_file is not None:
        data = read_file(from_file)
        run.rows("person.add_many", {"unit": unit, "total": max(0, data.count(b"\n") - 1)}, ADDED, data=data, label=say("importing"), each=_report)
        return
    if not name:
        raise click.UsageError(say("name_needed"))
    if not unit:
        raise click.UsageError(say("unit_needed"))
    password = read_password() if password_stdin else None
    value = run.one("person.add", {"name": name, "unit": unit, "address": address, "title": title, "quota": quota, "password": password}, ADDED)
    if value["password"]:
        tell(say("password_once"))


def _report(row: dict[str, Any]) -> None:
    if row["error"]:
        complain(row["error"])


@person.command("list", help="People of a unit and the units below it.", zh="列出某单位及其下级的人员。")
@option("--unit", help="The unit; the whole tree where missing.", zh="单位；缺省为全部。")
@option("--find", "text", help="Only whose name, pinyin or address begins so.", zh="只列姓名、拼音或地址以此开头的。")
@reads
def list_(run: Run, **given: Any) -> None:
    run.rows("person.list", given, PEOPLE)


@person.command("show", help="One person.", zh="显示一名人员。")
@click.argument("person")
@reads
def show(run: Run, person: str) -> None:
    run.one("person.show", {"person": person}, DETAIL)


@person.command("passwd", help="Set a new password: generated and shown once, or from standard input.", zh="设置新密码：自动生成并只显示一次，或从标准输入读取。")
@click.argument("person")
@option("--password-stdin", is_flag=True, help="Read the password from standard input.", zh="从标准输入读取密码。")
@writes
def passwd(run: Run, person: str, password_stdin: bool) -> None:
    password = read_password() if password_stdin else None
    value = run.one("person.passwd", {"person": person, "password": password}, PASSWORD)
    if value["password"]:
        tell(say("password_once"))


@person.command("quota", help="What the mailboxes of a person may hold: 500M, 2G, none, or default for that of the configuration.",
                zh="设置容量上限：500M、2G、none（不限）或 default（按配置）。")
@click.argument("person")
@click.argument("size")
@writes
def quota(run: Run, person: str, size: str) -> None:
    run.one("person.quota", {"person": person, "size": size}, QUOTA)


@person.command("disable", help="No more logins and mail; open connections end at once.", zh="停用：不能登录和收信，已打开的连接立即断开。")
@click.argument("person")
@option("--receive", is_flag=True, help="Suspend only: mail still comes in.", zh="仅暂停登录，仍可收信。")
@writes
def disable(run: Run, person: str, receive: bool) -> None:
    run.one("person.disable", {"person": person, "receive": receive}, STATE)


@person.command("unlock", help="Forget wrong passwords, so that the person need not wait to log in.", zh="清除密码错误计数，使其无需等待即可登录。")
@click.argument("person")
@writes
def unlock(run: Run, person: str) -> None:
    run.one("person.unlock", {"person": person}, UNLOCKED)


@person.command("enable", help="Logins and mail again.", zh="恢复登录和收信。")
@click.argument("person")
@writes
def enable(run: Run, person: str) -> None:
    run.one("person.enable", {"person": person}, STATE)
