"""One account against a small reference: random acts, the same mailboxes; a session that follows by `changes.since` converges."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, make_url

from govmail.store import (
    accounts,
    changes,
    collect,
    incoming,
    mailboxes,
    messages,
    migrate,
    postgres,
    sqlite,
)
from govmail.store.values import Delivery, Flag, UidRange
from tests.kit.contents import numbered

NOW = 1_800_000_000
SEEN, DELETED = int(Flag.SEEN), int(Flag.DELETED)
CONTENTS = [numbered(number) for number in range(4)]

uids = st.integers(1, 12)
ranges = st.lists(st.tuples(uids, st.integers(0, 3)), min_size=1, max_size=3).map(
    lambda pairs: changes.merge((first, first + more) for first, more in pairs)
)
flags = st.integers(0, 31)


@dataclass
class Box:
    """A mailbox as it should be: uid -> (number of its content, flags)."""

    mailbox_id: int
    name: str
    uid_next: int = 1
    messages: dict[int, tuple[int, int]] = field(default_factory=dict)

    def chosen(self, wanted: list[UidRange]) -> list[int]:
        return sorted(uid for uid in self.messages if any(first <= uid <= last for first, last in wanted))

    def add(self, number: int, its_flags: int) -> None:
        self.messages[self.uid_next] = (number, its_flags)
        self.uid_next += 1


@dataclass
class Follower:
    """What a client knows that asks `since` now and then."""

    modseq: int = 0
    uid_next: int = 1
    flags: dict[int, int] = field(default_factory=dict)


class OneAccount(RuleBasedStateMachine):
    """Acts on the store and on the reference alike."""

    boxes = Bundle("boxes")

    def __init__(self, conn: Connection) -> None:
        super().__init__()
        self.conn = conn
        self.transaction = conn.begin()
        self.savepoint = conn.exec_driver_sql("SAVEPOINT example")
        self.account_id = accounts.ensure(conn, "li", now=NOW).account_id
        self.reference: dict[int, Box] = {
            one.mailbox_id: Box(one.mailbox_id, one.name) for one in mailboxes.list_all(conn, self.account_id) if one.name in ("INBOX", "Trash")
        }
        self.followers: dict[int, Follower] = {one: Follower() for one in self.reference}
        self.names = 0

    def teardown(self) -> None:
        self.conn.exec_driver_sql("ROLLBACK TO SAVEPOINT example")
        self.transaction.rollback()

    @initialize(target=boxes, marks=st.lists(flags, min_size=5, max_size=8))
    def inbox(self, marks: list[int]) -> Box:
        for number, its_flags in enumerate(marks):
            self.deliver(self.reference[1], number % 4, its_flags)
        self.follow(self.reference[1])
        return self.reference[1]

    @initialize(target=boxes)
    def trash(self) -> Box:
        return next(one for one in self.reference.values() if one.name == "Trash")

    @rule(box=boxes, number=st.integers(0, 3), its_flags=flags)
    def deliver(self, box: Box, number: int, its_flags: int) -> None:
        [done] = incoming.deliver(
            self.conn, CONTENTS[number], [Delivery("li", "li@jx.example", box.name, its_flags)], internal_date=NOW, now=NOW
        )
        assert (done.mailbox_id, done.uid) == (box.mailbox_id, box.uid_next)
        box.add(number, its_flags)

    @rule(box=boxes, wanted=ranges, op=st.sampled_from(["set", "add", "remove"]), bits=flags)
    def store(self, box: Box, wanted: list[UidRange], op: str, bits: int) -> None:
        changed = messages.store_flags(self.conn, self.account_id, box.mailbox_id, wanted, op, bits, [])  # type: ignore[arg-type]
        for uid in box.chosen(wanted):
            number, old = box.messages[uid]
            box.messages[uid] = (number, {"set": bits, "add": old | bits, "remove": old & ~bits}[op])
        assert [(one.uid, one.flags) for one in changed] == [(uid, box.messages[uid][1]) for uid in box.chosen(wanted)]

    @rule(source=boxes, into=boxes, wanted=ranges)
    def copy(self, source: Box, into: Box, wanted: list[UidRange]) -> None:
        messages.copy(self.conn, self.account_id, source.mailbox_id, wanted, self.account_id, into.mailbox_id, now=NOW)
        for number, old in [source.messages[uid] for uid in source.chosen(wanted)]:
            into.add(number, old)

    @rule(source=boxes, into=boxes, wanted=ranges)
    def move(self, source: Box, into: Box, wanted: list[UidRange]) -> None:
        messages.move(self.conn, self.account_id, source.mailbox_id, wanted, self.account_id, into.mailbox_id, now=NOW)
        for uid in source.chosen(wanted):
            into.add(*source.messages.pop(uid))

    @rule(box=boxes, wanted=st.none() | ranges)
    def expunge(self, box: Box, wanted: list[UidRange] | None) -> None:
        gone = messages.expunge(self.conn, self.account_id, box.mailbox_id, wanted, now=NOW)
        expected = [uid for uid in box.chosen(wanted or [(1, 10**6)]) if box.messages[uid][1] & DELETED]
        assert gone == changes.compressed(expected)
        for uid in expected:
            del box.messages[uid]

    @precondition(lambda self: len(self.reference) < 4)
    @rule(target=boxes)
    def create(self) -> Box:
        self.names += 1
        made = mailboxes.create(self.conn, self.account_id, f"box-{self.names}", now=NOW)
        box = self.reference[made.mailbox_id] = Box(made.mailbox_id, made.name)
        self.followers[made.mailbox_id] = Follower()
        return box

    @rule(target=boxes, box=boxes)
    def rename(self, box: Box) -> Box | MultipleResults[Box]:
        self.names += 1
        new = f"box-{self.names}"
        mailboxes.rename(self.conn, self.account_id, box.name, new, now=NOW)
        if box.mailbox_id != accounts.INBOX_ID:
            box.name = new
            return multiple()
        made = mailboxes.get(self.conn, self.account_id, new)
        moved = self.reference[made.mailbox_id] = Box(made.mailbox_id, new, box.uid_next, box.messages)
        self.followers[made.mailbox_id] = Follower()
        box.messages = {}
        return moved

    @rule(box=consumes(boxes))
    def delete(self, box: Box) -> None:
        if box.mailbox_id == accounts.INBOX_ID or box.mailbox_id not in self.reference:
            return
        mailboxes.delete(self.conn, self.account_id, box.name, now=NOW)
        assert changes.since(self.conn, self.account_id, box.mailbox_id, 1, 1).gone
        del self.reference[box.mailbox_id], self.followers[box.mailbox_id]
        # Acts on a box that other names of it may still reach make it anew.
        made = mailboxes.create(self.conn, self.account_id, box.name, now=NOW)
        assert made.mailbox_id not in self.reference
        box.mailbox_id, box.uid_next, box.messages = made.mailbox_id, 1, {}
        box.name = made.name
        self.reference[made.mailbox_id], self.followers[made.mailbox_id] = box, Follower()

    @rule()
    def forget_history(self) -> None:
        collect.history(self.conn, after=0, upto=self.account_id, now=NOW + collect.HISTORY_SECONDS + 1)

    @rule()
    def follow_all(self) -> None:
        for box in self.reference.values():
            self.follow(box)

    def follow(self, box: Box) -> None:
        """A client that applies the answer has what is there."""
        known = self.followers[box.mailbox_id]
        told = changes.since(self.conn, self.account_id, box.mailbox_id, known.modseq, known.uid_next)
        for first, last in told.vanished:
            for uid in [uid for uid in known.flags if first <= uid <= last]:
                del known.flags[uid]
        for one in (*told.flags, *told.arrived):
            known.flags[one.uid] = one.flags
        known.modseq, known.uid_next = told.modseq, told.uid_next
        assert known.flags == {uid: its_flags for uid, (_, its_flags) in box.messages.items()}
        assert known.uid_next == box.uid_next

    @invariant()
    def the_store_is_as_the_reference(self) -> None:
        octets = total = 0
        for one in mailboxes.list_all(self.conn, self.account_id):
            box = self.reference.get(one.mailbox_id)
            its = box.messages if box else {}
            rows = messages.rows(self.conn, self.account_id, one.mailbox_id, None)
            assert {row.uid: row.flags for row in rows} == {uid: its_flags for uid, (_, its_flags) in its.items()}
            assert (one.messages, one.octets) == (len(rows), sum(row.size for row in rows))
            assert one.unseen == sum(1 for row in rows if not row.flags & SEEN)
            assert one.deleted == sum(1 for row in rows if row.flags & DELETED)
            assert one.highest_modseq >= max((row.modseq for row in rows), default=0)
            if box:
                assert (one.name, one.uid_next) == (box.name, box.uid_next)
            octets, total = octets + one.octets, total + one.messages
        account = accounts.by_id(self.conn, self.account_id)
        assert (account.used_octets, account.used_messages) == (octets, total)


def test_one_account_is_as_the_reference(url: str, tmp_path: Path) -> None:
    if url:
        engine = postgres.make_engine(make_url(url), durable=False)
    else:
        engine = sqlite.make_engine(None, durable=False)
        migrate.to_head(engine)
    with engine.connect() as conn:
        run_state_machine_as_test(
            cast(type[OneAccount], lambda: OneAccount(conn)),
            settings=settings(
                max_examples=10 if url else 50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
