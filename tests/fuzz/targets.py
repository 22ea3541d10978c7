"""What is fuzzed: every reader of foreign octets, the laws it keeps, and the octets to begin with.

Laws: nothing but the declared error comes out; output is bounded by input; the pieces in which octets arrive change
nothing; what is read, printed and read again is the same.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from directory import tokens
from govmail.config import Issuer, Limits
from govmail.errors import AuthenticationFailed, BadAddress, MailError, SyntaxProblem
from govmail.imap.verbs import VERBS
from govmail.interfaces import Principal
from govmail.mail import transfer
from govmail.mail.address import Address
from govmail.mail.addresses import parse_addresses
from govmail.mail.header import (
    Header,
    header_end,
    iterate,
    message_ids,
    parse_date,
    parse_parameterised,
    select,
    unfold,
)
from govmail.mail.mime import digest_message, dump, load, section
from govmail.mail.text import decode_words, fold, html_text, preview
from govmail.wire import sasl, sasl_mechanisms
from govmail.wire.imap import commands, management, numset, responses, utf7
from govmail.wire.imap.append import AppendReader, Octets, UrlOctets
from govmail.wire.imap.fetch import parse_items
from govmail.wire.imap.framer import Event, Fatal, Framer, MessageLiteral, Piece
from govmail.wire.imap.parser import parse_start
from govmail.wire.imap.pattern import Pattern
from govmail.wire.imap.search import parse_keys, print_key
from govmail.wire.imap.tokens import Tokens
from govmail.wire.sasl import Channel, Keys
from govmail.wire.sasl_mechanisms import Means
from govmail.wire.sasl_scram import Verifier
from govmail.wire.smtp import BadCommand, parse_command, print_command
from govmail.wire.smtp_data import DataDecoder, LineEnds
from tests.corpus import chinese
from tests.kit.imap_values import parse_value

LIMITS = Limits()
SMALL = Limits(
    imap_line_octets=200, imap_literal_octets=300, imap_login_octets=100, message_octets=64 * 1024,
    mime_depth=4, mime_parts=8, header_octets=400, header_fields=8, text_octets=500,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """`read` reads and raises nothing but `refuses`; `check` asserts the laws that belong to it."""

    name: str
    read: Callable[[bytes], object]
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    refuses: tuple[type[Exception], ...] = ()


def pieces_of(data: bytes) -> list[bytes]:
    """The data cut in a way that depends on nothing but the data."""
    cuts = sorted({(index * 7 + octet) % (len(data) + 1) for index, octet in enumerate(data[:12])})
    return [data[start:stop] for start, stop in pairwise([0, *cuts, len(data)])]


# -- IMAP ---------------------------------------------------------------------------------------------------------


def frame(pieces: Sequence[bytes], limits: Limits, *, authenticated: bool) -> list[Event]:
    """The events; message literals under 100 octets are accepted, others refused."""
    framer = Framer(limits)
    framer.authenticated = authenticated
    found: list[Event] = []
    for piece in pieces:
        framer.feed(piece)
        while (event := framer.next_event()) is not None:
            if isinstance(event, Piece) and found and isinstance(found[-1], Piece):
                found[-1] = Piece(found[-1].octets + event.octets)
            else:
                found.append(event)
            if isinstance(event, MessageLiteral):
                if event.size < 100:
                    framer.accept()
                else:
                    framer.refuse(waits=event.waits)
            if isinstance(event, Fatal):
                return found
        held = len(framer._held)
        assert held <= limits.imap_line_octets + limits.imap_literal_octets + 100, "the framer holds more than its limits"
    return found


def check_framer(data: bytes) -> None:
    for limits in (LIMITS, SMALL):
        for authenticated in (False, True):
            whole = frame([data], limits, authenticated=authenticated)
            single = frame([data[at : at + 1] for at in range(len(data))], limits, authenticated=authenticated)
            assert whole == frame(pieces_of(data), limits, authenticated=authenticated)
            assert whole == single
            assert sum(len(getattr(event, "octets", b"")) for event in whole) <= 2 * len(data)


def read_command(data: bytes) -> object:
    tokens = Tokens(data)
    _, name = parse_start(tokens)
    verb = VERBS.get(name)
    if verb is None:
        raise SyntaxProblem
    return verb.parser(tokens)


def read_append(data: bytes) -> AppendReader:
    """APPEND with all its literals announced and none of their octets."""
    reader = AppendReader(most=20)
    tokens = Tokens(data)
    while reader.next(tokens) is not None:
        pass
    return reader


def check_append(data: bytes) -> None:
    """Cut after each literal, as the framer gives it, it is the same command."""
    whole, reader = read_append(data), AppendReader(most=20)
    ends = [found.end() for found in re.finditer(rb"\}\r\n", data)]
    for end in [*ends, len(data)]:
        step: object = reader  # anything but None
        while step is not None and not isinstance(step, Octets | UrlOctets):
            step = reader.next(Tokens(data[:end]))
        if step is None:
            break
    assert (reader.name, reader.mailbox, reader.replaced, reader.messages) == (whole.name, whole.mailbox, whole.replaced, whole.messages)


def check_command(data: bytes) -> None:
    command = read_command(data)
    if isinstance(command, commands.Fetch):
        again = b"(" + b" ".join(bytes(item) if not hasattr(item, "value") else item.value for item in command.items) + b")"
        assert parse_items(Tokens(again)) == command.items
        assert numset.NumSet.parse(bytes(command.numbers)) == command.numbers
    if isinstance(command, commands.Search) and command.key is not None:  # None: a charset that is not known
        check_key(command.key)
    if isinstance(command, commands.List):
        for pattern in command.patterns:
            Pattern(command.reference, pattern).matches("INBOX/a/b")
    for name in ("mailbox", "old", "new"):
        if isinstance(value := getattr(command, name, None), str):
            if isinstance(command, management.GetMetadata | management.SetMetadata) and not value:
                continue  # of the server (RFC 5464 §4.2)
            assert value
            assert Tokens(responses.mailbox(value)).mailbox() == value


def check_key(key: object) -> None:
    printed = print_key(key)  # type: ignore[arg-type]
    assert parse_keys(Tokens(b"CHARSET UTF-8 " + printed)) == key


def check_search(data: bytes) -> None:
    check_key(parse_keys(Tokens(data)))


def check_numset(data: bytes) -> None:
    found = numset.NumSet.parse(data)
    assert numset.NumSet.parse(bytes(found)) == found
    for largest in (0, 1, 12, numset.LARGEST):
        ranges = found.resolve(largest)
        assert len(ranges) <= len(found.ranges)
        assert all(1 <= first <= last <= numset.LARGEST for first, last in ranges)
        assert all(left[1] + 1 < right[0] for left, right in pairwise(ranges))
        assert numset.union(ranges, ranges) == numset.intersect(ranges, ranges) == ranges
        assert numset.subtract(ranges, ranges) == ()
        head, rest = numset.take(ranges, 3)
        assert numset.union(head, rest) == ranges
        assert numset.count(head) == min(3, numset.count(ranges))


def check_utf7(data: bytes) -> None:
    name = utf7.decode(data)
    assert len(name) <= len(data)
    if data.isascii():
        assert utf7.encode(name) == data
    else:
        assert utf7.decode(utf7.encode(name)) == name


def read_pattern(data: bytes) -> object:
    text, _, name = data.decode("utf-8", "replace").partition("|")
    return Pattern("", text).matches(name)


def check_pattern(data: bytes) -> None:
    text, _, name = data.decode("utf-8", "replace").partition("|")
    wanted = "INBOX" + text[5:] if text[:5].upper() == "INBOX" and text[5:6] in ("", "/") else text
    regex = "".join(".*" if one == "*" else "[^/]*" if one == "%" else re.escape(one) for one in wanted)
    if sum(text.count(sign) for sign in "*%") < 6 and len(text) < 60:  # more, and the regular expression explodes where ours does not
        assert Pattern("", text).matches(name) == bool(re.fullmatch(regex, name, re.DOTALL))
    read_pattern(data)


# -- SMTP ---------------------------------------------------------------------------------------------------------


def check_smtp_command(data: bytes) -> None:
    for tolerant in (True, False):
        command = parse_command(data, tolerant=tolerant)
        printed = print_command(command)
        assert b"\r" not in printed and b"\n" not in printed
        assert parse_command(printed, tolerant=tolerant) == command


def decode_data(pieces: Sequence[bytes], *, normalise: bool) -> tuple[bytes, bool, bytes, object]:
    decoder = DataDecoder(LineEnds(normalise=normalise, longest=40))
    out, after = b"", b""
    for piece in pieces:
        if decoder.done:
            after += piece
        else:
            out += decoder.feed(piece)
            after = decoder.rest
    return out, decoder.done, after, decoder.faults


def check_smtp_data(data: bytes) -> None:
    for normalise in (False, True):
        whole = decode_data([data], normalise=normalise)
        assert whole == decode_data(pieces_of(data), normalise=normalise)
        assert whole == decode_data([data[at : at + 1] for at in range(len(data))], normalise=normalise)
        assert len(whole[0]) <= 2 * len(data)
        stuffed = (b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:]
        ended = stuffed + (b"" if data.endswith(b"\r\n") or not data else b"\r\n") + b".\r\nNOOP\r\n"
        if not normalise:
            out, done, after, _ = decode_data([ended], normalise=False)
            assert done and after == b"NOOP\r\n"
            assert out == (data if data.endswith(b"\r\n") or not data else data + b"\r\n")


def read_sasl(data: bytes) -> object:
    return sasl.decode_plain(sasl.decode_base64(data))


def check_sasl(data: bytes) -> None:
    fields = sasl.decode_plain(sasl.decode_base64(data))
    assert fields[1] and fields[2] and not any("\0" in field for field in fields)


def read_exchange(data: bytes) -> object:
    """Each mechanism is told these lines."""
    reached = []
    for name in sasl_mechanisms.MECHANISMS:
        exchange = sasl_mechanisms.start(name, EVERYTHING, Channel(b"certificate", ("a@jx.example",), "nonce"))
        assert exchange is not None
        lines = data.split(b"\n")
        try:
            event = next(exchange)
            while True:
                if isinstance(event, bytes):
                    event = exchange.send(lines.pop(0) if lines else b"")
                elif isinstance(event, Keys):
                    event = exchange.send((Verifier(b"salt", 4096, b"s" * 32, b"k" * 32), FUZZER))
                else:
                    event = exchange.throw(AuthenticationFailed())
        except (SyntaxProblem, AuthenticationFailed) as error:
            reached.append(type(error))
    assert len(reached) == len(sasl_mechanisms.MECHANISMS), "somebody got in"
    return reached


def read_token(data: bytes) -> object:
    return tokens.check(data.decode("latin-1"), tokens.read_keys(_JWKS), Issuer(issuer="i", audience="a", jwks_file="k"), 0)


def check_address(data: bytes) -> None:
    address = Address.parse(data.decode("utf-8", "surrogateescape"))
    assert Address.parse(str(address)) == address
    assert Address.parse(str(address)).key == address.key


# -- mail ---------------------------------------------------------------------------------------------------------


def check_mime(data: bytes) -> None:
    for limits in (LIMITS, SMALL):
        digest = digest_message(data, limits=limits)
        assert digest.size == len(data)
        assert load(dump(digest.root)) == digest.root
        parts = list(digest.root.walk())
        assert len(parts) <= limits.mime_parts + 1
        for form in (digest.envelope, digest.bodystructure, digest.body_form):
            value, rest = parse_value(form)
            assert isinstance(value, list) and rest == b""
            assert len(form) <= 40 * len(data) + 400 * len(parts) + 1000
        assert len(digest.text) <= limits.text_octets + 4 * min(len(data), limits.header_octets) + 1000
        for path in ((), (1,), (2,), (1, 1), (1, 2, 1)):
            for kind in ("", "HEADER", "TEXT", "MIME"):
                span = section(digest.root, path, kind, digest.header_size)  # type: ignore[arg-type]
                assert span is None or (span.offset >= 0 and span.length >= 0 and span.offset + span.length <= len(data))


def check_header(data: bytes) -> None:
    header = Header(data, SMALL)
    assert len(header.fields) <= SMALL.header_fields
    assert 0 <= header_end(data) <= len(data)
    for exclude in (False, True):
        assert len(select(data, frozenset((b"subject",)), exclude=exclude)) <= len(data) + 4  # a line end and the empty line
    for field in iterate(data):
        assert len(unfold(field.value)) <= len(data)
        read_words(field.value)
        parse_parameterised(field.value)
    for name in (b"to", b"from", b"sender", b"reply-to"):
        assert len(header.addresses(name)) <= SMALL.header_addresses + 2
    assert header.date is None or isinstance(header.date, int)
    assert isinstance(header.message_id, str)


def read_words(data: bytes) -> object:
    text = decode_words(data)
    assert len(text) <= 2 * len(data) + 1, "decoded words are longer than their octets"
    return text


def check_words(data: bytes) -> None:
    read_words(data)
    text = data.decode("utf-8", "replace")
    assert len(html_text(text)) <= 2 * len(text) + 1
    assert len(preview(text)) <= 200
    fold(text)


def check_addresses(data: bytes) -> None:
    found = parse_addresses(data, 20)
    assert len(found) <= 22
    for one in found:
        assert len(one.display) <= 2 * len(data) + 1


def check_values(data: bytes) -> None:
    moment = parse_date(data)
    assert moment is None or abs(moment) < 10**12
    assert len(message_ids(data)) <= 1000
    found = parse_parameterised(data)
    assert sum(len(value) for value in found.params.values()) <= 4 * len(data)


def check_transfer(data: bytes) -> None:
    for encoding in ("base64", "quoted-printable", "7bit"):
        decoder = transfer.decoder(encoding)
        out = b"".join(decoder.decode(piece) for piece in pieces_of(data)) + decoder.decode(b"", final=True)
        assert out == transfer.decode(data, encoding)
        assert len(out) <= len(data)


# -- seeds --------------------------------------------------------------------------------------------------------

_SCRIPTS = sorted((Path(__file__).parents[1] / "scripts" / "imap").glob("*.txt"))
_LINES = [line[3:].encode() for path in _SCRIPTS for line in path.read_text("utf-8").splitlines() if line[:3] in ("C: ", "C> ")]
_MESSAGES = [path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for path in sorted((_SCRIPTS[0].parent / "messages").glob("*.eml"))]
_MESSAGES += [sample.raw for sample in chinese.BODIES]
_HEADERS = [sample.raw for sample in chinese.HEADERS]
_FIELDS = [b"Subject: " + raw + b"\r\n" for raw in _HEADERS] + [
    b"From: \"A (b\" <a@b.example>, g: c@d.example, e@f.example;\r\n", b"Date: Mon, 23 Nov 2026 22:38:36 +0800 (CST)\r\n",
    b"To: =?gb2312?B?1cXI/Q==?= <z@jx.example>,\r\n <y@x.example>\r\n", b"Message-ID: <1@jx.example>\r\nReferences: <a@b> <c@d>\r\n",
]  # fmt: skip
_APPENDS = [
    b'a1 APPEND INBOX (\\Seen $Work) "05-Jan-2027 08:00:00 +0800" {5}\r\n', b"a1 APPEND x ~{5+}\r\n (\\Draft) {6}\r\n {7}\r\n",
    b'a1 APPEND x CATENATE (URL "/x/;UID=1/;SECTION=1.2.MIME" TEXT {5}\r\n URL {20}\r\n TEXT ~{0}\r\n) {3}\r\n',
    b"a1 UID REPLACE * {5}\r\ninbox CATENATE (TEXT {4}\r\n)", b"a1 REPLACE 4 x {3}\r\n",
]  # fmt: skip
_APPEND_WORDS = [b" ", b"(", b")", b"{5}\r\n", b"~{5}\r\n", b"{0}\r\n", b"CATENATE ", b"TEXT ", b"URL ", b'"/a/;UID=1"', b";PARTIAL=1.2", b"%41", b"%FF", b"REPLACE ", b"*", b'"']
_IMAP_WORDS = [
    b" ", b"\r\n", b"(", b")", b"{3}\r\n", b"{3+}\r\n", b"{0+}\r\n", b"{4294967295+}\r\n", b"{99999999999999999999}\r\n", b'"', b"\\", b"*", b"%", b"NIL", b"\0", b"\xff",
    b"1:*", b"4294967295", b"BODY[", b"]", b"<0.1>", b"HEADER.FIELDS", b".NOT", b"UID ", b"NOT ", b"OR ", b"CHARSET ", b"&", b"-", b"APPEND ", b"+", b"BODY.PEEK[1.2.MIME]",
]  # fmt: skip
_MAIL_WORDS = [
    b"\r\n", b"\n", b"\r", b"--a", b"--a--", b"Content-Type: multipart/mixed; boundary=a\r\n", b"Content-Type: message/rfc822\r\n\r\n", b"=?utf-8?B?", b"?=", b"=?gbk?Q?", b"=",
    b"charset=utf-7", b"*0*=", b"filename*=utf-8''%E4", b";", b'"', b"(", b")", b"<", b">", b",", b":", b"\0", b"\xff", b"\xd6\xd0", b"&#x1F600;", b"<script>", b"<!--", b"-->", b"<style>",
]  # fmt: skip
_SMTP = [
    b"EHLO mail.jx.example", b"HELO [127.0.0.1]", b"MAIL FROM:<a@jx.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1",
    b"MAIL FROM:<> AUTH=<>", b"RCPT TO:<\"a b\"@jx.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@jx.example", "RCPT TO:<张三@江西.example>".encode(), b"RCPT TO:<@a.example,@b.example:c@d.example>",
    b"RCPT TO:<postmaster>", b"BDAT 1000 LAST", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN =", b"VRFY a", b"DATA", b"RSET", b"NOOP x", b"QUIT", b"HELP", b"STARTTLS", b"RCPT TO:<a@[IPv6:::1]>",
]  # fmt: skip
_SMTP_WORDS = [b" ", b"<", b">", b"@", b"[", b"]", b"+", b"+2B", b"=", b"\t", b"\0", b"\xff", b'"', b"\\", b";", b"xn--", b"..", "。".encode(), b"SIZE=", b"NOTIFY=", b"NEVER", b"ORCPT=utf-8;"]

_KEYS = [b"SUBJECT x UNSEEN", b"OR NOT 1:* (SINCE 1-Jan-2027 LARGER 3)", b"CHARSET GBK TEXT {4}\r\n\xd6\xd0\xb9\xfa", b'HEADER X-A "" UID 5:* KEYWORD a', b"NEW", b"UNKEYWORD $x OLD"]

EVERYTHING = Means(True, True, True, True)
FUZZER = Principal("id", "a", "unit", ("a@jx.example",))
_RESPONSES = [
    b"n,,n=user,r=abc\nc=biws,r=abcnonce,p=AAAA", b"p=tls-server-end-point,,n=a=2Cb,r=abc\nc=biws,r=abcnonce,p=AAAA", b"\0a\0b",
    b"a@jx.example\nsecret", b"n,a=a@jx.example,\x01auth=Bearer x.y.z\x01\x01\n\x01", b"user=a\x01auth=Bearer x\x01\x01\n", b"",
]  # fmt: skip
_JWKS = b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'

TARGETS = {
    target.name: target
    for target in (
        Target("imap-framer", lambda data: frame([data], LIMITS, authenticated=True), check_framer, [b"\r\n".join(_LINES[at : at + 3]) + b"\r\n" for at in range(0, len(_LINES), 3)], _IMAP_WORDS),
        Target("imap-command", read_command, check_command, _LINES, _IMAP_WORDS, (SyntaxProblem,)),
        Target("imap-append", read_append, check_append, _APPENDS, _APPEND_WORDS, (MailError,)),
        Target("imap-search", lambda data: parse_keys(Tokens(data)), check_search, _KEYS, _IMAP_WORDS, (SyntaxProblem,)),
        Target("imap-numset", numset.NumSet.parse, check_numset, [b"1", b"1:*", b"*:4,7,9:2", b"4294967295:*"], [b",", b":", b"*", b"0", b"1", b"4294967295", b"4294967296"], (SyntaxProblem,)),
        Target("imap-utf7", utf7.decode, check_utf7, [utf7.encode(text) for text in ("已发送", "a&b", "江西/赣州", "𬭊", "Entwürfe")], [b"&", b"-", b",", b"+", b"AAA", b"2D8", b"\xff"], (SyntaxProblem,)),
        Target("imap-pattern", read_pattern, check_pattern, [b"*|INBOX", b"%/a*|INBOX/ab", b"inbox%|INBOX", b"a/%/c|a/b/c"], [b"*", b"%", b"/", b"|", b"INBOX", b"a"], (SyntaxProblem,)),
        Target("smtp-command", parse_command, check_smtp_command, _SMTP, _SMTP_WORDS, (BadCommand,)),
        Target("smtp-data", lambda data: decode_data([data], normalise=True), check_smtp_data, [*_MESSAGES, b"a\r\n.\r\nNOOP\r\n", b"\r\n..\r\n.\n.\r.\r\n"], [b"\r\n", b"\r", b"\n", b".", b"\r\n.\r\n", b"\0"]),
        Target("sasl", read_sasl, check_sasl, [base64.b64encode(b"\0a\0b"), b"=", base64.b64encode("张三\0张三\0密码".encode())], [b"=", b"AA", b"A", b"\n", b"\xff"], (SyntaxProblem,)),
        Target("sasl-exchange", read_exchange, read_exchange, _RESPONSES, [b",", b"=", b"n,,", b"y,,", b"p=tls-server-end-point,,", b"\x01", b"\0", b"\n", b"r=", b"c=biws", b",p=", b"auth=Bearer "]),
        Target("jwt", read_token, lambda data: None, [b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA", b"eyJhbGciOiJub25lIn0.e30."], [b".", b"e30", b"W10", b"=", b"A", b"\xff"], (AuthenticationFailed,)),
        Target("address", lambda data: Address.parse(data.decode("utf-8", "surrogateescape")), check_address, [b"a@b.example", "张三@江西.example".encode(), b'"a\\"b"@[IPv6:::1]', b"A.b+c@XN--FIQS8S"], _SMTP_WORDS, (BadAddress,)),
        Target("mime", lambda data: digest_message(data, limits=LIMITS), check_mime, _MESSAGES, _MAIL_WORDS),
        Target("header", lambda data: [Header(data, LIMITS).subject, Header(data, LIMITS).addresses(b"to"), select(data, frozenset((b"to",)))], check_header, _FIELDS, _MAIL_WORDS),
        Target("words", lambda data: [decode_words(data), html_text(data.decode("latin-1")), fold(data.decode("latin-1"))], check_words, [*_HEADERS, b"<p>a<b>c</b>&amp;<!-- x --><style>y</style>"], _MAIL_WORDS),
        Target("addresses", lambda data: parse_addresses(data, 1000), check_addresses, [field.partition(b": ")[2] for field in _FIELDS], _MAIL_WORDS),
        Target("values", lambda data: [parse_date(data), message_ids(data), parse_parameterised(data)], check_values, [b"Mon, 23 Nov 2026 22:38:36 +0800", b"23 Nov 99 1:2 EST", *[sample.raw for sample in chinese.FILE_NAMES]], [*_MAIL_WORDS, b"Feb", b"+9999", b"99999", b"x*1=", b"x*999999999="]),
        Target("transfer", lambda data: [transfer.decode(data, one) for one in ("base64", "quoted-printable")], check_transfer, [b"YWJj\r\nZGVm==", b"a=E4=BC=9A=\r\n b =3d", b"=\n=\r\n= \r\n"], [b"=", b"\r\n", b" ", b"YQ==", b"=4", b"\t"]),
    )
}  # fmt: skip
