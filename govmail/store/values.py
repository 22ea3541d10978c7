"""Rows of the store as frozen values, and what goes in and out of its functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple, NewType

from govmail.mail.envelope import Notify

AccountId = NewType("AccountId", int)
MailboxId = NewType("MailboxId", int)
ContentId = NewType("ContentId", int)
Uid = NewType("Uid", int)
ModSeq = NewType("ModSeq", int)

UidRange = tuple[int, int]
"""First and last UID, both included. Sets of UIDs travel as ascending, disjoint ranges and are never expanded."""


class Flag(IntFlag):
    """System flags, RFC 9051 §2.3.2. \\Recent is not stored per message: see `mailbox.recent_uid`."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


NO_NAMES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Account:
    """`without`: IMAP capabilities that are not offered to it."""

    account_id: AccountId
    directory_id: str
    modseq: int
    suspended: bool
    quota_octets: int | None
    used_octets: int
    used_messages: int
    without: frozenset[str] = NO_NAMES
    quota_messages: int | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    account_id: AccountId
    mailbox_id: MailboxId
    name: str
    uidvalidity: int
    uid_next: int
    recent_uid: int
    highest_modseq: int
    special_use: str | None
    messages: int
    unseen: int
    deleted: int
    octets: int

    @property
    def object_id(self) -> bytes:
        """MAILBOXID (RFC 8474 §4): stays over RENAME, is never given again."""
        return b"F%d-%d" % (self.account_id, self.mailbox_id)

    @property
    def recent(self) -> int:
        """An upper bound of \\Recent: UIDs given since the last SELECT; exact where none of them was expunged."""
        return self.uid_next - self.recent_uid


@dataclass(frozen=True, slots=True)
class StoredMessage:
    uid: int
    modseq: int
    content_id: int
    flags: int
    keywords: int
    internal_date: int
    size: int
    saved_date: int = 0
    delivered_to: str | None = None


class Columns(NamedTuple):
    """Messages by column, ascending by UID: what FETCH formats by the thousand has no object for each."""

    uids: Sequence[int]
    flags: Sequence[int]
    keywords: Sequence[int]
    modseqs: Sequence[int]
    content_ids: Sequence[int] = ()
    internal_dates: Sequence[int] = ()
    sizes: Sequence[int] = ()
    saved_dates: Sequence[int] = ()

    def part(self, start: int, stop: int) -> Columns:
        """The messages [start, stop)."""
        return Columns(*[column[start:stop] for column in self])


class Candidate(NamedTuple):
    """A message as a search looks at it; a tuple, because there are many."""

    uid: int
    modseq: int
    content_id: int
    flags: int
    keywords: int
    internal_date: int
    size: int
    saved_date: int


@dataclass(frozen=True, slots=True)
class NewContent:
    """A message ready to be stored: what `mail.reading` made of it, plus where its body is.

    Made by `store.contents.prepare` outside the transaction: files are synced.
    """

    digest: bytes  # `mail.reading.Reading.digest`
    size: int
    header: bytes
    sent_date: int | None
    envelope: bytes
    bodystructure: bytes
    body_form: bytes  # BODY, the non-extensible form
    parts: bytes
    preview: str
    text: bytes  # zstd of the folded text for search
    text_complete: bool
    fields: tuple[str | None, ...]  # subject, sender, recipient, cc of its row
    blob: NewBlob


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A body prepared outside the transaction: compressed data, or the name of a synced file."""

    size: int
    codec: str
    data: bytes | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class ContentRow:
    """What lists need of a content: `envelope` and `bodystructure` as IMAP sends them, `size` and `header_size` in octets."""

    content_id: int
    size: int
    header_size: int
    sent_date: int | None
    envelope: bytes
    bodystructure: bytes
    preview: str
    blob_id: int


@dataclass(frozen=True, slots=True)
class TextRow:
    """Folded text for search; not `complete`: more lies in the body."""

    text: str
    complete: bool


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where a body is: `data` (as stored: see `codec`) or the file `path`; `size` octets when decompressed."""

    blob_id: int
    size: int
    codec: str
    data: bytes | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One copy for one mailbox owner. `quota_octets` limits the account if it has to be made; None = no limit."""

    directory_id: str
    delivered_to: str
    mailbox: str = "INBOX"
    flags: int = 0
    quota_octets: int | None = None


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One recipient's future in the queue."""

    kind: str  # remote, local, list, bounce
    recipient: str
    domain: str
    notify: Notify
    orcpt: str | None = None
    directory_id: str | None = None
    code: int | None = None  # of the failure that made it an entry, if any
    status: str | None = None
    text: str | None = None
    mailbox: str | None = None  # where a local copy belongs; None: INBOX
    wait: int = 0  # seconds until the queue tries; > 0: after a first attempt that failed and that counts


@dataclass(frozen=True, slots=True)
class NewQueueMessage:
    queue_id: str
    sender: str
    entries: tuple[NewEntry, ...]
    lifetime: int  # seconds until its entries are given up; config.Queue.lifetime_seconds
    envid: str | None = None
    ret_full: bool | None = None
    smtputf8: bool = False
    login: str | None = None
    client_ip: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a copy went, or why not: `error` is the name of the MailError class and `text` its public text.

    `account_id` stands there for an account without room, too; 0: none exists yet.
    """

    directory_id: str
    account_id: int = 0
    mailbox_id: int = 0
    uid: int = 0
    error: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """One message to append: flags as bits, keywords by name, seconds since the epoch."""

    content: NewContent
    flags: int
    keywords: Sequence[str]
    internal_date: int


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Where they went; the UIDs follow one another."""

    uidvalidity: int
    uids: UidRange


@dataclass(frozen=True, slots=True)
class CopyResult:
    """COPYUID (RFC 4315): both lists in the same order, as ranges of equal total length."""

    uidvalidity: int
    source: tuple[UidRange, ...]
    target: tuple[UidRange, ...]


@dataclass(frozen=True, slots=True)
class FlagChange:
    uid: int
    modseq: int
    flags: int
    keywords: int


@dataclass(frozen=True, slots=True)
class MailboxChanges:
    """What a session that knows a mailbox as of some modseq must learn.

    `arrived`: UIDs at or above the session's uid_next, with their flags; `flags`: older messages whose flags changed;
    `vanished`: ranges that may contain UIDs which the session never saw. `modseq` is what to ask with next time.
    """

    modseq: int
    uid_next: int
    arrived: tuple[FlagChange, ...]
    flags: tuple[FlagChange, ...]
    vanished: tuple[UidRange, ...]
    gone: bool = False  # the mailbox was deleted or its UIDVALIDITY changed


# -- the queue ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message in the queue, apart from its recipients. `sender` "" is the null path."""

    queue_id: str
    content_id: int
    sender: str
    envid: str | None
    ret_full: bool | None
    smtputf8: bool
    login: str | None
    client_ip: str
    created: int


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One recipient in the queue, with the message it belongs to. Times in seconds since the epoch."""

    entry_id: int
    message: QueueMessage
    kind: str  # remote, local, list, bounce
    recipient: str
    domain: str
    directory_id: str | None
    notify: Notify
    orcpt: str | None
    state: str  # ready, leased, held, done, failed
    next_attempt: int
    attempts: int
    lease_owner: str | None
    lease_until: int | None
    expires: int
    delay_notified: bool
    last_code: int | None
    last_status: str | None
    last_text: str | None
    last_mta: str | None
    progress: str | None = None  # of a list: the members up to this directory_id have their copy
    mailbox: str | None = None  # where a local copy belongs; None: INBOX


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What one attempt came to: the reply of `mta` as code, enhanced status and text; code None: no reply at all."""

    mta: str
    code: int | None
    status: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A past attempt for an entry."""

    entry_id: int
    at: int
    result: AttemptResult


# -- the quarantine -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewQuarantineItem:
    """A mail to be held. `envelope`, `origin` and `verdicts` are JSON made by `filters.quarantine`."""

    queue_id: str
    reason: str  # virus, spam, policy
    expires: int
    sender: str
    subject: str
    envelope: str
    origin: str
    verdicts: str


@dataclass(frozen=True, slots=True)
class HeldRecipient:
    """One recipient of a held mail. `unit_id` None: not a local recipient."""

    address: str
    directory_id: str | None
    unit_id: str | None
    notify: Notify
    orcpt: str | None
    state: str = "held"  # held, released, deleted, expired
    acted: int | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """A held mail with its recipients, or those of them that the reader may see."""

    item_id: int
    content_id: int
    queue_id: str
    reason: str
    held: int
    expires: int
    sender: str
    subject: str
    size: int
    envelope: str
    origin: str
    verdicts: str
    recipients: tuple[HeldRecipient, ...]


# -- audit --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One operator act; `at` in microseconds since the epoch, `detail` a JSON object."""

    seq: int
    at: int
    actor: str
    source: str
    act: str
    target: str
    result: str
    detail: str
    previous: bytes
    digest: bytes
