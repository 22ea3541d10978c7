"""APPEND and REPLACE: messages taken, put together and stored.

Invariants
- What can be refused is refused before the octets are sent; what comes all the same is read, so the dialogue stays in step.
- What is on its way is bounded, alone and together with everything else; parts that a URL names count like octets sent.
- All messages of a command are stored in one transaction, or none; OK means they are.

RFC 3501 §6.3.11; RFC 3502 (MULTIAPPEND); RFC 4469 (CATENATE); RFC 8508 (REPLACE); RFC 4315 §3 (APPENDUID); RFC 7888 §4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.errors import (
    Busy,
    MessageTooBig,
    NoSuchMailbox,
    NotFound,
    NotPermitted,
    StoreFailed,
    SyntaxProblem,
)
from govmail.imap import access
from govmail.imap import flags as names
from govmail.imap.access import Place
from govmail.imap.fetching import Span, octets_of_section
from govmail.imap.state import Result
from govmail.imap.upload import Upload, prepare_upload
from govmail.imap.verbs.fetch import chosen, pieces_of
from govmail.imap.verbs.store import READ_ONLY, TRY_CREATE, expunged
from govmail.imap.view import SelectedView
from govmail.store import changes, mailboxes, messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.values import Appended, AppendResult, MailboxChanges, NewContent
from govmail.wire.imap import responses
from govmail.wire.imap.append import AppendReader, NewMessage, Octets, Step, UrlOctets
from govmail.wire.imap.framer import Command, MessageLiteral, Piece, TooBig
from govmail.wire.imap.tokens import Tokens, UidRequired
from govmail.wire.imap.url import BadUrl, MessageUrl, parse_url

if TYPE_CHECKING:
    from govmail.imap.session import Event, Session

TOGETHER = 20  # messages of a command that may share their commit with others
REPLACE_NEEDS = "te"  # rights in the selected mailbox: what STORE of \Deleted and EXPUNGE need (RFC 8508 §5, RFC 4314 §4)


async def take(session: Session, literal: MessageLiteral) -> tuple[str, Result]:
    """The command's name and its answer. Raises MailError when the dialogue is in step again."""
    work = _Work(session)
    try:
        return await work.run(literal)
    finally:
        await work.discard()


async def without_octets(session: Session, octets: bytes, tag: bytes) -> Result:
    """A command that came as a whole: all its parts are URLs."""
    work = _Work(session)
    try:
        return (await work.run(Command(octets)))[1]
    finally:
        await work.discard()


class _Refused(Exception):
    """An answer that is no error of the parts below."""

    def __init__(self, result: Result) -> None:
        self.result = result


class _Work:
    """One command while it comes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader = AppendReader(session.server.limits.imap_append_messages)
        self._uploads: list[Upload] = []
        self._taken = 0  # of the budget
        self._uid: int | None = None  # of the message to be replaced
        self._checked = False

    async def discard(self) -> None:
        self._session.server.budget.give(self._taken)
        for upload in self._uploads:
            await upload.discard()

    async def run(self, event: Event) -> tuple[str, Result]:
        try:
            while isinstance(event, MessageLiteral):
                event = await self._take(event)
            if not isinstance(event, Command):
                raise SyntaxProblem("unexpected literal")
            if await self._read(self._session.tokens(event.octets)) is not None:
                raise SyntaxProblem("expected a literal")
            return self._reader.name, await self._store()
        except _Refused as refused:
            return self._reader.name or "APPEND", refused.result
        except NoSuchMailbox:
            return self._reader.name, TRY_CREATE

    # -- taking ---------------------------------------------------------------------------------------------------

    async def _take(self, literal: MessageLiteral) -> Event:
        """Decide on announced octets, and take them; the event after them."""
        session = self._session
        try:
            step = await self._read(session.tokens(literal.head + b"\r\n"))
            if step is None:
                raise SyntaxProblem("unexpected literal")
            if literal.waits and not self._checked:
                place = await self._place()
                await session.server.database.read(mailboxes.get, place.account_id, place.name)
                self._checked = True
            if isinstance(step, Octets):
                self._charge(step.size)
        except Exception:
            await self._refuse(literal)
            raise
        session.framer.accept()
        if literal.waits:
            session.write(b"+ go on\r\n")
        url = b""
        failure: StoreFailed | None = None
        while isinstance(event := await session.event(), Piece):
            if isinstance(step, UrlOctets):
                url += event.octets
            elif failure is None:
                try:
                    await self._uploads[-1].add(event.octets)
                except StoreFailed as error:  # the rest is read all the same
                    failure = error
        try:
            if failure is not None:
                raise failure
            if isinstance(step, UrlOctets):
                await self._add_url(parse_url(url))
        except Exception:
            if isinstance(event, MessageLiteral):
                await self._refuse(event)
            raise
        return event

    async def _read(self, tokens: Tokens) -> Step | None:
        """Go on to the next octets that the client sends; URLs on the way are fetched."""
        while True:
            step = self._reader.next(tokens)
            if self._reader.replaced is not None and self._uid is None:
                self._uid = await self._find(self._reader)
            if len(self._uploads) < len(self._reader.messages):
                self._uploads.append(Upload(self._session.server.limits, self._session.server.spool))
            if not isinstance(step, MessageUrl):
                return step
            await self._add_url(step)

    async def _place(self) -> Place:
        return await access.locate(self._session, self._reader.mailbox, "i")

    async def _find(self, reader: AppendReader) -> int:
        """The UID of the message to be replaced. It is there, as far as this session knows."""
        view = self._session.view
        assert reader.replaced is not None
        if "REPLACE" in self._session.without:
            raise SyntaxProblem("unknown command")
        if view is None:
            raise SyntaxProblem("command not possible in this state")
        if self._session.enabled.uid_only and reader.name == "REPLACE":
            raise UidRequired
        await access.recheck(self._session, REPLACE_NEEDS)
        if view.read_only:
            raise _Refused(READ_ONLY)
        uids, _ = chosen(view, reader.replaced, by_uid=reader.name.startswith("UID "))
        if not uids:
            raise NotFound("no such message")
        return uids[0][0]

    def _charge(self, octets: int) -> None:
        """Octets that the last message is to grow by. Raises MessageTooBig, Busy."""
        if self._uploads[-1].size + octets > self._session.server.limits.message_octets:
            raise MessageTooBig
        if not self._session.server.budget.take(octets):
            raise Busy
        self._taken += octets

    async def _add_url(self, url: MessageUrl) -> None:
        server = self._session.server
        try:
            place = await access.locate(self._session, url.mailbox, "r")
            octets = await server.database.read(_resolve, place, url, server.database.blobs)
        except (NoSuchMailbox, NotPermitted):
            raise BadUrl(url.text) from None
        if isinstance(octets, bytes):
            self._charge(len(octets))
            await self._uploads[-1].add(octets)
            return
        self._charge(octets.length)
        async for piece in pieces_of(octets, server.database.blobs):
            await self._uploads[-1].add(piece)

    async def _refuse(self, literal: MessageLiteral) -> None:
        """The octets are not wanted; those that come all the same are swallowed before the answer."""
        self._session.framer.refuse(waits=literal.waits)
        if not literal.waits:
            while not isinstance(await self._session.event(), TooBig):
                pass

    # -- storing --------------------------------------------------------------------------------------------------

    async def _store(self) -> Result:
        session, reader = self._session, self._reader
        server = session.server
        now = server.now()
        contents: list[NewContent] = []
        for message, upload in zip(reader.messages, self._uploads, strict=True):
            content = await prepare_upload(upload, server.readers, server.database.blobs, binary=message.binary)
            contents.append(content)
        place = await self._place()  # now that the messages are here
        news = [_allowed(message, content, place, now) for message, content in zip(reader.messages, contents, strict=True)]
        if self._uid is not None:
            return await self._replace(self._uid, place, news[0], now)
        write = server.database.write if len(news) <= TOGETHER else server.database.write_alone
        result = await write(messages.append, place.account_id, place.name, news, now=now)
        return Result(b"OK", "", responses.append_uid(result.uidvalidity, result.uids))

    async def _replace(self, uid: int, place: Place, new: Appended, now: int) -> Result:
        session, view = self._session, self._session.view
        assert view is not None
        await access.recheck(session, REPLACE_NEEDS)
        try:
            result, news = await session.server.database.write(_replace_and_look, view, uid, place, new, now)
        except NotFound as error:
            return Result(b"NO", error.public, b"EXPUNGEISSUED")  # a result, so that the expunge is told before it
        # RFC 8508 §3.4: APPENDUID comes untagged, before EXPUNGE
        session.write(responses.untagged(b"OK", "replaced", responses.append_uid(result.uidvalidity, result.uids)))
        await session.tell(news, expunges=True, with_uid=self._reader.name.startswith("UID "))
        return expunged(session, view)


def _allowed(message: NewMessage, content: NewContent, place: Place, now: int) -> Appended:
    """With those of the flags that may be changed there (RFC 4314 §4)."""
    bits, keywords = names.split(message.flags)
    system, words = place.flags
    when = int(message.when.timestamp()) if message.when else now
    return Appended(content, bits & system, keywords if words else (), when)


def _replace_and_look(
    conn: Connection, view: SelectedView, uid: int, place: Place, new: Appended, now: int
) -> tuple[AppendResult, MailboxChanges]:
    result = messages.replace(conn, view.account_id, view.mailbox_id, uid, place.account_id, place.name, new, now=now)
    return result, changes.since(conn, view.account_id, view.mailbox_id, view.modseq, view.uid_next)


def _resolve(conn: Connection, place: Place, url: MessageUrl, files: BlobFiles) -> bytes | Span:
    """The octets that a URL names. Raises BadUrl, NoSuchMailbox."""
    mailbox = mailboxes.get(conn, place.account_id, place.name)
    octets = None
    if url.uidvalidity in (None, mailbox.uidvalidity):
        octets = octets_of_section(conn, place.account_id, mailbox.mailbox_id, url.uid, url.wanted, files)
    if octets is None:
        raise BadUrl(url.text)
    return octets
