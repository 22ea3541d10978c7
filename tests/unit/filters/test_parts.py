"""Header values, versions, DKIM keys and the example filter."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from filters import dkim
from filters.clamd import brief, signature_date
from filters.headers import authentication_results, fold, plain, refold, word
from filters.skeleton import Skeleton
from govmail.errors import BadAddress
from govmail.interfaces import Action, Scan
from govmail.mail.message import Message
from tests.kit.malware import mail, request


def assert_harmless(value: str) -> None:
    first, *folded = value.split("\r\n")
    assert all(char == "\t" or " " <= char <= "~" for line in (first, *folded) for char in line)
    assert all(line[0] in " \t" and line.strip() for line in folded)


@given(st.text())
def test_no_text_makes_a_field_of_its_own(text: str) -> None:
    assert_harmless(refold(text))
    assert_harmless(authentication_results(text, "mx.example"))
    assert_harmless(fold("X-Govmail-Spam", [text, text, "a" * 100, text]))
    assert plain(text).isascii()
    assert not set(word(text)) & set(' \t\r\n,;()"<>')


@given(st.lists(st.text(st.sampled_from("abcXYZ012=."), min_size=1, max_size=30), max_size=40))
def test_folding_keeps_the_items_and_the_line_length(items: list[str]) -> None:
    value = fold("X-Govmail-Spam", items)
    assert value.split() == items
    assert all(len(line) <= 78 for line in f"X-Govmail-Spam: {value}".split("\r\n"))


def test_results_are_given_in_our_name() -> None:
    assert authentication_results("other.example;\r\n\tspf=pass smtp.mailfrom=a@b.example", "mx.example") == (
        "mx.example;\r\n\tspf=pass smtp.mailfrom=a@b.example"
    )
    assert authentication_results("other.example", "mx.example") == "mx.example; none"


def test_versions_of_clamd() -> None:
    version = "ClamAV 1.4.3/27800/Mon Nov 23 08:26:19 2026"
    assert brief(version) == "ClamAV 1.4.3/27800"
    assert signature_date(version) == datetime(2026, 11, 23, 8, 26, 19, tzinfo=UTC)
    assert signature_date("ClamAV 1.4.3") is None
    assert signature_date("ClamAV 1.4.3/x/yesterday") is None


def test_a_dkim_key_is_made_once_and_published(tmp_path: Path) -> None:
    path = dkim.ensure_key(tmp_path, "GZ.jx.example")
    made = path.read_bytes()
    assert path.name == "gz.jx.example.govmail.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert dkim.ensure_key(tmp_path, "gz.jx.example").read_bytes() == made
    name, text = dkim.record(tmp_path, "gz.jx.example")
    assert name == "govmail._domainkey.gz.jx.example"
    public = load_der_public_key(base64.b64decode(text.partition("p=")[2]))
    assert getattr(public, "key_size", 0) == 2048


def test_makers_of_one_key_at_the_same_time_agree(tmp_path: Path) -> None:
    def make(_: int) -> bytes:
        return dkim.ensure_key(tmp_path, "jx.example").read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(make, range(4)))) == 1
    assert len(list(dkim.key_dir(tmp_path).iterdir())) == 1


@pytest.mark.parametrize("domain", ["../../etc/passwd", "a/b", "", ".", "a\0b", "a b"])
def test_a_key_file_is_named_by_a_domain_only(tmp_path: Path, domain: str) -> None:
    with pytest.raises(BadAddress):
        dkim.ensure_key(tmp_path, domain)
    assert list(tmp_path.iterdir()) == []


async def test_the_example_filter_does_what_it_says(tmp_path: Path) -> None:
    example = Skeleton("example", "Spammer")
    assert (await example.check(request(mail(b"x", first="X-Mailer: SPAMMER 1.0\r\n")))).action is Action.REJECT
    assert (await example.check(request(mail(b"x")))).action is Action.ACCEPT
    gone = Message(10, None, tmp_path / "gone")
    assert (await example.check(request(gone))).scan is Scan.UNSCANNED
    await example.close()
