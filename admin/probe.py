"""A mail sent through the whole system, as a person would: login, submission, filters, delivery, IMAP.

The sender and recipient is an account of its own, `doctor@` the first local domain, in a unit of its own; it is made at
the first probe with a random password that lies in the data directory. The mail is removed again.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aioimaplib
import aiosmtplib

from admin.actions.context import Actor, Context
from admin.setup import secret
from admin.texts import say
from directory.model import NewPerson, NewUnit, Person, Unit, new_id
from govmail.config import Listener
from govmail.datadir import secrets_dir
from govmail.errors import MailError, NotFound
from govmail.mail.address import Address
from govmail.store import accounts

LOCAL_PART = "doctor"
UNIT_NAME, UNIT_LABEL = "系统", "system"
STEP_SECONDS = 30.0
ARRIVAL_SECONDS = 30.0
POLL_SECONDS = 0.2
MAILBOXES = ("INBOX", "Junk")


class ProbeFailed(MailError):
    """A step of the probe did not work; the text says what was answered."""


class Probe:
    """One round trip; `steps` in order, then `close`."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._message_id = f"<{secrets.token_hex(12)}@{ctx.config.hostname}>"
        self._address = ""
        self._password = ""
        self._smtp: aiosmtplib.SMTP | None = None
        self._imap: aioimaplib.IMAP4 | None = None
        self._uid = ""

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        """The steps by name; each returns what to tell the operator, or raises."""
        return [
            ("account", self._make_account), ("login", self._log_in), ("send", self._send),
            ("fetch", self._fetch), ("remove", self._remove),
        ]  # fmt: skip

    async def close(self) -> None:
        """Ends the connections, however the steps went."""
        if self._smtp is not None:
            self._smtp.close()
        if self._imap is not None:
            protocol: Any = self._imap.protocol
            if protocol.transport is not None:
                protocol.transport.close()

    async def _make_account(self) -> str:
        person = await ensure_account(self._ctx)
        self._address = str(person.primary)
        self._password = secret(secrets_dir(self._ctx.data_dir) / "doctor")
        return say("probe_account", address=self._address)

    async def _log_in(self) -> str:
        listener = self._listener("submission")
        smtp = aiosmtplib.SMTP(
            hostname=reachable(listener.host), port=self._ctx.port_of(listener), timeout=STEP_SECONDS,
            use_tls=listener.tls == "implicit", start_tls=listener.tls == "starttls", tls_context=self._tls(),
            local_hostname="doctor.invalid",
        )
        self._smtp = smtp
        try:
            await smtp.connect()
            answer = await smtp.login(self._address, self._password)
        except aiosmtplib.SMTPException as error:
            raise ProbeFailed(say("probe_refused", answer=error)) from error
        return f"{answer.code} {answer.message}"

    async def _send(self) -> str:
        assert self._smtp is not None
        mail = EmailMessage()
        mail["From"] = mail["To"] = self._address
        mail["Subject"] = say("probe_subject")
        mail["Date"] = format_datetime(self._ctx.clock())
        mail["Message-ID"] = self._message_id
        mail.set_content(say("probe_subject"))
        try:
            _, answer = await self._smtp.send_message(mail)
            await self._smtp.quit()
        except aiosmtplib.SMTPException as error:
            raise ProbeFailed(say("probe_refused", answer=error)) from error
        return answer

    async def _fetch(self) -> str:
        listener = self._listener("imap")
        if listener.tls == "implicit":
            imap: aioimaplib.IMAP4 = aioimaplib.IMAP4_SSL(
                host=reachable(listener.host), port=self._ctx.port_of(listener), timeout=STEP_SECONDS, ssl_context=self._tls(),
            )
        else:
            imap = aioimaplib.IMAP4(host=reachable(listener.host), port=self._ctx.port_of(listener), timeout=STEP_SECONDS)
        self._imap = imap
        await imap.wait_hello_from_server()
        await _ok(imap.login(self._address, self._password))
        deadline = asyncio.get_running_loop().time() + ARRIVAL_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            for mailbox in MAILBOXES:
                await _ok(imap.select(mailbox))
                found = await _ok(imap.uid_search("HEADER", "Message-ID", self._message_id))
                if uids := found[0].split():
                    self._uid = uids[0].decode("ascii")
                    return say("probe_arrived", mailbox=mailbox)
            await asyncio.sleep(POLL_SECONDS)
        raise ProbeFailed(say("probe_missing", seconds=ARRIVAL_SECONDS))

    async def _remove(self) -> str:
        assert self._imap is not None
        await _ok(self._imap.uid("store", self._uid, "+FLAGS.SILENT", "(\\Deleted)"))
        await _ok(self._imap.expunge())
        await _ok(self._imap.logout())
        return say("probe_removed")

    def _listener(self, protocol: str) -> Listener:
        """Where people submit or fetch mail: implicit TLS first."""
        listeners = [one for one in self._ctx.config.listener if one.protocol == protocol]
        # aioimaplib knows no STARTTLS; without TLS a login is possible only where it was allowed.
        usable = [one for one in listeners if protocol != "imap" or one.tls == "implicit" or one.allow_plain_login]
        if not usable:
            raise ProbeFailed(say("probe_listener", protocol=protocol))
        return min(usable, key=lambda one: ("implicit", "starttls", "none").index(one.tls))

    def _tls(self) -> ssl.SSLContext:
        return client_tls(self._ctx.data_dir / self._ctx.config.tls.certificate)


async def _ok(command: Awaitable[aioimaplib.Response]) -> list[bytes]:
    response = await command
    if response.result != "OK":
        raise ProbeFailed(say("probe_refused", answer=b" ".join(response.lines).decode("utf-8", "replace")))
    lines: list[bytes] = response.lines
    return lines


async def ensure_account(ctx: Context) -> Person:
    """The probe's account, made where it is missing; its password is the one in `secrets/doctor`."""
    root = await ctx.directory.root()
    domains = await ctx.directory.domains()
    if root is None or not domains:
        raise ProbeFailed(say("probe_none"))
    domain = next((one.domain for one in domains if one.unit_id == root.unit_id), domains[0].domain)
    address = Address(LOCAL_PART, domain)
    password = secret(secrets_dir(ctx.data_dir) / "doctor")
    try:
        person = await ctx.directory.person_by_address(address)
    except NotFound:
        return await _add_account(ctx, root, address, password)
    known = await ctx.directory.credentials(address)
    if known is not None and known.password_hash and not await ctx.hasher.verify(password, known.password_hash):
        await ctx.directory.set_password(person.person_id, await ctx.hasher.hash(password))
        ctx.cache.invalidate()
    return person


async def _add_account(ctx: Context, root: Unit, address: Address, password: str) -> Person:
    async with ctx.recorded(Actor.of_uid(0, "doctor"), "doctor.account", str(address)):
        below = [one for one in await ctx.directory.children(root.unit_id) if one.label == UNIT_LABEL]
        if below:
            unit = below[0]
        else:
            unit = await ctx.directory.add_unit(
                NewUnit(name=UNIT_NAME, label=UNIT_LABEL, parent_id=root.unit_id, level=root.level, kind=UNIT_NAME, unit_id=new_id()),
            )
        person = await ctx.directory.add_person(
            NewPerson(unit.unit_id, say("probe_subject"), address, password_hash=await ctx.hasher.hash(password), person_id=new_id()),
        )
        ctx.cache.invalidate()
        await ctx.database.write(accounts.ensure, person.person_id, now=ctx.now)
        return person


def reachable(host: str) -> str:
    """Where a listener's address can be reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def client_tls(certificate: Path) -> ssl.SSLContext:
    """Trusts exactly our own certificate; its name was checked apart."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
