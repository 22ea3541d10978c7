"""One pass over a message that finds its MIME parts.

Invariants
- Linear in the octets whatever they are, iterative, and bounded: `mime_depth` containers deep, `mime_parts` parts.
- A delimiter is a whole line (RFC 2046 §5.1.1: white space may follow), so no boundary matches one that begins with it.
- Where readers might see different parts, `Scan.ambiguity` says why; the tree is then only one of the readings.

RFC 2046 §5.1 (multipart), §5.2.1 (message/rfc822), RFC 6532 §3.7 (message/global).
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from govmail.mail.header import NOTHING, Bounds, Header, Parameterised, empty_line, parse_parameterised
from govmail.mail.message import CHUNK_OCTETS, Message
from govmail.mail.parts import Octets, Part
from govmail.mail.transfer import IDENTITIES

BOUNDARY_OCTETS = 1000  # RFC 2046 allows 70; a longer line than this is no delimiter
_TOKEN = re.compile(rb"[ \t]*+([!-'*+\-./-9A-Z^-~]++)")
_ENCLOSED = frozenset(("message/rfc822", "message/global"))


class Counts(NamedTuple):
    """Line ends and unusual octets seen up to some offset; differences tell about a stretch."""

    lf: int = 0
    cr: int = 0
    crlf: int = 0
    nul: int = 0
    eight_bit: int = 0  # stretches with such octets, not octets


class Node:
    """A part while it is found; offsets count from the start of the message."""

    __slots__ = (
        "body_end", "body_start", "boundary", "children", "content_type", "default_type", "encoding", "header",
        "header_start", "lines", "octets", "start_counts", "type",
    )

    def __init__(self, header: Header, header_start: int, body_start: int, default_type: str) -> None:
        self.header = header
        self.header_start = header_start
        self.body_start = self.body_end = body_start
        self.default_type = default_type
        self.type = default_type
        self.content_type: Parameterised = NOTHING
        self.encoding = "7bit"
        self.boundary: bytes | None = None  # of a multipart whose end was not seen
        self.children: list[Node] = []
        self.lines = 0
        self.octets = 0
        self.start_counts = Counts()

    @property
    def is_multipart(self) -> bool:
        return self.type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        return self.type in _ENCLOSED

    @property
    def body_size(self) -> int:
        return self.body_end - self.body_start

    def param(self, name: str) -> str:
        return self.content_type.params.get(name, "")

    @property
    def disposition(self) -> Parameterised:
        value = self.header.get(b"content-disposition")
        return parse_parameterised(value) if value else NOTHING

    @property
    def filename(self) -> str:
        """What the part calls itself, decoded; hostile text."""
        return self.disposition.params.get("filename") or self.param("name")


class Scan(NamedTuple):
    """What one pass found: the top header's size, the tree, and why it may be read differently ("" = it may not)."""

    header_size: int
    root: Node
    ambiguity: str


def scan(message: Message, limits: Bounds) -> Scan:
    """Find the parts. Blocks on a spooled message; raises OSError only."""
    if message.path is None:
        return _Scanner(message, None, limits).run()
    with message.path.open("rb") as file:
        return _Scanner(message, file, limits).run()


_ORDINARY = bytes(octet for octet in range(256) if octet not in b"\0\r\n")


class _Scanner:
    def __init__(self, message: Message, file: BinaryIO | None, limits: Bounds) -> None:
        self.message = message
        self.file = file
        self.size = message.size
        self.limits = limits
        self.window = limits.header_octets + 3 * CHUNK_OCTETS
        self.data = b""  # a window on the message: a whole header and a step of searching always fit
        self.base = 0  # its offset
        self.counted = 0  # offset up to which `counts` holds
        self.counts = Counts()
        self.after_cr = False
        self.stack: list[Node] = []  # containers that are open, and the leaf
        self.boundaries: dict[bytes, int] = {}  # open ones, and how many multiparts use each
        self.parts = 0
        self.blank = (0, 0, -1)  # from, to, found: no empty line ends in [from, to) but at `found`
        self.reason = ""
        self._read(0)

    # -- the window

    def _read(self, offset: int) -> None:
        if self.file is not None:
            self.file.seek(offset)
            self.data = self.file.read(self.window)
        elif self.message.data is not None:
            self.data = self.message.data if self.size <= self.window else self.message.data[offset : offset + self.window]
        self.base = offset if self.file is not None or self.size > self.window else 0

    def _ensure(self, offset: int, octets: int) -> None:
        """Have `octets` from `offset` in the window, as far as the message goes; what it leaves behind is counted."""
        loaded = self.base + len(self.data)
        if offset + octets > loaded and loaded < self.size:
            keep = max(self.base, offset - 4)  # the line end before a delimiter stays visible
            self._count(keep)
            self._read(keep)

    def _count(self, stop: int) -> None:
        """Count the octets before `stop`, in steps of CHUNK_OCTETS."""
        while self.counted < stop:
            if self.counted >= self.base + len(self.data):
                self._read(self.counted)
                if not self.data:
                    break
            data, base, counts = self.data, self.base, self.counts
            start = self.counted - base
            end = min(stop - base, start + CHUNK_OCTETS, len(data))
            piece = data[start:end]
            crlf = piece.count(b"\r\n")
            # Counting single octets is slow where they are many: drop all others first, one pass for the three.
            kept = piece.translate(None, _ORDINARY)
            lf, cr = (crlf, crlf) if len(kept) == 2 * crlf else (kept.count(b"\n"), kept.count(b"\r"))
            if self.after_cr and piece.startswith(b"\n"):
                crlf += 1
            self.after_cr = piece.endswith(b"\r")
            self.counts = Counts(
                counts.lf + lf,
                counts.cr + cr,
                counts.crlf + crlf,
                counts.nul + (b"\0" in kept),
                counts.eight_bit + (not piece.isascii()),
            )
            self.counted = base + end

    # -- the loop

    def run(self) -> Scan:
        position = self._begin(0, "text/plain")
        header_size = self.stack[0].body_start
        root = self.stack[0]
        while True:
            found, node, closing, after = self._delimiter(position, self.size)
            if node is None:
                self._close(0, self.size)
                return Scan(header_size, root, self.reason)
            if not closing and self.parts >= self.limits.mime_parts:
                self._doubt("too many parts")
                self.boundaries.clear()
                position = found
                continue
            depth = self.stack.index(node)
            self._close(depth + 1, self._before_line_end(found))
            if closing:
                self._forget(node)
                position = after
            else:
                position = self._begin(after, "message/rfc822" if node.type == "multipart/digest" else "text/plain")

    def _begin(self, start: int, default_type: str) -> int:
        """Read the header at `start` and open its part, and what a message/rfc822 holds. Returns where to go on."""
        while True:
            header_end = self._header_end(start)
            raw = self._slice(start, header_end)
            node = Node(Header(raw, self.limits), start, header_end, default_type)
            if not node.header.complete:
                self._doubt("too many header fields")
            self._classify(node)
            self._count(header_end)
            node.start_counts = self.counts
            if self.stack:
                self.stack[-1].children.append(node)
            self.stack.append(node)
            self.parts += 1
            if not node.is_message:
                return header_end
            start, default_type = header_end, "text/plain"

    def _slice(self, start: int, stop: int) -> bytes:
        return self.data[start - self.base : stop - self.base]

    def _close(self, depth: int, end: int) -> None:
        """End what is open from `depth` of the stack on, at offset `end`."""
        if len(self.stack) <= depth:
            return
        self._count(end)
        now = self.counts
        while len(self.stack) > depth:
            node = self.stack.pop()
            node.body_end = max(node.body_start, end)
            self._forget(node)
            before = node.start_counts
            if end <= node.body_start:
                continue
            lf, cr, crlf = now.lf - before.lf, now.cr - before.cr, now.crlf - before.crlf
            node.lines = lf
            node.octets = (
                (Octets.EIGHT_BIT if now.eight_bit > before.eight_bit else 0)
                | (Octets.NUL if now.nul > before.nul else 0)
                | (Octets.BARE_CR if cr > crlf else 0)
                | (Octets.BARE_LF if lf > crlf else 0)
            )

    def _forget(self, node: Node) -> None:
        if node.boundary is not None:
            left = self.boundaries.get(node.boundary, 0) - 1
            if left > 0:
                self.boundaries[node.boundary] = left
            else:
                self.boundaries.pop(node.boundary, None)
            node.boundary = None

    def _before_line_end(self, offset: int) -> int:
        """The line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1)."""
        index = offset - self.base
        if self.data.startswith(b"\n", index - 1, index) and index > 0:
            offset -= 1
            if index > 1 and self.data.startswith(b"\r", index - 2, index - 1):
                offset -= 1
        return max(offset, self.stack[-1].body_start)

    # -- headers

    def _header_end(self, start: int) -> int:
        """Where the header at `start` ends: after its empty line, or where a delimiter, the limit or the end cuts it off."""
        self._ensure(start, self.limits.header_octets + CHUNK_OCTETS + BOUNDARY_OCTETS + 16)
        stop = min(start + self.limits.header_octets, self.size, self.base + len(self.data))
        for ending in (b"\r\n", b"\n"):
            if self.data.startswith(ending, start - self.base):
                return start + len(ending)
        end = self._empty_line(start, stop)
        if self.boundaries:
            found, node, _, _ = self._delimiter(start, stop if end < 0 else end)
            if node is not None:
                return found
        if end >= 0:
            return end
        if stop < self.size:
            self._doubt("header too large")
            stop = self.data.rfind(b"\n", start - self.base, stop - self.base) + 1 + self.base
            if stop <= start:
                stop = start + self.limits.header_octets
        return stop

    def _empty_line(self, start: int, stop: int) -> int:
        # Parts without an empty line must not each search the rest of the message: what was searched is remembered.
        seen_from, seen_to, end = self.blank
        if seen_from <= start < seen_to:
            if end >= 0:
                return end if end <= stop else -1
            begin = max(start, seen_to - 2)
        else:
            begin = seen_from = start
        found = empty_line(self.data, begin - self.base, stop - self.base)
        if found is None:
            self.blank = (seen_from, stop, -1)
            return -1
        end = found[1] + self.base
        self.blank = (seen_from, found[0] + self.base, end)
        return end

    def _classify(self, node: Node) -> None:
        """Settle type, encoding and boundary, and note what others may read differently."""
        header = node.header
        types = header.all(b"content-type")
        if types:
            node.content_type = parse_parameterised(types[0])
            if len(set(types)) > 1:
                self._doubt("several Content-Type fields")
            # RFC 2045 §5.2: what cannot be read is text/plain
            node.type = node.content_type.value if "/" in node.content_type.value else "text/plain"
        encodings = header.all(b"content-transfer-encoding")
        if encodings:
            token = _TOKEN.match(encodings[0])
            node.encoding = token[1].decode("ascii").lower() if token else "7bit"
            if len({encoding.lower() for encoding in encodings}) > 1:
                self._doubt("several Content-Transfer-Encoding fields")
        container = node.is_multipart or node.is_message
        if not container:
            return
        if len(self.stack) >= self.limits.mime_depth or self.parts + 1 >= self.limits.mime_parts:
            self._doubt("nested too deep" if len(self.stack) >= self.limits.mime_depth else "too many parts")
            node.type = "application/octet-stream"
        elif node.is_message:
            if node.encoding not in IDENTITIES:  # RFC 2046 §5.2.1 forbids it; a file for the reader, not a message for us
                node.type = "application/octet-stream"
        else:
            self._open_boundary(node)

    def _open_boundary(self, node: Node) -> None:
        if node.encoding not in IDENTITIES:  # RFC 2045 §6.4
            self._doubt("encoded multipart")
        if "boundary" in node.content_type.conflicts:
            self._doubt("several boundaries")
        boundary = node.param("boundary").encode("utf-8", "surrogateescape").rstrip(b" \t")
        if not boundary or len(boundary) > BOUNDARY_OCTETS:
            self._doubt("multipart without boundary")
            node.type = "text/plain"
            return
        node.boundary = boundary
        self.boundaries[boundary] = self.boundaries.get(boundary, 0) + 1

    def _doubt(self, reason: str) -> None:
        self.reason = self.reason or reason

    # -- delimiters

    def _delimiter(self, start: int, stop: int) -> tuple[int, Node | None, bool, int]:
        """The first delimiter line of an open multipart in [start, stop).

        Returns its offset, the multipart, whether it closes it, and the offset after the line; (stop, None, …) if none.
        """
        offset = start if self.boundaries else stop
        while offset < stop:
            offset = self._dashes(offset, stop)
            if offset >= stop:
                break
            self._ensure(offset, BOUNDARY_OCTETS + 8)
            index = offset - self.base
            line_end = self.data.find(b"\n", index, index + BOUNDARY_OCTETS + 8)
            if line_end < 0:  # too long, or the last line of the message
                line_end = min(index + BOUNDARY_OCTETS + 8, len(self.data))
            node, closing = self._match(self.data[index + 2 : line_end].rstrip(b" \t\r"))
            if node is not None:
                return offset, node, closing, min(self.base + line_end + 1, self.size)
            offset = self.base + line_end
        return stop, None, False, stop

    def _dashes(self, offset: int, stop: int) -> int:
        """The next line in [offset, stop) that begins with "--"; `stop` if there is none."""
        while offset < stop:
            self._ensure(offset, CHUNK_OCTETS)
            begin = max(offset - 1 - self.base, 0)
            end = min(stop - self.base, begin + CHUNK_OCTETS, len(self.data))
            index = self.data.find(b"\n--", begin, end)
            if index >= 0:
                return self.base + index + 1
            if self.base + end >= min(stop, self.size):
                break
            offset = self.base + end - 1
        return stop

    def _match(self, line: bytes) -> tuple[Node | None, bool]:
        """Which open multipart this line (without its leading dashes) delimits, innermost first."""
        last = line[:-2] if line.endswith(b"--") else None
        if line in self.boundaries or last in self.boundaries:
            for node in reversed(self.stack):
                if node.boundary is not None:
                    if node.boundary == line:
                        return node, False
                    if node.boundary == last:
                        return node, True
        return None, False


def part_of(node: Node, origin: int) -> Part:
    """The finished tree; offsets from `origin`, the end of the top header. Recursion is bounded by `mime_depth`."""
    is_root = node.body_start == origin and node.header_start == 0
    counted = node.is_message or node.type.startswith("text/")
    return Part(
        node.type,
        node.encoding,
        0 if is_root else node.header_start - origin,
        0 if is_root else node.body_start - node.header_start,
        node.body_start - origin,
        node.body_end - node.body_start,
        node.lines if counted else 0,
        int(node.octets),
        node.param("charset"),
        node.filename,
        tuple([part_of(child, origin) for child in node.children]),
    )
