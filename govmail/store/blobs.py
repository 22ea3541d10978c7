"""Bodies of messages: small ones in the database, large ones in files that are written and synced before the transaction.

Invariants
- A file has a fresh random name, never one made from its content, and is complete and synced before a row names it:
  temp → fsync → rename → fsync of the directory.
- A file that no row names is an orphan of a transaction that never committed; `store.collect` removes it by age.
- In a file, octets lie as they are: any piece of it is one seek. In the database they are compressed with zstd where
  that makes them smaller.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, select

from govmail.errors import StoreFailed
from govmail.mail import packing
from govmail.mail.message import Message
from govmail.mail.reading import Reading
from govmail.store.schema import blob
from govmail.store.sql import Prepared, as_set, one_of
from govmail.store.values import BlobRef, NewBlob

CHUNK_OCTETS = 256 * 1024
TEMP = ".new-"


def decompress(data: bytes, size: int) -> bytes:
    """The octets behind zstd frames, `size` at most. Raises StoreFailed when a frame is damaged."""
    try:
        return packing.decompress(data, size)
    except ValueError as error:
        raise StoreFailed(private=str(error)) from error


class BlobFiles:
    """The directory of body files; 256 sub-directories, so that none grows long."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._made: set[str] = set()  # sub-directories that are known to be on the disk

    def write(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Write and sync a new file; its path relative to the directory, and its octets. Blocks; raises StoreFailed."""
        name = secrets.token_hex(16)
        folder = self.directory / name[:2]
        temporary = folder / f"{TEMP}{name[2:]}"
        size = 0
        try:
            if name[:2] not in self._made:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(self.directory)
                self._made.add(name[:2])  # only now: who finds it here may rely on it
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    size += len(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(folder / name[2:])
            sync_directory(folder)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise StoreFailed(private=f"{temporary}: {error}") from error
        return f"{name[:2]}/{name[2:]}", size

    def read(self, path: str, offset: int, length: int) -> bytes:
        """At most `length` octets from `offset`. Blocks; raises StoreFailed."""
        try:
            with (self.directory / path).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise StoreFailed(private=f"{path}: {error}") from error

    def remove(self, path: str) -> None:
        """Unlink; that it is gone already is no error. Blocks."""
        (self.directory / path).unlink(missing_ok=True)

    def paths(self) -> Iterator[tuple[str, float]]:
        """All files, unfinished ones too, with the time they were written. Blocks."""
        if not self.directory.is_dir():
            return
        for folder in sorted(self.directory.iterdir()):
            if not folder.is_dir():
                continue
            with os.scandir(folder) as found:
                for one in found:
                    try:
                        yield f"{folder.name}/{one.name}", one.stat().st_mtime
                    except FileNotFoundError:
                        continue


def sync_directory(path: Path) -> None:
    """Make a rename in the directory last. Blocks."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prepare(reading: Reading, message: Message, files: BlobFiles) -> NewBlob:
    """The body of a message that was read, ready for a row: packed, or written and synced as a file.

    `message`: octets with that body at their end. Blocks where it becomes a file; raises StoreFailed.
    """
    if reading.packed is not None:
        return NewBlob(reading.body_size, reading.codec, data=reading.packed)
    path, written = files.write(message.chunks(message.size - reading.body_size))
    if written != reading.body_size:
        files.remove(path)
        raise StoreFailed(private=f"body of {reading.body_size} octets had {written}")
    return NewBlob(reading.body_size, "raw", path=path)


_LOCATE = Prepared(
    select(blob.c.blob_id, blob.c.size, blob.c.codec, blob.c.data, blob.c.path).where(one_of(blob.c.blob_id, "ids"))
)


def locate(conn: Connection, blob_ids: Collection[int]) -> dict[int, BlobRef]:
    """Where these bodies are; unknown ids are missing in the answer."""
    return {row[0]: BlobRef(*row) for row in _LOCATE.rows(conn, {"ids": as_set(blob_ids)})}


def read(ref: BlobRef, offset: int, length: int, files: BlobFiles) -> bytes:
    """At most `length` octets of the clear body from `offset`. Blocks; raises StoreFailed."""
    if ref.path is not None:
        return files.read(ref.path, offset, length)
    assert ref.data is not None
    plain = decompress(ref.data, ref.size) if ref.codec == "zstd" else ref.data
    return plain[offset : offset + length]


def stream(ref: BlobRef, files: BlobFiles, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The octets from `offset`, at most `length` (None: to the end), in chunks. Blocks; raises StoreFailed."""
    end = ref.size if length is None else min(ref.size, offset + length)
    if ref.path is None:
        plain = read(ref, offset, max(end - offset, 0), files)
        for start in range(0, len(plain), CHUNK_OCTETS):
            yield plain[start : start + CHUNK_OCTETS]
        return
    while offset < end:
        chunk = files.read(ref.path, offset, min(CHUNK_OCTETS, end - offset))
        if not chunk:
            raise StoreFailed(private=f"{ref.path}: shorter than {ref.size} octets")
        offset += len(chunk)
        yield chunk
