"""The deflated layer of a connection: a transport below a session that inflates what comes and deflates what goes.

Invariants
- A connection that waits holds no compressor: each write ends with a full flush, after which a fresh one may go on, so it is dropped.
  What inflates is dropped where the client has flushed; only what the client said last (at most 32 KB) stays, for it may refer to it.
- Input is inflated in steps of at most STEP octets, and each step goes through the framer with its limits before the next one is made: a
  bomb ends where the same octets sent plainly would.
- Reading pauses while the session does not want more, however much is still inside a few octets.

RFC 4978 (COMPRESS); RFC 1951 (raw DEFLATE).
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any, cast

STEP = 16 * 1024  # octets inflated at once
WINDOW, PAST_OCTETS = 15, 32 * 1024  # of the client's stream; how far back it may refer (RFC 1951 §2)
FLUSHED = b"\0\0\xff\xff"  # where a client that waits for an answer has ended
LEVEL = 1  # more costs three times the time for a tenth of the octets


class Deflated(asyncio.Transport):
    """What a session writes to after COMPRESS; its protocol's octets arrive through `Inflating`."""

    __slots__ = ("_below",)

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self._below = below

    def write(self, data: Any) -> None:
        if data:
            packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW)
            self._below.write(packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH))

    def close(self) -> None:
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        cast("Inflating", self._below.get_protocol()).pause()

    def resume_reading(self) -> None:
        cast("Inflating", self._below.get_protocol()).resume()


class Inflating(asyncio.Protocol):
    """Stands between the transport below and the session."""

    __slots__ = ("_above", "_below", "_gone", "_later", "_packed", "_past", "_paused", "_unpacker")

    def __init__(self, below: asyncio.Transport, above: asyncio.Protocol) -> None:
        self._below = below
        self._above = above
        self._unpacker: zlib._Decompress | None = None
        self._past = b""  # what the client may refer back to
        self._packed = b""  # not yet inflated
        self._later = False  # the rest of `_packed` waits for its turn
        self._paused = False
        self._gone = False

    def data_received(self, data: bytes) -> None:
        self._packed += data
        if not self._later and not self._paused:
            self._inflate()

    def _inflate(self) -> None:
        """Hand one step to the session, and come back for the next one after it has had its turn."""
        self._later = False
        if self._paused or self._gone or not self._packed:
            return
        flushed = self._packed.endswith(FLUSHED)
        unpacker = self._unpacker or zlib.decompressobj(-WINDOW, zdict=self._past)
        try:
            octets = unpacker.decompress(self._packed, STEP)
        except zlib.error:
            octets = b""
            broken = True
        else:
            broken = unpacker.eof  # RFC 4978 §3: one stream, as long as the connection
        if broken:
            self._gone = True
            self._below.abort()  # nothing that is said now would be understood
            return
        self._packed = unpacker.unconsumed_tail
        self._past = (self._past + octets)[-PAST_OCTETS:]
        whole = not self._packed and len(octets) < STEP
        self._unpacker = None if flushed and whole else unpacker
        if self._packed:
            self._later = True
            self._below.pause_reading()
            asyncio.get_running_loop().call_soon(self._again)
        if octets:
            self._above.data_received(octets)

    def _again(self) -> None:
        self._inflate()
        if not (self._later or self._paused or self._gone or self._below.is_closing()):
            self._below.resume_reading()

    def pause(self) -> None:
        self._paused = True
        self._below.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if not self._later:
            self._later = True
            asyncio.get_running_loop().call_soon(self._again)

    def eof_received(self) -> bool | None:
        return self._above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._packed = b""
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()
