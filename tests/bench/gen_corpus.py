"""Writes a corpus of made-up official mail: the same files for the same seed.

    python tests/bench/gen_corpus.py --out DIR --count 10000

Sizes are log-normal (median about 15 KB, mean about 75 KB, at most 3 MB). Forms: plain text, text with HTML, attachments;
charsets UTF-8, GB2312, GBK, GB18030, ASCII; folded headers, Received chains, threads. One mail in 50 holds the needle
"zebrafish", one in 50 斑马鱼. `index.json` describes what was written.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import quopri
import random
import textwrap
from collections.abc import Sequence
from pathlib import Path

from common import percentile

HAN = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"
    "十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表"
    "间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员"
)
UNITS = ("办公厅", "发展和改革委员会", "财政局", "教育局", "卫生健康委员会", "民政局", "自然资源局", "审计局", "统计局", "档案馆")
TITLES = ("关于印发{}工作要点的通知", "关于召开{}会议的通知", "关于报送{}情况的函", "关于{}的请示", "关于{}的批复", "关于做好{}的紧急通知")
WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "with", "on", "report", "meeting", "budget", "please", "find", "attached", "review", "schedule", "office", "deadline", "project", "number", "update", "staff", "policy", "audit", "travel", "contract", "system", "network", "backup", "request", "approval", "agenda", "minutes"]
CLIENTS = ("Foxmail 7.2.25.331[cn]", "Microsoft Outlook 16.0", "Thunderbird 128.5", "Coremail Webmail Server")
CHARSETS = ("utf-8", "gb2312", "gbk", "gb18030", "us-ascii")
LARGEST = 3_000_000


class Writer:
    """One message after another; each depends on the seed and its number, and on the ids of those before it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._recent: list[str] = []

    def message(self, number: int) -> bytes:
        rng = random.Random(f"{self._seed}/{number}")
        size = max(1200, min(LARGEST, round(math.exp(rng.gauss(math.log(16_500), 1.82)))))
        charset = rng.choices(CHARSETS, (40, 15, 15, 15, 15))[0]
        needle = {7: "zebrafish", 21: "斑马鱼"}.get(number % 50, "")
        if not _fits(needle, charset):
            charset = "utf-8"
        header = self._header(rng, number, charset, needle)
        form = rng.choices(("plain", "alternative", "mixed"), (40, 35, 25) if size < 40_000 else (2, 18, 80))[0]
        boundary = f"----=_Part_{number}_{rng.getrandbits(32):08x}"
        if form == "plain":
            body = _text(rng, charset, min(size, 60_000), needle)
        elif form == "alternative":
            body = _alternative(rng, charset, min(size, 200_000), needle, boundary)
        else:
            body = _mixed(rng, charset, size, needle, boundary)
        return ("\r\n".join(header) + "\r\n" + body).encode("ascii")

    def _header(self, rng: random.Random, number: int, charset: str, needle: str) -> list[str]:
        date = f"Thu, {rng.randrange(1, 28):02} Mar 2026 {rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02} +0800"
        ident = f"<{rng.getrandbits(32):08x}.{number}@mail{number % 7}.bench.test>"
        lines = [
            f"Received: from gw{rng.randrange(9)}.bench.test ([10.0.{rng.randrange(250)}.{rng.randrange(250)}])\r\n"
            f"\tby mx{hop}.bench.test with ESMTPS id {rng.getrandbits(32):08X}; {date}"
            for hop in range(rng.randint(1, 4))
        ]
        if charset == "us-ascii":
            subject = " ".join(rng.choices(WORDS, k=rng.randint(3, 9))) + needle
            name = f'"{rng.choice(WORDS).title()} {rng.choice(WORDS).title()}"'
        else:
            subject = encoded_words(rng.choice(TITLES).format(_han(rng, rng.randint(3, 12))) + needle, charset)
            name = encoded_words(rng.choice(UNITS) + _han(rng, 3), charset)
        lines += [f"From: {name} <u{rng.randrange(1000)}@bench.test>", f"To: <u{rng.randrange(1000)}@bench.test>"]
        if rng.random() < 0.3:
            names = (f"{encoded_words(_han(rng, 3), 'utf-8')} <u{rng.randrange(1000)}@bench.test>" for _ in range(rng.randint(1, 12)))
            lines.append("Cc: " + ",\r\n\t".join(names))
        lines += [f"Subject: {subject}", f"Date: {date}", f"Message-ID: {ident}"]
        if self._recent and rng.random() < 0.3:
            lines += [f"In-Reply-To: {self._recent[-1]}", "References: " + "\r\n ".join(self._recent[-rng.randint(1, 4) :])]
        self._recent = [*self._recent, ident][-8:]
        return [*lines, f"X-Mailer: {rng.choice(CLIENTS)}", "MIME-Version: 1.0"]


def encoded_words(text: str, charset: str) -> str:
    """RFC 2047, folded."""
    pieces = (text[start : start + 12].encode(charset, "ignore") for start in range(0, len(text), 12))
    return "\r\n ".join(f"=?{charset.upper()}?B?{base64.b64encode(piece).decode()}?=" for piece in pieces)


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


def _han(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(HAN, k=count))


def _prose(rng: random.Random, charset: str, size: int, needle: str) -> bytes:
    """About `size` octets of text with line feeds; the needle stands in the first line."""
    if charset == "us-ascii":
        words = rng.choices(WORDS, k=min(size // 6, 3000)) * (1 + size // 18_000)
        return "\n".join(textwrap.wrap(f"{needle} {' '.join(words)}"[:size], 72)).encode()
    characters = max(20, size // (3 if charset == "utf-8" else 2))
    paragraphs = [needle]
    while characters > 0:
        length = min(characters, rng.randint(60, 250))
        paragraphs.append(_han(rng, length) + rng.choice("，。；"))
        characters -= length
    return "\n".join(paragraphs).encode(charset, "ignore")


def _part(rng: random.Random, charset: str, subtype: str, data: bytes) -> str:
    """Content header, empty line, encoded text."""
    start = f'Content-Type: text/{subtype}; charset="{charset}"\r\nContent-Transfer-Encoding: '
    if charset == "us-ascii":
        return f"{start}7bit\r\n\r\n" + data.decode().replace("\n", "\r\n") + "\r\n"
    if rng.random() < 0.8:
        return f"{start}base64\r\n\r\n{_base64(data)}\r\n"
    return f"{start}quoted-printable\r\n\r\n" + quopri.encodestring(data).decode("ascii").replace("\n", "\r\n") + "\r\n"


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode("ascii").replace("\n", "\r\n").rstrip("\r\n")


def _text(rng: random.Random, charset: str, size: int, needle: str) -> str:
    return _part(rng, charset, "plain", _prose(rng, charset, size * 7 // 10, needle))


def _alternative(rng: random.Random, charset: str, size: int, needle: str, boundary: str) -> str:
    inner = boundary + "A"
    lines = _prose(rng, charset, size // 3, needle).split(b"\n")
    html = b'<html><body style="font:14px Arial">' + b"".join(b"<p>%s</p>\n" % line for line in lines) + b"</body></html>"
    return _multipart("alternative", inner, [_text(rng, charset, size // 3, needle), _part(rng, charset, "html", html)])


def _mixed(rng: random.Random, charset: str, size: int, needle: str, boundary: str) -> str:
    parts = [_alternative(rng, charset, min(6000, size // 4), needle, boundary) if rng.random() < 0.6 else _text(rng, charset, min(4000, size // 4), needle)]
    left = max(4000, size * 3 // 4)
    for number in range(rng.choices((1, 2, 3), (70, 20, 10))[0]):
        octets = left * 3 // 4 if number == 0 else rng.randint(2000, 20_000)
        kind, magic = rng.choice((("docx", b"PK\x03\x04"), ("pdf", b"%PDF-1.5\n"), ("jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0")))
        name = encoded_words(f"{_han(rng, 4)}附件{number + 1}.{kind}", "gbk" if charset == "us-ascii" else charset)
        parts.append(
            f'Content-Type: application/octet-stream;\r\n\tname="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
            f'Content-Disposition: attachment;\r\n\tfilename="{name}"\r\n\r\n{_base64(magic + rng.randbytes(octets * 3 // 4))}\r\n'
        )
    return _multipart("mixed", boundary, parts)


def _multipart(subtype: str, boundary: str, parts: Sequence[str]) -> str:
    inside = "".join(f"--{boundary}\r\n{part}" for part in parts)
    return f'Content-Type: multipart/{subtype};\r\n\tboundary="{boundary}"\r\n\r\n{inside}--{boundary}--\r\n'


def write(directory: Path, count: int, seed: int = 1) -> dict[str, int]:
    """Write the corpus; what it is like, in octets."""
    writer, sizes = Writer(seed), []
    for number in range(count):
        folder = directory / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        message = writer.message(number)
        (folder / f"{number:06}.eml").write_bytes(message)
        sizes.append(len(message))
    about = {"count": count, "seed": seed, "octets": sum(sizes), "mean": sum(sizes) // max(1, count)}
    about |= {f"p{share}": int(percentile(sizes, share)) for share in (50, 90, 99, 100)}
    (directory / "index.json").write_text(json.dumps(about))
    return about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(write(options.out, options.count, options.seed)))


if __name__ == "__main__":
    main()
