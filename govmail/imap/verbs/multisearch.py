"""ESEARCH: one search in several mailboxes.

Invariants: each mailbox is searched in a read of its own, so no snapshot is held for long; a mailbox where nothing is found
is not mentioned; one that does not exist, or that the person may not see, is passed over in silence.

RFC 7377.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from govmail.imap import access, updates
from govmail.imap.fetching import View
from govmail.imap.flags import FlagNames
from govmail.imap.searching import Question, find
from govmail.imap.state import OK, Disconnected, Result
from govmail.imap.verbs.search import answer, data, look_for
from govmail.imap.view import UidMap
from govmail.store import mailboxes, messages
from govmail.store.connection import Connection
from govmail.store.values import Mailbox
from govmail.wire.imap import commands, responses
from govmail.wire.imap.results import Source
from govmail.wire.imap.search import Key

if TYPE_CHECKING:
    from govmail.imap.server import ImapServer
    from govmail.imap.session import Session

NOT_SELECTED = Result(b"BAD", "no mailbox is selected")


async def multisearch(session: Session, command: commands.MultiSearch, tag: bytes) -> Result:
    if all(source.kind == "SELECTED" for source in command.sources):
        return await _selected(session, command, tag)
    if command.returns.update:
        session.write(updates.refusal(tag))
    server = session.server
    selected = session.view.mailbox_id if session.view is not None and session.view.guest is None else 0
    for mailbox in await server.database.read(chosen, session.account_id, command.sources, selected):
        if not session.open:
            raise Disconnected  # nobody waits for the other mailboxes
        found = await server.database.read(_find_in, server, mailbox, command.key)
        if found:
            where = responses.esearch_mailbox(responses.mailbox(mailbox.name, utf8=session.enabled.utf8), mailbox.uidvalidity)
            await session.send((responses.esearch(tag, True, data(found, command.returns), where=where),))
    return OK


def _find_in(conn: Connection, server: ImapServer, mailbox: Mailbox, key: Key) -> list[int]:
    uids = UidMap(messages.uids(conn, mailbox.account_id, mailbox.mailbox_id))
    names = FlagNames(messages.keyword_names(conn, mailbox.account_id))
    view = View(mailbox.account_id, mailbox.mailbox_id, uids, names, mailbox.recent_uid)
    return find(conn, Question(view, (), (), key, server.now(), server.limits, server.database.blobs))


async def _selected(session: Session, command: commands.MultiSearch, tag: bytes) -> Result:
    """UID SEARCH in another dress: with `$` and updates."""
    view = session.view
    if view is None:
        return NOT_SELECTED
    if view.guest is not None:  # this verb is allowed without a selected mailbox, so nobody has looked yet
        await access.recheck(session)
    where = b""
    if command.sources:
        mailbox = await session.server.database.read(mailboxes.by_id, view.account_id, view.mailbox_id)
        name = mailbox.name if view.guest is None else view.name
        where = responses.esearch_mailbox(responses.mailbox(name, utf8=session.enabled.utf8), mailbox.uidvalidity)
    found = await look_for(session, view, command.key, command.returns)
    answer(session, view, tag, command.key, found, command.returns, by_uid=True, where=where)
    return OK


def chosen(conn: Connection, account_id: int, sources: Sequence[Source], selected: int) -> list[Mailbox]:
    """The mailboxes that `sources` name, each once: of the person's own; others' are searched when they are selected."""
    every = mailboxes.list_all(conn, account_id)
    subscribed = mailboxes.subscriptions(conn, account_id) if any(source.kind == "SUBSCRIBED" for source in sources) else set()

    def named(source: Source, mailbox: Mailbox) -> bool:
        match source.kind:
            case "SELECTED" | "SELECTED-DELAYED":
                return mailbox.mailbox_id == selected
            case "INBOXES":
                return mailbox.name == "INBOX"  # where mail is delivered
            case "SUBSCRIBED":
                return mailbox.name in subscribed
            case "SUBTREE":
                return any(mailbox.name == name or mailbox.name.startswith(name + "/") for name in source.names)
            case "SUBTREE-ONE":
                return any(mailbox.name == name or mailbox.name.rpartition("/")[0] == name for name in source.names)
            case "MAILBOXES":
                return mailbox.name in source.names
            case _:
                return True  # PERSONAL

    return [mailbox for mailbox in every if any(named(source, mailbox) for source in sources)]
