"""SEARCH and UID SEARCH.

RFC 3501 §6.4.4, §6.4.8, §7.2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.imap.fetching import View
from govmail.imap.searching import find
from govmail.imap.state import OK, Result
from govmail.wire.imap import commands, responses

if TYPE_CHECKING:
    from govmail.imap.session import Session


async def search(session: Session, command: commands.Search, tag: bytes) -> Result:
    view = session.view
    assert view is not None
    found = await _find(session, command)
    session.write(responses.search_line(view.uids.numbers(found)))
    return OK


async def uid_search(session: Session, command: commands.Search, tag: bytes) -> Result:
    session.write(responses.search_line(await _find(session, command)))
    return OK


async def _find(session: Session, command: commands.Search) -> list[int]:
    view = session.view
    assert view is not None
    picture = View(view.account_id, view.mailbox_id, view.uids, view.names, view.recent_from)
    server = session.server
    return await server.database.read(find, picture, view.vanished, command.key, server.limits, server.database.blobs)
