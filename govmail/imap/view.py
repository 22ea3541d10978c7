"""The client's picture of its selected mailbox.

Invariants
- A sequence number means what the client was last told, however far the mailbox has moved on: messages that others
  expunged keep their number until EXPUNGE may be said (RFC 3501 §7.4.1, §5.5).
- A `UidMap` never changes; sessions that know the same mailbox as of the same modseq share one. It costs eight octets
  for each run of UIDs without a gap, so an idle connection to a large mailbox costs no more than to a small one.
- Applying changes costs the changes and, where messages came or went, one copy of the runs.

RFC 3501 §2.3.1.2, §5.2, §7.3, §7.4.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from govmail.imap.flags import FlagNames
from govmail.imap.results import Results
from govmail.store.rights import ALL, flag_masks
from govmail.store.values import FlagChange, MailboxChanges
from govmail.wire.imap import responses
from govmail.wire.imap.enabled import NOTHING, Enabled
from govmail.wire.imap.numset import LARGEST, Range, Ranges, intersect, normalise, subtract, union

NEVER = LARGEST + 1
"""As `recent_from`: a UID that no message has, so none is \\Recent (RFC 9051 has no such flag)."""

if TYPE_CHECKING:
    from govmail.imap.access import Guest


class UidMap:
    """UIDs in ascending order; number n is the n-th of them."""

    __slots__ = ("__weakref__", "_before", "_first")

    def __init__(self, ranges: Sequence[Range]) -> None:
        """`ranges` ascending and disjoint."""
        self._first = array("I")
        self._before = array("I", (0,))  # how many messages stand before each run; one more entry: all of them
        for first, last in ranges:
            if self._first and first == self._last(len(self._first) - 1) + 1:
                self._before[-1] += last - first + 1
            else:
                self._first.append(first)
                self._before.append(self._before[-1] + last - first + 1)

    def _last(self, run: int) -> int:
        return self._first[run] + self._before[run + 1] - self._before[run] - 1

    def __len__(self) -> int:
        return self._before[-1]

    @property
    def largest(self) -> int:
        """The highest UID, 0 when there is none."""
        return self._last(len(self._first) - 1) if self._first else 0

    @property
    def ranges(self) -> Ranges:
        return tuple([(self._first[run], self._last(run)) for run in range(len(self._first))])

    def number(self, uid: int) -> int:
        """The sequence number of `uid`, 0 when it is not there."""
        run = bisect_right(self._first, uid) - 1
        return self._before[run] + uid - self._first[run] + 1 if run >= 0 and uid <= self._last(run) else 0

    def numbers(self, uids: Sequence[int]) -> list[int]:
        """The sequence numbers of ascending `uids`, all of which are there."""
        if len(self._first) == 1:
            shift = self._first[0] - 1
            return [uid - shift for uid in uids]
        found: list[int] = []
        run, shift, last = -1, 0, 0
        for uid in uids:
            while uid > last:
                run += 1
                shift, last = self._first[run] - self._before[run] - 1, self._last(run)
            found.append(uid - shift)
        return found

    def uids(self, numbers: Sequence[Range]) -> Ranges:
        """The UIDs of ranges of sequence numbers; numbers beyond the last are ignored."""
        found: list[Range] = []
        for first, last in numbers:
            last = min(last, len(self))
            run = bisect_right(self._before, first - 1) - 1
            while first <= last:
                upto = min(last, self._before[run + 1])
                shift = self._first[run] - self._before[run] - 1
                found.append((first + shift, upto + shift))
                first = upto + 1
                run += 1
        return normalise(found)

    def within(self, ranges: Sequence[Range]) -> Ranges:
        """Those UIDs of `ranges` that are here."""
        found: list[Range] = []
        for first, last in ranges:
            run = max(bisect_right(self._first, first) - 1, 0)
            while run < len(self._first) and self._first[run] <= last:
                low, high = max(first, self._first[run]), min(last, self._last(run))
                if low <= high:
                    found.append((low, high))
                run += 1
        return normalise(found)

    def count_from(self, uid: int) -> int:
        """How many UIDs are at or above `uid`."""
        run = bisect_right(self._first, uid) - 1
        if run < 0:
            return len(self)
        return len(self) - self._before[run] - min(uid - self._first[run], self._before[run + 1] - self._before[run])

    def without(self, ranges: Ranges) -> UidMap:
        return UidMap(subtract(self.ranges, ranges))

    def extended(self, uids: Sequence[int]) -> UidMap:
        """With `uids`, ascending and above the largest."""
        grown = UidMap(())
        grown._first, grown._before = self._first[:], self._before[:]
        for uid in uids:
            if grown._first and uid == grown.largest + 1:
                grown._before[-1] += 1
            else:
                grown._first.append(uid)
                grown._before.append(grown._before[-1] + 1)
        return grown


class SharedMaps:
    """The maps that some session holds, by account, mailbox and modseq."""

    def __init__(self) -> None:
        self._maps: WeakValueDictionary[tuple[int, int, int], UidMap] = WeakValueDictionary()

    def find(self, account_id: int, mailbox_id: int, modseq: int) -> UidMap | None:
        return self._maps.get((account_id, mailbox_id, modseq))

    def share(self, account_id: int, mailbox_id: int, modseq: int, uid_map: UidMap) -> UidMap:
        """The map to use for this state: another session's, if there is one."""
        return self._maps.setdefault((account_id, mailbox_id, modseq), uid_map)


@dataclass(slots=True)
class SelectedView:
    """What this session has told its client. `recent_from`: UIDs at or above it are \\Recent to this session."""

    account_id: int
    mailbox_id: int
    name: str
    read_only: bool
    uids: UidMap
    modseq: int
    uid_next: int
    recent_from: int
    names: FlagNames
    claimed: int  # UIDs below it are claimed as \Recent in the store
    heard: int = 0  # the modseq of the last hint that has not been settled
    vanished: Ranges = ()  # expunged by others, not yet said; still in `uids`
    noticed: int = 0  # messages with UIDs below it were told where every client looks: SELECT, NOOP, CHECK, IDLE
    guest: Guest | None = None  # in a mailbox of somebody else
    results: Results | None = None  # of searches, where the client wants some to be kept

    @property
    def stale(self) -> bool:
        """Whether a hint tells of something later than what is known here."""
        return self.heard > self.modseq

    def may(self, rights: str) -> bool:
        """Whether this session has all these rights in the mailbox."""
        return self.guest is None or set(rights) <= set(self.guest.rights)

    @property
    def marks_seen(self) -> bool:
        r"""Whether what is read becomes \Seen."""
        return not self.read_only and self.may("s")

    @property
    def changeable(self) -> tuple[int, int]:
        """System flags and keywords that this session may change (RFC 4314 §4)."""
        return flag_masks(ALL if self.guest is None else self.guest.rights)

    def resolve(self, numbers: Ranges) -> Ranges:
        """UIDs of a resolved set of sequence numbers, without those that are known to be gone."""
        return subtract(self.uids.uids(numbers), self.vanished)

    def resolve_uids(self, uids: Ranges) -> Ranges:
        return subtract(self.uids.within(uids), self.vanished)

    @property
    def saved(self) -> Ranges:
        """What `$` means: UIDs (RFC 5182 §2.1)."""
        return self.results.saved if self.results is not None else ()

    def apply(
        self, news: MailboxChanges, maps: SharedMaps, *, expunges: bool, with_uid: bool,
        enabled: Enabled = NOTHING, own: frozenset[int] = frozenset(),
    ) -> Iterator[bytes]:  # fmt: skip
        """Takes over `news` and yields what the client must be told, in the form that it has `enabled`.

        `expunges`: whether the present command allows EXPUNGE. `own`: UIDs whose flag change at modseq `news.modseq` this
        session made itself and has answered already.
        """
        if news.vanished:
            self.vanished = union(self.vanished, self.uids.within(news.vanished))
        if expunges and self.vanished:
            if enabled.vanished:
                yield responses.vanished(self.vanished)
            else:
                numbers = [number for first, last in self._numbers(self.vanished) for number in range(first, last + 1)]
                yield responses.expunges(reversed(numbers))
            self.uids = self.uids.without(self.vanished)
            self.vanished = ()
        arrived = [one.uid for one in news.arrived if one.uid >= self.uid_next and one.uid > self.uids.largest]
        if arrived:
            self.uids = self.uids.extended(arrived)
            yield responses.exists(len(self.uids))
            if not enabled.rev2:
                yield responses.recent(self.recent)
        if not self.vanished:
            self.uids = maps.share(self.account_id, self.mailbox_id, news.modseq, self.uids)
        for change in news.flags:
            number = self.uids.number(change.uid)
            if number and not (change.uid in own and change.modseq == news.modseq):
                yield self.flags_line(number, change, with_uid=with_uid, enabled=enabled)
        self.modseq = news.modseq
        self.uid_next = max(self.uid_next, news.uid_next)

    def _numbers(self, uids: Ranges) -> Ranges:
        return normalise([(self.uids.number(low), self.uids.number(high)) for low, high in intersect(uids, self.uids.ranges)])

    def flags_line(self, number: int, change: FlagChange, *, with_uid: bool, enabled: Enabled = NOTHING, silent: bool = False) -> bytes:
        """The FETCH response that tells a message's flags and modseq, or with `silent` only the latter (RFC 7162 §3.1.3)."""
        items = b"" if silent else b"FLAGS " + self.names.line(change.flags, change.keywords, recent=change.uid >= self.recent_from)
        if enabled.condstore:  # from then on in every FETCH response that tells a change (RFC 7162 §3.1)
            items += b"%bMODSEQ (%d)" % (b" " if items else b"", change.modseq)
        if enabled.uid_only:
            return b"* %d UIDFETCH (%b)\r\n" % (change.uid, items)
        if with_uid or enabled.qresync:  # RFC 7162 §3.2.4
            items = b"UID %d %b" % (change.uid, items)
        return b"* %d FETCH (%b)\r\n" % (number, items)

    @property
    def recent(self) -> int:
        return self.uids.count_from(self.recent_from)
