"""A private PostgreSQL cluster for a test session, and a database of its own for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine

from govmail.store.migrate import to_head
from govmail.store.schema import metadata

START_SECONDS = 60

# Nothing in a test outlives a power cut.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "deadlock_timeout": "100ms",
}


class PostgresServer:
    """A running cluster on a Unix socket in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = itertools.count(1)
        self._free: list[str] = []

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql://govmail@/{database}?host={self.directory}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with the current schema and no rows. Used ones are emptied: CREATE DATABASE costs a second."""
        name = self._free.pop() if self._free else self._create()
        try:
            yield self.url(name)
        finally:
            self._empty(name)
            self._free.append(name)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the cluster's owner, in autocommit mode."""
        return psycopg.connect(host=str(self.directory), user="govmail", dbname=database, autocommit=True)

    def _create(self) -> str:
        name = f"test_{next(self._numbers)}"
        with self.connect() as conn:
            conn.execute(f"CREATE DATABASE {name}")
        engine = create_engine(self.url(name).replace("postgresql:", "postgresql+psycopg:"))
        to_head(engine)
        engine.dispose()
        return name

    def _empty(self, name: str) -> None:
        with self.connect(name) as conn:
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", [name])
            questions = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in metadata.tables)
            if used := [row[0] for row in conn.execute(" UNION ALL ".join(questions))]:
                conn.execute(f"TRUNCATE {', '.join(used)} RESTART IDENTITY")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Make, start and finally stop and remove a cluster; as user postgres when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="govmail-pg-"))
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(directory, "postgres", "postgres")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    data = directory / "data"
    initdb = [str(programs / "initdb"), f"--pgdata={data}", "--username=govmail", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(initdb, cwd=directory, check=True, stdout=subprocess.DEVNULL, timeout=START_SECONDS, **identity)
    options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", directory, *options], cwd=directory, stdout=log, stderr=log, **identity
        )
    try:
        _wait_ready(directory, server)
        yield PostgresServer(directory)
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        server.wait(START_SECONDS)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(directory: Path, server: subprocess.Popen[bytes]) -> None:
    """libpq's own waiting: try until the server answers or has died."""
    while True:
        try:
            psycopg.connect(host=str(directory), user="govmail", dbname="postgres", connect_timeout=START_SECONDS).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None:
                raise RuntimeError((directory / "log").read_text()) from None
