"""slapd: the directory in LDAP."""

from __future__ import annotations

import asyncio
from pathlib import Path

from admin.engines.engine import PROBE_SECONDS, SEARCH_PATH, Engine, secret
from directory import slapd
from govmail.config import DirectoryTable
from govmail.datadir import secrets_dir
from govmail.errors import EngineUnavailable


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

    def __init__(self, data_dir: Path, port: int, *, user: str | None = None, search_path: str = SEARCH_PATH, base: str, password_file: Path | None = None) -> None:
        super().__init__(data_dir, port, user=user, search_path=search_path)
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
        password = secret(self._password_file)
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
