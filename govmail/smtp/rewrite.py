"""A message between its arrival and its storing: its header repaired, its parts re-encoded where they must be.

Invariants: the message as it arrived is never touched; what replaces it is in memory if that was, else a file beside it,
removed by `discard`; `message`, `digest` and the octets always belong together after `settle`.

RFC 6409 §8 (adding Date and Message-ID, removing Bcc), RFC 5322 §3.6.3 (Bcc).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime

from govmail.config import Limits
from govmail.mail import mime, trace
from govmail.mail.header import unfold
from govmail.mail.message import Message
from govmail.mail.mime import Digest
from govmail.mail.rewrite import must_rewrite, textualise
from govmail.mail.text import fold

_BLIND = (b"bcc", b"resent-bcc")


class Draft:
    """The message as it stands now. `digest` is set by whoever has read it."""

    __slots__ = ("_header_size", "_made", "digest", "message")

    digest: Digest

    def __init__(self, message: Message) -> None:
        self.message = message
        self._header_size: int | None = None  # of `message`, while `digest` has another header
        self._made: list[Message] = []

    def change_header(self, header: bytes, limits: Limits) -> None:
        """Another header, same body; `settle` makes the octets follow."""
        if self._header_size is None:
            self._header_size = self.digest.header_size
        self.digest = mime.with_header(self.digest, header, limits=limits)

    def replace(self, message: Message, digest: Digest) -> None:
        """Another message altogether, made by `copy`."""
        self.message, self.digest, self._header_size = message, digest, None

    def settle(self) -> None:
        """Make `message` the octets that `digest` describes. Blocks when spooled."""
        if self._header_size is not None:
            self.message = self.copy(self.octets())
            self._header_size = None

    def copy(self, octets: Iterable[bytes]) -> Message:
        """A new message, in memory or in a file as `message` is. Blocks when spooled."""
        if self.message.path is None:
            return Message.of(b"".join(octets))
        path = self.message.path.with_name(f"{self.message.path.name}+")
        self._made.append(Message(0, b"", None, path))  # noted first: a full disk must not leave half a file
        with path.open("xb") as file:
            file.writelines(octets)
        return Message.spooled(path)

    def discard(self) -> None:
        """Remove the files made here. Blocks when there are any."""
        for message in self._made:
            message.discard()

    def octets(self) -> Iterable[bytes]:
        """What `digest` describes, in chunks."""
        yield self.digest.header
        yield from self.message.chunks(self.digest.header_size if self._header_size is None else self._header_size)


def repair(draft: Draft, *, hostname: str, queue_id: str, now: datetime, limits: Limits) -> None:
    """What submission owes a message: Date and Message-ID when missing, no Bcc, none of our own trace fields."""
    fields = draft.digest.fields
    missing = []
    if b"date" not in fields:
        missing.append(f"Date: {format_datetime(now)}\r\n".encode("ascii"))
    if b"message-id" not in fields:
        missing.append(f"Message-ID: <{queue_id}@{hostname}>\r\n".encode("ascii"))
    header = trace.prepend(trace.strip(draft.digest.header, authserv_id=hostname, names=_BLIND), missing)
    if header != draft.digest.header:
        draft.change_header(header, limits)


def rewritten(draft: Draft, *, seven_bit: bool) -> Message | None:
    """The message fit for 8BITMIME, or for anybody with `seven_bit`; None when it is so already. Blocks when spooled."""
    if not must_rewrite(draft.digest.header, draft.digest.root, seven_bit=seven_bit):
        return None
    draft.settle()
    return draft.copy(textualise(draft.message, draft.digest.root, draft.digest.header_size, seven_bit=seven_bit))


def with_trace(digest: Digest, fields: list[bytes], *, authserv_id: str, limits: Limits) -> Digest:
    """The digest with our finished trace fields in front and forged ones removed."""
    header = trace.strip(digest.header, authserv_id=authserv_id)
    whole = trace.prepend(header, fields)
    if header != digest.header:
        return mime.with_header(digest, whole, limits=limits)
    # Nothing removed: ENVELOPE, Date and structure are what they were, only the searched text gains our fields.
    # This saves reading the header a second time, a tenth of a small message's cost.
    ours = "\n".join([unfold(one).decode("utf-8", "replace") for one in fields])
    return replace(digest, header=whole, text=f"{fold(ours)}\n{digest.text}")
