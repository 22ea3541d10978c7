"""A smarthost over TLS: who is believed, and what happens to the mail when nobody can be."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from govmail.config import Config, find_problem
from govmail.relay.attempt import Relay
from govmail.relay.outcome import Outcome, Result
from tests.kit.peer import Peer, running
from tests.kit.tls import Authority
from tests.unit.relay.test_relay import config, shipment

NAME = "relay.example"


class Here:
    """Every host is this machine."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        return [(10, NAME)]

    async def addresses(self, host: str) -> Sequence[str]:
        return ["127.0.0.1"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def send(peer: Peer, ca_file: str, *, host: str = NAME, **queue: object) -> Outcome:
    settings = config(peer.port, **{"smarthost": f"{host}:{peer.port}", "smarthost_tls": "verified"} | queue)
    (outcome,) = await Relay(settings, Here(), password="secret", ca_file=ca_file).send("a.example", shipment("x@a.example"))
    return outcome


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    return str(tmp_path / "ca.pem")


async def test_a_certificate_of_a_trusted_authority_for_the_right_name(authority: Authority, ca_file: str) -> None:
    async with running(Peer(tls=authority.server(NAME))) as peer:
        outcome = await send(peer, ca_file)
    assert outcome.result is Result.DELIVERED
    assert [taken.tls for taken in peer.taken] == [True]


async def test_a_password_goes_to_whom_the_authority_knows(authority: Authority, ca_file: str) -> None:
    async with running(Peer({"AUTH": b"235 2.7.0 hello\r\n"}, ehlo=["AUTH PLAIN"], tls=authority.server(NAME))) as peer:
        outcome = await send(peer, ca_file, smarthost_user="gov")
    assert outcome.result is Result.DELIVERED
    assert any(line.startswith("AUTH PLAIN ") for line in peer.commands)


def strangers(authority: Authority) -> dict[str, ssl.SSLContext | None]:
    return {
        "another name": authority.server("other.example"),
        "another authority": Authority().server(NAME),
        "run out": authority.server(NAME, days=-1),
        "no TLS": None,
    }


@pytest.mark.parametrize("who", ["another name", "another authority", "run out", "no TLS"])
@pytest.mark.parametrize("user", ["", "gov"])
async def test_nobody_else_gets_the_mail_or_the_password(authority: Authority, ca_file: str, who: str, user: str) -> None:
    async with running(Peer({"AUTH": b"235 2.7.0 hello\r\n"}, ehlo=["AUTH PLAIN"], tls=strangers(authority)[who])) as peer:
        outcome = await send(peer, ca_file, smarthost_user=user)
    assert outcome.result is Result.TEMPORARY
    assert outcome.status in ("4.7.4", "4.7.5")
    assert ("certificate not valid" in outcome.text) == (who != "no TLS")
    assert peer.taken == []
    assert {line.split(" ")[0] for line in peer.commands} <= {"EHLO", "STARTTLS", "QUIT"}


async def test_a_refused_starttls_is_no_way_around_it(authority: Authority, ca_file: str) -> None:
    async with running(Peer({"STARTTLS": b"454 4.7.0 not now\r\n"}, tls=authority.server(NAME))) as peer:
        outcome = await send(peer, ca_file)
    assert (outcome.result, outcome.status, peer.taken) == (Result.TEMPORARY, "4.7.4", [])


async def test_replies_behind_starttls_in_clear_are_not_read_after_the_handshake(authority: Authority, ca_file: str) -> None:
    """Somebody in between answers for the server before TLS begins: nothing of it counts afterwards."""
    injected = b"220 go on\r\n250-relay.example\r\n250 AUTH PLAIN\r\n235 2.7.0 in\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n"
    async with running(Peer({"STARTTLS": injected, "MAIL": b"550 5.7.1 no\r\n"}, tls=authority.server(NAME))) as peer:
        outcome = await send(peer, ca_file)
    assert outcome.result is not Result.DELIVERED
    assert peer.taken == []


async def test_where_nothing_is_demanded_any_certificate_is_better_than_none(authority: Authority) -> None:
    async with running(Peer(tls=authority.server("other.example"))) as peer:
        outcome = await send(peer, "", smarthost_tls="opportunistic")
    assert outcome.result is Result.DELIVERED
    assert [taken.tls for taken in peer.taken] == [True]


def test_a_configuration_that_demands_tls_and_forbids_it() -> None:
    queue = msgspec.structs.replace(Config().queue, smarthost="relay.example:587", smarthost_tls="verified", tls="never")
    assert "smarthost_tls" in (find_problem(Config(queue=queue)) or "")
