"""RFC 8474: ids stay with what they name, whatever is done to it."""

from __future__ import annotations

import re

from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage

LOGIN = "objects@jx.example"


async def mailbox_id(client: ImapClient, name: bytes) -> bytes:
    (line,) = await client.ok(b"STATUS " + name + b" (MAILBOXID)")
    return re.findall(rb"MAILBOXID \((\S+)\)", line)[0]  # type: ignore[no-any-return]


async def email_ids(client: ImapClient, mailbox: bytes) -> list[bytes]:
    await client.ok(b"EXAMINE " + mailbox)
    return [line.split(b"EMAILID (")[1].split(b")")[0] for line in await client.ok(b"FETCH 1:* EMAILID")]


async def test_a_mailbox_keeps_its_id_over_rename_and_nobody_gets_it_again(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"CREATE Work")
        first = await mailbox_id(client, b"Work")
        await client.ok(b"RENAME Work Done")
        assert await mailbox_id(client, b"Done") == first
        await client.ok(b"CREATE Work")
        assert await mailbox_id(client, b"Work") != first
        await client.ok(b"DELETE Done")
        await client.ok(b"CREATE Done")
        seen = [await mailbox_id(client, name) for name in (b"INBOX", b"Work", b"Done", b"Sent")]
        assert first not in seen
        assert len(set(seen)) == 4


async def test_a_message_keeps_its_id_over_copy_move_and_rename(stage: Stage) -> None:
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        for subject in (b"one", b"two"):
            await client.append(b"Subject: " + subject + b"\r\n\r\ntext")
        one, two = await email_ids(client, b"INBOX")
        assert one != two
        await client.ok(b"CREATE Work")
        await client.ok(b"SELECT INBOX")
        await client.ok(b"COPY 2 Work")
        await client.ok(b"MOVE 1 Work")
        assert await email_ids(client, b"Work") == [two, one]
        await client.ok(b"RENAME Work Done")
        assert await email_ids(client, b"Done") == [two, one]
        assert await client.ok(b"SEARCH EMAILID " + one) == [b"* SEARCH 2\r\n"]
