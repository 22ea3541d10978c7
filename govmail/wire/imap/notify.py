"""NOTIFY: which events of which mailboxes a client wants to hear of.

Invariants: a `Group` is what the grammar allows and §5 demands – new and expunged messages together, flags only with
them, for the selected mailbox only events of messages.

RFC 5465 §3.1 (the command), §5 (events), §6 (mailboxes), §8 (grammar).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Flag

from govmail.errors import SyntaxProblem
from govmail.wire.imap.fetch import Item, parse_items
from govmail.wire.imap.tokens import Tokens

GROUPS = 50  # in one command
NAMES = 1000  # in one group


class Event(Flag):
    """What may happen to a mailbox."""

    NONE = 0
    NEW = 1
    EXPUNGE = 2
    FLAGS = 4
    NAME = 8
    SUBSCRIPTION = 16


MESSAGES = Event.NEW | Event.EXPUNGE | Event.FLAGS
EVENTS = {
    b"MessageNew": Event.NEW, b"MessageExpunge": Event.EXPUNGE, b"FlagChange": Event.FLAGS,
    b"MailboxName": Event.NAME, b"SubscriptionChange": Event.SUBSCRIPTION,
}  # fmt: skip
_EVENTS = {name.upper(): event for name, event in EVENTS.items()}
_SELECTED = (b"SELECTED", b"SELECTED-DELAYED")
_KINDS = (*_SELECTED, b"INBOXES", b"PERSONAL", b"SUBSCRIBED", b"SUBTREE", b"MAILBOXES")


@dataclass(frozen=True, slots=True)
class Group:
    """`kind` in capitals; `names` of SUBTREE and MAILBOXES; `items` to fetch of new messages of the selected mailbox."""

    kind: str
    names: tuple[str, ...] = ()
    events: Event = Event.NONE
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify:
    """`groups` empty: NONE. `strange`: some event is not one that this server knows."""

    groups: tuple[Group, ...] = ()
    status: bool = False
    strange: bool = False

    @property
    def selected(self) -> Group | None:
        return next((group for group in self.groups if group.kind.startswith("SELECTED")), None)


def notify(tokens: Tokens) -> Notify:
    """notify = "NOTIFY" SP ("SET" [SP "STATUS"] 1*(SP event-group) / "NONE"). Raises SyntaxProblem."""
    tokens.space()
    if tokens.take(b"NONE"):
        tokens.end()
        return Notify()
    tokens.expect(b"SET")
    tokens.space()
    status = tokens.take(b"STATUS")
    if status:
        tokens.space()
    groups: list[Group] = []
    strange = False
    while True:
        group, its_strange = _group(tokens)
        groups.append(group)
        strange = strange or its_strange
        if tokens.peek() != b" ":
            break
        tokens.space()
        if not tokens.peek():
            break
    tokens.end()
    if len(groups) > GROUPS or sum(group.kind.startswith("SELECTED") for group in groups) > 1:
        raise SyntaxProblem("too many event groups")
    return Notify(tuple(groups), status, strange)


def _group(tokens: Tokens) -> tuple[Group, bool]:
    """event-group = "(" filter-mailboxes SP events ")"; and whether an event is not known."""
    tokens.expect(b"(")
    kind = tokens.word()
    if kind not in _KINDS:
        raise SyntaxProblem("unknown mailbox filter")
    tokens.space()
    names: tuple[str, ...] = ()
    if kind in (b"SUBTREE", b"MAILBOXES"):
        names = tokens.items(tokens.mailbox) if tokens.peek() == b"(" else (tokens.mailbox(),)
        if len(names) > NAMES:
            raise SyntaxProblem("too many mailbox names")
        tokens.space()
    group, strange = Group(kind.decode("ascii"), names), False
    if not tokens.take(b"NONE"):
        events, items, strange = _events(tokens, selected=kind in _SELECTED)
        group = replace(group, events=events, items=items)
    tokens.expect(b")")
    return group, strange


def _events(tokens: Tokens, *, selected: bool) -> tuple[Event, tuple[Item, ...], bool]:
    found: list[tuple[Event | None, tuple[Item, ...]]] = []

    def one() -> None:
        event = _EVENTS.get(tokens.word())
        items: tuple[Item, ...] = ()
        if event is Event.NEW and tokens.peek() == b" ":
            start = tokens.at
            tokens.space()
            if tokens.peek() == b"(":
                items = parse_items(tokens)
            else:
                tokens.at = start
        found.append((event, items))

    tokens.items(one)
    events = Event.NONE
    for event, _ in found:
        events |= event or Event.NONE
    items = next((items for _, items in found if items), ())
    # RFC 5465 §5: "If one of MessageNew or MessageExpunge is specified, then both MUST be", flags only with them
    if (Event.NEW in events) != (Event.EXPUNGE in events) or (Event.FLAGS in events and Event.NEW not in events):
        raise SyntaxProblem("MessageNew and MessageExpunge belong together")
    if selected and events & ~MESSAGES:
        raise SyntaxProblem("only message events of the selected mailbox")  # RFC 5465 §6.1
    if items and not selected:
        raise SyntaxProblem("FETCH items are for the selected mailbox")  # RFC 5465 §5.2
    return events, items, any(event is None for event, _ in found)
