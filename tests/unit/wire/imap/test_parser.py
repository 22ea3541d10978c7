"""Commands as values: examples of the RFCs, round trips, hostile input."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.errors import SyntaxProblem
from govmail.wire.imap import commands as c
from govmail.wire.imap import parser, responses, search
from govmail.wire.imap.append import AppendReader
from govmail.wire.imap.enabled import NOTHING
from govmail.wire.imap.fetch import BinarySection, BodySection, Plain, Section, Text, parse_items
from govmail.wire.imap.numset import STAR, NumSet
from govmail.wire.imap.tokens import Tokens


def read(parse: Callable[[Tokens], object], octets: bytes) -> object:
    return parse(Tokens(octets))


LOCAL = timezone(timedelta(hours=-7))

EXAMPLES: list[tuple[parser.Parser, bytes, c.Command]] = [
    (parser.bare, b"", c.Bare()),
    (parser.bare, b" ", c.Bare()),
    (parser.login, b" SMITH SESAME", c.Login(b"SMITH", b"SESAME")),
    (parser.login, b' {4}\r\nFRED "a\\"b\\\\ c"', c.Login(b"FRED", b'a"b\\ c')),
    (parser.authenticate, b" plain dGVzdAB0ZXN0AHRlc3Q=", c.Authenticate("PLAIN", b"dGVzdAB0ZXN0AHRlc3Q=")),
    (parser.authenticate, b" LOGIN", c.Authenticate("LOGIN", None)),
    (parser.identify, b" NIL", c.Id(())),
    (parser.identify, b" ()", c.Id(())),
    (parser.identify, b' ("NAME" "Foxmail" "version" NIL "os" "")', c.Id((("name", "Foxmail"), ("version", ""), ("os", "")))),
    (parser.enable, b" CONDSTORE UTF8=ACCEPT", c.Enable(("CONDSTORE", "UTF8=ACCEPT"))),
    (parser.select, b" inbox", c.Select("INBOX")),
    (parser.select, b' "&XfJT0ZAB-"', c.Select("已发送")),
    (parser.select, b" Work/2026/", c.Select("Work/2026")),
    (parser.select, b" INBOX (CONDSTORE)", c.Select("INBOX", True)),
    (parser.fetch, b" 1:* (FLAGS) (CHANGEDSINCE 12345)", c.Fetch(NumSet(((1, STAR),)), (Plain.FLAGS,), 12345)),
    (parser.store, b" 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT \\Deleted",
     c.Store(NumSet(((7, 7), (5, 5), (9, 9))), "add", ("\\Deleted",), True, 320162338)),
    (parser.search, b' MODSEQ "/flags/\\\\draft" all 620162338', c.Search(search.Changed(620162338))),
    (parser.create, b' "My Sent" (USE (\\Sent))', c.Named("My Sent", "\\Sent")),
    (parser.create, b" inbox/a", c.Named("INBOX/a")),
    (parser.rename, b" blurdybloop {5+}\r\nsarah", c.Rename("blurdybloop", "sarah")),
    (parser.list_, b' "" "*"', c.List("", ("*",))),
    (parser.list_, b" (SUBSCRIBED) \"\" (INBOX \"a/%\")", c.List("", ("INBOX", "a/%"), frozenset({"SUBSCRIBED"}), extended=True)),
    (parser.list_, b' "" "*" RETURN (SPECIAL-USE STATUS (UNSEEN MESSAGES) CHILDREN)',
     c.List("", ("*",), frozenset(), frozenset({"SPECIAL-USE", "STATUS", "CHILDREN"}), (b"UNSEEN", b"MESSAGES"), extended=True)),
    (parser.lsub, b' "#news." "comp.mail.*"', c.List("#news.", ("comp.mail.*",))),
    (parser.status, b" blurdybloop (UIDNEXT MESSAGES)", c.Status("blurdybloop", (b"UIDNEXT", b"MESSAGES"))),
    (parser.fetch, b" 2:4,7 FLAGS", c.Fetch(NumSet(((2, 4), (7, 7))), (Plain.FLAGS,))),
    (parser.fetch, b" 1:* FAST", c.Fetch(NumSet(((1, STAR),)), (Plain.FLAGS, Plain.INTERNALDATE, Plain.SIZE))),
    (parser.fetch, b" 2 (flags body[header.fields (DATE FROM)])",
     c.Fetch(NumSet(((2, 2),)), (Plain.FLAGS, BodySection(Section((), Text.FIELDS, (b"DATE", b"FROM")))))),
    (parser.fetch, b" 1 BODY.PEEK[4.2.HEADER]<0.2048>", c.Fetch(NumSet(((1, 1),)), (BodySection(Section((4, 2), Text.HEADER), True, (0, 2048)),))),
    (parser.fetch, b" 1 RFC822.HEADER", c.Fetch(NumSet(((1, 1),)), (BodySection(Section((), Text.HEADER), True, None, b"RFC822.HEADER"),))),
    (parser.store, b" 2:4 +FLAGS (\\Deleted)", c.Store(NumSet(((2, 4),)), "add", ("\\Deleted",), False)),
    (parser.store, b" 1 flags.silent \\Seen $Junk", c.Store(NumSet(((1, 1),)), "set", ("\\Seen", "$Junk"), True)),
    (parser.store, b" 1 -FLAGS ()", c.Store(NumSet(((1, 1),)), "remove", (), False)),
    (parser.copy, b" 2:4 MEETING", c.Copy(NumSet(((2, 4),)), "MEETING")),
    (parser.expunge_uids, b" 3000:3002", c.Expunge(NumSet(((3000, 3002),)))),
    (parser.search, b" FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"", c.Search(search.And((
        search.HasFlag("\\Flagged"), search.Dated(search.When.INTERNAL, "SINCE", date(1994, 2, 1)), search.Not(search.HeaderContains("FROM", "Smith")))))),
    (parser.search, b" 1:* NOT DELETED", c.Search(search.And((search.Numbers(NumSet(((1, STAR),))), search.Not(search.HasFlag("\\Deleted")))))),
    (parser.search, b" charset gb2312 SUBJECT {4+}\r\n\xb9\xab\xce\xc4", c.Search(search.HeaderContains("SUBJECT", "公文"))),
    (parser.search, b' CHARSET "UTF-8" BODY "\xe5\x85\xac"', c.Search(search.Contains("BODY", "公"))),
    (parser.search, b' TEXT "\xb9\xab\xce\xc4"', c.Search(search.Contains("TEXT", "公文"))),
    (parser.search, "  TEXT 公文".encode(), c.Search(search.Contains("TEXT", "公文"))),
]  # fmt: skip


@pytest.mark.parametrize(("parse", "octets", "expected"), EXAMPLES, ids=[repr(example[1][:40]) for example in EXAMPLES])
def test_examples(parse: parser.Parser, octets: bytes, expected: c.Command) -> None:
    assert read(parse, octets) == expected


WRONG: list[tuple[parser.Parser, bytes]] = [
    (parser.bare, b" x"), (parser.login, b" a"), (parser.login, b' "a" "b'), (parser.login, b" a b c"), (parser.login, b" {5}\r\nab c"),
    (parser.select, b' ""'), (parser.select, b" &AGE-"), (parser.identify, b' ("a")'), (parser.enable, b""),
    (parser.list_, b' "" "*" RETURN (NONSENSE)'), (parser.list_, b' (RECURSIVEMATCH) "" "*"'), (parser.status, b" x ()"), (parser.status, b" x (NONSENSE)"),
    (parser.fetch, b" 0 FLAGS"), (parser.fetch, b" 1"), (parser.fetch, b" 1 ()"), (parser.fetch, b" 1 BODY[MIME]"), (parser.fetch, b" 1 BODY[1.]"),
    (parser.fetch, b" 1 BODY[0]"), (parser.fetch, b" 1 BODY[HEADER.FIELDS ()]"), (parser.fetch, b" 1 BODY[]<0.0>"), (parser.fetch, b" 1 NONSENSE"),
    (parser.fetch, b" 1 (" + b" ".join(b"BINARY[1]<%d.1>" % first for first in range(11)) + b")"), (parser.fetch, b" 1 BINARY[1.MIME]"),
    (parser.fetch, b" 1 BINARY.SIZE[1]<0.1>"), (parser.fetch, b" 1 PREVIEW (EAGER)"), (parser.fetch, b" 1 BINARY"),
    (parser.store, b" 1 FLAGS (\\Nonsense)"), (parser.store, b" 1 *FLAGS x"), (parser.search, b" "), (parser.search, b" CHARSET UTF-8 TEXT \"\xff\""),
    (parser.search, b" " + b"(" * 60 + b"ALL" + b")" * 60), (parser.search, b" " + b"NOT " * 60 + b"ALL"), (parser.search, b" ALL" * 2000),
    (parser.search, b" SINCE 30-Feb-2026"), (parser.search, b" OR ALL"), (parser.search, b" UID 0"),
    (parser.select, b" INBOX ()"), (parser.select, b" INBOX (QRESYNC (1 1))"), (parser.select, b" INBOX (CONDSTORE"),
    (parser.fetch, b" 1 FLAGS ()"), (parser.fetch, b" 1 FLAGS (CHANGEDSINCE)"), (parser.fetch, b" 1 FLAGS (CHANGEDSINCE 1 VANISHED)"),
    (parser.fetch, b" 1 FLAGS (CHANGEDSINCE 9223372036854775808)"), (parser.store, b" 1 (UNCHANGEDSINCE) FLAGS ()"), (parser.store, b" 1 () FLAGS ()"),
    (parser.search, b" MODSEQ"), (parser.search, b' MODSEQ "/flags/x" some 1'), (parser.search, b" MODSEQ -1"),
]  # fmt: skip


@pytest.mark.parametrize(("parse", "octets"), WRONG, ids=[repr(wrong[1][:40]) for wrong in WRONG])
def test_refuses(parse: parser.Parser, octets: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        read(parse, octets)


QRESYNC = NOTHING.plus("QRESYNC")
RESYNCS: list[tuple[bytes, c.Resync]] = [
    (b"67890007 20050715194045000", c.Resync(67890007, 20050715194045000)),
    (b"67890007 90060115194045000 41:211,214:541", c.Resync(67890007, 90060115194045000, NumSet(((41, 211), (214, 541))))),
    (b"1 2 (5,8 9,20)", c.Resync(1, 2, None, ((5, 9), (5, 9), (8, 20), (8, 20)))),
    (b"1 2 3:4 (1:10 11:15,21:25)", c.Resync(1, 2, NumSet(((3, 4),)), ((1, 11), (5, 15), (6, 21), (10, 25)))),
]


@pytest.mark.parametrize(("octets", "expected"), RESYNCS, ids=[repr(octets) for octets, _ in RESYNCS])
def test_what_a_client_says_that_it_has(octets: bytes, expected: c.Resync) -> None:
    """RFC 7162 §3.2.5."""
    command = parser.select(Tokens(b" INBOX (QRESYNC (" + octets + b"))", enabled=QRESYNC))
    assert command == c.Select("INBOX", True, expected)


@pytest.mark.parametrize("octets", [b"1", b"1 2 (1:3 1:2)", b"1 2 (3:1 1:3)", b"1 2 (1:* 1:*)", b"1 2 (1 1) 1:5", b"1 2 1 2", b"1 2 (1 1) (1 1)", b"0 1,"])
def test_what_no_client_may_say_that_it_has(octets: bytes) -> None:
    with pytest.raises(SyntaxProblem):
        parser.select(Tokens(b" INBOX (QRESYNC (" + octets + b"))", enabled=QRESYNC))


def test_absurd_seq_match_data_costs_its_length() -> None:
    numbers = b",".join(b"%d" % (2 * n + 1) for n in range(9000))
    command = parser.select(Tokens(b" INBOX (QRESYNC (1 2 (1:9000 %b)))" % numbers, enabled=QRESYNC))
    assert command.resync is not None
    assert len(command.resync.matches) == 18_000


@pytest.mark.parametrize("name", ["发文", "a\"b\\c", "R&D", "INBOX", "with space", "NIL"])
def test_names_come_back_in_either_encoding(name: str) -> None:
    for enabled in (NOTHING, NOTHING.plus("IMAP4REV2")):
        assert Tokens(responses.mailbox(name, utf8=enabled.utf8), enabled=enabled).mailbox() == name


def test_utf8_names_that_are_none() -> None:
    with pytest.raises(SyntaxProblem):
        Tokens(b'"\xb9\xab"', enabled=NOTHING.plus("UTF8=ACCEPT")).mailbox()


def test_unknown_charset_has_an_answer_of_its_own() -> None:
    with pytest.raises(search.BadCharset):
        read(parser.search, b" CHARSET KOI8-R TEXT x")


def test_a_password_never_shows() -> None:
    assert "SESAME" not in repr(read(parser.login, b" SMITH SESAME"))


# -- round trips --------------------------------------------------------------------------------------------------

numbers = st.builds(NumSet, st.lists(st.tuples(st.integers(1, 2**32 - 1) | st.just(STAR), st.integers(1, 2**32 - 1) | st.just(STAR)), min_size=1, max_size=4).map(tuple))
fields = st.lists(st.binary(min_size=1, max_size=10).filter(lambda name: not set(name) & {0}), min_size=1, max_size=3).map(tuple)
sections = st.one_of(
    st.builds(Section, st.just(()), st.sampled_from([Text.FULL, Text.HEADER, Text.TEXT])),
    st.builds(Section, st.lists(st.integers(1, 99), min_size=1, max_size=4).map(tuple), st.sampled_from([Text.FULL, Text.HEADER, Text.TEXT, Text.MIME])),
    st.builds(Section, st.lists(st.integers(1, 99), max_size=4).map(tuple), st.sampled_from([Text.FIELDS, Text.FIELDS_NOT]), fields),
)
partials = st.none() | st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1))
paths = st.lists(st.integers(1, 99), max_size=4).map(tuple)
items = st.one_of(
    st.sampled_from(list(Plain)),
    st.builds(BodySection, sections, st.booleans(), partials),
    st.builds(BinarySection, paths, st.booleans(), partials),
    st.builds(BinarySection, paths, st.just(True), st.none(), st.just(True)),
)


@given(st.lists(items, min_size=1, max_size=6, unique=True))
def test_fetch_items_come_back(wanted: list[Plain | BodySection | BinarySection]) -> None:
    octets = b"(" + b" ".join(item.value if isinstance(item, Plain) else bytes(item) for item in wanted) + b")"
    assert list(parse_items(Tokens(octets))) == wanted


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
leaves = st.one_of(
    st.just(search.All()),
    st.builds(search.HasFlag, st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Junk", "work"]), st.booleans()),
    st.builds(search.Recent, st.booleans()),
    st.builds(search.Numbers, numbers, st.booleans()),
    st.builds(search.Dated, st.sampled_from(search.When), st.sampled_from(["BEFORE", "ON", "SINCE"]), st.dates(date(1970, 1, 1), date(2100, 1, 1))),
    st.builds(search.Size, st.booleans(), st.integers(0, 2**63 - 1)),
    st.builds(search.Changed, st.integers(0, 2**63 - 1)),
    st.builds(search.HeaderContains, st.sampled_from(["FROM", "SUBJECT", "MESSAGE-ID", "X-LONG NAME"]), words),
    st.builds(search.Contains, st.sampled_from(["TEXT", "BODY"]), words),
    st.builds(search.ObjectId, st.sampled_from(["EMAILID", "THREADID"]), st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)),
)
keys = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(search.Not, inner), st.builds(search.Or, inner, inner), st.builds(search.And, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@given(keys)
def test_search_keys_come_back(key: search.Key) -> None:
    assert read(parser.search, b" CHARSET UTF-8 " + search.print_key(key)) == c.Search(key)


@given(st.binary(max_size=60).filter(lambda octets: b"\0" not in octets))
def test_strings_come_back(octets: bytes) -> None:
    assert Tokens(responses.astring(octets)).astring() == octets
    assert Tokens(responses.string(octets)).string() == octets


@given(st.integers(0, 4_000_000_000))
def test_dates_come_back(seconds: int) -> None:
    assert Tokens(responses.internal_date(seconds)).date_time() == datetime.fromtimestamp(seconds, UTC)



def append(tokens: Tokens) -> object:
    reader = AppendReader()
    tokens = Tokens(b"a APPEND" + tokens.whole())
    while (step := reader.next(tokens)) is not None:
        assert len(reader.messages) < 100, step
    return reader


PARSERS = [parser.bare, parser.identify, parser.login, parser.authenticate, parser.enable, parser.select, parser.create, parser.rename, parser.list_,
           parser.lsub, parser.status, append, parser.fetch, parser.store, parser.search, parser.copy, parser.expunge_uids, parser.parse_start]  # fmt: skip
scraps = st.sampled_from([b" ", b"(", b")", b'"', b"\\", b"{3}\r\n", b"{3+}\r\nabc", b"[", b"]", b"<", b">", b"1", b"*", b":", b",", b"BODY", b".PEEK", b"HEADER.FIELDS", b"NOT", b"OR",
                          b"CHARSET ", b"UTF-8", b"TEXT", b"FLAGS", b"+", b"-", b"INBOX", b"&AGE-", b"\xb9\xab", b"\xff", b"\0", b"NIL", b"RETURN", b"STATUS", b"1-Jan-2026", b"CATENATE", b"URL ", b'"/INBOX/;UID=1"', b"~"])  # fmt: skip


@given(st.sampled_from(PARSERS), st.lists(scraps, max_size=20).map(b"".join) | st.binary(max_size=60))
def test_hostile_input_raises_nothing_else(parse: Callable[[Tokens], object], octets: bytes) -> None:
    try:
        parse(Tokens(octets))
    except SyntaxProblem:
        pass
