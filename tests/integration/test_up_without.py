"""`govmail up` where things are missing or wrong: no engines, no privileges, a configuration that does not hold."""

from __future__ import annotations

import os
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from admin import setup
from govmail import datadir
from govmail.config import Limits
from tests.integration.test_up import bodies, log_in
from tests.kit.up import COMMAND, Up, free_offset, running_up

NOBODY = "nobody"


def deliver(up: Up, address: str, *, lines: int = 1) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "someone@outside.example", address, "通知"
    mail.set_content("没有引擎的系统。\n" * lines)
    with smtplib.SMTP("127.0.0.1", up.ports.smtp, timeout=60) as client:
        client.send_message(mail)


def test_without_engines_mail_flows_and_says_that_it_was_not_scanned() -> None:
    """As an ordinary user, too: nothing of it needs privileges."""
    user = NOBODY if os.geteuid() == 0 else ""
    with running_up("--engine-path", "/nonexistent", user=user) as up:
        login = up.logins[0]
        deliver(up, login["address"])
        with log_in(up, login["address"], login["password"]) as client:
            (mail,) = bodies(client)
        assert b"X-Govmail-Virus: unscanned" in mail
        assert b"X-Govmail-Virus: clean" not in mail
        for package in ("rspamd", "clamav-daemon"):
            assert f"!! {package} is not installed" in up.output
        assert 'kind = "ldap"' not in datadir.config_file(up.data).read_text("utf-8")
        report = up.ask("doctor")
        assert report["failed"] == []
        assert {"engine rspamd", "engine clamd"} <= set(report["warnings"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_all_of_it() -> None:
    with running_up(user=NOBODY) as up:
        login = up.logins[0]
        deliver(up, login["address"])
        with log_in(up, login["address"], login["password"]) as client:
            (mail,) = bodies(client)
        assert b"X-Govmail-Virus: clean" in mail
        assert up.ask("doctor")["failed"] == []
        engines = [up.engine_pid(name) for name in ("slapd", "rspamd", "clamd")]
        assert up.stop() == 0
        assert not any(os.path.exists(f"/proc/{pid}") for pid in engines)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_checkout_that_its_user_cannot_walk_to_has_its_data_behind_a_link() -> None:
    """As below /root. The large mail is read by a process that inherits where the server stands."""
    with tempfile.TemporaryDirectory(prefix="govmail-closed-") as closed, running_up("--engine-path", "/nonexistent", link_in=Path(closed)) as up:
        login = up.logins[0]
        deliver(up, login["address"], lines=200_000)
        with log_in(up, login["address"], login["password"]) as client:
            (mail,) = bodies(client)
        assert len(mail) > Limits().process_parse_octets
        assert up.run("unit", "show", "江西省").returncode == 0


@contextmanager
def prepared(change: tuple[str, str] | None = None) -> Iterator[tuple[Path, setup.Ports]]:
    """A data directory whose configuration has one text replaced by another."""
    with tempfile.TemporaryDirectory(prefix="govmail-up-") as name:
        base = Path(name)
        base.chmod(0o755)
        data, offset = base / "var", free_offset()
        setup.prepare(data, port_offset=offset, ldap=True)
        file = datadir.config_file(data)
        if change is not None:
            file.write_text(file.read_text("utf-8").replace(*change, 1), "utf-8")
        if os.geteuid() == 0:
            for one in (data, *data.rglob("*")):
                os.chown(one, 65_534, 65_534)
        yield data, setup.Ports.at(offset)


def start(data: Path) -> subprocess.CompletedProcess[str]:
    """Ends by itself when it cannot start; as nobody, so that it is nobody's engines that could be left behind."""
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"] if os.geteuid() == 0 else []
    environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    return subprocess.run([*become, COMMAND, "--data", data, "up"], capture_output=True, text=True, timeout=120, check=False, cwd=data.parent, env=environment)


def left_behind(data: Path) -> list[str]:
    """Processes whose command line names this data directory."""
    found = subprocess.run(["pgrep", "-f", "-a", str(data)], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (("hostname =", "colour = 1\nhostname ="), "colour", "unknown field"),
        (('protocol = "imap"\n', 'protocol = "pop3"\n'), "protocol", "pop3"),
        (('host = "127.0.0.1"', 'host = "0.0.0.0"\nallow_plain_login = true'), "allow_plain_login", "loopback"),
        (("hostname =", "hostname"), "line 2", "'='"),
    ],
)
def test_a_configuration_that_does_not_hold_is_named_and_nothing_starts(change: tuple[str, str], key: str, reason: str) -> None:
    with prepared(change) as (data, _):
        done = start(data)
        assert done.returncode == 2
        assert str(datadir.config_file(data)) in done.stderr
        assert key in done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
        assert left_behind(data) == []


@pytest.mark.parametrize("name", ["imaps", "slapd"])
def test_a_port_that_is_taken_is_named_before_any_engine_starts(name: str) -> None:
    with prepared() as (data, ports):
        port = getattr(ports, name)
        with socket.create_server(("127.0.0.1", port)):
            done = start(data)
        assert done.returncode == 2
        assert str(port) in done.stderr
        assert name in done.stderr
        assert "starting" not in done.stderr
        assert left_behind(data) == []
