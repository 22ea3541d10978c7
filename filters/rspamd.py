"""rspamd over HTTP: is this mail spam, is its sender who it says, and what is its DKIM signature.

Invariants
- `check` never raises and never answers for a mail that rspamd did not answer for: a refused connection, a time-out, a
  killed worker, a status other than 200 or an answer that does not hold is an *unscanned* verdict.
- Nothing of the mail or its envelope reaches a request header without `_header_value`.
- A DKIM signature that covers only a part of the body (l=) proves nothing about the rest, which anybody may have appended: rspamd
  would let it pass, so it is not shown to it, and the mail counts as unsigned (RFC 6376 §8.2).
- rspamd is asked for every transaction; its verdicts depend on envelope and time and are never shared.

rspamd's action becomes ours so: *reject* → REJECT (QUARANTINE where the configuration does not want refusals), *soft
reject* → DEFER, *add header* and *rewrite subject* → TAG (the subject stays as it was written), *quarantine* and
*discard* → QUARANTINE (nothing is dropped), *no action* and *greylist* → ACCEPT. Greylisting needs a memory of earlier
attempts, which a content score of four points is not; with it unhonoured a first mail is not delayed.

Protocol: https://docs.rspamd.com/developers/protocol
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog

from filters.headers import authentication_results, plain, word
from govmail.config import FilterTable, read_secret
from govmail.errors import EngineUnavailable
from govmail.interfaces import Action, Scan, ScanRequest, Symbol, Verdict
from govmail.mail.message import CHUNK_OCTETS, Message

log = structlog.stdlib.get_logger("filters.rspamd")

ANSWER_OCTETS = 4 * 1024 * 1024  # the longest answer that is read
RECIPIENT_OCTETS = 32 * 1024  # of Rcpt headers; rspamd refuses a request with more than 80 KB of header
CONNECT_SECONDS = 5.0
SYMBOLS = 500  # kept of one answer
OPTIONS = 20  # kept of one symbol
SMALL_OCTETS = 64 * 1024  # sent in one piece

_ACTIONS = {
    "no action": Action.ACCEPT,
    "greylist": Action.ACCEPT,
    "add header": Action.TAG,
    "rewrite subject": Action.TAG,
    "soft reject": Action.DEFER,
    "quarantine": Action.QUARANTINE,
    "discard": Action.QUARANTINE,
    "reject": Action.REJECT,
}
_SPAM = {"add header", "rewrite subject", "quarantine", "discard", "reject"}


class _Symbol(msgspec.Struct):
    score: float = 0.0
    options: list[Any] | None = None


class _Answer(msgspec.Struct):
    """The part of a /checkv2 answer that is used; a missing or ill-typed field makes the answer worthless."""

    action: str
    score: float
    required_score: float
    symbols: dict[str, _Symbol]
    messages: dict[str, Any] = {}
    signature: str | list[str] | None = msgspec.field(default=None, name="dkim-signature")
    milter: dict[str, Any] = {}


_decode_answer = msgspec.json.Decoder(_Answer).decode


class Rspamd:
    """A content filter, and the way to rspamd's controller. One session and its pool for the life of the object."""

    def __init__(self, table: FilterTable, *, hostname: str, spam_reject: bool = True, data_dir: Path = Path()) -> None:
        self.name = table.name
        self._url = table.url.rstrip("/")
        self._controller = (table.controller_url or table.url).rstrip("/")
        self._password = read_secret(data_dir / table.password_file) if table.password_file else None
        self._timeout = aiohttp.ClientTimeout(total=table.timeout_seconds, sock_connect=CONNECT_SECONDS)
        self._workers = table.workers
        self._sign = table.sign
        self._hostname = hostname
        self._spam_reject = spam_reject
        self._session: aiohttp.ClientSession | None = None

    async def check(self, request: ScanRequest) -> Verdict:
        """rspamd's verdict on the mail in its envelope."""
        started = time.monotonic()
        try:
            answer, version = await self._ask(request)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: the answer is no JSON, or not that of rspamd (msgspec.ValidationError is one)
            reason = plain(f"{type(error).__name__}: {error}")
            log.warning("rspamd.unscanned", filter=self.name, queue_id=request.queue_id, reason=reason)
            return Verdict(self.name, Action.DEFER, Scan.UNSCANNED, private=reason, elapsed=time.monotonic() - started)
        return self._verdict(request, answer, version, time.monotonic() - started)

    async def ping(self) -> str:
        """The version, `rspamd/3.4`. Raises EngineUnavailable."""
        return await self._command("GET", f"{self._url}/ping", None)

    async def learn(self, message: Message, *, spam: bool) -> None:
        """Teach the classifier that this is spam, or that it is not. Raises EngineUnavailable with rspamd's reason."""
        await self._command("POST", f"{self._controller}/{'learnspam' if spam else 'learnham'}", message)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session belongs to a running loop, so not in __init__
            connector = aiohttp.TCPConnector(limit=self._workers)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        return self._session

    async def _ask(self, request: ScanRequest) -> tuple[_Answer, str]:
        headers = [*_describe(request), *self._authorise()]
        async with self._open().post(
            f"{self._url}/checkv2", data=_shown(request.message), headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"HTTP status {response.status}")
            text = (await _read(response)).decode("utf-8", "replace")  # options may hold the mail's own GBK octets
            answer = _decode_answer(text)
            if not (math.isfinite(answer.score) and math.isfinite(answer.required_score)):
                raise ValueError("score is not a number")
            return answer, plain(response.headers.get("Server", "rspamd"), 40)

    async def _command(self, method: str, url: str, message: Message | None) -> str:
        headers = [("Content-Length", str(message.size))] if message else []
        try:
            async with self._open().request(
                method, url, data=_body(message) if message else None, headers=[*headers, *self._authorise()], allow_redirects=False
            ) as response:
                if response.status != 200 and "already learned" not in (response.reason or ""):
                    raise EngineUnavailable(f"{self.name}: {response.status} {plain(response.reason or '')}")
                return plain(response.headers.get("Server", "rspamd"), 40)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EngineUnavailable(f"{self.name} does not answer", private=f"{type(error).__name__}: {error}") from error

    def _authorise(self) -> list[tuple[str, str]]:
        return [("Password", self._password)] if self._password else []

    def _verdict(self, request: ScanRequest, answer: _Answer, version: str, elapsed: float) -> Verdict:
        action = _ACTIONS.get(answer.action)
        if action is None:
            return Verdict(
                self.name, Action.DEFER, Scan.UNSCANNED, private=f"unknown action {plain(answer.action, 60)}",
                engine_version=version, elapsed=elapsed,
            )
        if action is Action.REJECT and not self._spam_reject:
            action = Action.QUARANTINE
        headers = [("Authentication-Results", value) for value in self._results(answer)]
        if request.sign and self._sign:
            headers += [("DKIM-Signature", value) for value in _signatures(answer)]
        return Verdict(
            self.name,
            action,
            score=answer.score,
            threshold=answer.required_score,
            symbols=tuple(_symbols(answer)),
            public={Action.REJECT: "message refused as spam", Action.DEFER: "try again later"}.get(action, ""),
            private=plain(str(answer.messages.get("smtp_message", ""))),
            engine_version=version,
            elapsed=elapsed,
            headers=tuple(headers),
            spam=answer.action in _SPAM,
        )

    def _results(self, answer: _Answer) -> list[str]:
        added = answer.milter.get("add_headers")
        entry = added.get("Authentication-Results") if isinstance(added, dict) else None
        values = [one.get("value") if isinstance(one, dict) else one for one in (entry if isinstance(entry, list) else [entry])]
        return [authentication_results(value, self._hostname) for value in values if isinstance(value, str)]


def _describe(request: ScanRequest) -> list[tuple[str, str]]:
    """The envelope as rspamd's request headers."""
    envelope, origin = request.envelope, request.origin
    headers = [
        ("Content-Length", str(request.message.size)),
        ("Content-Type", "application/octet-stream"),
        ("Queue-Id", request.queue_id),
        ("From", f"<{envelope.sender}>"),
        ("IP", origin.client_ip),
        ("Helo", origin.helo),
    ]
    if origin.reverse_name:
        headers.append(("Hostname", origin.reverse_name))
    if envelope.login:
        headers.append(("User", origin.login or envelope.login))
    if origin.tls:
        version, _, cipher = origin.tls.partition(" ")
        headers += [("TLS-Version", version), ("TLS-Cipher", cipher)]
    room = RECIPIENT_OCTETS
    for recipient in envelope.recipients:
        value = f"<{recipient.address}>"
        room -= len(value.encode("utf-8", "replace")) + 8
        if room < 0:
            break
        headers.append(("Rcpt", value))
    return [(name, _header_value(value)) for name, value in headers]


def _header_value(text: str) -> str:
    """A client's text as an HTTP header value: no control characters, no end of line, bounded."""
    return "".join(char if char.isprintable() else "?" for char in text[:1000])


_HEADER_END = re.compile(rb"\n\r?\n")
_SIGNATURE = re.compile(rb"^DKIM-Signature[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
_LENGTH_TAG = re.compile(rb"[:;]\s*l\s*=")  # RFC 6376 §3.5


def without_limited_signatures(octets: bytes) -> bytes:
    """The beginning of a mail, at least its header; DKIM signatures that have a length get a name that means nothing, as long
    as their own: the size of the mail is said before it is sent."""
    end = _HEADER_END.search(octets)
    cut = end.start() + 1 if end else len(octets)
    return _SIGNATURE.sub(lambda found: b"X" + found[0][1:] if _LENGTH_TAG.search(found[0]) else found[0], octets[:cut]) + octets[cut:]


def _shown(message: Message) -> bytes | AsyncIterator[bytes]:
    """What rspamd gets to see."""
    if message.data is not None and message.size <= SMALL_OCTETS:
        return without_limited_signatures(message.data)
    return _judged(message)


async def _judged(message: Message) -> AsyncIterator[bytes]:
    first = True
    async for piece in _pieces(message):
        yield without_limited_signatures(piece) if first else piece
        first = False


def _body(message: Message) -> bytes | AsyncIterator[bytes]:
    if message.data is not None and message.size <= SMALL_OCTETS:
        return message.data
    return _pieces(message)


async def _pieces(message: Message) -> AsyncIterator[bytes]:
    for offset in range(0, message.size, CHUNK_OCTETS):
        if message.data is not None:
            yield message.data[offset : offset + CHUNK_OCTETS]
        else:
            yield await asyncio.to_thread(message.read, offset, CHUNK_OCTETS)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for piece in response.content.iter_chunked(CHUNK_OCTETS):
        answer += piece
        if len(answer) > ANSWER_OCTETS:
            raise ValueError("answer too long")
    return bytes(answer)


def _symbols(answer: _Answer) -> list[Symbol]:
    heaviest = sorted(answer.symbols.items(), key=lambda item: -abs(item[1].score))[:SYMBOLS]
    return [
        Symbol(word(name), symbol.score if math.isfinite(symbol.score) else 0.0, tuple(str(option)[:500] for option in (symbol.options or ())[:OPTIONS]))
        for name, symbol in heaviest
    ]


def _signatures(answer: _Answer) -> list[str]:
    # Folds are part of what the recipient verifies when canonicalization is "simple" (RFC 6376 §3.4.1), so they stay as
    # they are; a signature that is no clean header value is left out.
    signatures = [answer.signature] if isinstance(answer.signature, str) else answer.signature or []
    values = ["\r\n".join(signature.splitlines()) for signature in signatures]
    return [value for value in values if _is_folded(value)]


def _is_folded(value: str) -> bool:
    lines = value.split("\r\n")
    return all(line.strip() and all(char == "\t" or " " <= char <= "~" for char in line) for line in lines) and all(
        line[0] in " \t" for line in lines[1:]
    )
