"""govmail up, serve, doctor, version: the server as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from admin.cli.base import Command, Run, option, reads, tell
from admin.cli.client import Place
from admin.cli.output import Column
from admin.texts import say

Tree = Literal["none", "small", "province"]

CHECKS = (
    Column("check", "检查", "check"), Column("status", "结果", "result", "word"), Column("milliseconds", "毫秒", "ms", "number"),
    Column("text", "说明", "remark"),
)
VERSION = (Column("version", "版本", "version"),)


@click.command("up", cls=Command, help="Run everything on this machine: engines as children, data in ./var, a sample tree at first use.",
               zh="在本机运行全部组件：引擎作为子进程，数据在 ./var，首次使用时建立示例。")
@option("--port-offset", type=int, default=2000, show_default=True, help="Added to the standard ports at first use.", zh="首次使用时加在标准端口上的数。")
@option("--sample", type=click.Choice(["none", "small", "province"]), default="small", show_default=True, help="The sample tree made at first use.", zh="首次使用时建立的示例。")
@option("--data", type=click.Path(path_type=Path), help="The data directory; as before the command.", zh="数据目录；与写在命令之前相同。")
@option("--engine-path", envvar="GOVMAIL_ENGINE_PATH", help="Where the engines' programs are looked for, as in PATH, instead of the system's directories.",
        zh="查找引擎程序的目录，写法同 PATH；缺省为系统目录。")
@click.pass_obj
def up(place: Place, port_offset: int, sample: Tree, data: Path | None, engine_path: str | None) -> None:
    # Imported here: only this command needs the server's parts.
    from admin.engines import SEARCH_PATH
    from govmail import up as server

    raise SystemExit(server.up(data or place.data_dir, port_offset=port_offset, sample=sample, search_path=engine_path or SEARCH_PATH))


@click.command("serve", cls=Command, help="Run the mail server of the configuration; engines run elsewhere.", zh="按配置运行邮件服务器；引擎另行运行。")
@click.pass_obj
def serve(place: Place) -> None:
    from govmail import up as server

    raise SystemExit(server.serve(place.config_path))


@click.command("doctor", cls=Command, help="Check every part, then send a mail through the whole system and fetch it.", zh="检查各部分，再实际收发一封邮件。")
@reads
def doctor(run: Run) -> None:
    checks: list[dict[str, Any]] = []
    if run.as_json:
        code = run.stream("doctor", {}, checks.append)
        failed = [one["check"] for one in checks if one["status"] == "failed"]
        warnings = [one["check"] for one in checks if one["status"] == "warning"]
        click.echo(msgspec.json.encode({"ok": not code, "failed": failed, "warnings": warnings, "checks": checks}).decode())
        raise SystemExit(code)
    try:
        run.rows("doctor", {}, CHECKS, each=checks.append)
    finally:
        if checks:
            tell(summary(checks))


def summary(checks: Sequence[Mapping[str, Any]]) -> str:
    failed = sum(one["status"] == "failed" for one in checks)
    warnings = sum(one["status"] == "warning" for one in checks)
    if failed:
        return say("doctor_failed", count=failed)
    return say("doctor_warnings", count=warnings) if warnings else say("doctor_ok")


@click.command("version", cls=Command, help="The version of this command.", zh="本命令的版本。")
@reads
def version(run: Run) -> None:
    run.printer.one({"version": installed_version("govmail")}, VERSION)
