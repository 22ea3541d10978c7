"""SORT: messages in the order of what they say.

Invariants: deterministic – equal messages stand in the order of their UIDs, also under REVERSE; keys come from narrow rows or,
a batch at a time, from headers; no call compares more than BATCH messages.

RFC 5256 §3 (SORT), RFC 5957 (DISPLAYFROM, DISPLAYTO), RFC 5255 §4 (i;unicode-casemap). Chinese sorts by pinyin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import merge

from govmail.imap.searching import headers
from govmail.mail import header as mail_header
from govmail.mail.addresses import HeaderAddress, parse_addresses
from govmail.mail.pinyin import collation, name_collation
from govmail.mail.subject import Subject, base_subject
from govmail.mail.text import decode_words, fold, guess
from govmail.store import search as store_search
from govmail.store.connection import Connection
from govmail.store.values import Candidate
from govmail.wire.imap.results import Order

BATCH = 5000  # messages that one C call sorts

KeyOf = Callable[[Candidate], int | str]


def in_order(conn: Connection, rows: Sequence[Candidate], order: Order, batch: int = BATCH) -> list[Candidate]:
    """`rows`, ascending, sorted, `batch` of them in one call. Runs in a reading thread."""
    result = list(rows)
    keys: dict[str, KeyOf] = {}
    for criterion, reverse in reversed(order):  # the sort is stable: the first criterion comes last
        if criterion not in keys:
            keys[criterion] = _key(conn, rows, criterion)
        result = _sorted(result, keys[criterion], reverse, batch)
    return result


def _sorted(rows: list[Candidate], key: KeyOf, reverse: bool, batch: int) -> list[Candidate]:
    if len(rows) <= batch:
        return sorted(rows, key=key, reverse=reverse)
    pieces = [sorted(rows[start : start + batch], key=key, reverse=reverse) for start in range(0, len(rows), batch)]
    return list(merge(*pieces, key=key, reverse=reverse))


def _key(conn: Connection, rows: Sequence[Candidate], criterion: str) -> KeyOf:
    if criterion == "ARRIVAL":
        return lambda row: row.internal_date
    if criterion == "SIZE":
        return lambda row: row.size
    if criterion == "DATE":
        return sent(conn, rows)
    if criterion == "SUBJECT":
        bases = {content_id: collation(subject.base) for content_id, subject in subjects(conn, rows).items()}
        return lambda row: bases.get(row.content_id, "")
    field, of_entry = _ADDRESSES[criterion]
    people = _first_entries(conn, rows, field, of_entry)
    return lambda row: people.get(row.content_id, "")


def sent(conn: Connection, rows: Sequence[Candidate]) -> Callable[[Candidate], int]:
    """When a message was sent; its arrival where its Date cannot be read (RFC 5256 §2.2)."""
    dates = store_search.sent_dates(conn, {row.content_id for row in rows})

    def moment(row: Candidate) -> int:
        found = dates.get(row.content_id)
        return row.internal_date if found is None else found

    return moment


def subjects(conn: Connection, rows: Sequence[Candidate]) -> Mapping[int, Subject]:
    """Base subjects by content."""
    ids = {row.content_id for row in rows}
    known = store_search.subjects(conn, ids)
    for content_id, raw in headers(conn, ids - known.keys()):
        known[content_id] = next((fold(decode_words(value)) for value in mail_header.values(raw, b"subject")), "")
    return {content_id: base_subject(text) for content_id, text in known.items()}


# -- addresses ----------------------------------------------------------------------------------------------------


def _mailbox(entry: HeaderAddress) -> str:
    """[IMAP] addr-mailbox: the local part, or the name of a group."""
    return fold(guess(entry.local or b""))


def _display(entry: HeaderAddress) -> str:
    """The name as shown, else the address (RFC 5957 §2)."""
    return name_collation(entry.display or entry.address or guess(entry.local or b""))


_ADDRESSES: dict[str, tuple[bytes, Callable[[HeaderAddress], str]]] = {
    "FROM": (b"from", _mailbox),
    "TO": (b"to", _mailbox),
    "CC": (b"cc", _mailbox),
    "DISPLAYFROM": (b"from", _display),
    "DISPLAYTO": (b"to", _display),
}


def _first_entries(
    conn: Connection, rows: Sequence[Candidate], field: bytes, of_entry: Callable[[HeaderAddress], str]
) -> dict[int, str]:
    """What sorts of the first address in a field, by content; absent: nothing to sort by, which comes first."""
    found: dict[int, str] = {}
    texts: dict[bytes, str] = {}  # the same people write again and again
    for content_id, raw in headers(conn, {row.content_id for row in rows}):
        for value in mail_header.values(raw, field):
            if value not in texts:
                entries = parse_addresses(value, 1)
                texts[value] = of_entry(entries[0]) if entries else ""
            if texts[value]:
                found[content_id] = texts[value]
                break
    return found
