"""Logging set-up: one JSON object a line, an event name and fields.

Invariants: no body, password or secret is ever a field; a hostile value can neither start a new line nor steer the terminal
on which somebody reads the log.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
from typing import TextIO

import msgspec
import structlog

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    line = _encode(event).decode()
    return line if line.isprintable() else "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _visible(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """For people: what cannot be printed, written out. Tracebacks keep their lines."""
    for name, value in event.items():
        text = value if isinstance(value, str) else str(value)
        if not text.isprintable():
            lines = text.split("\n") if name == "exception" else [text]
            event[name] = "\n".join("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) for line in lines)
    return event


class _Lines:
    """Writes events as lines; to standard error as it is at that moment, unless there is a stream of its own."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def msg(self, event: str) -> None:
        print(event, file=self._stream or sys.stderr, flush=True)

    log = debug = info = warning = warn = error = exception = critical = fatal = failure = err = msg


def configure(level: str = "info", stream: TextIO | None = None, *, pretty: bool = False) -> None:
    """Send logs to `stream` (standard error when None), as JSON lines or, for a person at a terminal, in colour."""
    numeric = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *((_visible, structlog.dev.ConsoleRenderer(colors=(stream or sys.stderr).isatty())) if pretty else (_render,)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(numeric, logging.WARNING), stream=stream, force=True)


def incident() -> str:
    """A short id that ties a client's '451 4.3.0 … incident X' to the traceback in the log."""
    return secrets.token_hex(4)
