"""The tree of a message's MIME parts as offsets, how it is stored, and which octets an IMAP section names.

Invariants
- Offsets count from the first octet after the top header, so the top header may be replaced without a new scan;
  the root therefore has an empty header of its own.
- A multipart has its body parts as children (perhaps none), a message/rfc822 exactly one child: the message in it.
- No part reaches beyond its parent.

RFC 2046 §5.1, RFC 3501 §6.4.5 (part numbers), RFC 3516 (what BINARY may decode).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntFlag
from typing import Literal, NamedTuple

import msgspec


class Octets(IntFlag):
    """What a part's body holds that some transports cannot carry (RFC 2045 §2.7-2.9)."""

    EIGHT_BIT = 1
    NUL = 2
    BARE_CR = 4
    BARE_LF = 8


BINARY = Octets.NUL | Octets.BARE_CR | Octets.BARE_LF  # needs BINARYMIME (RFC 3030 §3)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One part. `type` is lower-case `main/sub`, `encoding` the lower-case Content-Transfer-Encoding.

    `lines` counts line ends of the body where IMAP asks for them (text and message/rfc822), else 0.
    """

    type: str
    encoding: str
    header_start: int
    header_size: int
    body_start: int
    body_size: int
    lines: int = 0
    octets: int = 0  # bits of Octets
    charset: str = ""
    filename: str = ""
    children: tuple[Part, ...] = ()

    @property
    def is_multipart(self) -> bool:
        return self.type.startswith("multipart/")

    @property
    def is_message(self) -> bool:
        """Whether the child is a message with header and envelope of its own."""
        return bool(self.children) and not self.is_multipart

    @property
    def body_end(self) -> int:
        return self.body_start + self.body_size

    def walk(self) -> Iterator[Part]:
        """This part and all below, in the order of the bytes."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            waiting.extend(reversed(part.children))

    def leaves(self) -> Iterator[Part]:
        """The parts that have content of their own."""
        return (part for part in self.walk() if not part.children and not part.is_multipart)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Part)


def dump(root: Part) -> bytes:
    """The tree as compact bytes; `load` inverts it."""
    return _encoder.encode(root)


def load(data: bytes) -> Part:
    """The tree that `dump` wrote. Raises msgspec.DecodeError on other bytes."""
    return _decoder.decode(data)


class Span(NamedTuple):
    """Octets of the whole message, counted from the start of its header."""

    offset: int
    length: int


Text = Literal["", "HEADER", "TEXT", "MIME"]


def find(root: Part, path: Sequence[int]) -> Part | None:
    """The part that IMAP calls `path`; the root itself for an empty path (RFC 3501 §6.4.5)."""
    part = root
    inside_message = True  # numbers now count within a message: a body that is no multipart is its part 1
    for number in path:
        if part.is_message and not inside_message:
            part, inside_message = part.children[0], True
        if part.is_multipart:
            if not 1 <= number <= len(part.children):
                return None
            part, inside_message = part.children[number - 1], False
        elif inside_message and number == 1:
            inside_message = False
        else:
            return None
    return part


def section(root: Part, path: Sequence[int], text: Text, header_size: int) -> Span | None:
    """The octets of BODY[path.text], or None when there is no such section.

    `header_size` is that of the top header. HEADER.FIELDS is HEADER, narrowed by `header.select`.
    """
    if not path:
        size = header_size + root.body_size
        return {"": Span(0, size), "HEADER": Span(0, header_size), "TEXT": Span(header_size, root.body_size), "MIME": None}[text]
    part = find(root, path)
    if part is None:
        return None
    if text == "":
        return Span(header_size + part.body_start, part.body_size)
    if text == "MIME":
        if part is root:  # BODY[1.MIME] of a message that is no multipart
            return Span(0, header_size)
        return Span(header_size + part.header_start, part.header_size)
    if not part.is_message:
        return None
    inner = part.children[0]
    if text == "HEADER":
        return Span(header_size + inner.header_start, inner.header_size)
    return Span(header_size + inner.body_start, inner.body_size)
