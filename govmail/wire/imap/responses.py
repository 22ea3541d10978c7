"""Writes what the server says.

Invariants: a quoted string never has CR, LF, NUL or 8-bit octets in it – such text becomes a literal; every response
is whole lines with CR LF.

RFC 3501 §4.3, §7, §9; RFC 5530 (response codes); RFC 4315 (UIDPLUS).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache

from govmail.mail.zone import ZONE_SECONDS
from govmail.wire.imap import utf7
from govmail.wire.imap.numset import Range, print_ranges

MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = date(1970, 1, 1)

_ASTRING = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+\Z')
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
QUOTED_LIMIT = 1000  # longer strings become literals; some clients have short line buffers


def string(octets: bytes) -> bytes:
    """As a quoted string where that is allowed, else as a literal (R-22: never 8-bit inside quotes)."""
    if len(octets) <= QUOTED_LIMIT and _QUOTABLE.match(octets):
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n" % len(octets) + octets


def nstring(octets: bytes | None) -> bytes:
    return b"NIL" if octets is None else string(octets)


def astring(octets: bytes) -> bytes:
    """As an atom where that is allowed, else as `string` does."""
    return octets if _ASTRING.match(octets) and octets.upper() != b"NIL" else string(octets)


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name, in modified UTF-7 or, where the client has enabled it, in UTF-8 (quoted: RFC 6855 §3, RFC 9051 §9)."""
    if not utf8:
        return astring(utf7.encode(name))
    octets = name.encode("utf-8")
    return astring(octets) if name.isascii() else b'"%b"' % octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def text(words: str) -> bytes:
    """resp-text for people: 7-bit, one line, never empty, not to be taken for a response code."""
    octets = re.sub(r"[^\x20-\x7e]+", "?", words).strip()[:400].encode("ascii")
    return octets.lstrip(b"[") or b"done"


# -- lines --------------------------------------------------------------------------------------------------------


def tagged(tag: bytes, condition: bytes, words: str, code: bytes = b"") -> bytes:
    """`tag OK [CODE] words`; `condition` is OK, NO or BAD."""
    return b"%b %b %b%b\r\n" % (tag, condition, b"[%b] " % code if code else b"", text(words))


def untagged(condition: bytes, words: str, code: bytes = b"") -> bytes:
    return tagged(b"*", condition, words, code)


def capability(names: Iterable[str]) -> bytes:
    """The capability list without `*` and line end, as a response or a code has it."""
    return b"CAPABILITY " + " ".join(names).encode("ascii")


def exists(count: int) -> bytes:
    return b"* %d EXISTS\r\n" % count


def recent(count: int) -> bytes:
    return b"* %d RECENT\r\n" % count


def expunges(numbers: Iterable[int]) -> bytes:
    """EXPUNGE for each sequence number; the caller has them in descending order, so that none moves another."""
    return b"".join([b"* %d EXPUNGE\r\n" % number for number in numbers])


def vanished(uids: Sequence[Range], *, earlier: bool = False) -> bytes:
    """VANISHED (RFC 7162 §3.2.10). `earlier`: before the client's present picture of the mailbox."""
    return b"* VANISHED %b%b\r\n" % (b"(EARLIER) " if earlier else b"", print_ranges(uids))


def flags(names: Iterable[str]) -> bytes:
    return b"(" + " ".join(names).encode("ascii") + b")"


def list_line(
    verb: bytes, attributes: Sequence[str], name: str, *, separator: bytes = b'"/"', utf8: bool = False, old_name: str | None = None
) -> bytes:
    """LIST or LSUB (RFC 3501 §7.2.2). `old_name`: what the client calls it, or what it was called (RFC 9051 §6.3.9.7)."""
    old = b"" if old_name is None else b' ("OLDNAME" (%b))' % mailbox(old_name, utf8=utf8)
    return b"* %b %b %b %b%b\r\n" % (verb, flags(attributes), separator, mailbox(name, utf8=utf8), old)


def status_line(name: str, items: Sequence[tuple[bytes, int | bytes]], *, utf8: bool = False) -> bytes:
    """STATUS (RFC 3501 §7.2.4); values that are no numbers as they go on the wire."""
    values = [b"%b %b" % (item, value if isinstance(value, bytes) else b"%d" % value) for item, value in items]
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8=utf8), b" ".join(values))


def search_line(numbers: Iterable[int], modseq: int = 0) -> bytes:
    """SEARCH; `modseq`: the highest of what was found, where it was asked for (RFC 7162 §3.1.6)."""
    end = b" (MODSEQ %d)" % modseq if modseq else b""
    return b"* SEARCH" + b"".join([b" %d" % number for number in numbers]) + end + b"\r\n"


def highest_modseq(modseq: int) -> bytes:
    """HIGHESTMODSEQ (RFC 7162 §3.1.2.1)."""
    return b"HIGHESTMODSEQ %d" % modseq


def modified(numbers: Sequence[Range]) -> bytes:
    """MODIFIED (RFC 7162 §3.1.3): which messages a conditional STORE has left alone."""
    return b"MODIFIED " + print_ranges(numbers)


def in_progress(tag: bytes) -> bytes:
    """INPROGRESS without numbers; a tag that could end the response code is not repeated (RFC 9585 §4)."""
    return b"INPROGRESS (%b NIL NIL)" % (b"NIL" if b"]" in tag else b'"%b"' % tag)


def esearch(tag: bytes, uid: bool, items: Iterable[tuple[bytes, bytes]], *, where: bytes = b"") -> bytes:
    """ESEARCH (RFC 4731 §3.1, RFC 9051 §7.3.4): what was found, as pairs of name and value on the wire.

    `where`: mailbox and UIDVALIDITY, of a search in several mailboxes (see `esearch_mailbox`).
    """
    return b'* ESEARCH (TAG "%b"%b)%b%b\r\n' % (tag, where, b" UID" if uid else b"", b"".join([b" %b %b" % item for item in items]))


def esearch_mailbox(name: bytes, uidvalidity: int) -> bytes:
    """Which mailbox an ESEARCH is about (RFC 7377 §2.1); `name` as `mailbox` makes it."""
    return b" MAILBOX %b UIDVALIDITY %d" % (name, uidvalidity)


def print_list(numbers: Sequence[int]) -> bytes:
    """Numbers in their order, as a set: runs that ascend by one as ranges (RFC 5267 §3.1: ALL of a sorted result)."""
    out: list[bytes] = []
    at = 0
    while at < len(numbers):
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        out.append(b"%d" % numbers[at] if end == at else b"%d:%d" % (numbers[at], numbers[end]))
        at = end + 1
    return b",".join(out)


def sort_line(numbers: Iterable[int], modseq: int = 0) -> bytes:
    """SORT (RFC 5256 §4); `modseq` as in `search_line`."""
    end = b" (MODSEQ %d)" % modseq if modseq else b""
    return b"* SORT" + b"".join([b" %d" % number for number in numbers]) + end + b"\r\n"


def uid_batches(tag: bytes, batches: Iterable[Range]) -> bytes:
    """UIDBATCHES: ranges of UIDs with the higher one first (draft-ietf-mailmaint-imap-uidbatches §3.1)."""
    ranges = b",".join([b"%d:%d" % one for one in batches])
    return b'* UIDBATCHES (TAG "%b")%b%b\r\n' % (tag, b" " if ranges else b"", ranges)


def append_uid(uidvalidity: int, uids: Range) -> bytes:
    """APPENDUID (RFC 4315 §3)."""
    return b"APPENDUID %d %b" % (uidvalidity, print_ranges((uids,)))


def copy_uid(uidvalidity: int, source: Sequence[Range], target: Sequence[Range]) -> bytes:
    """COPYUID (RFC 4315 §3)."""
    return b"COPYUID %d %b %b" % (uidvalidity, print_ranges(source), print_ranges(target))


# -- dates --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _day(number: int) -> bytes:
    day = _EPOCH + timedelta(days=number)
    return b"%02d-%b-%04d" % (day.day, MONTH_NAMES[day.month - 1].encode(), day.year)


def internal_date(seconds: int) -> bytes:
    """date-time, quoted, in China's zone; `seconds` since the epoch."""
    day, rest = divmod(seconds + ZONE_SECONDS, 86_400)
    hour, rest = divmod(rest, 3600)
    return b'"%b %02d:%02d:%02d +0800"' % (_day(day), hour, rest // 60, rest % 60)


def plain_date(day: date) -> bytes:
    """date-text, as SEARCH has it."""
    return b"%d-%b-%04d" % (day.day, MONTH_NAMES[day.month - 1].encode(), day.year)
