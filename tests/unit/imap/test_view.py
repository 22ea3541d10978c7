"""Sequence numbers lag behind the mailbox, checked against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from govmail.imap.flags import NO_KEYWORDS
from govmail.imap.view import SelectedView, SharedMaps, UidMap
from govmail.store.values import FlagChange, MailboxChanges
from govmail.wire.imap.enabled import NOTHING
from govmail.wire.imap.numset import from_numbers

uids = st.frozensets(st.integers(1, 80), max_size=40).map(sorted)


@given(uids)
def test_numbers_and_uids(some: list[int]) -> None:
    here = UidMap(from_numbers(some))
    assert len(here) == len(some)
    assert here.largest == (some[-1] if some else 0)
    assert here.ranges == from_numbers(some)
    assert here.numbers(some) == list(range(1, len(some) + 1))
    assert [here.number(uid) for uid in range(1, 90)] == [some.index(uid) + 1 if uid in some else 0 for uid in range(1, 90)]
    assert [here.count_from(uid) for uid in range(1, 90)] == [sum(one >= uid for one in some) for uid in range(1, 90)]


@given(uids, uids)
def test_sets_of_numbers(some: list[int], wanted: list[int]) -> None:
    here = UidMap(from_numbers(some))
    assert here.uids(from_numbers(wanted)) == from_numbers([some[number - 1] for number in wanted if number <= len(some)])
    assert here.within(from_numbers(wanted)) == from_numbers([uid for uid in wanted if uid in some])
    assert here.without(from_numbers(wanted)).ranges == from_numbers([uid for uid in some if uid not in wanted])


@given(uids, st.frozensets(st.integers(81, 120), max_size=10).map(sorted))
def test_growing(some: list[int], more: list[int]) -> None:
    here = UidMap(from_numbers(some))
    assert here.extended(more).ranges == from_numbers(some + more)
    assert here.ranges == from_numbers(some)  # the old one is somebody else's, too


def view(some: list[int], maps: SharedMaps) -> SelectedView:
    here = maps.share(1, 1, 5, UidMap(from_numbers(some)))
    return SelectedView(1, 1, "INBOX", False, here, 5, max(some, default=0) + 1, 1000, NO_KEYWORDS, 1000)


def told(*, modseq: int, arrived: list[int] = [], flags: list[int] = [], vanished: list[int] = [], uid_next: int = 200) -> MailboxChanges:  # noqa: B006
    return MailboxChanges(
        modseq, uid_next, tuple(FlagChange(uid, modseq, 0, 0) for uid in arrived), tuple(FlagChange(uid, modseq, 1, 0) for uid in flags),
        from_numbers(sorted(vanished)),
    )  # fmt: skip


def test_expunge_is_held_back_and_said_from_the_end() -> None:
    maps = SharedMaps()
    one = view([1, 2, 3, 7, 8], maps)
    assert list(one.apply(told(modseq=6, vanished=[2, 7], uid_next=9), maps, expunges=False, with_uid=False)) == []
    assert one.uids.numbers([1, 3, 8]) == [1, 3, 5]
    assert one.resolve(((1, 5),)) == ((1, 1), (3, 3), (8, 8))
    news = told(uid_next=10, modseq=7, arrived=[9], flags=[8])
    assert list(one.apply(news, maps, expunges=True, with_uid=False)) == [
        b"* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n", b"* 4 EXISTS\r\n", b"* 0 RECENT\r\n", b"* 3 FETCH (FLAGS (\\Seen))\r\n"
    ]  # fmt: skip
    assert one.uids.ranges == ((1, 1), (3, 3), (8, 9))


def test_news_in_the_form_that_the_client_has_enabled() -> None:
    def lines(*names: str) -> list[bytes]:
        maps = SharedMaps()
        enabled = NOTHING
        for name in names:
            enabled = enabled.plus(name)
        news = told(uid_next=10, modseq=7, arrived=[9], flags=[8], vanished=[2, 4, 5])
        return list(view([1, 2, 4, 5, 8], maps).apply(news, maps, expunges=True, with_uid=False, enabled=enabled))

    gone, exists = [b"* VANISHED 2,4:5\r\n"], [b"* 3 EXISTS\r\n"]
    recent = [b"* 0 RECENT\r\n"]
    assert lines() == [b"* 4 EXPUNGE\r\n* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n", *exists, *recent, b"* 2 FETCH (FLAGS (\\Seen))\r\n"]
    assert lines("CONDSTORE")[3:] == [b"* 2 FETCH (FLAGS (\\Seen) MODSEQ (7))\r\n"]
    assert lines("QRESYNC") == [*gone, *exists, *recent, b"* 2 FETCH (UID 8 FLAGS (\\Seen) MODSEQ (7))\r\n"]
    assert lines("UIDONLY") == [*gone, *exists, *recent, b"* 8 UIDFETCH (FLAGS (\\Seen))\r\n"]
    assert lines("QRESYNC", "UIDONLY", "IMAP4REV2") == [*gone, *exists, b"* 8 UIDFETCH (FLAGS (\\Seen) MODSEQ (7))\r\n"]


def test_own_change_is_not_news() -> None:
    maps = SharedMaps()
    one = view([1, 2], maps)
    lines = list(one.apply(told(modseq=6, flags=[1, 2]), maps, expunges=True, with_uid=True, own=frozenset({1})))
    assert lines == [b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n"]


def test_vanished_before_it_was_seen() -> None:
    """Ranges of what vanished may name UIDs that this session never heard of."""
    maps = SharedMaps()
    one = view([1], maps)
    assert list(one.apply(told(modseq=6, vanished=[5, 6, 7]), maps, expunges=True, with_uid=False)) == []


def test_sessions_share_what_is_equal() -> None:
    maps = SharedMaps()
    one, other = view([1, 2, 5], maps), view([1, 2, 5], maps)
    assert one.uids is other.uids
    for each in (one, other):
        list(each.apply(told(modseq=6, arrived=[9]), maps, expunges=True, with_uid=False))
    assert one.uids is other.uids
