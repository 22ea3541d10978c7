"""FETCH as a query and a write: items compiled once per command, lines formatted in the reading thread, in batches.

Invariants
- A batch reads each table once for each slice of its messages; it holds at most BATCH_OCTETS of answer or of bodies, and
  what one slice goes beyond that.
- A body that lies in a file is not read here: its place in the answer is a `Span` or an `Encoded`, which is streamed.
- Rows come and are formatted by column, with no object for each; responses ascend; nothing here writes to the store.

RFC 3501 §6.4.5, §7.4.2; RFC 3516 §4.3 (BINARY).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from govmail.errors import StoreFailed
from govmail.imap import binary
from govmail.imap.binary import Encoded
from govmail.imap.flags import NO_KEYWORDS, FlagNames
from govmail.imap.view import UidMap
from govmail.mail import header as mail_header
from govmail.mail.parts import Part, find, load, section
from govmail.mail.transfer import IDENTITIES
from govmail.store import blobs, contents, messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.values import BlobRef, Columns, Flag
from govmail.wire.imap.enabled import NOTHING, Enabled
from govmail.wire.imap.fetch import BinarySection, BodySection, Item, Plain, Text
from govmail.wire.imap.numset import Ranges, count, from_numbers, subtract, take
from govmail.wire.imap.responses import internal_date, string

BATCH_FLAGS = 5000  # messages of a batch that needs rows only
BATCH_CONTENTS = 1000  # … that needs contents as well
BATCH_BODIES = 100  # … that needs bodies
SLICE = 250  # messages whose contents are held at a time
BATCH_OCTETS = 1024 * 1024  # of bodies, or of answer; what goes over it is the last of its batch
STREAM_OCTETS = 256 * 1024  # pieces of a body in a file, and the most that is read from one in the reading thread

_TEXTS = {Text.FULL: "", Text.HEADER: "HEADER", Text.FIELDS: "HEADER", Text.FIELDS_NOT: "HEADER", Text.TEXT: "TEXT", Text.MIME: "MIME"}
_SEEN = int(Flag.SEEN)


@dataclass(frozen=True, slots=True)
class Span:
    """Octets of a body in a file, to be streamed."""

    ref: BlobRef
    offset: int
    length: int


Piece = bytes | Span | Encoded


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read made: the answer, in order; UIDs that the reading makes seen; UIDs left for the next batch.

    `missing`: some messages are not in the store any more. `strange`: some keyword has no name yet. `unknown`: some part
    has a transfer encoding that BINARY cannot undo, and was left out.
    """

    pieces: list[Piece]
    unseen: Ranges
    rest: Ranges
    missing: bool
    strange: bool
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What of a session's picture a batch needs; immutable, because it travels to another thread."""

    account_id: int
    mailbox_id: int
    uids: UidMap
    names: FlagNames
    recent_from: int


class Plan:
    """The items of one FETCH, compiled: those with a value in every line become columns, sections of bodies go line by line."""

    __slots__ = ("_columns", "_flags_only", "_sections", "_space", "_template", "_tells_seen", "_uid_only", "batch", "needs_body", "sees")

    def __init__(self, items: Sequence[Item], *, read_only: bool, enabled: Enabled = NOTHING) -> None:
        plain = [item for item in items if isinstance(item, Plain)]
        sections = [item for item in items if not isinstance(item, Plain)]
        self.sees = not read_only and any(not item.peek for item in sections)
        # With CONDSTORE a response of its own tells it, because that has the new modseq (RFC 7162 §3.1).
        self._tells_seen = self.sees and Plain.FLAGS not in plain and not enabled.condstore
        self._uid_only = enabled.uid_only
        tops = [item for item in sections if isinstance(item, BodySection) and _in_header(item)]
        if len(tops) < len(sections):
            tops = []  # all of them line by line, in the client's order
        self._columns = [
            *(_COLUMNS[item][1] for item in plain),
            *((_newly_seen(first=not plain),) if self._tells_seen else ()),
            *map(_header_column, tops),
        ]
        self._space = b" " if plain or tops else b""  # what the first section needs in front
        head = b"* %d UIDFETCH (" if enabled.uid_only else b"* %d FETCH ("  # RFC 9586 §3.3
        names = b" ".join([_COLUMNS[item][0] for item in plain])
        labels = b" ".join([item.label.replace(b"%", b"%%") + b" %b" for item in tops])
        # What is newly seen stands between the two and brings the space that it needs.
        self._template = head + names + (b"%b" if self._tells_seen else b"") + (b" " if names and labels else b"") + labels
        self._sections = [] if tops else [_Wanted(item) for item in sections]
        self.needs_body = bool(self._sections)
        needs_contents = self.needs_body or bool(tops) or any(item not in _ROW_ITEMS for item in plain)
        self._flags_only = not needs_contents and all(item in (Plain.UID, Plain.FLAGS, Plain.MODSEQ) for item in plain)
        self.batch = BATCH_BODIES if self.needs_body else BATCH_CONTENTS if needs_contents else BATCH_FLAGS

    def read(self, conn: Connection, view: View, ranges: Ranges, files: BlobFiles) -> Batch:
        """The answer for the first messages of `ranges`. Runs in a reading thread."""
        head, rest = take(ranges, self.batch)
        rows = messages.columns(conn, view.account_id, view.mailbox_id, head, flags_only=self._flags_only)
        size = len(rows.uids) if self.batch == BATCH_FLAGS else _within(rows.sizes) if self.needs_body else SLICE
        pieces: list[Piece] = []
        unseen: list[int] = []
        done = octets = 0
        unknown = False
        while done < len(rows.uids) and octets < BATCH_OCTETS:
            part = rows.part(done, done + size) if size < len(rows.uids) else rows
            source = _Source(conn, view, part, files, sees=self.sees)
            unseen += source.unseen
            for piece in self._lines(source, part.uids if self._uid_only else view.uids.numbers(part.uids)):
                pieces.append(piece)
                octets += len(piece) if isinstance(piece, bytes) else 0
            done += len(part.uids)
            unknown = unknown or source.unknown
            if self.needs_body:
                break
        if done < len(rows.uids):
            left = subtract(head, ((1, rows.uids[done - 1]),))
            head, rest = subtract(head, left), left + rest
        strange = any(words & ~view.names.known for words in set(rows.keywords))
        return Batch(pieces, from_numbers(unseen), rest, done < count(head), strange, unknown)

    def _lines(self, source: _Source, numbers: Sequence[int]) -> Iterator[Piece]:
        columns = [make(source) for make in self._columns]
        if not self._sections:
            template = self._template + b")\r\n"
            yield b"".join([template % cells for cells in zip(numbers, *columns, strict=True)])
            return
        for index, cells in enumerate(zip(numbers, *columns, strict=True)):
            line, space = self._template % cells, self._space
            for wanted in self._sections:
                value = source.section(index, wanted)
                if isinstance(value, _Unknown):
                    source.unknown = True
                    continue
                line += space + wanted.label
                space = b" "
                if value is None:
                    line += b"0" if wanted.size_only else b"NIL"
                elif isinstance(value, int):
                    line += b"%d" % value
                elif isinstance(value, bytes):
                    line += wanted.literal % (len(value), value) if value else b'""'
                else:
                    if isinstance(value, Span):
                        line += wanted.literal % (value.length, b"")
                    yield line
                    yield value
                    line = b""
            if space:
                yield line + b")\r\n"
            elif self._tells_seen and line.endswith(b" "):  # only FLAGS is left
                yield line[:-1] + b")\r\n"


def _within(sizes: Sequence[int]) -> int:
    """How many of the messages make a batch."""
    octets = 0
    for index, size in enumerate(sizes):
        octets += size
        if octets >= BATCH_OCTETS:
            return index + 1
    return len(sizes)


class _Wanted:
    """A section that lies in the body, or may."""

    __slots__ = ("binary", "fields", "label", "literal", "partial", "section", "size_only")

    def __init__(self, item: BodySection | BinarySection) -> None:
        self.binary = isinstance(item, BinarySection)
        self.section = item.section
        self.fields = _field_names(item) if isinstance(item, BodySection) else frozenset()
        self.partial = item.partial
        self.size_only = isinstance(item, BinarySection) and item.size_only
        self.label = item.label + b" "
        self.literal = b"~{%d}\r\n%b" if self.binary else b"{%d}\r\n%b"  # literal8: NUL may be in it (RFC 3516 §4.3)


class _Unknown:
    """A part whose transfer encoding nobody knows."""

    __slots__ = ()


Value = Piece | int | _Unknown | None


class _Source:
    """The stored parts of a slice of messages, each table read when it is first asked for."""

    def __init__(self, conn: Connection, view: View, rows: Columns, files: BlobFiles, *, sees: bool) -> None:
        self.view = view
        self.rows = rows
        self.unseen: list[int] = []
        self.unknown = False
        if sees:
            self.unseen = [uid for uid, flags in zip(rows.uids, rows.flags, strict=True) if not flags & _SEEN]
            self.rows = rows._replace(flags=[flags | _SEEN for flags in rows.flags])
        self._conn = conn
        self._files = files
        self._plain: tuple[int, bytes] = 0, b""  # the last body read whole

    @cached_property
    def ids(self) -> list[int]:
        return list(set(self.rows.content_ids))

    @cached_property
    def forms(self) -> dict[int, tuple[int, bytes, bytes]]:
        return contents.forms(self._conn, self.ids)

    @cached_property
    def parts(self) -> dict[int, tuple[bytes, bytes]]:
        return contents.parts(self._conn, self.ids)

    @cached_property
    def previews(self) -> dict[int, bytes]:
        """As they go on the wire."""
        found = contents.previews(self._conn, self.ids)
        return {content_id: string(text.encode("utf-8", "replace")) for content_id, text in found.items()}

    @cached_property
    def email_ids(self) -> dict[int, bytes]:
        return {content_id: email_id.encode() for content_id, email_id in contents.email_ids(self._conn, self.ids).items()}

    @cached_property
    def headers(self) -> dict[int, bytes]:
        found = contents.headers(self._conn, self.ids)
        if len(found) < len(self.ids):
            raise StoreFailed(private=f"contents without header: {set(self.ids) - found.keys()}")
        return found

    @cached_property
    def _bodies(self) -> dict[int, int]:
        return contents.bodies(self._conn, self.ids)

    @cached_property
    def _refs(self) -> dict[int, BlobRef]:
        return blobs.locate(self._conn, self._bodies.values())

    def section(self, index: int, wanted: _Wanted) -> Value:
        """What one item gives for one message; None = there is no such section."""
        content_id = self.rows.content_ids[index]
        header, size = self.headers[content_id], self.rows.sizes[index]
        asked, partial = wanted.section, wanted.partial
        encoding = "binary"
        if not asked.path:
            start = len(header) if asked.text is Text.TEXT else 0
            length = (size if _TEXTS[asked.text] != "HEADER" else len(header)) - start
        else:
            root = load(self.parts[content_id][0])
            span = section(root, asked.path, _TEXTS[asked.text], len(header))  # type: ignore[arg-type]
            if span is None:
                return None
            start, length = span
            if wanted.binary:
                encoding = _encoding(find(root, asked.path))
                if encoding not in binary.DECODABLE and encoding not in IDENTITIES:
                    return _Unknown()
        if asked.text in (Text.FIELDS, Text.FIELDS_NOT):
            octets = self._octets(content_id, header, start, length)
            assert isinstance(octets, bytes)
            return _cut(mail_header.select(octets, wanted.fields, exclude=asked.text is Text.FIELDS_NOT), partial)
        if encoding in binary.DECODABLE:
            return self._decoded(content_id, header, start, length, encoding, wanted)
        if wanted.size_only:
            return length
        if partial is not None:
            first, most = partial
            start, length = start + min(first, length), min(max(length - first, 0), most)
        return self._octets(content_id, header, start, length, may_stream=True)

    def _decoded(self, content_id: int, header: bytes, start: int, length: int, encoding: str, wanted: _Wanted) -> Value:
        first, most = wanted.partial or (0, None)
        ref = self._refs[self._bodies[content_id]]
        if ref.path is not None and length > STREAM_OCTETS:
            return Encoded(ref, start - len(header), length, encoding, first, most, wanted.size_only)
        octets = self._octets(content_id, header, start, length)
        assert isinstance(octets, bytes)
        value = binary.decode(octets, encoding, first, most)
        return len(value) if wanted.size_only else value

    def _octets(self, content_id: int, header: bytes, start: int, length: int, *, may_stream: bool = False) -> bytes | Span:
        """Octets of the whole message."""
        end = start + length
        if end <= len(header):
            return header[start:end]
        ref = self._refs[self._bodies[content_id]]
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


def octets_of_section(
    conn: Connection, account_id: int, mailbox_id: int, uid: int, item: BodySection, files: BlobFiles
) -> bytes | Span | None:
    """What BODY[...] of one message is; None when there is no such message or section."""
    rows = messages.columns(conn, account_id, mailbox_id, ((uid, uid),))
    if not rows.uids:
        return None
    view = View(account_id, mailbox_id, UidMap(()), NO_KEYWORDS, 0)
    value = _Source(conn, view, rows, files, sees=False).section(0, _Wanted(item))
    assert value is None or isinstance(value, bytes | Span)
    return value


def _encoding(part: Part | None) -> str:
    """A container has no encoding to undo (RFC 9051 §6.4.5: BINARY is for leaves only); its octets go as they are."""
    return "binary" if part is None or part.children or part.is_multipart else part.encoding


def _cut(octets: bytes, partial: tuple[int, int] | None) -> bytes:
    return octets if partial is None else octets[partial[0] : partial[0] + partial[1]]


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


# -- columns ------------------------------------------------------------------------------------------------------

Column = Callable[[_Source], Iterable[bytes | int]]


def _flags(source: _Source) -> list[bytes]:
    rows, view = source.rows, source.view
    old = bisect_left(rows.uids, view.recent_from)
    line = view.names.line
    made = {(flags, words): line(flags, words) for flags, words in set(zip(rows.flags[:old], rows.keywords[:old], strict=True))}
    found = list(map(made.__getitem__, zip(rows.flags[:old], rows.keywords[:old], strict=True)))
    if old < len(rows.uids):
        found += [line(flags, words, recent=True) for flags, words in zip(rows.flags[old:], rows.keywords[old:], strict=True)]
    return found


def _newly_seen(*, first: bool) -> Column:
    r"""FLAGS where reading sets \Seen: the client must learn of it (RFC 3501 §6.4.5)."""
    form = b"FLAGS %b " if first else b" FLAGS %b"

    def column(source: _Source) -> list[bytes]:
        unseen = set(source.unseen)
        return [form % flags if uid in unseen else b"" for uid, flags in zip(source.rows.uids, _flags(source), strict=True)]

    return column


def _in_header(item: BodySection) -> bool:
    return not item.section.path and item.section.text in (Text.HEADER, Text.FIELDS, Text.FIELDS_NOT)


def _field_names(item: BodySection) -> frozenset[bytes]:
    return frozenset(name.lower() for name in item.section.fields)


def _header_column(item: BodySection) -> Column:
    """BODY[HEADER...], without the rest of the message."""
    names, exclude, partial = _field_names(item), item.section.text is Text.FIELDS_NOT, item.partial
    whole = item.section.text is Text.HEADER

    def value(raw: bytes) -> bytes:
        octets = _cut(raw if whole else mail_header.select(raw, names, exclude=exclude), partial)
        return b"{%d}\r\n%b" % (len(octets), octets) if octets else b'""'

    def column(source: _Source) -> list[bytes]:
        headers = source.headers
        return [value(headers[content_id]) for content_id in source.rows.content_ids]

    return column


# The name and form of each plain item, and its column.
_COLUMNS: dict[Plain, tuple[bytes, Column]] = {
    Plain.UID: (b"UID %d", lambda source: source.rows.uids),
    Plain.FLAGS: (b"FLAGS %b", _flags),
    Plain.MODSEQ: (b"MODSEQ (%d)", lambda source: source.rows.modseqs),
    Plain.INTERNALDATE: (b"INTERNALDATE %b", lambda source: map(internal_date, source.rows.internal_dates)),
    Plain.SIZE: (b"RFC822.SIZE %d", lambda source: source.rows.sizes),
    Plain.SAVEDATE: (b"SAVEDATE %b", lambda source: map(internal_date, source.rows.saved_dates)),
    Plain.THREADID: (b"THREADID %b", lambda source: [b"NIL"] * len(source.rows.uids)),
    Plain.ENVELOPE: (b"ENVELOPE %b", lambda source: [source.forms[one][1] for one in source.rows.content_ids]),
    Plain.BODYSTRUCTURE: (b"BODYSTRUCTURE %b", lambda source: [source.forms[one][2] for one in source.rows.content_ids]),
    Plain.BODY: (b"BODY %b", lambda source: [source.parts[one][1] for one in source.rows.content_ids]),
    Plain.EMAILID: (b"EMAILID (%b)", lambda source: [source.email_ids[one] for one in source.rows.content_ids]),
    Plain.PREVIEW: (b"PREVIEW %b", lambda source: [source.previews[one] for one in source.rows.content_ids]),
}
_ROW_ITEMS = frozenset((Plain.UID, Plain.FLAGS, Plain.MODSEQ, Plain.INTERNALDATE, Plain.SIZE, Plain.SAVEDATE, Plain.THREADID))
