"""A strict little reader of IMAP values (lists, strings, literals, NIL, numbers), to check what the server writes."""

from __future__ import annotations

import re

Value = bytes | int | None | list["Value"]

_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\x7f]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_NUMBER = re.compile(rb"[0-9]+")


def parse_value(data: bytes) -> tuple[Value, bytes]:
    """The first value in `data` and what follows it. Raises ValueError where the grammar of RFC 3501 is broken."""
    if data.startswith(b"("):
        return _parse_list(data[1:])
    if data.startswith(b"NIL"):
        return None, data[3:]
    quoted = _QUOTED.match(data)
    if quoted:
        return re.sub(rb"\\(.)", rb"\1", quoted[1], flags=re.DOTALL), data[quoted.end() :]
    literal = _LITERAL.match(data)
    if literal:
        start, size = literal.end(), int(literal[1])
        value = data[start : start + size]
        if len(value) != size or b"\0" in value:
            raise ValueError(f"bad literal at {data[:40]!r}")
        return value, data[start + size :]
    number = _NUMBER.match(data)
    if number:
        return int(number[0]), data[number.end() :]
    raise ValueError(f"no value at {data[:40]!r}")


def _parse_list(data: bytes) -> tuple[list[Value], bytes]:
    found: list[Value] = []
    while not data.startswith(b")"):
        if found and data.startswith(b" "):
            data = data[1:]
        elif found and not (data.startswith(b"(") and isinstance(found[-1], list)):
            raise ValueError(f"no space at {data[:40]!r}")
        value, data = parse_value(data)
        found.append(value)
    return found, data[1:]
