"""Every reply text of the server, and the one table that turns refusals into replies.

Invariants: codes are named here and nowhere else; texts are printable ASCII of one line; what is private stays out.

RFC 5321 §4.2 (codes), RFC 3463 and 5248 (enhanced codes), RFC 4954 §6 (AUTH), RFC 3207 §4 (STARTTLS).
"""

from __future__ import annotations

from collections.abc import Iterable

from govmail import errors
from govmail.errors import MailError
from govmail.wire.smtp import Reply

TEXT_LENGTH = 400  # RFC 5321 §4.5.3.1.5: a reply line has 512 octets at most

OK = Reply(250, "2.0.0", ("OK",))
SENDER_OK = Reply(250, "2.1.0", ("sender OK",))
RECIPIENT_OK = Reply(250, "2.1.5", ("recipient OK",))
START_DATA = Reply(354, None, ("end with a dot on a line of its own",))
BYE = Reply(221, "2.0.0", ("goodbye",))
READY_FOR_TLS = Reply(220, "2.0.0", ("ready to start TLS",))
HELP = Reply(214, "2.0.0", ("see RFC 5321; write to postmaster",))
CANNOT_VERIFY = Reply(252, "2.5.0", ("not verified; send some mail",))  # RFC 5321 §3.5.3
LOGGED_IN = Reply(235, "2.7.0", ("logged in",))

HELLO_FIRST = Reply(503, "5.5.1", ("send EHLO first",))
MAIL_FIRST = Reply(503, "5.5.1", ("send MAIL first",))
RCPT_FIRST = Reply(503, "5.5.1", ("no valid recipients",))
NESTED_MAIL = Reply(503, "5.5.1", ("a mail has begun already",))
MIXED_DATA = Reply(503, "5.5.1", ("DATA after BDAT",))
BINARY_BY_DATA = Reply(503, "5.5.1", ("BINARYMIME needs BDAT",))  # RFC 3030 §3
NOT_OFFERED = Reply(502, "5.5.1", ("command not offered",))
NO_PIPELINING = Reply(501, "5.5.4", ("nothing may follow STARTTLS before the handshake",))
TLS_ACTIVE = Reply(503, "5.5.1", ("TLS is active",))
LOGGED_IN_ALREADY = Reply(503, "5.5.1", ("logged in already",))
AUTH_IN_MAIL = Reply(503, "5.5.1", ("not during a mail",))
LOGIN_NEEDED = Reply(530, "5.7.0", ("log in first",))
TLS_NEEDED = Reply(530, "5.7.0", ("send STARTTLS first",))
TLS_FOR_LOGIN = Reply(538, "5.7.11", ("send STARTTLS before logging in",))
UNKNOWN_MECHANISM = Reply(504, "5.5.4", ("mechanism not supported",))
LOGIN_UNAVAILABLE = Reply(454, "4.7.0", ("cannot check logins at the moment, try again",))
LOGIN_CANCELLED = Reply(501, "5.7.0", ("login cancelled",))
LINE_TOO_LONG = Reply(500, "5.5.2", ("line too long",))
BARE_LINE_END = Reply(500, "5.5.2", ("a command ends with CR LF",))
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("too many recipients, send the rest in another mail",))
EAI_RECIPIENT = Reply(553, "5.6.7", ("this address needs SMTPUTF8",))

TIMED_OUT = Reply(421, "4.4.2", ("timed out, closing",))
SHUTTING_DOWN = Reply(421, "4.3.2", ("shutting down, try again later",))
LOGIN_ENDED = Reply(421, "4.7.0", ("your login has ended",))
TOO_MANY_ERRORS = Reply(421, "4.7.0", ("too many errors, closing",))
TOO_MANY_COMMANDS = Reply(421, "4.7.0", ("too many commands, closing",))
TOO_MANY_MAILS = Reply(421, "4.7.0", ("enough mail for one connection, open another",))
TOO_MANY_LOGINS = Reply(421, "4.7.0", ("too many failed logins, closing",))
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("too many connections, try again later",))
CANNOT_FOLLOW = Reply(421, "5.5.2", ("cannot tell data from commands, closing",))


def greeting(hostname: str) -> Reply:
    return Reply(220, None, (f"{hostname} ESMTP govmail",))


def hello(hostname: str, keywords: Iterable[str]) -> Reply:
    """EHLO's answer with its keywords, or HELO's without any."""
    return Reply(250, None, (hostname, *keywords))


def challenge(text: str) -> Reply:
    """A SASL challenge, already base64 (RFC 4954 §4)."""
    return Reply(334, None, (text,))


def chunk(octets: int) -> Reply:
    return Reply(250, "2.0.0", (f"{octets} octets received",))


def accepted(queue_id: str) -> Reply:
    return Reply(250, "2.0.0", (queue_id,))


def incident(incident_id: str) -> Reply:
    """Something unexpected; the log has its traceback under this id."""
    return Reply(451, "4.3.0", (f"internal error, incident {incident_id}",))


# The code for each refusal; the nearest class in the error's ancestry counts.
_CODES: dict[type[MailError], int] = {
    errors.SyntaxProblem: 501,
    errors.BadAddress: 501,
    errors.DirectoryUnavailable: 451,
    errors.AuthenticationFailed: 535,
    errors.AuthenticationBusy: 454,
    errors.OverQuota: 452,
    errors.MessageTooBig: 552,
    errors.TooManyHops: 554,
    errors.BadMessage: 554,
    errors.Busy: 452,
}


def refusal(error: MailError) -> Reply:
    """The reply for a refusal: its public text, never its private one."""
    for kind in type(error).__mro__:
        code = _CODES.get(kind)
        if code is not None:
            break
    else:
        code = 451 if error.temporary else 550
    return Reply(code, error.status, (_plain(error.public),))


def reply(code: int, status: str, text: str) -> Reply:
    """A reply that another part has decided; `text` may be foreign."""
    return Reply(code, status, (_plain(text),))


def _plain(text: str) -> str:
    shown = "".join([char if char.isprintable() else " " for char in text[:TEXT_LENGTH]])
    return " ".join(shown.split()).encode("ascii", "backslashreplace").decode("ascii")[:TEXT_LENGTH] or "refused"
