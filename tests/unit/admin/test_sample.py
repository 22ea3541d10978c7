"""The sample tree: built once, finished after an interruption, with logins that work."""

from __future__ import annotations

from admin import sample
from directory.passwords import PasswordAuthenticator
from govmail.config import DirectoryTable
from govmail.mail.address import Address
from tests.unit.admin.conftest import NOW, World


async def build(world: World, progress: sample.Progress | None = None) -> sample.Sample | None:
    return await sample.build(world.ctx, "small", progress)


async def test_a_small_province_with_people_who_can_log_in(world: World) -> None:
    steps: list[tuple[int, int]] = []
    built = await build(world, lambda done, total: steps.append((done, total)))
    assert built is not None
    assert (built.units, built.people, len(built.logins)) == (26, 50, 50)
    assert steps[-1] == (76, 76)
    assert built.path.stat().st_mode & 0o777 == 0o600
    header, first, *_ = built.path.read_text("utf-8").splitlines()
    assert header.split("\t") == ["address", "password", "name", "unit"]
    address, password, name, unit = first.split("\t")
    authenticator = PasswordAuthenticator(world.ctx.directory, world.ctx.database, world.ctx.hasher, b"k" * 32, DirectoryTable(), clock=lambda: NOW)
    assert (await authenticator.authenticate(address, password, "127.0.0.1")).name == name
    assert (await world.do("unit.show", {"unit": unit}))["people"] > 0


async def test_everybody_and_the_postmaster_can_be_reached(world: World) -> None:
    await build(world)
    assert len((await world.ctx.directory.resolve(sample.EVERYBODY)).targets) == 50
    assert (await world.ctx.directory.resolve(Address.parse("postmaster@fgw.ganzhou.jx.example"))).exists


async def test_it_is_built_once(world: World) -> None:
    built = await build(world)
    assert built is not None
    before = built.path.read_bytes()
    assert await build(world) is None
    assert built.path.read_bytes() == before


async def test_a_tree_of_somebodys_own_is_left_alone(world: World) -> None:
    await world.province()
    assert await build(world) is None
    assert not (world.ctx.data_dir / sample.LOGINS_FILE).exists()


async def test_an_interrupted_build_is_finished(world: World) -> None:
    class Interrupted(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 26:
            raise Interrupted

    try:
        await build(world, stop)
    except Interrupted:
        pass
    built = await build(world)
    assert built is not None
    counts = await world.ctx.directory.counts()
    assert (counts.units, counts.people) == (26, 50)
    authenticator = PasswordAuthenticator(world.ctx.directory, world.ctx.database, world.ctx.hasher, b"k" * 32, DirectoryTable(), clock=lambda: NOW)
    for login in (built.logins[0], built.logins[-1]):
        await authenticator.authenticate(login.address, login.password, "127.0.0.1")


async def test_the_whole_province_has_all_units_and_the_same_few_people(world: World) -> None:
    steps: list[tuple[int, int]] = []
    built = await sample.build(world.ctx, "province", lambda done, total: steps.append((done, total)))
    assert built is not None
    assert (built.units, built.people, len(built.logins)) == (9512, 50, 50)
    assert len(steps) > 5  # somebody watches a bar
    assert steps[-1] == (9562, 9562)
