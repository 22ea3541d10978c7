"""Signatures of texts: Bloom bits of characters and bigrams, which tell without reading a text what it cannot hold.

Invariant: a needle that occurs in a text never fails the text's signature; an empty signature excludes nothing.

Short texts have none: scanning 64,000 characters takes some microseconds, making their signature some milliseconds, which
delivery would have to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator

SHORT = 64 * 1024  # characters
PIECE = 8 * 1024  # characters that one C call sees: it holds the interpreter lock
LONG = 128 * 1024  # beyond it a signature costs more than many scans, and Limits.text_octets is near
BITS_PER_ITEM = 8  # with two probes: about one in twenty absent items looks present, and a needle has several


def make_signature(text: str) -> bytes:
    """The signature of a folded text; empty where none pays. Its length is a power of two of octets."""
    if not SHORT <= len(text) <= LONG:
        return b""
    items = _items(text)
    octets = 64
    while octets * 8 < len(items) * BITS_PER_ITEM:
        octets *= 2
    return _with(bytes(octets), items)


def extended_signature(signature: bytes, text: str) -> bytes:
    """The signature of the same text with a few lines more."""
    return _with(signature, _items(text)) if signature else b""


def _items(text: str) -> set[str]:
    items = set(text)
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE + 1]
        items.update(map(str.__add__, piece, piece[1:]))
    return items


def _with(signature: bytes, items: set[str]) -> bytes:
    bits = bytearray(signature)
    mask = len(signature) * 8 - 1
    for item in items:
        for bit in _probes(item, mask):
            bits[bit >> 3] |= 1 << (bit & 7)
    return bytes(bits)


def may_hold(signature: bytes, needle: str) -> bool:
    """Whether a text with this signature can contain the folded needle."""
    if not signature or not needle:
        return True
    mask = len(signature) * 8 - 1
    items = set(needle) | set(map(str.__add__, needle, needle[1:]))
    return all(signature[bit >> 3] >> (bit & 7) & 1 for item in items for bit in _probes(item, mask))


def _probes(item: str, mask: int) -> Iterator[int]:
    # Not hash(): that differs from process to process. Multiplicative hashing of one or two code points.
    value = ord(item[0]) * 0x9E3779B97F4A7C15
    if len(item) == 2:
        value += (ord(item[1]) + 1) * 0xC2B2AE3D27D4EB4F
    value &= 0xFFFFFFFFFFFFFFFF
    value ^= value >> 29
    value = value * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    yield value >> 32 & mask
    yield value & mask
