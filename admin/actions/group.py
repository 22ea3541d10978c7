"""Groups: one address that reaches many people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from admin.actions.context import Actor, Context, require
from admin.actions.find import address_of, group_of, path_of, require_local_domain, unit_of, unit_or_root
from admin.texts import say
from directory.model import Group, Unit
from govmail.errors import BadInput, Conflict, NotFound
from govmail.mail.address import Address

BATCH = 1000  # members looked up, or written, together
SINGLY = 500  # members that are asked for one by one
LOOKUPS = 8  # questions to the directory at the same time


@dataclass(frozen=True, slots=True)
class GroupAdded:
    address: str
    status: str  # "added", "exists"
    unit: str
    members: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    address: str
    name: str
    unit: str
    members: int


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member as its address; `kind`: person, group or remote."""

    address: str
    kind: str
    name: str


async def add(
    ctx: Context, actor: Actor, address: str, *, unit: str | None = None, name: str = "", members: tuple[str, ...] = (),
    lines: AsyncIterator[bytes], dry_run: bool = False,
) -> GroupAdded:
    """Adds a group, or the missing members to one that is there. Members: addresses, given as such or one per line of input."""
    async with ctx.recorded(actor, "group.add", address, dry_run=dry_run) as note:
        wanted = address_of(address)
        await require_local_domain(ctx, wanted)
        owner = await _unit_for(ctx, wanted, unit)
        require(actor, "group.add", owner.unit_id)
        listed = await _ids(ctx, await _members(ctx, members, lines))
        if not listed:
            raise BadInput(say("members_none"))
        note.detail.update(unit_id=owner.unit_id, members=len(listed))
        group = await _existing(ctx, wanted)
        if not dry_run:
            before = len(group.members) if group else -1
            # In pieces: one transaction with 100,000 rows would hold up every delivery.
            for start in range(0, len(listed), BATCH):
                piece = listed[start : start + BATCH]
                if group is None:
                    group = await ctx.directory.add_group(owner.unit_id, wanted, name or wanted.local, members=piece)
                else:
                    group = await ctx.directory.add_members(group.group_id, piece)
            assert group is not None
            status = "added" if before < 0 else "exists" if len(group.members) == before else "extended"
            ctx.cache.invalidate()
            note.detail["group_id"] = group.group_id
            return GroupAdded(str(wanted), status, await path_of(ctx, group.unit_id), len(group.members))
        return GroupAdded(str(wanted), "exists" if group else "added", await path_of(ctx, owner.unit_id), len(listed))


async def _unit_for(ctx: Context, address: Address, unit: str | None) -> Unit:
    if unit:
        return await unit_of(ctx, unit)
    for one in await ctx.directory.domains():
        if one.domain == address.domain:
            return await ctx.directory.unit(one.unit_id)
    return await unit_or_root(ctx, None)


async def _existing(ctx: Context, address: Address) -> Group | None:
    try:
        return await ctx.directory.group_by_address(address)
    except NotFound:
        pass
    try:
        person = await ctx.directory.person_by_address(address)
    except NotFound:
        return None
    raise Conflict(say("address_taken", address=address, owner=person.name))


async def _members(ctx: Context, given: Sequence[str], lines: AsyncIterator[bytes]) -> list[str]:
    """Addresses in canonical form, each once, in order. Raises BadInput that names the first one that does not hold."""
    found: dict[str, str] = {}
    for text in given:
        found.setdefault(address_of(text).key, text)
    row = 0
    async for line in lines:
        row += 1
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise BadInput(say("table_utf8", row=row)) from None
        if not text:
            continue
        try:
            found.setdefault(address_of(text).key, text)
        except BadInput as error:
            raise BadInput(say("row_error", row=row, field="address", reason=error.public)) from error
        if len(found) > ctx.config.limits.group_members:
            raise BadInput(say("members_many", limit=ctx.config.limits.group_members))
    return list(found.values())


async def _ids(ctx: Context, members: Sequence[str]) -> list[str]:
    """Members as the directory names them: people and groups by their ids, addresses elsewhere as they are.

    Raises BadInput for an address of ours that nobody has.
    """
    local: dict[str, bool] = {}
    gate = asyncio.Semaphore(LOOKUPS)
    people = await _everybody(ctx) if len(members) > SINGLY else {}

    async def find(text: str) -> str:
        address = address_of(text)
        if address.domain not in local:
            local[address.domain] = await ctx.directory.is_local_domain(address.domain)
        if not local[address.domain]:
            return str(address)
        if address.key in people:
            return people[address.key]
        async with gate:
            try:
                return (await ctx.directory.person_by_address(address)).person_id
            except NotFound:
                pass
            try:
                return (await ctx.directory.group_by_address(address)).group_id
            except NotFound as error:
                raise BadInput(say("member_bad", member=text, reason=say("person_unknown", person=text))) from error

    found: list[str] = []
    for start in range(0, len(members), BATCH):
        found += await asyncio.gather(*(find(one) for one in members[start : start + BATCH]))
    return found


async def _everybody(ctx: Context) -> dict[str, str]:
    """The ids of all people by their addresses, a page at a time: less work than thousands of single questions."""
    root = await ctx.directory.root()
    ids: dict[str, str] = {}
    if root is not None:
        async for page in ctx.directory.people(root.unit_id, subtree=True, page=BATCH):
            ids.update((address.key, person.person_id) for person in page for address in person.addresses)
    return ids


async def list_groups(ctx: Context, actor: Actor, *, unit: str | None = None) -> AsyncIterator[GroupRow]:
    """The groups of a subtree, by address."""
    if unit is None and await ctx.directory.root() is None:
        return
    top = await unit_or_root(ctx, unit)
    require(actor, "group.list", top.unit_id)
    paths: dict[str, str] = {}
    for one in await ctx.directory.groups(top.unit_id, subtree=True):
        if one.unit_id not in paths:
            paths[one.unit_id] = await path_of(ctx, one.unit_id)
        yield GroupRow(str(one.address), one.name, paths[one.unit_id], len(one.members))


async def show(ctx: Context, actor: Actor, group: str) -> AsyncIterator[MemberRow]:
    """The direct members of a group."""
    found = await group_of(ctx, group)
    require(actor, "group.list", found.unit_id)
    for start in range(0, len(found.members), BATCH):
        batch = found.members[start : start + BATCH]
        people = await ctx.directory.people_by_id([one for one in batch if "@" not in one])
        for member in batch:
            if "@" in member:
                yield MemberRow(member, "remote", "")
            elif member in people:
                yield MemberRow(str(people[member].primary), "person", people[member].name)
            else:
                inner = await ctx.directory.group(member)
                yield MemberRow(str(inner.address), "group", inner.name)
