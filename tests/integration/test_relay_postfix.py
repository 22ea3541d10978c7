"""Mail from the queue to a real Postfix, and what comes back when it refuses."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from govmail.mail.envelope import DEFAULT_NOTIFY, Notify
from tests.kit.postfix import Postfix, running_postfix
from tests.kit.queue import MESSAGE, Directory, House, remote

REFUSED = {
    "later@peer.example": "450 4.2.0 greylisted, come back",
    "full@peer.example": "452 4.2.2 mailbox full",
    "never@peer.example": "550 5.7.1 不接收外部邮件",
}


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    root = tmp_path_factory.mktemp("postfix")
    for parent in root.parents[:2]:  # pytest's are 0700; Postfix's own users must get through
        parent.chmod(0o755)
    with running_postfix(root, domain="peer.example", users=("ok", "big", "old", "tls", "many1", "many2", "dots"), refused=REFUSED) as one:
        yield one


@asynccontextmanager
async def sending(tmp_path: Path, port: int, **settings: Any):  # type: ignore[no-untyped-def]
    one = House(tmp_path, Directory("zhang"), port, **({"smarthost": f"127.0.0.1:{port}"} | settings))
    try:
        yield one
    finally:
        await one.database.close()


async def arrived(postfix: Postfix, user: str, count: int = 1) -> list[bytes]:
    return await asyncio.to_thread(postfix.wait_for, user, count)


async def test_it_arrives_as_it_was_sent(tmp_path: Path, postfix: Postfix) -> None:
    body = b".\r\n..\r\n.leading dot\r\n" + b"x" * 998 + b"\r\n\r\nlast\r\n"
    async with sending(tmp_path, postfix.port) as one:
        await one.enqueue(remote("dots@peer.example"), octets=MESSAGE[:-6] + body)
        await one.work()
        assert await one.entries() == []
    (mail,) = await arrived(postfix, "dots")
    header, _, arrived_body = mail.partition(b"\r\n\r\n")
    assert arrived_body == body
    assert b"Subject: test" in header
    assert b"Return-Path: <zhang@jx.example>" in mail
    assert b"(using TLSv1.3" in mail  # opportunistic, with a certificate that nobody vouches for


async def test_where_tls_is_required(tmp_path: Path, postfix: Postfix) -> None:
    async with sending(tmp_path, postfix.tls_port) as one:
        await one.enqueue(remote("tls@peer.example"))
        await one.work()
        assert await one.entries() == []
    await arrived(postfix, "tls")


async def test_where_tls_is_required_and_forbidden_here(tmp_path: Path, postfix: Postfix) -> None:
    async with sending(tmp_path, postfix.tls_port, tls="never") as one:
        await one.enqueue(remote("tls@peer.example"))
        await one.work()
        (notice,) = await one.inbox("zhang")
    assert "530" in next(iter(notice.iter_parts())).get_content()


async def test_some_get_it_some_are_refused_some_must_wait(tmp_path: Path, postfix: Postfix) -> None:
    names = ("many1", "nobody-there", "later", "never", "many2", "full")
    async with sending(tmp_path, postfix.port) as one:
        await one.enqueue(*(remote(f"{name}@peer.example") for name in names))
        await one.work()
        assert {entry.recipient: entry.last_status for entry in await one.entries()} == {
            "later@peer.example": "4.2.0", "full@peer.example": "4.2.2",
        }  # fmt: skip
        (notice,) = await one.inbox("zhang")
    text, status, _ = notice.iter_parts()
    assert "550 <never@peer.example>: Recipient address rejected: 不接收外部邮件" in text.get_content()
    assert "nobody-there@peer.example" in text.get_content() and "many1" not in text.get_content()
    groups = [dict(group.items()) for group in status.get_payload()][1:]  # type: ignore[union-attr]
    assert {group["Final-Recipient"]: group["Status"] for group in groups} == {
        "rfc822; nobody-there@peer.example": "5.1.1", "rfc822; never@peer.example": "5.7.1",
    }  # fmt: skip
    await arrived(postfix, "many1")
    await arrived(postfix, "many2")


async def test_too_big(tmp_path: Path, postfix: Postfix) -> None:
    octets = MESSAGE + b"0123456789abcdef\r\n" * 20_000
    async with sending(tmp_path, postfix.port) as one:
        await one.enqueue(remote("ok@peer.example"), octets=octets)
        await one.work()
        (notice,) = await one.inbox("zhang")
    text, status, original = notice.iter_parts()
    assert "请压缩或拆分附件后重新发送。" in text.get_content()
    assert "Status: 5.3.4" in status.as_string()
    assert original.get_content_type() == "text/rfc822-headers"  # not another big mail


async def test_an_old_server_gets_seven_bits(tmp_path: Path, postfix: Postfix) -> None:
    octets = MESSAGE.replace(
        b"\r\n\r\nbody",
        "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=gbk\r\nContent-Transfer-Encoding: 8bit\r\n\r\n正文".encode("gbk"),
    )
    async with sending(tmp_path, postfix.old_port) as one:
        await one.enqueue(remote("old@peer.example", DEFAULT_NOTIFY | Notify.SUCCESS), octets=octets)
        await one.work()
        assert await one.notices() == ["转发通知"]  # it knows no DSN, so we tell
    (mail,) = await arrived(postfix, "old")
    assert mail.isascii() and b"(using TLS" not in mail
    assert email.message_from_bytes(mail, policy=email.policy.default).get_content().strip() == "正文"


async def test_an_old_server_gets_no_chinese_addresses(tmp_path: Path, postfix: Postfix) -> None:
    async with sending(tmp_path, postfix.old_port) as one:
        await one.enqueue(remote("张三@peer.example"), smtputf8=True)
        await one.work()
        (notice,) = await one.inbox("zhang")
    text, status, _ = notice.iter_parts()
    assert "请改用英文字母的地址发送。" in text.get_content()
    assert status.get_content_type() == "message/global-delivery-status"


async def test_many_messages_side_by_side(tmp_path: Path, postfix: Postfix) -> None:
    async with sending(tmp_path, postfix.port, workers=10, per_domain=10) as one:
        for n in range(40):
            await one.enqueue(remote("ok@peer.example"), octets=MESSAGE + b"%d\r\n" % n)
        await one.work()
        assert await one.entries() == []
    mails = await arrived(postfix, "ok", 40)
    assert {int(mail.split(b"\r\n")[-2]) for mail in mails} == set(range(40))
