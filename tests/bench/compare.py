"""Measures govmail beside Postfix + Dovecot: turn by turn, on the same machine, and prints medians and ratios.

    python tests/bench/compare.py --runs 3 --workloads smtp-4k,smtp-50k,login,sync,idle

Each turn runs a workload on one server and then on the other, so that what else the machine does hits both. Peers that are
not installed are left out. Every run is also appended to --log as a JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gen_corpus
import imap_load
import smtp_load
import stall
from common import Result, raise_file_limit, spread
from servers import Govmail, Peer, Server

CORPUS = 1000  # mails in the mailbox that is synchronised and searched
FILLED = 0  # the user who has them


@dataclass(frozen=True)
class Workload:
    """`figures`: which fields of the result are compared, and whether more is better."""

    name: str
    run: Callable[[Server, Path], Result]
    figures: dict[str, bool]


def _smtp(size: int, messages: int, conns: int, users: int) -> Callable[[Server, Path], Result]:
    def run(server: Server, corpus: Path) -> Result:
        load = smtp_load.Load(server.smtp, messages=messages, conns=conns, size=size, users=users)
        return asyncio.run(smtp_load.measure(load, label=server.name, count_cmd=server.count_cmd))

    return run


def _imap(test: str, *more: str) -> Callable[[Server, Path], Result]:
    def run(server: Server, corpus: Path) -> Result:
        arguments = [f"{server.imap[0]}:{server.imap[1]}", test, "--label", server.name, *more]
        if test == "idle":
            arguments += ["--smtp", f"{server.smtp[0]}:{server.smtp[1]}"]
            arguments += [word for pid in server.pids() for word in ("--server-pid", str(pid))]
        return asyncio.run(imap_load.measure(imap_load.arguments().parse_args(arguments)))

    return run


def _stall(server: Server, corpus: Path) -> Result:
    return asyncio.run(stall.measure(server.smtp, server.imap, mails=10, octets=50_000_000, label=server.name))


def workloads(users: int) -> dict[str, Workload]:
    """All that there are, by name."""
    accepted = {"accepted_msg_s": True, "delivered_msg_s": True, "accept_p99_ms": False}
    search = {f"{key}_{word}_s": False for key in ("text", "body", "subject") for word in ("zebrafish", "斑马鱼")}
    steps = {f"{step}_s": False for step in ("select", "flags", "headers", "envelopes", "bodies")}
    idle = {"open_per_s": True, "kb_per_idle": False, "push_p50_ms": False, "push_p99_ms": False}
    rate = {"per_s": True, "p99_ms": False}
    found = (
        Workload("smtp-4k", _smtp(4096, 2000, 20, users), accepted),
        Workload("smtp-50k", _smtp(51_200, 1000, 20, users), accepted),
        Workload("smtp-1m", _smtp(1_048_576, 100, 20, users), accepted),
        Workload("login", _imap("login", "--users", str(users)), rate),
        Workload("append", _imap("append", "--user", "1", "--conns", "20", "--messages", "1000"), rate),
        Workload("sync", _imap("sync", "--user", str(FILLED)), steps),
        Workload("search", _imap("search", "--user", str(FILLED)), search),
        Workload("idle", _imap("idle", "--conns", str(users), "--deliveries", "100"), idle),
        Workload("stall", _stall, {f"{name}_loaded_{share}": False for name in ("smtp", "imap") for share in (99, 100)}),
    )
    return {one.name: one for one in found}


DEFAULT = "smtp-4k,smtp-50k,smtp-1m,login,append,sync,search,idle"


def measure(servers: list[Server], chosen: list[Workload], runs: int, corpus: Path, log: Path | None) -> list[Result]:
    """All runs, workload by workload, the servers in turn."""
    results: list[Result] = []
    for workload in chosen:
        for turn in range(runs):
            for server in servers if turn % 2 == 0 else reversed(servers):
                print(f"{workload.name} {turn + 1}/{runs} {server.name}", file=sys.stderr, flush=True)
                result = {"workload": workload.name, "server": server.name} | workload.run(server, corpus)
                results.append(result)
                if log is not None:
                    with log.open("a") as file:
                        file.write(json.dumps(result, ensure_ascii=False) + "\n")
    return results


def table(results: list[Result], chosen: list[Workload], names: list[str]) -> str:
    """Medians with their range; the ratio says how many times better the first server is."""
    lines = ["| workload | figure | " + " | ".join(names) + (" | ratio |" if len(names) > 1 else " |"), "| --- " * (len(names) + 2 + (len(names) > 1)) + "|"]
    for workload in chosen:
        for figure, more_is_better in workload.figures.items():
            medians, cells = [], []
            for name in names:
                values = [float(str(one[figure])) for one in results if (one["workload"], one["server"]) == (workload.name, name) and figure in one]
                if not values:
                    continue
                median, least, greatest = spread(values)
                medians.append(median)
                cells.append(f"{median:,.4g} [{least:,.4g} … {greatest:,.4g}]")
            if len(cells) != len(names):
                continue
            if len(names) > 1:
                ratio = medians[0] / medians[1] if more_is_better else medians[1] / medians[0] if medians[0] else 0.0
                cells.append(f"{ratio:.2f}")
            lines.append(f"| {workload.name} | {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def prepared(server: Server, corpus: Path, users: int) -> None:
    """Started, every mailbox made, and one of them filled."""
    print(f"preparing {server.name} with {users} accounts", file=sys.stderr, flush=True)
    server.prepare()
    server.start()
    asyncio.run(smtp_load.run(smtp_load.Load(server.smtp, messages=users, size=1000, users=users)))
    fill = [f"{server.imap[0]}:{server.imap[1]}", "fill", "--user", str(FILLED), "--corpus", str(corpus), "--messages", str(CORPUS)]
    asyncio.run(imap_load.measure(imap_load.arguments().parse_args(fill)))


def compare(directory: Path, *, chosen: list[Workload], runs: int, users: int, peer: bool, log: Path | None, store_url: str = "") -> str:
    """Run everything below `directory`; the table."""
    corpus = directory / "corpus"
    gen_corpus.write(corpus, CORPUS)
    servers: list[Server] = [Govmail(directory / "govmail", users, store_url=store_url)]
    missing = Peer.missing()
    if peer and missing:
        print(f"without Postfix + Dovecot: {missing}", file=sys.stderr)
    elif peer:
        servers.append(Peer(directory / "peer", users))
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            prepared(server, corpus, users)
        results = measure(servers, chosen, runs, corpus, log)
    finally:
        for server in started:
            server.stop()
    return table(results, chosen, [server.name for server in servers])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3, help="of each workload on each server")
    parser.add_argument("--users", type=int, default=200, help="accounts; idle connections, too")
    parser.add_argument("--workloads", default=DEFAULT, help=f"comma-separated, of {', '.join(workloads(1))}")
    parser.add_argument("--no-peer", action="store_true", help="govmail alone")
    parser.add_argument("--store-url", default="", help="PostgreSQL instead of SQLite")
    parser.add_argument("--log", type=Path, help="append every run to this file")


def run(options: argparse.Namespace) -> str:
    """What the command line asks for."""
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped then, too
    known = workloads(options.users)
    unknown = [name for name in options.workloads.split(",") if name not in known]
    if unknown:
        sys.exit(f"no such workload: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.workloads.split(",")]
    with tempfile.TemporaryDirectory(prefix="govmail-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # Postfix and Dovecot work under users of their own
        return compare(
            directory, chosen=chosen, runs=options.runs, users=options.users, peer=not options.no_peer, log=options.log,
            store_url=options.store_url,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    print(run(parser.parse_args()))


if __name__ == "__main__":
    main()
