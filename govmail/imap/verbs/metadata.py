"""Annotations: GETMETADATA, SETMETADATA.

Invariants: /private entries are their reader's alone, in every mailbox; of the server, /shared entries are the operators'.

RFC 5464.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from govmail.errors import LimitReached, NotPermitted
from govmail.imap.access import Place, locate
from govmail.imap.state import OK, Result
from govmail.store import annotation, mailboxes
from govmail.store.connection import Connection
from govmail.store.rights import ALL
from govmail.wire.imap import responses
from govmail.wire.imap.management import GetMetadata, SetMetadata

if TYPE_CHECKING:
    from govmail.config import Limits
    from govmail.imap.session import Session


async def get_metadata(session: Session, command: GetMetadata, tag: bytes) -> Result:
    """RFC 5464 §3.3: reading needs l and r."""
    place = await locate(session, command.mailbox, "lr") if command.mailbox else _server(session)
    assert session.principal is not None
    known = await session.server.database.read(_read, place, session.principal.directory_id)
    if not command.mailbox:
        known["/shared/admin"] = b"mailto:postmaster@" + session.server.hostname.encode()
    pairs: list[tuple[str, bytes | None]] = []
    longest = 0
    for entry, value in chosen(command.entries, command.depth, known):
        if value is not None and command.max_size is not None and len(value) > command.max_size:
            longest = max(longest, len(value))
        else:
            pairs.append((entry, value))
    if pairs:
        session.write(metadata_line(command.mailbox, pairs, utf8=session.enabled.utf8))
    return Result(code=b"METADATA LONGENTRIES %d" % longest) if longest else OK


async def set_metadata(session: Session, command: SetMetadata, tag: bytes) -> Result:
    """RFC 5464 §3.3: /private needs l and r, /shared l and w."""
    shared = any(entry.startswith("/shared/") for entry, _ in command.values)
    private = any(entry.startswith("/private/") for entry, _ in command.values)
    limits = session.server.limits
    if command.mailbox:
        place = await locate(session, command.mailbox, "l" + "r" * private + "w" * shared)
    elif shared:
        raise NotPermitted
    else:
        place = _server(session)
    if any(value is not None and len(value) > limits.annotation_octets for _, value in command.values):
        return Result(b"NO", "value too large", b"METADATA MAXSIZE %d" % limits.annotation_octets)
    assert session.principal is not None
    try:
        await session.server.database.write(_write, place, session.principal.directory_id, command.values, limits)
    except LimitReached:
        return Result(b"NO", "too many entries", b"METADATA TOOMANY")
    return OK


def chosen(entries: Sequence[str], depth: int, known: Mapping[str, bytes]) -> list[tuple[str, bytes | None]]:
    """The entries that were asked for – None where there is no value – and those within `depth` levels below, that exist."""
    found: dict[str, bytes | None] = {}
    for entry in entries:
        found[entry] = known.get(entry)
        if depth:
            below = [one for one in known if one.startswith(entry + "/") and one[len(entry) :].count("/") <= depth]
            found.update((one, known[one]) for one in below)
            if found[entry] is None and below:
                del found[entry]
    return list(found.items())


def metadata_line(name: str, pairs: Sequence[tuple[str, bytes | None]], *, utf8: bool) -> bytes:
    """METADATA with values (RFC 5464 §4.4.1)."""
    words = b" ".join([b"%b %b" % (responses.astring(entry.encode()), responses.nstring(value)) for entry, value in pairs])
    return b"* METADATA %b (%b)\r\n" % (responses.mailbox(name, utf8=utf8) if name else b'""', words)


def _server(session: Session) -> Place:
    return Place(session.account_id, "", ALL)


def _mailbox_id(conn: Connection, place: Place) -> int:
    return mailboxes.get(conn, place.account_id, place.name).mailbox_id if place.name else annotation.SERVER


def _read(conn: Connection, place: Place, reader: str) -> dict[str, bytes]:
    mailbox_id = _mailbox_id(conn, place)
    return annotation.read(conn, place.account_id, [mailbox_id], reader).get(mailbox_id, {})


def _write(conn: Connection, place: Place, reader: str, values: Sequence[tuple[str, bytes | None]], limits: Limits) -> None:
    annotation.write(conn, place.account_id, _mailbox_id(conn, place), reader, values, limits)
