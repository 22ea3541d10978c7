"""The process that reads messages: what a hostile mail can do, it does here.

Invariants: it knows octets and limits, no socket but the one to its server, no database, no secret; it answers requests
in their order, and ends when its server does. It may not grow beyond MEMORY_OCTETS.

On the socket: a frame is four octets of length and one of kind. READ asks for the octets that follow, READ_FILE for the
file whose path follows; DONE answers with a `Reading` in MessagePack, FAILED with a reason in UTF-8. The first frame is
the limits in JSON.
"""

from __future__ import annotations

import resource
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import IO, cast

import msgspec

from govmail.mail.message import Message
from govmail.mail.reading import read

FRAME = struct.Struct("!IB")
READ, READ_FILE, DONE, FAILED = range(4)
MEMORY_OCTETS = 2 * 1024 * 1024 * 1024  # of addresses: some times Limits.message_octets


class Bounds(msgspec.Struct, frozen=True):
    """The part of `config.Limits` that reading needs; this process does not load the configuration."""

    header_octets: int
    header_fields: int
    header_addresses: int
    mime_depth: int
    mime_parts: int
    text_octets: int
    blob_inline_octets: int


def main() -> None:
    """Serve the socket on standard input until its other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the server tells us when to end
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold mail
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS))
    with socket.socket(fileno=0) as connection, connection.makefile("rb", buffering=256 * 1024) as stream:
        requests = cast("IO[bytes]", stream)
        _, octets = _next(requests)
        limits = msgspec.json.decode(octets, type=Bounds)
        encoder = msgspec.msgpack.Encoder()
        while True:
            try:
                kind, octets = _next(requests)
            except EOFError:
                return
            try:
                message = Message.of(octets) if kind == READ else Message.spooled(Path(octets.decode()))
                answer, done = encoder.encode(read(message, limits)), DONE
            except Exception as error:
                traceback.print_exc(file=sys.stderr)
                answer, done = f"{type(error).__name__}: {error}".encode("utf-8", "replace"), FAILED
            connection.sendall(FRAME.pack(len(answer), done) + answer)


def _next(requests: IO[bytes]) -> tuple[int, bytes]:
    """Kind and payload of the next frame. Raises EOFError."""
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        raise EOFError
    length, kind = FRAME.unpack(head)
    octets = requests.read(length)
    if len(octets) < length:
        raise EOFError
    return kind, octets


if __name__ == "__main__":
    main()
