"""Delivery status notifications: what tells a sender that mail failed, waits, or arrived.

Invariants
- The result is seven-bit, its lines end with CR LF and are at most 998 octets, whatever the original holds.
- Nothing from outside (reply texts, addresses, the original) reaches a header or a field of the report unescaped.
- Every notification says `Auto-Submitted: auto-replied`; it is sent with the null reverse-path (RFC 3461 §6.1).

RFC 3464 (the report), RFC 6522 (multipart/report), RFC 3461 (what the sender may ask for), RFC 6533 (addresses in
UTF-8), RFC 3834 §5 (Auto-Submitted), RFC 6857 §3 (a UTF-8 address in an ASCII header).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import Enum

from govmail.mail.address import Address
from govmail.mail.dsn_text import HEADINGS_EN, HEADINGS_ZH, advice_for
from govmail.mail.header import encode_word

LINE_OCTETS = 998  # RFC 5322 §2.1.1


class Action(Enum):
    """RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one recipient.

    `text` is the reply as people can read it, with `code` the reply code where a server gave one; `mta` names that
    server, empty when the answer is our own. `orcpt` is `type;address`, decoded.
    """

    recipient: Address
    action: Action
    status: str
    orcpt: str | None = None
    code: int | None = None
    text: str = ""
    mta: str = ""
    last_attempt: datetime | None = None
    retry_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Original:
    """The message that is reported on: its header with the empty line, and its body where that may be returned."""

    header: bytes
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Everything that a notification is made of. All reports have the same action."""

    sender: Address
    reports: Sequence[Report]
    original: Original
    hostname: str
    message_id: str  # without angle brackets; must be hard to guess, for the boundary is made of it
    now: datetime
    arrival: datetime
    envid: str | None = None
    smtputf8: bool = False  # the sender used SMTPUTF8, so understands UTF-8 in the report (RFC 6533 §4)
    language: str = "zh"


def compose(notice: Notice) -> bytes:
    """The whole message, header and body."""
    human = _human(notice).encode()
    report = _delivery_status(notice)
    returned_type, returned = _returned(notice.original)
    boundary = _boundary(notice, human, report, returned)
    report_type = "global-delivery-status" if notice.smtputf8 and not report.isascii() else "delivery-status"
    parts = (
        ("Notification", 'text/plain; charset="utf-8"', *_encoded(human)),
        ("Delivery report", f"message/{report_type}", *_encoded(report)),
        ("Original message", returned_type, *_encoded(returned)),
    )
    lines = [_header(notice, boundary), b""]
    for description, content_type, encoding, data in parts:
        lines += [
            f"--{boundary}".encode(),
            f"Content-Type: {content_type}".encode(),
            f"Content-Description: {description}".encode(),
            f"Content-Transfer-Encoding: {encoding}".encode(),
            b"",
            data,
        ]
    lines += [f"--{boundary}--".encode(), b""]
    return b"\r\n".join(lines)


# -- the header ---------------------------------------------------------------------------------------------------


def _header(notice: Notice, boundary: str) -> bytes:
    action = notice.reports[0].action.value
    subject = (HEADINGS_ZH if notice.language == "zh" else HEADINGS_EN)[action][0]
    name = "邮件系统" if notice.language == "zh" else "Mail Delivery System"
    if notice.sender.ascii:
        to = f"<{notice.sender}>"
    else:  # RFC 6857 §3.1.1: a group without members that shows the address
        to = f"{_word(str(notice.sender))} :;"
    fields = [
        f"From: {_word(name)} <MAILER-DAEMON@{notice.hostname}>",
        f"To: {to}",
        f"Subject: {_word(subject)}",
        f"Date: {format_datetime(notice.now)}",
        f"Message-ID: <{notice.message_id}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    original_id = _original_message_id(notice.original.header)
    if original_id:
        fields.insert(5, f"In-Reply-To: {original_id}\r\nReferences: {original_id}")
    return "\r\n".join(fields).encode("ascii") + b"\r\n"


_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t\r\n]*(<[!-;=?-~]{1,900}>)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def _original_message_id(header: bytes) -> str | None:
    found = _MESSAGE_ID.search(header)
    return found[1].decode("ascii") if found else None


def _boundary(notice: Notice, *parts: bytes) -> str:
    seed = notice.message_id
    while True:
        boundary = "=_" + hashlib.sha256(seed.encode()).hexdigest()[:40]
        if not any(boundary.encode() in part for part in parts):
            return boundary
        seed += "+"


def _word(text: str) -> str:
    """`text` for an unstructured field or a display name: as it is, or in encoded words (RFC 2047 §2)."""
    if text.isascii() and text.isprintable():
        return text
    return encode_word(text).decode("ascii").replace(" ", "\r\n ")


# -- for people ---------------------------------------------------------------------------------------------------


def _human(notice: Notice) -> str:
    chinese, english = _chinese(notice), _english(notice)
    first, second = (chinese, english) if notice.language == "zh" else (english, chinese)
    return "\r\n".join([*first, "", "-" * 60, "", *second, ""])


def _chinese(notice: Notice) -> list[str]:
    action = notice.reports[0].action
    title, lead = HEADINGS_ZH[action.value]
    lines = [title, "", lead]
    for report in notice.reports:
        lines += ["", f"  收件人：{report.recipient}"]
        if action in (Action.FAILED, Action.DELAYED):
            advice = advice_for(report.status)
            lines += [f"  原因：{advice.reason_zh}", f"  建议：{advice.advice_zh}"]
            lines += _answer(report, "  对方服务器答复" if report.mta else "  系统说明", "：")
        if report.retry_until is not None and action is Action.DELAYED:
            lines.append(f"  继续尝试至：{_moment(report.retry_until)}")
    return [*lines, "", f"邮件接收时间：{_moment(notice.arrival)}", f"通知发出：{notice.hostname}（自动发送，请勿回复）"]


def _english(notice: Notice) -> list[str]:
    action = notice.reports[0].action
    title, lead = HEADINGS_EN[action.value]
    lines = [title, "", lead]
    for report in notice.reports:
        lines += ["", f"  Recipient: {report.recipient}"]
        if action in (Action.FAILED, Action.DELAYED):
            advice = advice_for(report.status)
            lines += [f"  Reason: {advice.reason_en}", f"  Advice: {advice.advice_en}"]
            lines += _answer(report, "  Reply of the server" if report.mta else "  Details", ": ")
        if report.retry_until is not None and action is Action.DELAYED:
            lines.append(f"  Will be tried until: {_moment(report.retry_until)}")
    return [*lines, "", f"Message received: {_moment(notice.arrival)}", f"Sent automatically by {notice.hostname}; please do not reply."]


def _answer(report: Report, label: str, colon: str) -> list[str]:
    """The reply itself, its later lines indented."""
    if not report.text:
        return []
    where = f" ({report.mta})" if report.mta else ""
    code = f"{report.code} " if report.code else ""
    first, *rest = _printable(report.text).split("\n")
    return [f"{label}{where}{colon}{code}{first}", *(f"    {line}" for line in rest)]


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S %z")


def _printable(text: str) -> str:
    """`text` without control characters but line feeds."""
    return "".join(char if char == "\n" or char.isprintable() else " " for char in text)


# -- for programs -------------------------------------------------------------------------------------------------


def _delivery_status(notice: Notice) -> bytes:
    """message/delivery-status (RFC 3464 §2), or its UTF-8 form when the sender used SMTPUTF8 (RFC 6533 §4)."""
    utf8 = notice.smtputf8
    groups = [[f"Reporting-MTA: dns; {notice.hostname}", f"Arrival-Date: {format_datetime(notice.arrival)}"]]
    if notice.envid is not None:
        groups[0].insert(0, f"Original-Envelope-Id: {_field_text(notice.envid, utf8=utf8)}")
    for report in notice.reports:
        group = [
            f"Final-Recipient: {typed_address(str(report.recipient), utf8=utf8)}",
            f"Action: {report.action.value}",
            f"Status: {report.status}",
        ]
        if report.orcpt is not None:
            group.insert(0, f"Original-Recipient: {_orcpt(report.orcpt, utf8=utf8)}")
        if report.mta:
            group.append(f"Remote-MTA: dns; {_field_text(report.mta.split(' ')[0], utf8=utf8)}")
        if report.text and report.code and report.mta:
            reply = f"{report.code} {' '.join(report.text.split())}"
            group.append(f"Diagnostic-Code: smtp; {_field_text(reply, utf8=utf8)}")
        if report.last_attempt is not None:
            group.append(f"Last-Attempt-Date: {format_datetime(report.last_attempt)}")
        if report.retry_until is not None and report.action is Action.DELAYED:
            group.append(f"Will-Retry-Until: {format_datetime(report.retry_until)}")
        groups.append(group)
    return "\r\n\r\n".join("\r\n".join(group) for group in groups).encode() + b"\r\n"


def _field_text(text: str, *, utf8: bool) -> str:
    """Foreign text in a report field: UTF-8 where the sender understands it, else encoded words; at most 900 octets."""
    clean = " ".join(_printable(text).split())
    while len(clean.encode()) > 900:
        clean = clean[: len(clean) * 3 // 4]
    # A line with an encoded word has at most 76 characters (RFC 2047 §2), so the words begin on a line of their own
    return clean if utf8 or clean.isascii() else f"\r\n {_word(clean)}"


def utf8_xtext(address: str) -> str:
    """utf-8-addr-xtext of RFC 6533 §3: a seven-bit spelling of an address in UTF-8."""
    return "".join(
        char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):02X}}}" for char in address
    )


def typed_address(address: str, *, utf8: bool = False) -> str:
    """`rfc822; address`, or `utf-8; address` for one in UTF-8 (RFC 6533 §3), spelt in seven bits unless `utf8`."""
    clean = _printable(address).replace("\n", " ")
    if clean.isascii():
        return f"rfc822; {clean}"
    return f"utf-8; {clean if utf8 else utf8_xtext(clean)}"


def _orcpt(orcpt: str, *, utf8: bool) -> str:
    kind, _, address = orcpt.partition(";")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", kind):
        return typed_address(orcpt, utf8=utf8)
    clean = _printable(address).replace("\n", " ")
    return f"{kind}; {clean if utf8 or clean.isascii() else utf8_xtext(clean)}"


# -- the original -------------------------------------------------------------------------------------------------


def _returned(original: Original) -> tuple[str, bytes]:
    """Type and octets of the third part: the whole message where that stays legal, else its header.

    message/rfc822 must not be encoded (RFC 2046 §5.2.1), so it holds seven-bit mail only; text/rfc822-headers may be
    (RFC 6522 §4).
    """
    if original.body is not None and _seven_bit(original.header) and _seven_bit(original.body):
        whole = original.header + original.body
        return "message/rfc822", whole if whole.endswith(b"\r\n") else whole + b"\r\n"
    return 'text/rfc822-headers; charset="utf-8"', original.header


def _seven_bit(data: bytes) -> bool:
    """7bit of RFC 2045 §2.7."""
    if not data.isascii() or b"\0" in data:
        return False
    if data.count(b"\r") != data.count(b"\r\n") or data.count(b"\n") != data.count(b"\r\n"):
        return False
    return max((len(line) for line in data.split(b"\r\n")), default=0) <= LINE_OCTETS


def _encoded(data: bytes) -> tuple[str, bytes]:
    """Transfer encoding and octets: as it is when that is legal, quoted-printable for mostly ASCII, else base64."""
    if _seven_bit(data):
        return "7bit", data
    foreign = sum(octet > 126 for octet in data)
    if foreign * 6 < len(data):
        # Line ends stay line ends, so text remains readable where a client shows the source
        lines = (binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in data.split(b"\r\n"))
        return "quoted-printable", b"\r\n".join(lines)
    lines57 = (data[start : start + 57] for start in range(0, len(data), 57))  # 76 characters (RFC 2045 §6.8)
    return "base64", b"\r\n".join(binascii.b2a_base64(line, newline=False) for line in lines57)
