"""The header fields that SEARCH and SORT ask most; no signatures of texts any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("subject", "sender", "recipient", "cc"):  # null, for what is there already: its header is read when searched
        op.add_column("content", sa.Column(name, sa.Text(), nullable=True))
    op.drop_column("content_text", "signature")
