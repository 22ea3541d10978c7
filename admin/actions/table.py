"""Tables that operators import: UTF-8 text, columns separated by TAB, the first line names them.

A fault belongs to its row: the row is reported with number, field and what to do, the others go on. Only what makes the
whole table meaningless (no header, an unknown column) ends the import before its first change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from admin.texts import say
from govmail.errors import BadInput

# What people in offices write over the columns.
SYNONYMS: Mapping[str, str] = {
    "姓名": "name", "真实姓名": "name", "单位": "unit", "部门": "unit", "部门路径": "unit", "所属部门": "unit", "路径": "unit",
    "邮箱": "address", "邮箱账号": "address", "账号": "address", "帐号": "address", "用户名": "address", "account": "address", "email": "address",
    "密码": "password", "邮箱密码": "password", "初始密码": "password", "职务": "title", "职位": "title",
    "标签": "label", "代码": "code", "条线": "line", "类型": "kind", "级别": "rank", "域名": "domain",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row with its number in the file (the header is row 1); `error` instead of values that could not be read."""

    number: int
    values: Mapping[str, str]
    error: str = ""

    def get(self, column: str) -> str:
        return self.values.get(column, "").strip()


async def read_table(
    lines: AsyncIterator[bytes], *, columns: Sequence[str], required: Sequence[str], batch: int,
) -> AsyncIterator[list[TableRow]]:
    """The rows in batches; empty lines are passed over. Raises BadInput when there is no usable header."""
    names: list[str] | None = None
    rows: list[TableRow] = []
    number = 0
    async for line in lines:
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            cells = line.decode("utf-8").split("\t")
        except UnicodeDecodeError:
            if names is None:
                raise BadInput(say("table_utf8", row=number)) from None
            rows.append(TableRow(number, {}, say("table_utf8", row=number)))
            continue
        if names is None:
            names = read_header(cells, columns, required)
        elif len(cells) > len(names):
            rows.append(TableRow(number, {}, say("row_columns", row=number, found=len(cells), expected=len(names))))
        else:
            rows.append(TableRow(number, dict(zip(names, cells, strict=False))))
        if len(rows) == batch:
            yield rows
            rows = []
    if names is None:
        raise BadInput(say("table_empty"))
    if rows:
        yield rows


def read_header(cells: Sequence[str], columns: Sequence[str], required: Sequence[str]) -> list[str]:
    """The columns by their English names. Raises BadInput."""
    names: list[str] = []
    for cell in cells:
        written = cell.strip().lower()
        name = SYNONYMS.get(written, written)
        if name not in columns:
            raise BadInput(say("column_unknown", column=cell.strip(), columns=" ".join(columns)))
        if name in names:
            raise BadInput(say("column_twice", column=cell.strip()))
        names.append(name)
    for name in required:
        if name not in names:
            raise BadInput(say("column_missing", column=name))
    return names
