"""FETCH as a query and a write: items compiled once per command, lines formatted in the reading thread, in batches.

Invariants
- A batch reads each table once for all its messages and holds at most BATCH_OCTETS of bodies.
- A body that lies in a file is not read here: its place in the answer is a `Span`, which the session streams.
- Responses ascend; nothing here writes to the store.

RFC 3501 §6.4.5, §7.4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from govmail.errors import StoreFailed
from govmail.imap.flags import FlagNames
from govmail.imap.view import UidMap
from govmail.mail import header as mail_header
from govmail.mail.parts import load, section
from govmail.store import blobs, contents, messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.values import BlobRef, ContentRow, Flag, StoredMessage
from govmail.wire.imap.enabled import NOTHING, Enabled
from govmail.wire.imap.fetch import BodySection, Item, Plain, Text
from govmail.wire.imap.numset import Ranges, count, from_numbers, subtract, take
from govmail.wire.imap.responses import internal_date

BATCH_FLAGS = 5000  # messages of a batch that needs rows only
BATCH_CONTENTS = 1000  # … that needs contents as well
BATCH_BODIES = 100  # … that needs bodies
BATCH_OCTETS = 1024 * 1024  # of bodies; the message that goes over it is the last of its batch
STREAM_OCTETS = 256 * 1024  # pieces of a body in a file, and the most that is read from one in the reading thread

_TEXTS = {Text.FULL: "", Text.HEADER: "HEADER", Text.FIELDS: "HEADER", Text.FIELDS_NOT: "HEADER", Text.TEXT: "TEXT", Text.MIME: "MIME"}


@dataclass(frozen=True, slots=True)
class Span:
    """Octets of a body in a file, to be streamed."""

    ref: BlobRef
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read made: the answer, in order; UIDs that the reading makes seen; UIDs left for the next batch.

    `missing`: some messages are not in the store any more. `strange`: some keyword has no name yet.
    """

    pieces: list[bytes | Span]
    unseen: Ranges
    rest: Ranges
    missing: bool
    strange: bool


@dataclass(frozen=True, slots=True)
class View:
    """What of a session's picture a batch needs; immutable, because it travels to another thread."""

    account_id: int
    mailbox_id: int
    uids: UidMap
    names: FlagNames
    recent_from: int


class Plan:
    """The items of one FETCH, compiled."""

    __slots__ = ("_bodies", "_getters", "_head", "_tells_seen", "_template", "_uid_only", "batch", "needs_body", "needs_contents", "needs_header", "needs_parts", "sees")

    def __init__(self, items: Sequence[Item], *, read_only: bool, enabled: Enabled = NOTHING) -> None:
        plain = [item for item in items if isinstance(item, Plain)]
        bodies = [item for item in items if isinstance(item, BodySection)]
        self._bodies = [(item, item.label + b" ", frozenset(name.lower() for name in item.section.fields)) for item in bodies]
        self.sees = not read_only and any(not item.peek for item in bodies)
        # With CONDSTORE a response of its own tells it, because that has the new modseq (RFC 7162 §3.1).
        self._tells_seen = self.sees and Plain.FLAGS not in plain and not enabled.condstore
        self._uid_only = enabled.uid_only
        self._head = b"* %d UIDFETCH (" if enabled.uid_only else b"* %d FETCH ("  # RFC 9586 §3.3
        self._template = b" ".join([item.value + (b" %d" if item in (Plain.UID, Plain.SIZE) else b" %b") for item in plain])
        self._getters = [_GETTERS[item] for item in plain]
        top_only = all(not item.section.path and item.section.text in (Text.HEADER, Text.FIELDS, Text.FIELDS_NOT) for item in bodies)
        self.needs_header = bool(bodies)
        self.needs_body = not top_only
        self.needs_parts = Plain.BODY in plain or any(item.section.path for item in bodies)
        self.needs_contents = self.needs_body or Plain.ENVELOPE in plain or Plain.BODYSTRUCTURE in plain
        self.batch = BATCH_BODIES if self.needs_body else BATCH_CONTENTS if self.needs_contents or self.needs_header else BATCH_FLAGS

    def read(self, conn: Connection, view: View, ranges: Ranges, files: BlobFiles) -> Batch:
        """The answer for the first messages of `ranges`. Runs in a reading thread."""
        head, rest = take(ranges, self.batch)
        rows = messages.rows(conn, view.account_id, view.mailbox_id, head)
        if self.needs_body:
            kept = _within(rows)
            if kept < len(rows):
                left = subtract(head, ((1, rows[kept - 1].uid),))
                rows, head, rest = rows[:kept], subtract(head, left), left + rest
        missing = len(rows) < count(head)
        unseen: Ranges = ()
        if self.sees:
            unseen = from_numbers([row.uid for row in rows if not row.flags & Flag.SEEN])
            rows = [row if row.flags & Flag.SEEN else replace(row, flags=row.flags | Flag.SEEN) for row in rows]
        source = _Source(conn, self, view, rows, files)
        strange = any(row.keywords & ~view.names.known for row in rows)
        uids = [row.uid for row in rows]
        numbers = uids if self._uid_only else view.uids.numbers(uids)
        return Batch(list(self._lines(source, rows, numbers, unseen)), unseen, rest, missing, strange)

    def _lines(self, source: _Source, rows: Sequence[StoredMessage], numbers: Sequence[int], unseen: Ranges) -> Iterator[bytes | Span]:
        getters = self._getters
        if not self._bodies:
            template = self._head + self._template + b")\r\n"
            if len(getters) == 1:
                only = getters[0]
                yield b"".join([template % (number, only(source, row)) for number, row in zip(numbers, rows, strict=True)])
            else:
                yield b"".join([template % (number, *[get(source, row) for get in getters]) for number, row in zip(numbers, rows, strict=True)])
            return
        seen_now = {uid for first, last in unseen for uid in range(first, last + 1)} if self._tells_seen else set()
        for number, row in zip(numbers, rows, strict=True):
            line = self._head % number + self._template % tuple([get(source, row) for get in getters])
            if row.uid in seen_now:  # the client must learn of it (RFC 3501 §6.4.5)
                line += b"%bFLAGS %b" % (b" " if getters else b"", _flags(source, row))
            for item, label, fields in self._bodies:
                line += (b" " if not line.endswith(b"(") else b"") + label
                value = source.section(row, item, fields)
                if value is None:
                    line += b"NIL"
                elif isinstance(value, Span):
                    yield line + b"{%d}\r\n" % value.length
                    yield value
                    line = b""
                else:
                    line += b"{%d}\r\n%b" % (len(value), value) if value else b'""'
            yield line + b")\r\n"


def _within(rows: Sequence[StoredMessage]) -> int:
    """How many of the rows make a batch."""
    octets = 0
    for index, row in enumerate(rows):
        octets += row.size
        if octets >= BATCH_OCTETS:
            return index + 1
    return len(rows)


class _Source:
    """The stored parts of a batch's messages."""

    def __init__(self, conn: Connection, plan: Plan, view: View, rows: Sequence[StoredMessage], files: BlobFiles) -> None:
        self.names = view.names
        self.recent_from = view.recent_from
        self._files = files
        ids = list({row.content_id for row in rows}) if plan.needs_contents or plan.needs_header or plan.needs_parts else []
        self.contents: dict[int, ContentRow] = contents.envelopes(conn, ids) if plan.needs_contents and ids else {}
        self._headers: dict[int, bytes] = contents.headers(conn, ids) if plan.needs_header and ids else {}
        self.parts: dict[int, tuple[bytes, bytes]] = contents.parts(conn, ids) if plan.needs_parts and ids else {}
        self._refs: dict[int, BlobRef] = blobs.locate(conn, [one.blob_id for one in self.contents.values()]) if plan.needs_body and ids else {}
        self._plain: tuple[int, bytes] = 0, b""  # the last body read whole

    def section(self, row: StoredMessage, item: BodySection, fields: frozenset[bytes]) -> bytes | Span | None:
        """What one BODY[...] item gives for one message; None = NIL. `fields`: its field names in lower case."""
        header = self._headers.get(row.content_id)
        if header is None:
            raise StoreFailed(private=f"content {row.content_id} has no header")
        wanted = item.section
        if not wanted.path and _TEXTS[wanted.text] == "HEADER":
            start, length = 0, len(header)
        elif not wanted.path:
            start = 0 if wanted.text is Text.FULL else len(header)
            length = row.size - start
        else:
            root = load(self.parts[row.content_id][0])
            span = section(root, wanted.path, _TEXTS[wanted.text], len(header))  # type: ignore[arg-type]
            if span is None:
                return None
            start, length = span
        if wanted.text in (Text.FIELDS, Text.FIELDS_NOT):
            octets = self._octets(row, header, start, length)
            assert isinstance(octets, bytes)
            chosen = mail_header.select(octets, fields, exclude=wanted.text is Text.FIELDS_NOT)
            return chosen if item.partial is None else chosen[item.partial[0] : item.partial[0] + item.partial[1]]
        if item.partial is not None:
            first, most = item.partial
            start, length = start + min(first, length), min(max(length - first, 0), most)
        return self._octets(row, header, start, length, may_stream=True)

    def _octets(self, row: StoredMessage, header: bytes, start: int, length: int, *, may_stream: bool = False) -> bytes | Span:
        """Octets of the whole message."""
        end = start + length
        if end <= len(header):
            return header[start:end]
        ref = self._refs[self.contents[row.content_id].blob_id]
        lead = header[start:]
        offset = max(start - len(header), 0)
        wanted = length - len(lead)
        if ref.path is None:
            if self._plain[0] != ref.blob_id:
                self._plain = ref.blob_id, blobs.read(ref, 0, ref.size, self._files)
            return lead + self._plain[1][offset : offset + wanted]
        if may_stream and wanted > STREAM_OCTETS:
            return Span(replace(ref, data=lead), offset, length) if lead else Span(ref, offset, length)
        return lead + blobs.read(ref, offset, wanted, self._files)


def octets_of(span: Span) -> Iterator[tuple[bytes, int, int]]:
    """What to send of a span: octets that are here already, or (b"", offset, length) to be read from its file."""
    lead = span.ref.data or b""
    if lead:
        yield lead, 0, 0
    left, offset = span.length - len(lead), span.offset
    while left > 0:
        size = min(left, STREAM_OCTETS)
        yield b"", offset, size
        offset += size
        left -= size


def _flags(source: _Source, row: StoredMessage) -> bytes:
    return source.names.line(row.flags, row.keywords, recent=row.uid >= source.recent_from)


Getter = Callable[[_Source, StoredMessage], Any]

_GETTERS: dict[Plain, Getter] = {
    Plain.UID: lambda source, row: row.uid,
    Plain.FLAGS: _flags,
    Plain.INTERNALDATE: lambda source, row: internal_date(row.internal_date),
    Plain.SIZE: lambda source, row: row.size,
    Plain.ENVELOPE: lambda source, row: source.contents[row.content_id].envelope,
    Plain.BODY: lambda source, row: source.parts[row.content_id][1],
    Plain.BODYSTRUCTURE: lambda source, row: source.contents[row.content_id].bodystructure,
    Plain.MODSEQ: lambda source, row: b"(%d)" % row.modseq,
}
