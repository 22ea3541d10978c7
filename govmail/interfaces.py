"""What plugs into the gateway, and the values that travel between the parts.

Implementations are handed over by `govmail.app`; nothing here knows a concrete class.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from govmail.mail.address import Address
from govmail.mail.envelope import Envelope, Origin
from govmail.mail.message import Message
from govmail.mail.reading import Reading

Clock = Callable[[], datetime]
"""Returns the present as an aware UTC datetime; a parameter wherever time matters, so that tests own it."""


def utc_now() -> datetime:
    """The clock of the wall."""
    return datetime.now(UTC)


# -- the directory ------------------------------------------------------------------------------------------------


class PersonState(Enum):
    """May a person receive, and log in?"""

    ACTIVE = "active"
    SUSPENDED = "suspended"  # receives, cannot log in
    DISABLED = "disabled"  # neither


@dataclass(frozen=True, slots=True)
class Target:
    """One mailbox owner that an address stands for. `address` is the one mail is delivered under.

    `quota_octets`: what the owner's mailboxes may hold; None = no limit."""

    directory_id: str
    address: Address
    unit_id: str
    quota_octets: int | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an address stands for.

    `domain_is_local` False: somebody else's domain. Local with no targets: there is no such address (5.1.1), unless
    `disabled` says that there is one which takes no mail (5.2.1). A group or `postmaster` has several targets and
    perhaps addresses elsewhere (`remote`).
    """

    address: Address
    domain_is_local: bool
    targets: tuple[Target, ...] = ()
    remote: tuple[Address, ...] = ()
    disabled: bool = False
    is_group: bool = False

    @property
    def exists(self) -> bool:
        return bool(self.targets or self.remote)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who has logged in. `addresses` are keys (`Address.key`) that the person may send as; the primary first.

    `quota_octets`: what the person's mailboxes may hold; None = no limit."""

    directory_id: str
    name: str
    unit_id: str
    addresses: tuple[str, ...]
    quota_octets: int | None = None

    @property
    def primary(self) -> str:
        return self.addresses[0]


class Resolver(Protocol):
    """The directory as the mail path sees it; both directories implement it through `directory.cache`.

    Every method raises DirectoryUnavailable when the directory cannot be asked and nothing fresh enough is cached.
    """

    async def is_local_domain(self, domain: str) -> bool:
        """Whether mail for this canonical domain stays here."""

    async def resolve(self, address: Address) -> Resolution:
        """What the address stands for; groups are expanded, loops end, each target appears once."""


class Authenticator(Protocol):
    async def authenticate(self, login: str, password: str, source_ip: str) -> Principal:
        """Who this is. `login` is the primary address or any alias, in any case.

        Raises AuthenticationFailed (also for suspended and disabled people), AuthenticationBusy, DirectoryUnavailable.
        """


class People(Protocol):
    """Who is meant by a login, and which login somebody has, for rights in mailboxes."""

    async def find(self, login: str) -> str | None:
        """The directory_id of the person with this address; None: there is none. Raises DirectoryUnavailable."""

    async def logins(self, directory_ids: tuple[str, ...]) -> dict[str, str]:
        """The primary address (`Address.key`) of those that are people; while the directory is away, of those known before."""


# -- filters ------------------------------------------------------------------------------------------------------


class Action(Enum):
    """What a filter advises, mildest first; the chain takes the strongest."""

    ACCEPT = "accept"
    TAG = "tag"  # accept, marked as spam
    QUARANTINE = "quarantine"
    DEFER = "defer"
    REJECT = "reject"


class Scan(Enum):
    """Whether an engine has seen the mail. Anything but CLEAN and INFECTED is never called clean."""

    CLEAN = "clean"
    INFECTED = "infected"
    UNSCANNED = "unscanned"  # not now: the engine is down, late, or failed
    UNSCANNABLE = "unscannable"  # never by this engine: encrypted, nested too deep, too large
    NOT_APPLICABLE = "n/a"  # the filter is no antivirus engine


@dataclass(frozen=True, slots=True)
class Symbol:
    """A rule that matched, with its score and options as the engine gave them (hostile text)."""

    name: str
    score: float
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One filter's answer. `public` may reach the sender, `private` only logs, quarantine and operators."""

    engine: str
    action: Action
    scan: Scan = Scan.NOT_APPLICABLE
    score: float | None = None
    threshold: float | None = None
    symbols: tuple[Symbol, ...] = ()
    threats: tuple[str, ...] = ()
    public: str = ""
    private: str = ""
    engine_version: str = ""
    signature_age: int | None = None  # seconds
    elapsed: float = 0.0  # seconds
    headers: tuple[tuple[str, str], ...] = ()  # e.g. DKIM-Signature, Authentication-Results
    spam: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The chain's answer. `headers` are put in front of the message, in this order."""

    action: Action
    verdicts: tuple[Verdict, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    public: str = ""
    reason: str = ""  # for quarantine: "virus", "spam", "policy", "unscannable"
    spam: bool = False

    @property
    def infected(self) -> bool:
        return any(verdict.scan is Scan.INFECTED for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What a filter gets to see: the bytes as received, the envelope, where they came from."""

    message: Message
    envelope: Envelope
    origin: Origin
    queue_id: str
    sign: bool = False  # outgoing mail of a login: rspamd is to sign it
    digest: bytes = b""  # names those bytes: what antivirus verdicts are shared by; empty: they are not


class Filter(Protocol):
    """A content filter: answers with a value and never acts. Must not raise; the chain treats a raise as unscanned."""

    name: str

    async def check(self, request: ScanRequest) -> Verdict: ...


class Chain(Protocol):
    async def decide(self, request: ScanRequest) -> Decision: ...


# -- reading ------------------------------------------------------------------------------------------------------


class MessageReader(Protocol):
    """Reads messages somewhere where it stops nobody: see `delivery.readers`."""

    async def read(self, message: Message) -> Reading:
        """Raises ReaderFailed. A spooled message stays where it is meanwhile."""


# -- hints --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hint:
    """'Something changed in this account'; lost or doubled hints do no harm. `mailbox_ids` empty: anything."""

    account_id: int
    modseq: int
    mailbox_ids: tuple[int, ...] = ()


class Bus(Protocol):
    """Carries hints from commits to waiting sessions, in-process or between processes."""

    def publish(self, hints: Sequence[Hint]) -> None:
        """Called on the event loop after the commit. Never blocks."""

    def subscribe(self, account_id: int, wake: Callable[[Hint], None]) -> Callable[[], None]:
        """Calls `wake` on the loop for each hint; returns the function that ends the subscription."""


# -- what the protocols offer to the control socket ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How `smtp.receive` ended: `queue_id` as in the 250 reply, and the reply itself as (code, status, text)."""

    code: int
    status: str
    text: str
    queue_id: str = ""
    recipients: tuple[tuple[Address, str], ...] = field(default=())


Kick = Callable[[str], Awaitable[int]]
"""Ends every connection of the person with this directory_id; returns how many there were."""
