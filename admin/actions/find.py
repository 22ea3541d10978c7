"""From what an operator types to units, people, groups and addresses, with errors that say what to do."""

from __future__ import annotations

from admin.actions.context import Context
from admin.reasons import explain
from admin.texts import say
from directory.model import Group, Person, Unit
from govmail.errors import BadAddress, BadInput, NotFound
from govmail.mail.address import Address

NAME_LENGTH = 64  # characters of a person's name


async def unit_of(ctx: Context, text: str) -> Unit:
    """By path, in names or labels: 江西省/赣州市/发改委. Raises BadInput."""
    try:
        return await ctx.directory.unit_by_path(text)
    except NotFound as error:
        raise BadInput(say("unit_unknown", unit=text)) from error


async def unit_or_root(ctx: Context, text: str | None) -> Unit:
    """The unit of that path; without one, the top of the tree."""
    if text:
        return await unit_of(ctx, text)
    root = await ctx.directory.root()
    if root is None:
        raise BadInput(say("no_units"))
    return root


async def path_of(ctx: Context, unit_id: str) -> str:
    """The names from the root, joined by "/"."""
    return "/".join(unit.name for unit in await ctx.directory.unit_chain(unit_id))


def address_of(text: str) -> Address:
    """Raises BadInput."""
    try:
        return Address.parse(text.strip())
    except BadAddress as error:
        raise BadInput(say("address_bad", address=text, reason=explain(error))) from error


async def person_of(ctx: Context, text: str) -> Person:
    """By primary address, alias or directory_id. Raises NotFound."""
    try:
        if "@" in text:
            return await ctx.directory.person_by_address(address_of(text))
        return await ctx.directory.person(text)
    except NotFound as error:
        raise NotFound(say("person_unknown", person=text)) from error


async def group_of(ctx: Context, text: str) -> Group:
    try:
        if "@" in text:
            return await ctx.directory.group_by_address(address_of(text))
        return await ctx.directory.group(text)
    except NotFound as error:
        raise NotFound(say("group_unknown", group=text)) from error


async def require_local_domain(ctx: Context, address: Address) -> None:
    """An address is ours to give only in a domain whose mail stays here. Raises BadInput."""
    if not await ctx.directory.is_local_domain(address.domain):
        raise BadInput(say("domain_foreign", domain=address.domain))


async def domain_for(ctx: Context, unit: Unit) -> str:
    """Where new people of the unit get their addresses: its own domain, else that of the nearest unit above.

    A unit that answers for a domain without having it as its own counts too, by the first such domain.
    """
    answered: dict[str, str] = {}
    for domain in await ctx.directory.domains():
        answered.setdefault(domain.unit_id, domain.domain)
    for one in reversed(await ctx.directory.unit_chain(unit.unit_id)):
        if found := one.domain or answered.get(one.unit_id):
            return found
    raise BadInput(say("domain_none", unit=await path_of(ctx, unit.unit_id)))
