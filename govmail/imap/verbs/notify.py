"""NOTIFY.

Invariants: a command that succeeds replaces the one before, one that is refused leaves it.

RFC 5465 §3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.errors import MailError
from govmail.imap.enabling import use_modseq
from govmail.imap.state import OK, Result
from govmail.imap.watch import Watch
from govmail.wire.imap.fetch import Plain
from govmail.wire.imap.notify import EVENTS, Notify

if TYPE_CHECKING:
    from govmail.imap.session import Session

BAD_EVENT = Result(b"NO", "some event is not supported", b"BADEVENT (" + b" ".join(EVENTS) + b")")  # RFC 5465 §5


async def notify(session: Session, command: Notify, tag: bytes) -> Result:
    if command.strange:
        return BAD_EVENT
    if command.selected is not None and Plain.MODSEQ in command.selected.items:
        use_modseq(session)
    before, session.watch = session.watch, Watch(command)  # now, so that it hears of what happens while it begins
    try:
        await session.watch.begin(session, status=command.status)
    except MailError:
        session.watch = before
        raise
    return OK
