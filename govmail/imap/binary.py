"""BINARY: body parts without their transfer encoding.

Invariants: decoded in pieces of at most CHUNK_OCTETS; of a part in a file no more than one piece is in memory, and it is
read off the loop; what the length says is what is sent.

RFC 3516 §4; RFC 9051 §6.4.5 (BINARY), §7.1 (UNKNOWN-CTE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from govmail.mail import transfer
from govmail.mail.message import CHUNK_OCTETS
from govmail.store import blobs
from govmail.store.blobs import BlobFiles
from govmail.store.values import BlobRef

DECODABLE = frozenset(("base64", "quoted-printable"))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part in a file: only reading it tells how long it is when decoded.

    `offset` and `length` are its octets in the body; `first` and `most` choose from the decoded ones. `size_only`: the
    number is the whole answer.
    """

    ref: BlobRef
    offset: int
    length: int
    encoding: str
    first: int = 0
    most: int | None = None
    size_only: bool = False

    def pieces(self, files: BlobFiles) -> Iterator[bytes]:
        """The decoded octets that were asked for. Blocks; raises StoreFailed."""
        return chosen(decoded(blobs.stream(self.ref, files, self.offset, self.length), self.encoding), self.first, self.most)

    def measure(self, files: BlobFiles) -> int:
        """How many octets `pieces` gives. Blocks; raises StoreFailed."""
        return sum(map(len, self.pieces(files)))


def decode(octets: bytes, encoding: str, first: int = 0, most: int | None = None) -> bytes:
    """The same for a part in memory."""
    cut = (octets[start : start + CHUNK_OCTETS] for start in range(0, len(octets), CHUNK_OCTETS))
    return b"".join(chosen(decoded(cut, encoding), first, most))


def decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = transfer.decoder(encoding)
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def chosen(pieces: Iterator[bytes], first: int, most: int | None) -> Iterator[bytes]:
    """Octets [first, first + most) of what the pieces make together; reads no further than that."""
    for piece in pieces:
        if first >= len(piece):
            first -= len(piece)
            continue
        piece = piece[first:] if most is None else piece[first : first + most]
        first = 0
        yield piece
        if most is not None:
            most -= len(piece)
            if not most:
                return
