"""LIST's patterns: `*` stands for anything, `%` for anything within one level.

Invariants: matching costs the length of the name, whatever the pattern is; no pattern makes it backtrack.

RFC 3501 §6.3.8, RFC 5258 §3.
"""

from __future__ import annotations

from govmail.errors import SyntaxProblem

WILDCARDS = 50  # in one pattern
CHARACTERS = 1000


class Pattern:
    """A reference and a pattern together. INBOX is matched in any case."""

    __slots__ = ("_any", "_final", "_level", "_on", "_start", "_text")

    def __init__(self, reference: str, pattern: str) -> None:
        """Raises SyntaxProblem when it is absurd."""
        whole = reference + pattern
        if len(whole) > CHARACTERS:
            raise SyntaxProblem("mailbox pattern too long")
        head, separator, rest = whole.partition("/")
        self._text = text = "INBOX" + separator + rest if head.upper() == "INBOX" else whole
        if sum(text.count(sign) for sign in "*%") > WILDCARDS:
            raise SyntaxProblem("too many wildcards")
        # A set of positions is one integer: bit i means that text[:i] has been matched.
        self._on: dict[str, int] = {}
        self._any = self._level = 0
        for index, char in enumerate(text):
            if char == "*":
                self._any |= 1 << index
            elif char == "%":
                self._level |= 1 << index
            else:
                self._on[char] = self._on.get(char, 0) | 1 << index
        self._final = 1 << len(text)
        self._start = self._skip(1)

    def _skip(self, states: int) -> int:
        """With what is reached by letting a wildcard stand for nothing."""
        while True:
            more = states | (states & (self._any | self._level)) << 1
            if more == states:
                return states
            states = more

    def matches(self, name: str) -> bool:
        if self._text == "*":
            return True
        states = self._start
        for char in name:
            stay = states & (self._any if char == "/" else self._any | self._level)
            states = self._skip(stay | (states & self._on.get(char, 0)) << 1)
            if not states:
                return False
        return bool(states & self._final)
