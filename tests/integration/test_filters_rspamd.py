"""Mail through the real rspamd: refused, accepted, signed – and what happens when it lies, hangs or dies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from admin.engines import RspamdEngine
from filters import dkim
from filters.chain import FilterChain
from filters.rspamd import Rspamd, without_limited_signatures
from govmail.config import Filters, FilterTable
from govmail.errors import EngineUnavailable
from govmail.interfaces import Action, Scan, Verdict
from govmail.mail.address import Address
from govmail.mail.envelope import Recipient
from govmail.mail.message import Message
from tests.kit.engines import data_directory, free_port, freeze, new_rspamd, running_rspamd, wake
from tests.kit.malware import GTUBE, mail, request
from tests.kit.nameserver import running_nameserver

HOSTNAME = "mx.jx.example"


def client(engine: RspamdEngine, **changes: object) -> Rspamd:
    return Rspamd(msgspec.structs.replace(engine.filter_table(), **changes), hostname=HOSTNAME, data_dir=engine.data_dir)


@pytest.fixture
async def rspamd(rspamd_engine: RspamdEngine) -> AsyncIterator[Rspamd]:
    one = client(rspamd_engine)
    yield one
    await one.close()


async def test_gtube_is_refused(rspamd: Rspamd) -> None:
    verdict = await rspamd.check(request(mail(GTUBE + b"\r\n")))
    assert (verdict.action, verdict.spam) == (Action.REJECT, True)
    assert verdict.public == "message refused as spam"
    assert [symbol.name for symbol in verdict.symbols] == ["GTUBE"]
    assert verdict.engine_version == "rspamd/3.4"


async def test_gtube_is_held_where_refusals_are_not_wanted(rspamd_engine: RspamdEngine) -> None:
    rspamd = Rspamd(msgspec.structs.replace(rspamd_engine.filter_table(), password_file=""), hostname=HOSTNAME, spam_reject=False)
    verdict = await rspamd.check(request(mail(GTUBE + b"\r\n")))
    assert (verdict.action, verdict.spam) == (Action.QUARANTINE, True)
    await rspamd.close()


@pytest.mark.parametrize("charset", ["gb2312", "gb18030", "utf-8"])
async def test_chinese_mail_is_accepted(rspamd: Rspamd, charset: str) -> None:
    body = "各设区市人民政府:\r\n    请于本月底前报送年度预算。\r\n".encode(charset)
    data = mail(body, content_type=f"text/plain; charset={charset}")
    verdict = await rspamd.check(request(data, login="zhangsan@jx.example"))
    assert verdict.action is Action.ACCEPT
    assert verdict.scan is Scan.NOT_APPLICABLE
    assert verdict.score is not None
    assert verdict.score < 6


async def test_a_mail_with_raw_gbk_in_its_header_gets_a_verdict(rspamd: Rspamd) -> None:
    data = mail(b"x\r\n", first="Subject: ").replace(b"Subject: From:", "Subject: 关于召开会议的通知\r\nFrom:".encode("gbk"), 1)
    verdict = await rspamd.check(request(data))
    assert verdict.scan is Scan.NOT_APPLICABLE


async def test_a_spooled_message_is_sent_whole(rspamd: Rspamd, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    large = b"--cut\r\nContent-Type: application/octet-stream\r\n\r\n" + b"a b c\r\n" * 100_000
    last = b"--cut\r\nContent-Type: text/plain\r\n\r\n" + GTUBE + b"\r\n--cut--\r\n"
    spool.write_bytes(mail(large + last, content_type="multipart/mixed; boundary=cut"))
    assert (await rspamd.check(request(Message.spooled(spool)))).action is Action.REJECT


async def test_hostile_envelopes_reach_rspamd_as_plain_values(rspamd: Rspamd) -> None:
    many = tuple(Recipient(Address(f"{'长' * 20}{number}", "gz.jx.example")) for number in range(1000))
    hostile = request(mail(b"x\r\n"), helo="mx\r\nIP: 127.0.0.1\r\nPass: all\r\n\r\n" + "\0\x7f" * 5000)
    hostile = replace(hostile, envelope=replace(hostile.envelope, recipients=many), queue_id="q\r\n1")
    verdict = await rspamd.check(hostile)
    assert verdict.scan is Scan.NOT_APPLICABLE
    assert all("LOCAL" not in symbol.name for symbol in verdict.symbols)


async def test_mail_of_a_login_is_signed_and_the_signature_stands_as_a_field(rspamd_engine: RspamdEngine, rspamd: Rspamd) -> None:
    await asyncio.to_thread(dkim.ensure_key, rspamd_engine.data_dir, "jx.example", owner=owner_of(rspamd_engine))
    verdict = await rspamd.check(request(mail(b"hello\r\n"), login="zhangsan@jx.example", sign=True))
    fields = dict(verdict.headers)
    assert "d=jx.example; s=govmail;" in fields["DKIM-Signature"]
    assert all(line.startswith(("\t", " ")) for line in fields["DKIM-Signature"].split("\r\n")[1:])
    name, text = dkim.record(rspamd_engine.data_dir, "JX.example")
    assert name == "govmail._domainkey.jx.example"
    assert text.startswith("v=DKIM1; k=rsa; p=")
    assert "DKIM-Signature" not in dict((await rspamd.check(request(mail(b"hello\r\n"), login="zhangsan@jx.example"))).headers)
    assert "DKIM-Signature" not in dict((await rspamd.check(request(mail(b"hello\r\n"), sign=True))).headers)


def owner_of(engine: RspamdEngine) -> tuple[int, int] | None:
    return (engine.account.uid, engine.account.gid) if engine.account else None


async def test_authentication_results_carry_our_name(rspamd: Rspamd) -> None:
    verdict = await rspamd.check(request(mail(b"hello\r\n")))
    assert dict(verdict.headers)["Authentication-Results"].startswith(f"{HOSTNAME};")


async def test_learning(rspamd: Rspamd) -> None:
    words = " ".join(f"优惠{number}发票 offer{number}" for number in range(60))
    message = Message.of(mail(words.encode("gb18030") + b"\r\n", content_type="text/plain; charset=gb18030"))
    await rspamd.learn(message, spam=True)
    await rspamd.learn(message, spam=True)  # already learnt: no error
    await rspamd.learn(message, spam=False)  # and unlearnt


async def test_learning_needs_the_password(rspamd_engine: RspamdEngine) -> None:
    stranger = client(rspamd_engine, password_file="")
    with pytest.raises(EngineUnavailable):
        await stranger.learn(Message.of(mail(b"x\r\n")), spam=True)
    await stranger.close()


async def test_ping(rspamd: Rspamd) -> None:
    assert await rspamd.ping() == "rspamd/3.4"


async def test_a_hung_rspamd_is_unscanned_by_the_deadline_and_works_again(rspamd_engine: RspamdEngine) -> None:
    rspamd = client(rspamd_engine)
    chain = FilterChain(Filters(deadline_seconds=0.3), [rspamd], [])
    freeze(rspamd_engine)
    try:
        decision = await chain.decide(request(mail(b"hello\r\n")))
    finally:
        wake(rspamd_engine)
    assert decision.action is Action.DEFER
    assert decision.verdicts[0].scan is Scan.UNSCANNED
    assert (await FilterChain(Filters(), [rspamd], []).decide(request(mail(b"hello\r\n"), login="z"))).action is Action.ACCEPT
    await chain.close()


@pytest.fixture
def own_rspamd() -> Iterator[RspamdEngine]:
    with data_directory() as path, running_rspamd(path) as engine:
        yield engine


async def test_rspamd_killed_while_it_works(own_rspamd: RspamdEngine) -> None:
    rspamd = client(own_rspamd)
    freeze(own_rspamd)
    checks = [asyncio.create_task(rspamd.check(request(mail(b"x" * 300_000)))) for _ in range(5)]
    await asyncio.sleep(0)
    own_rspamd.kill()
    assert {verdict.scan for verdict in await asyncio.gather(*checks)} == {Scan.UNSCANNED}
    with pytest.raises(EngineUnavailable):
        await rspamd.ping()
    await rspamd.close()


@asynccontextmanager
async def pretender(answer: bytes, *, hang: bool = False) -> AsyncIterator[Rspamd]:
    """A client of something that says it is rspamd."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hang:
            await reader.read()  # until the client goes
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rspamd = Rspamd(FilterTable(name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{port}", timeout_seconds=5.0 if not hang else 0.3), hostname=HOSTNAME)
    try:
        yield rspamd
    finally:
        await rspamd.close()
        server.close()


def http(body: bytes | dict[str, object], status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nServer: rspamd/3.4\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


CLEAN: dict[str, object] = {"action": "no action", "score": 0.0, "required_score": 15.0, "symbols": {}}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="not HTTP"),
        pytest.param(http(b""), id="empty"),
        pytest.param(http(b"{"), id="half"),
        pytest.param(http(b"[]"), id="a list"),
        pytest.param(http(b"[" * 100_000), id="deep"),
        pytest.param(http({"error": "no"}), id="error"),
        pytest.param(http(CLEAN, "503 busy"), id="status"),
        pytest.param(http(CLEAN, "302 Found\r\nLocation: http://127.0.0.1:1/"), id="redirect"),
        pytest.param(http({**CLEAN, "action": "clean as snow"}), id="unknown action"),
        pytest.param(http({**CLEAN, "score": "0"}), id="score is text"),
        pytest.param(http({**CLEAN, "score": float("nan")}), id="NaN"),
        pytest.param(http(b'{"action":"no action","score":1e999,"required_score":15,"symbols":{}}'), id="infinite"),
        pytest.param(http({**CLEAN, "symbols": [1]}), id="symbols are a list"),
        pytest.param(http(CLEAN)[:-9], id="cut"),
        pytest.param(http(b" " * 5_000_000), id="endless"),
    ],
)
async def test_an_answer_that_does_not_hold_is_unscanned(answer: bytes) -> None:
    async with pretender(answer) as rspamd:
        verdict = await rspamd.check(request(mail(b"x\r\n")))
    assert (verdict.scan, verdict.action) == (Scan.UNSCANNED, Action.DEFER)


async def test_an_answer_that_never_ends_is_unscanned() -> None:
    async with pretender(http(CLEAN)[:-9], hang=True) as rspamd:
        assert (await rspamd.check(request(mail(b"x\r\n")))).scan is Scan.UNSCANNED


async def test_nobody_listens() -> None:
    rspamd = Rspamd(FilterTable(name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{free_port()}"), hostname=HOSTNAME)
    assert (await rspamd.check(request(mail(b"x\r\n")))).scan is Scan.UNSCANNED
    await rspamd.close()


@pytest.mark.parametrize(
    ("said", "action", "spam"),
    [
        ("no action", Action.ACCEPT, False),
        ("greylist", Action.ACCEPT, False),
        ("add header", Action.TAG, True),
        ("rewrite subject", Action.TAG, True),
        ("soft reject", Action.DEFER, False),
        ("quarantine", Action.QUARANTINE, True),
        ("discard", Action.QUARANTINE, True),
        ("reject", Action.REJECT, True),
    ],
)
async def test_what_rspamd_advises(said: str, action: Action, spam: bool) -> None:
    async with pretender(http({**CLEAN, "action": said, "score": 7.5})) as rspamd:
        verdict = await rspamd.check(request(mail(b"x\r\n")))
    assert (verdict.action, verdict.spam, verdict.score) == (action, spam, 7.5)


async def decide(answer: dict[str, object]) -> tuple[Verdict, dict[str, str]]:
    async with pretender(http({**CLEAN, **answer})) as rspamd:
        decision = await FilterChain(Filters(), [rspamd], []).decide(request(mail(b"x\r\n"), login="zhangsan", sign=True))
    return decision.verdicts[0], dict(decision.headers)


async def test_nothing_an_engine_says_can_begin_another_field() -> None:
    evil = "x\r\nSubject: paid\r\n\r\nbody\0\x1b[2J 通知"
    _, fields = await decide(
        {
            "symbols": {evil: {"score": 1.0, "options": [evil, None, 3]}},
            "messages": {"smtp_message": evil},
            "milter": {"add_headers": {"Authentication-Results": [{"value": f"vm; dkim=pass\r\nSubject: paid {evil}"}, 7], evil: "x"}},
            "dkim-signature": [f"v=1; {evil}", "v=1; a=rsa-sha256;\r\n\tb=ok"],
        }
    )
    assert fields["DKIM-Signature"] == "v=1; a=rsa-sha256;\r\n\tb=ok"
    for value in fields.values():
        assert value.isascii()
        lines = value.split("\r\n")
        assert all(line.isprintable() for line in (lines[0], *(line[1:] for line in lines[1:])))
        assert all(line[0] in " \t" and line.strip() for line in lines[1:])
        assert "\n" not in value.replace("\r\n", "")


async def test_spf_dkim_and_dmarc_are_verified_where_there_is_dns(rspamd_engine: RspamdEngine, rspamd: Rspamd) -> None:
    await asyncio.to_thread(dkim.ensure_key, rspamd_engine.data_dir, "jx.example", owner=owner_of(rspamd_engine))
    data = mail(b"hello\r\n").replace(b"Mon, 23 Nov 2026 10:00:00 +0800", format_datetime(datetime.now(UTC)).encode())  # old mail is suspect
    signed = await rspamd.check(request(data, login="zhangsan@jx.example", sign=True))
    signature = dict(signed.headers)["DKIM-Signature"]
    assert " l=" not in signature.replace(";", " ")  # what is appended behind the signed octets would pass
    name, key = dkim.record(rspamd_engine.data_dir, "jx.example")
    zone = {name: key, "jx.example": "v=spf1 ip4:192.0.2.25 -all", "_dmarc.jx.example": "v=DMARC1; p=reject"}
    with running_nameserver(zone) as port:
        async with another_rspamd((f"127.0.0.1:{port}",)) as verifier:
            genuine = await verifier.check(request(f"DKIM-Signature: {signature}\r\n".encode() + data))
            forged = await verifier.check(request(data, client_ip="198.51.100.66"))
    results = dict(genuine.headers)["Authentication-Results"]
    assert results.startswith(f"{HOSTNAME};")
    assert "dkim=pass" in results
    assert "spf=pass" in results
    assert "dmarc=pass" in results
    assert genuine.action is Action.ACCEPT
    results = dict(forged.headers)["Authentication-Results"]
    assert "dkim=none" in results
    assert "spf=fail" in results
    assert "dmarc=fail" in results
    assert (forged.score or 0) > (genuine.score or 0)


@pytest.mark.parametrize("size", [0, 200_000])
async def test_a_signature_of_a_part_of_the_body_proves_nothing(rspamd_engine: RspamdEngine, size: int) -> None:
    """What was appended behind the signed octets would come with dkim=pass and dmarc=pass (RFC 6376 §8.2)."""
    await asyncio.to_thread(dkim.ensure_key, rspamd_engine.data_dir, "jx.example", owner=owner_of(rspamd_engine))
    key = serialization.load_pem_private_key(dkim.key_file(rspamd_engine.data_dir, "jx.example").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    name, record = dkim.record(rspamd_engine.data_dir, "jx.example")
    body = b"hello\r\n" + (b"x" * 70 + b"\r\n") * (size // 72)

    def signed(length: str, appended: bytes = b"") -> bytes:
        sender = "From: =?utf-8?B?5byg5LiJ?= <zhangsan@jx.example>\r\n"
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        field = f"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=jx.example;\r\n s=govmail;{length} h=From; bh={digest}; b="
        made = base64.b64encode(key.sign((sender + field).encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
        return f"{field}{made}\r\n".encode() + mail(body + appended)

    with running_nameserver({name: record, "_dmarc.jx.example": "v=DMARC1; p=reject", "jx.example": "v=spf1 -all"}) as port:
        async with another_rspamd((f"127.0.0.1:{port}",)) as verifier:
            whole = {symbol.name for symbol in (await verifier.check(request(signed("")))).symbols}
            part = {symbol.name for symbol in (await verifier.check(request(signed(f" l ={len(body)};", b"and pay here\r\n")))).symbols}
    assert {"R_DKIM_ALLOW", "DMARC_POLICY_ALLOW"} <= whole
    assert "DMARC_POLICY_REJECT" in part
    assert not part & {"R_DKIM_ALLOW", "DMARC_POLICY_ALLOW"}


@pytest.mark.parametrize("tag", [b"l=7", b" l = 7", b"v=1; l=7", b"v=1;\r\n\tl\r\n =7"])
def test_which_signatures_are_limited(tag: bytes) -> None:
    others = b"Subject: a; l=1\r\nDKIM-Signature: v=1; bh=abcl=; b=l=\r\n"
    limited = b"dkim-signature :" + tag + b"; b=x\r\n"
    body = b"\r\nDKIM-Signature: l=7\r\n"
    hidden = b"X" + limited[1:]
    assert without_limited_signatures(others + limited + b"To: x\r\n" + body) == others + hidden + b"To: x\r\n" + body
    assert without_limited_signatures(limited + others + body) == hidden + others + body
    assert without_limited_signatures(limited.rstrip()) == hidden.rstrip()


@asynccontextmanager
async def another_rspamd(nameservers: tuple[str, ...]) -> AsyncIterator[Rspamd]:
    with data_directory() as path:
        engine = new_rspamd(path, nameservers=nameservers)
        await asyncio.to_thread(engine.start)
        rspamd = client(engine)
        try:
            await engine.wait_ready()
            yield rspamd
        finally:
            await rspamd.close()
            await asyncio.to_thread(engine.stop)
