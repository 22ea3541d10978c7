"""SEARCH: what rows can answer is asked of SQL, text is scanned only for what is left.

Invariants: exact – a message is found if and only if the keys hold for what is stored; of the keys that must all hold,
cheap ones run first and narrow what dear ones see; runs in one reading snapshot; batches, so that the interpreter lock is
never held for long.

RFC 3501 §6.4.4; RFC 5032 (WITHIN); RFC 5182 (`$`); RFC 7162 §3.1.5 (MODSEQ). Days are those of China's zone, as INTERNALDATE shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from govmail.config import Limits
from govmail.imap.fetching import View
from govmail.imap.flags import SYSTEM
from govmail.imap.view import SelectedView
from govmail.mail import header as mail_header
from govmail.mail.mime import digest_message
from govmail.mail.text import PIECE, decode_words, fold
from govmail.mail.zone import ZONE_SECONDS
from govmail.store import blobs, changes, contents
from govmail.store import search as store_search
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.keywords import keyword_bits
from govmail.store.search import Conditions
from govmail.store.values import Candidate
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
    Within,
    walk,
)

if TYPE_CHECKING:
    from govmail.imap.server import ImapServer

HEADER_BATCH = 500  # headers read at a time

Found = set[int]
"""UIDs."""


@dataclass(frozen=True, slots=True)
class Question:
    """A search as it travels to a reading thread. `hidden`: expunged, not yet said. `saved`: what `$` means. `now`: seconds."""

    view: View
    hidden: Ranges
    saved: Ranges
    key: Key
    now: int
    limits: Limits
    files: BlobFiles


def ask(server: ImapServer, view: SelectedView, key: Key) -> Question:
    """About the selected mailbox, as its client knows it."""
    picture = View(view.account_id, view.mailbox_id, view.uids, view.names, view.recent_from)
    return Question(picture, view.vanished, view.saved, key, server.now(), server.limits, server.database.blobs)


def find(conn: Connection, question: Question) -> list[int]:
    """UIDs for which the key holds, ascending. Runs in a reading thread."""
    return _Search(conn, question).uids()


def find_rows(conn: Connection, question: Question) -> list[Candidate]:
    """The same with their rows, for those who go on with them."""
    return _Search(conn, question).rows()


class _Search:
    def __init__(self, conn: Connection, question: Question) -> None:
        self._conn = conn
        self._view = question.view
        self._saved = question.saved
        self._now = question.now
        self._limits = question.limits
        self._files = question.files
        self._rows: dict[int, Candidate] = {}
        self._bits = {name.lower(): 1 << bit for bit, name in self._view.names.names.items()}
        self._ranges = subtract(self._view.uids.ranges, question.hidden)
        self._where = Conditions()
        self._left: list[Key] = []  # what no row answers
        for key in _flattened(question.key):
            self._narrow(key)

    def uids(self) -> list[int]:
        if not self._ranges:
            return []
        view = self._view
        if not self._left:
            return store_search.uids(self._conn, view.account_id, view.mailbox_id, self._ranges, self._where)
        if all(isinstance(one, _OF_FLAGS) for key in self._left for one in walk(key)):
            return self._by_flags(store_search.flags(self._conn, view.account_id, view.mailbox_id, self._ranges, self._where))
        return sorted(self._run())

    def _by_flags(self, rows: Sequence[tuple[int, int, int]]) -> list[int]:
        """The keys hold for a combination of flags or not, and there are few."""
        kinds = {kind: number for number, kind in enumerate({row[1:] for row in rows})}
        self._rows = {number: Candidate(number, 0, 0, *kind, 0, 0, 0) for kind, number in kinds.items()}
        held = self._all(self._left, set(self._rows))
        chosen = {kind for kind, number in kinds.items() if number in held}
        return [row[0] for row in rows if row[1:] in chosen]

    def rows(self) -> list[Candidate]:
        found = self._run()
        return [row for row in self._rows.values() if row.uid in found]

    def _run(self) -> Found:
        if not self._ranges:
            return set()
        rows = store_search.candidates(self._conn, self._view.account_id, self._view.mailbox_id, self._ranges, self._where)
        self._rows = {row.uid: row for row in rows}
        return self._all(self._left, set(self._rows))

    # -- what SQL answers -----------------------------------------------------------------------------------------

    def _narrow(self, key: Key) -> None:
        """Make one of the keys that must all hold a condition of the query, if it can be one."""
        where = self._where
        match key:
            case All():
                pass
            case Numbers():
                self._ranges = intersect(self._ranges, self._uids(key))
            case Recent(present):
                later = ((self._view.recent_from, 2**63 - 1),)
                self._ranges = intersect(self._ranges, later) if present else subtract(self._ranges, later)
            case Changed(modseq):
                changed = changes.changed(self._conn, self._view.account_id, self._view.mailbox_id, modseq - 1)
                self._ranges = intersect(self._ranges, from_numbers([one.uid for one in changed]))
            case HasFlag(name, present):
                self._narrow_flag(name, present)
            case Not(HasFlag(name, present)):
                self._narrow_flag(name, not present)
            case Size(larger, octets):
                self._where = replace(where, larger=max(where.larger, octets)) if larger else replace(where, smaller=min(where.smaller, octets))
            case Dated(When.INTERNAL):
                low, high = _moments(key)
                self._where = replace(where, since=max(where.since, low), before=min(where.before, high))
            case Within():
                low, high = self._within(key)
                self._where = replace(where, since=max(where.since, low), before=min(where.before, high))
            case _:
                self._left.append(key)

    def _narrow_flag(self, name: str, present: bool) -> None:
        flag, word = self._flag(name)
        where = self._where
        if not present:
            self._where = replace(where, flags_clear=where.flags_clear | flag, keywords_clear=where.keywords_clear | word)
        elif flag or word:
            self._where = replace(where, flags_set=where.flags_set | flag, keywords_set=where.keywords_set | word)
        else:
            self._ranges = ()  # a keyword that this account has never used

    def _flag(self, name: str) -> tuple[int, int]:
        """Its bits, the system's and the account's; a keyword that came up after the session learnt the names is looked up."""
        if name in SYSTEM:
            return int(SYSTEM[name]), 0
        if name.lower() not in self._bits:
            self._bits[name.lower()] = keyword_bits(self._conn, self._view.account_id, [name], create=False)
        return 0, self._bits[name.lower()]

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
                if _cost(one) > _cost(other):
                    one, other = other, one
                found = self._holds(one, among)
                return found | self._holds(other, among - found)
            case Not(inner):
                return among - self._holds(inner, among)
            case HasFlag(name, present):
                flag, word = self._flag(name)
                return {uid for uid in among if bool(rows[uid].flags & flag or rows[uid].keywords & word) is present}
            case Recent(present):
                return {uid for uid in among if (uid >= self._view.recent_from) is present}
            case Numbers():
                chosen = intersect(from_numbers(sorted(among)), self._uids(key))
                return {uid for first, last in chosen for uid in range(first, last + 1)}
            case Size(larger, octets):
                return {uid for uid in among if (rows[uid].size > octets if larger else rows[uid].size < octets)}
            case Within():
                low, high = self._within(key)
                return {uid for uid in among if low <= rows[uid].internal_date < high}
            case Dated(When.INTERNAL):
                low, high = _moments(key)
                return {uid for uid in among if low <= rows[uid].internal_date < high}
            case Dated(When.SAVED):
                low, high = _moments(key)
                return {uid for uid in among if low <= rows[uid].saved_date < high}
            case Dated():
                return self._sent(key, among)
            case ObjectId(kind, value):
                if kind == "THREADID":
                    return set()  # RFC 8474 §5.2: no message has one
                ids = contents.with_email_id(self._conn, value)
                return {uid for uid in among if rows[uid].content_id in ids}
            case Changed(modseq):
                return {uid for uid in among if rows[uid].modseq >= modseq}
            case HeaderContains(name, text):
                return self._header(name, text, among)
            case Contains(scope, text):
                return self._text("text" if scope == "TEXT" else "body", text, among)

    def _uids(self, key: Numbers) -> Ranges:
        uids, numbers = self._view.uids, key.numbers
        if numbers.saved:
            return uids.within(self._saved)
        return uids.within(numbers.resolve(uids.largest)) if key.uid else uids.uids(numbers.resolve(len(uids)))

    def _within(self, key: Within) -> tuple[int, int]:
        """Both bounds count as older and as younger (RFC 5032 §3)."""
        moment = self._now - key.seconds
        return (moment, 2**62) if key.younger else (-(2**62), moment + 1)

    # -- leaves that contents answer ------------------------------------------------------------------------------

    def _contents(self, among: Iterable[int]) -> list[int]:
        return list({self._rows[uid].content_id for uid in among})

    def _of(self, matching: set[int], among: Found) -> Found:
        return {uid for uid in among if self._rows[uid].content_id in matching}

    def _sent(self, key: Dated, among: Found) -> Found:
        # A message without a Date that can be read counts by its arrival, as clients show it.
        sent = store_search.sent_dates(self._conn, self._contents(among))
        low, high = _moments(key)
        found = set()
        for uid in among:
            row = self._rows[uid]
            moment = sent.get(row.content_id)
            if low <= (row.internal_date if moment is None else moment) < high:
                found.add(uid)
        return found

    def _text(self, scope: Literal["text", "body"], text: str, among: Found) -> Found:
        needle = fold(text)
        if not needle:
            return among
        matching, cut = store_search.matching_text(self._conn, self._contents(among), needle, scope)
        for content_id in sorted(cut):
            if _holds_text(self._whole_text(content_id, scope), needle):
                matching.add(content_id)
        return self._of(matching, among)

    def _whole_text(self, content_id: int, scope: Literal["text", "body"]) -> str:
        """The folded text of a message that has more of it than the store keeps."""
        row = contents.envelopes(self._conn, [content_id])[content_id]
        ref = blobs.locate(self._conn, [row.blob_id])[row.blob_id]
        body = blobs.read(ref, 0, ref.size, self._files)
        message = contents.headers(self._conn, [content_id])[content_id] + body
        text = digest_message(message, limits=structs.replace(self._limits, text_octets=len(message))).text
        return text if scope == "text" else text.partition("\0")[2]

    def _header(self, name: str, text: str, among: Found) -> Found:
        needle = fold(text)
        matching: set[int] = set()
        unknown = set(self._contents(among))
        column = _COLUMNS.get(name)
        if column is not None and needle:
            matching, unknown = store_search.matching_field(self._conn, unknown, column, needle)
        field = name.encode("utf-8")
        for content_id, raw in headers(self._conn, unknown):
            if any(not needle or needle in fold(decode_words(one)) for one in mail_header.values(raw, field)):
                matching.add(content_id)
        return self._of(matching, among)


def headers(conn: Connection, content_ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Headers by content, a batch in memory at a time."""
    ids = sorted(set(content_ids))
    for start in range(0, len(ids), HEADER_BATCH):
        yield from contents.headers(conn, ids[start : start + HEADER_BATCH]).items()


_OF_FLAGS = (All, And, HasFlag, Not, Or)
_COLUMNS = {field.decode().upper(): column for column, field in contents.FIELDS.items()}


def _holds_text(text: str, needle: str) -> bool:
    """`needle in text`, in pieces."""
    return any(text.find(needle, start, start + PIECE + len(needle) - 1) >= 0 for start in range(0, len(text), PIECE))


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
        case HeaderContains(name):
            return 2 if name in _COLUMNS else 3
        case Contains():
            return 4
        case _:
            return 0


def _moments(key: Dated) -> tuple[int, int]:
    """The first second that counts, and the first that does not any more."""
    start, end = _seconds(key.day), _seconds(key.day + timedelta(days=1)) if key.day < date.max else 2**62
    return {"BEFORE": (-(2**62), start), "ON": (start, end), "SINCE": (start, 2**62)}[key.relation]


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) - ZONE_SECONDS
