r"""FETCH and UID FETCH.

Invariants: one batch is in memory at a time; a slow reader makes the command wait, not the server grow; the implicit
\Seen is stored before the client hears of it.

RFC 3501 §6.4.5, §6.4.8.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from govmail.errors import StoreFailed, SyntaxProblem
from govmail.imap.fetching import Batch, Plan, Span, View, octets_of
from govmail.imap.state import OK, Result
from govmail.imap.view import SelectedView
from govmail.store import blobs, changes, messages
from govmail.store.connection import Connection
from govmail.store.values import Flag, FlagChange, MailboxChanges
from govmail.wire.imap import commands
from govmail.wire.imap.fetch import Plain
from govmail.wire.imap.numset import NumSet, Ranges

if TYPE_CHECKING:
    from govmail.imap.session import Session

GONE = Result(b"OK", "some of the messages do not exist any more", b"EXPUNGEISSUED")  # RFC 5530 §3


def chosen(view: SelectedView, numbers: NumSet, *, by_uid: bool) -> tuple[Ranges, bool]:
    """UIDs of the set, and whether it names messages that others have expunged in the meantime.

    Raises SyntaxProblem for a sequence number that there is not (RFC 3501 §9: "it is an error").
    """
    if by_uid:
        return view.resolve_uids(numbers.resolve(view.uids.largest)), False
    exists = len(view.uids)
    if numbers.highest > exists or not exists:
        raise SyntaxProblem("no such message")
    wanted = numbers.resolve(exists)
    uids = view.resolve(wanted)
    return uids, bool(view.vanished) and uids != view.uids.uids(wanted)


async def fetch(session: Session, command: commands.Fetch, tag: bytes) -> Result:
    return await _fetch(session, command, by_uid=False)


async def uid_fetch(session: Session, command: commands.Fetch, tag: bytes) -> Result:
    return await _fetch(session, command, by_uid=True)


async def _fetch(session: Session, command: commands.Fetch, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    items = command.items if not by_uid or Plain.UID in command.items else (Plain.UID, *command.items)
    rest, gone = chosen(view, command.numbers, by_uid=by_uid)
    plan = Plan(items, read_only=view.read_only)
    server = session.server
    while rest:
        batch = await _read(session, view, plan, rest)
        if batch.strange:
            await server.refresh_names(session)
            batch = await _read(session, view, plan, rest)
        news = None
        own: frozenset[int] = frozenset()
        if batch.unseen:
            _, news, own = await server.database.write(
                flag_and_look, view.account_id, view.mailbox_id, batch.unseen, "add", int(Flag.SEEN), (), view.modseq, view.uid_next
            )
        for piece in batch.pieces:
            if isinstance(piece, Span):
                await _stream(session, piece)
            else:
                await session.send((piece,))
        if news is not None:
            await session.tell(news, expunges=False, with_uid=by_uid, own=own)
        gone = gone or batch.missing
        rest = batch.rest
    return GONE if gone else OK


async def _read(session: Session, view: SelectedView, plan: Plan, rest: Ranges) -> Batch:
    picture = View(view.account_id, view.mailbox_id, view.uids, view.names, view.recent_from)
    return await session.server.database.read(plan.read, picture, rest, session.server.database.blobs)


async def _stream(session: Session, span: Span) -> None:
    """A body from its file, piece by piece, read off the loop."""
    files = session.server.database.blobs
    for octets, offset, length in octets_of(span):
        if length:
            octets = await asyncio.to_thread(blobs.read, span.ref, offset, length, files)
            if len(octets) != length:
                session.close("internal error")  # the literal was announced; nothing else can be said in it
                raise StoreFailed(private=f"{span.ref.path} is shorter than its row says")
        await session.send((octets,))


def flag_and_look(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Ranges,
    operation: commands.Operation,
    flags: int,
    keywords: tuple[str, ...],
    modseq: int,
    uid_next: int,
    *,
    silent: bool = False,
) -> tuple[list[FlagChange], MailboxChanges, frozenset[int]]:
    """Change flags, then ask what has changed since `modseq`, in one transaction: the change holds the account, so
    nothing with a lower modseq can come later.

    The last value: UIDs whose news is the client's own doing. With `silent` it has no answer to see them in, so those that
    others changed before are not among them (RFC 3501 §6.4.6).
    """
    theirs = {one.uid for one in changes.since(conn, account_id, mailbox_id, modseq, uid_next).flags} if silent else set()
    made = messages.store_flags(conn, account_id, mailbox_id, ranges, operation, flags, keywords)
    return made, changes.since(conn, account_id, mailbox_id, modseq, uid_next), frozenset({one.uid for one in made} - theirs)
