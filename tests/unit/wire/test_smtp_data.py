"""Message octets: only CR LF . CR LF ends data, and cutting the stream changes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govmail.wire.smtp_data import ChunkCounter, DataDecoder, Fault, LineEnds


def decode(pieces: list[bytes], *, normalise: bool = False) -> tuple[bytes, bool, Fault, bytes]:
    decoder = DataDecoder(LineEnds(normalise=normalise))
    out = b""
    for index, piece in enumerate(pieces):
        out += decoder.feed(piece)
        if decoder.done:
            return out, True, decoder.faults, decoder.rest + b"".join(pieces[index + 1 :])
    return out, False, decoder.faults, b""


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"a\r\n. \r\n.\r\n", b"a\r\n \r\n"),
        (b"..\r\n..\r\n..\r\n.\r\n", b".\r\n.\r\n.\r\n"),
    ],
)
def test_dot_transparency(sent: bytes, message: bytes) -> None:
    assert decode([sent + b"QUIT\r\n"]) == (message, True, Fault.NONE, b"QUIT\r\n")


# Every mixture of CR, LF and nothing around a dot that is not the real end of data. CVE-2023-51764 … 51766, VU#302671.
FALSE_ENDS = [
    before + b"." + after
    for before in (b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r\n", b"\n\n", b"\r\r", b"\0\r\n", b"\r\0\n", b"\r\n\0")
    for after in (b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r\n", b"\n\n", b"\r\r", b"\0\r\n", b"\r\0\n", b"\0")
    if (before[-2:], after[:2]) != (b"\r\n", b"\r\n")
]


@pytest.mark.parametrize("false_end", FALSE_ENDS)
@pytest.mark.parametrize("normalise", [False, True])
def test_smuggling(false_end: bytes, normalise: bool) -> None:
    smuggled = b"MAIL FROM:<leader@jx.example>\r\n"
    message, done, faults, rest = decode([b"x" + false_end + smuggled + b"\r\n.\r\n"], normalise=normalise)
    assert done
    assert rest == b""  # nothing of it is ever read as a command
    assert smuggled.rstrip() in message
    if not normalise:
        assert faults & (Fault.BARE_CR | Fault.BARE_LF | Fault.NUL)
    elif b"\r" in false_end.replace(b"\r\n", b""):
        assert faults & Fault.BARE_CR
    else:  # what was repaired holds only whole line ends
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", message)


def test_normalising_keeps_everything_else() -> None:
    message, done, faults, _ = decode([b"a\nb\r\nc\n\nd\n.e\r\n.\r\n"], normalise=True)
    assert (message, done, faults) == (b"a\r\nb\r\nc\r\n\r\nd\r\n.e\r\n", True, Fault.NONE)


octets = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"\0", b"\x80"])).map(b"".join)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(octets, st.lists(st.integers(0, 200)), st.booleans())
def test_chunks_do_not_matter(data: bytes, at: list[int], normalise: bool) -> None:
    data += b"\r\n.\r\nQUIT\r\n"
    whole = decode([data], normalise=normalise)
    assert decode(cut(data, at), normalise=normalise) == whole
    assert decode([data[i : i + 1] for i in range(len(data))], normalise=normalise) == whole


@given(octets)
def test_decoder_inverts_the_standard_encoder(message: bytes) -> None:
    sent = re.sub(rb"(^|\r\n)\.", rb"\1..", message + b"\r\n") + b".\r\n"  # RFC 5321 §4.5.2
    decoded, done, faults, rest = decode([sent])
    assert (decoded, done, rest) == (message + b"\r\n", True, b"")
    singles = re.sub(rb"\r\n", b"", message + b"\r\n")
    assert bool(faults & Fault.BARE_LF) == (b"\n" in singles)
    assert bool(faults & Fault.BARE_CR) == (b"\r" in singles)
    assert bool(faults & Fault.NUL) == (b"\0" in message)


@given(octets, st.lists(st.integers(0, 200)), st.booleans())
def test_line_ends_in_chunks(data: bytes, at: list[int], normalise: bool) -> None:
    def run(pieces: list[bytes]) -> tuple[bytes, Fault]:
        watch = LineEnds(normalise=normalise)
        out = b"".join([watch.feed(piece) for piece in pieces])
        watch.close()
        return out, watch.faults

    out, faults = run([data])
    assert run(cut(data, at)) == (out, faults)
    if normalise:
        assert not faults & Fault.BARE_LF
        assert not re.search(rb"(?<!\r)\n", out)
    else:
        assert out == data


@given(st.binary(), st.integers(0, 50), st.lists(st.integers(0, 60)))
def test_bdat_counts(data: bytes, size: int, at: list[int]) -> None:
    counter = ChunkCounter(size)
    taken = left = b""
    for piece in cut(data, at):
        chunk, rest = counter.take(piece)
        taken, left = taken + chunk, left + rest
    assert (taken, left) == (data[:size], data[size:])
    assert counter.left == max(0, size - len(data))


@given(st.text("a\n").map(str.encode), st.lists(st.integers(0, 200)), st.integers(1, 6))
def test_long_lines(data: bytes, at: list[int], longest: int) -> None:
    watch = LineEnds(longest=longest)
    for piece in cut(data, at):
        watch.feed(piece)
    assert bool(watch.faults & Fault.LONG_LINE) == any(len(line) > longest for line in re.findall(rb"[^\n]*\n|[^\n]+", data))
