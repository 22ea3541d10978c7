"""The directory in our own tables: the embedded default, and the reference that the LDAP directory is tested against.

Invariants: every act is one transaction – ledger, entry and addresses appear together or not at all; bulk acts are one
transaction per `BULK_ROWS` rows. SQL lives in `govmail.store.directory`, the rules of the tree in `directory.tree`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from directory import resolution, tree
from directory.bulk import Bulk
from directory.model import (
    BulkResult,
    Counts,
    Credentials,
    Group,
    IdSource,
    MailDomain,
    NewPerson,
    NewUnit,
    Person,
    Progress,
    Unit,
    limit_of,
    new_id,
    new_stamp,
)
from govmail.config import DirectoryTable, Limits
from govmail.errors import BadInput, Conflict, NotFound
from govmail.interfaces import Clock, PersonState, Resolution, Target, utc_now
from govmail.mail.address import Address
from govmail.store import directory as sql
from govmail.store.database import Database

BULK_ROWS = 1000


class LocalDirectory:
    """`DirectoryService` over the store's own tables."""

    def __init__(
        self, database: Database, config: DirectoryTable | None = None, *, limits: Limits | None = None,
        clock: Clock = utc_now, ids: IdSource = new_id,
    ) -> None:
        self._db = database
        self._limits = limits or Limits()
        self._quota = config.quota_octets if config else 0
        self._administrators = [Address.parse(text) for text in (config.administrators if config else ())]
        self._clock = clock
        self._ids = ids

    async def prepare(self) -> None:
        """Nothing: the tables are made with the store."""

    async def close(self) -> None:
        """Nothing: the database belongs to whoever opened it."""

    async def check(self) -> None:
        await self._db.read(sql.root)

    async def counts(self) -> Counts:
        return Counts(*await self._db.read(sql.counts))

    def _now(self) -> int:
        return int(self._clock().timestamp())

    # units

    async def add_unit(self, new: NewUnit) -> Unit:
        fields = self._unit_fields(tree.check_unit(new))

        def add(conn: sql.Connection) -> Mapping[str, Any]:
            if new.parent_id:
                parent = Unit(**sql.get_unit(conn, new.parent_id))
                tree.check_place(new.level, parent)
            [(unit_id, reason)] = sql.add_units(conn, [fields])
            if not unit_id or unit_id != fields["unit_id"]:
                raise Conflict(reason or f"{new.name}: exists already")
            return sql.get_unit(conn, unit_id)

        return Unit(**await self._db.write(add))

    async def add_units(self, rows: Iterable[NewUnit], progress: Progress | None = None) -> BulkResult:
        bulk = Bulk(progress)
        there: dict[str, str] = {}  # id in the input -> id of the unit that was there already
        for batch in sql.batches(rows, BULK_ROWS):
            fields = [self._unit_fields(row) for row in bulk.accept(batch, tree.check_unit)]
            for one in fields:
                one["parent_id"] = there.get(one["parent_id"], one["parent_id"])
            outcome = await self._db.write_alone(sql.add_units, fields)
            there.update((one["unit_id"], made) for one, (made, _) in zip(fields, outcome, strict=True) if made)
            bulk.settle(outcome)
        return bulk.result()

    def _unit_fields(self, new: NewUnit) -> dict[str, Any]:
        return {**asdict(new), "unit_id": new.unit_id or self._ids()}

    async def root(self) -> Unit | None:
        row = await self._db.read(sql.root)
        return Unit(**row) if row else None

    async def unit(self, unit_id: str) -> Unit:
        return Unit(**await self._db.read(sql.get_unit, unit_id))

    async def unit_by_path(self, path: str) -> Unit:
        parts = tree.split_path(path)

        def walk(conn: sql.Connection) -> Unit:
            top = sql.root(conn)
            at = tree.pick([Unit(**top)] if top else [], parts[0])
            for part in parts[1:]:
                at = tree.pick([Unit(**row) for row in sql.children(conn, at.unit_id)], part)
            return at

        return await self._db.read(walk)

    async def unit_chain(self, unit_id: str) -> tuple[Unit, ...]:
        return tuple(Unit(**row) for row in await self._db.read(sql.chain, unit_id))

    async def children(self, unit_id: str) -> list[Unit]:
        return [Unit(**row) for row in await self._db.read(sql.children, unit_id)]

    async def subtree(self, unit_id: str) -> list[Unit]:
        return [Unit(**row) for row in await self._db.read(sql.subtree, unit_id)]

    async def is_within(self, unit_id: str, ancestor_id: str) -> bool:
        try:
            return any(one.unit_id == ancestor_id for one in await self.unit_chain(unit_id))
        except NotFound:
            return False

    async def line(self, line: str, *, level: int | None = None) -> list[Unit]:
        return [Unit(**row) for row in await self._db.read(sql.line, line, level)]

    async def rename_unit(self, unit_id: str, *, name: str | None = None, label: str | None = None) -> Unit:
        def rename(conn: sql.Connection) -> Mapping[str, Any]:
            old = Unit(**sql.get_unit(conn, unit_id))
            sql.place_unit(
                conn, unit_id, parent_id=old.parent_id,
                name=old.name if name is None else tree.check_name(name),
                label=old.label if label is None else tree.check_label(label),
            )
            return sql.get_unit(conn, unit_id)

        return Unit(**await self._db.write_alone(rename))

    async def move_unit(self, unit_id: str, parent_id: str) -> Unit:
        def move(conn: sql.Connection) -> Mapping[str, Any]:
            old = Unit(**sql.get_unit(conn, unit_id))
            tree.check_move(old, Unit(**sql.get_unit(conn, parent_id)))
            sql.place_unit(conn, unit_id, name=old.name, label=old.label, parent_id=parent_id)
            return sql.get_unit(conn, unit_id)

        return Unit(**await self._db.write_alone(move))

    async def set_keeper(self, unit_id: str, person_id: str | None) -> Unit:
        def keep(conn: sql.Connection) -> Mapping[str, Any]:
            if person_id is not None:
                sql.get_person(conn, person_id)
            sql.set_unit(conn, unit_id, {"keeper_id": person_id})
            return sql.get_unit(conn, unit_id)

        return Unit(**await self._db.write(keep))

    async def set_unit_domain(self, unit_id: str, domain: str | None) -> Unit:
        canonical = tree.check_domain(domain) if domain else None

        def change(conn: sql.Connection) -> Mapping[str, Any]:
            sql.set_unit(conn, unit_id, {"domain": canonical})
            return sql.get_unit(conn, unit_id)

        return Unit(**await self._db.write(change))

    async def remove_unit(self, unit_id: str) -> None:
        await self._db.write(sql.remove_unit, unit_id)

    # people

    async def add_person(self, new: NewPerson) -> Person:
        fields = self._person_fields(tree.check_person(new))

        def add(conn: sql.Connection) -> dict[str, Any]:
            sql.get_unit(conn, new.unit_id)
            for one in (new.address, *new.aliases):
                if not sql.is_local(conn, one.domain):
                    raise BadInput(f"{one}: its domain is not one of ours")
            [(person_id, reason)] = sql.add_people(conn, [fields], now=self._now())
            if not person_id or person_id != fields["person_id"]:
                raise Conflict(reason or f"{new.address}: exists already")
            return sql.get_person(conn, person_id)

        return _person(await self._db.write(add))

    async def add_people(self, rows: Iterable[NewPerson], progress: Progress | None = None) -> BulkResult:
        bulk = Bulk(progress)
        for batch in sql.batches(rows, BULK_ROWS):
            fields = [self._person_fields(row) for row in bulk.accept(batch, tree.check_person)]
            bulk.settle(await self._db.write_alone(sql.add_people, fields, now=self._now()))
        return bulk.result()

    def _person_fields(self, new: NewPerson) -> dict[str, Any]:
        return {
            "person_id": new.person_id or self._ids(), "unit_id": new.unit_id, "name": new.name, "pinyin": new.pinyin,
            "title": new.title, "state": new.state.value, "password": new.password_hash, "stamp": new_stamp(),
            "quota_octets": new.quota_octets,
            "addresses": [(one.key, str(one)) for one in (new.address, *new.aliases)],
        }

    async def person(self, person_id: str) -> Person:
        return _person(await self._db.read(sql.get_person, person_id))

    async def person_by_address(self, address: Address) -> Person:
        def find(conn: sql.Connection) -> dict[str, Any]:
            kind, owner_id = sql.owner(conn, address.key) or ("", "")
            if kind != "person":
                raise NotFound(f"person {address}: not found")
            return sql.get_person(conn, owner_id)

        return _person(await self._db.read(find))

    async def people_by_id(self, person_ids: Sequence[str]) -> dict[str, Person]:
        return {row["person_id"]: _person(row) for row in await self._db.read(sql.get_people, person_ids)}

    async def people(self, unit_id: str, *, subtree: bool = False, page: int = 500) -> AsyncIterator[list[Person]]:
        after = ""
        while rows := await self._db.read(sql.people_page, unit_id, subtree, after, page):
            yield [_person(row) for row in rows]
            after = rows[-1]["person_id"]

    async def search_people(self, text: str, *, unit_id: str | None = None, limit: int = 50) -> list[Person]:
        return [_person(row) for row in await self._db.read(sql.search_people, tree.check_name(text), unit_id, limit)]

    async def set_password(self, person_id: str, password_hash: str) -> Person:
        return await self._change(person_id, {"password": password_hash, "stamp": new_stamp()})

    async def set_state(self, person_id: str, state: PersonState) -> Person:
        return await self._change(person_id, {"state": state.value, "stamp": new_stamp()})

    async def set_quota(self, person_id: str, octets: int | None) -> Person:
        if octets is not None and octets < 0:
            raise BadInput("quota: must not be negative")
        return await self._change(person_id, {"quota_octets": octets})

    async def rename_person(
        self, person_id: str, *, name: str | None = None, pinyin: str | None = None,
        title: str | None = None, primary: Address | None = None,
    ) -> Person:
        values: dict[str, str] = {}
        if name is not None:
            values["name"] = tree.check_name(name)
        if pinyin is not None:
            values["pinyin"] = tree.check_text(pinyin, what="pinyin")
        if title is not None:
            values["title"] = tree.check_text(title, what="title")
        return await self._change(person_id, values, primary)

    async def move_person(self, person_id: str, unit_id: str) -> Person:
        return await self._change(person_id, {"unit_id": unit_id, "stamp": new_stamp()})

    async def _change(self, person_id: str, values: Mapping[str, Any], primary: Address | None = None) -> Person:
        def change(conn: sql.Connection) -> dict[str, Any]:
            if values:
                sql.set_person(conn, person_id, values)
            if primary is not None:
                sql.get_person(conn, person_id)
                sql.add_address(conn, person_id, "person", primary.key, str(primary), primary=True, now=self._now())
            return sql.get_person(conn, person_id)

        return _person(await self._db.write(change))

    async def add_alias(self, person_id: str, address: Address) -> Person:
        def add(conn: sql.Connection) -> dict[str, Any]:
            sql.get_person(conn, person_id)
            sql.add_address(conn, person_id, "person", address.key, str(address), primary=False, now=self._now())
            return sql.get_person(conn, person_id)

        return _person(await self._db.write(add))

    async def remove_alias(self, person_id: str, address: Address) -> Person:
        def remove(conn: sql.Connection) -> dict[str, Any]:
            sql.get_person(conn, person_id)
            sql.remove_address(conn, person_id, address.key, now=self._now())
            return sql.get_person(conn, person_id)

        return _person(await self._db.write(remove))

    async def remove_person(self, person_id: str) -> None:
        def remove(conn: sql.Connection) -> None:
            sql.get_person(conn, person_id)
            sql.remove_owner(conn, person_id, now=self._now())

        await self._db.write(remove)

    # groups

    async def add_group(
        self, unit_id: str, address: Address, name: str, *, members: Sequence[str] = (), group_id: str = ""
    ) -> Group:
        made_id = group_id or self._ids()
        shown = tree.check_name(name)

        def add(conn: sql.Connection) -> dict[str, Any]:
            sql.add_group(conn, made_id, unit_id, address.key, str(address), shown, now=self._now())
            self._add_members(conn, made_id, members)
            return sql.get_group(conn, made_id)

        return _group(await self._db.write(add))

    def _add_members(self, conn: sql.Connection, group_id: str, members: Sequence[str]) -> None:
        named = [tree.check_member(member) for member in members]
        for index, member in enumerate(named):
            if isinstance(member, Address) and sql.is_local(conn, member.domain):
                whose = sql.owner(conn, member.key)
                if whose is None:
                    raise NotFound(f"member {member}: not found")
                named[index] = whose[1]
        sql.add_members(conn, group_id, [str(member) for member in named], self._limits.group_members)

    async def group(self, group_id: str) -> Group:
        return _group(await self._db.read(sql.get_group, group_id))

    async def group_by_address(self, address: Address) -> Group:
        def find(conn: sql.Connection) -> dict[str, Any]:
            kind, owner_id = sql.owner(conn, address.key) or ("", "")
            if kind != "group":
                raise NotFound(f"group {address}: not found")
            return sql.get_group(conn, owner_id)

        return _group(await self._db.read(find))

    async def groups(self, unit_id: str, *, subtree: bool = False) -> list[Group]:
        return [_group(row) for row in await self._db.read(sql.list_groups, unit_id, subtree)]

    async def add_members(self, group_id: str, members: Sequence[str]) -> Group:
        def add(conn: sql.Connection) -> dict[str, Any]:
            self._add_members(conn, group_id, members)
            return sql.get_group(conn, group_id)

        return _group(await self._db.write(add))

    async def remove_members(self, group_id: str, members: Sequence[str]) -> Group:
        def remove(conn: sql.Connection) -> dict[str, Any]:
            sql.remove_members(conn, group_id, [str(tree.check_member(member)) for member in members])
            return sql.get_group(conn, group_id)

        return _group(await self._db.write(remove))

    async def remove_group(self, group_id: str) -> None:
        def remove(conn: sql.Connection) -> None:
            sql.get_group(conn, group_id)
            sql.remove_owner(conn, group_id, now=self._now())

        await self._db.write(remove)

    # domains and mail

    async def add_domain(self, domain: str, unit_id: str) -> MailDomain:
        canonical = tree.check_domain(domain)
        await self._db.write(sql.add_domain, canonical, unit_id)
        return MailDomain(canonical, unit_id)

    async def domains(self) -> list[MailDomain]:
        return [MailDomain(**row) for row in await self._db.read(sql.domains)]

    async def remove_domain(self, domain: str) -> None:
        await self._db.write(sql.remove_domain, tree.check_domain(domain))

    async def is_local_domain(self, domain: str) -> bool:
        return await self._db.read(sql.is_local, domain)

    async def resolve(self, address: Address) -> Resolution:
        return await self._db.read(self._resolve, address)

    def _resolve(self, conn: sql.Connection, address: Address, roles: bool = True) -> Resolution:
        whose = sql.owner(conn, address.key)
        if whose is None:
            if not sql.is_local(conn, address.domain):
                return resolution.elsewhere(address)
            if roles and resolution.is_role(address):
                return self._role(conn, address)
            return resolution.nobody(address)
        kind, owner_id = whose
        if kind == "person":
            return resolution.of_person(address, self._found(sql.mail_target(conn, owner_id)))
        reached, outside = sql.expand(conn, owner_id, depth=self._limits.group_depth, limit=self._limits.group_members)
        return resolution.of_group(address, map(self._found, reached), map(Address.parse, outside))

    def _role(self, conn: sql.Connection, address: Address) -> Resolution:
        for keeper_id in sql.keepers(conn, address.domain):
            answer = resolution.of_person(address, self._found(sql.mail_target(conn, keeper_id)))
            if answer.exists:
                return answer
        return resolution.of_administrators(address, [self._resolve(conn, one, roles=False) for one in self._administrators])

    def _found(self, row: sql.MailTarget) -> resolution.Found:
        person_id, primary, unit_id, state, quota = row
        return Target(person_id, Address.parse(primary), unit_id, limit_of(quota, self._quota)), PersonState(state)

    # logins

    async def credentials(self, address: Address) -> Credentials | None:
        found = await self._db.read(sql.credentials, address.key)
        return Credentials(_person(found[0]), found[1]) if found else None

    async def bind(self, person_id: str, password: str) -> bool:
        """Never: the hash can always be read here."""
        return False


def _person(row: Mapping[str, Any]) -> Person:
    return Person(
        **{
            **row,
            "state": PersonState(row["state"]),
            "addresses": tuple(Address.parse(text) for text in row["addresses"]),
        }
    )


def _group(row: Mapping[str, Any]) -> Group:
    return Group(**{**row, "address": Address.parse(row["address"]), "members": tuple(row["members"])})
