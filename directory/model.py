"""Who people are: units, people, groups and domains as values, and the one interface that every directory implements.

Invariants
- Everything is named by `directory_id`: a UUID given by us when the thing is made, never changed, never reused. Names,
  labels, addresses, logins and DNs are attributes.
- The units form one tree: one root, every other unit has exactly one parent, siblings differ in name and in label.
- An address belongs to one person or group; the ledger (`store.ledger`) never gives it to another within the term.

Errors of every method: DirectoryUnavailable when the directory cannot be asked, NotFound when an id names nothing,
Conflict when a name, label, address or domain is taken, BadInput when a value does not hold.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from govmail.interfaces import PersonState, Principal, Resolution
from govmail.mail.address import Address

Progress = Callable[[int, int | None], None]
"""Called with how many rows are done and how many there are (None: not known)."""

IdSource = Callable[[], str]
"""Makes a fresh directory_id; a parameter wherever one is made, so that tests own it."""


def new_id() -> str:
    """A fresh directory_id."""
    return str(uuid.uuid4())


def new_stamp() -> str:
    """A fresh stamp: whatever was remembered about a login under the old one is void."""
    return secrets.token_hex(16)


class Level:
    """Levels of regions; a department has the level of the region that it belongs to."""

    PROVINCE = 1
    CITY = 2
    COUNTY = 3
    TOWNSHIP = 4


# -- what is there ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """A region (赣州市) or an organ of one (发改委).

    `label`: lower-case ASCII, unique among siblings, part of DNs. `line`: the functional line that ties counterpart
    organs of all levels together (纵向). `code`: GB/T 2260 or other official code, if it has one. `domain`: where new
    people of the unit get their addresses; None = that of the nearest unit above which has one. `path`: labels from the
    root, `/jx/ganzhou/fgw/`: a unit lies in the subtree of another iff its path begins with the other's.
    """

    unit_id: str
    parent_id: str | None
    name: str
    label: str
    level: int
    kind: str = ""
    line: str = ""
    code: str | None = None
    rank: str = ""
    domain: str | None = None
    is_region: bool = False
    keeper_id: str | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A civil servant. `addresses`: the primary first, then the aliases by key. `stamp` changes with password, state and unit.

    `quota_octets`: None = that of the configuration, 0 = no limit; see `limit_of`.
    """

    person_id: str
    unit_id: str
    name: str
    addresses: tuple[Address, ...]
    state: PersonState = PersonState.ACTIVE
    pinyin: str = ""
    title: str = ""
    stamp: str = ""
    quota_octets: int | None = None

    @property
    def primary(self) -> Address:
        return self.addresses[0]


def limit_of(quota_octets: int | None, default: int) -> int | None:
    """What the mailboxes of somebody with this quota may hold, in octets; None = no limit. `default`: `DirectoryTable.quota_octets`."""
    return (default if quota_octets is None else quota_octets) or None


def principal_of(person: Person, default: int) -> Principal:
    """The person once logged in. `default`: as for `limit_of`."""
    keys = tuple(one.key for one in person.addresses)
    return Principal(person.person_id, person.name, person.unit_id, keys, limit_of(person.quota_octets, default))


@dataclass(frozen=True, slots=True)
class Group:
    """A list. `members`: directory ids of people and groups, and addresses elsewhere (those contain "@")."""

    group_id: str
    unit_id: str
    address: Address
    name: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailDomain:
    """A domain whose mail stays here, and the unit that answers for it."""

    domain: str
    unit_id: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login is checked against. `password_hash`, see `PasswordPool.hash`; "": cannot be read
    here, the directory checks (`bind`)."""

    person: Person
    password_hash: str


@dataclass(frozen=True, slots=True)
class Counts:
    units: int
    people: int
    groups: int
    domains: int


# -- what shall be there ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to be made. `unit_id` "" = make one. `domain`, when given, is added to the local domains too."""

    name: str
    label: str
    parent_id: str | None
    level: int
    kind: str = ""
    line: str = ""
    code: str | None = None
    rank: str = ""
    domain: str | None = None
    is_region: bool = False
    unit_id: str = ""


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person to be made. `password_hash`: encoded by `directory.passwords`; "" = cannot log in yet.

    `person_id` "" = make one; a caller that may have to repeat an interrupted act gives its own.
    """

    unit_id: str
    name: str
    address: Address
    aliases: tuple[Address, ...] = ()
    title: str = ""
    pinyin: str = ""
    state: PersonState = PersonState.ACTIVE
    password_hash: str = ""
    quota_octets: int | None = None
    person_id: str = ""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row of a bulk call that was left out: its index in the input (from 0) and the reason for an operator."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """`ids`: directory_id per row of the input, "" where the row failed. Rows that were there already keep their id."""

    ids: tuple[str, ...]
    failures: tuple[RowFailure, ...] = ()

    @property
    def made(self) -> int:
        return sum(1 for one in self.ids if one)


# -- the interface ------------------------------------------------------------------------------------------------


class DirectoryService(Protocol):
    """Management and lookup. Implemented by `directory.local.LocalDirectory` and `directory.ldap.LdapDirectory`.

    Rights are not checked here (`admin.actions` does), nothing is cached here (`directory.cache` does). Acts that are
    repeated with the same ids after an interruption finish what is missing and change nothing else.
    """

    async def prepare(self) -> None:
        """Makes what must stand before the first unit (LDAP: the entries above the base). Idempotent."""

    async def close(self) -> None:
        """Gives connections and threads back; idempotent."""

    async def check(self) -> None:
        """Asks the directory something cheap; raises DirectoryUnavailable, for `doctor` and health checks."""

    async def counts(self) -> Counts:
        """How much there is."""

    # units

    async def add_unit(self, new: NewUnit) -> Unit:
        """The root (parent_id None, once) or a unit below another."""

    async def add_units(self, rows: Iterable[NewUnit], progress: Progress | None = None) -> BulkResult:
        """Many units, parents before children, each row with its own `unit_id`; set-based where possible."""

    async def root(self) -> Unit | None:
        """The top of the tree; None in a fresh directory."""

    async def unit(self, unit_id: str) -> Unit:
        """Raises NotFound."""

    async def unit_by_path(self, path: str) -> Unit:
        """By names or labels from the root, "江西省/赣州市/发改委" or "jx/ganzhou/fgw"; raises NotFound."""

    async def unit_chain(self, unit_id: str) -> tuple[Unit, ...]:
        """The unit with all above it, the root first; the names joined by "/" are what `unit_by_path` takes."""

    async def children(self, unit_id: str) -> list[Unit]:
        """Direct children, regions after organs, by label."""

    async def subtree(self, unit_id: str) -> list[Unit]:
        """The unit and all below it, by path: parents before children."""

    async def is_within(self, unit_id: str, ancestor_id: str) -> bool:
        """Whether the unit is `ancestor_id` or lies below it; False where one of them is not there."""

    async def line(self, line: str, *, level: int | None = None) -> list[Unit]:
        """The units of one functional line (纵向), perhaps of one level only, by path."""

    async def rename_unit(self, unit_id: str, *, name: str | None = None, label: str | None = None) -> Unit:
        """New name, new label, or both; addresses and domains stay."""

    async def move_unit(self, unit_id: str, parent_id: str) -> Unit:
        """Puts the unit with all below it under another parent; BadInput when that lies below the unit itself."""

    async def set_keeper(self, unit_id: str, person_id: str | None) -> Unit:
        """Who gets the unit's postmaster@ and abuse@ mail."""

    async def set_unit_domain(self, unit_id: str, domain: str | None) -> Unit:
        """Where new people of the unit get their addresses; added to the local domains where missing."""

    async def remove_unit(self, unit_id: str) -> None:
        """BadInput while there are units, people, groups or domains in it."""

    # people

    async def add_person(self, new: NewPerson) -> Person:
        """Ledger first, then the directory's entry; the account is made by the caller or at the first delivery."""

    async def add_people(self, rows: Iterable[NewPerson], progress: Progress | None = None) -> BulkResult:
        """Many people; a bad row is left out and reported, the others are made."""

    async def person(self, person_id: str) -> Person:
        """Raises NotFound."""

    async def person_by_address(self, address: Address) -> Person:
        """By primary address or alias; raises NotFound."""

    async def people_by_id(self, person_ids: Sequence[str]) -> dict[str, Person]:
        """Those of the ids that are people."""

    def people(self, unit_id: str, *, subtree: bool = False, page: int = 500) -> AsyncIterator[list[Person]]:
        """The people of a unit, perhaps with all below it, in pages of `page`, in no promised order."""

    async def search_people(self, text: str, *, unit_id: str | None = None, limit: int = 50) -> list[Person]:
        """People whose name, pinyin or address begins with `text`, perhaps of one subtree only."""

    async def set_password(self, person_id: str, password_hash: str) -> Person:
        """`password_hash` as `directory.passwords` encodes it; "" = cannot log in. Changes the stamp."""

    async def set_state(self, person_id: str, state: PersonState) -> Person:
        """Changes the stamp."""

    async def set_quota(self, person_id: str, octets: int | None) -> Person:
        """None = that of the configuration, 0 = no limit. The account's own copy is the caller's to set."""

    async def rename_person(
        self, person_id: str, *, name: str | None = None, pinyin: str | None = None,
        title: str | None = None, primary: Address | None = None,
    ) -> Person:
        """Changes what is given. A new `primary` keeps the old one as an alias."""

    async def move_person(self, person_id: str, unit_id: str) -> Person:
        """To another unit; addresses stay. Changes the stamp."""

    async def add_alias(self, person_id: str, address: Address) -> Person:
        """One more address."""

    async def remove_alias(self, person_id: str, address: Address) -> Person:
        """BadInput for the primary. The address stays bound to the person in the ledger for the term."""

    async def remove_person(self, person_id: str) -> None:
        """Takes the entry away, with its memberships and keeperships. Addresses stay bound for the term."""

    # groups

    async def add_group(self, unit_id: str, address: Address, name: str, *, members: Sequence[str] = (), group_id: str = "") -> Group:
        """`members` as in Group.members."""

    async def group(self, group_id: str) -> Group:
        """Raises NotFound."""

    async def group_by_address(self, address: Address) -> Group:
        """Raises NotFound."""

    async def groups(self, unit_id: str, *, subtree: bool = False) -> list[Group]:
        """By address."""

    async def add_members(self, group_id: str, members: Sequence[str]) -> Group:
        """Those that are in it already stay; NotFound for an id that names neither person nor group."""

    async def remove_members(self, group_id: str, members: Sequence[str]) -> Group:
        """Those that are not in it are passed over."""

    async def remove_group(self, group_id: str) -> None:
        """With its memberships in other groups. The address stays bound for the term."""

    # domains and mail

    async def add_domain(self, domain: str, unit_id: str) -> MailDomain:
        """Mail for `domain` (canonical, see `mail.address.canonical_domain`) stays here from now on."""

    async def domains(self) -> list[MailDomain]:
        """All local domains, sorted."""

    async def remove_domain(self, domain: str) -> None:
        """BadInput while people or groups have addresses in it."""

    async def is_local_domain(self, domain: str) -> bool:
        """`domain` canonical."""

    async def resolve(self, address: Address) -> Resolution:
        """What the address stands for, asked live: see `interfaces.Resolution`.

        postmaster@ and abuse@ of a local domain that name nobody reach the keeper of its unit, else of the nearest unit
        above, else the configured administrators (RFC 5321 §4.5.1, RFC 2142). Raises LimitReached when a group reaches
        more than `Limits.group_members` or is deeper than `Limits.group_depth`.
        """

    # logins

    async def credentials(self, address: Address) -> Credentials | None:
        """By any address of the person; None when there is none."""

    async def bind(self, person_id: str, password: str) -> bool:
        """Has the directory itself check a password whose hash cannot be read; never an empty one."""
