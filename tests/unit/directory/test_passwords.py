"""Passwords: what is accepted, what is remembered, and what a login costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from directory import passwords
from directory.model import Credentials, DirectoryService, Person
from directory.passwords import PasswordAuthenticator, PasswordPool
from govmail.config import BadConfig, DirectoryTable, Limits
from govmail.errors import AuthenticationBusy, AuthenticationFailed, BadInput, DirectoryUnavailable
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.store.database import Database

ZHANG = Person("0b9d4dd2-1111-4111-8111-111111111111", "unit", "张三", (Address.parse("zhangsan@jx.example"),), stamp="s1")


class Directory:
    """One person; counts what it is asked."""

    def __init__(self, password_hash: str) -> None:
        self.found: Credentials | None = Credentials(ZHANG, password_hash)
        self.asked = 0
        self.bound: list[str] = []
        self.away = False

    async def credentials(self, address: Address) -> Credentials | None:
        self.asked += 1
        if self.away:
            raise DirectoryUnavailable
        return self.found if address.key == ZHANG.primary.key else None

    async def bind(self, person_id: str, password: str) -> bool:
        self.bound.append(password)
        return password == "bound secret"


class CountingPool(PasswordPool):
    """The real pool; says how often it was asked to verify."""

    verified = 0

    async def verify(self, password: str, encoded: str) -> bool:
        self.verified += 1
        return await super().verify(password, encoded)


class World:
    def __init__(self, database: Database, pool: CountingPool, directory: Directory) -> None:
        self.database, self.pool, self.directory = database, pool, directory
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.login = self.authenticator(b"k" * 32)

    def authenticator(self, key: bytes) -> PasswordAuthenticator:
        directory = cast(DirectoryService, self.directory)
        return PasswordAuthenticator(directory, self.database, self.pool, key, DirectoryTable(), clock=lambda: self.now)

    async def try_login(self, password: str = "correct horse") -> str:
        return (await self.login.authenticate("zhangsan@jx.example", password, "192.0.2.1")).directory_id


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database.open("sqlite://", data_dir=tmp_path)
    pool = CountingPool(cores=2, memory_kib=64, passes=1)
    yield World(database, pool, Directory(await pool.hash("correct horse")))
    await pool.close()
    await database.close()


async def test_a_verified_login_spares_the_slow_hash_for_a_day(world: World) -> None:
    for _ in range(3):
        assert await world.try_login() == ZHANG.person_id
    assert world.pool.verified == 1
    world.now += timedelta(hours=24, seconds=1)
    await world.try_login()
    assert world.pool.verified == 2


async def test_the_memory_outlives_the_process_but_not_the_key(world: World) -> None:
    await world.try_login()
    world.login = world.authenticator(b"k" * 32)
    await world.try_login()
    assert world.pool.verified == 1
    world.login = world.authenticator(b"x" * 32)
    await world.try_login()
    assert world.pool.verified == 2


@pytest.mark.parametrize("field", ["stamp", "unit_id"])
async def test_the_memory_ends_with_a_change_of_stamp_or_unit(world: World, field: str) -> None:
    await world.try_login()
    assert world.directory.found
    changed = Person(**{**{name: getattr(ZHANG, name) for name in Person.__slots__}, field: "other"})
    world.directory.found = Credentials(changed, world.directory.found.password_hash)
    await world.try_login()
    assert world.pool.verified == 2


async def test_a_new_hash_ends_the_memory_even_with_the_old_stamp(world: World) -> None:
    """Somebody else changed the password in the LDAP server."""
    await world.try_login()
    world.directory.found = Credentials(ZHANG, await world.pool.hash("new horse"))
    with pytest.raises(AuthenticationFailed):
        await world.try_login("correct horse")
    assert await world.try_login("new horse")


async def test_a_wrong_password_is_never_remembered(world: World) -> None:
    await world.try_login()
    for _ in range(2):
        with pytest.raises(AuthenticationFailed):
            await world.try_login("wrong")
    assert world.pool.verified == 3
    await world.try_login()
    assert world.pool.verified == 3


@pytest.mark.parametrize("password", ["", "\0", "correct horse\0", "x" * 5000, "\ud800"])
async def test_what_is_no_password_is_refused_before_the_directory_is_asked(world: World, password: str) -> None:
    with pytest.raises(AuthenticationFailed):
        await world.try_login(password)
    assert world.directory.asked == 0 and world.directory.bound == []


@pytest.mark.parametrize("state", [PersonState.SUSPENDED, PersonState.DISABLED, None])
async def test_whoever_cannot_log_in_costs_as_much_as_a_wrong_password(world: World, state: PersonState | None) -> None:
    await world.try_login()
    assert world.directory.found
    if state is None:
        world.directory.found = None
    else:
        gone = Person(**{**{name: getattr(ZHANG, name) for name in Person.__slots__}, "state": state})
        world.directory.found = Credentials(gone, world.directory.found.password_hash)
    with pytest.raises(AuthenticationFailed):
        await world.try_login()
    assert world.pool.verified == 2


async def test_a_hash_that_cannot_be_read_is_checked_by_the_directory(world: World) -> None:
    world.directory.found = Credentials(ZHANG, "")
    with pytest.raises(AuthenticationFailed):
        await world.try_login("wrong")
    assert await world.try_login("bound secret") == ZHANG.person_id
    assert world.directory.bound == ["wrong", "bound secret"] and world.pool.verified == 0


async def test_an_unreachable_directory_says_nothing_about_the_password(world: World) -> None:
    await world.try_login()
    world.directory.away = True
    with pytest.raises(DirectoryUnavailable):
        await world.try_login()


@pytest.mark.parametrize(
    "encoded", ["rubbish", "$argon2id$v=19$m=999999999,t=2,p=1$c29tZXNhbHQ$aGFzaA", "$argon2id$v=19$m=64,t=4000000000,p=1$c29tZXNhbHQ$aGFzaA", "{SSHA}x"]
)
async def test_an_odd_or_ruinous_hash_verifies_nothing(world: World, encoded: str) -> None:
    world.directory.found = Credentials(ZHANG, encoded)
    with pytest.raises(AuthenticationFailed):
        await world.try_login()


async def test_a_full_queue_is_busy_and_not_wrong() -> None:
    pool = PasswordPool(limits=Limits(login_queue=4), cores=1, memory_kib=1024, passes=1)
    encoded = await pool.hash("correct horse")
    answers = await asyncio.gather(*(pool.verify("correct horse", encoded) for _ in range(12)), return_exceptions=True)
    assert answers.count(True) == 4
    assert sum(isinstance(answer, AuthenticationBusy) for answer in answers) == 8
    assert await pool.verify("correct horse", encoded)
    await pool.close()


async def test_equal_passwords_have_different_hashes_and_an_import_leaves_room_for_logins() -> None:
    pool = PasswordPool(limits=Limits(login_queue=3), cores=2, memory_kib=64, passes=1)
    seen: list[tuple[int, int | None]] = []
    hashes, login = await asyncio.gather(
        pool.hash_many(["pass"] * 40, lambda done, total: seen.append((done, total))), pool.verify("x", await pool.hash("x"))
    )
    assert len(set(hashes)) == 40 and login
    assert seen[-1] == (40, 40)
    assert await pool.verify("pass", hashes[17])
    await pool.close()


async def test_the_cost_is_what_it_should_be() -> None:
    pool = PasswordPool(cores=1)
    assert (await pool.hash("x")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await pool.close()


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "login.key"
    key = passwords.load_key(path)
    assert len(key) == passwords.KEY_OCTETS and passwords.load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(BadConfig):
        passwords.load_key(path)


def test_generated_passwords_are_strong_and_different() -> None:
    made = {passwords.generate() for _ in range(200)}
    assert len(made) == 200
    for one in made:
        passwords.check_strength(one)
        assert set(one) <= set(passwords.ALPHABET) | {"-"}
    assert len(passwords.ALPHABET) ** (passwords.GROUPS * passwords.GROUP_LENGTH) >= 2**80


@pytest.mark.parametrize(
    "password",
    ["123456", "Hello1234", "Aa123456", "abc123!@#", "password", "zhangsan@2008", "ZhangSan_1985", "fgw123FGW!", "1qaz2wsx", "aaaaAAAA1111", "Short1!", "onlysmall"],
)
def test_passwords_that_are_tried_first_are_refused(password: str) -> None:
    with pytest.raises(BadInput):
        passwords.check_strength(password, names=("zhangsan", "fgw"))


@pytest.mark.parametrize("password", ["Korb-7haus", "vier kleine rote esel", "三只老虎Tiger7", "k7mq-3fzx-w2pa-9hdc"])
def test_good_passwords_pass(password: str) -> None:
    passwords.check_strength(password, names=("zhangsan", "fgw"))


async def test_guessing_is_refused_for_a_while_whether_the_name_exists_or_not(world: World) -> None:
    for name in ("zhangsan@jx.example", "nobody@jx.example"):
        for number in range(5):
            with pytest.raises(AuthenticationFailed):
                await world.login.authenticate(name, f"wrong {number}", "192.0.2.1")
        verified = world.pool.verified
        with pytest.raises(AuthenticationBusy):
            await world.login.authenticate(name, "correct horse battery", "192.0.2.1")
        assert world.pool.verified == verified
    world.now += timedelta(seconds=900)
    with pytest.raises(AuthenticationFailed):
        await world.login.authenticate("nobody@jx.example", "wrong again", "192.0.2.1")
