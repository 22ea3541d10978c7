"""Changes are found by mailbox, unseen mail by an index of its own; capabilities can be switched off for an account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("without", sa.Text(), nullable=True))
    op.drop_index("message_modseq", table_name="message")
    op.create_index("message_modseq", "message", ["account_id", "mailbox_id", "modseq"])
    unseen = sa.text("flags & 1 = 0")
    op.create_index("message_unseen", "message", ["account_id", "mailbox_id", "uid"], sqlite_where=unseen, postgresql_where=unseen)
