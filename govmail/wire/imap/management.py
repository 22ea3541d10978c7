"""Commands about mailboxes as a whole: access rights, quotas, annotations.

Invariants: as in `parser`; names of entries come out in lower case, checked.

RFC 4314 §7 (ACL), RFC 9208 §7 (QUOTA), RFC 5464 §5 (METADATA).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from govmail.errors import SyntaxProblem
from govmail.wire.imap import utf7
from govmail.wire.imap.commands import Operation
from govmail.wire.imap.tokens import Tokens

ENTRIES = 100  # names in one command
ENTRY_OCTETS = 255
DEPTH_INFINITE = 1000
_ENTRY = re.compile(r"/(?:private|shared)(?:/[^/*%\x00-\x1f\x7f-\U0010ffff]+)*")
_RIGHTS = re.compile(r"([+-]?)([lrswipkxteacd]*)")
_OPERATIONS: dict[str, Operation] = {"": "set", "+": "add", "-": "remove"}


@dataclass(frozen=True, slots=True)
class Identified:
    """DELETEACL, LISTRIGHTS; SETACL with what it does. `identifier` as the client wrote it, "-" in front included."""

    mailbox: str
    identifier: str
    operation: Operation = "set"
    rights: str = ""


@dataclass(frozen=True, slots=True)
class QuotaRoot:
    """GETQUOTA, SETQUOTA."""

    root: str


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """`mailbox` "": the server. `depth`: levels below an entry that are told with it; `max_size` None: any size."""

    mailbox: str
    entries: tuple[str, ...]
    depth: int = 0
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """A value None removes the entry."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


def delete_acl(tokens: Tokens) -> Identified:
    """DELETEACL, LISTRIGHTS: mailbox SP identifier"""
    tokens.space()
    mailbox = tokens.mailbox()
    tokens.space()
    identifier = _text(tokens)
    tokens.end()
    return Identified(mailbox, identifier)


def set_acl(tokens: Tokens) -> Identified:
    """mailbox SP identifier SP mod-rights. A letter that is no right is BAD (RFC 4314 §3.1)."""
    tokens.space()
    mailbox = tokens.mailbox()
    tokens.space()
    identifier = _text(tokens)
    tokens.space()
    found = _RIGHTS.fullmatch(_text(tokens))
    if found is None:
        raise SyntaxProblem("unknown right")
    tokens.end()
    return Identified(mailbox, identifier, _OPERATIONS[found[1]], found[2])


def get_quota(tokens: Tokens) -> QuotaRoot:
    tokens.space()
    root = utf7.decode(tokens.astring())
    tokens.end()
    return QuotaRoot(root)


def set_quota(tokens: Tokens) -> QuotaRoot:
    """quota-root-name SP "(" [resource SP number *(SP …)] ")"; nobody may, so what it says is not kept."""
    tokens.space()
    root = utf7.decode(tokens.astring())
    tokens.space()
    tokens.items(tokens.atom, empty=True)
    tokens.end()
    return QuotaRoot(root)


def get_metadata(tokens: Tokens) -> GetMetadata:
    """[SP "(" options ")"] SP mailbox SP entries; the options may stand after the mailbox as well, as many clients put them."""
    options: dict[bytes, int] = {}
    tokens.space()
    if tokens.peek() == b"(":
        options = dict(tokens.items(lambda: _option(tokens)))
        tokens.space()
    mailbox = _mailbox(tokens)
    tokens.space()
    if not options and tokens.peek() == b"(":
        start = tokens.at
        tokens.take(b"(")
        is_entry = tokens.peek() in (b"/", b'"', b"{")
        tokens.at = start
        if not is_entry:
            options = dict(tokens.items(lambda: _option(tokens)))
            tokens.space()
    names = entries(tokens)
    tokens.end()
    return GetMetadata(mailbox, names, options.get(b"DEPTH", 0), options.get(b"MAXSIZE"))


def _option(tokens: Tokens) -> tuple[bytes, int]:
    name = tokens.word()
    tokens.space()
    if name == b"MAXSIZE":
        return name, tokens.number()
    if name != b"DEPTH":
        raise SyntaxProblem("unknown GETMETADATA option")
    if tokens.take(b"INFINITY"):
        return name, DEPTH_INFINITE
    depth = tokens.number()
    if depth > 1:
        raise SyntaxProblem("DEPTH is 0, 1 or infinity")
    return name, depth


def set_metadata(tokens: Tokens) -> SetMetadata:
    """mailbox SP "(" entry SP value *(SP entry SP value) ")" """
    tokens.space()
    mailbox = _mailbox(tokens)
    tokens.space()
    values = tokens.items(lambda: _value(tokens))
    tokens.end()
    if len(values) > ENTRIES:
        raise SyntaxProblem("too many entries")
    return SetMetadata(mailbox, values)


def _value(tokens: Tokens) -> tuple[str, bytes | None]:
    name = _entry(tokens)
    if name.count("/") < 2:
        raise SyntaxProblem("bad entry name")  # /private and /shared themselves have no value
    tokens.space()
    return name, tokens.nstring()


def entries(tokens: Tokens) -> tuple[str, ...]:
    """entry / "(" entry *(SP entry) ")" """
    found = tokens.items(lambda: _entry(tokens)) if tokens.peek() == b"(" else (_entry(tokens),)
    if len(found) > ENTRIES:
        raise SyntaxProblem("too many entries")
    return tuple(dict.fromkeys(found))


def _entry(tokens: Tokens) -> str:
    """entry: astring that begins with "/", without wildcards, empty levels or 8-bit characters; case does not matter."""
    name = _text(tokens).lower()
    if len(name) > ENTRY_OCTETS or not _ENTRY.fullmatch(name):
        raise SyntaxProblem("bad entry name")
    return name


def _mailbox(tokens: Tokens) -> str:
    """A mailbox, or "" for the server."""
    return "" if tokens.take(b'""') else tokens.mailbox()


def _text(tokens: Tokens) -> str:
    return tokens.astring().decode("utf-8", "replace")
