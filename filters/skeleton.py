"""An example to copy: a filter that refuses mail whose first line names a program we do not take mail from.

To add a filter
1. copy this file, say to `filters/ours.py`, and let `check` ask your engine;
2. add its kind to `govmail.config.FilterTable.kind` with the settings that it needs, each with a description;
3. construct it in `filters.chain.build`: in `filters`, or in `antivirus` when its verdict decides what is clean – then it
   has `identity()` too, see `filters.chain.Antivirus`;
4. test it against the real engine in `tests/integration/test_filters.py`: a hit, a miss, a dead and a hung engine.

Invariants, of every filter
- It answers with a value and never acts: no mail is changed, moved, stored or sent by it.
- It does not raise. What it could not look at, or not whole, is `Scan.UNSCANNED` with the reason in `private`.
- It never blocks the event loop: file and socket calls in a thread, no piece over `CHUNK_OCTETS` decoded at once.
- Each wait has a time-out. The chain has a deadline of its own, but a filter gives its resources back by itself.
- What comes from the mail or the engine is hostile: `filters.headers.plain` and `word` before it goes into a header.
  `public` may reach the sender, so it says nothing about how to get past the filter; `private` goes to logs and operators.
"""

from __future__ import annotations

import asyncio
import time

from govmail.interfaces import Action, Scan, ScanRequest, Verdict

FIRST_LINE_OCTETS = 998  # RFC 5322 §2.1.1


class Skeleton:
    """Refuses mail whose first header line is `X-Mailer: <program>`. `name` appears in verdicts, headers and logs."""

    def __init__(self, name: str, program: str) -> None:
        self.name = name
        self._forbidden = f"x-mailer: {program}".casefold().encode()

    async def check(self, request: ScanRequest) -> Verdict:
        """REJECT or ACCEPT; UNSCANNED when the spool file cannot be read."""
        started = time.monotonic()
        try:
            # A large message lies in a file, and reading one blocks.
            beginning = await asyncio.to_thread(request.message.read, 0, FIRST_LINE_OCTETS)
        except OSError as error:
            return Verdict(self.name, Action.DEFER, Scan.UNSCANNED, private=str(error), elapsed=time.monotonic() - started)
        first_line = beginning.partition(b"\r\n")[0]
        if first_line.lower().startswith(self._forbidden):
            return Verdict(
                self.name,
                Action.REJECT,
                public="message refused by policy",
                private="forbidden mail program",
                elapsed=time.monotonic() - started,
            )
        return Verdict(self.name, Action.ACCEPT, elapsed=time.monotonic() - started)

    async def close(self) -> None:
        """Let go of connections and threads; there are none here."""
