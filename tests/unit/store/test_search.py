"""Flags, dates and sizes in SQL; header fields in their columns; text by scanning."""

from __future__ import annotations

import pytest

from govmail.config import Limits
from govmail.mail.content import FIELD_CHARACTERS
from govmail.mail.text import fold
from govmail.store import accounts, incoming, messages, search
from govmail.store.database import Database
from govmail.store.values import Delivery, Flag
from tests.kit.contents import new_content, raw_mail

NOW = 1_800_000_000
SEEN, FLAGGED = int(Flag.SEEN), int(Flag.FLAGGED)


def put(db: Database, body: str, *, subject: str = "Notice", date: int = NOW, flags: int = 0, raw: bytes | None = None) -> None:
    new = new_content(raw or raw_mail(subject, body))
    db.run_write(incoming.deliver, new, [Delivery("li", "li@jx.example", flags=flags)], internal_date=date, now=NOW)


def test_flags_dates_and_sizes(db: Database) -> None:
    put(db, "a\r\n", date=NOW - 500, flags=SEEN)
    put(db, "b\r\n", date=NOW - 100, flags=FLAGGED)
    put(db, "c" * 5000 + "\r\n", date=NOW)
    account = only_account(db)

    def found(**conditions: int) -> list[int]:
        where = search.Conditions(**conditions)
        uids = [one.uid for one in db.run_read(search.candidates, account, 1, None, where)]
        assert db.run_read(search.uids, account, 1, None, where) == uids
        return uids

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
    ids = contents_in_order(db)
    assert db.run_read(search.sent_dates, ids) == {ids[0]: 1_793_581_200, ids[1]: None}  # Mon, 2 Nov 2026 09:00:00 +0800


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
    found, _ = db.run_read(search.matching_text, ids, fold(needle), scope)  # type: ignore[arg-type]
    assert {ids.index(one) for one in found} == expected


def only_account(db: Database) -> int:
    [one] = db.run_read(accounts.list_page, after=0, limit=2)
    return one.account_id


def contents_in_order(db: Database) -> list[int]:
    return [row.content_id for row in db.run_read(messages.rows, only_account(db), 1, None)]


def test_what_was_cut_is_told(db: Database) -> None:
    put(db, "short\r\n")
    cut = new_content(raw_mail("Long", "word " * 2000 + "\r\n"), limits=Limits(text_octets=100))
    db.run_write(incoming.deliver, cut, [Delivery("li", "li@jx.example")], internal_date=NOW, now=NOW)
    ids = contents_in_order(db)
    assert db.run_read(search.matching_text, ids, "nowhere", "text") == (set(), {ids[1]})


@pytest.mark.parametrize(("needle", "expected"), [("会议", {0}), ("notice", {1}), ("tail", {2}), ("不", set())])
def test_fields(db: Database, needle: str, expected: set[int]) -> None:
    put(db, "会议\r\n", subject="会议通知")
    put(db, "a\r\n", subject="NOTICE of leave")
    put(db, "", raw=b"Subject: one\r\nSubject: two " + b"x" * FIELD_CHARACTERS + b" tail\r\n\r\nx\r\n")
    ids = contents_in_order(db)
    matching, unknown = db.run_read(search.matching_field, ids, "subject", needle)
    assert unknown == {ids[2]}  # too long for a row: the header must be asked
    assert {ids.index(one) for one in matching} == expected - {2}
