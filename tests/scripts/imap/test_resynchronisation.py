"""A client that resynchronises by QRESYNC has the mailbox as it is: with history and without it, and while others write.

RFC 7162 §3.1.3, §3.2.5, §3.2.6.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from govmail.store import accounts, changes, collect
from govmail.store.accounts import INBOX_ID
from govmail.wire.imap.numset import NumSet, Ranges, from_numbers, print_ranges
from tests.kit.imap import ImapClient
from tests.kit.imap_server import NOW, Stage, person_id, running

MESSAGE = b"Subject: x\r\n\r\nx\r\n"
LOGIN = "sync@jx.example"
SYSTEM = ("\\Seen", "\\Flagged", "\\Answered")


@dataclass
class Copy:
    """A mailbox as a client keeps it between its connections."""

    uidvalidity: int = 0
    modseq: int = 0
    flags: dict[int, frozenset[str]] = field(default_factory=dict)

    @property
    def known(self) -> Ranges:
        return from_numbers(sorted(self.flags))

    def take(self, responses: Iterable[bytes]) -> None:
        for one in responses:
            if vanished := re.match(rb"\* VANISHED (?:\(EARLIER\) )?(\S+)\r\n", one):
                for first, last in NumSet.parse(vanished[1]).ranges:
                    for uid in [uid for uid in self.flags if first <= uid <= last]:
                        del self.flags[uid]
            elif fetched := re.match(rb"\* (?:[0-9]+ FETCH \(UID )?([0-9]+) (?:UIDFETCH \()?FLAGS \((.*?)\)", one):
                self.flags[int(fetched[1])] = frozenset(fetched[2].decode().split()) - {"\\Recent"}
            elif validity := re.match(rb"\* OK \[UIDVALIDITY ([0-9]+)\]", one):
                self.uidvalidity = int(validity[1])
            elif highest := re.match(rb"\* OK \[HIGHESTMODSEQ ([0-9]+)\]", one):
                self.modseq = int(highest[1])


async def opened(stage: Stage) -> ImapClient:
    client = await ImapClient(stage.plain).__aenter__()
    await client.login(LOGIN)
    await client.ok(b"ENABLE QRESYNC")
    return client


async def truth(client: ImapClient) -> dict[int, frozenset[str]]:
    """The mailbox, asked for anew."""
    copy = Copy()
    await client.ok(b"SELECT INBOX")
    copy.take(await client.ok(b"UID FETCH 1:* (FLAGS)"))
    return copy.flags


async def change(client: ImapClient, dice: random.Random, times: int) -> None:
    """Whatever clients do."""
    for _ in range(times):
        what = dice.random()
        some = b"%d:%d" % tuple(sorted((dice.randint(1, 40), dice.randint(1, 40))))
        if what < 0.3:
            await client.append(MESSAGE)
        elif what < 0.7:
            await client.ok(b"UID STORE %b %b (%b)" % (some, dice.choice((b"+FLAGS.SILENT", b"-FLAGS")), dice.choice(SYSTEM).encode()))
        else:
            uid = dice.randint(1, 40)
            await client.ok(b"UID STORE %d +FLAGS.SILENT (\\Deleted)" % uid)
            await client.ok(b"UID EXPUNGE %d" % uid)


async def several(stage: Stage, number: int) -> list[ImapClient]:
    """Clients that have selected a mailbox of twenty messages."""
    clients = [await opened(stage) for _ in range(number)]
    for _ in range(20):
        await clients[0].append(MESSAGE)
    for client in clients:
        await client.ok(b"SELECT INBOX")
    return clients


async def while_they_write(writers: list[ImapClient], follow: Callable[[], Awaitable[None]]) -> None:
    """`follow` again and again while all of them change things, and once when they are done."""
    writing = [asyncio.ensure_future(change(client, random.Random(number), 40)) for number, client in enumerate(writers)]
    while not all(one.done() for one in writing):
        await follow()
    await asyncio.gather(*writing)
    await follow()


@pytest.mark.parametrize("seed", range(4))
async def test_without_history_the_same_mailbox_comes_out(url: str, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with running(url, tmp_path) as stage:
        client = await opened(stage)
        for _ in range(20):
            await client.append(MESSAGE)
        await client.ok(b"SELECT INBOX")
        await change(client, dice, 10)
        old = Copy()
        old.take(await client.ok(b"SELECT INBOX"))
        old.take(await client.ok(b"UID FETCH 1:* (FLAGS)"))
        await change(client, dice, 30)
        now = await truth(client)
        account = await stage.database.read(accounts.find, person_id(LOGIN))
        assert account is not None

        # Where the client and the server agree, taken from what the client has: every third message.
        agreed = [(number, uid) for number, uid in enumerate(sorted(old.flags), 1) if number % 3 == 1]
        numbers, uids = (print_ranges(from_numbers(side)) for side in zip(*agreed, strict=True))
        state = b"%d %d" % (old.uidvalidity, old.modseq)
        ways = [
            b"SELECT INBOX (QRESYNC (%b))" % state,
            b"SELECT INBOX (QRESYNC (%b %b (%b %b)))" % (state, print_ranges(old.known) + b",%d:1000" % (max(old.flags) + 1), numbers, uids),
            b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d VANISHED)" % old.modseq,
        ]
        for remembered in (True, False):
            if not remembered:
                await stage.database.write(collect.history, after=0, upto=account.account_id, now=NOW + 2 * collect.HISTORY_SECONDS)
            vanished = await stage.database.read(changes.vanished, account.account_id, INBOX_ID, old.modseq)
            assert (vanished is not None) is remembered
            for way in ways:
                await client.ok(b"SELECT INBOX")
                copy = Copy(old.uidvalidity, old.modseq, dict(old.flags))
                copy.take(await client.ok(way))
                assert copy.flags == now, (remembered, way)
        # From a store that was brought back from a backup: a modseq that has not been yet.
        copy = Copy(old.uidvalidity, old.modseq, {**old.flags, 500: frozenset()})
        copy.take(await client.ok(b"SELECT INBOX (QRESYNC (%d %d %b,500))" % (old.uidvalidity, 10**9, print_ranges(old.known))))
        assert copy.flags == {uid: flags for uid, flags in now.items() if uid in old.flags}
        await client.__aexit__(None, None, None)


async def test_the_same_while_others_write(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as stage:
        writers = await several(stage, 3)
        copy = Copy()
        follower = await opened(stage)
        copy.take(await follower.ok(b"SELECT INBOX"))
        copy.take(await follower.ok(b"UID FETCH 1:* (FLAGS)"))

        async def follow() -> None:
            copy.take(await follower.ok(b"SELECT INBOX (QRESYNC (%d %d))" % (copy.uidvalidity, copy.modseq)))

        await while_they_write(writers, follow)
        assert copy.flags == await truth(writers[0])
        for client in (*writers, follower):
            await client.__aexit__(None, None, None)


@pytest.mark.parametrize("enabled", [b"QRESYNC", b"QRESYNC UIDONLY IMAP4rev2"])
async def test_what_is_told_unasked_keeps_a_client_in_step(url: str, tmp_path: Path, enabled: bytes) -> None:
    async with running(url, tmp_path) as stage:
        writers = await several(stage, 2)
        copy = Copy()
        follower = await opened(stage)
        await follower.ok(b"ENABLE " + enabled)
        copy.take(await follower.ok(b"SELECT INBOX"))
        highest = 0

        async def follow() -> None:
            nonlocal highest
            copy.take(await follower.ok(b"NOOP"))
            copy.take(await follower.ok(b"UID FETCH %d:* (FLAGS)" % (highest + 1)))
            highest = max([highest, *copy.flags])

        await while_they_write(writers, follow)
        assert copy.flags == await truth(writers[0])
        for client in (*writers, follower):
            await client.__aexit__(None, None, None)


async def test_of_writers_that_know_the_same_state_one_wins(url: str, tmp_path: Path) -> None:
    """STORE (UNCHANGEDSINCE): as clients share work by marking what they take."""
    async with running(url, tmp_path) as stage:
        clients = [await opened(stage) for _ in range(5)]
        for _ in range(30):
            await clients[0].append(MESSAGE)
        modseqs = []
        for client in clients:
            copy = Copy()
            copy.take(await client.ok(b"SELECT INBOX"))
            modseqs.append(copy.modseq)
        assert len(set(modseqs)) == 1

        async def claim(number: int, client: ImapClient) -> set[int]:
            """The UIDs that were this client's to take."""
            taken: set[int] = set()
            order = list(range(1, 31))
            random.Random(number).shuffle(order)
            for uid in order:
                _, tagged = await client.command(b"UID STORE %d (UNCHANGEDSINCE %d) +FLAGS.SILENT (worker%d)" % (uid, modseqs[0], number))
                assert re.match(rb"OK (\[MODIFIED %d\])?" % uid, tagged)
                if b"MODIFIED" not in tagged:
                    taken.add(uid)
            return taken

        taken = await asyncio.gather(*(claim(number, client) for number, client in enumerate(clients)))
        assert sorted(uid for one in taken for uid in one) == list(range(1, 31))
        stored = await truth(clients[0])
        assert stored == {uid: frozenset({f"worker{number}"}) for number, one in enumerate(taken) for uid in one}
        for client in clients:
            await client.__aexit__(None, None, None)
