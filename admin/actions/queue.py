"""The queue: mail on its way to other systems, or to be tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from admin.actions.context import BAD_INPUT, Actor, Context, require
from admin.texts import say
from govmail.errors import NotFound
from govmail.store import queue
from govmail.store.values import QueueEntry
from govmail.wire.control import Done

PAGE = 500


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One recipient's entry; times in seconds since the epoch. `sender` "" is the null path."""

    entry_id: int
    queue_id: str
    kind: str
    sender: str
    recipient: str
    state: str
    created: int
    next_attempt: int
    expires: int
    attempts: int
    last_code: int | None
    last_status: str | None
    last_text: str | None

    @classmethod
    def of(cls, one: QueueEntry) -> EntryRow:
        return cls(
            one.entry_id, one.message.queue_id, one.kind, one.message.sender, one.recipient, one.state, one.message.created,
            one.next_attempt, one.expires, one.attempts, one.last_code, one.last_status, one.last_text,
        )


@dataclass(frozen=True, slots=True)
class AttemptRow:
    at: int
    mta: str
    code: int | None
    status: str | None
    text: str


@dataclass(frozen=True, slots=True)
class EntryDetail:
    entry: EntryRow
    tries: tuple[AttemptRow, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """`status`: "retried", "deleted", "missing"."""

    entry_id: int
    recipient: str
    status: str


async def list_entries(
    ctx: Context, actor: Actor, *, domain: str | None = None, state: str | None = None,
) -> AsyncIterator[EntryRow]:
    """The entries, oldest first, a page at a time."""
    require(actor, "queue.list", None)
    after = 0
    while page := await ctx.database.read(queue.list_page, after=after, limit=PAGE):
        for one in page:
            if domain in (None, one.domain) and state in (None, one.state):
                yield EntryRow.of(one)
        after = page[-1].entry_id


async def show(ctx: Context, actor: Actor, entry: int) -> EntryDetail:
    """One entry with what was answered to its attempts."""
    require(actor, "queue.list", None)
    [found] = await _entries(ctx, [entry])
    if found is None:
        raise NotFound(say("entry_unknown", entry=entry))
    tries = await ctx.database.read(queue.attempts, [entry])
    return EntryDetail(
        EntryRow.of(found), tuple(AttemptRow(one.at, one.result.mta, one.result.code, one.result.status, one.result.text) for one in tries)
    )


async def retry(ctx: Context, actor: Actor, entries: tuple[int, ...], *, dry_run: bool = False) -> AsyncIterator[Changed | Done]:
    """The entries are due now, also held ones."""
    async with ctx.recorded(actor, "queue.retry", _names(entries), dry_run=dry_run) as note:
        require(actor, "queue.change", None)
        found = await _entries(ctx, entries)
        note.detail["recipients"] = [one.recipient for one in found if one]
        if not dry_run:
            await ctx.database.write(queue.kick, [one.entry_id for one in found if one], now=ctx.now)
            ctx.wake_queue()
    for frame in _changed(entries, found, "retried"):
        yield frame


async def delete(ctx: Context, actor: Actor, entries: tuple[int, ...], *, dry_run: bool = False) -> AsyncIterator[Changed | Done]:
    """The entries are gone; no notification is sent."""
    async with ctx.recorded(actor, "queue.delete", _names(entries), dry_run=dry_run) as note:
        require(actor, "queue.change", None)
        found = await _entries(ctx, entries)
        note.detail["entries"] = [
            {"queue_id": one.message.queue_id, "sender": one.message.sender, "recipient": one.recipient} for one in found if one
        ]
        if not dry_run:
            await ctx.database.write(queue.delete_entries, [one.entry_id for one in found if one], now=ctx.now)
    for frame in _changed(entries, found, "deleted"):
        yield frame


async def _entries(ctx: Context, wanted: Sequence[int]) -> list[QueueEntry | None]:
    """In the order asked for; None where there is none."""
    found = {one.entry_id: one for one in await ctx.database.read(queue.get, list(wanted))}
    return [found.get(one) for one in wanted]


def _changed(wanted: Sequence[int], found: Sequence[QueueEntry | None], status: str) -> list[Changed | Done]:
    rows: list[Changed | Done] = [
        Changed(number, one.recipient if one else "", status if one else "missing") for number, one in zip(wanted, found, strict=True)
    ]
    return [*rows, Done(code=0 if all(found) else BAD_INPUT)]


def _names(entries: Sequence[int]) -> str:
    return " ".join(str(one) for one in entries[:20]) + (" …" if len(entries) > 20 else "")
