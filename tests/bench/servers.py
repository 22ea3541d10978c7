"""The servers that are measured: govmail on a directory of its own, Postfix + Dovecot by the scripts in `peers/`.

Invariants: all of them listen on loopback only and keep everything below the directory they are given; a server is ended by
the process id that it was started with. Accounts are u0 … u<N-1>@bench.test, password "pass".
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from common import DOMAIN, PASSWORD, user_address

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0


class Server(Protocol):
    """`prepare` once, then `start` and `stop`. `count_cmd` prints the number of messages in all mailboxes."""

    name: str
    smtp: tuple[str, int]
    imap: tuple[str, int]
    count_cmd: str

    def prepare(self) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pids(self) -> list[int]: ...


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, nor will while a server is down: clients get their ports from a range above."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


class Ended(Exception):
    """The server's process ended while its greeting was waited for; holds its exit code."""


def wait_for(server: tuple[str, int], process: subprocess.Popen[bytes] | None = None) -> None:
    """Until the server greets."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise Ended(process.returncode)
        try:
            with socket.create_connection(server, timeout=5) as connection:
                if connection.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"no answer on {server[0]}:{server[1]}")


_CONFIG = """\
hostname = "mail.{domain}"
user = "{user}"
language = "en"
log_level = "warning"

[limits]
connections_per_source = 25000
connections_per_account = 25000

{store}
{listeners}
"""

_LISTENER = """
[[listener]]
name = "{name}"
protocol = "{protocol}"
port = {port}
tls = "{tls}"
allow_plain_login = {plain}
"""


class Govmail:
    """govmail without filters: what the mail path costs by itself. `store_url` "" is SQLite."""

    name = "govmail"

    def __init__(self, directory: Path, users: int, *, store_url: str = "", command: str = "govmail") -> None:
        ports = free_ports(3)
        self.directory = directory.resolve()
        self.smtp, self.imap, self.imaps = (("127.0.0.1", port) for port in ports)
        beside = Path(sys.executable).with_name(command)
        self._base = [str(beside if beside.exists() else command), "--data", str(self.directory)]
        self.count_cmd = shlex.join([*self._base, "mailbox", "count"])
        self._users = users
        self._store_url = store_url
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Configuration, certificate, unit, domain and accounts."""
        self.directory.mkdir(mode=0o700, parents=True)
        listeners = (
            ("smtp", "smtp", self.smtp, "none", "false"), ("imap", "imap", self.imap, "none", "true"),
            ("imaps", "imap", self.imaps, "implicit", "false"),
        )  # fmt: skip
        text = "".join(_LISTENER.format(name=n, protocol=p, port=at[1], tls=tls, plain=plain) for n, p, at, tls, plain in listeners)
        store = f'[store]\nurl = "{self._store_url}"\n' if self._store_url else ""
        user = "root" if os.geteuid() == 0 else "govmail"  # only a server that root starts becomes somebody
        (self.directory / "govmail.toml").write_text(_CONFIG.format(domain=DOMAIN, user=user, store=store, listeners=text))
        (self.directory / "tls").mkdir(mode=0o700)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", f"/CN=mail.{DOMAIN}", "-keyout", "tls/key.pem", "-out", "tls/cert.pem"],
            cwd=self.directory, check=True, capture_output=True,
        )  # fmt: skip
        self.run("unit", "add", "Bench", "--label", "bench", "--domain", DOMAIN)
        rows = "".join(f"User {number}\t{user_address(number)}\t{PASSWORD}\n" for number in range(self._users))
        self.run("person", "add", "--from-file", "-", "--unit", "Bench", data=f"name\taddress\tpassword\n{rows}")

    def run(self, *arguments: str, data: str = "") -> str:
        """A command of the CLI; its output."""
        done = subprocess.run([*self._base, *arguments], input=data.encode(), capture_output=True)
        if done.returncode:
            sys.exit(f"govmail {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._base, "serve"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for port in (self.smtp, self.imap):
                wait_for(port, self._process)
        except Ended as error:
            last = (self.directory / "log").read_text("utf-8", "replace").splitlines()[-5:]
            sys.exit("\n".join([f"the server ended with {error}:", *last]))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process else []


class Peer:
    """Postfix in front of Dovecot, on the machine's own packages. Needs root, as they do."""

    name = "postfix+dovecot"

    def __init__(self, directory: Path, users: int, *, format: str = "sdbox") -> None:
        smtp, lmtp, imap = free_ports(3)
        self.smtp, self.imap = ("127.0.0.1", smtp), ("127.0.0.1", imap)
        self._directory = directory.resolve()
        self._environment = os.environ | {
            "BASE": str(self._directory), "USERS": str(users), "MAILFMT": format, "DOMAIN": DOMAIN,
            "SMTP_PORT": str(smtp), "LMTP_PORT": str(lmtp), "IMAP_PORT": str(imap),
        }  # fmt: skip
        self.count_cmd = shlex.join(["env", f"BASE={self._directory}", f"MAILFMT={format}", str(HERE / "peers" / "delivered.sh")])

    @staticmethod
    def missing() -> str:
        """What keeps the peer from running here; "" for nothing."""
        if os.geteuid() != 0:
            return "Postfix and Dovecot start as root"
        return ", ".join(name for name in ("postfix", "dovecot") if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"))

    def prepare(self) -> None:
        self._directory.mkdir(mode=0o755, parents=True)

    def start(self) -> None:
        self._script("dovecot.sh", "start")
        self._script("postfix.sh", "start")
        wait_for(self.smtp)
        wait_for(self.imap)

    def stop(self) -> None:
        self._script("postfix.sh", "stop")
        self._script("dovecot.sh", "stop")

    def pids(self) -> list[int]:
        return [int(self._script(name, "pid")) for name in ("postfix.sh", "dovecot.sh")]

    def _script(self, name: str, verb: str) -> str:
        with TemporaryFile() as output:  # not a pipe: daemons would hold it open
            command = [str(HERE / "peers" / name), verb]
            code = subprocess.run(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
            output.seek(0)
            text = output.read().decode().strip()
        if code:
            sys.exit(f"{name} {verb}: {text}")
        return text
