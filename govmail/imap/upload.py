"""A message on its way in: its octets gathered in memory or in a spool file, read, made fit for IMAP, ready to be stored.

Invariants: in memory up to Limits.memory_octets, else in a file that `discard` removes; read by another process; a message that IMAP could not send again (NUL) is re-encoded, never cut and never lost.

RFC 3516 §4.4 (literal8); RFC 3501 §4.3 (no NUL in literals).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from govmail.config import Limits
from govmail.errors import StoreFailed
from govmail.interfaces import MessageReader
from govmail.mail.message import Message
from govmail.mail.parts import Octets
from govmail.mail.reading import Reading
from govmail.mail.rewrite import must_rewrite, textualise
from govmail.store import contents
from govmail.store.blobs import BlobFiles
from govmail.store.values import NewContent

SPOOL_OCTETS = 1024 * 1024  # written to a spool file at once


class Upload:
    """Octets as they come."""

    __slots__ = ("_file", "_inline", "_limit", "_made", "_pending", "_pieces", "_spool", "size")

    def __init__(self, limits: Limits, spool: Path | None) -> None:
        self.size = 0
        self._limit = limits.memory_octets
        self._inline = limits.inline_parse_octets
        self._spool = spool
        self._pieces: list[bytes] = []
        self._pending = 0
        self._file: BinaryIO | None = None
        self._made: list[Path] = []

    async def add(self, octets: bytes) -> None:
        """Raises StoreFailed when it cannot be written."""
        self._pieces.append(octets)
        self._pending += len(octets)
        self.size += len(octets)
        if self._pending >= SPOOL_OCTETS and self.size > self._limit:
            await self._flush()

    async def _flush(self) -> None:
        pieces, self._pieces, self._pending = self._pieces, [], 0
        await asyncio.to_thread(self._write, pieces)

    def _write(self, pieces: Iterable[bytes]) -> None:
        try:
            if self._file is None:
                descriptor, name = tempfile.mkstemp(prefix="append-", dir=self._spool)
                self._made.append(Path(name))
                self._file = open(descriptor, "wb")  # noqa: SIM115 - closed by finish or discard
            self._file.writelines(pieces)
        except OSError as error:
            raise StoreFailed(private=f"spool: {error}") from error

    async def finish(self) -> Message:
        """The whole message."""
        if self._file is None:
            octets = b"".join(self._pieces)
            self._pieces.clear()
            return Message.of(octets)
        await self._flush()
        return await asyncio.to_thread(self._close)

    def _close(self) -> Message:
        assert self._file is not None
        try:
            self._file.close()
            return Message.spooled(self._made[-1])
        except OSError as error:
            raise StoreFailed(private=f"spool: {error}") from error

    async def rewritten(self, message: Message, octets: Iterable[bytes]) -> Message:
        """Another form of the message, kept where that one is."""
        if message.size <= self._inline:
            return Message.of(b"".join(octets))
        return await asyncio.to_thread(self._rewrite, message, octets)

    def _rewrite(self, message: Message, octets: Iterable[bytes]) -> Message:
        if message.path is None:
            return Message.of(b"".join(octets))
        self._file = None
        self._write(octets)
        return self._close()

    async def discard(self) -> None:
        """Nothing is left of it."""
        self._pieces.clear()
        if self._made:
            await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
        for path in self._made:
            path.unlink(missing_ok=True)


async def prepare(message: Message, readers: MessageReader, files: BlobFiles) -> NewContent:
    """The message ready to be stored. Raises ReaderFailed, StoreFailed."""
    return await _ready(message, await readers.read(message), files)


async def prepare_upload(upload: Upload, readers: MessageReader, files: BlobFiles, *, binary: bool) -> NewContent:
    """The same for what was uploaded. `binary`: NUL and bare line ends are re-encoded, as at SMTP's BINARYMIME; without it
    only a message with NUL is."""
    message = await upload.finish()
    reading = await readers.read(message)
    root = reading.root
    if must_rewrite(reading.header, root, seven_bit=False) if binary else root.octets & Octets.NUL or b"\0" in reading.header:
        message = await upload.rewritten(message, textualise(message, root, reading.header_size))
        reading = await readers.read(message)
    return await _ready(message, reading, files)


async def _ready(message: Message, reading: Reading, files: BlobFiles) -> NewContent:
    if reading.packed is not None:
        return contents.prepare(reading, message, files)
    return await asyncio.to_thread(contents.prepare, reading, message, files)
