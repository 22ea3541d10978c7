"""Header fields made from what engines said: every text that reaches them is hostile.

Invariants: a value returned here is printable ASCII but for its folds; a fold is CR LF followed by a space or a tab and
by at least one other character, so that no value can begin another field or end the header.

RFC 5322 §2.2.3 (folding), RFC 8601 §2.2 (Authentication-Results).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LINE = 78  # RFC 5322 §2.1.1, characters without CR LF
_UNSAFE = re.compile(r"[^\x20-\x7e]+")
_UNSAFE_WORD = re.compile(r"[^A-Za-z0-9_.:/+=@-]+")


def plain(text: str, limit: int = 200) -> str:
    """`text` as printable ASCII on one line, at most `limit` characters; whatever else was in it becomes `?`."""
    return _UNSAFE.sub("?", text[:limit])


def word(text: str, limit: int = 80) -> str:
    """`text` as one word: no space, comma, semicolon, bracket or quote can come out of it."""
    return _UNSAFE_WORD.sub("_", text[:limit]) or "_"


def fold(name: str, items: Iterable[str]) -> str:
    """The value of field `name`: the items with a blank between them, broken into lines where they become too long."""
    lines: list[str] = []
    line = ""
    room = LINE - len(name) - 2
    for item in items:
        item = plain(item, 500).strip()
        if not item:
            continue
        if line and len(line) + 1 + len(item) > room:
            lines.append(line)
            line, room = item, LINE - 1
        else:
            line = f"{line} {item}" if line else item
    return "\r\n\t".join([*lines, line])


def refold(value: str) -> str:
    """A value that came folded: its line breaks made CR LF and white space, empty lines dropped, the rest made plain."""
    lines = [plain(line.replace("\t", " "), 990).strip() for line in re.split(r"\r\n|\r|\n", value)]
    return "\r\n\t".join(line for line in lines if line)


def authentication_results(value: str, hostname: str) -> str:
    """An Authentication-Results value with our name as its authserv-id (RFC 8601 §2.2), whatever name it came with."""
    _, semicolon, results = value.partition(";")
    return refold(f"{hostname};{results}" if semicolon else f"{hostname}; none")
