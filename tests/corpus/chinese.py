"""The golden set: Chinese headers and messages as they really come, octets in, text out.

Each sample is written by us and names what is unusual about it. Octets are built here rather than stored in files so
that a reader sees which charset and which breakage a sample means.
"""

from __future__ import annotations

import base64
from typing import NamedTuple


class HeaderSample(NamedTuple):
    """A Subject value as it arrives, and what a reader must see."""

    name: str
    raw: bytes
    text: str


class FileNameSample(NamedTuple):
    """A Content-Type or Content-Disposition value, and the file name a reader must see."""

    name: str
    raw: bytes
    filename: str


class BodySample(NamedTuple):
    """A whole message, and what its text must contain."""

    name: str
    raw: bytes
    text: str


def b(text: str, charset: str, label: str | None = None) -> bytes:
    """A B encoded word of `text` in `charset`, labelled otherwise where `label` says so."""
    return b"=?" + (label or charset).encode() + b"?B?" + base64.b64encode(text.encode(charset)) + b"?="


def q(text: str, charset: str, label: str | None = None) -> bytes:
    """The same as a Q encoded word, every octet as =XX."""
    octets = "".join(f"={octet:02X}" for octet in text.encode(charset))
    return b"=?" + (label or charset).encode() + b"?Q?" + octets.encode() + b"?="


def cut(text: str, charset: str, at: int, label: str | None = None, between: bytes = b"\r\n ") -> bytes:
    """Two B words cut after `at` octets, perhaps inside a character."""
    octets, name = text.encode(charset), (label or charset).encode()
    halves = (octets[:at], octets[at:])
    return between.join(b"=?" + name + b"?B?" + base64.b64encode(half) + b"?=" for half in halves)


NOTICE = "关于召开全省发展改革工作会议的通知"
NAMES = "朱镕基、陶喆、李堃、王珺、张翀"  # outside GB2312, inside GBK

HEADERS = [
    HeaderSample("plain utf-8", b(NOTICE, "utf-8"), NOTICE),
    HeaderSample("upper-case label", b(NOTICE, "utf-8", "UTF-8"), NOTICE),
    HeaderSample("gb2312 as labelled", b(NOTICE, "gb2312"), NOTICE),
    HeaderSample("gbk names labelled gb2312", b(NAMES, "gbk", "gb2312"), NAMES),
    HeaderSample("gbk names labelled GB2312 in Q", q(NAMES, "gbk", "GB2312"), NAMES),
    HeaderSample("four-octet character labelled gb2312", b("曹䶮与𬭊", "gb18030", "gb2312"), "曹䶮与𬭊"),
    HeaderSample("four-octet character labelled gbk", b("𬭊", "gb18030", "gbk"), "𬭊"),
    HeaderSample("gb18030", b(NAMES, "gb18030"), NAMES),
    HeaderSample("x-gbk", b(NAMES, "gbk", "x-gbk"), NAMES),
    HeaderSample("cp936", b(NAMES, "gbk", "cp936"), NAMES),
    HeaderSample("windows-936", b(NAMES, "gbk", "windows-936"), NAMES),
    HeaderSample("gb_2312-80", b(NOTICE, "gb2312", "gb_2312-80"), NOTICE),
    HeaderSample("euc-cn", b(NOTICE, "gb2312", "euc-cn"), NOTICE),
    HeaderSample("chinese", b(NOTICE, "gb2312", "chinese"), NOTICE),
    HeaderSample("gb18030-2022", b(NAMES, "gb18030", "GB18030-2022"), NAMES),
    HeaderSample("private use that 2022 publishes", b"=?gb18030?B?" + base64.b64encode(b"\xfe\x59\xa6\xd9") + b"?=", "\u9fb4\ufe10"),
    HeaderSample("hz", b"=?hz-gb-2312?B?" + base64.b64encode("通知".encode("hz")) + b"?=", "通知"),
    HeaderSample("hz label on gbk octets", b("镕基", "gbk", "hz-gb-2312"), "镕基"),
    HeaderSample("big5", b("會議通知", "big5"), "會議通知"),
    HeaderSample("unknown-8bit holds gbk", b(NOTICE, "gbk", "unknown-8bit"), NOTICE),
    HeaderSample("unknown-8bit holds utf-8", b(NOTICE, "utf-8", "unknown-8bit"), NOTICE),
    HeaderSample("x-unknown", b(NOTICE, "gbk", "x-unknown"), NOTICE),
    HeaderSample("us-ascii label on gbk", b(NOTICE, "gbk", "us-ascii"), NOTICE),
    HeaderSample("utf-8 label on gbk octets", b(NOTICE, "gbk", "utf-8"), NOTICE),
    HeaderSample("utf8 without hyphen", b(NOTICE, "utf-8", "utf8"), NOTICE),
    HeaderSample("a codec that is no charset", b(NOTICE, "utf-8", "zlib"), NOTICE),
    HeaderSample("language tag", b(NOTICE, "utf-8", "utf-8*zh-CN"), NOTICE),
    HeaderSample("two words of one charset", b("关于召开", "gbk") + b"\r\n " + b("会议", "gbk"), "关于召开会议"),
    HeaderSample("cut inside a gbk character", cut(NOTICE, "gbk", 5), NOTICE),
    HeaderSample("cut inside a gbk character labelled gb2312", cut(NAMES, "gbk", 3, "gb2312"), NAMES),
    HeaderSample("cut inside a utf-8 character", cut(NOTICE, "utf-8", 7), NOTICE),
    HeaderSample("cut inside, blank between", cut(NOTICE, "utf-8", 8, between=b" "), NOTICE),
    HeaderSample("cut inside, nothing between", cut(NOTICE, "gbk", 7, between=b""), NOTICE),
    HeaderSample("cut inside, tab between", cut(NOTICE, "gbk", 9, between=b"\r\n\t"), NOTICE),
    HeaderSample("cut inside, spelling of the label differs", b"=?GBK?B?vNI=?= =?gb2312?b?zaXX?= =?gbk?B?99Kz?=", b"\xbc\xd2\xcd\xa5\xd7\xf7\xd2\xb3".decode("gbk")),
    HeaderSample(
        "cut inside, language tags differ",
        b"=?utf-8*zh?B?" + base64.b64encode("通".encode()[:2]) + b"?= =?utf-8*zh-cn?B?" + base64.b64encode("通".encode()[2:]) + b"?=",
        "通",
    ),
    HeaderSample("cut inside, B then Q", b"=?utf-8?B?" + base64.b64encode("通".encode()[:1]) + b"?= =?utf-8?Q?=80=9A?=", "通"),
    HeaderSample("two charsets", b("关于", "gbk") + b" " + b("通知", "utf-8"), "关于通知"),
    HeaderSample("text around", b"Re: " + b("回复", "gbk") + b" (2)", "Re: 回复 (2)"),
    HeaderSample("no blank around", b"[ext]" + b("回复", "gbk") + b"end", "[ext]回复end"),
    HeaderSample("unpadded base64", b"=?utf-8?B?6YCa?= =?utf-8?B?55+l5L2g?= =?utf-8?B?YQ?=", "通知你a"),
    HeaderSample("unpadded gbk", b"=?gbk?B?zajWqg?=", "通知"),
    HeaderSample("base64 cut inside a group of four", b"=?utf-8?B?6YCa5?= =?utf-8?B?5+l?=", "通知"),
    HeaderSample("lower-case encoding letter", b"=?gbk?b?zajWqg==?=", "通知"),
    HeaderSample("blank inside base64", b"=?gbk?B?zajW qg==?=", "通知"),
    HeaderSample("blank inside Q", b"=?utf-8?Q?a b=E9=80=9A?=", "a b通"),
    HeaderSample("underscore in Q", b"=?utf-8?Q?a_=E9=80=9A?=", "a 通"),
    HeaderSample("lower-case hexadecimal in Q", b"=?utf-8?q?=e9=80=9a?=", "通"),
    HeaderSample("raw octets inside Q", b"=?gbk?Q?" + "通知".encode("gbk") + b"?=", "通知"),
    HeaderSample("raw utf-8 before words", "回执（已显示） - ".encode() + q("关于", "gbk", "GBK"), "回执（已显示） - 关于"),
    HeaderSample("raw gbk before words", "回执".encode("gbk") + b" - " + b("关于", "utf-8"), "回执 - 关于"),
    HeaderSample("raw utf-8", NOTICE.encode(), NOTICE),
    HeaderSample("raw gbk", NOTICE.encode("gbk"), NOTICE),
    HeaderSample("raw gbk that is utf-8 by chance", "通知".encode("gbk"), "通知"),
    HeaderSample("raw utf-8 of a Latin name", "Müller, São".encode(), "Müller, São"),
    HeaderSample("raw gbk with names outside GB2312", NAMES.encode("gbk"), NAMES),
    HeaderSample("raw gb18030 four octets", "曹䶮𬭊".encode("gb18030"), "曹䶮𬭊"),
    HeaderSample("raw gbk, folded", "关于召开".encode("gbk") + b"\r\n " + "会议".encode("gbk"), "关于召开 会议"),
    HeaderSample("broken gbk", "通知".encode("gbk")[:3], "通\ufffd"),
    HeaderSample("word without end", b"=?gbk?B?zajWqg==", "=?gbk?B?zajWqg=="),
    HeaderSample("empty word", b"=?gbk?B??=" + b(NOTICE, "gbk"), NOTICE),
    HeaderSample("word that is no base64", b"=?gbk?B?!!!!?=x", "x"),
    HeaderSample("full-width digits", b("２０２６年", "gbk"), "２０２６年"),
    HeaderSample("euro sign", b("€5", "gb18030"), "€5"),
    HeaderSample("latin-1 label", b("Zürich", "latin-1", "iso-8859-1"), "Zürich"),
    HeaderSample("windows quotes labelled latin-1", b"=?iso-8859-1?Q?=93ok=94?=", "“ok”"),
]

FILE = "会议材料（定稿）.docx"
_PERCENT_UTF8 = b"".join(b"%%%02X" % octet for octet in FILE.encode())
_PERCENT_GBK = b"".join(b"%%%02X" % octet for octet in FILE.encode("gbk"))

FILE_NAMES = [
    FileNameSample("rfc 2231 utf-8", b"attachment; filename*=utf-8''" + _PERCENT_UTF8, FILE),
    FileNameSample("rfc 2231 gbk", b"attachment; filename*=gb2312''" + _PERCENT_GBK, FILE),
    FileNameSample("rfc 2231 with language", b"attachment; filename*=GBK'zh-cn'" + _PERCENT_GBK, FILE),
    FileNameSample("rfc 2231 without charset", b"attachment; filename*=''" + _PERCENT_GBK, FILE),
    FileNameSample("continuations", b"attachment;\r\n filename*0*=utf-8''" + _PERCENT_UTF8[:30] + b";\r\n filename*1*=" + _PERCENT_UTF8[30:], FILE),
    FileNameSample("continuations cut inside a character", b"attachment; filename*0*=gbk''%BB;filename*1*=%E1%D2;filename*2*=%E9", "会议"),
    FileNameSample("continuations out of order", b"attachment; filename*1*=%E8%AE%AE; filename*0*=utf-8''%E4%BC%9A", "会议"),
    FileNameSample("continuations, one not encoded", b"attachment; filename*0*=utf-8''%E4%BC%9A; filename*1=\".docx\"", "会.docx"),
    FileNameSample("continuations from one on", b"attachment; filename*1=\"a\"; filename*2=\".docx\"", "a.docx"),
    FileNameSample("encoded word in quotes", b'attachment; filename="' + b(FILE, "utf-8") + b'"', FILE),
    FileNameSample("encoded word gb2312 over gbk", b'attachment; filename="' + b("王珺.pdf", "gbk", "gb2312") + b'"', "王珺.pdf"),
    FileNameSample("encoded word without quotes", b"attachment; filename=" + b(FILE, "gbk"), FILE),
    FileNameSample("encoded words folded", b'attachment; filename="' + cut(FILE, "gbk", 5) + b'"', FILE),
    FileNameSample("encoded words of two charsets", b'attachment; filename="' + b("会议", "utf-8") + b"\r\n " + b("材料", "gb2312") + b'"', "会议材料"),
    FileNameSample("raw gbk", b'attachment; filename="' + FILE.encode("gbk") + b'"', FILE),
    FileNameSample("raw utf-8", b'attachment; filename="' + FILE.encode() + b'"', FILE),
    FileNameSample("raw gbk without quotes", b"attachment; filename=" + FILE.encode("gbk"), FILE),
    FileNameSample("both forms, equal", b'attachment; filename="' + b(FILE, "gbk") + b"\"; filename*=utf-8''" + _PERCENT_UTF8, FILE),
    FileNameSample("both forms, different", b"attachment; filename=\"tcmime.1.bin\"; filename*=utf-8''" + _PERCENT_UTF8, FILE),
    FileNameSample("blanks without quotes", "attachment; filename=会议 材料.docx; size=3".encode(), "会议 材料.docx"),
    FileNameSample("windows path", b'attachment; filename="C:\\work\\a.docx"', "C:\\work\\a.docx"),
    FileNameSample("quote escaped", b'attachment; filename="a\\"b.docx"', 'a"b.docx'),
    FileNameSample("quote never closed", b'attachment; filename="a.docx', "a.docx"),
    FileNameSample("upper-case attribute", b"ATTACHMENT; FILENAME=a.docx", "a.docx"),
]


def message(content_type: bytes, body: bytes, encoding: bytes | None = None) -> bytes:
    """A small message; no Content-Type field where it is empty."""
    header = b"From: a@gz.example\r\nSubject: x\r\n"
    if content_type:
        header += b"MIME-Version: 1.0\r\nContent-Type: " + content_type + b"\r\n"
    if encoding:
        header += b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    return header + b"\r\n" + body


LETTER = "各单位：\r\n请按时参加会议，联系人朱镕基。\r\n"

BODIES = [
    BodySample("utf-8 8bit", message(b"text/plain; charset=utf-8", LETTER.encode(), b"8bit"), LETTER),
    BodySample("gbk labelled gb2312", message(b"text/plain; charset=gb2312", LETTER.encode("gbk"), b"8bit"), LETTER),
    BodySample("gbk base64", message(b'text/plain; charset="GBK"', base64.encodebytes(LETTER.encode("gbk")), b"base64"), LETTER),
    BodySample("no label, gbk", message(b"text/plain", LETTER.encode("gbk")), LETTER),
    BodySample("no label, utf-8", message(b"text/plain", LETTER.encode()), LETTER),
    BodySample("no MIME at all, gbk", message(b"", LETTER.encode("gbk")), LETTER),
    BodySample("no MIME at all, utf-8", message(b"", LETTER.encode()), LETTER),
    BodySample("wrong label us-ascii", message(b"text/plain; charset=us-ascii", LETTER.encode("gbk")), LETTER),
    BodySample("wrong label utf-8", message(b"text/plain; charset=utf-8", LETTER.encode("gbk")), LETTER),
    BodySample("base64 without padding", message(b"text/plain; charset=gbk", base64.b64encode("会议通知".encode("gbk")).rstrip(b"=") + b"\r\n", b"base64"), "会议通知"),
    BodySample("BASE64 upper case", message(b"text/plain; charset=gbk", base64.b64encode(LETTER.encode("gbk")), b"BASE64"), LETTER),
    BodySample("quoted-printable", message(b"text/plain; charset=gb18030", b"=BB=E1=D2=E9=\r\n=CD=A8=D6=AA\r\n", b"quoted-printable"), "会议通知"),
    BodySample("quoted-printable lower case", message(b"text/plain; charset=utf-8", b"=e4=bc=9a\r\n", b"quoted-printable"), "会"),
    BodySample("html", message(b"text/html; charset=gbk", "<p>会议<b>通知</b></p><style>p{}</style>&nbsp;附件".encode("gbk")), "会议通知"),
    BodySample("hz", message(b"text/plain; charset=hz-gb-2312", "会议通知".encode("hz")), "会议通知"),
    BodySample("big5", message(b"text/plain; charset=big5", "會議通知".encode("big5")), "會議通知"),
]
