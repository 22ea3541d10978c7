"""Messages made fit for transports that carry less."""

from __future__ import annotations

from pathlib import Path

import pytest

from govmail.config import Limits
from govmail.mail import transfer
from govmail.mail.message import Message
from govmail.mail.mime import digest_message
from govmail.mail.rewrite import must_rewrite, textualise

LIMITS = Limits()


def rewritten(data: bytes, *, seven_bit: bool = False) -> bytes:
    message = Message.of(data)
    digest = digest_message(message, limits=LIMITS)
    return b"".join(textualise(message, digest.root, digest.header_size, seven_bit=seven_bit))


MIXED = (
    b"Subject: s\r\nContent-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: binary\r\n\r\n--a\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "会议".encode() + b" \r\n\r\n--a\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    b"\0\r\n\n\r\r\n--a\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "内部".encode() + b"\r\n--a--\r\n"
)


def test_binary_parts_become_base64_and_others_stay() -> None:
    out = rewritten(MIXED)
    assert out == (
        b"Subject: s\r\nContent-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--a\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "会议".encode() + b" \r\n\r\n--a\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"AA0KCg0=\r\n\r\n--a\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + "内部".encode() + b"\r\n--a--\r\n"
    )


def test_everything_becomes_seven_bit_inside_enclosed_messages_too() -> None:
    out = rewritten(MIXED, seven_bit=True)
    assert out.isascii()
    digest = digest_message(out, limits=LIMITS)
    assert not must_rewrite(digest.header, digest.root, seven_bit=True)
    text, binary, enclosed = digest.root.children
    assert (digest.root.encoding, enclosed.encoding) == ("7bit", "7bit")
    assert (text.encoding, binary.encoding, enclosed.children[0].encoding) == ("quoted-printable", "base64", "quoted-printable")
    contents = [transfer.decode(out[len(digest.header) + part.body_start :][: part.body_size], part.encoding) for part in digest.root.leaves()]
    assert contents == ["会议 \r\n".encode(), b"\0\r\n\n\r", "内部".encode()]


def test_raw_header_text_becomes_encoded_words() -> None:
    out = rewritten("Subject: 通知\r\nFrom: 张三 <z@gz.example>\r\nContent-Type: image/png; name=\"图.png\"\r\n\r\nx".encode(), seven_bit=True)
    header = digest_message(out, limits=LIMITS).fields
    assert out.isascii()
    assert header.subject == "通知"
    assert [(one.display, one.address) for one in header.from_] == [("张三", "z@gz.example")]
    assert digest_message(out, limits=LIMITS).root.filename == "图.png"


def test_a_message_that_offends_nobody_passes_unchanged() -> None:
    data = b"Subject: s\r\n\r\nbody\r\n"
    digest = digest_message(data, limits=LIMITS)
    assert not must_rewrite(digest.header, digest.root, seven_bit=True)
    assert rewritten(data, seven_bit=True) == data


@pytest.mark.parametrize("encoding", [b"8bit", b"binary"])
def test_a_large_spooled_part_goes_through_in_pieces(tmp_path: Path, encoding: bytes) -> None:
    body = "会议通知\r\n".encode() * 60_000 + "无".encode() * 200_000
    path = tmp_path / "spool"
    path.write_bytes(b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body)
    message = Message.spooled(path)
    digest = digest_message(message, limits=LIMITS)
    out = b"".join(textualise(message, digest.root, digest.header_size, seven_bit=True))
    assert out.isascii()
    assert max(map(len, out.split(b"\r\n"))) <= 78
    again = digest_message(out, limits=LIMITS)
    assert transfer.decode(out[again.header_size :], again.root.encoding) == body
