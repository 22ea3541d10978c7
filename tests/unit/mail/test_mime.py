"""The part tree, what IMAP shows of it, and the octets that a section names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from govmail.config import Limits
from govmail.mail.mime import digest_message, section
from govmail.mail.parts import Octets, Text
from tests.kit.imap_values import parse_value

LIMITS = Limits()

# The numbering example of RFC 3501 §6.4.5, with our own content:
#   1 TEXT/PLAIN, 2 APPLICATION/OCTET-STREAM, 3 MESSAGE/RFC822 (3.1 TEXT/PLAIN, 3.2 APPLICATION/OCTET-STREAM),
#   4 MULTIPART/MIXED (4.1 IMAGE/GIF, 4.2 MESSAGE/RFC822 (4.2.1 TEXT/PLAIN, 4.2.2 MULTIPART/ALTERNATIVE (4.2.2.1, 4.2.2.2)))
NESTED = b"""From: a@b.example
Subject: outer
Content-Type: multipart/mixed; boundary=A

preamble
--A

one
--A
Content-Type: application/octet-stream

two
--A
Content-Type: message/rfc822

Subject: third
Content-Type: multipart/mixed; boundary=AA

--AA

three.one
--AA
Content-Type: application/octet-stream

three.two
--AA--
--A
Content-Type: multipart/mixed; boundary=AB

--AB
Content-Type: image/gif

four.one
--AB
Content-Type: message/rfc822

Subject: four two
Content-Type: multipart/mixed; boundary=AC

--AC

four.two.one
--AC
Content-Type: multipart/alternative; boundary=AD

--AD

four.two.two.one
--AD
Content-Type: text/html

<b>four.two.two.two</b>
--AD--
--AC--
--AB--
--A--
epilogue
""".replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("path", "text", "octets"),
    [
        ([1], "", b"one"),
        ([1], "MIME", b"\r\n"),
        ([2], "MIME", b"Content-Type: application/octet-stream\r\n\r\n"),
        ([3], "HEADER", b"Subject: third\r\nContent-Type: multipart/mixed; boundary=AA\r\n\r\n"),
        ([3], "TEXT", b"--AA\r\n\r\nthree.one\r\n--AA\r\nContent-Type: application/octet-stream\r\n\r\nthree.two\r\n--AA--"),
        ([3, 1], "", b"three.one"),
        ([3, 2], "", b"three.two"),
        ([4, 1], "", b"four.one"),
        ([4, 1], "MIME", b"Content-Type: image/gif\r\n\r\n"),
        ([4, 2], "HEADER", b"Subject: four two\r\nContent-Type: multipart/mixed; boundary=AC\r\n\r\n"),
        ([4, 2, 1], "", b"four.two.one"),
        ([4, 2, 2, 1], "", b"four.two.two.one"),
        ([4, 2, 2, 2], "", b"<b>four.two.two.two</b>"),
        ([], "", NESTED),
        ([1], "HEADER", None),
        ([4], "TEXT", None),
        ([5], "", None),
        ([0], "", None),
        ([1, 1], "", None),
        ([3, 3], "", None),
    ],
)
def test_sections(path: Sequence[int], text: Text, octets: bytes | None) -> None:
    digest = digest_message(NESTED, limits=LIMITS)
    span = section(digest.root, path, text, digest.header_size)
    assert (None if span is None else NESTED[span.offset : span.offset + span.length]) == octets


def test_sections_of_a_message_without_parts() -> None:
    data = b"Subject: x\r\n\r\nbody"
    digest = digest_message(data, limits=LIMITS)

    def octets(path: Sequence[int], text: Text) -> bytes | None:
        span = section(digest.root, path, text, digest.header_size)
        return None if span is None else data[span.offset : span.offset + span.length]

    assert octets([], "HEADER") == b"Subject: x\r\n\r\n"
    assert octets([], "TEXT") == octets([1], "") == b"body"
    assert octets([1], "MIME") == b"Subject: x\r\n\r\n"
    assert octets([1, 1], "") is None
    assert octets([2], "") is None


def structure(raw: bytes) -> bytes:
    return digest_message(raw.replace(b"\n", b"\r\n"), limits=LIMITS).bodystructure


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Subject: x\n\nbody\n", b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)'),
        (b"Content-Type: nonsense\n\nbody\n", b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)'),
        (
            b"Content-Type: image/png; name=a.png\nContent-ID: <1@x>\nContent-Description: \"d\" \\ e\nContent-Transfer-Encoding: BASE64\n"
            b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-Disposition: attachment; filename=a.png\nContent-Language: zh, en\nContent-Location: http://x.example/\n\nAAAA",
            b'("image" "png" ("name" "a.png") "<1@x>" "\\"d\\" \\\\ e" "base64" 4 "Q2hlY2sgSW50ZWdyaXR5IQ==" ("attachment" ("filename" "a.png")) ("zh" "en") "http://x.example/")',
        ),
        (b"Content-Type: multipart/mixed; boundary=a\n\nno part", b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" ("boundary" "a") NIL NIL NIL)'),
        (
            b"Content-Type: message/rfc822\n\nSubject: in\n\nx\ny\n",
            b'("message" "rfc822" NIL NIL NIL "7bit" 21 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 2 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)',
        ),
        (b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nAAAA", b'("application" "octet-stream" NIL NIL NIL "base64" 4 NIL NIL NIL NIL)'),
        (b"Content-Type: message/delivery-status\n\nx", b'("message" "delivery-status" NIL NIL NIL "7bit" 1 NIL NIL NIL NIL)'),
        (
            b"Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: in\n\nx\n--a--\n",
            b'(("message" "rfc822" NIL NIL NIL "7bit" 16 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) "digest" ("boundary" "a") NIL NIL NIL)',
        ),
        # one boundary begins with another
        (
            b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\n1\n--ab--\n--a\n\n2\n--a--\n",
            b'((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "mixed" ("boundary" "ab") NIL NIL NIL)'
            b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "mixed" ("boundary" "a") NIL NIL NIL)',
        ),
        # the inner end is missing; the outer delimiter ends both
        (
            b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--a\n\n2",
            b'((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)'
            b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "mixed" ("boundary" "a") NIL NIL NIL)',
        ),
        # a part whose header no empty line ends
        (b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: image/gif\n--a--\n", b'(("image" "gif" NIL NIL NIL "7bit" 0 NIL NIL NIL NIL) "mixed" ("boundary" "a") NIL NIL NIL)'),
        (b"Content-Type: multipart/mixed; boundary=a\n\n--a \t\n\n1\n--a-- \n", b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) "mixed" ("boundary" "a") NIL NIL NIL)'),
    ],
)
def test_bodystructure(raw: bytes, expected: bytes) -> None:
    assert structure(raw) == expected


def test_body_is_bodystructure_without_extension_data() -> None:
    digest = digest_message(NESTED, limits=LIMITS)
    assert b"NIL NIL NIL NIL)" in digest.bodystructure
    assert digest.body_form.startswith(b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0)("application"')
    assert digest.body_form.endswith(b' "mixed")')


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject:\n", b'(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (
            b"From: A <a@b.example>\nSender:\nTo: g:x@y.example;\nIn-Reply-To: <1@x>\n",
            b'(NIL NIL (("A" NIL "a" "b.example")) (("A" NIL "a" "b.example")) (("A" NIL "a" "b.example")) '
            b'((NIL NIL "g" NIL)(NIL NIL "x" "y.example")(NIL NIL NIL NIL)) NIL NIL "<1@x>" NIL)',
        ),
        (b"From: \"a\\\\\" <a@b.example>\n", b'(NIL NIL (("a\\\\" NIL "a" "b.example")) (("a\\\\" NIL "a" "b.example")) (("a\\\\" NIL "a" "b.example")) NIL NIL NIL NIL NIL)'),
        (b"Subject: a\rb\n", b"(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject: a\0b\n", b'(NIL "a?b" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (b"Subject: \xcd\xa8\xd6\xaa\n", b'(NIL "=?utf-8?B?6YCa55+l?=" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        ("Cc: 用户@邮件.example\n".encode(), b'(NIL NIL NIL NIL NIL NIL ((NIL NIL {6}\r\n\xe7\x94\xa8\xe6\x88\xb7 {14}\r\n\xe9\x82\xae\xe4\xbb\xb6.example)) NIL NIL NIL)'),
        (b"Cc: root\n", b'(NIL NIL NIL NIL NIL NIL ((NIL NIL "root" "")) NIL NIL NIL)'),
    ],
)
def test_envelope(header: bytes, expected: bytes) -> None:
    assert digest_message(header.replace(b"\n", b"\r\n") + b"\r\n", limits=LIMITS).envelope == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"Content-Type: multipart/mixed; boundary=a; boundary=b\n\n", "several boundaries"),
        (b"Content-Type: text/plain\nContent-Type: text/html\n\n", "several Content-Type fields"),
        (b"Content-Type: text/plain\nContent-Type: text/plain\n\n", ""),
        (b"Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n\n", "several Content-Transfer-Encoding fields"),
        (b"Content-Type: multipart/mixed; boundary=a\nContent-Transfer-Encoding: base64\n\n", "encoded multipart"),
        (b"Content-Type: multipart/mixed\n\n", "multipart without boundary"),
        (b"a: b\n" * 1001 + b"Content-Type: text/html\n\n", "too many header fields"),
        (b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\n" * 2001, "too many parts"),
        (b"Content-Type: message/rfc822\n\n" * 60, "nested too deep"),
        (b"a: " + b"x" * 300_000, "header too large"),
        (NESTED, ""),
    ],
)
def test_what_readers_may_see_differently_is_called_ambiguous(raw: bytes, reason: str) -> None:
    digest = digest_message(raw, limits=LIMITS)
    assert digest.ambiguity == reason
    assert digest.ambiguous is bool(reason)


@pytest.mark.parametrize(
    ("body", "octets"),
    [(b"a\r\nb", 0), (b"a\nb", Octets.BARE_LF), (b"a\rb", Octets.BARE_CR), (b"a\0", Octets.NUL), (b"\xff", Octets.EIGHT_BIT), (b"\r\r\n\n", Octets.BARE_CR | Octets.BARE_LF)],
)
def test_each_leaf_knows_its_unusual_octets(body: bytes, octets: int) -> None:
    raw = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n" + body + b"\r\n--a\r\n\r\nplain\r\n--a--\r\n"
    first, second = digest_message(raw, limits=LIMITS).root.children
    assert (first.octets, second.octets) == (octets, 0)


def test_text_beyond_the_limit_is_said_to_be_missing() -> None:
    limits = Limits(text_octets=100)
    short = digest_message(b"\r\n" + b"x" * 100, limits=limits)
    long = digest_message(b"\r\n" + b"x" * 101, limits=limits)
    assert (short.text_complete, long.text_complete) == (True, False)
    assert long.text == "\0" + "x" * 100


def test_text_holds_what_search_asks_for() -> None:
    raw = (
        b"Subject: =?utf-8?B?6YCa55+l?=\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>One&nbsp;<b>TWO</b></p>\r\n"
        b"--a\r\nContent-Type: application/pdf; name=Report.pdf\r\n\r\nsecret\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nBody\r\n--a--\r\n"
    )
    digest = digest_message(raw, limits=LIMITS)
    head, _, body = digest.text.partition("\0")
    assert "subject: 通知" in head
    for word in ("one two", "report.pdf", "subject: inner", "body"):
        assert word in body
    assert "secret" not in digest.text
    assert digest.preview == "One TWO"


def test_a_preview_is_one_line_of_at_most_200_characters() -> None:
    digest = digest_message(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "会议\r\n\r\n  通知\x07".encode() * 100, limits=LIMITS)
    assert digest.preview.startswith("会议 通知会议 通知")
    assert len(digest.preview) <= 200


HEAD = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"--b\r\n" * 100_000,
        HEAD + b"--b\r\nX: y\r\n" * 50_000,
        HEAD + b"--bx\r\n" * 100_000,
        b"Content-Type: text/plain" + b";" * 200_000,
        b'Content-Type: text/plain; a="' + b'\\"' * 100_000,
        b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
        b"Content-Type: text/html\r\n\r\n" + b'<a ="' * 100_000,
        b"Content-Type: text/html\r\n\r\n" + b"<script>" * 60_000,
        b"Content-Type: text/html\r\n\r\n" + b"&#" + b"9" * 500_000,
        b"Content-Type: text/plain; charset=utf-8\r\n\r\na" + "\u0301\u0316".encode() * 50_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 500_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b" " * 500_000,
        b"Subject: " + b"=?a?b?" * 40_000,
        b"x" * 1_000_000,
    ],
    ids=range(14),
)
def test_hostile_messages_end_and_answer(raw: bytes) -> None:
    digest = digest_message(raw, limits=LIMITS)
    assert digest.size == len(raw)
    for form in (digest.envelope, digest.bodystructure, digest.body_form):
        assert parse_value(form)[1] == b""


def test_message_global_is_no_body_type_msg() -> None:
    """RFC 3501 §9: envelope and body inside are for message/rfc822; readers of rev1 know no other."""
    inner = b"Subject: inner\r\n\r\ntext"
    mail = b"Content-Type: multipart/mixed; boundary=A\r\n\r\n--A\r\nContent-Type: message/global\r\n\r\n" + inner + b"\r\n--A--\r\n"
    digest = digest_message(mail, limits=LIMITS)
    value, _ = parse_value(digest.bodystructure)
    assert value == [[b"message", b"global", None, None, None, b"7bit", len(inner), None, None, None, None], b"mixed", [b"boundary", b"A"], None, None, None]
    span = section(digest.root, [1], "HEADER", digest.header_size)
    assert span is not None
    assert mail[span.offset : span.offset + span.length] == b"Subject: inner\r\n\r\n"
