"""Refusals that know no protocol.

Every part of govmail below the protocols raises one of these; `smtp.replies` and `imap.status` hold the one table
each that turns them into replies. `public` is shown to clients, `private` goes to the log only.

Enhanced status codes: RFC 3463 and the IANA registry that RFC 5248 founded.
"""

from __future__ import annotations

from typing import ClassVar


class MailError(Exception):
    """A refusal: an enhanced status code, a text for the client and, perhaps, a cause for the log only."""

    status: ClassVar[str] = "4.3.0"
    text: ClassVar[str] = "temporary failure"

    def __init__(self, public: str | None = None, *, private: str | None = None) -> None:
        super().__init__(public or self.text)
        self.public = public or self.text
        self.private = private

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later (class 4 of RFC 3463 §3.1)."""
        return self.status.startswith("4")


class SyntaxProblem(MailError):
    """Grammar: what was sent is not what the standard describes. One type for all grammars."""

    status = "5.5.4"
    text = "syntax error"


# -- addresses and the directory ---------------------------------------------------------------------------------


class BadAddress(SyntaxProblem):
    status = "5.1.3"
    text = "bad address syntax"


class NoSuchAddress(MailError):
    status = "5.1.1"
    text = "no such mailbox here"


class NotLocal(MailError):
    status = "5.7.1"
    text = "relaying denied"


class DirectoryUnavailable(MailError):
    """The directory could not be asked. Never answered as 'unknown'."""

    status = "4.4.3"
    text = "directory not available, try again later"


class AuthenticationFailed(MailError):
    status = "5.7.8"
    text = "authentication failed"


class AuthenticationBusy(MailError):
    """Too many logins at once; says nothing about the password."""

    status = "4.7.0"
    text = "too many logins at the moment, try again"


class NotPermitted(MailError):
    status = "5.7.1"
    text = "not permitted"


class Conflict(MailError):
    """Something of that name, address or code exists already."""

    status = "5.5.0"
    text = "exists already"


class NotFound(MailError):
    """An operator named a unit, person, group, queue entry or item that is not there."""

    status = "5.5.0"
    text = "not found"


class BadInput(MailError):
    """An operator's input does not hold; the text names row and field where there are any, and what to do."""

    status = "5.5.4"
    text = "bad input"


# -- mailboxes ---------------------------------------------------------------------------------------------------


class MailboxDisabled(MailError):
    status = "5.2.1"
    text = "mailbox disabled"


class OverQuota(MailError):
    status = "4.2.2"
    text = "mailbox is full"


class NoSuchMailbox(MailError):
    status = "5.2.0"
    text = "no such mailbox"


class MailboxExists(MailError):
    status = "5.2.0"
    text = "mailbox exists already"


class BadMailboxName(MailError):
    status = "5.2.0"
    text = "mailbox name not allowed"


class MailboxHasChildren(MailError):
    status = "5.2.0"
    text = "mailbox has children"


class MailboxInUse(MailError):
    """INBOX and the like: what cannot be deleted or renamed."""

    status = "5.2.0"
    text = "mailbox cannot be changed"


class LimitReached(MailError):
    status = "5.3.0"
    text = "limit reached"


# -- messages ----------------------------------------------------------------------------------------------------


class MessageTooBig(MailError):
    status = "5.3.4"
    text = "message too big"


class TooManyHops(MailError):
    status = "5.4.6"
    text = "routing loop detected"


class BadLineEnding(MailError):
    """Bare CR or LF where RFC 5321 §2.3.8 forbids them."""

    status = "5.6.11"
    text = "lines must end with CR LF"


class BadMessage(MailError):
    status = "5.6.0"
    text = "message format not acceptable"


class NotScanned(MailError):
    """An engine was down, too slow or did not see the whole message; such mail is never called clean."""

    status = "4.7.1"
    text = "message could not be scanned, try again later"


class EngineUnavailable(MailError):
    """A filter's engine does not answer, or not with sense."""

    status = "4.3.0"
    text = "filter engine not available"


class Refused(MailError):
    """The filters say no."""

    status = "5.7.1"
    text = "message refused by policy"


# -- the machine -------------------------------------------------------------------------------------------------


class Busy(MailError):
    status = "4.3.1"
    text = "system busy, try again later"


class ReaderFailed(MailError):
    """The process that reads messages died of this one, or was too slow."""

    status = "4.3.0"
    text = "message could not be read, try again later"


class StoreFailed(MailError):
    """The store could not commit. Nobody was answered as stored."""

    status = "4.3.0"
    text = "storage failure, try again later"
