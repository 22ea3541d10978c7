"""kill -9 while mail is being stored: what was acknowledged is there, once; what was not is whole or absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from govmail.store import accounts, blobs, contents, mailboxes, messages
from govmail.store.database import Database

ROOT = Path(__file__).parents[3]

# Stores numbered mails from several tasks at once and prints a number when its write has returned.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from govmail.config import Limits
from govmail.store import incoming, messages
from govmail.store.database import Database
from govmail.store.values import Delivery
from tests.kit.contents import new_content, raw_mail

async def main() -> None:
    db = Database.open("", data_dir=Path(sys.argv[1]))
    numbers = iter(range(100_000))
    async def work() -> None:
        for number in numbers:
            raw = raw_mail(f"Mail {number}", "x" * (3000 if number % 5 == 0 else 30))
            new = new_content(raw, files=db.blobs, limits=Limits(blob_inline_octets=20))
            owners = [Delivery(f"clerk-{(number + one) % 7}", f"{number}@jx.example") for one in range(3)]
            await db.write(incoming.deliver, new, owners, internal_date=1, now=1_800_000_000)
            print(number, flush=True)
    await asyncio.gather(*(work() for _ in range(8)))

asyncio.run(main())
"""


def test_every_acknowledged_mail_survives(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for enough in (40, 130):
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for count, line in enumerate(child.stdout, 1):
            acknowledged.add(int(line))
            if count == enough:
                break
        child.kill()
        acknowledged.update(int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n"))
        child.wait(60)
    db = Database.open("", data_dir=tmp_path)
    copies: dict[int, int] = {}
    for account in db.run_read(accounts.list_page, after=0, limit=100):
        for row in db.run_read(messages.rows, account.account_id, accounts.INBOX_ID, None):
            assert row.delivered_to is not None
            number = int(row.delivered_to.partition("@")[0])
            copies[number] = copies.get(number, 0) + 1
            [content] = db.run_read(contents.envelopes, [row.content_id]).values()
            [header] = db.run_read(contents.headers, [row.content_id]).values()
            [ref] = db.run_read(blobs.locate, [content.blob_id]).values()
            assert f"Subject: Mail {number}\r\n".encode() in header
            assert len(header) + len(b"".join(blobs.stream(ref, db.blobs))) == content.size
        inbox = db.run_read(mailboxes.by_id, account.account_id, accounts.INBOX_ID)
        assert inbox.messages == account.used_messages
    assert acknowledged <= copies.keys()
    assert all(count in (3, 6) for count in copies.values())  # the second child stores the same numbers again
    db.run_close()
