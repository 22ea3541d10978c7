"""APPEND and REPLACE as they come, and the URLs of CATENATE."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from govmail.errors import BadMessage, LimitReached, MailError, SyntaxProblem
from govmail.wire.imap.append import AppendReader, NewMessage, Octets, Step, UrlOctets
from govmail.wire.imap.fetch import BodySection, Section, Text
from govmail.wire.imap.numset import STAR, NumSet
from govmail.wire.imap.tokens import Tokens
from govmail.wire.imap.url import BadUrl, MessageUrl, parse_url, url_code

LOCAL = timezone(timedelta(hours=-7))


def read(*growing: bytes, reader: AppendReader | None = None) -> tuple[AppendReader, list[Step]]:
    """Feed a command piece by piece, as the framer gives it."""
    reader = reader or AppendReader()
    steps: list[Step] = []
    whole = b""
    for piece in growing:
        whole += piece
        while (step := reader.next(Tokens(whole))) is not None:
            steps.append(step)
            if not isinstance(step, MessageUrl):
                break
    return reader, steps


def test_one_message() -> None:
    reader, steps = read(b'a1 APPEND {13+}\r\nsaved/message (\\seen $Work) "17-Jul-1996 02:44:25 -0700" {310}\r\n', b"")
    assert (reader.name, reader.mailbox) == ("APPEND", "saved/message")
    assert reader.messages == [NewMessage(("\\Seen", "$Work"), datetime(1996, 7, 17, 2, 44, 25, tzinfo=LOCAL))]
    assert steps == [Octets(310)]


def test_several_messages_of_all_kinds() -> None:
    reader, steps = read(
        b"a1 append x ~{3+}\r\n", b' (\\Draft) CATENATE (URL "/x/;UID=1" TEXT {0}\r\n', b" URL {9+}\r\n",
        b' TEXT ~{5}\r\n', b' URL "/x/;UID=2") {7}\r\n', b" ",
    )  # fmt: skip
    assert [message.binary for message in reader.messages] == [True, True, False]
    assert [message.flags for message in reader.messages] == [(), ("\\Draft",), ()]
    one, two = parse_url(b"/x/;UID=1"), parse_url(b"/x/;UID=2")
    assert steps == [Octets(3), one, Octets(0), UrlOctets(9), Octets(5), two, Octets(7)]


def test_replace_names_one_message() -> None:
    reader, _ = read(b"a1 REPLACE 4 Drafts {3}\r\n", b"")
    assert (reader.name, reader.replaced, reader.mailbox) == ("REPLACE", NumSet(((4, 4),)), "Drafts")
    reader, _ = read(b"a1 uid replace * Drafts {3}\r\n", b"")
    assert (reader.name, reader.replaced) == ("UID REPLACE", NumSet(((STAR, STAR),)))


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"a1 APPEND x"], SyntaxProblem), ([b"a1 APPEND x y"], SyntaxProblem), ([b"a1 APPEND x {3}\r\n", b"x"], SyntaxProblem),
        ([b"a1 APPEND x {3}\r\n", b" y"], SyntaxProblem), ([b"a1 APPEND x {0}\r\n"], BadMessage), ([b'a1 APPEND x "32-Jul-1996 02:44:25 -0700" {3}\r\n'], SyntaxProblem),
        ([b"a1 APPEND x CATENATE ()"], SyntaxProblem), ([b"a1 APPEND x CATENATE (TEXT {3}\r\n", b""], SyntaxProblem),
        ([b"a1 APPEND x CATENATE (TEXT {3}\r\n", b" )"], SyntaxProblem), ([b'a1 APPEND x CATENATE (URL "/x/;UID=1") CATENATE'], SyntaxProblem),
        ([b"a1 APPEND x CATENATE (URL {99999}\r\n"], SyntaxProblem), ([b'a1 APPEND x CATENATE (URL "http://a.example/")'], BadUrl),
        ([b"a1 REPLACE 0 x {3}\r\n"], SyntaxProblem), ([b"a1 REPLACE 1:2 x {3}\r\n"], SyntaxProblem), ([b"a1 REPLACE 1 x {3}\r\n", b" {3}\r\n"], SyntaxProblem),
        ([b"a1 APPEND x {1}\r\n", b" {1}\r\n", b" {1}\r\n"], LimitReached),
    ],
)  # fmt: skip
def test_refuses(pieces: list[bytes], error: type[MailError]) -> None:
    with pytest.raises(error):
        read(*pieces, reader=AppendReader(most=2))


URLS = [
    (b"/INBOX/;UID=5", "INBOX", None, 5, BodySection(Section(), True)),
    (b"/inbox;UIDVALIDITY=785799047/;UID=113330;section=1.5.9", "INBOX", 785799047, 113330, BodySection(Section((1, 5, 9)), True)),
    (b"/Drafts;uidvalidity=3/;uid=20/;section=HEADER", "Drafts", 3, 20, BodySection(Section((), Text.HEADER), True)),
    (b"/a%20b/%E8%8D%89%E7%A8%BF/;UID=1/;SECTION=2.MIME/;PARTIAL=10.20", "a b/草稿", None, 1, BodySection(Section((2,), Text.MIME), True, (10, 20))),
    (b"/x/;UID=1/;PARTIAL=7", "x", None, 1, BodySection(Section(), True, (7, 2**63 - 1))),
    (b"/x/;UID=1/;SECTION=HEADER.FIELDS%20(TO)", "x", None, 1, BodySection(Section((), Text.FIELDS, (b"TO",)), True)),
]


@pytest.mark.parametrize(("text", "mailbox", "validity", "uid", "wanted"), URLS, ids=[str(one[0]) for one in URLS])
def test_urls(text: bytes, mailbox: str, validity: int | None, uid: int, wanted: BodySection) -> None:
    assert parse_url(text) == MessageUrl(text, mailbox, validity, uid, wanted)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"/", b"/INBOX", b"/INBOX/;UID=0", b";UID=1", b"imap://a.example/INBOX/;UID=1", b"//a.example/INBOX/;UID=1x", b"/%FF/;UID=1",
        b"/x/;UID=1/;SECTION=0", b"/x/;UID=1/;SECTION=HEADER]", b"/x/;UID=1/;PARTIAL=1.0", b"/x/;UID=1?a", b"/x/;UID=1;URLAUTH=user",
    ],
)  # fmt: skip
def test_urls_that_name_nothing_here(text: bytes) -> None:
    with pytest.raises(BadUrl):
        parse_url(text)


def test_a_url_in_a_code_breaks_nothing() -> None:
    assert url_code(b'/a]"\r\n\xff/;UID=1') == b'BADURL "/a%5D%22%0D%0A%FF/;UID=1"'
