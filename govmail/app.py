"""Composition: a configuration becomes parts, parts become a listening server. The only module that knows every class.

Invariants: parts start in the order in which they need each other and stop in the reverse; what is open is closed again
however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from admin.engines import EngineState
from directory.cache import CachedResolver
from directory.issuers import Issuers
from directory.ldap.service import LdapDirectory
from directory.local import LocalDirectory
from directory.model import DirectoryService
from directory.passwords import PasswordAuthenticator, PasswordPool, load_key
from directory.people import DirectoryPeople
from directory.proofs import DirectoryProofs, end_point_of
from directory.throttle import Throttle
from filters import chain as filter_chain
from filters.chain import FilterChain
from filters.quarantine import Quarantine
from govmail import tls
from govmail.bus import LocalBus
from govmail.config import BadConfig, Config, Listener, read_secret
from govmail.control import ControlServer, context_of
from govmail.datadir import empty_spool, secrets_dir
from govmail.delivery.budget import Budget, Disk
from govmail.delivery.full import FullMailboxes
from govmail.delivery.ids import id_source
from govmail.delivery.readers import Readers
from govmail.imap.server import ImapServer
from govmail.interfaces import utc_now
from govmail.jobs.dkim import Keys
from govmail.jobs.quotas import Quotas
from govmail.jobs.runner import Job, JobRunner, standard_jobs
from govmail.queue.runner import QueueRunner
from govmail.relay.attempt import Relay
from govmail.relay.route import SystemDns
from govmail.smtp.receive import Receiver
from govmail.smtp.server import SmtpServer
from govmail.smtp.session import Services
from govmail.store.database import Database
from govmail.supervisor import CannotStart


@dataclass(slots=True)
class Parts:
    """The parts of one server, wired but not yet listening. What a command without a server works with, too."""

    config: Config
    data_dir: Path
    clock: Callable[[], datetime]
    bus: LocalBus
    database: Database
    hasher: PasswordPool
    directory: DirectoryService
    resolver: CachedResolver
    authenticator: PasswordAuthenticator
    chain: FilterChain
    quarantine: Quarantine
    queue: QueueRunner
    jobs: JobRunner
    imap: ImapServer
    smtp: SmtpServer
    readers: Readers
    ports: dict[str, int]
    engines: Callable[[], Sequence[EngineState]] = tuple

    async def kick(self, directory_id: str) -> int:
        """End every connection of this person; returns how many there were."""
        return await self.imap.kick(directory_id) + await self.smtp.kick(directory_id)

    def unlock(self, account: str) -> int:
        """Forget wrong passwords of an account; how many counts there were."""
        return self.authenticator.throttle.clear(account)

    async def close(self) -> None:
        """Give back threads, processes, connections and files; nothing may be running any more."""
        await self.chain.close()
        await self.hasher.close()
        await self.directory.close()
        await self.database.close()
        await self.readers.close()


async def build(config: Config, data_dir: Path) -> Parts:
    """Everything that a server consists of. The caller holds the lock. Raises BadConfig, StoreFailed."""
    limits, clock, bus = config.limits, utc_now, LocalBus()
    new_id = id_source(clock, secrets.randbits)
    url = read_secret(data_dir / config.store.url_file) if config.store.url_file else config.store.url
    spool = await asyncio.to_thread(empty_spool, data_dir)
    secrets_dir(data_dir).mkdir(mode=0o700, exist_ok=True)
    database = await asyncio.to_thread(
        Database.open, url, data_dir=data_dir, durable=config.store.durable, readers=config.store.readers, bus=bus
    )
    hasher = PasswordPool(limits=limits, scram_iterations=config.directory.scram_iterations)
    people = _directory(config, data_dir, database)
    resolver = CachedResolver(people, config.directory)
    key = load_key(secrets_dir(data_dir) / "login-memory")
    authenticator = PasswordAuthenticator(people, database, hasher, key, config.directory, clock=clock, throttle=Throttle(limits))
    proofs = DirectoryProofs(
        people, Issuers(config.issuer, data_dir), key, config.directory,
        end_point=await asyncio.to_thread(_end_point, config, data_dir), clock=clock,
    )  # fmt: skip
    chain = filter_chain.build(config, data_dir)
    quarantine = Quarantine(database, chain, config, clock=clock, spool_dir=spool)
    password_file = config.queue.smarthost_password_file
    relay = Relay(
        config, SystemDns(), password=read_secret(data_dir / password_file) if password_file else "",
        ca_file=_ca_file(config.queue.smarthost_ca_file, data_dir),
    )  # fmt: skip
    queue = QueueRunner(config, database, resolver, relay, clock=clock, new_id=new_id, alone=not url.startswith("postgresql"))
    budget, full = Budget(limits.inflight_octets, Disk(data_dir, limits.disk_floor_octets)), FullMailboxes(bus, clock)
    readers = Readers(limits, config.readers)
    receiver = Receiver(
        hostname=config.hostname, limits=limits, database=database, chain=chain, hold=quarantine.hold, clock=clock,
        new_id=new_id, queue_lifetime=config.queue.lifetime_seconds, retry_after=config.queue.retry_seconds[0],
        on_queued=queue.wake, full=full, readers=readers,
    )  # fmt: skip
    services = Services(config.hostname, limits, resolver, authenticator, receiver.accept, budget, spool, new_id, full, proofs)
    return Parts(
        config=config, data_dir=data_dir, clock=clock, bus=bus, database=database, hasher=hasher, directory=people,
        resolver=resolver, authenticator=authenticator, chain=chain, quarantine=quarantine, queue=queue,
        jobs=JobRunner(config, database, clock=clock, jobs=(
            *standard_jobs(), Job("dkim", 600.0, Keys(people, data_dir).make),
            Job("quotas", 6 * 3600.0, Quotas(people, config.directory).copy),
        )),
        imap=ImapServer(
            config, database, authenticator, bus, budget=budget, spool=spool, readers=readers, proofs=proofs,
            people=DirectoryPeople(people, resolver, config.directory), clock=clock,
        ),
        smtp=SmtpServer(services), readers=readers, ports={},
    )  # fmt: skip


def _ca_file(name: str, data_dir: Path) -> str:
    """Its absolute path, "" for none. Raises BadConfig: with it unread no mail would leave."""
    if not name:
        return ""
    try:
        ssl.create_default_context(cafile=str(data_dir / name))
    except OSError as error:  # ssl.SSLError is one
        raise BadConfig(f"queue.smarthost_ca_file: {data_dir / name}: {error}") from error
    return str(data_dir / name)


def _directory(config: Config, data_dir: Path, database: Database) -> DirectoryService:
    table = config.directory
    if table.kind == "local":
        return LocalDirectory(database, table, limits=config.limits)
    password = read_secret(data_dir / table.bind_password_file) if table.bind_password_file else ""
    ca_file = str(data_dir / table.ca_file) if table.ca_file else ""
    return LdapDirectory(table, database, password=password, ca_file=ca_file, limits=config.limits)


# -- serving ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listening(parts: Parts) -> AsyncIterator[None]:
    """Ports are open and the queue runs while inside."""
    contexts = tls.make_contexts(parts.config, parts.data_dir)
    revoked = tls.RevocationLists(parts.config.listener, contexts, parts.data_dir)
    control = ControlServer(context_of(parts))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(parts.queue.run())
        tasks.create_task(parts.jobs.run())
        tasks.create_task(revoked.run())
        try:
            for listener in parts.config.listener:
                parts.ports[listener.name] = await _listen(parts, listener, contexts.get(listener.name))
            await control.start()
            yield
        finally:
            await control.close()
            await parts.smtp.stop()
            await parts.imap.close()
            parts.queue.stop()
            parts.jobs.stop()
            revoked.stop()


async def _listen(parts: Parts, listener: Listener, context: ssl.SSLContext | None) -> int:
    try:
        if listener.protocol == "imap":
            server = await parts.imap.start(listener, context)
            return int(server.sockets[0].getsockname()[1])
        return await parts.smtp.start(listener, context)
    except OSError as error:
        raise CannotStart(f"listener {listener.name}: {listener.host} port {listener.port}: {os.strerror(error.errno or 0)}") from error


def _end_point(config: Config, data_dir: Path) -> bytes:
    if not any(listener.channel_binding for listener in config.listener):
        return b""
    certificate = data_dir / config.tls.certificate
    try:
        return end_point_of(certificate)
    except (OSError, ValueError) as error:
        raise BadConfig(f"tls: {certificate}: {error}") from error
