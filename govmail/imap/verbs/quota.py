"""Quotas: GETQUOTA, GETQUOTAROOT; SETQUOTA is the operators'.

Invariants: an account is one quota root; one's own is called "", somebody else's as their tree is. A root is told to
those who may read a mailbox under it.

RFC 9208.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.errors import NoSuchMailbox, NotPermitted
from govmail.imap.access import locate, locate_root
from govmail.imap.state import OK, Result
from govmail.store import accounts, mailboxes
from govmail.wire.imap import commands, responses
from govmail.wire.imap.management import QuotaRoot

if TYPE_CHECKING:
    from govmail.imap.session import Session

UNIT = 1024  # octets; STORAGE counts in these (RFC 9208 §5.1)


async def get_quota(session: Session, command: QuotaRoot, tag: bytes) -> Result:
    try:
        account_id = await locate_root(session, command.root)
    except NoSuchMailbox:
        return Result(b"NO", "no such quota root", b"NONEXISTENT")
    await _tell(session, command.root, account_id)
    return OK


async def get_quota_root(session: Session, command: commands.Named, tag: bytes) -> Result:
    place = await locate(session, command.mailbox, "r")
    await session.server.database.read(mailboxes.get, place.account_id, place.name)
    session.write(b"* QUOTAROOT %b %b\r\n" % (responses.mailbox(command.mailbox, utf8=session.enabled.utf8), _name(session, place.root)))
    await _tell(session, place.root, place.account_id)
    return OK


async def set_quota(session: Session, command: QuotaRoot, tag: bytes) -> Result:
    raise NotPermitted


async def _tell(session: Session, root: str, account_id: int) -> None:
    """Resources without a limit are not told (RFC 9208 §4.1.1)."""
    account = await session.server.database.read(accounts.by_id, account_id)
    resources: list[bytes] = []
    if account.quota_octets is not None:
        resources.append(b"STORAGE %d %d" % (-(-account.used_octets // UNIT), account.quota_octets // UNIT))
    if account.quota_messages is not None:
        resources.append(b"MESSAGE %d %d" % (account.used_messages, account.quota_messages))
    session.write(b"* QUOTA %b (%b)\r\n" % (_name(session, root), b" ".join(resources)))


def _name(session: Session, root: str) -> bytes:
    return responses.mailbox(root, utf8=session.enabled.utf8) if root else b'""'
