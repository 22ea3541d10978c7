"""Addresses from Chinese names: full pinyin with the right surname readings, and a suffix that does not depend on order.

Invariants: suggestions are lower-case ASCII letters and digits; the same name, domain and set of taken addresses give the
same suggestion; a reserved local part is never suggested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from govmail.mail.address import LOCAL_OCTETS, Address
from govmail.mail.pinyin import pinyin

__all__ = ["RESERVED", "pinyin", "suggest"]

RESERVED = frozenset(
    ["abuse", "admin", "administrator", "daemon", "ftp", "hostmaster", "info", "list", "mail", "mailer-daemon", "marketing", "news", "noc", "nobody", "noreply", "postmaster", "root", "sales", "security", "support", "system", "usenet", "uucp", "webmaster", "www"]
)

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def suggest(name: str, domain: str, taken: Callable[[Address], bool]) -> Address:
    """The address for a person: full pinyin, then with 2, 3, 4 … behind it; "u" where the name cannot be read.

    `taken` answers for addresses that are in use or that the ledger still binds.
    """
    for local in _candidates(pinyin(name).replace(" ", "")):
        address = Address(local, domain)
        if local not in RESERVED and not taken(address):
            return address
    raise AssertionError("candidates do not end")


def _candidates(stem: str) -> Iterator[str]:
    plain = (_NOT_PLAIN.sub("", stem) or "u")[: LOCAL_OCTETS - 8]
    yield plain
    number = 2
    while True:
        yield f"{plain}{number}"
        number += 1
