"""What leaves as DATA: no bare CR or LF, no unstuffed dot, wherever the pieces are cut."""

from __future__ import annotations

import pytest

from govmail.relay.client import DotStuffer

CASES = [
    (b"", b".\r\n"),
    (b"plain\r\n", b"plain\r\n.\r\n"),
    (b"no line end", b"no line end\r\n.\r\n"),
    (b".dot\r\n..two\r\n.\r\n", b"..dot\r\n...two\r\n..\r\n.\r\n"),
    (b"a\n.\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\n.\r\nMAIL FROM:<x@evil.example>\r\n", b"a\r\n..\r\nMAIL FROM:<x@evil.example>\r\n.\r\n"),
    (b"a\r\n.\nb\r", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\r\nb\n\r\n", b"a\r\n\r\nb\r\n\r\n.\r\n"),
]


@pytest.mark.parametrize(("message", "data"), CASES)
def test_every_cut_gives_the_same(message: bytes, data: bytes) -> None:
    for first in range(len(message) + 1):
        for second in range(first, len(message) + 1):
            stuffer = DotStuffer()
            pieces = (message[:first], message[first:second], message[second:])
            assert b"".join(map(stuffer.feed, pieces)) + stuffer.end() == data
