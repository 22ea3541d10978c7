"""What the chain makes of the filters' answers."""

from __future__ import annotations

import asyncio

import pytest

from filters.chain import FilterChain, combine
from govmail.config import Filters
from govmail.interfaces import Action, Scan, Symbol, Verdict
from tests.kit.filters import (
    CLEAN,
    HAM,
    HELD,
    INFECTED,
    POLICY,
    SPAM,
    TAGGED,
    UNSCANNABLE,
    UNSCANNED,
    Scripted,
)
from tests.kit.malware import mail, request

MAIL = request(mail(b"x\r\n"))


@pytest.mark.parametrize(
    ("filters", "antivirus", "settings", "expected"),
    [
        ([], [], Filters(), (Action.ACCEPT, "", False, "unscanned")),
        ([HAM], [], Filters(), (Action.ACCEPT, "", False, "unscanned")),
        ([HAM], [CLEAN], Filters(), (Action.ACCEPT, "", False, "clean")),
        ([TAGGED], [CLEAN], Filters(), (Action.TAG, "", True, "clean")),
        ([HELD], [CLEAN], Filters(), (Action.QUARANTINE, "spam", True, "clean")),
        ([SPAM], [CLEAN], Filters(), (Action.REJECT, "spam", True, "clean")),
        ([HAM, POLICY], [CLEAN], Filters(), (Action.REJECT, "policy", False, "clean")),
        ([HAM], [INFECTED], Filters(), (Action.QUARANTINE, "virus", False, "infected")),
        ([HAM], [INFECTED], Filters(infected="reject"), (Action.REJECT, "virus", False, "infected")),
        ([HELD], [INFECTED], Filters(), (Action.QUARANTINE, "virus", True, "infected")),
        ([SPAM], [INFECTED], Filters(), (Action.REJECT, "virus", True, "infected")),
        # rule `any`: one engine is enough for infected, all are needed for clean
        ([], [CLEAN, INFECTED, UNSCANNED], Filters(), (Action.QUARANTINE, "virus", False, "infected")),
        ([], [CLEAN, UNSCANNED], Filters(), (Action.DEFER, "", False, "unscanned")),
        ([], [CLEAN, UNSCANNED], Filters(unscanned="tag"), (Action.TAG, "", False, "unscanned")),
        ([UNSCANNED], [CLEAN], Filters(), (Action.DEFER, "", False, "clean")),
        ([UNSCANNED], [INFECTED], Filters(), (Action.QUARANTINE, "virus", False, "infected")),
        ([SPAM], [UNSCANNED], Filters(), (Action.REJECT, "spam", True, "unscanned")),
        ([HELD], [UNSCANNED], Filters(), (Action.DEFER, "", True, "unscanned")),
        ([HELD], [UNSCANNED], Filters(unscanned="tag"), (Action.QUARANTINE, "spam", True, "unscanned")),
        # what no engine will ever see whole: held, and never clean
        ([HAM], [UNSCANNABLE], Filters(), (Action.QUARANTINE, "unscannable", False, "unscanned")),
        ([HAM], [CLEAN, UNSCANNABLE], Filters(), (Action.QUARANTINE, "unscannable", False, "unscanned")),
        ([HAM], [UNSCANNABLE], Filters(unscannable="defer"), (Action.DEFER, "", False, "unscanned")),
        ([HAM], [UNSCANNABLE], Filters(unscannable="tag"), (Action.TAG, "", False, "unscanned")),
        ([HAM], [UNSCANNABLE, UNSCANNED], Filters(), (Action.DEFER, "", False, "unscanned")),
        ([HAM], [UNSCANNABLE, UNSCANNED], Filters(unscanned="tag"), (Action.QUARANTINE, "unscannable", False, "unscanned")),
        ([HAM], [UNSCANNABLE, INFECTED], Filters(), (Action.QUARANTINE, "virus", False, "infected")),
        ([HELD], [UNSCANNABLE], Filters(), (Action.QUARANTINE, "spam", True, "unscanned")),
        ([SPAM], [UNSCANNABLE], Filters(), (Action.REJECT, "spam", True, "unscanned")),
    ],
)
def test_combinations(
    filters: list[Verdict], antivirus: list[Verdict], settings: Filters, expected: tuple[Action, str, bool, str]
) -> None:
    decision = combine(filters, antivirus, settings)
    virus = dict(decision.headers)["X-Govmail-Virus"].split()[0]
    assert (decision.action, decision.reason, decision.spam, virus) == expected


def test_the_sender_learns_why_but_not_how() -> None:
    assert combine([SPAM], [CLEAN], Filters()).public == "message refused as spam"
    assert combine([HAM], [INFECTED], Filters(infected="reject")).public == "message contains a virus"
    assert combine([HAM], [UNSCANNED], Filters()).public == "message could not be scanned, try again later"


def test_headers_name_score_symbols_engines_and_threats() -> None:
    verdict = Verdict(
        "rspamd", Action.TAG, score=7.25, threshold=15.0, spam=True, headers=(("Authentication-Results", "mx.example; spf=pass"),),
        symbols=(Symbol("LOW", 0.1), Symbol("BAYES_SPAM", 5.1, ("99.9%",)), Symbol("GOOD", -1.0)),
    )
    infected = Verdict("clamav", Action.REJECT, Scan.INFECTED, threats=("Win.Test-1",), engine_version="ClamAV 1.4.3/27800")
    assert combine([verdict], [infected], Filters()).headers == (
        ("Authentication-Results", "mx.example; spf=pass"),
        ("X-Govmail-Spam", "yes, score=7.25/15.00, BAYES_SPAM(5.10), GOOD(-1.00),\r\n\tLOW(0.10)"),
        ("X-Govmail-Virus", "infected (clamav, ClamAV-1.4.3/27800, infected, Win.Test-1)"),
    )


def test_no_name_of_an_engine_or_threat_leaves_its_field() -> None:
    evil = "a\r\nSubject: b\r\n\r\n(;,\0\x7f 病"
    infected = Verdict(evil, Action.REJECT, Scan.INFECTED, threats=(evil,) * 50, engine_version=evil)
    spam = Verdict(evil, Action.TAG, score=1.0, threshold=2.0, symbols=tuple(Symbol(evil + str(number), 1.0) for number in range(500)))
    for _, value in combine([spam], [infected], Filters()).headers:
        first, *folded = value.split("\r\n")
        assert first.isascii()
        assert first.isprintable()
        assert all(line.startswith("\t") and line[1:].isprintable() and line[1:].isascii() and line.strip() for line in folded)
        assert len(value) < 10_000


async def test_filters_work_side_by_side() -> None:
    slow = [Scripted(HAM, "a"), Scripted(HAM, "b")]
    engine = Scripted(CLEAN, "c")
    for one in (*slow, engine):
        one.go.clear()
    decision = asyncio.create_task(FilterChain(Filters(), slow, [engine]).decide(MAIL))
    for one in (*slow, engine):
        await one.asked.wait()
        one.go.set()
    assert [verdict.engine for verdict in (await decision).verdicts] == ["a", "b", "c"]


async def test_a_filter_that_hangs_is_unscanned_and_the_others_count() -> None:
    hung = Scripted(CLEAN, "hung")
    hung.go.clear()
    decision = await FilterChain(Filters(deadline_seconds=0.01), [Scripted(HAM)], [hung]).decide(MAIL)
    assert decision.action is Action.DEFER
    assert [verdict.scan for verdict in decision.verdicts] == [Scan.NOT_APPLICABLE, Scan.UNSCANNED]
    assert hung.cancelled == 1


async def test_a_filter_that_raises_is_unscanned() -> None:
    decision = await FilterChain(Filters(), [Scripted(RuntimeError("secret\r\ncause"))], [Scripted(CLEAN)]).decide(MAIL)
    assert decision.action is Action.DEFER
    assert decision.verdicts[0].scan is Scan.UNSCANNED
    assert "secret" not in decision.public


async def test_equal_mails_in_flight_wait_for_one_scan() -> None:
    engine, spam = Scripted(INFECTED), Scripted(HAM)
    engine.go.clear()
    chain = FilterChain(Filters(), [spam], [engine])
    waiting = [asyncio.create_task(chain.decide(MAIL)) for _ in range(10)]
    other = asyncio.create_task(chain.decide(request(mail(b"y\r\n"))))
    await engine.asked.wait()
    engine.go.set()
    assert {decision.action for decision in await asyncio.gather(*waiting, other)} == {Action.QUARANTINE}
    assert engine.checks == 2
    assert spam.checks == 11  # spam verdicts are never shared


async def test_what_could_not_be_scanned_is_not_shared() -> None:
    engine = Scripted(UNSCANNED)
    engine.go.clear()
    chain = FilterChain(Filters(), [], [engine])
    waiting = [asyncio.create_task(chain.decide(MAIL)) for _ in range(3)]
    await engine.asked.wait()
    engine.go.set()
    await asyncio.gather(*waiting)
    engine.verdict = CLEAN
    assert (await chain.decide(MAIL)).action is Action.ACCEPT
    assert engine.checks == 4


async def test_a_mail_that_is_given_up_does_not_take_its_equals_with_it() -> None:
    engine = Scripted(CLEAN)
    engine.go.clear()
    chain = FilterChain(Filters(), [], [engine])
    first = asyncio.create_task(chain.decide(MAIL))
    await engine.asked.wait()
    second = asyncio.create_task(chain.decide(MAIL))
    await asyncio.sleep(0)
    first.cancel()
    engine.go.set()
    assert (await second).action is Action.ACCEPT
    third = asyncio.create_task(chain.decide(MAIL))
    assert (await third).action is Action.ACCEPT


async def test_new_signatures_end_the_sharing() -> None:
    engine = Scripted(CLEAN, identity="signatures 1")
    chain = FilterChain(Filters(), [], [engine])
    await chain.decide(MAIL)
    engine.version = "signatures 2"
    engine.verdict = INFECTED
    assert (await chain.decide(MAIL)).infected
    engine.version = None  # unknown: neither asked nor kept
    await chain.decide(MAIL)
    assert engine.checks == 3


async def test_sharing_ends_after_its_time_and_is_bounded() -> None:
    now = 0.0
    engine = Scripted(CLEAN)
    chain = FilterChain(Filters(share_seconds=10, share_entries=2), [], [engine], monotonic=lambda: now)
    await chain.decide(MAIL)
    now = 9.0
    await chain.decide(MAIL)
    assert engine.checks == 1
    now = 10.0
    await chain.decide(MAIL)
    assert engine.checks == 2
    for number in range(2):
        await chain.decide(request(mail(b"%d" % number)))
    await chain.decide(MAIL)  # the oldest had to go
    assert engine.checks == 5


async def test_sharing_can_be_switched_off() -> None:
    engine = Scripted(CLEAN)
    chain = FilterChain(Filters(share_seconds=0), [], [engine])
    for _ in range(3):
        await chain.decide(MAIL)
    assert engine.checks == 3


async def test_no_filters_at_all() -> None:
    decision = await FilterChain(Filters(), [], []).decide(MAIL)
    assert (decision.action, decision.headers) == (Action.ACCEPT, (("X-Govmail-Virus", "unscanned"),))
