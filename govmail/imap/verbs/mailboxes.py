r"""Mailbox names: LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE.

Invariants: every mailbox can be selected, parents too (R-22: Outlook loses mail that is put into a \Noselect one); each
special use stands on one mailbox; plain LIST shows special uses as well, because old clients ask no other way.

RFC 3501 §6.3.3-6.3.10; RFC 2342 (NAMESPACE); RFC 5258, 5819 (LIST-EXTENDED, LIST-STATUS); RFC 6154 (SPECIAL-USE); RFC 3348 (CHILDREN);
RFC 7162 §3.1.7, RFC 8438, RFC 9051 §6.3.11 (items of STATUS).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govmail.errors import NoSuchMailbox
from govmail.imap.enabling import use_modseq
from govmail.imap.state import OK, Result
from govmail.imap.verbs.select import list_of
from govmail.store import mailboxes
from govmail.store.connection import Connection
from govmail.store.values import Mailbox
from govmail.wire.imap import commands, responses
from govmail.wire.imap.pattern import Pattern
from govmail.wire.imap.tokens import canonical_mailbox

if TYPE_CHECKING:
    from govmail.imap.session import Session


@dataclass(frozen=True, slots=True)
class _Names:
    """An account's mailboxes by name, in order, and its subscriptions."""

    mailboxes: dict[str, Mailbox]
    subscribed: set[str]


def _names(conn: Connection, account_id: int) -> _Names:
    found = mailboxes.list_all(conn, account_id)
    return _Names({one.name: one for one in found}, mailboxes.subscriptions(conn, account_id))


async def list_(session: Session, command: commands.List, tag: bytes) -> Result:
    if not command.extended and command.patterns == ("",):
        session.write(responses.list_line(b"LIST", ["\\Noselect"], ""))  # the separator is asked for
        return OK
    if b"HIGHESTMODSEQ" in command.status:
        use_modseq(session)
    lines = await session.server.database.read(_list, session.account_id, command, session.enabled.utf8)
    await session.send(lines)
    return OK


def _list(conn: Connection, account_id: int, command: commands.List, utf8: bool) -> list[bytes]:
    names = _names(conn, account_id)
    patterns = [Pattern(command.reference, pattern) for pattern in command.patterns]
    only_subscribed = "SUBSCRIBED" in command.select
    known: Sequence[str] = list(names.mailboxes)
    if only_subscribed:
        known = [*(name for name in known if name in names.subscribed), *sorted(names.subscribed - names.mailboxes.keys())]
    lines: list[bytes] = []
    parents = _parents(names.mailboxes)
    matched: set[str] = set()
    for name in known:
        mailbox = names.mailboxes.get(name)
        if "SPECIAL-USE" in command.select and (mailbox is None or mailbox.special_use is None):
            continue
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        matched.add(name)
        attributes = _attributes(name, mailbox, parents)
        if only_subscribed or ("SUBSCRIBED" in command.returns and name in names.subscribed):
            attributes.append("\\Subscribed")
        lines.append(responses.list_line(b"LIST", attributes, name, utf8=utf8))
        if mailbox is not None and "STATUS" in command.returns:
            lines.append(responses.status_line(name, _status(mailbox, command.status), utf8=utf8))
    if only_subscribed and "RECURSIVEMATCH" in command.select:
        lines.extend(_child_info(names, patterns, parents, matched, utf8))
    return lines


def _child_info(names: _Names, patterns: Sequence[Pattern], parents: set[str], matched: set[str], utf8: bool) -> Iterator[bytes]:
    """Parents that match because something below them is subscribed and does not match itself (RFC 5258 §3.5)."""
    above = {ancestor for name in names.subscribed - matched for ancestor in _ancestors(name)}
    for name in sorted(above - matched):
        if any(pattern.matches(name) for pattern in patterns):
            line = responses.list_line(b"LIST", _attributes(name, names.mailboxes.get(name), parents), name, utf8=utf8)
            yield line[:-2] + b' ("CHILDINFO" ("SUBSCRIBED"))\r\n'


def _attributes(name: str, mailbox: Mailbox | None, parents: set[str]) -> list[str]:
    if mailbox is None:
        return ["\\NonExistent"]
    attributes = ["\\HasChildren" if name in parents else "\\HasNoChildren"]
    if mailbox.special_use is not None:
        attributes.append(mailbox.special_use)
    return attributes


def _parents(names: dict[str, Mailbox]) -> set[str]:
    return {name.rpartition("/")[0] for name in names if "/" in name}


def _ancestors(name: str) -> Iterator[str]:
    levels = name.split("/")
    return ("/".join(levels[:depth]) for depth in range(1, len(levels)))


async def lsub(session: Session, command: commands.List, tag: bytes) -> Result:
    lines = await session.server.database.read(_lsub, session.account_id, command, session.enabled.utf8)
    await session.send(lines)
    return OK


def _lsub(conn: Connection, account_id: int, command: commands.List, utf8: bool) -> list[bytes]:
    names = _names(conn, account_id)
    pattern = Pattern(command.reference, command.patterns[0])
    parents = _parents(names.mailboxes)
    found: dict[str, list[str]] = {}
    for name in sorted(names.subscribed, key=lambda one: (one != "INBOX", one)):
        if pattern.matches(name):
            mailbox = names.mailboxes.get(name)
            found[name] = _attributes(name, mailbox, parents) if mailbox is not None else []
    # RFC 3501 §6.3.9: with %, a subscribed name shows as its unsubscribed parent, marked \Noselect
    for name in names.subscribed:
        for parent in _ancestors(name):
            if parent not in found and not pattern.matches(name) and pattern.matches(parent):
                found[parent] = ["\\Noselect"]
    return [responses.list_line(b"LSUB", attributes, name, utf8=utf8) for name, attributes in found.items()]


async def status(session: Session, command: commands.Status, tag: bytes) -> Result:
    if b"HIGHESTMODSEQ" in command.items:
        use_modseq(session)
    mailbox = await session.server.database.read(mailboxes.get, session.account_id, command.mailbox)
    session.write(responses.status_line(command.mailbox, _status(mailbox, command.items), utf8=session.enabled.utf8))
    return OK


def _status(mailbox: Mailbox, items: Sequence[bytes]) -> list[tuple[bytes, int | bytes]]:
    values: dict[bytes, int | bytes] = {
        b"MESSAGES": mailbox.messages, b"RECENT": mailbox.recent, b"UIDNEXT": mailbox.uid_next,
        b"UIDVALIDITY": mailbox.uidvalidity, b"UNSEEN": mailbox.unseen,
        b"DELETED": mailbox.deleted, b"SIZE": mailbox.octets, b"HIGHESTMODSEQ": mailbox.highest_modseq,
        b"MAILBOXID": b"(%b)" % mailbox.object_id,
    }  # fmt: skip
    return [(item, values[item]) for item in items]


async def create(session: Session, command: commands.Named, tag: bytes) -> Result:
    if command.use is not None and command.use.lower() not in _USES:
        return Result(b"NO", "special use not supported", b"USEATTR")  # RFC 6154 §3
    use = _USES[command.use.lower()] if command.use is not None else None
    made = await session.server.database.write(
        mailboxes.create, session.account_id, command.mailbox, special_use=use, now=session.server.now(), limits=session.server.limits
    )
    if session.enabled.rev2 and made.name != command.mailbox:  # RFC 9051 §6.3.4: it has another name than the client gave it
        session.write(list_of(made, command.mailbox))
    return Result(b"OK", "", b"MAILBOXID (%b)" % made.object_id)  # RFC 8474 §4.1


_USES = {use.lower(): use for use in mailboxes.SPECIAL_USES}


async def delete(session: Session, command: commands.Named, tag: bytes) -> Result:
    await session.server.database.write(mailboxes.delete, session.account_id, command.mailbox, now=session.server.now())
    return OK


async def rename(session: Session, command: commands.Rename, tag: bytes) -> Result:
    await session.server.database.write(
        mailboxes.rename, session.account_id, command.old, command.new, now=session.server.now(), limits=session.server.limits
    )
    return OK


async def subscribe(session: Session, command: commands.Named, tag: bytes) -> Result:
    await session.server.database.write(_subscribe, session.account_id, command.mailbox)
    return OK


def _subscribe(conn: Connection, account_id: int, name: str) -> None:
    try:
        name = mailboxes.get(conn, account_id, name).name
    except NoSuchMailbox:
        name = canonical_mailbox(name)  # RFC 3501 §6.3.6: a server may check, and need not
    mailboxes.subscribe(conn, account_id, name)


async def unsubscribe(session: Session, command: commands.Named, tag: bytes) -> Result:
    await session.server.database.write(mailboxes.unsubscribe, session.account_id, command.mailbox)
    return OK


async def namespace(session: Session, command: commands.Bare, tag: bytes) -> Result:
    """One personal namespace; nothing of others, nothing shared."""
    session.write(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return OK
