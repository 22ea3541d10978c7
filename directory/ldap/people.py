"""People and groups, and what their addresses stand for: questions and changes on one connection. Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from directory import resolution
from directory.ldap import entries
from directory.ldap.entries import (
    GROUP,
    IS_GROUP,
    IS_PERSON,
    PERSON,
    TARGET,
    any_of,
    begins,
    both,
    either,
    equals,
)
from directory.ldap.pool import ADD, DELETE, ONE, REPLACE, SUBTREE, Entry, Link
from directory.ldap.tree import UnitTree
from directory.model import Counts, Group, NewPerson, Person, limit_of
from govmail.config import Limits
from govmail.errors import BadInput, Conflict, LimitReached, NotFound
from govmail.interfaces import PersonState, Resolution, Target
from govmail.mail.address import Address

ANY_OF = 200  # values in one filter


def batches(values: Iterable[str]) -> Iterator[list[str]]:
    source = iter(values)
    while batch := list(islice(source, ANY_OF)):
        yield batch


@dataclass(slots=True)
class Known:
    """What a bulk act has asked already: DNs of units, domains that are ours."""

    units: dict[str, str] = field(default_factory=dict)
    domains: dict[str, bool] = field(default_factory=dict)


class Accounts:
    """People and groups below one base DN."""

    def __init__(self, tree: UnitTree, limits: Limits, administrators: Sequence[Address], quota_octets: int = 0) -> None:
        """`quota_octets`: `DirectoryTable.quota_octets`."""
        self.tree = tree
        self.limits = limits
        self.administrators = administrators
        self.quota_octets = quota_octets

    # people

    def counts(self, link: Link) -> Counts:
        def count(query: str) -> int:
            total, cookie = 0, None
            while True:
                found, cookie = link.page(self.tree.base, SUBTREE, query, [], cookie=cookie)
                total += len(found)
                if not cookie:
                    return total

        return Counts(count(entries.IS_UNIT), count(IS_PERSON), count(IS_GROUP), len(self.tree.domains(link)))

    def _entry(self, link: Link, query: str, attributes: Sequence[str], what: str) -> Entry:
        found, _ = link.page(self.tree.base, SUBTREE, query, attributes, limit=1)
        if not found:
            raise NotFound(f"{what}: not found")
        return found[0]

    def person_entry(self, link: Link, person_id: str) -> Entry:
        return self._entry(link, both(IS_PERSON, equals("govId", person_id)), PERSON, f"person {person_id}")

    def person(self, link: Link, person_id: str) -> Person:
        entry = self.person_entry(link, person_id)
        return entries.person_of(entry, self.tree.id_at(link, entries.parent_of(entry.dn)))

    def by_address(self, link: Link, key: str) -> Person:
        entry = self._entry(link, both(IS_PERSON, equals("govAddress", key)), PERSON, f"person {key}")
        return entries.person_of(entry, self.tree.id_at(link, entries.parent_of(entry.dn)))

    def people(self, link: Link, found: Sequence[Entry]) -> list[Person]:
        """Entries of people as values; who moved away this moment is left out."""
        units = self.tree.ids_at(link, {entries.parent_of(entry.dn) for entry in found})
        placed = ((entry, units.get(entries.dn_key(entries.parent_of(entry.dn)))) for entry in found)
        return [entries.person_of(entry, unit_id) for entry, unit_id in placed if unit_id]

    def people_by_id(self, link: Link, person_ids: Sequence[str]) -> list[Person]:
        found: list[Entry] = []
        for batch in batches(dict.fromkeys(person_ids)):
            found += link.search(self.tree.base, SUBTREE, both(IS_PERSON, any_of("govId", batch)), PERSON)
        return self.people(link, found)

    def search_people(self, link: Link, text: str, unit_id: str | None, limit: int) -> list[Person]:
        base = self.tree.base if unit_id is None else self.tree.get(link, unit_id).dn
        query = both(IS_PERSON, either(*(begins(name, text) for name in ("cn", "govPinyin", "govAddress"))))
        found, _ = link.page(base, SUBTREE, query, PERSON, limit=limit)
        return sorted(self.people(link, found), key=lambda person: (person.name, person.person_id))

    def credentials(self, link: Link, key: str) -> tuple[Person, str] | None:
        found, _ = link.page(self.tree.base, SUBTREE, both(IS_PERSON, equals("govAddress", key)), [*PERSON, "userPassword"], limit=1)
        if not found:
            return None
        unit_id = self.tree.id_at(link, entries.parent_of(found[0].dn))
        return entries.person_of(found[0], unit_id), entries.password_hash(found[0])

    def there(self, link: Link, keys: Sequence[str]) -> dict[str, Entry]:
        """Entries that have one of some addresses, by primary address key."""
        found: dict[str, Entry] = {}
        for batch in batches(keys):
            for entry in link.search(self.tree.base, SUBTREE, any_of("govAddress", batch), PERSON):
                found[Address.parse(entry.one("govPrimaryAddress")).key] = entry
        return found

    def check_new(self, link: Link, new: NewPerson, known: Known) -> None:
        """What can be known before the ledger is asked: the unit is there, the domains are ours."""
        if new.unit_id not in known.units:
            known.units[new.unit_id] = self.tree.get(link, new.unit_id).dn
        for address in (new.address, *new.aliases):
            if address.domain not in known.domains:
                known.domains[address.domain] = self.tree.domain_owner(link, address.domain) is not None
            if not known.domains[address.domain]:
                raise BadInput(f"{address}: its domain is not one of ours")

    def add(self, link: Link, new: NewPerson, person_id: str, stamp: str, known: Known) -> None:
        """The entry; one that is there already with this id and primary address is left as it is."""
        unit_dn = known.units[new.unit_id]
        values = entries.person_values(new, person_id, stamp)
        # Two people of a unit may have the same local part in different domains.
        for uid in (new.address.local, new.address.key):
            try:
                link.add(f"{entries.rdn('uid', uid)},{unit_dn}", entries.PERSON_CLASSES, {**values, "uid": uid})
                return
            except Conflict:
                taken = either(equals("govId", person_id), any_of("govAddress", values["govAddress"]))
                found = link.search(self.tree.base, SUBTREE, taken, ["govId", "cn", "govPrimaryAddress", "govAddress"])
                same = (person_id, new.name, str(new.address))
                if any((one.one("govId"), one.one("cn"), one.one("govPrimaryAddress")) == same for one in found):
                    return
                if found:
                    clash = set(found[0].all("govAddress")) & set(values["govAddress"])
                    raise Conflict(f"{min(clash, default=person_id)}: exists already") from None
        raise Conflict(f"{new.address}: exists already")

    def modify_person(self, link: Link, person_id: str, values: Mapping[str, str | Sequence[str]]) -> None:
        """Replaces attributes; "" takes one away."""
        entry = self.person_entry(link, person_id)
        wanted = {name: [value] if isinstance(value, str) else value for name, value in values.items()}
        link.modify(entry.dn, {name: [(REPLACE, [one for one in some if one])] for name, some in wanted.items()})

    def move_person(self, link: Link, person_id: str, unit_id: str, stamp: str) -> None:
        """To another unit; where the uid is taken there, the whole address becomes the RDN."""
        entry = self.person_entry(link, person_id)
        unit_dn = self.tree.get(link, unit_id).dn
        if entries.dn_key(entries.parent_of(entry.dn)) != entries.dn_key(unit_dn):
            here = entry.dn[: -len(entries.parent_of(entry.dn))].rstrip(", ")
            try:
                link.rename(entry.dn, here, unit_dn)
            except Conflict:
                key = Address.parse(entry.one("govPrimaryAddress")).key
                link.rename(entry.dn, entries.rdn("uid", key), unit_dn)
        self.modify_person(link, person_id, {"govStamp": stamp})

    def add_address(self, link: Link, person_id: str, address: Address, *, primary: bool) -> None:
        """One more address, or the new primary; the ledger has agreed."""
        entry = self.person_entry(link, person_id)
        changes: dict[str, list[tuple[str, Sequence[str]]]] = {}
        if address.key not in entry.all("govAddress"):
            changes["govAddress"] = [(ADD, [address.key])]
        if primary:
            for name, value in entries.primary_values(address).items():
                changes[name] = [(REPLACE, [value] if value else [])]
        if changes:
            link.modify(entry.dn, changes)

    def remove_address(self, link: Link, person_id: str, address: Address) -> None:
        entry = self.person_entry(link, person_id)
        if address.key not in entry.all("govAddress"):
            raise NotFound(f"{address}: not an address of this person")
        if address.key == Address.parse(entry.one("govPrimaryAddress")).key:
            raise BadInput(f"{address}: is the primary address; make another one primary first")
        link.modify(entry.dn, {"govAddress": [(DELETE, [address.key])]})

    def remove(self, link: Link, query: str, owner_id: str) -> list[str]:
        """A person or group with memberships and keeperships; returns its address keys."""
        entry = self._entry(link, both(query, equals("govId", owner_id)), ["govAddress"], owner_id)
        for attribute in ("govMember", "govKeeper"):
            for holder in link.search(self.tree.base, SUBTREE, equals(attribute, owner_id), ["govId"]):
                link.modify(holder.dn, {attribute: [(DELETE, [owner_id])]})
        link.delete(entry.dn)
        return list(entry.all("govAddress"))

    # groups

    def group_entry(self, link: Link, query: str, what: str) -> tuple[Entry, Group]:
        entry = self._entry(link, both(IS_GROUP, query), GROUP, f"group {what}")
        return entry, entries.group_of(entry, self.tree.id_at(link, entries.parent_of(entry.dn)))

    def add_group(self, link: Link, unit_id: str, address: Address, name: str, group_id: str, members: Sequence[str]) -> None:
        unit_dn = self.tree.get(link, unit_id).dn
        values: dict[str, Sequence[str] | str] = {
            "govId": group_id, "displayName": name, "govAddress": address.key, **entries.primary_values(address),
            **entries.split_members(members),
        }
        for cn in (address.local, address.key):
            try:
                link.add(f"{entries.rdn('cn', cn)},{unit_dn}", entries.GROUP_CLASSES, {**values, "cn": cn})
                return
            except Conflict:
                found = link.search(self.tree.base, SUBTREE, either(equals("govId", group_id), equals("govAddress", address.key)), ["govId", "govAddress"])
                if any(one.one("govId") == group_id and address.key in one.all("govAddress") for one in found):
                    return
                if found:
                    raise Conflict(f"{address}: exists already") from None
        raise Conflict(f"{address}: exists already")

    def groups(self, link: Link, unit_id: str, below: bool) -> list[Group]:
        dn = self.tree.get(link, unit_id).dn
        found = link.search(dn, SUBTREE if below else ONE, IS_GROUP, GROUP)
        units = self.tree.ids_at(link, {entries.parent_of(entry.dn) for entry in found})
        groups = [entries.group_of(entry, units.get(entries.dn_key(entries.parent_of(entry.dn)), "")) for entry in found]
        return sorted(groups, key=lambda group: group.address.key)

    def named(self, link: Link, members: Sequence[str | Address]) -> list[str]:
        """Members as they are stored: ids that are there, ids of whoever has a local address, addresses elsewhere."""
        stored: list[str] = []
        ids = [member for member in members if isinstance(member, str)]
        present: set[str] = set()
        for batch in batches(dict.fromkeys(ids)):
            query = both(either(IS_PERSON, IS_GROUP), any_of("govId", batch))
            present.update(entry.one("govId") for entry in link.search(self.tree.base, SUBTREE, query, ["govId"]))
        for member in members:
            if isinstance(member, str):
                if member not in present:
                    raise NotFound(f"member {member}: not found")
                stored.append(member)
            elif self.tree.domain_owner(link, member.domain):
                owner = self._entry(link, equals("govAddress", member.key), ["govId"], f"member {member}")
                stored.append(owner.one("govId"))
            else:
                stored.append(str(member))
        return list(dict.fromkeys(stored))

    def change_members(self, link: Link, group_id: str, members: Sequence[str], *, add: bool) -> None:
        """Those that are in it (or out of it) already are passed over."""
        entry, group = self.group_entry(link, equals("govId", group_id), group_id)
        there = set(group.members)
        changed = [member for member in dict.fromkeys(members) if (member in there) is not add]
        if add and len(there) + len(changed) > self.limits.group_members:
            raise LimitReached(f"a group has {self.limits.group_members} members at most")
        changes = {name: [(ADD if add else DELETE, values)] for name, values in entries.split_members(changed).items() if values}
        if changes:
            link.modify(entry.dn, changes)

    # what an address stands for

    def resolve(self, link: Link, address: Address, *, roles: bool = True) -> Resolution:
        query = either(equals("govAddress", address.key), equals("govDomain", address.domain))
        found = link.search(self.tree.base, SUBTREE, query, [*TARGET, "govAddress", "govMember", "govRemoteMember"])
        entry = next((one for one in found if one.one("govPrimaryAddress")), None)
        if entry is None:
            if not found:
                return resolution.elsewhere(address)
            if roles and resolution.is_role(address):
                return self._role(link, address)
            return resolution.nobody(address)
        if entry.one("govState"):
            return resolution.of_person(address, self._targets(link, [entry])[0])
        reached, outside = self._expand(link, entry)
        return resolution.of_group(address, self._targets(link, reached), outside)

    def _targets(self, link: Link, found: Sequence[Entry]) -> list[resolution.Found]:
        units = self.tree.ids_at(link, {entries.parent_of(entry.dn) for entry in found})
        return [
            (
                Target(
                    entry.one("govId"), Address.parse(entry.one("govPrimaryAddress")),
                    units.get(entries.dn_key(entries.parent_of(entry.dn)), ""), limit_of(entries.quota_of(entry), self.quota_octets),
                ),
                PersonState(entry.one("govState")),
            )
            for entry in found
        ]

    def _expand(self, link: Link, group: Entry) -> tuple[list[Entry], list[Address]]:
        """All people and addresses elsewhere that a group reaches; loops end."""
        seen = {group.one("govId")}
        people: dict[str, Entry] = {}
        outside: set[str] = set(group.all("govRemoteMember"))
        wanted = [member for member in group.all("govMember") if member not in seen]
        for _ in range(self.limits.group_depth + 1):
            seen.update(wanted)
            below: set[str] = set()
            if len(wanted) + len(people) + len(outside) > self.limits.group_members:
                raise LimitReached(f"the group reaches more than {self.limits.group_members}")
            for batch in batches(wanted):
                for entry in link.search(self.tree.base, SUBTREE, any_of("govId", batch), [*TARGET, "govMember", "govRemoteMember"]):
                    if entry.one("govState"):
                        people[entry.one("govId")] = entry
                    else:
                        below.update(entry.all("govMember"))
                        outside.update(entry.all("govRemoteMember"))
            wanted = sorted(below - seen)
            if not wanted:
                return list(people.values()), [Address.parse(one) for one in sorted(outside)]
        raise LimitReached(f"groups nest deeper than {self.limits.group_depth}")

    def _role(self, link: Link, address: Address) -> Resolution:
        for keeper_id in self.tree.keepers(link, address.domain):
            found, _ = link.page(self.tree.base, SUBTREE, both(IS_PERSON, equals("govId", keeper_id)), TARGET, limit=1)
            if found:
                answer = resolution.of_person(address, self._targets(link, found)[0])
                if answer.exists:
                    return answer
        return resolution.of_administrators(address, [self.resolve(link, one, roles=False) for one in self.administrators])
