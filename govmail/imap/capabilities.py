"""What this server can do beyond the base: a row for each capability.

Invariants: what CAPABILITY says in each state, the table in the documentation and the tests that a capability has its
citation and its dialogue are derived from these rows; a verb that belongs to a capability works exactly where that
is announced.

A name can be switched off for a listener, for a client that bears it badly (`imap.quirks`), or for an account (`govmail
mailbox capability`); what builds on it is off with it.

RFC 3501 §6.1.1, §7.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from govmail.imap.state import ANY, LOGGED_IN, State
from govmail.wire.sasl_mechanisms import MECHANISMS, NO_MEANS, Means, Mechanism


@dataclass(frozen=True, slots=True)
class Offer:
    """A connection, as far as it decides what is announced on it."""

    state: State
    tls: bool
    starttls: bool = False  # the listener could begin TLS
    plain_login: bool = False  # the listener takes passwords in clear
    means: Means = NO_MEANS  # for logins, of listener and directory
    append_limit: int = 0  # octets of the largest message

    @property
    def secure(self) -> bool:
        return self.tls or self.plain_login


def _always(_offer: Offer) -> bool:
    return True


def _mechanism(mechanism: Mechanism) -> Callable[[Offer], bool]:
    return lambda offer: offer.secure and mechanism.fits(offer.means)


@dataclass(frozen=True, slots=True)
class Capability:
    """`shown`: the file below tests/ that shows it at work. `states`: where it is announced. `fits`: on which connections.

    `value`: what the offer puts behind "=".
    """

    name: str
    rfc: str
    shown: str
    states: State = LOGGED_IN
    fits: Callable[[Offer], bool] = _always
    value: Callable[[Offer], str] | None = None

    def told(self, offer: Offer) -> str:
        """As CAPABILITY says it."""
        return self.name if self.value is None else f"{self.name}={self.value(offer)}"


FRESH = State.FRESH

CAPABILITIES = (
    Capability("IMAP4rev1", "RFC 3501 §6.1.1", "scripts/imap/capability.txt", ANY),
    Capability("IMAP4rev2", "RFC 9051 §6.1.1", "scripts/imap/rev2.txt", ANY),
    Capability("SASL-IR", "RFC 4959 §3", "scripts/imap/authenticate.txt", FRESH),
    Capability("LITERAL-", "RFC 7888 §5", "scripts/imap/literals.txt", FRESH),
    Capability("LITERAL+", "RFC 7888 §4", "scripts/imap/append.txt"),
    Capability("ID", "RFC 2971 §3.1", "scripts/imap/id.txt", ANY),
    Capability("ENABLE", "RFC 5161 §3.1", "scripts/imap/enable.txt", ANY),
    Capability("STARTTLS", "RFC 3501 §6.2.1", "unit/imap/test_sessions.py", FRESH, lambda offer: offer.starttls and not offer.tls),
    Capability("LOGINDISABLED", "RFC 3501 §6.2.3", "unit/imap/test_sessions.py", FRESH, lambda offer: not offer.secure),
    *(Capability(f"AUTH={name}", one.rfc, "unit/test_login.py", FRESH, _mechanism(one)) for name, one in MECHANISMS.items()),
    Capability("CREATE-SPECIAL-USE", "RFC 6154 §3", "scripts/imap/mailboxes.txt"),
    Capability("LIST-EXTENDED", "RFC 5258 §3", "scripts/imap/list.txt"),
    Capability("LIST-STATUS", "RFC 5819 §2", "scripts/imap/list.txt"),
    Capability("SPECIAL-USE", "RFC 6154 §2", "scripts/imap/list.txt"),
    Capability("CHILDREN", "RFC 3348 §3", "scripts/imap/list.txt"),
    Capability("NAMESPACE", "RFC 2342 §5", "scripts/imap/mailboxes.txt"),
    Capability("ESEARCH", "RFC 4731 §3.1", "scripts/imap/esearch.txt"),
    Capability("SEARCHRES", "RFC 5182 §2.1", "scripts/imap/searchres.txt"),
    Capability("WITHIN", "RFC 5032 §3", "scripts/imap/search-within.txt"),
    Capability("PARTIAL", "RFC 9394 §3.1", "scripts/imap/partial.txt"),
    Capability("MULTISEARCH", "RFC 7377 §2.1", "scripts/imap/multisearch.txt"),
    Capability("CONTEXT=SEARCH", "RFC 5267 §4", "scripts/imap/context-search.txt"),
    Capability("CONTEXT=SORT", "RFC 5267 §4", "scripts/imap/context-sort.txt"),
    Capability("SORT", "RFC 5256 §3", "scripts/imap/sort.txt"),
    Capability("SORT=DISPLAY", "RFC 5957 §3", "scripts/imap/sort-display.txt"),
    Capability("ESORT", "RFC 5267 §3.1", "scripts/imap/esort.txt"),
    Capability("THREAD=ORDEREDSUBJECT", "RFC 5256 §3", "scripts/imap/thread.txt"),
    Capability("THREAD=REFERENCES", "RFC 5256 §3", "scripts/imap/thread.txt"),
    Capability("I18NLEVEL=1", "RFC 5255 §4.3", "scripts/imap/sort.txt"),
    Capability("UIDBATCHES", "draft-ietf-mailmaint-imap-uidbatches §3", "scripts/imap/uidbatches.txt"),
    Capability("IDLE", "RFC 2177 §3", "scripts/imap/idle.txt"),
    Capability("NOTIFY", "RFC 5465 §3", "scripts/imap/notify.txt"),
    Capability("UNSELECT", "RFC 3691 §2", "scripts/imap/close.txt"),
    Capability("UIDPLUS", "RFC 4315 §2", "scripts/imap/expunge.txt"),
    Capability("BINARY", "RFC 3516 §4", "scripts/imap/binary.txt"),
    Capability("MULTIAPPEND", "RFC 3502 §6.3.11", "scripts/imap/multiappend.txt"),
    Capability("CATENATE", "RFC 4469 §3", "scripts/imap/catenate.txt"),
    Capability("REPLACE", "RFC 8508 §3", "scripts/imap/replace.txt"),
    Capability("OBJECTID", "RFC 8474 §2", "scripts/imap/objectid.txt"),
    Capability("SAVEDATE", "RFC 8514 §4", "scripts/imap/savedate.txt"),
    Capability("PREVIEW", "RFC 8970 §3", "scripts/imap/preview.txt"),
    Capability("MOVE", "RFC 6851 §3", "scripts/imap/move.txt"),
    Capability("CONDSTORE", "RFC 7162 §3.1", "scripts/imap/condstore.txt"),
    Capability("QRESYNC", "RFC 7162 §3.2", "scripts/imap/qresync.txt"),
    Capability("UTF8=ACCEPT", "RFC 6855 §3", "scripts/imap/utf8-accept.txt"),
    Capability("STATUS=SIZE", "RFC 8438 §2", "scripts/imap/status.txt"),
    Capability("UIDONLY", "RFC 9586 §3", "scripts/imap/uidonly.txt"),
    Capability("UNAUTHENTICATE", "RFC 8437 §3", "scripts/imap/unauthenticate.txt"),
    Capability("COMPRESS=DEFLATE", "RFC 4978 §3", "unit/imap/test_compress.py"),
    Capability("INPROGRESS", "RFC 9585 §4", "unit/imap/test_sessions.py"),
    Capability("ACL", "RFC 4314 §1", "scripts/imap/acl.txt"),
    Capability("RIGHTS=texk", "RFC 4314 §2.2", "scripts/imap/acl.txt"),
    Capability("LIST-MYRIGHTS", "RFC 8440 §3", "scripts/imap/acl.txt"),
    Capability("QUOTA", "RFC 9208 §3", "scripts/imap/quota.txt"),
    Capability("QUOTA=RES-STORAGE", "RFC 9208 §5.1", "scripts/imap/quota.txt"),
    Capability("QUOTA=RES-MESSAGE", "RFC 9208 §5.2", "scripts/imap/quota.txt"),
    Capability("METADATA", "RFC 5464 §1", "scripts/imap/metadata.txt"),
    Capability("METADATA-SERVER", "RFC 5464 §1", "scripts/imap/metadata.txt"),
    Capability("LIST-METADATA", "RFC 9590 §3", "scripts/imap/metadata.txt"),
    Capability("APPENDLIMIT", "RFC 7889 §2", "scripts/imap/status.txt", value=lambda offer: str(offer.append_limit)),
    Capability("XLIST", "RFC 3501 §6.5.1", "scripts/imap/xlist.txt"),
)

# Whoever sees the one may rely on the others. IMAP4rev2 contains what were extensions of IMAP4rev1 (RFC 9051 appendix E).
_NEEDS: dict[str, tuple[str, ...]] = {
    "QRESYNC": ("CONDSTORE", "ENABLE"),
    "UTF8=ACCEPT": ("ENABLE",),
    "UIDONLY": ("ENABLE",),
    "SEARCHRES": ("ESEARCH",),
    "PARTIAL": ("ESEARCH",),
    "MULTISEARCH": ("ESEARCH",),
    "CONTEXT=SEARCH": ("ESEARCH",),
    "CONTEXT=SORT": ("CONTEXT=SEARCH", "ESORT"),
    "ESORT": ("ESEARCH", "SORT"),
    "SORT=DISPLAY": ("SORT",),
    "IMAP4rev2": (
        "BINARY", "CHILDREN", "ENABLE", "ESEARCH", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "LITERAL+", "MOVE", "NAMESPACE", "SEARCHRES",
        "SPECIAL-USE", "STATUS=SIZE", "UIDPLUS", "UNSELECT",
    ),
}  # fmt: skip

SWITCHES = tuple(one.name for one in CAPABILITIES if one.states & LOGGED_IN and one.name not in ("IMAP4rev1", "ID"))
"""What can be switched off for an account: all that is announced after login, but the protocol itself."""


def with_dependents(off: Collection[str]) -> frozenset[str]:
    """These names, and what cannot be without them."""
    whole = frozenset(off)
    while more := {name for name, needed in _NEEDS.items() if name not in whole and not whole.isdisjoint(needed)}:
        whole |= more
    return whole


def announced(offer: Offer, without: Collection[str] = ()) -> tuple[str, ...]:
    """What CAPABILITY says there, in the table's order. `without`: names switched off for this client."""
    return tuple(one.told(offer) for one in CAPABILITIES if one.states & offer.state and one.fits(offer) and one.name not in without)
