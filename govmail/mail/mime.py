"""A message read once: everything that storing, fetching, searching and filtering it will ask for.

Invariants
- `header` + the octets after it are the message, byte for byte; `header` reaches to and with the empty line.
- Nothing here raises on what a mail contains, and the work is linear in its size.
- No single C call sees more than CHUNK_OCTETS, and only text is decoded (see `Bounds.text_octets`).

RFC 5322, RFC 2045-2047, RFC 3501 §7.4.2 / RFC 9051 §7.5.2, RFC 8970 (PREVIEW).
"""

from __future__ import annotations

from dataclasses import dataclass

from govmail.mail.content import extract, header_text
from govmail.mail.header import Bounds, Header
from govmail.mail.message import Message
from govmail.mail.parts import Part, Span, dump, find, load, section
from govmail.mail.scan import part_of, scan
from govmail.mail.structure import envelope, structures
from govmail.mail.text import fold

__all__ = ["Digest", "Part", "Span", "digest_message", "dump", "find", "load", "section"]


@dataclass(frozen=True, slots=True)
class Digest:
    """What is known about a message after one look at it."""

    header: bytes  # raw, with the empty line
    body_size: int
    root: Part
    parts: bytes  # dump(root)
    envelope: bytes  # as IMAP sends them
    bodystructure: bytes
    body_form: bytes  # BODY without extension data
    preview: str
    text: str  # folded (see text.fold): decoded header, NUL, decoded text parts
    text_complete: bool  # False: text beyond the limit is not in `text`
    sent_date: int | None  # Date:, seconds since the epoch
    fields: Header
    ambiguity: str  # why readers might disagree about this message's structure; "" if they won't

    @property
    def ambiguous(self) -> bool:
        return bool(self.ambiguity)

    @property
    def header_size(self) -> int:
        return len(self.header)

    @property
    def size(self) -> int:
        """RFC822.SIZE."""
        return len(self.header) + self.body_size


def digest_message(message: Message | bytes, *, limits: Bounds) -> Digest:
    """Read a message once. `limits` is config.Limits. Never raises on the content. A spooled message blocks."""
    if isinstance(message, bytes):
        message = Message.of(message)
    header_size, node, ambiguity = scan(message, limits)
    root = part_of(node, header_size)
    header = node.header
    found = extract(message, node, limits)
    return Digest(
        header.raw,
        message.size - header_size,
        root,
        dump(root),
        envelope(header),
        *structures(node),
        found.preview,
        fold(header_text(header)) + "\0" + found.text,
        found.complete,
        header.date,
        header,
        ambiguity,
    )
