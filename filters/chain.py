"""Asks every filter about a mail and makes one decision of their answers.

Invariants
- `decide` always decides, within `deadline_seconds`: a filter that raises, hangs or is too late is *unscanned*.
- A mail is called clean only when there is an antivirus engine and every one has seen the whole mail and found nothing;
  one engine that finds something is enough to call it infected (rule `any`).
- What no engine will ever see whole (encrypted, too deep, too large) is *unscannable*: held, deferred or tagged as configured.
- Only *clean* and *infected* verdicts of antivirus engines are shared between equal mails, for `share_seconds` at most.
- Each header value is ASCII, folded, and unable to begin another field (`filters.headers`).

Strongest first: REJECT, infected (quarantined or rejected, as configured), DEFER, QUARANTINE, TAG, ACCEPT. A found virus
stands above DEFER: the sender would only bring it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from filters.clamd import Clamd
from filters.headers import fold, plain, word
from filters.rspamd import Rspamd
from filters.shared import SharedVerdicts
from govmail.config import Config, Filters
from govmail.errors import NotScanned
from govmail.interfaces import Action, Decision, Filter, Scan, ScanRequest, Verdict

log = structlog.stdlib.get_logger("filters.chain")

SYMBOLS = 30  # named in X-Govmail-Spam

_ORDER = (Action.ACCEPT, Action.TAG, Action.QUARANTINE, Action.DEFER, Action.REJECT)
STRENGTH = {action: strength for strength, action in enumerate(_ORDER)}


class Antivirus(Filter, Protocol):
    """A filter whose verdict depends on the bytes and on nothing else but what `identity` names."""

    async def identity(self) -> str | None:
        """Engine, its version, its signatures' version and its limits; None when unknown."""


class FilterChain:
    """The content filters of one configuration; implements `interfaces.Chain`.

    `filters` are asked for every mail; verdicts of `antivirus` engines are shared between equal mails.
    """

    def __init__(
        self,
        settings: Filters,
        filters: Sequence[Filter],
        antivirus: Sequence[Antivirus],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.filters = tuple(filters)
        self.antivirus = tuple(antivirus)
        self._settings = settings
        self._monotonic = monotonic
        self._unfiltered = combine((), (), settings)
        self._shared = SharedVerdicts(settings.share_seconds, settings.share_entries, monotonic)

    async def decide(self, request: ScanRequest) -> Decision:
        """All filters side by side, then one decision."""
        if not self.filters and not self.antivirus:
            return self._unfiltered
        deadline = asyncio.get_running_loop().time() + self._settings.deadline_seconds
        asked = [self._guard(one.name, request, one.check(request), deadline) for one in self.filters]
        asked += [self._guard(one.name, request, self._scan(one, request), deadline) for one in self.antivirus]
        verdicts = await asyncio.gather(*asked)
        cut = len(self.filters)
        decision = combine(verdicts[:cut], verdicts[cut:], self._settings)
        log.info(
            "filters.decided",
            queue_id=request.queue_id,
            action=decision.action.value,
            reason=decision.reason,
            spam=decision.spam,
            verdicts={verdict.engine: verdict.private or verdict.scan.value for verdict in verdicts},
        )
        return decision

    async def close(self) -> None:
        """Let go of connections and threads."""
        for one in (*self.filters, *self.antivirus):
            close = getattr(one, "close", None)
            if close is not None:
                await close()

    async def _scan(self, one: Antivirus, request: ScanRequest) -> Verdict:
        identity = await one.identity() if self._settings.share_seconds and request.digest else None
        if identity is None:
            return await one.check(request)
        return await self._shared.get((identity, request.digest), lambda: one.check(request))

    async def _guard(self, name: str, request: ScanRequest, check: Coroutine[Any, Any, Verdict], deadline: float) -> Verdict:
        started = self._monotonic()
        try:
            async with asyncio.timeout_at(deadline):
                return await check
        except TimeoutError:
            reason = f"no answer within {self._settings.deadline_seconds:g} s"
        except Exception as error:  # a filter that fails has not scanned
            log.exception("filters.failed", filter=name, queue_id=request.queue_id)
            reason = f"{type(error).__name__}: {error}"
        return Verdict(name, Action.DEFER, Scan.UNSCANNED, private=plain(reason), elapsed=self._monotonic() - started)


def build(config: Config, data_dir: Path) -> FilterChain:
    """The chain that `[[filter]]` and `[filters]` describe. Raises BadConfig when a password file cannot be read."""
    filters: list[Filter] = []
    antivirus: list[Antivirus] = []
    for table in config.filter:
        if table.kind == "rspamd":
            filters.append(Rspamd(table, hostname=config.hostname, spam_reject=config.filters.spam_reject, data_dir=data_dir))
        else:
            antivirus.append(Clamd(table))
    return FilterChain(config.filters, filters, antivirus)


def combine(filters: Sequence[Verdict], antivirus: Sequence[Verdict], settings: Filters) -> Decision:
    """One decision from the filters' and the antivirus engines' verdicts. Pure."""
    verdicts = (*filters, *antivirus)
    spam = any(verdict.spam for verdict in verdicts)
    scanned = [verdict for verdict in verdicts if verdict.scan in (Scan.CLEAN, Scan.NOT_APPLICABLE)]
    infected = any(verdict.scan is Scan.INFECTED for verdict in verdicts)

    strongest = max(scanned, key=lambda verdict: STRENGTH[verdict.action], default=None)
    action = strongest.action if strongest else Action.ACCEPT
    public = strongest.public if strongest else ""
    reason = ("spam" if spam else "policy") if action in (Action.QUARANTINE, Action.REJECT) else ""
    if infected and action is not Action.REJECT:
        action = Action.REJECT if settings.infected == "reject" else Action.QUARANTINE
        public, reason = "message contains a virus", "virus"
    elif infected:
        reason = "virus"
    else:
        for scan, doubt in ((Scan.UNSCANNED, Action(settings.unscanned)), (Scan.UNSCANNABLE, Action(settings.unscannable))):
            if STRENGTH[doubt] > STRENGTH[action] and any(verdict.scan is scan for verdict in verdicts):
                action, public = doubt, NotScanned.text if doubt is Action.DEFER else ""
                reason = "unscannable" if doubt is Action.QUARANTINE else ""
    return Decision(action, verdicts, tuple(_headers(filters, antivirus)), public, reason, spam)


def virus_state(antivirus: Sequence[Verdict]) -> Scan:
    """Rule `any`: infected when one engine says so, clean when all do, unscanned otherwise and without engines."""
    states = {verdict.scan for verdict in antivirus}
    if Scan.INFECTED in states:
        return Scan.INFECTED
    return Scan.CLEAN if states == {Scan.CLEAN} else Scan.UNSCANNED


def _headers(filters: Sequence[Verdict], antivirus: Sequence[Verdict]) -> list[tuple[str, str]]:
    """What the chain puts in front of the message; forged fields of these names are removed from it elsewhere."""
    headers = [header for verdict in (*filters, *antivirus) for header in verdict.headers]
    headers += [("X-Govmail-Spam", _spam_header(verdict)) for verdict in filters if verdict.score is not None or verdict.scan is Scan.UNSCANNED]
    headers.append(("X-Govmail-Virus", _virus_header(antivirus)))
    return headers


def _spam_header(verdict: Verdict) -> str:
    if verdict.score is None:
        return f"unknown ({word(verdict.engine)})"
    heaviest = sorted(verdict.symbols, key=lambda symbol: -abs(symbol.score))[:SYMBOLS]
    symbols = [f"{word(symbol.name)}({symbol.score:.2f})" for symbol in heaviest]
    return fold(
        "X-Govmail-Spam",
        [
            "yes," if verdict.spam else "no,",
            f"score={verdict.score:.2f}/{verdict.threshold or 0:.2f}{',' if symbols else ''}",
            *(f"{symbol}," for symbol in symbols[:-1]),
            *symbols[-1:],
        ],
    )


def _virus_header(antivirus: Sequence[Verdict]) -> str:
    engines = [
        f"({word(verdict.engine)}, {word(verdict.engine_version.replace(' ', '-')) if verdict.engine_version else 'version-unknown'}, {verdict.scan.value}"
        f"{''.join(', ' + word(threat) for threat in verdict.threats[:5])})"
        for verdict in antivirus
    ]
    return fold("X-Govmail-Virus", [virus_state(antivirus).value, *engines])
