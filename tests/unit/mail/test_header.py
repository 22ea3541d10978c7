"""Fields, dates, message ids and parameters."""

from __future__ import annotations

import pytest

from govmail.config import Limits
from govmail.mail.header import Header, header_end, message_ids, parse_date, parse_parameterised, select

LIMITS = Limits()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"A: b\r\n\r\nbody", 8), (b"A: b\n\nbody", 6), (b"A: b\r\n\nbody", 7), (b"A: b\n\r\nbody", 7), (b"\r\nbody", 2), (b"\nbody", 1),
        (b"A: b\r\nno empty line", 19), (b"", 0), (b"A: b\r\n \r\n\r\nx", 11),
    ],
)
def test_the_header_ends_with_its_empty_line(data: bytes, size: int) -> None:
    assert header_end(data) == size


def test_fields_keep_order_offsets_and_octets() -> None:
    raw = b"From nobody Mon Nov 23\r\nSubject : a\r\n b\r\nX:\r\njunk\r\n more junk\r\nsubject: c\r\n\r\n"
    header = Header(raw, LIMITS)
    assert [(field.name, raw[field.start : field.end]) for field in header.fields] == [
        (b"Subject", b"Subject : a\r\n b\r\n"), (b"X", b"X:\r\n"), (b"subject", b"subject: c\r\n"),
    ]
    assert header.all(b"subject") == [b"a b", b"c"]
    assert header.get(b"x") == b""
    assert header.get(b"none") is None


def test_header_fields_for_imap_come_with_an_empty_line() -> None:
    raw = b"From: a\r\nTo: b\r\n\tc\r\nfrom: d\r\n\r\n"
    assert select(raw, frozenset((b"from",))) == b"From: a\r\nfrom: d\r\n\r\n"
    assert select(raw, frozenset((b"from",)), exclude=True) == b"To: b\r\n\tc\r\n\r\n"
    assert select(raw, frozenset((b"none",))) == b"\r\n"
    assert select(b"From: a", frozenset((b"from",))) == b"From: a\r\n\r\n"


def test_many_and_long_names_choose_as_few_do() -> None:
    long = b"X-" + b"y" * 2000
    raw = long + b": a\r\nTo: b\r\nCc: c\r\n\r\n"
    assert select(raw, frozenset((long.lower(),))) == long + b": a\r\n\r\n"
    many = frozenset(b"x-%d" % number for number in range(500)) | {b"to"}
    assert select(raw, many) == b"To: b\r\n\r\n"


def test_what_is_no_field_is_left_when_fields_are_left_out() -> None:
    """HEADER.FIELDS.NOT: a line from an mbox, junk, a header without its empty line. Nothing is lost."""
    raw = b"From nobody Mon Nov 23\r\nSubject: a\r\njunk\r\n more\r\nX: b\r\n\r\n"
    names = frozenset((b"subject",))
    assert select(raw, names, exclude=True) == b"From nobody Mon Nov 23\r\njunk\r\n more\r\nX: b\r\n\r\n"
    assert select(b"X: b\nSubject: a\n\n", names, exclude=True) == b"X: b\n\r\n"
    assert select(b"Subject: a\r\nX: b", names, exclude=True) == b"X: b\r\n\r\n"
    assert select(b"Subject: a", names, exclude=True) == b"\r\n"
    assert select(b"\r\n", names, exclude=True) == b"\r\n"


def test_fields_beyond_the_limit_are_noticed() -> None:
    assert not Header(b"a: b\r\n" * 1001 + b"\r\n", LIMITS).complete
    assert Header(b"a: b\r\n" * 1000 + b"\r\n", LIMITS).complete


@pytest.mark.parametrize(
    ("value", "epoch"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", 880127706),  # RFC 5322 A.1.1
        (b"Thu,\t13\t\tFeb 1969 23:32 -0330", -27723480),  # A.5, with folding undone
        (b"21 Nov 97 09:55:06 GMT", 880106106),  # A.6.2
        (b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706),  # A.6.3
        (b"Mon, 23 Nov 2026 22:38:36 +0800 (CST)", 1795444716),
        (b"Mon, 23 Nov 2026 22:38:36 +08:00", 1795444716),
        (b"Mon, 23 Nov 2026 22:38:36 GMT+0800", 1795444716),
        (b"Mon Nov 23 22:38:36 2026", 1795473516),
        (b"Mon, 23 Nov 2026 10:38:36 PM +0800", 1795444716),
        (b"23-Nov-2026 22:38:36 +0800", 1795444716),
        (b"2026-11-23 22:38:36 +0800", 1795444716),
        (b"2026-11-23T22:38:36Z", 1795473516),
        (b"Monday, 23 November 2026 22:38:36 EST", 1795491516),
        (b"Mon,23 Nov 2026 22:38:36", 1795473516),
        (b"Mon, 23 Nov 2026 22:38:60 +0000", 1795473540),
        (b"Mon, 31 Feb 2026 22:38:36 +0800", None),
        (b"Mon, 23 Foo 2026 22:38:36 +0800", None),
        (b"Mon, 23 Nov 0000 22:38:36 +0800", None),
        (b"yesterday", None),
        (b"", None),
        (b"9" * 200, None),
    ],
)
def test_dates(value: bytes, epoch: int | None) -> None:
    assert parse_date(value) == epoch


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b"<a@b.example>", ["<a@b.example>"]),
        (b"<a@b.example>\t<c@d.example> junk < e@f >", ["<a@b.example>", "<c@d.example>", "<e@f>"]),
        (b"a@b.example", ["<a@b.example>"]),
        (b"Your message of Monday", []),
        (b"", []),
    ],
)
def test_message_ids(value: bytes, ids: list[str]) -> None:
    assert message_ids(value) == ids


@pytest.mark.parametrize(
    ("value", "kind", "params"),
    [
        (b"text/plain; charset=us-ascii (Plain text)", "text/plain", {"charset": "us-ascii"}),  # RFC 2045 §5.1
        (b'text/plain; charset="us-ascii"', "text/plain", {"charset": "us-ascii"}),
        # RFC 2231 §3 and §4.1
        (b'message/external-body; access-type=URL; URL*0="ftp://"; URL*1="cs.utk.example/pub"', "message/external-body", {"access-type": "URL", "url": "ftp://cs.utk.example/pub"}),
        (b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "application/x-stuff", {"title": "This is ***fun***"}),
        (
            b"application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
            "application/x-stuff", {"title": "This is even more ***fun*** isn't it!"},
        ),
        (b"TEXT/HTML;charset = GBK ;; x", "text/html", {"charset": "GBK"}),
        (b"text", "text", {}),
        (b"; charset=x", "", {"charset": "x"}),
        (b'multipart/mixed; boundary="a;b=c"; type=x', "multipart/mixed", {"boundary": "a;b=c", "type": "x"}),
        (b"multipart/mixed; boundary=----=_Part_1.2", "multipart/mixed", {"boundary": "----=_Part_1.2"}),
        (b"", "", {}),
    ],
)
def test_parameters(value: bytes, kind: str, params: dict[str, str]) -> None:
    found = parse_parameterised(value)
    assert found.value == kind
    assert dict(found.params) == params
    assert not found.conflicts


@pytest.mark.parametrize(
    "value",
    [b"multipart/mixed; boundary=a; boundary=b", b"multipart/mixed; boundary=a; boundary*=us-ascii''b", b"multipart/mixed; boundary*0=a; boundary*0=b"],
)
def test_two_boundaries_are_a_conflict(value: bytes) -> None:
    assert parse_parameterised(value).conflicts == {"boundary"}


def test_decoded_accessors() -> None:
    header = Header(
        b"From: =?gbk?B?1cXI/Q==?= <z@gz.example>\r\nSender: s@gz.example\r\nMessage-ID:\r\n <1@gz.example>\r\n"
        b"Received: a\r\nReceived: b\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n\r\n",
        LIMITS,
    )
    assert [(one.display, one.address) for one in header.from_] == [("张三", "z@gz.example")]
    assert header.sender is not None
    assert header.sender.address == "s@gz.example"
    assert header.message_id == "<1@gz.example>"
    assert header.received_count == 2
    assert header.date == 880127706
