"""One attempt to hand a message to a domain: its servers in order, until every recipient has an answer.

Invariants: `Relay.send` returns one Outcome per recipient and raises only when it is cancelled; nobody is tried at another
server after a final dot without an answer, or after a permanent refusal.

RFC 5321 §5.1 (try the servers in order), §4.2.1 (what 4xx and 5xx mean).
"""

from __future__ import annotations

import asyncio
import random

from govmail.config import Config
from govmail.errors import MailError
from govmail.mail.envelope import Recipient
from govmail.relay.client import Login, Session, Shipment
from govmail.relay.outcome import Answer, Outcome, Result, ours
from govmail.relay.route import Dns, Endpoint, Ourselves, route, smarthost


class Relay:
    """Outgoing SMTP as configured. `password` is the smarthost's, already read from its file; `ca_file`: the absolute path of
    `Queue.smarthost_ca_file`, or ""."""

    def __init__(self, config: Config, dns: Dns, *, password: str = "", ca_file: str = "", rng: random.Random | None = None) -> None:
        self._config = config
        self._dns = dns
        self._ca_file = ca_file
        self._rng = rng or random.SystemRandom()
        self._ourselves = Ourselves.of(config)
        user = config.queue.smarthost_user
        self._login = Login(user, password) if user and config.queue.smarthost else None

    async def send(self, domain: str, shipment: Shipment) -> list[Outcome]:
        """One attempt for all recipients of `shipment`, who are all in `domain`."""
        try:
            endpoints = await self._endpoints(domain)
        except MailError as error:
            return [ours(error.status, error.public).for_(one) for one in shipment.recipients]
        attempt = _Attempt(shipment)
        try:
            async with asyncio.timeout(self._config.queue.attempt_seconds):
                for endpoint in endpoints:
                    await self._try(endpoint, attempt)
                    if not attempt.pending:
                        break
        except TimeoutError:
            attempt.failed.append(ours("4.4.2", "the attempt took too long"))
        return attempt.outcomes()

    async def _endpoints(self, domain: str) -> list[Endpoint]:
        queue, limit = self._config.queue, self._config.limits.mx_addresses
        if queue.smarthost:
            return await smarthost(queue.smarthost, self._dns, rng=self._rng, limit=limit)
        return await route(domain, self._dns, port=queue.port, ourselves=self._ourselves, rng=self._rng, limit=limit)

    async def _try(self, endpoint: Endpoint, attempt: _Attempt) -> None:
        tls = self._config.queue.tls != "never"
        session = Session(
            endpoint, self._config.queue, hostname=self._config.hostname, login=self._login, tls=tls, ca_file=self._ca_file
        )
        try:
            await session.run(attempt.shipment, list(attempt.pending))
        finally:  # also when the attempt's time is up: what was settled stays settled
            attempt.take(session)


class _Attempt:
    """Who has which answer so far."""

    def __init__(self, shipment: Shipment) -> None:
        self.shipment = shipment
        self.pending: list[Recipient] = list(shipment.recipients)
        self.failed: list[Answer] = []  # of servers as a whole, for those who are still pending
        self._answers: dict[Recipient, Outcome] = {}

    def take(self, session: Session) -> None:
        for outcome in session.outcomes:
            self._answers[outcome.recipient] = outcome
            refused_for_now = outcome.result is Result.TEMPORARY and outcome.code is not None
            if not refused_for_now:  # another server may say yes where this one said "later"
                self.pending.remove(outcome.recipient)
        if session.failure is not None:
            self.failed.append(session.failure)

    def outcomes(self) -> list[Outcome]:
        final = _final(self.failed)
        return [self._answers.get(one) or final.for_(one) for one in self.shipment.recipients]


def _final(failed: list[Answer]) -> Answer:
    """The answer of servers that failed as a whole: permanent only if all of them said so (554 greetings)."""
    temporary = [answer for answer in failed if answer.result is Result.TEMPORARY]
    if temporary:
        return temporary[-1]
    return failed[-1] if failed else ours("4.4.1", "no server was tried")
