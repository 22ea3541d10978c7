"""Runs one act by its name: arguments checked against the function's own signature, answers turned into frames.

The control socket and a command line without a server both call `perform`, so both behave alike.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Any

import msgspec
import structlog

from admin.actions.acts import ACTS
from admin.actions.context import FAILED, Actor, Context, exit_code
from admin.reasons import explain
from admin.texts import say, speaking
from govmail.errors import BadInput, MailError
from govmail.telemetry import incident
from govmail.wire.control import Done, Failure, Frame, Progress, Request, Row

log = structlog.get_logger(__name__)

Emit = Callable[[Frame], Awaitable[None]]
Lines = AsyncIterator[bytes]
"""Lines of the operator's input, without their ends."""

# Parameters that the machinery supplies; all others come from the operator.
_SUPPLIED = ("ctx", "actor", "dry_run", "lines")


class Vanished(Exception):
    """Raised by `emit` when nobody reads any more."""


async def perform(ctx: Context, actor: Actor, request: Request, emit: Emit, lines: Lines) -> None:
    """Runs the act and emits its frames, the last being Done or Failure. Raises only what `emit` raises.

    When `emit` raises, an act that streams is ended where it yields, which is never inside one of its changes.
    """
    with speaking(request.language):
        try:
            await _run(ctx, actor, request, emit, lines)
        except MailError as error:
            if error.private:
                log.info("act_refused", act=request.act, actor=actor.name, cause=error.private)
            await emit(Failure(exit_code(error), type(error).__name__, explain(error)))
        except Vanished:
            raise
        except Exception:
            number = incident()
            log.exception("act_failed", act=request.act, actor=actor.name, incident=number)
            await emit(Failure(FAILED, "Incident", say("incident", incident=number)))


async def _run(ctx: Context, actor: Actor, request: Request, emit: Emit, lines: Lines) -> None:
    act = ACTS.get(request.act)
    if act is None:
        raise BadInput(say("unknown_act", act=request.act))
    given = check_arguments(act, request.arguments)
    names = inspect.signature(act).parameters
    if "dry_run" in names:
        given["dry_run"] = request.dry_run
    if "lines" in names:
        given["lines"] = lines
    if not inspect.isasyncgenfunction(act):
        await emit(Done(msgspec.to_builtins(await act(ctx, actor, **given))))
        return
    frames = act(ctx, actor, **given)
    done = Done()
    try:
        async for frame in frames:
            match frame:
                case Done():
                    done = frame
                case Progress():
                    await emit(frame)
                case _:
                    await emit(Row(msgspec.to_builtins(frame)))
    finally:
        await frames.aclose()
    await emit(done)


def check_arguments(act: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the types of the signature want them. Raises BadInput that names the argument."""
    try:
        checked = msgspec.convert(arguments, _struct_of(act))
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        raise BadInput(say("bad_argument", name=where.rstrip("`") or "?", reason=reason)) from error
    return {name: getattr(checked, name) for name in checked.__struct_fields__}


@cache
def _struct_of(act: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(act)
    fields: list[Any] = []
    for name, parameter in inspect.signature(act).parameters.items():
        if name in _SUPPLIED:
            continue
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct(f"Arguments_{act.__module__}_{act.__name__}", fields, forbid_unknown_fields=True, kw_only=True)
