"""Searching a mailbox: flags, dates and sizes in SQL, text by scanning what a signature does not exclude.

Invariant: the answer is exact (substring of the folded text, as RFC 9051 §6.4.4 wants it, any script, one character is
enough); signatures only spare work. A message whose text was cut at Limits.text_octets is told by `incomplete`: what lies
beyond is the caller's to decode.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from sqlalchemy import Connection, bindparam, select, true

from govmail.mail.signature import may_hold
from govmail.store.blobs import decompress
from govmail.store.changes import LAST_UID
from govmail.store.contents import TEXT_OCTETS
from govmail.store.schema import content, content_text, message
from govmail.store.sql import BIG, Prepared, as_rows, as_set, field, one_of, rows_in
from govmail.store.values import StoredMessage, UidRange

BATCH = 500  # contents whose texts are held at a time
_FIRST, _LAST = -(2**62), 2**62
_LARGEST = 2**31 - 1  # message.size is an INTEGER, and so is what PostgreSQL compares it with

_ranges = rows_in("ranges")
_CANDIDATES = Prepared(
    select(
        message.c.uid, message.c.modseq, message.c.content_id, message.c.flags, message.c.keywords, message.c.internal_date,
        message.c.size, message.c.saved_date, message.c.delivered_to,
    )
    .select_from(_ranges.join(message, true()))
    .where(
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
)  # fmt: skip
_SENT = Prepared(
    select(content.c.content_id).where(
        one_of(content.c.content_id, "ids"),
        content.c.sent_date >= bindparam("since"),
        content.c.sent_date < bindparam("before"),
    )
)
_SIGNATURES = Prepared(
    select(content_text.c.content_id, content_text.c.signature).where(one_of(content_text.c.content_id, "ids"))
)
_TEXTS = Prepared(select(content_text.c.content_id, content_text.c.text).where(one_of(content_text.c.content_id, "ids")))
_INCOMPLETE = Prepared(
    select(content_text.c.content_id).where(one_of(content_text.c.content_id, "ids"), content_text.c.complete.is_(False))
)


def candidates(
    conn: Connection,
    account_id: int,
    mailbox_id: int,
    ranges: Sequence[UidRange] | None,
    *,
    flags_set: int = 0,
    flags_clear: int = 0,
    keywords_set: int = 0,
    keywords_clear: int = 0,
    since: int | None = None,
    before: int | None = None,
    sent_since: int | None = None,
    sent_before: int | None = None,
    larger: int | None = None,
    smaller: int | None = None,
) -> list[StoredMessage]:
    """Messages in `ranges` (None: all) for which all of this holds, ascending.

    Times in seconds: since <= internal date < before, the same for the Date field with sent_*; a message without a Date
    matches neither. larger < octets < smaller.
    """
    chosen = [(1, LAST_UID)] if ranges is None else ranges
    found = _CANDIDATES.rows(
        conn,
        {
            "ranges": as_rows([(account_id, mailbox_id, first, last) for first, last in chosen]),
            "all_flags": flags_set,
            "no_flags": flags_clear,
            "all_keywords": keywords_set,
            "no_keywords": keywords_clear,
            "since": _FIRST if since is None else since,
            "before": _LAST if before is None else before,
            "larger": -1 if larger is None else min(larger, _LARGEST),
            "smaller": _LARGEST if smaller is None else min(smaller, _LARGEST),
        },
    )
    messages = [StoredMessage(*row) for row in sorted(found)]
    if sent_since is None and sent_before is None:
        return messages
    bounds = {"since": _FIRST if sent_since is None else sent_since, "before": _LAST if sent_before is None else sent_before}
    sent = {row[0] for row in _SENT.rows(conn, {"ids": as_set({one.content_id for one in messages}), **bounds})}
    return [one for one in messages if one.content_id in sent]


def matching_text(conn: Connection, content_ids: Collection[int], needle: str, scope: Literal["text", "body"]) -> set[int]:
    """Those contents whose stored text holds `needle`, which is folded as the texts are. "body": not in the header."""
    if not needle:
        return set(content_ids)
    matching: set[int] = set()
    for batch in _batches(content_ids):
        signed = _SIGNATURES.rows(conn, {"ids": as_set(batch)})
        likely = [content_id for content_id, signature in signed if may_hold(bytes(signature), needle)]
        for content_id, packed in _TEXTS.rows(conn, {"ids": as_set(likely)}):
            text = decompress(packed, TEXT_OCTETS)
            start = text.find(b"\0") + 1 if scope == "body" else 0
            if text.find(needle.encode("utf-8", "replace"), start) >= 0:
                matching.add(content_id)
    return matching


def incomplete(conn: Connection, content_ids: Collection[int]) -> set[int]:
    """Those contents whose stored text is not all of their text."""
    return {row[0] for batch in _batches(content_ids) for row in _INCOMPLETE.rows(conn, {"ids": as_set(batch)})}


def _batches(content_ids: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(set(content_ids))
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]
