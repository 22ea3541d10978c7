"""Searches that are kept up to date: what a client is told when the mailbox changes under their results.

Invariants
- The client's list is the same as ours after each response: positions are those after what was said before.
- A message that vanishes is removed while its number still holds, one that arrives is added after its EXISTS.
- A change costs the search of what has changed, and in a sorted result some comparisons for each message that comes in.

RFC 5267 §4.3.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from govmail.errors import MailError
from govmail.imap.results import Context, Results, pinned
from govmail.imap.searching import Question, ask, find
from govmail.imap.sorting import in_order
from govmail.imap.view import SelectedView
from govmail.store import search as store_search
from govmail.store.connection import Connection
from govmail.wire.imap import responses
from govmail.wire.imap.numset import NumSet, Ranges, from_numbers, intersect
from govmail.wire.imap.results import Order
from govmail.wire.imap.search import And, Key, Numbers

if TYPE_CHECKING:
    from govmail.imap.session import Session

FEW = 16  # messages whose places in a sorted result are looked for one by one

Places = list[tuple[int, int]]
"""(position from 1, UID)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has become of one result."""

    found: array[int]
    removed: Places
    added: Places


def start(session: Session, tag: bytes, key: Key, found: Sequence[int], order: Order | None, *, uid: bool) -> None:
    """Keep this result up to date, or say that it is not (RFC 5267 §4.3.1)."""
    view = session.view
    assert view is not None
    results = view.results = view.results or Results()
    if len(results.contexts) >= session.server.limits.imap_updates and tag not in results.contexts:
        session.write(refusal(tag))
        return
    results.contexts[tag] = Context(uid, pinned(key, view.uids, view.saved), order, array("I", found))


def refusal(tag: bytes) -> bytes:
    return responses.untagged(b"NO", "no updates for this search", b'NOUPDATE "%b"' % tag)


def removed(view: SelectedView, vanished: Ranges) -> bytes:
    """What is said of messages that are gone, before EXPUNGE is."""
    assert view.results is not None
    gone = intersect(vanished, view.uids.ranges)
    if not gone:
        return b""
    uids = {uid for first, last in gone for uid in range(first, last + 1)}
    out = []
    for tag, context in view.results.contexts.items():
        found, places = _without(context.found, uids)
        if places:
            context.found = found
            out.append(_line(view, tag, context, Change(found, places, [])))
    return b"".join(out)


async def tell(session: Session, view: SelectedView, changed: Sequence[int]) -> None:
    """Search again among the messages that have changed or come, and say what is different."""
    if not changed or view.results is None:
        return
    among = Numbers(NumSet(from_numbers(sorted(set(changed)))), uid=True)
    contexts = list(view.results.contexts.items())
    question = ask(session.server, view, among)
    try:
        changes = await session.server.database.read(_changes, question, [context for _, context in contexts])
    except MailError:  # what the client has is no longer right, and it must know (RFC 5267 §4.3.1)
        session.write(b"".join([refusal(tag) for tag, _ in contexts]))
        view.results.contexts.clear()
        return
    for (tag, context), change in zip(contexts, changes, strict=True):
        if change.removed or change.added:
            context.found = change.found
            session.write(_line(view, tag, context, change))


def _changes(conn: Connection, question: Question, contexts: Sequence[Context]) -> list[Change]:
    """`question` asks for the messages that have changed."""
    among = set(find(conn, question))
    return [_change(conn, question, context, among) for context in contexts]


def _change(conn: Connection, question: Question, context: Context, among: set[int]) -> Change:
    holds = set(find(conn, replace(question, key=And((question.key, context.key)))))
    found, gone = _without(context.found, among - holds)
    new = sorted(holds - _known(found, context.order, holds))
    if context.order is not None and len(new) > FEW:
        return _sorted_anew(conn, question, found, gone, context.order, set(new))
    added: Places = []
    for uid in new:
        at = _place(conn, question, found, context.order, uid) if context.order is not None else bisect_left(found, uid)
        found.insert(at, uid)
        added.append((at + 1, uid))
    return Change(found, gone, added)


def _sorted_anew(conn: Connection, question: Question, found: array[int], gone: Places, order: Order, new: set[int]) -> Change:
    """Where finding each place would cost more than sorting all. Messages that are gone from the store are removed now."""
    rows = store_search.candidates(conn, question.view.account_id, question.view.mailbox_id, from_numbers(sorted({*found, *new})))
    result = array("I", [row.uid for row in in_order(conn, rows, order)])
    _, lost = _without(found, set(found).difference(result))
    return Change(result, [*gone, *lost], [(at + 1, uid) for at, uid in enumerate(result) if uid in new])


def _known(found: array[int], order: Order | None, uids: Iterable[int]) -> set[int]:
    """Which of `uids` are in the result already."""
    if order is not None:
        return set(found).intersection(uids)
    return {uid for uid in uids if (at := bisect_left(found, uid)) < len(found) and found[at] == uid}


def _without(found: array[int], uids: set[int]) -> tuple[array[int], Places]:
    """The result without these messages, and where they stood, the last first: so no place moves another."""
    places = [(at + 1, uid) for at, uid in enumerate(found) if uid in uids] if uids else []
    if not places:
        return found[:], []
    return array("I", [uid for uid in found if uid not in uids]), places[::-1]


def _place(conn: Connection, question: Question, found: array[int], order: Order, uid: int) -> int:
    """Where a message belongs in a sorted result: a binary search that reads what it compares."""
    low, high = 0, len(found)
    while low < high:
        middle = (low + high) // 2
        pair = sorted((found[middle], uid))
        rows = store_search.candidates(conn, question.view.account_id, question.view.mailbox_id, [(one, one) for one in pair])
        if len(rows) < 2:  # one of them is gone since; it will be told, and its place does not matter
            low = middle + 1
        elif in_order(conn, rows, order)[0].uid == uid:
            high = middle
        else:
            low = middle + 1
    return low


def _line(view: SelectedView, tag: bytes, context: Context, change: Change) -> bytes:
    items = []
    for name, places in ((b"REMOVEFROM", change.removed), (b"ADDTO", change.added)):
        if not places:
            continue
        shown = [(at, uid if context.uid else view.uids.number(uid)) for at, uid in places]
        if context.order is None:  # 0: the list has no order (RFC 5267 §4.3.3)
            items.append((name, b"(0 %b)" % responses.print_list(sorted(number for _, number in shown))))
        else:
            items.append((name, b"(%b)" % b" ".join([b"%d %d" % one for one in shown])))
    return responses.esearch(tag, context.uid, items)
