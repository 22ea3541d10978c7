"""How results look: tables on a terminal, TAB-separated lines in a pipe, JSON where asked for.

Invariants: data goes to standard output, everything else to standard error; whatever came from a mail or a client is
shown without control characters, so it cannot steer the terminal or break a line of TSV; rows are printed as they
come, never collected whole.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from admin.texts import WORDS, choose, language

PAGE = 500  # rows of one table; widths are measured per page

KEY_CELLS = 40  # half a terminal

Kind = Literal["text", "number", "octets", "time", "word"]


@dataclass(frozen=True, slots=True)
class Column:
    """A key of a row, its heading in both languages and how its values are written. `hidden`: not in tables, for its width."""

    key: str
    zh: str
    en: str
    kind: Kind = "text"
    hidden: bool = False


def clean(text: str) -> str:
    """The text without characters that act instead of being seen (controls, bidirectional overrides, surrogates)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else char for char in text)


def plain(value: Any, kind: Kind = "text") -> str:
    """The value for a pipe: numbers unrounded, times in ISO 8601, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "time":
        return datetime.fromtimestamp(float(value), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list | tuple):
        return ",".join(plain(one) for one in value)
    if isinstance(value, Mapping):
        return clean(msgspec.json.encode(value).decode())
    return clean(str(value))


def pretty(value: Any, kind: Kind = "text") -> str:
    """The value for people."""
    if isinstance(value, bool):
        return choose("是", "yes") if value else choose("否", "no")
    if value is None:
        return "–"
    if kind == "time":
        return datetime.fromtimestamp(float(value), UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    if kind == "word" and language() == "zh":
        return WORDS.get(str(value), clean(str(value)))
    if kind == "octets":
        return octets(int(value))
    if isinstance(value, list | tuple):
        return "\n".join(plain(one) for one in value)
    return plain(value, kind)


def octets(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


class Printer:
    """Prints rows, or one value, to standard output in the form that fits."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._tty = sys.stdout.isatty()
        self._page: list[Mapping[str, Any]] = []
        self._count = 0

    @property
    def plain(self) -> bool:
        """Whether a program reads the output."""
        return self._json or not self._tty

    def row(self, value: Mapping[str, Any], columns: Sequence[Column]) -> None:
        self._count += 1
        if self._json:
            click.echo(msgspec.json.encode(value).decode())
        elif self._tty:
            self._page.append(value)
            if len(self._page) == PAGE:
                self._print_page(columns)
        else:
            click.echo("\t".join(plain(value.get(column.key), column.kind) for column in columns))

    def end_rows(self, columns: Sequence[Column]) -> None:
        if self._page:
            self._print_page(columns)
        if not self._count and self._tty and not self._json:
            click.echo(choose("（无）", "(none)"))

    def _print_page(self, columns: Sequence[Column]) -> None:
        Console().print(table_of(self._page, [column for column in columns if not column.hidden]))
        self._page.clear()

    def one(self, value: Mapping[str, Any], columns: Sequence[Column]) -> None:
        """A single value: an object of JSON, a list of its fields, or a line."""
        if self._json:
            click.echo(msgspec.json.encode(value).decode())
        elif self._tty:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for column in columns:
                if value.get(column.key) not in (None, "", [], {}):
                    table.add_row(choose(column.zh, column.en), Text(pretty(value[column.key], column.kind)))
            Console().print(table)
        else:
            click.echo("\t".join(plain(value.get(column.key), column.kind) for column in columns))

    def text(self, text: str) -> None:
        click.echo("\n".join(clean(line) for line in text.split("\n")))


def _width(rows: Sequence[Mapping[str, Any]], column: Column) -> int:
    """Of the widest value, within KEY_CELLS."""
    texts = [choose(column.zh, column.en), *(pretty(row.get(column.key), column.kind) for row in rows)]
    return min(KEY_CELLS, max(cell_len(line) for text in texts for line in text.split("\n")))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for index, column in enumerate(columns):
        table.add_column(
            choose(column.zh, column.en),
            # The first column is what people copy into the next command: the others are folded before it.
            width=_width(rows, column) if index == 0 and column.kind == "text" else None,
            justify="right" if column.kind in ("number", "octets") else "left",
            overflow="fold",
            no_wrap=column.kind in ("number", "octets"),
        )
    for row in rows:
        # Text: names and subjects are never read as rich markup.
        table.add_row(*(Text(pretty(row.get(column.key), column.kind)) for column in columns))
    return table
