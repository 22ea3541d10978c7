"""Delivery, APPEND, flags, COPY, MOVE, EXPUNGE."""

from __future__ import annotations

import pytest

from govmail.errors import LimitReached, NoSuchMailbox, NotFound, OverQuota
from govmail.mail.envelope import DEFAULT_NOTIFY
from govmail.store import accounts, contents, incoming, mailboxes, messages, queue
from govmail.store.database import Database
from govmail.store.values import (
    Account,
    Appended,
    Columns,
    Delivered,
    Delivery,
    Flag,
    Mailbox,
    NewEntry,
    NewQueueMessage,
)
from tests.kit.contents import new_content, numbered, raw_mail

NOW = 1_800_000_000
SEEN, DELETED, FLAGGED = int(Flag.SEEN), int(Flag.DELETED), int(Flag.FLAGGED)


def deliver(db: Database, *owners: str, number: int = 1, mailbox: str = "INBOX", flags: int = 0) -> list[Delivered]:
    deliveries = [Delivery(owner, f"{owner}@jx.example", mailbox, flags) for owner in owners]
    return db.run_write(incoming.deliver, numbered(number), deliveries, internal_date=NOW, now=NOW)


def account(db: Database, owner: str) -> Account:
    found = db.run_read(accounts.find, owner)
    assert found is not None
    return found


def box(db: Database, owner: str, name: str = "INBOX") -> Mailbox:
    return db.run_read(mailboxes.get, account(db, owner).account_id, name)


def counters(mailbox: Mailbox) -> tuple[int, int, int]:
    return mailbox.messages, mailbox.unseen, mailbox.deleted


def test_first_delivery_makes_the_account_with_its_mailboxes(db: Database) -> None:
    [done] = deliver(db, "li")
    assert (done.error, done.uid) == (None, 1)
    listed = db.run_read(mailboxes.list_all, done.account_id)
    assert [(one.name, one.special_use) for one in listed] == [
        ("INBOX", None), ("Archive", "\\Archive"), ("Drafts", "\\Drafts"), ("Junk", "\\Junk"), ("Sent", "\\Sent"), ("Trash", "\\Trash"),
    ]  # fmt: skip
    assert db.run_read(mailboxes.subscriptions, done.account_id) == {one.name for one in listed}


def test_one_content_for_all_recipients(db: Database) -> None:
    done = deliver(db, "li", "wang", "zhao")
    rows = [row for one in done for row in db.run_read(messages.rows, one.account_id, one.mailbox_id, None)]
    assert len(rows) == 3
    assert len({row.content_id for row in rows}) == 1
    assert [row.delivered_to for row in rows] == ["li@jx.example", "wang@jx.example", "zhao@jx.example"]
    assert [one.directory_id for one in done] == ["li", "wang", "zhao"]


def test_same_octets_again_share_the_content(db: Database) -> None:
    first, second = deliver(db, "li"), deliver(db, "li")
    [one, two] = db.run_read(messages.rows, first[0].account_id, 1, None)
    assert one.content_id == two.content_id
    assert (first[0].uid, second[0].uid) == (1, 2)


def test_what_is_stored_is_what_comes_back(db: Database) -> None:
    raw = raw_mail("公文", "全文\r\n")
    [done] = db.run_write(incoming.deliver, new_content(raw), [Delivery("li", "li@jx.example")], internal_date=NOW, now=NOW)
    [row] = db.run_read(messages.rows, done.account_id, 1, [(1, 1)])
    [header] = db.run_read(contents.headers, [row.content_id]).values()
    [content] = db.run_read(contents.envelopes, [row.content_id]).values()
    assert raw.startswith(header)
    assert header.endswith(b"\r\n\r\n")
    assert (content.size, content.header_size, row.size) == (len(raw), len(header), len(raw))
    assert db.run_read(contents.parts, [row.content_id])[row.content_id][1].startswith(b"(")
    assert "全文" in db.run_read(contents.texts, [row.content_id])[row.content_id].text


def test_same_owner_twice_gets_two_copies(db: Database) -> None:
    one, two = deliver(db, "li", "li")
    assert (one.uid, two.uid) == (1, 2)
    assert box(db, "li").messages == 2


def test_delivery_to_junk_by_any_of_its_names(db: Database) -> None:
    deliver(db, "li", "wang", mailbox="垃圾邮件")
    assert (box(db, "li", "Junk").messages, box(db, "li").messages, box(db, "wang", "Junk").messages) == (1, 0, 1)


def test_a_mailbox_that_is_not_there_means_inbox(db: Database) -> None:
    [done] = deliver(db, "li", mailbox="Projects")
    assert (done.error, box(db, "li").messages) == (None, 1)


def test_over_quota_stops_only_its_owner(db: Database) -> None:
    deliver(db, "li", "wang")
    db.run_write(accounts.set_quota, "li", account(db, "li").used_octets + 10)
    full, done = deliver(db, "li", "wang", number=2)
    assert (full.error, full.uid, done.error) == ("OverQuota", 0, None)
    assert (box(db, "li").messages, box(db, "wang").messages) == (1, 2)


def test_the_first_mail_is_measured_by_the_quota_that_comes_with_it(db: Database) -> None:
    small, large = (
        db.run_write(
            incoming.deliver, numbered(1), [Delivery(owner, f"{owner}@jx.example", quota_octets=quota)], internal_date=NOW, now=NOW
        )[0]
        for owner, quota in (("li", 10), ("wang", 1 << 30))
    )
    assert (small.error, large.error) == ("OverQuota", None)
    assert (small.account_id, account(db, "li").quota_octets) == (account(db, "li").account_id, 10)
    assert account(db, "wang").quota_octets == 1 << 30


def test_nothing_is_stored_when_everybody_is_full(db: Database) -> None:
    deliver(db, "li")
    db.run_write(accounts.set_quota, "li", 1)
    before = account(db, "li")
    queue_message = NewQueueMessage("q1", "a@b.example", (), 86_400)
    [done] = db.run_write(
        incoming.deliver, numbered(2), [Delivery("li", "li@jx.example")], internal_date=NOW, now=NOW,
        queue=queue_message, on_failure=lambda one: entry("li@jx.example"),
    )  # fmt: skip
    assert done.error == "OverQuota"
    assert account(db, "li") == before
    assert db.run_read(queue.list_page, after=0, limit=10) == []


def entry(recipient: str) -> NewEntry:
    return NewEntry("remote", recipient, recipient.partition("@")[2], DEFAULT_NOTIFY)


def test_failures_become_queue_entries_in_the_same_commit(db: Database) -> None:
    deliver(db, "li", "wang")
    db.run_write(accounts.set_quota, "li", 1)
    db.run_write(
        incoming.deliver, numbered(2), [Delivery("li", "li@jx.example"), Delivery("wang", "wang@jx.example")],
        internal_date=NOW, now=NOW, queue=NewQueueMessage("q1", "a@b.example", (entry("x@far.example"),), 86_400),
        on_failure=lambda one: entry(f"{one.directory_id}@jx.example"),
    )  # fmt: skip
    waiting = db.run_read(queue.list_page, after=0, limit=10)
    assert [one.recipient for one in waiting] == ["x@far.example", "li@jx.example"]
    assert {one.message.content_id for one in waiting} == {db.run_read(messages.rows, account(db, "wang").account_id, 1, [(2, 2)])[0].content_id}


def test_append_keeps_flags_keywords_and_date(db: Database) -> None:
    deliver(db, "li")
    li = account(db, "li").account_id
    done = db.run_write(messages.append, li, "已发送", [Appended(numbered(5), SEEN, ["$Forwarded"], NOW - 99)], now=NOW)
    sent = box(db, "li", "Sent")
    [row] = db.run_read(messages.rows, li, sent.mailbox_id, None)
    assert (done.uids, done.uidvalidity) == ((row.uid, row.uid), sent.uidvalidity)
    assert (row.flags, row.internal_date, row.saved_date) == (SEEN, NOW - 99, NOW)
    assert [name for bit, name in db.run_read(messages.keyword_names, li).items() if row.keywords >> bit & 1] == ["$Forwarded"]
    assert counters(sent) == (1, 0, 0)


def test_append_refuses(db: Database) -> None:
    deliver(db, "li")
    li = account(db, "li").account_id
    news = [Appended(numbered(number), 0, [], NOW) for number in (2, 3)]
    with pytest.raises(NoSuchMailbox):
        db.run_write(messages.append, li, "Nowhere", news, now=NOW)
    db.run_write(accounts.set_quota, "li", 1)
    with pytest.raises(OverQuota):
        db.run_write(messages.append, li, "INBOX", news, now=NOW)
    assert box(db, "li").messages == 1


def test_many_are_appended_or_none(db: Database) -> None:
    """RFC 3502: the second does not fit; the first is not there either. Equal ones are two messages of one content."""
    deliver(db, "li")
    li = account(db, "li").account_id
    room = account(db, "li").used_octets + numbered(2).size
    db.run_write(accounts.set_quota, "li", room)
    with pytest.raises(OverQuota):
        db.run_write(messages.append, li, "INBOX", [Appended(numbered(number), 0, [], NOW) for number in (2, 3)], now=NOW)
    assert [row.uid for row in db.run_read(messages.rows, li, 1, None)] == [1]
    db.run_write(accounts.set_quota, "li", None)
    done = db.run_write(messages.append, li, "INBOX", [Appended(numbered(2), flags, [], NOW) for flags in (0, SEEN, 0)], now=NOW)
    assert done.uids == (2, 4)
    found = db.run_read(messages.rows, li, 1, ((2, 4),))
    assert [row.flags for row in found] == [0, SEEN, 0]
    assert len({row.content_id for row in found}) == 1
    assert counters(box(db, "li")) == (4, 3, 0)


def test_a_replaced_message_makes_room_for_its_successor(db: Database) -> None:
    deliver(db, "li")
    li = account(db, "li").account_id
    db.run_write(accounts.set_quota, "li", account(db, "li").used_octets + 10)
    done = db.run_write(messages.replace, li, 1, 1, li, "Drafts", Appended(numbered(1), 0, [], NOW), now=NOW)
    assert done.uids == (1, 1)
    assert db.run_read(messages.rows, li, 1, None) == []
    with pytest.raises(NotFound):
        db.run_write(messages.replace, li, 1, 1, li, "Drafts", Appended(numbered(1), 0, [], NOW), now=NOW)
    db.run_write(accounts.set_quota, "li", 1)
    drafts = box(db, "li", "Drafts").mailbox_id
    with pytest.raises(OverQuota):
        db.run_write(messages.replace, li, drafts, 1, li, "INBOX", Appended(numbered(2), 0, [], NOW), now=NOW)
    assert [row.uid for row in db.run_read(messages.rows, li, drafts, None)] == [1]


def test_columns_are_the_rows(db: Database) -> None:
    for _ in range(5):
        deliver(db, "li")
    li = account(db, "li").account_id
    db.run_write(messages.store_flags, li, 1, ((2, 3),), "add", SEEN, ["work"])
    ranges = ((2, 2), (4, 9))
    columns = db.run_read(messages.columns, li, 1, ranges)
    rows = db.run_read(messages.rows, li, 1, ranges)
    fields = ("uid", "flags", "keywords", "modseq", "content_id", "internal_date", "size", "saved_date")
    assert len(rows) == 3
    assert [tuple(column) for column in columns] == [tuple(getattr(row, name) for row in rows) for name in fields]
    few = db.run_read(messages.columns, li, 1, ranges, flags_only=True)
    assert few == Columns(*columns[:4])
    assert db.run_read(messages.columns, li, 1, ((7, 9),)) == Columns([], [], [], [], [], [], [], [])


@pytest.mark.parametrize(
    ("op", "flags", "expected"),
    [("set", FLAGGED, FLAGGED), ("add", FLAGGED, FLAGGED | SEEN), ("remove", SEEN, 0), ("add", DELETED, SEEN | DELETED)],
)
def test_store_changes_flags_and_counters(db: Database, op: str, flags: int, expected: int) -> None:
    [done] = deliver(db, "li", flags=SEEN)
    [change] = db.run_write(messages.store_flags, done.account_id, 1, [(1, 5)], op, flags, [])  # type: ignore[arg-type]
    [row] = db.run_read(messages.rows, done.account_id, 1, None)
    assert change.flags == row.flags == expected
    assert change.modseq == row.modseq == box(db, "li").highest_modseq
    assert counters(box(db, "li")) == (1, int(not expected & SEEN), int(bool(expected & DELETED)))


def test_only_what_really_changes_gets_a_modseq(db: Database) -> None:
    deliver(db, "li", number=1, flags=SEEN)
    [done] = deliver(db, "li", number=2)
    before = {row.uid: row.modseq for row in db.run_read(messages.rows, done.account_id, 1, None)}
    seen, unseen = db.run_write(messages.store_flags, done.account_id, 1, [(1, 2)], "add", SEEN, [])
    assert seen.modseq == before[1]
    assert unseen.modseq > before[2]
    modseq = account(db, "li").modseq
    db.run_write(messages.store_flags, done.account_id, 1, [(1, 2)], "add", SEEN, [])
    assert account(db, "li").modseq == modseq


def test_keywords_are_case_insensitive_and_limited(db: Database) -> None:
    [done] = deliver(db, "li")
    li = done.account_id
    [one] = db.run_write(messages.store_flags, li, 1, [(1, 1)], "add", 0, ["Urgent", "$MDNSent"])
    [same] = db.run_write(messages.store_flags, li, 1, [(1, 1)], "add", 0, ["URGENT"])
    assert one.keywords == same.keywords
    [less] = db.run_write(messages.store_flags, li, 1, [(1, 1)], "remove", 0, ["urgent", "never-seen"])
    assert sorted(db.run_read(messages.keyword_names, li).values()) == ["$MDNSent", "Urgent"]
    assert less.keywords != one.keywords
    with pytest.raises(LimitReached):
        db.run_write(messages.store_flags, li, 1, [(1, 1)], "add", 0, [f"word{number}" for number in range(61)])


def test_copy_and_move(db: Database) -> None:
    for number in range(1, 5):
        [done] = deliver(db, "li", number=number, flags=SEEN if number % 2 else 0)
    li, trash = done.account_id, box(db, "li", "Trash")
    copied = db.run_write(messages.copy, li, 1, [(1, 1), (3, 9)], li, trash.mailbox_id, now=NOW)
    assert (copied.source, copied.target) == (((1, 1), (3, 4)), ((1, 3),))
    assert (counters(box(db, "li")), counters(box(db, "li", "Trash"))) == ((4, 2, 0), (3, 1, 0))
    used = account(db, "li").used_octets
    moved = db.run_write(messages.move, li, 1, [(2, 3)], li, trash.mailbox_id, now=NOW)
    assert (moved.source, moved.target) == (((2, 3),), ((4, 5),))
    assert [row.uid for row in db.run_read(messages.rows, li, 1, None)] == [1, 4]
    assert account(db, "li").used_octets == used == box(db, "li").octets + box(db, "li", "Trash").octets
    empty = db.run_write(messages.copy, li, 1, [(77, 99)], li, trash.mailbox_id, now=NOW)
    assert (empty.source, empty.target) == ((), ())


def test_copy_asks_the_quota_and_move_does_not(db: Database) -> None:
    [done] = deliver(db, "li")
    db.run_write(accounts.set_quota, "li", account(db, "li").used_octets)
    trash = box(db, "li", "Trash").mailbox_id
    with pytest.raises(OverQuota):
        db.run_write(messages.copy, done.account_id, 1, [(1, 1)], done.account_id, trash, now=NOW)
    db.run_write(messages.move, done.account_id, 1, [(1, 1)], done.account_id, trash, now=NOW)
    assert box(db, "li", "Trash").messages == 1


def test_copy_to_another_account_translates_keywords(db: Database) -> None:
    li, wang = deliver(db, "li", "wang")
    db.run_write(messages.store_flags, wang.account_id, 1, [(1, 1)], "add", 0, ["alpha"])
    db.run_write(messages.store_flags, li.account_id, 1, [(1, 1)], "add", 0, ["beta", "alpha"])
    db.run_write(messages.copy, li.account_id, 1, [(1, 1)], wang.account_id, 1, now=NOW)
    [row] = db.run_read(messages.rows, wang.account_id, 1, [(2, 2)])
    names = db.run_read(messages.keyword_names, wang.account_id)
    assert {name for bit, name in names.items() if row.keywords >> bit & 1} == {"alpha", "beta"}


def test_expunge_takes_only_deleted_ones_in_the_set(db: Database) -> None:
    for number in range(1, 6):
        [done] = deliver(db, "li", number=number)
    li = done.account_id
    db.run_write(messages.store_flags, li, 1, [(1, 2), (4, 5)], "add", DELETED, [])
    assert db.run_write(messages.expunge, li, 1, [(2, 4)], now=NOW) == [(2, 2), (4, 4)]
    assert db.run_write(messages.expunge, li, 1, None, now=NOW) == [(1, 1), (5, 5)]
    assert db.run_read(messages.uids, li, 1) == [(3, 3)]
    assert counters(box(db, "li")) == (1, 1, 0)
    [again] = deliver(db, "li", number=9)
    assert again.uid == 6


def test_uids_are_ranges(db: Database) -> None:
    for number in range(6):
        [done] = deliver(db, "li", number=number)
    db.run_write(messages.store_flags, done.account_id, 1, [(3, 3)], "add", DELETED, [])
    db.run_write(messages.expunge, done.account_id, 1, None, now=NOW)
    assert db.run_read(messages.uids, done.account_id, 1) == [(1, 2), (4, 6)]
    assert [row.uid for row in db.run_read(messages.rows, done.account_id, 1, [(2, 3), (5, 5)])] == [2, 5]
    assert db.run_read(messages.rows, done.account_id, 1, []) == []


def test_twenty_thousand_recipients(db: Database) -> None:
    owners = [f"clerk-{number}" for number in range(20_000)]
    done = deliver(db, *owners)
    assert [one.directory_id for one in done] == owners
    assert all(one.error is None and one.uid == 1 for one in done)
    assert db.run_read(mailboxes.count_messages) == 20_000
