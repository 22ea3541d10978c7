"""`govmail doctor`: asks every part whether it works, then sends a mail through the whole system and fetches it.

Invariants: looks only, but for the probe's own account and mail, which it removes again; every wait has a limit; a check
that fails never hides the ones after it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp
from cryptography import x509

from admin import hostname
from admin.actions.context import FAILED, UNREACHABLE, Actor, Context, require
from admin.engines import EngineState
from admin.probe import Probe, client_tls, reachable
from admin.reasons import explain
from admin.texts import say
from filters.clamd import Clamd
from filters.rspamd import Rspamd
from govmail.config import FilterTable, Listener
from govmail.errors import DirectoryUnavailable, MailError
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.store import audit, lease, mailboxes, migrate
from govmail.wire.control import Done

CONNECT_SECONDS = 5.0
ENGINE_SECONDS = 10.0
CERTIFICATE_WARNING_DAYS = 14
SIGNATURE_WARNING_DAYS = 3
DISK_WARNING = 0.10  # of the file system
DISK_FAILED_OCTETS = 256 * 1024 * 1024
CLOCK_SECONDS = 60  # the audit trail may lie this far in the future
NAMED = 3  # domains in a remark
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)  # a clock before this was never set

OK, WARNING, FAILURE = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `milliseconds`: how long it took."""

    check: str
    status: str  # ok, warning, failed
    text: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says; it raises when it fails outright."""

    status: str
    text: str


async def run(ctx: Context, actor: Actor) -> AsyncIterator[Check | Done]:
    """All checks, one row each as it ends, the probe's steps last. The exit code says whether one failed.

    Without a server: what can be seen from here, and the code for an unreachable server.
    """
    require(actor, "doctor", None)
    if actor.source == "cli":
        yield Check("server", FAILURE, say("server_down", path=ctx.data_dir), 0)
        for name, function in checks_at_rest(ctx):
            yield await measure(name, function)
        yield Done(code=UNREACHABLE)
        return
    failed = False
    for name, function in checks(ctx):
        check = await measure(name, function)
        failed = failed or check.status == FAILURE
        yield check
    probe = Probe(ctx)
    try:
        for name, step in probe.steps():
            check = await measure(f"probe {name}", partial(_as_finding, step))
            failed = failed or check.status == FAILURE
            yield check
            if check.status == FAILURE:
                break
    finally:
        await probe.close()
    yield Done(code=FAILED if failed else 0)


async def _as_finding(step: Callable[[], Awaitable[str]]) -> Finding:
    return Finding(OK, await step())


Checks = list[tuple[str, Callable[[], Awaitable[Finding]]]]
"""Checks by name, in the order in which they run."""


def checks_at_rest(ctx: Context) -> Checks:
    """Those that need no running server."""
    return [
        ("clock", partial(check_clock, ctx)),
        ("disk", partial(check_disk, ctx)),
        ("hostname", partial(check_hostname, ctx)),
        ("certificate", partial(check_certificate, ctx)),
        ("database", partial(check_database, ctx)),
        ("directory", partial(check_directory, ctx)),
    ]


def checks(ctx: Context) -> Checks:
    """Everything but the probe."""
    listed: Checks = [*checks_at_rest(ctx), ("postmaster", partial(check_postmaster, ctx))]
    listed += [(f"engine {one.name}", partial(check_engine, one)) for one in ctx.engines()]
    listed += [(f"port {one.name}", partial(check_listener, ctx, one)) for one in ctx.config.listener]
    listed += [(f"filter {one.name}", partial(check_filter, ctx, one)) for one in ctx.config.filter]
    return listed


async def measure(name: str, function: Callable[[], Awaitable[Finding]]) -> Check:
    """Runs one check; whatever it raises is what it found."""
    started = time.monotonic()
    try:
        finding = await function()
    except MailError as error:
        finding = Finding(FAILURE, explain(error))
    except Exception as error:
        finding = Finding(FAILURE, f"{type(error).__name__}: {error}".rstrip(": "))
    return Check(name, finding.status, finding.text, round((time.monotonic() - started) * 1000))


async def check_clock(ctx: Context) -> Finding:
    """A clock that was never set, or that was put back behind what is recorded."""
    now = ctx.clock()
    if now < EARLIEST:
        return Finding(FAILURE, say("clock_unset", now=now.isoformat()))
    count = await ctx.database.read(audit.count)
    for last in await ctx.database.read(audit.entries, count - 1, 1):
        if last.at / 1_000_000 > now.timestamp() + CLOCK_SECONDS:
            return Finding(FAILURE, say("clock_back", seconds=round(last.at / 1_000_000 - now.timestamp())))
    return Finding(OK, now.strftime("%Y-%m-%d %H:%M:%S UTC"))


async def check_disk(ctx: Context) -> Finding:
    usage = await asyncio.to_thread(shutil.disk_usage, ctx.data_dir)
    text = say("disk_free", free=f"{usage.free / 2**30:.1f}", total=f"{usage.total / 2**30:.1f}")
    if usage.free < DISK_FAILED_OCTETS:
        return Finding(FAILURE, text)
    return Finding(WARNING if usage.free < DISK_WARNING * usage.total else OK, text)


async def check_hostname(ctx: Context) -> Finding:
    problem = hostname.problem(ctx.config.hostname)
    return Finding(WARNING, problem) if problem else Finding(OK, ctx.config.hostname)


async def check_certificate(ctx: Context) -> Finding:
    """Readable, ours alone, not run out, and for our name."""
    certificate_path = ctx.data_dir / ctx.config.tls.certificate
    key_path = ctx.data_dir / ctx.config.tls.key
    certificate = x509.load_pem_x509_certificate(await asyncio.to_thread(certificate_path.read_bytes))
    mode = os.stat(key_path).st_mode & 0o077
    days = (certificate.not_valid_after_utc - ctx.clock()).days
    if days < 0 or certificate.not_valid_before_utc > ctx.clock():
        return Finding(FAILURE, say("certificate_expired", until=f"{certificate.not_valid_after_utc:%Y-%m-%d}"))
    if mode:
        return Finding(FAILURE, say("key_open", path=key_path))
    if days < CERTIFICATE_WARNING_DAYS:
        return Finding(WARNING, say("certificate_days", days=days))
    if ctx.config.hostname not in names_of(certificate):
        return Finding(WARNING, say("certificate_name", hostname=ctx.config.hostname))
    if certificate.issuer == certificate.subject:
        return Finding(WARNING, say("certificate_self", days=days))
    return Finding(OK, say("certificate_days", days=days))


def names_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(names.get_values_for_type(x509.DNSName))


async def check_database(ctx: Context) -> Finding:
    """Answers, has our schema, and takes a write: whether the disk lets it is seen only so."""
    found, ours = await ctx.database.read(migrate.revisions)
    if found != ours:
        return Finding(FAILURE, say("schema_other", found=found or "?", ours=ours or "?"))
    messages = await ctx.database.read(mailboxes.count_messages)
    await ctx.database.write(lease.take, "doctor", "doctor", ctx.now, ctx.now)
    return Finding(OK, say("database_counts", messages=messages))


async def check_directory(ctx: Context) -> Finding:
    try:
        await ctx.directory.check()
    except DirectoryUnavailable:
        if ctx.config.engines.slapd_port:
            return Finding(FAILURE, say("directory_child"))
        raise
    counts = await ctx.directory.counts()
    text = say("directory_counts", units=counts.units, people=counts.people, groups=counts.groups, domains=counts.domains)
    return Finding(OK if counts.units and counts.domains else WARNING, text)


async def check_postmaster(ctx: Context) -> Finding:
    """Mail to postmaster@ every local domain reaches somebody (RFC 5321 §4.5.1)."""
    root = await ctx.directory.root()
    if root is not None and root.keeper_id is not None:
        keeper = await ctx.directory.person(root.keeper_id)
        if keeper.state is not PersonState.DISABLED:  # answers for every unit below without one; saves a question per domain
            return Finding(OK, say("postmaster_answers"))
    silent: list[str] = []
    for one in await ctx.directory.domains():
        answer = await ctx.directory.resolve(Address("postmaster", one.domain))
        if not (answer.targets or answer.remote):
            silent.append(one.domain)
    if not silent:
        return Finding(OK, say("postmaster_answers"))
    names = " ".join(silent[:NAMED]) + (" …" if len(silent) > NAMED else "")
    return Finding(WARNING, say("postmaster_silent", count=len(silent), domains=names))


async def check_engine(state: EngineState) -> Finding:
    """A child of `govmail up`: runs, has not died lately, and misses nothing."""
    if state.state == "absent":
        return Finding(WARNING, say("engine_absent"))
    if state.state != "ready":
        return Finding(FAILURE, say("engine_down", state=state.state, restarts=state.restarts))
    if state.warning:
        return Finding(WARNING, state.warning)
    if state.restarts:
        return Finding(WARNING, say("engine_restarts", version=state.version, restarts=state.restarts))
    return Finding(OK, state.version)


async def check_listener(ctx: Context, listener: Listener) -> Finding:
    """Connects as a client would, TLS handshake included, and reads the greeting."""
    context = client_tls(ctx.data_dir / ctx.config.tls.certificate) if listener.tls == "implicit" else None
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(reachable(listener.host), ctx.port_of(listener), ssl=context)
        try:
            greeting = (await reader.readline()).decode("ascii", "replace").strip()
        finally:
            writer.close()
    if not greeting.startswith(("220", "* OK")):
        return Finding(FAILURE, greeting or say("no_greeting"))
    if listener.allow_plain_login:
        return Finding(WARNING, say("plain_login", where=f"{listener.host}:{ctx.port_of(listener)}"))
    return Finding(OK, greeting)


async def check_filter(ctx: Context, table: FilterTable) -> Finding:
    """Answers in its protocol; signatures that are old or missing find nothing new."""
    async with asyncio.timeout(ENGINE_SECONDS):
        if table.kind == "rspamd":
            rspamd = Rspamd(table, hostname=ctx.config.hostname, data_dir=ctx.data_dir)
            try:
                return Finding(OK, await rspamd.ping())
            except aiohttp.ClientError as error:
                return Finding(FAILURE, str(error))
            finally:
                await rspamd.close()
        clamd = Clamd(table)
        try:
            version = await clamd.ping()
            age = await clamd.signature_age()
            admits = await clamd.admits_gaps()
        finally:
            await clamd.close()
    if not admits:
        return Finding(WARNING, say("gaps_hidden", version=version))
    if age is None:
        return Finding(WARNING, say("signatures_test", version=version))
    days = age // 86400
    return Finding(WARNING if days > SIGNATURE_WARNING_DAYS else OK, say("signatures_age", version=version, days=days))
