"""People: their addresses, passwords and states.

Invariants: a password is never logged, audited or passed in arguments of a process; a generated one leaves here once, in
the result. When a person may no longer log in, remembered logins and open connections end with the act itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from dataclasses import dataclass, replace

from admin.actions.context import Actor, Context, require
from admin.actions.find import (
    address_of,
    domain_for,
    path_of,
    person_of,
    require_local_domain,
    unit_of,
    unit_or_root,
)
from admin.sizes import parse_quota
from admin.texts import say
from directory import naming, passwords, tree
from directory.model import NewPerson, Person, limit_of, new_id
from govmail.errors import Conflict, LimitReached, NotFound
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.store import accounts, logins

SEARCH_ROWS = 200
CANDIDATES = 1000  # numbers tried behind a name before an address is asked for


@dataclass(frozen=True, slots=True)
class PersonAdded:
    """`status`: "added", "exists" or "error". `password`: only where one was generated, and only this once."""

    address: str
    status: str
    password: str = ""
    name: str = ""
    unit: str = ""
    row: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class PersonRow:
    address: str
    name: str
    unit: str
    title: str
    state: str
    person_id: str


@dataclass(frozen=True, slots=True)
class PersonDetail:
    address: str
    aliases: tuple[str, ...]
    name: str
    pinyin: str
    unit: str
    title: str
    state: str
    quota_octets: int | None
    messages: int
    used_octets: int
    person_id: str


@dataclass(frozen=True, slots=True)
class PasswordSet:
    address: str
    password: str = ""  # only where one was generated


@dataclass(frozen=True, slots=True)
class StateSet:
    """`connections`: how many were open and have been ended."""

    address: str
    state: str
    connections: int = 0


async def add(
    ctx: Context, actor: Actor, name: str, *, unit: str, address: str | None = None, title: str = "",
    quota: str | None = None, password: str | None = None, dry_run: bool = False,
) -> PersonAdded:
    """Adds a person with a mailbox. Without `address` one is made of the name; without `password` one is generated.

    `quota` as `admin.sizes.parse_quota` reads it; without it that of the configuration holds.
    """
    async with ctx.recorded(actor, "person.add", address or name, dry_run=dry_run) as note:
        owner = await unit_of(ctx, unit)
        require(actor, "person.add", owner.unit_id)
        path = await path_of(ctx, owner.unit_id)
        shown = tree.check_name(name)
        wanted = address_of(address) if address else await free_address(ctx, shown, await domain_for(ctx, owner))
        await require_local_domain(ctx, wanted)
        note.target = str(wanted)
        if present := await holder(ctx, wanted):
            if (present.name, present.unit_id) == (shown, owner.unit_id):
                return PersonAdded(str(wanted), "exists", name=shown, unit=path)
            raise Conflict(say("address_taken", address=wanted, owner=f"{present.name} ({await path_of(ctx, present.unit_id)})"))
        if password is not None:
            passwords.check_strength(password, names=(wanted.local, naming.pinyin(shown)))
        given = passwords.generate() if password is None else password
        octets = parse_quota(quota) if quota else None
        new = NewPerson(owner.unit_id, shown, wanted, title=title, pinyin=naming.pinyin(shown), quota_octets=octets, person_id=new_id())
        note.detail.update(name=shown, unit_id=owner.unit_id, person_id=new.person_id, quota=octets)
        if not dry_run:
            person = await ctx.directory.add_person(replace(new, password_hash=await ctx.hasher.hash(given)))
            ctx.cache.invalidate()
            await ctx.database.write(accounts.limit, person.person_id, limit_of(octets, ctx.config.directory.quota_octets), now=ctx.now)
        return PersonAdded(str(wanted), "added", given if password is None and not dry_run else "", shown, path)


async def holder(ctx: Context, address: Address) -> Person | None:
    """Who has the address. Raises Conflict when a group has it."""
    try:
        return await ctx.directory.person_by_address(address)
    except NotFound:
        pass
    try:
        group = await ctx.directory.group_by_address(address)
    except NotFound:
        return None
    raise Conflict(say("address_taken", address=address, owner=group.name))


async def free_address(ctx: Context, name: str, domain: str, *, taken: Container[str] = ()) -> Address:
    """The first address of the naming rule that is free and not in `taken` (keys)."""
    tried: set[str] = set()
    while len(tried) < CANDIDATES:
        candidate = naming.suggest(name, domain, lambda address: address.key in tried or address.key in taken)
        there = await ctx.directory.resolve(candidate)
        if not (there.exists or there.disabled or there.is_group):
            return candidate
        tried.add(candidate.key)
    raise LimitReached(say("names_used_up", name=name, domain=domain))


async def list_people(ctx: Context, actor: Actor, *, unit: str | None = None, text: str | None = None) -> AsyncIterator[PersonRow]:
    """The people of a subtree, or those whose name, pinyin or address begins with `text`."""
    if unit is None and await ctx.directory.root() is None:
        return
    top = await unit_or_root(ctx, unit)
    require(actor, "person.list", top.unit_id)
    paths: dict[str, str] = {}

    async def row(person: Person) -> PersonRow:
        if person.unit_id not in paths:
            paths[person.unit_id] = await path_of(ctx, person.unit_id)
        return PersonRow(str(person.primary), person.name, paths[person.unit_id], person.title, person.state.value, person.person_id)

    if text:
        for person in await ctx.directory.search_people(text, unit_id=top.unit_id, limit=SEARCH_ROWS):
            yield await row(person)
        return
    async for page in ctx.directory.people(top.unit_id, subtree=True):
        for person in page:
            yield await row(person)


async def show(ctx: Context, actor: Actor, person: str) -> PersonDetail:
    """One person, with what the mailbox holds."""
    found = await person_of(ctx, person)
    require(actor, "person.list", found.unit_id)
    account = await ctx.database.read(accounts.find, found.person_id)
    return PersonDetail(
        str(found.primary), tuple(str(one) for one in found.addresses[1:]), found.name, found.pinyin,
        await path_of(ctx, found.unit_id), found.title, found.state.value, limit_of(found.quota_octets, ctx.config.directory.quota_octets),
        account.used_messages if account else 0, account.used_octets if account else 0, found.person_id,
    )


async def passwd(ctx: Context, actor: Actor, person: str, *, password: str | None = None, dry_run: bool = False) -> PasswordSet:
    """A new password, generated when none is given. Ends remembered logins; open connections go on."""
    async with ctx.recorded(actor, "person.passwd", person, dry_run=dry_run) as note:
        found = await person_of(ctx, person)
        require(actor, "person.passwd", found.unit_id)
        note.target = str(found.primary)
        note.detail["person_id"] = found.person_id
        if password is not None:
            passwords.check_strength(password, names=(found.primary.local, found.pinyin))
        given = passwords.generate() if password is None else password
        if not dry_run:
            await ctx.directory.set_password(found.person_id, await ctx.hasher.hash(given))
            await forget(ctx, found)
        return PasswordSet(str(found.primary), given if password is None and not dry_run else "")


async def disable(ctx: Context, actor: Actor, person: str, *, receive: bool = False, dry_run: bool = False) -> StateSet:
    """No more logins, and no more mail unless `receive` is set; open connections end now."""
    state = PersonState.SUSPENDED if receive else PersonState.DISABLED
    return await _set_state(ctx, actor, "person.disable", person, state, dry_run)


async def enable(ctx: Context, actor: Actor, person: str, *, dry_run: bool = False) -> StateSet:
    """Logins and mail again."""
    return await _set_state(ctx, actor, "person.enable", person, PersonState.ACTIVE, dry_run)


@dataclass(frozen=True, slots=True)
class Unlocked:
    """`cleared`: how many counts of wrong passwords were forgotten."""

    address: str
    cleared: int


async def unlock(ctx: Context, actor: Actor, person: str, *, dry_run: bool = False) -> Unlocked:
    """Wrong passwords no longer count against this person, from wherever they came."""
    async with ctx.recorded(actor, "person.unlock", person, dry_run=dry_run) as note:
        found = await person_of(ctx, person)
        require(actor, "person.unlock", found.unit_id)
        note.target = str(found.primary)
        cleared = 0 if dry_run else _unlock(ctx, found)
        note.detail.update(person_id=found.person_id, cleared=cleared)
        return Unlocked(str(found.primary), cleared)


def _unlock(ctx: Context, person: Person) -> int:
    """Whoever could not log in anyway was counted by name."""
    return sum(ctx.unlock(account) for account in (person.person_id, *(one.key for one in person.addresses)))


async def _set_state(ctx: Context, actor: Actor, act: str, person: str, state: PersonState, dry_run: bool) -> StateSet:
    async with ctx.recorded(actor, act, person, dry_run=dry_run) as note:
        found = await person_of(ctx, person)
        require(actor, act, found.unit_id)
        note.target = str(found.primary)
        note.detail.update(person_id=found.person_id, before=found.state.value, after=state.value)
        ended = 0
        if not dry_run:
            if found.state is not state:
                await ctx.directory.set_state(found.person_id, state)
            # Also when the state was right already: whoever repeats the command wants nobody left inside.
            await forget(ctx, found)
            if state is not PersonState.ACTIVE:
                ended = await ctx.kick(found.person_id)
                note.detail["connections"] = ended
        return StateSet(str(found.primary), state.value, ended)


async def forget(ctx: Context, person: Person) -> None:
    """After a change of password or state: no answer and no login that was remembered is used again."""
    ctx.cache.invalidate()
    _unlock(ctx, person)
    await ctx.database.write(logins.forget, person.person_id)
