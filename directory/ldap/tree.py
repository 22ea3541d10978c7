"""Units, their domains and where they lie: questions and changes on one connection. Blocking; see `directory.ldap.pool`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from directory import tree
from directory.ldap import entries
from directory.ldap.entries import IS_UNIT, UNIT, both, equals
from directory.ldap.pool import ADD, DELETE, ONE, REPLACE, SUBTREE, Entry, Link
from directory.model import MailDomain, Unit
from govmail.errors import BadInput, Conflict, NotFound

FEW = 20  # units asked for one by one; more are found by one search over all units
MOST_IDS = 50_000


@dataclass(frozen=True, slots=True)
class Place:
    """A unit and the DN at which it was found a moment ago."""

    dn: str
    unit: Unit


@dataclass(slots=True)
class Snapshot:
    """The whole tree as a bulk act found it and changes it."""

    places: dict[str, Place] = field(default_factory=dict)  # by id
    names: dict[tuple[str | None, str], Place] = field(default_factory=dict)  # by parent and name
    same: dict[str, str] = field(default_factory=dict)  # id in the input -> id of the unit that was there already
    domains: set[str] = field(default_factory=set)

    def note(self, place: Place) -> None:
        self.places[place.unit.unit_id] = self.names[place.unit.parent_id, place.unit.name] = place
        if place.unit.domain:
            self.domains.add(place.unit.domain)


class UnitTree:
    """The units below one base DN."""

    def __init__(self, base: str, *, remember: float = 60.0) -> None:
        """`remember`: seconds for which it is known which unit lies at a DN."""
        self.base = base
        self._remember = remember
        self._ids: dict[str, tuple[str, float]] = {}  # DN key -> govId, until when

    # questions

    def prepare(self, link: Link) -> None:
        """Makes the entries above the base that are missing, down from the naming context."""
        root_dse = link.get("", ["namingContexts"])  # RFC 4512 §5.1
        contexts = root_dse.all("namingContexts") if root_dse else ()
        missing: list[str] = []
        dn = entries.parent_of(self.base)
        while any(entries.is_below(dn, context) for context in contexts) and link.get(dn, ["objectClass"]) is None:
            missing.append(dn)
            dn = entries.parent_of(dn)
        for dn in reversed(missing):
            try:
                _add_plain(link, dn)
            except Conflict:
                pass  # another gateway was faster

    def root(self, link: Link) -> Place | None:
        entry = link.get(self.base, ["objectClass", *UNIT])
        if entry is None or not entry.one("govId"):
            return None
        return Place(entry.dn, entries.unit_of(entry, None, f"/{entry.one('govLabel')}/"))

    def get(self, link: Link, unit_id: str) -> Place:
        """Raises NotFound."""
        found = link.search(self.base, SUBTREE, both(IS_UNIT, equals("govId", unit_id)), UNIT)
        if not found:
            raise NotFound(f"unit {unit_id}: not found")
        return self._placed(link, found[0])

    def _placed(self, link: Link, entry: Entry) -> Place:
        if self._is_base(entry.dn):
            return Place(entry.dn, entries.unit_of(entry, None, f"/{entry.one('govLabel')}/"))
        parent_id = self.id_at(link, entries.parent_of(entry.dn))
        return Place(entry.dn, entries.unit_of(entry, parent_id, self._path(link, entry.dn)))

    def _is_base(self, dn: str) -> bool:
        return entries.dn_key(dn) == entries.dn_key(self.base)

    def _path(self, link: Link, dn: str) -> str:
        root = link.get(self.base, ["govLabel"])
        return entries.path_of(dn, self.base, root.one("govLabel") if root else "")

    def id_at(self, link: Link, dn: str) -> str:
        """govId of the unit at a DN; NotFound when it moved away this moment."""
        found = self.ids_at(link, [dn])
        if not found:
            raise NotFound(f"unit at {dn}: not found")
        return next(iter(found.values()))

    def ids_at(self, link: Link, dns: Iterable[str]) -> dict[str, str]:
        """DN key -> govId of the units at these DNs: one by one when they are few, else from one search.

        What was found lately is not asked again, and forgotten when a unit is moved, renamed or removed here.
        """
        now = time.monotonic()
        wanted = {entries.dn_key(dn): dn for dn in dns}
        known = {key: found[0] for key in wanted if (found := self._ids.get(key)) and now < found[1]}
        missing = wanted.keys() - known.keys()
        if not missing:
            return known
        if len(missing) <= FEW:
            got = {key: entry.one("govId") for key in missing if (entry := link.get(wanted[key], ["govId"]))}
        else:
            got = {entries.dn_key(entry.dn): entry.one("govId") for entry in link.search(self.base, SUBTREE, IS_UNIT, ["govId"])}
        if len(self._ids) + len(got) > MOST_IDS:
            self._ids.clear()
        self._ids.update((key, (unit_id, now + self._remember)) for key, unit_id in got.items())
        return known | {key: got[key] for key in missing if key in got}

    def children(self, link: Link, unit_id: str) -> list[Unit]:
        """Organs, then regions, each by label."""
        place = self.get(link, unit_id)
        found = [
            entries.unit_of(entry, unit_id, tree.join_path(place.unit.path, entry.one("govLabel")))
            for entry in link.search(place.dn, ONE, IS_UNIT, UNIT)
        ]
        return sorted(found, key=lambda unit: (unit.is_region, unit.label))

    def subtree(self, link: Link, unit_id: str) -> list[Unit]:
        """The unit and all below it, parents before children."""
        place = self.get(link, unit_id)
        return [place.unit, *(unit for unit in self._many(link, place.dn, IS_UNIT) if unit.unit_id != unit_id)]

    def line(self, link: Link, name: str, level: int | None) -> list[Unit]:
        query = equals("govLine", name) if level is None else both(equals("govLine", name), equals("govLevel", str(level)))
        return self._many(link, self.base, both(IS_UNIT, query))

    def _many(self, link: Link, base: str, query: str) -> list[Unit]:
        found = {entries.dn_key(entry.dn): entry for entry in link.search(base, SUBTREE, query, UNIT)}
        ids = {key: entry.one("govId") for key, entry in found.items()}
        ids.update(self.ids_at(link, {parent for key in found if (parent := entries.parent_of(key)) not in ids and not self._is_base(key)}))
        root = self._path(link, self.base).strip("/")
        units = [
            entries.unit_of(
                entry, None if self._is_base(key) else ids.get(entries.parent_of(key)), entries.path_of(key, self.base, root)
            )
            for key, entry in found.items()
        ]
        return sorted(units, key=lambda unit: unit.path)

    def chain(self, link: Link, unit_id: str) -> list[Unit]:
        """The unit and all above it, the root first."""
        found = link.search(self.base, SUBTREE, both(IS_UNIT, equals("govId", unit_id)), UNIT)
        if not found:
            raise NotFound(f"unit {unit_id}: not found")
        above = [found[0]]
        while not self._is_base(above[-1].dn):
            entry = link.get(entries.parent_of(above[-1].dn), UNIT)
            if entry is None:
                raise NotFound(f"unit {unit_id}: moved away")
            above.append(entry)
        units: list[Unit] = []
        for entry in reversed(above):
            parent = units[-1] if units else None
            path = tree.join_path(parent.path if parent else "", entry.one("govLabel"))
            units.append(entries.unit_of(entry, parent.unit_id if parent else None, path))
        return units

    def by_path(self, link: Link, path: str) -> Unit:
        """By names or labels from the root; NotFound."""
        parts = tree.split_path(path)
        place = self.root(link)
        unit = tree.pick([place.unit] if place else [], parts[0])
        dn = self.base
        for part in parts[1:]:
            query = both(IS_UNIT, entries.either(equals("displayName", part), equals("govLabel", part)))
            found = [
                (entry.dn, entries.unit_of(entry, unit.unit_id, tree.join_path(unit.path, entry.one("govLabel"))))
                for entry in link.search(dn, ONE, query, UNIT)
            ]
            unit = tree.pick([one for _, one in found], part)
            dn = next(at for at, one in found if one is unit)
        return unit

    def is_within(self, link: Link, unit_id: str, ancestor_id: str) -> bool:
        found = link.search(self.base, SUBTREE, both(IS_UNIT, entries.any_of("govId", [unit_id, ancestor_id])), ["govId"])
        dns = {entry.one("govId"): entry.dn for entry in found}
        return unit_id in dns and ancestor_id in dns and entries.is_below(dns[unit_id], dns[ancestor_id])

    # changes

    def snapshot(self, link: Link) -> Snapshot:
        """All units, from one search."""
        snapshot = Snapshot()
        top = self.root(link)
        if top:
            snapshot.note(top)
            for unit in self._many(link, self.base, IS_UNIT)[1:]:
                above = snapshot.places.get(unit.parent_id or "")
                if above:
                    snapshot.note(Place(f"{entries.unit_rdn(unit.label)},{above.dn}", unit))
        snapshot.domains.update(one.domain for one in self.domains(link))
        return snapshot

    def add_known(self, link: Link, unit: Unit, snapshot: Snapshot) -> Unit:
        """`add` for many units: what is there is known, so a unit costs one change and no question.

        A unit that is there with another id is answered with that id, and its children are put below it.
        """
        parent_id = snapshot.same.get(unit.parent_id, unit.parent_id) if unit.parent_id else None
        parent = snapshot.places.get(parent_id) if parent_id else None
        if parent_id and parent is None:
            raise NotFound(f"{unit.name}: its parent is not there")
        unit = replace(unit, parent_id=parent_id)
        there = snapshot.names.get((parent_id, unit.name)) or snapshot.places.get(unit.unit_id)
        if there:
            if (there.unit.parent_id, there.unit.name, there.unit.label) != (parent_id, unit.name, unit.label):
                raise Conflict(f"{unit.name}: exists already")
            snapshot.same[unit.unit_id] = there.unit.unit_id
            return there.unit
        if parent is None and snapshot.places:
            raise Conflict("there is a root already")
        if parent:
            tree.check_place(unit.level, parent.unit)
        place = self._make(link, unit, parent, new_domain=bool(unit.domain) and unit.domain not in snapshot.domains)
        snapshot.note(place)
        return place.unit

    def add(self, link: Link, unit: Unit, parent: Place | None) -> Place:
        """Makes the entry. A unit that is there with the same id, place, name and label is left as it is."""
        dn = f"{entries.unit_rdn(unit.label)},{parent.dn}" if parent else self.base
        if parent:
            tree.check_place(unit.level, parent.unit)
        there = self._same(link, unit, dn)
        if there:
            return there
        self._check_siblings(link, unit, entries.parent_of(dn) if parent else None)
        return self._make(link, unit, parent, new_domain=bool(unit.domain) and not self.domain_owner(link, unit.domain or ""))

    def _make(self, link: Link, unit: Unit, parent: Place | None, *, new_domain: bool) -> Place:
        dn = f"{entries.unit_rdn(unit.label)},{parent.dn}" if parent else self.base
        values = entries.unit_values(unit)
        if new_domain:
            values["govDomain"] = unit.domain or ""
        if parent:
            link.add(dn, entries.UNIT_CLASSES, {**values, "ou": unit.label})
        else:
            if link.get(dn, ["objectClass"]) is None:
                _add_plain(link, dn)
            changes = {name: [(REPLACE, [value] if isinstance(value, str) else value)] for name, value in values.items() if value}
            link.modify(dn, {"objectClass": [(ADD, ["govUnit"])], **changes})
        return Place(dn, replace(unit, path=tree.join_path(parent.unit.path if parent else "", unit.label)))

    def _same(self, link: Link, unit: Unit, dn: str) -> Place | None:
        found = link.search(self.base, SUBTREE, both(IS_UNIT, equals("govId", unit.unit_id)), UNIT)
        if not found:
            return None
        place = self._placed(link, found[0])
        if entries.dn_key(place.dn) == entries.dn_key(dn) and (place.unit.name, place.unit.label) == (unit.name, unit.label):
            return place
        raise Conflict(f"{unit.name}: the id is taken")

    def _check_siblings(self, link: Link, unit: Unit, parent_dn: str | None) -> None:
        if parent_dn is None:
            if self.root(link):
                raise Conflict("there is a root already")
            return
        query = both(IS_UNIT, entries.either(equals("displayName", unit.name), equals("govLabel", unit.label)))
        for entry in link.search(parent_dn, ONE, query, ["govId", "displayName", "govLabel"]):
            if entry.one("govId") != unit.unit_id:
                raise Conflict(f"{entry.one('displayName')} ({entry.one('govLabel')}) exists already in that place")

    def place(self, link: Link, unit_id: str, *, name: str | None = None, label: str | None = None, parent_id: str | None = None) -> Place:
        """Renames, moves, or both: one modrdn carries all that lies below."""
        old = self.get(link, unit_id)
        parent_dn = None if old.unit.parent_id is None else entries.parent_of(old.dn)
        if parent_id is not None:
            parent = self.get(link, parent_id)
            tree.check_move(old.unit, parent.unit)
            parent_dn = parent.dn
        wanted = replace(old.unit, name=name or old.unit.name, label=label or old.unit.label)
        dn = old.dn
        if parent_dn is not None:
            self._check_siblings(link, wanted, parent_dn)
            moved = f"{entries.unit_rdn(wanted.label)},{parent_dn}"
            if entries.dn_key(moved) != entries.dn_key(dn):
                link.rename(dn, entries.unit_rdn(wanted.label), parent_dn)
                self._ids.clear()
                dn = moved
        if (wanted.name, wanted.label) != (old.unit.name, old.unit.label):
            link.modify(dn, {"displayName": [(REPLACE, [wanted.name])], "govLabel": [(REPLACE, [wanted.label])]})
        return self.get(link, unit_id)

    def set_values(self, link: Link, unit_id: str, values: dict[str, str]) -> Place:
        """Single-valued attributes; "" takes one away."""
        place = self.get(link, unit_id)
        link.modify(place.dn, {name: [(REPLACE, [value] if value else [])] for name, value in values.items()})
        return self.get(link, unit_id)

    def remove(self, link: Link, unit_id: str) -> None:
        """BadInput while anything lies below or a domain is left."""
        place = self.get(link, unit_id)
        if link.page(place.dn, ONE, "(objectClass=*)", [], limit=1)[0]:
            raise BadInput(f"{place.unit.name}: there are still entries in it")
        entry = link.get(place.dn, ["govDomain"])
        if entry and entry.all("govDomain"):
            raise BadInput(f"{place.unit.name}: there are still domains in it")
        link.delete(place.dn)
        self._ids.clear()

    # domains

    def domain_owner(self, link: Link, domain: str) -> Entry | None:
        """The unit that answers for a domain."""
        found, _ = link.page(self.base, SUBTREE, equals("govDomain", domain), ["govId"], limit=1)
        return found[0] if found else None

    def add_domain(self, link: Link, domain: str, unit_id: str, *, take: bool = False) -> None:
        """Conflict when it belongs to another unit, unless `take` is content with that."""
        owner = self.domain_owner(link, domain)
        if owner is None:
            link.modify(self.get(link, unit_id).dn, {"govDomain": [(ADD, [domain])]})
        elif owner.one("govId") != unit_id and not take:
            raise Conflict(f"{domain}: belongs to another unit")

    def domains(self, link: Link) -> list[MailDomain]:
        found = link.search(self.base, SUBTREE, "(govDomain=*)", ["govId", "govDomain"])
        return sorted((MailDomain(domain, entry.one("govId")) for entry in found for domain in entry.all("govDomain")), key=lambda one: one.domain)

    def local_domains(self, link: Link, wanted: Sequence[str]) -> set[str]:
        """Those of some domains that are ours."""
        return {domain for domain in wanted if self.domain_owner(link, domain)}

    def remove_domain(self, link: Link, domain: str) -> None:
        owner = self.domain_owner(link, domain)
        if owner is None:
            raise NotFound(f"domain {domain}: not found")
        if link.page(self.base, SUBTREE, entries.ends("govAddress", "@" + domain), [], limit=1)[0]:
            raise BadInput(f"{domain}: there are still addresses in it")
        if link.page(self.base, SUBTREE, equals("govOwnDomain", domain), [], limit=1)[0]:
            raise BadInput(f"{domain}: is still the domain of a unit")
        link.modify(owner.dn, {"govDomain": [(DELETE, [domain])]})

    def keepers(self, link: Link, domain: str) -> list[str]:
        """Keepers of the domain's unit and of those above it, the nearest first."""
        owner = self.domain_owner(link, domain)
        if owner is None:
            return []
        return [unit.keeper_id for unit in reversed(self.chain(link, owner.one("govId"))) if unit.keeper_id]


def _add_plain(link: Link, dn: str) -> None:
    kind, _, value = (part.strip() for part in dn.split(",", 1)[0].lower().partition("="))
    if kind == "dc":
        link.add(dn, ["top", "organization", "dcObject"], {"dc": value, "o": value})
    elif kind == "ou":
        link.add(dn, ["top", "organizationalUnit"], {"ou": value})
    elif kind == "o":
        link.add(dn, ["top", "organization"], {"o": value})
    elif kind == "c":
        link.add(dn, ["top", "country"], {"c": value})
    else:
        raise BadInput(f"{dn}: make this entry by hand; govmail makes dc, ou, o and c only")

