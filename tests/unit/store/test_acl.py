"""Rights of others as the store keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, select

from govmail.config import Limits
from govmail.errors import LimitReached, NotPermitted
from govmail.store import accounts, acl, annotation, incoming, mailboxes, messages, migrate, rights, sqlite
from govmail.store.schema import acl as acl_table
from govmail.store.schema import annotation as annotation_table
from govmail.store.values import Delivery
from tests.kit.contents import numbered

NOW = 1_800_000_000


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = sqlite.make_engine(None, durable=False)
    migrate.to_head(engine)
    with engine.connect() as conn:
        accounts.ensure(conn, "wang", now=NOW)
        yield conn


def give(conn: Connection, mailbox_id: int, who: str, letters: str, *, negative: bool = False, operation: str = "set", most: int = 10) -> None:
    acl.change(conn, 1, mailbox_id, who, negative=negative, operation=operation, rights=letters, most=most)


def test_letters() -> None:
    assert rights.ordered("aclc") == "lka"
    assert rights.ordered("d") == "xte"
    assert rights.told("lrk") == "lrkc"
    assert rights.told("t") == "td"
    assert rights.effective([(False, "lr"), (True, "r"), (False, "rs")]) == "ls"
    assert rights.flag_masks("") == (0, 0)
    assert rights.flag_masks("swt") == rights.flag_masks(rights.ALL) == (31, 2**63 - 1)


def test_rights_are_set_added_and_taken_away(conn: Connection) -> None:
    give(conn, 1, "li", "lr")
    give(conn, 1, "li", "sw", operation="add")
    give(conn, 1, "li", "r", operation="remove")
    assert acl.in_force(conn, 1, 1, "li") == "lsw"
    give(conn, 1, "li", "s", negative=True)
    assert acl.in_force(conn, 1, 1, "li") == "lw"
    give(conn, 1, "li", "")
    assert [one.who for one in acl.entries(conn, 1, 1)] == ["li"]  # what is denied stays
    assert acl.in_force(conn, 1, 1, "li") == ""


def test_each_change_is_a_change_of_the_account(conn: Connection) -> None:
    before = accounts.by_id(conn, 1).modseq
    give(conn, 1, "li", "lr")
    assert accounts.by_id(conn, 1).modseq == before + 1


def test_the_list_is_bounded(conn: Connection) -> None:
    for number in range(3):
        give(conn, 1, f"clerk-{number}", "lr", most=3)
    with pytest.raises(LimitReached):
        give(conn, 1, "one-more", "lr", most=3)
    give(conn, 1, "clerk-0", "lrs", most=3)
    give(conn, 1, "clerk-0", "", most=3)
    give(conn, 1, "one-more", "lr", most=3)


def test_nobody_shares_with_everybody_what_is_a_persons(conn: Connection) -> None:
    with pytest.raises(NotPermitted):
        give(conn, 1, acl.ANYONE, "l")
    give(conn, 1, acl.ANYONE, "l", negative=True)
    acl.share(conn, "office", "值班室", "wang", now=NOW, most=10)
    account = accounts.find(conn, "office")
    assert account is not None
    acl.change(conn, account.account_id, 1, acl.ANYONE, negative=False, operation="set", rights="lr", most=10)
    assert [(one.shared_name, one.mailbox.name, one.rights) for one in acl.visible(conn, "li", 10)] == [("值班室", "INBOX", "lr")]


def test_nothing_is_left_of_a_deleted_mailbox(conn: Connection) -> None:
    made = mailboxes.create(conn, 1, "Work", now=NOW)
    give(conn, made.mailbox_id, "li", "lr")
    child = mailboxes.create(conn, 1, "Work/2026", now=NOW)
    assert acl.in_force(conn, 1, child.mailbox_id, "li") == "lr"
    annotation.write(conn, 1, made.mailbox_id, "wang", [("/private/comment", b"x"), ("/shared/comment", b"y")], Limits())
    mailboxes.delete(conn, 1, "Work/2026", now=NOW)
    mailboxes.delete(conn, 1, "Work", now=NOW)
    assert conn.execute(select(acl_table)).all() == conn.execute(select(annotation_table)).all() == []


def test_rights_go_with_a_renamed_mailbox(conn: Connection) -> None:
    made = mailboxes.create(conn, 1, "Work", now=NOW)
    give(conn, made.mailbox_id, "li", "lr")
    mailboxes.rename(conn, 1, "Work", "Old/Work", now=NOW)
    assert [one.mailbox.name for one in acl.visible(conn, "li", 10)] == ["Old/Work"]
    assert acl.in_force(conn, 1, mailboxes.get(conn, 1, "Old").mailbox_id, "li") == ""


def test_a_limit_of_messages_holds_for_deliveries_as_well(conn: Connection) -> None:
    accounts.set_quota(conn, "wang", None, messages=2)
    results = [
        incoming.deliver(conn, numbered(number), [Delivery("wang", "wang@jx.example")], internal_date=NOW, now=NOW)[0] for number in range(3)
    ]
    assert [one.error is None for one in results] == [True, True, False]
    assert accounts.by_id(conn, 1).used_messages == 2
    messages.store_flags(conn, 1, 1, [(1, 1)], "add", 8, ())
    messages.expunge(conn, 1, 1, None, now=NOW)
    assert incoming.deliver(conn, numbered(9), [Delivery("wang", "wang@jx.example")], internal_date=NOW, now=NOW)[0].error is None
