"""clamd: viruses."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from admin.engines.engine import SEARCH_PATH, Engine, quote
from admin.texts import say
from filters.clamd import Clamd, brief
from govmail.config import FilterTable

FRESHCLAM = Path("/var/lib/clamav")  # where Debian's freshclam keeps the signatures


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
        self, data_dir: Path, port: int, *, user: str | None = None, search_path: str = SEARCH_PATH, message_octets: int, signatures: Path = FRESHCLAM
    ) -> None:
        super().__init__(data_dir, port, user=user, search_path=search_path)
        self._signatures = signatures
        self._without_signatures = False
        self._stream_octets = message_octets + 1024 * 1024
        self._client = Clamd(self.filter_table())

    def filter_table(self) -> FilterTable:
        """The `[[filter]]` that goes with this engine."""
        return FilterTable(name="clamav", kind="clamd", url=f"tcp://127.0.0.1:{self.port}", stream_octets=self._stream_octets, workers=8)

    @property
    def warning(self) -> str:
        return say("engine_no_signatures", path=self._signatures) if self._without_signatures else ""

    def configure(self) -> None:
        database = self._signatures
        if not any(path.suffix in (".cvd", ".cld") for path in database.glob("*")):
            self._without_signatures = True
            self.write("signatures/eicar.ndb", files("filters").joinpath("data/eicar.ndb").read_text("ascii"))
            database = self.home / "signatures"
        self._make_directory(self.home / "tmp")
        settings: dict[str, object] = {
            "Foreground": "yes",
            "TCPSocket": self.port,
            "TCPAddr": "127.0.0.1",
            "DatabaseDirectory": quote(str(database)),
            "TemporaryDirectory": quote(str(self.home / "tmp")),
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
