r"""Three clients on the mailboxes of one account: random commands, each client's view from its responses alone, a reference beside.

After every response each view keeps the protocol; what commands answer is what the reference says; after NOOP and at
the end of IDLE a view is the reference. `GOVMAIL_PROPERTY_EXAMPLES` asks for more than the few examples of a normal run.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage, running
from tests.kit.imap_view import ClientView, History

T = TypeVar("T")

EXAMPLES = int(os.environ.get("GOVMAIL_PROPERTY_EXAMPLES", "15"))
ACCOUNTS = count(1)
SEEN, DELETED, RECENT = b"\\Seen", b"\\Deleted", b"\\Recent"
FLAGS = (SEEN, DELETED, b"\\Flagged", b"\\Answered", b"work", b"$later")
_COPYUID = re.compile(rb"\[COPYUID ([0-9]+) ([0-9:,]+) ([0-9:,]+)\]")

clients = st.integers(0, 2)
boxes = st.integers(0, 5)
sets = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=3)
flag_sets = st.frozensets(st.sampled_from(FLAGS), max_size=3)
operations = st.sampled_from(["", "+", "-"])


@dataclass
class Box:
    """A mailbox as it should be: uid -> (number of the message, flags)."""

    name: str
    uidvalidity: int = 0  # 0: learnt from the first answer that tells it
    uid_next: int = 1
    messages: dict[int, tuple[int, frozenset[bytes]]] = field(default_factory=dict)

    def add(self, number: int, flags: frozenset[bytes]) -> int:
        self.messages[self.uid_next] = (number, flags)
        self.uid_next += 1
        return self.uid_next - 1

    def valid(self, uidvalidity: int) -> None:
        assert self.uidvalidity in (0, uidvalidity), (self.name, self.uidvalidity, uidvalidity)
        self.uidvalidity = uidvalidity


class Client:
    """A connection, what is selected on it, and what its responses told."""

    def __init__(self, connection: ImapClient) -> None:
        self.connection = connection
        self.box: Box | None = None
        self.view = ClientView()
        self.idling = False

    async def command(self, text: bytes) -> tuple[list[bytes], bytes]:
        """Send, and believe what comes back."""
        words = text.upper().split(b" ")
        name = b" ".join(words[: 2 if words[0] == b"UID" else 1])
        untagged, tagged = await self.connection.command(text)
        for response in untagged:
            self.view.hear(response, name)
        return untagged, tagged

    async def ok(self, text: bytes) -> tuple[list[bytes], bytes]:
        untagged, tagged = await self.command(text)
        assert tagged.startswith(b"OK"), (text, tagged)
        return untagged, tagged

    async def learn(self) -> None:
        """UIDs and flags of what only EXISTS has told so far."""
        while (unknown := self.view.unknown) is not None:
            before = len(self.view.messages)
            _, tagged = await self.ok(b"FETCH %d:%d (UID FLAGS)" % unknown)
            if self.view.unknown == unknown and len(self.view.messages) == before:
                # Expunged by others before this client learnt what they were.
                assert b"EXPUNGEISSUED" in tagged, tagged
                await self.ok(b"NOOP")


class ThreeClients(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, stage: Stage) -> None:
        super().__init__()
        self.run_async = runner.run
        self.stage = stage
        self.login = f"account-{next(ACCOUNTS)}@jx.example"
        self.clients: list[Client] = []
        self.history = History()
        self.boxes = [Box("INBOX"), Box("Archive"), Box("Trash")]
        self.names = count(1)
        self.numbers = count(1)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return cast(T, self.run_async(work))

    @initialize(marks=st.lists(flag_sets, min_size=3, max_size=6))
    def begin(self, marks: list[frozenset[bytes]]) -> None:
        async def connect() -> None:
            for _ in range(3):
                connection = await ImapClient(self.stage.plain).__aenter__()
                await connection.login(self.login)
                self.clients.append(Client(connection))

        self.wait(connect())
        for flags in marks:
            self.append(0, 0, flags)
        for which in range(3):
            self.select(which, 0, False)

    def teardown(self) -> None:
        async def leave() -> None:
            for client in self.clients:
                await client.connection.__aexit__(None, None, None)

        self.wait(leave())

    # -- helpers --------------------------------------------------------------------------------------------------

    def _box(self, index: int) -> Box:
        return self.boxes[index % len(self.boxes)]

    async def _ready(self, which: int, *, writes: bool = False) -> Client | None:
        """The client out of IDLE, with a mailbox in which it knows something."""
        client = await self._awake(which)
        if client.box is None or (writes and client.view.read_only):
            return None
        await client.learn()
        return client if client.view.messages else None

    async def _awake(self, which: int) -> Client:
        client = self.clients[which]
        if client.idling:
            client.idling = False
            await client.connection.send(b"DONE\r\n")
            untagged, tagged = await client.connection.until(b"idle")
            assert tagged.startswith(b"idle OK"), tagged
            for response in untagged:
                client.view.hear(response, b"IDLE")
            self._is_reference(client)
        return client

    def _is_reference(self, client: Client) -> None:
        """Everything that this client was told is what is there."""
        if client.box is None:
            return
        there = client.box.messages
        assert len(client.view.messages) == len(there)
        for one, uid in zip(client.view.messages, sorted(there), strict=True):
            assert one.uid in (0, uid)
            if one.flags is not None:
                assert one.flags - {RECENT} == there[uid][1], uid

    def _chosen(self, client: Client, wanted: list[tuple[int, int]], *, by_uid: bool) -> tuple[bytes, list[int]]:
        """A sequence set within what the client knows, and the UIDs of it that are still there."""
        known, size = client.view.uids, len(client.view.messages)
        pieces, numbers = [], set()
        for start, more in wanted:
            first = start % size
            last = min(first + more, size - 1)
            numbers.update(range(first, last + 1))
            pieces.append(b"%d:%d" % ((known[first], known[last]) if by_uid else (first + 1, last + 1)))
        assert client.box is not None
        return b",".join(pieces), sorted(known[number] for number in numbers if known[number] in client.box.messages)

    # -- what clients do ------------------------------------------------------------------------------------------

    @rule(which=clients, into=boxes, flags=flag_sets)
    def append(self, which: int, into: int, flags: frozenset[bytes]) -> None:
        async def act() -> None:
            client, box, number = await self._awake(which), self._box(into), next(self.numbers)
            message = b"Subject: number %d\r\n\r\nx\r\n" % number
            _, tagged = await client.ok(b"APPEND %b (%b) {%d+}\r\n%b" % (box.name.encode(), b" ".join(flags), len(message), message))
            found = re.search(rb"\[APPENDUID ([0-9]+) ([0-9]+)\]", tagged)
            assert found is not None, tagged
            box.valid(int(found[1]))
            assert box.add(number, flags) == int(found[2])

        self.wait(act())

    @rule(into=boxes)
    def deliver(self, into: int) -> None:
        box, number = self._box(into), next(self.numbers)
        self.wait(self.stage.deliver(self.login, b"Subject: number %d\r\n\r\nx\r\n" % number, box.name))
        box.add(number, frozenset())

    @rule(which=clients, into=boxes, read_only=st.booleans())
    def select(self, which: int, into: int, read_only: bool) -> None:
        async def act() -> None:
            client = await self._awake(which)
            box = self._box(into)
            client.box, client.view = None, ClientView(self.history, id(box), read_only=read_only)
            _, tagged = await client.ok((b"EXAMINE " if read_only else b"SELECT ") + box.name.encode())
            assert (b"[READ-ONLY]" in tagged) == read_only
            client.box = box
            box.valid(client.view.uidvalidity)
            assert client.view.uidnext == box.uid_next
            self._is_reference(client)
            assert client.view.recent <= len(client.view.messages)
            await client.learn()
            self._is_reference(client)
            assert sum(RECENT in (one.flags or ()) for one in client.view.messages) == client.view.recent

        self.wait(act())

    @rule(which=clients, wanted=sets, by_uid=st.booleans(), silent=st.booleans(), operation=operations, flags=flag_sets)
    def store(self, which: int, wanted: list[tuple[int, int]], by_uid: bool, silent: bool, operation: str, flags: frozenset[bytes]) -> None:
        async def act() -> None:
            client = await self._ready(which, writes=True)
            if client is None or client.box is None:
                return
            numbers, uids = self._chosen(client, wanted, by_uid=by_uid)
            command = b"%bSTORE %b %bFLAGS%b (%b)" % (b"UID " * by_uid, numbers, operation.encode(), b".SILENT" * silent, b" ".join(flags))
            await client.ok(command)
            for uid in uids:
                number, old = client.box.messages[uid]
                new = {"": flags, "+": old | flags, "-": old - flags}[operation]
                client.box.messages[uid] = (number, new)
            for one in client.view.messages:
                if one.uid not in uids:
                    continue
                if silent and one.flags is not None:  # the client knows what it has done itself
                    own = {"": flags, "+": one.flags | flags, "-": one.flags - flags}[operation]
                    one.flags = own | (one.flags & {RECENT})
                elif not silent:
                    assert (one.flags or frozenset()) - {RECENT} == client.box.messages[one.uid][1]

        self.wait(act())

    @rule(which=clients, wanted=sets, by_uid=st.booleans(), peek=st.booleans())
    def fetch(self, which: int, wanted: list[tuple[int, int]], by_uid: bool, peek: bool) -> None:
        async def act() -> None:
            client = await self._ready(which)
            if client is None or client.box is None:
                return
            numbers, uids = self._chosen(client, wanted, by_uid=by_uid)
            untagged, tagged = await client.ok(b"%bFETCH %b (UID FLAGS BODY%b[HEADER.FIELDS (SUBJECT)])" % (b"UID " * by_uid, numbers, b".PEEK" * peek))
            if not peek and not client.view.read_only:
                for uid in uids:
                    number, old = client.box.messages[uid]
                    client.box.messages[uid] = (number, old | {SEEN})
            got = [re.match(rb"\* \d+ FETCH \(UID (\d+) FLAGS \([^)]*\) BODY\[HEADER\.FIELDS \(SUBJECT\)\] \{\d+\}\r\nSubject: number (\d+)\r\n", one) for one in untagged]
            told = [(int(one[1]), int(one[2])) for one in got if one is not None]
            assert told == [(uid, client.box.messages[uid][0]) for uid in uids]  # all of them, ascending, the right message
            assert by_uid or (b"EXPUNGEISSUED" in tagged) == any(
                uid not in client.box.messages for uid in self._named(client, numbers)
            )

        self.wait(act())

    def _named(self, client: Client, numbers: bytes) -> list[int]:
        """UIDs of a set of sequence numbers."""
        return [client.view.uids[n - 1] for piece in numbers.split(b",") for n in range(int(piece.split(b":")[0]), int(piece.split(b":")[1]) + 1)]

    @rule(which=clients, key=st.sampled_from([b"DELETED", b"UNDELETED", b"SEEN", b"UNSEEN", b"KEYWORD work", b"ALL"]), by_uid=st.booleans())
    def search(self, which: int, key: bytes, by_uid: bool) -> None:
        async def act() -> None:
            client = await self._ready(which)
            if client is None or client.box is None:
                return
            known = client.view.uids
            untagged, _ = await client.ok(b"%bSEARCH %b" % (b"UID " * by_uid, key))
            (line,) = [one for one in untagged if one.startswith(b"* SEARCH")]
            holds = {
                b"DELETED": lambda flags: DELETED in flags, b"UNDELETED": lambda flags: DELETED not in flags,
                b"SEEN": lambda flags: SEEN in flags, b"UNSEEN": lambda flags: SEEN not in flags,
                b"KEYWORD work": lambda flags: b"work" in flags, b"ALL": lambda flags: True,
            }[key]  # fmt: skip
            there = client.box.messages
            expected = [uid if by_uid else n for n, uid in enumerate(known, 1) if uid in there and holds(there[uid][1])]
            assert [int(word) for word in line.split()[2:]] == expected

        self.wait(act())

    @rule(which=clients, into=boxes, wanted=sets, by_uid=st.booleans(), move=st.booleans())
    def transfer(self, which: int, into: int, wanted: list[tuple[int, int]], by_uid: bool, move: bool) -> None:
        async def act() -> None:
            client = await self._ready(which, writes=move)
            if client is None or client.box is None:
                return
            target = self._box(into)
            numbers, uids = self._chosen(client, wanted, by_uid=by_uid)
            untagged, tagged = await client.ok(b"%b%b %b %b" % (b"UID " * by_uid, b"MOVE" if move else b"COPY", numbers, target.name.encode()))
            codes = [found for line in (*untagged, b"* " + tagged) if (found := _COPYUID.search(line))]
            copied = [client.box.messages.pop(uid) if move else client.box.messages[uid] for uid in uids]
            made = [target.add(*one) for one in copied]
            assert len(codes) == (1 if uids else 0)
            for found in codes:
                target.valid(int(found[1]))
                assert (expanded(found[2]), expanded(found[3])) == (uids, made)
            assert not move or not set(uids) & set(client.view.uids)  # a MOVE tells what it has removed

        self.wait(act())

    @rule(which=clients, wanted=st.none() | sets)
    def expunge(self, which: int, wanted: list[tuple[int, int]] | None) -> None:
        async def act() -> None:
            client = await self._ready(which, writes=True)
            if client is None or client.box is None:
                return
            command, candidates = b"EXPUNGE", [uid for uid in client.view.uids if uid in client.box.messages]
            if wanted is not None:
                numbers, candidates = self._chosen(client, wanted, by_uid=True)
                # a range of UIDs takes what lies between, whether this client knows it or not
                command = b"UID EXPUNGE " + numbers
            await client.ok(command)
            gone = {uid for uid in candidates if DELETED in client.box.messages[uid][1]}
            for uid in gone:
                del client.box.messages[uid]
            assert not gone & set(client.view.uids)

        self.wait(act())

    @rule(which=clients)
    def noop(self, which: int) -> None:
        async def act() -> None:
            client = await self._awake(which)
            await client.ok(b"NOOP")
            self._is_reference(client)

        self.wait(act())

    @rule(which=clients)
    def idle(self, which: int) -> None:
        """IDLE tells what has happened before it says that it waits."""

        async def act() -> None:
            client = await self._awake(which)
            client.idling = True
            await client.connection.send(b"idle IDLE\r\n")
            while not (response := await client.connection.response()).startswith(b"+"):
                client.view.hear(response, b"IDLE")
            self._is_reference(client)

        self.wait(act())

    @rule(which=clients)
    def unselect(self, which: int) -> None:
        async def act() -> None:
            client = await self._awake(which)
            if client.box is not None:
                await client.ok(b"UNSELECT")
                client.box, client.view = None, ClientView()

        self.wait(act())

    @rule(which=clients, into=boxes)
    def status(self, which: int, into: int) -> None:
        async def act() -> None:
            client, box = await self._awake(which), self._box(into)
            untagged, _ = await client.ok(b"STATUS %b (MESSAGES UIDNEXT UNSEEN)" % box.name.encode())
            unseen = sum(SEEN not in flags for _, flags in box.messages.values())
            assert untagged[0] == b"* STATUS %b (MESSAGES %d UIDNEXT %d UNSEEN %d)\r\n" % (box.name.encode(), len(box.messages), box.uid_next, unseen)

        self.wait(act())

    @rule(which=clients)
    def create(self, which: int) -> None:
        async def act() -> None:
            if len(self.boxes) < 6:
                client, box = await self._awake(which), Box(f"box-{next(self.names)}")
                await client.ok(b"CREATE " + box.name.encode())
                self.boxes.append(box)

        self.wait(act())

    @rule(which=clients, old=boxes)
    def rename(self, which: int, old: int) -> None:
        async def act() -> None:
            client, box, new = await self._awake(which), self._box(old), f"box-{next(self.names)}"
            if box.name == "INBOX" and len(self.boxes) >= 6:
                return
            await client.ok(f"RENAME {box.name} {new}".encode())
            if box.name == "INBOX":  # RFC 3501 §6.3.5: its messages move, INBOX stays
                self.boxes.append(Box(new, 0, box.uid_next, dict(box.messages)))
                box.messages.clear()
            else:
                box.name, box.uidvalidity = new, 0

        self.wait(act())

    @invariant()
    def nobody_knows_a_message_that_never_was(self) -> None:
        for client in self.clients:
            if client.box is not None:
                assert all(uid < client.box.uid_next for uid in client.view.uids)


def expanded(numbers: bytes) -> list[int]:
    """A uid-set as numbers."""
    found: list[int] = []
    for piece in numbers.split(b","):
        first, _, last = piece.partition(b":")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def test_three_clients_and_the_reference(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        stage = runner.run(stack.enter_async_context(running("sqlite://", tmp_path)))
        try:
            run_state_machine_as_test(
                cast(type[ThreeClients], lambda: ThreeClients(runner, stage)),
                settings=settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False),
            )
        finally:
            runner.run(stack.aclose())
