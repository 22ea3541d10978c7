"""Brings a database to the schema of this version.

Invariants
- A fresh database gets the tables of `schema` at once and is stamped; an older one goes through the migrations. Both ways
  end in the same schema (a test compares them).
- All of it is one transaction, and only one process does it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from govmail.errors import StoreFailed
from govmail.store.schema import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_236_002  # PostgreSQL advisory lock


def to_head(engine: Engine) -> None:
    """Create or migrate. Blocks; raises StoreFailed when the database is newer than this program."""
    with engine.connect() as conn:
        sqlite = conn.dialect.name == "sqlite"
        if sqlite:  # the driver is in autocommit mode, see store.sqlite
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        try:
            _migrate(conn)
        except BaseException:
            conn.exec_driver_sql("ROLLBACK") if sqlite else conn.rollback()
            raise
        conn.exec_driver_sql("COMMIT") if sqlite else conn.commit()


def revisions(conn: Connection) -> tuple[str | None, str | None]:
    """The schema that the database has, and the one that this program works with."""
    return MigrationContext.configure(conn).get_current_revision(), ScriptDirectory.from_config(configuration(conn)).get_current_head()


def _migrate(conn: Connection) -> None:
    config = configuration(conn)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    current = MigrationContext.configure(conn).get_current_revision()
    if current == head:
        return
    if current is None and not inspect(conn).has_table("account"):
        metadata.create_all(conn)
        command.stamp(config, "head")
        return
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreFailed(f"the database cannot be brought to this version: {error}") from error


def configuration(conn: Connection) -> Config:
    """Alembic's configuration for this connection, without a file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    return config
