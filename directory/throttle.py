"""Guessing of passwords slowed: by account and source together, by account, by source.

Invariants
- Nobody is locked for good: a lock grows with each wrong password up to `Limits.login_lock_seconds`, and all is forgotten after as long
  again without one.
- An attempt counts when it begins, so that many at once gain nothing; it is taken back when it succeeds or when nothing was checked.
- The same wrong password again does not count: a telephone that knows an old one locks nobody out.
- Who has logged in from a source neither feels nor feeds the locks of the account and of the source, so neither an attacker elsewhere nor a
  colleague behind the same address keeps people out.
- A name that does not exist is counted as one that does. While locked, the right password is refused as well.
- Memory is bounded: the oldest are forgotten first.

RFC 4954 §4 (454 for temporary refusals), NIST SP 800-63B §5.2.2.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from govmail.config import Limits
from govmail.errors import AuthenticationBusy

log = structlog.stdlib.get_logger("directory.throttle")

Key = tuple[str, str]  # account, source; one of them is empty where only the other counts

FIRST_SECONDS = 2.0  # the first lock; each further wrong password doubles it
DIGEST_OCTETS = 8


@dataclass(slots=True)
class _Count:
    failures: int = 0
    last: float = 0.0
    until: float = 0.0
    digest: bytes = b""  # of the password tried last


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that is about to be checked. `added`: where it counts, with the end of the lock there before and after."""

    account: str
    source: str
    added: tuple[tuple[Key, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """What is refused at the moment; an empty account or source means any. `until`: seconds since the epoch."""

    account: str
    source: str
    failures: int
    until: float


class Throttle:
    """One for all protocols, on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._longest = limits.login_lock_seconds
        self._most = limits.login_throttle_entries
        self._free = (limits.login_failures_pair, limits.login_failures_account, limits.login_failures_source)
        self._counts: OrderedDict[Key, _Count] = OrderedDict()
        self._known: OrderedDict[Key, None] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def begin(self, account: str, source: str, password: str, now: float) -> Attempt:
        """Before a password is checked. `account`: its id, or the name that nobody has. Raises AuthenticationBusy."""
        source = network(source)
        pair = (account, source)
        keys = (pair,) if pair in self._known else (pair, (account, ""), ("", source))
        if any(self._count(key, now).until > now for key in keys if key in self._counts):
            raise AuthenticationBusy
        digest = hmac.digest(self._key, f"{account}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)[:DIGEST_OCTETS]
        count = self._count(pair, now)
        if count.digest == digest:
            return Attempt(account, source)
        count.digest = digest
        return Attempt(account, source, tuple(self._add(key, free, now) for key, free in zip(keys, self._free, strict=False)))

    def succeeded(self, attempt: Attempt) -> None:
        """The password was right: the pair starts anew and is known from now on."""
        pair = (attempt.account, attempt.source)
        self.undo(attempt)
        self._counts.pop(pair, None)
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def undo(self, attempt: Attempt) -> None:
        """The attempt says nothing about the password."""
        for key, before, after in attempt.added:
            count = self._counts.get(key)
            if count is None:
                continue
            count.failures -= 1
            count.digest = b""
            if count.until == after:  # nobody has failed since
                count.until = before
            if count.failures <= 0:
                del self._counts[key]

    def locks(self, now: float) -> list[Lock]:
        """What is refused now, the longest first."""
        found = [Lock(*key, count.failures, count.until) for key, count in self._counts.items() if count.until > now]
        return sorted(found, key=lambda one: -one.until)

    def clear(self, account: str) -> int:
        """Forget what was counted against an account, from wherever; how many counts that were."""
        found = [key for key in self._counts if key[0] == account]
        for key in found:
            del self._counts[key]
        return len(found)

    def _count(self, key: Key, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or now - max(count.last, count.until) > self._longest:
            count = self._counts[key] = _Count(last=now)
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
        return count

    def _add(self, key: Key, free: int, now: float) -> tuple[Key, float, float]:
        count = self._count(key, now)
        before = count.until
        count.failures += 1
        count.last = now
        self._counts.move_to_end(key)
        over = count.failures - free
        if over >= 0:
            count.until = now + min(self._longest, FIRST_SECONDS * 2.0 ** min(over, 32))
            log.warning("login.locked", account=key[0][:200], source=key[1], failures=count.failures, seconds=int(count.until - now))
        return key, before, count.until


def network(source: str) -> str:
    """Whom an address belongs to: an IPv4 address, or the /64 that an IPv6 address lies in (RFC 6177 §2)."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
