"""Which mailbox is selected: SELECT, EXAMINE, CLOSE, UNSELECT, CHECK.

RFC 3501 §6.3.1, §6.3.2, §6.4.1, §6.4.2; RFC 3691 (UNSELECT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.imap.flags import FlagNames
from govmail.imap.state import OK, Result
from govmail.imap.view import SelectedView, SharedMaps, UidMap
from govmail.store import mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.values import Mailbox
from govmail.wire.imap import commands, responses

if TYPE_CHECKING:
    from govmail.imap.session import Session


def _open(conn: Connection, account_id: int, name: str, maps: SharedMaps) -> tuple[Mailbox, UidMap, dict[int, str]]:
    mailbox = mailboxes.get(conn, account_id, name)
    found = maps.find(account_id, mailbox.mailbox_id, mailbox.highest_modseq)
    if found is None:
        found = UidMap(messages.uids(conn, account_id, mailbox.mailbox_id) if mailbox.messages else ())
    return mailbox, found, messages.keyword_names(conn, account_id)


async def select(session: Session, command: commands.Select, tag: bytes) -> Result:
    return await _enter(session, command.mailbox, read_only=False)


async def examine(session: Session, command: commands.Select, tag: bytes) -> Result:
    return await _enter(session, command.mailbox, read_only=True)


async def _enter(session: Session, name: str, *, read_only: bool) -> Result:
    await session.leave_mailbox()  # RFC 3501 §6.3.1: also when the SELECT fails
    server, account_id = session.server, session.account_id
    mailbox, uids, names = await server.database.read(_open, account_id, name, server.maps)
    recent_from, claimed = mailbox.recent_uid, mailbox.recent_uid
    if not read_only and mailbox.recent_uid < mailbox.uid_next:
        recent_from, claimed = await server.database.write(mailboxes.claim_recent, account_id, mailbox.mailbox_id)
    view = SelectedView(
        account_id=account_id,
        mailbox_id=mailbox.mailbox_id,
        name=mailbox.name,
        read_only=read_only,
        uids=server.maps.share(account_id, mailbox.mailbox_id, mailbox.highest_modseq, uids),
        modseq=mailbox.highest_modseq,
        uid_next=mailbox.uid_next,
        recent_from=recent_from,
        claimed=claimed,
        names=server.share_names(account_id, names),
    )
    session.set_view(view)
    write_flags(session, view.names, read_only=read_only)
    session.write(responses.exists(len(view.uids)))
    session.write(responses.recent(view.recent))
    session.write(responses.untagged(b"OK", "UIDs are valid", b"UIDVALIDITY %d" % mailbox.uidvalidity))
    session.write(responses.untagged(b"OK", "next UID", b"UIDNEXT %d" % mailbox.uid_next))
    return Result(b"OK", "", b"READ-ONLY" if read_only else b"READ-WRITE")


def write_flags(session: Session, names: FlagNames, *, read_only: bool) -> None:
    """FLAGS, and which of them a client may change (RFC 3501 §7.1, §7.2.6)."""
    known = names.all()
    session.write(b"* FLAGS " + responses.flags(known) + b"\r\n")
    permanent = responses.flags(() if read_only else [*known, "\\*"])
    session.write(responses.untagged(b"OK", "flags that last", b"PERMANENTFLAGS " + permanent))


async def close(session: Session, command: commands.Bare, tag: bytes) -> Result:
    r"""Expunges without saying so (RFC 3501 §6.4.2), unless read-only."""
    view = session.view
    assert view is not None
    if not view.read_only:
        await session.server.database.write(messages.expunge, view.account_id, view.mailbox_id, None, now=session.server.now())
    await session.leave_mailbox()
    return OK


async def unselect(session: Session, command: commands.Bare, tag: bytes) -> Result:
    await session.leave_mailbox()
    return OK


async def check(session: Session, command: commands.Bare, tag: bytes) -> Result:
    return OK
