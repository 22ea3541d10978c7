"""The relay beside servers that behave badly."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence

import pytest

from govmail.config import Config, Queue
from govmail.errors import MailError
from govmail.mail.address import Address, Path
from govmail.mail.envelope import Notify, Recipient
from govmail.relay.attempt import Relay
from govmail.relay.client import Shipment
from govmail.relay.outcome import Outcome, Result
from govmail.relay.route import NoSuchDomain
from tests.kit.peer import DROP, HANG, Peer, running
from tests.kit.tls import server_context

MESSAGE = b"From: <a@jx.example>\r\nSubject: test\r\n\r\n.dot\r\nbody\r\n"


class Hosts:
    """a.example is served by the given loopback addresses, in this order of preference."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        if domain != "a.example":
            raise NoSuchDomain("no such domain")
        return [(n, f"mx{n}.example") for n in range(len(self._addresses))]

    async def addresses(self, host: str) -> Sequence[str]:
        return [self._addresses[int(host[2:].split(".")[0])]]


def config(port: int, **queue: object) -> Config:
    values: dict[str, object] = {"port": port, "connect_seconds": 60.0, "command_seconds": 60.0, "data_seconds": 60.0} | queue
    return Config(hostname="mail.jx.example", queue=Queue(**values))  # type: ignore[arg-type]


def shipment(*recipients: str | Recipient, message: bytes = MESSAGE, sender: str = "a@jx.example", **more: object) -> Shipment:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(message), 65_536):
            yield message[start : start + 65_536]

    to = tuple(one if isinstance(one, Recipient) else Recipient(Address.parse(one)) for one in recipients)
    return Shipment(Path.parse(sender), to, len(message), pieces, **more)  # type: ignore[arg-type]


async def send(peer: Peer, what: Shipment, *addresses: str, **queue: object) -> list[Outcome]:
    return await Relay(config(peer.port, **queue), Hosts(*(addresses or ("127.0.0.1",)))).send("a.example", what)


async def test_one_outcome_per_recipient_in_order() -> None:
    replies = {
        "RCPT TO:<gone": b"550 5.1.1 no such user\r\n",
        "RCPT TO:<full": b"452-4.2.2 the mailbox\r\n452 4.2.2 is full\r\n",
    }
    async with running(Peer(replies)) as peer:
        outcomes = await send(peer, shipment("full@a.example", "ok@a.example", "gone@a.example", "too@a.example"))
    assert [one.recipient.address.local for one in outcomes] == ["full", "ok", "gone", "too"]
    assert [one.result for one in outcomes] == [Result.TEMPORARY, Result.DELIVERED, Result.PERMANENT, Result.DELIVERED]
    assert outcomes[0].status == "4.2.2" and outcomes[0].text == "the mailbox\nis full"
    assert outcomes[1].mta == "mx0.example [127.0.0.1]"
    (taken,) = peer.taken
    assert taken.rcpts == ["RCPT TO:<ok@a.example>", "RCPT TO:<too@a.example>"]
    assert taken.data == MESSAGE.replace(b"\r\n.dot", b"\r\n..dot")


async def test_gbk_replies_arrive_readable() -> None:
    reply = b"550 black ip. (" + "发信IP被禁止".encode("gbk") + b")\r\n"
    for where in ("", "MAIL", "RCPT", "DATA", "."):
        async with running(Peer({where: reply})) as peer:
            (outcome,) = await send(peer, shipment("x@a.example"))
        assert (outcome.result, outcome.code, outcome.text) == (Result.PERMANENT, 550, "black ip. (发信IP被禁止)"), where


async def test_a_lost_connection_after_the_dot_is_not_tried_elsewhere() -> None:
    async with running(Peer({".": DROP})) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"), "127.0.0.1", "127.0.0.1")
    assert outcome.result is Result.TEMPORARY and outcome.code is None
    assert len(peer.taken) == 1


@pytest.mark.parametrize("where", ["", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", [DROP, b"421 4.3.2 going down\r\n", b"nonsense\r\n"])
async def test_the_next_server_is_tried(where: str, reply: bytes) -> None:
    async with running(Peer({where: reply})) as bad, running(Peer(port=bad.port), "127.0.0.2") as good:
        (outcome,) = await send(bad, shipment("x@a.example"), "127.0.0.1", "127.0.0.2")
    assert outcome.result is Result.DELIVERED, outcome
    assert outcome.mta == "mx1.example [127.0.0.2]"
    assert len(good.taken) == 1


@pytest.mark.parametrize("where", ["", "EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_server_that_hangs_costs_only_its_timeout(where: str) -> None:
    async with running(Peer({where: HANG})) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"), command_seconds=0.2, data_seconds=0.2)
    assert outcome.result is Result.TEMPORARY and outcome.status == "4.4.2"


async def test_a_server_that_is_down() -> None:
    async with running(Peer()) as peer:
        pass
    (outcome,) = await send(peer, shipment("x@a.example"))
    assert (outcome.result, outcome.status, outcome.code) == (Result.TEMPORARY, "4.4.1", None)


async def test_temporary_refusals_are_tried_at_the_next_server() -> None:
    async with running(Peer({"RCPT": b"450 4.2.0 later\r\n"})) as first, running(Peer(port=first.port), "127.0.0.2") as second:
        (outcome,) = await send(first, shipment("x@a.example"), "127.0.0.1", "127.0.0.2")
    assert outcome.result is Result.DELIVERED and len(second.taken) == 1


async def test_permanent_refusals_are_not() -> None:
    async with running(Peer({"RCPT": b"550 5.1.1 no\r\n"})) as first, running(Peer(port=first.port), "127.0.0.2") as second:
        (outcome,) = await send(first, shipment("x@a.example"), "127.0.0.1", "127.0.0.2")
    assert outcome.result is Result.PERMANENT and second.connections == 0


async def test_a_refusing_greeting_is_permanent_only_when_all_refuse() -> None:
    async with running(Peer({"": b"554 5.7.1 blocked\r\n"})) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
        assert outcome.result is Result.PERMANENT
        (outcome,) = await send(peer, shipment("x@a.example"), "127.0.0.1", "127.0.0.3")  # nobody listens there
        assert outcome.result is Result.TEMPORARY


async def test_old_servers_get_helo() -> None:
    async with running(Peer({"EHLO": b"502 what?\r\n"})) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert outcome.result is Result.DELIVERED
    assert peer.taken[0].mail == "MAIL FROM:<a@jx.example>"


async def test_too_many_recipients_come_in_the_next_transaction() -> None:
    replies = {"RCPT": [b"250 ok\r\n", b"250 ok\r\n", b"452 4.5.3 too many\r\n", b"250 ok\r\n"]}
    async with running(Peer(replies)) as peer:
        outcomes = await send(peer, shipment("a@a.example", "b@a.example", "c@a.example", "d@a.example"))
    assert all(one.result is Result.DELIVERED for one in outcomes)
    assert [len(one.rcpts) for one in peer.taken] == [2, 2]
    assert peer.connections == 1


async def test_size_is_checked_before_anything_is_sent() -> None:
    async with running(Peer(ehlo=["SIZE 40"])) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert (outcome.result, outcome.status) == (Result.PERMANENT, "5.3.4")
    assert not any(line.startswith("MAIL") for line in peer.commands)


async def test_internationalised_addresses_need_smtputf8() -> None:
    async with running(Peer(ehlo=["8BITMIME"])) as peer:
        outcomes = await send(peer, shipment("张三@a.example", "x@a.example"))
    assert [(one.result, one.status) for one in outcomes] == [(Result.PERMANENT, "5.6.7"), (Result.DELIVERED, "2.0.0")]
    async with running(Peer()) as peer:
        (outcome,) = await send(peer, shipment("张三@a.example"))
    assert outcome.result is Result.DELIVERED
    assert peer.taken[0].mail.endswith(" SMTPUTF8") and peer.taken[0].rcpts == ["RCPT TO:<张三@a.example>"]


async def test_dsn_parameters_are_passed_on() -> None:
    to = Recipient(Address.parse("x@a.example"), Notify.SUCCESS | Notify.FAILURE, "rfc822;x+y@a.example")
    async with running(Peer()) as peer:
        (outcome,) = await send(peer, shipment(to, ret_full=False, envid="QQ 1"))
    assert outcome.dsn_passed
    assert " RET=HDRS ENVID=QQ+201" in peer.taken[0].mail
    assert peer.taken[0].rcpts == ["RCPT TO:<x@a.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@a.example"]
    async with running(Peer(ehlo=[])) as peer:
        (outcome,) = await send(peer, shipment(to, ret_full=False, envid="QQ 1"))
    assert not outcome.dsn_passed
    assert peer.taken[0].rcpts == ["RCPT TO:<x@a.example>"]


async def test_the_null_path() -> None:
    async with running(Peer()) as peer:
        await send(peer, shipment("x@a.example", sender=""))
    assert peer.taken[0].mail.startswith("MAIL FROM:<> SIZE=")


async def test_a_refusal_in_the_middle_of_the_data_is_heard() -> None:
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 1_000_000
    async with running(Peer(ehlo=[], refuse_after=100_000)) as peer:
        (outcome,) = await send(peer, shipment("x@a.example", message=big))
    assert (outcome.result, outcome.status) in ((Result.PERMANENT, "5.3.4"), (Result.TEMPORARY, "4.4.2"))


async def test_a_server_that_says_yes_to_data_is_not_believed() -> None:
    async with running(Peer({"DATA": b"250 fine\r\n"})) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert outcome.result is Result.TEMPORARY


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls() -> ssl.SSLContext:
    return server_context()


async def test_tls_is_used_where_it_is_offered_whatever_the_certificate(tls: ssl.SSLContext) -> None:
    async with running(Peer(tls=tls)) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert outcome.result is Result.DELIVERED
    assert peer.taken[0].tls
    assert [line.split()[0] for line in peer.commands[:3]] == ["EHLO", "STARTTLS", "EHLO"]


async def test_refused_starttls_means_clear(tls: ssl.SSLContext) -> None:
    async with running(Peer({"STARTTLS": b"454 4.7.0 not now\r\n"}, tls=tls)) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert outcome.result is Result.DELIVERED and not peer.taken[0].tls
    assert peer.connections == 1


@pytest.mark.parametrize("answer", [b"220 go on\r\nthis is no TLS\r\n", DROP])
async def test_a_broken_handshake_means_clear_on_a_new_connection(answer: bytes) -> None:
    async with running(Peer({"STARTTLS": answer}, ehlo=["STARTTLS"])) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"))
    assert outcome.result is Result.DELIVERED and not peer.taken[0].tls
    assert peer.connections == 2


async def test_tls_can_be_switched_off(tls: ssl.SSLContext) -> None:
    async with running(Peer(tls=tls)) as peer:
        (outcome,) = await send(peer, shipment("x@a.example"), tls="never")
    assert outcome.result is Result.DELIVERED and not peer.taken[0].tls


# -- smarthost ----------------------------------------------------------------------------------------------------


async def test_a_smarthost_takes_everything_after_login(tls: ssl.SSLContext) -> None:
    async with running(Peer({"AUTH": b"235 2.7.0 hello\r\n"}, ehlo=["AUTH PLAIN"], tls=tls)) as peer:
        settings = config(peer.port, smarthost=f"127.0.0.1:{peer.port}", smarthost_user="gov")
        outcomes = await Relay(settings, Hosts(), password="secret").send("anything.example", shipment("x@anything.example"))
    assert outcomes[0].result is Result.DELIVERED
    assert any(line.startswith("AUTH PLAIN ") for line in peer.commands)


async def test_a_refused_login_keeps_the_mail_waiting() -> None:
    gbk = b"535 " + "认证失败".encode("gbk") + b"\r\n"
    async with running(Peer({"AUTH": gbk}, ehlo=["AUTH PLAIN"])) as peer:
        settings = config(peer.port, smarthost=f"127.0.0.1:{peer.port}", smarthost_user="gov")
        (outcome,) = await Relay(settings, Hosts(), password="secret").send("anything.example", shipment("x@anything.example"))
    assert outcome.result is Result.TEMPORARY and "认证失败" in outcome.text


async def test_routing_failures_are_outcomes() -> None:
    outcomes = await Relay(config(25), Hosts()).send("nowhere.example", shipment("x@nowhere.example"))
    assert (outcomes[0].result, outcomes[0].status) == (Result.PERMANENT, "5.1.2")
    assert issubclass(NoSuchDomain, MailError)


async def test_an_attempt_has_a_limit_as_a_whole() -> None:
    async with running(Peer({"RCPT TO:<slow": HANG})) as peer:
        async with asyncio.timeout(60):
            outcomes = await send(peer, shipment("no@a.example", "slow@a.example"), attempt_seconds=0.3)
    assert [one.result for one in outcomes] == [Result.TEMPORARY, Result.TEMPORARY]
