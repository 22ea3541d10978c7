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
from govmail.interfaces import Verdict
from govmail.store.values import QuarantineItem
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
    """`status`: "released", "deleted", or why the mail is still held."""

    item_id: int
    recipient: str
    status: str


async def list_items(ctx: Context, actor: Actor, *, state: State = "held") -> AsyncIterator[ItemRow]:
    """Items with a recipient in the state, newest first."""
    require(actor, "quarantine.list", None)
    before: int | None = None
    while page := await ctx.quarantine.list_page(state=state, before=before, limit=PAGE):
        for one in page:
            yield _row(one, [recipient.address for recipient in one.recipients if recipient.state == state])
        before = page[-1].item_id


async def show(ctx: Context, actor: Actor, item: int) -> ItemDetail:
    """One item with what the filters said."""
    require(actor, "quarantine.list", None)
    found, verdicts = await _show(ctx, item)
    recipients = [f"{one.address} ({one.state})" for one in found.recipients]
    return ItemDetail(_row(found, recipients), tuple(finding(one) for one in verdicts), msgspec.to_builtins(verdicts))


async def release(
    ctx: Context, actor: Actor, item: int, *, recipients: tuple[str, ...] = (), dry_run: bool = False,
) -> AsyncIterator[Settled | Done]:
    """Scans again and delivers to the recipients (none given: all that are held). Raises Refused for a virus."""
    async with ctx.recorded(actor, "quarantine.release", str(item), dry_run=dry_run) as note:
        require(actor, "quarantine.release", None)
        found, verdicts = await _show(ctx, item)
        wanted = _wanted(found, recipients)
        note.detail.update(queue_id=found.queue_id, reason=found.reason, recipients=wanted)
        threats = [threat for verdict in verdicts for threat in verdict.threats]
        if found.reason == "virus" or threats:
            raise Refused(say("virus_release", item=item, threats=", ".join(threats) or "?"))
        if dry_run:
            settled = [Settled(item, one, "released") for one in wanted]
        else:
            released = await ctx.quarantine.release(item, actor.name, addresses=wanted)
            ctx.wake_queue()
            settled = [Settled(item, one.address, one.status) for one in released]
            note.detail["released"] = [one.recipient for one in settled if one.status == "released"]
    for one in settled:
        yield one
    yield Done(code=0 if all(one.status == "released" for one in settled) else REFUSED)


async def delete(
    ctx: Context, actor: Actor, item: int, *, recipients: tuple[str, ...] = (), dry_run: bool = False,
) -> AsyncIterator[Settled]:
    """The recipients (none given: all that are held) never get the mail; nobody is told."""
    async with ctx.recorded(actor, "quarantine.delete", str(item), dry_run=dry_run) as note:
        require(actor, "quarantine.delete", None)
        found, _ = await _show(ctx, item)
        wanted = _wanted(found, recipients)
        note.detail.update(queue_id=found.queue_id, reason=found.reason, recipients=wanted)
        deleted = wanted if dry_run else await ctx.quarantine.delete(item, actor.name, addresses=wanted)
    for address in deleted:
        yield Settled(item, address, "deleted")


async def _show(ctx: Context, item: int) -> tuple[QuarantineItem, tuple[Verdict, ...]]:
    try:
        return await ctx.quarantine.show(item)
    except NotFound as error:
        raise NotFound(say("item_unknown", item=item)) from error


def _wanted(item: QuarantineItem, recipients: Sequence[str]) -> list[str]:
    """The addresses that are to be settled. Raises BadInput when one is not on the item, NotFound when none is held."""
    known = {one.address.casefold(): one for one in item.recipients}
    for address in recipients:
        if address.casefold() not in known:
            raise BadInput(say("item_recipient", item=item.item_id, address=address))
    chosen = [known[address.casefold()] for address in recipients] if recipients else item.recipients
    held = [one.address for one in chosen if one.state == "held"]
    if not held:
        raise NotFound(say("item_done", item=item.item_id))
    return held


def _row(item: QuarantineItem, recipients: Sequence[str]) -> ItemRow:
    return ItemRow(
        item.item_id, item.queue_id, item.reason, item.held, item.expires, item.sender, item.subject, item.size, tuple(recipients),
    )


def finding(verdict: Verdict) -> str:
    """What one filter said, in a line."""
    parts = [verdict.engine, verdict.action.value, ", ".join(verdict.threats), verdict.private]
    if verdict.score is not None:
        parts.insert(2, f"{verdict.score:.1f}/{verdict.threshold or 0:.1f}")
    return "  ".join(part for part in parts if part)
