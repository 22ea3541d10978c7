"""Laws of reading mail that hold for any octets."""

from __future__ import annotations

import binascii
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from govmail.config import Limits
from govmail.mail import compose, transfer
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
from govmail.mail.message import Message
from govmail.mail.mime import Part, digest_message, dump, load, section
from govmail.mail.reading import read, with_header
from govmail.mail.rewrite import must_rewrite, textualise
from govmail.mail.structure import string
from govmail.mail.text import decode, decode_words, fold, html_text, preview
from tests.kit.imap_values import parse_value

LIMITS = Limits()
SMALL = Limits(mime_depth=4, mime_parts=8, header_octets=300, header_fields=6, text_octets=500)

_LINES = st.sampled_from(
    [
        b"--a", b"--a--", b"--ab", b"--ab--", b"--", b"", b"", b"x", b"\xb0\xa1\xff", b"a\0b", b"bare\rreturn", b" folded",
        b"Content-Type: multipart/mixed; boundary=a", b"Content-Type: multipart/digest; boundary=ab",
        b'Content-Type: multipart/alternative; boundary="a"', b"Content-Type: message/rfc822", b"Content-Type: text/html; charset=gbk",
        b"Content-Type: image/png; name=\"\xcd\xa8.png\"", b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: binary",
        b"Content-Transfer-Encoding: quoted-printable", b"Content-Disposition: attachment; filename*=utf-8''%E4%BC%9A", b"Subject: =?gbk?B?zajWqg==?=",
        b"From: \"A (b\" <a@b.example>, g:;", b"Date: Mon, 23 Nov 2026 22:38:36 +0800", b"YWJj", b"=E4=BC=9A=", b"<p>a</p>", b"no colon here",
    ]
)
MAIL = st.one_of(
    st.binary(max_size=400),
    st.lists(st.tuples(_LINES, st.sampled_from([b"\r\n", b"\r\n", b"\n"])), max_size=40).map(lambda lines: b"".join(line + end for line, end in lines)),
    st.lists(_LINES, max_size=40).map(b"\r\n".join),
)
ADDRESS_SOUP = st.lists(st.sampled_from([b"a", b"@", b"b.example", b"<", b">", b",", b":", b";", b'"', b"\\", b"(", b")", b"[", b"]", b" ", b"\xd6", b"\1"]), max_size=30).map(b"".join)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)


def spool(data: bytes, directory: str) -> Message:
    path = Path(directory, "spool")
    path.write_bytes(data)
    return Message.spooled(path)


def check_tree(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start
    assert part.header_start + part.header_size == part.body_start
    assert part.body_end <= end
    assert part.body_size >= 0
    position = part.body_start
    for child in part.children:
        check_tree(child, position, part.body_end)
        position = child.body_end


@given(MAIL, st.sampled_from([LIMITS, SMALL]))
def test_any_octets_are_read_and_none_is_lost(data: bytes, limits: Limits) -> None:
    digest = digest_message(data, limits=limits)
    assert data.startswith(digest.header)
    assert digest.size == len(data)
    assert digest.root.body_size == digest.body_size
    check_tree(digest.root, 0, digest.body_size)
    assert load(digest.parts) == digest.root
    assert load(dump(digest.root)) == digest.root
    assert sum(1 for _ in digest.root.walk()) <= limits.mime_parts + 1
    assert len(digest.preview) <= 200


@given(MAIL)
def test_what_imap_sends_is_a_seven_bit_answer_that_parses(data: bytes) -> None:
    digest = digest_message(data, limits=LIMITS)
    for form in (digest.envelope, digest.bodystructure, digest.body_form):
        value, rest = parse_value(form)
        assert isinstance(value, list)
        assert rest == b""
    envelope, _ = parse_value(digest.envelope)
    assert isinstance(envelope, list)
    assert len(envelope) == 10


@settings(max_examples=40)
@given(MAIL)
def test_a_spool_file_is_read_like_memory(data: bytes) -> None:
    # the long body moves the scanner's window several times
    long = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n" + b"0123456789abcdef\r\n-\r\n" * 60_000 + b"\r\n--a\r\n" + data
    with tempfile.TemporaryDirectory() as directory:
        for octets in (data, long):
            one, other = digest_message(octets, limits=LIMITS), digest_message(spool(octets, directory), limits=LIMITS)
            assert (one.parts, one.bodystructure, one.envelope, one.text, one.preview) == (other.parts, other.bodystructure, other.envelope, other.text, other.preview)


@given(MAIL, MAIL)
def test_the_header_may_be_replaced_without_a_new_scan(data: bytes, trace: bytes) -> None:
    reading = read(Message.of(data), LIMITS)
    front = b"Received: from x\r\n by y\r\nX-Other: 1\r\n"
    again = with_header(reading, front + reading.header, LIMITS)
    fresh = read(Message.of(front + data), LIMITS)
    if fresh.header == front + reading.header:  # else `data` begins with a continuation line or an empty one
        assert again.parts == fresh.parts
        assert again.envelope == fresh.envelope
        assert again.bodystructure == fresh.bodystructure
        assert again.text == fresh.text
        assert again.size == fresh.size


@given(MAIL)
def test_sections_are_the_octets_that_imap_numbers(data: bytes) -> None:
    digest = digest_message(data, limits=LIMITS)

    def check(part: Part, path: tuple[int, ...]) -> None:
        span = section(digest.root, path, "", digest.header_size)
        assert span == (digest.header_size + part.body_start, part.body_size)
        if part.is_multipart:
            for number, child in enumerate(part.children, 1):
                check(child, (*path, number))
            assert section(digest.root, (*path, len(part.children) + 1), "", digest.header_size) is None
        elif part.is_message:
            inner = part.children[0]
            head = section(digest.root, path, "HEADER", digest.header_size)
            text = section(digest.root, path, "TEXT", digest.header_size)
            assert head is not None
            assert text is not None
            assert head.offset + head.length == text.offset
            assert head.length + text.length == part.body_size
            if inner.is_multipart:
                for number, child in enumerate(inner.children, 1):
                    check(child, (*path, number))

    if digest.root.is_multipart:
        for number, child in enumerate(digest.root.children, 1):
            check(child, (number,))
    else:
        check(digest.root, (1,))


@given(MAIL, st.booleans())
def test_a_rewritten_message_may_be_sent_and_decodes_to_the_same(data: bytes, seven_bit: bool) -> None:
    message = Message.of(data)
    digest = digest_message(message, limits=LIMITS)
    out = b"".join(textualise(message, digest.root, digest.header_size, seven_bit=seven_bit))
    assert b"\0" not in out
    assert out.count(b"\r\n") == out.count(b"\n") == out.count(b"\r")
    if seven_bit:
        assert out.isascii()
    if not must_rewrite(digest.header, digest.root, seven_bit=seven_bit) and not digest.root.children:
        assert out == data


@given(st.binary(max_size=300), st.sampled_from([b"text/plain; charset=utf-8", b"application/pdf"]), st.booleans())
def test_a_rewritten_leaf_keeps_its_content(body: bytes, kind: bytes, seven_bit: bool) -> None:
    data = b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: binary\r\n\r\n" + body
    message = Message.of(data)
    digest = digest_message(message, limits=LIMITS)
    again = Message.of(b"".join(textualise(message, digest.root, digest.header_size, seven_bit=seven_bit)))
    part = digest_message(again, limits=LIMITS)
    assert transfer.decode(again.read(part.header_size), part.root.encoding) == body


@given(st.binary(max_size=300), st.sampled_from(["base64", "quoted-printable", "7bit", "x-other"]), st.lists(st.integers(1, 40), max_size=20))
def test_transfer_decoding_does_not_depend_on_the_pieces(data: bytes, encoding: str, lengths: list[int]) -> None:
    decoder = transfer.decoder(encoding)
    out, rest = b"", data
    for length in lengths:
        out += decoder.decode(rest[:length])
        rest = rest[length:]
    assert out + decoder.decode(rest, final=True) == transfer.decode(data, encoding)


@given(st.binary(max_size=3000))
def test_transfer_decoding_inverts_encoding(data: bytes) -> None:
    assert transfer.decode(binascii.b2a_base64(data), "base64") == data
    assert transfer.decode(binascii.b2a_qp(data, quotetabs=True, istext=False), "quoted-printable") == data


@given(st.binary(max_size=200))
def test_no_value_makes_a_reader_raise(value: bytes) -> None:
    decode_words(value)
    parse_date(value)
    parse_parameterised(value)
    message_ids(value)
    parse_addresses(value, 10)
    html_text(value.decode("latin-1"))
    preview(value.decode("latin-1"))
    list(iterate(value))
    select(value, frozenset((b"a",)))
    assert 0 <= header_end(value) <= len(value)
    parsed, rest = parse_value(string(value))
    assert rest == b""
    assert parsed == value.replace(b"\0", b"?")


@given(st.binary(max_size=200), st.text(max_size=12))
def test_any_label_on_any_octets_gives_text(data: bytes, label: str) -> None:
    assert isinstance(decode(data, label), str)


@given(st.sampled_from(["utf-16", "utf-7", "hz", "iso-2022-jp", "iso-2022-kr", "big5", "shift_jis", "gb2312", "punycode", "idna", "undefined", "rot13", "zlib"]), st.binary(max_size=200))
def test_known_labels_on_any_octets_give_text(label: str, data: bytes) -> None:
    assert isinstance(decode(data, label), str)


@given(ADDRESS_SOUP)
def test_address_lists_end_every_group_and_keep_the_limit(value: bytes) -> None:
    found = parse_addresses(value, 5)
    assert len(found) <= 5 + 2
    open_groups = 0
    for one in parse_addresses(value, 1000):
        if one.local is None:
            open_groups -= 1
        elif one.domain is None:
            open_groups += 1
        assert open_groups in (0, 1)
    assert open_groups == 0


@given(TEXT)
def test_a_subject_survives_sending(text: str) -> None:
    field = compose.unstructured("Subject", text)
    assert field.isascii()
    assert field.endswith(b"\r\n")
    assert all(line.startswith(b" ") and line.strip() for line in field.split(b"\r\n")[1:-1])
    assert Header(field, LIMITS).subject.split() == text.split()


@given(TEXT.filter(lambda name: name.strip()))
def test_a_display_name_survives_sending(name: str) -> None:
    field = compose.address_list("To", [(name, "a@b.example"), ("", "c@d.example")])
    one, other = Header(field, LIMITS).addresses(b"to")
    assert (one.display.split(), one.address) == (name.split(), "a@b.example")
    assert (other.display, other.address) == ("", "c@d.example")


@given(TEXT)
def test_a_file_name_survives_sending(name: str) -> None:
    field = compose.parameterised("Content-Disposition", "attachment", [("filename", name)])
    assert field.isascii()
    assert parse_parameterised(unfold(field.partition(b":")[2])).params["filename"].split() == name.split()


@given(st.lists(st.tuples(st.sampled_from(["Subject", "X-A", "To"]), TEXT), max_size=8))
def test_nothing_put_into_a_field_becomes_another_field(fields: list[tuple[str, str]]) -> None:
    header = b"".join(compose.unstructured(name, text + "\r\nBcc: x@y.example\r\n\r\nbody") for name, text in fields)
    assert [field.name.decode() for field in iterate(header)] == [name for name, _ in fields]


@given(st.text(max_size=50), st.text(max_size=5), st.text(max_size=50))
def test_search_finds_every_part_of_a_text_that_begins_and_ends_with_a_letter(before: str, needle: str, after: str) -> None:
    needle = f"中{needle}中"
    assert fold(needle) in fold(f"{before} {needle} {after}")


@given(st.text(max_size=40), st.integers(0, 200))
def test_folding_a_long_text_is_folding_it_whole(text: str, count: int) -> None:
    word = fold(f"中{text}中")
    assert fold(f"中{text}中" * count).count(word) == count


_NAMES = st.sampled_from([b"from", b"subject", b"date", b"content-type", b"x", b"", b"from: a", b"no colon here", b"s", b"\xe4", b"x.*[", b"a b"])


@given(MAIL, st.frozensets(_NAMES, max_size=4))
def test_chosen_and_left_fields_are_all_fields(data: bytes, names: frozenset[bytes]) -> None:
    """The pattern that cuts fields out finds what reading them one by one finds."""
    raw = data[: header_end(data)]
    fields = [raw[field.start : field.end] for field in iterate(raw) if field.name.lower() in names]
    expected = b"".join(fields)
    if expected and not expected.endswith(b"\n"):
        expected += b"\r\n"
    assert select(raw, names) == expected + b"\r\n"
