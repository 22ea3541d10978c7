"""Turns a framed command into a typed one.

Invariants: every parser takes the whole command or raises SyntaxProblem; none knows states, the store or the clock.

RFC 3501 §9 and the ABNF of the extensions named in `commands`.
"""

from __future__ import annotations

from collections.abc import Callable

from govmail.errors import SyntaxProblem
from govmail.wire.imap import commands as c
from govmail.wire.imap.fetch import parse_items
from govmail.wire.imap.management import entries
from govmail.wire.imap.numset import STAR
from govmail.wire.imap.results import Window, parse_returns, parse_window
from govmail.wire.imap.search import BadCharset, parse_keys
from govmail.wire.imap.tokens import Tokens, UidRequired

ID_PAIRS = 30  # RFC 2971 §3.3
ID_OCTETS = 1024
PATTERNS = 100
FLAGS = 100

STATUS_ITEMS = (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"HIGHESTMODSEQ", b"SIZE", b"DELETED",
                b"DELETED-STORAGE", b"APPENDLIMIT", b"MAILBOXID")
SELECT_OPTIONS = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
RETURN_OPTIONS = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS", "MYRIGHTS", "METADATA"})
SYSTEM_FLAGS = {flag.lower(): flag for flag in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")}

Parser = Callable[[Tokens], c.Command]


def parse_start(tokens: Tokens) -> tuple[bytes, str]:
    """Tag and name in capitals ("UID FETCH" is one name). Raises SyntaxProblem."""
    tag = tokens.tag()
    tokens.space()
    name = tokens.word()
    if name == b"UID":
        tokens.space()
        name = b"UID " + tokens.word()
    return tag, name.decode("ascii", "replace")


def bare(tokens: Tokens) -> c.Bare:
    tokens.end()
    return c.Bare()


def identify(tokens: Tokens) -> c.Id:
    """"(" *(string SP nstring) ")" / nil. Accepts every form that clients send: empty list, empty values, any case."""
    tokens.space()
    if tokens.take(b"NIL"):
        tokens.end()
        return c.Id(())
    fields = tokens.items(tokens.nstring, empty=True)
    tokens.end()
    if len(fields) % 2 or len(fields) > 2 * ID_PAIRS or sum(len(field or b"") for field in fields) > ID_OCTETS * ID_PAIRS:
        raise SyntaxProblem("bad ID list")
    words = [(field or b"").decode("utf-8", "replace") for field in fields]
    return c.Id(tuple((words[i].lower(), words[i + 1]) for i in range(0, len(words), 2)))


def login(tokens: Tokens) -> c.Login:
    tokens.space()
    name = tokens.astring()
    tokens.space()
    password = tokens.astring()
    tokens.end()
    return c.Login(name, password)


def authenticate(tokens: Tokens) -> c.Authenticate:
    tokens.space()
    mechanism = tokens.word().decode("ascii", "replace")
    initial = None
    if tokens.peek() == b" ":
        tokens.space()
        initial = tokens.astring()  # base64 or "=" (RFC 4959 §3)
    tokens.end()
    return c.Authenticate(mechanism, initial)


def compress(tokens: Tokens) -> c.Compress:
    tokens.space()
    mechanism = tokens.word().decode("ascii", "replace")
    tokens.end()
    return c.Compress(mechanism.upper())


def enable(tokens: Tokens) -> c.Enable:
    names: list[str] = []
    while tokens.peek() == b" ":
        tokens.space()
        names.append(tokens.word().decode("ascii", "replace"))
    tokens.end()
    if not names:
        raise SyntaxProblem("ENABLE needs a capability")
    return c.Enable(tuple(names))


def select(tokens: Tokens) -> c.Select:
    """mailbox [SP "(" select-param *(SP select-param) ")"] (RFC 7162 §3.1.8, §3.2.5)"""
    tokens.space()
    name = tokens.mailbox()
    params: dict[bytes, c.Resync | None] = {}
    if tokens.peek() == b" ":
        tokens.space()
        params = dict(tokens.items(lambda: _select_param(tokens)))
    tokens.end()
    return c.Select(name, bool(params), params.get(b"QRESYNC"))


def _select_param(tokens: Tokens) -> tuple[bytes, c.Resync | None]:
    name = tokens.word()
    if name == b"CONDSTORE":
        return name, None
    if name != b"QRESYNC":
        raise SyntaxProblem("unknown SELECT parameter")
    if not tokens.enabled.qresync:
        raise SyntaxProblem("QRESYNC is not enabled")  # RFC 7162 §3.2.5
    tokens.space()
    return name, _resync(tokens)


def _resync(tokens: Tokens) -> c.Resync:
    """"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")" (RFC 7162 §7)."""
    tokens.expect(b"(")
    uidvalidity = tokens.number()
    tokens.space()
    modseq = tokens.number64()
    known = None
    matches: tuple[tuple[int, int], ...] = ()
    while tokens.peek() == b" ":
        tokens.space()
        if tokens.peek() != b"(" and known is None and not matches:
            known = tokens.number_set()
        elif not matches:
            matches = _matches(tokens)
        else:
            raise SyntaxProblem("bad QRESYNC parameters")
    tokens.expect(b")")
    return c.Resync(uidvalidity, modseq, known, matches)


def _matches(tokens: Tokens) -> tuple[tuple[int, int], ...]:
    """seq-match-data = "(" known-sequence-set SP known-uid-set ")": both ends of every run in which the two go up together.

    That is enough for finding a place where client and server agree.
    """
    tokens.expect(b"(")
    numbers = tokens.number_set()
    tokens.space()
    uids = tokens.number_set()
    tokens.expect(b")")
    if tokens.enabled.uid_only:
        raise UidRequired  # RFC 9586 §3.5
    pairs: list[tuple[int, int]] = []
    left, right = list(reversed(numbers.ranges)), list(reversed(uids.ranges))
    if any(first > last or last == STAR for first, last in (*left, *right)) or sum(map(_size, left)) != sum(map(_size, right)):
        raise SyntaxProblem("bad seq-match-data")
    while left:
        (number, last_number), (uid, last_uid) = left.pop(), right.pop()
        run = min(last_number - number, last_uid - uid)
        pairs += [(number, uid), (number + run, uid + run)]
        if number + run < last_number:
            left.append((number + run + 1, last_number))
        if uid + run < last_uid:
            right.append((uid + run + 1, last_uid))
    return tuple(pairs)


def _size(one: tuple[int, int]) -> int:
    return one[1] - one[0] + 1


def named(tokens: Tokens) -> c.Named:
    tokens.space()
    name = tokens.mailbox()
    tokens.end()
    return c.Named(name)


def create(tokens: Tokens) -> c.Named:
    """CREATE SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"] (RFC 6154 §3)."""
    tokens.space()
    name = tokens.mailbox()
    use = None
    if tokens.peek() == b" ":
        tokens.space()
        tokens.expect(b"(USE ")
        uses = tokens.items(tokens.flag, empty=True)
        tokens.expect(b")")
        if len(uses) > 1:
            raise SyntaxProblem("one special use for a mailbox")
        use = uses[0] if uses else None
    tokens.end()
    return c.Named(name, use)


def rename(tokens: Tokens) -> c.Rename:
    tokens.space()
    old = tokens.mailbox()
    tokens.space()
    new = tokens.mailbox()
    tokens.end()
    return c.Rename(old, new)


def list_(tokens: Tokens) -> c.List:
    """LIST, plain (RFC 3501 §6.3.8) and extended (RFC 5258 §6, RFC 5819 §4, RFC 6154 §6, RFC 8440 §5, RFC 9590 §4)."""
    tokens.space()
    extended = False
    chosen: frozenset[str] = frozenset()
    if tokens.peek() == b"(":
        extended = True
        chosen = _options(tokens.items(tokens.word, empty=True), SELECT_OPTIONS)
        if "RECURSIVEMATCH" in chosen and not chosen & {"SUBSCRIBED", "SPECIAL-USE"}:
            raise SyntaxProblem("RECURSIVEMATCH needs another option")  # RFC 5258 §3.1
        tokens.space()
    reference = _reference(tokens)
    tokens.space()
    if tokens.peek() == b"(":
        extended = True
        patterns = tokens.items(lambda: _pattern(tokens))
        if len(patterns) > PATTERNS:
            raise SyntaxProblem("too many patterns")
    else:
        patterns = (_pattern(tokens),)
    returns: frozenset[str] = frozenset()
    status: tuple[bytes, ...] = ()
    metadata: tuple[str, ...] = ()
    if tokens.peek() == b" ":
        tokens.space()
        tokens.expect(b"RETURN ")
        extended = True
        options = tokens.items(lambda: _return_option(tokens), empty=True)
        metadata = next((tuple(one.decode() for one in items) for name, items in options if name == b"METADATA"), ())
        returns = _options([name for name, _ in options], RETURN_OPTIONS)
        status = next((items for name, items in options if name == b"STATUS"), ())
    tokens.end()
    return c.List(reference, patterns, chosen, returns, status, extended, metadata)


def lsub(tokens: Tokens) -> c.List:
    tokens.space()
    reference = _reference(tokens)
    tokens.space()
    pattern = _pattern(tokens)
    tokens.end()
    return c.List(reference, (pattern,))


def _reference(tokens: Tokens) -> str:
    return tokens.name(tokens.astring())


def _pattern(tokens: Tokens) -> str:
    return tokens.name(tokens.list_mailbox())


def _options(words: list[bytes] | tuple[bytes, ...], known: frozenset[str]) -> frozenset[str]:
    names = frozenset(word.decode("ascii", "replace") for word in words)
    if names - known:
        raise SyntaxProblem("unknown LIST option")
    return names


def _return_option(tokens: Tokens) -> tuple[bytes, tuple[bytes, ...]]:
    name = tokens.word()
    if name not in (b"STATUS", b"METADATA"):
        return name, ()
    tokens.space()
    if name == b"METADATA":
        return name, tuple(entry.encode() for entry in entries(tokens))
    return name, _status_items(tokens)


def _status_items(tokens: Tokens) -> tuple[bytes, ...]:
    items = tokens.items(tokens.word)
    if any(item not in STATUS_ITEMS for item in items):
        raise SyntaxProblem("unknown STATUS item")
    return tuple(dict.fromkeys(items))


def status(tokens: Tokens) -> c.Status:
    tokens.space()
    name = tokens.mailbox()
    tokens.space()
    items = _status_items(tokens)
    tokens.end()
    return c.Status(name, items)


def fetch(tokens: Tokens) -> c.Fetch:
    tokens.space()
    numbers = tokens.number_set()
    tokens.space()
    items = parse_items(tokens)
    modifiers: dict[bytes, int | Window] = {}
    if tokens.peek() == b" ":
        tokens.space()
        modifiers = dict(tokens.items(lambda: _fetch_modifier(tokens))) if tokens.peek() else {}
    tokens.end()
    since, vanished, window = modifiers.get(b"CHANGEDSINCE"), b"VANISHED" in modifiers, modifiers.get(b"PARTIAL")
    if vanished and (since is None or not tokens.enabled.qresync):
        raise SyntaxProblem("VANISHED needs CHANGEDSINCE, and QRESYNC enabled")  # RFC 7162 §3.2.6
    assert not isinstance(since, Window)
    assert not isinstance(window, int)
    return c.Fetch(numbers, items, since, vanished, window)


def _fetch_modifier(tokens: Tokens) -> tuple[bytes, int | Window]:
    """CHANGEDSINCE SP mod-sequence-value (RFC 7162 §3.1.4.1), VANISHED (§3.2.6), PARTIAL SP partial-range (RFC 9394 §3.3)."""
    name = tokens.word()
    if name == b"VANISHED":
        return name, 0
    if name not in (b"CHANGEDSINCE", b"PARTIAL"):
        raise SyntaxProblem("unknown FETCH modifier")
    tokens.space()
    return name, parse_window(tokens) if name == b"PARTIAL" else tokens.number64()


_OPERATIONS: dict[bytes, c.Operation] = {b"": "set", b"+": "add", b"-": "remove"}


def store(tokens: Tokens) -> c.Store:
    """store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))"""
    tokens.space()
    numbers = tokens.number_set()
    tokens.space()
    unchanged_since = None
    if tokens.take(b"("):  # store-modifier: "UNCHANGEDSINCE" SP mod-sequence-valzer (RFC 7162 §3.1.3)
        tokens.expect(b"UNCHANGEDSINCE ")
        unchanged_since = tokens.number64()
        tokens.expect(b")")
        tokens.space()
    sign = tokens.peek() if tokens.peek() in (b"+", b"-") else b""
    tokens.expect(sign + b"FLAGS")
    silent = tokens.take(b".SILENT")
    tokens.space()
    if tokens.peek() == b"(":
        flags = parse_flags(tokens)
    else:
        words = [tokens.flag()]
        while tokens.peek() == b" ":
            tokens.space()
            words.append(tokens.flag())
        flags = _known(words)
    tokens.end()
    return c.Store(numbers, _OPERATIONS[sign], flags, silent, unchanged_since)


def parse_flags(tokens: Tokens) -> tuple[str, ...]:
    """flag-list"""
    return _known(tokens.items(tokens.flag, empty=True))


def _known(words: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """System flags in their usual case; \\Recent is the server's alone and ignored (RFC 3501 §2.3.2); each once."""
    if len(words) > FLAGS:
        raise SyntaxProblem("too many flags")
    found: dict[str, str] = {}
    for word in words:
        lower = word.lower()
        if word.startswith("\\") and lower not in SYSTEM_FLAGS:
            if lower == "\\recent":
                continue
            raise SyntaxProblem("unknown system flag")
        found.setdefault(lower, SYSTEM_FLAGS.get(lower, word))
    return tuple(found.values())


def search(tokens: Tokens) -> c.Search:
    """"SEARCH" [SP "RETURN" SP "(" … ")"] SP [charset] keys (RFC 3501 §6.4.4, RFC 4731 §3)."""
    tokens.space()
    returns = parse_returns(tokens)
    try:
        key = parse_keys(tokens)
    except BadCharset:
        if returns is None or not returns.save:
            raise
        return c.Search(None, returns)
    tokens.end()
    return c.Search(key, returns)


def copy(tokens: Tokens) -> c.Copy:
    tokens.space()
    numbers = tokens.number_set()
    tokens.space()
    name = tokens.mailbox()
    tokens.end()
    return c.Copy(numbers, name)


def expunge_uids(tokens: Tokens) -> c.Expunge:
    tokens.space()
    numbers = tokens.number_set()
    tokens.end()
    return c.Expunge(numbers)


def expunge(tokens: Tokens) -> c.Expunge:
    tokens.end()
    return c.Expunge()
