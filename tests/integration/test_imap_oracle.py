"""Structure, envelope and sections of odd mails, beside Dovecot: every difference is one that somebody has judged."""

from __future__ import annotations

from pathlib import Path

from tests.corpus.chinese import BODIES
from tests.kit.oracle import ask_both, both, judgement
from tests.unit.imap.test_fetch import ODD

MESSAGES = Path(__file__).parents[1] / "scripts" / "imap" / "messages"
NESTED = (
    b"Subject: report\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n"
    b"--a\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename=\"a \\\"b\\\" \\\\.eml\"\r\n\r\n"
    b"From: \"\\\\\" <x@jx.example>\r\nSubject: =?utf-8?q?one?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n"
    b"--b\r\n\r\nSubject: in a digest\r\n\r\ntext\r\n--b\r\nContent-Type: text/html; charset=\"utf-8\"; format=flowed\r\n\r\n<p>\r\n--b--\r\n"
    b"--a\r\n\r\nno header\r\n--a\r\nContent-Type: image/png; name=a.png\r\nContent-ID: <1@jx.example>\r\nContent-MD5: Q2hlY2s=\r\n"
    b"Content-Language: zh, en\r\nContent-Location: http://jx.example/a\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--a--\r\nepilogue\r\n"
)


async def test_beside_dovecot() -> None:
    mails = [path.read_bytes() for path in sorted(MESSAGES.glob("*.eml"))] + [sample.raw for sample in BODIES] + ODD + [NESTED]
    mails = [one.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for one in mails if one]
    async with both(mails) as (ours, theirs):
        for number, mail in enumerate(mails, 1):
            for one in await ask_both(ours, theirs, number):
                assert judgement(one), (one, mail[:200])
