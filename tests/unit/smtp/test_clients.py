"""Real clients: Python's smtplib, curl and swaks, in clear, with STARTTLS and with implicit TLS."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Stage = Any
Make = Callable[..., Stage]
MESSAGE = "From: zhangsan@jx.example\r\nTo: lisi@jx.example\r\nSubject: =?utf-8?B?5L2g5aW9?=\r\n\r\n.a line with a dot\r\n"


async def run(*command: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode == 0, output.decode(errors="replace")
    return output.decode(errors="replace")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_swaks(stage: Make, tls: str) -> None:
    made = stage()
    port = await made.listen("submission", tls=tls)
    for mechanism in ("PLAIN", "LOGIN"):
        output = await run(
            "swaks", "--server", "127.0.0.1", "--port", str(port), "--tls" if tls == "starttls" else "--tls-on-connect",
            "--auth", mechanism, "--auth-user", "zhangsan@jx.example", "--auth-password", "secret",
            "--from", "zhangsan@jx.example", "--to", "lisi@jx.example,b@else.example", "--header", "Subject: hi", "--body", "text", "--pipeline",
        )  # fmt: skip
        assert "<~  250 2.0.0 M" in output
    assert [len(mail.envelope.recipients) for mail in made.mails] == [2, 2]
    assert {mail.origin.protocol for mail in made.mails} == {"ESMTPSA"}


async def test_swaks_from_outside(stage: Make) -> None:
    made = stage()
    port = await made.listen()
    output = await run(
        "swaks", "--server", "127.0.0.1", "--port", str(port), "--tls", "--from", "<>", "--to", "lisi@jx.example", "--attach-body", "a", "--attach-type", "text/plain"
    )  # fmt: skip
    assert "250 2.0.0 M1" in output
    assert made.mails[0].origin.protocol == "ESMTPS"


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_curl(stage: Make, tmp_path: Path, tls: str) -> None:
    made = stage()
    port = await made.listen("submission", tls=tls)
    source = tmp_path / "mail.eml"
    source.write_bytes(MESSAGE.encode() + b"x" * 70 + b"\r\n..\r\n" * 50_000)
    await run(
        "curl", "-sS", "--max-time", "50", "--insecure", "--ssl-reqd", f"{'smtp' if tls == 'starttls' else 'smtps'}://127.0.0.1:{port}/curl.example",
        "--user", "zhangsan@jx.example:secret", "--mail-from", "zhangsan@jx.example", "--mail-rcpt", "lisi@jx.example", "--upload-file", str(source),
    )  # fmt: skip
    assert made.mails[0].data == source.read_bytes()


@pytest.mark.parametrize("implicit", [False, True])
async def test_smtplib(stage: Make, implicit: bool) -> None:
    made = stage()
    port = await made.listen("submission", tls="implicit" if implicit else "starttls")

    def send() -> dict[str, tuple[int, bytes]]:
        context = ssl._create_unverified_context()
        kind: Any = smtplib.SMTP_SSL if implicit else smtplib.SMTP
        with kind("127.0.0.1", port, timeout=20, **({"context": context} if implicit else {})) as client:
            if not implicit:
                client.starttls(context=context)
            client.login("zhangsan@jx.example", "secret")
            assert client.has_extn("chunking")
            refused: dict[str, tuple[int, bytes]] = client.sendmail(
                "zhangsan@jx.example", ["lisi@jx.example", "nobody@jx.example"], MESSAGE.replace("\r\n", "\n"), ["BODY=8BITMIME"]
            )
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail("lisi@jx.example", ["lisi@jx.example"], MESSAGE)
            return refused

    refused = await asyncio.to_thread(send)
    assert refused == {"nobody@jx.example": (550, b"5.1.1 no such mailbox here")}
    assert made.mails[0].data == MESSAGE.encode()
