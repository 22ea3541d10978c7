"""What a person may do in a mailbox: the letters of the standard, and what they open.

Invariants: a set of rights is a text of letters of `ALL`, each once, in that order; nothing here knows people or the store.

RFC 4314 §2.1 (rights), §2.1.1 (the obsolete c and d), §4 (rights and flags).
"""

from __future__ import annotations

from collections.abc import Iterable

from govmail.store.values import Flag

ALL = "lrswipkxtea"
OBSOLETE = {"c": "k", "d": "xte"}

ALL_FLAGS = int(~Flag(0) & 31)
ALL_KEYWORDS = 2**63 - 1


def ordered(letters: Iterable[str]) -> str:
    """The letters that are rights, each once, in their order; obsolete ones as what they mean now."""
    chosen = set(letters)
    for letter, meaning in OBSOLETE.items():
        if letter in chosen:
            chosen.update(meaning)
    return "".join(letter for letter in ALL if letter in chosen)


def told(rights: str) -> str:
    """As responses say it: with c and d for clients that know no others (RFC 4314 §2.1.1)."""
    return rights + "".join(old for old, meaning in OBSOLETE.items() if any(letter in rights for letter in meaning))


def effective(entries: Iterable[tuple[bool, str]]) -> str:
    """(negative, rights) of all identifiers that stand for a person together: what is denied is denied (RFC 4314 §2)."""
    granted: set[str] = set()
    denied: set[str] = set()
    for negative, rights in entries:
        (denied if negative else granted).update(rights)
    return ordered(granted - denied)


def flag_masks(rights: str) -> tuple[int, int]:
    r"""(system flags, keywords) that may be changed: s for \Seen, t for \Deleted, w for all others (RFC 4314 §4)."""
    flags = 0
    if "s" in rights:
        flags |= Flag.SEEN
    if "t" in rights:
        flags |= Flag.DELETED
    if "w" in rights:
        flags |= ALL_FLAGS & ~(Flag.SEEN | Flag.DELETED)
    return int(flags), ALL_KEYWORDS if "w" in rights else 0


def changes_anything(rights: str) -> bool:
    r"""Whether SELECT is READ-WRITE (RFC 4314 §5.2); every flag is shared here, \Seen too."""
    return any(letter in rights for letter in "swite")
