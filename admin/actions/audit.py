"""The audit trail: who did what, and whether the record of it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from admin import audit as trail
from admin.actions.context import FAILED, Actor, Context, require
from admin.texts import say
from govmail.wire.control import Done


@dataclass(frozen=True, slots=True)
class EntryRow:
    """`at` in seconds since the epoch; `digest` is what the next entry builds on, in hex."""

    seq: int
    at: float
    actor: str
    source: str
    act: str
    target: str
    result: str
    detail: Any
    digest: str


@dataclass(frozen=True, slots=True)
class Verified:
    """`broken`: the number of the first entry that does not fit; None when all do."""

    whole: bool
    entries: int
    broken: int | None
    text: str


async def list_entries(
    ctx: Context, actor: Actor, *, after: int = 0, act: str | None = None, who: str | None = None,
) -> AsyncIterator[EntryRow]:
    """The entries with numbers above `after`, oldest first; perhaps of one act or one actor only."""
    require(actor, "audit.read", None)
    async for one in trail.read(ctx.database, after=after):
        if act in (None, one.act) and who in (None, one.actor):
            yield EntryRow(
                one.seq, one.at / 1_000_000, one.actor, one.source, one.act, one.target, one.result,
                msgspec.json.decode(one.detail), one.digest.hex(),
            )


async def verify(ctx: Context, actor: Actor) -> AsyncIterator[Verified | Done]:
    """Recomputes the whole chain."""
    require(actor, "audit.read", None)
    broken = await trail.verify(ctx.database)
    count = await trail.count(ctx.database)
    text = say("audit_whole", count=count) if broken is None else say("audit_broken", seq=broken)
    yield Verified(broken is None, count, broken, text)
    yield Done(code=0 if broken is None else FAILED)
