"""Units, people, domains and groups as operators make them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from admin import hostname
from admin.actions.context import Actor
from directory.passwords import PasswordAuthenticator
from filters import dkim
from govmail.config import Config, DirectoryTable
from govmail.errors import AuthenticationBusy, AuthenticationFailed
from govmail.mail.address import Address
from govmail.store import accounts, acl
from govmail.store.rights import ALL
from tests.unit.admin.conftest import ME, NOW, World

ORGAN = "江西省/赣州市/发改委"
STRANGER = Actor("stranger", 65_533, "test")


async def test_a_unit_brings_what_is_missing_above_it(world: World) -> None:
    added = await world.do("unit.add", {"path": ORGAN, "line": "发改"})
    assert added["status"] == "added"
    assert [(one["name"], one["label"], one["level"], one["is_region"]) for one in added["made"]] == [
        ("江西省", "jiangxi", 1, True), ("赣州市", "ganzhou", 2, True), ("发改委", "fgw", 2, False),
    ]  # fmt: skip
    assert (await world.do("unit.add", {"path": ORGAN}))["status"] == "exists"
    assert (await world.do("unit.add", {"path": "jiangxi/ganzhou/fgw"}))["status"] == "exists"


async def test_labels_of_siblings_differ(world: World) -> None:
    await world.do("unit.add", {"path": "江西省/发改委"})
    added = await world.do("unit.add", {"path": "江西省/复工委"})
    assert added["made"][0]["label"] == "fgw2"


@pytest.mark.parametrize("path", ["", "/", "江西省//发改委", "江西省/a\tb", "/".join(["x"] * 40)])
async def test_a_path_that_is_none_is_bad_input(world: World, path: str) -> None:
    failure = await world.refused("unit.add", {"path": path})
    assert failure.code == 2


async def test_unit_list_and_tree_show_parents_before_children(world: World) -> None:
    await world.province()
    assert [one["path"] for one in await world.do("unit.list")] == ["江西省", "江西省/赣州市", ORGAN]
    assert [one["name"] for one in await world.do("unit.list", {"line": "发改"})] == ["发改委"]
    assert [(one["depth"], one["name"]) for one in await world.do("unit.tree", {"unit": "江西省/赣州市"})] == [(0, "赣州市"), (1, "发改委")]
    assert (await world.do("unit.show", {"unit": ORGAN}))["people"] == 1


async def test_lists_of_an_empty_tree_are_empty(world: World) -> None:
    for act in ("unit.list", "unit.tree", "person.list", "group.list", "domain.list", "mailbox.list", "queue.list", "quarantine.list"):
        assert await world.do(act) == []


async def test_a_person_gets_address_mailbox_and_a_password_that_works(world: World) -> None:
    await world.province()
    added = await world.do("person.add", {"name": "李四", "unit": ORGAN})
    assert added["address"] == "lisi@fgw.gz.jx.example"
    assert added["status"] == "added"
    authenticator = PasswordAuthenticator(world.ctx.directory, world.ctx.database, world.ctx.hasher, b"k" * 32, DirectoryTable(), clock=lambda: NOW)
    principal = await authenticator.authenticate("LISI@fgw.gz.jx.example", added["password"], "127.0.0.1")
    assert principal.name == "李四"
    assert await world.ctx.database.read(accounts.find, principal.directory_id) is not None
    mailboxes = await world.do("mailbox.show", {"person": "lisi@fgw.gz.jx.example"})
    assert {one["name"] for one in mailboxes} == {"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"}


async def test_namesakes_get_different_addresses(world: World) -> None:
    await world.province()
    await world.do("unit.add", {"path": "江西省/赣州市/教育局"})
    await world.do("person.add", {"name": "张珊", "unit": ORGAN})
    people = await world.do("person.list")
    assert sorted(one["address"] for one in people) == ["zhangsan@fgw.gz.jx.example", "zhangshan@fgw.gz.jx.example"]
    assert (await world.do("person.add", {"name": "章三", "unit": ORGAN}))["address"] == "zhangsan2@fgw.gz.jx.example"


async def test_adding_the_same_person_again_changes_nothing(world: World) -> None:
    await world.province()
    again = await world.do("person.add", {"name": "张三", "unit": ORGAN, "address": "ZhangSan@fgw.gz.jx.example"})
    assert (again["status"], again["password"]) == ("exists", "")
    failure = await world.refused("person.add", {"name": "章三", "unit": ORGAN, "address": "zhangsan@fgw.gz.jx.example"})
    assert failure.code == 3
    assert "张三" in failure.text


async def test_an_address_needs_a_domain_of_ours(world: World) -> None:
    await world.province()
    failure = await world.refused("person.add", {"name": "李四", "unit": ORGAN, "address": "lisi@elsewhere.example"})
    assert failure.code == 2
    assert "govmail domain add elsewhere.example" in failure.text


@pytest.mark.parametrize("password", ["", "123456", "zhangsan@2008A", "Ab1"])
async def test_a_password_that_is_guessed_first_is_refused(world: World, password: str) -> None:
    await world.province()
    assert (await world.refused("person.passwd", {"person": "zhangsan@fgw.gz.jx.example", "password": password})).code == 2


async def test_disable_ends_logins_and_connections_at_once(world: World) -> None:
    await world.province()
    address = "zhangsan@fgw.gz.jx.example"
    password = (await world.do("person.passwd", {"person": address}))["password"]
    authenticator = PasswordAuthenticator(world.ctx.directory, world.ctx.database, world.ctx.hasher, b"k" * 32, DirectoryTable(), clock=lambda: NOW)
    principal = await authenticator.authenticate(address, password, "127.0.0.1")
    assert (await world.resolver.resolve(Address.parse(address))).exists
    result = await world.do("person.disable", {"person": address})
    assert result == {"address": address, "state": "disabled", "connections": 2}
    assert world.kicked == [principal.directory_id]
    with pytest.raises(AuthenticationFailed):
        await authenticator.authenticate(address, password, "127.0.0.1")
    resolution = await world.resolver.resolve(Address.parse(address))
    assert (resolution.exists, resolution.disabled) == (False, True)
    await world.do("person.enable", {"person": address})
    await authenticator.authenticate(address, password, "127.0.0.1")


@pytest.mark.parametrize("act", ["person.unlock", "person.enable"])
async def test_who_has_mistyped_often_is_let_in_by_an_operator(world: World, act: str) -> None:
    await world.province()
    address = "zhangsan@fgw.gz.jx.example"
    password = (await world.do("person.passwd", {"person": address}))["password"]
    authenticator = PasswordAuthenticator(world.ctx.directory, world.ctx.database, world.ctx.hasher, b"k" * 32, DirectoryTable(), clock=lambda: NOW)
    world.ctx = replace(world.ctx, unlock=authenticator.throttle.clear)
    for number in range(5):
        with pytest.raises(AuthenticationFailed):
            await authenticator.authenticate(address, f"wrong {number}", "192.0.2.1")
    with pytest.raises(AuthenticationBusy):
        await authenticator.authenticate(address, password, "192.0.2.1")
    await world.do(act, {"person": address})
    await authenticator.authenticate(address, password, "192.0.2.1")


async def test_a_suspended_person_still_receives(world: World) -> None:
    await world.province()
    await world.do("person.disable", {"person": "zhangsan@fgw.gz.jx.example", "receive": True})
    assert (await world.resolver.resolve(Address.parse("zhangsan@fgw.gz.jx.example"))).exists
    assert (await world.do("person.show", {"person": "zhangsan@fgw.gz.jx.example"}))["state"] == "suspended"


async def test_a_group_takes_members_from_options_and_input_and_grows(world: World) -> None:
    await world.province()
    await world.do("person.add", {"name": "李四", "unit": ORGAN})
    added = await world.do("group.add", {"address": "all@jx.example", "members": ["zhangsan@fgw.gz.jx.example"]}, data=b"lisi@fgw.gz.jx.example\r\n\n")
    assert (added["status"], added["members"], added["unit"]) == ("added", 2, "江西省")
    grown = await world.do("group.add", {"address": "all@jx.example"}, data=b"someone@elsewhere.example\n")
    assert (grown["status"], grown["members"]) == ("extended", 3)
    kinds = {one["address"]: one["kind"] for one in await world.do("group.show", {"group": "all@jx.example"})}
    assert kinds == {"zhangsan@fgw.gz.jx.example": "person", "lisi@fgw.gz.jx.example": "person", "someone@elsewhere.example": "remote"}
    assert len((await world.resolver.resolve(Address.parse("all@jx.example"))).targets) == 2


async def test_a_bad_member_is_named_with_its_row_and_nothing_is_made(world: World) -> None:
    await world.province()
    failure = await world.refused("group.add", {"address": "all@jx.example"}, data=b"zhangsan@fgw.gz.jx.example\nno address\n")
    assert failure.code == 2
    assert "row 2" in failure.text
    assert await world.do("group.list") == []


async def test_domains_are_added_once(world: World) -> None:
    await world.do("unit.add", {"path": "江西省"})
    assert (await world.do("domain.add", {"domain": "Bench.Test"}))["status"] == "added"
    assert (await world.do("domain.add", {"domain": "bench.test"}))["status"] == "exists"
    assert await world.do("domain.list") == [{"domain": "bench.test", "unit": "江西省"}]
    for bad in ("nodots", "-.example", "a b.example", "[127.0.0.1]"):
        assert (await world.refused("domain.add", {"domain": bad})).code == 2


WRITES = [
    ("unit.add", {"path": "江西省/南昌市"}),
    ("unit.add_many", {}),
    ("person.add", {"name": "王五", "unit": ORGAN}),
    ("person.add_many", {"unit": ORGAN}),
    ("person.passwd", {"person": "zhangsan@fgw.gz.jx.example"}),
    ("person.disable", {"person": "zhangsan@fgw.gz.jx.example"}),
    ("mailbox.capability", {"person": "zhangsan@fgw.gz.jx.example", "off": ["MOVE"]}),
    ("person.enable", {"person": "zhangsan@fgw.gz.jx.example"}),
    ("person.unlock", {"person": "zhangsan@fgw.gz.jx.example"}),
    ("domain.add", {"domain": "new.example"}),
    ("group.add", {"address": "all@jx.example", "members": ["zhangsan@fgw.gz.jx.example"]}),
    ("mailbox.share", {"unit": ORGAN, "keeper": "zhangsan@fgw.gz.jx.example"}),
]
TABLES = {"unit.add_many": "unit\n江西省/九江市\n".encode(), "person.add_many": "name\n王五\n".encode()}


async def test_a_unit_gets_a_mailbox_and_keepers(world: World) -> None:
    await world.province()
    await world.do("person.add", {"name": "李四", "unit": ORGAN})
    first = await world.do("mailbox.share", {"unit": ORGAN, "keeper": "zhangsan@fgw.gz.jx.example"})
    second = await world.do("mailbox.share", {"unit": ORGAN, "keeper": "lisi@fgw.gz.jx.example"})
    assert first["name"] == second["name"] == "".join(ORGAN.split("/")[1:])
    for login in ("zhangsan", "lisi"):
        person = await world.ctx.directory.person_by_address(Address.parse(f"{login}@fgw.gz.jx.example"))
        seen = await world.ctx.database.read(acl.visible, person.person_id, 100)
        assert {(one.shared_name, one.rights) for one in seen} == {(first["name"], ALL)}
        assert "INBOX" in {one.mailbox.name for one in seen}
    taken = await world.refused("mailbox.share", {"unit": "江西省", "keeper": "lisi@fgw.gz.jx.example", "name": first["name"]})
    assert taken.kind == "MailboxExists"
    assert (await world.refused("mailbox.share", {"unit": ORGAN, "keeper": "lisi@fgw.gz.jx.example", "name": "a/b"})).kind == "BadMailboxName"


@pytest.mark.parametrize(("act", "arguments"), WRITES, ids=[act for act, _ in WRITES])
async def test_every_change_is_recorded_and_a_dry_run_is_none(world: World, act: str, arguments: dict[str, object]) -> None:
    await world.province()
    before = await world.audit()
    everything = await snapshot(world)
    await world.do(act, arguments, data=TABLES.get(act, b""), dry_run=True)
    assert await world.audit() == before
    assert await snapshot(world) == everything
    assert world.kicked == []
    await world.do(act, arguments, data=TABLES.get(act, b""))
    [entry] = (await world.audit())[len(before) :]
    assert (entry["act"], entry["result"], entry["actor"], entry["source"]) == (act, "done", ME.name, "test")
    [verified] = await world.do("audit.verify")
    assert verified["whole"]


@pytest.mark.parametrize(("act", "arguments"), WRITES, ids=[act for act, _ in WRITES])
async def test_strangers_are_refused_and_that_is_recorded(world: World, act: str, arguments: dict[str, object]) -> None:
    await world.province()
    everything = await snapshot(world)
    failure = await world.refused(act, arguments, actor=STRANGER, data=TABLES.get(act, b""))
    assert (failure.code, failure.kind) == (3, "NotPermitted")
    assert await snapshot(world) == everything
    last = (await world.audit())[-1]
    assert (last["act"], last["actor"], last["result"]) == (act, "stranger", "refused")


READS = ["unit.list", "unit.tree", "person.list", "domain.list", "group.list", "mailbox.list", "mailbox.count", "queue.list", "quarantine.list", "audit.list", "audit.verify", "doctor"]


@pytest.mark.parametrize("act", READS)
async def test_strangers_may_not_look_either(world: World, act: str) -> None:
    await world.province()
    assert (await world.refused(act, actor=STRANGER)).code == 3


async def test_no_password_reaches_the_audit_trail(world: World) -> None:
    await world.province()
    secret = "Korrekt-Pferd-77"
    generated = (await world.do("person.passwd", {"person": "zhangsan@fgw.gz.jx.example"}))["password"]
    await world.do("person.passwd", {"person": "zhangsan@fgw.gz.jx.example", "password": secret})
    await world.do("person.add_many", {"unit": ORGAN}, data=f"name\tpassword\n王五\t{secret}\n".encode())
    trail = str(await world.audit())
    assert secret not in trail
    assert generated not in trail


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"name": 3, "unit": ORGAN}, "name"), ({"name": "x"}, "unit"), ({"name": "x", "unit": ORGAN, "colour": "red"}, "colour")],
)
async def test_arguments_are_checked_against_the_act(world: World, arguments: dict[str, object], name: str) -> None:
    failure = await world.refused("person.add", arguments)
    assert failure.code == 2
    assert name in failure.text


async def test_an_unknown_act_is_bad_input(world: World) -> None:
    assert (await world.refused("person.explode")).code == 2


async def test_errors_speak_the_language_of_the_request(world: World) -> None:
    await world.province()
    failure = await world.refused("person.add", {"name": "李四", "unit": "江西省/无此地"}, language="zh")
    assert failure.text == "没有单位“江西省/无此地”：请用 govmail unit tree 查看"


async def snapshot(world: World) -> list[object]:
    return [await world.do(act) for act in ("unit.list", "person.list", "domain.list", "group.list", "mailbox.list")]


async def test_a_large_group_is_made_in_pieces(world: World) -> None:
    await world.province()
    table = "name\taddress\tpassword\n" + "".join(f"人{n}\tu{n}@jx.example\tpass\n" for n in range(1200))
    await world.do("person.add_many", {"unit": ORGAN}, data=table.encode())
    members = "".join(f"u{n}@jx.example\n" for n in range(1200)) + "someone@elsewhere.example\n"
    added = await world.do("group.add", {"address": "many@jx.example"}, data=members.encode())
    assert (added["status"], added["members"]) == ("added", 1201)
    assert len((await world.ctx.directory.resolve(Address.parse("many@jx.example"))).targets) == 1200
    assert (await world.do("group.add", {"address": "many@jx.example"}, data=members.encode()))["status"] == "exists"
    wrong = await world.refused("group.add", {"address": "other@jx.example"}, data=(members + "nobody@jx.example\n").encode())
    assert wrong.code == 2
    assert "nobody@jx.example" in wrong.text
    assert [one["address"] for one in await world.do("group.list")] == ["many@jx.example"]


async def test_a_domain_gets_a_key_and_says_what_to_publish(world: World) -> None:
    await world.province()
    keys = dkim.key_dir(world.ctx.data_dir)
    assert {one.name for one in keys.iterdir()} == {"jx.example.govmail.key", "fgw.gz.jx.example.govmail.key"}
    records = {(one["name"], one["type"]): one["value"] for one in await world.do("domain.dns", {"domain": "JX.example"})}
    assert records["jx.example", "MX"] == f"10 {world.ctx.config.hostname}."
    assert records["jx.example", "TXT"].startswith("v=spf1 mx")
    assert records["govmail._domainkey.jx.example", "TXT"].startswith("v=DKIM1; k=rsa; p=MII")
    assert records["_dmarc.jx.example", "TXT"].startswith("v=DMARC1; p=")
    assert (await world.refused("domain.dns", {"domain": "nowhere.example"})).code == 2


@pytest.mark.parametrize("name", ["localhost", "mailserver", "mail.local", "mail.localdomain", "host.internal", "192.0.2.1", "[192.0.2.1]", "", "a..b", "MAIL.Lan"])
def test_a_name_that_others_cannot_find_us_by(name: str) -> None:
    problem = hostname.problem(name)
    assert name in problem
    assert "hostname = " in problem


@pytest.mark.parametrize("name", ["mail.jx.example", "MX1.jx.example", "jx.example", "邮件.江西.example"])
def test_a_name_that_others_find_us_by(name: str) -> None:
    assert hostname.problem(name) == ""


async def test_useless_records_come_with_a_warning(world: World) -> None:
    assert "hostname = " in (await world.do("domain.host"))["problem"]
    world.ctx = replace(world.ctx, config=Config(hostname="mail.jx.example"))
    assert await world.do("domain.host") == {"hostname": "mail.jx.example", "problem": ""}


async def test_a_dry_run_makes_no_key(world: World) -> None:
    await world.do("unit.add", {"path": "江西省", "domain": "jx.example"}, dry_run=True)
    assert not dkim.key_dir(world.ctx.data_dir).exists()
