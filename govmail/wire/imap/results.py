"""How the result of a search is wanted: RETURN options, a window into it, an order, and in which mailboxes.

Invariants: what is not known is refused; a `Window` never has 0 in it, and both its ends count from the same side.

RFC 4731 (ESEARCH), RFC 5182 (SAVE), RFC 5267 (CONTEXT, UPDATE), RFC 9394 (PARTIAL), RFC 5256 §3, RFC 5957 (SORT),
RFC 7377 and RFC 5465 §6 (mailboxes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from govmail.errors import SyntaxProblem
from govmail.wire.imap.tokens import Tokens

T = TypeVar("T")

_WINDOW = re.compile(rb"(?:([1-9][0-9]{0,9}):([1-9][0-9]{0,9})|-([1-9][0-9]{0,9}):-([1-9][0-9]{0,9}))(?![0-9])")
WINDOW_LIMIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Window:
    """partial-range: places in a result, from 1 at its start, or from -1 at its end (RFC 9394 §3.1)."""

    first: int
    last: int

    def of(self, found: Sequence[T]) -> Sequence[T]:
        """What of a result is in it, in the result's order."""
        low, high = sorted((abs(self.first), abs(self.last)))
        if self.first < 0:
            size = len(found)
            return found[max(size - high, 0) : max(size - low + 1, 0)]
        return found[low - 1 : high]

    def __bytes__(self) -> bytes:
        return b"%d:%d" % (self.first, self.last)


@dataclass(frozen=True, slots=True)
class Returns:
    """RETURN (…). An empty list means ALL (RFC 4731 §3.1)."""

    min: bool = False
    max: bool = False
    all: bool = False
    count: bool = False
    save: bool = False
    context: bool = False
    update: bool = False
    window: Window | None = None


ALL = Returns(all=True)

_OPTIONS = {b"MIN": "min", b"MAX": "max", b"ALL": "all", b"COUNT": "count", b"SAVE": "save", b"CONTEXT": "context", b"UPDATE": "update"}


def parse_returns(tokens: Tokens) -> Returns | None:
    """["RETURN" SP "(" [option *(SP option)] ")" SP]; None when it is not there."""
    if not tokens.take(b"RETURN "):
        return None
    chosen = Returns()
    names: set[bytes] = set()
    for name, window in tokens.items(lambda: _option(tokens), empty=True):
        names.add(name)
        chosen = replace(chosen, window=window) if window is not None else replace(chosen, **{_OPTIONS[name]: True})  # type: ignore[arg-type]
    tokens.space()
    if not names - {b"CONTEXT", b"UPDATE"}:
        chosen = replace(chosen, all=True)
    if chosen.window is not None and chosen.all:
        raise SyntaxProblem("ALL and PARTIAL exclude each other")  # RFC 9394 §3.1
    return chosen


def _option(tokens: Tokens) -> tuple[bytes, Window | None]:
    name = tokens.word()
    if name == b"PARTIAL":
        tokens.space()
        return name, parse_window(tokens)
    if name not in _OPTIONS:
        raise SyntaxProblem("unknown RETURN option")
    return name, None


def parse_window(tokens: Tokens) -> Window:
    found = tokens.match(_WINDOW, "a partial range")
    first, last = (int(found[1]), int(found[2])) if found[1] else (-int(found[3]), -int(found[4]))
    if max(abs(first), abs(last)) > WINDOW_LIMIT:
        raise SyntaxProblem("number too large")
    return Window(first, last)


# -- order --------------------------------------------------------------------------------------------------------

Order = tuple[tuple[str, bool], ...]
"""Criteria in capitals, each with whether it is reversed."""

CRITERIA = frozenset({b"ARRIVAL", b"CC", b"DATE", b"DISPLAYFROM", b"DISPLAYTO", b"FROM", b"SIZE", b"SUBJECT", b"TO"})
CRITERIA_LIMIT = 20


def parse_order(tokens: Tokens) -> Order:
    """"(" sort-criterion *(SP sort-criterion) ")" (RFC 5256 §5, RFC 5957 §5)."""
    order = tokens.items(lambda: _criterion(tokens))
    if len(order) > CRITERIA_LIMIT:
        raise SyntaxProblem("too many sort criteria")
    return order


def _criterion(tokens: Tokens) -> tuple[str, bool]:
    name = tokens.word()
    reverse = name == b"REVERSE"
    if reverse:
        tokens.space()
        name = tokens.word()
    if name not in CRITERIA:
        raise SyntaxProblem("unknown sort criterion")
    return name.decode("ascii"), reverse


# -- mailboxes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """One filter-mailboxes: `kind` in capitals; `names` of SUBTREE, SUBTREE-ONE and MAILBOXES."""

    kind: str
    names: tuple[str, ...] = ()


_PLAIN_SOURCES = frozenset({b"SELECTED", b"SELECTED-DELAYED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED"})
_NAMED_SOURCES = frozenset({b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"})
SOURCES_LIMIT = 100  # and names in one


def parse_sources(tokens: Tokens) -> tuple[Source, ...]:
    """["IN" SP "(" source-mbox *(SP source-mbox) ")" SP] (RFC 7377 §2.2, §3)."""
    if not tokens.take(b"IN "):
        return ()
    sources = tokens.items(lambda: _source(tokens))
    if len(sources) > SOURCES_LIMIT:
        raise SyntaxProblem("too many mailboxes")
    tokens.space()
    return sources


def _source(tokens: Tokens) -> Source:
    name = tokens.word()
    if name in _PLAIN_SOURCES:
        return Source(name.decode("ascii"))
    if name not in _NAMED_SOURCES:
        raise SyntaxProblem("unknown kind of mailboxes")
    tokens.space()
    names = tokens.items(tokens.mailbox) if tokens.peek() == b"(" else (tokens.mailbox(),)
    if len(names) > SOURCES_LIMIT:
        raise SyntaxProblem("too many mailboxes")
    return Source(name.decode("ascii"), names)
