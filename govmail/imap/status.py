"""Refusals as IMAP says them: one table from MailErrors to response codes.

RFC 5530 (response codes), RFC 9208 §4.1.4 (OVERQUOTA), RFC 3501 §7.1 (TRYCREATE, BADCHARSET), RFC 9586 §3 (UIDREQUIRED),
RFC 4469 §5 (BADURL, TOOBIG).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from govmail import errors
from govmail.telemetry import incident
from govmail.wire.imap.search import CHARSETS, BadCharset
from govmail.wire.imap.tokens import UidRequired
from govmail.wire.imap.url import BadUrl, url_code

log = structlog.get_logger()

BYE_IDLE = "logged out for inactivity"
BYE_LOGIN = "too long without login"
BYE_STALLED = "nothing was read or sent for too long"
BYE_ERRORS = "too many bad commands"
BYE_FAILURES = "too many failed logins"
BYE_SHUTDOWN = "server is going down, please connect again"
BYE_KICKED = "your access has changed, please log in again"
BYE_DELETED = "selected mailbox was deleted"
BYE_TOO_MANY = "too many connections"
BYE_INTERNAL = "internal error"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A tagged NO or BAD."""

    condition: bytes
    code: bytes
    text: str


_CODES: tuple[tuple[type[errors.MailError], bytes], ...] = (
    (errors.AuthenticationFailed, b"AUTHENTICATIONFAILED"),
    (errors.AuthenticationBusy, b"UNAVAILABLE"),
    (errors.DirectoryUnavailable, b"UNAVAILABLE"),
    (errors.NotPermitted, b"NOPERM"),
    (errors.OverQuota, b"OVERQUOTA"),
    (errors.NoSuchMailbox, b"NONEXISTENT"),
    (errors.MailboxExists, b"ALREADYEXISTS"),
    (errors.BadMailboxName, b"CANNOT"),
    (errors.MailboxHasChildren, b"HASCHILDREN"),
    (errors.MailboxInUse, b"CANNOT"),
    (errors.LimitReached, b"LIMIT"),
    (errors.MessageTooBig, b"TOOBIG"),
    (errors.Busy, b"UNAVAILABLE"),
    (errors.StoreFailed, b"UNAVAILABLE"),
)


def refusal(error: errors.MailError) -> Refusal:
    """What to answer; a private cause goes to the log."""
    if error.private is not None:
        log.warning("imap.refused", error=type(error).__name__, cause=error.private)
    if isinstance(error, BadCharset):
        return Refusal(b"NO", b"BADCHARSET (" + " ".join(CHARSETS).encode() + b")", error.public)
    if isinstance(error, UidRequired):
        return Refusal(b"BAD", b"UIDREQUIRED", error.public)
    if isinstance(error, BadUrl):
        return Refusal(b"NO", url_code(error.url), error.public)
    if isinstance(error, errors.SyntaxProblem):
        return Refusal(b"BAD", b"", error.public)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), b"")
    return Refusal(b"NO", code, error.public)


def unexpected(error: BaseException, verb: str) -> Refusal:
    """A bug or a broken machine: the traceback goes to the log under an incident id, the client gets only that."""
    number = incident()
    log.error("imap.incident", incident=number, verb=verb, exc_info=error)
    return Refusal(b"NO", b"SERVERBUG", f"internal error, incident {number}")
