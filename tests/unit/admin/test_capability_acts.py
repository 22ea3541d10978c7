"""Operators switch IMAP capabilities off for one person, and on again."""

from __future__ import annotations

from tests.unit.admin.conftest import World

ZHANG = "zhangsan@fgw.gz.jx.example"


async def test_off_and_on(world: World) -> None:
    await world.province()
    assert await world.do("mailbox.capability", {"person": ZHANG}) == {"address": ZHANG, "off": (), "gone": ()}
    before = len(await world.audit())
    answer = await world.do("mailbox.capability", {"person": ZHANG, "off": ["condstore", "MOVE"]})
    assert answer == {"address": ZHANG, "off": ("CONDSTORE", "MOVE"), "gone": ("CONDSTORE", "IMAP4rev2", "MOVE", "QRESYNC")}
    entry = (await world.audit())[-1]
    assert (entry["act"], entry["target"], entry["result"]) == ("mailbox.capability", ZHANG, "done")
    assert entry["detail"]["off"] == ["CONDSTORE", "MOVE"]
    assert (await world.do("mailbox.capability", {"person": ZHANG, "on": ["MOVE"]}))["off"] == ("CONDSTORE",)
    assert (await world.do("mailbox.capability", {"person": ZHANG}))["off"] == ("CONDSTORE",)
    assert len(await world.audit()) == before + 2


async def test_a_dry_run_changes_nothing(world: World) -> None:
    await world.province()
    before = await world.audit()
    answer = await world.do("mailbox.capability", {"person": ZHANG, "off": ["IDLE"]}, dry_run=True)
    assert answer["off"] == ("IDLE",)
    assert (await world.do("mailbox.capability", {"person": ZHANG}))["off"] == ()
    assert await world.audit() == before


async def test_what_cannot_be_switched_off(world: World) -> None:
    await world.province()
    for names in (["IMAP4rev1"], ["STARTTLS"], ["MOVE", "NONSENSE"]):
        failure = await world.refused("mailbox.capability", {"person": ZHANG, "off": names})
        assert (failure.code, failure.kind) == (2, "BadInput")
        assert names[-1] in failure.text
    assert (await world.refused("mailbox.capability", {"person": ZHANG, "off": ["MOVE"], "on": ["move"]})).code == 2
    assert (await world.refused("mailbox.capability", {"person": "nobody@jx.example", "off": ["MOVE"]})).code == 2
    assert (await world.do("mailbox.capability", {"person": ZHANG}))["off"] == ()
