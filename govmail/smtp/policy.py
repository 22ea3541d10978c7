"""Who may send what to whom: the decisions of MAIL, RCPT and of the message's own sender fields.

Invariants: pure functions of what they are given; a refusal is a MailError with a text that tells the sender what to do.

RFC 5321 §3.6.1 and §7.9 (no relaying), RFC 6409 §6.1 (submission may enforce the sender), RFC 8098 §3 (null path of MDNs).
"""

from __future__ import annotations

from collections.abc import Sequence

from govmail.config import Limits
from govmail.errors import BadAddress, BadMessage, MailboxDisabled, NoSuchAddress, NotLocal, NotPermitted
from govmail.interfaces import Principal, Resolution
from govmail.mail.address import Address, Path
from govmail.mail.header import Header, parse_parameterised


def ehlo_keywords(limits: Limits, *, starttls: bool, auth: Sequence[str]) -> Sequence[str]:
    """What we offer. `auth`: mechanisms. RFC 9422 for LIMITS."""
    keywords = [
        f"SIZE {limits.message_octets}",
        "PIPELINING",
        "8BITMIME",
        "BINARYMIME",
        "SMTPUTF8",
        "CHUNKING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        f"LIMITS RCPTMAX={limits.smtp_recipients} MAILMAX={limits.smtp_transactions}",
    ]
    if starttls:
        keywords.append("STARTTLS")
    if auth:
        keywords.append("AUTH " + " ".join(auth))
    return keywords


def check_sender(path: Path, principal: Principal) -> None:
    """The reverse-path of a submission belongs to the login. The null path is judged with the message: see
    `check_identity`."""
    if path.address is not None and path.address.key not in principal.addresses:
        raise NotPermitted(f"{path} is not one of your addresses; send as {principal.primary}")


def check_recipient(resolution: Resolution, *, may_relay: bool) -> None:
    """Whether mail to this address is taken at all."""
    if not resolution.domain_is_local:
        if not may_relay:
            raise NotLocal
    elif not resolution.exists:
        raise MailboxDisabled if resolution.disabled else NoSuchAddress


def check_identity(header: Header, path: Path, principal: Principal) -> None:
    """R-14: whoever a submitted message says it is from is whoever has logged in.

    Every address of every From and Sender counts, also of a second field: a client may show any of them. The null
    path is for what clients send by themselves about mail they got, which is the MDN (RFC 8098 §3); any other message
    with it would be one that nobody hears of when it cannot be delivered.
    """
    if not header.complete:
        raise BadMessage("too many header fields")
    for name in ("From", "Sender"):
        field = name.lower().encode()
        if field not in header:
            if name == "From":
                raise BadMessage("the message has no From field")
            continue
        mailboxes = [one.address for one in header.addresses(field) if one.is_mailbox]
        if not mailboxes:
            raise BadMessage(f"the {name} field holds no address")
        for address in mailboxes:
            if _key(address) not in principal.addresses:
                raise NotPermitted(f"{name} names {address}, which is not one of your addresses")
    if path.null:
        kind = parse_parameterised(header.get(b"content-type") or b"")
        report = kind.params.get("report-type", "").lower()
        if kind.value != "multipart/report" or report != "disposition-notification":
            raise NotPermitted("only read receipts may be sent with an empty sender")


def _key(address: str) -> str:
    """`Address.key` of a header address; "" equals no key."""
    try:
        return Address.parse(address).key
    except BadAddress:
        return ""
