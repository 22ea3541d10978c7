"""The IMAP server of one process: listeners, who is connected, and what the connections share.

Invariants: connections are counted by listener, source and person before they cost anything; `kick` ends all of a
person's connections at once; `close` says BYE to everybody and waits for running commands.

RFC 3501 §7.1.4, §7.1.5 (greeting), RFC 8314 (implicit TLS).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Coroutine, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from govmail.config import Config, Limits, Listener
from govmail.delivery.budget import Budget
from govmail.delivery.readers import ThreadReader
from govmail.imap import capabilities, status
from govmail.imap.access import NoOthers
from govmail.imap.flags import NO_KEYWORDS, FlagNames
from govmail.imap.session import Session
from govmail.imap.state import State
from govmail.imap.verbs.select import write_flags
from govmail.imap.view import SharedMaps
from govmail.imap.wheel import Wheel
from govmail.interfaces import Authenticator, Bus, Clock, MessageReader, People, Principal, utc_now
from govmail.login import Proofs, means_of
from govmail.store import messages
from govmail.store.database import Database
from govmail.store.keywords import keyword_names_in
from govmail.wire.imap import responses
from govmail.wire.sasl_mechanisms import NO_MEANS, Means

log = structlog.get_logger()

CLOSE_SECONDS = 10.0  # running commands may take this long at shutdown


class Port:
    """A listener as its sessions see it."""

    __slots__ = (
        "_capabilities", "_limits", "allow_plain_login", "connections", "implicit_tls", "means", "name", "sources", "starttls", "without",
    )  # fmt: skip

    def __init__(self, listener: Listener, tls: ssl.SSLContext | None, limits: Limits, means: Means = NO_MEANS) -> None:
        self.name = listener.name
        self.means = means
        self.implicit_tls = listener.tls == "implicit"
        self.starttls = tls if listener.tls == "starttls" else None
        self.allow_plain_login = listener.allow_plain_login
        self._limits = limits
        self.connections = 0
        self.sources: Counter[str] = Counter()
        self.without = capabilities.with_dependents(() if listener.imap4rev2 else ("IMAP4rev2",))
        self._capabilities = {
            (state, tls): self._list(state, self.without, tls=tls) for state in (State.FRESH, State.AUTHENTICATED) for tls in (False, True)
        }

    def _list(self, state: State, without: frozenset[str], *, tls: bool) -> bytes:
        means = self.means if tls else self.means.in_clear
        offer = capabilities.Offer(
            state, tls, self.starttls is not None, self.allow_plain_login, means=means, append_limit=self._limits.message_octets
        )
        return responses.capability(capabilities.announced(offer, without))

    def capability(self, without: frozenset[str], *, logged_in: bool, tls: bool) -> bytes:
        """The list, but for what this client is not offered."""
        state = State.AUTHENTICATED if logged_in else State.FRESH
        return self._capabilities[state, tls] if without == self.without else self._list(state, without, tls=tls)


class ImapServer:
    """Everything that sessions share. One event loop."""

    def __init__(
        self,
        config: Config,
        database: Database,
        authenticator: Authenticator,
        bus: Bus,
        *,
        budget: Budget | None = None,
        spool: Path | None = None,
        readers: MessageReader | None = None,
        proofs: Proofs | None = None,
        people: People | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """`budget` is shared with SMTP. `proofs`: logins without a password. `spool`: directory for messages on their way, the
        system's if None. `readers`: read what clients append; a thread if None. `people`: without it there are no mailboxes
        of others."""
        self.limits: Limits = config.limits
        self.database = database
        self.authenticator = authenticator
        self.proofs = proofs
        self.bus = bus
        self.people: People = people or NoOthers()
        self.spool = spool
        self.readers = readers or ThreadReader(config.limits)
        self.budget = budget or Budget(config.limits.inflight_octets)
        self.wheel = Wheel()
        self.maps = SharedMaps()
        self.working: dict[Session, tuple[bytes, int]] = {}  # who waits for a slow command: its tag, and since which second
        self.hostname = config.hostname
        self._clock = clock
        self._names: WeakValueDictionary[int, FlagNames] = WeakValueDictionary()
        self._sessions: set[Session] = set()
        self._people: dict[str, set[Session]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._addresses: dict[str, str] = {}

    # -- listening ------------------------------------------------------------------------------------------------

    async def start(self, listener: Listener, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        """Listen. `tls` is needed unless the listener has none. Raises OSError when the port is taken."""
        if listener.tls != "none" and tls is None:
            raise ValueError(f"listener {listener.name} needs a certificate")
        self.wheel.start()
        port = Port(listener, tls, self.limits, means_of(listener, self.proofs))
        implicit = tls if port.implicit_tls else None
        server = await asyncio.get_running_loop().create_server(
            lambda: Session(self, port), listener.host, listener.port, ssl=implicit, backlog=1024,
            ssl_handshake_timeout=self.limits.tls_handshake_seconds if implicit else None,
        )  # fmt: skip
        self._servers.append(server)
        log.info("imap.listening", listener=listener.name, host=listener.host, port=server.sockets[0].getsockname()[1])
        return server

    async def close(self) -> None:
        """Stop listening, say BYE, wait for what is running."""
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.close(status.BYE_SHUTDOWN)
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        self.wheel.stop()
        for session in list(self._sessions):
            session.transport.abort()

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a session's work; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- who is here ----------------------------------------------------------------------------------------------

    def admit(self, session: Session) -> bool:
        """Count a new connection; False when there are too many."""
        port = session.port
        self._sessions.add(session)
        port.connections += 1
        port.sources[session.peer] += 1
        if port.connections > self.limits.connections or port.sources[session.peer] > self.limits.connections_per_source:
            log.warning("imap.too_many_connections", listener=port.name, peer=session.peer, connections=port.connections)
            return False
        return True

    def leave(self, session: Session) -> None:
        """Forget a connection that is gone."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        port = session.port
        port.connections -= 1
        port.sources[session.peer] -= 1
        if not port.sources[session.peer]:
            del port.sources[session.peer]
            self._addresses.pop(session.peer, None)
        self.disclaim(session)

    def claim(self, session: Session, principal: Principal) -> bool:
        """Count a login; False when the person has too many connections."""
        theirs = self._people.setdefault(principal.directory_id, set())
        if len(theirs) >= self.limits.connections_per_account:
            return False
        theirs.add(session)
        return True

    def disclaim(self, session: Session) -> None:
        """The connection does not count as its person's any more."""
        if session.principal is not None:
            theirs = self._people.get(session.principal.directory_id, set())
            theirs.discard(session)
            if not theirs:
                self._people.pop(session.principal.directory_id, None)

    def intern(self, address: str) -> str:
        """One string for all connections from an address."""
        return self._addresses.setdefault(address, address)

    def connections_of(self, directory_id: str) -> int:
        """How many connections this person has."""
        return len(self._people.get(directory_id, ()))

    async def kick(self, directory_id: str) -> int:
        """End all connections of a person now; how many there were."""
        theirs = list(self._people.get(directory_id, ()))
        for session in theirs:
            session.close(status.BYE_KICKED)
        return len(theirs)

    # -- what sessions ask ----------------------------------------------------------------------------------------

    def now(self) -> int:
        """Seconds since the epoch."""
        return int(self._clock().timestamp())

    def greeting(self, session: Session) -> bytes:
        return responses.untagged(b"OK", f"{self.hostname} ready", self.capability(session))

    def capability(self, session: Session) -> bytes:
        return session.port.capability(session.without, logged_in=session.principal is not None, tls=session.tls)

    def share_names(self, account_id: int, names: Mapping[int, str]) -> FlagNames:
        """The account's keywords; one object for all its sessions that know the same ones."""
        if not names:
            return NO_KEYWORDS
        found = self._names.get(account_id)
        if found is None or found.names != names:
            found = self._names[account_id] = FlagNames(names)
        return found

    def told_elsewhere(self, session: Session, account_id: int, mailbox_id: int) -> int:
        r"""UIDs below it are \Recent to other sessions of this person that have the mailbox selected."""
        assert session.principal is not None
        views = [other.view for other in self._people.get(session.principal.directory_id, ()) if other is not session]
        return max([view.uid_next for view in views if view is not None and (view.account_id, view.mailbox_id) == (account_id, mailbox_id) and not view.read_only], default=0)

    async def refresh_names(self, session: Session) -> None:
        """Some keyword is new: learn its name, and tell the client."""
        view = session.view
        assert view is not None
        if view.guest is None:
            view.names = self.share_names(view.account_id, await self.database.read(messages.keyword_names, view.account_id))
        else:
            view.names = FlagNames(await self.database.read(keyword_names_in, view.account_id, view.mailbox_id))
        write_flags(session, view.names, read_only=view.read_only)


def make_tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For servers: TLS 1.2 and later, no compression, no renegotiation. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, key)
    return context


async def start(server: ImapServer, listener: Listener, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """For the composition root: one listener of a server."""
    return await server.start(listener, tls)
