"""How much a person's mailboxes may hold: kept in the directory, copied to the account.

Invariant: when the act is done, the next message is measured by the new limit; mail that is there already stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.context import Actor, Context, require
from admin.actions.find import person_of
from admin.sizes import parse_quota
from directory.model import limit_of
from govmail.store import accounts


@dataclass(frozen=True, slots=True)
class QuotaSet:
    """`quota_octets`: what holds now; None = no limit."""

    address: str
    quota_octets: int | None
    used_octets: int


async def set_quota(ctx: Context, actor: Actor, person: str, size: str, *, dry_run: bool = False) -> QuotaSet:
    """`size` as `admin.sizes.parse_quota` reads it."""
    async with ctx.recorded(actor, "person.quota", person, dry_run=dry_run) as note:
        found = await person_of(ctx, person)
        require(actor, "person.quota", found.unit_id)
        note.target = str(found.primary)
        wanted = parse_quota(size)
        note.detail.update(person_id=found.person_id, before=found.quota_octets, after=wanted)
        limit = limit_of(wanted, ctx.config.directory.quota_octets)
        if dry_run:
            account = await ctx.database.read(accounts.find, found.person_id)
        else:
            if wanted != found.quota_octets:
                await ctx.directory.set_quota(found.person_id, wanted)
                ctx.cache.invalidate()
            account = await ctx.database.write(accounts.limit, found.person_id, limit, now=ctx.now)
        return QuotaSet(str(found.primary), limit, account.used_octets if account else 0)
