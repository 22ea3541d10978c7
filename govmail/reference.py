"""The reference configuration, made of the descriptions in `govmail.config`: `python -m govmail.reference > deploy/govmail.toml`.

Invariant: a file with this text is the default configuration; every field appears with its description and default.
"""

from __future__ import annotations

import json
import sys
import textwrap
import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta

from govmail.config import Config, FilterTable, Issuer, Listener, Section

HEAD = """\
# govmail.toml: every setting with its meaning and default. Lines that begin with "#key" show the default; remove the # to change
# it. Unknown keys are refused. Paths are relative to the directory of this file. Secrets never stand here, only their files.
"""

ARRAYS: dict[str, type[Section]] = {"listener": Listener, "filter": FilterTable, "issuer": Issuer}


def reference() -> str:
    """The text of the whole file."""
    plain: list[str] = []
    tables: list[str] = []
    hints = typing.get_type_hints(Config, include_extras=True)
    for field in msgspec.structs.fields(Config):
        if field.name in ARRAYS:
            continue
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            tables.append(_table(f"[{field.name}]", kind))
        else:
            plain.append(_field(field, kind))
    arrays = [_table(f"#[[{name}]]", kind, example=True) for name, kind in ARRAYS.items()]
    return "\n".join([HEAD, *plain, *tables, *arrays]) + "\n"


def _table(title: str, section: type[Section], *, example: bool = False) -> str:
    hints = typing.get_type_hints(section, include_extras=True)
    note = f"# {section.__doc__.strip()}\n" if section.__doc__ and section.__doc__ != Section.__doc__ else ""
    repeat = "# as many as needed, each with its own name\n" if example else ""
    return f"\n{note}{repeat}{title}\n" + "\n".join(_field(field, hints[field.name]) for field in msgspec.structs.fields(section))


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> str:
    description = ""
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        description = next((one.description for one in extras if isinstance(one, Meta) and one.description), "")
    choices = f" ({' | '.join(map(str, get_args(hint)))})" if get_origin(hint) is typing.Literal else ""
    comment = textwrap.fill(f"{description}{choices}", 118, initial_indent="# ", subsequent_indent="# ")
    if field.default is msgspec.NODEFAULT:
        return f"{comment}\n#{field.encode_name} =     # must be given"
    return f"{comment}\n#{field.encode_name} = {_value(field.default)}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
