"""What SMTP said about a message, apart from its bytes.

RFC 5321 §2.3.1 (envelope), RFC 3461 (RET, ENVID, NOTIFY, ORCPT), RFC 6152, 3030 (BODY), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, Flag, auto

from govmail.mail.address import NULL_PATH, Address, Path


class Body(Enum):
    """The BODY parameter of MAIL (RFC 6152 §2, RFC 3030 §3)."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


class Notify(Flag):
    """NOTIFY of RCPT (RFC 3461 §4.1). `NEVER` is the empty set; the default asks for failures only."""

    NEVER = 0
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


DEFAULT_NOTIFY = Notify.FAILURE | Notify.DELAY


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path with its DSN parameters. `orcpt` is `type;xtext-decoded address` or None."""

    address: Address
    notify: Notify = DEFAULT_NOTIFY
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """MAIL and its RCPTs. `login` is the directory_id of the authenticated sender, None on port 25."""

    sender: Path = NULL_PATH
    recipients: tuple[Recipient, ...] = ()
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    declared_size: int | None = None  # SIZE=, octets
    ret_full: bool | None = None  # RET=FULL / RET=HDRS / not given
    envid: str | None = None  # xtext-decoded
    login: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a transaction came from: for trace headers, filters and audit; never trusted as an identity."""

    client_ip: str
    helo: str
    protocol: str = "ESMTP"  # RFC 3848 keyword: SMTP ESMTP ESMTPS ESMTPSA UTF8SMTPS …
    tls: str | None = None  # "TLSv1.3 TLS_AES_256_GCM_SHA384", None in clear
    reverse_name: str | None = None
    login: str | None = None  # login name as typed, for rspamd and the audit
    listener: str = field(default="smtp")
