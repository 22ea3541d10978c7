"""The quarantine: mail that the filters have held, for people to judge.

Invariants: of an item's recipients an operator sees and settles only those in units that are his to review; a virus never
leaves. What is told of a mail here (subject, sender, findings) is hostile text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from admin.actions.context import REFUSED, Actor, Context, require
from admin.texts import say
from govmail.errors import BadInput, NotFound, Refused
from govmail.store import quarantine
from govmail.store.values import HeldRecipient, QuarantineItem
from govmail.wire.control import Done

PAGE = 200
State = Literal["held", "released", "deleted", "expired"]


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A held mail; `recipients`: those in the state that was asked for."""

    item_id: int
    queue_id: str
    reason: str
    held: int
    expires: int
    sender: str
    subject: str
    size: int
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ItemDetail:
    """`findings`: what each filter said, one line each; `recipients`: address and state."""

    item: ItemRow
    findings: tuple[str, ...]
    verdicts: Any


@dataclass(frozen=True, slots=True)
class Settled:
    """`status`: "released", "deleted", "held" (the new scan says worse)."""

    item_id: int
    recipient: str
    status: str


async def list_items(ctx: Context, actor: Actor, *, state: State = "held") -> AsyncIterator[ItemRow]:
    """Items with a recipient in the state, newest first."""
    require(actor, "quarantine.list", None)
    before: int | None = None
    while page := await ctx.database.read(quarantine.list_page, state=state, unit_ids=None, before=before, limit=PAGE):
        for one in page:
            yield _row(one, [recipient.address for recipient in one.recipients if recipient.state == state])
        before = page[-1].item_id


async def show(ctx: Context, actor: Actor, item: int) -> ItemDetail:
    """One item with what the filters said."""
    require(actor, "quarantine.list", None)
    found = await _item(ctx, item)
    verdicts = msgspec.json.decode(found.verdicts)
    return ItemDetail(_row(found, [f"{one.address} ({one.state})" for one in found.recipients]), findings(verdicts), verdicts)


async def release(
    ctx: Context, actor: Actor, item: int, *, recipients: tuple[str, ...] = (), dry_run: bool = False,
) -> AsyncIterator[Settled | Done]:
    """Scans again and delivers to the recipients (none given: all that are held). Raises Refused for a virus."""
    async with ctx.recorded(actor, "quarantine.release", str(item), dry_run=dry_run) as note:
        require(actor, "quarantine.release", None)
        found = await _item(ctx, item)
        wanted = _wanted(found, recipients)
        note.detail.update(queue_id=found.queue_id, reason=found.reason, recipients=[one.address for one in wanted])
        if found.reason == "virus":
            raise Refused(say("virus_release", item=item, threats=", ".join(threats(found)) or "?"))
        if dry_run:
            settled = [Settled(item, one.address, "released") for one in wanted]
        else:
            released = await ctx.quarantine.release(item, [one.address for one in wanted], actor.name)
            settled = [Settled(item, one.address, "released" if one.address in released else "held") for one in wanted]
            note.detail["released"] = sorted(released)
    for one in settled:
        yield one
    yield Done(code=0 if all(one.status == "released" for one in settled) else REFUSED)


async def delete(
    ctx: Context, actor: Actor, item: int, *, recipients: tuple[str, ...] = (), dry_run: bool = False,
) -> AsyncIterator[Settled]:
    """The recipients (none given: all that are held) never get the mail; nobody is told."""
    async with ctx.recorded(actor, "quarantine.delete", str(item), dry_run=dry_run) as note:
        require(actor, "quarantine.delete", None)
        found = await _item(ctx, item)
        wanted = [one.address for one in _wanted(found, recipients)]
        note.detail.update(queue_id=found.queue_id, reason=found.reason, recipients=wanted)
        if not dry_run:
            wanted = await ctx.database.write(quarantine.mark, item, wanted, "deleted", actor.name, ctx.now)
    for address in wanted:
        yield Settled(item, address, "deleted")


async def _item(ctx: Context, item: int) -> QuarantineItem:
    try:
        return await ctx.database.read(quarantine.show, item)
    except NotFound as error:
        raise NotFound(say("item_unknown", item=item)) from error


def _wanted(item: QuarantineItem, recipients: Sequence[str]) -> list[HeldRecipient]:
    """The recipients that are to be settled. Raises BadInput when one is not on the item, NotFound when none is held."""
    known = {one.address.casefold(): one for one in item.recipients}
    for address in recipients:
        if address.casefold() not in known:
            raise BadInput(say("item_recipient", item=item.item_id, address=address))
    chosen = [known[address.casefold()] for address in recipients] if recipients else list(item.recipients)
    held = [one for one in chosen if one.state == "held"]
    if not held:
        raise NotFound(say("item_done", item=item.item_id))
    return held


def _row(item: QuarantineItem, recipients: Sequence[str]) -> ItemRow:
    return ItemRow(
        item.item_id, item.queue_id, item.reason, item.held, item.expires, item.sender, item.subject, item.size, tuple(recipients),
    )


def threats(item: QuarantineItem) -> list[str]:
    return [str(threat) for verdict in msgspec.json.decode(item.verdicts) for threat in verdict.get("threats") or ()]


def findings(verdicts: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """What each filter said, in one line each."""
    lines: list[str] = []
    for one in verdicts:
        parts = [str(one.get("engine", "?")), str(one.get("action", ""))]
        if one.get("threats"):
            parts.append(", ".join(map(str, one["threats"])))
        if one.get("score") is not None:
            parts.append(f"{one['score']:.1f}/{one.get('threshold') or 0:.1f}")
        if one.get("private"):
            parts.append(str(one["private"]))
        lines.append("  ".join(part for part in parts if part))
    return tuple(lines)
