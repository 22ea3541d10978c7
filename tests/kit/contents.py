"""Messages ready to be stored."""

from __future__ import annotations

import tempfile
from pathlib import Path

from govmail.config import Limits
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.store.blobs import BlobFiles
from govmail.store.contents import prepare
from govmail.store.values import NewContent

LIMITS = Limits()


def raw_mail(subject: str = "Notice", body: str = "The meeting is at nine.\r\n", *, sender: str = "office@jx.example") -> bytes:
    """A small text mail."""
    return (
        f"From: {sender}\r\nTo: staff@jx.example\r\nSubject: {subject}\r\nDate: Mon, 2 Nov 2026 09:00:00 +0800\r\n"
        f"Message-ID: <{abs(hash((subject, body)))}@jx.example>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}"
    ).encode()


def new_content(raw: bytes | None = None, *, files: BlobFiles | None = None, limits: Limits = LIMITS) -> NewContent:
    """What `incoming.deliver` takes; a body too large for the database goes into `files`."""
    message = Message.of(raw_mail() if raw is None else raw)
    files = files or BlobFiles(Path(tempfile.gettempdir()) / "govmail-no-such-directory")
    return prepare(read(message, limits), message, files)


def numbered(number: int) -> NewContent:
    """A small mail that differs from those of other numbers."""
    return new_content(raw_mail(f"Notice {number}", f"This is number {number}.\r\n"))
