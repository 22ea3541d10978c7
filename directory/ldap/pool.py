"""Connections to an LDAP server: a bounded pool of threads, one connection per thread, every wait bounded.

Invariants
- ldap3 is used synchronously inside these threads only; no entry, result or exception type of ldap3 leaves this module.
- A connection on which anything unexpected happened is thrown away. An idle connection that the server has closed is
  noticed before it is used, so a change is never sent twice.
- Result codes become errors of `govmail.errors`; what is not known to be the caller's fault is DirectoryUnavailable.

RFC 4511 (protocol), RFC 2696 (paged results).
"""

# mypy: disable-error-code="attr-defined,no-untyped-call"
# ldap3 has no types; nothing of it leaves this file.

from __future__ import annotations

import asyncio
import math
import select
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import ldap3
import structlog
from ldap3.core.exceptions import LDAPException

from govmail.errors import BadInput, Conflict, DirectoryUnavailable, NotFound, NotPermitted

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.stdlib.get_logger("directory.ldap")

WAITING_PER_CONNECTION = 200  # questions that may wait for one connection; beyond it DirectoryUnavailable
PAGE = 500  # entries per page of a search

SUCCESS, NO_SUCH_OBJECT, INVALID_CREDENTIALS, INAPPROPRIATE_AUTHENTICATION = 0, 32, 49, 48  # RFC 4511 §4.1.9
_CONFLICT = {19, 20, 68, 71}  # constraintViolation (slapo-unique), attributeOrValueExists, entryAlreadyExists, …
_BAD_INPUT = {
    17: "the directory does not know an attribute; is govmail.schema loaded there?",  # undefinedAttributeType
    21: "the directory does not take one of the values",  # invalidAttributeSyntax
    34: "the directory does not take the name of the entry",  # invalidDNSyntax
    64: "the directory does not take the name of the entry",  # namingViolation
    65: "the directory's schema does not allow this entry; is govmail.schema loaded there?",  # objectClassViolation
    66: "there are still entries below this one in the directory",  # notAllowedOnNonLeaf
    67: "the directory does not take the name of the entry",  # notAllowedOnRDN
}
_NOT_PERMITTED = {8, 50}  # strongerAuthRequired, insufficientAccessRights
_NOT_NOW = {
    11: "the directory has reached a limit of its own",  # adminLimitExceeded
    53: "the directory takes no changes at the moment",  # unwillingToPerform: a replica, or read-only
    80: "the directory has failed; its log says why",  # other, such as a full disk
}

SUBTREE, ONE, BASE = ldap3.SUBTREE, ldap3.LEVEL, ldap3.BASE
ADD, DELETE, REPLACE = ldap3.MODIFY_ADD, ldap3.MODIFY_DELETE, ldap3.MODIFY_REPLACE


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was read: attribute names in the case of the question, values decoded from UTF-8."""

    dn: str
    values: Mapping[str, Sequence[str]]

    def one(self, name: str) -> str:
        """The value of a single-valued attribute, "" where it is absent."""
        found = self.values.get(name)
        return found[0] if found else ""

    def all(self, name: str) -> Sequence[str]:
        return self.values.get(name, ())


@dataclass(frozen=True, slots=True)
class Server:
    """Where and as whom to connect; times in seconds."""

    url: str
    bind_dn: str
    password: str
    ca_file: str = ""
    timeout: float = 5.0


class Link:
    """One connection, used by one thread at a time. Blocking."""

    def __init__(self, server: Server, *, dn: str | None = None, password: str | None = None) -> None:
        timeout = max(1, math.ceil(server.timeout))  # ldap3 takes whole seconds
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=server.ca_file or None) if server.url.startswith("ldaps") else None
        try:
            self._connection = ldap3.Connection(
                ldap3.Server(server.url, get_info=ldap3.NONE, connect_timeout=timeout, tls=tls),
                user=server.bind_dn if dn is None else dn, password=server.password if password is None else password,
                client_strategy=ldap3.SAFE_SYNC, receive_timeout=timeout, check_names=False, auto_escape=False,
                auto_encode=False, return_empty_attributes=False, auto_referrals=False, raise_exceptions=False,
            )
            self._connection.open(read_server_info=False)
            _, result, _, _ = self._connection.bind(read_server_info=False)
        except (LDAPException, OSError) as error:
            raise DirectoryUnavailable(private=f"{server.url}: {error!r}") from error
        self.bound: bool = result["result"] == SUCCESS
        self.refused = result["result"] in (INVALID_CREDENTIALS, INAPPROPRIATE_AUTHENTICATION)
        if not self.bound and not self.refused:
            self.close()
            raise DirectoryUnavailable(private=f"{server.url}: bind: {result['description']} {result['message']}")

    @property
    def alive(self) -> bool:
        """False when the server has closed an idle connection: then there is something to read, its end."""
        socket = self._connection.socket
        return socket is not None and not self._connection.closed and not select.select([socket], [], [], 0)[0]

    def close(self) -> None:
        try:
            self._connection.unbind()
        except (LDAPException, OSError):
            pass

    def _ask(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        try:
            _, result, response, _ = method(*args, **kwargs)
        except (LDAPException, OSError) as error:
            raise DirectoryUnavailable(private=repr(error)) from error
        return result, response or []

    def page(
        self, base: str, scope: str, query: str, attributes: Sequence[str], *, size: int = PAGE, cookie: bytes | None = None,
        limit: int = 0,
    ) -> tuple[list[Entry], bytes | None]:
        """One page of a search, and the cookie for the next one (None: there is none). No base entry: nothing found."""
        result, response = self._ask(
            self._connection.search, base, query, search_scope=scope, attributes=list(attributes) or ["1.1"],
            paged_size=size if not limit else None, paged_cookie=cookie, size_limit=limit,
        )
        if result["result"] == NO_SUCH_OBJECT:
            return [], None
        if not (limit and result["result"] == 4):  # sizeLimitExceeded: as many as were asked for
            _raise_for(result)
        entries = [
            Entry(one["dn"], {name: [value.decode("utf-8", "replace") for value in values] for name, values in one["raw_attributes"].items()})
            for one in response
            if one["type"] == "searchResEntry"
        ]
        control = (result.get("controls") or {}).get("1.2.840.113556.1.4.319")
        return entries, (control["value"]["cookie"] or None) if control else None

    def search(self, base: str, scope: str, query: str, attributes: Sequence[str]) -> list[Entry]:
        """All that a search finds, page by page."""
        found, cookie = self.page(base, scope, query, attributes)
        while cookie:
            more, cookie = self.page(base, scope, query, attributes, cookie=cookie)
            found += more
        return found

    def get(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """One entry by its DN."""
        found, _ = self.page(dn, BASE, "(objectClass=*)", attributes, limit=1)
        return found[0] if found else None

    def add(self, dn: str, classes: Sequence[str], values: Mapping[str, Sequence[str] | str]) -> None:
        """`values`: empty ones are left out."""
        given = {name: [one.encode() for one in ([value] if isinstance(value, str) else value)] for name, value in values.items() if value}
        _raise_for(self._ask(self._connection.add, dn, list(classes), given)[0])

    def modify(self, dn: str, changes: Mapping[str, Sequence[tuple[str, Sequence[str]]]]) -> None:
        """`changes`: attribute -> (ADD, DELETE or REPLACE; values)."""
        given = {name: [(kind, [one.encode() for one in values]) for kind, values in steps] for name, steps in changes.items()}
        _raise_for(self._ask(self._connection.modify, dn, given)[0])

    def rename(self, dn: str, rdn: str, parent: str | None = None) -> None:
        """modrdn: new RDN, perhaps below another entry; what is below follows."""
        _raise_for(self._ask(self._connection.modify_dn, dn, rdn, delete_old_dn=True, new_superior=parent)[0])

    def delete(self, dn: str) -> None:
        _raise_for(self._ask(self._connection.delete, dn)[0])


def _raise_for(result: Mapping[str, Any]) -> None:
    code = result["result"]
    if code == SUCCESS:
        return
    cause = f"{result['description']}: {result['message']}"
    if code != NO_SUCH_OBJECT:
        log.warning("directory.refused", code=code, cause=cause)
    if code in _CONFLICT:
        raise Conflict(private=cause)
    if code == NO_SUCH_OBJECT:
        raise NotFound(private=cause)
    if code in _BAD_INPUT:
        raise BadInput(_BAD_INPUT[code], private=cause)
    if code in _NOT_PERMITTED:
        raise NotPermitted("the directory does not let govmail do this; see the rights of bind_dn", private=cause)
    raise DirectoryUnavailable(_NOT_NOW.get(code), private=cause)


class Pool:
    """Threads that each keep one connection. `run` is the only way in."""

    def __init__(self, server: Server, size: int) -> None:
        self.server = server
        self._size = size
        self._waiting = 0
        self._local = threading.local()
        self._links: set[Link] = set()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="ldap")

    async def run(self, fn: Callable[Concatenate[Link, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(link, …)` in a thread. Raises what it raises; DirectoryUnavailable when too many wait or nothing answers."""
        return await self.run_plain(self._with_link, fn, args, kwargs)

    async def run_plain(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A function that brings its own connection."""
        if self._waiting >= WAITING_PER_CONNECTION * self._size:
            raise DirectoryUnavailable(private=f"{self._waiting} questions are waiting for the directory")
        # When the directory hangs, those who queue behind must not each wait for a time-out of their own.
        latest = time.monotonic() + 2 * self.server.timeout

        def ask() -> T:
            if time.monotonic() > latest:
                raise DirectoryUnavailable(private="waited too long for a connection")
            return fn(*args, **kwargs)

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        finally:
            self._waiting -= 1

    def _with_link(self, fn: Callable[..., T], args: Sequence[object], kwargs: Mapping[str, object]) -> T:
        link: Link | None = getattr(self._local, "link", None)
        if link is None or not link.alive:
            self._drop(link)
            link = self._local.link = self.connect()
            self._links.add(link)
        try:
            return fn(link, *args, **kwargs)
        except DirectoryUnavailable:
            self._drop(link)
            raise

    def _drop(self, link: Link | None) -> None:
        self._local.link = None
        if link is not None:
            self._links.discard(link)
            link.close()

    def connect(self) -> Link:
        """A connection as the service identity; the caller closes it."""
        link = Link(self.server)
        if not link.bound:
            link.close()
            raise DirectoryUnavailable(private=f"{self.server.url}: the service identity {self.server.bind_dn} is refused")
        return link

    async def close(self) -> None:
        """Ends the threads and closes all connections; idempotent."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        for link in list(self._links):
            link.close()
        self._links.clear()
