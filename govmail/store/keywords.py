"""Keywords: names of a client's own flags, numbered per account so that a message row holds them in one integer.

RFC 9051 §2.3.2: keywords are case-insensitive and keep the case in which they were first set.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import insert as upsert

from govmail.config import Limits
from govmail.errors import LimitReached
from govmail.store.schema import keyword, message
from govmail.store.sql import Prepared

KEYWORD_OCTETS = 255
_NAMES = Prepared(
    select(keyword.c.bit, keyword.c.name, keyword.c.name_key)
    .where(keyword.c.account_id == bindparam("account"))
    .order_by(keyword.c.bit)
)
_USED = Prepared(
    select(message.c.keywords)
    .distinct()
    .where(message.c.account_id == bindparam("account"), message.c.mailbox_id == bindparam("mailbox"), message.c.keywords != literal_column("0"))
)
_INSERT = Prepared(upsert(keyword).on_conflict_do_nothing(), ["account_id", "bit", "name", "name_key"])


def keyword_names(conn: Connection, account_id: int) -> dict[int, str]:
    """Bit -> name."""
    return {row[0]: row[1] for row in _NAMES.rows(conn, {"account": account_id})}


def keyword_names_in(conn: Connection, account_id: int, mailbox_id: int) -> dict[int, str]:
    """The same for those that messages of one mailbox have; reads it through."""
    used = 0
    for (bits,) in _USED.rows(conn, {"account": account_id, "mailbox": mailbox_id}):
        used |= bits
    return {bit: name for bit, name in keyword_names(conn, account_id).items() if used >> bit & 1}


def keyword_bits(conn: Connection, account_id: int, names: Sequence[str], create: bool) -> int:
    """The bits of these keywords; unknown ones are made, or left out. Raises LimitReached.

    The account must be locked when `create` is set, as it is after taking its modseq.
    """
    if not names:
        return 0
    known = {row[2]: row[0] for row in _NAMES.rows(conn, {"account": account_id})}
    bits = 0
    for name in names:
        key = name.lower()
        if key not in known:
            if not create:
                continue
            if len(known) >= Limits().keywords_per_account or len(name) > KEYWORD_OCTETS:
                raise LimitReached("too many keywords")
            known[key] = len(known)
            _INSERT.run(conn, {"account_id": account_id, "bit": known[key], "name": name, "name_key": key})
        bits |= 1 << known[key]
    return bits
