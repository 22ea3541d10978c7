"""Every way to log in, over the sockets of both protocols: AUTH=EXTERNAL, AUTH=SCRAM-SHA-256-PLUS, AUTH=SCRAM-SHA-256,
AUTH=OAUTHBEARER, AUTH=XOAUTH2."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from admin import setup
from admin.actions import domain, person, unit
from admin.actions.context import Actor
from directory.issuers import Issuers
from directory.local import LocalDirectory
from directory.model import NewPerson, NewUnit, Person
from directory.passwords import PasswordAuthenticator, PasswordPool
from directory.proofs import DirectoryProofs, end_point_of
from govmail import app, config, datadir, tls
from govmail.bus import LocalBus
from govmail.config import BadConfig, Config, DirectoryTable, Issuer, Limits, Listener
from govmail.control import context_of
from govmail.delivery.budget import Budget
from govmail.delivery.full import FullMailboxes
from govmail.imap.server import ImapServer
from govmail.interfaces import PersonState
from govmail.mail.address import Address
from govmail.smtp.server import SmtpServer
from govmail.smtp.session import Services
from govmail.store.database import Database
from tests.kit.authority import Authority, TokenMaker
from tests.kit.imap import ImapClient
from tests.kit.scram import final_message, server_signature
from tests.kit.smtp import SmtpClient
from tests.kit.tls import make_certificate

LOGIN, PASSWORD = "zhangsan@jx.example", "correct horse battery"
NOW = 1_800_000_000
CLAIMS: dict[str, Any] = {"iss": "https://sso.jx.example", "aud": "govmail", "exp": NOW + 300, "email": LOGIN}
MAKER = TokenMaker()
LIMITS = Limits(imap_failure_seconds=0.0, imap_auth_failures=3, smtp_auth_failures=3)


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class World:
    """Both servers. Listeners of each: "full" offers all there is, "starttls" the
    same after STARTTLS, "bare" neither binding nor certificates, "clear" no TLS."""

    directory: LocalDirectory
    person: Person
    authority: Authority
    end_point: bytes
    revoked: tls.RevocationLists
    ports: dict[str, int] = field(default_factory=dict)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database.open("sqlite://", data_dir=tmp_path, durable=False)
    directory = LocalDirectory(database)
    pool = PasswordPool(cores=1, memory_kib=64, passes=1, scram_iterations=4096)
    root = await directory.add_unit(NewUnit("江西省", "jx", None, 1, domain="jx.example", is_region=True))
    stored = await pool.hash(PASSWORD)
    somebody = await directory.add_person(
        NewPerson(root.unit_id, "张三", Address.parse(LOGIN), password_hash=stored, aliases=(Address.parse("zs@jx.example"),))
    )
    await directory.add_person(NewPerson(root.unit_id, "李四", Address.parse("lisi@jx.example"), password_hash=stored))
    authority = Authority(tmp_path)
    (tmp_path / "tls").mkdir()
    certificate, key = make_certificate()
    (tmp_path / "tls/cert.pem").write_bytes(certificate)
    (tmp_path / "tls/key.pem").write_bytes(key)
    (tmp_path / "jwks.json").write_bytes(MAKER.jwks())
    settings = Config(
        hostname="mail.jx.example", limits=LIMITS,
        issuer=(Issuer(issuer=CLAIMS["iss"], audience="govmail", jwks_file="jwks.json"),),
        listener=tuple(
            Listener(
                name=f"{protocol}-{kind}", protocol=protocol, port=0, tls=how,
                allow_plain_login=kind == "clear", channel_binding=full or kind == "clear",
                client_ca_file=authority.file.name if full else "", client_crl_file=authority.crl.name if full else "",
            )
            for protocol in ("imap", "submission")
            for kind, how, full in (
                ("full", "implicit", True), ("starttls", "starttls", True), ("bare", "implicit", False), ("clear", "none", False),
            )
        ),  # type: ignore[arg-type]
    )  # fmt: skip
    clock = lambda: datetime.fromtimestamp(NOW, UTC)  # noqa: E731
    authenticator = PasswordAuthenticator(directory, database, pool, b"k" * 32, settings.directory, clock=clock)
    end_point = end_point_of(tmp_path / "tls/cert.pem")
    proofs = DirectoryProofs(
        directory, Issuers(settings.issuer, tmp_path), b"k" * 32, DirectoryTable(scram_iterations=4096), end_point=end_point, clock=clock
    )
    bus, budget = LocalBus(), Budget(LIMITS.inflight_octets)
    imap = ImapServer(settings, database, authenticator, bus, proofs=proofs, clock=clock)
    smtp = SmtpServer(
        Services(
            "mail.jx.example", LIMITS, directory, authenticator, None, budget, tmp_path, lambda: "Q1",  # type: ignore[arg-type]
            FullMailboxes(bus, clock), proofs,
        )
    )  # fmt: skip
    contexts = tls.make_contexts(settings, tmp_path)
    world = World(directory, somebody, authority, end_point, tls.RevocationLists(settings.listener, contexts, tmp_path))
    for one in settings.listener:
        if one.protocol == "imap":
            world.ports[one.name] = (await imap.start(one, contexts.get(one.name))).sockets[0].getsockname()[1]
        else:
            world.ports[one.name] = await smtp.start(one, contexts.get(one.name))
    yield world
    await smtp.stop()
    await imap.close()
    await pool.close()
    await database.close()


class Talk:
    """AUTH over one of the protocols, as a client that knows SASL sees it."""

    def __init__(self, ports: dict[str, int], protocol: str, kind: str = "full", certificate: Path | None = None, version: str = "TLSv1_3") -> None:
        context: ssl.SSLContext | None = None
        if kind != "clear":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion[version]
            if certificate is not None:
                context.load_cert_chain(certificate)
        self.imap = protocol == "imap"
        port = ports[f"{protocol}-{kind}"]
        self.later = context if kind == "starttls" else None
        now = None if kind == "starttls" else context
        self.client: ImapClient | SmtpClient = ImapClient(port, tls=now) if self.imap else SmtpClient(port, tls=now)

    async def __aenter__(self) -> Talk:
        await self.client.__aenter__()
        if isinstance(self.client, ImapClient):
            greeting = self.client.greeting.decode()
            if self.later is not None:
                assert "AUTH=" not in greeting
                await self.client.start_tls(self.later)
                [capability] = await self.client.ok(b"CAPABILITY")
                greeting = capability.decode() + " ready"
            assert "ready" in greeting, greeting
            self.offered = tuple(word[5:] for word in greeting.replace("]", " ").split() if word.startswith("AUTH="))
        else:
            hello = await self.client.hello()
            if self.later is not None:
                assert "AUTH" not in hello
                await self.client.command("STARTTLS")
                await self.client.start_tls(self.later)
                hello = await self.client.hello()
            [line] = [line for line in hello.splitlines() if line[4:].startswith("AUTH ")]
            self.offered = tuple(line[4:].split()[1:])
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.client.__aexit__(*error)

    async def auth(self, mechanism: str, *responses: bytes, initial: bool = True) -> tuple[str, list[bytes]]:
        """("ok", "no", "bad" or "closed", challenges that came after each response)."""
        lines = [base64.b64encode(one) or b"=" for one in responses]
        verb = b"x AUTHENTICATE " if self.imap else b"AUTH "
        await self.client.send(verb + mechanism.encode() + (b" " + lines.pop(0) if initial else b"") + b"\r\n")
        challenges = []
        while True:
            reply = await self._reply()
            if isinstance(reply, str):
                return reply, challenges
            challenges.append(reply)
            line = lines.pop(0) if lines else b"*"
            await self.client.send((b"" if line == b"=" else line) + b"\r\n")

    async def _reply(self) -> str | bytes:
        if isinstance(self.client, ImapClient):
            line = (await self.client.response()).decode().rstrip("\r\n")
            while line.startswith("* ") and not line.startswith("* BYE"):
                line = (await self.client.response()).decode().rstrip("\r\n")
            if line.startswith("+ "):
                return base64.b64decode(line[2:])
            return {"x OK": "ok", "x NO": "no", "x BA": "bad"}.get(line[:4], "closed")
        line = await self.client.reply()
        if line.startswith("334"):
            return base64.b64decode(line[4:])
        return {"235": "ok", "535": "no", "501": "bad", "504": "no", "500": "bad"}.get(line[:3], "closed")

    async def scram(self, login: str, password: str, *, header: bytes = b"n,,", plus: bool = False, binding: bytes = b"") -> str:
        """A whole SCRAM exchange; the server's signature is checked."""
        bare = f"n={login},r=clientnonce".encode()
        name = b"SCRAM-SHA-256" + (b"-PLUS" if plus else b"")
        await self.client.send((b"x AUTHENTICATE " if self.imap else b"AUTH ") + name + b" " + base64.b64encode(header + bare) + b"\r\n")
        challenge = await self._reply()
        if isinstance(challenge, str):
            return challenge
        await self.client.send(base64.b64encode(final_message(password, header, bare, challenge, binding=binding)) + b"\r\n")
        signature = await self._reply()
        if isinstance(signature, str):
            return signature
        assert signature == server_signature(password, header, bare, challenge, binding=binding)
        await self.client.send(b"\r\n")
        last = await self._reply()
        assert isinstance(last, str)
        return last


both = pytest.mark.parametrize("protocol", ["imap", "submission"])


@both
async def test_what_is_offered_where(world: World, protocol: str) -> None:
    always = ("SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    everything = ("EXTERNAL", "SCRAM-SHA-256-PLUS", *always)
    for kind, offered in (("full", everything), ("starttls", everything), ("bare", always), ("clear", always)):
        async with Talk(world.ports, protocol, kind) as talk:
            assert talk.offered == offered
            for name in {"EXTERNAL", "SCRAM-SHA-256-PLUS", "CRAM-MD5"} - set(offered):
                assert await talk.auth(name, b"n,,n=user,r=abc") == ("no", [])


@both
async def test_scram(world: World, protocol: str) -> None:
    async with Talk(world.ports, protocol, "bare") as talk:
        assert await talk.scram(LOGIN, "wrong") == "no"
        assert await talk.scram("nobody@jx.example", PASSWORD) == "no"
        assert await talk.scram("ZS@jx.example", PASSWORD, header=b"y,,") == "ok"
    async with Talk(world.ports, protocol, "clear") as talk:
        assert await talk.scram(LOGIN, PASSWORD, header=b"p=tls-server-end-point,,", plus=True) == "no"
        assert await talk.scram(LOGIN, PASSWORD, header=b"y,,") == "ok"
    async with Talk(world.ports, protocol, "full") as talk:
        assert await talk.scram(LOGIN, PASSWORD, header=b"y,,") == "no"  # it must have seen -PLUS
        assert await talk.scram(LOGIN, PASSWORD) == "ok"
    await world.directory.set_state(world.person.person_id, PersonState.SUSPENDED)
    async with Talk(world.ports, protocol, "bare") as talk:
        assert await talk.scram(LOGIN, PASSWORD) == "no"


@both
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_scram_plus(world: World, protocol: str, version: str) -> None:
    header = b"p=tls-server-end-point,,"
    async with Talk(world.ports, protocol, version=version) as talk:
        assert await talk.scram(LOGIN, PASSWORD, header=header, plus=True, binding=b"x" * 32) == "no"
        assert await talk.scram(LOGIN, PASSWORD, header=b"p=tls-exporter,,", plus=True) == "no"
        assert await talk.scram(LOGIN, PASSWORD, header=header, plus=True, binding=world.end_point) == "ok"
    async with Talk(world.ports, protocol, "starttls", version=version) as talk:
        assert await talk.scram(LOGIN, PASSWORD, header=header, plus=True, binding=world.end_point) == "ok"


@both
async def test_failed_proofs_are_counted_like_wrong_passwords(world: World, protocol: str) -> None:
    async with Talk(world.ports, protocol) as talk:
        assert [await talk.scram(LOGIN, "wrong"), await talk.scram(LOGIN, "wrong")] == ["no", "no"]
        assert await talk.scram(LOGIN, "wrong") == "closed"
    bad = MAKER.token({**CLAIMS, "aud": "other"}).encode()
    async with Talk(world.ports, protocol) as talk:  # also when the client cancels after the error
        for expected in ("no", "no", "closed"):
            assert (await talk.auth("OAUTHBEARER", b"n,,\x01auth=Bearer " + bad + b"\x01\x01"))[0] == expected


def bearer(token: str, login: str = LOGIN) -> bytes:
    return f"n,a={login},\x01host=mail.jx.example\x01port=993\x01auth=Bearer {token}\x01\x01".encode()


@both
async def test_bearer_tokens(world: World, protocol: str) -> None:
    token = MAKER.token(CLAIMS)
    for initial in (True, False):
        async with Talk(world.ports, protocol) as talk:
            result, challenges = await talk.auth("OAUTHBEARER", bearer(token), initial=initial)
            assert (result, challenges) == ("ok", [] if initial else [b""])
    async with Talk(world.ports, protocol) as talk:
        assert await talk.auth("OAUTHBEARER", b"n,,\x01auth=bearer " + token.encode() + b"\x01\x01") == ("ok", [])
    async with Talk(world.ports, protocol) as talk:
        assert await talk.auth("XOAUTH2", f"user=zs@jx.example\x01auth=Bearer {token}\x01\x01".encode()) == ("ok", [])
    async with Talk(world.ports, protocol) as talk:
        assert await talk.auth("OAUTHBEARER", bearer(token, "lisi@jx.example"), b"\x01") == ("no", [b'{"status":"invalid_token"}'])
        expired = MAKER.token({**CLAIMS, "exp": NOW - 100})
        refusal = b'{"status":"401","schemes":"bearer","scope":""}'
        assert await talk.auth("XOAUTH2", f"user={LOGIN}\x01auth=Bearer {expired}\x01\x01".encode(), b"") == ("no", [refusal])
        for rubbish in (b"", b"n,,", b"n,,\x01\x01", b"n,,\x01auth=Basic x\x01\x01", b"p=tls-exporter,,\x01auth=Bearer x\x01\x01", bearer(token)[:-1]):
            assert (await talk.auth("OAUTHBEARER", rubbish))[0] == "bad"
    await world.directory.set_state(world.person.person_id, PersonState.DISABLED)
    async with Talk(world.ports, protocol) as talk:
        assert (await talk.auth("OAUTHBEARER", bearer(token), b"\x01"))[0] == "no"


@both
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_client_certificates(world: World, protocol: str, version: str) -> None:
    async def external(certificate: Path | None, identity: bytes = b"") -> str:
        async with Talk(world.ports, protocol, certificate=certificate, version=version) as talk:
            return (await talk.auth("EXTERNAL", identity))[0]

    mine, serial = world.authority.issue(LOGIN)
    assert await external(mine) == "ok"
    assert await external(mine, b"ZS@jx.example") == "ok"
    assert await external(mine, b"lisi@jx.example") == "no"
    assert await external(None) == "no"
    assert await external(world.authority.issue("nobody@jx.example", file="b.pem")[0]) == "no"
    assert await external(world.authority.issue(file="c.pem")[0]) == "no"
    assert await external(world.authority.issue(LOGIN, "zs@jx.example", file="d.pem")[0]) == "ok"
    assert await external(world.authority.issue(LOGIN, "lisi@jx.example", file="e.pem")[0]) == "no"
    async with Talk(world.ports, protocol, "starttls", certificate=mine, version=version) as talk:
        assert (await talk.auth("EXTERNAL", b""))[0] == "ok"
    async with Talk(world.ports, protocol, certificate=mine, version=version) as talk:  # it need not be used
        assert (await talk.auth("PLAIN", f"\0lisi@jx.example\0{PASSWORD}".encode()))[0] == "ok"
    # Disabled: at once, whatever the certificate says.
    await world.directory.set_state(world.person.person_id, PersonState.DISABLED)
    assert await external(mine) == "no"
    await world.directory.set_state(world.person.person_id, PersonState.ACTIVE)
    await refused(lambda: external(_stranger(world)))
    # Revoked while the server runs.
    world.authority.revoke(serial)
    world.revoked.read_again()
    await refused(lambda: external(mine))
    assert await external(world.authority.issue(LOGIN, file="f.pem")[0]) == "ok"


async def test_a_resumed_tls_session_does_not_bring_the_certificate_again(world: World) -> None:
    certificate, _ = world.authority.issue(LOGIN)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)

    def log_in(session: ssl.SSLSession | None) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
        where = ("127.0.0.1", world.ports["imap-full"])
        with socket.create_connection(where, 20) as plain, context.wrap_socket(plain, session=session) as link, link.makefile("rb") as lines:
            assert b"ready" in lines.readline()
            link.sendall(b"x AUTHENTICATE EXTERNAL =\r\n")
            answer = lines.readline()[:4], link.session_reused, link.session
            link.sendall(b"y LOGOUT\r\n")
            while lines.readline():  # to the end: a connection that breaks off takes its session with it
                pass
            link.unwrap()
            return answer

    answer, reused, session = await asyncio.to_thread(log_in, None)
    assert (answer, reused) == (b"x OK", False)
    answer, reused, _ = await asyncio.to_thread(log_in, session)
    assert (answer, reused) == (b"x NO", True)


def _stranger(world: World) -> Path:
    home = world.authority.file.parent / "elsewhere"
    home.mkdir()
    return Authority(home).issue(LOGIN)[0]


async def refused(attempt: Callable[[], Awaitable[str]]) -> None:
    """The handshake fails; a client with TLS 1.3 notices when it reads."""
    with pytest.raises((OSError, ssl.SSLError, AssertionError, ValueError)):
        await attempt()


@both
async def test_curl(world: World, protocol: str, tmp_path: Path) -> None:
    scheme = "imaps" if protocol == "imap" else "smtps"
    url = f"{scheme}://127.0.0.1:{world.ports[f'{protocol}-full']}"
    certificate, _ = world.authority.issue(LOGIN)
    token = MAKER.token(CLAIMS)
    command = ["curl", "-sS", "--insecure", "--max-time", "20", url, *(["-X", "NOOP"] if protocol == "submission" else [])]
    for options, right in (
        (["--user", f"{LOGIN}:{PASSWORD}", "--login-options", "AUTH=PLAIN"], True),
        (["--user", f"{LOGIN}:{PASSWORD}", "--login-options", "AUTH=LOGIN"], True),
        (["--user", f"{LOGIN}:", "--oauth2-bearer", token, "--login-options", "AUTH=OAUTHBEARER"], True),
        (["--user", f"{LOGIN}:", "--oauth2-bearer", token, "--login-options", "AUTH=XOAUTH2"], True),
        (["--user", f"{LOGIN}:", "--oauth2-bearer", token[:-8] + "AAAAAAAA", "--login-options", "AUTH=OAUTHBEARER"], False),
        (["--user", f"{LOGIN}:", "--oauth2-bearer", token[:-8] + "AAAAAAAA", "--login-options", "AUTH=XOAUTH2"], False),
        (["--user", f"{LOGIN}:", "--login-options", "AUTH=EXTERNAL", "--cert", str(certificate)], True),
        (["--user", "lisi@jx.example:", "--login-options", "AUTH=EXTERNAL", "--cert", str(certificate)], False),
    ):
        process = await asyncio.create_subprocess_exec(
            *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert (process.returncode == 0) == right, (options, output.decode())
        assert right or process.returncode == 67, (options, output.decode())  # "login denied"


async def test_a_server_takes_it_all_from_its_configuration(tmp_path: Path) -> None:
    setup.prepare(tmp_path, engines=False)
    authority = Authority(tmp_path)
    loaded = config.load(datadir.config_file(tmp_path))

    def change(**more: Any) -> Config:
        listeners = [msgspec.structs.replace(one, port=0, **more) for one in loaded.listener if one.protocol != "smtp"]
        table = msgspec.structs.replace(loaded.directory, scram_iterations=4096)
        return msgspec.structs.replace(loaded, listener=tuple(listeners), directory=table, hostname="localhost")

    wrong = await app.build(change(client_ca_file="missing.pem"), tmp_path)
    with pytest.raises(BadConfig, match=r"missing\.pem"):
        async with app.listening(wrong):
            pass
    await wrong.close()
    right = change(channel_binding=True, client_ca_file=authority.file.name, client_crl_file=authority.crl.name)
    parts = await app.build(right, tmp_path)
    await parts.directory.prepare()
    ctx, me = context_of(parts), Actor.of_uid(0, "test")
    await unit.add(ctx, me, "江西省")
    await domain.add(ctx, me, "jx.example")
    await person.add(ctx, me, "张三", unit="江西省", address=LOGIN, password=PASSWORD)
    end_point = end_point_of(tmp_path / right.tls.certificate)
    certificate, _ = authority.issue(LOGIN)
    async with app.listening(parts):
        for listener in right.listener:
            kind = "starttls" if listener.tls == "starttls" else "full"
            ports = {f"{listener.protocol}-{kind}": parts.ports[listener.name]}
            async with Talk(ports, listener.protocol, kind) as talk:
                header = b"p=tls-server-end-point,,"
                assert await talk.scram(LOGIN, PASSWORD, header=header, plus=True, binding=end_point) == "ok"
            async with Talk(ports, listener.protocol, kind, certificate) as talk:
                assert (await talk.auth("EXTERNAL", b""))[0] == "ok"
    await parts.close()
