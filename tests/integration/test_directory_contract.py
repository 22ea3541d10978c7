"""What every directory does, whatever it is made of: one suite, run on our own tables and on a real slapd."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from directory.issuers import Issuers
from directory.ldap import LdapDirectory
from directory.ldap.pool import Link, Server
from directory.local import LocalDirectory
from directory.model import DirectoryService, NewPerson, NewUnit, Person, Unit, new_id
from directory.passwords import PasswordAuthenticator, PasswordPool
from directory.proofs import DirectoryProofs
from govmail.config import DirectoryTable, Limits
from govmail.errors import (
    AuthenticationFailed,
    BadInput,
    Conflict,
    DirectoryUnavailable,
    LimitReached,
    NotFound,
    NotPermitted,
)
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.store import accounts, ledger
from govmail.store.database import Database
from govmail.wire.sasl_scram import make_verifier
from tests.kit.postgres import PostgresServer, running_postgres
from tests.kit.slapd import Slapd

LIMITS = Limits(group_depth=5, group_members=50)
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ADMINISTRATOR = "xinxi@jx.example"


@dataclass
class World:
    """A directory with a small tree, and how to disturb it."""

    directory: DirectoryService
    database: Database
    now: datetime
    slapd: Slapd | None
    province: Unit
    city: Unit
    fgw: Unit

    async def person(self, name: str, address: str, unit: Unit | None = None, **more: object) -> Person:
        return await self.directory.add_person(
            NewPerson((unit or self.fgw).unit_id, name, Address.parse(address), **more)  # type: ignore[arg-type]
        )

    async def targets(self, address: str) -> set[str]:
        return {one.directory_id for one in (await self.directory.resolve(Address.parse(address))).targets}

    def pass_time(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["local", "local-postgresql", "ldap"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database."""
    if kind != "local-postgresql":
        yield "sqlite://"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(scope="module")
def running_slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    server = Slapd(tmp_path_factory.mktemp("ldap") / "slapd")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def slapd(kind: str, request: pytest.FixtureRequest) -> Iterator[Slapd | None]:
    """An empty LDAP server, or None."""
    if kind != "ldap":
        yield None
        return
    server: Slapd = request.getfixturevalue("running_slapd")
    yield server
    server.empty()


@pytest.fixture
async def world(slapd: Slapd | None, url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = Database.open(url, data_dir=tmp_path)
    worlds: list[World] = []
    directory = make_directory(database, slapd, lambda: worlds[0].now if worlds else START)
    await directory.prepare()
    province = await directory.add_unit(NewUnit("江西省", "jx", None, 1, code="360000", domain="jx.example", is_region=True))
    city = await directory.add_unit(NewUnit("赣州市", "ganzhou", province.unit_id, 2, code="360700", is_region=True))
    fgw = await directory.add_unit(
        NewUnit("发改委", "fgw", city.unit_id, 2, kind="政府", line="发改", rank="正处", domain="fgw.ganzhou.jx.example")
    )
    worlds.append(World(directory, database, START, slapd, province, city, fgw))
    yield worlds[0]
    await directory.close()
    await database.close()


def make_directory(database: Database, slapd: Slapd | None, clock: object, **changes: object) -> DirectoryService:
    if slapd is None:
        table = DirectoryTable(administrators=(ADMINISTRATOR,))
        return LocalDirectory(database, table, limits=LIMITS, clock=clock)  # type: ignore[arg-type]
    table = slapd.config(administrators=(ADMINISTRATOR,), pool=2, **changes)
    return LdapDirectory(table, database, password=slapd.password, limits=LIMITS, clock=clock)  # type: ignore[arg-type]


# -- the tree -----------------------------------------------------------------------------------------------------


async def test_a_unit_is_found_as_it_was_made(world: World) -> None:
    found = await world.directory.unit(world.fgw.unit_id)
    assert found == world.fgw
    assert (found.name, found.kind, found.line, found.rank, found.level) == ("发改委", "政府", "发改", "正处", 2)
    assert found.path == "/jx/ganzhou/fgw/"
    assert await world.directory.root() == world.province


async def test_a_fresh_directory_has_no_root(slapd: Slapd | None, url: str, tmp_path: Path) -> None:
    database = Database.open(url, data_dir=tmp_path)
    directory = make_directory(database, slapd, lambda: START)
    await directory.prepare()
    assert await directory.root() is None
    await directory.check()
    await directory.close()
    await database.close()


@pytest.mark.parametrize("path", ["江西省/赣州市/发改委", "jx/ganzhou/fgw", "/江西省/ganzhou/发改委/"])
async def test_a_path_of_names_or_labels_leads_to_the_unit(world: World, path: str) -> None:
    assert await world.directory.unit_by_path(path) == world.fgw


@pytest.mark.parametrize("path", ["江西省/赣州市/*", "江西省/赣州市/发改委)(ou=*", "*", "江西省/无此市", "ganzhou"])
async def test_a_path_that_names_nothing_is_not_found(world: World, path: str) -> None:
    with pytest.raises(NotFound):
        await world.directory.unit_by_path(path)


async def test_two_views_cross_in_a_unit(world: World) -> None:
    county = await world.directory.add_unit(NewUnit("信丰县", "xinfeng", world.city.unit_id, 3, is_region=True))
    below = await world.directory.add_unit(NewUnit("发改委", "fgw", county.unit_id, 3, line="发改"))
    assert [unit.unit_id for unit in await world.directory.line("发改")] == [world.fgw.unit_id, below.unit_id]
    assert [unit.unit_id for unit in await world.directory.line("发改", level=3)] == [below.unit_id]
    assert [unit.unit_id for unit in await world.directory.children(world.city.unit_id)] == [world.fgw.unit_id, county.unit_id]
    assert await world.directory.subtree(world.city.unit_id) == [world.city, world.fgw, county, below]
    assert await world.directory.unit_chain(below.unit_id) == (world.province, world.city, county, below)


async def test_within_means_itself_or_below(world: World) -> None:
    directory = world.directory
    other = await directory.add_unit(NewUnit("赣州市二", "ganzhou2", world.province.unit_id, 2))
    assert await directory.is_within(world.fgw.unit_id, world.province.unit_id)
    assert await directory.is_within(world.fgw.unit_id, world.fgw.unit_id)
    assert not await directory.is_within(world.city.unit_id, world.fgw.unit_id)
    assert not await directory.is_within(other.unit_id, world.city.unit_id)
    assert not await directory.is_within(new_id(), world.province.unit_id)


@pytest.mark.parametrize(
    ("unit", "error"),
    [
        (NewUnit("发改委", "fgw2", "city", 2), Conflict),
        (NewUnit("另一委", "fgw", "city", 2), Conflict),
        (NewUnit("另一省", "jx2", None, 1), Conflict),
        (NewUnit("县里", "x", "city", 1), BadInput),
        (NewUnit("坏", "Fgw", "city", 2), BadInput),
        (NewUnit("坏", "a,ou=b", "city", 2), BadInput),
        (NewUnit("坏/名", "b", "city", 2), BadInput),
        (NewUnit("\u202e坏", "b", "city", 2), BadInput),
        (NewUnit("坏", "b", "city", 9), BadInput),
        (NewUnit("坏", "b", "city", 2, domain="no_domain.example"), BadInput),
        (NewUnit("坏", "b", "11111111-1111-4111-8111-111111111111", 2), NotFound),
    ],
)
async def test_a_unit_that_breaks_the_tree_is_refused(world: World, unit: NewUnit, error: type[Exception]) -> None:
    given = replace(unit, parent_id=world.city.unit_id) if unit.parent_id == "city" else unit
    with pytest.raises(error):
        await world.directory.add_unit(given)
    assert (await world.directory.counts()).units == 3


async def test_a_moved_unit_takes_everything_along(world: World) -> None:
    directory = world.directory
    office = await directory.add_unit(NewUnit("综合科", "zhk", world.fgw.unit_id, 2))
    person = await world.person("张三", "zhangsan@fgw.ganzhou.jx.example", office)
    moved = await directory.move_unit(world.fgw.unit_id, world.province.unit_id)
    assert (moved.unit_id, moved.parent_id, moved.path) == (world.fgw.unit_id, world.province.unit_id, "/jx/fgw/")
    assert (await directory.unit(office.unit_id)).path == "/jx/fgw/zhk/"
    assert await directory.unit_by_path("江西省/发改委/综合科") == await directory.unit(office.unit_id)
    assert await directory.person(person.person_id) == person
    assert await world.targets("zhangsan@fgw.ganzhou.jx.example") == {person.person_id}
    with pytest.raises(NotFound):
        await directory.unit_by_path("江西省/赣州市/发改委")


async def test_a_unit_cannot_move_below_itself_or_onto_another(world: World) -> None:
    directory = world.directory
    office = await directory.add_unit(NewUnit("综合科", "zhk", world.fgw.unit_id, 2))
    twin = await directory.add_unit(NewUnit("发改委", "fgw", world.province.unit_id, 2))
    with pytest.raises(BadInput):
        await directory.move_unit(world.fgw.unit_id, office.unit_id)
    with pytest.raises(BadInput):
        await directory.move_unit(world.province.unit_id, office.unit_id)
    with pytest.raises(Conflict):
        await directory.move_unit(world.fgw.unit_id, world.province.unit_id)
    assert await directory.unit(twin.unit_id) == twin


async def test_units_swap_names_by_way_of_a_third(world: World) -> None:
    """庐山: one unit takes the name that another one gives up; whoever matches by name loses here."""
    directory = world.directory
    district = await directory.add_unit(NewUnit("庐山区", "lushan", world.city.unit_id, 3, is_region=True))
    county = await directory.add_unit(NewUnit("星子县", "xingzi", world.city.unit_id, 3, is_region=True))
    person = await world.person("李四", "lisi@jx.example", district)
    await directory.rename_unit(district.unit_id, name="濂溪区", label="lianxi")
    await directory.rename_unit(county.unit_id, name="庐山市", label="lushan")
    assert (await directory.unit_by_path("江西省/赣州市/庐山市")).unit_id == county.unit_id
    assert (await directory.unit(district.unit_id)).path == "/jx/ganzhou/lianxi/"
    assert (await directory.person(person.person_id)).unit_id == district.unit_id


async def test_the_root_can_be_renamed(world: World) -> None:
    renamed = await world.directory.rename_unit(world.province.unit_id, name="江西", label="jiangxi")
    assert renamed.path == "/jiangxi/"
    assert (await world.directory.unit(world.fgw.unit_id)).path == "/jiangxi/ganzhou/fgw/"


async def test_only_an_empty_unit_is_removed(world: World) -> None:
    directory = world.directory
    empty = await directory.add_unit(NewUnit("空委", "kong", world.city.unit_id, 2))
    for unit in (world.city, world.fgw):
        with pytest.raises(BadInput):
            await directory.remove_unit(unit.unit_id)
    await directory.remove_unit(empty.unit_id)
    with pytest.raises(NotFound):
        await directory.unit(empty.unit_id)


async def test_many_units_and_the_second_time_nothing_happens(world: World) -> None:
    counties = [NewUnit(f"县{n}", f"xian{n}", world.city.unit_id, 3, is_region=True, unit_id=new_id()) for n in range(30)]
    offices = [NewUnit("财政局", "czj", county.unit_id, 3, line="财政", unit_id=new_id()) for county in counties]
    bad = NewUnit("县3", "other", world.city.unit_id, 3, unit_id=new_id())
    orphan = NewUnit("科", "ke", bad.unit_id, 3, unit_id=new_id())
    seen: list[int] = []
    result = await world.directory.add_units([*counties, bad, orphan, *offices], lambda done, _: seen.append(done))
    assert [failure.row for failure in result.failures] == [30, 31]
    assert result.made == 60 and seen[-1] == 62
    assert (await world.directory.counts()).units == 63
    fresh_ids = {old.unit_id: new_id() for old in [*counties, *offices]}
    again = [
        replace(one, unit_id=fresh_ids[one.unit_id], parent_id=fresh_ids.get(one.parent_id or "", one.parent_id))
        for one in [*counties, *offices]
    ]
    second = await world.directory.add_units(again)
    assert second.ids == tuple(one.unit_id for one in [*counties, *offices])
    assert (await world.directory.counts()).units == 63


async def test_a_random_walk_keeps_one_tree_without_orphans_and_cycles(world: World) -> None:
    directory = world.directory
    chance = random.Random(20161227)
    for step in range(80):
        units = await directory.subtree(world.province.unit_id)
        one, other = chance.choice(units), chance.choice(units)
        try:
            match chance.randrange(4):
                case 0:
                    await directory.add_unit(NewUnit(f"单位{step}", f"u{step % 9}", one.unit_id, max(one.level, chance.randint(1, 4))))
                case 1:
                    await directory.move_unit(one.unit_id, other.unit_id)
                case 2:
                    await directory.rename_unit(one.unit_id, name=f"名{chance.randrange(9)}", label=f"u{chance.randrange(9)}")
                case 3:
                    await directory.remove_unit(one.unit_id)
        except (BadInput, Conflict):
            pass
    after = {unit.unit_id: unit for unit in await directory.subtree(world.province.unit_id)}
    assert len(after) == (await directory.counts()).units
    assert [unit.unit_id for unit in after.values() if unit.parent_id is None] == [world.province.unit_id]
    for unit in after.values():
        parent = after.get(unit.parent_id or "")
        assert unit.path == (f"{parent.path}{unit.label}/" if parent else f"/{unit.label}/")
        assert parent is None or parent.level <= unit.level
        assert await directory.unit(unit.unit_id) == unit
    assert len({(unit.parent_id, unit.name) for unit in after.values()}) == len(after)
    assert len({unit.path for unit in after.values()}) == len(after)


# -- people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["张三", "龚䶮", "𬭊钰", "欧阳·阿依古丽", "O'Neill, Jr. (=\\+#<>;\")*", " 空 格 "])
async def test_a_name_comes_back_as_it_was_given(world: World, name: str) -> None:
    person = await world.person(name, "someone@jx.example", pinyin="some one", title="副处长", quota_octets=5_000_000_000)
    assert person.name == name.strip()
    assert (person.title, person.quota_octets, person.state) == ("副处长", 5_000_000_000, PersonState.ACTIVE)
    assert await world.directory.person(person.person_id) == person
    assert await world.directory.person_by_address(Address.parse("Someone@JX.example")) == person
    assert [one.person_id for one in await world.directory.search_people(name)] == [person.person_id]


@pytest.mark.parametrize(
    "address", ["zhang.san@jx.example", "a+b@jx.example", '"a b,c"@jx.example', "张三@jx.example", "o'x=y#z@jx.example", "*@jx.example"]
)
async def test_any_valid_address_can_be_given(world: World, address: str) -> None:
    person = await world.person("张三", address)
    assert await world.targets(address) == {person.person_id}
    assert [one.key for one in (await world.directory.person(person.person_id)).addresses] == [Address.parse(address).key]
    other = await world.person("李四", "other@jx.example")
    assert await world.targets("other@jx.example") == {other.person_id}


@pytest.mark.parametrize(
    "address",
    ["*@jx.example", "zhang*@jx.example", '"x)(govId=*"@jx.example', '"x\\\\2a"@jx.example', '"*)(uid=*))(|(uid=*"@jx.example'],
)
async def test_an_address_is_data_never_a_filter(world: World, address: str) -> None:
    await world.person("张三", "zhangsan@jx.example")
    found = await world.directory.resolve(Address.parse(address))
    assert not found.exists and found.domain_is_local
    assert await world.directory.credentials(Address.parse(address)) is None
    with pytest.raises(NotFound):
        await world.directory.person_by_address(Address.parse(address))


@pytest.mark.parametrize("value", ["*", "*)(objectClass=*", "", "\0"])
async def test_an_id_is_data_never_a_filter(world: World, value: str) -> None:
    await world.person("张三", "zhangsan@jx.example")
    for question in (world.directory.person, world.directory.unit, world.directory.group):
        with pytest.raises(NotFound):
            await question(value)
    assert await world.directory.people_by_id([value]) == {}


async def test_search_by_name_pinyin_and_address_in_a_subtree(world: World) -> None:
    one = await world.person("王伟", "wangwei@fgw.ganzhou.jx.example", pinyin="wang wei")
    two = await world.person("王伟", "wangwei@jx.example", world.province, pinyin="wang wei")
    await world.person("李王", "liwang@jx.example", pinyin="li wang")
    search = world.directory.search_people
    for text in ("王伟", "王", "wang", "wangwei@"):
        assert {person.person_id for person in await search(text)} == {one.person_id, two.person_id}
        assert [person.person_id for person in await search(text, unit_id=world.fgw.unit_id)] == [one.person_id]
    assert len(await search("王", limit=1)) == 1
    assert await search("*") == []


async def test_people_of_a_unit_and_of_its_subtree_page_by_page(world: World) -> None:
    made = {(await world.person(f"人{n}", f"ren{n}@jx.example")).person_id for n in range(7)}
    boss = await world.person("省长", "boss@jx.example", world.province)
    directory = world.directory
    assert {one.person_id async for page in directory.people(world.fgw.unit_id) for one in page} == made
    assert [page async for page in directory.people(world.city.unit_id)] == []
    pages = [page async for page in directory.people(world.province.unit_id, subtree=True, page=3)]
    assert all(len(page) <= 3 for page in pages)
    assert sorted(one.person_id for page in pages for one in page) == sorted(made | {boss.person_id})


async def test_the_same_local_part_twice_in_one_unit(world: World) -> None:
    one = await world.person("张三", "zhangsan@jx.example")
    two = await world.person("张三", "zhangsan@fgw.ganzhou.jx.example")
    assert one.person_id != two.person_id
    elsewhere = await world.person("张三", "zhangsan2@jx.example", world.city)
    await world.directory.rename_person(elsewhere.person_id, primary=Address.parse("zs@jx.example"))
    moved = await world.directory.move_person(two.person_id, world.city.unit_id)
    assert moved.unit_id == world.city.unit_id
    assert await world.targets("zhangsan@fgw.ganzhou.jx.example") == {two.person_id}


async def test_password_state_and_unit_change_the_stamp_and_nothing_else_does(world: World) -> None:
    directory = world.directory
    person = await world.person("张三", "zhangsan@jx.example")
    stamps = [person.stamp]
    stamps.append((await directory.set_password(person.person_id, "$argon2id$…")).stamp)
    stamps.append((await directory.set_state(person.person_id, PersonState.SUSPENDED)).stamp)
    stamps.append((await directory.move_person(person.person_id, world.city.unit_id)).stamp)
    assert len(set(stamps)) == 4
    await directory.rename_person(person.person_id, name="张三丰", title="处长")
    await directory.set_quota(person.person_id, None)
    assert (await directory.add_alias(person.person_id, Address.parse("zsf@jx.example"))).stamp == stamps[-1]


async def test_an_address_brings_the_quota_of_its_owner(world: World) -> None:
    directory = world.directory
    person = await world.person("张三", "zhangsan@jx.example", quota_octets=5_000_000_000)
    group = await directory.add_group(world.city.unit_id, Address.parse("all@jx.example"), "全体", members=[person.person_id])

    async def limits() -> list[int | None]:
        found = [await directory.resolve(one) for one in (person.primary, group.address)]
        return [answer.targets[0].quota_octets for answer in found]

    assert await limits() == [5_000_000_000] * 2
    assert (await directory.set_quota(person.person_id, 0)).quota_octets == 0
    assert await limits() == [None, None]


async def test_a_new_primary_keeps_the_old_address_as_an_alias(world: World) -> None:
    directory = world.directory
    person = await world.person("张三", "zhangsan@jx.example", aliases=(Address.parse("zs@jx.example"),))
    renamed = await directory.rename_person(person.person_id, name="张思", pinyin="zhang si", primary=Address.parse("ZhangSi@jx.example"))
    assert (renamed.person_id, renamed.name, str(renamed.primary)) == (person.person_id, "张思", "ZhangSi@jx.example")
    assert [one.key for one in renamed.addresses] == ["zhangsi@jx.example", "zhangsan@jx.example", "zs@jx.example"]
    for address in renamed.addresses:
        assert await world.targets(str(address)) == {person.person_id}
    back = await directory.rename_person(person.person_id, primary=Address.parse("zs@jx.example"))
    assert back.primary.key == "zs@jx.example" and len(back.addresses) == 3
    with pytest.raises(BadInput):
        await directory.remove_alias(person.person_id, Address.parse("zs@jx.example"))
    assert len((await directory.remove_alias(person.person_id, Address.parse("zhangsi@jx.example"))).addresses) == 2
    assert await world.targets("zhangsi@jx.example") == set()


async def test_an_address_of_somebody_else_is_refused(world: World) -> None:
    directory = world.directory
    one = await world.person("张三", "zhangsan@jx.example")
    two = await world.person("李四", "lisi@jx.example")
    with pytest.raises(Conflict):
        await world.person("张三", "ZhangSan@jx.example")
    with pytest.raises(Conflict):
        await directory.add_alias(two.person_id, one.primary)
    with pytest.raises(Conflict):
        await directory.rename_person(two.person_id, primary=one.primary)
    with pytest.raises(Conflict):
        await directory.add_group(world.fgw.unit_id, one.primary, "列表")
    with pytest.raises(BadInput):
        await world.person("王五", "wangwu@elsewhere.example")
    assert (await directory.counts()).people == 2


async def test_an_address_is_never_reissued_within_the_term(world: World) -> None:
    directory = world.directory
    leaver = await world.person("张三", "zhangsan@jx.example", aliases=(Address.parse("zs@jx.example"),))
    await world.database.write(accounts.ensure, leaver.person_id, now=0)
    await directory.remove_person(leaver.person_id)
    other = await world.person("李四", "lisi@jx.example")
    await directory.add_alias(other.person_id, Address.parse("si@jx.example"))
    await directory.remove_alias(other.person_id, Address.parse("si@jx.example"))
    for address in ("zhangsan@jx.example", "zs@jx.example", "si@jx.example"):
        with pytest.raises(Conflict):
            await world.person("张三", address)
    assert (await directory.add_alias(other.person_id, Address.parse("si@jx.example"))).person_id == other.person_id
    world.pass_time(seconds=ledger.TERM_SECONDS + 86_400)
    namesake = await world.person("张三", "zhangsan@jx.example")
    assert namesake.person_id != leaver.person_id
    assert await world.targets("zhangsan@jx.example") == {namesake.person_id}


async def test_a_removed_person_leaves_lists_and_duties(world: World) -> None:
    directory = world.directory
    person = await world.person("张三", "zhangsan@jx.example")
    group = await directory.add_group(world.fgw.unit_id, Address.parse("all@jx.example"), "全体", members=[person.person_id])
    await directory.set_keeper(world.fgw.unit_id, person.person_id)
    await directory.remove_person(person.person_id)
    assert (await directory.group(group.group_id)).members == ()
    assert (await directory.unit(world.fgw.unit_id)).keeper_id is None
    with pytest.raises(NotFound):
        await directory.person(person.person_id)
    with pytest.raises(NotFound):
        await directory.remove_person(person.person_id)


# -- provisioning that was interrupted ----------------------------------------------------------------------------


async def test_an_act_that_is_repeated_with_its_id_changes_nothing(world: World) -> None:
    given = NewPerson(world.fgw.unit_id, "张三", Address.parse("zhangsan@jx.example"), person_id=new_id())
    first = await world.directory.add_person(given)
    assert await world.directory.add_person(given) == first
    assert (await world.directory.counts()).people == 1
    group = await world.directory.add_group(world.fgw.unit_id, Address.parse("g@jx.example"), "组", group_id=new_id())
    assert await world.directory.add_group(world.fgw.unit_id, group.address, "组", group_id=group.group_id) == group


async def test_death_after_the_ledger_is_repaired_by_the_next_act(world: World) -> None:
    """Issued, no entry, no account: the address is not lost, and whoever comes next takes the identity that was begun."""
    if world.slapd is None:
        return  # ledger and entry are one transaction there: nothing lies between them
    begun = new_id()
    await world.database.write(ledger.issue, "zhangsan@jx.example", begun, 0)
    person = await world.person("张三", "zhangsan@jx.example")
    assert person.person_id == begun
    await world.database.write(ledger.issue, "lisi@jx.example", new_id(), 0)
    result = await world.directory.add_people([NewPerson(world.fgw.unit_id, "李四", Address.parse("lisi@jx.example"))])
    assert result.failures == () and await world.targets("lisi@jx.example") == {result.ids[0]}


async def test_an_entry_that_vanished_does_not_leave_its_mailbox_to_a_namesake(world: World) -> None:
    if world.slapd is None:
        return
    gone = new_id()
    await world.database.write(ledger.issue, "zhangsan@jx.example", gone, 0)
    await world.database.write(accounts.ensure, gone, now=0)
    with pytest.raises(Conflict):
        await world.person("张三", "zhangsan@jx.example")


async def test_death_before_the_account_is_repaired_by_the_first_delivery(world: World) -> None:
    person = await world.person("张三", "zhangsan@jx.example")
    [target] = (await world.directory.resolve(person.primary)).targets
    made = await world.database.write(accounts.ensure, target.directory_id, now=0)
    assert made.directory_id == person.person_id


async def test_many_people_with_faults_and_again(world: World) -> None:
    taken = await world.person("占用", "r5@jx.example")
    rows = [NewPerson(world.fgw.unit_id, f"人{n}", Address.parse(f"r{n}@jx.example")) for n in range(40)]
    rows.append(NewPerson(new_id(), "无单位", Address.parse("x1@jx.example")))
    rows.append(NewPerson(world.fgw.unit_id, "外域", Address.parse("x2@elsewhere.example")))
    rows.append(NewPerson(world.fgw.unit_id, "a/b", Address.parse("x3@jx.example")))
    rows.append(NewPerson(world.fgw.unit_id, "人人", Address.parse("R7@jx.example")))
    result = await world.directory.add_people(rows)
    assert [failure.row for failure in result.failures] == [5, 40, 41, 42, 43]
    assert all(failure.reason for failure in result.failures)
    assert await world.targets("r7@jx.example") == {result.ids[7]}
    assert await world.targets("r5@jx.example") == {taken.person_id}
    again = await world.directory.add_people(rows[:5])
    assert again.ids == result.ids[:5]
    assert (await world.directory.counts()).people == 40


# -- groups, domains, what an address stands for ------------------------------------------------------------------


async def test_groups_in_groups_reach_everybody_once_and_loops_end(world: World) -> None:
    directory = world.directory
    one = await world.person("甲", "jia@jx.example")
    two = await world.person("乙", "yi@jx.example", world.province)
    off = await world.person("丙", "bing@jx.example", state=PersonState.DISABLED)
    inner = await directory.add_group(
        world.fgw.unit_id, Address.parse("inner@jx.example"), "内", members=[one.person_id, two.person_id, off.person_id]
    )
    outer = await directory.add_group(
        world.province.unit_id, Address.parse("outer@jx.example"), "外",
        members=[inner.group_id, "jia@jx.example", "Someone@elsewhere.example"],
    )
    await directory.add_members(inner.group_id, [outer.group_id])
    found = await directory.resolve(Address.parse("OUTER@jx.example"))
    assert {(one.directory_id, one.unit_id) for one in found.targets} == {
        (one.person_id, world.fgw.unit_id), (two.person_id, world.province.unit_id)
    }
    assert [str(address) for address in found.remote] == ["Someone@elsewhere.example"]
    assert found.is_group and found.exists
    assert {group.name for group in await directory.groups(world.province.unit_id, subtree=True)} == {"内", "外"}
    assert [group.name for group in await directory.groups(world.fgw.unit_id)] == ["内"]


async def test_members_come_and_go(world: World) -> None:
    directory = world.directory
    one = await world.person("甲", "jia@jx.example")
    group = await directory.add_group(world.fgw.unit_id, Address.parse("g@jx.example"), "组")
    assert (await directory.resolve(group.address)).disabled
    for _ in range(2):
        assert (await directory.add_members(group.group_id, [one.person_id, "x@elsewhere.example"])).members == tuple(
            sorted([one.person_id, "x@elsewhere.example"])
        )
    for _ in range(2):
        assert (await directory.remove_members(group.group_id, ["x@elsewhere.example"])).members == (one.person_id,)
    with pytest.raises(NotFound):
        await directory.add_members(group.group_id, [new_id()])
    with pytest.raises(NotFound):
        await directory.add_members(group.group_id, ["nobody@jx.example"])
    assert await directory.group_by_address(group.address) == await directory.group(group.group_id)
    await directory.remove_group(group.group_id)
    assert not (await directory.resolve(group.address)).exists


async def test_groups_have_limits(world: World) -> None:
    directory = world.directory
    chain = [await directory.add_group(world.fgw.unit_id, Address.parse(f"g{n}@jx.example"), f"组{n}") for n in range(8)]
    for above, below in pairwise(chain):
        await directory.add_members(above.group_id, [below.group_id])
    person = await world.person("甲", "jia@jx.example")
    await directory.add_members(chain[-1].group_id, [person.person_id])
    with pytest.raises(LimitReached):
        await directory.resolve(chain[0].address)
    assert await world.targets("g2@jx.example") == {person.person_id}
    with pytest.raises(LimitReached):
        await directory.add_members(chain[0].group_id, [f"u{n}@elsewhere.example" for n in range(60)])


async def test_what_an_address_stands_for(world: World) -> None:
    directory = world.directory
    for address, local in [("x@jx.example", True), ("x@sub.jx.example", False), ("x@elsewhere.example", False)]:
        found = await directory.resolve(Address.parse(address))
        assert (found.domain_is_local, found.exists, found.disabled) == (local, False, False)
    person = await world.person("甲", "jia@jx.example")
    await directory.set_state(person.person_id, PersonState.SUSPENDED)
    assert await world.targets("jia@jx.example") == {person.person_id}
    await directory.set_state(person.person_id, PersonState.DISABLED)
    found = await directory.resolve(person.primary)
    assert found.disabled and not found.exists


async def test_postmaster_and_abuse_reach_somebody_in_every_local_domain(world: World) -> None:
    directory = world.directory
    admin = await world.person("信息中心", ADMINISTRATOR, world.province)
    keeper = await world.person("市管理员", "keeper@jx.example", world.city)
    for role in ("postmaster", "Abuse"):
        assert await world.targets(f"{role}@fgw.ganzhou.jx.example") == {admin.person_id}
    await directory.set_keeper(world.city.unit_id, keeper.person_id)
    assert await world.targets("postmaster@fgw.ganzhou.jx.example") == {keeper.person_id}
    assert await world.targets("postmaster@jx.example") == {admin.person_id}
    await directory.set_state(keeper.person_id, PersonState.DISABLED)
    assert await world.targets("postmaster@fgw.ganzhou.jx.example") == {admin.person_id}
    own = await world.person("邮管", "postmaster@jx.example", world.province)
    assert await world.targets("postmaster@jx.example") == {own.person_id}
    assert not (await directory.resolve(Address.parse("postmaster@elsewhere.example"))).domain_is_local


async def test_domains(world: World) -> None:
    directory = world.directory
    await directory.add_domain("Bench.Test", world.fgw.unit_id)
    await directory.add_domain("bench.test", world.fgw.unit_id)
    assert await directory.is_local_domain("bench.test") and not await directory.is_local_domain("test")
    assert [(one.domain, one.unit_id) for one in await directory.domains()] == [
        ("bench.test", world.fgw.unit_id), ("fgw.ganzhou.jx.example", world.fgw.unit_id), ("jx.example", world.province.unit_id)
    ]
    with pytest.raises(Conflict):
        await directory.add_domain("bench.test", world.city.unit_id)
    person = await world.person("甲", "jia@bench.test")
    with pytest.raises(BadInput):
        await directory.remove_domain("bench.test")
    with pytest.raises(BadInput):
        await directory.remove_domain("fgw.ganzhou.jx.example")
    await directory.remove_person(person.person_id)
    await directory.remove_domain("bench.test")
    assert not await directory.is_local_domain("bench.test")
    changed = await directory.set_unit_domain(world.city.unit_id, "ganzhou.jx.example")
    assert changed.domain == "ganzhou.jx.example" and await directory.is_local_domain("ganzhou.jx.example")
    assert (await directory.set_unit_domain(world.city.unit_id, None)).domain is None


# -- logins -------------------------------------------------------------------------------------------------------


async def test_login_with_any_address_and_the_memory_of_it_ends_with_every_change(world: World) -> None:
    directory = world.directory
    pool = PasswordPool(cores=1, memory_kib=64, passes=1)
    login = PasswordAuthenticator(directory, world.database, pool, b"k" * 32, DirectoryTable(), clock=lambda: world.now)
    person = await world.person(
        "张三", "zhangsan@jx.example", password_hash=await pool.hash("correct horse"), aliases=(Address.parse("zs@jx.example"),)
    )
    for name in ("zhangsan@jx.example", "ZS@JX.example"):
        principal = await login.authenticate(name, "correct horse", "192.0.2.1")
        assert (principal.directory_id, principal.unit_id) == (person.person_id, world.fgw.unit_id)
        assert principal.addresses == ("zhangsan@jx.example", "zs@jx.example")
    for bad in ("wrong", "", "correct horse\0", "\ud800"):
        with pytest.raises(AuthenticationFailed):
            await login.authenticate("zhangsan@jx.example", bad, "192.0.2.1")
    for nobody in ("nobody@jx.example", "zhangsan", "*", "zhangsan@elsewhere.example"):
        with pytest.raises(AuthenticationFailed):
            await login.authenticate(nobody, "correct horse", "192.0.2.1")
    await directory.set_state(person.person_id, PersonState.SUSPENDED)
    with pytest.raises(AuthenticationFailed):
        await login.authenticate("zhangsan@jx.example", "correct horse", "192.0.2.1")
    await directory.set_state(person.person_id, PersonState.ACTIVE)
    await directory.set_password(person.person_id, await pool.hash("other horse"))
    with pytest.raises(AuthenticationFailed):
        await login.authenticate("zhangsan@jx.example", "correct horse", "192.0.2.1")
    assert await login.authenticate("zhangsan@jx.example", "other horse", "192.0.2.1")
    await directory.set_password(person.person_id, "")
    with pytest.raises(AuthenticationFailed):
        await login.authenticate("zhangsan@jx.example", "other horse", "192.0.2.1")
    await pool.close()


async def test_scram_keys_are_made_with_the_password_and_go_with_it(world: World) -> None:
    directory = world.directory
    pool = PasswordPool(cores=1, memory_kib=64, passes=1, scram_iterations=4096)
    proofs = DirectoryProofs(directory, Issuers((), Path("/nonexistent")), b"k" * 32, DirectoryTable(scram_iterations=4096, quota_octets=7))
    hashes = [await pool.hash(password) for password in ("correct horse", "other horse")]
    person = await world.person("张三", "zhangsan@jx.example", password_hash=hashes[0], aliases=(Address.parse("zs@jx.example"),))
    for made, password in zip(hashes, ("correct horse", "other horse"), strict=True):
        await directory.set_password(person.person_id, made)
        found = await directory.credentials(person.primary)
        assert found is not None
        assert found.password_hash == made
        assert await pool.verify(password, found.password_hash)
        for name in ("ZhangSan@jx.example", "zs@jx.example"):
            keys, principal = await proofs.keys(name)
            assert principal is not None
            assert (principal.directory_id, principal.quota_octets) == (person.person_id, 7)
            assert keys == make_verifier(password, keys.salt, 4096)
    # What is stored opens nothing by itself.
    for stored in (hashes[1], hashes[1].partition(" ")[2], "{SCRAM}" + hashes[1].partition(" ")[2]):
        assert not await directory.bind(person.person_id, stored)
    await directory.set_state(person.person_id, PersonState.DISABLED)
    assert (await proofs.keys("zhangsan@jx.example"))[1] is None
    with pytest.raises(AuthenticationFailed):
        await proofs.certificate(("zhangsan@jx.example",), "")
    await directory.set_state(person.person_id, PersonState.ACTIVE)
    assert (await proofs.certificate(("zhangsan@jx.example", "ZS@jx.example"), "zs@jx.example")).directory_id == person.person_id
    await directory.set_password(person.person_id, hashes[0].partition(" ")[0])  # by somebody who makes no keys
    assert (await proofs.keys("zhangsan@jx.example"))[1] is None
    await pool.close()


async def test_nobody_learns_from_scram_who_is_there(world: World) -> None:
    proofs = DirectoryProofs(world.directory, Issuers((), Path("/nonexistent")), b"k" * 32, DirectoryTable(scram_iterations=4096, quota_octets=7))
    await world.person("张三", "zhangsan@jx.example")
    salts = set()
    for name in ("zhangsan@jx.example", "nobody@jx.example", "no address"):
        keys, principal = await proofs.keys(name)
        assert principal is None
        assert (keys.iterations, len(keys.salt)) == (4096, 16)
        assert (await proofs.keys(name))[0] == keys
        salts.add(keys.salt)
    assert len(salts) == 3
    assert (await proofs.keys("NoBody@jx.example"))[0].salt in salts


# -- an LDAP server that goes away --------------------------------------------------------------------------------


async def test_a_stopped_directory_is_unavailable_and_comes_back(world: World) -> None:
    if world.slapd is None:
        return
    person = await world.person("张三", "zhangsan@jx.example")
    questions = (
        lambda: world.directory.resolve(person.primary), lambda: world.directory.resolve(Address.parse("x@jx.example")),
        lambda: world.directory.is_local_domain("jx.example"), lambda: world.directory.credentials(person.primary),
        lambda: world.directory.set_state(person.person_id, PersonState.ACTIVE), lambda: world.person("李四", "lisi@jx.example"),
    )
    world.slapd.stop()
    for question in questions:
        with pytest.raises(DirectoryUnavailable):
            await question()
    world.slapd.start()
    for question in questions:
        await question()
    # And when the connections that lay idle were cut behind our back:
    world.slapd.stop()
    world.slapd.start()
    await asyncio.gather(*(question() for question in questions[:-1]))


async def test_a_hanging_directory_is_unavailable(world: World, slapd: Slapd | None) -> None:
    if slapd is None:
        return
    impatient = make_directory(world.database, slapd, lambda: START, timeout_seconds=1.0)
    assert not (await impatient.resolve(Address.parse("x@jx.example"))).exists
    slapd.pause()
    try:
        answers = await asyncio.gather(*(impatient.resolve(Address.parse(f"x{n}@jx.example")) for n in range(20)), return_exceptions=True)
        assert all(isinstance(answer, DirectoryUnavailable) for answer in answers)
    finally:
        slapd.resume()
    assert not (await impatient.resolve(Address.parse("x@jx.example"))).exists
    await impatient.close()


async def test_a_wrong_service_password_is_unavailable_never_unknown(world: World) -> None:
    if world.slapd is None:
        return
    stranger = LdapDirectory(world.slapd.config(), world.database, password="wrong", limits=LIMITS)
    with pytest.raises(DirectoryUnavailable):
        await stranger.resolve(Address.parse("x@jx.example"))
    await stranger.close()


async def test_a_directory_that_is_not_ours_to_change_stays_as_it_is(world: World) -> None:
    if world.slapd is None:
        return
    person = await world.person("张三", "zhangsan@jx.example")
    reader = LdapDirectory(world.slapd.config(writable=False), world.database, password=world.slapd.password, limits=LIMITS)
    assert (await reader.resolve(person.primary)).exists
    for act in (
        lambda: reader.add_unit(NewUnit("新", "xin", world.city.unit_id, 2)), lambda: reader.remove_person(person.person_id),
        lambda: reader.add_person(NewPerson(world.fgw.unit_id, "李四", Address.parse("lisi@jx.example"))),
        lambda: reader.add_alias(person.person_id, Address.parse("lisi@jx.example")),
    ):
        with pytest.raises(NotPermitted):
            await act()
    assert await world.database.read(ledger.owner, "lisi@jx.example") is None
    await reader.close()


def test_what_slapd_refuses_is_told_without_its_own_words(running_slapd: Slapd) -> None:
    """The reasons that a real slapd gives, in the words for operators; its own stand in `private`."""
    server = Server(running_slapd.url, running_slapd.config().bind_dn, running_slapd.password)
    service, nobody = Link(server), Link(server, dn="", password="")
    suffix = running_slapd.base.partition(",")[2]
    try:
        for link, act, kind, text in (
            (service, lambda link: link.add(f"ou=x,{suffix}", ["organizationalUnit"], {"ou": "x", "noSuchThing": "x"}), BadInput, "an attribute"),
            (service, lambda link: link.add(f"ou=x,{suffix}", ["organizationalUnit"], {"ou": "x", "mail": "x@x.example"}), BadInput, "schema"),
            (service, lambda link: link.add("no name at all", ["organizationalUnit"], {"ou": "x"}), BadInput, "name of the entry"),
            (nobody, lambda link: link.delete(running_slapd.base), NotPermitted, "rights of bind_dn"),
        ):
            with pytest.raises(kind) as caught:
                act(link)
            assert text in caught.value.public
            assert caught.value.private and caught.value.private not in caught.value.public
    finally:
        service.close()
        nobody.close()


async def test_a_password_that_only_slapd_can_check_is_bound(world: World) -> None:
    """A hash of another scheme, or one that the service identity may not read: the server verifies it."""
    if world.slapd is None:
        return
    pool = PasswordPool(cores=1, memory_kib=64, passes=1)
    person = await world.person("张三", "zhangsan@jx.example", password_hash=await pool.hash("correct horse"))
    assert await world.directory.bind(person.person_id, "correct horse")
    assert not await world.directory.bind(person.person_id, "wrong")
    assert not await world.directory.bind(person.person_id, "")
    await pool.close()
