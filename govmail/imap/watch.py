"""What a session that has said NOTIFY hears of mailboxes: of all that it named, and how of the one that it has selected.

Invariants
- A session has a Watch only after NOTIFY; all others pay one empty attribute.
- A change costs a question about the mailboxes that its hints name. Where the account's modseq skips one – a hint is
  missing – or a hint names none, the question is about everything since.
- A STATUS is said when one of its values has changed since it was said last; the selected mailbox gets none.
- More news at once than Limits.imap_notify_lines end the watch, as after NOTIFY NONE (RFC 5465 §5.8).

RFC 5465 §3-§6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govmail.interfaces import Hint
from govmail.store import accounts, mailboxes
from govmail.store.connection import Connection
from govmail.store.values import Mailbox
from govmail.wire.imap import responses
from govmail.wire.imap.enabled import NOTHING
from govmail.wire.imap.notify import Event, Group, Notify

if TYPE_CHECKING:
    from govmail.imap.session import Session

OVERFLOW = responses.untagged(b"OK", "too much has changed, please look yourself", b"NOTIFICATIONOVERFLOW")


@dataclass(frozen=True, slots=True)
class News:
    """What a question found. `subscribed` is None where it was not asked for; `modseq` the account's, read first."""

    modseq: int
    changed: list[Mailbox]
    gone: list[int]
    subscribed: set[str] | None


def everything(conn: Connection, account_id: int, since: int, *, subscriptions: bool) -> News:
    """All mailboxes that changed after `since`, and those deleted since."""
    modseq = accounts.by_id(conn, account_id).modseq
    return News(
        modseq,
        mailboxes.changed_since(conn, account_id, since),
        mailboxes.gone_since(conn, account_id, since),
        mailboxes.subscriptions(conn, account_id) if subscriptions else None,
    )


class Watch:
    """One session's NOTIFY."""

    __slots__ = ("_all", "_enabled", "_groups", "_heard", "_known", "_modseq", "_needs_subscriptions", "_pending", "_subscribed", "selected")

    def __init__(self, command: Notify) -> None:
        self.selected: Group | None = command.selected
        self._groups = tuple(group for group in command.groups if group is not command.selected)
        self._known: dict[int, tuple[str, tuple[int, ...]]] = {}  # name and last told values of each mailbox
        self._subscribed: set[str] = set()
        self._needs_subscriptions = any(group.kind == "SUBSCRIBED" or Event.SUBSCRIPTION in group.events for group in self._groups)
        self._modseq = 0  # all changes up to it have been told
        self._heard = 0  # hints up to it have come, none missing
        self._pending: set[int] = set()
        self._all = False
        self._enabled = NOTHING  # as of what is being said just now

    # -- the selected mailbox -------------------------------------------------------------------------------------

    @property
    def tells_selected(self) -> bool:
        """Whether the selected mailbox's news are wanted at all; not naming it is not wanting it (RFC 5465 §3.1)."""
        return self.selected is not None and bool(self.selected.events)

    @property
    def tells_flags(self) -> bool:
        return self.selected is not None and Event.FLAGS in self.selected.events

    @property
    def at_once(self) -> bool:
        """Whether EXPUNGE may be said at any time, rather than where a command allows it (RFC 5465 §6.1, §6.2)."""
        return self.selected is not None and self.selected.kind == "SELECTED"

    # -- other mailboxes ------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is something to ask the store about."""
        return self._all or bool(self._pending)

    def hear(self, hint: Hint) -> None:
        """A hint about the account."""
        if not self._groups or hint.modseq <= self._modseq:
            return
        if hint.mailbox_ids and hint.modseq <= self._heard + 1:
            self._pending.update(hint.mailbox_ids)
        else:
            self._all = True
        self._heard = max(self._heard, hint.modseq)

    async def begin(self, session: Session, *, status: bool) -> None:
        """Learn what is there; with `status`, say it (RFC 5465 §3.1)."""
        if not self._groups:
            return
        news = await session.server.database.read(everything, session.account_id, 0, subscriptions=True)
        self._modseq = news.modseq
        self._heard = max(self._heard, news.modseq)
        self._subscribed = news.subscribed or set()
        self._enabled = session.enabled
        lines = []
        for one in news.changed:
            values = self._values(one)
            self._known[one.mailbox_id] = (one.name, values)
            if status and values and not _is_selected(session, one):
                lines.append(self._status(one, values))
        await session.send(lines)

    async def tell(self, session: Session) -> None:
        """Ask what has changed, and say what is wanted of it."""
        self._enabled = session.enabled
        while self.waiting:
            pending, whole, upto = self._pending, self._all, self._heard
            self._pending, self._all = set(), False
            database = session.server.database
            if whole:
                news = await database.read(everything, session.account_id, self._modseq, subscriptions=self._needs_subscriptions)
            else:
                news = News(upto, await database.read(mailboxes.by_ids, session.account_id, pending), [], None)
            self._modseq = max(self._modseq, news.modseq)
            self._heard = max(self._heard, self._modseq)
            lines = list(self._lines(session, news))
            if len(lines) > session.server.limits.imap_notify_lines:
                session.watch = Watch(Notify())
                session.write(OVERFLOW)
                return
            await session.send(lines)

    def _lines(self, session: Session, news: News) -> Iterator[bytes]:
        if news.subscribed is not None:
            yield from self._subscriptions(news.subscribed)
        for mailbox_id in news.gone:
            name, _ = self._known.pop(mailbox_id, ("", ()))
            if name and Event.NAME in self._wanted(name):
                yield self._list(["\\NonExistent"], name)
        for one in sorted(news.changed, key=lambda one: one.name):
            name, told = self._known.get(one.mailbox_id, ("", ()))
            if name != one.name:
                yield from self._renamed(name, one)
            values = self._values(one)
            if _is_selected(session, one):
                values = told
            elif values and values != told:
                yield self._status(one, values)
            self._known[one.mailbox_id] = (one.name, values)

    def _renamed(self, old: str, one: Mailbox) -> Iterator[bytes]:
        """A mailbox has come up (`old` is empty) or has another name (RFC 5465 §5.4)."""
        if Event.NAME in self._wanted(one.name, one.special_use):
            yield self._list([one.special_use] if one.special_use else [], one.name, old_name=old or None)
        elif old and Event.NAME in self._wanted(old):
            yield self._list(["\\NonExistent"], old)

    def _subscriptions(self, now: set[str]) -> Iterator[bytes]:
        """RFC 5465 §5.5."""
        before, self._subscribed = self._subscribed, now
        for name in sorted(before ^ now):
            if Event.SUBSCRIPTION in self._wanted(name):
                yield self._list(["\\Subscribed"] if name in now else [], name)

    # -- in the form that the client has enabled ------------------------------------------------------------------

    def _list(self, attributes: list[str], name: str, *, old_name: str | None = None) -> bytes:
        return responses.list_line(b"LIST", attributes, name, utf8=self._enabled.utf8, old_name=old_name)

    def _status(self, one: Mailbox, values: Iterable[int]) -> bytes:
        items = list(zip(_ITEMS, values, strict=False))
        if self._enabled.condstore:  # RFC 5465 §5.2, §5.3
            items.append((b"HIGHESTMODSEQ", one.highest_modseq))
        return responses.status_line(one.name, items, utf8=self._enabled.utf8)

    # -- who wants what -------------------------------------------------------------------------------------------

    def _wanted(self, name: str, special_use: str | None = None) -> Event:
        """Events that some group wants of this mailbox; a group with NONE ends the search (RFC 5465 §3.1)."""
        wanted = Event.NONE
        for group in self._groups:
            if self._matches(group, name, special_use):
                if not group.events:
                    break
                wanted |= group.events
        return wanted

    def _matches(self, group: Group, name: str, special_use: str | None) -> bool:
        match group.kind:
            case "PERSONAL":
                return True
            case "INBOXES":
                return name == mailboxes.INBOX or special_use == "\\Junk"  # where mail is delivered
            case "SUBSCRIBED":
                return name in self._subscribed
            case "SUBTREE":
                return any(name == top or name.startswith(top + "/") for top in group.names)
            case _:
                return name in group.names

    def _values(self, one: Mailbox) -> tuple[int, ...]:
        """What its STATUS tells (RFC 5465 §5.1-5.3); nothing when no event of its messages is wanted."""
        wanted = self._wanted(one.name, one.special_use)
        if Event.NEW not in wanted:
            return ()
        values = (one.messages, one.uid_next, one.uidvalidity)
        if Event.FLAGS not in wanted:
            return values
        # With CONDSTORE every change of flags is worth telling, since the client can ask what it was.
        return (*values, one.unseen, one.highest_modseq) if self._enabled.condstore else (*values, one.unseen)


_ITEMS = (b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN")


def _is_selected(session: Session, one: Mailbox) -> bool:
    view = session.view
    return view is not None and (view.account_id, view.mailbox_id) == (one.account_id, one.mailbox_id)
