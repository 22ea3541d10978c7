"""How a directory's findings become a `Resolution`: the rules that both directories share.

RFC 5321 §4.5.1 (postmaster), RFC 2142 §4 (abuse).
"""

from __future__ import annotations

from collections.abc import Iterable

from govmail.interfaces import PersonState, Resolution, Target
from govmail.mail.address import Address

ROLES = frozenset({"postmaster", "abuse"})
"""Local parts that reach somebody in every local domain, whoever has that address or nobody."""

Found = tuple[Target, PersonState]


def is_role(address: Address) -> bool:
    return address.local.casefold() in ROLES


def elsewhere(address: Address) -> Resolution:
    """In somebody else's domain."""
    return Resolution(address, domain_is_local=False)


def nobody(address: Address) -> Resolution:
    """In one of our domains, and not there."""
    return Resolution(address, domain_is_local=True)


def of_person(address: Address, found: Found) -> Resolution:
    """A person's address; a disabled person takes no mail."""
    target, state = found
    if state is PersonState.DISABLED:
        return Resolution(address, domain_is_local=True, disabled=True)
    return Resolution(address, domain_is_local=True, targets=(target,))


def of_group(address: Address, found: Iterable[Found], remote: Iterable[Address]) -> Resolution:
    """A group's address; one that reaches nobody takes no mail."""
    targets = {target.directory_id: target for target, state in found if state is not PersonState.DISABLED}
    outside = {one.key: one for one in remote}
    return Resolution(
        address, domain_is_local=True, targets=tuple(targets.values()), remote=tuple(outside.values()),
        disabled=not (targets or outside), is_group=True,
    )


def of_administrators(address: Address, answers: Iterable[Resolution]) -> Resolution:
    """What the administrators' own addresses stand for, together."""
    targets: dict[str, Target] = {}
    outside: dict[str, Address] = {}
    for answer in answers:
        targets.update((target.directory_id, target) for target in answer.targets)
        outside.update((one.key, one) for one in answer.remote)
        if not answer.domain_is_local:
            outside[answer.address.key] = answer.address
    return Resolution(address, domain_is_local=True, targets=tuple(targets.values()), remote=tuple(outside.values()))
