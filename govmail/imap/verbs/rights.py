"""Access rights: SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS.

Invariants: identifiers are logins on the wire and directory ids in the store; the owner's rights cannot be changed.

RFC 4314 §3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.errors import MailboxInUse, NotFound
from govmail.imap.access import Place, locate
from govmail.imap.state import OK, Result
from govmail.store import acl, mailboxes
from govmail.store.connection import Connection
from govmail.store.rights import ALL, OBSOLETE, ordered, told
from govmail.wire.imap import commands, responses
from govmail.wire.imap.management import Identified

if TYPE_CHECKING:
    from govmail.imap.session import Session

LISTED = ALL[:-1] + "".join(OBSOLETE) + ALL[-1]


async def set_acl(session: Session, command: Identified, tag: bytes) -> Result:
    place = await locate(session, command.mailbox, "a")
    who, negative = await _identify(session, command.identifier)
    await _change(session, place, who, negative=negative, operation=command.operation, rights=command.rights)
    return OK


async def delete_acl(session: Session, command: Identified, tag: bytes) -> Result:
    place = await locate(session, command.mailbox, "a")
    try:
        who, negative = await _identify(session, command.identifier)
    except NotFound:  # somebody who has left the directory is told, and deleted, by id
        who, negative = command.identifier.removeprefix("-"), command.identifier.startswith("-")
    await _change(session, place, who, negative=negative, operation="set", rights="")
    return OK


async def _change(session: Session, place: Place, who: str, *, negative: bool, operation: commands.Operation, rights: str) -> None:
    is_owner = who == _owner(session, place)
    await session.server.database.write(
        _write, place, None if is_owner else who, negative=negative, operation=operation, rights=ordered(rights), most=session.server.limits.acl_entries
    )


def _write(conn: Connection, place: Place, who: str | None, *, negative: bool, operation: str, rights: str, most: int) -> None:
    mailbox = mailboxes.get(conn, place.account_id, place.name)
    if who is None:
        raise MailboxInUse("the owner has every right")
    acl.change(conn, place.account_id, mailbox.mailbox_id, who, negative=negative, operation=operation, rights=rights, most=most)


async def get_acl(session: Session, command: commands.Named, tag: bytes) -> Result:
    place = await locate(session, command.mailbox, "a")
    entries = await session.server.database.read(_entries, place)
    owner = _owner(session, place)
    logins = await session.server.people.logins(tuple({owner, *(one.who for one in entries)} - {acl.ANYONE}))
    line = b"* ACL " + responses.mailbox(command.mailbox, utf8=session.enabled.utf8)
    if owner in logins:
        line += b" %b %b" % (responses.astring(logins[owner].encode()), told(ALL).encode())
    for one in entries:
        identifier = ("-" if one.negative else "") + logins.get(one.who, one.who)
        line += b" %b %b" % (responses.astring(identifier.encode()), told(one.rights).encode())
    session.write(line + b"\r\n")
    return OK


def _entries(conn: Connection, place: Place) -> list[acl.Entry]:
    mailbox = mailboxes.get(conn, place.account_id, place.name)
    return acl.entries(conn, place.account_id, mailbox.mailbox_id)


async def list_rights(session: Session, command: Identified, tag: bytes) -> Result:
    """The rights that an identifier always has, then those that can be given one by one (RFC 4314 §3.7)."""
    place = await locate(session, command.mailbox, "a")
    await session.server.database.read(mailboxes.get, place.account_id, place.name)
    who, negative = await _identify(session, command.identifier)
    line = b"* LISTRIGHTS %b %b " % (responses.mailbox(command.mailbox, utf8=session.enabled.utf8), responses.astring(command.identifier.encode()))
    if who == _owner(session, place) and not negative:
        line += told(ALL).encode()
    else:
        line += b'"" ' + " ".join(LISTED).encode()
    session.write(line + b"\r\n")
    return OK


async def my_rights(session: Session, command: commands.Named, tag: bytes) -> Result:
    place = await locate(session, command.mailbox, any_of="lrikxa")
    await session.server.database.read(mailboxes.get, place.account_id, place.name)
    session.write(rights_line(command.mailbox, place.rights, utf8=session.enabled.utf8))
    return OK


def rights_line(name: str, rights: str, *, utf8: bool) -> bytes:
    """MYRIGHTS (RFC 4314 §3.8)."""
    return b"* MYRIGHTS %b %b\r\n" % (responses.mailbox(name, utf8=utf8), told(rights).encode())


async def _identify(session: Session, identifier: str) -> tuple[str, bool]:
    """(directory id or ANYONE, whether it is a negative one). Raises NotFound, DirectoryUnavailable."""
    negative = identifier.startswith("-")
    login = identifier[1:] if negative else identifier
    if login == acl.ANYONE:
        return acl.ANYONE, negative
    person = await session.server.people.find(login)
    if person is None:
        raise NotFound("no such person")
    return person, negative


def _owner(session: Session, place: Place) -> str:
    assert session.principal is not None
    return place.owner or session.principal.directory_id
