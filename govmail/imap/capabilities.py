"""What this server can do beyond the base: a row for each capability.

Invariants: what CAPABILITY says in each state, the table in the documentation and the tests that a capability has its
citation and its dialogue are derived from these rows; a verb that belongs to a capability works exactly where that
is announced.

RFC 3501 §6.1.1, §7.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from govmail.imap.state import ANY, LOGGED_IN, State


@dataclass(frozen=True, slots=True)
class Offer:
    """A connection, as far as it decides what is announced on it."""

    state: State
    tls: bool
    starttls: bool = False  # the listener could begin TLS
    plain_login: bool = False  # the listener takes passwords in clear

    @property
    def secure(self) -> bool:
        return self.tls or self.plain_login


def _always(_offer: Offer) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Capability:
    """`shown`: the file below tests/ that shows it at work. `states`: where it is announced. `fits`: on which connections."""

    name: str
    rfc: str
    shown: str
    states: State = LOGGED_IN
    fits: Callable[[Offer], bool] = _always


FRESH = State.FRESH

CAPABILITIES = (
    Capability("IMAP4rev1", "RFC 3501 §6.1.1", "scripts/imap/capability.txt", ANY),
    Capability("SASL-IR", "RFC 4959 §3", "scripts/imap/authenticate.txt", FRESH),
    Capability("LITERAL-", "RFC 7888 §5", "scripts/imap/literals.txt", FRESH),
    Capability("LITERAL+", "RFC 7888 §4", "scripts/imap/append.txt"),
    Capability("ID", "RFC 2971 §3.1", "scripts/imap/id.txt", ANY),
    Capability("ENABLE", "RFC 5161 §3.1", "scripts/imap/enable.txt", ANY),
    Capability("STARTTLS", "RFC 3501 §6.2.1", "unit/imap/test_sessions.py", FRESH, lambda offer: offer.starttls and not offer.tls),
    Capability("LOGINDISABLED", "RFC 3501 §6.2.3", "unit/imap/test_sessions.py", FRESH, lambda offer: not offer.secure),
    Capability("AUTH=PLAIN", "RFC 4616 §2", "scripts/imap/authenticate.txt", FRESH, lambda offer: offer.secure),
    Capability("AUTH=LOGIN", "RFC 3501 §6.2.2", "scripts/imap/authenticate.txt", FRESH, lambda offer: offer.secure),
    Capability("CREATE-SPECIAL-USE", "RFC 6154 §3", "scripts/imap/mailboxes.txt"),
    Capability("LIST-EXTENDED", "RFC 5258 §3", "scripts/imap/list.txt"),
    Capability("LIST-STATUS", "RFC 5819 §2", "scripts/imap/list.txt"),
    Capability("SPECIAL-USE", "RFC 6154 §2", "scripts/imap/list.txt"),
    Capability("CHILDREN", "RFC 3348 §3", "scripts/imap/list.txt"),
    Capability("NAMESPACE", "RFC 2342 §5", "scripts/imap/mailboxes.txt"),
    Capability("IDLE", "RFC 2177 §3", "scripts/imap/idle.txt"),
    Capability("UNSELECT", "RFC 3691 §2", "scripts/imap/close.txt"),
    Capability("UIDPLUS", "RFC 4315 §2", "scripts/imap/expunge.txt"),
    Capability("MOVE", "RFC 6851 §3", "scripts/imap/move.txt"),
)


def announced(offer: Offer, without: Collection[str] = ()) -> tuple[str, ...]:
    """What CAPABILITY says there, in the table's order. `without`: names switched off for this client."""
    return tuple(one.name for one in CAPABILITIES if one.states & offer.state and one.fits(offer) and one.name not in without)
