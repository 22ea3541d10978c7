"""Routing beside a real name server: what each of its answers means for a mail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from govmail.errors import MailError
from govmail.relay.attempt import Relay
from govmail.relay.outcome import Result
from govmail.relay.route import (
    DnsUnavailable,
    NoServer,
    NoSuchDomain,
    NullMx,
    Ourselves,
    SystemDns,
    route,
    smarthost,
)
from tests.kit.nameserver import SILENT, running_nameserver
from tests.kit.peer import Peer, running
from tests.unit.relay.test_relay import config, shipment

ZONE = {
    "two.example": {"MX": ["20 mx2.example.", "10 MX1.example."]},
    "mx1.example": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "mx2.example": {"A": ["192.0.2.2"]},
    "null.example": {"MX": ["0 ."], "A": ["192.0.2.9"]},
    "bare.example": {"A": ["192.0.2.3"]},
    "six.example": {"AAAA": ["2001:db8::6"]},
    "empty.example": {"TXT": ['"v=spf1 -all"']},
    "alias.example": {"CNAME": ["two.example."]},
    "www.example": {"CNAME": ["bare.example."]},
    "hosted.example": {"MX": ["10 mail.hosted.example."]},
    "mail.hosted.example": {"CNAME": ["mx2.example."]},
    "dangling.example": {"MX": ["10 gone.example.", "20 empty.example."]},
    "halfway.example": {"MX": ["10 broken.example.", "20 mx2.example."]},
    "lost.example": {"CNAME": ["gone.example."]},
    "slow.example": {"MX": ["10 broken.example.", "20 gone.example."]},
}  # fmt: skip
FAILING = {
    "broken.example": dns.rcode.SERVFAIL, "servfail.example": dns.rcode.SERVFAIL, "refused.example": dns.rcode.REFUSED,
    "silent.example": SILENT,
}  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running_nameserver(records=ZONE, failing=FAILING) as port:
        yield port


@pytest.fixture
def system(port: int, tmp_path: Path) -> SystemDns:
    return asking(port, tmp_path, timeout=60.0)


def asking(port: int, directory: Path, *, timeout: float) -> SystemDns:
    file = directory / "resolv.conf"
    file.write_text("search jx.example\nnameserver 127.0.0.1\n")
    return SystemDns(timeout, resolv_conf=str(file), port=port)


async def endpoints(domain: str, system: SystemDns) -> list[tuple[str, str]]:
    us = Ourselves(frozenset({"mail.jx.example"}), frozenset())
    return [(one.host, one.address) for one in await route(domain, system, port=25, ourselves=us, rng=random.Random(1), limit=6)]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("two.example", [("mx1.example", "2001:db8::1"), ("mx1.example", "192.0.2.1"), ("mx2.example", "192.0.2.2")]),
        ("bare.example", [("bare.example", "192.0.2.3")]),
        ("six.example", [("six.example", "2001:db8::6")]),
        ("alias.example", [("mx1.example", "2001:db8::1"), ("mx1.example", "192.0.2.1"), ("mx2.example", "192.0.2.2")]),
        ("www.example", [("www.example", "192.0.2.3")]),
        ("hosted.example", [("mail.hosted.example", "192.0.2.2")]),
        ("halfway.example", [("mx2.example", "192.0.2.2")]),
    ],
)
async def test_where_a_domain_is_served(system: SystemDns, domain: str, expected: list[tuple[str, str]]) -> None:
    assert await endpoints(domain, system) == expected


@pytest.mark.parametrize(
    ("domain", "error", "status"),
    [
        ("nowhere.example", NoSuchDomain, "5.1.2"),
        ("lost.example", NoSuchDomain, "5.1.2"),
        ("null.example", NullMx, "5.1.10"),
        ("empty.example", NoServer, "5.4.4"),
        ("dangling.example", NoServer, "5.4.4"),
        ("servfail.example", DnsUnavailable, "4.4.3"),
        ("refused.example", DnsUnavailable, "4.4.3"),
        ("slow.example", DnsUnavailable, "4.4.3"),  # one of its servers may be there after all
    ],
)
async def test_why_a_domain_cannot_be_served(system: SystemDns, domain: str, error: type[MailError], status: str) -> None:
    with pytest.raises(error) as caught:
        await endpoints(domain, system)
    assert (type(caught.value), caught.value.status) == (error, status)


async def test_a_name_server_that_is_silent_is_temporary(port: int, tmp_path: Path) -> None:
    with pytest.raises(DnsUnavailable):
        await endpoints("silent.example", asking(port, tmp_path, timeout=0.3))


async def test_without_a_resolv_conf_this_machine_is_asked(port: int, tmp_path: Path) -> None:
    for text in (None, "# no server\n"):
        file = tmp_path / "absent"
        if text is not None:
            file.write_text(text)
        assert await endpoints("bare.example", SystemDns(60.0, resolv_conf=str(file), port=port)) == [("bare.example", "192.0.2.3")]


async def test_a_smarthost_by_name(system: SystemDns) -> None:
    found = await smarthost("mx2.example:587", system, rng=random.Random(1), limit=6)
    assert [(one.host, one.address, one.port) for one in found] == [("mx2.example", "192.0.2.2", 587)]
    for host in ("nowhere.example", "empty.example", "servfail.example"):
        with pytest.raises(DnsUnavailable):
            await smarthost(f"{host}:25", system, rng=random.Random(1), limit=6)


async def test_servers_that_are_down_are_passed_over(tmp_path: Path) -> None:
    """Two better ones refuse the connection, the third takes the mail."""
    zone = {
        "a.example": {"MX": ["30 mx3.example.", "10 mx1.example.", "20 mx2.example."]},
        "mx1.example": {"A": ["127.0.0.2"]},
        "mx2.example": {"A": ["127.0.0.3"]},
        "mx3.example": {"A": ["127.0.0.4"]},
    }
    with running_nameserver(records=zone) as port:
        peer = Peer()
        async with running(peer, "127.0.0.4"):
            relay = Relay(config(peer.port), asking(port, tmp_path, timeout=60.0))
            (outcome,) = await relay.send("a.example", shipment("x@a.example"))
            (lost,) = await relay.send("gone.example", shipment("x@gone.example"))
    assert (outcome.result, outcome.mta) == (Result.DELIVERED, "mx3.example [127.0.0.4]")
    assert (lost.result, lost.status) == (Result.PERMANENT, "5.1.2")
