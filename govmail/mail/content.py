"""The readable text of a message: for search and preview.

Invariants: only text parts are decoded, at most `text_octets` of them together, in pieces of at most CHUNK_OCTETS; the
result does not depend on how the message is stored.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from govmail.mail import transfer
from govmail.mail.header import Bounds, Header, unfold
from govmail.mail.message import CHUNK_OCTETS, Message
from govmail.mail.scan import Node
from govmail.mail.text import decode, decode_words, fold, html_text, preview

FIELDS = (b"subject", b"from", b"to", b"cc")
"""What searches and sorting ask most."""
FIELD_CHARACTERS = 4096


def header_fields(header: Header) -> tuple[str | None, ...]:
    """FIELDS as `_field` makes them."""
    return tuple([_field(header, name) for name in FIELDS])


def _field(header: Header, name: bytes) -> str | None:
    """The fields of this name, folded for search, each on a line; None when they are longer than FIELD_CHARACTERS."""
    values = [fold(decode_words(value)) for value in header.all(name)]
    text = values[0] if len(values) == 1 else "\n".join(values)
    if len(text) > FIELD_CHARACTERS:
        return None
    # PostgreSQL takes neither NUL nor half a surrogate pair in text, which odd charsets may yield.
    return text if text.isascii() and "\0" not in text else text.replace("\0", " ").encode("utf-8", "replace").decode()


class Extract(NamedTuple):
    """`text` is folded; `complete` says that no text part was cut."""

    text: str
    complete: bool
    preview: str


_FOLDED = re.compile(rb"\r?\n(?=[ \t])")


def header_text(header: Header) -> str:
    """The header with folding undone and encoded words decoded, a line for each field."""
    raw = header.raw
    if raw.isascii():
        text = decode_words(raw if b"\n " not in raw and b"\n\t" not in raw else _FOLDED.sub(b"", raw)).rstrip("\r\n")
    else:  # each field is guessed by itself
        text = "\n".join(f"{field.name.decode('ascii')}: {decode_words(unfold(field.value))}" for field in header.fields)
    return text.replace("\0", " ")


def extract(message: Message, root: Node, limits: Bounds) -> Extract:
    """The text below `root`: text parts, file names, and the headers of enclosed messages."""
    found: list[str] = []
    first = ""
    left = limits.text_octets
    complete = True
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting.extend(reversed(node.children))
        if node.is_message:
            found.append(header_text(node.children[0].header))
        elif not node.is_multipart:
            if node.filename:
                found.append(node.filename)
            if node.type.startswith("text/"):
                raw, whole = _octets(message, node, left)
                left -= len(raw)
                complete = complete and whole
                text = decode(raw, node.param("charset"))
                if node.type == "text/html":
                    text = html_text(text)
                if text:
                    first = first or preview(text)
                    found.append(text)
    return Extract(fold("\n".join(found)), complete, first)


def _octets(message: Message, node: Node, most: int) -> tuple[bytes, bool]:
    """The decoded octets of a leaf, at most `most`, and whether that is all."""
    size = node.body_size
    if size <= min(most, CHUNK_OCTETS):
        return transfer.decode(message.read(node.body_start, size), node.encoding), True
    decoder = transfer.decoder(node.encoding)
    pieces: list[bytes] = []
    have, offset = 0, node.body_start
    while offset < node.body_end and have < most:
        length = min(CHUNK_OCTETS, node.body_end - offset)
        piece = decoder.decode(message.read(offset, length), final=offset + length >= node.body_end)
        offset += length
        have += len(piece)
        pieces.append(piece)
    raw = b"".join(pieces)
    return raw[:most], offset >= node.body_end and have <= most
