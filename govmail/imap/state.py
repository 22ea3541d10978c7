"""What the session and its verbs share: states, rows of the verb table, results.

RFC 3501 §3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from govmail.wire.imap.tokens import Tokens

if TYPE_CHECKING:
    from govmail.imap.session import Session


class State(IntFlag):
    """Of a connection; as flags, because a verb may be allowed in several."""

    FRESH = 1  # not authenticated
    AUTHENTICATED = 2
    SELECTED = 4


ANY = State.FRESH | State.AUTHENTICATED | State.SELECTED
LOGGED_IN = State.AUTHENTICATED | State.SELECTED


class Disconnected(Exception):
    """The client is gone, or this side has closed."""


@dataclass(frozen=True, slots=True)
class Result:
    """A tagged answer; an empty text becomes "<verb> completed"."""

    condition: bytes = b"OK"
    text: str = ""
    code: bytes = b""


OK = Result()


@dataclass(frozen=True, slots=True)
class Verb:
    """A row of the verb table.

    `handler` gets the session, what `parser` made, and the tag; it returns None when it has answered itself.
    `uses_numbers`: FETCH, STORE, SEARCH, during which no EXPUNGE may be said (RFC 3501 §7.4.1). `asks`: ends with a
    question to the store even without a hint. `needs`: rights in the selected mailbox beside r
    (RFC 4314 §4). `capability`: the row of
    `imap.capabilities` that announces the verb; none for what the base protocol has. `slow`: may take long, and writes
    whole lines only, so the client can be told in between that it goes on (RFC 9585).
    """

    name: str
    parser: Callable[[Tokens], Any]
    handler: Callable[[Session, Any, bytes], Awaitable[Result | None]]
    states: State
    rfc: str
    uses_numbers: bool = False
    asks: bool = False
    slow: bool = False
    capability: str = ""
    needs: str = ""

    @property
    def by_uid(self) -> bool:
        """Whether the client speaks in UIDs, so that every FETCH response must have one (RFC 3501 §6.4.8)."""
        return self.name.startswith("UID ")
