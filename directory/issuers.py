"""The configured issuers of bearer tokens and their keys: from a file, or fetched and kept for a while.

Invariants: a fetch has a time-out, a size, no redirects, and is made once however many wait for it; tokens cannot make us
fetch more often than every `RETRY_SECONDS`; keys that could not be fetched again stay in use for a day at most.

RFC 7517 §5 (JWK Set).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from directory import tokens
from directory.tokens import Key, UnknownKey
from govmail.config import Issuer
from govmail.errors import AuthenticationFailed, DirectoryUnavailable

log = structlog.stdlib.get_logger("directory.issuers")

RETRY_SECONDS = 30.0
STALE_SECONDS = 86_400.0
JWKS_OCTETS = 256 * 1024


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer, data_dir: Path, monotonic: Callable[[], float]) -> None:
        self.issuer = issuer
        self._path = data_dir / issuer.jwks_file
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._keys: Sequence[Key] = ()
        self._read = self._tried = float("-inf")

    async def keys(self, *, newer_than: float = float("-inf")) -> tuple[Sequence[Key], float]:
        """The keys and when they were read. `newer_than`: those read then do not do. Raises DirectoryUnavailable."""
        async with self._lock:
            now = self._monotonic()
            old = now >= self._read + self.issuer.cache_seconds or self._read <= newer_than
            if old and now >= self._tried + RETRY_SECONDS:
                self._tried = now
                try:
                    text = await self._fetch() if self.issuer.jwks_url else await asyncio.to_thread(self._path.read_bytes)
                    self._keys, self._read = tokens.read_keys(text), now
                except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
                    log.warning("issuer.no_keys", issuer=self.issuer.issuer, error=f"{type(error).__name__}: {error}"[:300])
            if now >= self._read + max(STALE_SECONDS, self.issuer.cache_seconds):
                raise DirectoryUnavailable
            return self._keys, self._read

    async def _fetch(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self.issuer.timeout_seconds)
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(self.issuer.jwks_url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"HTTP status {response.status}")
            text = b""
            async for piece in response.content.iter_chunked(16 * 1024):
                text += piece
                if len(text) > JWKS_OCTETS:
                    raise ValueError("JWK set too large")
            return text


class Issuers:
    """Whom we believe."""

    def __init__(self, issuers: Sequence[Issuer], data_dir: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sets = {one.issuer: KeySet(one, data_dir, monotonic) for one in issuers}

    def __bool__(self) -> bool:
        return bool(self._sets)

    async def address(self, token: str, now: int) -> str:
        """The mail address that a token speaks for. Raises AuthenticationFailed, DirectoryUnavailable. `now`: epoch seconds."""
        found = self._sets.get(tokens.issuer_of(token))
        if found is None:
            raise AuthenticationFailed(private="token: not of an issuer of ours")
        keys, read = await found.keys()
        try:
            claims = tokens.check(token, keys, found.issuer, now)
        except UnknownKey:
            keys, _ = await found.keys(newer_than=read)
            claims = tokens.check(token, keys, found.issuer, now)
        return _address(claims, found.issuer.claim)


def _address(claims: dict[str, Any], claim: str) -> str:
    address = claims.get(claim)
    if not isinstance(address, str) or not address:
        raise AuthenticationFailed(private=f"token: no claim {claim}")
    if claim == "email" and claims.get("email_verified", True) is not True:  # OpenID Connect Core §5.1
        raise AuthenticationFailed(private="token: its address is not verified")
    return address
