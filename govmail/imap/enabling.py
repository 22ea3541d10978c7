"""What changes a session's dialogue: ENABLE, and the commands that enable CONDSTORE by being used.

RFC 5161 §3.1; RFC 7162 §3.1 (CONDSTORE-enabling commands), §3.1.2.1 (HIGHESTMODSEQ).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.errors import SyntaxProblem
from govmail.imap.state import OK, Result
from govmail.imap.view import NEVER
from govmail.wire.imap import commands, responses
from govmail.wire.imap.enabled import NAMES

if TYPE_CHECKING:
    from govmail.imap.session import Session


async def enable(session: Session, command: commands.Enable, tag: bytes) -> Result:
    """Unknown names are ignored, and so are those that this client is not offered (RFC 5161 §3.1)."""
    off = {name.upper() for name in session.without}
    names = [name for name in dict.fromkeys(command.names) if name in NAMES and name not in off]
    for name in names:
        had_modseq = session.enabled.condstore
        session.enabled = session.enabled.plus(name)
        if session.enabled.condstore and not had_modseq:
            _tell_modseq(session)
        if name == "IMAP4REV2" and session.view is not None:
            session.view.recent_from = NEVER
    session.write(b"* ENABLED" + "".join(f" {_SPELLED.get(name, name)}" for name in names).encode() + b"\r\n")
    return OK


_SPELLED = {"IMAP4REV2": "IMAP4rev2"}


def use_modseq(session: Session) -> None:
    """A client has used what only CONDSTORE has, and has so enabled it. Raises SyntaxProblem where it is switched off."""
    if session.enabled.condstore:
        return
    if "CONDSTORE" in session.without:
        raise SyntaxProblem("CONDSTORE is not available")
    session.enabled = session.enabled.plus("CONDSTORE")
    _tell_modseq(session)


def _tell_modseq(session: Session) -> None:
    """RFC 7162 §3.1.2.1: whoever enables it with a mailbox selected is told where that one stands.

    A client takes it for "I know all up to here", so with EXPUNGEs held back it is told the least that there is.
    """
    view = session.view
    if view is not None:
        session.write(responses.untagged(b"OK", "highest", responses.highest_modseq(1 if view.vanished else view.modseq)))
