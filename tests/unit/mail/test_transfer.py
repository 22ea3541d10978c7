"""Transfer encodings as senders break them."""

from __future__ import annotations

import pytest

from govmail.mail.transfer import decode


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"Zm9v", b"foo"), (b"Zm9vYg==", b"foob"), (b"Zm9vYg", b"foob"), (b"Zm9vYmE", b"fooba"), (b"Z\r\nm9\tv!", b"foo"), (b"Zm9v=", b"foo"),
        (b"Zm8=YmFy", b"fobar"), (b"Zm9vY", b"foo"), (b"====", b""), (b"", b""), (b"\xff\xfe", b""),
    ],
)
def test_base64(encoded: bytes, decoded: bytes) -> None:
    assert decode(encoded, "base64") == decoded


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"=E4=BC=9A", b"\xe4\xbc\x9a"), (b"=e4=bc=9a", b"\xe4\xbc\x9a"), (b"a=\r\nb", b"ab"), (b"a=\nb", b"ab"), (b"a= \r\nb", b"ab"), (b"a  \r\nb", b"a\r\nb"),
        (b"a=20\r\nb", b"a \r\nb"), (b"1=1", b"1=1"), (b"=", b""), (b"=ZZ", b"=ZZ"), (b"", b""), (b"\xff", b"\xff"),
    ],
)
def test_quoted_printable(encoded: bytes, decoded: bytes) -> None:
    assert decode(encoded, "quoted-printable") == decoded


def test_what_nobody_knows_stays() -> None:
    assert decode(b"=41", "x-uuencode") == b"=41"
