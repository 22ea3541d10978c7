"""Book-keeping of a bulk act: which rows were made under which id, which were left out and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from directory.model import BulkResult, Progress, RowFailure
from govmail.errors import MailError

T = TypeVar("T")


class Bulk:
    """`accept` a batch of rows, do it, `settle` it with one outcome per accepted row; batch after batch."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._ids: list[str] = []
        self._failures: list[RowFailure] = []
        self._open: list[int] = []  # indices of accepted rows

    def accept(self, rows: Sequence[T], check: Callable[[T], T]) -> list[T]:
        """Those of the rows that hold, in the form `check` gives them; the others are noted as failures."""
        accepted: list[T] = []
        for row in rows:
            try:
                accepted.append(check(row))
                self._open.append(len(self._ids))
            except MailError as error:
                self._failures.append(RowFailure(len(self._ids), error.public))
            self._ids.append("")
        return accepted

    def settle(self, outcome: Sequence[tuple[str, str]]) -> None:
        """Per accepted row its id, or "" and the reason."""
        for index, (made, reason) in zip(self._open, outcome, strict=True):
            self._ids[index] = made
            if not made:
                self._failures.append(RowFailure(index, reason))
        self._open.clear()
        if self._progress:
            self._progress(len(self._ids), None)

    def result(self) -> BulkResult:
        return BulkResult(tuple(self._ids), tuple(sorted(self._failures, key=lambda failure: failure.row)))
