r"""What changes messages of the selected mailbox: STORE, COPY, MOVE, EXPUNGE, and their UID forms.

Invariants: change and question about news are one transaction each, so nothing falls between them.

RFC 3501 §6.4.3, §6.4.6, §6.4.7; RFC 4315 (UIDPLUS); RFC 6851 (MOVE); RFC 7162 §3.1.3, §3.2.7 (UNCHANGEDSINCE, HIGHESTMODSEQ).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govmail.errors import NoSuchMailbox, NotPermitted
from govmail.imap import access
from govmail.imap import flags as names
from govmail.imap.access import Place
from govmail.imap.enabling import use_modseq
from govmail.imap.state import OK, Result
from govmail.imap.verbs.fetch import GONE, chosen, flag_and_look, flag_lines
from govmail.imap.view import SelectedView
from govmail.store import changes, mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.values import CopyResult, MailboxChanges
from govmail.wire.imap import commands, responses
from govmail.wire.imap.numset import Ranges, from_numbers

if TYPE_CHECKING:
    from govmail.imap.session import Session

READ_ONLY = Result(b"NO", "mailbox is read-only", b"READ-ONLY")
TRY_CREATE = Result(b"NO", "no such mailbox", b"TRYCREATE")


async def store(session: Session, command: commands.Store, tag: bytes) -> Result:
    return await _store(session, command, by_uid=False)


async def uid_store(session: Session, command: commands.Store, tag: bytes) -> Result:
    return await _store(session, command, by_uid=True)


async def _store(session: Session, command: commands.Store, *, by_uid: bool) -> Result:
    view = _writable(session)
    if view is None:
        return READ_ONLY
    if command.unchanged_since is not None:
        use_modseq(session)
    uids, gone = chosen(view, command.numbers, by_uid=by_uid)
    if not uids:
        return GONE if gone else OK
    bits, keywords = names.split(command.flags)
    system, words = within = view.changeable
    if not (system or words) or (command.flags and not (bits & system or (keywords and words))):
        raise NotPermitted  # RFC 4314 §4: one flag that may be changed is enough
    if not words:
        keywords = ()
    done = await session.server.database.write(
        flag_and_look, view.account_id, view.mailbox_id, uids, command.operation, bits, keywords, view.modseq, view.uid_next,
        silent=command.silent, unchanged_since=command.unchanged_since,
        within=within,
    )  # fmt: skip
    if any(one.keywords & ~view.names.known for one in (*done.made, *done.left)):
        await session.server.refresh_names(session)
    if not command.silent or session.enabled.condstore:
        await session.send(flag_lines(session, view, done.made, by_uid=by_uid, silent=command.silent))
    told = {one.uid for one in done.news.flags}
    await session.send(flag_lines(session, view, [one for one in done.left if one.uid not in told], by_uid=by_uid))
    failed = from_numbers(view.uids.numbers([one.uid for one in done.left]))
    await session.tell(done.news, expunges=by_uid, with_uid=by_uid, own=done.own)
    if done.left:
        numbers = from_numbers([one.uid for one in done.left]) if by_uid else failed
        return Result(b"OK", "some of the messages have changed", responses.modified(numbers))
    return GONE if gone else OK


async def copy(session: Session, command: commands.Copy, tag: bytes) -> Result:
    return await _copy(session, command, by_uid=False)


async def uid_copy(session: Session, command: commands.Copy, tag: bytes) -> Result:
    return await _copy(session, command, by_uid=True)


async def _copy(session: Session, command: commands.Copy, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    uids, gone = chosen(view, command.numbers, by_uid=by_uid)
    try:
        place = await access.locate(session, command.mailbox, "i")
        result, _ = await session.server.database.write(_transfer, messages.copy, view, uids, place, session.server.now())
    except NoSuchMailbox:
        return TRY_CREATE
    if not result.source:
        return GONE if gone else OK
    return Result(b"OK", "", responses.copy_uid(result.uidvalidity, result.source, result.target))


async def move(session: Session, command: commands.Copy, tag: bytes) -> Result:
    return await _move(session, command, by_uid=False)


async def uid_move(session: Session, command: commands.Copy, tag: bytes) -> Result:
    return await _move(session, command, by_uid=True)


async def _move(session: Session, command: commands.Copy, *, by_uid: bool) -> Result:
    view = _writable(session)
    if view is None:
        return READ_ONLY
    uids, gone = chosen(view, command.numbers, by_uid=by_uid)
    try:
        place = await access.locate(session, command.mailbox, "i")
        result, news = await session.server.database.write(_transfer, messages.move, view, uids, place, session.server.now())
    except NoSuchMailbox:
        return TRY_CREATE
    if result.source:
        # RFC 6851 §4.3: COPYUID comes untagged, before the EXPUNGEs
        session.write(responses.untagged(b"OK", "moved", responses.copy_uid(result.uidvalidity, result.source, result.target)))
    await session.tell(news, expunges=True, with_uid=by_uid)
    if gone or not result.source:
        return GONE if gone else OK
    return expunged(session, view)


def _transfer(
    conn: Connection, how: Callable[..., CopyResult], view: SelectedView, uids: Ranges, place: Place, now: int
) -> tuple[CopyResult, MailboxChanges]:
    target = mailboxes.get(conn, place.account_id, place.name)
    result = how(conn, view.account_id, view.mailbox_id, uids, place.account_id, target.mailbox_id, now=now, within=place.flags)
    return result, changes.since(conn, view.account_id, view.mailbox_id, view.modseq, view.uid_next)


async def expunge(session: Session, command: commands.Expunge, tag: bytes) -> Result:
    view = _writable(session)
    if view is None:
        return READ_ONLY
    uids: Ranges = ()
    if command.numbers is not None:
        uids, _ = chosen(view, command.numbers, by_uid=True)
    elif view.uids:
        uids = ((1, view.uids.largest),)  # not what the client has never seen
    if uids:
        any_gone, news = await session.server.database.write(_expunge, view, uids, session.server.now())
        await session.tell(news, expunges=True, with_uid=command.numbers is not None)
        if any_gone:
            return expunged(session, view)
    return OK


def expunged(session: Session, view: SelectedView) -> Result:
    """After messages went: how far the client now knows the mailbox (RFC 7162 §3.2.7; for MOVE RFC 6851 §4.4).

    Not for one that does not want to hear of flags (RFC 5465): it would believe that it knows them.
    """
    knows_all = session.watch is None or session.watch.tells_flags
    return Result(code=responses.highest_modseq(view.modseq)) if session.enabled.condstore and knows_all else OK


def _expunge(conn: Connection, view: SelectedView, uids: Ranges, now: int) -> tuple[bool, MailboxChanges]:
    gone = messages.expunge(conn, view.account_id, view.mailbox_id, uids, now=now)
    return bool(gone), changes.since(conn, view.account_id, view.mailbox_id, view.modseq, view.uid_next)


def _writable(session: Session) -> SelectedView | None:
    view = session.view
    assert view is not None
    return None if view.read_only else view
