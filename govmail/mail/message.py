"""The bytes of a message: immutable, in memory or in a spool file.

Invariants: a Message never changes once made; reading never loads more than asked. Reads of a spooled message block:
do them in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_OCTETS = 256 * 1024  # the most that one step of hashing, copying or scanning sees


@dataclass(frozen=True, slots=True)
class Message:
    """`size` octets: `data` when in memory, else `path` of a spool file."""

    size: int
    data: bytes | None = None
    path: Path | None = None

    @classmethod
    def of(cls, data: bytes) -> Message:
        """A message in memory."""
        return cls(len(data), data)

    @classmethod
    def spooled(cls, path: Path) -> Message:
        """A message whose bytes are in `path`. Blocks."""
        return cls(path.stat().st_size, None, path)

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """At most `length` octets from `offset`; to the end when None."""
        if self.data is not None:
            return self.data[offset:] if length is None else self.data[offset : offset + length]
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The octets from `offset` on, at most CHUNK_OCTETS at a time."""
        if self.data is not None:
            for start in range(offset, self.size, CHUNK_OCTETS):
                yield self.data[start : start + CHUNK_OCTETS]
            return
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_OCTETS):
                yield chunk

    def discard(self) -> None:
        """Remove the spool file, if there is one. The message must not be read afterwards."""
        if self.path is not None:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
