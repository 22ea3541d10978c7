r"""One client of the stress program: random commands, every response checked, and what all clients of an account know together.

Checked: the protocol (tests/kit/imap_view.py); one message for ever behind each UID of a mailbox; that STORE answers
what it stored; APPENDUID and COPYUID; that nothing is lost that nobody marked \Deleted; in the end, that every view is
what a fresh session sees.
"""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass, field

from tests.kit.imap import ImapClient
from tests.kit.imap_view import BrokenRule, ClientView, History

BOXES = ("INBOX", "Archive", "Trash", *(f"box-{number}" for number in range(5)))
FLAGS = (b"\\Seen", b"\\Flagged", b"\\Answered", b"work", b"$later")
DIALOGUE = 300  # lines kept of each connection
_ROW = re.compile(rb"\* (\d+) FETCH \(UID (\d+) FLAGS \(([^)]*)\)(?: BODY\[HEADER\.FIELDS \(SUBJECT\)\] \{\d+\}\r\nSubject: number (\d+))?")
_COPYUID = re.compile(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]")
_APPENDUID = re.compile(rb"\[APPENDUID (\d+) (\d+)\]")
_NUMBERS_IN_USE = re.compile(rb"(FETCH|STORE|SEARCH) ")

Place = tuple[str, int]
"""A mailbox for ever: its name and UIDVALIDITY."""


@dataclass
class Account:
    """What its clients know together. `numbers`: which message stands behind a UID; `doomed`: those that may vanish."""

    login: str
    numbers: dict[Place, dict[int, int]] = field(default_factory=dict)
    history: History = field(default_factory=History)
    born: set[int] = field(default_factory=set)
    doomed: set[int] = field(default_factory=set)

    def is_number(self, place: Place, uid: int, number: int) -> None:
        """Raises BrokenRule when another message was there."""
        before = self.numbers.setdefault(place, {}).setdefault(uid, number)
        if before != number:
            raise BrokenRule(f"{place} UID {uid} was message {before} and is {number}")


class Gone(Exception):
    """The connection has ended as it may."""


class Client:
    """One connection of an account; `step` until it raises."""

    def __init__(self, connection: ImapClient, account: Account, numbers: list[int], chance: random.Random, *, watches: bool) -> None:
        self.connection = connection
        self.account = account
        self._numbers = numbers  # one counter for all
        self._chance = chance
        self.watches = watches  # uses NOTIFY, and therefore UIDs only
        self.place: Place | None = None
        self.view = ClientView()
        self.dialogue: deque[bytes] = deque(maxlen=DIALOGUE)
        self.commands = 0
        self._tags = 0

    # -- talking --------------------------------------------------------------------------------------------------

    async def commands_of(self, *texts: bytes) -> list[tuple[list[bytes], bytes]]:
        """All of them in one write; what each was answered. Responses are believed as they come."""
        tags = [b"s%d" % (self._tags + number) for number in range(len(texts))]
        self._tags += len(texts)
        self.commands += len(texts)
        octets = b"".join(tag + b" " + text + b"\r\n" for tag, text in zip(tags, texts, strict=True))
        self.dialogue.append(b"C: " + octets[:2000])
        await self.connection.send(octets)
        return [await self._answer(tag, text) for tag, text in zip(tags, texts, strict=True)]

    async def command(self, text: bytes) -> tuple[list[bytes], bytes]:
        return (await self.commands_of(text))[0]

    async def _answer(self, tag: bytes, text: bytes) -> tuple[list[bytes], bytes]:
        name = b"" if self.watches or text.startswith(b"UID ") else text.split(b" ")[0]
        untagged: list[bytes] = []
        while True:
            response = await self.connection.response()
            self.dialogue.append(b"S: " + response[:300])
            if not response:
                raise BrokenRule(f"connection closed in answer to {text[:100]!r}")
            if response.startswith(tag + b" "):
                return untagged, response[len(tag) + 1 :]
            if response.startswith(b"* BYE"):
                raise BrokenRule(f"{response!r} in answer to {text[:100]!r}")
            self.view.hear(response, b"UID " if text.startswith(b"UID ") and not self.watches else name)
            self._believe(response)
            untagged.append(response)

    def _believe(self, response: bytes) -> None:
        row = _ROW.match(response)
        if row is not None and row[4] is not None and self.place is not None:
            self.account.is_number(self.place, int(row[2]), int(row[4]))

    async def ok(self, text: bytes) -> tuple[list[bytes], bytes]:
        untagged, tagged = await self.command(text)
        if not tagged.startswith(b"OK"):
            raise BrokenRule(f"{text[:200]!r} was answered {tagged!r}")
        return untagged, tagged

    # -- what it does ---------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        await self.connection.login(self.account.login, "pass")
        if self.watches:
            await self.ok(b"NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange MailboxName))")
        await self.select()

    async def step(self) -> None:
        acts = {
            self.select: 4, self.look: 10, self.append: 6, self.store: 12, self.doom: 4, self.expunge: 4, self.copy: 3, self.move: 5,
            self.search: 3, self.idle: 4, self.noop: 8, self.status: 2, self.names: 1, self.pipeline: 6, self.vanish: 1,
        }  # fmt: skip
        (act,) = self._chance.choices(list(acts), list(acts.values()))
        await act()

    async def select(self) -> None:
        name = self._chance.choice(BOXES)
        if self.watches and self.place is not None:
            await self.ok(b"UNSELECT")  # or news of this mailbox could be taken for news of the next one
        read_only = self._chance.random() < 0.1
        self.place, self.view = None, ClientView(self.account.history, read_only=read_only)
        _, tagged = await self.command((b"EXAMINE " if read_only else b"SELECT ") + name.encode())
        if tagged.startswith(b"NO [NONEXISTENT]"):
            await self.command(b"CREATE " + name.encode())
            return
        self.place = self.view.place = name, self.view.uidvalidity
        await self.look()

    async def look(self) -> None:
        """UIDs, flags and numbers of what is not known yet."""
        if not self.view.messages or self.place is None:
            return
        if self.watches:
            await self.ok(b"UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        else:
            first, last = self.view.unknown or (1, len(self.view.messages))
            await self.ok(b"FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])" % (first, last))

    def _known(self) -> list[int]:
        """UIDs whose message this client knows."""
        known = self.account.numbers.get(self.place, {}) if self.place is not None else {}
        return [uid for uid in self.view.uids if uid in known]

    def _some(self) -> bytes:
        """A set of UIDs, each of which is known."""
        known = self._known()
        return b",".join(b"%d" % uid for uid in sorted(self._chance.sample(known, min(len(known), self._chance.randint(1, 6)))))

    async def append(self) -> None:
        number = self._numbers.pop()
        name, flags = self._chance.choice(BOXES[:3]), self._chance.sample(FLAGS, 2)
        message = b"Subject: number %d\r\nFrom: a@bench.test\r\n\r\n%b\r\n" % (number, b"x" * self._chance.choice((10, 1000, 100_000)))
        _, tagged = await self.ok(b"APPEND %b (%b) {%d+}\r\n%b" % (name.encode(), b" ".join(flags), len(message), message))
        found = _APPENDUID.search(tagged)
        if found is None:
            raise BrokenRule(f"no APPENDUID: {tagged!r}")
        self.account.born.add(number)
        self.account.is_number((name, int(found[1])), int(found[2]), number)

    async def store(self) -> None:
        if not (uids := self._some()) or self.view.read_only:
            return
        flag, sign = self._chance.choice(FLAGS), self._chance.choice((b"+", b"-"))
        silent = b".SILENT" * (self._chance.random() < 0.3)
        untagged, _ = await self.ok(b"UID STORE %b %bFLAGS%b (%b)" % (uids, sign, silent, flag))
        if silent:
            for one in self.view.messages:  # what it did itself it must know; what others did is told at the next question
                if one.flags is not None and b"%d" % one.uid in uids.split(b","):
                    one.flags = one.flags | {flag} if sign == b"+" else one.flags - {flag}
            return
        told: set[int] = set()
        for response in untagged:
            row = re.match(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\)\)", response)
            if row is None or int(row[1]) in told or row[1] not in uids.split(b","):
                continue
            told.add(int(row[1]))
            if not self.watches and (flag in row[2].split()) != (sign == b"+"):
                raise BrokenRule(f"{sign!r} {flag!r} was stored, and the answer is {response!r}")

    async def doom(self) -> None:
        if not (uids := self._some()) or self.view.read_only or self.place is None:
            return
        known = self.account.numbers[self.place]
        self.account.doomed.update(known[int(uid)] for uid in uids.split(b","))
        await self.ok(b"UID STORE %b +FLAGS (\\Deleted)" % uids)

    async def expunge(self) -> None:
        if self.place is not None and not self.view.read_only:
            uids = self._some()
            await self.ok(b"UID EXPUNGE " + uids if uids and self._chance.random() < 0.5 else b"EXPUNGE")

    async def copy(self) -> None:
        await self._transfer(b"COPY")

    async def move(self) -> None:
        if not self.view.read_only:
            await self._transfer(b"MOVE")

    async def _transfer(self, verb: bytes) -> None:
        if not (uids := self._some()) or self.place is None:
            return
        known, target = dict(self.account.numbers[self.place]), self._chance.choice(BOXES)
        untagged, tagged = await self.command(b"UID %b %b %b" % (verb, uids, target.encode()))
        if tagged.startswith(b"NO [TRYCREATE]"):
            return
        for line in (*untagged, tagged):
            if found := _COPYUID.search(line):
                source, made = expanded(found[2]), expanded(found[3])
                if len(source) != len(made):
                    raise BrokenRule(f"COPYUID of different lengths: {line!r}")
                for old, new in zip(source, made, strict=True):
                    if old in known:
                        self.account.is_number((target, int(found[1])), new, known[old])

    async def search(self) -> None:
        if self.place is not None:
            key = self._chance.choice((b"ALL", b"DELETED", b"UNSEEN", b"KEYWORD work", b"OR FLAGGED SUBJECT number", b"SMALLER 500"))
            untagged, _ = await self.ok((b"UID SEARCH " if self.watches or self._chance.random() < 0.5 else b"SEARCH ") + key)
            if sum(one.startswith(b"* SEARCH") for one in untagged) != 1:
                raise BrokenRule("not one SEARCH response")

    async def noop(self) -> None:
        await self.ok(b"NOOP")

    async def status(self) -> None:
        await self.command(b"STATUS %b (MESSAGES UIDNEXT UNSEEN RECENT)" % self._chance.choice(BOXES).encode())

    async def names(self) -> None:
        one, other = self._chance.sample(BOXES[3:], 2)
        await self.command(self._chance.choice((b"CREATE " + one.encode(), f"RENAME {one} {other}".encode(), b'LIST "" "*"', b"UNSUBSCRIBE " + one.encode(), b"SUBSCRIBE " + one.encode())))

    async def idle(self) -> None:
        """Until something is told, or a moment has passed: what others do decides."""
        self.commands += 1
        await self.connection.send(b"idle IDLE\r\n")
        self.dialogue.append(b"C: idle IDLE")
        while not (response := await self._idle_response()).startswith(b"+"):
            pass
        await self.connection.send(b"DONE\r\n")
        self.dialogue.append(b"C: DONE")
        while not (response := await self._idle_response()).startswith(b"idle OK"):
            if response.startswith(b"idle "):
                raise BrokenRule(f"IDLE was answered {response!r}")

    async def _idle_response(self) -> bytes:
        response = await self.connection.response()
        self.dialogue.append(b"S: " + response[:300])
        if not response or response.startswith(b"* BYE"):
            raise BrokenRule("connection closed in IDLE")
        self.view.hear(response, b"")
        return response

    async def pipeline(self) -> None:
        """Commands that do not depend on one another's answers, in one write."""
        if not (uids := self._some()):
            return
        texts = [b"UID FETCH %b (UID FLAGS)" % uids, b"NOOP", b"UID SEARCH SEEN", b"UID STORE %b +FLAGS (\\Seen)" % uids, b"CHECK", b"STATUS Trash (MESSAGES)"]
        chosen = self._chance.sample(texts[: 3 if self.view.read_only else 6], 3)
        for _, tagged in await self.commands_of(*chosen):
            if not tagged.startswith(b"OK"):
                raise BrokenRule(f"in a pipeline: {tagged!r}")

    async def vanish(self) -> None:
        """In the middle of something."""
        await self.connection.send(self._chance.choice((b"v FETCH 1:* BODY[]\r\n", b"v APPEND INBOX {100}\r\n", b"v IDLE\r\n", b"v UID ST")))
        self.connection.writer.transport.abort()
        self.view.forget_recent()
        raise Gone


def expanded(numbers: bytes) -> list[int]:
    """A uid-set as numbers."""
    found: list[int] = []
    for piece in numbers.split(b","):
        first, _, last = piece.partition(b":")
        found.extend(range(int(first), int(last or first) + 1))
    return found
