"""rspamd: spam, signatures of senders and our own."""

from __future__ import annotations

import asyncio
import http.client
import time
from pathlib import Path

from admin.engines.engine import PROBE_SECONDS, READY_SECONDS, SEARCH_PATH, Engine, quote, secret
from admin.texts import say
from filters import dkim
from filters.rspamd import Rspamd
from govmail.config import FilterTable
from govmail.datadir import secrets_dir
from govmail.errors import EngineUnavailable


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
        search_path: str = SEARCH_PATH,
        message_octets: int,
        nameservers: tuple[str, ...] = (),
        cache_dir: Path | None = None,
    ) -> None:
        super().__init__(data_dir, port, user=user, search_path=search_path)
        self._cache_dir = cache_dir or self.home / "db"  # of compiled patterns: 14 s at the first start, 1 s afterwards
        self._message_octets = message_octets
        self._nameservers = nameservers
        self._alone = False  # the controller, without workers
        self._client = Rspamd(FilterTable(name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{port}"), hostname="localhost")

    def filter_table(self) -> FilterTable:
        """The `[[filter]]` that goes with this engine. Its password exists once the engine has been started."""
        return FilterTable(
            name="rspamd", kind="rspamd", url=f"http://127.0.0.1:{self.port}", controller_url=f"http://127.0.0.1:{self.port + 1}",
            password_file=str(secrets_dir(Path()) / "rspamd.password"), workers=32,
        )

    @property
    def warning(self) -> str:
        return "" if self._nameservers else say("engine_no_dns")

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
        password = secret(secrets_dir(self.data_dir) / "rspamd.password")
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
        servers, patience = (", ".join(map(quote, self._nameservers)), "1s") if self._nameservers else ('"127.0.0.1:1"', "0.01s")
        return {
            "options.inc": (
                f"dns {{ nameserver = [{servers}]; timeout = {patience}; retransmits = 1; }}\n"
                'filters = "chartable,dkim,regexp";\n'
                f"control_socket = {quote(f'{db}/control.sock mode=0600')};\n"
                f"tempdir = {quote(str(db))};\nhs_cache_dir = {quote(f'{self._cache_dir}/')};\n"
                "task_timeout = 30s;\nsoft_reject_on_timeout = true;\n"
                # Ours counts a few fields more than the client sent.
                f"max_message = {self._message_octets + 1024 * 1024};\n"
            ),
            "worker-normal.inc": "enabled = false;\n" if self._alone else f'bind_socket = "127.0.0.1:{self.port}";\ncount = 2;\ntask_timeout = 30s;\n',
            # No source address is trusted: whoever is on this machine needs the password.
            "worker-controller.inc": (
                f'bind_socket = "127.0.0.1:{self.port + 1}";\ncount = 1;\nsecure_ip = [];\n'
                f"password = {quote(password)};\nenable_password = {quote(password)};\n"
            ),
            "worker-proxy.inc": "enabled = false;\n",
            "worker-fuzzy.inc": "enabled = false;\n",
            "logging.inc": 'type = "console";\nlevel = "warning";\n',
            "classifier-bayes.conf": (
                'backend = "sqlite3";\nnew_schema = false;\nmin_learns = 200;\nautolearn = false;\n'
                f'statfile {{ symbol = "BAYES_HAM"; spam = false; path = {quote(f"{db}/bayes.ham.sqlite")}; }}\n'
                f'statfile {{ symbol = "BAYES_SPAM"; spam = true; path = {quote(f"{db}/bayes.spam.sqlite")}; }}\n'
                f"cache {{ path = {quote(f'{db}/learnt.sqlite')}; }}\n"
            ),
            "milter_headers.conf": 'use = ["authentication-results"];\nskip_local = false;\nskip_authenticated = true;\n',
            "dkim_signing.conf": (
                "sign_authenticated = true;\nsign_local = false;\nsign_inbound = false;\nallow_username_mismatch = true;\n"
                f'use_esld = false;\nuse_domain = "header";\nselector = "{dkim.SELECTOR}";\n'
                f"path = {quote(f'{keys}/$domain.$selector.key')};\n"
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
