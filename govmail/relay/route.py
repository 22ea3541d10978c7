"""Which servers take mail for a domain, in the order in which they are tried.

Invariants: what DNS could not answer is a temporary failure, never "no such domain"; no route leads back to this server;
at most `Limits.mx_addresses` addresses are tried.

RFC 5321 §5.1 (MX and addresses, order, loops), RFC 7505 (null MX), RFC 8305 §4 (address families take turns).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.resolver

from govmail.config import Config
from govmail.errors import MailError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one server. `host` is its name as the MX or the operator gave it, for TLS and for reports."""

    host: str
    address: str
    port: int

    @property
    def mta(self) -> str:
        """As reports show it; the name comes first (Remote-MTA of RFC 3464 §2.3.5)."""
        return self.host if self.host in (self.address, f"[{self.address}]") else f"{self.host} [{self.address}]"


class NoSuchDomain(MailError):
    status = "5.1.2"
    text = "domain does not exist"


class NullMx(MailError):
    """RFC 7505 §4.2: the domain accepts no mail."""

    status = "5.1.10"
    text = "domain accepts no mail (null MX)"


class NoServer(MailError):
    status = "5.4.4"
    text = "no mail server found for the domain"


class LoopsBack(MailError):
    status = "5.4.6"
    text = "mail for the domain loops back to this server, which is not responsible for it"


class DnsUnavailable(MailError):
    status = "4.4.3"
    text = "name server not available"


class Dns(Protocol):
    """The two questions that routing asks; raises NoSuchDomain for NXDOMAIN and DnsUnavailable when there is no answer."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """Preference and host of each MX record; empty when there is none. The null MX has the host ""."""

    async def addresses(self, host: str) -> Sequence[str]:
        """IPv6 and IPv4 addresses as texts; empty when there is none."""


class SystemDns:
    """The servers in /etc/resolv.conf, asked through dnspython."""

    def __init__(self, timeout: float = 20.0, *, resolv_conf: str = "/etc/resolv.conf", port: int = 53) -> None:
        """`timeout`: seconds for one question, however many servers there are. `resolv_conf` and `port`: of tests."""
        try:
            self._resolver = dns.asyncresolver.Resolver(resolv_conf)
        except dns.resolver.NoResolverConfiguration:  # none, or no server in it: this machine, as for libc (resolv.conf(5))
            self._resolver = dns.asyncresolver.Resolver(configure=False)
            self._resolver.nameservers = ["127.0.0.1"]
        self._resolver.port = port
        self._resolver.lifetime = timeout

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return [(record.preference, str(record.exchange).rstrip(".").lower()) for record in await self._ask(domain, "MX")]

    async def addresses(self, host: str) -> Sequence[str]:
        six, four = await asyncio.gather(self._family(host, "AAAA"), self._family(host, "A"))
        if isinstance(six, MailError) and isinstance(four, MailError):
            raise four if four.temporary else six
        found = [*_records(six), *_records(four)]
        for failed in (six, four):
            # One family unanswered and the other empty is not "no address"
            if isinstance(failed, DnsUnavailable) and not found:
                raise failed
        return found

    async def _family(self, host: str, kind: str) -> list[str] | MailError:
        try:
            return [record.address for record in await self._ask(host, kind)]
        except MailError as error:
            return error

    async def _ask(self, name: str, kind: str) -> dns.resolver.Answer | tuple[()]:
        try:
            return await self._resolver.resolve(name + ".", kind)
        except dns.resolver.NoAnswer:
            return ()
        except dns.resolver.NXDOMAIN as error:
            raise NoSuchDomain(f"{name}: no such domain") from error
        except dns.exception.DNSException as error:
            raise DnsUnavailable(f"{name}: name server not available", private=str(error)) from error


def _records(found: list[str] | MailError) -> list[str]:
    return [] if isinstance(found, MailError) else found


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What a route must not lead to: our names, and our addresses on the port that mail goes to."""

    names: frozenset[str]
    addresses: frozenset[str]

    @classmethod
    def of(cls, config: Config) -> Ourselves:
        listening = {one.host for one in config.listener if one.protocol == "smtp" and one.port == config.queue.port}
        if any(ipaddress.ip_address(host).is_unspecified for host in listening):
            listening |= {"127.0.0.1", "::1"}
        return cls(frozenset({config.hostname.lower()}), frozenset(listening))

    def __contains__(self, endpoint: Endpoint) -> bool:
        return endpoint.host in self.names or endpoint.address in self.addresses


async def route(domain: str, dns: Dns, *, port: int, ourselves: Ourselves, rng: random.Random, limit: int) -> list[Endpoint]:
    """Where mail for `domain` (canonical) goes, best first; at least one endpoint.

    Raises NoSuchDomain, NullMx, NoServer, LoopsBack or DnsUnavailable.
    """
    if domain.startswith("["):
        return _without_us([Endpoint(domain, domain[1:-1].removeprefix("IPv6:"), port)], ourselves)
    records = await dns.mx(domain)
    if any(not host for _, host in records):
        if len(records) == 1:
            raise NullMx(f"{domain} accepts no mail (null MX)")
        records = [(preference, host) for preference, host in records if host]
    found: list[tuple[int, Endpoint]] = []
    missing: MailError | None = None
    # RFC 5321 §5.1: without MX records the domain itself is its server
    for preference, host in _ordered(records, rng) if records else [(0, domain)]:
        try:
            addresses = () if host in ourselves.names else await dns.addresses(host)
        except MailError as error:
            if missing is None or error.temporary:
                missing = error
            continue
        endpoints = [Endpoint(host, address, port) for address in _alternate(addresses, rng)]
        if host in ourselves.names or any(endpoint in ourselves for endpoint in endpoints):
            # RFC 5321 §5.1: only servers with a better preference than our own may be tried
            found = [one for one in found if one[0] < preference]
            if not found:
                raise LoopsBack(f"mail for {domain} loops back to this server")
            break
        found += [(preference, endpoint) for endpoint in endpoints]
        if len(found) >= limit:
            break
    if not found:
        if missing is not None and (missing.temporary or not records):
            raise missing
        raise NoServer(f"no mail server of {domain} has an address")
    return [endpoint for _, endpoint in found][:limit]


async def smarthost(where: str, dns: Dns, *, rng: random.Random, limit: int) -> list[Endpoint]:
    """The endpoints of `host:port`; its MX records are not asked. Raises NoServer, NoSuchDomain, DnsUnavailable.

    A smarthost that cannot be found is the operator's mistake, so it is always a temporary failure for the mail.
    """
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    try:
        addresses: Sequence[str] = [str(ipaddress.ip_address(host))]
    except ValueError:
        try:
            addresses = await dns.addresses(host)
        except NoSuchDomain as error:
            raise DnsUnavailable(f"smarthost {host} does not exist") from error
    if not addresses:
        raise DnsUnavailable(f"smarthost {host} has no address")
    return [Endpoint(host, address, int(port)) for address in _alternate(addresses, rng)][:limit]


def _without_us(endpoints: list[Endpoint], ourselves: Ourselves) -> list[Endpoint]:
    if any(endpoint in ourselves for endpoint in endpoints):
        raise LoopsBack()
    return endpoints


def _ordered(records: Sequence[tuple[int, str]], rng: random.Random) -> list[tuple[int, str]]:
    """By preference; equal ones in random order (RFC 5321 §5.1)."""
    shuffled = list(records)
    rng.shuffle(shuffled)
    return sorted(shuffled, key=lambda record: record[0])


def _alternate(addresses: Sequence[str], rng: random.Random) -> list[str]:
    """Each family in random order, the families in turn, so that one that does not work costs one attempt."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    rng.shuffle(six)
    rng.shuffle(four)
    return [address for address in chain.from_iterable(zip_longest(six, four)) if address is not None]
