"""A message between its arrival and its storing: its header repaired, its parts re-encoded where they must be.

Invariants: the message as it arrived is never touched; what replaces it is in memory if that was, else a file beside it,
removed by `discard`; `message`, `reading` and the octets always belong together after `settle`.

RFC 6409 §8 (adding Date and Message-ID, removing Bcc), RFC 5322 §3.6.3 (Bcc).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime

from govmail.config import Limits
from govmail.mail import reading, trace
from govmail.mail.header import Header
from govmail.mail.message import Message
from govmail.mail.reading import Reading
from govmail.mail.rewrite import must_rewrite, textualise

_BLIND = (b"bcc", b"resent-bcc")


class Draft:
    """The message as it stands now. `reading` is set by whoever has read it."""

    __slots__ = ("_header_size", "_made", "message", "reading")

    reading: Reading

    def __init__(self, message: Message) -> None:
        self.message = message
        self._header_size: int | None = None  # of `message`, while `reading` has another header
        self._made: list[Message] = []

    def change_header(self, header: bytes, limits: Limits) -> None:
        """Another header, same body; `settle` makes the octets follow. Small work, but for the text of a large mail."""
        if self._header_size is None:
            self._header_size = self.reading.header_size
        self.reading = reading.with_header(self.reading, header, limits)

    def replace(self, message: Message, read: Reading) -> None:
        """Another message altogether, made by `copy`."""
        self.message, self.reading, self._header_size = message, read, None

    def settle(self) -> None:
        """Make `message` the octets that `reading` describes. Blocks when spooled."""
        if self._header_size is not None:
            self.message = self.copy(self.octets())
            self._header_size = None

    def copy(self, octets: Iterable[bytes]) -> Message:
        """A new message, in memory or in a file as `message` is. Blocks when spooled."""
        if self.message.path is None:
            return Message.of(b"".join(octets))
        path = self.message.path.with_name(f"{self.message.path.name}+")
        self._made.append(Message(0, None, path))  # noted first: a full disk must not leave half a file
        with path.open("xb") as file:
            file.writelines(octets)
        return Message.spooled(path)

    def discard(self) -> None:
        """Remove the files made here. Blocks when there are any."""
        for message in self._made:
            message.discard()

    def octets(self) -> Iterable[bytes]:
        """What `reading` describes, in chunks."""
        yield self.reading.header
        yield from self.message.chunks(self.reading.header_size if self._header_size is None else self._header_size)


def repaired(header: bytes, fields: Header, *, hostname: str, queue_id: str, now: datetime) -> bytes:
    """The header with what submission owes it: Date and Message-ID when missing, no Bcc, none of our own trace fields."""
    missing = []
    if b"date" not in fields:
        missing.append(f"Date: {format_datetime(now)}\r\n".encode("ascii"))
    if b"message-id" not in fields:
        missing.append(f"Message-ID: <{queue_id}@{hostname}>\r\n".encode("ascii"))
    return trace.prepend(trace.strip(header, authserv_id=hostname, names=_BLIND), missing)


def rewritten(draft: Draft, *, seven_bit: bool) -> Message | None:
    """The message fit for 8BITMIME, or for anybody with `seven_bit`; None when it is so already. Blocks when spooled."""
    root = draft.reading.root
    if not must_rewrite(draft.reading.header, root, seven_bit=seven_bit):
        return None
    draft.settle()
    return draft.copy(textualise(draft.message, root, draft.reading.header_size, seven_bit=seven_bit))
