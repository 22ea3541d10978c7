"""SEARCH: what rows can answer is asked of SQL, text is scanned only for what is left.

Invariants: exact – a message is found if and only if the keys hold for what is stored; of the keys that must all hold,
cheap ones run first and narrow what dear ones see; runs in one reading snapshot.

RFC 3501 §6.4.4. Days are those of China's zone, as INTERNALDATE shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from msgspec import structs

from govmail.config import Limits
from govmail.imap.fetching import View
from govmail.imap.flags import SYSTEM
from govmail.mail.header import Header
from govmail.mail.mime import digest_message
from govmail.mail.text import decode_words, fold
from govmail.mail.zone import ZONE_SECONDS
from govmail.store import blobs, changes, contents
from govmail.store import search as store_search
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.keywords import keyword_bits
from govmail.store.values import StoredMessage
from govmail.wire.imap.numset import Ranges, from_numbers, intersect, subtract
from govmail.wire.imap.search import (
    All,
    And,
    Changed,
    Contains,
    Dated,
    HasFlag,
    HeaderContains,
    Key,
    Not,
    Numbers,
    ObjectId,
    Or,
    Recent,
    Size,
    When,
)

HEADER_BATCH = 500  # headers read at a time

Found = set[int]
"""UIDs."""


def find(conn: Connection, view: View, hidden: Ranges, key: Key, limits: Limits, files: BlobFiles) -> list[int]:
    """UIDs for which `key` holds, ascending; of `view`, without those in `hidden`. Runs in a reading thread."""
    return sorted(_Search(conn, view, hidden, limits, files).run(key))


class _Search:
    def __init__(self, conn: Connection, view: View, hidden: Ranges, limits: Limits, files: BlobFiles) -> None:
        self._conn = conn
        self._view = view
        self._limits = limits
        self._files = files
        self._visible = subtract(view.uids.ranges, hidden)
        self._rows: dict[int, StoredMessage] = {}
        self._bits = {name.lower(): 1 << bit for bit, name in view.names.names.items()}

    def run(self, key: Key) -> Found:
        keys = list(_flattened(key))
        ranges, left = self._visible, []
        flags_set = flags_clear = words_set = words_clear = 0
        for one in keys:
            match one:
                case All():
                    pass
                case Numbers():
                    ranges = intersect(ranges, self._uids(one))
                case Changed(modseq):
                    later = changes.changed(self._conn, self._view.account_id, self._view.mailbox_id, modseq - 1)
                    ranges = intersect(ranges, from_numbers([change.uid for change in later]))
                case HasFlag(name, present) | Not(HasFlag(name, present)):
                    wanted = present is not isinstance(one, Not)
                    flag, word = int(SYSTEM.get(name, 0)), self._keyword(name)
                    if wanted and not flag and not word:
                        return set()
                    if wanted:
                        flags_set, words_set = flags_set | flag, words_set | word
                    else:
                        flags_clear, words_clear = flags_clear | flag, words_clear | word
                case _:
                    left.append(one)
        if not ranges:
            return set()
        rows = store_search.candidates(
            self._conn, self._view.account_id, self._view.mailbox_id, ranges,
            flags_set=flags_set, flags_clear=flags_clear, keywords_set=words_set, keywords_clear=words_clear,
        )  # fmt: skip
        self._rows = {row.uid: row for row in rows}
        return self._all(left, set(self._rows))

    # -- combinations ---------------------------------------------------------------------------------------------

    def _all(self, keys: Sequence[Key], among: Found) -> Found:
        for key in sorted(keys, key=_cost):
            if not among:
                break
            among = self._holds(key, among)
        return among

    def _holds(self, key: Key, among: Found) -> Found:
        """Those of `among` for which `key` holds."""
        rows = self._rows
        match key:
            case All():
                return among
            case And(keys):
                return self._all(keys, among)
            case Or(one, other):
                found = self._holds(one, among)
                return found | self._holds(other, among - found)
            case Not(inner):
                return among - self._holds(inner, among)
            case HasFlag(name, present):
                flag, word = int(SYSTEM.get(name, 0)), self._keyword(name)
                return {uid for uid in among if bool(rows[uid].flags & flag or rows[uid].keywords & word) is present}
            case Recent(present):
                return {uid for uid in among if (uid >= self._view.recent_from) is present}
            case Numbers():
                chosen = intersect(from_numbers(sorted(among)), self._uids(key))
                return {uid for first, last in chosen for uid in range(first, last + 1)}
            case Size(larger, octets):
                return {uid for uid in among if (rows[uid].size > octets if larger else rows[uid].size < octets)}
            case Dated():
                return self._dated(key, among)
            case ObjectId(kind, value):
                if kind == "THREADID":
                    return set()  # RFC 8474 §5.2: no message has one
                ids = contents.with_email_id(self._conn, value)
                return {uid for uid in among if rows[uid].content_id in ids}
            case HeaderContains(name, text):
                return self._header(name, text, among)
            case Changed(modseq):
                return {uid for uid in among if rows[uid].modseq >= modseq}
            case Contains(scope, text):
                return self._text("text" if scope == "TEXT" else "body", text, among)

    def _keyword(self, name: str) -> int:
        """Its bit, 0 when there is none; one that came up after the session learnt the names is looked up."""
        if name not in SYSTEM and name.lower() not in self._bits:
            self._bits[name.lower()] = keyword_bits(self._conn, self._view.account_id, [name], create=False)
        return self._bits.get(name.lower(), 0)

    def _uids(self, key: Numbers) -> Ranges:
        uids = self._view.uids
        return uids.within(key.numbers.resolve(uids.largest)) if key.uid else uids.uids(key.numbers.resolve(len(uids)))

    # -- leaves ---------------------------------------------------------------------------------------------------

    def _dated(self, key: Dated, among: Found) -> Found:
        start, end = _seconds(key.day), _seconds(key.day + timedelta(days=1)) if key.day < date.max else 2**62
        if key.when is When.INTERNAL:
            moments: dict[int, int | None] = {uid: self._rows[uid].internal_date for uid in among}
        elif key.when is When.SAVED:
            moments = {uid: self._rows[uid].saved_date for uid in among}
        else:
            known = contents.envelopes(self._conn, self._contents(among))
            # A message without a Date that can be read counts by its arrival, as clients show it.
            moments = {}
            for uid in among:
                row = self._rows[uid]
                sent = known[row.content_id].sent_date if row.content_id in known else None
                moments[uid] = row.internal_date if sent is None else sent
        low, high = {"BEFORE": (-(2**62), start), "ON": (start, end), "SINCE": (start, 2**62)}[key.relation]
        return {uid for uid, moment in moments.items() if moment is not None and low <= moment < high}

    def _contents(self, among: Iterable[int]) -> list[int]:
        return list({self._rows[uid].content_id for uid in among})

    def _text(self, scope: Literal["text", "body"], text: str, among: Found) -> Found:
        needle = fold(text)
        if not needle:
            return among
        ids = self._contents(among)
        matching = store_search.matching_text(self._conn, ids, needle, scope)
        for content_id in sorted(store_search.incomplete(self._conn, set(ids) - matching)):
            if needle in self._whole_text(content_id, scope):
                matching.add(content_id)
        return {uid for uid in among if self._rows[uid].content_id in matching}

    def _whole_text(self, content_id: int, scope: Literal["text", "body"]) -> str:
        """The folded text of a message that has more of it than the store keeps."""
        row = contents.envelopes(self._conn, [content_id])[content_id]
        ref = blobs.locate(self._conn, [row.blob_id])[row.blob_id]
        body = blobs.read(ref, 0, ref.size, self._files)
        message = contents.headers(self._conn, [content_id])[content_id] + body
        text = digest_message(message, limits=structs.replace(self._limits, text_octets=len(message))).text
        return text if scope == "text" else text.partition("\0")[2]

    def _header(self, name: str, text: str, among: Found) -> Found:
        needle, field = fold(text), name.lower().encode()
        if needle:  # what is in a field is in the text, and that has a signature
            among = self._text("text", text, among)
        ids = self._contents(among)
        matching: set[int] = set()
        for start in range(0, len(ids), HEADER_BATCH):
            for content_id, raw in contents.headers(self._conn, ids[start : start + HEADER_BATCH]).items():
                fields = Header(raw, self._limits).all(field)
                if any(not needle or needle in fold(decode_words(one)) for one in fields):
                    matching.add(content_id)
        return {uid for uid in among if self._rows[uid].content_id in matching}


def _flattened(key: Key) -> Iterable[Key]:
    if isinstance(key, And):
        for one in key.keys:
            yield from _flattened(one)
    else:
        yield key


def _cost(key: Key) -> int:
    match key:
        case And(keys):
            return max(map(_cost, keys))
        case Or(one, other):
            return max(_cost(one), _cost(other))
        case Not(inner):
            return _cost(inner)
        case Dated(When.SENT, _, _):
            return 1
        case HeaderContains():
            return 2
        case Contains():
            return 3
        case _:
            return 0


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) - ZONE_SECONDS
