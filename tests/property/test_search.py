"""SEARCH and SORT against an evaluation that knows what was written into each mail and looks at it one by one."""

from __future__ import annotations

import base64
import random
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govmail.config import Limits
from govmail.imap.fetching import View
from govmail.imap.flags import SYSTEM, FlagNames
from govmail.imap.searching import Question, find, find_rows
from govmail.imap.sorting import in_order
from govmail.imap.view import UidMap
from govmail.mail.pinyin import collation, name_collation
from govmail.store import accounts, incoming, messages
from govmail.store.database import Database
from govmail.store.values import Delivery
from govmail.wire.imap import search
from govmail.wire.imap.numset import LARGEST, SAVED, STAR, NumSet, Ranges, from_numbers
from govmail.wire.imap.results import Order
from govmail.wire.imap.search import Key, parse_keys, print_key
from govmail.wire.imap.tokens import Tokens
from tests.kit.contents import new_content

NOW = 1_800_000_000
DAY = 86_400
ZONE = timezone(timedelta(hours=8))
LIMITS = Limits(text_octets=400)  # some texts are cut
WORDS = ["meeting", "Budget", "会议", "通知", "朱镕基", "𬭊", "ＡＢＣ", "naïve", "STRASSE", "斑马鱼", "at nine", "x"]
ABSENT = ["zebra", "不存在", "议会", "nowhere"]
PEOPLE = [("王伟", "wangwei"), ("Zhao Min", "ZHAO"), ("", "office"), ("单子", "shan"), ("alice", "a.b")]
KEYWORDS = ["$Work", "later"]


@dataclass
class Mail:
    """What was written. `sent` None: no Date."""

    uid: int
    fields: list[tuple[str, str]]
    body: str
    flags: frozenset[str]
    internal: int
    sent: int | None
    size: int

    @property
    def header(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.fields)

    def first(self, name: str) -> str | None:
        return next((value for field, value in self.fields if field.upper() == name), None)


@dataclass
class Box:
    database: Database
    view: View
    mails: list[Mail]
    hidden: Ranges
    saved: Ranges

    def ask(self, key: Key) -> Question:
        return Question(self.view, self.hidden, self.saved, key, NOW, LIMITS, self.database.blobs)

    @property
    def shown(self) -> list[Mail]:
        return [mail for mail in self.mails if not within(mail.uid, self.hidden)]


def within(uid: int, ranges: Ranges) -> bool:
    return any(first <= uid <= last for first, last in ranges)


def word(text: str, charset: str) -> str:
    """An encoded word where one is needed."""
    return text if text.isascii() else f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


def written(source: random.Random, uid: int) -> tuple[Mail, bytes]:
    charset = source.choice(["utf-8", "gb18030"])
    words = source.choices(WORDS, k=source.randint(0, 3))
    subject = source.choice(["", "Re: ", "[list] "]) + " ".join(words)
    name, local = source.choice(PEOPLE)
    internal = NOW - 3600 * source.randrange(40 * 24)
    sent = source.choice([None, internal - source.randrange(3 * DAY)])
    fields = [("From", f"{name} <{local}@jx.example>" if name else f"{local}@jx.example"), ("Subject", subject)]
    raw = [f"From: {word(name, charset)} <{local}@jx.example>" if name else f"From: {local}@jx.example"]
    raw.append("Subject: " + subject.replace(" ".join(words), " ".join(words)) if subject.isascii() else "Subject: " + word(subject, charset))
    if source.random() < 0.2:  # the field stands twice
        fields.append(("Subject", "second 通知"))
        raw.append("Subject: " + word("second 通知", "utf-8"))
    if source.random() < 0.5:
        to = " ".join(source.choices(["lina", "shan"], k=1))
        fields.append(("To", f"{to}@jx.example"))
        raw.append(f"To: {to}@jx.example")
    if sent is not None:
        when = format_datetime(datetime.fromtimestamp(sent, ZONE))
        fields.append(("Date", when))
        raw.append("Date: " + when)
    if source.random() < 0.3:
        fields.append(("X-Other", "some VALUE here"))
        raw.append("X-Other: some\r\n VALUE here")
    body = "\r\n".join(" ".join(source.choices(WORDS, k=4)) for _ in range(source.choice([0, 1, 3, 40])))
    fields += [("MIME-Version", "1.0"), ("Content-Type", f"text/plain; charset={charset}")]
    raw += ["MIME-Version: 1.0", f"Content-Type: text/plain; charset={charset}"]
    octets = "\r\n".join(raw).encode() + b"\r\n\r\n" + body.encode(charset)
    flags = frozenset(source.sample([*SYSTEM, *KEYWORDS], k=source.randint(0, 3)))
    return Mail(uid, fields, body, flags, internal, sent, len(octets)), octets


@lru_cache
def box(seed: int) -> Box:
    source = random.Random(seed)
    database = Database.open("sqlite://", data_dir=Path("/nonexistent"), durable=False)
    mails = []
    for uid in range(1, 31):
        mail, octets = written(source, uid)
        mails.append(mail)
        bits = sum(int(SYSTEM[name]) for name in mail.flags if name in SYSTEM)
        content = new_content(octets, files=database.blobs, limits=LIMITS)
        database.run_write(incoming.deliver, content, [Delivery("li", "li@jx.example", flags=bits)], internal_date=mail.internal, now=NOW)
    [account] = database.run_read(accounts.list_page, after=0, limit=2)
    for name in KEYWORDS:
        uids = from_numbers(mail.uid for mail in mails if name in mail.flags)
        database.run_write(messages.store_flags, account.account_id, 1, uids, "add", 0, [name])
    names = FlagNames(database.run_read(messages.keyword_names, account.account_id))
    gone = source.sample(range(1, 31), 4)  # UIDs are not sequence numbers
    kept = [mail for mail in mails if mail.uid not in gone]
    view = View(account.account_id, 1, UidMap(from_numbers(mail.uid for mail in kept)), names, recent_from=25)
    hidden, saved = (from_numbers(sorted(source.sample([mail.uid for mail in kept], 3))) for _ in range(2))
    return Box(database, view, kept, hidden, saved)


# -- the naive evaluation -------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def holds(mail: Mail, key: Key, box: Box) -> bool:
    match key:
        case search.All():
            return True
        case search.And(keys):
            return all(holds(mail, one, box) for one in keys)
        case search.Or(one, other):
            return holds(mail, one, box) or holds(mail, other, box)
        case search.Not(inner):
            return not holds(mail, inner, box)
        case search.HasFlag(name, present):
            return (name.lower() in {flag.lower() for flag in mail.flags}) is present
        case search.Recent(present):
            return (mail.uid >= box.view.recent_from) is present
        case search.Numbers(numbers, uid):
            if numbers.saved:
                return within(mail.uid, box.saved)
            number = mail.uid if uid else box.mails.index(mail) + 1
            highest = box.mails[-1].uid if uid else len(box.mails)
            pairs = [tuple(highest if end == STAR else end for end in pair) for pair in numbers.ranges]
            return any(min(pair) <= number <= max(pair) for pair in pairs)
        case search.Size(larger, octets):
            return mail.size > octets if larger else mail.size < octets
        case search.Within(younger, seconds):
            return mail.internal >= NOW - seconds if younger else mail.internal <= NOW - seconds
        case search.Dated(when, relation, day):
            moment = mail.internal if when is search.When.INTERNAL or mail.sent is None else mail.sent
            if when is search.When.SAVED:
                moment = NOW  # of all of them
            own = datetime.fromtimestamp(moment, UTC).astimezone(ZONE).date()
            return {"BEFORE": own < day, "ON": own == day, "SINCE": own >= day}[relation]
        case search.HeaderContains(name, text):
            return any(field.upper() == name and plain(text) in plain(value) for field, value in mail.fields)
        case search.Contains(scope, text):
            return plain(text) in plain(mail.body) or (scope == "TEXT" and plain(text) in plain(mail.header))


# -- programs -------------------------------------------------------------------------------------------------------

number = st.one_of(st.integers(1, 35), st.just(STAR))
sets = st.one_of(st.just(SAVED), st.lists(st.tuples(number, number), min_size=1, max_size=3).map(lambda pairs: NumSet(tuple(pairs))))
needles = st.sampled_from([*WORDS, *ABSENT, "镕", "e", "BUDGET", "abc", "strasse", "wang", "王", "jx.example"])
days = st.integers(-45, 2).map(lambda ago: date(2027, 1, 15) + timedelta(days=ago))
leaves = st.one_of(
    st.just(search.All()),
    st.builds(search.HasFlag, st.sampled_from([*SYSTEM, *KEYWORDS, "$WORK", "unknown"]), st.booleans()),
    st.builds(search.Recent, st.booleans()),
    st.builds(search.Numbers, sets, st.booleans()),
    st.builds(search.Dated, st.sampled_from(search.When), st.sampled_from(["BEFORE", "ON", "SINCE"]), days),
    st.builds(search.Size, st.booleans(), st.one_of(st.integers(100, 900), st.just(LARGEST))),
    st.builds(search.Within, st.booleans(), st.integers(1, 45 * 24).map(lambda hours: hours * 3600)),
    st.builds(search.HeaderContains, st.sampled_from(["FROM", "SUBJECT", "TO", "CC", "BCC", "X-OTHER", "DATE"]), needles),
    st.builds(search.HeaderContains, st.sampled_from(["SUBJECT", "TO", "X-OTHER", "X-NONE"]), st.just("")),
    st.builds(search.Contains, st.sampled_from(["TEXT", "BODY"]), needles),
)
keys = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(search.Not, inner), st.builds(search.Or, inner, inner), st.builds(search.And, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
boxes = st.integers(1, 3)


def as_sent(key: Key, charset: str) -> bytes:
    """The key as a client of this charset sends it, text in literals."""
    match key:
        case search.And(inner):
            return b"(" + b" ".join(as_sent(one, charset) for one in inner) + b")"
        case search.Or(one, other):
            return b"OR " + as_sent(one, charset) + b" " + as_sent(other, charset)
        case search.Not(inner):
            return b"NOT " + as_sent(inner, charset)
        case search.HeaderContains(name, text):
            return b"HEADER %b %b" % (name.encode(), literal(text, charset))
        case search.Contains(scope, text):
            return b"%b %b" % (scope.encode(), literal(text, charset))
        case _:
            return print_key(key)


def literal(text: str, charset: str) -> bytes:
    octets = text.encode(charset)
    return b"{%d}\r\n%b" % (len(octets), octets)


@settings(max_examples=300, deadline=None)
@given(boxes, keys)
def test_search_finds_what_is_there(seed: int, key: Key) -> None:
    here = box(seed)
    expected = [mail.uid for mail in here.shown if holds(mail, key, here)]
    assert here.database.run_read(find, here.ask(key)) == expected
    assert [row.uid for row in here.database.run_read(find_rows, here.ask(key))] == expected


flags_only = st.recursive(
    st.builds(search.HasFlag, st.sampled_from([*SYSTEM, *KEYWORDS, "unknown"]), st.booleans()),
    lambda inner: st.one_of(st.builds(search.Not, inner), st.builds(search.Or, inner, inner)),
    max_leaves=5,
)


@settings(deadline=None)
@given(boxes, flags_only)
def test_flags_alone(seed: int, key: Key) -> None:
    here = box(seed)
    assert here.database.run_read(find, here.ask(key)) == [mail.uid for mail in here.shown if holds(mail, key, here)]


@settings(deadline=None)
@given(keys, st.sampled_from(["utf-8", "gb18030"]), st.sampled_from(["UTF-8", "utf-8"]), st.sampled_from(["GB2312", "gbk", "GB18030"]))
def test_charset_makes_no_difference(key: Key, charset: str, utf8: str, chinese: str) -> None:
    label = utf8 if charset == "utf-8" else chinese
    here = box(1)
    expected = [mail.uid for mail in here.shown if holds(mail, key, here)]
    for named in (b"CHARSET %b " % label.encode(), b'CHARSET "%b" ' % label.encode()):
        read = parse_keys(Tokens(named + as_sent(key, charset)))
        assert here.database.run_read(find, here.ask(read)) == expected


# -- SORT -----------------------------------------------------------------------------------------------------------


def sort_key(mail: Mail, criterion: str) -> int | str:
    name, _, address = (mail.first({"FROM": "FROM", "DISPLAYFROM": "FROM"}.get(criterion, "TO")) or "").rpartition(" ")
    address = address.strip("<>")
    match criterion:
        case "ARRIVAL":
            return mail.internal
        case "SIZE":
            return mail.size
        case "DATE":
            return mail.internal if mail.sent is None else mail.sent
        case "SUBJECT":
            text = plain(mail.first("SUBJECT") or "").removeprefix("re:").strip()
            return collation(text.removeprefix("[list] ") if text != "[list]" else text)
        case "FROM" | "TO":
            return plain(address.rpartition("@")[0])
        case "DISPLAYFROM" | "DISPLAYTO":
            return name_collation(name or address)
        case _:
            return ""


orders = st.lists(
    st.tuples(st.sampled_from(["ARRIVAL", "SIZE", "DATE", "SUBJECT", "FROM", "TO", "CC", "DISPLAYFROM", "DISPLAYTO"]), st.booleans()), min_size=1, max_size=3
).map(tuple)


@pytest.mark.parametrize("piece", [5000, 7])
@settings(deadline=None)
@given(boxes, orders)
def test_sort(piece: int, seed: int, order: Order) -> None:
    here = box(seed)
    expected = here.shown
    for criterion, reverse in reversed(order):
        groups: dict[int | str, list[Mail]] = {}
        for mail in expected:
            groups.setdefault(sort_key(mail, criterion), []).append(mail)
        expected = [mail for value in sorted(groups, reverse=reverse) for mail in groups[value]]  # type: ignore[type-var]
    rows = here.database.run_read(find_rows, here.ask(search.All()))
    found = here.database.run_read(in_order, rows, order, piece)
    assert [row.uid for row in found] == [mail.uid for mail in expected]
