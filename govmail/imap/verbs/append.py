"""APPEND.

Invariants: what can be refused is refused before the message is sent; a message that is on its way is bounded, alone
and together with all others; it is read by another process; OK means it is stored.

RFC 3501 §6.3.11; RFC 4315 §3 (APPENDUID); RFC 7888 §4; RFC 5530, RFC 4469 (TOOBIG).
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from govmail.config import Limits
from govmail.errors import Busy, MessageTooBig, NoSuchMailbox, SyntaxProblem
from govmail.imap import flags as names
from govmail.imap.state import Result
from govmail.interfaces import MessageReader
from govmail.mail.message import Message
from govmail.store import contents, mailboxes, messages
from govmail.store.blobs import BlobFiles
from govmail.store.values import NewContent
from govmail.wire.imap import commands, parser, responses
from govmail.wire.imap.framer import Command, MessageLiteral, Piece, TooBig
from govmail.wire.imap.parser import parse_start

if TYPE_CHECKING:
    from govmail.imap.session import Session

TRY_CREATE = Result(b"NO", "no such mailbox", b"TRYCREATE")
SPOOL_OCTETS = 1024 * 1024  # written to a spool file at once


async def take(session: Session, literal: MessageLiteral) -> Result:
    """Decide on the announced message, take it, store it. Raises MailError when the dialogue is in step again."""
    budget = session.server.budget
    try:
        command = _head(session, literal)
        if literal.waits:
            await session.server.database.read(mailboxes.get, session.account_id, command.mailbox)
        if not budget.take(literal.size):
            raise Busy
    except Exception as error:
        await _refuse(session, literal)
        if isinstance(error, NoSuchMailbox):
            return TRY_CREATE
        raise
    try:
        session.framer.accept()
        if literal.waits:
            session.write(b"+ go on\r\n")
        upload = _Upload(session.server.limits, literal.size, session.server.spool)
        try:
            return await _store(session, command, upload)
        finally:
            await upload.discard()
    finally:
        budget.give(literal.size)


def _head(session: Session, literal: MessageLiteral) -> commands.Append:
    tokens = session.tokens(literal.head + b"\r\n")
    parse_start(tokens)
    command = parser.append_head(tokens)
    if literal.size > session.server.limits.message_octets:
        raise MessageTooBig
    if literal.size == 0:
        raise SyntaxProblem("empty message")  # RFC 3502 §6.3.11: a client's way to abort
    return command


async def _refuse(session: Session, literal: MessageLiteral) -> None:
    """The message is not wanted; one that comes all the same is swallowed before the answer."""
    session.framer.refuse(waits=literal.waits)
    if not literal.waits:
        await _skip(session)


async def _skip(session: Session) -> None:
    while not isinstance(await session.event(), TooBig):
        pass


async def _store(session: Session, command: commands.Append, upload: _Upload) -> Result:
    while True:
        event = await session.event()
        if isinstance(event, Piece):
            await upload.add(event.octets)
        elif isinstance(event, Command):
            tokens = session.tokens(event.octets)
            parse_start(tokens)
            parser.append(tokens)
            break
        elif isinstance(event, MessageLiteral):
            await _refuse(session, event)
            raise SyntaxProblem("one message at a time")  # no MULTIAPPEND
        elif isinstance(event, TooBig):
            raise SyntaxProblem("unexpected literal after the message")
    server = session.server
    message = await upload.finish()
    content = await prepare(message, server.readers, server.database.blobs)
    bits, keywords = names.split(command.flags)
    now = server.now()
    internal_date = int(command.when.timestamp()) if command.when else now
    try:
        result = await server.database.write(
            messages.append, session.account_id, command.mailbox, content,
            flags=bits, keywords=keywords, internal_date=internal_date, now=now,
        )  # fmt: skip
    except NoSuchMailbox:
        return TRY_CREATE
    return Result(b"OK", "", responses.append_uid(result.uidvalidity, result.uid))


async def prepare(message: Message, readers: MessageReader, files: BlobFiles) -> NewContent:
    """The message ready to be stored. Raises ReaderFailed, StoreFailed."""
    reading = await readers.read(message)
    if reading.packed is not None:
        return contents.prepare(reading, message, files)
    return await asyncio.to_thread(contents.prepare, reading, message, files)


class _Upload:
    """A message on its way: in memory up to Limits.memory_octets, else in a spool file."""

    __slots__ = ("_file", "_path", "_pending", "_pieces", "_spool", "_spooled")

    def __init__(self, limits: Limits, size: int, spool: Path | None) -> None:
        self._spool = spool
        self._pieces: list[bytes] = []
        self._pending = 0
        self._spooled = size > limits.memory_octets
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    async def add(self, octets: bytes) -> None:
        self._pieces.append(octets)
        self._pending += len(octets)
        if self._spooled and self._pending >= SPOOL_OCTETS:
            await self._flush()

    async def _flush(self) -> None:
        pieces, self._pieces, self._pending = self._pieces, [], 0
        await asyncio.to_thread(self._write, pieces)

    def _write(self, pieces: list[bytes]) -> None:
        if self._file is None:
            descriptor, name = tempfile.mkstemp(prefix="append-", dir=self._spool)
            self._file, self._path = open(descriptor, "wb"), Path(name)  # noqa: SIM115 - closed by finish or discard
        self._file.writelines(pieces)

    async def finish(self) -> Message:
        """The whole message."""
        if not self._spooled:
            return Message.of(b"".join(self._pieces))
        await self._flush()
        assert self._path is not None
        assert self._file is not None
        await asyncio.to_thread(self._file.close)
        return await asyncio.to_thread(Message.spooled, self._path)

    async def discard(self) -> None:
        """Nothing is left of it."""
        self._pieces.clear()
        if self._path is not None:
            await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        assert self._file is not None
        assert self._path is not None
        self._file.close()
        self._path.unlink(missing_ok=True)


