r"""What an IMAP client may believe from responses alone, and the rules that every response has to keep.

RFC 3501 §2.3.1 (UIDs ascend, and mean one message for ever), §7.3.1 (EXISTS never shrinks), §7.4.1 (no EXPUNGE while
sequence numbers are in use), §2.3.2 (\Recent to no later session), §6.4.8 (UID in every FETCH of a UID command).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

_NUMBERED = re.compile(rb"\* ([0-9]+) (EXISTS|RECENT|EXPUNGE|FETCH)\b")
_CODE = re.compile(rb"\* OK \[(UIDNEXT|UIDVALIDITY) ([0-9]+)\]")
_UID = re.compile(rb"[( ]UID ([0-9]+)")
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)")
_FIRST_LITERAL = re.compile(rb"\{[0-9]+\}\r\n")
_NUMBERS_IN_USE = (b"FETCH", b"STORE", b"SEARCH")


@dataclass
class Seen:
    """A message as this client knows it; 0 and None: not told yet."""

    uid: int = 0
    flags: frozenset[bytes] | None = None


@dataclass
class History:
    r"""What all clients were told: which message (of which mailbox) was \Recent, who heard so first, and when (it counts)."""

    recent: dict[tuple[Hashable, int], tuple[object, int]] = field(default_factory=dict)
    now: int = 0


class BrokenRule(AssertionError):
    """A response that no server may send here."""


class ClientView:
    """One selected mailbox of one session. `hear` each response while `command` runs; raises BrokenRule.

    `place`: what the clients that share a `history` call this mailbox, to be known before the first FETCH.
    """

    def __init__(self, history: History | None = None, place: Hashable = None, *, read_only: bool = False) -> None:
        self.place = place
        self.messages: list[Seen] = []
        self.history = history
        self._since = history.now if history else 0
        self.read_only = read_only
        self.uidvalidity = 0
        self.uidnext = 0  # as SELECT told it
        self.recent = 0

    def hear(self, response: bytes, command: bytes) -> None:
        """An untagged response that came before the tagged one of `command` (in capitals, "UID FETCH" and so on)."""
        if code := _CODE.match(response):
            setattr(self, code[1].decode().lower(), int(code[2]))
        if not (found := _NUMBERED.match(response)):
            return
        number, kind = int(found[1]), found[2]
        if kind == b"EXISTS":
            self._require(number >= len(self.messages), response, "EXISTS shrinks")
            self.messages.extend(Seen() for _ in range(number - len(self.messages)))
        elif kind == b"RECENT":
            self._require(number <= len(self.messages), response, "more RECENT than EXISTS")
            self.recent = number
        elif kind == b"EXPUNGE":
            self._require(command not in _NUMBERS_IN_USE, response, f"EXPUNGE while {command.decode()} uses numbers")
            self._require(1 <= number <= len(self.messages), response, "EXPUNGE of what is not there")
            del self.messages[number - 1]
        else:
            self._fetch(number, response, command)

    def _fetch(self, number: int, response: bytes, command: bytes) -> None:
        self._require(1 <= number <= len(self.messages), response, "FETCH of what is not there")
        items = _FIRST_LITERAL.split(response, maxsplit=1)[0]
        known = self.messages[number - 1]
        if told := _UID.search(items):
            uid = int(told[1])
            self._require(known.uid in (0, uid), response, f"number {number} was UID {known.uid}")
            self._require(all(one.uid < uid for one in self.messages[: number - 1]), response, "UIDs do not ascend")
            self._require(all(one.uid == 0 or one.uid > uid for one in self.messages[number:]), response, "UIDs do not ascend")
            known.uid = uid
        else:
            self._require(not command.startswith(b"UID "), response, "no UID in the answer to a UID command")
        if flags := _FLAGS.search(items):
            known.flags = frozenset(flags[1].split())
            if b"\\Recent" in known.flags and self.history is not None and self.place is not None and not self.read_only and known.uid:
                # Those that have the mailbox selected at the same time may all hear so: "it is undefined which of these" do.
                self.history.now += 1
                owner, told = self.history.recent.setdefault((self.place, known.uid), (self, self.history.now))
                self._require(owner is self or told > self._since, response, "\\Recent to a later session")

    def _require(self, holds: bool, response: bytes, rule: str) -> None:
        if not holds:
            raise BrokenRule(f"{rule}: {response[:200]!r}; known: {[one.uid for one in self.messages]}")

    def forget_recent(self) -> None:
        r"""The session ended without anybody knowing what it had heard; all that may be \Recent again."""
        if self.history is not None:
            for key in [key for key, (owner, _) in self.history.recent.items() if owner is self]:
                del self.history.recent[key]

    @property
    def unknown(self) -> tuple[int, int] | None:
        """The first and last number whose UID or flags were not told yet."""
        numbers = [number for number, one in enumerate(self.messages, 1) if not one.uid or one.flags is None]
        return (numbers[0], numbers[-1]) if numbers else None

    @property
    def uids(self) -> list[int]:
        return [one.uid for one in self.messages]
