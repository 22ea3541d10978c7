"""Domains whose mail stays here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from admin import hostname
from admin.actions.context import Actor, Context, require
from admin.actions.find import path_of, unit_or_root
from admin.texts import say
from directory import tree
from filters import dkim
from govmail.errors import NotFound


@dataclass(frozen=True, slots=True)
class DomainRow:
    domain: str
    unit: str


@dataclass(frozen=True, slots=True)
class DomainAdded:
    domain: str
    status: str  # "added", "exists"
    unit: str


async def add(ctx: Context, actor: Actor, domain: str, *, unit: str | None = None, dry_run: bool = False) -> DomainAdded:
    """Mail for the domain stays here from now on; people of the unit, and below it, get their addresses in it."""
    async with ctx.recorded(actor, "domain.add", domain, dry_run=dry_run) as note:
        canonical = tree.check_domain(domain)
        for one in await ctx.directory.domains():
            if one.domain == canonical:
                require(actor, "domain.add", one.unit_id)
                return DomainAdded(canonical, "exists", await path_of(ctx, one.unit_id))
        owner = await unit_or_root(ctx, unit)
        require(actor, "domain.add", owner.unit_id)
        note.detail["unit_id"] = owner.unit_id
        if not dry_run:
            await ctx.directory.add_domain(canonical, owner.unit_id)
            if unit and not owner.domain:
                await ctx.directory.set_unit_domain(owner.unit_id, canonical)
            await make_key(ctx, canonical)
            ctx.cache.invalidate()
        return DomainAdded(canonical, "added", await path_of(ctx, owner.unit_id))


async def list_domains(ctx: Context, actor: Actor) -> AsyncIterator[DomainRow]:
    require(actor, "domain.list", None)
    paths: dict[str, str] = {}
    for one in await ctx.directory.domains():
        if one.unit_id not in paths:
            paths[one.unit_id] = await path_of(ctx, one.unit_id)
        yield DomainRow(one.domain, paths[one.unit_id])


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """What to publish; `value` as in a zone file, without quotes."""

    name: str
    type: str
    value: str


async def dns(ctx: Context, actor: Actor, domain: str) -> AsyncIterator[DnsRecord]:
    """The records that let others send to the domain (MX) and trust what comes from it (RFC 7208, 6376, 7489)."""
    canonical = tree.check_domain(domain)
    owner = next((one.unit_id for one in await ctx.directory.domains() if one.domain == canonical), None)
    if owner is None:
        raise NotFound(say("domain_foreign", domain=canonical))
    require(actor, "domain.list", owner)
    await make_key(ctx, canonical)
    yield DnsRecord(canonical, "MX", f"10 {ctx.config.hostname}.")
    yield DnsRecord(canonical, "TXT", "v=spf1 mx -all")
    name, key = await asyncio.to_thread(dkim.record, ctx.data_dir, canonical)
    yield DnsRecord(name, "TXT", key)
    yield DnsRecord(f"_dmarc.{canonical}", "TXT", f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{canonical}")


@dataclass(frozen=True, slots=True)
class Host:
    """The name of this server, as in MX records; `problem`: why others cannot use it, "" when they can."""

    hostname: str
    problem: str


async def host(ctx: Context, actor: Actor) -> Host:
    """What to think of the records of `dns`, which name this server."""
    require(actor, "domain.list", None)
    return Host(ctx.config.hostname, hostname.problem(ctx.config.hostname))


async def make_key(ctx: Context, domain: str) -> None:
    """The key that rspamd signs the domain's mail with, where it is missing."""
    await asyncio.to_thread(dkim.ensure_key, ctx.data_dir, domain)
