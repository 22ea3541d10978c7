"""Clients that are known to bear a capability badly, by what they say of themselves.

Invariants: a quirk only takes away; what a client says is a hint, so nothing that guards anything may hang on it. Every
quirk is named in ARCHITECTURE.md.

RFC 2971 §3.3 (ID).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from govmail.store.values import NO_NAMES

# "Mac OS X Mail", "iPhone Mail", "iPad Mail", "com.apple.mail" …; others on Apple's systems say other names.
_APPLE = re.compile(r"(mac ?os|iphone|ipad|ios|apple|com\.apple)\b.*\bmail\b|apple mail|com\.apple\.", re.IGNORECASE)


def unfit(pairs: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The capabilities that this client is not to see. `pairs` as in ID, keys in lower case."""
    said = dict(pairs)
    if said.get("vendor", "").lower().startswith("apple") or _APPLE.match(said.get("name", "")):
        return frozenset({"IMAP4rev2"})  # an empty inbox was reported from Apple Mail on a server that announced it
    return NO_NAMES
