"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('account',
    sa.Column('account_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('directory_id', sa.String(length=36), nullable=False),
    sa.Column('modseq', sa.BigInteger(), nullable=False),
    sa.Column('next_mailbox_id', sa.Integer(), nullable=False),
    sa.Column('suspended', sa.Boolean(), nullable=False),
    sa.Column('quota_octets', sa.BigInteger(), nullable=True),
    sa.Column('used_octets', sa.BigInteger(), nullable=False),
    sa.Column('used_messages', sa.BigInteger(), nullable=False),
    sa.Column('created', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('account_id'),
    sa.UniqueConstraint('directory_id'),
    sqlite_with_rowid=True
    )
    op.create_table('address',
    sa.Column('address_key', sa.Text(), nullable=False),
    sa.Column('owner_id', sa.String(length=36), nullable=False),
    sa.Column('owner_kind', sa.String(length=8), nullable=False),
    sa.Column('display', sa.Text(), nullable=False),
    sa.Column('is_primary', sa.Boolean(), nullable=False),
    sa.Column('expires', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('address_key'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_address_owner_id'), 'address', ['owner_id'], unique=False)
    op.create_table('attempt',
    sa.Column('attempt_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('entry_id', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('mta', sa.Text(), nullable=False),
    sa.Column('code', sa.Integer(), nullable=True),
    sa.Column('status', sa.String(length=12), nullable=True),
    sa.Column('text', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('attempt_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_attempt_entry_id'), 'attempt', ['entry_id'], unique=False)
    op.create_table('audit',
    sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('act', sa.Text(), nullable=False),
    sa.Column('target', sa.Text(), nullable=False),
    sa.Column('result', sa.Text(), nullable=False),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('previous', sa.LargeBinary(length=32), nullable=False),
    sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
    sa.PrimaryKeyConstraint('seq'),
    sqlite_with_rowid=True
    )
    op.create_table('blob',
    sa.Column('blob_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('codec', sa.String(length=8), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=True),
    sa.Column('path', sa.String(length=64), nullable=True),
    sa.Column('key_id', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('blob_id'),
    sa.UniqueConstraint('path'),
    sqlite_with_rowid=True
    )
    op.create_table('content',
    sa.Column('content_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('header_size', sa.Integer(), nullable=False),
    sa.Column('sent_date', sa.BigInteger(), nullable=True),
    sa.Column('envelope', sa.LargeBinary(), nullable=False),
    sa.Column('bodystructure', sa.LargeBinary(), nullable=False),
    sa.Column('preview', sa.Text(), nullable=False),
    sa.Column('blob_id', sa.BigInteger(), nullable=False),
    sa.Column('touched', sa.BigInteger(), nullable=False),
    sa.Column('key_id', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('content_id'),
    sa.UniqueConstraint('digest'),
    sqlite_with_rowid=True
    )
    op.create_table('content_gone',
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('since', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('content_id'),
    sqlite_with_rowid=True
    )
    op.create_table('content_header',
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('header', sa.LargeBinary(), nullable=False),
    sa.Column('key_id', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('content_id'),
    sqlite_with_rowid=True
    )
    op.create_table('content_parts',
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('parts', sa.LargeBinary(), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('key_id', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('content_id'),
    sqlite_with_rowid=True
    )
    op.create_table('content_text',
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('text', sa.LargeBinary(), nullable=False),
    sa.Column('signature', sa.LargeBinary(), nullable=False),
    sa.Column('complete', sa.Boolean(), nullable=False),
    sa.Column('key_id', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('content_id'),
    sqlite_with_rowid=True
    )
    op.create_table('counter',
    sa.Column('name', sa.String(length=32), nullable=False),
    sa.Column('value', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('name'),
    sqlite_with_rowid=True
    )
    op.create_table('dir_group',
    sa.Column('group_id', sa.String(length=36), nullable=False),
    sa.Column('unit_id', sa.String(length=36), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('created', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('group_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_dir_group_unit_id'), 'dir_group', ['unit_id'], unique=False)
    op.create_table('dir_group_member',
    sa.Column('group_id', sa.String(length=36), nullable=False),
    sa.Column('member', sa.Text(), nullable=False),
    sa.Column('kind', sa.String(length=8), nullable=False),
    sa.PrimaryKeyConstraint('group_id', 'member'),
    sqlite_with_rowid=True
    )
    op.create_index('dir_group_member_member', 'dir_group_member', ['member'], unique=False)
    op.create_table('domain',
    sa.Column('domain', sa.Text(), nullable=False),
    sa.Column('unit_id', sa.String(length=36), nullable=True),
    sa.PrimaryKeyConstraint('domain'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_domain_unit_id'), 'domain', ['unit_id'], unique=False)
    op.create_table('expunged',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('modseq', sa.BigInteger(), nullable=False),
    sa.Column('uid_first', sa.BigInteger(), nullable=False),
    sa.Column('uid_last', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id', 'modseq', 'uid_first'),
    sqlite_with_rowid=False
    )
    op.create_table('keyword',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('bit', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('name_key', sa.String(length=255), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'bit'),
    sa.UniqueConstraint('account_id', 'name_key'),
    sqlite_with_rowid=True
    )
    op.create_table('lease',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('owner', sa.String(length=64), nullable=False),
    sa.Column('until', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('name'),
    sqlite_with_rowid=True
    )
    op.create_table('ledger',
    sa.Column('address_key', sa.Text(), nullable=False),
    sa.Column('owner_id', sa.String(length=36), nullable=False),
    sa.Column('issued', sa.BigInteger(), nullable=False),
    sa.Column('released', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('address_key'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_ledger_owner_id'), 'ledger', ['owner_id'], unique=False)
    op.create_table('login_memory',
    sa.Column('directory_id', sa.String(length=36), nullable=False),
    sa.Column('mac', sa.LargeBinary(length=32), nullable=False),
    sa.Column('verified', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('directory_id'),
    sqlite_with_rowid=True
    )
    op.create_table('mailbox',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('uidvalidity', sa.BigInteger(), nullable=False),
    sa.Column('uid_next', sa.BigInteger(), nullable=False),
    sa.Column('recent_uid', sa.BigInteger(), nullable=False),
    sa.Column('modseq', sa.BigInteger(), nullable=False),
    sa.Column('highest_modseq', sa.BigInteger(), nullable=False),
    sa.Column('special_use', sa.String(length=16), nullable=True),
    sa.Column('messages', sa.Integer(), nullable=False),
    sa.Column('unseen', sa.Integer(), nullable=False),
    sa.Column('deleted', sa.Integer(), nullable=False),
    sa.Column('octets', sa.BigInteger(), nullable=False),
    sa.Column('expunged_floor', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id'),
    sa.UniqueConstraint('account_id', 'name'),
    sqlite_with_rowid=True
    )
    op.create_table('mailbox_gone',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('modseq', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id'),
    sqlite_with_rowid=True
    )
    op.create_table('message',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('mailbox_id', sa.Integer(), nullable=False),
    sa.Column('uid', sa.BigInteger(), nullable=False),
    sa.Column('modseq', sa.BigInteger(), nullable=False),
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('flags', sa.Integer(), nullable=False),
    sa.Column('keywords', sa.BigInteger(), nullable=False),
    sa.Column('internal_date', sa.BigInteger(), nullable=False),
    sa.Column('saved_date', sa.BigInteger(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('delivered_to', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'mailbox_id', 'uid'),
    sqlite_with_rowid=False
    )
    op.create_index('message_content', 'message', ['content_id'], unique=False)
    op.create_index('message_modseq', 'message', ['account_id', 'modseq'], unique=False)
    op.create_table('person',
    sa.Column('person_id', sa.String(length=36), nullable=False),
    sa.Column('unit_id', sa.String(length=36), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('pinyin', sa.Text(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('password', sa.Text(), nullable=False),
    sa.Column('stamp', sa.String(length=32), nullable=False),
    sa.Column('quota_octets', sa.BigInteger(), nullable=True),
    sa.Column('created', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('person_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_person_name'), 'person', ['name'], unique=False)
    op.create_index(op.f('ix_person_unit_id'), 'person', ['unit_id'], unique=False)
    op.create_table('quarantine_item',
    sa.Column('item_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('queue_id', sa.String(length=32), nullable=False),
    sa.Column('reason', sa.String(length=16), nullable=False),
    sa.Column('held', sa.BigInteger(), nullable=False),
    sa.Column('expires', sa.BigInteger(), nullable=False),
    sa.Column('sender', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('envelope', sa.Text(), nullable=False),
    sa.Column('origin', sa.Text(), nullable=False),
    sa.Column('verdicts', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('item_id'),
    sa.UniqueConstraint('queue_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_quarantine_item_content_id'), 'quarantine_item', ['content_id'], unique=False)
    op.create_index(op.f('ix_quarantine_item_expires'), 'quarantine_item', ['expires'], unique=False)
    op.create_index(op.f('ix_quarantine_item_held'), 'quarantine_item', ['held'], unique=False)
    op.create_table('quarantine_recipient',
    sa.Column('item_id', sa.BigInteger(), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('directory_id', sa.String(length=36), nullable=True),
    sa.Column('unit_id', sa.String(length=36), nullable=True),
    sa.Column('notify', sa.Integer(), nullable=False),
    sa.Column('orcpt', sa.Text(), nullable=True),
    sa.Column('state', sa.String(length=8), nullable=False),
    sa.Column('acted', sa.BigInteger(), nullable=True),
    sa.Column('actor', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('item_id', 'address'),
    sqlite_with_rowid=True
    )
    op.create_index('quarantine_recipient_unit', 'quarantine_recipient', ['unit_id', 'state'], unique=False)
    op.create_table('queue_entry',
    sa.Column('entry_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('queue_id', sa.String(length=32), nullable=False),
    sa.Column('kind', sa.String(length=8), nullable=False),
    sa.Column('recipient', sa.Text(), nullable=False),
    sa.Column('domain', sa.Text(), nullable=False),
    sa.Column('directory_id', sa.String(length=36), nullable=True),
    sa.Column('mailbox_name', sa.Text(), nullable=True),
    sa.Column('notify', sa.Integer(), nullable=False),
    sa.Column('orcpt', sa.Text(), nullable=True),
    sa.Column('state', sa.String(length=8), nullable=False),
    sa.Column('next_attempt', sa.BigInteger(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('lease_owner', sa.String(length=64), nullable=True),
    sa.Column('lease_until', sa.BigInteger(), nullable=True),
    sa.Column('expires', sa.BigInteger(), nullable=False),
    sa.Column('delay_notified', sa.Boolean(), nullable=False),
    sa.Column('last_code', sa.Integer(), nullable=True),
    sa.Column('last_status', sa.String(length=12), nullable=True),
    sa.Column('last_text', sa.Text(), nullable=True),
    sa.Column('last_mta', sa.Text(), nullable=True),
    sa.Column('progress', sa.String(length=36), nullable=True),
    sa.PrimaryKeyConstraint('entry_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_queue_entry_queue_id'), 'queue_entry', ['queue_id'], unique=False)
    op.create_index('queue_entry_due', 'queue_entry', ['state', 'next_attempt'], unique=False)
    op.create_index('queue_entry_lease', 'queue_entry', ['state', 'lease_until'], unique=False)
    op.create_table('queue_message',
    sa.Column('queue_id', sa.String(length=32), nullable=False),
    sa.Column('content_id', sa.BigInteger(), nullable=False),
    sa.Column('sender', sa.Text(), nullable=False),
    sa.Column('envid', sa.Text(), nullable=True),
    sa.Column('ret_full', sa.Boolean(), nullable=True),
    sa.Column('smtputf8', sa.Boolean(), nullable=False),
    sa.Column('login', sa.String(length=36), nullable=True),
    sa.Column('client_ip', sa.String(length=45), nullable=False),
    sa.Column('created', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('queue_id'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_queue_message_content_id'), 'queue_message', ['content_id'], unique=False)
    op.create_table('subscription',
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'name'),
    sqlite_with_rowid=False
    )
    op.create_table('unit',
    sa.Column('unit_id', sa.String(length=36), nullable=False),
    sa.Column('parent_id', sa.String(length=36), nullable=True),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('label', sa.String(length=63), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('level', sa.Integer(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('line', sa.Text(), nullable=False),
    sa.Column('code', sa.String(length=32), nullable=True),
    sa.Column('rank', sa.Text(), nullable=False),
    sa.Column('domain', sa.Text(), nullable=True),
    sa.Column('keeper_id', sa.String(length=36), nullable=True),
    sa.Column('is_region', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('unit_id'),
    sa.UniqueConstraint('parent_id', 'name'),
    sa.UniqueConstraint('path'),
    sqlite_with_rowid=True
    )
    op.create_index(op.f('ix_unit_line'), 'unit', ['line'], unique=False)
    op.create_index(op.f('ix_unit_parent_id'), 'unit', ['parent_id'], unique=False)
    op.create_index('unit_parent_label', 'unit', ['parent_id', 'label'], unique=True)
