"""Commands as values: what a client asked, typed, without its tag.

RFC 3501 §6; RFC 7162 (CONDSTORE, QRESYNC), 2971 (ID), 5161 (ENABLE), 2342 (NAMESPACE), 5258 (LIST), 5819 (LIST-STATUS), 6154 (SPECIAL-USE),
6851 (MOVE), 4315 (UIDPLUS), 4959 (SASL-IR), 5256 (SORT, THREAD), 5267 (CONTEXT), 7377 (MULTISEARCH), 9394 (PARTIAL).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from govmail.wire.imap.fetch import Item
from govmail.wire.imap.numset import NumSet
from govmail.wire.imap.results import ALL, Order, Returns, Source, Window
from govmail.wire.imap.search import Key

Operation = Literal["set", "add", "remove"]
"""STORE FLAGS, +FLAGS, -FLAGS."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A command without arguments."""


@dataclass(frozen=True, slots=True)
class Id:
    """Pairs in the client's order, keys in lower case; empty for NIL. Untrusted, for the log."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Compress:
    """`mechanism` in capital letters."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class Login:
    login: bytes
    password: bytes

    def __repr__(self) -> str:
        return "Login(...)"  # never in a log


@dataclass(frozen=True, slots=True)
class Authenticate:
    """`initial` is the response of SASL-IR, still in base64, or None."""

    mechanism: str
    initial: bytes | None

    def __repr__(self) -> str:
        return f"Authenticate({self.mechanism})"


@dataclass(frozen=True, slots=True)
class Enable:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resync:
    """QRESYNC's parameters (RFC 7162 §3.2.5): what the client has. `known` None: it did not say which UIDs.

    `matches` are pairs of sequence number and UID from its seq-match-data, ascending.
    """

    uidvalidity: int
    modseq: int
    known: NumSet | None = None
    matches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT and EXAMINE."""

    mailbox: str
    condstore: bool = False
    resync: Resync | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """CREATE, DELETE, SUBSCRIBE, UNSUBSCRIBE. `use` is the special use that CREATE asked for (RFC 6154 §3)."""

    mailbox: str
    use: str | None = None


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class List:
    """LIST and LSUB. Patterns are decoded names with % and *; `select` and `returns` are the options in capitals."""

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[bytes, ...] = ()
    extended: bool = False
    metadata: tuple[str, ...] = ()  # entries (RFC 9590)


@dataclass(frozen=True, slots=True)
class Status:
    mailbox: str
    items: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """`since`: only messages changed after that modseq; `vanished`: and which UIDs of the set were expunged after it;
    `window`: only so many of the set's messages (RFC 9394 §3.3)."""

    numbers: NumSet
    items: tuple[Item, ...]
    since: int | None = None
    vanished: bool = False
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Store:
    numbers: NumSet
    operation: Operation
    flags: tuple[str, ...]
    silent: bool
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """`key` is None when its charset is unknown and the command would have saved its result: refused, but not without trace."""

    key: Key | None
    returns: Returns | None = None


@dataclass(frozen=True, slots=True)
class Sort:
    """`order` is read from left to right; see `results.parse_order`."""

    order: Order
    key: Key
    returns: Returns | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """`algorithm` in capitals."""

    algorithm: str
    key: Key


@dataclass(frozen=True, slots=True)
class MultiSearch:
    """ESEARCH (RFC 7377). No `sources`: the selected mailbox."""

    key: Key
    sources: tuple[Source, ...] = ()
    returns: Returns = ALL


@dataclass(frozen=True, slots=True)
class CancelUpdate:
    """Tags of searches that are not to be kept up to date any more (RFC 5267 §4.3)."""

    tags: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class UidBatches:
    """`window`: which batches, counted from the newest; None = all."""

    size: int
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY and MOVE."""

    numbers: NumSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Expunge:
    """UID EXPUNGE's set; None for EXPUNGE."""

    numbers: NumSet | None = None


Command = (
    Bare | Id | Login | Authenticate | Enable | Select | Named | Rename | List | Status | Fetch | Store | Search | Copy | Expunge
    | Sort | Thread | MultiSearch | CancelUpdate | UidBatches
)
