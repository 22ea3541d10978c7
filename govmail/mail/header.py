"""The header of a message or MIME part: from raw octets to fields, and what the structured fields say.

Invariants
- Reading never raises and takes time linear in the octets; what cannot be understood is left out or taken as text.
- `Field.start` and `Field.end` are offsets into the header; fields do not overlap and keep their order.

RFC 5322 (fields, dates, message ids), RFC 2045 §5.1 and RFC 2183 (parameters), RFC 2231, RFC 2047 §5 and its
universal misuse inside parameters.
"""

from __future__ import annotations

import binascii
import calendar
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from govmail.mail.addresses import HeaderAddress, parse_addresses
from govmail.mail.text import codec, decode, decode_words, guess


class Bounds(Protocol):
    """What reading a message may cost; `config.Limits` is one."""

    @property
    def header_octets(self) -> int: ...
    @property
    def header_fields(self) -> int: ...
    @property
    def header_addresses(self) -> int: ...
    @property
    def mime_depth(self) -> int: ...
    @property
    def mime_parts(self) -> int: ...
    @property
    def text_octets(self) -> int: ...


# -- fields -------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """One field: `name` as written, `value` what follows the colon, still folded, without the last line end."""

    name: bytes
    value: bytes
    start: int
    end: int  # after its line end


# field = field-name ":" unstructured CRLF, RFC 5322 §2.2, with the space before the colon of §4.5; a line that is
# no field (mbox "From ", junk) is stepped over together with its continuation lines. Possessive: no backtracking.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?|[^\n]*+\n(?:[ \t][^\n]*+\n?)*+|[^\n]++")


def empty_line(data: bytes, start: int, stop: int) -> tuple[int, int] | None:
    """The first LF LF or LF CR LF within [start, stop): where it begins and ends."""
    # RFC 5322 lines end with CR LF, but APPEND and old spools bring bare LF, and some mails both
    usual = data.find(b"\n\r\n", start, stop)
    bare = data.find(b"\n\n", start, stop if usual < 0 else usual + 1)
    if bare >= 0:
        return bare, bare + 2
    return (usual, usual + 3) if usual >= 0 else None


def header_end(data: bytes) -> int:
    """The size of the header that `data` begins with, the empty line included; all of it when there is no empty line."""
    for ending in (b"\r\n", b"\n"):
        if data.startswith(ending):
            return len(ending)
    found = empty_line(data, 0, len(data))
    return found[1] if found else len(data)


def unfold(value: bytes) -> bytes:
    """The value on one line, without white space around it (RFC 5322 §2.2.3).

    A fold and the white space after it become one blank: its width is the sender's layout, not text.
    """
    if b"\n" in value:
        value = _FOLD.sub(b" ", value)
    return value.strip(b" \t\r")


_FOLD = re.compile(rb"\r?\n[ \t]*+")


def iterate(raw: bytes) -> Iterator[Field]:
    """The fields of a raw header."""
    return (Field(match[1], match[2], match.start(), match.end()) for match in _FIELD.finditer(raw) if match[1] is not None)


class Header:
    """The fields of one header, by name in any case; decoded accessors for what everybody asks."""

    __slots__ = ("_addresses_limit", "_by_name", "complete", "raw")

    def __init__(self, raw: bytes, limits: Bounds) -> None:
        """`raw` may end with the empty line. Fields beyond the limit are not read; `complete` is then False."""
        self.raw = raw
        self._addresses_limit = limits.header_addresses
        self._by_name: dict[bytes, list[bytes]] = {}
        self.complete = True
        left = limits.header_fields
        for name, value in _FIELD.findall(raw):
            if not name:
                continue
            if not left:
                self.complete = False
                break
            left -= 1
            name = name.lower()
            if name in self._by_name:
                self._by_name[name].append(value)
            else:
                self._by_name[name] = [value]

    @property
    def fields(self) -> list[Field]:
        """All fields in order, with their offsets, also those beyond the limit."""
        return list(iterate(self.raw))

    def all(self, name: bytes) -> list[bytes]:
        """The unfolded values of the fields of this name (lower-case), in order."""
        return [unfold(value) for value in self._by_name.get(name, ())]

    def get(self, name: bytes) -> bytes | None:
        """The unfolded value of the first field of this name (lower-case); None when there is none."""
        values = self._by_name.get(name)
        return unfold(values[0]) if values else None

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name

    def text(self, name: bytes) -> str:
        """The decoded value of the first field of this name (lower-case); "" when there is none."""
        value = self.get(name)
        return decode_words(value) if value else ""

    def addresses(self, name: bytes) -> list[HeaderAddress]:
        """The addresses of all fields of this name (lower-case) together, groups included as markers."""
        found: list[HeaderAddress] = []
        for value in self.all(name):
            found += parse_addresses(value, self._addresses_limit - len(found))
        return found

    @property
    def subject(self) -> str:
        return self.text(b"subject")

    @property
    def from_(self) -> list[HeaderAddress]:
        return [one for one in self.addresses(b"from") if one.is_mailbox]

    @property
    def sender(self) -> HeaderAddress | None:
        return next((one for one in self.addresses(b"sender") if one.is_mailbox), None)

    @property
    def message_id(self) -> str:
        """With its angle brackets; "" when there is none."""
        ids = message_ids(self.get(b"message-id") or b"")
        return ids[0] if ids else ""

    @property
    def date(self) -> int | None:
        """Date:, seconds since the epoch."""
        value = self.get(b"date")
        return parse_date(value) if value else None

    @property
    def received_count(self) -> int:
        """How many Received fields: RFC 5321 §6.3 finds loops by them."""
        return len(self.all(b"received"))


def values(raw: bytes, name: bytes) -> list[bytes]:
    """The unfolded values of the fields of this name, without reading the others."""
    return [unfold(value) for value in _named(name.lower()).findall(b"\n" + raw)]


@lru_cache(maxsize=64)
def _named(name: bytes) -> re.Pattern[bytes]:
    if not _NAME.match(name):
        return _NEVER
    return re.compile(rb"\n" + re.escape(name) + rb"[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.IGNORECASE)


_NAME = re.compile(rb"[!-9;-~]+\Z")
_NEVER = re.compile(rb"(?!)()")


def select(raw: bytes, names: frozenset[bytes], *, exclude: bool = False) -> bytes:
    """HEADER.FIELDS and HEADER.FIELDS.NOT of RFC 3501 §6.4.5: the fields with these lower-case names, or everything but
    them, lines that are no field too; then the empty line, which is there even if the header has none."""
    if not exclude and sum(map(len, names)) <= CUTTER_OCTETS:
        return cutter(names)(raw)
    named = [field for field in iterate(raw) if field.name.lower() in names]
    if exclude:
        rest = _without_empty_line(raw)
        ends, starts = [0, *(field.end for field in named)], [*(field.start for field in named), len(rest)]
        found = b"".join([rest[end:start] for end, start in zip(ends, starts, strict=True)])
    else:
        found = b"".join([raw[field.start : field.end] for field in named])
    return found + (b"\r\n" if not found or found.endswith(b"\n") else b"\r\n\r\n")


def _without_empty_line(raw: bytes) -> bytes:
    for ending in (b"\r\n", b"\n"):
        before = raw.removesuffix(ending)
        if before != raw and (not before or before.endswith(b"\n")):
            return before
    return raw


CUTTER_OCTETS = 1000  # of names; for more a pattern is not worth its making
_FIELD_NAME = re.compile(rb"[!-9;-~]+")


@lru_cache(maxsize=64)
def cutter(names: frozenset[bytes]) -> Callable[[bytes], bytes]:
    """`select` for these lower-case names as one compiled pattern; it costs a tenth of reading every field."""
    wanted = [_any_case(name) for name in sorted(names) if _FIELD_NAME.fullmatch(name)]
    if not wanted:
        return lambda raw: b"\r\n"
    # Begins with a line feed, so that the search leaps from line to line; each match leaves its own line end to the next.
    pattern = re.compile(rb"\n(?:%b)[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+" % b"|".join(wanted))

    def cut(raw: bytes) -> bytes:
        raw = b"\n" + raw
        found = pattern.findall(raw)
        if not found:
            return b"\r\n"
        last: bytes = found[-1]
        unfinished = not raw.endswith(b"\n") and raw.endswith(last)  # cut off in its last line
        return b"".join(found)[1:] + (b"\r\n\r\n" if unfinished else b"\n\r\n")

    return cut


def _any_case(name: bytes) -> bytes:
    # [Ff][Rr]…: by its first set an alternative is passed over at once, which IGNORECASE would prevent
    pieces = (b"[%c%c]" % (octet, octet - 32) if 97 <= octet <= 122 else re.escape(b"%c" % octet) for octet in name)
    return b"".join(pieces)


# -- dates --------------------------------------------------------------------------------------------------------

_MONTHS = {name: number for number, name in enumerate((b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)}
# [day-name ","] day month year hour ":" minute [":" second] zone, RFC 5322 §3.3 and §4.3; seen besides: no comma, "-" between, "." in times
_DATE = re.compile(
    rb"[ \t]*+(?:[A-Za-z]{2,9}\.?[ \t]*+,?[ \t]*+)?([0-9]{1,2})[ \t-]*+([A-Za-z]{3})[A-Za-z]{0,6}\.?[ \t-]*+([0-9]{2,4})"
    rb"(?:[ \t,]*+([0-9]{1,2})[ \t]*+[:.][ \t]*+([0-9]{1,2})(?:[ \t]*+[:.][ \t]*+([0-9]{1,2})(?:[.,][0-9]{1,9})?)?[ \t]*+(?i:([ap])\.?m\.?)?)?[ \t]*+([^\0-\x20(]{0,12})"
)
# asctime(): "Mon Nov 23 22:38:36 2026"
_ASCTIME = re.compile(rb"[ \t]*+[A-Za-z]{2,9},?[ \t]++([A-Za-z]{3})[A-Za-z]{0,6}[ \t]++([0-9]{1,2}),?[ \t]++([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?[ \t]++(?:([^\0-\x20]{1,6})[ \t]++)?([0-9]{4})")
_ISO = re.compile(rb"[ \t]*+([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})[T \t]++([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?[ \t]*+([^\0-\x20(]{0,12})")
_OFFSET = re.compile(rb"(?:GMT|UTC|UT)?([+-])([0-9]{2}):?([0-9]{2})", re.IGNORECASE)
# RFC 5322 §4.3; other letters mean nothing reliable and count as +0000
_ZONES = {b"edt": -4, b"est": -5, b"cdt": -5, b"cst": -6, b"mdt": -6, b"mst": -7, b"pdt": -7, b"pst": -8, b"bst": 1, b"cet": 1, b"cest": 2, b"msk": 3, b"jst": 9, b"hkt": 8}


def parse_date(value: bytes) -> int | None:
    """Seconds since the epoch (UTC) of an unfolded Date value, None when it cannot be read."""
    value = value[:200]
    if b"(" in value[:60]:  # a comment between the parts; one at the end is not looked at
        value = re.sub(rb"\([^()]*+\)", b" ", value)
    match = _DATE.match(value)
    if match:
        month = _MONTHS.get(match[2].lower())
        if month is None:
            return None
        year = int(match[3])
        if len(match[3]) < 4:  # RFC 5322 §4.3: obs-year
            year += 2000 if len(match[3]) == 2 and year < 50 else 1900
        hour = int(match[4] or 0)
        if match[7]:
            hour = hour % 12 + (12 if match[7] in b"pP" else 0)
        return _epoch(year, month, int(match[1]), hour, int(match[5] or 0), int(match[6] or 0), match[8])
    match = _ASCTIME.match(value)
    if match:
        month = _MONTHS.get(match[1].lower())
        return None if month is None else _epoch(int(match[7]), month, int(match[2]), int(match[3]), int(match[4]), int(match[5] or 0), match[6] or b"")
    match = _ISO.match(value)
    if match:
        year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
        return _epoch(year, month, day, hour, minute, second, match[7])
    return None


def _epoch(year: int, month: int, day: int, hour: int, minute: int, second: int, zone: bytes) -> int | None:
    if not (1900 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1] and hour <= 24 and minute < 60 and second <= 61):
        return None
    offset = _OFFSET.match(zone)
    if offset:
        seconds = int(offset[2]) * 3600 + int(offset[3]) * 60
        if seconds > 24 * 3600:
            seconds = 0
        elif offset[1] == b"-":
            seconds = -seconds
    else:
        seconds = _ZONES.get(zone.lower(), 0) * 3600
    return calendar.timegm((year, month, day, hour, minute, second)) - seconds


# -- message ids --------------------------------------------------------------------------------------------------

_MESSAGE_ID = re.compile(rb"<[ \t]*+([^<> \t]++)[ \t]*+>")


def message_ids(value: bytes, limit: int = 1000) -> list[str]:
    """The ids of Message-ID, In-Reply-To or References with their angle brackets (RFC 5322 §3.6.4).

    A lone id without brackets, as some senders write it, is taken as one.
    """
    found: list[str] = []
    for match in _MESSAGE_ID.finditer(value):
        found.append(f"<{guess(match[1])}>")
        if len(found) >= limit:
            break
    bare = value.strip()
    if not found and bare and b" " not in bare and b"<" not in bare and b">" not in bare:
        found.append(f"<{guess(bare)}>")
    return found


# -- parameters ---------------------------------------------------------------------------------------------------

PARAMETERS = 200  # of one field; those that follow are not read


class Parameterised(NamedTuple):
    """A Content-Type or Content-Disposition.

    `value` is lower-case (`text/plain`, `attachment`; "" when unreadable). `params` are the decoded values by lower-case
    name, RFC 2231 pieces joined; `wire` is what IMAP shows: ASCII names and values. `conflicts` are names given
    twice with different values.
    """

    value: str
    params: Mapping[str, str]
    wire: tuple[tuple[bytes, bytes], ...]
    conflicts: frozenset[str]


NOTHING = Parameterised("", {}, (), frozenset())
_TYPE = re.compile(rb"[ \t]*+([!#-'*-.0-9=?A-Z^-~]++)(?:[ \t]*+/[ \t]*+([!#-'*-.0-9A-Z^-~/]++))?")
_PARAM = re.compile(
    rb"[; \t\r\n]*+"
    rb"([^\0- ()<>@,;:\\\"/\[\]?=\x7f-\xff*]++)(?:\*([0-9]{1,3}))?(\*)?[ \t\r\n]*+=[ \t\r\n]*+"  # name ["*" section] ["*"] "="
    rb"(?:\"((?:[^\"\\]|\\.)*+)\"?|([^;]*+))",  # quoted-string, perhaps without its end / everything to the next ";"
    re.DOTALL,
)
_TO_SEMICOLON = re.compile(rb"[^;\"]*+(?:\"(?:[^\"\\]|\\.)*+\"?[^;\"]*+)*+;?", re.DOTALL)
_BACKSLASH = re.compile(rb"\\(.)", re.DOTALL)
_TRAILING_COMMENT = re.compile(rb"[ \t]++\([^()]*+\)?[ \t]*+\Z")
_FILE_NAMES = frozenset((b"filename", b"name"))


def parse_parameterised(value: bytes) -> Parameterised:
    """An unfolded Content-Type, Content-Disposition or the like."""
    return _parse_short(value) if len(value) <= 200 else _parse(value)


def _parse(value: bytes) -> Parameterised:
    head = _TYPE.match(value)
    if head is None:
        kind, position = "", 0
    else:
        kind = (head[1] + b"/" + head[2] if head[2] else head[1]).decode("ascii").lower()
        position = head.end()
    plain: dict[bytes, bytes] = {}
    pieces: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    conflicts: set[str] = set()
    skip = _TO_SEMICOLON.match(value, position)
    position = skip.end() if skip else len(value)
    for _ in range(PARAMETERS):
        match = _PARAM.match(value, position)
        if match is None:
            skip = _TO_SEMICOLON.match(value, position)
            if skip is None or skip.end() == position:
                break
            position = skip.end()
            continue
        position = match.end()
        name = match[1].lower()
        if match[4] is not None:
            content = _unescape(match[4], name)
        else:
            content = match[5].rstrip(b" \t\r\n")
            if name not in _FILE_NAMES and content.endswith(b")"):
                content = _TRAILING_COMMENT.sub(b"", content)
        if match[2] is None and match[3] is None:
            if plain.setdefault(name, content) != content:
                conflicts.add(name.decode("ascii"))
        else:
            sections = pieces.setdefault(name, {})
            number = int(match[2] or 0)
            if sections.setdefault(number, (content, match[3] is not None))[0] != content:
                conflicts.add(name.decode("ascii"))
    return _assemble(kind, plain, pieces, conflicts)


_parse_short = lru_cache(maxsize=2048)(_parse)


def _unescape(content: bytes, name: bytes) -> bytes:
    # A Windows path in filename="C:\dir\a.txt" is no escaping; RFC 2183 §2.3 wants the last component only.
    if b"\\" not in content:
        return content
    if name in _FILE_NAMES and not re.search(rb'\\["\\]', content):
        return content
    return _BACKSLASH.sub(rb"\1", content)


def _assemble(kind: str, plain: dict[bytes, bytes], pieces: dict[bytes, dict[int, tuple[bytes, bool]]], conflicts: set[str]) -> Parameterised:
    params: dict[str, str] = {}
    wire: list[tuple[bytes, bytes]] = []
    for name, content in plain.items():
        text = decode_words(content) if name in _FILE_NAMES or not content.isascii() else content.decode("ascii")
        params[name.decode("ascii")] = text
        wire.append((name, content if content.isascii() else encode_word(text)))
    for name, sections in pieces.items():
        text = _join_sections(sections)
        key = name.decode("ascii")
        if name not in _FILE_NAMES and params.get(key, text) != text:
            conflicts.add(key)  # a file name in both forms is the custom; a boundary in both is an attack
        params[key] = text  # RFC 2231 wins over the plain form (RFC 6266 §4.3)
        if text.isascii() and text.isprintable():
            wire.append((name, text.encode())) if name not in plain else None
        else:
            wire.append((name + b"*", b"utf-8''" + percent_encode(text)))
    return Parameterised(kind, params, tuple(wire), frozenset(conflicts))


def _join_sections(sections: dict[int, tuple[bytes, bool]]) -> str:
    # RFC 2231 §3 and §4: charset'language'value in the first piece; pieces may be encoded or not, each by itself
    charset = ""
    first, encoded = sections.get(0, (b"", False))
    if encoded and first.count(b"'") >= 2:
        label, _, first = first.split(b"'", 2)
        charset = label.decode("latin-1")
    raw: list[bytes] = []
    for number in range(len(sections) + 1):
        if number not in sections:
            if number == 0:
                continue  # some senders count from 1
            break
        content, encoded = sections[number]
        if number == 0:
            content = first
        raw.append(unquote_to_bytes(content) if encoded else content)
    joined = b"".join(raw)
    if charset and codec(charset):
        return decode(joined, charset)
    return decode_words(joined)


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~")  # attribute-char, RFC 2231 §7
_PERCENT = [bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet for octet in range(256)]


def percent_encode(text: str) -> bytes:
    """UTF-8 of the text with everything but attribute-char as %XX."""
    return b"".join(map(_PERCENT.__getitem__, text.encode("utf-8", "replace")))


def encode_word(text: str) -> bytes:
    """The text as one or more B encoded words in UTF-8, separated by spaces, none longer than 75 (RFC 2047 §2)."""
    return b" ".join(_words(text))


def _words(text: str) -> Iterator[bytes]:
    raw = text.encode("utf-8", "replace")
    start = 0
    while start < len(raw):
        stop = min(start + 39, len(raw))  # 52 characters, 64 with the frame: fits a line of 76 behind most field names
        while stop < len(raw) and raw[stop] & 0xC0 == 0x80:  # never inside a character, RFC 2047 §5
            stop -= 1
        yield b"=?utf-8?B?" + binascii.b2a_base64(raw[start:stop], newline=False) + b"?="
        start = stop
