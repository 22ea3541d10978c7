"""clamd: does this mail carry a virus.

Invariants
- `check` never raises; whatever keeps clamd from having seen the *whole* mail is never a clean verdict: *unscannable* what it
  will not see another time either (its limits, an encrypted attachment), *unscanned* the rest (an error, a death in
  mid-stream, silence, its time limit, which depends on the load).
- One scan holds one of `workers` threads for at most `timeout_seconds`; a scan nobody waits for any more is cut off.
- The mail goes through a socket (INSTREAM); no file name and no shell ever sees anything of it.

clamd answers OK for what lies beyond its own MaxScanSize, MaxFileSize, MaxFiles and MaxRecursion, unless `AlertExceedsMax`
and `AlertEncryptedArchive` and `AlertEncryptedDoc` are on, as in `admin.engines`; `admits_gaps` finds out.

Protocol: clamd(8).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

import clamd
import structlog

from filters.headers import plain, word
from govmail.config import FilterTable
from govmail.errors import EngineUnavailable
from govmail.interfaces import Action, Clock, Scan, ScanRequest, Verdict
from govmail.mail.message import Message

T = TypeVar("T")

log = structlog.stdlib.get_logger("filters.clamd")

REPLY_OCTETS = 4096
VERSION_SECONDS = 30.0  # the version is asked for again after this
CONNECT_SECONDS = 5.0

# clamd takes apart the MIME only of what it recognises as mail: by names of fields that it knows, near the beginning. A mail
# that begins with others passed as plain text, with whatever was in its attachments (measured with 1.4.6). So every mail
# is shown to it behind a field it knows.
_PREFACE = b"Received: by scanner\r\n"

# Alerts which say that something was not looked at, rather than that something was found.
_NOT_SEEN = ("Heuristics.Limits.Exceeded", "Heuristics.Encrypted")
_NOT_NOW = "Heuristics.Limits.Exceeded.MaxScanTime"


# A mail with a ZIP archive whose only member is encrypted.
_SEALED = (
    b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"UEsDBBQAAQAAAAAAAFqDFtyMDQAAAAEAAAABAAAAYQAAAAAAAAAAAAAAAHhQSwECFAAUAAEAAAAA"
    b"AABagxbcjA0AAAABAAAAAQAAAAAAAAAAAAAAAAAAAAAAYVBLBQYAAAAAAQABAC8AAAAsAAAAAAA=\r\n"
)


class Clamd:
    """An antivirus filter."""

    def __init__(self, table: FilterTable, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.name = table.name
        self._url = table.url
        self._timeout = table.timeout_seconds
        self._stream_octets = table.stream_octets
        self._clock = clock
        self._threads = ThreadPoolExecutor(table.workers, thread_name_prefix=f"clamd-{word(table.name, 20)}")
        self._version = ""
        self._version_expires = 0.0

    async def check(self, request: ScanRequest) -> Verdict:
        """clamd's verdict on the bytes of the mail; the envelope plays no part."""
        message = request.message
        if message.size > self._stream_octets:
            return self._unscanned(f"{message.size} octets are more than the {self._stream_octets} that clamd scans", 0.0, for_ever=True)
        started = time.monotonic()
        try:
            version = await self.version()
            status, found = await self._run(lambda session: session.scan(message))
        except EngineUnavailable as error:
            log.warning("clamd.unscanned", filter=self.name, queue_id=request.queue_id, reason=error.private)
            return self._unscanned(error.private or error.public, time.monotonic() - started)
        elapsed = time.monotonic() - started
        if status == "OK":
            return Verdict(
                self.name, Action.ACCEPT, Scan.CLEAN, engine_version=brief(version),
                signature_age=self._age(version), elapsed=elapsed,
            )
        if status == "FOUND" and not found.startswith(_NOT_SEEN):
            return Verdict(
                self.name, Action.REJECT, Scan.INFECTED, threats=(word(found),), public="message contains a virus",
                engine_version=brief(version), signature_age=self._age(version), elapsed=elapsed,
            )
        for_ever = status == "FOUND" and not found.startswith(_NOT_NOW)
        return self._unscanned(f"{status} {found}", elapsed, for_ever=for_ever)

    async def identity(self) -> str | None:
        """What, besides the bytes, a verdict depends on; None while clamd does not say. Verdicts of one are shared."""
        try:
            return f"{self.name} {self._url} {await self.version()} {self._stream_octets}"
        except EngineUnavailable:
            return None

    async def version(self) -> str:
        """`ClamAV 1.4.3/27800/Mon Nov 23 08:00:00 2026`, not older than VERSION_SECONDS. Raises EngineUnavailable."""
        now = time.monotonic()
        if now >= self._version_expires:
            self._version = plain(await self._run(lambda session: session.version()))
            self._version_expires = now + VERSION_SECONDS
        return self._version

    async def ping(self) -> str:
        """The version, freshly asked. Raises EngineUnavailable."""
        self._version_expires = 0.0
        return await self.version()

    async def signature_age(self) -> int | None:
        """Seconds since clamd's signatures were made; None when it has none with a date. Raises EngineUnavailable."""
        return self._age(await self.version())

    async def admits_gaps(self) -> bool:
        """Whether clamd tells when it could not look into something; one that does not calls it OK. For `govmail doctor`.

        Raises EngineUnavailable.
        """
        message = Message.of(_SEALED)
        _, found = await self._run(lambda session: session.scan(message))
        return found.startswith(_NOT_SEEN)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, command: Callable[[_Session], T]) -> T:
        session = _Session(self._url, self._timeout)
        try:
            async with asyncio.timeout(self._timeout):  # the wait for a thread counts too
                return await asyncio.get_running_loop().run_in_executor(self._threads, session.run, command)
        except (clamd.ClamdError, OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise EngineUnavailable(f"{self.name} does not answer", private=plain(f"{type(error).__name__}: {error}")) from error
        finally:
            session.abort()

    def _unscanned(self, reason: str, elapsed: float, *, for_ever: bool = False) -> Verdict:
        action, scan = (Action.QUARANTINE, Scan.UNSCANNABLE) if for_ever else (Action.DEFER, Scan.UNSCANNED)
        return Verdict(self.name, action, scan, private=plain(reason), engine_version=brief(self._version), elapsed=elapsed)

    def _age(self, version: str) -> int | None:
        made = signature_date(version)
        return None if made is None else max(0, int((self._clock() - made).total_seconds()))


def brief(version: str) -> str:
    """Engine and signature number of a version, without the date: `ClamAV 1.4.3/27800`."""
    return "/".join(version.split("/")[:2])


def signature_date(version: str) -> datetime | None:
    """When the signatures were made, which clamd writes as ctime(3) in its own time zone – taken for UTC here."""
    try:
        return datetime.strptime(version.split("/")[2], "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


class _Session(clamd.ClamdNetworkSocket):
    """One command on one connection, run in a thread.

    The package's own methods send with `send`, which on a full socket drops the rest of a piece and lets clamd scan
    something else than the mail; they connect without a time-out and wait without an end to a server that sends an
    octet now and then. So the ones that touch the socket are written anew here, under one deadline.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._address = urlsplit(url)
        self._seconds = seconds
        self._deadline = 0.0
        self._aborted = False
        self._socket: socket.socket | None = None

    def run(self, command: Callable[[_Session], T]) -> T:
        self._deadline = time.monotonic() + self._seconds
        return command(self)

    def scan(self, message: Message) -> tuple[str, str]:
        """("OK", ""), ("FOUND", name) or ("ERROR", reason). Raises ClamdError and OSError."""
        self._init_socket()
        try:
            self._send_command("INSTREAM")
            self._send(struct.pack("!L", len(_PREFACE)) + _PREFACE)
            for piece in message.chunks():
                self._send(struct.pack("!L", len(piece)) + piece)
            self._send(struct.pack("!L", 0))
            reply = self._recv_response()
        finally:
            self._close_socket()
        _, reason, status = clamd.ClamdNetworkSocket._parse_response(self, reply)
        return status, reason or ""

    def version(self) -> str:
        return str(clamd.ClamdNetworkSocket.version(self))

    def abort(self) -> None:
        """From another thread: nobody waits for this any more."""
        self._aborted = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already, or never connected

    def _init_socket(self) -> None:
        if self._aborted:
            raise TimeoutError("given up before it began")
        unix = self._address.scheme == "unix"
        self._socket = socket.socket(socket.AF_UNIX) if unix else None
        if self._socket is None:
            host, port = self._address.hostname or "", self._address.port or 3310
            self._socket = socket.create_connection((host, port), min(CONNECT_SECONDS, self._left()))
        else:
            self._socket.settimeout(min(CONNECT_SECONDS, self._left()))
            self._socket.connect(self._address.path)

    def _send_command(self, cmd: str, *args: str) -> None:
        self._send(f"n{' '.join((cmd, *args))}\n".encode("ascii"))

    def _recv_response(self) -> str:
        assert self._socket is not None
        reply = b""
        while not reply.endswith(b"\n"):
            self._socket.settimeout(self._left())
            piece = self._socket.recv(REPLY_OCTETS)
            if not piece or len(reply) + len(piece) > REPLY_OCTETS:
                raise clamd.ResponseError("connection closed before the answer" if not piece else "answer too long")
            reply += piece
        return reply.decode("utf-8", "replace").strip()

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0 or self._aborted:
            raise TimeoutError("no time left")
        return left
