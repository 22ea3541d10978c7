"""The commands of the search family beside SEARCH itself: SORT, THREAD, ESEARCH, CANCELUPDATE, UIDBATCHES.

RFC 5256 §3, §5; RFC 5267 §4.3, §6; RFC 7377 §3; draft-ietf-mailmaint-imap-uidbatches.
"""

from __future__ import annotations

import re

from govmail.errors import SyntaxProblem
from govmail.wire.imap import commands as c
from govmail.wire.imap.results import ALL, parse_order, parse_returns, parse_sources
from govmail.wire.imap.search import has_numbers, parse_keys, parse_keys_in
from govmail.wire.imap.tokens import Tokens

ALGORITHMS = frozenset({"ORDEREDSUBJECT", "REFERENCES"})
TAGS = 100
_BATCHES = re.compile(rb"([1-9][0-9]{0,9}):([1-9][0-9]{0,9})(?![0-9])")


def sort(tokens: Tokens) -> c.Sort:
    """"SORT" [SP "RETURN" …] SP "(" criteria ")" SP charset SP keys."""
    tokens.space()
    returns = parse_returns(tokens)
    order = parse_order(tokens)
    tokens.space()
    key = parse_keys_in(tokens)
    tokens.end()
    return c.Sort(order, key, returns)


def thread(tokens: Tokens) -> c.Thread:
    """"THREAD" SP algorithm SP charset SP keys."""
    tokens.space()
    algorithm = tokens.word().decode("ascii", "replace")
    if algorithm not in ALGORITHMS:
        raise SyntaxProblem("unknown threading algorithm")
    tokens.space()
    key = parse_keys_in(tokens)
    tokens.end()
    return c.Thread(algorithm, key)


def multisearch(tokens: Tokens) -> c.MultiSearch:
    """"ESEARCH" [SP "IN" SP "(" … ")"] [SP "RETURN" …] SP [charset] keys."""
    tokens.space()
    sources = parse_sources(tokens)
    returns = parse_returns(tokens) or ALL
    key = parse_keys(tokens)
    tokens.end()
    elsewhere = any(source.kind != "SELECTED" for source in sources)
    if elsewhere and has_numbers(key):
        raise SyntaxProblem("sequence numbers are for the selected mailbox only")  # RFC 7377 §2.1
    if elsewhere and returns.save:
        raise SyntaxProblem("SAVE is for the selected mailbox only")  # RFC 7377 §2.1
    return c.MultiSearch(key, sources, returns)


def cancel_update(tokens: Tokens) -> c.CancelUpdate:
    """"CANCELUPDATE" 1*(SP quoted)."""
    tags: list[bytes] = []
    while tokens.peek() == b" " and len(tags) < TAGS:
        tokens.space()
        tags.append(tokens.string())
    tokens.end()
    if not tags:
        raise SyntaxProblem("CANCELUPDATE needs a tag")
    return c.CancelUpdate(tuple(tags))


def uid_batches(tokens: Tokens) -> c.UidBatches:
    """"UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]."""
    tokens.space()
    size = tokens.nz_number()
    window = None
    if tokens.peek() == b" ":
        tokens.space()
        found = tokens.match(_BATCHES, "a range of batches")
        window = int(found[1]), int(found[2])
    tokens.end()
    return c.UidBatches(size, window)
