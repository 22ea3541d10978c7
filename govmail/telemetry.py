"""Logging set-up: one JSON object a line, an event name and fields.

Invariants: no body, password or secret is ever a field; a hostile value cannot start a new line (JSON escapes it).
"""

from __future__ import annotations

import logging
import secrets
import sys
from typing import Any, TextIO

import msgspec
import structlog

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> bytes:
    return _encode(event)


def configure(level: str = "info", stream: TextIO | None = None, *, pretty: bool = False) -> None:
    """Send logs to `stream` (stderr when None), as JSON lines or, for a person at a terminal, in colour."""
    numeric = getattr(logging, level.upper())
    out = stream or sys.stderr
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    factory: Any
    if pretty:
        common.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
        factory = structlog.WriteLoggerFactory(file=out)
    else:
        common.append(_render)
        factory = structlog.BytesLoggerFactory(file=out.buffer)
    structlog.configure(
        processors=common,
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(numeric, logging.WARNING), stream=out, force=True)


def incident() -> str:
    """A short id that ties a client's '451 4.3.0 … incident X' to the traceback in the log."""
    return secrets.token_hex(4)
