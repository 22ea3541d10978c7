"""Mailboxes as operators see them: how much lies where, what IMAP offers there, which belong to a unit; never what stands in the mails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from admin.actions.context import Actor, Context, require
from admin.actions.find import path_of, person_of, unit_of
from admin.texts import say
from directory.model import Person, limit_of
from govmail.errors import BadInput
from govmail.imap import capabilities
from govmail.store import accounts, acl, mailboxes
from govmail.store.connection import Connection
from govmail.store.values import Account, Mailbox

PAGE = 500


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account with its owner; `address` empty: the directory does not know the owner any more."""

    address: str
    name: str
    unit: str
    messages: int
    octets: int
    quota_octets: int | None
    suspended: bool
    directory_id: str


@dataclass(frozen=True, slots=True)
class MailboxRow:
    name: str
    special_use: str
    messages: int
    unseen: int
    octets: int
    uidvalidity: int
    uid_next: int


@dataclass(frozen=True, slots=True)
class Usage:
    """`quota_octets`: None = no limit."""

    address: str
    messages: int
    used_octets: int
    quota_octets: int | None


@dataclass(frozen=True, slots=True)
class Shared:
    """The mailbox of a unit: what it is called in the list of those who see it, and who keeps it."""

    name: str
    unit: str
    keeper: str


@dataclass(frozen=True, slots=True)
class Count:
    messages: int


@dataclass(frozen=True, slots=True)
class CapabilitiesRow:
    """`off`: what was switched off by name; `gone`: that, and what cannot be without it."""

    address: str
    off: tuple[str, ...]
    gone: tuple[str, ...]


async def list_mailboxes(ctx: Context, actor: Actor) -> AsyncIterator[AccountRow]:
    """All accounts, oldest first, a page at a time."""
    require(actor, "mailbox.list", None)
    paths: dict[str, str] = {}
    after = 0
    while page := await ctx.database.read(accounts.list_page, after=after, limit=PAGE):
        owners = await ctx.directory.people_by_id([one.directory_id for one in page])
        for account in page:
            owner = owners.get(account.directory_id)
            if owner is not None and owner.unit_id not in paths:
                paths[owner.unit_id] = await path_of(ctx, owner.unit_id)
            yield AccountRow(
                str(owner.primary) if owner else "", owner.name if owner else "", paths[owner.unit_id] if owner else "",
                account.used_messages, account.used_octets, account.quota_octets, account.suspended, account.directory_id,
            )
        after = page[-1].account_id


async def show(ctx: Context, actor: Actor, person: str) -> AsyncIterator[MailboxRow]:
    """The mailboxes of one person."""
    found = await person_of(ctx, person)
    require(actor, "mailbox.list", found.unit_id)
    account: Account | None = await ctx.database.read(accounts.find, found.person_id)
    if account is None:
        return
    rows: list[Mailbox] = await ctx.database.read(mailboxes.list_all, account.account_id)
    for one in rows:
        yield MailboxRow(one.name, one.special_use or "", one.messages, one.unseen, one.octets, one.uidvalidity, one.uid_next)


async def capability(
    ctx: Context, actor: Actor, person: str, *, off: tuple[str, ...] = (), on: tuple[str, ...] = (), dry_run: bool = False
) -> CapabilitiesRow:
    """Stop offering IMAP capabilities to one person, whose client bears them badly, or offer them again; from the next login on.

    With neither `off` nor `on` it only shows. Raises BadInput for names that cannot be switched off.
    """
    found = await person_of(ctx, person)
    if not off and not on:
        require(actor, "mailbox.list", found.unit_id)
        account: Account | None = await ctx.database.read(accounts.find, found.person_id)
        return _capabilities(found, account.without if account else frozenset())
    async with ctx.recorded(actor, "mailbox.capability", str(found.primary), dry_run=dry_run) as note:
        require(actor, "mailbox.capability", found.unit_id)
        removed, restored = _switches(off), _switches(on)
        if both := removed & restored:
            raise BadInput(say("capability_both", names=" ".join(sorted(both))))
        note.detail.update(person_id=found.person_id, off=sorted(removed), on=sorted(restored))
        if dry_run:
            account = await ctx.database.read(accounts.find, found.person_id)
            return _capabilities(found, ((account.without if account else frozenset()) | removed) - restored)
        names = await ctx.database.write(_switch, found.person_id, removed, restored, ctx.now)
        return _capabilities(found, names)


def _switches(names: tuple[str, ...]) -> frozenset[str]:
    known = {name.upper(): name for name in capabilities.SWITCHES}
    if strange := [name for name in names if name.upper() not in known]:
        raise BadInput(say("capability_unknown", names=" ".join(strange), known=" ".join(sorted(capabilities.SWITCHES))))
    return frozenset(known[name.upper()] for name in names)


def _switch(conn: Connection, directory_id: str, off: frozenset[str], on: frozenset[str], now: int) -> frozenset[str]:
    account = accounts.ensure(conn, directory_id, now=now)
    names = (account.without | off) - on
    accounts.set_without(conn, directory_id, names)
    return names


def _capabilities(person: Person, off: frozenset[str]) -> CapabilitiesRow:
    return CapabilitiesRow(str(person.primary), tuple(sorted(off)), tuple(sorted(capabilities.with_dependents(off))))


async def usage(ctx: Context, actor: Actor, person: str) -> Usage:
    """What the mailboxes of one person hold together, and may hold."""
    found = await person_of(ctx, person)
    require(actor, "mailbox.list", found.unit_id)
    account: Account | None = await ctx.database.read(accounts.find, found.person_id)
    if account is None:
        return Usage(str(found.primary), 0, 0, limit_of(found.quota_octets, ctx.config.directory.quota_octets))
    return Usage(str(found.primary), account.used_messages, account.used_octets, account.quota_octets)


async def share(ctx: Context, actor: Actor, unit: str, *, keeper: str, name: str | None = None, dry_run: bool = False) -> Shared:
    """A mailbox that belongs to a unit; its keeper, and who the keeper gives rights, see it among the shared ones.

    Again with another keeper: both keep it. Without a name it is called as the unit, all levels but the root's in one word.
    """
    async with ctx.recorded(actor, "mailbox.share", unit, dry_run=dry_run) as note:
        owner = await unit_of(ctx, unit)
        require(actor, "mailbox.share", owner.unit_id)
        person = await person_of(ctx, keeper)
        path = await path_of(ctx, owner.unit_id)
        called = name or "".join(path.split("/")[1:]) or path
        note.detail.update(unit_id=owner.unit_id, keeper=person.person_id, name=called)
        if not dry_run:
            await ctx.database.write(
                acl.share, owner.unit_id, called, person.person_id, now=ctx.now, most=ctx.config.limits.acl_entries
            )
        return Shared(called, path, str(person.primary))


async def count(ctx: Context, actor: Actor) -> Count:
    """Messages in all mailboxes of all accounts; one query."""
    require(actor, "mailbox.list", None)
    return Count(await ctx.database.read(mailboxes.count_messages))
