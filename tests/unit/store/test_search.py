"""Flags, dates and sizes in SQL; text by scanning, helped by signatures."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.config import Limits
from govmail.mail.signature import LONG, SHORT, make_signature, may_hold
from govmail.mail.text import fold
from govmail.store import accounts, incoming, messages, search
from govmail.store.database import Database
from govmail.store.values import Delivery, Flag
from tests.kit.contents import new_content, raw_mail

NOW = 1_800_000_000
SEEN, FLAGGED = int(Flag.SEEN), int(Flag.FLAGGED)
HANZI = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"


def put(db: Database, body: str, *, subject: str = "Notice", date: int = NOW, flags: int = 0, raw: bytes | None = None) -> None:
    new = new_content(raw or raw_mail(subject, body))
    db.run_write(incoming.deliver, new, [Delivery("li", "li@jx.example", flags=flags)], internal_date=date, now=NOW)


def long_text(seed: int, characters: int = SHORT + 4000) -> str:
    source = random.Random(seed)
    lines = ("".join(source.choices(HANZI, k=60)) for _ in range(characters // 60))
    return "\r\n".join(lines) + "\r\n"


def test_flags_dates_and_sizes(db: Database) -> None:
    put(db, "a\r\n", date=NOW - 500, flags=SEEN)
    put(db, "b\r\n", date=NOW - 100, flags=FLAGGED)
    put(db, "c" * 5000 + "\r\n", date=NOW)
    account = only_account(db)

    def found(**conditions: int) -> list[int]:
        return [one.uid for one in db.run_read(search.candidates, account, 1, None, **conditions)]

    assert found() == [1, 2, 3]
    assert found(flags_set=SEEN) == [1]
    assert found(flags_clear=SEEN) == [2, 3]
    assert found(flags_set=FLAGGED, flags_clear=SEEN) == [2]
    assert found(since=NOW - 100) == [2, 3]
    assert found(before=NOW - 100) == [1]
    assert found(since=NOW - 500, before=NOW) == [1, 2]
    assert found(larger=2000) == [3]
    assert found(smaller=2000) == [1, 2]
    [change, *_] = db.run_write(messages.store_flags, account, 1, [(2, 3)], "add", 0, ["$Work"])
    assert found(keywords_set=change.keywords) == [2, 3]
    assert found(keywords_clear=change.keywords) == [1]
    assert [one.uid for one in db.run_read(search.candidates, account, 1, [(1, 1), (3, 9)])] == [1, 3]
    assert db.run_read(search.candidates, account, 1, []) == []


def test_sent_dates_come_from_the_message(db: Database) -> None:
    put(db, "a\r\n")
    put(db, "", raw=b"From: a@b.example\r\nSubject: no date\r\n\r\nx\r\n")
    account = only_account(db)
    sent = 1_793_581_200  # Mon, 2 Nov 2026 09:00:00 +0800
    for conditions, expected in (
        ({"sent_since": sent}, [1]), ({"sent_since": sent + 1}, []), ({"sent_before": sent + 1}, [1]), ({"sent_before": sent}, []),
    ):  # fmt: skip
        assert [one.uid for one in db.run_read(search.candidates, account, 1, None, **conditions)] == expected


@pytest.mark.parametrize(
    ("needle", "scope", "expected"),
    [("会", "text", {0, 2}), ("会议", "body", {2}), ("会议", "text", {0, 2}), ("NINE", "text", {1}), ("nine o", "body", {1}),
     ("notice", "body", set()), ("notice", "text", {1, 2}), ("不存在的词", "text", set()), ("", "text", {0, 1, 2})],
)  # fmt: skip
def test_text(db: Database, needle: str, scope: str, expected: set[int]) -> None:
    put(db, "nothing\r\n", subject="会议通知")
    put(db, "At Nine o'clock.\r\n")
    put(db, "明天开会议。\r\n")
    ids = contents_in_order(db)
    found = db.run_read(search.matching_text, ids, fold(needle), scope)  # type: ignore[arg-type]
    assert {ids.index(one) for one in found} == expected


def only_account(db: Database) -> int:
    [one] = db.run_read(accounts.list_page, after=0, limit=2)
    return one.account_id


def contents_in_order(db: Database) -> list[int]:
    return [row.content_id for row in db.run_read(messages.rows, only_account(db), 1, None)]


def test_long_texts_are_found_through_their_signature(db: Database) -> None:
    texts = [long_text(seed) for seed in range(4)]
    for text in texts:
        put(db, text)
    ids = contents_in_order(db)
    for index, text in enumerate(texts):
        line = text.split("\r\n")[7]
        assert db.run_read(search.matching_text, ids, fold(line[10:30]), "text") == {ids[index]}
    assert db.run_read(search.matching_text, ids, "喆镕堃", "text") == set()


def test_what_was_cut_is_told(db: Database) -> None:
    put(db, "short\r\n")
    cut = new_content(raw_mail("Long", "word " * 2000 + "\r\n"), limits=Limits(text_octets=100))
    db.run_write(incoming.deliver, cut, [Delivery("li", "li@jx.example")], internal_date=NOW, now=NOW)
    ids = contents_in_order(db)
    assert db.run_read(search.incomplete, ids) == {ids[1]}


@given(st.integers(0, 10_000), st.integers(0, SHORT), st.integers(1, 12))
def test_a_signature_never_hides_what_is_there(seed: int, start: int, length: int) -> None:
    text = SAMPLES[seed % len(SAMPLES)]
    assert may_hold(SIGNATURES[seed % len(SAMPLES)], text[start : start + length])


SAMPLES = [long_text(seed) for seed in range(3)]
SIGNATURES = [make_signature(text) for text in SAMPLES]


def test_a_signature_excludes_most_of_what_is_not_there() -> None:
    source = random.Random(5)
    needles = ["".join(source.choices("甲乙丙丁戊己庚辛壬癸abcdefghij", k=4)) for _ in range(500)]
    passed = sum(may_hold(SIGNATURES[0], needle) for needle in needles if needle not in SAMPLES[0])
    assert passed <= 5


def test_short_and_huge_texts_have_none() -> None:
    assert make_signature("x" * (SHORT - 1)) == make_signature("x" * (LONG + 1)) == b""
    assert may_hold(b"", "anything")
