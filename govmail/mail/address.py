"""Addresses and reverse-paths in canonical form.

Invariants: `Address.domain` is lower-case ASCII (A-labels, RFC 5890) or an address literal in brackets;
`Address.local` is NFC text without quoting; two addresses with the same `key` reach the same mailbox.

RFC 5321 §4.1.2 (grammar), RFC 6531 §3.3 (internationalised), RFC 5321 §4.5.3.1 (lengths in octets).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

import idna

from govmail.errors import BadAddress

LOCAL_OCTETS = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_OCTETS = 255  # RFC 5321 §4.5.3.1.2

# Dot-string = Atom *("." Atom); atext of RFC 5322 §3.2.3 widened by UTF8-non-ascii (RFC 6531 §3.3)
_DOT_STRING = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+)*\Z")
# Quoted-string = DQUOTE *(qtextSMTP / quoted-pairSMTP) DQUOTE
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"\Z')
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")  # RFC 5321 sub-domain
_PLAIN_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")


def canonical_domain(text: str) -> str:
    """Lower-case A-label form of a domain, or an address literal in its shortest form.

    Raises BadAddress. `text` may be in any case and hold U-labels; a trailing dot is not allowed (RFC 5321 §2.3.5).
    """
    if text.startswith("["):
        return _literal(text)
    lowered = text.lower()
    if not lowered.isascii():
        try:
            lowered = idna.encode(unicodedata.normalize("NFC", lowered), uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise BadAddress("bad domain name") from error
    if not _PLAIN_DOMAIN.match(lowered) or len(lowered) > DOMAIN_OCTETS:
        raise BadAddress("bad domain name")
    if not all(_LABEL.match(label) for label in lowered.split(".")):
        raise BadAddress("bad domain name")
    return lowered


def _literal(text: str) -> str:
    # address-literal = "[" ( IPv4-address-literal / IPv6-address-literal ) "]", RFC 5321 §4.1.3
    inner = text[1:-1]
    if not text.endswith("]"):
        raise BadAddress("bad address literal")
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as error:
        raise BadAddress("bad address literal") from error


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox address: `local` unquoted NFC text as the sender wrote it, `domain` canonical."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in `text` (no angle brackets, no route). Raises BadAddress."""
        local, at, domain = text.rpartition("@")
        if not at or not local or not domain:
            raise BadAddress("an address has the form local@domain")
        if local.startswith('"'):
            quoted = _QUOTED.match(local)
            if quoted is None:
                raise BadAddress("bad quoted local part")
            local = re.sub(r"\\(.)", r"\1", quoted[1])
        elif not _DOT_STRING.match(local):
            raise BadAddress("bad local part")
        local = unicodedata.normalize("NFC", local)
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in local):
            raise BadAddress("control character in local part")
        if len(local.encode()) > LOCAL_OCTETS:
            raise BadAddress("local part too long")
        return cls(local, canonical_domain(domain))

    @property
    def key(self) -> str:
        """What is compared and stored as unique: the case of the local part does not matter here."""
        return f"{self.local.casefold()}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Whether the address can be sent without SMTPUTF8."""
        return self.local.isascii()

    def __str__(self) -> str:
        if _DOT_STRING.match(self.local):
            return f"{self.local}@{self.domain}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path: an address, or the null path `<>` of notifications (RFC 5321 §4.5.5)."""

    address: Address | None

    @classmethod
    def parse(cls, text: str) -> Path:
        """From the text between the angle brackets. Raises BadAddress."""
        return cls(Address.parse(text) if text else None)

    @property
    def null(self) -> bool:
        return self.address is None

    def __str__(self) -> str:
        return str(self.address) if self.address else ""


NULL_PATH = Path(None)
