"""IDLE.

RFC 2177. The waiting itself is the session's: it keeps neither a task nor a timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from govmail.wire.imap import commands

if TYPE_CHECKING:
    from govmail.imap.session import Session


async def idle(session: Session, command: commands.Bare, tag: bytes) -> None:
    await session.begin_idle(tag)
