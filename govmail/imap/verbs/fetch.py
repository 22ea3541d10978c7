r"""FETCH and UID FETCH.

Invariants: one batch is in memory at a time; a slow reader makes the command wait, not the server grow; the implicit
\Seen is stored before the client hears of it.

RFC 3501 §6.4.5, §6.4.8; RFC 7162 §3.1.4, §3.2.6 (CHANGEDSINCE, VANISHED); RFC 3516 §4.3 (BINARY).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govmail.errors import StoreFailed, SyntaxProblem
from govmail.imap.binary import Encoded
from govmail.imap.enabling import use_modseq
from govmail.imap.fetching import Batch, Plan, Span, View, octets_of
from govmail.imap.state import OK, Result
from govmail.imap.view import SelectedView
from govmail.store import blobs, changes, messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.rights import ALL_FLAGS, ALL_KEYWORDS
from govmail.store.values import Flag, FlagChange, MailboxChanges
from govmail.wire.imap import commands, responses
from govmail.wire.imap.fetch import Item, Plain
from govmail.wire.imap.numset import NumSet, Range, Ranges, count, from_numbers, intersect, subtract, take
from govmail.wire.imap.results import Window

if TYPE_CHECKING:
    from govmail.imap.session import Session

UNKNOWN = Result(b"NO", "some parts have an encoding that is not known here", b"UNKNOWN-CTE")  # RFC 3516 §4.3
GONE = Result(b"OK", "some of the messages do not exist any more", b"EXPUNGEISSUED")  # RFC 5530 §3


def chosen(view: SelectedView, numbers: NumSet, *, by_uid: bool) -> tuple[Ranges, bool]:
    """UIDs of the set, and whether it names messages that others have expunged in the meantime.

    Raises SyntaxProblem for a sequence number that there is not (RFC 3501 §9: "it is an error").
    """
    if numbers.saved:
        return view.resolve_uids(view.saved), False
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
    server = session.server
    if command.vanished and not by_uid:
        raise SyntaxProblem("VANISHED is for UID FETCH")  # RFC 7162 §3.2.6
    if Plain.MODSEQ in command.items or command.since is not None:
        use_modseq(session)
    rest, gone = chosen(view, command.numbers, by_uid=by_uid)
    if command.since is not None:
        rest = await _changed(session, view, command, rest)
    if command.window is not None:
        rest = of_window(rest, command.window)
    plan = Plan(_items(command, by_uid=by_uid and not session.enabled.uid_only), read_only=not view.marks_seen, enabled=session.enabled)
    unknown = False
    while rest:
        batch = await _read(session, view, plan, rest)
        if batch.strange:
            await server.refresh_names(session)
            batch = await _read(session, view, plan, rest)
        news = None
        own: frozenset[int] = frozenset()
        if batch.unseen:
            flagged = await server.database.write(
                flag_and_look, view.account_id, view.mailbox_id, batch.unseen, "add", int(Flag.SEEN), (), view.modseq, view.uid_next
            )
            news, own = flagged.news, flagged.own
        await _send(session, batch)
        if news is not None:
            if session.enabled.condstore:  # with the new modseq, which the answer could not have (RFC 7162 §3.1)
                await session.send(flag_lines(session, view, flagged.made, by_uid=by_uid))
            await session.tell(news, expunges=False, with_uid=by_uid, own=own)
        gone = gone or batch.missing
        unknown = unknown or batch.unknown
        rest = batch.rest
    if unknown:
        return UNKNOWN
    return GONE if gone else OK


def flag_lines(session: Session, view: SelectedView, found: Sequence[FlagChange], *, by_uid: bool, silent: bool = False) -> Iterator[bytes]:
    """FETCH responses for changes of the client's own."""
    numbers = view.uids.numbers([one.uid for one in found])
    for number, one in zip(numbers, found, strict=True):
        yield view.flags_line(number, one, with_uid=by_uid, enabled=session.enabled, silent=silent)


def _items(command: commands.Fetch, *, by_uid: bool) -> tuple[Item, ...]:
    """With what the client gets unasked: the UID it asked by (RFC 3501 §6.4.8), the modseq with CHANGEDSINCE (RFC 7162 §3.1.4.1)."""
    items = command.items
    if by_uid and Plain.UID not in items:
        items = (Plain.UID, *items)
    if command.since is not None and Plain.MODSEQ not in items:
        plain = sum(isinstance(item, Plain) for item in items)
        items = (*items[:plain], Plain.MODSEQ, *items[plain:])
    return items


async def _changed(session: Session, view: SelectedView, command: commands.Fetch, uids: Ranges) -> Ranges:
    """Those of `uids` that CHANGEDSINCE leaves; says before what has vanished, if that is asked for."""
    assert command.since is not None
    later, vanished = await session.server.database.read(_later, view.account_id, view.mailbox_id, command.since, command.vanished)
    if command.vanished:
        asked = command.numbers.resolve(view.uid_next - 1)
        if vanished is None:  # not remembered: all that this session does not have, either (RFC 7162 §3.2.5.2)
            vanished = intersect(asked, ((1, view.uid_next - 1),)) if view.uid_next > 1 else ()
        # What the client still sees is told by VANISHED without EARLIER when its time comes.
        earlier = subtract(intersect(asked, vanished), view.uids.ranges)
        if earlier:
            session.write(responses.vanished(earlier, earlier=True))
    return intersect(uids, later)


def _later(conn: Connection, account_id: int, mailbox_id: int, since: int, with_vanished: bool) -> tuple[Ranges, Sequence[Range] | None]:
    later = from_numbers([one.uid for one in changes.changed(conn, account_id, mailbox_id, since)])
    return later, changes.vanished(conn, account_id, mailbox_id, since) if with_vanished else ()
async def push(session: Session, items: tuple[Item, ...], rest: Ranges) -> None:
    r"""FETCH responses that nobody has asked for just now (RFC 5465 §5.2); nothing becomes \Seen."""
    view = session.view
    assert view is not None
    missing = ((Plain.UID, not session.enabled.uid_only), (Plain.MODSEQ, session.enabled.condstore))
    items = (*(item for item, wanted in missing if wanted and item not in items), *items)
    plan = Plan(items, read_only=True, enabled=session.enabled)
    while rest:
        batch = await _read(session, view, plan, rest)
        await _send(session, batch)
        rest = batch.rest


async def _send(session: Session, batch: Batch) -> None:
    try:
        for piece in batch.pieces:
            if isinstance(piece, Span):
                await _stream(session, piece)
            elif isinstance(piece, Encoded):
                await _decode(session, piece)
            else:
                await session.send((piece,))
    except StoreFailed:
        session.close("internal error")  # in the middle of a response nothing else can be said
        raise


def of_window(uids: Ranges, window: Window) -> Ranges:
    """The messages of a set that a PARTIAL modifier leaves (RFC 9394 §3.3)."""
    low, high = sorted((abs(window.first), abs(window.last)))
    if window.first < 0:
        low, high = count(uids) - high + 1, count(uids) - low + 1
    return take(take(uids, max(high, 0))[0], max(low - 1, 0))[1]


async def _read(session: Session, view: SelectedView, plan: Plan, rest: Ranges) -> Batch:
    picture = View(view.account_id, view.mailbox_id, view.uids, view.names, view.recent_from)
    return await session.server.database.read(plan.read, picture, rest, session.server.database.blobs)


async def pieces_of(span: Span, files: BlobFiles) -> AsyncIterator[bytes]:
    """The octets of a span, piece by piece, read off the loop. Raises StoreFailed."""
    for octets, offset, length in octets_of(span):
        if length:
            octets = await asyncio.to_thread(blobs.read, span.ref, offset, length, files)
            if len(octets) != length:
                raise StoreFailed(private=f"{span.ref.path} is shorter than its row says")
        yield octets


async def _stream(session: Session, span: Span) -> None:
    """A body from its file."""
    async for octets in pieces_of(span, session.server.database.blobs):
        await session.send((octets,))


async def _decode(session: Session, part: Encoded) -> None:
    """A part from its file without its encoding: read once for its size, and once more to send it."""
    files = session.server.database.blobs
    size = await asyncio.to_thread(part.measure, files)
    if part.size_only:
        session.write(b"%d" % size)
        return
    session.write(b"~{%d}\r\n" % size)
    pieces = part.pieces(files)
    while (octets := await asyncio.to_thread(next, pieces, None)) is not None:
        size -= len(octets)
        await session.send((octets,))
    if size:
        raise StoreFailed(private=f"{part.ref.path} changed while it was read")


@dataclass(frozen=True, slots=True)
class Flagged:
    """What became of a change of flags. `made`: the messages as they are now; `left`: those that UNCHANGEDSINCE spared.

    `own`: UIDs whose news is the client's own doing.
    """

    made: Sequence[FlagChange]
    left: Sequence[FlagChange]
    news: MailboxChanges
    own: frozenset[int]


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
    unchanged_since: int | None = None,
    within: tuple[int, int] = (ALL_FLAGS, ALL_KEYWORDS),
) -> Flagged:
    """Change flags (those in `within`), then ask what has changed since `modseq`, in one transaction: the change holds the account, so
    nothing with a lower modseq can come later.

    With `silent` the client has no answer to see its changes in, so what others changed before is not its own (RFC 3501 §6.4.6).
    """
    theirs: set[int] = set()
    if silent:
        messages.hold(conn, account_id)  # or a change of others could come between this look and our own change
        theirs = {one.uid for one in changes.since(conn, account_id, mailbox_id, modseq, uid_next).flags}
    if unchanged_since is None:
        made = messages.store_flags(conn, account_id, mailbox_id, ranges, operation, flags, keywords, within=within)
        left: list[FlagChange] = []
    else:
        made, left = messages.store_flags_if_unchanged(conn, account_id, mailbox_id, ranges, unchanged_since, operation, flags, keywords, within=within)
    news = changes.since(conn, account_id, mailbox_id, modseq, uid_next)
    return Flagged(made, left, news, frozenset({one.uid for one in made} - theirs))
