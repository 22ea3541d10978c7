"""One IMAP connection: octets in, one command at a time, answers out.

Invariants
- While nothing happens there is neither task nor timer of its own: octets or a hint start a task, which ends when
  nothing is left to do.
- Commands are executed in order, each to its end; EXPUNGE is said only where the command's row allows it.
- Output is bounded by Limits.imap_output_octets and one batch: whoever produces it waits for the client to read.
- What is read ahead of a running command is bounded: reading pauses.

RFC 3501 §3 (states), §5.3-5.5; RFC 2177 (IDLE); RFC 7888 §4 (refused literals).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import structlog

from govmail.errors import MailError, NoSuchMailbox, SyntaxProblem
from govmail.imap import access, capabilities, status, updates, verbs
from govmail.imap.state import Disconnected, Result, State, Verb
from govmail.imap.verbs import append
from govmail.imap.verbs.fetch import push
from govmail.imap.view import SelectedView
from govmail.interfaces import Hint, Principal
from govmail.store import changes, mailboxes
from govmail.store.values import Account, MailboxChanges
from govmail.wire.imap import responses
from govmail.wire.imap.enabled import NOTHING
from govmail.wire.imap.framer import Command, Continue, Fatal, Framer, MessageLiteral, Piece, TooBig, tag_of
from govmail.wire.imap.parser import parse_start
from govmail.wire.imap.tokens import Tokens, UidRequired

if TYPE_CHECKING:
    from govmail.imap.server import ImapServer, Port
    from govmail.imap.watch import Watch

log = structlog.get_logger()

CLOSE_SECONDS = 30  # after BYE
READ_AHEAD = 64 * 1024  # octets kept while a command runs, before reading pauses
STRANGER_OCTETS = 64 * 1024  # who has sent more ahead before login is thrown out
FLUSH_OCTETS = 64 * 1024  # output is handed to the transport in pieces of about this size


class Idling:
    """Events of a connection that waits in IDLE."""

    __slots__ = ()


class Done(Idling):
    """DONE, or another line, which ends IDLE as well."""

    __slots__ = ("line",)
    __match_args__ = ("line",)

    def __init__(self, line: bytes) -> None:
        self.line = line


class News(Idling):
    """A hint has come."""

    __slots__ = ()


NEWS = News()

Event = Command | Continue | MessageLiteral | Piece | TooBig | Fatal | Idling


class Session(asyncio.Protocol):
    """One connection. Verbs use what has no underscore."""

    __slots__ = (
        "_errors", "_heard", "_held", "_idle_tag", "_input", "_open", "_out", "_out_size", "_paused", "_resume", "_task",
        "account_id", "active", "due", "enabled", "failures", "framer", "peer", "port", "principal", "server", "tls", "transport", "unsubscribe",
        "view", "watch", "without",
    )  # fmt: skip

    def __init__(self, server: ImapServer, port: Port) -> None:
        self.server = server
        self.port = port
        self.framer = Framer(server.limits)
        self.tls = port.implicit_tls
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)  # set by connection_made, before all else
        self.peer = ""
        self.principal: Principal | None = None
        self.account_id = 0
        self.view: SelectedView | None = None
        self.enabled = NOTHING
        self.without = port.without  # capabilities that this client is not offered
        self.watch: Watch | None = None  # after NOTIFY
        self.unsubscribe: Callable[[], None] | None = None
        self._heard = 0  # latest modseq of a hint that came while nothing was selected
        self.failures = 0
        self.active = 0  # second of the last sign of life
        self.due = 0  # the wheel's
        self._errors = 0
        self._idle_tag = b""
        self._task: asyncio.Task[None] | None = None
        self._input: asyncio.Future[None] | None = None  # a command waits for octets
        self._resume: asyncio.Future[None] | None = None  # a command waits for the client to read
        self._paused = False
        self._held = False  # reading is paused
        self._open = False
        self._out: list[bytes] | None = None
        self._out_size = 0

    # -- what the transport calls ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.use_transport(cast("asyncio.Transport", transport))
        address = transport.get_extra_info("peername")
        self.peer = self.server.intern(address[0] if address else "")
        self._open = True
        self.active = self.server.wheel.now
        if not self.server.admit(self):
            self.close(status.BYE_TOO_MANY, b"UNAVAILABLE")
            return
        self._wake_within(self.server.limits.imap_login_seconds)
        self.transport.write(self.server.greeting(self))

    def use_transport(self, transport: asyncio.Transport) -> None:
        """Speak through this one from now on (after STARTTLS: the encrypted one)."""
        self.transport = transport
        transport.set_write_buffer_limits(high=self.server.limits.imap_output_octets)

    def data_received(self, data: bytes) -> None:
        if self.principal is not None:
            self.active = self.server.wheel.now
        self.framer.feed(data)
        if self._task is None:
            event = self._next()
            if event is not None:
                self._start(event)
            else:
                self._time_again()
        elif self._input is not None:
            if not self._input.done():
                self._input.set_result(None)
        elif self.principal is None and self.framer.buffered > STRANGER_OCTETS:
            self.framer.discard()  # one read of a socket may be large, and there may be many strangers
            self.close("too much before login")
        elif self.framer.buffered > (READ_AHEAD if self.principal is not None else self.server.limits.imap_login_octets) and not self._held:
            self._held = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._held:
            self._held = False
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        return False  # the transport closes; a client that half-closes has said all it wants

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self.server.wheel.drop(self)
        self.server.leave(self)
        if self.unsubscribe is not None:
            self.unsubscribe()
            self.unsubscribe = None
        if self.view is not None and self.view.guest is not None:
            self.view.guest.leave()
        self.view = None
        for future in (self._input, self._resume):
            if future is not None and not future.done():
                future.set_exception(Disconnected())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.active = self.server.wheel.now
        if self._resume is not None and not self._resume.done():
            self._resume.set_result(None)

    # -- time -----------------------------------------------------------------------------------------------------

    def on_time(self, now: int) -> int | None:
        """What the wheel calls: inactivity, stalls, login time, IDLE's sign of life."""
        if not self._open:
            self.transport.abort()  # BYE was said, and the client does not even read that
            return None
        limits = self.server.limits
        keepalive = now + int(limits.imap_keepalive_seconds)
        if self.principal is None:
            return self._expire(now, limits.imap_login_seconds, status.BYE_LOGIN)
        if self._paused or self._input is not None or not (self._task or self._idle_tag or self.framer.idle):
            return self._expire(now, limits.imap_stall_seconds, status.BYE_STALLED)
        if self._task is not None:
            return self._say_in_progress(now) or keepalive
        if self._idle_tag:
            # A client must end IDLE every 29 minutes (RFC 2177); what breaks without notice, TCP finds out by this line.
            self.transport.write(b"* OK still here\r\n")
            return keepalive
        return self._expire(now, limits.imap_idle_seconds, status.BYE_IDLE)

    def _say_in_progress(self, now: int) -> int:
        """Tell a client that waits for a slow command that it goes on (RFC 9585 §4); when to say so again, 0 for never."""
        tag, since = self.server.working.get(self, (b"", 0))
        if not tag or "INPROGRESS" in self.without:
            return 0
        pause = int(self.server.limits.imap_progress_seconds)
        if now < since + pause:  # some other time has come, of a command before
            return since + pause
        self.transport.write(responses.untagged(b"OK", "still working", responses.in_progress(tag)))
        return now + pause

    def _expire(self, now: int, seconds: float, text: str) -> int | None:
        end = self.active + int(seconds)
        if now < end:
            return end
        if self._paused:
            self.transport.abort()  # it would not read the BYE either
            return None
        self.close(text)
        return now + CLOSE_SECONDS

    def _wake_within(self, seconds: float) -> None:
        """Have the wheel look at us no later than this."""
        latest = self.server.wheel.now + int(seconds)
        if not self.due or self.due > latest:
            self.server.wheel.put(self, latest)

    def _time_again(self) -> None:
        limits = self.server.limits
        if self.principal is None:
            return  # the time to log in runs from the start
        if not self.framer.idle:
            self._wake_within(limits.imap_stall_seconds)
        elif self._idle_tag:
            self._wake_within(limits.imap_keepalive_seconds)
        elif not self.due:
            self._wake_within(limits.imap_idle_seconds)

    def wake(self, hint: Hint) -> None:
        """What the bus calls for each hint about the account, and about that of the selected mailbox."""
        view = self.view
        if view is None:
            self._heard = max(self._heard, hint.modseq)
        elif hint.account_id == view.account_id and hint.modseq > view.modseq and (not hint.mailbox_ids or view.mailbox_id in hint.mailbox_ids):
            view.heard = max(view.heard, hint.modseq)
        if self.watch is not None and hint.account_id == self.account_id:
            self.watch.hear(hint)
        if self._task is None and self._has_news:
            self._start(NEWS)

    @property
    def _has_news(self) -> bool:
        """Whether something must be said though no command runs: in IDLE, or after NOTIFY."""
        view, watch = self.view, self.watch
        if watch is None:
            return bool(self._idle_tag) and view is not None and view.stale
        if watch.waiting:
            return True
        return view is not None and watch.tells_selected and (view.stale or (watch.at_once and bool(view.vanished)))

    # -- the loop -------------------------------------------------------------------------------------------------

    def _start(self, event: Event) -> None:
        self._task = self.server.spawn(self._work(event))

    def _next(self) -> Event | None:
        if not self._open:
            return None
        if self._idle_tag:
            try:
                line = self.framer.next_line(self.server.limits.imap_line_octets)
            except SyntaxProblem:
                return Fatal("line too long")
            if line is not None:
                return Done(line)
            return NEWS if self._has_news else None
        event = self.framer.next_event()
        return NEWS if event is None and self.watch is not None and self._has_news else event

    async def _work(self, first: Event) -> None:
        event: Event | None = first
        try:
            while event is not None:
                await self._handle(event)
                event = self._next()
                if event is None:
                    await self.flush()
                    event = self._next()
        except Disconnected:
            pass
        except Exception as error:
            status.unexpected(error, "session")
            self.close(status.BYE_INTERNAL)
        finally:
            self._task = None
            self._out = None
            if self._open:
                self._read_on()
                self._time_again()

    async def _handle(self, event: Event) -> None:
        match event:
            case Command(octets):
                await self._execute(octets)
            case Continue():
                self.write(b"+ go on\r\n")
                await self.flush()
            case TooBig(tag):
                self.write(responses.tagged(tag, b"NO", "literal too big", b"TOOBIG"))
            case MessageLiteral(head):
                tag = tag_of(head)
                await self._run(tag, "APPEND", self._append(event, tag))
            case News():
                await self._announce()
            case Done(line):
                await self._end_idle(line)
            case Fatal(reason):
                self.close(reason)
            case _:
                raise AssertionError(event)

    # -- one command ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        if self.principal is None:
            return State.FRESH
        return State.AUTHENTICATED if self.view is None else State.SELECTED

    def tokens(self, octets: bytes) -> Tokens:
        limits = self.server.limits
        return Tokens(
            octets, depth_limit=limits.imap_depth, set_limit=limits.imap_set_ranges, key_limit=limits.imap_search_keys, enabled=self.enabled
        )

    async def _execute(self, octets: bytes) -> None:
        tokens = self.tokens(octets)
        try:
            tag, name = parse_start(tokens)
        except SyntaxProblem as error:
            self.bad(b"*", error.public)
            return
        verb = verbs.VERBS.get(name)
        if verb is None or verb.capability in self.without:
            self.bad(tag, "unknown command")
            return
        if not verb.states & self.state:
            self.bad(tag, "command not possible in this state")
            return
        if self.enabled.uid_only and name in verbs.NUMBERED:
            self.bad(tag, UidRequired.text, b"UIDREQUIRED")
            return
        if self.principal is None:
            self._errors += 1  # every command of a stranger counts: it costs log lines, and nobody needs many before login
            if self._errors >= self.server.limits.imap_errors:
                self.close(status.BYE_ERRORS)
                return
        await self._run(tag, name, self._call(verb, tag, tokens))

    async def _call(self, verb: Verb, tag: bytes, tokens: Tokens) -> None:
        command = verb.parser(tokens)
        if verb.states == State.SELECTED and self.view is not None and self.view.guest is not None:
            await access.recheck(self, verb.needs)
        if not verb.slow:
            await self._answer(verb, tag, await verb.handler(self, command, tag))
            return
        self.server.working[self] = tag, self.server.wheel.now
        self._wake_within(self.server.limits.imap_progress_seconds)
        try:
            result = await verb.handler(self, command, tag)
        finally:
            del self.server.working[self]
        await self._answer(verb, tag, result)

    async def _append(self, event: MessageLiteral, tag: bytes) -> None:
        name, result = await append.take(self, event)
        await self._answer(verbs.VERBS[name], tag, result)

    async def _answer(self, verb: Verb, tag: bytes, result: Result | None) -> None:
        if result is None:
            return  # the verb has answered, or will
        view = self.view
        if view is not None and (view.stale or verb.asks) and (self.watch is None or self.watch.tells_selected):
            await self.look(expunges=not verb.uses_numbers, with_uid=verb.by_uid)
            if verb.asks:
                view.noticed = view.uid_next
        if self.watch is not None:
            await self.watch.tell(self)
        self.write(responses.tagged(tag, result.condition, result.text or f"{verb.name} completed", result.code))

    async def _run(self, tag: bytes, name: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Disconnected:
            raise
        except MailError as error:
            self._refuse(tag, status.refusal(error))
        except Exception as error:
            self._refuse(tag, status.unexpected(error, name))

    def _refuse(self, tag: bytes, refusal: status.Refusal) -> None:
        if refusal.condition == b"BAD":
            self.bad(tag, refusal.text, refusal.code)
        else:
            self.write(responses.tagged(tag, refusal.condition, refusal.text, refusal.code))

    def bad(self, tag: bytes, text: str, code: bytes = b"") -> None:
        """Answer BAD; too many of them end the connection."""
        self._errors += 1
        self.write(responses.tagged(tag, b"BAD", text, code))
        if self._errors >= self.server.limits.imap_errors:
            self.close(status.BYE_ERRORS)

    # -- input for verbs ------------------------------------------------------------------------------------------

    async def _more(self) -> None:
        """Wait until the client has sent something."""
        await self.flush()
        self._read_on()
        self._input = asyncio.get_running_loop().create_future()
        if self.principal is not None:
            self._wake_within(self.server.limits.imap_stall_seconds)
        try:
            await self._input
        finally:
            self._input = None

    async def line(self, limit: int) -> bytes:
        """The next line outside of a command (a SASL response). Raises SyntaxProblem, Disconnected."""
        while (line := self.framer.next_line(limit)) is None:
            await self._more()
        return line

    async def event(self) -> Event:
        """The next event of the framer, while a message literal is on its way. Raises Disconnected."""
        while (event := self.framer.next_event()) is None:
            await self._more()
        if isinstance(event, Fatal):
            self.close(event.reason)
            raise Disconnected
        return event

    # -- output ---------------------------------------------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        """Queue whole lines."""
        if self._out is None:
            self._out = []
            self._out_size = 0
        self._out.append(octets)
        self._out_size += len(octets)

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Queue much, waiting for the client where it reads slowly. Raises Disconnected."""
        for piece in pieces:
            self.write(piece)
            if self._out_size >= FLUSH_OCTETS:
                await self.flush()

    async def flush(self) -> None:
        """Hand over what is queued; wait while the client does not read. Raises Disconnected."""
        if self._out:
            octets = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out = None
            self._out_size = 0
            if not self._open:
                raise Disconnected
            self.transport.write(octets)
        while self._paused:
            if not self._open:
                raise Disconnected
            self._wake_within(self.server.limits.imap_stall_seconds)
            self._resume = asyncio.get_running_loop().create_future()
            try:
                await self._resume
            finally:
                self._resume = None
        if not self._open:
            raise Disconnected

    def close(self, text: str = "", code: bytes = b"") -> None:
        """Say BYE and close. Idempotent."""
        if not self._open:
            return
        queued = b"".join(self._out or ())
        self._out = None
        self._open = False
        if text:
            queued += responses.untagged(b"BYE", text, code)
        self.transport.write(queued)
        self.transport.close()
        self.server.wheel.put(self, self.server.wheel.now + CLOSE_SECONDS)
        for future in (self._input, self._resume):
            if future is not None and not future.done():
                future.set_exception(Disconnected())

    @property
    def open(self) -> bool:
        return self._open

    # -- the selected mailbox -------------------------------------------------------------------------------------

    def enter(self, principal: Principal, account: Account) -> None:
        """From here on the connection is this person's."""
        account_id = account.account_id
        self.principal = principal
        self.account_id = account_id
        if account.without:
            self.without = capabilities.with_dependents(self.without | account.without)
        self.framer.authenticated = True
        self._errors = 0
        self.active = self.server.wheel.now
        self.unsubscribe = self.server.bus.subscribe(account_id, self.wake)

    async def forget_login(self) -> None:
        """The connection is nobody's again, as it was before any login; only TLS and the like stay (RFC 8437 §2)."""
        await self.leave_mailbox()
        if self.unsubscribe is not None:
            self.unsubscribe()
            self.unsubscribe = None
        self.server.disclaim(self)
        self.principal = None
        self.account_id = self._heard = 0
        self.enabled = NOTHING
        self.watch = None
        self.without = self.port.without
        self.failures = 0
        self.framer.authenticated = False
        self.active = self.server.wheel.now
        self._wake_within(self.server.limits.imap_login_seconds)

    @property
    def may_login(self) -> bool:
        """Whether a password may be sent: not in clear, unless the listener allows it."""
        return self.tls or self.port.allow_plain_login

    def set_view(self, view: SelectedView) -> None:
        view.heard = self._heard
        view.noticed = view.uid_next
        self.view = view

    async def leave_mailbox(self) -> None:
        r"""Nothing is selected any more. What came while it was has been \Recent to this session and to no later one."""
        view = self.view
        try:
            if view is not None and view.guest is not None:
                view.guest.leave()
            elif view is not None and not view.read_only and view.claimed < view.uid_next:
                with suppress(NoSuchMailbox):
                    await self.server.database.write(mailboxes.claim_recent, view.account_id, view.mailbox_id)
        finally:  # not before the claim: a session that selects meanwhile must see one or the other
            self.view, self._heard = None, 0

    async def look(self, *, expunges: bool, with_uid: bool) -> None:
        """Ask the store what has changed, and say it."""
        view = self.view
        assert view is not None
        heard = view.heard
        if view.guest is not None:
            await access.recheck(self)
        news = await self.server.database.read(changes.since, view.account_id, view.mailbox_id, view.modseq, view.uid_next)
        await self.tell(news, expunges=expunges, with_uid=with_uid)
        if view.heard == heard:
            view.heard = 0  # settled, even if the hint was not about this mailbox; a later one is still to be asked about

    async def tell(self, news: MailboxChanges, *, expunges: bool, with_uid: bool, own: frozenset[int] = frozenset()) -> None:
        """Say what has changed. A mailbox that is gone ends the connection (RFC 2180 §3.3)."""
        view = self.view
        if view is None:
            return
        if news.gone:
            self.close(status.BYE_DELETED)
            raise Disconnected
        if any(change.keywords & ~view.names.known for change in news.flags):
            await self.server.refresh_names(self)
        watch, uid_next = self.watch, view.uid_next
        kept = view.results is not None and bool(view.results.contexts)
        changed = [one.uid for one in (*news.flags, *news.arrived)] if kept else []
        if kept:
            self.write(updates.removed(view, news.vanished))  # while their numbers still hold
        if watch is not None and not watch.tells_flags:
            news = replace(news, flags=tuple(one for one in news.flags if one.uid in own))
        lines = view.apply(news, self.server.maps, expunges=expunges, with_uid=with_uid, enabled=self.enabled, own=own)
        await self.send(lines)
        if watch is not None and watch.selected is not None and watch.selected.items and view.uid_next > uid_next:
            await push(self, watch.selected.items, view.resolve_uids(((uid_next, view.uid_next - 1),)))
        if kept:
            await updates.tell(self, view, changed)

    # -- IDLE -----------------------------------------------------------------------------------------------------

    async def begin_idle(self, tag: bytes) -> None:
        """From here the connection waits for hints and for DONE."""
        self._idle_tag = tag
        view = self.view
        known, noticed = (view.uid_next, view.noticed) if view is not None else (0, 0)
        await self._announce()
        if view is not None and noticed < known == view.uid_next:
            # A quirk: Thunderbird overlooks the EXISTS in the answer to a STORE, and would wait for it here.
            self.write(responses.exists(len(view.uids)))
        self.write(b"+ idling\r\n")

    async def _announce(self) -> None:
        view, watch = self.view, self.watch
        if view is not None and (watch is None or watch.tells_selected):
            await self.look(expunges=bool(self._idle_tag) or (watch is not None and watch.at_once), with_uid=False)
            view.noticed = view.uid_next
        if watch is not None:
            await watch.tell(self)
        await self.flush()

    async def _end_idle(self, line: bytes) -> None:
        done = line.strip().upper() == b"DONE"
        if done and self._has_news:
            await self._announce()
        tag, self._idle_tag = self._idle_tag, b""
        if not done:
            self.bad(tag, "expected DONE")
            return
        self.write(responses.tagged(tag, b"OK", "IDLE completed"))

