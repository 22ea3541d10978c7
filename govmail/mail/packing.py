"""zstd frames: what the store keeps of bodies and texts.

Invariants: several frames in a row unpack to their contents in a row (RFC 8878 §3); contexts belong to one thread.
"""

from __future__ import annotations

import threading

import zstandard

_tools = threading.local()
_STORED_OCTETS = 65_536 + 255  # what a two-octet content size can say


def compress(data: bytes) -> bytes:
    """One frame with its size in its header."""
    if not hasattr(_tools, "compressor"):
        _tools.compressor = zstandard.ZstdCompressor(level=3)
    packed: bytes = _tools.compressor.compress(data)
    return packed


def decompress(data: bytes, size: int) -> bytes:
    """All frames unpacked. Raises ValueError when one is damaged or more than `size` octets come out."""
    if not hasattr(_tools, "decompressor"):
        _tools.decompressor = zstandard.ZstdDecompressor()
    plain = b""
    while data:
        frame = _tools.decompressor.decompressobj()
        try:
            plain += frame.decompress(data)
        except zstandard.ZstdError as error:
            raise ValueError(f"damaged zstd frame: {error}") from error
        if not frame.eof:
            raise ValueError("cut zstd frame")
        if len(plain) > size:
            raise ValueError(f"zstd frames of {len(plain)} octets where {size} were allowed")
        data = frame.unused_data
    return plain


def stored(data: bytes) -> bytes:
    """A frame that holds a few octets as they are. For the event loop: no compressor, so the interpreter lock stays."""
    size = len(data)
    if size > _STORED_OCTETS:
        return compress(data)
    # RFC 8878 §3.1.1: magic, descriptor (single segment; content size of one or two octets), size, one raw and last block
    described = b"\x20%c" % size if size < 256 else b"\x60" + (size - 256).to_bytes(2, "little")
    return b"\x28\xb5\x2f\xfd" + described + (size << 3 | 1).to_bytes(3, "little") + data
