"""IDLE: nothing is missed, however hints and commands interleave, and waiting costs nothing."""

from __future__ import annotations

import asyncio

from govmail.interfaces import Hint
from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage, person_id

LOGIN = "idle@jx.example"
MESSAGE = b"Subject: hello\r\n\r\nx\r\n"


async def idling(stage: Stage, client: ImapClient) -> None:
    await client.login(LOGIN)
    await client.ok(b"SELECT INBOX")
    await client.send(b"i IDLE\r\n")
    assert (await client.response()).startswith(b"+")


async def test_every_arrival_is_told(stage: Stage) -> None:
    """Deliveries overtake the session's questions; the last EXISTS must be the truth without any further hint."""
    async with ImapClient(stage.plain) as one, ImapClient(stage.plain) as two:
        await idling(stage, one)
        await idling(stage, two)
        await asyncio.gather(*(stage.deliver(LOGIN, MESSAGE) for _ in range(50)))
        for client in (one, two):
            while await client.response() != b"* 50 EXISTS\r\n":
                pass


async def test_hints_about_nothing_do_no_harm(stage: Stage) -> None:
    """A hint may be doubled, late, or about another mailbox: nothing is said, and nothing spins."""
    async with ImapClient(stage.plain) as client:
        await idling(stage, client)
        session = next(iter(stage.server._people[person_id(LOGIN)]))
        for hint in (Hint(session.account_id, 10**9), Hint(session.account_id, 0), Hint(session.account_id, 10**9, (999,))):
            stage.bus.publish([hint, hint])
        await client.send(b"DONE\r\n")
        assert await client.response() == b"i OK IDLE completed\r\n"


async def test_an_idle_connection_has_no_task(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await idling(stage, client)
        await stage.deliver(LOGIN, MESSAGE)
        assert await client.response() == b"* 1 EXISTS\r\n"
        assert await client.response() == b"* 1 RECENT\r\n"
        while stage.server._tasks:
            await asyncio.wait(stage.server._tasks)
        await stage.deliver(LOGIN, MESSAGE)
        assert await client.response() == b"* 2 EXISTS\r\n"
