"""Content-Transfer-Encodings, decoded piece by piece and forgivingly.

Invariants: the sum of what a decoder returns does not depend on how its input was cut; nothing raises; no C call sees
more than it was fed.

RFC 2045 §6.7 (quoted-printable), §6.8 (base64).
"""

from __future__ import annotations

import binascii
import re
from typing import Protocol

IDENTITIES = frozenset(("7bit", "8bit", "binary"))


class TransferDecoder(Protocol):
    def decode(self, piece: bytes, final: bool = False) -> bytes:
        """The octets that are certain after this piece; with `final` all that remain."""
        ...


class Identity:
    """7bit, 8bit, binary, and every encoding that nobody knows."""

    __slots__ = ()

    def decode(self, piece: bytes, final: bool = False) -> bytes:
        return piece


_NOT_BASE64 = bytes(octet for octet in range(256) if not re.match(rb"[A-Za-z0-9+/=]", bytes((octet,))))
_PADDING = re.compile(rb"=++")


class Base64:
    """Characters outside the alphabet are skipped (RFC 2045 §6.8 asks for it), missing padding is supplied; after padding
    a new run may follow, as where two encoded pieces were put one after the other."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, piece: bytes, final: bool = False) -> bytes:
        data = self._rest + piece.translate(None, _NOT_BASE64)
        runs = _PADDING.split(data) if b"=" in data else [data]
        out = [_whole(run) for run in runs[:-1]]
        last = runs[-1]
        if final:
            self._rest = b""
            out.append(_whole(last))
        else:
            keep = len(last) - len(last) % 4
            self._rest = last[keep:]
            out.append(binascii.a2b_base64(last[:keep]))
        return out[0] if len(out) == 1 else b"".join(out)


def _whole(run: bytes) -> bytes:
    # one character alone holds six bits: no octet
    if len(run) % 4 == 1:
        run = run[:-1]
    return binascii.a2b_base64(run + b"=" * (-len(run) % 4))


_BLANKS_BEFORE_END = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")


class QuotedPrintable:
    """An "=" that begins neither a soft line break nor two hexadecimal digits stays; blanks at the end of a line go
    (RFC 2045 §6.7 rule 3)."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, piece: bytes, final: bool = False) -> bytes:
        data = self._rest + piece
        if final:
            self._rest = b""
        else:
            # Keep the last line back: what its end means depends on what follows. A line without end is cut where
            # no "=XX" can be open.
            cut = data.rfind(b"\n") + 1
            if len(data) - cut > 1000:
                cut = _safe_cut(data)
            self._rest, data = data[cut:], data[:cut]
        if b"=" not in data and b" \r\n" not in data and b" \n" not in data and b"\t\r\n" not in data and b"\t\n" not in data:
            return data
        return binascii.a2b_qp(_BLANKS_BEFORE_END.sub(b"", data))


def _safe_cut(data: bytes) -> int:
    stop = len(data.rstrip(b" \t\r"))
    equals = data.rfind(b"=", max(0, stop - 3), stop)
    return equals if equals >= 0 else stop


def decoder(encoding: str) -> TransferDecoder:
    """A fresh decoder for a lower-case Content-Transfer-Encoding."""
    if encoding == "base64":
        return Base64()
    if encoding == "quoted-printable":
        return QuotedPrintable()
    return Identity()


def decode(data: bytes, encoding: str) -> bytes:
    """All of `data` at once."""
    return decoder(encoding).decode(data, final=True)
