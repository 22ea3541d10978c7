"""Quotas from the operator's command to the mailbox that has no more room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from admin.sizes import parse_quota
from directory.local import LocalDirectory
from directory.model import NewPerson
from directory.passwords import PasswordAuthenticator
from govmail.config import DirectoryTable
from govmail.errors import BadInput
from govmail.jobs.quotas import Quotas
from govmail.mail.address import Address
from govmail.store import accounts
from govmail.store.values import Account
from tests.unit.admin.conftest import NOW, World

GIGA = 1 << 30
ORGAN = "江西省/赣州市/发改委"
ZHANG = "zhangsan@fgw.gz.jx.example"


async def account(world: World, address: str) -> Account:
    person = await world.ctx.directory.person_by_address(Address.parse(address))
    found: Account | None = await world.ctx.database.read(accounts.find, person.person_id)
    assert found is not None
    return found


def with_default(world: World, octets: int) -> DirectoryTable:
    """The configuration names a quota for everybody who has none."""
    table = DirectoryTable(quota_octets=octets)
    world.ctx = replace(world.ctx, config=msgspec.structs.replace(world.ctx.config, directory=table))
    return table


@pytest.mark.parametrize(
    ("text", "octets"),
    [("2G", 2 * GIGA), ("500M", 500 << 20), ("1.5 GB", 3 * GIGA // 2), ("2GiB", 2 * GIGA), ("２Ｇ", 2 * GIGA), ("1t", 1 << 40),
     ("4096", 4096), ("0", 0), ("none", 0), ("不限", 0), ("default", None)],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, octets: int | None) -> None:
    assert parse_quota(text) == octets


@pytest.mark.parametrize("text", ["", "G", "-1G", "2X", "1e9", "2 G G", "0.0", "0.0001", "9999999T", "٢G", "nan", "inf", "2G\n2G", "1" * 400])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadInput):
        parse_quota(text)


async def test_a_quota_given_with_the_person_limits_the_mailbox(world: World) -> None:
    await world.province()
    await world.do("person.add", {"name": "李四", "unit": ORGAN, "quota": "2G"})
    assert (await account(world, "lisi@fgw.gz.jx.example")).quota_octets == 2 * GIGA
    assert (await world.do("person.show", {"person": "lisi@fgw.gz.jx.example"}))["quota_octets"] == 2 * GIGA


async def test_a_changed_quota_holds_at_once_and_is_audited(world: World) -> None:
    await world.province()
    assert await world.do("person.quota", {"person": ZHANG, "size": "500M"}) == {"address": ZHANG, "quota_octets": 500 << 20, "used_octets": 0}
    assert (await account(world, ZHANG)).quota_octets == 500 << 20
    assert (await world.resolver.resolve(Address.parse(ZHANG))).targets[0].quota_octets == 500 << 20
    entry = (await world.audit())[-1]
    assert (entry["act"], entry["target"]) == ("person.quota", ZHANG)
    await world.do("person.quota", {"person": ZHANG, "size": "none"})
    assert (await account(world, ZHANG)).quota_octets is None


async def test_a_dry_run_changes_no_quota(world: World) -> None:
    await world.province()
    before = len(await world.audit())
    assert (await world.do("person.quota", {"person": ZHANG, "size": "1G"}, dry_run=True))["quota_octets"] == GIGA
    assert (await account(world, ZHANG)).quota_octets is None
    assert len(await world.audit()) == before


async def test_a_bad_size_is_bad_input_and_makes_nobody(world: World) -> None:
    await world.province()
    for act, arguments in (("person.quota", {"person": ZHANG, "size": "much"}), ("person.add", {"name": "李四", "unit": ORGAN, "quota": "-2G"})):
        failure = await world.refused(act, arguments)
        assert failure.code == 2
    assert [one["name"] for one in await world.do("person.list")] == ["张三"]


async def test_a_table_may_have_a_quota_in_each_row(world: World) -> None:
    await world.province()
    table = f"name\tunit\tquota\n李四\t{ORGAN}\t2G\n王五\t{ORGAN}\t\n赵六\t{ORGAN}\tviel\n孙七\t{ORGAN}\tnone\n"
    with_default(world, GIGA)
    rows: list[dict[str, Any]] = [
        frame.value for frame in await world.frames("person.add_many", data=table.encode()) if hasattr(frame, "value") and frame.value
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["added", "added", "error", "added"]
    assert "4" in rows[2]["error"] and "quota" in rows[2]["error"]
    limits = [(await account(world, f"{name}@fgw.gz.jx.example")).quota_octets for name in ("lisi", "wangwu", "sunqi")]
    assert limits == [2 * GIGA, GIGA, None]


async def test_whoever_has_no_quota_gets_that_of_the_configuration(world: World) -> None:
    await world.province()
    table = with_default(world, GIGA)
    await world.do("person.add", {"name": "李四", "unit": ORGAN})
    await world.do("person.add", {"name": "王五", "unit": ORGAN, "quota": "0"})
    assert (await account(world, "lisi@fgw.gz.jx.example")).quota_octets == GIGA
    assert (await account(world, "wangwu@fgw.gz.jx.example")).quota_octets is None
    # 张三 was there before there was a default: the job finds that, and a quota that somebody wrote into the directory.
    king = await world.ctx.directory.person_by_address(Address.parse("wangwu@fgw.gz.jx.example"))
    await world.ctx.directory.set_quota(king.person_id, 7)
    job = Quotas(world.ctx.directory, table)
    while await job.copy(world.ctx.database, world.ctx.now):
        pass
    limits = [(await account(world, f"{name}@fgw.gz.jx.example")).quota_octets for name in ("zhangsan", "lisi", "wangwu")]
    assert limits == [GIGA, GIGA, 7]
    await world.do("person.quota", {"person": ZHANG, "size": "3G"})
    assert (await world.do("person.quota", {"person": ZHANG, "size": "default"}))["quota_octets"] == GIGA


async def test_mail_and_login_bring_the_quota_of_somebody_whom_others_put_into_the_directory(world: World) -> None:
    await world.province()
    table = DirectoryTable(quota_octets=GIGA)
    directory = LocalDirectory(world.ctx.database, table, clock=lambda: NOW)
    unit = await directory.unit_by_path(ORGAN)
    for name, quota in (("a", 10), ("b", 0), ("c", None)):
        await directory.add_person(
            NewPerson(unit.unit_id, name, Address.parse(f"{name}@jx.example"), quota_octets=quota, password_hash=await world.ctx.hasher.hash("pw"))
        )
    found = [(await directory.resolve(Address.parse(f"{name}@jx.example"))).targets[0].quota_octets for name in "abc"]
    assert found == [10, None, GIGA]
    authenticator = PasswordAuthenticator(directory, world.ctx.database, world.ctx.hasher, b"k" * 32, table, clock=lambda: NOW)
    assert [(await authenticator.authenticate(f"{name}@jx.example", "pw", "192.0.2.1")).quota_octets for name in "abc"] == [10, None, GIGA]


async def test_used_and_limit_are_shown(world: World) -> None:
    await world.province()
    await world.do("person.quota", {"person": ZHANG, "size": "1G"})
    assert (await world.do("mailbox.list"))[0]["quota_octets"] == GIGA
    assert await world.do("mailbox.usage", {"person": ZHANG}) == {"address": ZHANG, "messages": 0, "used_octets": 0, "quota_octets": GIGA}
