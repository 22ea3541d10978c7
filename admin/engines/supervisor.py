"""All engines of one machine: which there are, started together, kept alive, stopped together.

Invariant: a dead engine is started again, after 1, 2, 4 … 60 seconds; one whose package is missing is reported and left out.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import structlog

from admin.engines.clamd import ClamdEngine
from admin.engines.engine import READY_SECONDS, SEARCH_PATH, Engine, EngineState
from admin.engines.rspamd import RspamdEngine
from admin.engines.slapd import SlapdEngine
from govmail.config import Config
from govmail.errors import EngineUnavailable

log = structlog.stdlib.get_logger("admin.engines")

BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
STEADY_SECONDS = 60.0  # up for this long: the next death starts the back-off anew
SAMPLE_BASE = "dc=jx,dc=example"  # where the configuration names no base


class Engines:
    """All engines of one machine: started together, kept alive, stopped together."""

    def __init__(self, engines: list[Engine]) -> None:
        self.engines = engines

    @property
    def states(self) -> list[EngineState]:
        return [engine.state for engine in self.engines]

    async def run(self) -> None:
        """Keep them alive until cancelled, then stop them."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for engine in self.engines:
                    if engine.available:
                        tasks.create_task(self._keep(engine))
                    else:
                        log.error("engine.absent", engine=engine.name, package=engine.package, effect="runs without it")
        finally:
            await asyncio.gather(*(asyncio.to_thread(engine.stop) for engine in self.engines))

    async def wait_ready(self, seconds: float = READY_SECONDS) -> bool:
        """Whether every installed engine answered within `seconds`."""
        waits = [engine.is_ready.wait() for engine in self.engines if engine.available]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)
        except TimeoutError:
            return False
        return True

    async def _keep(self, engine: Engine) -> None:
        deaths = 0
        while True:
            started = time.monotonic()
            reason = await self._live(engine)
            deaths = 1 if time.monotonic() - started > STEADY_SECONDS else deaths + 1
            wait = BACKOFF_SECONDS[min(deaths, len(BACKOFF_SECONDS)) - 1]
            log.error("engine.died", engine=engine.name, reason=reason, exit_status=engine.exit_status, again_in_seconds=wait, log=str(engine.log_file))
            await asyncio.sleep(wait)
            engine.restarts += 1

    async def _live(self, engine: Engine) -> str:
        """One life of the child, from start to end; why it ended."""
        try:
            await asyncio.to_thread(engine.prepare)
            engine.spawn()
            version = await engine.wait_ready()
            log.info("engine.ready", engine=engine.name, version=version, port=engine.port)
            if engine.warning:
                log.warning("engine.warning", engine=engine.name, warning=engine.warning)
            await engine.wait_end()
            return "ended"
        except (EngineUnavailable, OSError) as error:
            return str(error)
        finally:
            await asyncio.to_thread(engine.stop)


def build(config: Config, data_dir: Path, *, nameservers: tuple[str, ...], search_path: str = SEARCH_PATH) -> Engines:
    """The engines whose port is set in `[engines]`. `nameservers`: see `RspamdEngine`."""
    user, octets, ports = config.user, config.limits.message_octets, config.engines
    engines: list[Engine] = []
    if ports.slapd_port:
        secret = data_dir / config.directory.bind_password_file if config.directory.bind_password_file else None
        engines.append(SlapdEngine(data_dir, ports.slapd_port, user=user, search_path=search_path, base=config.directory.base or SAMPLE_BASE, password_file=secret))
    if ports.rspamd_port:
        engines.append(RspamdEngine(data_dir, ports.rspamd_port, user=user, search_path=search_path, message_octets=octets, nameservers=nameservers))
    if ports.clamd_port:
        engines.append(ClamdEngine(data_dir, ports.clamd_port, user=user, search_path=search_path, message_octets=octets))
    return Engines(engines)


async def find_nameservers() -> tuple[str, ...]:
    """Those of the system's resolvers that answer within a second; asked for the root's name servers."""
    try:
        resolver = dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        return ()
    query = dns.message.make_query(".", "NS")

    async def answers(server: str) -> bool:
        try:
            await dns.asyncquery.udp(query, server, timeout=1.0)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    servers = [str(server) for server in resolver.nameservers[:3]]
    alive = await asyncio.gather(*map(answers, servers))
    return tuple(server for server, alive in zip(servers, alive, strict=True) if alive)
