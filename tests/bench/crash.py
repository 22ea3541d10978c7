"""Kills a loaded govmail with SIGKILL, again and again, and looks whether it kept its word.

    python tests/bench/crash.py --kills 20 --users 20

Afterwards every message that got its 250 must be in its mailbox exactly once, a message whose connection broke before the
answer at most once, and one that was refused nowhere; the ids of a mailbox ascend, and no two messages have the same. Prints one JSON line;
exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import smtp_load
from common import Result, emit, user_address
from imap_load import Imap
from servers import Govmail

_FETCHED = re.compile(rb"\* \d+ FETCH \(UID (\d+) [^\r\n]*\{\d+\}\r\n(?:X-Bench-Id: ([^\r\n]+)\r\n)?", re.IGNORECASE)


async def load_until_killed(server: Govmail, users: int, size: int, seconds: float, record: Path, turn: int) -> None:
    """Mail from eight connections until the server dies."""
    load = smtp_load.Load(server.smtp, messages=10**9, conns=8, size=size, users=users, recipients=2, prefix=f"t{turn}")
    with record.open("a") as file:
        sending = asyncio.ensure_future(smtp_load.run(load, file))
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.2)  # the readers notice
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def mailboxes(server: Govmail, users: int) -> dict[str, list[tuple[int, str]]]:
    """What lies in each INBOX: UIDs and ids."""
    found: dict[str, list[tuple[int, str]]] = {}
    for user in range(users):
        connection = await Imap.connect(server.imap)
        await connection.login(user)
        await connection.command(b"SELECT INBOX")
        answer = await connection.command(b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (X-Bench-Id)])", keep=True)
        found[user_address(user)] = [(int(uid), ident.decode()) for uid, ident in _FETCHED.findall(answer)]
        await connection.command(b"LOGOUT")
        connection.transport.close()
    return found


def judge(record: Path, found: dict[str, list[tuple[int, str]]]) -> Result:
    """Compare what was promised with what is there."""
    fates: dict[tuple[str, str], str] = {}
    for line in record.read_text().splitlines():
        fate, ident, recipients = line.split("\t")
        for recipient in recipients.split(","):
            fates[ident, recipient] = fate
    copies = Counter((ident, recipient) for recipient, mails in found.items() for _, ident in mails)
    uids = [[uid for uid, _ in mails] for mails in found.values()]
    return {
        "acknowledged": sum(fate == "ack" for fate in fates.values()),
        "unknown": sum(fate == "unknown" for fate in fates.values()),
        "refused": sum(fate == "refused" for fate in fates.values()),
        "found": sum(copies.values()),
        "lost": sum(fate == "ack" and copies[key] == 0 for key, fate in fates.items()),
        "doubled": sum(count > 1 for count in copies.values()),
        "refused_but_there": sum(fate == "refused" and copies[key] > 0 for key, fate in fates.items()),
        "half": _half(fates, copies),
        "unordered_mailboxes": sum(one != sorted(set(one)) for one in uids),
    }


def _half(fates: dict[tuple[str, str], str], copies: Counter[tuple[str, str]]) -> int:
    """Messages that only some of their recipients have."""
    there: dict[str, set[bool]] = {}
    for ident, recipient in fates:
        there.setdefault(ident, set()).add(copies[ident, recipient] > 0)
    return sum(len(one) > 1 for one in there.values())


PROMISES = ("lost", "doubled", "refused_but_there", "half", "unordered_mailboxes")


async def measure(directory: Path, *, kills: int, users: int, size: int, seed: int, store_url: str = "") -> Result:
    rng = random.Random(seed)
    server = Govmail(directory / "data", users, store_url=store_url)
    await asyncio.to_thread(server.prepare)
    record = directory / "record"
    for turn in range(kills):
        await asyncio.to_thread(server.start)
        await load_until_killed(server, users, size, rng.uniform(0.2, 2.0), record, turn)
    await asyncio.to_thread(server.start)
    try:
        result = judge(record, await mailboxes(server, users))
    finally:
        await asyncio.to_thread(server.stop)
    broken = [name for name in PROMISES if result[name]]
    return {"test": "crash", "kills": kills, "seed": seed, **result, "broken": broken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message; above 512 KB bodies are files")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--store-url", default="", help="PostgreSQL instead of SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="govmail-crash-") as directory:
        result = asyncio.run(
            measure(Path(directory), kills=options.kills, users=options.users, size=options.size, seed=options.seed, store_url=options.store_url)
        )
    emit(result)
    if result["broken"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
