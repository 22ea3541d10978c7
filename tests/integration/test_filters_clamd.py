"""Mail through the real clamd: what is found, what is clean, and what may never be called clean."""

from __future__ import annotations

import asyncio
import io
import os
import random
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from admin.engines import ClamdEngine
from filters.chain import FilterChain
from filters.clamd import Clamd
from govmail.config import Filters, FilterTable
from govmail.interfaces import Action, Scan
from govmail.mail.message import Message
from tests.kit.engines import MESSAGE_OCTETS, data_directory, free_port, freeze, proxy_to, running_clamd, wake
from tests.kit.malware import (
    EICAR,
    in_tnef,
    mail,
    only_content_type,
    request,
    with_attachment,
    zip_with_raw_name,
    zipped,
)

GBK_NAME = "关于经费的通知.doc".encode("gbk")


@pytest.fixture
async def clamd(clamd_engine: ClamdEngine) -> AsyncIterator[Clamd]:
    one = Clamd(clamd_engine.filter_table())
    yield one
    await one.close()


def through(engine: ClamdEngine, port: int, **changes: object) -> Clamd:
    return Clamd(msgspec.structs.replace(engine.filter_table(), url=f"tcp://127.0.0.1:{port}", **changes))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(mail(EICAR + b"\r\n"), id="plain"),
        pytest.param(with_attachment(EICAR), id="base64"),
        pytest.param(with_attachment(EICAR, encoding="8bit"), id="8bit"),
        pytest.param(with_attachment(EICAR, GBK_NAME), id="base64, raw GBK file name"),
        pytest.param(with_attachment(zipped(EICAR)), id="zip"),
        pytest.param(with_attachment(in_tnef(zipped(EICAR)), b"winmail.dat"), id="zip in winmail.dat"),
        pytest.param(with_attachment(zipped(zipped(zipped(EICAR), "b.zip"), "a.zip")), id="zip in zip in zip"),
        pytest.param(with_attachment(zip_with_raw_name(EICAR, GBK_NAME), GBK_NAME), id="zip with a GBK member name"),
        pytest.param(mail(with_attachment(zipped(EICAR)), content_type="message/rfc822"), id="forwarded mail"),
        pytest.param(with_attachment(zipped(EICAR), first="X-Unheard-Of: 1\r\n" * 500), id="unknown fields first"),
        pytest.param(only_content_type(zipped(EICAR)), id="no field but Content-Type"),
    ],
)
async def test_the_eicar_file_is_found_in_every_wrapping(clamd: Clamd, data: bytes) -> None:
    verdict = await clamd.check(request(data))
    assert verdict.scan is Scan.INFECTED
    assert "eicar" in verdict.threats[0].lower()
    assert verdict.engine_version.startswith("ClamAV ")


@pytest.mark.parametrize("charset", ["gb2312", "gb18030", "utf-8"])
async def test_chinese_mail_is_clean(clamd: Clamd, charset: str) -> None:
    body = "各设区市人民政府:\r\n    请于本月底前报送年度预算。\r\n".encode(charset)
    verdict = await clamd.check(request(mail(body, content_type=f"text/plain; charset={charset}")))
    assert (verdict.scan, verdict.action) == (Scan.CLEAN, Action.ACCEPT)


async def test_a_spooled_message_is_scanned_to_its_end(clamd: Clamd, tmp_path: Path) -> None:
    filler = random.Random(1).randbytes(3 * 1024 * 1024)
    spool = tmp_path / "spool"
    spool.write_bytes(with_attachment(filler)[:-9] + b"--cut\r\n\r\n" + EICAR + b"\r\n--cut--\r\n")
    assert (await clamd.check(request(Message.spooled(spool)))).scan is Scan.INFECTED


def sealed_zip(seed: int = 2) -> bytes:
    return zip_with_raw_name(random.Random(seed).randbytes(500), b"a.exe", encrypted=True)


async def test_what_clamd_cannot_open_is_not_clean(clamd: Clamd) -> None:
    verdict = await clamd.check(request(with_attachment(sealed_zip())))
    assert verdict.scan is Scan.UNSCANNABLE
    assert "Encrypted" in verdict.private


async def test_a_virus_beside_an_encrypted_archive_is_found(clamd: Clamd) -> None:
    both = io.BytesIO()
    with zipfile.ZipFile(both, "w") as archive:
        archive.writestr("sealed.zip", sealed_zip())
        archive.writestr("eicar.com", EICAR)
    assert (await clamd.check(request(with_attachment(both.getvalue())))).scan is Scan.INFECTED


async def test_it_is_found_out_whether_clamd_admits_what_it_has_not_seen(clamd: Clamd) -> None:
    assert await clamd.admits_gaps()
    async with pretender(b"stream: OK\n") as silent:
        assert not await silent.admits_gaps()


async def test_what_lies_deeper_than_clamd_looks_is_not_clean(clamd: Clamd) -> None:
    data = b"harmless"
    for depth in range(30):
        data = zipped(data, f"{depth}.zip")
    verdict = await clamd.check(request(with_attachment(data)))
    assert verdict.scan is Scan.UNSCANNABLE
    assert "Limits.Exceeded" in verdict.private


async def test_a_mail_larger_than_the_stream_limit_is_not_clean(clamd_engine: ClamdEngine) -> None:
    small = through(clamd_engine, clamd_engine.port, stream_octets=1000)
    assert (await small.check(request(mail(b"x" * 2000)))).scan is Scan.UNSCANNABLE
    await small.close()


async def test_a_mail_larger_than_clamd_was_told_to_take_is_not_clean(clamd_engine: ClamdEngine) -> None:
    # The filter believes in a larger limit than clamd has: clamd hangs up in mid-stream.
    wrong = through(clamd_engine, clamd_engine.port, stream_octets=10 * MESSAGE_OCTETS)
    assert (await wrong.check(request(mail(os.urandom(2 * MESSAGE_OCTETS))))).scan is Scan.UNSCANNED
    await wrong.close()


async def test_a_connection_cut_in_mid_stream_is_not_clean(clamd_engine: ClamdEngine) -> None:
    async with proxy_to(clamd_engine.port) as proxy:
        proxy.cut_after = 100_000
        cut = through(clamd_engine, proxy.port)
        assert (await cut.check(request(mail(b"x" * 1_000_000)))).scan is Scan.UNSCANNED
        await cut.close()


@pytest.fixture
def own_clamd() -> Iterator[ClamdEngine]:
    with data_directory() as path, running_clamd(path) as engine:
        yield engine


async def test_clamd_killed_in_mid_stream_is_not_clean(own_clamd: ClamdEngine) -> None:
    async with proxy_to(own_clamd.port) as proxy:
        victim = through(own_clamd, proxy.port)
        await victim.version()
        proxy.arrived.clear()
        proxy.answers.clear()
        check = asyncio.create_task(victim.check(request(mail(b"x" * 500_000))))
        await proxy.arrived.wait()
        assert own_clamd.process is not None
        own_clamd.process.kill()
        await own_clamd.wait_end()
        proxy.answers.set()
        assert (await check).scan is Scan.UNSCANNED
        # and dead:
        assert (await victim.check(request(mail(b"x")))).scan is Scan.UNSCANNED
        await victim.close()


async def test_a_hung_clamd_is_unscanned_by_the_deadline_and_works_again(clamd_engine: ClamdEngine) -> None:
    clamd = Clamd(msgspec.structs.replace(clamd_engine.filter_table(), timeout_seconds=60.0))
    chain = FilterChain(Filters(deadline_seconds=0.3), [], [clamd])
    data = request(mail(b"hello\r\n"))
    assert (await chain.decide(data)).action is Action.ACCEPT
    freeze(clamd_engine)
    try:
        other = request(mail(b"hello again\r\n"))
        decision = await chain.decide(other)
    finally:
        wake(clamd_engine)
    assert decision.action is Action.DEFER
    assert dict(decision.headers)["X-Govmail-Virus"].startswith("unscanned")
    generous = FilterChain(Filters(), [], [clamd])
    assert (await generous.decide(other)).action is Action.ACCEPT
    await chain.close()


async def test_a_hung_clamd_gives_its_threads_back_after_its_own_timeout(clamd_engine: ClamdEngine) -> None:
    clamd = Clamd(msgspec.structs.replace(clamd_engine.filter_table(), timeout_seconds=0.3, workers=1))
    freeze(clamd_engine)
    try:
        verdicts = await asyncio.gather(*(clamd.check(request(mail(b"%d" % number))) for number in range(5)))
    finally:
        wake(clamd_engine)
    assert {verdict.scan for verdict in verdicts} == {Scan.UNSCANNED}
    await clamd.close()


async def test_nobody_listens() -> None:
    table = FilterTable(name="clamav", kind="clamd", url=f"tcp://127.0.0.1:{free_port()}")
    clamd = Clamd(table)
    assert (await clamd.check(request(mail(b"x")))).scan is Scan.UNSCANNED
    assert await clamd.identity() is None
    await clamd.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"stream: ", b"stream: OK", b"OK\n", b"stream: \xff\xfe ERROR\n", b"INSTREAM size limit exceeded. ERROR\n", b"x" * 10_000, b"stream: OKAY\n"],
)
async def test_an_answer_that_does_not_hold_is_not_clean(answer: bytes) -> None:
    async with pretender(answer) as clamd:
        assert (await clamd.check(request(mail(b"x")))).scan is Scan.UNSCANNED


async def test_a_scan_that_took_clamd_too_long_may_do_better_another_time() -> None:
    async with pretender(b"stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND\n") as clamd:
        assert (await clamd.check(request(mail(b"x")))).scan is Scan.UNSCANNED


@asynccontextmanager
async def pretender(answer: bytes) -> AsyncIterator[Clamd]:
    """A client of something that says it is clamd and answers so to every scan."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline() == b"nVERSION\n":
            writer.write(b"ClamAV 9.9.9/1/Mon Nov 23 08:00:00 2026\n")
        else:
            await reader.readuntil(b"\0\0\0\0")  # the end of the stream
            writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    clamd = Clamd(FilterTable(name="clamav", kind="clamd", url=f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield clamd
    finally:
        await clamd.close()
        server.close()


async def test_equal_mails_in_flight_are_scanned_once_and_others_each(clamd_engine: ClamdEngine) -> None:
    async with proxy_to(clamd_engine.port) as proxy:
        clamd = through(clamd_engine, proxy.port)
        await clamd.version()
        proxy.connections = 0
        proxy.arrived.clear()
        proxy.answers.clear()
        chain = FilterChain(Filters(), [], [clamd])
        same = [asyncio.create_task(chain.decide(request(with_attachment(EICAR)))) for _ in range(20)]
        await proxy.arrived.wait()
        proxy.answers.set()
        decisions = await asyncio.gather(*same)
        assert {decision.action for decision in decisions} == {Action.QUARANTINE}
        assert proxy.connections == 1
        await chain.decide(request(with_attachment(EICAR)))
        assert proxy.connections == 1
        await chain.decide(request(with_attachment(EICAR + b" ")))
        assert proxy.connections == 2
        await chain.close()


async def test_sharing_can_be_switched_off(clamd_engine: ClamdEngine) -> None:
    async with proxy_to(clamd_engine.port) as proxy:
        clamd = through(clamd_engine, proxy.port)
        await clamd.version()
        proxy.connections = 0
        chain = FilterChain(Filters(share_seconds=0), [], [clamd])
        for _ in range(3):
            await chain.decide(request(mail(b"x")))
        assert proxy.connections == 3
        await chain.close()


async def test_the_unix_socket(clamd_engine: ClamdEngine) -> None:
    async def bridge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", clamd_engine.port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(65536):
                sink.write(piece)
                await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, upstream), copy(upstream_reader, writer), return_exceptions=True)

    with data_directory() as path:
        server = await asyncio.start_unix_server(bridge, path / "clamd.sock")
        clamd = Clamd(msgspec.structs.replace(clamd_engine.filter_table(), url=f"unix://{path}/clamd.sock"))
        assert (await clamd.check(request(with_attachment(EICAR)))).scan is Scan.INFECTED
        await clamd.close()
        server.close()
