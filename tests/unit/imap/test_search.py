"""SEARCH in the charsets that Chinese clients use, over mail as it really comes."""

from __future__ import annotations

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
