"""A message read and made ready to be stored, in the form in which it travels from the process that reads it.

Invariants
- `read` is a pure function of octets and limits; it never raises on what a mail contains.
- Everything costly (structure, text, hashes, compression) is in `read`; what a server does with a Reading afterwards –
  another header, trace fields in front – costs microseconds.

RFC 5322, RFC 2045; see `mail.mime`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from govmail.mail.content import header_fields, header_text
from govmail.mail.header import Bounds, Header, unfold
from govmail.mail.message import Message
from govmail.mail.mime import digest_message
from govmail.mail.packing import compress, decompress, stored
from govmail.mail.parts import Part, load
from govmail.mail.structure import envelope
from govmail.mail.text import fold

COMPRESS_RATIO = 8  # a body up to this many times the inline limit is compressed on trial
TINY_OCTETS = 128  # not worth a zstd frame
# A search unpacks every text of a mailbox: at this level in a third of the time that the usual one needs, for 40 % more
# octets of what is a small part of a mail. Packing is faster too.
TEXT_LEVEL = -3
_TEXT_OCTETS = 64 * 1024 * 1024  # far above Limits.text_octets


class Bound(Bounds, Protocol):
    """What reading may cost, and what is small enough to lie in the database; `config.Limits` is one."""

    @property
    def blob_inline_octets(self) -> int: ...


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """What is known about a message after one look. `packed` is the body as the database keeps it, None for a file."""

    header: bytes  # raw, with the empty line
    body_size: int
    parts: bytes  # mail.mime.dump() of the parts
    envelope: bytes  # as IMAP sends them
    bodystructure: bytes
    body_form: bytes  # BODY, without extension data
    preview: str
    sent_date: int | None  # Date:, seconds since the epoch
    ambiguity: str  # why readers might disagree about this message's structure; "" if they won't
    text: bytes  # zstd of the folded text: header, NUL, text parts
    text_complete: bool
    fields: tuple[str | None, ...]  # mail.content.header_fields()
    body_digest: bytes  # SHA-256 of what follows the header
    packed: bytes | None
    codec: str

    @property
    def header_size(self) -> int:
        return len(self.header)

    @property
    def size(self) -> int:
        return len(self.header) + self.body_size

    @property
    def root(self) -> Part:
        return load(self.parts)

    @property
    def digest(self) -> bytes:
        """Names the message: equal for equal octets, and for no others."""
        return hashlib.sha256(self.body_digest + self.header).digest()


def read(message: Message, limits: Bound) -> Reading:
    """Read a message once. Blocks on a spooled one; raises OSError only."""
    digest = digest_message(message, limits=limits)
    body = hashlib.sha256()
    kept: list[bytes] | None = [] if digest.body_size <= COMPRESS_RATIO * limits.blob_inline_octets else None
    for chunk in message.chunks(digest.header_size):
        body.update(chunk)
        if kept is not None:
            kept.append(chunk)
    packed, codec = _packed(b"".join(kept), limits) if kept is not None else (None, "raw")
    return Reading(
        digest.header, digest.body_size, digest.parts, digest.envelope, digest.bodystructure, digest.body_form, digest.preview,
        digest.sent_date, digest.ambiguity, _pack_text(digest.text), digest.text_complete, header_fields(digest.fields),
        body.digest(), packed, codec,
    )  # fmt: skip


def with_header(reading: Reading, header: bytes, limits: Bounds) -> Reading:
    """The same body under another top header whose Content-* fields are the same."""
    fields = Header(header, limits)
    text = f"{fold(header_text(fields))}\0{_unpack_text(reading.text).partition(chr(0))[2]}"
    return msgspec.structs.replace(
        reading, header=header, envelope=envelope(fields), sent_date=fields.date, text=_pack_text(text), fields=header_fields(fields)
    )


def with_trace(reading: Reading, fields: Sequence[bytes]) -> Reading:
    """With finished trace fields (each with its CR LF) in front, which change neither ENVELOPE nor Date nor structure."""
    lines = "\n".join([unfold(one).decode("utf-8", "replace") for one in fields])
    lines = f"{fold(lines)}\n"
    return msgspec.structs.replace(
        reading, header=b"".join((*fields, reading.header)), text=stored(lines.encode("utf-8", "replace")) + reading.text
    )


def _packed(body: bytes, limits: Bound) -> tuple[bytes | None, str]:
    """The body as a row keeps it, and how; None where it is too large for a row even then."""
    data, codec = body, "raw"
    if len(body) > TINY_OCTETS:
        smaller = compress(body)
        if len(smaller) < len(body):
            data, codec = smaller, "zstd"
    return (data, codec) if len(data) <= limits.blob_inline_octets else (None, "raw")


def _pack_text(text: str) -> bytes:
    return compress(text.encode("utf-8", "replace"), level=TEXT_LEVEL)


def _unpack_text(packed: bytes) -> str:
    return decompress(packed, _TEXT_OCTETS).decode("utf-8")
