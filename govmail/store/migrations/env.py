"""Run by Alembic: applies migrations on the connection that `store.migrate` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from govmail.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=False,  # the caller began the transaction and commits it
    compare_type=True,
)
context.run_migrations()
