"""Names, aliases, renaming, deleting, subscriptions."""

from __future__ import annotations

import pytest

from govmail.config import Limits
from govmail.errors import (
    BadMailboxName,
    LimitReached,
    MailboxExists,
    MailboxHasChildren,
    MailboxInUse,
    NoSuchMailbox,
)
from govmail.store import accounts, changes, incoming, mailboxes, messages
from govmail.store.database import Database
from govmail.store.values import Delivery
from tests.kit.contents import numbered

NOW = 1_800_000_000


@pytest.fixture
def li(db: Database) -> int:
    return db.run_write(accounts.ensure, "li", now=NOW).account_id


def deliver(db: Database, number: int, mailbox: str = "INBOX") -> None:
    db.run_write(incoming.deliver, numbered(number), [Delivery("li", "li@jx.example", mailbox)], internal_date=NOW, now=NOW)


def names(db: Database, account_id: int) -> list[str]:
    return [one.name for one in db.run_read(mailboxes.list_all, account_id)]


def test_create_makes_parents(db: Database, li: int) -> None:
    made = db.run_write(mailboxes.create, li, "公文/2026/下发", now=NOW)
    assert made.name == "公文/2026/下发"
    assert {"公文", "公文/2026", "公文/2026/下发"} <= set(names(db, li))


@pytest.mark.parametrize("name", ["inbox", "InBox", "INBOX"])
def test_inbox_in_any_case(db: Database, li: int, name: str) -> None:
    assert db.run_read(mailboxes.get, li, name).mailbox_id == 1
    with pytest.raises(MailboxExists):
        db.run_write(mailboxes.create, li, name, now=NOW)


@pytest.mark.parametrize(
    ("alias", "real"),
    [("已发送", "Sent"), ("Sent Items", "Sent"), ("sent messages", "Sent"), ("草稿箱", "Drafts"), ("草稿夹", "Drafts"),
     ("已删除邮件", "Trash"), ("Deleted Messages", "Trash"), ("垃圾邮件", "Junk"), ("Junk E-mail", "Junk")],
)  # fmt: skip
def test_aliases_mean_the_special_mailbox(db: Database, li: int, alias: str, real: str) -> None:
    before = names(db, li)
    assert db.run_write(mailboxes.create, li, alias, now=NOW).name == real
    assert db.run_read(mailboxes.get, li, alias).name == real
    db.run_write(mailboxes.subscribe, li, alias)
    assert db.run_read(mailboxes.subscriptions, li) == set(before)
    assert names(db, li) == before


def test_an_alias_takes_the_use_that_nobody_has(db: Database, li: int) -> None:
    db.run_write(mailboxes.delete, li, "Sent", now=NOW)
    made = db.run_write(mailboxes.create, li, "已发送", now=NOW)
    assert (made.name, made.special_use) == ("已发送", "\\Sent")
    assert db.run_read(mailboxes.get, li, "Sent").name == "已发送"


def test_a_special_use_is_given_once(db: Database, li: int) -> None:
    with pytest.raises(MailboxExists):
        db.run_write(mailboxes.create, li, "Outgoing", special_use="\\Sent", now=NOW)


@pytest.mark.parametrize("name", ["", "/", "a//b", "/a", "a*", "a%b", "a\rb", "a\0b", "x" * 1001, "/".join("abcdefghijklmnopqrstu")])
def test_bad_names(db: Database, li: int, name: str) -> None:
    with pytest.raises(BadMailboxName):
        db.run_write(mailboxes.create, li, name, now=NOW)


def test_a_limit_on_mailboxes(db: Database, li: int) -> None:
    limits = Limits(mailboxes_per_account=8)
    db.run_write(mailboxes.create, li, "a/b", now=NOW, limits=limits)
    with pytest.raises(LimitReached):
        db.run_write(mailboxes.create, li, "c", now=NOW, limits=limits)
    assert "c" not in names(db, li)


def test_delete(db: Database, li: int) -> None:
    db.run_write(mailboxes.create, li, "a/b", now=NOW)
    with pytest.raises(MailboxHasChildren):
        db.run_write(mailboxes.delete, li, "a", now=NOW)
    with pytest.raises(MailboxInUse):
        db.run_write(mailboxes.delete, li, "inbox", now=NOW)
    with pytest.raises(NoSuchMailbox):
        db.run_write(mailboxes.delete, li, "nothing", now=NOW)
    db.run_write(mailboxes.delete, li, "a/b", now=NOW)
    db.run_write(mailboxes.delete, li, "a", now=NOW)
    assert not {"a", "a/b"} & set(names(db, li))


def test_deleting_gives_back_what_was_used(db: Database, li: int) -> None:
    deliver(db, 1)
    deliver(db, 2, "Junk")
    junk = db.run_read(mailboxes.get, li, "Junk")
    db.run_write(mailboxes.delete, li, "Junk", now=NOW)
    after = db.run_read(accounts.by_id, li)
    assert (after.used_messages, after.used_octets) == (1, db.run_read(mailboxes.get, li, "INBOX").octets)
    assert db.run_read(changes.since, li, junk.mailbox_id, junk.highest_modseq, junk.uid_next).gone


def test_a_name_that_comes_again_has_another_uidvalidity(db: Database, li: int) -> None:
    seen = set()
    for _ in range(3):
        made = db.run_write(mailboxes.create, li, "a", now=NOW)
        seen.add((made.uidvalidity, made.mailbox_id))
        db.run_write(mailboxes.delete, li, "a", now=NOW)
    assert len({validity for validity, _ in seen}) == len({number for _, number in seen}) == 3
    assert all(validity >= NOW for validity, _ in seen)


def test_uidvalidity_follows_the_clock_and_never_goes_back(db: Database, li: int) -> None:
    late = db.run_write(mailboxes.create, li, "a", now=NOW + 5000).uidvalidity
    early = db.run_write(mailboxes.create, li, "b", now=NOW).uidvalidity
    assert NOW + 5000 <= late < early


def test_rename_takes_children_along(db: Database, li: int) -> None:
    db.run_write(mailboxes.create, li, "a/b/c", now=NOW)
    db.run_write(mailboxes.create, li, "abc", now=NOW)
    before = db.run_read(mailboxes.get, li, "a/b")
    db.run_write(mailboxes.rename, li, "a", "x/y", now=NOW)
    assert set(names(db, li)) - {"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"} == {"x", "x/y", "x/y/b", "x/y/b/c", "abc"}
    assert db.run_read(mailboxes.get, li, "x/y/b").mailbox_id == before.mailbox_id
    with pytest.raises(NoSuchMailbox):
        db.run_read(mailboxes.get, li, "a")


def test_rename_refuses(db: Database, li: int) -> None:
    db.run_write(mailboxes.create, li, "a", now=NOW)
    for new, error in (("Trash", MailboxExists), ("已发送", MailboxExists), ("a/b", BadMailboxName), ("a", MailboxExists), ("*", BadMailboxName)):
        with pytest.raises(error):
            db.run_write(mailboxes.rename, li, "a", new, now=NOW)
    with pytest.raises(NoSuchMailbox):
        db.run_write(mailboxes.rename, li, "nothing", "b", now=NOW)


def test_renaming_inbox_moves_its_mail_and_leaves_it(db: Database, li: int) -> None:
    """RFC 3501 §6.3.5."""
    for number in (1, 2):
        deliver(db, number)
    inbox = db.run_read(mailboxes.get, li, "INBOX")
    db.run_write(mailboxes.create, li, "INBOX/sub", now=NOW)
    db.run_write(mailboxes.rename, li, "INBOX", "Old", now=NOW)
    old, new = db.run_read(mailboxes.get, li, "Old"), db.run_read(mailboxes.get, li, "INBOX")
    assert [row.uid for row in db.run_read(messages.rows, li, old.mailbox_id, None)] == [1, 2]
    assert (old.messages, old.unseen, old.octets, new.messages, new.octets) == (2, 2, inbox.octets, 0, 0)
    told = db.run_read(changes.since, li, 1, inbox.highest_modseq, inbox.uid_next)
    assert told.vanished == ((1, 2),)
    assert "INBOX/sub" in names(db, li)
    deliver(db, 3)
    assert [row.uid for row in db.run_read(messages.rows, li, 1, None)] == [3]


def test_subscriptions_outlive_their_mailbox(db: Database, li: int) -> None:
    """RFC 9051 §6.3.8: the server does not unsubscribe by itself."""
    db.run_write(mailboxes.create, li, "a", now=NOW)
    db.run_write(mailboxes.subscribe, li, "a")
    db.run_write(mailboxes.subscribe, li, "a")
    db.run_write(mailboxes.delete, li, "a", now=NOW)
    assert "a" in db.run_read(mailboxes.subscriptions, li)
    db.run_write(mailboxes.unsubscribe, li, "a")
    db.run_write(mailboxes.unsubscribe, li, "a")
    assert "a" not in db.run_read(mailboxes.subscriptions, li)


def test_recent_is_claimed_once(db: Database, li: int) -> None:
    for number in (1, 2):
        deliver(db, number)
    assert db.run_write(mailboxes.claim_recent, li, 1) == (1, 3)
    assert db.run_write(mailboxes.claim_recent, li, 1) == (3, 3)
    deliver(db, 3)
    assert db.run_write(mailboxes.claim_recent, li, 1) == (3, 4)


def test_accounts(db: Database, li: int) -> None:
    assert db.run_write(accounts.ensure, "li", now=NOW).account_id == li
    db.run_write(accounts.create_missing, ["li", "wang", "zhao", "wang"], now=NOW)
    page = db.run_read(accounts.list_page, after=0, limit=2)
    assert [one.directory_id for one in page + db.run_read(accounts.list_page, after=page[-1].account_id, limit=9)] == ["li", "wang", "zhao"]
    db.run_write(accounts.suspend, "li", True)
    db.run_write(accounts.set_quota, "li", 5)
    found = db.run_read(accounts.by_id, li)
    assert (found.suspended, found.quota_octets) == (True, 5)
    db.run_write(accounts.suspend, "li", False)
    db.run_write(accounts.set_quota, "li", None)
    found = db.run_read(accounts.by_id, li)
    assert (found.suspended, found.quota_octets) == (False, None)
