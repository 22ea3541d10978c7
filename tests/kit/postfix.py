"""A private Postfix on free loopback ports, as the other server: its own configuration, queue and mailboxes in one directory.

Its `master` runs in the foreground as our child; nothing of the machine's own Postfix is touched.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.engines import free_port
from tests.kit.tls import make_certificate

MASTER = "/usr/lib/postfix/sbin/master"
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")

_MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/log
maillog_file_prefixes = {root}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.{domain}
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
local_transport = error:no local mail
default_transport = discard:
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = texthash:{root}/etc/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
message_size_limit = {size_limit}
virtual_mailbox_limit = 0
smtpd_recipient_restrictions = check_recipient_access texthash:{root}/etc/refused, permit
smtpd_relay_restrictions = permit_auth_destination, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = {root}/etc/tls.pem
smtpd_tls_received_header = yes
smtputf8_enable = yes
disable_dns_lookups = yes
smtpd_peername_lookup = no
in_flow_delay = 0
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{old_port} inet n - n - - smtpd
  -o smtpd_discard_ehlo_keywords=8bitmime,dsn,smtputf8,starttls,pipelining,chunking
127.0.0.1:{tls_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """`port`: everything on; `old_port`: without 8BITMIME, DSN, SMTPUTF8, STARTTLS; `tls_port`: nothing without TLS."""

    root: Path
    port: int
    old_port: int
    tls_port: int

    def mails(self, user: str) -> list[bytes]:
        """What has arrived in a mailbox, with CR LF line ends."""
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted((self.root / "mail" / user / "new").glob("*"))]

    def wait_for(self, user: str, count: int = 1) -> list[bytes]:
        """The same, when there are that many. Blocks."""
        deadline = time.monotonic() + 90
        while len(found := self.mails(user)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError((self.root / "log").read_text())
            time.sleep(0.02)
        return found


@contextmanager
def running_postfix(
    root: Path, *, domain: str, users: tuple[str, ...], refused: Mapping[str, str], size_limit: int = 200_000
) -> Iterator[Postfix]:
    """`refused` maps an address to the reply that RCPT gets. Needs root, as Postfix does."""
    nobody = pwd.getpwnam("nobody")
    root.chmod(0o755)
    for name in ("etc", "mail", "data"):
        (root / name).mkdir()
    os.chown(root / "mail", nobody.pw_uid, nobody.pw_gid)
    _make_queue(root / "spool", root / "data")
    ports = [free_port() for _ in range(3)]
    etc = root / "etc"
    (etc / "main.cf").write_text(
        _MAIN.format(root=root, domain=domain, uid=nobody.pw_uid, gid=nobody.pw_gid, size_limit=size_limit)
    )
    (etc / "master.cf").write_text(_MASTER.format(port=ports[0], old_port=ports[1], tls_port=ports[2]))
    (etc / "mailboxes").write_text("".join(f"{user}@{domain} {user}/\n" for user in users))
    (etc / "refused").write_text("".join(f"{address} {reply}\n" for address, reply in refused.items()))
    certificate, key = make_certificate(f"mx.{domain}")
    (etc / "tls.pem").write_bytes(key + certificate)
    process = subprocess.Popen([MASTER, "-c", str(etc), "-d"], stdin=subprocess.DEVNULL, cwd=root)
    try:
        for port in ports:
            _wait_for(port, process, root)
        yield Postfix(root, *ports)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(root / "spool", ignore_errors=True)


def _make_queue(spool: Path, data: Path) -> None:
    postfix = pwd.getpwnam("postfix")
    postdrop = grp.getgrnam("postdrop").gr_gid
    spool.mkdir()
    os.chown(data, postfix.pw_uid, postfix.pw_gid)
    for name in (*_QUEUES, "private", "maildrop", "public"):
        path = spool / name
        path.mkdir(mode=0o700)
        os.chown(path, postfix.pw_uid, postdrop if name in ("maildrop", "public") else postfix.pw_gid)
    (spool / "maildrop").chmod(0o730)
    (spool / "public").chmod(0o710)
    (spool / "pid").mkdir(mode=0o755)


def _wait_for(port: int, process: subprocess.Popen[bytes], root: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            log = root / "log"
            raise RuntimeError(f"Postfix did not start: {log.read_text() if log.exists() else process.returncode}")
        time.sleep(0.05)
