"""What operator acts work with: the parts of the running server, who acts, and the record of it.

Invariants: an act that changes something leaves an audit entry, also when it is refused or fails; a dry run leaves
none, because it does nothing. `require` is the only place that says who may do what.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from admin.engines import EngineState
from admin.texts import say
from directory.model import DirectoryService
from directory.passwords import PasswordPool
from filters.quarantine import Quarantine
from govmail.config import Config, Listener
from govmail.errors import (
    BadInput,
    Conflict,
    LimitReached,
    MailError,
    NotFound,
    NotPermitted,
    Refused,
    SyntaxProblem,
)
from govmail.interfaces import Clock, Kick
from govmail.mail.address import Address
from govmail.store import audit
from govmail.store.database import Database

DONE, FAILED, BAD_INPUT, REFUSED, UNREACHABLE = range(5)
"""Exit codes of every command."""


class Cache(Protocol):
    """What remembers the directory's answers, as far as operators change them."""

    def invalidate(self) -> None:
        """Every answer is asked for again."""

    def invalidate_address(self, address: Address) -> None:
        """Only the answer about this address is."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the system user at the other end of the control socket (SO_PEERCRED), or of this process."""

    name: str
    uid: int
    source: str  # "control", "cli"

    @classmethod
    def of_uid(cls, uid: int, source: str) -> Actor:
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid{uid}"
        return cls(name, uid, source)


@dataclass(slots=True)
class Note:
    """What the audit entry of an act will say; the act fills it while it goes on. Never passwords."""

    target: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a server that acts need; `govmail.control.context_of` makes it of the whole."""

    config: Config
    data_dir: Path
    database: Database
    directory: DirectoryService
    cache: Cache
    hasher: PasswordPool
    quarantine: Quarantine
    kick: Kick
    clock: Clock
    wake_queue: Callable[[], None] = lambda: None
    unlock: Callable[[str], int] = lambda _account: 0  # forgets wrong passwords; returns how many counts there were
    engines: Callable[[], Sequence[EngineState]] = tuple  # the children of `govmail up`
    ports: Mapping[str, int] = field(default_factory=dict)  # of listeners that took any free one, by name

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        return int(self.clock().timestamp())

    def port_of(self, listener: Listener) -> int:
        return self.ports.get(listener.name, listener.port)

    @asynccontextmanager
    async def recorded(self, actor: Actor, act: str, target: str, *, dry_run: bool = False) -> AsyncIterator[Note]:
        """The body is the act; how it ends is written to the audit trail before the caller learns of it."""
        note = Note(target)
        try:
            yield note
        except BaseException as error:
            if not dry_run:
                await self._write(actor, act, note, result_of(error), {**note.detail, "error": describe(error)})
            raise
        if not dry_run:
            await self._write(actor, act, note, "done", note.detail)

    async def admit(self, actor: Actor, act: str, target: str, unit_id: str | None, *, dry_run: bool = False) -> None:
        """`require` for acts that record their changes piece by piece: a refusal of the whole is recorded here."""
        try:
            require(actor, act, unit_id)
        except NotPermitted:
            async with self.recorded(actor, act, target, dry_run=dry_run):
                raise

    async def _write(self, actor: Actor, act: str, note: Note, result: str, detail: dict[str, Any]) -> None:
        at = int(self.clock().timestamp() * 1_000_000)
        await self.database.write(
            audit.append, at=at, actor=actor.name, source=actor.source, act=act, target=note.target, result=result, detail=detail,
        )


def require(actor: Actor, right: str, unit_id: str | None) -> None:
    """Raises NotPermitted unless `actor` has `right` on the unit (None: on the whole system).

    So far the machine's own operators have every right everywhere: root, and the user that the server runs as.
    """
    if actor.uid not in (0, os.geteuid()):
        raise NotPermitted(say("not_operator", uid=actor.uid), private=f"{right} on {unit_id or 'the system'}")


def exit_code(error: BaseException) -> int:
    """What the command line ends with when this was raised."""
    match error:
        case BadInput() | NotFound() | SyntaxProblem():
            return BAD_INPUT
        case NotPermitted() | Conflict() | LimitReached() | Refused():
            return REFUSED
        case _:
            return FAILED


def result_of(error: BaseException) -> str:
    return "failed" if exit_code(error) == FAILED else "refused"


def describe(error: BaseException) -> str:
    """The error for the audit trail: its kind and what the operator was told, in whatever language that was."""
    return f"{type(error).__name__}: {error.public}" if isinstance(error, MailError) else type(error).__name__
