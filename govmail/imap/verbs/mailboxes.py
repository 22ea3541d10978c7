r"""Mailbox names: LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE.

Invariants: every mailbox can be selected, parents too (R-22: Outlook loses mail that is put into a \Noselect one); each
special use stands on one mailbox; plain LIST shows special uses as well, because old clients ask no other way.

RFC 3501 §6.3.3-6.3.10; RFC 2342 (NAMESPACE); RFC 5258, 5819, 8440, 9590 (LIST-EXTENDED, -STATUS, -MYRIGHTS, -METADATA); RFC 6154
(SPECIAL-USE); RFC 3348 (CHILDREN); RFC 7162 §3.1.7, RFC 8438, RFC 9051 §6.3.11 (items of STATUS).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from govmail.config import Limits
from govmail.errors import BadMailboxName, NoSuchMailbox
from govmail.imap import access
from govmail.imap.access import Place
from govmail.imap.enabling import use_modseq
from govmail.imap.state import OK, Result
from govmail.imap.verbs.metadata import metadata_line
from govmail.imap.verbs.rights import rights_line
from govmail.imap.verbs.select import list_of
from govmail.store import acl, annotation, mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.rights import ALL
from govmail.store.values import Mailbox
from govmail.wire.imap import commands, responses, utf7
from govmail.wire.imap.pattern import Pattern
from govmail.wire.imap.tokens import canonical_mailbox

if TYPE_CHECKING:
    from govmail.imap.session import Session


@dataclass(frozen=True, slots=True)
class _Names:
    """All mailboxes that a session may see, by name, in order; its subscriptions; which mailboxes are somebody else's."""

    mailboxes: dict[str, Mailbox]
    subscribed: set[str]
    others: Mapping[str, acl.Found]


def _names(conn: Connection, account_id: int, others: Mapping[str, acl.Found]) -> _Names:
    found = {one.name: one for one in mailboxes.list_all(conn, account_id)}
    # Each special use stands on one mailbox: others' have none (domain of the owner; iOS stops at a second "sent" one).
    found |= {name: replace(one.mailbox, special_use=None) for name, one in others.items()}
    return _Names(found, mailboxes.subscriptions(conn, account_id), others)


async def list_(session: Session, command: commands.List, tag: bytes) -> Result:
    return await _listed(session, command, b"LIST")


async def xlist(session: Session, command: commands.List, tag: bytes) -> Result:
    """What Outlook 2013 asks for, which does not know SPECIAL-USE: LIST with the words of Gmail."""
    return await _listed(session, command, b"XLIST")


async def _listed(session: Session, command: commands.List, verb: bytes) -> Result:
    if not command.extended and command.patterns == ("",):
        session.write(responses.list_line(verb, ["\\Noselect"], ""))  # the separator is asked for
        return OK
    if b"HIGHESTMODSEQ" in command.status:
        use_modseq(session)
    assert session.principal is not None
    database, me = session.server.database, session.principal.directory_id
    asked = _Asked(command, verb, me, session.server.limits, session.enabled.utf8)
    lines, others = await database.read(_own_list, session.account_id, asked)
    if others:
        lines = await database.read(_list, session.account_id, asked, await access.named(session, others))
    await session.send(lines)
    return OK


@dataclass(frozen=True, slots=True)
class _Asked:
    """LIST or XLIST, and who asks (a directory id)."""

    command: commands.List
    verb: bytes
    me: str
    limits: Limits
    utf8: bool


def _own_list(conn: Connection, account_id: int, asked: _Asked) -> tuple[list[bytes], list[acl.Found]]:
    """The answer for somebody who sees nothing of others; else what there is to be named."""
    others = acl.visible(conn, asked.me, asked.limits.foreign_mailboxes)
    return ([] if others else _list(conn, account_id, asked, {})), others


def _list(conn: Connection, account_id: int, asked: _Asked, others: Mapping[str, acl.Found]) -> list[bytes]:
    command = asked.command
    names = _names(conn, account_id, others)
    patterns = [Pattern(command.reference, pattern) for pattern in command.patterns]
    parents = _parents(names.mailboxes)
    above = {name for one in others for name in _ancestors(one)}

    def matched(found: Iterable[str]) -> dict[str, bool]:
        return {name: any(pattern.matches(name) for pattern in patterns) for name in found}

    known = matched([name for name in names.mailboxes if name not in others])
    known |= matched(sorted({*others, *above}))
    if "SUBSCRIBED" in command.select:
        known |= matched(sorted(names.subscribed - known.keys()))
    chosen = {name for name in known if _chosen(name, names, command.select)}
    child_info: set[str] = set()
    if "RECURSIVEMATCH" in command.select:  # RFC 5258 §3.5: what stands above something that is chosen and not told itself
        child_info = {parent for name in chosen if not known[name] for parent in _ancestors(name)}
        known |= matched(sorted(child_info - known.keys()))
    told = [name for name, matches in known.items() if matches and (name in chosen or name in child_info)]
    more = _more(conn, asked, names, told)
    info = b' ("CHILDINFO" (%b))' % b" ".join(b'"%b"' % option.encode() for option in sorted(command.select & _CHILD_INFO))
    lines: list[bytes] = []
    for name in told:
        attributes = _attributes(name, names.mailboxes.get(name), parents, extended=command.extended)
        if name in names.subscribed and ("SUBSCRIBED" in command.select or "SUBSCRIBED" in command.returns):
            attributes.append("\\Subscribed")
        if asked.verb == b"XLIST":
            attributes = [_XLIST.get(one, one) for one in attributes] + (["\\Inbox"] if name == mailboxes.INBOX else [])
        line = responses.list_line(asked.verb, attributes, name, utf8=asked.utf8)
        lines.append(line[:-2] + info + b"\r\n" if name in child_info else line)
        lines.extend(more.get(name, ()))
    return lines


_CHILD_INFO = frozenset({"SUBSCRIBED", "SPECIAL-USE"})
_XLIST = {"\\Junk": "\\Spam"}


def _chosen(name: str, names: _Names, options: frozenset[str]) -> bool:
    mailbox = names.mailboxes.get(name)
    if "SPECIAL-USE" in options and (mailbox is None or mailbox.special_use is None):
        return False
    return "SUBSCRIBED" not in options or name in names.subscribed


def _more(conn: Connection, asked: _Asked, names: _Names, told: Sequence[str]) -> dict[str, list[bytes]]:
    """The responses beside LIST that were asked for, a question for each account and kind (RFC 5819, 8440, 9590)."""
    command, utf8 = asked.command, asked.utf8
    found = {name: names.mailboxes[name] for name in told if name in names.mailboxes}
    if not command.returns & {"STATUS", "MYRIGHTS", "METADATA"} or not found:
        return {}
    accounts: dict[int, list[int]] = {}
    for mailbox in found.values():
        accounts.setdefault(mailbox.account_id, []).append(mailbox.mailbox_id)
    deleted: dict[tuple[int, int], int] = {}
    notes: dict[tuple[int, int], dict[str, bytes]] = {}
    for account, ids in accounts.items():
        if b"DELETED-STORAGE" in command.status:
            deleted |= {(account, one): octets for one, octets in messages.deleted_octets(conn, account, ids).items()}
        if command.metadata:
            notes |= {(account, one): values for one, values in annotation.read(conn, account, ids, asked.me).items()}
    lines: dict[str, list[bytes]] = {}
    for name, mailbox in found.items():
        rights = names.others[name].rights if name in names.others else ALL
        key = (int(mailbox.account_id), int(mailbox.mailbox_id))
        lines[name] = beside = []
        if "STATUS" in command.returns and "r" in rights:
            items = _status(mailbox, command.status, deleted.get(key, 0), asked.limits)
            beside.append(responses.status_line(name, items, utf8=utf8))
        if "MYRIGHTS" in command.returns:
            beside.append(rights_line(name, rights, utf8=utf8))
        if command.metadata and "r" in rights:
            beside.append(metadata_line(name, [(entry, notes.get(key, {}).get(entry)) for entry in command.metadata], utf8=utf8))
    return lines


def _attributes(name: str, mailbox: Mailbox | None, parents: set[str], *, extended: bool = True) -> list[str]:
    if mailbox is None:
        missing = "\\NonExistent" if extended else "\\Noselect"
        return [missing, "\\HasChildren"] if name in parents else [missing]
    attributes = ["\\HasChildren" if name in parents else "\\HasNoChildren"]
    if mailbox.special_use is not None:
        attributes.append(mailbox.special_use)
    return attributes


def _parents(names: dict[str, Mailbox]) -> set[str]:
    """Whatever has something below it; in one's own tree parents always exist, in others' they may not be seen."""
    return {parent for name in names if "/" in name for parent in _ancestors(name)}


def _ancestors(name: str) -> Iterator[str]:
    levels = name.split("/")
    return ("/".join(levels[:depth]) for depth in range(1, len(levels)))


async def lsub(session: Session, command: commands.List, tag: bytes) -> Result:
    lines = await session.server.database.read(_lsub, session.account_id, command, session.enabled.utf8)
    await session.send(lines)
    return OK


def _lsub(conn: Connection, account_id: int, command: commands.List, utf8: bool) -> list[bytes]:
    names = _names(conn, account_id, {})  # of others: whether a subscribed mailbox can still be seen is not asked
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
    place = await access.locate(session, command.mailbox, "r")
    items = await session.server.database.read(_read_status, place, command.items, session.server.limits)
    session.write(responses.status_line(command.mailbox, items, utf8=session.enabled.utf8))
    return OK


def _read_status(conn: Connection, place: Place, items: Sequence[bytes], limits: Limits) -> list[tuple[bytes, int | bytes]]:
    mailbox = mailboxes.get(conn, place.account_id, place.name)
    deleted = 0
    if b"DELETED-STORAGE" in items and mailbox.deleted:
        deleted = messages.deleted_octets(conn, place.account_id, [mailbox.mailbox_id]).get(mailbox.mailbox_id, 0)
    return _status(mailbox, items, deleted, limits)


def _status(mailbox: Mailbox, items: Sequence[bytes], deleted_octets: int, limits: Limits) -> list[tuple[bytes, int | bytes]]:
    values: dict[bytes, int | bytes] = {
        b"MESSAGES": mailbox.messages, b"RECENT": mailbox.recent, b"UIDNEXT": mailbox.uid_next,
        b"UIDVALIDITY": mailbox.uidvalidity, b"UNSEEN": mailbox.unseen, b"DELETED": mailbox.deleted,
        b"SIZE": mailbox.octets, b"HIGHESTMODSEQ": mailbox.highest_modseq,
        b"DELETED-STORAGE": deleted_octets, b"APPENDLIMIT": limits.message_octets,
        b"MAILBOXID": b"(%b)" % mailbox.object_id,
    }  # fmt: skip
    return [(item, values[item]) for item in items]


async def create(session: Session, command: commands.Named, tag: bytes) -> Result:
    if command.use is not None and command.use.lower() not in _USES:
        return Result(b"NO", "special use not supported", b"USEATTR")  # RFC 6154 §3
    use = _USES[command.use.lower()] if command.use is not None else None
    place = await access.locate_new(session, command.mailbox)
    if use is not None and not place.own:
        return Result(b"NO", "special uses are the owner's", b"USEATTR")
    made = await session.server.database.write(
        mailboxes.create, place.account_id, place.name, special_use=use, now=session.server.now(), limits=session.server.limits,
        aliases=place.own,
    )  # fmt: skip
    if place.own and session.enabled.rev2 and made.name != command.mailbox:  # RFC 9051 §6.3.4: it has another name than the client gave it
        session.write(list_of(made, command.mailbox))
    return Result(b"OK", "", b"MAILBOXID (%b)" % made.object_id)  # RFC 8474 §4.1


_USES = {use.lower(): use for use in mailboxes.SPECIAL_USES}


async def delete(session: Session, command: commands.Named, tag: bytes) -> Result:
    place = await access.locate(session, command.mailbox, "x")
    await session.server.database.write(mailboxes.delete, place.account_id, place.name, now=session.server.now())
    return OK


async def rename(session: Session, command: commands.Rename, tag: bytes) -> Result:
    """RFC 4314 §4: x on what is moved – here with all below it, which gets other names as well – and k on the new parent."""
    place = await access.locate(session, command.old, "x")
    target = await access.locate_new(session, command.new)
    if target.root != place.root:
        raise BadMailboxName("a mailbox stays in its account")
    if not place.own:
        await access.check_subtree(session, place, "x")
    await session.server.database.write(
        mailboxes.rename, place.account_id, place.name, target.name, now=session.server.now(), limits=session.server.limits,
        aliases=place.own,
    )  # fmt: skip
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
    """The personal namespace, other users', the shared one."""
    utf8 = session.enabled.utf8
    others, shared = (b'"%b"' % ((root + "/").encode() if utf8 else utf7.encode(root + "/")) for root in access.ROOTS)
    session.write(b'* NAMESPACE (("" "/")) ((%b "/")) ((%b "/"))\r\n' % (others, shared))
    return OK
