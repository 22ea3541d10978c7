"""Every refusal that exists has a reply of its own class; texts cannot break the dialogue."""

from __future__ import annotations

import re

import pytest

from govmail import errors
from govmail.errors import MailError
from govmail.smtp import replies
from govmail.wire.smtp import Reply

REFUSALS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MailError)]
CONSTANTS = [one for one in vars(replies).values() if isinstance(one, Reply)]


@pytest.mark.parametrize("kind", REFUSALS)
def test_refusals(kind: type[MailError]) -> None:
    reply = replies.refusal(kind(private="secret"))
    assert reply.code // 100 == int(kind.status[0])
    assert reply.status == kind.status
    assert b"secret" not in bytes(reply)


@pytest.mark.parametrize("reply", CONSTANTS)
def test_constants(reply: Reply) -> None:
    assert reply.status is None or reply.status[0] == str(reply.code)[0] or reply.code == 421
    assert re.fullmatch(rb"\d{3} [ -~]*\r\n", bytes(reply))


@pytest.mark.parametrize("text", ["a\r\n250 ok", "a\0b", "发信IP被禁止", "x" * 5000, "", "\n"])
def test_foreign_texts(text: str) -> None:
    octets = bytes(replies.reply(550, "5.7.1", text))
    assert len(octets) <= 512
    assert re.fullmatch(rb"550 5\.7\.1 [ -~]+\r\n", octets)
