"""An act in this process, for a data directory whose server does not run; the caller holds the lock.

Invariant: what is written belongs to the owner of the data directory, so that its server can go on with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from admin.actions.context import UNREACHABLE, Actor
from admin.actions.perform import Vanished, perform
from admin.texts import say
from govmail import app, control, supervisor, telemetry
from govmail.config import Config, load
from govmail.errors import DirectoryUnavailable
from govmail.wire.control import Done, Failure, Frame, Request


def become_owner(data_dir: Path) -> Actor:
    """Who acts; root goes on as the owner of the data directory, but is recorded as root. Raises CannotStart."""
    actor = Actor.of_uid(os.getuid(), "cli")
    supervisor.become_owner(data_dir)
    return actor


async def ask_here(config_path: Path, actor: Actor, request: Request, data: bytes, handle: Callable[[Frame], None]) -> Done | Failure:
    """The last frame of the act; the others go to `handle`. Raises BadConfig, StoreFailed, BrokenPipeError."""
    telemetry.configure("warning", pretty=sys.stderr.isatty())
    last: list[Done | Failure] = []

    async def emit(frame: Frame) -> None:
        if isinstance(frame, Done | Failure):
            last.append(frame)
            return
        try:
            handle(frame)
        except BrokenPipeError as error:
            raise Vanished from error

    async def lines() -> AsyncIterator[bytes]:
        for line in data.removesuffix(b"\n").split(b"\n") if data else ():
            yield line.removesuffix(b"\r")

    config = load(config_path)
    parts = await app.build(config, config_path.parent)
    try:
        await perform(control.context_of(parts), actor, request, emit, lines())
    except Vanished as error:
        raise BrokenPipeError from error
    finally:
        await parts.close()
    return _explain(last[-1], config)


def _explain(last: Done | Failure, config: Config) -> Done | Failure:
    """A directory that runs as our child is not there while we are not; saying "try again later" would mislead."""
    if isinstance(last, Failure) and last.kind == DirectoryUnavailable.__name__ and config.engines.slapd_port:
        return Failure(UNREACHABLE, last.kind, say("directory_child"))
    return last
