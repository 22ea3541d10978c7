"""Capabilities that are switched off: for a listener, for an account; what is announced and what works go together."""

from __future__ import annotations

import pytest

from govmail.config import Listener
from govmail.imap.capabilities import SWITCHES, with_dependents
from govmail.imap.quirks import unfit
from govmail.store import accounts
from tests.kit.imap import ImapClient
from tests.kit.imap_server import NOW, Stage, person_id

LOGIN = "broken-client@jx.example"


async def switched_off(stage: Stage, *names: str) -> ImapClient:
    await stage.database.write(accounts.ensure, person_id(LOGIN), now=NOW)
    await stage.database.write(accounts.set_without, person_id(LOGIN), names)
    return await ImapClient(stage.plain).__aenter__()


async def announced(client: ImapClient) -> set[str]:
    (line,) = await client.ok(b"CAPABILITY")
    return set(line.decode().split()[2:])


async def test_a_verb_is_gone_with_its_capability(stage: Stage) -> None:
    client = await switched_off(stage, "MOVE")
    assert "IMAP4rev2" in await announced(client)  # nobody knows yet who it will be
    _, tagged = await client.command(f"LOGIN {LOGIN} secret".encode())
    assert b" MOVE" not in tagged
    names = await announced(client)
    assert "UIDPLUS" in names
    assert not names & {"MOVE", "IMAP4rev2"}  # IMAP4rev2 contains MOVE
    await client.ok(b"SELECT INBOX")
    assert (await client.command(b"UID MOVE 1 Trash"))[1] == b"BAD unknown command\r\n"
    assert await client.ok(b"ENABLE IMAP4rev2") == [b"* ENABLED\r\n"]
    # somebody else on the same connection has it
    await client.ok(b"UNAUTHENTICATE")
    await client.login("other@jx.example")
    assert {"MOVE", "IMAP4rev2"} <= await announced(client)
    await client.__aexit__(None, None, None)


async def test_without_condstore_nothing_of_it_works(stage: Stage) -> None:
    client = await switched_off(stage, "CONDSTORE")
    await client.login(LOGIN)
    assert not await announced(client) & {"CONDSTORE", "QRESYNC"}
    assert await client.ok(b"ENABLE CONDSTORE QRESYNC UTF8=ACCEPT") == [b"* ENABLED UTF8=ACCEPT\r\n"]
    for command in (b"SELECT INBOX (CONDSTORE)", b"SELECT INBOX (QRESYNC (1 1))", b"STATUS INBOX (HIGHESTMODSEQ)"):
        assert (await client.command(command))[1].startswith(b"BAD"), command
    await client.append(b"Subject: x\r\n\r\n")
    assert not [line for line in await client.ok(b"SELECT INBOX") if b"MODSEQ" in line]
    for command in (b"FETCH 1 MODSEQ", b"FETCH 1 FLAGS (CHANGEDSINCE 1)", b"STORE 1 (UNCHANGEDSINCE 1) FLAGS ()", b"SEARCH MODSEQ 1"):
        assert (await client.command(command))[1].startswith(b"BAD"), command
    assert await client.ok(b"STORE 1 FLAGS (\\Seen)") == [b"* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"]
    await client.__aexit__(None, None, None)


async def test_a_listener_without_rev2(stage: Stage) -> None:
    listener = Listener(name="old", protocol="imap", port=0, tls="none", allow_plain_login=True, imap4rev2=False)
    listening = await stage.server.start(listener)
    async with ImapClient(listening.sockets[0].getsockname()[1]) as client:
        assert b"IMAP4rev2" not in client.greeting
        await client.login(LOGIN)
        names = await announced(client)
        assert "IMAP4rev1" in names
        assert "IMAP4rev2" not in names
        assert await client.ok(b"ENABLE IMAP4rev2 QRESYNC") == [b"* ENABLED QRESYNC\r\n"]
        await client.ok(b"UNAUTHENTICATE")
        assert "IMAP4rev2" not in await announced(client)


async def test_connections_share_what_is_off(stage: Stage) -> None:
    """An idle connection holds a pointer, not a set of its own."""
    async with ImapClient(stage.plain) as one, ImapClient(stage.plain) as two:
        for client in (one, two):
            await client.login("a@jx.example")
            await client.ok(b"ENABLE QRESYNC IMAP4rev2")
        first, second = stage.server._sessions
        assert first.without is second.without
        assert first.enabled is second.enabled


def test_what_builds_on_it_is_off_with_it() -> None:
    assert with_dependents({"ENABLE"}) == {"ENABLE", "QRESYNC", "UTF8=ACCEPT", "UIDONLY", "IMAP4rev2"}
    assert with_dependents(()) == frozenset()
    assert not {"IMAP4rev1", "AUTH=PLAIN", "STARTTLS", "LOGINDISABLED"} & set(SWITCHES)


@pytest.mark.parametrize(
    ("pairs", "apple"),
    [
        ((("name", "iPhone Mail"), ("os", "iOS")), True),
        ((("name", "iPad Mail"),), True),
        ((("name", "Mac OS X Mail"), ("version", "16.0 (3774.600.62)"), ("os", "Mac OS X")), True),
        ((("name", "com.apple.email.maild"), ("vendor", "Apple Inc")), True),
        ((("name", "com.apple.mobilemail"),), True),
        ((("vendor", "Apple Inc."),), True),
        ((("name", "Outlook-iOS-Android"),), False),
        ((("name", "Thunderbird"), ("os", "Mac OS X")), False),
        ((("name", "Pineapple Mail"),), False),
        ((("name", "Foxmail"), ("vendor", "Tencent")), False),
        ((), False),
    ],
)
def test_who_is_apple(pairs: tuple[tuple[str, str], ...], apple: bool) -> None:
    assert unfit(pairs) == ({"IMAP4rev2"} if apple else set())
