"""zstd frames: what the store keeps of bodies and texts.

Invariants: several frames in a row unpack to their contents in a row (RFC 8878 §3); contexts belong to one thread.
"""

from __future__ import annotations

import re
import threading

import zstandard

_tools = threading.local()
# Magic, descriptor (single segment; content size of one or two octets), size, and a block that is raw and the last one
_RAW_AND_LAST = bytes(octet for octet in range(256) if octet & 7 == 1)
_STORED = re.compile(rb"\x28\xb5\x2f\xfd(?:\x20.|\x60..)[" + re.escape(_RAW_AND_LAST) + rb"]..", re.DOTALL)
_STORED_OCTETS = 65_536 + 255  # what a two-octet content size can say


def compress(data: bytes, *, level: int = 3) -> bytes:
    """One frame with its size in its header."""
    if not hasattr(_tools, "compressors"):
        _tools.compressors = {}
    if level not in _tools.compressors:
        _tools.compressors[level] = zstandard.ZstdCompressor(level=level)
    packed: bytes = _tools.compressors[level].compress(data)
    return packed


def decompress(data: bytes, size: int) -> bytes:
    """All frames unpacked. Raises ValueError when one is damaged or more than `size` octets come out."""
    if not hasattr(_tools, "decompressor"):
        _tools.decompressor = zstandard.ZstdDecompressor()
    pieces: list[bytes] = []
    while (lead := _STORED.match(data)) is not None:  # what `stored` has made
        end = lead.end() + (int.from_bytes(data[lead.end() - 3 : lead.end()], "little") >> 3)
        if end > len(data):
            raise ValueError("cut zstd frame")
        pieces.append(data[lead.end() : end])
        data = data[end:]
    try:
        if data:
            pieces.append(_tools.decompressor.decompress(data, max_output_size=size, allow_extra_data=False))
    except zstandard.ZstdError:  # more than one frame, or a damaged one
        pieces.append(_unpack_each(data, size))
    plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(plain) > size:
        raise ValueError(f"zstd frames of {len(plain)} octets where {size} were allowed")
    return plain


def _unpack_each(data: bytes, size: int) -> bytes:
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
