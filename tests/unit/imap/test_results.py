"""Results that last: kept up to date, saved, and cut into batches."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

from govmail.imap.results import pinned
from govmail.imap.verbs.search import batches
from govmail.imap.view import UidMap
from govmail.wire.imap.numset import LARGEST, SAVED, STAR, NumSet, Range, from_numbers
from govmail.wire.imap.search import And, Key, Not, Numbers, Or, Recent
from tests.kit.contents import raw_mail
from tests.kit.imap import ImapClient
from tests.kit.imap_server import TEST_LIMITS, Stage, running

# -- kept up to date -------------------------------------------------------------------------------------------------


class Follower:
    """A client that believes only what it is told (RFC 5267 §4.3)."""

    def __init__(self) -> None:
        self.exists = 0
        self.results: dict[str, list[int]] = {}
        self.by_number: set[str] = set()

    def hear(self, lines: list[bytes]) -> None:
        for octets in lines:
            line = octets.decode()
            if found := re.fullmatch(r"\* (\d+) EXPUNGE\r\n", line):
                gone = int(found[1])
                for tag in self.by_number:
                    assert gone not in self.results[tag]  # it was removed while its number held
                    self.results[tag] = [number - (number > gone) for number in self.results[tag]]
            elif found := re.match(r'\* ESEARCH \(TAG "(\w+)"\)( UID)?', line):
                for what, changes in re.findall(r"(REMOVEFROM|ADDTO) \(([^)]*)\)", line):
                    words = changes.split()
                    for at, numbers in zip(map(int, words[::2]), words[1::2], strict=True):
                        self._change(found[1], what, at, expanded(numbers))

    def _change(self, tag: str, what: str, at: int, numbers: list[int]) -> None:
        result = self.results[tag]
        for offset, number in enumerate(numbers):
            if what == "ADDTO":
                result.insert(at - 1 + offset if at else len(result), number)
            elif at:
                assert result.pop(at - 1) == number
            else:
                result.remove(number)
            if not at:
                result.sort()


def expanded(numbers: str) -> list[int]:
    found: list[int] = []
    for piece in filter(None, numbers.split(",")):
        first, _, last = piece.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


SEARCHES = {
    "s1": "UID SEARCH RETURN (UPDATE ALL) UNSEEN",
    "s2": "SEARCH RETURN (UPDATE ALL) NOT DELETED SUBJECT notice",
    "s3": "UID SORT RETURN (UPDATE ALL) (SUBJECT REVERSE ARRIVAL) UTF-8 UNFLAGGED",
    "s4": "SORT RETURN (UPDATE ALL) (REVERSE SIZE) UTF-8 OR SEEN FLAGGED",
}


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_that_believes_what_it_is_told_is_right(stage: Stage, seed: int) -> None:
    source = random.Random(seed)
    login = f"updates{seed}@jx.example"
    async with ImapClient(stage.plain) as client, ImapClient(stage.plain) as other:
        for one in (client, other):
            await one.login(login)
        for number in range(6):
            await client.append(raw_mail(f"Notice {number % 3}", "x" * source.randrange(500) + "\r\n"))
        for one in (client, other):
            await one.ok(b"SELECT INBOX")
        follower = Follower()
        for tag, command in SEARCHES.items():
            await client.send(f"{tag} {command}\r\n".encode())
            [line], _ = await client.until(tag.encode())
            found = re.search(r"ALL (\S+)", line.decode())
            follower.results[tag] = expanded(found[1]) if found else []
            if not command.startswith("UID"):
                follower.by_number.add(tag)
        for _ in range(25):
            who = source.choice([client, other])
            await other.ok(b"NOOP")
            act = source.choice(["store", "store", "store", "append", "expunge"])
            lines: list[bytes] = []
            if act == "append":
                await other.append(raw_mail(source.choice(["Notice 1", "Other 会议"]), "y" * source.randrange(500) + "\r\n"))
            elif act == "expunge":
                lines = await who.ok(b"EXPUNGE")
            else:
                flags = " ".join(source.sample(["\\Seen", "\\Flagged", "\\Deleted"], source.randint(0, 3)))
                lines = await who.ok(f"UID STORE {source.randint(1, 9)}:{source.randint(1, 9)} {source.choice('+-')}FLAGS ({flags})".encode())
            follower.hear(lines if who is client else [])
            follower.hear(await client.ok(b"NOOP"))
            for tag, command in SEARCHES.items():
                [line] = await client.ok(command.replace("UPDATE ", "").encode())
                fresh = re.search(r"ALL (\S+)", line.decode())
                assert follower.results[tag] == (expanded(fresh[1]) if fresh else []), command


async def test_many_messages_at_once(stage: Stage) -> None:
    """A sorted result takes in more than are placed one by one."""
    async with ImapClient(stage.plain) as client:
        await client.login("many@jx.example")
        await client.ok(b"CREATE Other")
        for number in range(20):
            await client.append(raw_mail(f"Notice {number * 7 % 20:02}", "x\r\n"), "Other" if number % 5 else "INBOX")
        await client.ok(b"SELECT INBOX")
        follower = Follower()
        [line] = await client.ok(b"UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 ALL")
        tag = line.split(b'"')[1].decode()
        follower.results[tag] = expanded(line.decode().split()[-1])
        async with ImapClient(stage.plain) as other:
            await other.login("many@jx.example")
            await other.ok(b"SELECT Other")
            await other.ok(b"COPY 1:* INBOX")
            await other.ok(b"COPY 1:* INBOX")
        follower.hear(await client.ok(b"NOOP"))
        [line] = await client.ok(b"UID SORT RETURN (ALL) (SUBJECT) UTF-8 ALL")
        assert len(follower.results[tag]) == 36
        assert follower.results[tag] == expanded(line.decode().split()[-1])


async def test_updates_are_bounded(tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path, structs.replace(TEST_LIMITS, imap_updates=1)) as stage, ImapClient(stage.plain) as client:
        await client.login("bounded@jx.example")
        await client.ok(b"SELECT INBOX")
        assert len(await client.ok(b"SEARCH RETURN (UPDATE COUNT) ALL")) == 1
        refused, _ = await client.ok(b"SEARCH RETURN (UPDATE COUNT) ALL")
        assert refused.startswith(b"* NO [NOUPDATE ")


# -- what a kept search goes on meaning ------------------------------------------------------------------------------


@pytest.mark.parametrize(("numbers", "expected"), [
    (NumSet(((1, 2),)), ((3, 3), (5, 5))),
    (NumSet(((2, STAR),)), ((5, LARGEST),)),  # what comes later is in it
    (NumSet(((STAR, STAR),)), ((7, 7),)),
    (SAVED, ((6, 7),)),
])  # fmt: skip
def test_numbers_mean_what_they_meant(numbers: NumSet, expected: tuple[Range, ...]) -> None:
    uids = UidMap(((3, 3), (5, 7)))
    key: Key = And((Not(Numbers(numbers)), Or(Recent(), Numbers(numbers))))
    found = pinned(key, uids, ((6, 9),))
    assert found == And((Not(Numbers(NumSet(expected), uid=True)), Or(Recent(), Numbers(NumSet(expected), uid=True))))


# -- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "expected"), [
    (None, [(30, 21), (20, 11), (10, 1)]),
    ((1, 1), [(30, 21)]),
    ((2, 3), [(20, 11), (10, 1)]),
    ((3, 4_000_000_000), [(10, 1)]),
    ((4, 9), []),
])  # fmt: skip
def test_batches(window: Range | None, expected: list[Range]) -> None:
    assert batches(UidMap(((1, 30),)), 10, window) == expected


def test_batches_leave_no_gap() -> None:
    source = random.Random(1)
    for _ in range(50):
        uids = sorted(source.sample(range(1, 500), source.randint(1, 200)))
        size = source.randint(1, 40)
        found = batches(UidMap(from_numbers(uids)), size, None)
        assert found[0][0] == uids[-1]
        assert found[-1][1] == 1
        assert all(low == high + 1 for (_, low), (high, _) in pairwise(found))
        held = [sum(low <= uid <= high for uid in uids) for high, low in found]
        assert all(one == size for one in held[:-1])
        assert 1 <= held[-1] <= size
