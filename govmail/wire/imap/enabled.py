"""What a client has enabled: how its commands are read, and how it is answered.

Invariants: values are few and shared, so a connection holds one pointer.

RFC 5161 (ENABLE); RFC 7162 §3.1, §3.2.3 (CONDSTORE, QRESYNC); RFC 6855 §3 (UTF8=ACCEPT); RFC 9051 (IMAP4rev2); RFC 9586 (UIDONLY).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Enabled:
    """`condstore` may also have come from a command that only CONDSTORE has."""

    condstore: bool = False
    qresync: bool = False
    utf8_accept: bool = False
    rev2: bool = False
    uid_only: bool = False

    @property
    def utf8(self) -> bool:
        """Mailbox names are UTF-8 in both directions, not modified UTF-7 (RFC 6855 §3, RFC 9051 §5.1)."""
        return self.utf8_accept or self.rev2

    @property
    def vanished(self) -> bool:
        """VANISHED takes the place of EXPUNGE (RFC 7162 §3.2.10, RFC 9586 §3.4)."""
        return self.qresync or self.uid_only

    def plus(self, name: str) -> Enabled:
        """With capability `name`, in capitals, which must be one of `NAMES`."""
        more = replace(self, **dict.fromkeys(_FIELDS[name], True))
        return _SHARED.setdefault(more, more)


_FIELDS: dict[str, tuple[str, ...]] = {
    "CONDSTORE": ("condstore",),
    "QRESYNC": ("qresync", "condstore"),  # RFC 7162 §3.2.3
    "UTF8=ACCEPT": ("utf8_accept",),
    "IMAP4REV2": ("rev2",),
    "UIDONLY": ("uid_only",),
}
NAMES = frozenset(_FIELDS)
"""What can be enabled, in capitals."""

NOTHING = Enabled()
_SHARED = {NOTHING: NOTHING}
