"""NOTIFY beyond its dialogues: what it costs, what is lost with a hint, and when it is too much."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import structs

from govmail.imap.session import Session
from govmail.interfaces import Hint
from tests.kit.imap import ImapClient
from tests.kit.imap_server import TEST_LIMITS, Stage, person_id, running

LOGIN = "notify@jx.example"
MESSAGE = b"Subject: hello\r\n\r\nx\r\n"
PERSONAL = b"NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"


def session_of(stage: Stage) -> Session:
    (session,) = stage.server._people[person_id(LOGIN)]
    return session


async def test_only_who_asks_pays(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"SELECT INBOX")
        assert session_of(stage).watch is None
        await client.ok(PERSONAL)
        await stage.deliver(LOGIN, MESSAGE, "Archive")
        assert (await client.response()).startswith(b"* STATUS Archive (MESSAGES 1 ")
        while stage.server._tasks:  # nothing runs while it waits
            await asyncio.wait(stage.server._tasks)


async def test_a_lost_hint_is_made_up_for(stage: Stage) -> None:
    """Between processes hints may be lost; the next one shows by its modseq that something is missing."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(PERSONAL)
        session = session_of(stage)
        assert session.unsubscribe is not None
        session.unsubscribe()
        await stage.deliver(LOGIN, MESSAGE, "Archive")
        session.unsubscribe = stage.bus.subscribe(session.account_id, session.wake)
        await stage.deliver(LOGIN, MESSAGE, "Trash")
        told = {(await client.response()).split(b" (")[0] for _ in range(2)}
        assert told == {b"* STATUS Archive", b"* STATUS Trash"}


async def test_hints_about_nothing_do_no_harm(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(PERSONAL)
        for hint in (Hint(session_of(stage).account_id, 10**9), Hint(session_of(stage).account_id, 0), Hint(session_of(stage).account_id, 10**9, (999,))):
            stage.bus.publish([hint, hint])
        assert await client.ok(b"NOOP") == []
        await stage.deliver(LOGIN, MESSAGE)
        assert (await client.response()).startswith(b"* STATUS INBOX (MESSAGES 1 ")


async def test_too_much_at_once_ends_it(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path, structs.replace(TEST_LIMITS, imap_notify_lines=3)) as stage, ImapClient(stage.plain) as client, ImapClient(stage.plain) as other:
        await client.login(LOGIN)
        await client.ok(PERSONAL)
        await other.login(LOGIN)
        await other.ok(b"CREATE a/b/c/d")
        assert (await client.response()).startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
        await other.ok(b"CREATE e")
        assert await client.ok(b"NOOP") == []
        await client.ok(PERSONAL)  # it may begin anew
        await other.ok(b"CREATE f")
        assert await client.response() == b'* LIST () "/" f\r\n'


async def test_many_changes_are_told_to_the_end(stage: Stage) -> None:
    """Changes overtake the questions; the last STATUS must be the truth without a further hint."""
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"SELECT Trash")
        await client.ok(b"NOTIFY SET (selected (MessageNew (UID) MessageExpunge)) (personal (MessageNew MessageExpunge))")
        await asyncio.gather(*(stage.deliver(LOGIN, MESSAGE, mailbox) for mailbox in ("INBOX", "Archive", "Trash") for _ in range(20)))
        open_ends = {b"* STATUS INBOX (MESSAGES 20 ", b"* STATUS Archive (MESSAGES 20 ", b"* 20 EXISTS\r\n", b"* 20 FETCH (UID 20)"}
        while open_ends:
            response = await client.response()
            open_ends = {end for end in open_ends if not response.startswith(end)}


async def test_during_a_command_expunges_wait(stage: Stage) -> None:
    """`selected` tells EXPUNGE at any time, but never between the responses of a FETCH with sequence numbers."""
    async with ImapClient(stage.plain) as client, ImapClient(stage.plain) as other:
        await client.login(LOGIN)
        for _ in range(3):
            await client.append(MESSAGE, flags="\\Deleted")
        await client.ok(b"SELECT INBOX")
        await client.ok(b"NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))")
        await other.login(LOGIN)
        await other.ok(b"SELECT INBOX")
        await client.send(b"".join(b"f%d FETCH 1:3 UID\r\n" % number for number in range(50)))
        await other.ok(b"UID EXPUNGE 2")
        inside = [await client.until(b"f%d" % number) for number in range(50)]
        told = [line for untagged, _ in inside for line in untagged]
        if b"* 2 EXPUNGE\r\n" not in told:
            assert await client.response() == b"* 2 EXPUNGE\r\n"
        for untagged, _ in inside:  # where it came within the pipeline, it came before the FETCH responses of a command
            assert b"* 2 EXPUNGE\r\n" not in untagged[1:]
