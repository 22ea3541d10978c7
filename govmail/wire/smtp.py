"""The SMTP command line and reply grammars: bytes in, values out, and back.

Invariants: no I/O and no state; `parse_command(print_command(c)) == c`; whatever the bytes, the result is a Command
or a BadCommand with the reply that the standard asks for; text in a Command holds no control characters.

RFC 5321 §4.1 (commands), §4.2 (replies); RFC 1870 SIZE, RFC 6152 BODY, RFC 3030 BDAT, RFC 3461 DSN, RFC 6531
SMTPUTF8, RFC 4954 AUTH, RFC 2034 and 5248 (enhanced status codes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from govmail.errors import BadAddress, SyntaxProblem
from govmail.mail.address import NULL_PATH, Address, Path, canonical_domain
from govmail.mail.envelope import DEFAULT_NOTIFY, Body, Notify

T = TypeVar("T")

ENVID_OCTETS = 100  # RFC 3461 §4.4
ORCPT_OCTETS = 500  # RFC 3461 §4.2


# -- replies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: a code, an enhanced status code (None where RFC 2034 §4 wants none) and lines of printable text."""

    code: int
    status: str | None
    lines: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return self.code >= 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    def __bytes__(self) -> bytes:
        """As it goes on the wire, CR LF included."""
        return _print_reply(self)


@lru_cache(maxsize=256)
def _print_reply(reply: Reply) -> bytes:
    # Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    status = f"{reply.status} " if reply.status else ""
    last = len(reply.lines) - 1
    return "".join(
        f"{reply.code}{' ' if index == last else '-'}{status}{line}\r\n" for index, line in enumerate(reply.lines)
    ).encode("utf-8", "replace")


class BadCommand(SyntaxProblem):
    """A line that the grammar refuses. `fatal`: what follows cannot be told from commands, so the connection must end."""

    def __init__(self, code: int, status: str, text: str, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.reply = Reply(code, status, (text,))
        self.fatal = fatal


# -- commands -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ehlo:
    """EHLO or HELO. `regular` is False for a name that only submission tolerates; `name` is then its readable form."""

    name: str
    extended: bool = True
    regular: bool = True


@dataclass(frozen=True, slots=True)
class Mail:
    path: Path
    size: int | None = None
    body: Body = Body.SEVENBIT
    smtputf8: bool = False
    ret_full: bool | None = None
    envid: str | None = None
    auth: str | None = None  # "<>" or a mailbox, xtext-decoded; believed by nobody here (RFC 4954 §5)


@dataclass(frozen=True, slots=True)
class Rcpt:
    """`address` None: the bare `<postmaster>` of RFC 5321 §4.5.1."""

    address: Address | None
    notify: Notify = DEFAULT_NOTIFY
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Data:
    pass


@dataclass(frozen=True, slots=True)
class Bdat:
    size: int
    last: bool = False


@dataclass(frozen=True, slots=True)
class Rset:
    pass


@dataclass(frozen=True, slots=True)
class Noop:
    pass


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class StartTls:
    pass


@dataclass(frozen=True, slots=True)
class Vrfy:
    text: str


@dataclass(frozen=True, slots=True)
class Auth:
    """`initial` is the base64 text of the initial response as sent, b"=" for an empty one, None when there is none."""

    mechanism: str
    initial: bytes | None = None


Command = Ehlo | Mail | Rcpt | Data | Bdat | Rset | Noop | Quit | Help | StartTls | Vrfy | Auth


def parse_command(line: bytes, *, tolerant: bool = False) -> Command:
    """The command in `line` (without CR LF). `tolerant`: submission, where any EHLO name goes. Raises BadCommand."""
    verb, _, rest = line.partition(b" ")
    parser = _PARSERS.get(verb) or _PARSERS.get(verb.upper().rstrip())
    if parser is None:
        if verb.upper() in _NOT_OFFERED:
            raise BadCommand(502, "5.5.1", "command not offered")
        raise BadCommand(500, "5.5.1", "command not recognised")
    if parser is not _ehlo and parser is not _helo and _CONTROL.search(rest):
        raise BadCommand(501, "5.5.4", "control character in a command")
    # RFC 5321 §4.1.1: tolerate trailing white space before the CR LF
    return parser(rest.rstrip(b" \t"), tolerant)


_NOT_OFFERED = frozenset((b"EXPN", b"ETRN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"BURL"))
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def _bad(text: str, status: str = "5.5.4", code: int = 501) -> BadCommand:
    return BadCommand(code, status, text)


# -- EHLO, HELO ---------------------------------------------------------------------------------------------------


def _ehlo(rest: bytes, tolerant: bool) -> Ehlo:
    return _greeting(rest, tolerant, True)


def _helo(rest: bytes, tolerant: bool) -> Ehlo:
    return _greeting(rest, tolerant, False)


def _greeting(rest: bytes, tolerant: bool, extended: bool) -> Ehlo:
    # ehlo = "EHLO" SP ( Domain / address-literal )
    rest = rest.strip(b" \t")
    if not rest:
        raise _bad("your name is missing")
    try:
        return Ehlo(canonical_domain(rest.decode("ascii")), extended)
    except (BadAddress, UnicodeDecodeError) as error:
        if tolerant:
            return Ehlo(readable(rest), extended, False)
        raise _bad("not a domain name or address literal") from error


def readable(raw: bytes) -> str:
    """Foreign text made printable: UTF-8, else GB18030, else escapes; control characters escaped."""
    for charset in ("utf-8", "gb18030"):
        try:
            text = raw.decode(charset)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = raw.decode("ascii", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


# -- MAIL, RCPT ---------------------------------------------------------------------------------------------------

# "<" path ">" where a quoted local part may hold ">", "<" and spaces. Spaces after the colon are against the
# grammar, but so widespread that RFC 5321 §3.3's own warning is all that is left of the rule: tolerated.
_PATH = re.compile(rb'[ \t]*<((?:[^"<>\\]|"(?:[^"\\]|\\.)*")*)>(?:[ ]+(.*))?\Z', re.DOTALL)
# A-d-l = At-domain *( "," At-domain ); source routes are accepted and ignored (RFC 5321 §4.1.1.3, appendix C)
_ROUTE = re.compile(r"@[^,:@]+(?:,@[^,:@]+)*:")
# esmtp-param = esmtp-keyword ["=" esmtp-value]; values in UTF-8 as RFC 6531 §3.3 widens them
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff=]*))?\Z")


def _split_path(rest: bytes, keyword: bytes, status: str) -> tuple[str, dict[str, str | None]]:
    head, colon, tail = rest.partition(b":")
    if not colon or head.strip(b" \t").upper() != keyword:
        raise _bad(f"expected {keyword.decode()}:<address>")
    match = _PATH.match(tail)
    if match is None:
        raise _bad("bad address syntax: expected <address>", status)
    try:
        path = match[1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad("address is neither ASCII nor UTF-8", status) from error
    parameters: dict[str, str | None] = {}
    for word in (match[2] or b"").split():
        found = _PARAMETER.match(word)
        if found is None:
            raise _bad("bad parameter syntax")
        name = found[1].decode("ascii").upper()
        if name in parameters:
            raise _bad(f"{name} given twice")
        try:
            parameters[name] = None if found[2] is None else found[2].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad(f"bad {name}") from error
    return _ROUTE.sub("", path, count=1) if path.startswith("@") else path, parameters


def _mail(rest: bytes, _tolerant: bool) -> Mail:
    text, parameters = _split_path(rest, b"FROM", "5.1.7")
    try:
        path = Path(_address(text)) if text else NULL_PATH
    except BadAddress as error:
        raise _bad(error.public, "5.1.7") from error
    size = body = envid = auth = ret = None
    smtputf8 = False
    for name, value in parameters.items():
        if name == "SIZE":
            size = _size(value)
        elif name == "BODY":
            body = _one_of(name, value, _BODIES)
        elif name == "SMTPUTF8":
            if value is not None:
                raise _bad("SMTPUTF8 takes no value")  # RFC 6531 §3.4
            smtputf8 = True
        elif name == "RET":
            ret = _one_of(name, value, _RETS)
        elif name == "ENVID":
            envid = from_xtext(value, name, ENVID_OCTETS)
        elif name == "AUTH":
            auth = from_xtext(value, name, ORCPT_OCTETS)
        else:
            raise _bad(f"{name} not recognised", code=555)
    if not smtputf8 and not text.isascii():
        raise _bad("a non-ASCII address needs SMTPUTF8", "5.6.7", 553)  # RFC 6531 §3.5
    return Mail(path, size, body or Body.SEVENBIT, smtputf8, ret, envid, auth)


def _rcpt(rest: bytes, _tolerant: bool) -> Rcpt:
    text, parameters = _split_path(rest, b"TO", "5.1.3")
    notify, orcpt = DEFAULT_NOTIFY, None
    for name, value in parameters.items():
        if name == "NOTIFY":
            notify = _notify(value)
        elif name == "ORCPT":
            orcpt = _orcpt(value)
        else:
            raise _bad(f"{name} not recognised", code=555)
    if text.lower() == "postmaster":
        return Rcpt(None, notify, orcpt)
    try:
        return Rcpt(_address(text), notify, orcpt)
    except BadAddress as error:
        raise _bad(error.public, "5.1.3") from error


_address = lru_cache(maxsize=8192)(Address.parse)  # people write to few others; a refusal is not kept

_BODIES: Mapping[str, Body] = {body.value: body for body in Body}
_RETS: Mapping[str, bool] = {"FULL": True, "HDRS": False}
_EVENTS: Mapping[str, Notify] = {"SUCCESS": Notify.SUCCESS, "FAILURE": Notify.FAILURE, "DELAY": Notify.DELAY}


def _one_of(name: str, value: str | None, choices: Mapping[str, T]) -> T:
    choice = choices.get((value or "").upper())
    if choice is None:
        raise _bad(f"{name} must be one of {' '.join(choices)}")
    return choice


def _size(value: str | None) -> int:
    # size-value ::= 1*20DIGIT, RFC 1870 §3
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise _bad("SIZE must be a number of octets")
    return int(value)


def _notify(value: str | None) -> Notify:
    # notify-esmtp-value = "NEVER" / (notify-list-element *("," notify-list-element)), RFC 3461 §4.1
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    result = Notify.NEVER
    for word in words:
        event = _EVENTS.get(word)
        if event is None:
            raise _bad("NOTIFY must be NEVER or a list of SUCCESS FAILURE DELAY")
        result |= event
    return result


def _orcpt(value: str | None) -> str:
    # original-recipient-address = addr-type ";" xtext, RFC 3461 §4.2
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not re.fullmatch(r"[A-Za-z0-9-]+", kind):
        raise _bad("ORCPT must be type;address")
    return f"{kind};{from_xtext(address, 'ORCPT', ORCPT_OCTETS)}"


# xtext = *( xchar / hexchar ), RFC 3461 §4
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e\u0080-\U0010ffff]|\+[0-9A-Fa-f]{2})*\Z")


def from_xtext(value: str | None, name: str, limit: int) -> str:
    """Decodes xtext. The result is printable: an encoded line break must not reach a header or a report."""
    if not value or len(value) > limit or not _XTEXT.match(value):
        raise _bad(f"bad {name}")
    raw = re.sub(r"\+([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), value)
    if "+" in value:
        try:  # UTF-8 octets that were encoded one by one
            raw = raw.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
    if not raw.isprintable():
        raise _bad(f"{name} holds unprintable characters")
    return raw


def to_xtext(text: str) -> str:
    """Encodes xtext, RFC 3461 §4; the inverse of `from_xtext`."""
    return "".join(
        char if "!" <= char <= "~" and char not in "+=" else "".join(f"+{octet:02X}" for octet in char.encode())
        for char in text
    )


# -- the others ---------------------------------------------------------------------------------------------------


def _bdat(rest: bytes, _tolerant: bool) -> Bdat:
    # bdat-cmd ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF, RFC 3030 §2
    match = re.fullmatch(rb"([0-9]{1,12})(?: +([Ll][Aa][Ss][Tt]))?", rest)
    if match is None:
        raise BadCommand(501, "5.5.4", "BDAT needs a size", fatal=True)
    return Bdat(int(match[1]), match[2] is not None)


def _auth(rest: bytes, _tolerant: bool) -> Auth:
    # auth-command = "AUTH" SP sasl-mech [SP initial-response], RFC 4954 §8
    match = re.fullmatch(rb"([A-Za-z0-9_-]{1,20})(?: +([A-Za-z0-9+/]+={0,2}|=))?", rest)
    if match is None:
        raise _bad("expected AUTH mechanism [base64]", "5.5.2")
    return Auth(match[1].decode("ascii").upper(), match[2])


def _vrfy(rest: bytes, _tolerant: bool) -> Vrfy:
    if not rest:
        raise _bad("VRFY needs a name")
    return Vrfy(readable(rest))


def _alone(command: T) -> Callable[[bytes, bool], T]:
    def parse(rest: bytes, _tolerant: bool) -> T:
        if rest:
            raise _bad("no argument allowed")
        return command

    return parse


def _whatever(command: T) -> Callable[[bytes, bool], T]:
    return lambda _rest, _tolerant: command


_PARSERS: Mapping[bytes, Callable[[bytes, bool], Command]] = {
    b"EHLO": _ehlo,
    b"HELO": _helo,
    b"MAIL": _mail,
    b"RCPT": _rcpt,
    b"DATA": _alone(Data()),
    b"BDAT": _bdat,
    b"RSET": _alone(Rset()),
    b"NOOP": _whatever(Noop()),
    b"QUIT": _alone(Quit()),
    b"VRFY": _vrfy,
    b"HELP": _whatever(Help()),
    b"STARTTLS": _alone(StartTls()),
    b"AUTH": _auth,
}


# -- printing -----------------------------------------------------------------------------------------------------


def print_command(command: Command) -> bytes:
    """The line of a command, without CR LF: the inverse of `parse_command`."""
    match command:
        case Ehlo():
            text = f"{'EHLO' if command.extended else 'HELO'} {command.name}"
        case Mail():
            text = f"MAIL FROM:<{command.path}>{_mail_parameters(command)}"
        case Rcpt():
            text = f"RCPT TO:<{command.address or 'postmaster'}>{_rcpt_parameters(command)}"
        case Bdat():
            text = f"BDAT {command.size}{' LAST' if command.last else ''}"
        case Vrfy():
            text = f"VRFY {command.text}"
        case Auth():
            text = f"AUTH {command.mechanism}"
            if command.initial is not None:
                text += f" {command.initial.decode('ascii')}"
        case _:
            text = type(command).__name__.upper()
    return text.encode()


def _mail_parameters(command: Mail) -> str:
    words = []
    if command.size is not None:
        words.append(f"SIZE={command.size}")
    if command.body is not Body.SEVENBIT:
        words.append(f"BODY={command.body.value}")
    if command.smtputf8:
        words.append("SMTPUTF8")
    if command.ret_full is not None:
        words.append("RET=FULL" if command.ret_full else "RET=HDRS")
    if command.envid is not None:
        words.append(f"ENVID={to_xtext(command.envid)}")
    if command.auth is not None:
        words.append(f"AUTH={to_xtext(command.auth)}")
    return "".join(f" {word}" for word in words)


def _rcpt_parameters(command: Rcpt) -> str:
    text = ""
    if command.notify != DEFAULT_NOTIFY:
        names = ",".join(name for name, event in _EVENTS.items() if event in command.notify)
        text += f" NOTIFY={names or 'NEVER'}"
    if command.orcpt is not None:
        kind, _, address = command.orcpt.partition(";")
        text += f" ORCPT={kind};{to_xtext(address)}"
    return text
