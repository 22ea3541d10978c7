"""One machine, everything: the main path with the real engines, as `make serve` starts it."""

from __future__ import annotations

import imaplib
import json
import os
import signal
import smtplib
import ssl
import stat
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from tests.kit.malware import EICAR, GTUBE
from tests.kit.up import Up, eventually, running_up


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with running_up() as running:
        yield running


def a_mail(to: str, subject: str = "测试邮件") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "someone@outside.example"
    mail["To"] = to
    mail["Subject"] = subject
    mail.set_content("您好，这是一封测试邮件。\n", charset="gb18030")
    return mail


def send(up: Up, to: str, mail: EmailMessage) -> tuple[int, bytes]:
    """The reply to the final dot."""
    with smtplib.SMTP("127.0.0.1", up.ports.smtp, timeout=60) as client:
        try:
            client.send_message(mail, "someone@outside.example", [to])
        except smtplib.SMTPDataError as error:
            return error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
    return 250, b""


def log_in(up: Up, address: str, password: str) -> imaplib.IMAP4_SSL:
    client = imaplib.IMAP4_SSL("127.0.0.1", up.ports.imaps, ssl_context=ssl._create_unverified_context(), timeout=30)
    client.login(address, password)
    return client


def bodies(client: imaplib.IMAP4_SSL) -> list[bytes]:
    client.select("INBOX", readonly=True)
    _, found = client.search(None, "ALL")
    return [client.fetch(number, "(BODY.PEEK[])")[1][0][1] for number in found[0].split()]


def test_a_mail_is_read_where_it_was_sent_to(up: Up) -> None:
    login = up.logins[0]
    assert send(up, login["address"], a_mail(login["address"])) == (250, b"")
    with log_in(up, login["address"].upper(), login["password"]) as client:
        assert any("这是一封测试邮件".encode("gb18030") in body or b"X-Govmail-Virus: clean" in body for body in bodies(client))


def test_the_passwords_are_for_their_owner_only(up: Up) -> None:
    assert stat.S_IMODE((up.data / "sample-logins.tsv").stat().st_mode) == 0o600
    assert stat.S_IMODE((up.data / "run" / "control.sock").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_nothing_runs_as_root(up: Up) -> None:
    assert up.process is not None
    pids = [up.process.pid, *(up.engine_pid(name) for name in ("slapd", "rspamd", "clamd"))]
    assert all(os.stat(f"/proc/{pid}").st_uid != 0 for pid in pids)


def test_doctor_finds_nothing_broken(up: Up) -> None:
    report = up.ask("doctor")
    assert report["failed"] == []
    about_this_machine = {"hostname", "certificate", "engine rspamd", "engine clamd", "filter clamav"}  # no DNS, no fresh signatures
    assert set(report["warnings"]) <= about_this_machine
    assert {"engine slapd", "engine rspamd", "engine clamd"} <= {check["check"] for check in report["checks"]}
    assert any(check["check"] == "probe fetch" and check["status"] == "ok" for check in report["checks"])


def test_a_virus_is_held_and_can_only_be_deleted(up: Up) -> None:
    address = up.logins[1]["address"]
    mail = a_mail(address, "工资表")
    mail.add_attachment(EICAR, maintype="application", subtype="octet-stream", filename="工资表.xls")
    assert send(up, address, mail)[0] == 250
    (item,) = up.rows("quarantine", "list")
    assert item["reason"] == "virus"
    with log_in(up, address, up.logins[1]["password"]) as client:
        assert not any(b"X5O!P" in body for body in bodies(client))
    number = str(item["item_id"])
    refused = up.run("quarantine", "release", number)
    assert refused.returncode == 3
    assert "Eicar" in refused.stderr
    assert up.run("quarantine", "delete", number).returncode == 0
    assert up.rows("quarantine", "list") == []
    assert up.run("audit", "verify").returncode == 0


def test_spam_is_refused(up: Up) -> None:
    address = up.logins[0]["address"]
    mail = a_mail(address)
    mail.set_content(GTUBE.decode())
    code, text = send(up, address, mail)
    assert (code, text[:5]) == (550, b"5.7.1")


def test_while_an_engine_is_down_mail_is_deferred(up: Up) -> None:
    address = up.logins[0]["address"]
    os.kill(up.engine_pid("clamd"), signal.SIGKILL)
    code, text = send(up, address, a_mail(address, "deferred"))
    assert (code, text[:5]) == (451, b"4.7.1")
    eventually(lambda: send(up, address, a_mail(address, "back"))[0] == 250)


def test_whoever_is_disabled_is_out_at_once(up: Up) -> None:
    """Also under load: the command answers, the next login fails, the open connection ends within 5 s."""
    login, other = up.logins[2], up.logins[3]["address"]
    client = log_in(up, login["address"], login["password"])
    stop = threading.Event()

    def load() -> None:
        with smtplib.SMTP("127.0.0.1", up.ports.smtp, timeout=60) as sender:
            while not stop.is_set():
                sender.send_message(a_mail(other), "someone@outside.example", [other])

    senders = [threading.Thread(target=load) for _ in range(8)]
    for one in senders:
        one.start()
    try:
        assert up.run("person", "disable", login["address"]).returncode == 0
        client.sock.settimeout(5.0)
        assert b"BYE" in client.readline()
        assert client.readline() == b""
        with pytest.raises(imaplib.IMAP4.error):
            log_in(up, login["address"], login["password"])
    finally:
        stop.set()
        for one in senders:
            one.join()


def test_what_the_readme_shows_works(up: Up) -> None:
    assert up.run("unit", "add", "江西省/赣州市/统计局", "--line", "统计", "--label", "tjj").returncode == 0
    added = up.run("person", "add", "张三", "--unit", "江西省/赣州市/统计局", "--json")
    assert added.returncode == 0
    made = json.loads(added.stdout)
    with log_in(up, made["address"], made["password"]) as client:
        _, listed = client.list()
        assert any(b"\\Sent" in row for row in listed)


def test_a_second_server_refuses_the_same_data(up: Up) -> None:
    done = up.run("up", "--data", str(up.data))
    assert done.returncode == 1
    assert "owned by process" in done.stderr


def test_everything_ends_on_sigterm_and_starts_again(up: Up) -> None:
    address = up.logins[0]["address"]
    engines = [up.engine_pid(name) for name in ("slapd", "rspamd", "clamd")]
    assert up.stop() == 0
    assert not (up.data / "run" / "ready").exists()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in engines)
    up.start()
    assert send(up, address, a_mail(address, "again"))[0] == 250
