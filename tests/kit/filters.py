"""Filters whose answer is known: for what the chain and the quarantine make of answers, not for the engines themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from govmail.interfaces import Action, Scan, ScanRequest, Verdict

CLEAN = Verdict("", Action.ACCEPT, Scan.CLEAN, engine_version="Scanner 1/1")
INFECTED = Verdict("", Action.REJECT, Scan.INFECTED, threats=("Test.Virus",), engine_version="Scanner 1/1")
UNSCANNED = Verdict("", Action.DEFER, Scan.UNSCANNED, private="away")
UNSCANNABLE = Verdict("", Action.QUARANTINE, Scan.UNSCANNABLE, private="encrypted")
HAM = Verdict("", Action.ACCEPT, score=0.5, threshold=15.0)
TAGGED = Verdict("", Action.TAG, score=7.0, threshold=15.0, spam=True)
HELD = Verdict("", Action.QUARANTINE, score=12.0, threshold=15.0, spam=True)
SPAM = Verdict("", Action.REJECT, score=20.0, threshold=15.0, spam=True, public="message refused as spam")
POLICY = Verdict("", Action.REJECT, public="message refused by policy")


class Scripted:
    """Answers with `verdict`, or raises it; counts; waits for `go`."""

    def __init__(self, verdict: Verdict | Exception, name: str = "scripted", *, identity: str | None = "one") -> None:
        self.name = name
        self.verdict = verdict
        self.checks = 0
        self.cancelled = 0
        self.version = identity
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def check(self, request: ScanRequest) -> Verdict:
        self.checks += 1
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return replace(self.verdict, engine=self.name)

    async def identity(self) -> str | None:
        return self.version
