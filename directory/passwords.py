"""Passwords: slow hashes in a bounded pool, remembered logins, and the `Authenticator` of all protocols.

Invariants
- argon2id, m = 19 MiB, t = 2, p = 1 (OWASP's first choice); never on the event loop, at most `cores` at a time; a full
  queue is AuthenticationBusy, which says nothing about the password.
- Empty passwords and NUL are refused before the directory is asked (RFC 4513 §5.1.2).
- A remembered login is an HMAC over the password, the stamp, the state, the unit and the stored hash, under a key that lies
  in a file outside the database: it is void at once when any of them changes, wherever the change was made.
- Unknown, suspended and disabled people cost and answer the same as a wrong password.
- Who guesses is slowed down by `directory.throttle` before the slow hash is asked.

RFC 9106 (Argon2).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from directory.model import Credentials, DirectoryService, Progress, principal_of
from directory.throttle import Throttle
from govmail.config import DirectoryTable, Limits, read_secret
from govmail.errors import (
    AuthenticationBusy,
    AuthenticationFailed,
    BadAddress,
    BadInput,
    MailError,
    SyntaxProblem,
)
from govmail.interfaces import Clock, PersonState, Principal, utc_now
from govmail.mail.address import Address
from govmail.store import logins
from govmail.store.database import Database
from govmail.wire import sasl_scram

T = TypeVar("T")
log = structlog.stdlib.get_logger("directory.passwords")

MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
PASSWORD_OCTETS = 1024
KEY_OCTETS = 32

# What a stored hash may cost us: it may have been written by somebody else.
MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES = 256 * 1024, 16, 8

MIN_LENGTH, LONG_ENOUGH = 8, 16  # characters; a long one need not mix classes
WEAK = frozenset({"123456", "12345678", "123456789", "hello1234", "aa123456", "abc123!@#", "password", "1qaz2wsx", "qwertyuiop", "88888888"})

# 32 characters that are not mistaken for each other; 16 of them are 80 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GROUPS, GROUP_LENGTH = 4, 4


def generate() -> str:
    """A random password of 80 bits in groups that can be read out: "k7mq-3fzx-w2pa-9hdc"."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))


def check_usable(password: str) -> None:
    """What no password can be; raises BadInput."""
    if not password:
        raise BadInput("password: must not be empty")
    try:
        octets = password.encode()
    except UnicodeEncodeError:  # lone surrogates
        raise BadInput("password: not Unicode text") from None
    if b"\0" in octets or len(octets) > PASSWORD_OCTETS:
        raise BadInput(f"password: no NUL, at most {PASSWORD_OCTETS} octets")


def check_strength(password: str, *, names: Iterable[str] = ()) -> None:
    """For passwords that people choose: length, classes, not a common one, not made of `names` (login, pinyin, unit label).

    Raises BadInput.
    """
    check_usable(password)
    folded = password.casefold()
    if len(password) < MIN_LENGTH:
        raise BadInput(f"password: at least {MIN_LENGTH} characters")
    if folded in WEAK or len(set(folded)) < 4:
        raise BadInput("password: one of those that are tried first")
    letters = "".join(char for char in folded if char.isalnum())
    for name in names:
        plain = "".join(char for char in name.casefold() if char.isalnum())
        if len(plain) >= 3 and plain in letters:
            raise BadInput("password: must not contain a name")
    classes = sum(any(test(char) for char in password) for test in _CLASSES)
    if classes < 3 and len(password) < LONG_ENOUGH:
        raise BadInput(f"password: three of capital letters, small letters, digits, others; or {LONG_ENOUGH} characters")


_CLASSES: tuple[Callable[[str], bool], ...] = (str.isupper, str.islower, str.isdigit, lambda char: not char.isalnum())


class PasswordPool:
    """Hashes and verifies in `cores` threads."""

    def __init__(self, *, limits: Limits | None = None, cores: int | None = None, memory_kib: int = MEMORY_KIB, passes: int = PASSES, scram_iterations: int = 0) -> None:
        self._cores = cores or os.cpu_count() or 1
        self._scram_iterations = scram_iterations
        self._waiting = 0
        self._most = (limits or Limits()).login_queue
        self._threads = ThreadPoolExecutor(self._cores, thread_name_prefix="argon2")
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=LANES, type=Type.ID)
        # New hashes never take more than the threads: logins can still queue while an import hashes 100,000 passwords.
        self._hashing = asyncio.Semaphore(self._cores)
        self._decoy = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """What is stored: the encoded argon2id hash, then, if they are made, a blank and the SCRAM keys. Raises BadInput."""
        check_usable(password)
        async with self._hashing:
            return await self._run(self._hash, password)

    def _hash(self, password: str) -> str:
        encoded = self._hasher.hash(password)
        if not self._scram_iterations:
            return encoded
        try:
            return f"{encoded} {sasl_scram.make_verifier(password, secrets.token_bytes(sasl_scram.SALT_OCTETS), self._scram_iterations)}"
        except SyntaxProblem:  # a password that SCRAM cannot carry; the others can
            return encoded

    async def hash_many(self, passwords: Iterable[str], progress: Progress | None = None) -> list[str]:
        """Hashes in the order of the passwords, on all cores."""
        done = 0

        async def one(password: str) -> str:
            nonlocal done
            encoded = await self.hash(password)
            done += 1
            if progress:
                progress(done, total)
            return encoded

        given = list(passwords)
        total = len(given)
        return list(await asyncio.gather(*(one(password) for password in given)))

    async def verify(self, password: str, encoded: str) -> bool:
        """Whether the password made this hash. Raises AuthenticationBusy. An odd hash verifies nothing."""
        if self._waiting >= self._most:
            raise AuthenticationBusy
        return await self._run(self._verify, password, encoded)

    async def verify_nothing(self) -> None:
        """Takes as long as `verify`, for logins that cannot succeed. Raises AuthenticationBusy."""
        await self.verify("", self._decoy)

    def _verify(self, password: str, encoded: str) -> bool:
        try:
            encoded = encoded.partition(" ")[0]
            cost = extract_parameters(encoded)
            if cost.memory_cost > MAX_MEMORY_KIB or cost.time_cost > MAX_PASSES or cost.parallelism > MAX_LANES:
                return False
            return self._hasher.verify(encoded, password)
        except (InvalidHashError, VerificationError):
            return False

    async def _run(self, fn: Callable[..., T], *args: str) -> T:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, fn, *args)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Ends the threads; idempotent."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)


def load_key(path: Path) -> bytes:
    """The key of remembered logins; made when the file is missing. Raises BadConfig when others can read it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(read_secret(path))
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_OCTETS) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return bytes.fromhex(read_secret(path))


class PasswordAuthenticator:
    """`interfaces.Authenticator` over either directory."""

    def __init__(
        self, directory: DirectoryService, database: Database, pool: PasswordPool, key: bytes, config: DirectoryTable,
        *, clock: Clock = utc_now, throttle: Throttle | None = None,
    ) -> None:
        """`key`: see `load_key`. `throttle`: one of its own if None."""
        self._directory = directory
        self._db = database
        self._pool = pool
        self._key = key
        self._config = config
        self._clock = clock
        self.throttle = throttle or Throttle(Limits())

    async def authenticate(self, login: str, password: str, source_ip: str) -> Principal:
        """See `interfaces.Authenticator`. The directory is asked live every time; only the slow hash is spared."""
        found = await self._find(login, password)
        seconds = self._clock().timestamp()
        attempt = self.throttle.begin(found.person.person_id if found else _name(login), source_ip, password, seconds)
        try:
            if found is None:
                await self._pool.verify_nothing()
                raise AuthenticationFailed
            await self._prove(found, password, int(seconds))
        except AuthenticationFailed:
            raise
        except BaseException:  # busy, away, cancelled: nothing was learnt
            self.throttle.undo(attempt)
            raise
        self.throttle.succeeded(attempt)
        return principal_of(found.person, self._config.quota_octets)

    async def _prove(self, found: Credentials, password: str, now: int) -> None:
        """Whether it is the password, from memory where that knows it. Raises AuthenticationFailed."""
        person = found.person
        mac = self._mac(found, password)
        remembered = await self._db.read(logins.recall, person.person_id)
        if remembered and hmac.compare_digest(remembered[0], mac) and 0 <= now - remembered[1] <= self._config.login_memory_seconds:
            return
        if not await self._check(found, password):
            raise AuthenticationFailed
        await self._remember(person.person_id, mac, now)

    async def _find(self, login: str, password: str) -> Credentials | None:
        """Whose login this is; None when it cannot succeed whatever the stored hash says."""
        try:
            check_usable(password)
            address = Address.parse(login)
        except (BadInput, BadAddress):
            return None
        found = await self._directory.credentials(address)
        return found if found and found.person.state is PersonState.ACTIVE else None

    async def _check(self, found: Credentials, password: str) -> bool:
        if found.password_hash:
            return await self._pool.verify(password, found.password_hash)
        return await self._directory.bind(found.person.person_id, password)

    def _mac(self, found: Credentials, password: str) -> bytes:
        person = found.person
        bound = "\0".join((password, person.person_id, person.stamp, person.state.value, person.unit_id, found.password_hash))
        return hmac.digest(self._key, bound.encode(), hashlib.sha256)

    async def _remember(self, person_id: str, mac: bytes, now: int) -> None:
        try:
            await self._db.write(logins.remember, person_id, mac, now)
        except MailError as error:  # the login itself has succeeded
            log.warning("login not remembered", directory_id=person_id, error=error.private or error.public)


def _name(login: str) -> str:
    """One spelling of a name that nobody has."""
    try:
        return Address.parse(login).key
    except BadAddress:
        return login.casefold()
