"""The verb table: everything that a client may say, where it is defined, and when it is allowed.

Invariants: the states that a verb is refused in and whether EXPUNGE may be said are derived from these rows; a name
stands in one row. What is announced stands in `imap.capabilities`.

RFC 3501 §6.
"""

from __future__ import annotations

from govmail.imap import enabling
from govmail.imap.state import ANY, LOGGED_IN, State, Verb
from govmail.imap.verbs import (
    anytime,
    append,
    fetch,
    idle,
    login,
    mailboxes,
    metadata,
    multisearch,
    notify,
    quota,
    rights,
    search,
    select,
    store,
)
from govmail.wire.imap import management, parser, searches
from govmail.wire.imap.notify import notify as parse_notify
from govmail.wire.imap.tokens import Tokens

FRESH, SELECTED = State.FRESH, State.SELECTED


_ROWS = (
    Verb("CAPABILITY", parser.bare, anytime.capability, ANY, "RFC 3501 §6.1.1"),
    Verb("NOOP", parser.bare, anytime.noop, ANY, "RFC 3501 §6.1.2", asks=True),
    Verb("LOGOUT", parser.bare, anytime.logout, ANY, "RFC 3501 §6.1.3"),
    Verb("ID", parser.identify, anytime.identify, ANY, "RFC 2971 §3.1", capability="ID"),
    Verb("STARTTLS", parser.bare, anytime.starttls, FRESH, "RFC 3501 §6.2.1"),
    Verb("AUTHENTICATE", parser.authenticate, login.authenticate, FRESH, "RFC 3501 §6.2.2"),
    Verb("LOGIN", parser.login, login.login, FRESH, "RFC 3501 §6.2.3"),
    Verb("UNAUTHENTICATE", parser.bare, login.unauthenticate, LOGGED_IN, "RFC 8437 §3", capability="UNAUTHENTICATE"),
    Verb("COMPRESS", parser.compress, anytime.compress, LOGGED_IN, "RFC 4978 §3", capability="COMPRESS=DEFLATE"),
    Verb("ENABLE", parser.enable, enabling.enable, LOGGED_IN, "RFC 5161 §3.1", capability="ENABLE"),
    Verb("SELECT", parser.select, select.select, LOGGED_IN, "RFC 3501 §6.3.1"),
    Verb("EXAMINE", parser.select, select.examine, LOGGED_IN, "RFC 3501 §6.3.2"),
    Verb("CREATE", parser.create, mailboxes.create, LOGGED_IN, "RFC 3501 §6.3.3"),
    Verb("DELETE", parser.named, mailboxes.delete, LOGGED_IN, "RFC 3501 §6.3.4"),
    Verb("RENAME", parser.rename, mailboxes.rename, LOGGED_IN, "RFC 3501 §6.3.5"),
    Verb("SUBSCRIBE", parser.named, mailboxes.subscribe, LOGGED_IN, "RFC 3501 §6.3.6"),
    Verb("UNSUBSCRIBE", parser.named, mailboxes.unsubscribe, LOGGED_IN, "RFC 3501 §6.3.7"),
    Verb("LIST", parser.list_, mailboxes.list_, LOGGED_IN, "RFC 3501 §6.3.8, RFC 5258 §3"),
    Verb("LSUB", parser.lsub, mailboxes.lsub, LOGGED_IN, "RFC 3501 §6.3.9"),
    Verb("NAMESPACE", parser.bare, mailboxes.namespace, LOGGED_IN, "RFC 2342 §5", capability="NAMESPACE"),
    Verb("STATUS", parser.status, mailboxes.status, LOGGED_IN, "RFC 3501 §6.3.10"),
    Verb("XLIST", parser.lsub, mailboxes.xlist, LOGGED_IN, "RFC 3501 §6.5.1", capability="XLIST"),
    Verb("SETACL", management.set_acl, rights.set_acl, LOGGED_IN, "RFC 4314 §3.1", capability="ACL"),
    Verb("DELETEACL", management.delete_acl, rights.delete_acl, LOGGED_IN, "RFC 4314 §3.2", capability="ACL"),
    Verb("GETACL", parser.named, rights.get_acl, LOGGED_IN, "RFC 4314 §3.3", capability="ACL"),
    Verb("LISTRIGHTS", management.delete_acl, rights.list_rights, LOGGED_IN, "RFC 4314 §3.4", capability="ACL"),
    Verb("MYRIGHTS", parser.named, rights.my_rights, LOGGED_IN, "RFC 4314 §3.5", capability="ACL"),
    Verb("GETQUOTA", management.get_quota, quota.get_quota, LOGGED_IN, "RFC 9208 §4.1.1", capability="QUOTA"),
    Verb("GETQUOTAROOT", parser.named, quota.get_quota_root, LOGGED_IN, "RFC 9208 §4.1.2", capability="QUOTA"),
    Verb("SETQUOTA", management.set_quota, quota.set_quota, LOGGED_IN, "RFC 9208 §4.1.3", capability="QUOTA"),
    Verb("GETMETADATA", management.get_metadata, metadata.get_metadata, LOGGED_IN, "RFC 5464 §4.2", capability="METADATA"),
    Verb("SETMETADATA", management.set_metadata, metadata.set_metadata, LOGGED_IN, "RFC 5464 §4.3", capability="METADATA"),
    Verb("APPEND", Tokens.whole, append.without_octets, LOGGED_IN, "RFC 3501 §6.3.11"),
    Verb("IDLE", parser.bare, idle.idle, LOGGED_IN, "RFC 2177 §3", capability="IDLE"),
    Verb("NOTIFY", parse_notify, notify.notify, LOGGED_IN, "RFC 5465 §3.1", capability="NOTIFY"),
    Verb("CHECK", parser.bare, select.check, SELECTED, "RFC 3501 §6.4.1", asks=True),
    Verb("CLOSE", parser.bare, select.close, SELECTED, "RFC 3501 §6.4.2"),
    Verb("UNSELECT", parser.bare, select.unselect, SELECTED, "RFC 3691 §2", capability="UNSELECT"),
    Verb("EXPUNGE", parser.expunge, store.expunge, SELECTED, "RFC 3501 §6.4.3", slow=True, needs="e"),
    Verb("UID EXPUNGE", parser.expunge_uids, store.expunge, SELECTED, "RFC 4315 §2.1", capability="UIDPLUS", slow=True, needs="e"),
    Verb("SEARCH", parser.search, search.search, SELECTED, "RFC 3501 §6.4.4", uses_numbers=True, slow=True),
    Verb("UID SEARCH", parser.search, search.uid_search, SELECTED, "RFC 3501 §6.4.8", slow=True),
    Verb("SORT", searches.sort, search.sort, SELECTED, "RFC 5256 §3", uses_numbers=True, capability="SORT", slow=True),
    Verb("UID SORT", searches.sort, search.uid_sort, SELECTED, "RFC 5256 §3", capability="SORT", slow=True),
    Verb("THREAD", searches.thread, search.thread, SELECTED, "RFC 5256 §3", uses_numbers=True, capability="THREAD=REFERENCES", slow=True),
    Verb("UID THREAD", searches.thread, search.uid_thread, SELECTED, "RFC 5256 §3", capability="THREAD=REFERENCES", slow=True),
    Verb("ESEARCH", searches.multisearch, multisearch.multisearch, LOGGED_IN, "RFC 7377 §2.1", capability="MULTISEARCH", slow=True),
    Verb("CANCELUPDATE", searches.cancel_update, search.cancel_update, SELECTED, "RFC 5267 §4.3.5", capability="CONTEXT=SEARCH"),
    Verb("UIDBATCHES", searches.uid_batches, search.uid_batches, SELECTED, "draft-ietf-mailmaint-imap-uidbatches §3.1", capability="UIDBATCHES"),
    Verb("FETCH", parser.fetch, fetch.fetch, SELECTED, "RFC 3501 §6.4.5", uses_numbers=True),
    Verb("UID FETCH", parser.fetch, fetch.uid_fetch, SELECTED, "RFC 3501 §6.4.8"),
    Verb("STORE", parser.store, store.store, SELECTED, "RFC 3501 §6.4.6", uses_numbers=True, slow=True),
    Verb("UID STORE", parser.store, store.uid_store, SELECTED, "RFC 3501 §6.4.8", slow=True),
    Verb("COPY", parser.copy, store.copy, SELECTED, "RFC 3501 §6.4.7", slow=True),
    Verb("UID COPY", parser.copy, store.uid_copy, SELECTED, "RFC 3501 §6.4.8", slow=True),
    Verb("REPLACE", Tokens.whole, append.without_octets, SELECTED, "RFC 8508 §3.1", capability="REPLACE", needs=append.REPLACE_NEEDS),
    Verb("UID REPLACE", Tokens.whole, append.without_octets, SELECTED, "RFC 8508 §3.2", capability="REPLACE", needs=append.REPLACE_NEEDS),
    Verb("MOVE", parser.copy, store.move, SELECTED, "RFC 6851 §3.1", capability="MOVE", slow=True, needs="te"),
    Verb("UID MOVE", parser.copy, store.uid_move, SELECTED, "RFC 6851 §3.2", capability="MOVE", slow=True, needs="te"),
)

VERBS: dict[str, Verb] = {verb.name: verb for verb in _ROWS}

NUMBERED = frozenset(name for name in VERBS if f"UID {name}" in VERBS and name != "EXPUNGE")
"""Commands that speak in sequence numbers, each with a twin for UIDs (RFC 9586 §3.2)."""
