"""Whether the name of this server is one that others can find it by: MX, SPF, certificates and greetings rest on it."""

from __future__ import annotations

from admin.texts import say
from govmail.errors import BadAddress
from govmail.mail.address import canonical_domain

# Names that mean something else, or nothing, on other machines: RFC 6761 §6.3 and §6.4, RFC 6762 §3, RFC 9476 §2, RFC 8375,
# and what installers put behind a machine's name.
_NOWHERE = frozenset({"localhost", "invalid", "local", "localdomain", "internal", "alt", "arpa", "lan", "home", "onion"})


def problem(hostname: str) -> str:
    """Why other servers cannot use the name, and which setting to change; "" when they can."""
    try:
        labels = canonical_domain(hostname).split(".")
    except BadAddress:
        labels = []
    if len(labels) < 2 or labels[-1] in _NOWHERE or labels[-1].isdigit() or hostname.startswith("["):
        return say("hostname_local", hostname=hostname)
    return ""
