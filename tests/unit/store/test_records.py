"""Quarantine, audit, ledger, leases, remembered logins."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from govmail.errors import Conflict, NotFound
from govmail.mail.envelope import Notify
from govmail.store import audit, lease, ledger, logins, quarantine
from govmail.store.database import Database
from govmail.store.values import HeldRecipient, NewQuarantineItem, QuarantineItem
from tests.kit.contents import numbered

NOW = 1_800_000_000


# -- quarantine -----------------------------------------------------------------------------------------------------


def hold(db: Database, queue_id: str, *recipients: tuple[str, str | None], number: int = 1) -> int:
    item = NewQuarantineItem(queue_id, "spam", NOW + 100, "a@b.example", "发票", '{"s":1}', "{}", "[]")
    held = [HeldRecipient(address, f"id-{address}", unit, Notify.FAILURE, None) for address, unit in recipients]
    return db.run_write(quarantine.hold, numbered(number), item, held, now=NOW)


def addresses(item: QuarantineItem) -> list[str]:
    return [one.address for one in item.recipients]


def test_reviewers_see_their_units_only(db: Database) -> None:
    both = hold(db, "q1", ("li@jx.example", "north"), ("wang@jx.example", "south"), ("x@far.example", None))
    south = hold(db, "q2", ("zhao@jx.example", "south"), number=2)
    [seen] = db.run_read(quarantine.list_page, state="held", unit_ids=["north"], limit=10)
    assert (seen.item_id, addresses(seen), seen.subject) == (both, ["li@jx.example"], "发票")
    assert [one.item_id for one in db.run_read(quarantine.list_page, state=None, unit_ids=None, limit=10)] == [south, both]
    assert [one.item_id for one in db.run_read(quarantine.list_page, state=None, unit_ids=None, before=south, limit=10)] == [both]
    assert db.run_read(quarantine.list_page, state="held", unit_ids=[], limit=10) == []
    assert len(db.run_read(quarantine.show, both).recipients) == 3
    with pytest.raises(NotFound):
        db.run_read(quarantine.show, south, unit_ids=["north"])


def test_each_recipient_is_settled_once(db: Database) -> None:
    item = hold(db, "q1", ("li@jx.example", "north"), ("wang@jx.example", "south"))
    assert db.run_write(quarantine.mark, item, ["li@jx.example", "no@jx.example"], "released", "op-1", NOW + 1) == ["li@jx.example"]
    assert db.run_write(quarantine.mark, item, ["li@jx.example", "wang@jx.example"], "deleted", "op-2", NOW + 2) == ["wang@jx.example"]
    states = {one.address: (one.state, one.actor, one.acted) for one in db.run_read(quarantine.show, item).recipients}
    assert states == {"li@jx.example": ("released", "op-1", NOW + 1), "wang@jx.example": ("deleted", "op-2", NOW + 2)}
    assert db.run_read(quarantine.list_page, state="held", unit_ids=None, limit=10) == []
    with pytest.raises(NotFound):
        db.run_write(quarantine.mark, 999, ["li@jx.example"], "released", "op-1", NOW)


async def test_of_two_reviewers_one_wins(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    item = await asyncio.to_thread(hold, db, "q1", ("li@jx.example", "north"))
    acts = [db.write(quarantine.mark, item, ["li@jx.example"], "released", f"op-{number}", NOW) for number in range(6)]
    assert sorted(map(len, await asyncio.gather(*acts))) == [0, 0, 0, 0, 0, 1]
    await db.close()


def test_held_mail_expires(db: Database) -> None:
    item = hold(db, "q1", ("li@jx.example", "north"))
    assert db.run_write(quarantine.expire, NOW + 99) == 0
    assert db.run_write(quarantine.expire, NOW + 100) == 1
    with pytest.raises(NotFound):
        db.run_read(quarantine.show, item)


# -- audit ----------------------------------------------------------------------------------------------------------


def act(db: Database, number: int) -> int:
    return db.run_write(
        audit.append, at=NOW + number, actor="op", source="cli", act="person.add", target="王", result="ok", detail={"b": number, "a": "值"}
    )


def test_the_chain_holds_and_counts(db: Database) -> None:
    assert [act(db, number) for number in range(5)] == [1, 2, 3, 4, 5]
    assert db.run_read(audit.verify) is None
    page = db.run_read(audit.entries, 1, 2)
    assert [one.seq for one in page] == [2, 3]
    assert page[0].detail == '{"a":"值","b":1}'
    assert page[1].previous == page[0].digest
    assert db.run_read(audit.count) == 5


@pytest.mark.parametrize(
    ("tampering", "first_bad"),
    [
        ("UPDATE audit SET result = 'no' WHERE seq = 3", 3),
        ("UPDATE audit SET at = at + 1 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET digest = previous WHERE seq = 4", 4),
        ("UPDATE audit SET detail = '{}' WHERE seq = 5", 5),
    ],
)
def test_tampering_is_found(db: Database, tampering: str, first_bad: int) -> None:
    for number in range(5):
        act(db, number)
    db.run_write(lambda conn: conn.execute(text(tampering)).close())
    assert db.run_read(audit.verify) == first_bad


async def test_acts_at_the_same_time_make_one_chain(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    acts = [
        db.write(audit.append, at=NOW, actor="op", source="cli", act="x", target=str(number), result="ok", detail={})
        for number in range(30)
    ]
    assert sorted(await asyncio.gather(*acts)) == list(range(1, 31))
    assert await db.read(audit.verify) is None
    await db.close()


# -- ledger ---------------------------------------------------------------------------------------------------------


def test_an_address_is_not_given_to_another_within_the_term(db: Database) -> None:
    db.run_write(ledger.issue, "li@jx.example", "li", NOW)
    db.run_write(ledger.issue, "li@jx.example", "li", NOW)
    with pytest.raises(Conflict):
        db.run_write(ledger.issue, "li@jx.example", "other", NOW)
    db.run_write(ledger.release, "li@jx.example", NOW + 10)
    with pytest.raises(Conflict):
        db.run_write(ledger.issue, "li@jx.example", "other", NOW + 9 + ledger.TERM_SECONDS)
    db.run_write(ledger.issue, "li@jx.example", "li", NOW + 20)
    db.run_write(ledger.release, "li@jx.example", NOW + 30)
    db.run_write(ledger.issue, "li@jx.example", "other", NOW + 30 + ledger.TERM_SECONDS)
    assert db.run_read(ledger.owner, "li@jx.example") == "other"
    assert db.run_read(ledger.owner, "no@jx.example") is None


def test_many_are_issued_at_once(db: Database) -> None:
    db.run_write(ledger.issue, "b@jx.example", "other", NOW)
    pairs = [("a@jx.example", "p1"), ("b@jx.example", "p2"), ("c@jx.example", "p3"), ("c@jx.example", "p4")]
    assert db.run_write(ledger.issue_many, pairs, NOW) == {"b@jx.example", "c@jx.example"}
    assert db.run_read(ledger.owners, ["a@jx.example", "b@jx.example", "c@jx.example"]) == {
        "a@jx.example": ("p1", None), "b@jx.example": ("other", None), "c@jx.example": ("p3", None),
    }  # fmt: skip
    assert db.run_read(ledger.count) == 3


# -- leases and logins ----------------------------------------------------------------------------------------------


def test_a_lease_has_one_owner(db: Database) -> None:
    assert db.run_write(lease.take, "collect", "one", NOW + 60, NOW)
    assert not db.run_write(lease.take, "collect", "two", NOW + 70, NOW + 59)
    assert db.run_write(lease.take, "collect", "one", NOW + 90, NOW + 30)
    assert not db.run_write(lease.take, "collect", "two", NOW + 200, NOW + 80)
    assert db.run_write(lease.take, "collect", "two", NOW + 200, NOW + 90)
    db.run_write(lease.release, "collect", "one")
    assert not db.run_write(lease.take, "collect", "one", NOW + 300, NOW + 100)
    db.run_write(lease.release, "collect", "two")
    assert db.run_write(lease.take, "collect", "one", NOW + 300, NOW + 100)


def test_logins_are_remembered_and_forgotten(db: Database) -> None:
    assert db.run_read(logins.recall, "li") is None
    db.run_write(logins.remember, "li", b"m" * 32, NOW)
    db.run_write(logins.remember, "li", b"n" * 32, NOW + 1)
    assert db.run_read(logins.recall, "li") == (b"n" * 32, NOW + 1)
    db.run_write(logins.forget, "li")
    assert db.run_read(logins.recall, "li") is None
    db.run_write(logins.remember, "li", b"m" * 32, NOW)
    assert db.run_write(logins.expire, NOW + 1) == 1
