"""Trace fields that we write and those we take away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from govmail.mail.address import NULL_PATH, Address, Path
from govmail.mail.envelope import Envelope, Origin, Recipient
from govmail.mail.header import iterate, unfold
from govmail.mail.trace import prepend, received, return_path, strip

NOW = datetime(2026, 11, 23, 14, 38, 36, tzinfo=UTC)
ONE = Envelope(recipients=(Recipient(Address.parse("li@jx.example")),))
TWO = Envelope(recipients=(*ONE.recipients, Recipient(Address.parse("bcc@jx.example"))))


def line(origin: Origin, envelope: Envelope = ONE) -> str:
    raw = received(origin, envelope, hostname="mx.jx.example", queue_id="Q1", now=NOW)
    fields = list(iterate(raw + b"\r\n"))
    assert [field.name for field in fields] == [b"Received"]
    assert all(len(part) <= 78 or len(part.split()) <= 3 for part in raw.split(b"\r\n"))
    return unfold(fields[0].value).decode("ascii")


def test_received_says_who_how_and_when() -> None:
    origin = Origin("192.0.2.1", "mail.gz.example", "ESMTPS", "TLSv1.3 TLS_AES_256_GCM_SHA384", "host.gz.example")
    assert line(origin) == (
        "from mail.gz.example (host.gz.example [192.0.2.1]) (using TLSv1.3 TLS_AES_256_GCM_SHA384) "
        "by mx.jx.example with ESMTPS id Q1 for <li@jx.example>; Mon, 23 Nov 2026 14:38:36 +0000"
    )


def test_a_copy_names_nobody_when_there_are_several_recipients() -> None:
    assert " for " not in line(Origin("192.0.2.1", "x.example"), TWO)


@pytest.mark.parametrize(
    "helo", ["x\r\nBcc: a@b.example", "x (y", "测试电脑", "", "a" * 5000, "x; Mon, 1 Jan 2001", "x\0y", "[192.0.2.9]", "WIN_PC"]
)
def test_a_hostile_helo_stays_one_word(helo: str) -> None:
    words = line(Origin("192.0.2.1", helo)).split()
    assert words[0] == "from"
    assert words[2] == "([192.0.2.1])"
    assert len(words[1]) <= 255


def test_an_ipv6_client_and_a_strange_protocol() -> None:
    assert "([IPv6:2001:db8::1])" in line(Origin("2001:db8::1", "x.example"))
    assert " with ESMTP id" in line(Origin("192.0.2.1", "x.example", "E SMTP;"))
    assert " with UTF8SMTPSA id" in line(Origin("192.0.2.1", "x.example", "UTF8SMTPSA"))


def test_return_path() -> None:
    assert return_path(Path.parse("a@b.example")) == b"Return-Path: <a@b.example>\r\n"
    assert return_path(NULL_PATH) == b"Return-Path: <>\r\n"


@pytest.mark.parametrize(
    ("field", "stays"),
    [
        (b"Return-Path: <a@b.example>\r\n", False),
        (b"RETURN-PATH:\r\n <a@b.example>\r\n", False),
        (b"X-Govmail-Spam: no\r\n", False),
        (b"x-govmail-anything : no\r\n more\r\n", False),
        (b"Authentication-Results: mx.jx.example; spf=pass\r\n", False),
        (b"Authentication-Results: MX.JX.example 1; spf=pass\r\n", False),
        (b"Authentication-Results: (a \\) comment) mx.jx.example; spf=pass\r\n", False),
        (b'Authentication-Results:\r\n "mx.jx.example"; spf=pass\r\n', False),
        (b"Authentication-Results: (unclosed mx.jx.example; spf=pass\r\n", False),
        (b"Authentication-Results: mx.other.example; spf=pass\r\n", True),
        (b"Bcc: x@y.example\r\n", False),
        (b"X-Other: a\r\n\tb\r\n", True),
        (b"no field\r\n", True),
    ],
)
def test_what_only_we_may_write_is_removed(field: bytes, stays: bool) -> None:
    rest = b"Subject: s\r\n\r\n"
    assert strip(field + rest, authserv_id="mx.jx.example", names=[b"bcc"]) == (field if stays else b"") + rest


def test_finished_fields_go_in_front() -> None:
    assert prepend(b"Subject: s\r\n\r\n", [b"A: 1\r\n", b"B: 2\r\n"]) == b"A: 1\r\nB: 2\r\nSubject: s\r\n\r\n"
