"""Commands are cut out of the stream, and what is too big costs nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.config import Limits
from govmail.wire.imap.framer import Command, Continue, Event, Fatal, Framer, MessageLiteral, Piece, TooBig

LIMITS = Limits()


def events(pieces: list[bytes], *, authenticated: bool = True, limits: Limits = LIMITS) -> list[Event]:
    """All events of the pieces; message literals are accepted, their pieces joined."""
    framer = Framer(limits)
    framer.authenticated = authenticated
    found: list[Event] = []
    for piece in pieces:
        framer.feed(piece)
        while (event := framer.next_event()) is not None:
            if isinstance(event, Piece) and found and isinstance(found[-1], Piece):
                found[-1] = Piece(found[-1].octets + event.octets)
            else:
                found.append(event)
            if isinstance(event, MessageLiteral):
                framer.accept()
            if isinstance(event, Fatal):
                return found
    return found


STREAM = (
    b"a1 NOOP\r\n"
    b'a2 LOGIN {3}\r\nabc "x"\r\n'
    b"a3 SEARCH TEXT {4+}\r\n\xd6\xd0\xb9\xfa\r\n"
    b"a4 APPEND {5+}\r\nDraft (\\Seen) {11}\r\nhello\r\nyou!\r\n"
    b"a5 SEARCH TEXT {999999+}\r\n" + b"x" * 999_999 + b" UNSEEN\r\n"
    b"a6 NOOP\n"
)
EVENTS: list[Event] = [
    Command(b"a1 NOOP"),
    Continue(),
    Command(b'a2 LOGIN {3}\r\nabc "x"'),
    Command(b"a3 SEARCH TEXT {4+}\r\n\xd6\xd0\xb9\xfa"),
    MessageLiteral(b"a4 APPEND {5+}\r\nDraft (\\Seen) {11}", 11, waits=True),
    Piece(b"hello\r\nyou!"),
    Command(b"a4 APPEND {5+}\r\nDraft (\\Seen) {11}\r\n"),
    TooBig(b"a5"),
    Command(b"a6 NOOP"),
]


def test_events_of_a_stream() -> None:
    assert events([STREAM]) == EVENTS


@given(st.lists(st.integers(0, 500), max_size=12), st.integers(1, 300_000))
def test_chunking_never_changes_events(cuts: list[int], stride: int) -> None:
    edges = sorted({0, len(STREAM), *cuts, *range(0, len(STREAM), max(stride, 20_000))})
    assert events([STREAM[a:b] for a, b in pairwise(edges)]) == EVENTS


def test_octet_by_octet() -> None:
    short = STREAM.replace(b"999999", b"300000").replace(b"x" * 999_999, b"x" * 300_000)
    assert events([bytes([octet]) for octet in short]) == EVENTS


@pytest.mark.parametrize("authenticated", [False, True])
def test_endless_line_is_fatal(authenticated: bool) -> None:
    found = events([b"a" * 1000] * 1000, authenticated=authenticated)
    assert [type(event) for event in found] == [Fatal]


@pytest.mark.parametrize("authenticated", [False, True])
def test_a_million_absurd_literals_cost_nothing(authenticated: bool) -> None:
    assert events([b"a {4294967295+}\r\n" * 1_000_000], authenticated=authenticated) == [Fatal("command too long")]


def test_many_small_literals_run_into_the_limit() -> None:
    """CVE-2024-34055 and its kin: every literal small, the sum without end."""
    found = events([b"a SEARCH TEXT {1000+}\r\n" + (b"x" * 1000 + b" TEXT {1000+}\r\n") * 2000])
    assert not [event for event in found if isinstance(event, Command)]


def test_many_empty_literals_run_into_the_line_limit() -> None:
    assert events([b"a {0+}\r\n" * 100_000]) == [Fatal("command too long")]
    assert events([b"a {0+}\r\n" * 100_000], authenticated=False) == [Fatal("command too long")]


def test_synchronising_literal_that_is_too_big_is_refused_at_once() -> None:
    assert events([b"a LOGIN {100000}\r\nb NOOP\r\n"], authenticated=False) == [TooBig(b"a"), Command(b"b NOOP")]


def test_literal_minus_before_login() -> None:
    """RFC 7888 §5: before login only literals up to 4096 octets may come unasked."""
    assert events([b"a LOGIN {4097+}\r\n" + b"x" * 4097], authenticated=False) == [Fatal("command too long")]


def test_append_before_login_is_not_streamed() -> None:
    assert events([b"a APPEND x {9000000}\r\n"], authenticated=False) == [TooBig(b"a")]


def test_refused_message_of_a_client_that_waits() -> None:
    framer = Framer(LIMITS)
    framer.authenticated = True
    framer.feed(b"a APPEND x {9}\r\n")
    assert framer.next_event() == MessageLiteral(b"a APPEND x {9}", 9, waits=True)
    assert framer.refuse(waits=True) == b"a"
    framer.feed(b"b NOOP\r\n")
    assert framer.next_event() == Command(b"b NOOP")


def test_refused_message_of_a_client_that_does_not_wait() -> None:
    framer = Framer(LIMITS)
    framer.authenticated = True
    framer.feed(b"a APPEND x {9+}\r\nb NOOP\r\n\r\nc NOOP\r\n")
    assert isinstance(framer.next_event(), MessageLiteral)
    framer.refuse(waits=False)
    assert framer.next_event() == TooBig(b"a")
    assert framer.next_event() == Command(b"c NOOP")


def test_nothing_survives_starttls() -> None:
    framer = Framer(LIMITS)
    framer.feed(b"a STARTTLS\r\nb LOGIN x y\r\nc NO")
    assert framer.next_event() == Command(b"a STARTTLS")
    framer.discard()
    assert framer.idle
    framer.feed(b"d NOOP\r\n")
    assert framer.next_event() == Command(b"d NOOP")


def test_lines_between_commands() -> None:
    framer = Framer(LIMITS)
    framer.feed(b"DON")
    assert framer.next_line(100) is None
    framer.feed(b"E\r\nb NOOP\r\n")
    assert framer.next_line(100) == b"DONE"
    assert framer.next_event() == Command(b"b NOOP")


@given(st.lists(st.sampled_from([b"a", b" ", b"\r\n", b"{", b"5", b"+", b"}", b"APPEND ", b"{3}\r\n", b"{3+}\r\n", b"{0+}\r\n", b'"', b"\0", b"\xff"]), max_size=60), st.booleans())
def test_hostile_streams(pieces: list[bytes], authenticated: bool) -> None:
    """Joined or apart: the same events, never an exception."""
    assert events([b"".join(pieces)], authenticated=authenticated) == events(pieces, authenticated=authenticated)
