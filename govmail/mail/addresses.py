"""Address lists of header fields, read from whatever senders write.

Invariants: never raises, linear in the octets; at most `limit` entries come back; names and addresses are raw octets,
decoded by the accessors.

RFC 5322 §3.4 and §4.4 (obsolete forms: routes, empty list elements), RFC 2047 §5 (encoded words in phrases), RFC 6854 (groups).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from govmail.mail.text import decode_words, guess

COMMENT_DEPTH = 100  # deeper parentheses are text of the comment


class HeaderAddress(NamedTuple):
    """One entry of an address list: a mailbox, or the start (`domain` None) or end (`local` None too) of a group.

    What a mailbox lacks, its local part or its domain, is an empty string.
    """

    name: bytes | None  # display name, unquoted, still with encoded words
    route: bytes | None  # obsolete source route, RFC 5322 §4.4
    local: bytes | None  # unquoted; the name of a group at its start
    domain: bytes | None

    @property
    def is_mailbox(self) -> bool:
        return self.domain is not None

    @property
    def display(self) -> str:
        """The decoded display name, "" when there is none."""
        return decode_words(self.name) if self.name else ""

    @property
    def address(self) -> str:
        """`local@domain` as text, not checked for anything; "" for group markers."""
        if self.local is None or self.domain is None:
            return ""
        return f"{guess(self.local)}@{guess(self.domain)}" if self.domain else guess(self.local)


GROUP_END = HeaderAddress(None, None, None, None)

# What nearly all senders write: [display-name] "<" dot-atom "@" domain ">", or the bare address, then "," or the end.
_COMMON = re.compile(
    rb"[ \t]*+(?:(?:\"([^\"\\]*+)\"|([!#-'*+\-/-9=?A-Z^-~\x80-\xff][!#-'*+\-/-9=?A-Z^-~\x80-\xff \t]*+)|)[ \t]*+<([!#-'*+\-./-9=?A-Z^-~]++)@([A-Za-z0-9._-]++)>"
    rb"|([!#-'*+\-./-9=?A-Z^-~]++)@([A-Za-z0-9._-]++))[ \t]*+(?:,|\Z)"
)
# quoted-string (perhaps unclosed) / domain-literal / special / white space / atom with dots
_TOKEN = re.compile(rb"\"((?:[^\"\\]|\\.)*+)\"?|(\[[^\]]*+\]?)|([<>,;:@()\\])|([ \t\r\n]++)|([^\"\[<>,;:@()\\ \t\r\n]++|\])", re.DOTALL)
_PAREN = re.compile(rb"[()]|\\.", re.DOTALL)
_BACKSLASH = re.compile(rb"\\(.)", re.DOTALL)


def parse_addresses(value: bytes, limit: int) -> list[HeaderAddress]:
    """The entries of an unfolded address-list value, at most `limit`."""
    if _HAS_STAND_IN.search(value):
        value = value.translate(None, _STAND_INS)
    found: list[HeaderAddress] = []
    position, stop = 0, len(value)
    reader: _Reader | None = None
    while position < stop and len(found) < limit:
        if reader is None or not reader.in_group:
            match = _COMMON.match(value, position)
            if match is not None:
                quoted, phrase, local, domain, bare_local, bare_domain = match.groups()
                if local is None:
                    found.append(HeaderAddress(None, None, bare_local, bare_domain))
                else:
                    name = quoted if quoted is not None else phrase and _squeeze(phrase)
                    found.append(HeaderAddress(name or None, None, local, domain))
                position = match.end()
                continue
        reader = reader or _Reader(value)
        position = reader.read_entry(position, found)
    if reader is not None and reader.in_group:
        found.append(GROUP_END)
    return found


def _squeeze(phrase: bytes) -> bytes:
    return phrase.rstrip(b" \t") if b"  " not in phrase and b"\t" not in phrase else b" ".join(phrase.split())


class _Reader:
    """The tokens of one list, where the common pattern does not fit."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.in_group = False

    def read_entry(self, position: int, found: list[HeaderAddress]) -> int:
        """Read to the end of one list element, add what it is, return where the next begins."""
        words: list[bytes] = []  # of the phrase, or of the address when no "<" comes
        spaced = False  # white space before the next word
        comment = b""
        angle: list[bytes] | None = None  # what stands between < and >
        at_plain = -1  # index in `words` of a bare "@"
        closed = False
        while position < len(self.value):
            match = _TOKEN.match(self.value, position)
            assert match is not None  # every octet begins a token
            position = match.end()
            quoted, literal, special, space, atom = match.groups()
            if special == b"(":
                position, text = self._comment(position)
                comment = comment or text
            elif space is not None:
                spaced = True
            elif (special == b"," and angle is None) or (special == b"," and closed):
                break
            elif special == b";" and (angle is None or closed):
                self._add(found, words, angle, comment, at_plain)
                if self.in_group:
                    found.append(GROUP_END)
                    self.in_group = False
                return position
            elif special == b":" and angle is None and not self.in_group and at_plain < 0:
                found.append(HeaderAddress(None, None, _phrase(words), None))
                self.in_group = True
                return position
            elif special == b"<" and angle is None:
                angle = []
            elif special == b">" and angle is not None:
                closed = True
            elif not closed:
                # text inside quotes keeps its blanks, an atom is one word
                piece = _unquote(quoted) if quoted is not None else (literal or special or atom or b"")
                if angle is not None:
                    angle.append(b"@" if special == b"@" else piece if quoted is None else _protect(piece))
                    continue
                if special == b"@" and at_plain < 0:
                    at_plain = len(words)
                    words.append(b"@")
                else:
                    words.append(_GAP + piece if spaced and words else piece)
                spaced = False
            else:
                spaced = False
        self._add(found, words, angle, comment, at_plain)
        return position

    def _comment(self, position: int) -> tuple[int, bytes]:
        # comment = "(" *([FWS] ccontent) [FWS] ")", nested; counted, not recursed into. Unclosed: to the end.
        start, depth = position, 1
        while depth:
            match = _PAREN.search(self.value, position)
            if match is None:
                return len(self.value), self.value[start:].strip()
            position = match.end()
            if match[0] == b"(":
                depth += depth < COMMENT_DEPTH
            elif match[0] == b")":
                depth -= 1
        return position, _BACKSLASH.sub(rb"\1", self.value[start : position - 1]).strip()

    def _add(self, found: list[HeaderAddress], words: list[bytes], angle: list[bytes] | None, comment: bytes, at_plain: int) -> None:
        if angle is not None:
            content = b"".join(angle)
            route = None
            if content.startswith(b"@"):  # obs-route = "@" domain *("," "@" domain) ":"
                before, colon, after = content.partition(b":")
                if colon:
                    route, content = before, after
            local, _, domain = content.rpartition(b"@") if b"@" in content else (content, b"", b"")
            name = _phrase(words) or comment
            found.append(HeaderAddress(name or None, route, _unprotect(local), _unprotect(domain)))
        elif at_plain >= 0:
            start = at_plain - 1 if at_plain else 0
            while start > 0 and _joined(words[start - 1], words[start]):
                start -= 1
            stop = min(at_plain + 2, len(words))
            while stop < len(words) and _joined(words[stop - 1], words[stop]):
                stop += 1
            # "Some Name a@b.example Other": what stands around the address is a name
            name = comment or _phrase(words[:start]) or _phrase(words[stop:])
            local = b"".join(words[start:at_plain]).replace(_GAP, b"")
            domain = b"".join(words[at_plain + 1 : stop]).replace(_GAP, b"")
            found.append(HeaderAddress(name or None, None, local, domain))
        elif words:
            found.append(HeaderAddress(comment or None, None, _phrase(words), b""))


def _joined(word: bytes, following: bytes) -> bool:
    # obs-local-part and obs-domain allow white space around dots, RFC 5322 §4.4
    return not following.startswith(_GAP) or following.startswith(_GAP + b".") or word.endswith(b".")


# Stand-ins while a list is read: "@" and ":" that stood in quotes, white space in front of a word
_AT, _COLON, _GAP = b"\x01", b"\x02", b"\x03"
_STAND_INS = _AT + _COLON + _GAP
_HAS_STAND_IN = re.compile(b"[" + _STAND_INS + b"]")


def _protect(piece: bytes) -> bytes:
    return piece.replace(b"@", _AT).replace(b":", _COLON)


def _unprotect(piece: bytes) -> bytes:
    return piece.replace(_AT, b"@").replace(_COLON, b":")


def _unquote(content: bytes) -> bytes:
    return _BACKSLASH.sub(rb"\1", content) if b"\\" in content else content


def _phrase(words: list[bytes]) -> bytes:
    return b"".join(words).replace(_GAP, b" ").strip()
