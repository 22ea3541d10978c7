"""Writes that travel together: each caller gets its own answer, and one caller's trouble is not another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from govmail.errors import Conflict
from govmail.store import accounts, incoming, lease, mailboxes, messages
from govmail.store.database import Database
from govmail.store.incoming import Mail
from govmail.store.values import Delivery, UidRange
from tests.kit.contents import numbered

NOW = 1_800_000_000
ALL: list[UidRange] = [(1, 100)]


class Keeping:
    """Writes a name for each item, refuses "bad", and remembers how many items came at once."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, conn: Connection, items: Sequence[str]) -> list[str]:
        self.calls.append(len(items))
        for name in items:
            lease.take(conn, name, "owner", 10, 0)
        if "bad" in items:
            raise Conflict("bad")
        return [name.upper() for name in items]


async def test_everybody_gets_the_answer_to_their_own_item(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    keep = Keeping()
    answers = await asyncio.gather(*(db.write_together(keep, name) for name in "abcdefgh"))
    assert answers == list("ABCDEFGH")
    assert sum(keep.calls) == 8
    await db.close()


async def test_one_refusal_leaves_the_others_alone(url: str, tmp_path: Path) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    keep = Keeping()
    answers = await asyncio.gather(*(db.write_together(keep, name) for name in ("a", "bad", "c", "d")), return_exceptions=True)
    assert [answers[0], answers[2], answers[3]] == ["A", "C", "D"]
    assert isinstance(answers[1], Conflict)
    assert await db.write(lease.take, "bad", "another", 10, 0)  # nothing of it was stored
    assert not await db.write(lease.take, "c", "another", 10, 0)
    await db.close()


async def test_mails_of_one_moment_for_the_same_and_other_people(url: str, tmp_path: Path) -> None:
    """Equal and different contents, a person with two mails, one with a full mailbox, one whose account is new."""
    db = Database.open(url, data_dir=tmp_path, durable=False)
    full = await db.write(accounts.ensure, "full", now=NOW)
    await db.write(accounts.set_quota, "full", 10)
    mails = [
        Mail(numbered(1), [Delivery("li", "li@jx.example"), Delivery("full", "full@jx.example")], NOW, NOW),
        Mail(numbered(2), [Delivery("li", "li@jx.example", mailbox="Junk")], NOW + 1, NOW),
        Mail(numbered(1), [Delivery("wang", "wang@jx.example")], NOW, NOW),
        Mail(numbered(3), [Delivery("full", "full@jx.example")], NOW, NOW),
    ]
    [first, second, third, fourth] = await db.write(incoming.deliver_all, mails)
    assert [one.error for one in (*first, *second, *third, *fourth)] == [None, "OverQuota", None, None, "OverQuota"]
    inbox = await db.read(messages.rows, first[0].account_id, first[0].mailbox_id, ALL)
    junk = await db.read(messages.rows, second[0].account_id, second[0].mailbox_id, ALL)
    others = await db.read(messages.rows, third[0].account_id, third[0].mailbox_id, ALL)
    assert [(one.uid, one.internal_date) for one in inbox] == [(1, NOW)]
    assert [(one.uid, one.internal_date) for one in junk] == [(1, NOW + 1)]
    assert [one.content_id for one in others] == [inbox[0].content_id]  # equal octets, one content
    assert first[0].mailbox_id != second[0].mailbox_id
    li = await db.read(accounts.find, "li")
    assert li is not None
    assert li.used_messages == 2
    assert li.used_octets == inbox[0].size + junk[0].size
    assert [one.messages for one in await db.read(mailboxes.list_all, full.account_id)] == [0] * 6
    assert await db.read(mailboxes.count_messages) == 3
    await db.close()


@pytest.mark.parametrize("count", [2, 40, 130])
async def test_any_number_of_mails(url: str, tmp_path: Path, count: int) -> None:
    db = Database.open(url, data_dir=tmp_path, durable=False)
    mails = [Mail(numbered(number), [Delivery(f"p{number % 7}", "x@jx.example")], NOW, NOW) for number in range(count)]
    done = await db.write(incoming.deliver_all, mails)
    places = {(one.account_id, one.mailbox_id, one.uid) for [one] in done}
    assert len(places) == count
    assert await db.read(mailboxes.count_messages) == count
    await db.close()
