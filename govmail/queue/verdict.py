"""What an attempt means for an entry: done, tried again, or given up, and which notification its sender gets.

Invariants: pure; a sender is notified of what NOTIFY asks for and of nothing else; a null reverse-path is never notified.

RFC 3461 §4.1 and §5.2 (NOTIFY), RFC 5321 §4.5.5 (the null reverse-path), RFC 5321 §4.5.4.1 (expiry).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from govmail.config import Queue
from govmail.mail.dsn import Action
from govmail.mail.envelope import Notify
from govmail.queue.schedule import delay_notice_due, next_attempt
from govmail.relay.outcome import Answer, Outcome, Result
from govmail.store.values import AttemptResult, QueueEntry


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be written about one entry. `retry_at` is set for "retry"; `notice`: what its sender is told, if anything."""

    entry: QueueEntry
    state: Literal["done", "retry", "failed"]
    result: AttemptResult
    retry_at: int | None = None
    notice: Action | None = None


def judge(entry: QueueEntry, outcome: Outcome | Answer, config: Queue, *, now: int, rng: random.Random) -> Verdict:
    """The verdict on an attempt that ended at `now`."""
    result = AttemptResult(outcome.mta, outcome.code, outcome.status, outcome.text)
    if outcome.result is Result.DELIVERED:
        relayed = Action.RELAYED if entry.kind == "remote" else Action.EXPANDED if entry.kind == "list" else Action.DELIVERED
        notice = None if outcome.dsn_passed else _wanted(entry, Notify.SUCCESS, relayed)
        return Verdict(entry, "done", result, notice=notice)
    retry_at = None
    if outcome.result is Result.TEMPORARY:
        retry_at = next_attempt(entry.attempts + 1, config.retry_seconds, now=now, expires=entry.expires, rng=rng)
    if retry_at is None:
        return Verdict(entry, "failed", result, notice=_wanted(entry, Notify.FAILURE, Action.FAILED))
    due = delay_notice_due(created=entry.message.created, now=now, after=config.delay_notice_seconds)
    notice = _wanted(entry, Notify.DELAY, Action.DELAYED) if due and not entry.delay_notified else None
    return Verdict(entry, "retry", result, retry_at, notice)


def refuse(entry: QueueEntry) -> Verdict:
    """The verdict on an entry that was refused when it was accepted: its sender only has to be told."""
    result = AttemptResult(entry.last_mta or "", entry.last_code, entry.last_status or "5.0.0", entry.last_text or "")
    return Verdict(entry, "failed", result, notice=_wanted(entry, Notify.FAILURE, Action.FAILED))


def _wanted(entry: QueueEntry, event: Notify, action: Action) -> Action | None:
    return action if event in entry.notify and entry.message.sender else None
