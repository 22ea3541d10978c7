"""What travels from the process that reads messages, and what a server makes of it."""

from __future__ import annotations

import pytest
import zstandard

from govmail.config import Limits
from govmail.mail import packing
from govmail.mail.message import Message
from govmail.mail.mime import digest_message
from govmail.mail.reading import read, with_header, with_trace
from tests.kit.contents import raw_mail

LIMITS = Limits()
TEXT = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_791, 65_792, 200_000])
def test_a_stored_frame_is_a_frame(size: int) -> None:
    data = bytes(number * 7919 >> 3 & 0xFF for number in range(size))
    assert zstandard.ZstdDecompressor().decompress(packing.stored(data)) == data
    assert packing.decompress(packing.stored(data) + packing.compress(b"end"), TEXT) == data + b"end"


@pytest.mark.parametrize("data", [b"no frame", packing.compress(b"x" * 1000)[:-3], packing.compress(b"x" * 1001)])
def test_damage_and_excess_are_errors(data: bytes) -> None:
    with pytest.raises(ValueError, match="zstd"):
        packing.decompress(data, 1000)


def test_a_reading_says_what_a_digest_says() -> None:
    raw = raw_mail("会议", "text\r\n" * 5000)
    digest, reading = digest_message(raw, limits=LIMITS), read(Message.of(raw), LIMITS)
    for name in ("header", "body_size", "parts", "envelope", "bodystructure", "body_form", "preview", "sent_date", "ambiguity", "root", "size"):
        assert getattr(reading, name) == getattr(digest, name)
    assert packing.decompress(reading.text, TEXT).decode() == digest.text
    assert reading.packed is not None
    assert packing.decompress(reading.packed, TEXT) == raw[digest.header_size :]


def test_equal_octets_have_equal_names_and_others_not() -> None:
    names = {read(Message.of(raw_mail(subject, body)), LIMITS).digest for subject in ("a", "b") for body in ("x", "y", "x")}
    assert len(names) == 4


def test_another_header_is_as_if_it_had_been_read_so() -> None:
    raw = raw_mail()
    reading = read(Message.of(raw), LIMITS)
    header = reading.header.replace(b"Subject: Notice", b"Subject: Other")
    fresh = read(Message.of(raw.replace(b"Subject: Notice", b"Subject: Other")), LIMITS)
    changed = with_header(reading, header, LIMITS)
    assert (changed.envelope, changed.text, changed.fields, changed.digest) == (fresh.envelope, fresh.text, fresh.fields, fresh.digest)


def test_trace_fields_are_found_by_search() -> None:
    for length in (10, 70_000):
        reading = read(Message.of(raw_mail(body="word " * (length // 5))), LIMITS)
        traced = with_trace(reading, [b"Received: from Zebra.example\r\n by us\r\n", b"X-Govmail-Spam: no\r\n"])
        text = packing.decompress(traced.text, TEXT).decode()
        assert text.startswith("received: from zebra.example by us x-govmail-spam: no\n")
        assert traced.fields == reading.fields
        assert traced.header.endswith(reading.header)
        assert traced.envelope == reading.envelope
