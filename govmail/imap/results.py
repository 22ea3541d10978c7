"""What a selected mailbox remembers of searches: `$`, and results that are kept up to date.

Invariants: results are UIDs; those of a mailbox that is not selected any more are gone with its view.

RFC 5182 §2.1 (SEARCHRES); RFC 5267 §4.3 (UPDATE).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from govmail.wire.imap.numset import LARGEST, STAR, NumSet, Ranges, union
from govmail.wire.imap.results import Order
from govmail.wire.imap.search import And, Key, Not, Numbers, Or

if TYPE_CHECKING:
    from govmail.imap.view import UidMap


@dataclass(slots=True)
class Context:
    """A search that its client wants to be told about. `order`: of SORT, and then `found` is in it; else it ascends."""

    uid: bool
    key: Key
    order: Order | None
    found: array[int]


@dataclass(slots=True)
class Results:
    """One for a view, made when the first search asks for it. Contexts by the tag of their command."""

    saved: Ranges = ()
    contexts: dict[bytes, Context] = field(default_factory=dict)


def pinned(key: Key, uids: UidMap, saved: Ranges) -> Key:
    """The key with sequence numbers and `$` as the UIDs that they mean now: a context does not follow what they come to mean.

    A set that goes up to `*` takes in what arrives later.
    """
    match key:
        case Numbers(numbers, uid) if numbers.saved or not uid:
            meant = uids.within(saved) if numbers.saved else uids.uids(numbers.resolve(len(uids)))
            if any((first == STAR) is not (last == STAR) for first, last in numbers.ranges):
                meant = union(meant, ((uids.largest + 1, LARGEST),))
            return Numbers(NumSet(meant), uid=True)
        case And(keys):
            return And(tuple(pinned(one, uids, saved) for one in keys))
        case Or(one, other):
            return Or(pinned(one, uids, saved), pinned(other, uids, saved))
        case Not(inner):
            return Not(pinned(inner, uids, saved))
        case _:
            return key
