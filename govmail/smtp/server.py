"""The SMTP listeners: aiosmtpd's protocol as the shell of each connection, our session inside.

aiosmtpd brings the connection's life from accept to the task that serves it. Its command loop, timer, TLS upgrade and
end-of-file handling are replaced here, each for the reason that stands at its place.

Invariants: a connection is counted until it is lost, from the end of its handshake where TLS comes first; a client that
half-closes or vanishes ends no work that has begun; every wait has an end.

RFC 5321 §3.1, RFC 3207, RFC 8314 (implicit TLS).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, cast

import structlog
from aiosmtpd.smtp import SMTP

from govmail.config import Listener
from govmail.smtp import replies
from govmail.smtp.session import Ended, Gone, Services, Session
from govmail.wire.smtp import Reply

log = structlog.stdlib.get_logger("govmail.smtp")

UNREAD_OCTETS = 256 * 1024  # received and not yet asked for; beyond it the client has to wait
BACKLOG = 1024


class Connection(SMTP):
    """One connection. Implements `session.Wire`."""

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, hostname=port.server.services.hostname, loop=loop)
        self.peer_ip = ""
        self.tls: str | None = None
        self.dialogue: Session | None = None
        self.directory_id: str | None = None
        self._port = port
        self._unread: list[bytes] = []
        self._unread_octets = 0
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None  # while the client does not read what we say
        self._ended = False  # the client sends no more
        self._lost = False
        self._farewell: Reply | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- from the transport -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        peer = transport.get_extra_info("peername")
        self.peer_ip = str(peer[0]).partition("%")[0] if peer else ""
        self._note_tls()
        self._port.opened(self)
        super().connection_made(transport)  # starts _handle_client as a task

    def data_received(self, data: bytes) -> None:
        # Instead of a StreamReader: chunks go on as they come, none is copied and no line is searched for here.
        self._unread.append(data)
        self._unread_octets += len(data)
        if self._unread_octets > UNREAD_OCTETS:
            self._link.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        # aiosmtpd cancels the handler here; a client may rightly half-close and wait for its reply.
        self._ended = True
        self._wake()
        return self.tls is None

    def connection_lost(self, error: Exception | None) -> None:
        # aiosmtpd cancels the handler here, perhaps in the middle of a delivery.
        self._ended = self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._port.closed(self)
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the task ---------------------------------------------------------------------------------------------

    async def _handle_client(self) -> None:
        try:
            if self._farewell is not None:
                await self.send(bytes(self._farewell))
            else:
                self.dialogue = Session(self, self._port.server.services, self._port.listener)
                await self.dialogue.run()
        except Gone:
            pass
        except Exception:
            log.exception("smtp.connection_failed", ip=self.peer_ip)
        finally:
            self._link.close()

    # -- session.Wire -----------------------------------------------------------------------------------------

    def time(self) -> float:
        return float(self.loop.time())

    def expire_at(self, when: float) -> None:
        # One timer per connection, moved lazily: a command costs an assignment, not a timer.
        self._deadline = when
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(when, self._timeout_cb)

    def _timeout_cb(self) -> None:
        self._timer = None
        if self.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._timeout_cb)
        elif self._room is not None:
            self._link.abort()
        elif self._waiter is not None:
            self.end(replies.TIMED_OUT)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd's timer, which closes without a word, is not used."""

    async def receive(self) -> bytes:
        while not self._unread:
            if self._farewell is not None:
                raise Ended(self._farewell)
            if self._ended:
                return b""
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        octets = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        if self._unread_octets > UNREAD_OCTETS and not self._lost:
            self._link.resume_reading()
        self._unread_octets = 0
        return octets

    async def send(self, octets: bytes) -> None:
        if self._lost:
            raise Gone
        self._link.write(octets)
        if self._room is not None:
            self.expire_at(self.time() + self._port.server.services.limits.smtp_idle_seconds)
            await self._room

    async def start_tls(self) -> None:
        # By the loop's own TLS: aiosmtpd builds on asyncio's even under uvloop, which costs 277 KB a connection.
        context = self._port.tls
        assert context is not None
        self._unread.clear()  # RFC 3207 §4.2: what came in clear is not read after the handshake
        self._unread_octets = 0
        if self._lost:
            raise Gone
        try:
            transport = await self.loop.start_tls(
                self._link,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._port.server.services.limits.tls_handshake_seconds,
            )
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("smtp.handshake_failed", ip=self.peer_ip, error=type(error).__name__, reason=str(error)[:200])
            raise Gone from error
        if transport is None:
            raise Gone
        self.transport = self._link = transport
        self._note_tls()

    def _note_tls(self) -> None:
        tls = self._link.get_extra_info("ssl_object")
        if tls is not None:
            self.tls = f"{tls.version()} {tls.cipher()[0]}"

    @property
    def tls_object(self) -> Any:
        return self._link.get_extra_info("ssl_object")

    def logged_in(self, directory_id: str) -> None:
        self.directory_id = directory_id
        self._port.server.remember(self, directory_id)

    # -- from the server --------------------------------------------------------------------------------------

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._handler_coroutine

    def end(self, reply: Reply) -> None:
        """Say this and close, as soon as what has been begun is done."""
        if self._farewell is None:
            self._farewell = reply
        self._wake()

    def finish(self, reply: Reply) -> None:
        """The same, but a mail that is on its way in is taken first."""
        if self.dialogue is None:
            self.end(reply)
        else:
            self.dialogue.finish(reply)

    def drop(self) -> None:
        """Close at once."""
        self._link.abort()


class Port:
    """A listener and its open connections."""

    def __init__(self, server: SmtpServer, listener: Listener, tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.listener = listener
        self.tls = tls
        self.connections: set[Connection] = set()
        self._per_source: dict[str, int] = {}
        self._socket: asyncio.Server | None = None

    async def open(self, **where: Any) -> int:
        loop = asyncio.get_running_loop()
        if self.listener.tls == "implicit":
            where |= {"ssl": self.tls, "ssl_handshake_timeout": self.server.services.limits.tls_handshake_seconds}
        self._socket = await loop.create_server(lambda: Connection(self, loop), backlog=BACKLOG, **where)
        return int(self._socket.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def opened(self, connection: Connection) -> None:
        limits = self.server.services.limits
        source = connection.peer_ip
        count = self._per_source.get(source, 0) + 1
        if len(self.connections) >= limits.connections or count > limits.connections_per_source:
            connection.end(replies.TOO_MANY_CONNECTIONS)
            log.warning("smtp.too_many_connections", listener=self.listener.name, ip=source, open=count)
        self.connections.add(connection)
        self._per_source[source] = count

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        left = self._per_source.get(connection.peer_ip, 0) - 1
        if left > 0:
            self._per_source[connection.peer_ip] = left
        else:
            self._per_source.pop(connection.peer_ip, None)
        self.server.forget(connection)


class SmtpServer:
    """All SMTP and submission listeners of one process."""

    def __init__(self, services: Services) -> None:
        # aiosmtpd logs every connection and its AUTH mechanisms; our events say what matters
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        self.services = services
        self.ports: list[Port] = []
        self._by_person: dict[str, set[Connection]] = {}

    async def start(self, listener: Listener, tls: ssl.SSLContext | None = None, *, sock: Any = None) -> int:
        """Listen; returns the port. `tls` is needed unless `listener.tls` is "none"; `sock`: a bound socket to use."""
        if listener.tls != "none" and tls is None:
            raise ValueError(f"{listener.name}: no TLS context")
        port = Port(self, listener, tls)
        where = {"sock": sock} if sock is not None else {"host": listener.host, "port": listener.port}
        number = await port.open(**where)
        self.ports.append(port)
        log.info("smtp.listening", listener=listener.name, host=listener.host, port=number, tls=listener.tls)
        return number

    @property
    def connections(self) -> int:
        return sum(len(port.connections) for port in self.ports)

    def remember(self, connection: Connection, directory_id: str) -> None:
        self._by_person.setdefault(directory_id, set()).add(connection)

    def forget(self, connection: Connection) -> None:
        if connection.directory_id is not None:
            theirs = self._by_person.get(connection.directory_id, set())
            theirs.discard(connection)
            if not theirs:
                self._by_person.pop(connection.directory_id, None)

    async def kick(self, directory_id: str) -> int:
        """End every connection of this person; returns how many there were. `interfaces.Kick`."""
        theirs = list(self._by_person.get(directory_id, ()))
        for connection in theirs:
            connection.end(replies.LOGIN_ENDED)
        return len(theirs)

    async def stop(self, grace: float = 10.0) -> None:
        """Listen no more; end idle connections now, those with a mail on its way after `grace` seconds.

        A mail that has come whole is always accepted or refused before its connection ends.
        """
        for port in self.ports:
            port.close()
        connections = [connection for port in self.ports for connection in port.connections]
        for connection in connections:
            connection.finish(replies.SHUTTING_DOWN)
        await _wait_for(connections, grace)
        for connection in connections:
            connection.end(replies.SHUTTING_DOWN)
        await _wait_for(connections, self.services.limits.accept_seconds)
        for connection in connections:
            connection.drop()


async def _wait_for(connections: list[Connection], seconds: float) -> None:
    tasks = [connection.task for connection in connections if connection.task is not None and not connection.task.done()]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
