"""A message while it arrives: in memory, then in a spool file, with its size cap and its share of the budget.

Invariants: what was taken from the budget is given back by `discard` or by the owner of the finished message, once;
after a fault the octets are counted no more and nothing is kept; files are written in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from govmail.config import Limits
from govmail.delivery.budget import Budget
from govmail.errors import Busy, MailError, MessageTooBig
from govmail.mail.message import Message

SPOOL_OCTETS = 1024 * 1024  # written at once


class Intake:
    """Collects octets: `add` them, `await flush()` when it says so, `await finish()` at the end."""

    __slots__ = ("_budget", "_file", "_limits", "_new_path", "_path", "_pending", "_pieces", "fault", "size")

    def __init__(self, limits: Limits, budget: Budget, new_path: Callable[[], Path]) -> None:
        """`new_path` names the spool file if there has to be one."""
        self.size = 0
        self.fault: MailError | None = None
        self._limits = limits
        self._budget = budget
        self._new_path = new_path
        self._path: Path | None = None
        self._pieces: list[bytes] = []
        self._pending = 0  # octets in `_pieces`
        self._file: BinaryIO | None = None

    def add(self, octets: bytes) -> bool:
        """Take octets; True when `flush` is due."""
        if self.fault is not None or not octets:
            return False
        if self.size + len(octets) > self._limits.message_octets:
            self.refuse(MessageTooBig())
        elif not self._budget.take(len(octets)):
            self.refuse(Busy())
        else:
            self.size += len(octets)
            self._pending += len(octets)
            self._pieces.append(octets)
        return self._pending >= (SPOOL_OCTETS if self._file else self._limits.memory_octets)

    def refuse(self, fault: MailError) -> None:
        """Remember why the message cannot be accepted, and keep nothing of it. The first reason counts."""
        if self.fault is None:
            self.fault = fault
            self._pieces.clear()
            self._pending = 0
            self._budget.give(self.size)
            self.size = 0

    async def flush(self) -> None:
        """Move what is in memory to the spool file."""
        pieces, self._pieces, self._pending = self._pieces, [], 0
        await asyncio.to_thread(self._write, pieces)

    async def finish(self) -> Message:
        """The whole message. Its octets stay taken from the budget until `release`."""
        assert self.fault is None
        if self._file is not None:
            await asyncio.to_thread(self._write, self._pieces, True)
            return Message(self.size, None, self._path)
        data = b"".join(self._pieces)
        self._pieces.clear()
        return Message.of(data)

    async def release(self) -> None:
        """The message is done with, one way or the other: give back its share, remove its file."""
        self._pieces.clear()
        self._budget.give(self.size)
        self.size = 0
        if self._file is not None:
            await asyncio.to_thread(self._remove)

    def _write(self, pieces: list[bytes], last: bool = False) -> None:
        if self._file is None:
            self._path = self._new_path()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
        self._file.writelines(pieces)
        if last:
            self._file.close()

    def _remove(self) -> None:
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
