"""CPU time of FETCH alone: the reading thread on a mailbox of many messages, SQL and formatting, without sockets.

    python tests/bench/fetch_cpu.py [--count 10000] [--keep DIRECTORY]

Prints one JSON line for each command: milliseconds (the best of `--runs`, warm), octets of the answer. The store is made
with gen_corpus.py and kept in DIRECTORY for the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from gen_corpus import Writer

from govmail.config import Limits
from govmail.delivery.readers import ThreadReader
from govmail.imap.fetching import Plan, View
from govmail.imap.flags import NO_KEYWORDS
from govmail.imap.upload import prepare
from govmail.imap.view import UidMap
from govmail.mail.message import Message
from govmail.store import incoming, messages
from govmail.store.blobs import BlobFiles
from govmail.store.connection import Connection
from govmail.store.database import Database
from govmail.store.values import Delivery
from govmail.wire.imap.fetch import parse_items
from govmail.wire.imap.tokens import Tokens

ITEMS = (
    b"(UID FLAGS)",
    b"(UID RFC822.SIZE FLAGS INTERNALDATE)",
    b"(UID ENVELOPE BODYSTRUCTURE)",
    # Thunderbird, opening a mailbox
    b"(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References "
    b"Newsgroups In-Reply-To Content-Type Reply-To)])",
    b"(UID EMAILID PREVIEW)",
    b"(UID BODY.PEEK[HEADER])",
    b"(UID BODY.PEEK[])",
)
OWNER = "11111111-1111-1111-1111-111111111111"
NOW = 1_800_000_000


async def fill(database: Database, count: int) -> None:
    writer, reader = Writer(1), ThreadReader(Limits())
    for number in range(count):
        content = await prepare(Message.of(writer.message(number)), reader, database.blobs)
        await database.write(incoming.deliver, content, [Delivery(OWNER, "u0@bench.test")], internal_date=NOW + number, now=NOW)


def measure(conn: Connection, items: bytes, runs: int, files: BlobFiles) -> dict[str, object]:
    """One command in the way the session runs it, batch by batch."""
    uids = messages.uids(conn, 1, 1)
    view = View(1, 1, UidMap(uids), NO_KEYWORDS, 1)
    plan = Plan(parse_items(Tokens(items)), read_only=True)
    best, octets, longest = float("inf"), 0, 0.0
    for _ in range(runs):
        rest, octets, start = tuple(uids), 0, time.thread_time()
        while rest:
            began = time.thread_time()
            batch = plan.read(conn, view, rest, files)
            longest = max(longest, time.thread_time() - began)
            rest = batch.rest
            octets += sum(len(piece) for piece in batch.pieces if isinstance(piece, bytes))
        best = min(best, time.thread_time() - start)
    return {"items": items.decode(), "ms": round(best * 1000, 1), "longest_batch_ms": round(longest * 1000, 1), "octets": octets}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.keep or Path(temporary)
        fresh = not (directory / "mail.sqlite").exists()
        directory.mkdir(parents=True, exist_ok=True)
        database = Database.open("", data_dir=directory, durable=False, readers=1)
        if fresh:
            asyncio.run(fill(database, options.count))
        for items in ITEMS:
            print(json.dumps(database.run_read(measure, items, options.runs, database.blobs)))
        database.run_close()


if __name__ == "__main__":
    main()
