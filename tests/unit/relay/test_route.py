"""Where mail for a domain goes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from govmail.errors import MailError
from govmail.relay.route import (
    DnsUnavailable,
    LoopsBack,
    NoServer,
    NoSuchDomain,
    NullMx,
    Ourselves,
    route,
    smarthost,
)

US = Ourselves(frozenset({"mail.jx.example"}), frozenset({"192.0.2.250"}))


class Zone:
    """A name service out of two tables; a value that is an error is raised."""

    def __init__(
        self, mx: dict[str, Sequence[tuple[int, str]] | MailError], addresses: dict[str, Sequence[str] | MailError]
    ) -> None:
        self._mx, self._addresses = mx, addresses

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return _value(self._mx.get(domain, NoSuchDomain()))

    async def addresses(self, host: str) -> Sequence[str]:
        return _value(self._addresses.get(host, NoSuchDomain()))


def _value(found):  # type: ignore[no-untyped-def]
    if isinstance(found, MailError):
        raise found
    return found


async def hosts(domain: str, zone: Zone, *, seed: int = 1, limit: int = 6) -> list[tuple[str, str]]:
    found = await route(domain, zone, port=25, ourselves=US, rng=random.Random(seed), limit=limit)
    return [(one.host, one.address) for one in found]


async def test_better_preferences_come_first() -> None:
    zone = Zone({"a.example": [(20, "b.mx"), (10, "a.mx")]}, {"a.mx": ["192.0.2.1"], "b.mx": ["192.0.2.2"]})
    assert await hosts("a.example", zone) == [("a.mx", "192.0.2.1"), ("b.mx", "192.0.2.2")]


async def test_equal_preferences_share_the_load() -> None:
    zone = Zone({"a.example": [(10, "a.mx"), (10, "b.mx")]}, {"a.mx": ["192.0.2.1"], "b.mx": ["192.0.2.2"]})
    firsts = {(await hosts("a.example", zone, seed=seed))[0][0] for seed in range(20)}
    assert firsts == {"a.mx", "b.mx"}


async def test_families_take_turns() -> None:
    zone = Zone({"a.example": [(1, "a.mx")]}, {"a.mx": ["2001:db8::1", "2001:db8::2", "192.0.2.1"]})
    found = [address for _, address in await hosts("a.example", zone)]
    assert ":" in found[0] and found[1] == "192.0.2.1"


async def test_no_mx_means_the_domain_itself() -> None:
    assert await hosts("a.example", Zone({"a.example": []}, {"a.example": ["192.0.2.9"]})) == [("a.example", "192.0.2.9")]


async def test_null_mx_is_permanent() -> None:
    with pytest.raises(NullMx) as caught:
        await hosts("a.example", Zone({"a.example": [(0, "")]}, {"a.example": ["192.0.2.9"]}))
    assert caught.value.status == "5.1.10"


async def test_a_null_mx_beside_real_ones_is_ignored() -> None:
    zone = Zone({"a.example": [(0, ""), (10, "a.mx")]}, {"a.mx": ["192.0.2.1"]})
    assert await hosts("a.example", zone) == [("a.mx", "192.0.2.1")]


async def test_no_such_domain_is_permanent() -> None:
    with pytest.raises(NoSuchDomain):
        await hosts("nowhere.example", Zone({}, {}))


async def test_dns_trouble_is_temporary() -> None:
    with pytest.raises(DnsUnavailable):
        await hosts("a.example", Zone({"a.example": DnsUnavailable()}, {}))
    zone = Zone({"a.example": [(1, "a.mx"), (2, "b.mx")]}, {"a.mx": DnsUnavailable(), "b.mx": NoSuchDomain()})
    with pytest.raises(DnsUnavailable):
        await hosts("a.example", zone)


async def test_one_server_without_an_answer_does_not_hide_the_other() -> None:
    zone = Zone({"a.example": [(1, "a.mx"), (2, "b.mx")]}, {"a.mx": DnsUnavailable(), "b.mx": ["192.0.2.2"]})
    assert await hosts("a.example", zone) == [("b.mx", "192.0.2.2")]


async def test_servers_without_addresses_are_no_servers() -> None:
    with pytest.raises(NoServer):
        await hosts("a.example", Zone({"a.example": [(1, "a.mx")]}, {"a.mx": []}))


async def test_only_better_servers_than_ourselves_are_tried() -> None:
    zone = Zone(
        {"a.example": [(10, "a.mx"), (20, "mail.jx.example"), (20, "same.mx"), (30, "c.mx")]},
        {"a.mx": ["192.0.2.1"], "same.mx": ["192.0.2.2"], "c.mx": ["192.0.2.3"]},
    )
    for seed in range(8):
        assert await hosts("a.example", zone, seed=seed) == [("a.mx", "192.0.2.1")]


@pytest.mark.parametrize("host", ["mail.jx.example", "other-name.mx"])
async def test_mail_never_loops_back_to_us(host: str) -> None:
    zone = Zone({"a.example": [(10, host)]}, {host: ["192.0.2.250"]})
    with pytest.raises(LoopsBack) as caught:
        await hosts("a.example", zone)
    assert caught.value.status == "5.4.6"


async def test_no_more_addresses_than_the_limit() -> None:
    zone = Zone({"a.example": [(1, "a.mx")]}, {"a.mx": [f"192.0.2.{n}" for n in range(1, 100)]})
    assert len(await hosts("a.example", zone, limit=3)) == 3


async def test_address_literal() -> None:
    assert await hosts("[192.0.2.7]", Zone({}, {})) == [("[192.0.2.7]", "192.0.2.7")]
    assert await hosts("[IPv6:2001:db8::7]", Zone({}, {})) == [("[IPv6:2001:db8::7]", "2001:db8::7")]
    with pytest.raises(LoopsBack):
        await hosts("[192.0.2.250]", Zone({}, {}))


async def test_smarthost_is_not_asked_for_mx() -> None:
    zone = Zone({"relay.example": [(1, "other.mx")]}, {"relay.example": ["192.0.2.5"]})
    found = await smarthost("relay.example:587", zone, rng=random.Random(1), limit=6)
    assert [(one.host, one.address, one.port) for one in found] == [("relay.example", "192.0.2.5", 587)]
    found = await smarthost("[2001:db8::5]:25", zone, rng=random.Random(1), limit=6)
    assert [(one.address, one.port) for one in found] == [("2001:db8::5", 25)]


async def test_a_smarthost_that_is_missing_keeps_the_mail_waiting() -> None:
    with pytest.raises(DnsUnavailable):
        await smarthost("typo.example:25", Zone({}, {}), rng=random.Random(1), limit=6)
