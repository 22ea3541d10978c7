"""Access rights, shared accounts, annotations; a limit of messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('acl',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('who', sa.String(length=36), nullable=False),
    sa.Column('negative', sa.Boolean(), nullable=False),
    sa.Column('rights', sa.String(length=16), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id', 'who', 'negative'),
    sqlite_with_rowid=False
    )
    op.create_index('acl_who', 'acl', ['who'], unique=False)
    op.create_table('shared',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('account_id'),
    sa.UniqueConstraint('name'),
    sqlite_with_rowid=True
    )
    op.create_table('annotation',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('reader', sa.String(length=36), nullable=False),
    sa.Column('entry', sa.String(length=255), nullable=False),
    sa.Column('value', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id', 'reader', 'entry'),
    sqlite_with_rowid=True
    )
    op.add_column('account', sa.Column('quota_messages', sa.BigInteger(), nullable=True))
