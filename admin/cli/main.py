"""The command `govmail`: finds the data directory, speaks the operator's language, ends with a documented exit code.

Exit codes: 0 done, 1 failed, 2 bad input, 3 refused, 4 server unreachable; as in a shell, 130 after Ctrl-C and 141 when the
reader of the output has gone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path

import click

from admin.cli import audit, domain, group, mailbox, person, quarantine, queue, server, unit
from admin.cli.base import Group, Option, ReaderGone, complain
from admin.cli.client import Place, Unreachable
from admin.texts import choose, locale_language, say, set_language
from govmail import datadir
from govmail.config import BadConfig
from govmail.errors import BadInput, MailError

FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED, UNREAD = 1, 2, 4, 130, 141


@click.group(
    cls=Group,
    help="A mail system for the civil servants of a province. Exit codes: 0 done, 1 failed, 2 bad input, 3 refused, 4 server unreachable.",
    zh="面向全省公务员的邮件系统。退出码：0 完成，1 失败，2 输入有误，3 被拒绝，4 无法连接服务器。",
)
@click.option("--config", type=click.Path(path_type=Path), envvar="GOVMAIL_CONFIG", cls=Option,
              help="The configuration file; data lie beside it.", zh="配置文件；数据与其在同一目录。")
@click.option("--data", type=click.Path(path_type=Path), envvar="GOVMAIL_DATA", cls=Option,
              help="The data directory, which holds govmail.toml. Default: ./var", zh="数据目录，内有 govmail.toml。默认 ./var")
@click.pass_context
def cli(context: click.Context, config: Path | None, data: Path | None) -> None:
    context.obj = Place((config or datadir.config_file(data or Path("var"))).absolute())


for _noun in (unit.unit, person.person, domain.domain, group.group, mailbox.mailbox, queue.queue, quarantine.quarantine, audit.audit):
    cli.add_command(_noun)
for _command in (server.up, server.serve, server.doctor, server.version):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; never returns."""
    set_language(locale_language())
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; texts go to the standard streams."""
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="govmail", standalone_mode=False)
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        complain(usage_text(error))
        return BAD_INPUT
    except click.ClickException as error:
        complain(error.format_message())
        return BAD_INPUT
    except Unreachable as error:
        complain(error.public)
        return UNREACHABLE
    except (BadConfig, BadInput) as error:
        complain(error.public)
        return BAD_INPUT
    except MailError as error:
        complain(error.public)
        return FAILED
    except ReaderGone:
        # Python writes what is left at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        complain(say("file_unreadable", path=error.filename or "?", reason=error.strerror or error))
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    return 0


def usage_text(error: click.UsageError) -> str:
    """What is wrong with the command line, in the operator's language."""
    name = error.param.get_error_hint(error.ctx) if isinstance(error, click.BadParameter) and error.param and error.ctx else ""
    match error:
        case click.MissingParameter():
            return choose(f"缺少 {name}", f"missing {name}")
        case click.NoSuchOption():
            return choose(f"没有选项 {error.option_name}", f"no option {error.option_name}")
        case click.BadParameter():
            return choose(f"{name} 的值无效：{error.message}", f"bad value of {name}: {error.message}")
        case _:
            return error.format_message()


def installed() -> str:
    return installed_version("govmail")
