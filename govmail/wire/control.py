"""Frames of the control socket: what the command line asks of the running server, and what comes back.

A request is one line of JSON, followed by `input` octets of UTF-8 text when the act reads a file. The answer is a
stream of lines of JSON: any number of `progress` and `row` frames, then one `done` or one `error` frame.

Invariants: a frame never holds a line end but its last octet; a request line is at most REQUEST_OCTETS long; unknown
fields are refused, so that a newer command line is told so instead of being half understood.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from govmail.errors import SyntaxProblem

REQUEST_OCTETS = 64 * 1024
REPLY_OCTETS = 16 * 1024 * 1024  # one frame of an answer: a row with what one held mail says about itself

Language = Literal["zh", "en"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator act by its name ("person.add") and arguments. `input`: octets of text that follow the line."""

    act: str
    arguments: dict[str, Any]
    dry_run: bool = False
    language: Language = "en"
    input: int = 0


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far long work has come; `total` 0 when nobody knows."""

    done: int
    total: int = 0


class Row(msgspec.Struct, frozen=True, tag="row"):
    value: Any


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end of the answer, with the result of acts that give one value instead of rows."""

    value: Any = None
    code: int = 0  # the exit code: 0, or that of the worst row


class Failure(msgspec.Struct, frozen=True, tag="error"):
    """The act was not done. `kind` is the name of the error class, `text` in the language asked for."""

    code: int
    kind: str
    text: str


Frame = Progress | Row | Done | Failure

_ENCODER = msgspec.json.Encoder()
_REQUEST = msgspec.json.Decoder(Request)
_FRAME: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def encode(frame: Request | Frame) -> bytes:
    """The frame as one line."""
    return _ENCODER.encode(frame) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises SyntaxProblem."""
    try:
        request = _REQUEST.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SyntaxProblem(f"control request: {error}") from error
    if request.input < 0:
        raise SyntaxProblem("control request: negative input")
    return request


def decode_frame(line: bytes) -> Frame:
    """Raises SyntaxProblem."""
    try:
        return _FRAME.decode(line)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SyntaxProblem(f"control answer: {error}") from error
