"""Fills a fresh directory with a sample tree, so that a new installation has somebody to log in as.

Invariants: a directory that has units of its own is left alone; an interrupted build is finished by the next one, with
the same people; passwords are random and lie, for their owner only, in `sample-logins.tsv` (0600).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from admin.actions.context import Context
from directory import passwords
from directory.model import DirectoryService, NewPerson, NewUnit
from directory.samples import DOMAIN, sample_people, sample_units
from directory.samples import Kind as Kind
from govmail.errors import StoreFailed
from govmail.mail.address import Address
from govmail.store import accounts

PEOPLE = 50  # each with a password; 100,000 would take an hour to hash
SHOWN = 5  # of these on the terminal
LOGINS_FILE = "sample-logins.tsv"
PENDING_FILE = "sample.pending"
EVERYBODY = Address("all", DOMAIN)

Tree = Literal["none", "small", "province"]

Progress = Callable[[int, int], None]
"""Called with how many units and people are done, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Login:
    address: str
    password: str
    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What was built; `logins` are those in the file at `path`."""

    units: int
    people: int
    logins: tuple[Login, ...]
    path: Path

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Some addresses and passwords to begin with: the first people of the first units."""
        return [(one.address, one.password) for one in self.logins[:SHOWN]]


async def build(ctx: Context, kind: Kind, progress: Progress | None = None) -> Sample | None:
    """Builds the sample; None when the directory is in use already. Raises StoreFailed, DirectoryUnavailable."""
    directory, pending = ctx.directory, ctx.data_dir / PENDING_FILE
    if await directory.root() is not None and not pending.exists():
        return None
    pending.touch(mode=0o600)
    units = list(sample_units(kind))
    total = len(units) + PEOPLE

    def tell(done: int) -> None:
        if progress:
            progress(done, total)

    ids = await _add_units(directory, units, tell)
    units = [replace(one, unit_id=ids[one.unit_id], parent_id=ids.get(one.parent_id or "")) for one in units]
    people = list(sample_people(units, PEOPLE))
    given = [passwords.generate() for _ in people]
    hashes = await ctx.hasher.hash_many(given)
    made = await _add_people(ctx, [replace(one, password_hash=encoded) for one, encoded in zip(people, hashes, strict=True)])
    tell(total)
    # Somebody that an interrupted build has made already has a password that nobody knows.
    for person_id, encoded in zip(made, hashes, strict=True):
        await directory.set_password(person_id, encoded)
    await directory.set_keeper(units[0].unit_id, made[0])
    if not (await directory.resolve(EVERYBODY)).is_group:
        await directory.add_group(units[0].unit_id, EVERYBODY, "全体人员", members=made)
    names = {one.unit_id: one for one in units}
    logins = tuple(
        Login(str(person.address), password, person.name, _path(names, person.unit_id)) for person, password in zip(people, given, strict=True)
    )
    file = ctx.data_dir / LOGINS_FILE
    ctx.cache.invalidate()
    _write(file, logins)
    pending.unlink()
    return Sample(len(units), PEOPLE, logins, file)


async def _add_units(directory: DirectoryService, units: list[NewUnit], tell: Callable[[int], None]) -> dict[str, str]:
    """The id that each unit has, by the id that it was given."""
    result = await directory.add_units(units, lambda done, _: tell(done))
    if result.failures:
        first = result.failures[0]
        raise StoreFailed(f"sample: {units[first.row].name}: {first.reason}")
    return {one.unit_id: made for one, made in zip(units, result.ids, strict=True)}


async def _add_people(ctx: Context, people: list[NewPerson]) -> list[str]:
    result = await ctx.directory.add_people(people)
    if result.failures:
        first = result.failures[0]
        raise StoreFailed(f"sample: {people[first.row].address}: {first.reason}")
    await ctx.database.write(accounts.create_missing, result.ids, now=ctx.now)
    return list(result.ids)


def _path(units: dict[str, NewUnit], unit_id: str | None) -> str:
    names: list[str] = []
    while unit_id:
        names.append(units[unit_id].name)
        unit_id = units[unit_id].parent_id
    return "/".join(reversed(names))


def _write(file: Path, logins: tuple[Login, ...]) -> None:
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as text:
        text.write("address\tpassword\tname\tunit\n")
        text.writelines(f"{one.address}\t{one.password}\t{one.name}\t{one.unit}\n" for one in logins)
        text.flush()
        os.fsync(text.fileno())
    temporary.replace(file)
