r"""Nobody reads or changes what the rights do not open: every verb, every right, and what is said where there is none.

The tables below hold a row for every verb that names a mailbox or works in the selected one. A new verb fails
`test_every_verb_that_touches_a_mailbox_is_in_the_tables` until it has one.
"""

from __future__ import annotations

import dis
import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from sqlalchemy import select

from govmail.imap.state import State
from govmail.imap.verbs import VERBS
from govmail.store.connection import Connection
from govmail.store.schema import account, acl, annotation, mailbox, message
from govmail.wire.imap.tokens import Tokens
from govmail.wire.imap.utf7 import decode, encode
from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage, person_id

OWNER, GUEST = "owner@jx.example", "guest@jx.example"
ROOT = encode(f"其他用户/{OWNER}/").decode()
MESSAGE = b"Subject: x\r\n\r\nsecret\r\n"
RIGHTS = ["", *"lrswipkxtea", "lr", "la", "li", "lk", "lx", "lw", "lrw", "lrswipkxtea"]

Rule = Callable[[set[str]], bool]


def all_of(letters: str) -> Rule:
    return lambda rights: set(letters) <= rights


def any_of(letters: str) -> Rule:
    return lambda rights: bool(set(letters) & rights)


@dataclass(frozen=True)
class Naming:
    """A command that names a mailbox. `shows`: it answers OK in any case, and tells of the mailbox where it may."""

    text: str
    allowed: Rule
    selects: str = ""
    shows: bool = False


anybody: Rule = lambda rights: True  # noqa: E731
nobody: Rule = lambda rights: False  # noqa: E731

NAMING: dict[str, list[Naming]] = {
    "SELECT": [Naming('SELECT "{box}"', all_of("r"))],
    "EXAMINE": [Naming('EXAMINE "{box}"', all_of("r"))],
    "STATUS": [Naming('STATUS "{box}" (MESSAGES UIDNEXT DELETED-STORAGE)', all_of("r"))],
    "APPEND": [
        Naming('APPEND "{box}" {{{size}+}}\r\n{message}', all_of("i")),
        Naming('APPEND "{box}" {{{size}}}', all_of("i")),
        Naming('APPEND "{box}" {{{size}+}}\r\n{message} {{{size}+}}\r\n{message}', all_of("i")),
        Naming('APPEND "{box}" CATENATE (URL "/INBOX/;UID=1")', all_of("i"), "INBOX"),
        Naming('APPEND INBOX CATENATE (URL "/{path}/;UID=1")', all_of("r")),
    ],
    "REPLACE": [
        Naming('REPLACE * "{box}" {{{size}+}}\r\n{message}', all_of("i"), "INBOX"),
        Naming('REPLACE * "{box}" CATENATE (TEXT {{{size}+}}\r\n{message})', all_of("i"), "INBOX"),
    ],
    "UID REPLACE": [Naming('UID REPLACE * "{box}" {{{size}+}}\r\n{message}', all_of("i"), "INBOX")],
    "COPY": [Naming('COPY 1 "{box}"', all_of("i"), "INBOX")],
    "UID COPY": [Naming('UID COPY * "{box}"', all_of("i"), "INBOX")],
    "MOVE": [Naming('MOVE 1 "{box}"', all_of("i"), "INBOX")],
    "UID MOVE": [Naming('UID MOVE * "{box}"', all_of("i"), "INBOX")],
    "CREATE": [Naming('CREATE "{box}/New"', all_of("k")), Naming('CREATE "{box}/New/Sent/"', all_of("k"))],
    "DELETE": [Naming('DELETE "{box}"', all_of("x"))],
    "RENAME": [
        Naming('RENAME "{box}" "{root}Open/{number}"', all_of("x")),
        Naming('RENAME "{box}" "{box}x"', nobody),
        Naming('RENAME "{box}" "Mine{number}"', nobody),
        Naming('RENAME "{root}Open/Movable" "{box}/Sub"', all_of("k")),
    ],
    "SUBSCRIBE": [Naming('SUBSCRIBE "{box}"', anybody)],
    "UNSUBSCRIBE": [Naming('UNSUBSCRIBE "{box}"', anybody)],
    "LIST": [
        Naming('LIST "" "{box}"', all_of("l"), shows=True),
        Naming('LIST "" "{root}*" RETURN (MYRIGHTS METADATA (/shared/comment) STATUS (MESSAGES))', all_of("l"), shows=True),
    ],
    "XLIST": [Naming('XLIST "" "{box}"', all_of("l"), shows=True)],
    "LSUB": [Naming('LSUB "" "{box}"', nobody, shows=True)],
    "NOTIFY": [Naming('NOTIFY SET STATUS (MAILBOXES "{box}" (MessageNew MessageExpunge FlagChange))', nobody, shows=True)],
    "SETACL": [Naming('SETACL "{box}" guest@jx.example +lrswi', all_of("a")), Naming('SETACL "{box}" third@jx.example lr', all_of("a"))],
    "DELETEACL": [Naming('DELETEACL "{box}" third@jx.example', all_of("a"))],
    "GETACL": [Naming('GETACL "{box}"', all_of("a"))],
    "LISTRIGHTS": [Naming('LISTRIGHTS "{box}" guest@jx.example', all_of("a"))],
    "MYRIGHTS": [Naming('MYRIGHTS "{box}"', any_of("lrikxa"))],
    "ESEARCH": [Naming('ESEARCH IN (MAILBOXES "{box}" SUBTREE "{root}") ALL', nobody, shows=True)],
    "GETQUOTAROOT": [Naming('GETQUOTAROOT "{box}"', all_of("r"))],
    "GETMETADATA": [Naming('GETMETADATA "{box}" (/shared/comment /private/comment)', all_of("lr"))],
    "SETMETADATA": [
        Naming('SETMETADATA "{box}" (/shared/comment "changed")', all_of("lw")),
        Naming('SETMETADATA "{box}" (/private/comment "mine")', all_of("lr")),
    ],
}

# Commands in a selected mailbox: what must be had beside r; None: OK in any case, checked apart.
SELECTED: dict[str, list[tuple[str, str | None]]] = {
    "CHECK": [("CHECK", None)],
    "CLOSE": [("CLOSE", None)],
    "UNSELECT": [("UNSELECT", None)],
    "EXPUNGE": [("EXPUNGE", "e")],
    "UID EXPUNGE": [("UID EXPUNGE 1:*", "e")],
    "SEARCH": [("SEARCH TEXT secret", None)],
    "UID SEARCH": [("UID SEARCH UNSEEN", None)],
    "SORT": [("SORT (DATE) UTF-8 ALL", None)],
    "UID SORT": [("UID SORT (SUBJECT) UTF-8 ALL", None)],
    "THREAD": [("THREAD REFERENCES UTF-8 ALL", None)],
    "UID THREAD": [("UID THREAD ORDEREDSUBJECT UTF-8 ALL", None)],
    "CANCELUPDATE": [('CANCELUPDATE "x"', None)],
    "UIDBATCHES": [("UIDBATCHES 500", None)],
    "FETCH": [("FETCH 1:* (FLAGS BODY[])", None)],
    "UID FETCH": [("UID FETCH 1:* BODY[]", None)],
    "STORE": [
        ("STORE 1 +FLAGS (\\Seen)", "s"), ("STORE 1 -FLAGS (\\Deleted)", "t"), ("STORE 1 FLAGS (\\Flagged)", "w"),
        ("STORE 1 +FLAGS.SILENT (keyword)", "w"), ("STORE 1 (UNCHANGEDSINCE 99999) FLAGS (\\Flagged)", "w"),
    ],
    "UID STORE": [("UID STORE 1 +FLAGS (\\Seen)", "s"), ("UID STORE 1 FLAGS (\\Answered)", "w")],
    "COPY": [("COPY 1 INBOX", "")],
    "UID COPY": [("UID COPY 1 INBOX", "")],
    "REPLACE": [
        ("REPLACE 1 INBOX {22+}\r\nSubject: x\r\n\r\nsecret\r\n", "te"), ('REPLACE 1 INBOX CATENATE (TEXT {22+}\r\nSubject: x\r\n\r\nsecret\r\n)', "te"),
    ],
    "UID REPLACE": [("UID REPLACE 1 INBOX {22+}\r\nSubject: x\r\n\r\nsecret\r\n", "te")],
    "MOVE": [("MOVE 1 INBOX", "te")],
    "UID MOVE": [("UID MOVE 1 INBOX", "te")],
}  # fmt: skip


def names_a_mailbox(parser: Callable[..., object], seen: set[object] | None = None) -> bool:
    """Whether a parser, or a function that it uses, takes a mailbox name or pattern."""
    seen = set() if seen is None else seen
    codes, names = [parser.__code__], set[str]()  # type: ignore[attr-defined]
    while codes:
        code = codes.pop()
        if {"mailbox", "list_mailbox"} & set(code.co_names):
            return True
        names.update(one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL")
        codes += [one for one in code.co_consts if inspect.iscode(one)]
    seen.add(parser)
    used = [parser.__globals__.get(name) for name in names]  # type: ignore[attr-defined]
    return any(names_a_mailbox(one, seen) for one in used if inspect.isfunction(one) and one not in seen and "wire.imap" in one.__module__)


def test_every_verb_that_touches_a_mailbox_is_in_the_tables() -> None:
    for name, verb in VERBS.items():
        if verb.parser is Tokens.whole or names_a_mailbox(verb.parser):
            assert name in NAMING, f"{name} names a mailbox: say in NAMING which rights it needs"
        if verb.states == State.SELECTED:
            assert name in SELECTED, f"{name} works in the selected mailbox: say in SELECTED which rights it needs"
    assert NAMING.keys() <= VERBS.keys()
    assert SELECTED.keys() <= VERBS.keys()


def stored(conn: Connection) -> list[tuple[object, ...]]:
    """All that the owner's account is."""
    (account_id,) = conn.execute(select(account.c.account_id).where(account.c.directory_id == person_id(OWNER))).one()
    found: list[tuple[object, ...]] = []
    for table in (account, mailbox, message, acl, annotation):
        found += sorted(tuple(row) for row in conn.execute(select(table).where(table.c.account_id == account_id)))
    return found


class Scene:
    """The owner and a guest; `box` makes a mailbox that the guest has exactly these rights in."""

    def __init__(self, stage: Stage, owner: ImapClient, guest: ImapClient) -> None:
        self.stage, self.owner, self.guest = stage, owner, guest
        self._numbers = itertools.count(1000)

    async def box(self, rights: str) -> tuple[str, int]:
        """Its name in the owner's tree, and a number that no other mailbox has."""
        number = next(self._numbers)
        name = f"B{number}"
        await self.owner.ok(f"CREATE {name}".encode())
        await self.owner.append(MESSAGE, name, "\\Deleted")
        await self.owner.append(MESSAGE, name)
        await self.owner.ok(f'SETMETADATA {name} (/shared/comment "secret" /private/comment "secret")'.encode())
        if rights:
            await self.owner.ok(f"SETACL {name} {GUEST} {rights}".encode())
        return name, number

    async def stored(self) -> list[tuple[object, ...]]:
        return await self.stage.database.read(stored)

    async def say(self, client: ImapClient, row: Naming, box: str, number: int) -> tuple[list[bytes], bytes]:
        text = row.text.format(box=box, root=ROOT, number=number, size=len(MESSAGE), message=MESSAGE.decode(), path=quote(decode(ROOT.encode()) + box.rsplit("/", 1)[-1]))
        if row.selects:
            await client.append(MESSAGE, row.selects)
            await client.ok(f"SELECT {row.selects}".encode())
        if not text.endswith("}") or not text.startswith("APPEND"):
            return await client.command(text.encode())
        await client.send(b"lit " + text.encode() + b"\r\n")  # a literal that waits
        response = await client.response()
        if response.startswith(b"+"):
            await client.send(MESSAGE + b"\r\n")
            untagged, response = await client.until(b"lit")
            return untagged, response.removeprefix(b"lit ")
        return [], response.removeprefix(b"lit ")


@pytest.fixture
async def scene(stage: Stage):  # type: ignore[no-untyped-def]
    async with ImapClient(stage.plain) as owner, ImapClient(stage.plain) as guest:
        await owner.login(OWNER)
        await guest.login(GUEST)
        await owner.ok(b"CREATE Open")
        await owner.ok(f"SETACL Open {GUEST} lk".encode())
        await owner.ok(b"CREATE Open/Movable")
        await owner.ok(f"SETACL Open/Movable {GUEST} lx".encode())
        yield Scene(stage, owner, guest)


@pytest.mark.parametrize("verb", NAMING)
async def test_a_name_opens_what_the_rights_say(scene: Scene, verb: str) -> None:
    for row in NAMING[verb]:
        for rights in RIGHTS:
            name, number = await scene.box(rights)
            before = await scene.stored()
            untagged, tagged = await scene.say(scene.guest, row, ROOT + name, number)
            case = (row.text, rights, tagged)
            assert not tagged.startswith(b"BAD"), case
            if row.shows:
                assert any(name.encode() in line for line in untagged) is row.allowed(set(rights)), (case, untagged)
                assert ("r" in rights and "l" in rights) or not any(b"secret" in line for line in untagged)
            elif row.allowed(set(rights)):
                assert tagged.startswith(b"OK"), case
            else:
                assert tagged.startswith(b"NO"), case
                assert await scene.stored() == before, case
                assert not any(b"STATUS" in line or b"METADATA" in line or b"ACL" in line for line in untagged), case
            knows = row.allowed(set(rights)) or "l" in rights or (row.allowed is nobody and "x" in rights)
            if not knows:
                told = await scene.say(scene.guest, row, ROOT + name.replace("B", "N"), number)
                there, not_there = ([line.replace(b"N%d" % number, b"B%d" % number) for line in lines] for lines in (
                    [*untagged, tagged], [*told[0], told[1]],
                ))  # fmt: skip
                assert [line for line in there if name.encode() in line] == [line for line in not_there if name.encode() in line], case
                assert there[-1] == not_there[-1], case
            await scene.owner.command(f"DELETE Open/{number}".encode())
            if row.text.startswith("RENAME") and "Movable" in row.text and row.allowed(set(rights)):
                await scene.owner.ok(f"RENAME {name}/Sub Open/Movable".encode())
            await scene.owner.command(f"DELETE {name}".encode())


@pytest.mark.parametrize("verb", SELECTED)
async def test_a_selected_mailbox_opens_what_the_rights_say(scene: Scene, verb: str) -> None:
    for text, needed in SELECTED[verb]:
        for more in ("", *"swipkxtea", "te", "lst"):
            rights = {"r", *more}
            name, _ = await scene.box("r" + more)
            await scene.guest.ok(f'SELECT "{ROOT}{name}"'.encode())
            before = await scene.stored()
            _, tagged = await scene.guest.command(text.encode())
            case = (text, more, tagged)
            if needed is None or set(needed) <= rights:
                assert tagged.startswith(b"OK"), case
            else:
                assert tagged.startswith((b"NO [NOPERM]", b"NO [READ-ONLY]")), case
            after = await scene.stored()
            may_change = {
                "STORE": "swt", "UID STORE": "swt", "EXPUNGE": "e", "UID EXPUNGE": "e", "MOVE": "te", "UID MOVE": "te", "REPLACE": "te", "UID REPLACE": "te", "CLOSE": "e",
                "FETCH": "s", "UID FETCH": "s",
            }.get(verb, "")  # fmt: skip
            if not (set(may_change) & rights) or tagged.startswith(b"NO"):
                assert after == before, case
            if verb in ("FETCH", "UID FETCH", "CLOSE"):
                assert (after != before) is bool(set(may_change) & rights), case


@pytest.mark.parametrize("verb", SELECTED)
async def test_a_right_that_is_taken_away_is_gone_for_the_next_command(scene: Scene, verb: str) -> None:
    name, _ = await scene.box("lrswipkxte")
    await scene.guest.ok(f'SELECT "{ROOT}{name}"'.encode())
    await scene.owner.ok(f"DELETEACL {name} {GUEST}".encode())
    before = await scene.stored()
    untagged, tagged = await scene.guest.command(SELECTED[verb][0][0].encode())
    assert untagged == [b"* BYE selected mailbox was deleted\r\n"]
    assert tagged == b""
    assert await scene.stored() == before


async def test_nothing_is_pushed_from_what_may_not_be_read_any_more(scene: Scene) -> None:
    """NOTIFY, without any command of the guest."""
    name, _ = await scene.box("lr")
    await scene.guest.ok(b"NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[]) MessageExpunge))")
    await scene.guest.ok(f'SELECT "{ROOT}{name}"'.encode())
    await scene.owner.append(MESSAGE, name)
    assert await scene.guest.response() == b"* 3 EXISTS\r\n"
    assert await scene.guest.response() == b"* 0 RECENT\r\n"
    assert b"secret" in await scene.guest.response()
    await scene.owner.ok(f"SETACL {name} -{GUEST} r".encode())
    await scene.owner.append(MESSAGE, name)
    assert await scene.guest.response() == b"* BYE selected mailbox was deleted\r\n"
    assert await scene.guest.response() == b""


async def test_others_hear_of_changes(scene: Scene) -> None:
    """Hints about an account reach those who look at it from outside, and only them."""
    name, _ = await scene.box("lrs")
    await scene.guest.ok(f'SELECT "{ROOT}{name}"'.encode())
    await scene.guest.send(b"i IDLE\r\n")
    assert await scene.guest.response() == b"+ idling\r\n"
    await scene.owner.append(MESSAGE, name)
    assert await scene.guest.response() == b"* 3 EXISTS\r\n"
    assert await scene.guest.response() == b"* 0 RECENT\r\n"
    await scene.guest.send(b"DONE\r\n")
    await scene.guest.until(b"i")
    await scene.guest.ok(b"SELECT INBOX")
    assert len(scene.stage.bus._waiting) == 2  # each waits in its own account


async def test_absurdly_deep_names_are_none(scene: Scene) -> None:
    """A name of thousands of levels is not looked up level by level."""
    deep = ROOT + "/".join("a" * 20_000)
    for text in (f'SELECT "{deep}"', f'CREATE "{deep}"', f'MYRIGHTS "{deep}"'):
        _, tagged = await scene.guest.command(text.encode())
        assert tagged == b"NO [NONEXISTENT] no such mailbox\r\n"


async def test_annotations_are_bounded(scene: Scene) -> None:
    limits = scene.stage.server.limits
    large = limits.annotation_octets + 1
    _, tagged = await scene.owner.command(b"SETMETADATA INBOX (/private/x {%d+}\r\n%b)" % (large, b"x" * large))
    assert tagged.startswith(b"NO [METADATA MAXSIZE %d]" % limits.annotation_octets)
    for number in range(limits.annotations):
        await scene.owner.ok(f'SETMETADATA INBOX (/private/x{number} "x")'.encode())
    before = await scene.stored()
    _, tagged = await scene.owner.command(b'SETMETADATA INBOX (/private/x0 "changed" /private/one-more "x")')
    assert tagged.startswith(b"NO [METADATA TOOMANY]")
    assert await scene.stored() == before
    await scene.owner.ok(b'SETMETADATA INBOX (/shared/comment "x")')


async def test_ones_own_mailboxes_cost_no_more(scene: Scene) -> None:
    """SELECT, FETCH, STORE, STATUS of one's own ask nothing about rights."""
    asked: list[str] = []
    read, write = scene.stage.database.read, scene.stage.database.write

    async def counted_read(fn, *args, **more):  # type: ignore[no-untyped-def]
        asked.append(fn.__name__)
        return await read(fn, *args, **more)

    async def counted_write(fn, *args, **more):  # type: ignore[no-untyped-def]
        asked.append(fn.__name__)
        return await write(fn, *args, **more)

    await scene.owner.append(MESSAGE)
    scene.stage.database.read, scene.stage.database.write = counted_read, counted_write  # type: ignore[method-assign]
    for text in ("SELECT INBOX", "FETCH 1 FLAGS", "STATUS Sent (MESSAGES)", "STORE 1 +FLAGS (\\Seen)", "COPY 1 Sent"):
        await scene.owner.ok(text.encode())
    assert asked == ["_open", "claim_recent", "read", "_read_status", "flag_and_look", "_transfer"]
