"""Which mailbox is selected: SELECT, EXAMINE, CLOSE, UNSELECT, CHECK.

RFC 3501 §6.3.1, §6.3.2, §6.4.1, §6.4.2; RFC 9051 §6.3.2; RFC 7162 §3.1.2, §3.2.5 (CONDSTORE, QRESYNC); RFC 3691 (UNSELECT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govmail.imap import access
from govmail.imap.access import Place
from govmail.imap.enabling import use_modseq
from govmail.imap.flags import SYSTEM, FlagNames
from govmail.imap.state import OK, Result
from govmail.imap.view import NEVER, SelectedView, SharedMaps, UidMap
from govmail.store import changes, mailboxes, messages, rights
from govmail.store.connection import Connection
from govmail.store.keywords import keyword_names_in
from govmail.store.values import FlagChange, Mailbox
from govmail.wire.imap import commands, responses
from govmail.wire.imap.numset import Ranges, from_numbers, intersect, subtract

if TYPE_CHECKING:
    from govmail.imap.session import Session


@dataclass(frozen=True, slots=True)
class _Opened:
    """A mailbox as of one moment. `changed`, `vanished`: what a client must learn that knows it as of an earlier one."""

    mailbox: Mailbox
    uids: UidMap
    names: dict[int, str]
    first_unseen: int  # a UID, 0 when it was not looked for
    vanished: Ranges = ()
    changed: Sequence[FlagChange] = ()


def _open(conn: Connection, place: Place, command: commands.Select, maps: SharedMaps, with_unseen: bool) -> _Opened:
    account_id = place.account_id
    mailbox = mailboxes.get(conn, account_id, place.name)
    uids = maps.find(account_id, mailbox.mailbox_id, mailbox.highest_modseq)
    if uids is None:
        uids = UidMap(messages.uids(conn, account_id, mailbox.mailbox_id) if mailbox.messages else ())
    if place.own:
        names = messages.keyword_names(conn, account_id)
    else:  # words of the owner's other mailboxes are not told
        names = keyword_names_in(conn, account_id, mailbox.mailbox_id)
    unseen = messages.first_unseen(conn, account_id, mailbox.mailbox_id) if with_unseen and mailbox.unseen else 0
    asked = command.resync
    if asked is None or asked.uidvalidity != mailbox.uidvalidity:  # RFC 7162 §3.2.5.1: then there is nothing to build on
        return _Opened(mailbox, uids, names, unseen)
    vanished, changed = _resync(conn, mailbox, uids, asked)
    return _Opened(mailbox, uids, names, unseen, vanished, changed)


def _resync(conn: Connection, mailbox: Mailbox, uids: UidMap, asked: commands.Resync) -> tuple[Ranges, Sequence[FlagChange]]:
    """RFC 7162 §3.2.5.1, and §3.2.5.2 where what happened is not remembered: then all that the client has and we have not."""
    known = asked.known.resolve(mailbox.uid_next - 1) if asked.known else ((1, mailbox.uid_next - 1),) if mailbox.uid_next > 1 else ()
    remembered = changes.vanished(conn, mailbox.account_id, mailbox.mailbox_id, asked.modseq)
    if remembered is None:
        # Up to a message that stands where the client has it, nothing can be missing.
        agreed = max((uid for number, uid in asked.matches if uids.number(uid) == number), default=0)
        vanished = subtract(subtract(known, uids.ranges), ((1, agreed),) if agreed else ())
    else:
        vanished = intersect(remembered, known)
    since = asked.modseq if asked.modseq <= mailbox.highest_modseq else 0  # from the future: of a store that was lost
    changed = changes.changed(conn, mailbox.account_id, mailbox.mailbox_id, since)
    if asked.known is not None:
        chosen = intersect(from_numbers([one.uid for one in changed]), known)
        wanted = {uid for first, last in chosen for uid in range(first, last + 1)}
        changed = [one for one in changed if one.uid in wanted]
    return vanished, changed


async def select(session: Session, command: commands.Select, tag: bytes) -> Result:
    return await _enter(session, command, read_only=False)


async def examine(session: Session, command: commands.Select, tag: bytes) -> Result:
    return await _enter(session, command, read_only=True)


async def _enter(session: Session, command: commands.Select, *, read_only: bool) -> Result:
    was_selected = session.view is not None
    await session.leave_mailbox()  # RFC 3501 §6.3.1: also when the SELECT fails
    if was_selected:
        session.write(responses.untagged(b"OK", "previous mailbox is closed", b"CLOSED"))  # RFC 7162 §3.2.11, RFC 9051 §7.1
    if command.condstore:
        use_modseq(session)
    place = await access.locate(session, command.mailbox, "r")
    guest = access.enter(session, place)
    server, account_id, enabled = session.server, place.account_id, session.enabled
    try:
        opened = await server.database.read(_open, place, command, server.maps, not enabled.rev2)
    except BaseException:
        if guest is not None:
            guest.leave()
        raise
    read_only = read_only or not rights.changes_anything(place.rights)
    mailbox = opened.mailbox
    recent_from, claimed = mailbox.recent_uid, mailbox.recent_uid
    if enabled.rev2 or guest is not None:  # what the owner has not seen yet is no news to be taken away
        recent_from = claimed = NEVER
    elif not read_only and mailbox.recent_uid < mailbox.uid_next:
        told = server.told_elsewhere(session, account_id, mailbox.mailbox_id)
        recent_from, claimed = await server.database.write(mailboxes.claim_recent, account_id, mailbox.mailbox_id)
        recent_from = max(recent_from, told, server.told_elsewhere(session, account_id, mailbox.mailbox_id))
    view = SelectedView(
        account_id=account_id,
        mailbox_id=mailbox.mailbox_id,
        name=mailbox.name if place.own else place.called,
        read_only=read_only,
        uids=server.maps.share(account_id, mailbox.mailbox_id, mailbox.highest_modseq, opened.uids),
        modseq=mailbox.highest_modseq,
        uid_next=mailbox.uid_next,
        recent_from=recent_from,
        claimed=claimed,
        names=server.share_names(account_id, opened.names) if guest is None else FlagNames(opened.names),
        guest=guest,
    )
    session.set_view(view)
    write_flags(session, view.names, read_only=read_only)
    session.write(responses.exists(len(view.uids)))
    if not enabled.rev2:
        session.write(responses.recent(view.recent))
        if opened.first_unseen:
            session.write(responses.untagged(b"OK", "first unseen", b"UNSEEN %d" % view.uids.number(opened.first_unseen)))
    session.write(responses.untagged(b"OK", "UIDs are valid", b"UIDVALIDITY %d" % mailbox.uidvalidity))
    session.write(responses.untagged(b"OK", "next UID", b"UIDNEXT %d" % mailbox.uid_next))
    if "CONDSTORE" not in session.without:
        session.write(responses.untagged(b"OK", "highest", responses.highest_modseq(mailbox.highest_modseq)))
    session.write(responses.untagged(b"OK", "mailbox id", b"MAILBOXID (%b)" % mailbox.object_id))
    if enabled.rev2:  # RFC 9051 §6.3.2
        session.write(list_of(mailbox, command.mailbox) if guest is None else responses.list_line(b"LIST", [], view.name, utf8=True))
    if opened.vanished:
        session.write(responses.vanished(opened.vanished, earlier=True))
    await session.send(view.flags_line(view.uids.number(one.uid), one, with_uid=True, enabled=enabled) for one in opened.changed)
    return Result(b"OK", "", b"READ-ONLY" if read_only else b"READ-WRITE")


def list_of(mailbox: Mailbox, called: str) -> bytes:
    """LIST for one mailbox, to a client of IMAP4rev2; it learns the real name when it said another (RFC 9051 §6.3.9.7)."""
    attributes = [mailbox.special_use] if mailbox.special_use else []
    return responses.list_line(b"LIST", attributes, mailbox.name, utf8=True, old_name=called if called != mailbox.name else None)


def write_flags(session: Session, names: FlagNames, *, read_only: bool) -> None:
    """FLAGS, and which of them a client may change (RFC 3501 §7.1, §7.2.6)."""
    known = names.all()
    session.write(b"* FLAGS " + responses.flags(known) + b"\r\n")
    view = session.view
    if read_only or view is None:
        last: list[str] = []
    else:  # RFC 4314 §5.2: those that this session may change
        system, words = view.changeable
        last = [*(name for name, bit in SYSTEM.items() if system & bit), *((*names.names.values(), "\\*") if words else ())]
    permanent = responses.flags(last)
    session.write(responses.untagged(b"OK", "flags that last", b"PERMANENTFLAGS " + permanent))


async def close(session: Session, command: commands.Bare, tag: bytes) -> Result:
    r"""Expunges without saying so (RFC 3501 §6.4.2), unless read-only."""
    view = session.view
    assert view is not None
    if not view.read_only and view.may("e"):  # RFC 4314 §4: without the right CLOSE is no error
        await session.server.database.write(messages.expunge, view.account_id, view.mailbox_id, None, now=session.server.now())
    await session.leave_mailbox()
    return OK


async def unselect(session: Session, command: commands.Bare, tag: bytes) -> Result:
    await session.leave_mailbox()
    return OK


async def check(session: Session, command: commands.Bare, tag: bytes) -> Result:
    return OK
