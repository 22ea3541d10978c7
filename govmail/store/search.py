"""Searching a mailbox: flags, dates and sizes in SQL, header fields in their columns, text by scanning.

Invariants
- The answer is exact: substring of the folded text, as RFC 9051 §6.4.4 wants it, any script, one character is enough. What a
  function cannot decide from its table (a field too long for a row, text cut at Limits.text_octets) it tells; the rest is
  the caller's to read.
- Contents are looked at in batches, and no C call sees more than one text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, or_, select, true

from govmail.store.blobs import decompress
from govmail.store.changes import LAST_UID
from govmail.store.contents import FIELDS, TEXT_OCTETS
from govmail.store.schema import content, content_text, message
from govmail.store.sql import BIG, Prepared, Row, as_rows, as_set, contains, field, one_of, rows_in
from govmail.store.values import Candidate, UidRange

BATCH = 250  # contents whose texts are read at a time; a search holds those of SCANNERS + 1 batches
SCANNERS = 2
SCAN_SECONDS = 60.0  # for one batch
_SCANNERS = ThreadPoolExecutor(SCANNERS, "store-scan")  # threads come with the first search
_FIRST, _LAST = -(2**62), 2**62
_LARGEST = 2**31 - 1  # message.size is an INTEGER, and so is what PostgreSQL compares it with

_ranges = rows_in("ranges")
_HELD = (
    message.c.account_id == field(_ranges, 0, BIG),  # as in messages: from the ranges to the messages
    message.c.mailbox_id == field(_ranges, 1, BIG),
    message.c.uid.between(field(_ranges, 2, BIG), field(_ranges, 3, BIG)),
    message.c.flags.op("&")(bindparam("all_flags")) == bindparam("all_flags"),
    message.c.flags.op("&")(bindparam("no_flags")) == 0,
    message.c.keywords.op("&")(bindparam("all_keywords")) == bindparam("all_keywords"),
    message.c.keywords.op("&")(bindparam("no_keywords")) == 0,
    message.c.internal_date >= bindparam("since"),
    message.c.internal_date < bindparam("before"),
    message.c.size > bindparam("larger"),
    message.c.size < bindparam("smaller"),
)
_CANDIDATES = Prepared(
    select(
        message.c.uid, message.c.modseq, message.c.content_id, message.c.flags, message.c.keywords, message.c.internal_date,
        message.c.size, message.c.saved_date,
    )
    .select_from(_ranges.join(message, true()))
    .where(*_HELD)
)  # fmt: skip
_FLAGS = Prepared(
    select(message.c.uid, message.c.flags, message.c.keywords).select_from(_ranges.join(message, true())).where(*_HELD)
)
_UIDS = Prepared(select(message.c.uid).select_from(_ranges.join(message, true())).where(*_HELD))
_SENT_DATES = Prepared(select(content.c.content_id, content.c.sent_date).where(one_of(content.c.content_id, "ids")))
_ENVELOPES = Prepared(select(content.c.content_id, content.c.envelope).where(one_of(content.c.content_id, "ids")))
_TEXTS = Prepared(
    select(content_text.c.content_id, content_text.c.text, content_text.c.complete).where(one_of(content_text.c.content_id, "ids"))
)
_FIELD = {
    name: Prepared(
        select(content.c.content_id, content.c[name].is_(None)).where(
            one_of(content.c.content_id, "ids"), or_(contains(content.c[name], "needle"), content.c[name].is_(None))
        )
    )
    for name in FIELDS
}
_SUBJECTS = Prepared(
    select(content.c.content_id, content.c.subject).where(one_of(content.c.content_id, "ids"))
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for a row: flags and keywords as bits, since <= internal date < before, larger < octets < smaller."""

    flags_set: int = 0
    flags_clear: int = 0
    keywords_set: int = 0
    keywords_clear: int = 0
    since: int = _FIRST
    before: int = _LAST
    larger: int = -1
    smaller: int = _LARGEST


ANYTHING = Conditions()


def candidates(
    conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None, where: Conditions = ANYTHING
) -> list[Candidate]:
    """Messages in `ranges` (None: all) for which all of this holds, ascending."""
    rows = _CANDIDATES.rows(conn, _params(account_id, mailbox_id, ranges, where))
    rows.sort()
    return list(map(Candidate._make, rows))


def uids(
    conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None, where: Conditions = ANYTHING
) -> list[int]:
    """The same, when the row is all the answer."""
    return sorted([row[0] for row in _UIDS.rows(conn, _params(account_id, mailbox_id, ranges, where))])


def flags(
    conn: Connection, account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None, where: Conditions = ANYTHING
) -> list[tuple[int, int, int]]:
    """(UID, flags, keywords) of the same, when those are all that is asked about; ascending."""
    return sorted([(row[0], row[1], row[2]) for row in _FLAGS.rows(conn, _params(account_id, mailbox_id, ranges, where))])


def _params(account_id: int, mailbox_id: int, ranges: Sequence[UidRange] | None, where: Conditions) -> dict[str, int | str]:
    chosen = [(1, LAST_UID)] if ranges is None else ranges
    return {
        "ranges": as_rows([(account_id, mailbox_id, first, last) for first, last in chosen]),
        "all_flags": where.flags_set,
        "no_flags": where.flags_clear,
        "all_keywords": where.keywords_set,
        "no_keywords": where.keywords_clear,
        "since": where.since,
        "before": where.before,
        "larger": min(where.larger, _LARGEST),
        "smaller": min(where.smaller, _LARGEST),
    }


def sent_dates(conn: Connection, content_ids: Collection[int]) -> dict[int, int | None]:
    """The Date field by content; None where there is none that can be read."""
    return {row[0]: row[1] for row in _SENT_DATES.rows(conn, {"ids": as_set(content_ids)})}


def envelopes(conn: Connection, content_ids: Collection[int]) -> dict[int, bytes]:
    """ENVELOPE by content."""
    return {row[0]: row[1] for row in _ENVELOPES.rows(conn, {"ids": as_set(content_ids)})}


def subjects(conn: Connection, content_ids: Collection[int]) -> dict[int, str]:
    """The first Subject, folded, of those contents whose row has it."""
    found = _SUBJECTS.rows(conn, {"ids": as_set(content_ids)})
    return {row[0]: row[1].partition("\n")[0] for row in found if row[1] is not None}


def matching_field(conn: Connection, content_ids: Collection[int], name: str, needle: str) -> tuple[set[int], set[int]]:
    """Contents with a field that holds the folded `needle`, and those of which it is not known. `name` is one of FIELDS."""
    found = _FIELD[name].rows(conn, {"ids": as_set(content_ids), "needle": needle})
    return {row[0] for row in found if not row[1]}, {row[0] for row in found if row[1]}


def matching_text(
    conn: Connection, content_ids: Collection[int], needle: str, scope: Literal["text", "body"]
) -> tuple[set[int], set[int]]:
    """Contents whose stored text holds `needle`, which is folded as the texts are, and those others of whose text more is
    not stored. "body": not in the header."""
    octets = needle.encode("utf-8", "replace")
    matching: set[int] = set()
    cut: set[int] = set()
    waiting: list[Future[tuple[list[int], list[int]]]] = []
    for batch in batches(content_ids):
        # Texts are unpacked and scanned while the next ones are read: neither holds the interpreter lock.
        rows = _TEXTS.rows(conn, {"ids": as_set(batch)})
        if len(waiting) == SCANNERS:
            _gather(waiting.pop(0), matching, cut)
        waiting.append(_SCANNERS.submit(_scan, rows, octets, body_only=scope == "body"))
    for one in waiting:
        _gather(one, matching, cut)
    return matching, cut


def _scan(rows: Sequence[Row], octets: bytes, *, body_only: bool) -> tuple[list[int], list[int]]:
    matching: list[int] = []
    cut: list[int] = []
    for content_id, packed, complete in rows:
        text = decompress(packed, TEXT_OCTETS)
        if text.find(octets, text.find(b"\0") + 1 if body_only else 0) >= 0:
            matching.append(content_id)
        elif not complete:
            cut.append(content_id)
    return matching, cut


def _gather(scanned: Future[tuple[list[int], list[int]]], matching: set[int], cut: set[int]) -> None:
    found, unsure = scanned.result(SCAN_SECONDS)
    matching.update(found)
    cut.update(unsure)


def batches(content_ids: Collection[int]) -> Iterator[list[int]]:
    """Content ids in ascending order, BATCH at a time."""
    ordered = sorted(set(content_ids))
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]
