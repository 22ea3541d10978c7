"""Brings a database to the schema of this version."""

from __future__ import annotations

from sqlalchemy import Engine

from govmail.store.schema import metadata


def to_head(engine: Engine) -> None:
    """Create or migrate. Blocks."""
    metadata.create_all(engine)
