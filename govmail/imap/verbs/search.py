"""SEARCH and UID SEARCH.

RFC 3501 §6.4.4, §6.4.8, §7.2.5; RFC 9051 §6.4.4 (ESEARCH); RFC 7162 §3.1.5, §3.1.6 (MODSEQ).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.config import Limits
from govmail.imap.enabling import use_modseq
from govmail.imap.fetching import View
from govmail.imap.searching import find
from govmail.imap.state import OK, Result
from govmail.store import messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.wire.imap import commands, responses
from govmail.wire.imap.numset import Ranges, from_numbers, print_ranges
from govmail.wire.imap.search import Key, asks_modseq

if TYPE_CHECKING:
    from govmail.imap.session import Session


async def search(session: Session, command: commands.Search, tag: bytes) -> Result:
    return await _search(session, command, tag, by_uid=False)


async def uid_search(session: Session, command: commands.Search, tag: bytes) -> Result:
    return await _search(session, command, tag, by_uid=True)


async def _search(session: Session, command: commands.Search, tag: bytes, *, by_uid: bool) -> Result:
    view = session.view
    assert view is not None
    if asks_modseq(command.key):
        use_modseq(session)
    picture = View(view.account_id, view.mailbox_id, view.uids, view.names, view.recent_from)
    server = session.server
    found, modseq = await server.database.read(_find, picture, view.vanished, command.key, server.limits, server.database.blobs)
    numbers = found if by_uid else view.uids.numbers(found)
    if session.enabled.rev2:  # RFC 9051 §6.4.4: never SEARCH
        session.write(responses.esearch(tag, by_uid, _items(from_numbers(numbers), modseq)))
    else:
        session.write(responses.search_line(numbers, modseq))
    return OK


def _items(found: Ranges, modseq: int) -> list[tuple[bytes, bytes]]:
    items = [(b"ALL", print_ranges(found))] if found else []
    return [*items, (b"MODSEQ", b"%d" % modseq)] if modseq else items


def _find(conn: Connection, view: View, hidden: Ranges, key: Key, limits: Limits, files: BlobFiles) -> tuple[list[int], int]:
    """What is found, and its highest modseq where that is asked for, as of one moment."""
    found = find(conn, view, hidden, key, limits, files)
    if not asks_modseq(key):
        return found, 0
    return found, messages.highest_modseq(conn, view.account_id, view.mailbox_id, from_numbers(found))
