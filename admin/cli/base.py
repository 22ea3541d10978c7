"""What every command shares: help in two languages, --json and --dry-run, and the way from a command to an act.

Invariants: no command takes a secret in its arguments; errors of acts end in the exit codes of `admin.actions.context`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from admin.bar import Bar
from admin.cli.client import Place, ask
from admin.cli.output import Column, Printer, clean
from admin.texts import choose, language, say
from govmail.wire.control import Done, Failure, Frame, Progress, Request, Row

F = TypeVar("F", bound=Callable[..., Any])

_HEADINGS = {"Options": "选项", "Commands": "命令", "Positional arguments": "参数"}


class Formatter(click.HelpFormatter):
    """The few words of click's own help pages, in the operator's language."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, choose("用法：", "Usage: ") if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        super().write_heading(choose(_HEADINGS.get(heading, heading), heading))


class Context(click.Context):
    formatter_class = Formatter


class ReaderGone(Exception):
    """Nobody reads our output any more."""


class _Helped(click.Command):
    """A command with its help in both languages: `help` in English, `zh` in Chinese."""

    context_class = Context

    def __init__(self, *args: Any, zh: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zh = zh

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would end with 1, as after a failure
            raise ReaderGone from error

    def get_short_help_str(self, limit: int = 45) -> str:
        return self.zh.partition("\n")[0] if language() == "zh" else super().get_short_help_str(limit)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(choose(self.zh, self.help or ""))

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = choose("显示帮助。", "Show this message and exit.")
        return option


class Command(_Helped):
    pass


class Group(_Helped, click.Group):
    command_class = Command
    group_class = type


class Option(click.Option):
    """An option with its help in both languages."""

    def __init__(self, *args: Any, zh: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zh = zh

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or language() != "zh":
            return record
        return record[0], self.zh + record[1].removeprefix(self.help or "")


def option(*names: str, help: str, zh: str, **kwargs: Any) -> Callable[[F], F]:
    return click.option(*names, cls=Option, help=help, zh=zh, **kwargs)


class Run:
    """One call of a command: where the data lies, and how the operator wants the answer."""

    def __init__(self, place: Place, *, as_json: bool, dry_run: bool = False) -> None:
        self.place = place
        self.as_json = as_json
        self.dry_run = dry_run
        self.printer = Printer(as_json=as_json)

    def one(
        self, act: str, arguments: Mapping[str, Any], columns: Sequence[Column], *, data: bytes = b"", flatten: str = "",
    ) -> dict[str, Any]:
        """An act with one result, which is printed and returned. `flatten`: a field whose own fields are shown beside the others."""
        value: dict[str, Any] = self._ask(act, arguments, data, lambda frame: None).value
        self.printer.one({**value, **value[flatten]} if flatten and not self.as_json else value, columns)
        self._say_dry_run()
        return value

    def rows(
        self, act: str, arguments: Mapping[str, Any], columns: Sequence[Column], *,
        data: bytes = b"", label: str = "", each: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """An act that streams rows; `each` sees every row too. Ends the command when the act asks for another code than 0."""
        bar = Bar(label)

        def handle(frame: Frame) -> None:
            if isinstance(frame, Progress):
                bar.show(frame.done, frame.total)
            elif isinstance(frame, Row):
                self.printer.row(frame.value, columns)
                if each is not None:
                    each(frame.value)

        try:
            done = self._ask(act, arguments, data, handle)
        finally:
            bar.close()
            self.printer.end_rows(columns)
        self._say_dry_run()
        if done.code:
            raise SystemExit(done.code)

    def look(self, act: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result of an act, which is not printed."""
        value: dict[str, Any] = self._ask(act, arguments, b"", lambda frame: None).value
        return value

    def stream(self, act: str, arguments: Mapping[str, Any], each: Callable[[dict[str, Any]], None]) -> int:
        """An act that streams rows, which only `each` sees. Returns the code that the act asks for."""
        def handle(frame: Frame) -> None:
            if isinstance(frame, Row):
                each(frame.value)

        return self._ask(act, arguments, b"", handle).code

    def _ask(self, act: str, arguments: Mapping[str, Any], data: bytes, handle: Callable[[Frame], None]) -> Done:
        # What was not said is left out, so the act's own defaults hold.
        said = {name: value for name, value in arguments.items() if value is not None}
        request = Request(act, said, dry_run=self.dry_run, language=language(), input=len(data))
        last = ask(self.place, request, data, handle)
        if isinstance(last, Failure):
            complain(last.text)
            raise SystemExit(last.code)
        return last

    def _say_dry_run(self) -> None:
        if self.dry_run:
            tell(say("dry_run"))


def tell(text: str) -> None:
    """A remark for the operator, beside the data."""
    click.echo(clean(text), err=True)


def complain(text: str) -> None:
    tell(say("error", text=text))


_JSON = option("--json", "as_json", is_flag=True, help="Print JSON, lists as one object per line.", zh="输出 JSON；列表每行一个对象。")
_DRY_RUN = option("--dry-run", is_flag=True, help="Check everything and show what would be done; change nothing.", zh="只检查并显示将要做的事，不作改动。")


def reads(function: Callable[..., None]) -> Callable[..., None]:
    """A command that only looks; gets a Run first."""

    @functools.wraps(function)
    @click.pass_obj
    def wrapper(place: Place, /, as_json: bool, **given: Any) -> None:
        function(Run(place, as_json=as_json), **given)

    return _JSON(wrapper)


def writes(function: Callable[..., None]) -> Callable[..., None]:
    """A command that changes something; gets a Run first."""

    @functools.wraps(function)
    @click.pass_obj
    def wrapper(place: Place, /, as_json: bool, dry_run: bool, **given: Any) -> None:
        function(Run(place, as_json=as_json, dry_run=dry_run), **given)

    return _JSON(_DRY_RUN(wrapper))


def read_file(path: str, limit: int = 64 * 1024 * 1024) -> bytes:
    """The octets of an input file, "-" for standard input; never more than the server would take."""
    if path == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise click.UsageError(say("input_too_large", octets=len(data), limit=limit))
    return data


def read_password() -> str:
    """One line of standard input; asked for without echo when that is a terminal."""
    if sys.stdin.isatty():
        password: str = click.prompt(choose("密码", "Password"), hide_input=True, confirmation_prompt=True, err=True)
        return password
    line = sys.stdin.buffer.readline(4096).decode("utf-8", "surrogateescape").rstrip("\r\n")
    if not line:
        raise click.UsageError(say("password_stdin"))
    return line
