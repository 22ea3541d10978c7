"""TLS contexts of the listeners: each its own, since one may ask for client certificates and another not.

Invariants: a client certificate is verified in the handshake, against the listener's own authorities and their lists of
revoked ones; a listener with such lists takes no certificate of an authority whose list is missing or out of date.

RFC 5280 §5, §6.3 (revocation), RFC 8446 §4.3.2 (client certificates).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import structlog

from govmail.config import BadConfig, Config, Listener
from govmail.imap.server import make_tls_context

log = structlog.stdlib.get_logger("govmail.tls")

REREAD_SECONDS = 5.0


def make_contexts(config: Config, data_dir: Path) -> dict[str, ssl.SSLContext]:
    """By listener's name, where it has TLS. Raises BadConfig."""
    certificate, key = data_dir / config.tls.certificate, data_dir / config.tls.key
    contexts: dict[str, ssl.SSLContext] = {}
    for listener in config.listener:
        if listener.tls == "none":
            continue
        try:
            context = contexts[listener.name] = make_tls_context(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(f"tls: {certificate}, {key}: {error}") from error
        if listener.client_ca_file:
            ask_for_certificates(context, listener, data_dir)
    return contexts


def ask_for_certificates(context: ssl.SSLContext, listener: Listener, data_dir: Path) -> None:
    """Clients may show a certificate; one that is not good ends the handshake. Raises BadConfig."""
    context.verify_mode = ssl.CERT_OPTIONAL
    files = [data_dir / listener.client_ca_file]
    if listener.client_crl_file:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        files.append(data_dir / listener.client_crl_file)
    # A session begun before a revocation must not bring the certificate in again. Python cannot switch off OpenSSL's cache
    # of TLS 1.2 sessions; what is resumed from there has no certificate for `govmail.login`.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    for file in files:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(f"listener {listener.name}: {file}: {error}") from error


class RevocationLists:
    """Reads the lists of revoked certificates again when their files change."""

    def __init__(self, listeners: Sequence[Listener], contexts: dict[str, ssl.SSLContext], data_dir: Path) -> None:
        self._watched = [(data_dir / one.client_crl_file, contexts[one.name]) for one in listeners if one.client_crl_file]
        self._seen = {path: _mark(path) for path, _ in self._watched}
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`."""
        while self._watched and not self._stopped.is_set():
            try:
                await asyncio.wait_for(self._stopped.wait(), REREAD_SECONDS)
            except TimeoutError:
                await asyncio.to_thread(self.read_again)

    def stop(self) -> None:
        self._stopped.set()

    def read_again(self) -> None:
        """OpenSSL keeps what it had and prefers the newest list of an authority."""
        marks = {path: _mark(path) for path in self._seen}
        for path, context in self._watched:
            if marks[path] is None or marks[path] == self._seen[path]:
                continue
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:  # half written; the next time it is whole
                log.warning("tls.bad_revocation_list", file=str(path), error=str(error))
                marks[path] = None
        self._seen = marks


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
