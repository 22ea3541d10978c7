"""What became of one recipient in one attempt.

Invariants: `text` is printable Unicode, whatever octets the other server sent; `status` is an enhanced status code of the
class that `result` says.

RFC 5321 §4.2 (replies), RFC 3463 and RFC 2034 (enhanced status codes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from govmail.mail.envelope import Recipient

TEXT_CHARACTERS = 1000  # of a reply that are kept


class Result(Enum):
    DELIVERED = "delivered"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's answer. `mta` is "name [address]" of the server that gave it, empty when it is our own.

    `dsn_passed`: that server took over the duty to notify of success (RFC 3461 §5.2.1).
    """

    recipient: Recipient
    result: Result
    status: str
    text: str
    code: int | None = None
    mta: str = ""
    dsn_passed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, or what we say ourselves: an Outcome before it has a recipient."""

    result: Result
    status: str
    text: str
    code: int | None = None
    mta: str = ""
    dsn_passed: bool = False

    def for_(self, recipient: Recipient) -> Outcome:
        return Outcome(recipient, self.result, self.status, self.text, self.code, self.mta, self.dsn_passed)


def readable(octets: bytes) -> str:
    """The text of a foreign reply: UTF-8, else GB18030, else ASCII with the rest as backslash escapes."""
    for charset in ("utf-8", "gb18030"):
        try:
            text = octets.decode(charset)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = octets.decode("ascii", "backslashreplace")
    lines = (" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)[:TEXT_CHARACTERS]


# status-code = class "." subject "." detail, RFC 3463 §2, at the head of each line (RFC 2034 §4)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=\s|$)[ \t]*", re.MULTILINE)
_HEAD = re.compile(rf"^{_ENHANCED.pattern}", re.MULTILINE)

# For servers without enhanced codes; nothing is read into 550 and 554, which are used for everything
_BASIC = {
    421: "4.3.2", 450: "4.2.0", 451: "4.3.0", 452: "4.3.1", 454: "4.7.0", 455: "4.5.0",
    500: "5.5.1", 501: "5.5.4", 502: "5.5.1", 503: "5.5.1", 504: "5.5.4", 530: "5.7.0", 535: "5.7.8",
    551: "5.1.6", 552: "5.2.2", 553: "5.1.3", 555: "5.5.4", 556: "5.1.10",
}  # fmt: skip


def from_reply(code: int, octets: bytes, mta: str, *, dsn_passed: bool = False) -> Answer:
    """The answer that a reply is. Codes outside 2xx and 5xx, and garbage, count as temporary (RFC 5321 §4.2.1)."""
    text = readable(octets)
    first = code // 100
    found = _HEAD.match(text)
    status = found[1] if found and found[1][0] == str(first) else None
    text = _HEAD.sub("", text) or text
    if first == 2:
        return Answer(Result.DELIVERED, status or "2.0.0", text, code, mta, dsn_passed)
    if first == 5:
        return Answer(Result.PERMANENT, status or _BASIC.get(code, "5.0.0"), text, code, mta)
    return Answer(Result.TEMPORARY, status or _BASIC.get(code, "4.0.0"), text, code if first == 4 else None, mta)


def ours(status: str, text: str, mta: str = "") -> Answer:
    """What we say ourselves, without a reply: no connection, no server, no such extension."""
    result = Result.PERMANENT if status.startswith("5") else Result.TEMPORARY
    return Answer(result, status, text, None, mta)
