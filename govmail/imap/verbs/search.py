"""SEARCH, SORT, THREAD with their UID forms, CANCELUPDATE, UIDBATCHES.

RFC 3501 §6.4.4, §6.4.8; RFC 4731 (ESEARCH); RFC 5182 (SEARCHRES); RFC 7162 §3.1.5, §3.1.6 (MODSEQ); RFC 5256 (SORT, THREAD); RFC 5267 (CONTEXT, ESORT);
RFC 9394 (PARTIAL); draft-ietf-mailmaint-imap-uidbatches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from govmail.errors import MailError
from govmail.imap import threads, updates
from govmail.imap.enabling import use_modseq
from govmail.imap.results import Results
from govmail.imap.searching import Question, ask, find, find_rows
from govmail.imap.sorting import in_order
from govmail.imap.state import OK, Result
from govmail.imap.view import SelectedView, UidMap
from govmail.store import messages
from govmail.store.connection import Connection
from govmail.wire.imap import commands, responses
from govmail.wire.imap.numset import Range, Ranges, from_numbers
from govmail.wire.imap.results import ALL, Order, Returns
from govmail.wire.imap.search import BadCharset, Key, asks_modseq

if TYPE_CHECKING:
    from govmail.imap.session import Session

LEAST_BATCH = 500  # messages; a server may refuse smaller batches (draft-ietf-mailmaint-imap-uidbatches §3.1)


async def search(session: Session, command: commands.Search, tag: bytes) -> Result:
    return await _search(session, command, tag, by_uid=False)


async def uid_search(session: Session, command: commands.Search, tag: bytes) -> Result:
    return await _search(session, command, tag, by_uid=True)


async def _search(session: Session, command: commands.Search, tag: bytes, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    if command.key is None:
        keep(view, ())  # RFC 5182 §2.1: what is refused with NO leaves an empty `$`
        raise BadCharset
    result = await look_for(session, view, command.key, command.returns)
    if command.returns is not None:
        answer(session, view, tag, command.key, result, command.returns, by_uid=by_uid)
    elif session.enabled.rev2:  # RFC 9051 §6.4.4: never SEARCH
        answer(session, view, tag, command.key, result, ALL, by_uid=by_uid)
    else:
        session.write(responses.search_line(_shown(view.uids, result.found, by_uid=by_uid), result.modseq))
    return OK


async def sort(session: Session, command: commands.Sort, tag: bytes) -> Result:
    return await _sort(session, command, tag, by_uid=False)


async def uid_sort(session: Session, command: commands.Sort, tag: bytes) -> Result:
    return await _sort(session, command, tag, by_uid=True)


async def _sort(session: Session, command: commands.Sort, tag: bytes, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    result = await look_for(session, view, command.key, command.returns, command.order)
    if command.returns is None:
        session.write(responses.sort_line(_shown(view.uids, result.found, by_uid=by_uid), result.modseq))
    else:
        answer(session, view, tag, command.key, result, command.returns, by_uid=by_uid, order=command.order)
    return OK


async def thread(session: Session, command: commands.Thread, tag: bytes) -> Result:
    return await _thread(session, command, by_uid=False)


async def uid_thread(session: Session, command: commands.Thread, tag: bytes) -> Result:
    return await _thread(session, command, by_uid=True)


async def _thread(session: Session, command: commands.Thread, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    question = ask(session.server, view, command.key)
    session.write(await session.server.database.read(threads.line, question, command.algorithm, by_uid=by_uid))
    return OK


# -- extended results -----------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """`found`: UIDs, in their order. `modseq`: the highest of what is told, 0 where MODSEQ was not asked for."""

    found: Sequence[int]
    modseq: int


async def look_for(session: Session, view: SelectedView, key: Key, returns: Returns | None, order: Order | None = None) -> Found:
    """Search the selected mailbox. When that cannot be done, `$` is empty (RFC 5182 §2.1)."""
    if asks_modseq(key):
        use_modseq(session)
    try:
        return await session.server.database.read(_look, ask(session.server, view, key), returns, order)
    except MailError:
        if returns is not None and returns.save:
            keep(view, ())
        raise


def _look(conn: Connection, question: Question, returns: Returns | None, order: Order | None) -> Found:
    found = find(conn, question) if order is None else [row.uid for row in in_order(conn, find_rows(conn, question), order)]
    if not asks_modseq(question.key):
        return Found(found, 0)
    # With MIN, MAX or PARTIAL alone, of those messages (RFC 7162 §3.1.10): of the same that would be saved.
    told = from_numbers(sorted(found if returns is None else _worth_saving(found, returns)))
    return Found(found, messages.highest_modseq(conn, question.view.account_id, question.view.mailbox_id, told))


def answer(
    session: Session, view: SelectedView, tag: bytes, key: Key, result: Found, returns: Returns,
    *, by_uid: bool, order: Order | None = None, where: bytes = b"",
) -> None:  # fmt: skip
    """Say and keep what RETURN asks for."""
    if returns.update:
        updates.start(session, tag, key, result.found, order, uid=by_uid)
    if returns.save:
        keep(view, from_numbers(sorted(_worth_saving(result.found, returns))))
    if returns.min or returns.max or returns.all or returns.count or returns.window is not None:
        items = data(_shown(view.uids, result.found, by_uid=by_uid), returns, result.modseq)
        session.write(responses.esearch(tag, by_uid, items, where=where))


def data(shown: Sequence[int], returns: Returns, modseq: int = 0) -> list[tuple[bytes, bytes]]:
    """search-return-data (RFC 4731 §3.1): MIN, MAX and ALL only when something was found."""
    items: list[tuple[bytes, bytes]] = []
    if returns.min and shown:
        items.append((b"MIN", b"%d" % shown[0]))  # of a sorted result: the first and the last (RFC 5267 §3.1)
    if returns.max and shown:
        items.append((b"MAX", b"%d" % shown[-1]))
    if returns.count:
        items.append((b"COUNT", b"%d" % len(shown)))
    if returns.window is not None:
        inside = responses.print_list(returns.window.of(shown)) or b"NIL"
        items.append((b"PARTIAL", b"(%b %b)" % (bytes(returns.window), inside)))
    if returns.all and shown:
        items.append((b"ALL", responses.print_list(shown)))
    if modseq and shown:
        items.append((b"MODSEQ", b"%d" % modseq))
    return items


def keep(view: SelectedView, saved: Ranges) -> None:
    """What `$` means from now on."""
    view.results = view.results or Results()
    view.results.saved = saved


def _worth_saving(found: Sequence[int], returns: Returns) -> set[int]:
    """RFC 5182 §2.4, RFC 9394 §3.2: with MIN, MAX, PARTIAL and nothing more, only those are saved."""
    if returns.all or returns.count or not (returns.min or returns.max or returns.window is not None):
        return set(found)
    chosen = set(returns.window.of(found)) if returns.window is not None else set()
    if found and returns.min:
        chosen.add(found[0])
    if found and returns.max:
        chosen.add(found[-1])
    return chosen


def _shown(uids: UidMap, found: Sequence[int], *, by_uid: bool) -> Sequence[int]:
    """UIDs in any order as the client wants to see them."""
    if by_uid:
        return found
    return [uids.number(uid) for uid in found]


# -- the rest -------------------------------------------------------------------------------------------------------


async def cancel_update(session: Session, command: commands.CancelUpdate, tag: bytes) -> Result:
    """Of tags that are not known nothing is said: such updates have ended already."""
    view = session.view
    assert view is not None
    if view.results is not None:
        for one in command.tags:
            view.results.contexts.pop(one, None)
    return OK


async def uid_batches(session: Session, command: commands.UidBatches, tag: bytes) -> Result:
    view = session.view
    assert view is not None
    if command.size < LEAST_BATCH:
        return Result(b"NO", f"batches have at least {LEAST_BATCH} messages", b"TOOFEW")
    if command.window is not None and command.window[0] > command.window[1]:
        return Result(b"BAD", "a range of batches goes upwards", b"CLIENTBUG")
    session.write(responses.uid_batches(tag, batches(view.uids, command.size, command.window)))
    return OK


def batches(uids: UidMap, size: int, window: Range | None) -> list[Range]:
    """(higher, lower) UID of each batch, the newest first. They leave no gap, and the last one goes down to UID 1."""
    exists = len(uids)
    first, last = window or (1, exists)
    found: list[Range] = []
    for number in range(first, min(last, -(-exists // size)) + 1):
        above, low = exists - (number - 1) * size, exists - number * size + 1
        higher = uids.largest if number == 1 else uids.uids([(above + 1, above + 1)])[0][0] - 1
        found.append((higher, uids.uids([(low, low)])[0][0] if low > 1 else 1))
    return found
