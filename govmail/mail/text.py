"""Bytes from mail to text, and text to what is searched: one place for charsets and encoded words.

Invariants: nothing here raises on any bytes or label; all work is linear; what is decoded by a label that lies is
still text. A label of the GB family always means GB 18030, their superset; without a usable label UTF-8 is tried
first, then GB 18030.

RFC 2045 §6.7-6.8, RFC 2047, RFC 5051 (the spirit of `fold`), RFC 8970 §3 (preview), GB 18030-2022.
"""

from __future__ import annotations

import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

PIECE = 256 * 1024  # the most that one C call sees
PREVIEW_CHARACTERS = 200  # RFC 8970 §3.1

# -- charsets -----------------------------------------------------------------------------------------------------

GB = "gb18030"
_ALIASES = {
    **dict.fromkeys(
        ("gb2312", "gb_2312", "gb_2312-80", "gb2312-80", "csgb2312", "csiso58gb231280", "iso-ir-58", "chinese", "euc-cn", "euccn", "x-euc-cn",
         "gbk", "x-gbk", "cp936", "x-cp936", "ms936", "windows-936", "936", "gb18030", "gb18030-2000", "gb18030-2005", "gb18030-2022",
         "gb-18030", "gb", "gb2312_charset", "gbk2312", "gb2312;", "cn-gb", "x-mac-chinesesimp"),
        GB,
    ),
    **dict.fromkeys(("hz", "hz-gb-2312", "hz-gb2312", "x-hz"), "hz"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "iso_8859-1", "l1", "windows-1252", "cp1252"), "cp1252"),
    **dict.fromkeys(("utf8", "utf-8", "x-utf-8", "utf-8-sig", "unicode-1-1-utf-8", "utf8mb4", "csutf8"), "utf-8"),
    **dict.fromkeys(("iso-8859-8-i", "iso-8859-8-e"), "iso8859-8"),
    **dict.fromkeys(("ks_c_5601-1987", "ks_c_5601", "euc-kr", "cp949"), "cp949"),
    **dict.fromkeys(("x-sjis", "shift_jis", "shift-jis", "sjis", "windows-31j"), "cp932"),
    **dict.fromkeys(("big5", "big-5", "cn-big5", "x-x-big5", "big5-hkscs"), "big5hkscs"),
    "tis-620": "cp874",
    "iso-2022-jp": "iso2022_jp_2",
}
# A label is a name for text only: Python also knows "zlib", "punycode", "unicode_escape" …, some of them quadratic.
_TEXT_CODECS = frozenset(
    (
        "utf-8", "utf-7", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le", "gb18030", "hz",
        "big5hkscs", "big5", "cp950", "euc_jp", "euc_jis_2004", "shift_jis_2004", "cp932", "iso2022_jp",
        "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_ext", "iso2022_kr", "euc_kr", "cp949", "johab",
        "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9",
        "iso8859-10", "iso8859-11", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "cp1250", "cp1251",
        "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "koi8-r", "koi8-u", "koi8-t", "kz1048",
        "ptcp154", "cp437", "cp850", "cp852", "cp855", "cp866", "cp874", "tis-620", "mac-roman", "mac-cyrillic",
        "mac-greek", "mac-latin2", "mac-turkish", "mac-iceland", "hp-roman8",
    )
)
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.:+-]{0,39}\Z")


@lru_cache(maxsize=1024)
def codec(label: str) -> str:
    """The Python codec for a charset label in any spelling; "" when it says nothing useful, so that one guesses."""
    name = label.strip().strip("\"'").lower()
    known = _ALIASES.get(name)
    if known:
        return known
    if not _LABEL.match(name):
        return ""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""
    found = _ALIASES.get(found.replace("_", "-"), found)
    return found if found in _TEXT_CODECS else ""


# GB 18030-2022 (and WHATWG's reading of GBK) has real characters where Python's codec still answers with private use:
# vertical punctuation, parts of characters, six rare ideographs.
_PUBLIC = {
    0xE5E5: 0x3000, 0xE7C7: 0x1E3F,
    0xE78D: 0xFE10, 0xE78E: 0xFE12, 0xE78F: 0xFE11, 0xE790: 0xFE13, 0xE791: 0xFE14, 0xE792: 0xFE15, 0xE793: 0xFE16,
    0xE794: 0xFE17, 0xE795: 0xFE18, 0xE796: 0xFE19,
    0xE81E: 0x9FB4, 0xE826: 0x9FB5, 0xE82B: 0x9FB6, 0xE82C: 0x9FB7, 0xE832: 0x9FB8, 0xE843: 0x9FB9, 0xE854: 0x9FBA, 0xE864: 0x9FBB,
    0xE816: 0x20087, 0xE817: 0x20089, 0xE818: 0x200CC, 0xE831: 0x215D7, 0xE83B: 0x2298F, 0xE855: 0x241FE,
}
_PRIVATE = re.compile(f"[{''.join(map(chr, _PUBLIC))}]")


def _published(text: str) -> str:
    return text.translate(_PUBLIC) if _PRIVATE.search(text) else text


def decode(data: bytes, label: str) -> str:
    """The text of `data`, of which somebody says that it is in charset `label`. Bad octets become U+FFFD."""
    if data.isascii() and codec(label) not in _SHIFTING:
        return data.decode("ascii")
    if len(data) > PIECE:
        return "".join(_decode_pieces(data, _settle(data, label)))
    try:
        return _published(data.decode(_settle(data, label), "replace"))
    except (UnicodeError, ValueError):  # a decoder that ignores "replace"
        return "\ufffd"


def guess(data: bytes) -> str:
    """Text without a usable label: UTF-8 where it is that, else GB 18030."""
    return data.decode("ascii") if data.isascii() else decode(data, "")


# Charsets in which octets below 128 may be something else than ASCII
_SHIFTING = frozenset(name for name in _TEXT_CODECS if name.startswith(("utf-7", "utf-16", "utf-32", "hz", "iso2022")))


# Text this long may have been cut inside its last character and still be of that charset; a shorter one is judged whole.
_CUT_OCTETS = 1000


def _settle(data: bytes, label: str) -> str:
    """The codec that reads `data` best, given what the label says."""
    name = codec(label)
    if not name:
        return "utf-8" if _decodes(data, "utf-8") and not _is_short_gb(data) else GB
    if name == "utf-8":
        return GB if not _decodes(data, name) and _decodes(data, GB) else name
    if name == "hz" and b"~{" not in data:
        return GB  # the label is used for eight-bit text as well
    return name


def _decode_pieces(data: bytes, name: str) -> Iterator[str]:
    """No C call sees more than PIECE octets; the sum is the same as of one call."""
    try:
        decoder = codecs.getincrementaldecoder(name)("replace")
        for start in range(0, len(data), PIECE):
            yield _published(decoder.decode(data[start : start + PIECE]))
        yield _published(decoder.decode(b"", final=True))
    except (UnicodeError, ValueError):
        yield "\ufffd"


# Common characters of GB 2312 that no ASCII letter touches
_HANZI = re.compile(rb"(?<![A-Za-z])(?:[\xb0-\xf7][\xa1-\xfe])++(?![A-Za-z])")


def _is_short_gb(data: bytes) -> bool:
    """Whether octets that are UTF-8 by chance are Chinese: 通知 in GBK is also U+0368 U+05AA.

    Only two-octet characters can do that; accents of Latin words touch ASCII letters, Chinese seldom does.
    """
    return len(data) < _CUT_OCTETS and max(data) < 0xE0 and _HANZI.sub(b"", data).isascii()


def _decodes(data: bytes, name: str) -> bool:
    decoder = codecs.getincrementaldecoder(name)("strict")
    try:
        for start in range(0, len(data), PIECE):
            decoder.decode(data[start : start + PIECE])
        if len(data) < _CUT_OCTETS:
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


# -- encoded words ------------------------------------------------------------------------------------------------

# encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?=", RFC 2047 §2 and RFC 2231 §5.
# Wider than the standard: spaces inside, any length.
_WORD = re.compile(rb"=\?([!->@-~]{1,75})\?([bBqQ])\?([^?\r\n]*+)\?=")
_Q_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_NOT_BASE64 = bytes(octet for octet in range(256) if not re.match(rb"[A-Za-z0-9+/]", bytes((octet,))))


def decode_words(value: bytes) -> str:
    """An unfolded header value as text: encoded words decoded, raw octets guessed.

    Adjacent words of one charset are joined before decoding, because senders cut inside characters (RFC 2047 §5 forbids
    it); white space between words is dropped (§6.2).
    """
    if b"=?" not in value:
        return value.decode("ascii") if value.isascii() else guess(value)
    out: list[str] = []
    run: list[tuple[bytes, bytes]] = []  # (encoding, text) of adjacent words in one charset
    run_label = ""
    position = 0
    for match in _WORD.finditer(value):
        label = match[1].partition(b"*")[0].decode("latin-1")
        between = value[position : match.start()]
        adjacent = bool(run) and not between.strip(b" \t\r\n")
        if not (adjacent and (label == run_label or (codec(label) and codec(label) == codec(run_label)))):
            if run:
                out.append(decode(_join_words(run), run_label))
                run = []
            if not adjacent and between:
                out.append(guess(between))
        run.append((match[2], match[3]))
        run_label = label
        position = match.end()
    if run:
        out.append(decode(_join_words(run), run_label))
    if position < len(value):
        out.append(guess(value[position:]))
    return "".join(out)


def _join_words(words: list[tuple[bytes, bytes]]) -> bytes:
    octets: list[bytes] = []
    carried = b""  # base64 characters of a word that was cut inside a group of four
    for encoding, content in words:
        if encoding in b"qQ":
            octets.append(decode_q(content))
            continue
        text = carried + content.translate(None, _NOT_BASE64)
        carried = b""
        if len(text) % 4 == 1 or (len(text) % 4 and not content.rstrip().endswith(b"=") and content is not words[-1][1]):
            keep = len(text) - len(text) % 4
            text, carried = text[:keep], text[keep:]
        octets.append(binascii.a2b_base64(text + b"=" * (-len(text) % 4)))
    return b"".join(octets)


def decode_q(content: bytes) -> bytes:
    """The Q encoding of RFC 2047 §4.2; what is no =XX stays as it is."""
    content = content.replace(b"_", b" ")
    return _Q_HEX.sub(lambda match: bytes((int(match[1], 16),)), content) if b"=" in content else content


# -- folding for search -------------------------------------------------------------------------------------------

# Characters without a width or a meaning of their own: they hide words from search and filters.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]+")
# Text may be cut in front of these: normalisation never joins them to what precedes.
_CUT = re.compile("[ -~\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff]")
# Normalisation sorts combining marks by insertion, so a run of n marks costs n²: pieces bound it.
_FOLD_CHARACTERS = 1024


def fold(text: str) -> str:
    """The text as search compares it; `fold(needle) in fold(text)` is what SEARCH answers.

    NFKC and case-folded (RFC 5051's i;unicode-casemap decomposes instead; the classes are the same), so that full-width
    letters and digits equal plain ones; invisible characters removed; white space of any length one space, so that a
    phrase is found across a line end.
    """
    if len(text) <= _FOLD_CHARACTERS or (len(text) <= PIECE and text.isascii()):
        return _fold(text)
    return "".join(_one_space(_fold(piece) for piece in _cut(text)))


def _fold(text: str) -> str:
    if text.isascii():
        text = text.lower()
    else:
        if _INVISIBLE.search(text):
            text = _INVISIBLE.sub("", text)
        text = unicodedata.normalize("NFKC", text).casefold()
    squeezed = " ".join(text.split())
    before = " " if text[:1].isspace() else ""
    after = " " if squeezed and text[-1:].isspace() else ""
    return f"{before}{squeezed}{after}"


def _cut(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _FOLD_CHARACTERS:
        piece = text[start : start + PIECE]
        if piece.isascii():
            # A mark on its last letter belongs to the next piece's first character: leave it that letter.
            stop = start + len(piece) - (0 if start + len(piece) == len(text) else 1)
            yield text[start:stop]
            start = stop
            continue
        cut = _CUT.search(text, start + _FOLD_CHARACTERS // 2, start + _FOLD_CHARACTERS)
        stop = cut.start() if cut else start + _FOLD_CHARACTERS
        yield text[start:stop]
        start = stop
    yield text[start:]


def _one_space(pieces: Iterable[str]) -> Iterator[str]:
    space = False
    for piece in pieces:
        yield piece[1:] if space and piece.startswith(" ") else piece
        if piece:
            space = piece.endswith(" ")


# -- HTML ---------------------------------------------------------------------------------------------------------

# A start or end tag with its attributes; a quoted value may hold ">" but an unclosed quote ends nothing.
_TAG = re.compile(r"""<(/?[a-zA-Z][a-zA-Z0-9:]*+)(?:[^>=]++|=[ \t\r\n]*+(?:"[^"]*+"|'[^']*+'|))*+>?""")
_MARKUP = re.compile(r"<!--|<[!?][^>]*+>?|" + _TAG.pattern)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});?")
_BREAKS = frozenset(
    (
        "br", "p", "div", "tr", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "blockquote", "pre",
        "dl", "dt", "dd", "section", "article", "header", "footer", "title", "center", "form", "option",
    )
)
_UNSEEN = frozenset(("script", "style", "template", "noscript", "textarea", "object", "svg", "math"))


def html_text(source: str) -> str:
    """What a reader sees of an HTML document, roughly: tags, scripts, styles and comments removed, entities resolved."""
    out: list[str] = []
    position = 0
    while True:
        match = _MARKUP.search(source, position)
        if match is None:
            out.append(source[position:])
            break
        out.append(source[position : match.start()])
        position = match.end()
        if match[0] == "<!--":
            end = source.find("-->", position)
            if end < 0:
                break
            position = end + 3
            continue
        name = (match[1] or "").lower()
        if name in _UNSEEN:
            end = _closing(source, name, position)
            if end < 0:
                break
            position = end
        elif name.lstrip("/") in _BREAKS:
            out.append("\n")
        elif name in ("td", "/td", "th", "/th"):
            out.append(" ")
    text = "".join(out)
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text) if "&" in text else text


@lru_cache(maxsize=16)
def _closer(name: str) -> re.Pattern[str]:
    return re.compile(f"</{name}", re.IGNORECASE)


def _closing(source: str, name: str, position: int) -> int:
    # noscript and the like may stand unclosed: then the rest of the document is unseen, as in a browser
    found = _closer(name).search(source, position)
    return found.start() if found else -1


# -- preview ------------------------------------------------------------------------------------------------------

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd]+")


def preview(text: str) -> str:
    """The beginning of a text on one line, at most PREVIEW_CHARACTERS characters (RFC 8970 §3.1)."""
    words = " ".join(text[: PREVIEW_CHARACTERS * 10].split())[: PREVIEW_CHARACTERS * 2]
    return _CONTROL.sub("", words)[:PREVIEW_CHARACTERS].strip()
