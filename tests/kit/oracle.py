"""Dovecot as the oracle: the same mails in both servers, the same questions, every difference by name.

By hand, on a directory of mails (files of any name):

    python -m tests.kit.oracle DIRECTORY [--show N] [--only PATTERN]

prints each kind of difference with how many mails have it and N examples.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage, running
from tests.kit.imap_values import Value, parse_value

IMAP = "/usr/lib/dovecot/imap"
LOGIN = "oracle@jx.example"
LIMIT = 1 << 26  # of a response

_CONF = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
mail_location = maildir:{root}/mail
mail_fsync = never
ssl = no
first_valid_uid = 0
first_valid_gid = 0
"""


class Dovecot(ImapClient):
    """Dovecot's imap process alone, logged in already, on a mailbox below `root`."""

    def __init__(self, root: Path) -> None:
        super().__init__(0, limit=LIMIT)
        self._root = root

    async def __aenter__(self) -> Dovecot:
        conf = self._root / "dovecot.conf"
        text = _CONF.format(root=self._root)
        if os.geteuid() == 0:  # it serves no mail as root
            text += "mail_uid = nobody\nmail_gid = nogroup\n"
            os.chown(self._root, 65534, 65534)
        conf.write_text(text, "utf-8")
        environment = {"USER": "oracle", "HOME": str(self._root), "PATH": os.environ["PATH"]}
        self._process = await asyncio.create_subprocess_exec(
            IMAP, "-c", conf, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LIMIT, env=environment, cwd=self._root
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self.reader, self.writer = self._process.stdout, self._process.stdin
        self.greeting = await self.response()
        assert self.greeting.startswith(b"* PREAUTH"), self.greeting
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self._process.wait()


class Difference(NamedTuple):
    """`what` names the place, without numbers, so that differences can be counted; `where` has them."""

    what: str
    where: str
    ours: Value
    theirs: Value


# -- who is right -------------------------------------------------------------------------------------------------


def judgement(one: Difference) -> str:
    """Why the two differ and ours is right or no worse; "" when nobody has judged it."""
    ours, theirs = one.ours, one.theirs
    if (ours, theirs) == (None, b""):
        return "no such section: NIL here, an empty string there"
    if _shape(ours) == _shape(theirs):
        return "case and white space: names in lower case, a fold is one blank, blanks in quotes stay"
    if any(word in repr(theirs) for word in ("MISSING_MAILBOX", "MISSING_DOMAIN", "SYNTAX_ERROR")):
        return "addresses that are none: as much as could be read, without placeholders"
    if (b"=?utf-8?B?" in repr(ours).encode() and not repr(theirs).encode().isascii()) or "\\x" in repr(theirs):
        return "raw 8-bit text: encoded words in UTF-8, not octets of an unknown charset"
    if "*'" in repr(theirs) or "*'" in repr(ours):
        return "RFC 2231 §8: parameters are decoded and joined"
    if one.what.endswith(".params") and _shape(theirs) == _shape([*(ours or []), b"charset", b"us-ascii"]):  # type: ignore[misc]
        return "8-bit text without a charset is not called us-ascii"
    if one.what.endswith(("MIME]", "HEADER]")) and ours == (theirs or b"") + b"\r\n":  # type: ignore[operator]
        return "the empty line after a part's header belongs to the header"
    if _has_one_line_end_less(one):
        return "RFC 2046 §5.1.1: the line end before a delimiter belongs to the delimiter"
    if one.what.endswith(".parts") and any(_is_empty_part(part) for part in _split(theirs)[1]):  # type: ignore[arg-type]
        return "a multipart without a usable boundary is text, a delimiter is a whole line: no part of nothing"
    if one.what.startswith("BODY[n.") and theirs == b"" and ours:
        return "a multipart without a usable boundary is text, a delimiter is a whole line: no part of nothing"
    if one.what.endswith(".encoding"):
        return "Content-Transfer-Encoding counts without MIME-Version, and with junk behind it"
    return ""


def _has_one_line_end_less(one: Difference) -> bool:
    if isinstance(one.ours, int) and isinstance(one.theirs, int):
        return one.theirs - one.ours == {"size": 2, "lines": 1}.get(one.what.rpartition(".")[2])
    return one.what in ("BODY[n.]", "BODY[n.TEXT]") and isinstance(one.ours, bytes) and one.theirs == one.ours + b"\r\n"


def _is_empty_part(part: Value) -> bool:
    return isinstance(part, list) and part[5:8] == [b"7bit", 0, 0]


def _shape(value: Value) -> Value:
    """The value without case and white space."""
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return b"".join(value.lower().split()) if isinstance(value, bytes) else value


# -- names of what stands where -----------------------------------------------------------------------------------

_ENVELOPE = ("date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id")
_ADDRESS = ("name", "route", "mailbox", "host")
_BASIC = ("type", "subtype", "params", "id", "description", "encoding", "size")
_EXTENSION = ("disposition", "language", "location")


def compare(name: str, where: str, ours: Value, theirs: Value) -> Iterator[Difference]:
    """Differences of two values of the FETCH item `name`."""
    if ours == theirs:
        return
    if name == "ENVELOPE":
        yield from _fields("envelope", where, _ENVELOPE, ours, theirs)
    elif name in ("BODY", "BODYSTRUCTURE"):
        yield from _body(name.lower(), where, ours, theirs)
    else:
        yield Difference(name, where, ours, theirs)


def _fields(what: str, where: str, names: Sequence[str], ours: Value, theirs: Value) -> Iterator[Difference]:
    if not isinstance(ours, list) or not isinstance(theirs, list) or len(ours) != len(theirs) or len(ours) > len(names):
        yield Difference(what, where, ours, theirs)
        return
    for name, one, other in zip(names, ours, theirs, strict=False):
        if one == other:
            continue
        if isinstance(one, list) and isinstance(other, list) and name in _ENVELOPE and len(one) == len(other):
            for index, (address, their) in enumerate(zip(one, other, strict=True)):
                if address != their:
                    yield from _fields(f"{what}.{name}", f"{where}[{index}]", _ADDRESS, address, their)
        else:
            yield Difference(f"{what}.{name}", where, one, other)


def _body(what: str, where: str, ours: Value, theirs: Value) -> Iterator[Difference]:
    if ours == theirs:
        return
    if not isinstance(ours, list) or not isinstance(theirs, list):
        yield Difference(what, where, ours, theirs)
        return
    mine, parts = _split(ours)
    other, their_parts = _split(theirs)
    if bool(parts) != bool(their_parts) or len(parts) != len(their_parts):
        yield Difference(f"{what}.parts", where, ours, theirs)
        return
    for index, (one, their) in enumerate(zip(parts, their_parts, strict=True), 1):
        yield from _body(what, f"{where}.{index}", one, their)
    if parts:
        yield from _fields(what, where, ("subtype", "params", *_EXTENSION), mine, other)
    elif mine[:2] == [b"message", b"rfc822"] == other[:2] and len(mine) > 9 and len(other) > 9:
        yield from _fields(what, where, _BASIC, mine[:7], other[:7])
        yield from compare("ENVELOPE", where, mine[7], other[7])
        yield from _body(what, f"{where}.1", mine[8], other[8])
        yield from _fields(what, where, ("lines", "md5", *_EXTENSION), mine[9:], other[9:])
    else:
        text = mine[0] in (b"text", b"TEXT")
        yield from _fields(what, where, (*_BASIC, *(("lines",) if text else ()), "md5", *_EXTENSION), mine, other)


def _split(body: list[Value]) -> tuple[list[Value], list[Value]]:
    """The rest, and the parts of a multipart."""
    count = next((index for index, one in enumerate(body) if not isinstance(one, list)), len(body))
    return body[count:], body[:count]


# -- asking -------------------------------------------------------------------------------------------------------


def questions(body: Value, path: tuple[int, ...] = ()) -> Iterator[str]:
    """Sections of every part, and some that do not exist."""
    if not isinstance(body, list) or len(path) > 8:
        return
    _, parts = _split(body)
    if parts:
        for index, one in enumerate(parts[:30], 1):
            yield from _section(one, (*path, index))
        yield _name((*path, len(parts) + 1))
    elif not path:
        yield from _section(body, (1,))
        yield _name((2,))


def _section(body: Value, path: tuple[int, ...]) -> Iterator[str]:
    for text in ("", ".MIME", ".HEADER", ".TEXT", ".HEADER.FIELDS (SUBJECT X-NONE)"):
        yield f"BODY.PEEK[{_name(path)[10:-1]}{text}]"
    if isinstance(body, list) and len(body) > 8 and body[:2] == [b"message", b"rfc822"]:
        inner = body[8]
        if isinstance(inner, list) and _split(inner)[1]:
            yield from questions(inner, path)
        else:
            yield from _section(inner, (*path, 1))
    elif isinstance(body, list) and _split(body)[1]:
        yield from questions(body, path)


def _name(path: Sequence[int]) -> str:
    return "BODY.PEEK[" + ".".join(map(str, path)) + "]"


WHOLE = (
    "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822.SIZE", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "BODY.PEEK[]<10.20>",
    "BODY.PEEK[TEXT]<999999999.5>", "BODY.PEEK[HEADER.FIELDS (FROM SUBJECT X-NONE CONTENT-TYPE)]",
    "BODY.PEEK[HEADER.FIELDS.NOT (RECEIVED FROM SUBJECT)]",
)  # fmt: skip


async def fetch(client: ImapClient, number: int, items: Sequence[str]) -> dict[str, Value]:
    """The values by item, as they were named in the answer."""
    untagged, tagged = await client.command(f"FETCH {number} ({' '.join(items)})".encode())
    lines = [line for line in untagged if line.startswith(b"* %d FETCH (" % number)]
    assert len(lines) == 1, (items, untagged, tagged)
    rest = lines[0].partition(b"FETCH (")[2]
    values: dict[str, Value] = {}
    while not rest.startswith(b")"):
        found = re.match(rb" ?([A-Z0-9.]+(?:\[[^\]]*\])?(?:<\d+>)?) ", rest)
        assert found is not None, rest[:80]
        value, rest = parse_value(rest[found.end() :])
        values[found[1].decode().upper()] = value
    return values


async def ask_both(ours: ImapClient, theirs: ImapClient, number: int) -> list[Difference]:
    """All differences of one mail."""
    found: list[Difference] = []
    mine = await fetch(ours, number, WHOLE)
    other = await fetch(theirs, number, WHOLE)
    more = list(dict.fromkeys(questions(mine["BODYSTRUCTURE"])))[:150]
    if more:
        mine |= await fetch(ours, number, more)
        other |= await fetch(theirs, number, more)
    for name, value in mine.items():
        found += compare(re.sub(r"\[[\d.]+", "[n.", name), name, value, other[name])
    return found


@asynccontextmanager
async def both(mails: Sequence[bytes]) -> AsyncIterator[tuple[ImapClient, ImapClient]]:
    """Both servers with the mails in INBOX, selected."""
    with tempfile.TemporaryDirectory(prefix="govmail-oracle-") as name:
        root = Path(name)
        root.chmod(0o711)  # Dovecot's user must walk through
        (root / "dovecot").mkdir()
        async with running("sqlite://", root / "govmail") as stage, _client(stage) as ours, Dovecot(root / "dovecot") as theirs:
            for mail in mails:
                for client in (ours, theirs):
                    await client.append(mail)
            for client in (ours, theirs):
                await client.ok(b"EXAMINE INBOX")
            yield ours, theirs


@asynccontextmanager
async def _client(stage: Stage) -> AsyncIterator[ImapClient]:
    async with ImapClient(stage.plain, limit=LIMIT) as client:
        await client.login(LOGIN)
        yield client


# -- by hand ------------------------------------------------------------------------------------------------------


async def _report(paths: Sequence[Path], show: int, only: str) -> None:
    mails = [path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"\0", b"?") or b"\r\n" for path in paths]
    kinds: dict[str, list[tuple[str, Difference]]] = {}
    async with both(mails) as (ours, theirs):
        for number, path in enumerate(paths, 1):
            for one in await ask_both(ours, theirs, number):
                kinds.setdefault(judgement(one) or f"not judged: {one.what}", []).append((path.name, one))
    print(f"{len(paths)} mails")
    for what, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        if not re.search(only, what):
            continue
        print(f"\n{what}: {len({name for name, _ in found})} mails")
        for name, one in found[:show]:
            print(f"  {name} {one.where}\n    ours   {str(one.ours)[:400]}\n    theirs {str(one.theirs)[:400]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    paths = sorted(path for path in options.directory.rglob("*") if path.is_file() and path.name != "README.md")
    asyncio.run(_report(paths, options.show, options.only))


if __name__ == "__main__":
    main()
