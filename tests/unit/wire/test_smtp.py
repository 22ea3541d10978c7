"""The command grammar: the RFCs' own examples, hostile lines, and printing as its inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.mail.address import NULL_PATH, Address, Path
from govmail.mail.envelope import DEFAULT_NOTIFY, Body, Notify
from govmail.wire.smtp import (
    Auth,
    BadCommand,
    Bdat,
    Command,
    Data,
    Ehlo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reply,
    Rset,
    StartTls,
    Vrfy,
    from_xtext,
    parse_command,
    print_command,
    readable,
    to_xtext,
)


def path(text: str) -> Path:
    return Path.parse(text)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO mx.jx.example", Ehlo("mx.jx.example")),
        (b"ehlo MX.JX.example ", Ehlo("mx.jx.example")),
        (b"HELO [192.0.2.1]", Ehlo("[192.0.2.1]", extended=False)),
        (b"EHLO [IPv6:2001:db8::1]", Ehlo("[IPv6:2001:db8::1]")),
        (b"MAIL FROM:<>", Mail(NULL_PATH)),
        (b"mail from:<a@b.example>", Mail(path("a@b.example"))),
        (b"MAIL FROM: <a@b.example>", Mail(path("a@b.example"))),  # against the grammar, sent by many
        (b"MAIL FROM:<@relay.example,@x.example:a@b.example>", Mail(path("a@b.example"))),  # RFC 5321 §4.1.1.3
        (b'MAIL FROM:<"a b>c"@b.example> SIZE=10', Mail(path('"a b>c"@b.example'), size=10)),
        (
            b"MAIL FROM:<a@b.example> SIZE=500000 BODY=8bitmime RET=HDRS ENVID=QQ314159 AUTH=<>",
            Mail(path("a@b.example"), 500000, Body.EIGHTBITMIME, False, False, "QQ314159", "<>"),
        ),
        # RFC 4954 §6
        (b"MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com", Mail(path("e=mc2@example.com"), auth="e=mc2@example.com")),
        (
            "MAIL FROM:<张三@例子.example> SMTPUTF8 BODY=BINARYMIME".encode(),
            Mail(Path(Address("张三", "xn--fsqu00a.example")), body=Body.BINARYMIME, smtputf8=True),
        ),
        (b"RCPT TO:<Postmaster>", Rcpt(None)),
        (b"RCPT TO:<B@X.example>", Rcpt(Address("B", "x.example"))),
        # RFC 3461 §10
        (
            b"RCPT TO:<Carol@Ivory.EDU> NOTIFY=NEVER ORCPT=rfc822;Carol@Ivory.EDU",
            Rcpt(Address("Carol", "ivory.edu"), Notify.NEVER, "rfc822;Carol@Ivory.EDU"),
        ),
        (
            b"RCPT TO:<b@x.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@x.example",
            Rcpt(Address("b", "x.example"), Notify.SUCCESS | Notify.FAILURE, "rfc822;a+b@x.example"),
        ),
        (b"DATA", Data()),
        (b"DATA  ", Data()),
        (b"BDAT 1000", Bdat(1000)),
        (b"bdat 0 last", Bdat(0, True)),
        (b"RSET", Rset()),
        (b"NOOP whatever it is", Noop()),
        (b"QUIT", Quit()),
        (b"HELP MAIL", Help()),
        (b"STARTTLS", StartTls()),
        (b"VRFY Smith", Vrfy("Smith")),
        (b"AUTH LOGIN", Auth("LOGIN")),
        (b"auth plain AGEAYg==", Auth("PLAIN", b"AGEAYg==")),
        (b"AUTH PLAIN =", Auth("PLAIN", b"=")),
    ],
)
def test_known_lines(line: bytes, command: Command) -> None:
    assert parse_command(line) == command
    assert parse_command(print_command(command)) == command


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"", 500, "5.5.1"),
        (b"XYZZY", 500, "5.5.1"),
        (b"\xc4\xe3\xba\xc3", 500, "5.5.1"),
        (b"\0EHLO a.example", 500, "5.5.1"),
        (b"MAILFROM:<a@b.example>", 500, "5.5.1"),
        (b"EXPN staff", 502, "5.5.1"),
        (b"ETRN a.example", 502, "5.5.1"),
        (b"EHLO", 501, "5.5.4"),
        (b"EHLO \xd5\xc5\xc8\xfd-PC", 501, "5.5.4"),  # GBK
        ("EHLO 张三的电脑".encode(), 501, "5.5.4"),
        (b"EHLO WIN_PC", 501, "5.5.4"),
        (b"EHLO [10.1]", 501, "5.5.4"),
        (b"EHLO a\0b.example", 501, "5.5.4"),
        (b"EHLO a b", 501, "5.5.4"),
        (b"MAIL", 501, "5.5.4"),
        (b"MAIL TO:<a@b.example>", 501, "5.5.4"),
        (b"MAIL FROM:a@b.example", 501, "5.1.7"),
        (b"MAIL FROM:<a@b.example", 501, "5.1.7"),
        (b"MAIL FROM:<a@@b.example>", 501, "5.1.7"),
        (b"MAIL FROM:<a b@b.example>", 501, "5.1.7"),
        (b"MAIL FROM:<a@-b.example>", 501, "5.1.7"),
        (b"MAIL FROM:<\xd5\xc5@b.example> SMTPUTF8", 501, "5.1.7"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@b.example>", 501, "5.1.7"),
        (b"MAIL FROM:<a@b.example>SIZE=1", 501, "5.1.7"),
        ("MAIL FROM:<张三@b.example>".encode(), 553, "5.6.7"),
        (b"MAIL FROM:<a@b.example> SIZE=x", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE=-1", 501, "5.5.4"),
        ("MAIL FROM:<a@b.example> SIZE=１".encode(), 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE=" + b"9" * 21, 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE=1 SIZE=1", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> BODY=9BIT", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> RET=ALL", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> SMTPUTF8=1", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> ENVID=a+0D+0ABcc:x", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> ENVID=" + b"a" * 101, 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example> HOLDFOR=1", 555, "5.5.4"),
        (b"MAIL FROM:<a@b.example> ;x", 501, "5.5.4"),
        (b"MAIL FROM:<a@b.example>\0", 501, "5.5.4"),
        (b"MAIL FROM:<a\r@b.example>", 501, "5.5.4"),
        (b"RCPT TO:<>", 501, "5.1.3"),
        (b"RCPT TO:<b@x.example> NOTIFY=NEVER,SUCCESS", 501, "5.5.4"),
        (b"RCPT TO:<b@x.example> NOTIFY", 501, "5.5.4"),
        (b"RCPT TO:<b@x.example> ORCPT=b@x.example", 501, "5.5.4"),
        (b"RCPT TO:<b@x.example> ORCPT=rfc822;a+0Ab", 501, "5.5.4"),
        (b"RCPT TO:<b@x.example> SIZE=1", 555, "5.5.4"),
        (b"DATA now", 501, "5.5.4"),
        (b"BDAT", 501, "5.5.4"),
        (b"BDAT x", 501, "5.5.4"),
        (b"BDAT 1 FIRST", 501, "5.5.4"),
        (b"BDAT -1", 501, "5.5.4"),
        (b"BDAT 1\0", 501, "5.5.4"),
        (b"STARTTLS now", 501, "5.5.4"),
        (b"AUTH", 501, "5.5.2"),
        (b"AUTH PLAIN !!!", 501, "5.5.2"),
        (b"AUTH PLAIN a b", 501, "5.5.2"),
        (b"VRFY", 501, "5.5.4"),
    ],
)
def test_refused_lines(line: bytes, code: int, status: str) -> None:
    with pytest.raises(BadCommand) as caught:
        parse_command(line)
    assert (caught.value.reply.code, caught.value.reply.status) == (code, status)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"WIN_PC", "WIN_PC"),
        (b"[10.1]", "[10.1]"),
        ("张三-PC".encode("gbk"), "张三-PC"),
        ("张三-PC".encode(), "张三-PC"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\0\x1b[31mb", "a\\x00\\x1b[31mb"),
    ],
)
def test_submission_tolerates_any_name(name: bytes, shown: str) -> None:
    assert parse_command(b"EHLO " + name, tolerant=True) == Ehlo(shown, regular=False)


def test_a_bad_bdat_is_fatal() -> None:
    with pytest.raises(BadCommand) as caught:
        parse_command(b"BDAT 1 2")
    assert caught.value.fatal


def test_replies() -> None:
    assert bytes(Reply(250, "2.0.0", ("ok",))) == b"250 2.0.0 ok\r\n"
    assert bytes(Reply(250, None, ("mx", "SIZE 1", "HELP"))) == b"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n"


atoms = st.text("abz019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=8)
domains = st.from_regex(r"[a-z][a-z0-9]{0,5}(\.[a-z]{2,5}){1,2}", fullmatch=True)
ascii_addresses = st.builds(Address, atoms | st.text('a b"\\<>@,:;().', min_size=1, max_size=6), domains)
addresses = ascii_addresses | st.builds(Address, st.text("张三é", min_size=1, max_size=3), domains)
printable = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=8)
commands = st.one_of(
    st.builds(Ehlo, domains, st.booleans()),
    st.builds(
        Mail,
        st.builds(Path, st.none() | ascii_addresses),
        st.none() | st.integers(0, 10**15),
        st.sampled_from(Body),
        st.booleans(),
        st.none() | st.booleans(),
        st.none() | printable,
        st.none() | printable,
    ),
    st.builds(Mail, st.builds(Path, addresses), smtputf8=st.just(True)),
    st.builds(
        Rcpt,
        st.none() | addresses,
        st.sampled_from([Notify.NEVER, Notify.SUCCESS, Notify.FAILURE, Notify.SUCCESS | Notify.DELAY, DEFAULT_NOTIFY]),
        st.none() | printable.map(lambda text: f"rfc822;{text}"),
    ),
    st.builds(Bdat, st.integers(0, 10**10), st.booleans()),
    st.builds(Auth, st.sampled_from(["PLAIN", "LOGIN"]), st.sampled_from([None, b"=", b"AGEAYg=="])),
    st.sampled_from([Data(), Rset(), Noop(), Quit(), Help(), StartTls(), Vrfy("a")]),
)


@given(commands)
def test_parsing_inverts_printing(command: Command) -> None:
    assert parse_command(print_command(command)) == command


@given(printable)
def test_xtext(text: str) -> None:
    encoded = to_xtext(text)
    assert encoded.isascii()
    assert from_xtext(encoded, "X", 500) == text


@given(st.sampled_from([b"", b"EHLO ", b"MAIL FROM:<", b"MAIL FROM:<a@b.example> ", b"RCPT TO:", b"BDAT ", b"AUTH "]), st.binary())
def test_no_line_breaks_the_parser(start: bytes, rest: bytes) -> None:
    for tolerant in (False, True):
        try:
            wire = print_command(parse_command(start + rest, tolerant=tolerant))
        except BadCommand as refused:
            wire = bytes(refused.reply).removesuffix(b"\r\n")
        assert b"\n" not in wire


@given(st.binary())
def test_readable_is_printable(raw: bytes) -> None:
    assert readable(raw).isprintable()
