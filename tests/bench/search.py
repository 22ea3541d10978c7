"""What SEARCH, SORT and THREAD cost on one large mailbox, without network: figures in milliseconds.

    python tests/bench/search.py --data DIR --count 10000

Fills a store in DIR with the corpus of gen_corpus.py (once; a second run finds it there) and prints one JSON line for each
command: the best of some runs, as wall time and as CPU time of all threads. On a machine that does other things, CPU time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import emit
from gen_corpus import Writer

from govmail.config import Limits
from govmail.imap import threads
from govmail.imap.fetching import View
from govmail.imap.flags import NO_KEYWORDS
from govmail.imap.searching import Question, find, find_rows
from govmail.imap.sorting import in_order
from govmail.imap.view import UidMap
from govmail.mail.message import Message
from govmail.mail.reading import read
from govmail.store import accounts, incoming, messages
from govmail.store.connection import Connection
from govmail.store.contents import prepare
from govmail.store.database import Database
from govmail.store.values import Delivery
from govmail.wire.imap.results import Order, parse_order
from govmail.wire.imap.search import parse_keys
from govmail.wire.imap.tokens import Tokens

LIMITS = Limits()
SEARCHES = (
    "UNSEEN", "OR SEEN FLAGGED", "SENTSINCE 10-Mar-2026", "SUBJECT zebrafish", "SUBJECT 斑马鱼", "FROM 财政局", "HEADER Message-ID 00a",
    "TEXT zebrafish", "TEXT 斑马鱼", "BODY nowhere", "TEXT 哪里都没有",
)  # fmt: skip
ORDERS = ("(ARRIVAL)", "(DATE)", "(SUBJECT)", "(FROM)", "(DISPLAYFROM)")


def fill(database: Database, count: int) -> None:
    writer = Writer(1)
    for number in range(count):
        message = Message.of(writer.message(number))
        content = prepare(read(message, LIMITS), message, database.blobs)
        delivery = Delivery("bench", "bench@bench.test", flags=number % 7 & 5)
        database.run_write(incoming.deliver, content, [delivery], internal_date=1_790_000_000 + number * 60, now=1_800_000_000)


def best(runs: int, job: Callable[[], object]) -> dict[str, float]:
    wall: list[float] = []
    processor: list[float] = []
    for _ in range(runs):
        start, begun = time.perf_counter(), time.process_time()
        job()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - begun)
    return {"wall_ms": round(min(wall) * 1000, 1), "cpu_ms": round(min(processor) * 1000, 1)}


def sort(conn: Connection, question: Question, order: Order) -> object:
    return in_order(conn, find_rows(conn, question), order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the store")
    parser.add_argument("--count", type=int, default=10_000, help="messages")
    parser.add_argument("--runs", type=int, default=5, help="of each command")
    given = parser.parse_args()
    database = Database.open("", data_dir=given.data, durable=False)
    if not (given.data / "filled").exists():
        fill(database, given.count)
        (given.data / "filled").touch()
    [account] = database.run_read(accounts.list_page, after=0, limit=2)
    view = View(account.account_id, 1, UidMap(database.run_read(messages.uids, account.account_id, 1)), NO_KEYWORDS, 1)

    def question(keys: str) -> Question:
        return Question(view, (), (), parse_keys(Tokens(keys.encode())), 1_800_000_000, LIMITS, database.blobs)

    for keys in SEARCHES:
        emit({"command": f"SEARCH {keys}", **best(given.runs, partial(database.run_read, find, question(keys)))})
    everything = question("ALL")
    for order in ORDERS:
        emit({"command": f"SORT {order}", **best(given.runs, partial(database.run_read, sort, everything, parse_order(Tokens(order.encode()))))})
    for algorithm in ("REFERENCES", "ORDEREDSUBJECT"):
        emit({"command": f"THREAD {algorithm}", **best(given.runs, partial(database.run_read, threads.line, everything, algorithm, by_uid=True))})
    database.run_close()


if __name__ == "__main__":
    main()
