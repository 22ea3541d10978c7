"""SEARCH in the charsets that Chinese clients use, over mail as it really comes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs

from tests.kit.imap import ImapClient
from tests.kit.imap_server import TEST_LIMITS, Stage, running

LOGIN = "search@jx.example"

MAILS = [
    b"Subject: =?gb2312?B?udjT2tXZv6rIq8qhuaTX97vh0unNqNaq?=\r\n\r\nx\r\n",  # 关于召开全省工作会议通知
    "Subject: 关于朱镕基的通知\r\nContent-Type: text/plain; charset=gb2312\r\n\r\n正文:喆堃\r\n".encode("gb18030"),
    "Subject: plain\r\nContent-Type: text/plain; charset=gb18030\r\n\r\n名字 𬭊 和 䶮\r\n".encode("gb18030"),
    "Subject: plain\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>公<b>文</b>交换</p>\r\n".encode(),
]


async def found(client: ImapClient, text: bytes) -> list[int]:
    line = (await client.ok(b"SEARCH " + text))[0]
    assert line.startswith(b"* SEARCH")
    return [int(number) for number in line.split()[2:]]


@pytest.mark.parametrize(("text", "expected"), [
    ("会议", [1]), ("朱镕基", [2]), ("通知", [1, 2]), ("喆", [2]), ("𬭊", [3]), ("䶮", [3]), ("公文", [4]), ("斑马鱼", []),
])  # fmt: skip
@pytest.mark.parametrize("charset", ["UTF-8", "GBK", "gb2312", "GB18030", None])
async def test_chinese(stage: Stage, text: str, expected: list[int], charset: str | None) -> None:
    octets = text.encode("utf-8" if charset == "UTF-8" else "gb18030")
    named = f"CHARSET {charset} ".encode() if charset else b""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        for mail in MAILS:
            await client.append(mail)
        await client.ok(b"SELECT INBOX")
        assert await found(client, named + b"TEXT {%d+}\r\n" % len(octets) + octets) == expected
        assert await found(client, named + b'TEXT "%b"' % octets) == expected


async def test_text_beyond_what_is_kept_for_search(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path, structs.replace(TEST_LIMITS, text_octets=1000)) as stage, ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.append(b"Subject: long\r\n\r\n" + b"word\r\n" * 1000 + "末尾\r\n".encode())
        await client.ok(b"SELECT INBOX")
        assert await found(client, "BODY 末尾".encode()) == [1]
        assert await found(client, b"BODY nothing") == []
        assert await found(client, b"BODY long") == []
        assert await found(client, b"TEXT long") == [1]


@pytest.mark.parametrize("command", ["SORT (SUBJECT)", "UID SORT (DISPLAYFROM)", "UID THREAD REFERENCES", "THREAD ORDEREDSUBJECT"])
@pytest.mark.parametrize("charset", ["UTF-8", "gbk", "GB2312", '"GB18030"'])
async def test_sort_and_thread_take_the_charsets_too(stage: Stage, command: str, charset: str) -> None:
    octets = "会议".encode("utf-8" if charset == "UTF-8" else "gb18030")
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        for mail in MAILS:
            await client.append(mail)
        await client.ok(b"SELECT INBOX")
        for text in (b'"%b"' % octets, b"{%d+}\r\n%b" % (len(octets), octets)):
            [line] = await client.ok(f"{command} {charset} SUBJECT ".encode() + text)
            assert line.split()[2:] == ([b"(1)"] if "THREAD" in command else [b"1"])


async def test_what_is_hostile_in_a_header_costs_no_time(stage: Stage) -> None:
    """References of thousands of ids, each naming all others; names of fields that mean something to a regular expression."""
    ids = [f"<{number}@jx.example>" for number in range(3000)]
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        for number in range(4):
            references = "\r\n ".join(ids[number:] + ids[:number])
            await client.append(f"Message-ID: {ids[number]}\r\nSubject: {'Re: ' * 5000}x\r\nReferences: {references}\r\n\r\nx\r\n".encode())
        await client.ok(b"SELECT INBOX")
        [line] = await client.ok(b"THREAD REFERENCES UTF-8 ALL")
        assert sorted(re.findall(rb"\d+", line)) == [b"1", b"2", b"3", b"4"]
        assert await found(client, b'HEADER "(a+)+$" x') == []
        assert await found(client, b'HEADER "" ""') == []
        assert await found(client, b'HEADER {10+}\r\nX\r\nSubject ""') == []
        assert await found(client, b"SUBJECT " + b"re:" * 300) == []
