"""Notifications, as a mail program and a person read them."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage

import pytest

from govmail.mail.address import Address
from govmail.mail.dsn import Action, Notice, Original, Report, compose, typed_address, utf8_xtext
from govmail.mail.dsn_text import advice_for

CHINA = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 23, 10, 30, tzinfo=CHINA)
HEADER = b"From: <zhangsan@fgw.jx.example>\r\nTo: <li@mx.example>\r\nMessage-ID: <1@fgw.jx.example>\r\nSubject: =?utf-8?B?6YCa55+l?=\r\n\r\n"
GBK = Report(
    Address.parse("li@mx.example"), Action.FAILED, "5.7.1", orcpt="rfc822;Li@mx.example", code=550,
    text="black ip. (发信IP被禁止)\nsee https://mx.example/why", mta="mx1.mx.example [192.0.2.1]", last_attempt=NOW,
)  # fmt: skip


def notice(*reports: Report, **more: object) -> Notice:
    values: dict[str, object] = {
        "sender": Address.parse("zhangsan@fgw.jx.example"), "reports": reports or (GBK,), "original": Original(HEADER, b"body\r\n"),
        "hostname": "mail.jx.example", "message_id": "q1.abcdef@mail.jx.example", "now": NOW, "arrival": NOW - timedelta(hours=1),
    }  # fmt: skip
    return Notice(**(values | more))  # type: ignore[arg-type]


def parsed(octets: bytes) -> EmailMessage:
    assert octets.isascii() and b"\0" not in octets
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return email.message_from_bytes(octets, policy=email.policy.default)


GOLDEN = """\
退信通知：邮件未能送达

您的邮件未能送达下列收件人：

  收件人：li@mx.example
  原因：对方的安全策略拒收此邮件。
  建议：请核对邮件内容与附件类型；如有疑问，请将本通知转给本单位的邮箱管理员。
  对方服务器答复 (mx1.mx.example [192.0.2.1])：550 black ip. (发信IP被禁止)
    see https://mx.example/why

邮件接收时间：2026-11-23 09:30:00 +0800
通知发出：mail.jx.example（自动发送，请勿回复）

------------------------------------------------------------

Undelivered mail

Your message could not be delivered to:

  Recipient: li@mx.example
  Reason: The message was refused by policy.
  Advice: Check contents and attachments, or forward this notice to your administrator.
  Reply of the server (mx1.mx.example [192.0.2.1]): 550 black ip. (发信IP被禁止)
    see https://mx.example/why

Message received: 2026-11-23 09:30:00 +0800
Sent automatically by mail.jx.example; please do not reply.
"""

GOLDEN_STATUS = """\
Original-Envelope-Id: QQ314159
Reporting-MTA: dns; mail.jx.example
Arrival-Date: Mon, 23 Nov 2026 09:30:00 +0800

Original-Recipient: rfc822; Li@mx.example
Final-Recipient: rfc822; li@mx.example
Action: failed
Status: 5.7.1
Remote-MTA: dns; mx1.mx.example
Diagnostic-Code: smtp;\x20
 =?utf-8?B?NTUwIGJsYWNrIGlwLiAo5Y+R5L+hSVDooqvnpoHmraIpIHNlZSBo?=
 =?utf-8?B?dHRwczovL214LmV4YW1wbGUvd2h5?=
Last-Attempt-Date: Mon, 23 Nov 2026 10:30:00 +0800
"""


def test_a_person_reads_why_and_what_to_do_in_both_languages() -> None:
    message = parsed(compose(notice()))
    text = next(iter(message.iter_parts()))
    assert text.get_content().replace("\r\n", "\n") == GOLDEN
    assert message["Subject"] == "退信通知：邮件未能送达"
    english = parsed(compose(notice(language="en")))
    assert english["Subject"] == "Undelivered mail"
    assert next(iter(english.iter_parts())).get_content().startswith("Undelivered mail")


def test_a_program_reads_the_report() -> None:
    octets = compose(notice(envid="QQ314159"))
    status = list(parsed(octets).iter_parts())[1]
    assert status.get_content_type() == "message/delivery-status"
    assert GOLDEN_STATUS.replace("\n", "\r\n").encode() in octets


def test_it_is_an_automatic_reply_to_the_message() -> None:
    message = parsed(compose(notice()))
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<1@fgw.jx.example>"
    assert message["To"] == "zhangsan@fgw.jx.example"
    assert message["From"].addresses[0].username == "MAILER-DAEMON"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


def test_the_whole_original_comes_back_when_it_may() -> None:
    third = list(parsed(compose(notice())).iter_parts())[2]
    assert third.get_content_type() == "message/rfc822"
    assert third.get_content()["Message-ID"] == "<1@fgw.jx.example>"


@pytest.mark.parametrize(
    "original",
    [
        Original(HEADER, None),
        Original(HEADER, "正文\r\n".encode()),
        Original(HEADER, b"x" * 999 + b"\r\n"),
        Original(HEADER, b"bare\nline\r\n"),
        Original(HEADER, b"nul\0\r\n"),
        Original(b"Subject: " + "通知".encode("gbk") + b"\r\n" + HEADER, b"body\r\n"),
    ],
)
def test_what_is_not_seven_bit_comes_back_as_header_only(original: Original) -> None:
    third = list(parsed(compose(notice(original=original))).iter_parts())[2]
    assert third.get_content_type() == "text/rfc822-headers"
    assert third.get_payload(decode=True).rstrip() == original.header.rstrip()  # type: ignore[union-attr]


def test_the_boundary_is_not_in_the_original() -> None:
    first = compose(notice())
    boundary = parsed(first).get_boundary()
    assert boundary is not None
    forged = Original(HEADER, f"--{boundary}--\r\n".encode())
    again = parsed(compose(notice(original=forged)))
    assert again.get_boundary() != boundary
    assert len(list(again.iter_parts())) == 3


def test_hostile_replies_stay_in_their_field() -> None:
    report = Report(
        Address.parse("li@mx.example"), Action.FAILED, "5.0.0", code=550,
        text="no\r\n\r\nFinal-Recipient: rfc822; other@mx.example\x00\n--=_", mta="mx\r\nAction: delivered [192.0.2.1]",
    )  # fmt: skip
    octets = compose(notice(report))
    status = octets[octets.index(b"Reporting-MTA:") :].split(b"\r\n--=_")[0]
    assert status.count(b"\r\nFinal-Recipient:") == 1 and status.count(b"\r\nAction:") == 1
    parsed(octets)


def test_delayed() -> None:
    report = Report(Address.parse("li@mx.example"), Action.DELAYED, "4.4.1", text="no connection", retry_until=NOW + timedelta(days=4))
    octets = compose(notice(report))
    text = next(iter(parsed(octets).iter_parts())).get_content()
    assert "您无需重新发送" in text and "继续尝试至：2026-11-27 10:30:00 +0800" in text
    assert b"Will-Retry-Until: Fri, 27 Nov 2026 10:30:00 +0800\r\n" in octets
    assert b"Diagnostic-Code" not in octets  # nobody replied


@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_its_words(action: Action) -> None:
    report = Report(Address.parse("li@mx.example"), action, "2.1.5" if action.value in ("delivered", "relayed", "expanded") else "5.1.1")
    message = parsed(compose(notice(report)))
    assert message["Subject"]
    assert f"Action: {action.value}\r\n".encode() in compose(notice(report))


def test_utf8_addresses_for_a_sender_who_knows_them() -> None:
    report = Report(Address.parse("李四@mx.example"), Action.FAILED, "5.6.7", orcpt="utf-8;李四@mx.example", text="no SMTPUTF8")
    octets = compose(notice(report, smtputf8=True, sender=Address.parse("张三@fgw.jx.example")))
    message = parsed(octets)
    status = list(message.iter_parts())[1]
    assert status.get_content_type() == "message/global-delivery-status"
    raw = octets.split(b"\r\n--=_")[2]
    # Python's parser knows message/global-delivery-status as little as an old client does: read it as text
    decoded = parsed(b"Content-Type: text/plain; charset=utf-8\r\n" + raw[raw.index(b"Content-Transfer") :]).get_content()
    assert "Final-Recipient: utf-8; 李四@mx.example" in decoded
    assert "Original-Recipient: utf-8; 李四@mx.example" in decoded
    assert "张三@fgw.jx.example" in message["To"].groups[0].display_name


def test_utf8_addresses_for_others_are_spelt_in_ascii() -> None:
    report = Report(Address.parse("李四@mx.example"), Action.FAILED, "5.1.1")
    octets = compose(notice(report))
    assert b"Final-Recipient: utf-8; \\x{674E}\\x{56DB}@mx.example\r\n" in octets
    assert utf8_xtext("a+b=c\\张") == "a\\x{2B}b\\x{3D}c\\x{5C}\\x{5F20}"
    assert typed_address("a@b.example") == "rfc822; a@b.example"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("5.1.1", "收件人地址不存在。"), ("4.2.2", "收件人的邮箱已满。"), ("5.7.26", "由于安全或认证方面的原因被拒收。"), ("5.0.0", ""), ("junk", "")],
)
def test_every_code_finds_advice(status: str, reason: str) -> None:
    advice = advice_for(status)
    assert advice.reason_zh.startswith(reason)
    assert advice.advice_zh and advice.reason_en and advice.advice_en
