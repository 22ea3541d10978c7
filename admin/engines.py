"""rspamd, clamd and slapd as children of one machine's `govmail up`.

Invariants
- An engine listens on 127.0.0.1 only and reads and writes below `DIR/engines/<name>`, `DIR/dkim` and `DIR/log` only (and the
  packages' own files, which are never changed); nothing is shared with a daemon that the system runs.
- It runs without privileges, gains none (no_new_privs), and ends when we end, however we end (PR_SET_PDEATHSIG).
- *ready* means that it has answered in its own protocol, not that a port is open.
- A dead engine is started again, after 1, 2, 4 … 60 seconds; an engine whose package is missing is reported and left out.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, ClassVar

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import structlog

from directory import slapd
from filters import dkim
from filters.clamd import Clamd, brief
from filters.rspamd import Rspamd
from govmail.config import Config, DirectoryTable, FilterTable
from govmail.datadir import secrets_dir
from govmail.errors import EngineUnavailable

log = structlog.stdlib.get_logger("admin.engines")

READY_SECONDS = 180.0  # clamd reads a gigabyte of signatures, rspamd compiles its patterns at the first start
PROBE_SECONDS = 2.0
STOP_SECONDS = 10.0
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
STEADY_SECONDS = 60.0  # up for this long: the next death starts the back-off anew
SAMPLE_BASE = "dc=jx,dc=example"  # where the configuration names no base
FRESHCLAM = Path("/var/lib/clamav")  # where Debian's freshclam keeps the signatures
LOG_OCTETS = 16 * 1024 * 1024  # a larger log is put aside at the next start


@dataclass(frozen=True, slots=True)
class EngineState:
    """For `govmail doctor` and the log. `state`: absent, stopped, starting, ready, down."""

    name: str
    state: str
    version: str
    pid: int | None
    restarts: int
    warning: str


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that engines run as."""

    name: str
    uid: int
    gid: int


class Engine(ABC):
    """One child process and the files it needs."""

    name: ClassVar[str]
    binary: ClassVar[str]
    package: ClassVar[str]
    package_user: ClassVar[str]

    def __init__(self, data_dir: Path, port: int, *, user: str | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / "engines" / self.name
        self.port = port
        self.account = _account(user, self.package_user)
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""
        self.warning = ""
        self.restarts = 0
        self.exit_status: int | None = None  # of the last child; negative: the signal
        self.is_ready = asyncio.Event()

    @property
    def path(self) -> str | None:
        """The program; None when its package is not installed."""
        return shutil.which(self.binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")

    @property
    def available(self) -> bool:
        return self.path is not None

    @property
    def state(self) -> EngineState:
        if not self.available:
            word = "absent"
        elif self.process is None:
            word = "stopped"
        elif not self.alive:
            word = "down"
        else:
            word = "ready" if self.is_ready.is_set() else "starting"
        pid = self.process.pid if self.process and self.alive else None
        return EngineState(self.name, word, self.version, pid, self.restarts, self.warning)

    @property
    def alive(self) -> bool:
        """Whether the child runs. One that has ended is not reaped here: its pid names its group until `kill`."""
        if self.process is None or self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @abstractmethod
    def configure(self) -> None:
        """Write the configuration below `home`. Blocks."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """What follows the program's name; the child stays in the foreground."""

    @abstractmethod
    async def probe(self) -> str:
        """Ask the engine in its own protocol; its version. Raises EngineUnavailable."""

    def start(self) -> None:
        """`prepare` and `spawn`."""
        self.prepare()
        self.spawn()

    def prepare(self) -> None:
        """Write what the child needs. Blocks. Raises EngineUnavailable, OSError."""
        if self.path is None:
            raise EngineUnavailable(f"{self.name} is not installed (package {self.package})")
        self._make_directory(self.home)
        self.configure()

    def spawn(self) -> None:
        """Start the child, in a thread that lives as long as the child should: its end ends the child. Raises OSError."""
        assert self.path is not None
        with self._open_log() as output:
            self.process = subprocess.Popen(
                [*self._demote(), self.path, *self.arguments()],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.home,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home), "TZ": "UTC"},
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop our children in order
            )

    async def wait_ready(self, seconds: float = READY_SECONDS) -> str:
        """The version, once the engine answers. Raises EngineUnavailable when it dies or stays silent."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive:
                raise EngineUnavailable(f"{self.name} ended while it started; see {self.log_file}")
            try:
                self.version = await self.probe()
            except EngineUnavailable:
                await asyncio.sleep(0.1)
            else:
                self.is_ready.set()
                return self.version
        raise EngineUnavailable(f"{self.name} does not answer after {seconds:g} s; see {self.log_file}")

    async def wait_end(self) -> None:
        """Until the child has ended."""
        assert self.process is not None
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.process.pid)
        try:
            loop.add_reader(descriptor, ended.set)
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after STOP_SECONDS. Blocks."""
        self.is_ready.clear()
        if self.process is None:
            return
        if self.alive:
            self.process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.02)
            if self.alive:
                log.warning("engine.killed", engine=self.name)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the child and to the workers that it may have left behind; they would hold its port."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.exit_status = self.process.wait()
        self.process = None

    @property
    def log_file(self) -> Path:
        return self.data_dir / "log" / f"{self.name}.log"

    def write(self, name: str, text: str) -> Path:
        """A private file below `home`, readable by the engine."""
        path = self.home / name
        self._make_directory(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        self._give(path)
        return path

    def _make_directory(self, path: Path) -> None:
        # DIR/engines itself stays ours but can be walked through.
        (self.data_dir / "engines").mkdir(mode=0o755, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._give(path)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _open_log(self) -> BinaryIO:
        self.log_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_OCTETS:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return self.log_file.open("ab")

    def _demote(self) -> list[str]:
        # setpriv sets the death signal after the change of user, which would clear it; no code of ours runs between
        # fork and exec, where a program with threads must not run any.
        command = ["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]
        if self.account is not None:
            command += ["--reuid", str(self.account.uid), "--regid", str(self.account.gid), "--clear-groups"]
        return [*command, "--"]


class RspamdEngine(Engine):
    """rspamd with two scanning workers and a controller (on the next port) for learning; it needs no Redis and no
    network.

    `nameservers` empty: there is no DNS to ask, and SPF, DKIM and DMARC are not verified.
    """

    name = "rspamd"
    binary = "rspamd"
    package = "rspamd"
    package_user = "_rspamd"

    # What these ask for is Redis, DNS lists, fuzzy storages or the network; an operator with those runs an rspamd of his own.
    OFF = (
        "antivirus", "arc", "asn", "bayes_expiry", "clickhouse", "dcc", "elastic", "external_services", "fuzzy_check", "greylist",
        "history_redis", "maps_stats", "metadata_exporter", "metric_exporter", "mx_check", "neural", "p0f", "phishing", "ratelimit",
        "rbl", "replies", "reputation", "rspamd_update", "spamtrap", "surbl", "url_redirector",
    )  # fmt: skip
    NEED_DNS = ("dmarc", "hfilter", "mid", "spf")  # dkim signs too, so it stays

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *,
        user: str | None = None,
        message_octets: int,
        nameservers: tuple[str, ...] = (),
        cache_dir: Path | None = None,
    ) -> None:
        super().__init__(data_dir, port, user=user)
        self._cache_dir = cache_dir or self.home / "db"  # of compiled patterns: 14 s at the first start, 1 s afterwards
        self._message_octets = message_octets
        self._nameservers = nameservers
        self.warning = "" if nameservers else "no DNS: SPF, DKIM and DMARC of incoming mail are not verified"
        self._alone = False  # the controller, without workers
        self._client = Rspamd(FilterTable(name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{port}"), hostname="localhost")

    def filter_table(self) -> FilterTable:
        """The `[[filter]]` that goes with this engine. Its password exists once the engine has been started."""
        return FilterTable(
            name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{self.port}", controller_url=f"http://127.0.0.1:{self.port + 1}",
            password_file=str(secrets_dir(Path()) / "rspamd.password"), workers=32,
        )

    def prepare(self) -> None:
        """At the first start the controller runs alone until it has made the classifier's databases: workers that make
        them at the same time find them locked, and do without a classifier from then on (measured with 3.4)."""
        first = not (self.home / "db" / "bayes.spam.sqlite").exists()
        self._alone = first
        super().prepare()
        if first:
            self.spawn()
            self._await_controller()
            self.stop()
            self._alone = False
            super().prepare()

    def _await_controller(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while self.alive and time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.port + 1, timeout=PROBE_SECONDS)
            try:
                connection.request("GET", "/ping")
                connection.getresponse()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            else:
                return
            finally:
                connection.close()

    def configure(self) -> None:
        password = _secret(secrets_dir(self.data_dir) / "rspamd.password")
        keys = dkim.key_dir(self.data_dir)
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (keys, *keys.glob("*.key")):
            self._give(path)
        self._make_directory(self.home / "db")
        self._make_directory(self._cache_dir)
        for module in (*self.OFF, *(() if self._nameservers else self.NEED_DNS)):
            self.write(f"local.d/{module}.conf", "enabled = false;\n")
        for name, text in self._settings(password, keys).items():
            self.write(f"local.d/{name}", text)

    def _settings(self, password: str, keys: Path) -> dict[str, str]:
        db = self.home / "db"
        # One try of one second: a dead resolver must not hold up mail. Without one, a port that nobody listens on.
        servers, patience = (", ".join(map(_quote, self._nameservers)), "1s") if self._nameservers else ('"127.0.0.1:1"', "0.01s")
        return {
            "options.inc": (
                f"dns {{ nameserver = [{servers}]; timeout = {patience}; retransmits = 1; }}\n"
                'filters = "chartable,dkim,regexp";\n'
                f"control_socket = {_quote(f'{db}/control.sock mode=0600')};\n"
                f"tempdir = {_quote(str(db))};\nhs_cache_dir = {_quote(f'{self._cache_dir}/')};\n"
                "task_timeout = 30s;\nsoft_reject_on_timeout = true;\n"
                # Ours counts a few fields more than the client sent.
                f"max_message = {self._message_octets + 1024 * 1024};\n"
            ),
            "worker-normal.inc": "enabled = false;\n" if self._alone else f'bind_socket = "127.0.0.1:{self.port}";\ncount = 2;\ntask_timeout = 30s;\n',
            # No source address is trusted: whoever is on this machine needs the password.
            "worker-controller.inc": (
                f'bind_socket = "127.0.0.1:{self.port + 1}";\ncount = 1;\nsecure_ip = [];\n'
                f"password = {_quote(password)};\nenable_password = {_quote(password)};\n"
            ),
            "worker-proxy.inc": "enabled = false;\n",
            "worker-fuzzy.inc": "enabled = false;\n",
            "logging.inc": 'type = "console";\nlevel = "warning";\n',
            "classifier-bayes.conf": (
                'backend = "sqlite3";\nnew_schema = false;\nmin_learns = 200;\nautolearn = false;\n'
                f'statfile {{ symbol = "BAYES_HAM"; spam = false; path = {_quote(f"{db}/bayes.ham.sqlite")}; }}\n'
                f'statfile {{ symbol = "BAYES_SPAM"; spam = true; path = {_quote(f"{db}/bayes.spam.sqlite")}; }}\n'
                f"cache {{ path = {_quote(f'{db}/learnt.sqlite')}; }}\n"
            ),
            "milter_headers.conf": 'use = ["authentication-results"];\nskip_local = false;\nskip_authenticated = true;\n',
            "dkim_signing.conf": (
                "sign_authenticated = true;\nsign_local = false;\nsign_inbound = false;\nallow_username_mismatch = true;\n"
                f'use_esld = false;\nuse_domain = "header";\nselector = "{dkim.SELECTOR}";\n'
                f"path = {_quote(f'{keys}/$domain.$selector.key')};\n"
            ),
        }

    def arguments(self) -> list[str]:
        db = self.home / "db"
        variables = {"LOCAL_CONFDIR": self.home, "DBDIR": db, "RUNDIR": db, "LOGDIR": db}
        return ["-f", "-c", "/etc/rspamd/rspamd.conf", *(part for name, value in variables.items() for part in ("--var", f"{name}={value}"))]

    async def probe(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._client.ping()
        except TimeoutError as error:
            raise EngineUnavailable from error
        finally:
            await self._client.close()


class ClamdEngine(Engine):
    """clamd with freshclam's signatures where the system has them, else with one that knows the EICAR test file only.

    Everything that clamd would pass over in silence – limits, encrypted archives – is made to raise an alert, which
    `filters.clamd` reads as unscanned.
    """

    name = "clamd"
    binary = "clamd"
    package = "clamav-daemon"
    package_user = "clamav"

    def __init__(
        self, data_dir: Path, port: int, *, user: str | None = None, message_octets: int, signatures: Path = FRESHCLAM
    ) -> None:
        super().__init__(data_dir, port, user=user)
        self._signatures = signatures
        self._stream_octets = message_octets + 1024 * 1024
        self._client = Clamd(self.filter_table())

    def filter_table(self) -> FilterTable:
        """The `[[filter]]` that goes with this engine."""
        return FilterTable(name="clamav", kind="clamd", url=f"tcp://127.0.0.1:{self.port}", stream_octets=self._stream_octets, workers=8)

    def configure(self) -> None:
        database = self._signatures
        if not any(path.suffix in (".cvd", ".cld") for path in database.glob("*")):
            self.warning = f"no signatures in {database}: only the EICAR test file is found; run freshclam, then restart"
            self.write("signatures/eicar.ndb", files("filters").joinpath("data/eicar.ndb").read_text("ascii"))
            database = self.home / "signatures"
        self._make_directory(self.home / "tmp")
        settings: dict[str, object] = {
            "Foreground": "yes",
            "TCPSocket": self.port,
            "TCPAddr": "127.0.0.1",
            "DatabaseDirectory": _quote(str(database)),
            "TemporaryDirectory": _quote(str(self.home / "tmp")),
            "MaxThreads": max(4, os.cpu_count() or 1),
            "MaxQueue": 200,
            "ReadTimeout": 120,
            "CommandReadTimeout": 30,
            "SelfCheck": 600,
            "ConcurrentDatabaseReload": "no",  # it would hold all signatures twice
            "ExitOnOOM": "yes",
            "StreamMaxLength": self._stream_octets,
            "MaxFileSize": self._stream_octets,
            "MaxScanSize": 4 * self._stream_octets,  # what is unpacked counts too
            "MaxScanTime": 60_000,
            "MaxFiles": 10_000,
            "MaxRecursion": 20,
            "AlertExceedsMax": "yes",
            "AlertEncryptedArchive": "yes",
            "AlertEncryptedDoc": "yes",
            "PhishingScanURLs": "no",  # a guess, not a virus; rspamd weighs such things
        }
        self.write("clamd.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))

    def arguments(self) -> list[str]:
        return ["-c", str(self.home / "clamd.conf")]

    async def probe(self) -> str:
        return brief(await self._client.ping())


class SlapdEngine(Engine):
    """slapd with an empty tree below `base`; the directory itself makes what belongs into it."""

    name = "slapd"
    binary = "slapd"
    package = "slapd"
    package_user = "openldap"

    # An anonymous simple bind and, in any answer to it, the tag of a BindResponse (RFC 4511 §4.2). The directory's own
    # client is not needed to see that slapd understands LDAP.
    BIND = bytes.fromhex("300c020101600702010304008000")
    BIND_RESPONSE = bytes.fromhex("02010161")

    def __init__(self, data_dir: Path, port: int, *, user: str | None = None, base: str, password_file: Path | None = None) -> None:
        super().__init__(data_dir, port, user=user)
        self._base = base
        self._password_file = password_file or secrets_dir(self.data_dir) / "slapd.password"

    def directory_table(self) -> DirectoryTable:
        """The `[directory]` that goes with this engine. Its password exists once the engine has been started."""
        return DirectoryTable(
            kind="ldap", url=f"ldap://127.0.0.1:{self.port}", base=self._base, bind_dn=slapd.admin_dn(self._base),
            bind_password_file=str(self._password_file),
        )

    def configure(self) -> None:
        for name in ("db", "run"):
            self._make_directory(self.home / name)
        password = _secret(self._password_file)
        self.write("slapd.conf", slapd.render(self._base, data_dir=self.home / "db", run_dir=self.home / "run", admin_password=password))

    def arguments(self) -> list[str]:
        return ["-d", "none", "-h", f"ldap://127.0.0.1:{self.port}/", "-f", str(self.home / "slapd.conf")]

    async def probe(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(self.BIND)
                    answer = await reader.readexactly(7)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            raise EngineUnavailable from error
        if not answer[2:].startswith(self.BIND_RESPONSE):
            raise EngineUnavailable("slapd speaks no LDAP")
        return "slapd"


class Engines:
    """All engines of one machine: started together, kept alive, stopped together."""

    def __init__(self, engines: list[Engine]) -> None:
        self.engines = engines

    @property
    def states(self) -> list[EngineState]:
        return [engine.state for engine in self.engines]

    async def run(self) -> None:
        """Keep them alive until cancelled, then stop them."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for engine in self.engines:
                    if engine.available:
                        tasks.create_task(self._keep(engine))
                    else:
                        log.error("engine.absent", engine=engine.name, package=engine.package, effect="runs without it")
        finally:
            await asyncio.gather(*(asyncio.to_thread(engine.stop) for engine in self.engines))

    async def wait_ready(self, seconds: float = READY_SECONDS) -> bool:
        """Whether every installed engine answered within `seconds`."""
        waits = [engine.is_ready.wait() for engine in self.engines if engine.available]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)
        except TimeoutError:
            return False
        return True

    async def _keep(self, engine: Engine) -> None:
        deaths = 0
        while True:
            started = time.monotonic()
            reason = await self._live(engine)
            deaths = 1 if time.monotonic() - started > STEADY_SECONDS else deaths + 1
            wait = BACKOFF_SECONDS[min(deaths, len(BACKOFF_SECONDS)) - 1]
            log.error("engine.died", engine=engine.name, reason=reason, exit_status=engine.exit_status, again_in_seconds=wait, log=str(engine.log_file))
            await asyncio.sleep(wait)
            engine.restarts += 1

    async def _live(self, engine: Engine) -> str:
        """One life of the child, from start to end; why it ended."""
        try:
            await asyncio.to_thread(engine.prepare)
            engine.spawn()
            version = await engine.wait_ready()
            log.info("engine.ready", engine=engine.name, version=version, port=engine.port)
            if engine.warning:
                log.warning("engine.warning", engine=engine.name, warning=engine.warning)
            await engine.wait_end()
            return "ended"
        except (EngineUnavailable, OSError) as error:
            return str(error)
        finally:
            await asyncio.to_thread(engine.stop)


def build(config: Config, data_dir: Path, *, nameservers: tuple[str, ...]) -> Engines:
    """The engines whose port is set in `[engines]`. `nameservers`: see `RspamdEngine`."""
    user, octets, ports = config.user, config.limits.message_octets, config.engines
    engines: list[Engine] = []
    if ports.slapd_port:
        secret = data_dir / config.directory.bind_password_file if config.directory.bind_password_file else None
        engines.append(SlapdEngine(data_dir, ports.slapd_port, user=user, base=config.directory.base or SAMPLE_BASE, password_file=secret))
    if ports.rspamd_port:
        engines.append(RspamdEngine(data_dir, ports.rspamd_port, user=user, message_octets=octets, nameservers=nameservers))
    if ports.clamd_port:
        engines.append(ClamdEngine(data_dir, ports.clamd_port, user=user, message_octets=octets))
    return Engines(engines)


async def find_nameservers() -> tuple[str, ...]:
    """Those of the system's resolvers that answer within a second; asked for the root's name servers."""
    try:
        resolver = dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        return ()
    query = dns.message.make_query(".", "NS")

    async def answers(server: str) -> bool:
        try:
            await dns.asyncquery.udp(query, server, timeout=1.0)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    servers = [str(server) for server in resolver.nameservers[:3]]
    alive = await asyncio.gather(*map(answers, servers))
    return tuple(server for server, alive in zip(servers, alive, strict=True) if alive)


def _account(user: str | None, package_user: str) -> Account | None:
    """Who the child becomes: nobody else when we are not root; else `user`, or the package's own user."""
    if os.geteuid() != 0:
        return None
    for name in (user, package_user):
        if name is None:
            continue
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EngineUnavailable(f"neither {user} nor {package_user} is a user of this system")


def _secret(path: Path) -> str:
    """The secret in `path`, made when it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    secret = secrets.token_urlsafe(24)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return secret


def _quote(text: str) -> str:
    """A text in quotes for UCL (rspamd) and clamd.conf, which know no other escape."""
    if any(char in text for char in '"\\\n\r'):
        raise EngineUnavailable(f"{text!r} cannot be written into an engine's configuration")
    return f'"{text}"'
