r"""A random walk of four people through one another's mailboxes, next to a model that knows only the rules of RFC 4314.

After each command the answer must be the model's; from time to time everybody looks at everything, and the owners' view
of flags and messages must be the model's. A seed that fails is a test to keep.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from govmail.wire.imap.utf7 import encode
from tests.kit.imap import ImapClient
from tests.kit.imap_server import running

ALL = "lrswipkxtea"
PEOPLE = ("wang@jx.example", "li@jx.example", "zhao@jx.example", "chen@jx.example")
KEEPER, DUTY = PEOPLE[0], "值班室"
NAMES = ("A", "A/B", "A/B/C", "D", "INBOX")
MESSAGE = b"Subject: x\r\n\r\nx\r\n"
FLAGS = {"\\Seen": "s", "\\Deleted": "t", "\\Flagged": "w", "\\Answered": "w"}
DEFAULTS = {"Archive", "Drafts", "Junk", "Sent", "Trash"}
STEPS = 400


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Box:
    acl: dict[tuple[str, bool], set[str]] = field(default_factory=dict)
    messages: list[set[str]] = field(default_factory=list)  # flags
    comment: str | None = None


class Model:
    """Trees by owner; the shared one belongs to nobody."""

    def __init__(self) -> None:
        self.trees: dict[str, dict[str, Box]] = {tree: {"INBOX": Box()} for tree in (*PEOPLE, DUTY)}
        self.trees[DUTY] = {name: Box({(KEEPER, False): set(ALL)}) for name in ("INBOX", *DEFAULTS)}

    def rights(self, who: str, tree: str, name: str) -> set[str]:
        box = self.trees[tree].get(name)
        if who == tree:
            return set(ALL)
        if box is None:
            return set()
        granted = box.acl.get((who, False), set()) | box.acl.get(("anyone", False), set())
        return granted - box.acl.get((who, True), set()) - box.acl.get(("anyone", True), set())

    def refusal(self, who: str, tree: str, name: str, needed: str, *, any_of: str = "", missing: str = "NONEXISTENT") -> str:
        """The response code of the refusal, "" for none."""
        rights = self.rights(who, tree, name)
        if name in self.trees[tree] and set(needed) <= rights and (not any_of or set(any_of) & rights):
            return ""
        return "NOPERM" if name in self.trees[tree] and "l" in rights else missing

    def above(self, tree: str, name: str) -> str | None:
        """The nearest mailbox at or above the name."""
        while name not in self.trees[tree]:
            name, slash, _ = name.rpartition("/")
            if not slash:
                return None
        return name

    def create(self, tree: str, name: str) -> None:
        levels = name.split("/")
        for depth in range(1, len(levels) + 1):
            part = "/".join(levels[:depth])
            if part not in self.trees[tree]:
                parent = self.trees[tree].get("/".join(levels[: depth - 1]))
                self.trees[tree][part] = Box({key: set(value) for key, value in parent.acl.items()} if parent else {})

    def below(self, tree: str, name: str) -> list[str]:
        return [one for one in self.trees[tree] if one.startswith(name + "/")]


class Walk:
    def __init__(self, seed: int, clients: dict[str, ImapClient]) -> None:
        self.random = random.Random(seed)
        self.clients = clients
        self.model = Model()

    def name(self, who: str, tree: str, name: str) -> str:
        if who == tree:
            return name
        return encode(f"共享邮箱/{tree}/{name}" if tree == DUTY else f"其他用户/{tree}/{name}").decode()

    async def say(self, who: str, text: str) -> tuple[list[bytes], str]:
        """What came untagged; the code of a refusal, "" for OK."""
        untagged, tagged = await self.clients[who].command(text.encode())
        if tagged.startswith(b"OK"):
            return untagged, ""
        found = re.match(rb"NO \[([A-Z-]+)", tagged)
        assert found, (who, text, tagged)
        return untagged, found[1].decode()

    async def step(self) -> None:
        chosen = self.random.choice
        who, tree, name = chosen(PEOPLE), chosen([*PEOPLE[:2], DUTY]), chosen(NAMES)
        if self.random.random() < 0.9:
            name = chosen(list(self.model.trees[tree]))
        if self.random.random() < 0.4:  # mostly who may, or there is nothing to be denied
            who = KEEPER if tree == DUTY else tree
            await chosen((self.set_acl, self.set_acl, self.set_acl, self.create))(who, tree, chosen([name, *NAMES]))
            return
        verbs = (self.set_acl, self.create, self.delete, self.rename, self.append, self.append, self.copy, self.copy, self.status,
                 self.my_rights, self.get_acl, self.annotate, self.list_, self.change, self.change, self.move)  # fmt: skip
        await chosen(verbs)(who, tree, name)

    async def expect(self, who: str, text: str, wanted: str) -> list[bytes]:
        untagged, code = await self.say(who, text)
        assert code == wanted, (who, text, code, wanted)
        return untagged

    # -- commands -------------------------------------------------------------------------------------------------

    async def set_acl(self, who: str, tree: str, name: str) -> None:
        identifier, negative = self.random.choice([*PEOPLE, "anyone"]), self.random.random() < 0.2
        sign = self.random.choice(["", "", "+", "+", "+", "-", "gone"])
        letters = "".join(self.random.sample(ALL, self.random.randint(0, 3) if negative else self.random.randint(2, len(ALL))))
        called = f"{self.name(who, tree, name)} {'-' if negative else ''}{identifier}"
        refused = self.model.refusal(who, tree, name, "a")
        if not refused and identifier == tree:
            refused = "CANNOT"
        if not refused and identifier == "anyone" and not negative and sign in ("", "+") and letters and tree != DUTY:
            refused = "NOPERM"
        await self.expect(who, f"DELETEACL {called}" if sign == "gone" else f'SETACL {called} "{sign}{letters}"', refused)
        if not refused:
            acl, key = self.model.trees[tree][name].acl, (identifier, negative)
            before = acl.pop(key, set())
            after = {"": set(letters), "+": before | set(letters), "-": before - set(letters), "gone": set[str]()}[sign]
            if after:
                acl[key] = after

    async def create(self, who: str, tree: str, name: str) -> None:
        above = self.model.above(tree, name)
        refused = "" if who == tree else self.model.refusal(who, tree, above, "k") if above else "NONEXISTENT"
        if not refused and name in self.model.trees[tree]:
            refused = "ALREADYEXISTS"
        await self.expect(who, f"CREATE {self.name(who, tree, name)}", refused)
        if not refused:
            self.model.create(tree, name)

    async def delete(self, who: str, tree: str, name: str) -> None:
        refused = self.model.refusal(who, tree, name, "x")
        if not refused and name == "INBOX":
            refused = "CANNOT"
        if not refused and self.model.below(tree, name):
            refused = "HASCHILDREN"
        await self.leave()
        await self.expect(who, f"DELETE {self.name(who, tree, name)}", refused)
        if not refused:
            del self.model.trees[tree][name]

    async def rename(self, who: str, tree: str, name: str) -> None:
        new = self.random.choice(NAMES[:-1])
        if name == "INBOX" or new.startswith(name + "/"):
            return
        boxes = self.model.trees[tree]
        above = self.model.above(tree, new)
        refused = self.model.refusal(who, tree, name, "x")
        if who != tree and not refused:
            refused = self.model.refusal(who, tree, above, "k") if above else "NONEXISTENT"
            if not refused and any("x" not in self.model.rights(who, tree, one) for one in self.model.below(tree, name)):
                refused = "NOPERM"
        if not refused and new in boxes:
            refused = "ALREADYEXISTS"
        await self.leave()
        await self.expect(who, f"RENAME {self.name(who, tree, name)} {self.name(who, tree, new)}", refused)
        if not refused:
            moved = [name, *self.model.below(tree, name)]
            parent = new.rpartition("/")[0]
            if parent:
                self.model.create(tree, parent)
            taken = {new + one[len(name) :]: boxes.pop(one) for one in moved if one in boxes}
            boxes.update(taken)

    async def append(self, who: str, tree: str, name: str) -> None:
        flags = set(self.random.sample(list(FLAGS), 2))
        refused = self.model.refusal(who, tree, name, "i", missing="TRYCREATE")
        text = f"APPEND {self.name(who, tree, name)} ({' '.join(flags)}) {{{len(MESSAGE)}+}}\r\n{MESSAGE.decode()}"
        await self.expect(who, text, refused)
        if not refused:
            self.model.trees[tree][name].messages.append(self.allowed(who, tree, name, flags))

    def allowed(self, who: str, tree: str, name: str, flags: set[str]) -> set[str]:
        rights = self.model.rights(who, tree, name)
        return {one for one in flags if FLAGS[one] in rights}

    async def copy(self, who: str, tree: str, name: str) -> None:
        """From one's own INBOX, with whatever flags the message has there."""
        own = self.model.trees[who]["INBOX"]
        if not own.messages:
            await self.append(who, who, "INBOX")
        if (who, "INBOX") == (tree, name):
            return
        await self.expect(who, "SELECT INBOX", "")
        refused = self.model.refusal(who, tree, name, "i", missing="TRYCREATE")
        await self.expect(who, f"COPY 1 {self.name(who, tree, name)}", refused)
        if not refused:
            self.model.trees[tree][name].messages.append(self.allowed(who, tree, name, own.messages[0]))

    async def status(self, who: str, tree: str, name: str) -> None:
        refused = self.model.refusal(who, tree, name, "r")
        untagged = await self.expect(who, f"STATUS {self.name(who, tree, name)} (MESSAGES UNSEEN)", refused)
        if not refused:
            messages = self.model.trees[tree][name].messages
            assert b"(MESSAGES %d UNSEEN %d)" % (len(messages), sum("\\Seen" not in one for one in messages)) in untagged[0]

    async def my_rights(self, who: str, tree: str, name: str) -> None:
        refused = self.model.refusal(who, tree, name, "", any_of="lrikxa")
        untagged = await self.expect(who, f"MYRIGHTS {self.name(who, tree, name)}", refused)
        if not refused:
            assert set(untagged[0].split()[-1].decode()) - {"c", "d"} == self.model.rights(who, tree, name)

    async def get_acl(self, who: str, tree: str, name: str) -> None:
        refused = self.model.refusal(who, tree, name, "a")
        untagged = await self.expect(who, f"GETACL {self.name(who, tree, name)}", refused)
        if not refused:
            words = untagged[0].decode().split()[3:]
            listed = {one: set(rights) - {"c", "d"} for one, rights in zip(words[::2], words[1::2], strict=True)}
            listed.pop(tree, None)
            acl = self.model.trees[tree][name].acl
            assert listed == {("-" if negative else "") + one: rights for (one, negative), rights in acl.items()}

    async def annotate(self, who: str, tree: str, name: str) -> None:
        called, comment = self.name(who, tree, name), f"c{self.random.randint(0, 999)}"
        refused = self.model.refusal(who, tree, name, "lw")
        await self.expect(who, f'SETMETADATA {called} (/shared/comment "{comment}")', refused)
        if not refused:
            self.model.trees[tree][name].comment = comment
        refused = self.model.refusal(who, tree, name, "lr")
        untagged = await self.expect(who, f"GETMETADATA {called} /shared/comment", refused)
        if not refused:
            known = self.model.trees[tree][name].comment
            assert untagged[0].endswith(f'(/shared/comment {"NIL" if known is None else chr(34) + known + chr(34)})\r\n'.encode())

    async def list_(self, who: str, tree: str, name: str) -> None:
        """Everything that this person sees of others, at once."""
        untagged = await self.expect(who, 'LIST "" "*" RETURN (MYRIGHTS)', "")
        seen = {line.split()[2].decode(): set(line.split()[3].decode()) - {"c", "d"} for line in untagged if line.startswith(b"* MYRIGHTS &")}
        wanted = {
            self.name(who, one, box): rights
            for one, boxes in self.model.trees.items()
            if one != who
            for box in boxes
            if "l" in (rights := self.model.rights(who, one, box))
        }
        assert seen == wanted
        told = {line.split()[-1].decode() for line in untagged if line.startswith(b"* LIST")} - self.model.trees[who].keys() - DEFAULTS
        assert all(any(box == one or box.startswith(one + "/") for box in wanted) for one in told), told - wanted.keys()

    async def change(self, who: str, tree: str, name: str) -> None:
        """SELECT, then FETCH that makes seen, STORE, EXPUNGE: what one may not, changes nothing."""
        refused = self.model.refusal(who, tree, name, "r")
        await self.expect(who, f"SELECT {self.name(who, tree, name)}", refused)
        box, rights = self.model.trees[tree].get(name, Box()), self.model.rights(who, tree, name)
        if refused or not box.messages:
            return
        untagged = await self.expect(who, "FETCH 1 BODY[]", "")
        assert MESSAGE in untagged[0]
        read_write = bool(rights & set("swite"))
        if "s" in rights:
            box.messages[0].add("\\Seen")
        flags = set(self.random.sample(list(FLAGS), self.random.randint(1, 3)))
        may = self.allowed(who, tree, name, flags)
        sign = self.random.choice(["", "+", "-"])
        _, code = await self.say(who, f"STORE 1 {sign}FLAGS ({' '.join(flags)})")
        assert code == ("" if may else "NOPERM" if read_write else "READ-ONLY"), (rights, flags, code)
        if may:
            old = box.messages[0]
            keep = {one for one in old if FLAGS[one] not in rights}
            box.messages[0] = {"": keep | may, "+": old | may, "-": old - may}[sign]
        _, code = await self.say(who, "EXPUNGE")
        assert code == ("" if "e" in rights else "NOPERM")
        if "e" in rights:
            box.messages[:] = [one for one in box.messages if "\\Deleted" not in one]

    async def move(self, who: str, tree: str, name: str) -> None:
        """Out of the mailbox, into one's own INBOX."""
        if (who, "INBOX") == (tree, name):
            return
        refused = self.model.refusal(who, tree, name, "r")
        await self.expect(who, f"SELECT {self.name(who, tree, name)}", refused)
        box, rights = self.model.trees[tree].get(name, Box()), self.model.rights(who, tree, name)
        if refused or not box.messages:
            return
        _, code = await self.say(who, "MOVE 1 INBOX")
        assert code == ("" if {"t", "e"} <= rights else "NOPERM")
        if not code:
            self.model.trees[who]["INBOX"].messages.append(box.messages.pop(0))

    # -- all that there is ----------------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Nobody has another mailbox than the own INBOX: one that is deleted would take the connection with it."""
        for client in self.clients.values():
            await client.ok(b"EXAMINE INBOX")

    async def compare(self) -> None:
        for tree in PEOPLE:
            for name, box in self.model.trees[tree].items():
                await self.expect(tree, f"EXAMINE {name}", "")
                untagged = await self.expect(tree, "FETCH 1:* FLAGS", "") if box.messages else []
                flags = [set(re.findall(r"\\\w+", line.decode())) - {"\\Recent"} for line in untagged]
                assert flags == box.messages, (tree, name)
        for who in PEOPLE:
            await self.list_(who, "", "")


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_read_or_changed_beyond_the_rights(seed: int, tmp_path: Path) -> None:
    async with running("sqlite://", tmp_path) as stage:
        await stage.share(DUTY, KEEPER)
        clients = {}
        try:
            for who in PEOPLE:
                clients[who] = await ImapClient(stage.plain).__aenter__()
                await clients[who].login(who)
            walk = Walk(seed, clients)
            for number in range(STEPS):
                # Who has lost the r right meanwhile would be thrown out, which has its own test.
                await walk.leave()
                await walk.step()
                if number % 50 == 49:
                    await walk.compare()
        finally:
            for client in clients.values():
                await client.__aexit__(None, None, None)
