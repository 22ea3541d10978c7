"""A private slapd with our schema on a loopback port: started for tests, stopped by pid, its data thrown away."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from directory import slapd
from directory.ldap.pool import SUBTREE, Link, Server
from govmail.config import DirectoryTable

BASE = "ou=agencies,dc=jx,dc=example"
START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Slapd:
    """`start`, `stop` and `start` again on the same port with the same data."""

    def __init__(self, home: Path, *, base: str = BASE, password: str = "service-secret", durable: bool = False) -> None:
        self.base = base
        self.password = password
        self.port = free_port()
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        data, run = home / "db", home / "run"
        data.mkdir(parents=True)
        run.mkdir()
        self._config = home / "slapd.conf"
        self._config.write_text(slapd.render(base, data_dir=data, run_dir=run, admin_password=password, durable=durable), "utf-8")
        self._config.chmod(0o600)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def config(self, **changes: object) -> DirectoryTable:
        """The table of the configuration that uses this slapd."""
        values: dict[str, object] = {
            "kind": "ldap", "url": self.url, "base": self.base, "bind_dn": slapd.admin_dn(self.base), "timeout_seconds": 3.0,
        }
        return DirectoryTable(**{**values, **changes})  # type: ignore[arg-type]

    def start(self) -> None:
        """Returns when it takes connections."""
        # -d: stay in the foreground, so that its end is ours to see.
        command = [str(slapd.SLAPD), "-f", str(self._config), "-h", self.url, "-d", "0"]
        with (self._home / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        latest = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > latest:
                    raise RuntimeError(f"slapd did not start: {(self._home / 'slapd.log').read_text('utf-8', 'replace')}") from None
                time.sleep(0.02)

    def pause(self) -> None:
        """It hangs: connections stay open, nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Takes every entry away, leaves first."""
        link = Link(Server(self.url, slapd.admin_dn(self.base), self.password))
        for entry in sorted(link.search(slapd.suffix_of(self.base), SUBTREE, "(objectClass=*)", []), key=lambda entry: -entry.dn.count(",")):
            link.delete(entry.dn)
        link.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
