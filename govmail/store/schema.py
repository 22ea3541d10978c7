"""Every table of the store.

Invariants
- A table is *account* (its key begins with `account_id`), *content* (key `content_id` or `blob_id`) or *system*; `KIND`
  says which, a test checks it. No query joins an account table with a content table, so accounts may be distributed.
- Times are whole seconds since the epoch in UTC, but for `audit.at` (microseconds).
- `directory_id`, `unit_id` and the like are UUID texts given by us; never a DN, a login or an address.
- A cell whose row has a `key_id` is encrypted; null means clear. Nothing in SQL looks inside such cells.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# SQLite gives an automatic rowid to INTEGER only.
Serial = BigInteger().with_variant(Integer, "sqlite")
Uuid = String(36)

KIND: dict[str, str] = {}


def _table(kind: str, name: str, *columns: Column[object] | UniqueConstraint | Index, compact: bool = False) -> Table:
    KIND[name] = kind
    # WITHOUT ROWID: the row lies in its key's tree, one lookup instead of two. For narrow rows only.
    return Table(name, metadata, *columns, sqlite_with_rowid=not compact)


# -- account tables -----------------------------------------------------------------------------------------------

account = _table(
    "account", "account",
    Column("account_id", Serial, primary_key=True),
    Column("directory_id", Uuid, nullable=False, unique=True),
    Column("modseq", BigInteger, nullable=False, default=1),
    Column("next_mailbox_id", Integer, nullable=False, default=1),
    Column("suspended", Boolean, nullable=False, default=False),  # its directory entry has vanished
    Column("quota_octets", BigInteger),  # null = no limit
    Column("used_octets", BigInteger, nullable=False, default=0),
    Column("used_messages", BigInteger, nullable=False, default=0),
    Column("created", BigInteger, nullable=False),
    Column("without", Text),  # capabilities that IMAP does not offer to it, separated by spaces
    Column("quota_messages", BigInteger),  # null = no limit
)

mailbox = _table(
    "account", "mailbox",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),  # UTF-8, "/" between levels, "INBOX" in this case
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uid_next", BigInteger, nullable=False, default=1),
    Column("recent_uid", BigInteger, nullable=False, default=1),  # first UID that no session has seen as \Recent
    Column("modseq", BigInteger, nullable=False),  # of the last change to this row's name or use
    Column("highest_modseq", BigInteger, nullable=False),  # of the last change to its messages
    Column("special_use", String(16)),  # "\\Sent" …, on one mailbox of an account at most
    Column("messages", Integer, nullable=False, default=0),
    Column("unseen", Integer, nullable=False, default=0),
    Column("deleted", Integer, nullable=False, default=0),
    Column("octets", BigInteger, nullable=False, default=0),
    Column("expunged_floor", BigInteger, nullable=False, default=0),  # `expunged` is complete above this modseq
    UniqueConstraint("account_id", "name"),
)

mailbox_gone = _table(
    "account", "mailbox_gone",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),
    Column("modseq", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
)

subscription = _table(
    "account", "subscription",
    Column("account_id", BigInteger, primary_key=True),
    Column("name", Text, primary_key=True),
    compact=True,
)

keyword = _table(
    "account", "keyword",
    Column("account_id", BigInteger, primary_key=True),
    Column("bit", Integer, primary_key=True),  # 0..62 in message.keywords
    Column("name", String(255), nullable=False),
    Column("name_key", String(255), nullable=False),
    UniqueConstraint("account_id", "name_key"),
)

UNSEEN = text("flags & 1 = 0")  # Flag.SEEN; in these words in index and question, or the planner does not see that they are one

message = _table(
    "account", "message",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),
    Column("uid", BigInteger, primary_key=True),
    Column("modseq", BigInteger, nullable=False),
    Column("content_id", BigInteger, nullable=False),
    Column("flags", Integer, nullable=False, default=0),  # bits of store.values.Flag
    Column("keywords", BigInteger, nullable=False, default=0),
    Column("internal_date", BigInteger, nullable=False),
    Column("saved_date", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("delivered_to", Text),  # the address it came for; personal, so not in the shared content
    Index("message_modseq", "account_id", "mailbox_id", "modseq"),
    Index("message_content", "content_id"),
    Index("message_unseen", "account_id", "mailbox_id", "uid", sqlite_where=UNSEEN, postgresql_where=UNSEEN),
    compact=True,
)

expunged = _table(
    "account", "expunged",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),
    Column("modseq", BigInteger, primary_key=True),
    Column("uid_first", BigInteger, primary_key=True),
    Column("uid_last", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    compact=True,
)

acl = _table(
    "account", "acl",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),
    Column("who", String(36), primary_key=True),  # directory_id, or "anyone"
    Column("negative", Boolean, primary_key=True),  # takes away what another row gives
    Column("rights", String(16), nullable=False),  # letters of store.rights.ALL
    Index("acl_who", "who"),
    compact=True,
)

shared = _table(
    "account", "shared",
    Column("account_id", BigInteger, primary_key=True),  # belongs to a unit, not to a person
    Column("name", Text, nullable=False, unique=True),
)

annotation = _table(
    "account", "annotation",
    Column("account_id", BigInteger, primary_key=True),
    Column("mailbox_id", Integer, primary_key=True),  # 0: of the server, for this account
    Column("reader", Uuid, primary_key=True),  # directory_id of who alone sees it; "" = /shared
    Column("entry", String(255), primary_key=True),  # in lower case, with its /private or /shared
    Column("value", LargeBinary, nullable=False),
)

# -- content tables -----------------------------------------------------------------------------------------------

blob = _table(
    "content", "blob",
    Column("blob_id", Serial, primary_key=True),
    Column("size", BigInteger, nullable=False),  # octets of the clear, uncompressed body
    Column("codec", String(8), nullable=False),  # "raw" or "zstd"
    Column("data", LargeBinary),  # null: in the file `path`
    Column("path", String(64), unique=True),
    Column("key_id", Integer),
)

content = _table(
    "content", "content",
    Column("content_id", Serial, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),  # SHA-256 of header and body
    Column("size", Integer, nullable=False),  # RFC822.SIZE: header + body
    Column("header_size", Integer, nullable=False),  # octets up to and with the empty line
    Column("sent_date", BigInteger),  # Date:, null when there is none that can be read
    Column("envelope", LargeBinary, nullable=False),  # as IMAP sends it, without the word ENVELOPE
    Column("bodystructure", LargeBinary, nullable=False),
    Column("preview", Text, nullable=False, default=""),
    Column("blob_id", BigInteger, nullable=False),  # the body: all octets after the header
    Column("touched", BigInteger, nullable=False),
    Column("key_id", Integer),
    # Fields that SEARCH and SORT ask most, folded as the text is, those of one name each on a line. Null: look in the header.
    Column("subject", Text),
    Column("sender", Text),  # From
    Column("recipient", Text),  # To
    Column("cc", Text),
)

content_header = _table(
    "content", "content_header",
    Column("content_id", BigInteger, primary_key=True),
    Column("header", LargeBinary, nullable=False),  # raw octets with the empty line
    Column("key_id", Integer),
)

content_parts = _table(
    "content", "content_parts",
    Column("content_id", BigInteger, primary_key=True),
    Column("parts", LargeBinary, nullable=False),  # mail.mime.dump(); offsets count from the start of the body
    Column("body", LargeBinary, nullable=False),  # BODY, the non-extensible form of BODYSTRUCTURE
    Column("key_id", Integer),
)

content_text = _table(
    "content", "content_text",
    Column("content_id", BigInteger, primary_key=True),
    Column("text", LargeBinary, nullable=False),  # zstd of folded UTF-8: decoded header, NUL, decoded text parts
    Column("complete", Boolean, nullable=False, default=True),  # false: text beyond Limits.text_octets is not in it
    Column("key_id", Integer),
)

content_gone = _table(
    "content", "content_gone",
    Column("content_id", BigInteger, primary_key=True),
    Column("since", BigInteger, nullable=False),
)

# -- system tables: mail that moves -------------------------------------------------------------------------------

queue_message = _table(
    "system", "queue_message",
    Column("queue_id", String(32), primary_key=True),  # as answered in the 250
    Column("content_id", BigInteger, nullable=False, index=True),
    Column("sender", Text, nullable=False),  # "" = null path
    Column("envid", Text),
    Column("ret_full", Boolean),
    Column("smtputf8", Boolean, nullable=False, default=False),
    Column("login", Uuid),  # directory_id of the submitter
    Column("client_ip", String(45), nullable=False, default=""),
    Column("created", BigInteger, nullable=False),
)

queue_entry = _table(
    "system", "queue_entry",
    Column("entry_id", Serial, primary_key=True),
    Column("queue_id", String(32), nullable=False, index=True),
    Column("kind", String(8), nullable=False),  # "remote", "local" (to be tried again), "list" (to be expanded), "bounce"
    Column("recipient", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("directory_id", Uuid),  # of a local recipient
    Column("mailbox_name", Text),  # of a local recipient's copy; NULL: INBOX
    Column("notify", Integer, nullable=False),
    Column("orcpt", Text),
    Column("state", String(8), nullable=False, default="ready"),  # ready, leased, held, done, failed
    Column("next_attempt", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_owner", String(64)),
    Column("lease_until", BigInteger),
    Column("expires", BigInteger, nullable=False),
    Column("delay_notified", Boolean, nullable=False, default=False),
    Column("last_code", Integer),
    Column("last_status", String(12)),
    Column("last_text", Text),
    Column("last_mta", Text),
    Column("progress", Uuid),  # of a list: the members up to this directory_id have their copy
    Index("queue_entry_due", "state", "next_attempt"),
    Index("queue_entry_lease", "state", "lease_until"),
)

attempt = _table(
    "system", "attempt",
    Column("attempt_id", Serial, primary_key=True),
    Column("entry_id", BigInteger, nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("mta", Text, nullable=False),
    Column("code", Integer),
    Column("status", String(12)),
    Column("text", Text, nullable=False),
)

quarantine_item = _table(
    "system", "quarantine_item",
    Column("item_id", Serial, primary_key=True),
    Column("content_id", BigInteger, nullable=False, index=True),
    Column("queue_id", String(32), nullable=False, unique=True),
    Column("reason", String(16), nullable=False),  # "virus", "spam", "policy", "unscannable"
    Column("held", BigInteger, nullable=False, index=True),
    Column("expires", BigInteger, nullable=False, index=True),
    Column("sender", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("envelope", Text, nullable=False),  # JSON of the Envelope but its recipients
    Column("origin", Text, nullable=False),  # JSON of the Origin
    Column("verdicts", Text, nullable=False),  # JSON of the Verdicts
)

quarantine_recipient = _table(
    "system", "quarantine_recipient",
    Column("item_id", BigInteger, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("directory_id", Uuid),  # null: not a local recipient
    Column("unit_id", Uuid),
    Column("notify", Integer, nullable=False),
    Column("orcpt", Text),
    Column("state", String(8), nullable=False, default="held"),  # held, released, deleted, expired
    Column("acted", BigInteger),
    Column("actor", Text),
    Index("quarantine_recipient_unit", "unit_id", "state"),
)

audit = _table(
    "system", "audit",
    Column("seq", Serial, primary_key=True),
    Column("at", BigInteger, nullable=False),  # microseconds
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("previous", LargeBinary(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
)

lease = _table(
    "system", "lease",
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
)

counter = _table(
    "system", "counter",
    Column("name", String(32), primary_key=True),  # "uidvalidity"
    Column("value", BigInteger, nullable=False),
)

login_memory = _table(
    "system", "login_memory",
    Column("directory_id", Uuid, primary_key=True),
    Column("mac", LargeBinary(32), nullable=False),
    Column("verified", BigInteger, nullable=False),
)

# -- system tables: the directory (directory.local; `ledger` and `domain` for both kinds) -------------------------

unit = _table(
    "system", "unit",
    Column("unit_id", Uuid, primary_key=True),
    Column("parent_id", Uuid, index=True),  # null: the root
    Column("name", Text, nullable=False),  # 赣州市, 发改委
    Column("label", String(63), nullable=False),  # ASCII; unique among its siblings
    Column("path", Text, nullable=False, unique=True),  # labels from the root, "/jx/gz/fgw/": a subtree is a prefix
    Column("level", Integer, nullable=False),  # 1 province, 2 city, 3 county, 4 township; a department has its region's
    Column("kind", Text, nullable=False, default=""),
    Column("line", Text, nullable=False, default="", index=True),
    Column("code", String(32)),
    Column("rank", Text, nullable=False, default=""),
    Column("domain", Text),  # its own mail domain
    Column("keeper_id", Uuid),  # a person who gets its postmaster@ mail
    Column("is_region", Boolean, nullable=False, default=False),
    UniqueConstraint("parent_id", "name"),
    Index("unit_parent_label", "parent_id", "label", unique=True),
)

person = _table(
    "system", "person",
    Column("person_id", Uuid, primary_key=True),
    Column("unit_id", Uuid, nullable=False, index=True),
    Column("name", Text, nullable=False, index=True),
    Column("pinyin", Text, nullable=False, default=""),
    Column("title", Text, nullable=False, default=""),
    Column("state", String(16), nullable=False, default="active"),
    Column("password", Text, nullable=False, default=""),  # argon2id, encoded; then perhaps a blank and the SCRAM keys
    Column("stamp", String(32), nullable=False),  # changes with password, state and unit
    Column("quota_octets", BigInteger),
    Column("created", BigInteger, nullable=False),
)

group = _table(
    "system", "dir_group",
    Column("group_id", Uuid, primary_key=True),
    Column("unit_id", Uuid, index=True),
    Column("name", Text, nullable=False, default=""),
    Column("created", BigInteger, nullable=False),
)

group_member = _table(
    "system", "dir_group_member",
    Column("group_id", Uuid, primary_key=True),
    Column("member", Text, primary_key=True),  # directory_id of a person or group, or an address elsewhere
    Column("kind", String(8), nullable=False),  # person, group, remote
    Index("dir_group_member_member", "member"),
)

address = _table(
    "system", "address",
    Column("address_key", Text, primary_key=True),
    Column("owner_id", Uuid, nullable=False, index=True),
    Column("owner_kind", String(8), nullable=False),  # person, group
    Column("display", Text, nullable=False),  # as it was written
    Column("is_primary", Boolean, nullable=False),
    Column("expires", BigInteger),
)

domain = _table(
    "system", "domain",
    Column("domain", Text, primary_key=True),
    Column("unit_id", Uuid, index=True),
)

ledger = _table(
    "system", "ledger",
    Column("address_key", Text, primary_key=True),
    Column("owner_id", Uuid, nullable=False, index=True),
    Column("issued", BigInteger, nullable=False),
    Column("released", BigInteger),  # null: in use
)
