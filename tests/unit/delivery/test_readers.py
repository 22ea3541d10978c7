"""Reading in other processes: the same answers, and what becomes of them when a process dies or hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from govmail.config import Limits
from govmail.delivery.readers import Readers
from govmail.errors import ReaderFailed
from govmail.mail.message import Message
from govmail.mail.reading import read
from tests.kit.contents import raw_mail

LIMITS = Limits(process_parse_octets=100_000, read_seconds=1.0)


def mail(number: int, lines: int = 1) -> Message:
    return Message.of(raw_mail(f"通知 {number}", f"line of {number}\r\n" * lines))


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(LIMITS, processes=1)
    yield readers
    await readers.close()
    assert readers.pids == []


async def test_another_process_reads_as_this_one_does(readers: Readers, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(raw_mail(body="x" * 2_000_000))
    mails = [mail(1), mail(2, lines=2000), mail(3, lines=20_000), Message.of(b""), Message.of(b"\xff\0\r"), Message.spooled(spooled)]
    assert await asyncio.gather(*map(readers.read, mails)) == [read(one, LIMITS) for one in mails]
    assert readers.pids
    assert os.getpid() not in readers.pids


async def test_a_file_that_is_gone_fails_alone(readers: Readers, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    gone = Message.spooled(tmp_path / "a")
    gone.discard()
    answers = await asyncio.gather(readers.read(gone), readers.read(mail(1)), return_exceptions=True)
    assert isinstance(answers[0], ReaderFailed)
    assert answers[1] == read(mail(1), LIMITS)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_a_process_that_fails_costs_one_message(readers: Readers, fault: signal.Signals) -> None:
    await readers.read(mail(0))
    (pid,) = readers.pids
    os.kill(pid, signal.SIGSTOP)  # so that all of them wait
    waiting = [asyncio.ensure_future(readers.read(mail(number))) for number in range(5)]
    await asyncio.sleep(0)
    os.kill(pid, fault)
    first, *others = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, ReaderFailed)
    assert others == [read(mail(number), LIMITS) for number in range(1, 5)]
    assert readers.pids not in ([], [pid])


async def test_whoever_goes_away_disturbs_nobody(readers: Readers) -> None:
    await readers.read(mail(0))
    gone, kept = asyncio.ensure_future(readers.read(mail(1))), asyncio.ensure_future(readers.read(mail(2)))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await kept).header == mail(2).read()[: (await kept).header_size]


async def test_the_process_for_large_messages_ends_when_it_has_nothing_to_do(readers: Readers) -> None:
    large = mail(1, lines=20_000)
    await readers.read(large)
    (goes,) = readers.pids
    ended = asyncio.Event()
    process = os.pidfd_open(goes)
    asyncio.get_running_loop().add_reader(process, ended.set)
    async with asyncio.timeout(30):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(process)
    os.close(process)
    assert readers.pids == []
    assert await readers.read(large) == read(large, LIMITS)


async def test_what_is_being_read_at_the_end_fails(readers: Readers) -> None:
    await readers.read(mail(0))
    os.kill(readers.pids[0], signal.SIGSTOP)
    waiting = asyncio.ensure_future(readers.read(mail(1)))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(readers.close())
    with pytest.raises(ReaderFailed):
        await waiting
    await closing
    with pytest.raises(ReaderFailed):
        await readers.read(mail(2))
