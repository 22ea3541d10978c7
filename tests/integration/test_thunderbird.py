"""Thunderbird, the real one: what a person does with a mailbox, and what the server hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from govmail.imap.session import Session
from tests.kit.imap import ImapClient
from tests.kit.imap_server import PASSWORD, running
from tests.kit.thunderbird import running_thunderbird

LOGIN = "li@jx.example"
SUBJECT = "关于召开全省发展改革工作会议的通知"


def message(number: int) -> bytes:
    return (
        f"From: =?utf-8?B?5byg5LiJ?= <zhang@jx.example>\r\nTo: {LOGIN}\r\nSubject: {SUBJECT} {number}\r\n"
        f"Date: Thu, 14 Jan 2027 09:3{number}:00 +0800\r\nMessage-ID: <{number}@jx.example>\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n各单位：请按时参加会议 {number}\r\n"
    ).encode()


async def test_a_person_reads_their_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    execute = Session._execute

    async def listen(session: Session, octets: bytes) -> None:
        heard.append(octets.upper())
        if b"\\Flagged" in octets:
            await stage.deliver(LOGIN, message(3))  # so that the answer to this STORE tells of it, and is overlooked
        await execute(session, octets)

    monkeypatch.setattr(Session, "_execute", listen)
    async with running("sqlite://", tmp_path / "data") as stage, running_thunderbird(tmp_path / "thunderbird") as thunderbird:
        for number in (1, 2):
            await stage.deliver(LOGIN, message(number))
        await thunderbird.add_account(stage.implicit, LOGIN, PASSWORD)
        # the newest stands first
        await thunderbird.script("pane.displayFolder(folder('INBOX').URI); folder('INBOX').updateFolder(null);")
        assert await thunderbird.until("pane.gDBView?.rowCount == 2 && pane.gDBView.getMsgHdrAt(0).mime2DecodedSubject") == f"{SUBJECT} 2"
        assert any(b"AUTHENTICATE PLAIN" in one or b" LOGIN " in one for one in heard)
        assert any(b" SELECT " in one for one in heard)
        assert any(b"UID FETCH" in one and b"BODY.PEEK[HEADER.FIELDS" in one for one in heard)
        # the special mailboxes are found by their use
        assert await thunderbird.until("folder('Sent')?.getFlag(Ci.nsMsgFolderFlags.SentMail) && folder('Trash')?.getFlag(Ci.nsMsgFolderFlags.Trash)")

        # a message is opened: its text is there, and the server knows that it was seen
        await thunderbird.script("pane.threadTree.selectedIndex = 1;")
        body = "pane.messageBrowser.contentWindow.getMessagePaneBrowser().contentDocument.body.textContent"
        assert "各单位：请按时参加会议 1" in await thunderbird.until(f"{body}.includes('会议 1') && {body}")
        assert any(b"UID FETCH 1 " in one and b"BODY" in one for one in heard)
        await thunderbird.script("folder('INBOX').markMessagesFlagged([pane.gDBView.getMsgHdrAt(1)], true);")

        async with ImapClient(stage.plain) as client:
            await client.login(LOGIN)
            await client.ok(b"SELECT INBOX")
            await client.ok(b"NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (mailboxes Trash (MessageNew MessageExpunge))")
            flags = await client.ok(b"FETCH 1 FLAGS")
            while not (b"\\Seen" in flags[-1] and b"\\Flagged" in flags[-1]):
                flags.append(await client.response())

            # mail that came meanwhile is shown without anybody asking
            assert await thunderbird.until("pane.gDBView.rowCount == 3 && pane.gDBView.getMsgHdrAt(0).mime2DecodedSubject") == f"{SUBJECT} 3"
            assert any(one.endswith(b" IDLE") for one in heard)

            # what is deleted goes to the bin
            await thunderbird.script("pane.threadTree.selectedIndex = 1; pane.commandController.doCommand('cmd_delete');")
            while not (await client.response()).startswith(b"* STATUS Trash (MESSAGES 1 "):
                pass
