"""A stored message on its way out: what the relay and the notifications need to know of it.

Invariants: nothing here is read on the event loop; bodies are read in pieces.

RFC 6532 (headers in UTF-8), RFC 2045 §2.8 (8-bit data).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from tempfile import NamedTemporaryFile

from govmail.errors import BadAddress, NotFound
from govmail.mail import trace
from govmail.mail.address import NULL_PATH, Address, Path
from govmail.mail.envelope import Recipient
from govmail.mail.message import Message
from govmail.mail.parts import BINARY, Octets, Part, load
from govmail.mail.rewrite import textualise
from govmail.relay.client import Shipment
from govmail.store import blobs, contents
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.values import BlobRef, QueueEntry, QueueMessage

_READ_AHEAD = 4  # chunks of a body file that one trip to a thread brings


@dataclass(frozen=True, slots=True)
class Parcel:
    """One stored message: its header with the empty line, and where its body is."""

    message: QueueMessage
    header: bytes
    body: BlobRef
    structure: Part

    @property
    def size(self) -> int:
        return len(self.header) + self.body.size

    @property
    def sender(self) -> Path:
        return reverse_path(self.message.sender)


def reverse_path(text: str) -> Path:
    """The sender of a queued message. One that cannot be parsed any more gets no notifications."""
    try:
        return Path.parse(text)
    except BadAddress:
        return NULL_PATH


def find(conn: Connection, message: QueueMessage) -> Parcel:
    """What the store has of a queued message. Raises NotFound."""
    content_id = message.content_id
    row = contents.envelopes(conn, [content_id]).get(content_id)
    if row is None:
        raise NotFound(f"content {content_id} of queued message {message.queue_id} is missing")
    header = contents.headers(conn, [content_id])[content_id]
    parts, _ = contents.parts(conn, [content_id])[content_id]
    body = blobs.locate(conn, [row.blob_id])[row.blob_id]
    return Parcel(message, header, body, load(parts))


def shipment(parcel: Parcel, recipients: Sequence[Recipient], files: BlobFiles) -> Shipment:
    """The parcel as the relay takes it."""
    parcel = replace(parcel, header=trace.without_return_path(parcel.header))  # no signature covers it (RFC 6376 §5.4.1)
    octets = 0
    signed = _DKIM.search(parcel.header) is not None
    for part in parcel.structure.walk():
        octets |= part.octets
        signed = signed or part.type in _SIGNED
    as_it_is = partial(_pieces, partial(_chunks, parcel, files))
    eight_bit = partial(_pieces, partial(_converted, parcel, files, seven_bit=False))
    seven_bit = partial(_pieces, partial(_converted, parcel, files, seven_bit=True))
    return Shipment(
        sender=parcel.sender,
        recipients=tuple(recipients),
        size=parcel.size,
        # DATA cannot carry NUL or bare CR and LF (RFC 5321 §2.3.8); what is not signed is encoded
        open=eight_bit if octets & BINARY and not signed else as_it_is,
        open_seven_bit=None if signed else seven_bit,
        eight_bit=bool(octets & Octets.EIGHT_BIT),
        utf8_header=parcel.message.smtputf8 and not parcel.header.isascii(),
        ret_full=parcel.message.ret_full,
        envid=parcel.message.envid,
    )


_DKIM = re.compile(rb"^DKIM-Signature[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SIGNED = frozenset({"multipart/signed", "application/pkcs7-mime", "application/x-pkcs7-mime"})


async def _pieces(source: Callable[[], Iterator[bytes]]) -> AsyncGenerator[bytes, None]:
    """What a blocking iterator gives, a few pieces for each trip to a thread."""
    chunks = source()
    try:
        while some := await asyncio.to_thread(lambda: list(islice(chunks, _READ_AHEAD))):
            for chunk in some:
                yield chunk
    finally:
        if isinstance(chunks, Generator):  # broken off: files are closed now, not some day
            await asyncio.to_thread(chunks.close)


def _chunks(parcel: Parcel, files: BlobFiles) -> Iterator[bytes]:
    """Header and body. Blocks."""
    yield parcel.header
    yield from blobs.stream(parcel.body, files)


def _converted(parcel: Parcel, files: BlobFiles, *, seven_bit: bool) -> Iterator[bytes]:
    """Header and body, re-encoded. Blocks; needs the room of a copy."""
    files.directory.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=files.directory, prefix=".relay-") as copy:
        for chunk in _chunks(parcel, files):
            copy.write(chunk)
        copy.flush()
        message = Message(parcel.size, None, FilePath(copy.name))
        yield from textualise(message, parcel.structure, len(parcel.header), seven_bit=seven_bit)


def recipient(entry: QueueEntry) -> Recipient:
    """The entry's forward-path. Raises BadAddress."""
    return Recipient(Address.parse(entry.recipient), entry.notify, entry.orcpt)
