"""What an attempt means for an entry and for its sender."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from govmail.config import Queue
from govmail.mail.dsn import Action
from govmail.mail.envelope import DEFAULT_NOTIFY, Notify
from govmail.queue.verdict import Verdict, judge, refuse
from govmail.relay.outcome import Answer, Result
from govmail.store.values import QueueEntry, QueueMessage

MESSAGE = QueueMessage("q1", 1, "a@jx.example", None, None, False, None, "", 1000)
ENTRY = QueueEntry(
    1, MESSAGE, "remote", "x@a.example", "a.example", None, DEFAULT_NOTIFY, None, "leased", 1000, 0, "w", 2000, 433_000, False,
    None, None, None, None,
)  # fmt: skip
OK = Answer(Result.DELIVERED, "2.0.0", "ok", 250, "mx")
LATER = Answer(Result.TEMPORARY, "4.2.0", "later", 450, "mx")
NO = Answer(Result.PERMANENT, "5.1.1", "no", 550, "mx")


def verdict(answer: Answer, *, now: int = 1000, entry: QueueEntry = ENTRY) -> Verdict:
    return judge(entry, answer, Queue(), now=now, rng=random.Random(1))


def test_delivered_is_done_in_silence() -> None:
    assert (verdict(OK).state, verdict(OK).notice) == ("done", None)


@pytest.mark.parametrize(
    ("kind", "passed", "notice"),
    [("remote", False, Action.RELAYED), ("remote", True, None), ("local", False, Action.DELIVERED), ("list", False, Action.EXPANDED)],
)
def test_success_is_told_to_those_who_asked(kind: str, passed: bool, notice: Action | None) -> None:
    entry = replace(ENTRY, kind=kind, notify=Notify.SUCCESS)
    assert verdict(replace(OK, dsn_passed=passed), entry=entry).notice is notice


def test_refused_is_told() -> None:
    assert (verdict(NO).state, verdict(NO).notice) == ("failed", Action.FAILED)


@pytest.mark.parametrize("entry", [replace(ENTRY, notify=Notify.NEVER), replace(ENTRY, message=replace(MESSAGE, sender=""))])
def test_never_and_the_null_path_are_told_nothing(entry: QueueEntry) -> None:
    for answer in (OK, LATER, NO):
        for now in (1000, 100_000, 433_000):
            assert verdict(answer, now=now, entry=entry).notice is None


def test_later_is_tried_again_and_told_once() -> None:
    early, late = verdict(LATER), verdict(LATER, now=1000 + 14_400)
    assert early.state == late.state == "retry" and early.retry_at is not None and early.retry_at > 1000
    assert (early.notice, late.notice) == (None, Action.DELAYED)
    assert verdict(LATER, now=100_000, entry=replace(ENTRY, delay_notified=True)).notice is None


def test_too_late_is_a_failure() -> None:
    given_up = verdict(LATER, now=433_000)
    assert (given_up.state, given_up.notice, given_up.result.status) == ("failed", Action.FAILED, "4.2.0")


def test_refused_at_acceptance() -> None:
    given_up = refuse(replace(ENTRY, kind="bounce", last_code=None, last_status="5.2.1", last_text="mailbox disabled"))
    assert (given_up.state, given_up.notice, given_up.result.text) == ("failed", Action.FAILED, "mailbox disabled")
