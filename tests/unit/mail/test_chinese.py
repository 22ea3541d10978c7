"""Chinese mail as it really comes: octets in, text out."""

from __future__ import annotations

import pytest

from govmail.config import Limits
from govmail.mail.compose import parameterised, unstructured
from govmail.mail.header import Header, parse_parameterised, unfold
from govmail.mail.mime import digest_message
from govmail.mail.structure import envelope
from govmail.mail.text import fold
from tests.corpus.chinese import BODIES, FILE_NAMES, HEADERS, BodySample, FileNameSample, HeaderSample

LIMITS = Limits()


@pytest.mark.parametrize("sample", HEADERS, ids=lambda sample: sample.name)
def test_a_subject_is_read(sample: HeaderSample) -> None:
    assert Header(b"Subject: " + sample.raw + b"\r\n\r\n", LIMITS).subject == sample.text


@pytest.mark.parametrize("sample", HEADERS, ids=lambda sample: sample.name)
def test_the_envelope_is_seven_bit_and_says_the_same(sample: HeaderSample) -> None:
    sent = envelope(Header(b"Subject: " + sample.raw + b"\r\n\r\n", LIMITS))
    assert sent.isascii()
    shown = sent[len(b"(NIL ") : -len(b" NIL NIL NIL NIL NIL NIL NIL NIL)")]
    assert shown.startswith(b'"')
    value = shown[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    assert Header(b"Subject: " + value + b"\r\n\r\n", LIMITS).subject.replace("�", "") == sample.text.replace("�", "")


@pytest.mark.parametrize("sample", FILE_NAMES, ids=lambda sample: sample.name)
def test_a_file_name_is_read(sample: FileNameSample) -> None:
    assert parse_parameterised(unfold(sample.raw)).params["filename"] == sample.filename


@pytest.mark.parametrize("sample", FILE_NAMES, ids=lambda sample: sample.name)
def test_a_file_name_reaches_imap_clients_in_seven_bits(sample: FileNameSample) -> None:
    raw = b"Content-Disposition: " + sample.raw + b"\r\n\r\nx"
    sent = digest_message(raw, limits=LIMITS).bodystructure
    assert sent.isascii()
    assert b"filename" in sent


@pytest.mark.parametrize("sample", FILE_NAMES, ids=lambda sample: sample.name)
def test_a_file_name_survives_sending(sample: FileNameSample) -> None:
    field = parameterised("Content-Disposition", "attachment", [("filename", sample.filename)])
    assert Header(field, LIMITS).get(b"content-disposition") is not None
    assert parse_parameterised(unfold(field.partition(b":")[2])).params["filename"] == sample.filename


@pytest.mark.parametrize("sample", BODIES, ids=lambda sample: sample.name)
def test_a_body_is_found_by_search(sample: BodySample) -> None:
    digest = digest_message(sample.raw, limits=LIMITS)
    assert fold(sample.text).strip() in digest.text.partition("\0")[2]
    assert digest.preview


def test_a_subject_goes_out_as_words_that_fit_a_line() -> None:
    field = unstructured("Subject", "关于召开全省发展改革工作会议的通知" * 5)
    assert all(len(line) <= 76 for line in field.split(b"\r\n"))
    assert Header(field, LIMITS).subject == "关于召开全省发展改革工作会议的通知" * 5


@pytest.mark.parametrize(
    ("needle", "text"),
    [
        ("abc123", "ＡＢＣ１２３"),
        ("发票", "发\u200b票"),
        ("straße", "STRASSE"),
        ("会议 通知", "会议\r\n\t通知"),
        ("會", "會"),
        ("é", "e\u0301"),
        ("①", "1"),
        ("㈱", "(株)"),
    ],
)
def test_search_finds_what_looks_the_same(needle: str, text: str) -> None:
    assert fold(needle) in fold(f"x {text} y")


def test_search_does_not_confuse_simplified_and_traditional() -> None:
    assert fold("会") not in fold("會")
