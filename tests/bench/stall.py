"""Does one client's big mail make another one wait? NOOPs on idle connections while big messages arrive.

    python tests/bench/stall.py SMTP_HOST:PORT --imap HOST:PORT --mails 10 --megabytes 50

Prints one JSON line: how long NOOPs took on SMTP and on a logged-in IMAP connection, alone and while the mails came in.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import imap_load
import smtp_load
from common import Result, Usage, emit, endpoint, milliseconds

PAUSE = 0.01  # seconds between two NOOPs


def big_message(octets: int, number: int) -> bytes:
    """Text in GB18030 and an attachment, both base64: what costs most to decode. Base64 makes 72 octets of 54."""
    rng = random.Random(number)
    text = base64.encodebytes("通知正文，请阅后办理。\r\n".encode("gb18030") * (octets // 100)).replace(b"\n", b"\r\n")
    data = base64.encodebytes(rng.randbytes(octets * 48 // 100)).replace(b"\n", b"\r\n")
    return (
        b"From: <a@load.bench.test>\r\nSubject: big %d\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=gb18030\r\nContent-Transfer-Encoding: base64\r\n\r\n%s"
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n%s--b--\r\n"
    ) % (number, text, data)


async def noops(noop: Callable[[], Awaitable[float]], until: asyncio.Event) -> list[float]:
    latencies = []
    while not until.is_set():
        latencies.append(await noop())
        try:
            async with asyncio.timeout(PAUSE):
                await until.wait()
        except TimeoutError:
            continue
    return latencies


async def measure(smtp: tuple[str, int], imap: tuple[str, int] | None, *, mails: int, octets: int, label: str = "") -> Result:
    load = smtp_load.Load(smtp)
    quiet = smtp_load.Connection(load)
    await quiet.open()
    watched: dict[str, Callable[[], Awaitable[float]]] = {"smtp": quiet.noop}
    if imap is not None:
        reader = await imap_load.Imap.connect(imap)
        await reader.login(0)
        await reader.command(b"SELECT INBOX")
        watched["imap"] = reader.noop
    with tempfile.TemporaryDirectory(prefix="govmail-stall-") as name:
        for number in range(mails):
            (Path(name) / f"{number}.eml").write_bytes(big_message(octets, number))
        return await _measure(watched, lambda: send_all(smtp, Path(name), mails), {"test": "stall", "label": label, "mails": mails, "octets": octets})


async def send_all(smtp: tuple[str, int], corpus: Path, mails: int) -> None:
    """All at once, from another process: sending holds an event loop, and NOOPs are timed in this one."""
    command = [str(Path(smtp_load.__file__)), f"{smtp[0]}:{smtp[1]}", "--corpus", str(corpus), "--messages", str(mails), "--conns", str(mails)]
    sender = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    output, _ = await sender.communicate()
    errors = json.loads(output)["errors"]
    if errors:
        raise smtp_load.Refused(f"{errors} of {mails} mails were not accepted")


async def _measure(watched: dict[str, Callable[[], Awaitable[float]]], loaded: Callable[[], Awaitable[None]], result: Result) -> Result:
    async def alone() -> None:
        await asyncio.sleep(2)

    for state, work in (("alone", alone), ("loaded", loaded)):
        usage, done = Usage(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(noops(noop, done)) for name, noop in watched.items()}
            await work()
            done.set()
        for name, task in tasks.items():
            found = task.result()
            result |= {f"{name}_{state}_{share}": milliseconds(found, share) for share in (50, 99, 100)}
        result[f"{state}_wall_s"] = usage.stop()["wall_s"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smtp", type=endpoint, metavar="SMTP_HOST:PORT")
    parser.add_argument("--imap", type=endpoint, metavar="HOST:PORT")
    parser.add_argument("--mails", type=int, default=10, help="at the same time")
    parser.add_argument("--megabytes", type=float, default=50.0, help="of each, about")
    parser.add_argument("--label", default="")
    options = parser.parse_args()
    emit(asyncio.run(measure(options.smtp, options.imap, mails=options.mails, octets=round(options.megabytes * 1_000_000), label=options.label)))


if __name__ == "__main__":
    main()
