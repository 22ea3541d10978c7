r"""Dozens of clients on a few accounts for minutes, with mail arriving by SMTP; every response is checked.

    python tests/stress/run.py --seconds 120 --clients 40        a server of its own, on SQLite
    python tests/stress/run.py --postgres                        … on a PostgreSQL cluster of its own
    python tests/stress/run.py --store-url URL                   … on that database, which must be empty

The first rule that is broken ends the run: what it was, and the dialogue of that connection. The same seed gives each
client the same choices, though not the same moments.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "bench")]  # a program, not a module of the tests

from servers import Govmail  # noqa: E402

from tests.kit.imap import ImapClient  # noqa: E402
from tests.kit.imap_view import BrokenRule, ClientView  # noqa: E402
from tests.kit.postgres import running_postgres  # noqa: E402
from tests.kit.smtp import SmtpClient  # noqa: E402
from tests.stress.client import BOXES, Account, Client, Gone  # noqa: E402

FULL = 400  # messages of an account above which no more mail comes, so that mailboxes stay small and change much


class Stress:
    def __init__(self, server: Govmail, options: argparse.Namespace) -> None:
        self.server = server
        self.options = options
        self.accounts = [Account(f"u{number}@bench.test") for number in range(options.accounts)]
        self.numbers = list(range(10_000_000, 0, -1))
        self.end = time.monotonic() + options.seconds
        self.clients: list[Client] = []
        self.commands = self.mails = self.reconnects = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.options.clients):
                group.create_task(self.client(number))
            for number in range(3):
                group.create_task(self.sender(number))
        await self.settle()
        incidents = [line for line in (self.server.directory / "log").read_text("utf-8", "replace").splitlines() if "incident" in line or "Traceback" in line]
        if incidents:
            raise BrokenRule("the server's log has incidents:\n" + "\n".join(incidents[:20]))

    async def client(self, number: int) -> None:
        chance = random.Random(f"{self.options.seed}-{number}")
        account = self.accounts[number % len(self.accounts)]
        while True:
            connection = await ImapClient(self.server.imap[1]).__aenter__()
            client = Client(connection, account, self.numbers, chance, watches=number % 5 == 4)
            try:
                await client.begin()
                while time.monotonic() < self.end:
                    await client.step()
                self.clients.append(client)
                return
            except Gone:
                self.reconnects += 1
            except Exception as error:
                error.add_note(f"connection {number} of {account.login}, its last lines:\n" + "\n".join(repr(line)[2:-1] for line in client.dialogue))
                raise
            finally:
                self.commands += client.commands

    async def sender(self, number: int) -> None:
        chance = random.Random(f"{self.options.seed}-sender-{number}")
        async with SmtpClient(self.server.smtp[1]) as smtp:
            await smtp.hello()
            while time.monotonic() < self.end:
                to = [one for one in chance.sample(self.accounts, min(2, len(self.accounts))) if len(one.born) - len(one.doomed) < FULL]
                if not to:
                    await asyncio.sleep(0.2)
                    continue
                mail = self.numbers.pop()
                for one in to:  # known before it can be seen
                    one.born.add(mail)
                reply = await smtp.mail("a@else.example", [one.login for one in to], b"Subject: number %d\r\n\r\n%b\r\n" % (mail, b"y" * 500))
                if not reply.startswith("250"):
                    raise BrokenRule(f"mail was answered {reply}")
                self.mails += 1

    async def settle(self) -> None:
        """Nobody changes anything any more: a NOOP, and every view is what a fresh session sees; nothing is lost."""
        for account in self.accounts:
            async with ImapClient(self.server.imap[1]) as connection:
                fresh = Client(connection, account, self.numbers, random.Random(0), watches=False)
                await connection.login(account.login, "pass")
                truth: dict[tuple[str, int], ClientView] = {}
                there: set[int] = set()
                for name in BOXES:
                    fresh.view, fresh.place = ClientView(), None
                    _, tagged = await fresh.command(b"EXAMINE " + name.encode())
                    if tagged.startswith(b"OK"):
                        fresh.place = name, fresh.view.uidvalidity
                        await fresh.look()
                        truth[fresh.place] = fresh.view
                        there.update(account.numbers.get(fresh.place, {})[uid] for uid in fresh.view.uids)
                if lost := account.born - account.doomed - there:
                    raise BrokenRule(f"{account.login} has lost {sorted(lost)}")
                for client in [one for one in self.clients if one.account is account and one.place in truth]:
                    await self.compare(client, truth[client.place])  # type: ignore[index]

    async def compare(self, client: Client, truth: ClientView) -> None:
        try:
            await client.noop()
            if len(client.view.messages) != len(truth.messages):
                raise BrokenRule(f"after NOOP {len(client.view.messages)} messages are known, {len(truth.messages)} are there")
            for mine, its in zip(client.view.messages, truth.messages, strict=True):
                if mine.uid not in (0, its.uid):
                    raise BrokenRule(f"after NOOP UID {mine.uid} is known where {its.uid} is")
                if mine.uid and mine.flags is not None and mine.flags - {b"\\Recent"} != (its.flags or frozenset()) - {b"\\Recent"}:
                    raise BrokenRule(f"after NOOP UID {mine.uid} is known with {sorted(mine.flags)}, it has {sorted(its.flags or ())}")
        except BrokenRule as error:
            error.add_note(f"of {client.account.login} in {client.place}, its last lines:\n" + "\n".join(repr(line)[2:-1] for line in client.dialogue))
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--accounts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--store-url", default="")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.store_url
        if options.postgres:
            url = stack.enter_context(stack.enter_context(running_postgres()).database())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="govmail-stress-")))
        server = Govmail(directory / "data", options.accounts, store_url=url)
        server.prepare()
        server.start()
        stack.callback(server.stop)
        stress = Stress(server, options)
        stress.end = time.monotonic() + options.seconds
        broken: list[BaseException] = []
        try:
            uvloop.run(stress.run())
        except BaseExceptionGroup as group:
            broken = [error for error in group.exceptions if not isinstance(error, asyncio.CancelledError)]
        except BrokenRule as error:
            broken = [error]
    for error in broken:
        print(f"BROKEN: {type(error).__name__}: {error}", *getattr(error, "__notes__", ()), sep="\n")
    print(
        f"seed {options.seed}: {stress.commands} commands of {options.clients} clients, {stress.mails} mails by SMTP, "
        f"{stress.reconnects} connections that vanished; {re.sub('^0$', 'nothing', str(len(broken)))} broken"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
