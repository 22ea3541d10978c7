"""IMAP URLs of messages and their sections, as CATENATE names them.

Invariant: only URLs relative to the session's own server are read (`/mailbox/;UID=…`); no host is ever asked.

RFC 5092 §11; RFC 4469 §3 and its examples write `;SECTION` without a slash in front, as RFC 2192 did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from govmail.errors import MailError, SyntaxProblem
from govmail.wire.imap.fetch import PARTIAL_LIMIT, BodySection, Section, parse_section
from govmail.wire.imap.tokens import Tokens, canonical_mailbox

# "/" enc-mailbox [";UIDVALIDITY=" nz-number] "/;UID=" nz-number [["/"] ";SECTION=" enc-section] [["/"] ";PARTIAL=" range]
_URL = re.compile(
    rb"/([^;?#]+)(?:;UIDVALIDITY=([1-9][0-9]{0,9}))?/;UID=([1-9][0-9]{0,9})"
    rb"(?:/?;SECTION=([^;?#]*?))?(?:/?;PARTIAL=([0-9]{1,10})(?:\.([1-9][0-9]{0,9}))?)?",
    re.IGNORECASE,
)


class BadUrl(MailError):
    """The URL names nothing that can be had: NO [BADURL "..."] (RFC 4469 §5)."""

    status = "5.6.6"
    text = "no such message part"

    def __init__(self, url: bytes) -> None:
        super().__init__()
        self.url = url


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """`text` as the client wrote it; `uidvalidity` None: any."""

    text: bytes
    mailbox: str
    uidvalidity: int | None
    uid: int
    wanted: BodySection


def parse_url(text: bytes) -> MessageUrl:
    """Raises BadUrl."""
    found = _URL.fullmatch(text)
    if found is None:
        raise BadUrl(text)
    try:
        mailbox = canonical_mailbox(unquote_to_bytes(found[1]).decode("utf-8"))
        section = _section(unquote_to_bytes(found[4])) if found[4] else Section()
    except (UnicodeDecodeError, SyntaxProblem):
        raise BadUrl(text) from None
    partial = None
    if found[5] is not None:
        partial = int(found[5]), int(found[6] or PARTIAL_LIMIT)
    return MessageUrl(text, mailbox, int(found[2]) if found[2] else None, int(found[3]), BodySection(section, True, partial))


def _section(text: bytes) -> Section:
    tokens = Tokens(b"[" + text + b"]")
    section = parse_section(tokens)
    tokens.end()
    return section


def url_code(url: bytes) -> bytes:
    """The BADURL response code; what a code cannot hold is percent-encoded."""
    shown = re.sub(rb'[^!#-\[^-~]', lambda octet: b"%%%02X" % ord(octet[0]), url[:1000])
    return b'BADURL "%b"' % shown
