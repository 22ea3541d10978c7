"""The directory in an LDAP server with our schema (`directory/data/ldap`), written and read by ldap3 in threads.

Invariants
- All truth lies in the LDAP server but for the ledger (addresses ever issued), which is in the store: ledger first, then the
  entry. What an interruption leaves is an issued address without entry and account; the next act for it finishes the work.
- Only an answer of the live server says that something is not there; else DirectoryUnavailable.
- With `writable = false` nothing is ever changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

from directory import tree
from directory.bulk import Bulk
from directory.ldap import entries
from directory.ldap.people import Accounts, Known
from directory.ldap.pool import ONE, SUBTREE, Link, Pool, Server
from directory.ldap.tree import Snapshot, UnitTree
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
    new_id,
    new_stamp,
)
from govmail.config import DirectoryTable, Limits
from govmail.errors import BadInput, Conflict, MailError, NotFound, NotPermitted
from govmail.interfaces import Clock, PersonState, Resolution, utc_now
from govmail.mail.address import Address
from govmail.store import accounts, ledger
from govmail.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")

BULK_ROWS = 200


class LdapDirectory:
    """`DirectoryService` over an LDAP server."""

    def __init__(
        self, config: DirectoryTable, database: Database, *, password: str, ca_file: str = "", limits: Limits | None = None,
        clock: Clock = utc_now, ids: IdSource = new_id,
    ) -> None:
        """`password`: of `config.bind_dn`; `ca_file`: absolute path or "" for the system's CAs. Connects at the first question."""
        self._db = database
        self._config = config
        self._limits = limits or Limits()
        self._clock = clock
        self._ids = ids
        self._pool = Pool(Server(config.url, config.bind_dn, password, ca_file, config.timeout_seconds), config.pool)
        self._units = UnitTree(config.base, remember=config.positive_seconds)
        administrators = [Address.parse(text) for text in config.administrators]
        self._accounts = Accounts(self._units, self._limits, administrators, config.quota_octets)

    async def _ask(self, fn: Callable[Concatenate[Link, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._pool.run(fn, *args, **kwargs)

    def _writable(self) -> None:
        if not self._config.writable:
            raise NotPermitted("the directory is read-only here; change it where it is kept")

    async def _change(self, fn: Callable[Concatenate[Link, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._writable()
        # Once begun, a change is waited for: a caller that goes away must not leave the ledger ahead of the entry.
        return await asyncio.shield(self._pool.run(fn, *args, **kwargs))

    def _now(self) -> int:
        return int(self._clock().timestamp())

    async def prepare(self) -> None:
        await self._change(self._units.prepare)

    async def close(self) -> None:
        await self._pool.close()

    async def check(self) -> None:
        await self._ask(self._units.root)

    async def counts(self) -> Counts:
        return await self._ask(self._accounts.counts)

    # units

    async def add_unit(self, new: NewUnit) -> Unit:
        unit = self._unit(tree.check_unit(new))

        def add(link: Link) -> Unit:
            parent = self._units.get(link, unit.parent_id) if unit.parent_id else None
            return self._units.add(link, unit, parent).unit

        return await self._change(add)

    def _unit(self, new: NewUnit) -> Unit:
        return Unit(
            unit_id=new.unit_id or self._ids(), parent_id=new.parent_id, name=new.name, label=new.label, level=new.level,
            kind=new.kind, line=new.line, code=new.code, rank=new.rank, domain=new.domain, is_region=new.is_region,
        )

    async def add_units(self, rows: Iterable[NewUnit], progress: Progress | None = None) -> BulkResult:
        bulk = Bulk(progress)
        source = iter(rows)
        snapshot = await self._ask(self._units.snapshot)
        while batch := list(islice(source, BULK_ROWS)):
            units = [self._unit(row) for row in bulk.accept(batch, tree.check_unit)]
            bulk.settle(await self._change(self._add_units, units, snapshot))
        return bulk.result()

    def _add_units(self, link: Link, units: Sequence[Unit], snapshot: Snapshot) -> list[tuple[str, str]]:
        outcome: list[tuple[str, str]] = []
        for unit in units:
            try:
                outcome.append((self._units.add_known(link, unit, snapshot).unit_id, ""))
            except (Conflict, NotFound, BadInput) as error:
                outcome.append(("", error.public))
        return outcome

    async def root(self) -> Unit | None:
        place = await self._ask(self._units.root)
        return place.unit if place else None

    async def unit(self, unit_id: str) -> Unit:
        return (await self._ask(self._units.get, unit_id)).unit

    async def unit_by_path(self, path: str) -> Unit:
        return await self._ask(self._units.by_path, path)

    async def unit_chain(self, unit_id: str) -> tuple[Unit, ...]:
        return tuple(await self._ask(self._units.chain, unit_id))

    async def children(self, unit_id: str) -> list[Unit]:
        return await self._ask(self._units.children, unit_id)

    async def subtree(self, unit_id: str) -> list[Unit]:
        return await self._ask(self._units.subtree, unit_id)

    async def is_within(self, unit_id: str, ancestor_id: str) -> bool:
        return await self._ask(self._units.is_within, unit_id, ancestor_id)

    async def line(self, line: str, *, level: int | None = None) -> list[Unit]:
        return await self._ask(self._units.line, line, level)

    async def rename_unit(self, unit_id: str, *, name: str | None = None, label: str | None = None) -> Unit:
        shown = None if name is None else tree.check_name(name)
        checked = None if label is None else tree.check_label(label)
        return (await self._change(self._units.place, unit_id, name=shown, label=checked)).unit

    async def move_unit(self, unit_id: str, parent_id: str) -> Unit:
        return (await self._change(self._units.place, unit_id, parent_id=parent_id)).unit

    async def set_keeper(self, unit_id: str, person_id: str | None) -> Unit:
        def keep(link: Link) -> Unit:
            if person_id is not None:
                self._accounts.person_entry(link, person_id)
            return self._units.set_values(link, unit_id, {"govKeeper": person_id or ""}).unit

        return await self._change(keep)

    async def set_unit_domain(self, unit_id: str, domain: str | None) -> Unit:
        canonical = tree.check_domain(domain) if domain else ""

        def change(link: Link) -> Unit:
            if canonical:
                self._units.add_domain(link, canonical, unit_id, take=True)
            return self._units.set_values(link, unit_id, {"govOwnDomain": canonical}).unit

        return await self._change(change)

    async def remove_unit(self, unit_id: str) -> None:
        await self._change(self._units.remove, unit_id)

    # people

    async def add_person(self, new: NewPerson) -> Person:
        checked = tree.check_person(new)
        person_id = checked.person_id or self._ids()
        known = Known()
        await self._ask(self._accounts.check_new, checked, known)
        person_id = await self._issue(checked, person_id)
        await self._change(self._accounts.add, checked, person_id, new_stamp(), known)
        return await self.person(person_id)

    async def _issue(self, new: NewPerson, person_id: str) -> str:
        """Binds the addresses to the person in the ledger; the id may become that of an interrupted act.

        An address that was issued, never released, and whose owner has neither entry nor account belongs to an act that
        died between its steps. Nobody ever got mail there: the new act takes the old id and finishes.
        """
        self._writable()
        keys = [address.key for address in (new.address, *new.aliases)]
        refused = await self._db.write(ledger.issue_many, [(key, person_id) for key in keys], self._now())
        if not refused:
            return person_id
        owner_id = await self._abandoned(new.address.key)
        if owner_id:
            refused = await self._db.write(ledger.issue_many, [(key, owner_id) for key in keys], self._now())
            if not refused:
                return owner_id
        raise Conflict(f"{min(refused)}: belonged to somebody else and is not given out again yet")

    async def _abandoned(self, key: str) -> str:
        """The owner of an issued address who has neither entry nor account; "" when there is none."""
        owner_id, released = (await self._db.read(ledger.owners, [key])).get(key, ("", 0))
        if not owner_id or released is not None or await self._db.read(accounts.find, owner_id) is not None:
            return ""
        return "" if await self._ask(self._exists, owner_id) else owner_id

    def _exists(self, link: Link, directory_id: str) -> bool:
        return bool(link.search(self._config.base, SUBTREE, entries.equals("govId", directory_id), ["govId"]))

    async def add_people(self, rows: Iterable[NewPerson], progress: Progress | None = None) -> BulkResult:
        bulk = Bulk(progress)
        known = Known()
        source = iter(rows)
        while batch := list(islice(source, BULK_ROWS)):
            people = bulk.accept(batch, tree.check_person)
            bulk.settle(await self._add_batch(people, known))
        return bulk.result()

    async def _add_batch(self, people: Sequence[NewPerson], known: Known) -> list[tuple[str, str]]:
        there = await self._ask(self._known_people, [new.address.key for new in people])
        outcome: list[tuple[str, str]] = [("", "")] * len(people)
        fresh: list[tuple[int, NewPerson, str]] = []
        seen: set[str] = set()
        for index, new in enumerate(people):
            same = there.get(new.address.key)
            keys = {address.key for address in (new.address, *new.aliases)}
            if same and (same.name, same.unit_id) == (new.name, new.unit_id):
                outcome[index] = (same.person_id, "")
            elif seen & keys:
                outcome[index] = ("", f"{min(seen & keys)}: given twice")
            else:
                fresh.append((index, new, new.person_id or self._ids()))
            seen |= keys
        checks = await self._ask(self._check_batch, [new for _, new, _ in fresh], known)
        fresh = [one for one, reason in zip(fresh, checks, strict=True) if not (reason and _note(outcome, one[0], reason))]
        pairs = [(address.key, person_id) for _, new, person_id in fresh for address in (new.address, *new.aliases)]
        refused = await self._db.write_alone(ledger.issue_many, pairs, self._now()) if pairs else set()
        ready: list[tuple[int, NewPerson, str]] = []
        for index, new, person_id in fresh:
            try:
                if any(address.key in refused for address in (new.address, *new.aliases)):
                    person_id = await self._issue(new, person_id)
                ready.append((index, new, person_id))
            except MailError as error:
                outcome[index] = ("", error.public)
        # One slice per connection: while the server syncs one change, the next ones are being encoded.
        slices = [ready[start :: self._config.pool] for start in range(self._config.pool)]
        for part in await asyncio.gather(*(self._change(self._add_entries, one, known) for one in slices if one)):
            for index, made, reason in part:
                outcome[index] = (made, reason)
        return outcome

    def _known_people(self, link: Link, keys: Sequence[str]) -> dict[str, Person]:
        found = self._accounts.there(link, keys)
        units = self._units.ids_at(link, {entries.parent_of(entry.dn) for entry in found.values()})
        people = {key: (entry, units.get(entries.dn_key(entries.parent_of(entry.dn)), "")) for key, entry in found.items()}
        return {key: entries.person_of(entry, unit_id) for key, (entry, unit_id) in people.items() if entry.one("govState")}

    def _check_batch(self, link: Link, people: Sequence[NewPerson], known: Known) -> list[str]:
        reasons: list[str] = []
        for new in people:
            try:
                self._accounts.check_new(link, new, known)
                reasons.append("")
            except (BadInput, NotFound) as error:
                reasons.append(error.public)
        return reasons

    def _add_entries(self, link: Link, people: Sequence[tuple[int, NewPerson, str]], known: Known) -> list[tuple[int, str, str]]:
        done: list[tuple[int, str, str]] = []
        for index, new, person_id in people:
            try:
                self._accounts.add(link, new, person_id, new_stamp(), known)
                done.append((index, person_id, ""))
            except (Conflict, BadInput) as error:
                done.append((index, "", error.public))
        return done

    async def person(self, person_id: str) -> Person:
        return await self._ask(self._accounts.person, person_id)

    async def person_by_address(self, address: Address) -> Person:
        return await self._ask(self._accounts.by_address, address.key)

    async def people_by_id(self, person_ids: Sequence[str]) -> dict[str, Person]:
        return {person.person_id: person for person in await self._ask(self._accounts.people_by_id, person_ids)}

    async def people(self, unit_id: str, *, subtree: bool = False, page: int = 500) -> AsyncIterator[list[Person]]:
        # A connection of its own: the server's cookie belongs to it, and the consumer may ask other questions meanwhile.
        link = await self._pool.run_plain(self._pool.connect)
        try:
            dn = (await self._ask(self._units.get, unit_id)).dn
            cookie: bytes | None = None
            while True:
                scope = SUBTREE if subtree else ONE
                found, cookie = await self._pool.run_plain(link.page, dn, scope, entries.IS_PERSON, entries.PERSON, size=page, cookie=cookie)
                if found:
                    yield await self._ask(self._accounts.people, found)
                if not cookie:
                    return
        finally:
            await asyncio.to_thread(link.close)

    async def search_people(self, text: str, *, unit_id: str | None = None, limit: int = 50) -> list[Person]:
        return await self._ask(self._accounts.search_people, tree.check_name(text), unit_id, limit)

    async def set_password(self, person_id: str, password_hash: str) -> Person:
        return await self._modify(person_id, {"userPassword": entries.password_values(password_hash), "govStamp": new_stamp()})

    async def set_state(self, person_id: str, state: PersonState) -> Person:
        return await self._modify(person_id, {"govState": state.value, "govStamp": new_stamp()})

    async def set_quota(self, person_id: str, octets: int | None) -> Person:
        if octets is not None and octets < 0:
            raise BadInput("quota: must not be negative")
        return await self._modify(person_id, {"govQuota": "" if octets is None else str(octets)})

    async def _modify(self, person_id: str, values: Mapping[str, str | Sequence[str]]) -> Person:
        await self._change(self._accounts.modify_person, person_id, values)
        return await self.person(person_id)

    async def rename_person(
        self, person_id: str, *, name: str | None = None, pinyin: str | None = None,
        title: str | None = None, primary: Address | None = None,
    ) -> Person:
        values: dict[str, str] = {}
        if name is not None:
            values |= entries.name_values(tree.check_name(name))
        if pinyin is not None:
            values["govPinyin"] = tree.check_text(pinyin, what="pinyin")
        if title is not None:
            values["title"] = tree.check_text(title, what="title")
        if primary is not None:
            await self._give(person_id, primary, primary=True)
        if values:
            await self._change(self._accounts.modify_person, person_id, values)
        return await self.person(person_id)

    async def move_person(self, person_id: str, unit_id: str) -> Person:
        await self._change(self._accounts.move_person, person_id, unit_id, new_stamp())
        return await self.person(person_id)

    async def add_alias(self, person_id: str, address: Address) -> Person:
        await self._give(person_id, address, primary=False)
        return await self.person(person_id)

    async def _give(self, person_id: str, address: Address, *, primary: bool) -> None:
        """One more address: who has it now, whether it is ours, the ledger, the entry."""

        def check(link: Link) -> None:
            self._accounts.person_entry(link, person_id)
            found = link.search(self._config.base, SUBTREE, entries.equals("govAddress", address.key), ["govId"])
            if found and found[0].one("govId") != person_id:
                raise Conflict(f"{address}: exists already")
            if not self._units.domain_owner(link, address.domain):
                raise BadInput(f"{address}: its domain is not one of ours")

        await self._ask(check)
        self._writable()
        await self._db.write(ledger.issue, address.key, person_id, self._now())
        await self._change(self._accounts.add_address, person_id, address, primary=primary)

    async def remove_alias(self, person_id: str, address: Address) -> Person:
        await self._change(self._accounts.remove_address, person_id, address)
        await self._db.write(ledger.release, address.key, self._now())
        return await self.person(person_id)

    async def remove_person(self, person_id: str) -> None:
        await self._remove(entries.IS_PERSON, person_id)

    async def _remove(self, query: str, owner_id: str) -> None:
        keys = await self._change(self._accounts.remove, query, owner_id)

        def release(conn: Any) -> None:
            for key in keys:
                ledger.release(conn, key, self._now())

        await self._db.write(release)

    # groups

    async def add_group(
        self, unit_id: str, address: Address, name: str, *, members: Sequence[str] = (), group_id: str = ""
    ) -> Group:
        shown = tree.check_name(name)
        made_id = group_id or self._ids()

        def check(link: Link) -> list[str]:
            self._units.get(link, unit_id)
            found = link.search(self._config.base, SUBTREE, entries.equals("govAddress", address.key), ["govId"])
            if found and found[0].one("govId") != made_id:
                raise Conflict(f"{address}: exists already")
            if not self._units.domain_owner(link, address.domain):
                raise BadInput(f"{address}: its domain is not one of ours")
            return self._accounts.named(link, [tree.check_member(member) for member in members])

        named = await self._ask(check)
        self._writable()
        made_id = await self._abandoned(address.key) or made_id
        await self._db.write(ledger.issue, address.key, made_id, self._now())
        await self._change(self._accounts.add_group, unit_id, address, shown, made_id, named)
        return await self.group(made_id)

    async def group(self, group_id: str) -> Group:
        return (await self._ask(self._accounts.group_entry, entries.equals("govId", group_id), group_id))[1]

    async def group_by_address(self, address: Address) -> Group:
        return (await self._ask(self._accounts.group_entry, entries.equals("govAddress", address.key), str(address)))[1]

    async def groups(self, unit_id: str, *, subtree: bool = False) -> list[Group]:
        return await self._ask(self._accounts.groups, unit_id, subtree)

    async def add_members(self, group_id: str, members: Sequence[str]) -> Group:
        return await self._members(group_id, members, add=True)

    async def remove_members(self, group_id: str, members: Sequence[str]) -> Group:
        return await self._members(group_id, members, add=False)

    async def _members(self, group_id: str, members: Sequence[str], *, add: bool) -> Group:
        checked = [tree.check_member(member) for member in members]

        def change(link: Link) -> None:
            named = self._accounts.named(link, checked) if add else [str(member) for member in checked]
            self._accounts.change_members(link, group_id, named, add=add)

        await self._change(change)
        return await self.group(group_id)

    async def remove_group(self, group_id: str) -> None:
        await self._remove(entries.IS_GROUP, group_id)

    # domains and mail

    async def add_domain(self, domain: str, unit_id: str) -> MailDomain:
        canonical = tree.check_domain(domain)
        await self._change(self._units.add_domain, canonical, unit_id)
        return MailDomain(canonical, unit_id)

    async def domains(self) -> list[MailDomain]:
        return await self._ask(self._units.domains)

    async def remove_domain(self, domain: str) -> None:
        await self._change(self._units.remove_domain, tree.check_domain(domain))

    async def is_local_domain(self, domain: str) -> bool:
        return await self._ask(self._units.domain_owner, domain) is not None

    async def resolve(self, address: Address) -> Resolution:
        return await self._ask(self._accounts.resolve, address)

    # logins

    async def credentials(self, address: Address) -> Credentials | None:
        found = await self._ask(self._accounts.credentials, address.key)
        return Credentials(*found) if found else None

    async def bind(self, person_id: str, password: str) -> bool:
        if not password:
            return False  # RFC 4513 §5.1.2: an empty password is an anonymous bind and always succeeds

        return await self._ask(self._bind, person_id, password)

    def _bind(self, link: Link, person_id: str, password: str) -> bool:
        tried = Link(self._pool.server, dn=self._accounts.person_entry(link, person_id).dn, password=password)
        tried.close()
        return tried.bound


def _note(outcome: list[tuple[str, str]], index: int, reason: str) -> bool:
    outcome[index] = ("", reason)
    return True
