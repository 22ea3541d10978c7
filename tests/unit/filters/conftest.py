"""Stores for the quarantine's tests: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from govmail.store.database import Database
from tests.kit.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        store = Database.open("", data_dir=tmp_path, durable=False, readers=2)
        yield store
        store.run_close()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        store = Database.open(url, data_dir=tmp_path, durable=False, readers=2)
        yield store
        store.run_close()
