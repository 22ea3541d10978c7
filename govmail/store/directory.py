"""The directory in our own tables: SQL for `directory.local`; every function is one question or one change.

Invariants
- `unit.path` is the labels from the root, "/jx/ganzhou/fgw/"; a subtree is a path prefix, kept right by every change here.
- An address row exists exactly for what a person or group has now; what was ever issued stands in the ledger.
- Rows come and go as mappings whose keys are the field names of `directory.model`; single values are checked by the
  caller (`directory.tree`), uniqueness and references here, inside the transaction.

Raises NotFound, Conflict and BadInput of `govmail.errors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy import Connection as Connection

from govmail.errors import BadInput, Conflict, LimitReached, NotFound
from govmail.store import ledger
from govmail.store.schema import address, domain, group_member, person, unit
from govmail.store.schema import group as group_

Fields = Mapping[str, Any]
T = TypeVar("T")

IN_BATCH = 500  # values in one IN (…)

_UNIT = list(unit.c)
_PERSON = [
    person.c.person_id, person.c.unit_id, person.c.name, person.c.state, person.c.pinyin, person.c.title,
    person.c.stamp, person.c.quota_octets,
]


def batches(values: Iterable[T], size: int = IN_BATCH) -> Iterator[list[T]]:
    """The values in lists of `size`."""
    source = iter(values)
    while batch := list(islice(source, size)):
        yield batch


def _rows(conn: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    result = conn.execute(query)
    names = list(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


def _can_be(key: str) -> bool:
    """Whether the database can be asked for it at all: PostgreSQL's text holds no NUL."""
    return "\0" not in key


# -- units --------------------------------------------------------------------------------------------------------


def counts(conn: Connection) -> tuple[int, int, int, int]:
    """Units, people, groups, domains."""
    units, people, groups, domains = (
        conn.execute(select(func.count()).select_from(table)).scalar_one() for table in (unit, person, group_, domain)
    )
    return units, people, groups, domains


def root(conn: Connection) -> dict[str, Any] | None:
    """The unit without a parent."""
    found = _rows(conn, select(*_UNIT).where(unit.c.parent_id.is_(None)))
    return found[0] if found else None


def get_unit(conn: Connection, unit_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    found = _rows(conn, select(*_UNIT).where(unit.c.unit_id == unit_id)) if _can_be(unit_id) else []
    if not found:
        raise NotFound(f"unit {unit_id}: not found")
    return found[0]


def chain(conn: Connection, unit_id: str) -> list[dict[str, Any]]:
    """The unit and all above it, the root first."""
    path: str = get_unit(conn, unit_id)["path"]
    ends = [index for index, char in enumerate(path) if char == "/"][1:]
    above = [path[: end + 1] for end in ends]
    return _rows(conn, select(*_UNIT).where(unit.c.path.in_(above)).order_by(func.length(unit.c.path)))


def children(conn: Connection, unit_id: str) -> list[dict[str, Any]]:
    """Direct children: organs, then regions, each by label."""
    get_unit(conn, unit_id)
    query = select(*_UNIT).where(unit.c.parent_id == unit_id).order_by(unit.c.is_region, unit.c.label)
    return _rows(conn, query)


def _below(path: str) -> ColumnElement[bool]:
    return func.substr(unit.c.path, 1, len(path)) == path


def subtree(conn: Connection, unit_id: str) -> list[dict[str, Any]]:
    """The unit and all below it, parents before children."""
    query = select(*_UNIT).where(_below(get_unit(conn, unit_id)["path"]))
    return sorted(_rows(conn, query), key=lambda row: str(row["path"]))


def line(conn: Connection, name: str, level: int | None) -> list[dict[str, Any]]:
    """The units of a functional line."""
    query = select(*_UNIT).where(unit.c.line == name)
    if level is not None:
        query = query.where(unit.c.level == level)
    return sorted(_rows(conn, query), key=lambda row: str(row["path"]))


def add_units(conn: Connection, rows: Sequence[Fields]) -> list[tuple[str, str]]:
    """Per row its unit_id, or "" and why not. A row that is there already keeps the id that it has.

    Parents stand in the table or earlier in `rows`; a later row may name a parent by the id that this call was given.
    """
    places: dict[str, Fields] = {}  # unit_id -> what a child must know
    siblings: dict[tuple[str | None, str], Fields] = {}
    by_label: dict[tuple[str | None, str], str] = {}
    looked: set[str | None] = set()  # parents whose children are in the two above

    def look(parents: Collection[str | None]) -> None:
        looked.update(parents)
        at_root = [unit.c.parent_id.is_(None)] if None in parents else []
        for where in [*at_root, *(unit.c.parent_id.in_(batch) for batch in batches(one for one in parents if one))]:
            for child in _rows(conn, select(*_UNIT).where(where)):
                siblings[child["parent_id"], child["name"]] = child
                by_label[child["parent_id"], child["label"]] = child["unit_id"]

    ids = {row["unit_id"] for row in rows} | {row["parent_id"] for row in rows if row["parent_id"]}
    for batch in batches(ids):
        places.update((row["unit_id"], row) for row in _rows(conn, select(*_UNIT).where(unit.c.unit_id.in_(batch))))
    look({row["parent_id"] for row in rows})
    known: dict[str, str] = {}  # id given for a row that was there already -> its id
    outcome: list[tuple[str, str]] = []
    fresh: list[dict[str, Any]] = []
    for row in rows:
        parent_id = known.get(row["parent_id"], row["parent_id"]) if row["parent_id"] else None
        if parent_id not in looked:  # a row before said that it was there already
            look([parent_id])
        there = siblings.get((parent_id, row["name"])) or places.get(row["unit_id"])
        if there and (there["parent_id"], there["name"], there["label"]) == (parent_id, row["name"], row["label"]):
            known[row["unit_id"]] = there["unit_id"]
            places[there["unit_id"]] = there
            outcome.append((there["unit_id"], ""))
            continue
        if reason := _unit_problem(row, parent_id, places, there, by_label, siblings):
            outcome.append(("", reason))
            continue
        path = f"{places[parent_id]['path'] if parent_id else '/'}{row['label']}/"
        made = {**row, "parent_id": parent_id, "path": path, "keeper_id": None}
        places[row["unit_id"]] = siblings[parent_id, row["name"]] = made
        by_label[parent_id, row["label"]] = row["unit_id"]
        fresh.append(made)
        outcome.append((row["unit_id"], ""))
    if fresh:
        conn.execute(insert(unit), fresh)
    for row in fresh:
        if row["domain"]:
            ensure_domain(conn, row["domain"], row["unit_id"])
    return outcome


def _unit_problem(
    row: Fields, parent_id: str | None, places: Mapping[str, Fields], there: Fields | None,
    by_label: Mapping[tuple[str | None, str], str], siblings: Mapping[tuple[str | None, str], Fields],
) -> str:
    if there:
        return f"{row['name']}: exists already"
    if parent_id is None:
        return "there is a root already" if any(key[0] is None for key in siblings) else ""
    if parent_id not in places:
        return f"{row['name']}: its parent is not there"
    if (parent_id, row["label"]) in by_label:
        return f"label {row['label']!r}: taken by another unit of {places[parent_id]['name']}"
    if row["level"] < places[parent_id]["level"]:
        return f"{row['name']}: level {row['level']} cannot lie below level {places[parent_id]['level']}"
    return ""


def place_unit(conn: Connection, unit_id: str, *, name: str, label: str, parent_id: str | None) -> None:
    """Renames and moves: new name, label and parent, and the paths of all below it. The caller excluded cycles."""
    row = get_unit(conn, unit_id)
    clash = conn.execute(
        select(unit.c.name, unit.c.label).where(
            unit.c.parent_id == parent_id, unit.c.unit_id != unit_id, or_(unit.c.name == name, unit.c.label == label)
        )
    ).first()
    if clash:
        raise Conflict(f"{clash.name} ({clash.label}) exists already in that place")
    old: str = row["path"]
    new = f"{get_unit(conn, parent_id)['path'] if parent_id else '/'}{label}/"
    conn.execute(update(unit).where(unit.c.unit_id == unit_id).values(name=name, label=label, parent_id=parent_id))
    if new != old:
        moved = literal(new, Text).concat(func.substr(unit.c.path, len(old) + 1))
        conn.execute(update(unit).where(_below(old)).values(path=moved))


def set_unit(conn: Connection, unit_id: str, values: Fields) -> None:
    """Plain columns: keeper_id, domain."""
    get_unit(conn, unit_id)
    conn.execute(update(unit).where(unit.c.unit_id == unit_id).values(**values))
    if values.get("domain"):
        ensure_domain(conn, values["domain"], unit_id)


def remove_unit(conn: Connection, unit_id: str) -> None:
    """BadInput while anything lies below it or a domain is left."""
    row = get_unit(conn, unit_id)
    inside = {"units": unit.c.parent_id, "people": person.c.unit_id, "groups": group_.c.unit_id, "domains": domain.c.unit_id}
    for what, column in inside.items():
        if conn.execute(select(exists().where(column == unit_id))).scalar_one():
            raise BadInput(f"{row['name']}: there are still {what} in it")
    conn.execute(delete(unit).where(unit.c.unit_id == unit_id))


# -- domains ------------------------------------------------------------------------------------------------------


def ensure_domain(conn: Connection, name: str, unit_id: str) -> None:
    """Makes the domain local where it is not."""
    if conn.execute(select(domain.c.domain).where(domain.c.domain == name)).first() is None:
        conn.execute(insert(domain).values(domain=name, unit_id=unit_id))


def add_domain(conn: Connection, name: str, unit_id: str) -> None:
    """Raises Conflict when the domain belongs to another unit."""
    get_unit(conn, unit_id)
    ensure_domain(conn, name, unit_id)
    if conn.execute(select(domain.c.unit_id).where(domain.c.domain == name)).scalar_one() != unit_id:
        raise Conflict(f"{name}: belongs to another unit")


def domains(conn: Connection) -> list[dict[str, Any]]:
    """All local domains, sorted."""
    return _rows(conn, select(domain.c.domain, domain.c.unit_id).order_by(domain.c.domain))


def remove_domain(conn: Connection, name: str) -> None:
    """BadInput while there are addresses in it or a unit names it as its own."""
    if conn.execute(select(domain.c.domain).where(domain.c.domain == name)).first() is None:
        raise NotFound(f"domain {name}: not found")
    if conn.execute(select(exists().where(address.c.address_key.endswith("@" + name, autoescape=True)))).scalar_one():
        raise BadInput(f"{name}: there are still addresses in it")
    if conn.execute(select(exists().where(unit.c.domain == name))).scalar_one():
        raise BadInput(f"{name}: is still the domain of a unit")
    conn.execute(delete(domain).where(domain.c.domain == name))


def is_local(conn: Connection, name: str) -> bool:
    return conn.execute(select(domain.c.domain).where(domain.c.domain == name)).first() is not None


# -- people -------------------------------------------------------------------------------------------------------


def get_people(conn: Connection, person_ids: Collection[str]) -> list[dict[str, Any]]:
    """Those of the ids that are people, each with `addresses` as it is displayed: primary first, then by key."""
    found: list[dict[str, Any]] = []
    for batch in batches(filter(_can_be, person_ids)):
        found += _with_addresses(conn, _rows(conn, select(*_PERSON).where(person.c.person_id.in_(batch))))
    return found


def _with_addresses(conn: Connection, rows: Iterable[Fields]) -> list[dict[str, Any]]:
    people = {row["person_id"]: {**row, "addresses": []} for row in rows}
    for batch in batches(people):
        query = (
            select(address.c.owner_id, address.c.display)
            .where(address.c.owner_id.in_(batch))
            .order_by(address.c.owner_id, address.c.is_primary.desc(), address.c.address_key)
        )
        for owner_id, display in conn.execute(query):
            people[owner_id]["addresses"].append(display)
    return list(people.values())


def get_person(conn: Connection, person_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    found = get_people(conn, [person_id])
    if not found:
        raise NotFound(f"person {person_id}: not found")
    return found[0]


def owner(conn: Connection, key: str) -> tuple[str, str] | None:
    """Kind ("person", "group") and id of whoever has the address now."""
    row = conn.execute(select(address.c.owner_kind, address.c.owner_id).where(address.c.address_key == key)).first()
    return (row.owner_kind, row.owner_id) if row else None


def credentials(conn: Connection, key: str) -> tuple[dict[str, Any], str] | None:
    """The person who has the address, and the encoded password hash."""
    whose = owner(conn, key)
    if whose is None or whose[0] != "person":
        return None
    password: str = conn.execute(select(person.c.password).where(person.c.person_id == whose[1])).scalar_one()
    return get_person(conn, whose[1]), password


def people_page(conn: Connection, unit_id: str, below: bool, after: str, limit: int) -> list[dict[str, Any]]:
    """People of a unit (`below`: and of all below it) with an id greater than `after`, by id."""
    row = get_unit(conn, unit_id)
    query = select(*_PERSON).where(person.c.person_id > after).order_by(person.c.person_id).limit(limit)
    if below and row["parent_id"] is not None:
        query = query.where(person.c.unit_id.in_(select(unit.c.unit_id).where(_below(row["path"]))))
    elif not below:
        query = query.where(person.c.unit_id == unit_id)
    return _with_addresses(conn, _rows(conn, query))


def search_people(conn: Connection, text: str, unit_id: str | None, limit: int) -> list[dict[str, Any]]:
    """People whose name, pinyin or address begins with `text`."""
    folded = text.casefold()
    by_address = select(address.c.owner_id).where(address.c.address_key.startswith(folded, autoescape=True))
    query = select(*_PERSON).where(
        or_(
            person.c.name.startswith(text, autoescape=True),
            person.c.pinyin.startswith(folded, autoescape=True),
            person.c.person_id.in_(by_address),
        )
    )
    if unit_id is not None:
        query = query.where(person.c.unit_id.in_(select(unit.c.unit_id).where(_below(get_unit(conn, unit_id)["path"]))))
    return _with_addresses(conn, _rows(conn, query.order_by(person.c.name, person.c.person_id).limit(limit)))


def add_people(conn: Connection, rows: Sequence[Fields], *, now: int) -> list[tuple[str, str]]:
    """Per row its person_id, or "" and why not; set-based. Ledger and entries are written together.

    A row: the columns of `person` but `created`, and `addresses`: pairs (key, as displayed), the primary first. A person
    who is there already with that primary address, name and unit keeps the id that it has.
    """
    keys = [key for row in rows for key, _ in row["addresses"]]
    units = _present(conn, unit.c.unit_id, {row["unit_id"] for row in rows})
    local = _present(conn, domain.c.domain, {key.rpartition("@")[2] for key in keys})
    used_ids = _present(conn, person.c.person_id, {row["person_id"] for row in rows})
    holders: dict[str, tuple[str, str, str]] = {}  # address -> owner, name, unit
    for batch in batches(keys):
        query = (
            select(address.c.address_key, address.c.owner_id, person.c.name, person.c.unit_id)
            .outerjoin(person, person.c.person_id == address.c.owner_id)
            .where(address.c.address_key.in_(batch))
        )
        holders.update((row[0], (row[1], row[2] or "", row[3] or "")) for row in conn.execute(query))
    outcome: list[tuple[str, str]] = []
    wanted: list[tuple[int, Fields]] = []
    for row in rows:
        holder = holders.get(row["addresses"][0][0])
        if holder and holder[1:] == (row["name"], row["unit_id"]) and (holder[0] == row["person_id"] or row["person_id"] not in used_ids):
            outcome.append((holder[0], ""))
            continue
        reason = _person_problem(row, units, local, used_ids, holders)
        if not reason:
            for key, _ in row["addresses"]:
                holders[key] = (row["person_id"], row["name"], row["unit_id"])
            used_ids.add(row["person_id"])
            wanted.append((len(outcome), row))
        outcome.append(("" if reason else row["person_id"], reason))
    refused = ledger.issue_many(conn, [(key, row["person_id"]) for _, row in wanted for key, _ in row["addresses"]], now)
    people: list[dict[str, Any]] = []
    addresses: list[dict[str, Any]] = []
    for index, row in wanted:
        if taken := [key for key, _ in row["addresses"] if key in refused]:
            outcome[index] = ("", f"{taken[0]}: belonged to somebody else and is not given out again yet")
            continue
        people.append({**{key: value for key, value in row.items() if key != "addresses"}, "created": now})
        addresses += _address_rows(row["person_id"], "person", row["addresses"])
    if people:
        conn.execute(insert(person), people)
        conn.execute(insert(address), addresses)
    return outcome


def _present(conn: Connection, column: ColumnElement[str], values: Collection[str]) -> set[str]:
    return {value for batch in batches(values) for value in conn.execute(select(column).where(column.in_(batch))).scalars()}


def _person_problem(
    row: Fields, units: Collection[str], local: Collection[str], used_ids: Collection[str], holders: Mapping[str, object]
) -> str:
    if row["unit_id"] not in units:
        return f"{row['name']}: the unit is not there"
    if row["person_id"] in used_ids:
        return f"{row['name']}: the id is taken"
    for key, display in row["addresses"]:
        if key in holders:
            return f"{display}: exists already"
        if key.rpartition("@")[2] not in local:
            return f"{display}: its domain is not one of ours"
    return ""


def _address_rows(owner_id: str, kind: str, addresses: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"address_key": key, "owner_id": owner_id, "owner_kind": kind, "display": display, "is_primary": index == 0, "expires": None}
        for index, (key, display) in enumerate(addresses)
    ]


def set_person(conn: Connection, person_id: str, values: Fields) -> None:
    """Columns of `person`; a new unit_id must be there."""
    if "unit_id" in values:
        get_unit(conn, values["unit_id"])
    if conn.execute(update(person).where(person.c.person_id == person_id).values(**values)).rowcount == 0:
        raise NotFound(f"person {person_id}: not found")


def add_address(conn: Connection, owner_id: str, kind: str, key: str, display: str, *, primary: bool, now: int) -> None:
    """One more address, or an alias made the primary (the old primary becomes an alias)."""
    whose = owner(conn, key)
    if whose is not None and whose != (kind, owner_id):
        raise Conflict(f"{display}: exists already")
    if not is_local(conn, key.rpartition("@")[2]):
        raise BadInput(f"{display}: its domain is not one of ours")
    if primary:
        conn.execute(update(address).where(address.c.owner_id == owner_id).values(is_primary=False))
    if whose is None:
        ledger.issue(conn, key, owner_id, now)
        conn.execute(insert(address), [{**_address_rows(owner_id, kind, [(key, display)])[0], "is_primary": primary}])
    elif primary:
        conn.execute(update(address).where(address.c.address_key == key).values(is_primary=True, display=display))


def remove_address(conn: Connection, owner_id: str, key: str, *, now: int) -> None:
    """An alias; BadInput for the primary, NotFound for what is not the owner's."""
    row = conn.execute(select(address.c.is_primary).where(address.c.address_key == key, address.c.owner_id == owner_id)).first()
    if row is None:
        raise NotFound(f"{key}: not an address of this person")
    if row.is_primary:
        raise BadInput(f"{key}: is the primary address; make another one primary first")
    conn.execute(delete(address).where(address.c.address_key == key))
    ledger.release(conn, key, now)


def remove_owner(conn: Connection, owner_id: str, *, now: int) -> None:
    """A person or group with addresses, memberships and keeperships."""
    keys = conn.execute(select(address.c.address_key).where(address.c.owner_id == owner_id)).scalars().all()
    gone = sum(
        conn.execute(delete(table).where(column == owner_id)).rowcount
        for table, column in ((person, person.c.person_id), (group_, group_.c.group_id))
    )
    if not gone:
        raise NotFound(f"{owner_id}: not found")
    conn.execute(delete(address).where(address.c.owner_id == owner_id))
    conn.execute(delete(group_member).where(or_(group_member.c.member == owner_id, group_member.c.group_id == owner_id)))
    conn.execute(update(unit).where(unit.c.keeper_id == owner_id).values(keeper_id=None))
    for key in keys:
        ledger.release(conn, key, now)


# -- groups -------------------------------------------------------------------------------------------------------


def add_group(conn: Connection, group_id: str, unit_id: str, key: str, display: str, name: str, *, now: int) -> None:
    """Without members yet; a group that is there already with this id and address is left as it is."""
    get_unit(conn, unit_id)
    if owner(conn, key) == ("group", group_id):
        return
    if conn.execute(select(group_.c.group_id).where(group_.c.group_id == group_id)).first() is not None:
        raise Conflict(f"{name}: the id is taken")
    conn.execute(insert(group_).values(group_id=group_id, unit_id=unit_id, name=name, created=now))
    add_address(conn, group_id, "group", key, display, primary=True, now=now)


def get_groups(conn: Connection, condition: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Groups with `address` and `members`, by address."""
    query = (
        select(group_.c.group_id, group_.c.unit_id, group_.c.name, address.c.display.label("address"))
        .join(address, and_(address.c.owner_id == group_.c.group_id, address.c.is_primary))
        .where(condition)
        .order_by(address.c.address_key)
    )
    groups = {row["group_id"]: {**row, "members": []} for row in _rows(conn, query)}
    for batch in batches(groups):
        members = (
            select(group_member.c.group_id, group_member.c.member)
            .where(group_member.c.group_id.in_(batch))
            .order_by(group_member.c.group_id, group_member.c.member)
        )
        for group_id, member in conn.execute(members):
            groups[group_id]["members"].append(member)
    return list(groups.values())


def get_group(conn: Connection, group_id: str) -> dict[str, Any]:
    """Raises NotFound."""
    found = get_groups(conn, group_.c.group_id == group_id) if _can_be(group_id) else []
    if not found:
        raise NotFound(f"group {group_id}: not found")
    return found[0]


def list_groups(conn: Connection, unit_id: str, below: bool) -> list[dict[str, Any]]:
    """Groups of a unit, perhaps with all below it."""
    path = get_unit(conn, unit_id)["path"]
    if below:
        return get_groups(conn, group_.c.unit_id.in_(select(unit.c.unit_id).where(_below(path))))
    return get_groups(conn, group_.c.unit_id == unit_id)


def add_members(conn: Connection, group_id: str, members: Sequence[str], limit: int) -> None:
    """Ids of people and groups, or addresses (with "@"); those in it already stay. LimitReached beyond `limit`."""
    get_group(conn, group_id)
    there = set(conn.execute(select(group_member.c.member).where(group_member.c.group_id == group_id)).scalars())
    fresh = [member for member in dict.fromkeys(members) if member not in there]
    if len(there) + len(fresh) > limit:
        raise LimitReached(f"a group has {limit} members at most")
    ids = [member for member in fresh if "@" not in member]
    kinds = dict.fromkeys(_present(conn, person.c.person_id, ids), "person")
    kinds.update(dict.fromkeys(_present(conn, group_.c.group_id, ids), "group"))
    if unknown := [member for member in ids if member not in kinds]:
        raise NotFound(f"member {unknown[0]}: not found")
    if fresh:
        conn.execute(
            insert(group_member),
            [{"group_id": group_id, "member": member, "kind": kinds.get(member, "remote")} for member in fresh],
        )


def remove_members(conn: Connection, group_id: str, members: Sequence[str]) -> None:
    get_group(conn, group_id)
    for batch in batches(members):
        conn.execute(delete(group_member).where(group_member.c.group_id == group_id, group_member.c.member.in_(batch)))


# -- what an address stands for -----------------------------------------------------------------------------------

MailTarget = tuple[str, str, str, str, int | None]
"""directory_id, primary address as displayed, unit_id, state, quota as in the directory."""


def mail_target(conn: Connection, person_id: str) -> MailTarget:
    """Of a person that is there."""
    query = (
        select(person.c.person_id, address.c.display, person.c.unit_id, person.c.state, person.c.quota_octets)
        .join(address, and_(address.c.owner_id == person.c.person_id, address.c.is_primary))
        .where(person.c.person_id == person_id)
    )
    row = conn.execute(query).one()
    return row[0], row[1], row[2], row[3], row[4]


def expand(conn: Connection, group_id: str, *, depth: int, limit: int) -> tuple[list[MailTarget], list[str]]:
    """All people (not disabled) and addresses elsewhere that a group reaches, each once; loops end.

    Raises LimitReached when groups nest deeper than `depth` or more than `limit` are reached.
    """
    seen = {group_id}
    level = [group_id]
    for _ in range(depth + 1):
        below: set[str] = set()
        for batch in batches(level):
            query = select(group_member.c.member).where(group_member.c.group_id.in_(batch), group_member.c.kind == "group")
            below.update(conn.execute(query).scalars())
        level = sorted(below - seen)
        seen |= below
        if not level:
            break
    else:
        raise LimitReached(f"groups nest deeper than {depth}")
    targets: dict[str, MailTarget] = {}
    remote: set[str] = set()
    for batch in batches(sorted(seen)):
        query = (
            select(person.c.person_id, address.c.display, person.c.unit_id, person.c.state, person.c.quota_octets)
            .join(group_member, and_(group_member.c.member == person.c.person_id, group_member.c.kind == "person"))
            .join(address, and_(address.c.owner_id == person.c.person_id, address.c.is_primary))
            .where(group_member.c.group_id.in_(batch), person.c.state != "disabled")
            .limit(limit + 1)
        )
        targets.update((row[0], (row[0], row[1], row[2], row[3], row[4])) for row in conn.execute(query))
        outside = select(group_member.c.member).where(group_member.c.group_id.in_(batch), group_member.c.kind == "remote")
        remote.update(conn.execute(outside.limit(limit + 1)).scalars())
        if len(targets) + len(remote) > limit:
            raise LimitReached(f"the group reaches more than {limit}")
    return [targets[one] for one in sorted(targets)], sorted(remote)


def keepers(conn: Connection, domain_name: str) -> list[str]:
    """Keepers of the domain's unit and of those above it, the nearest first."""
    unit_id = conn.execute(select(domain.c.unit_id).where(domain.c.domain == domain_name)).scalar_one_or_none()
    return [row["keeper_id"] for row in reversed(chain(conn, unit_id)) if row["keeper_id"]] if unit_id else []
