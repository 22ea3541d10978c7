"""A real Thunderbird on a screen that nobody sees, remote-controlled by Marionette.

Scripts run with its own rights, so a test sets up an account and reads what is on the screen as its code does. The
profile is new and lies in the given directory; nothing is asked of the network but the servers that a test names.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 120.0
WAIT_SECONDS = 60.0
SCREEN = "1280x900x24"

_PREFERENCES = {
    "app.donation.eoy.version.viewed": 999, "app.update.enabled": False, "browser.safebrowsing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False, "extensions.update.enabled": False, "mail.account_setup.handled": True,
    "mail.provider.suppress_dialog_on_startup": True, "mail.rights.version": 1, "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True, "mailnews.start_page.enabled": False, "network.proxy.type": 0,
    "services.settings.server": "", "toolkit.telemetry.enabled": False,
}  # fmt: skip

_ADD_ACCOUNT = """
const [host, port, login, password, certificate] = arguments;
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const known = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).constructX509FromBase64(certificate);
Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService).rememberValidityOverride(host, port, {}, known, true);
const info = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
info.init("imap://" + host, null, "imap://" + host, login, password, "", "");
await Services.logins.addLoginAsync(info);
const server = MailServices.accounts.createIncomingServer(login, host, "imap");
Object.assign(server, { port, socketType: Ci.nsMsgSocketType.SSL, authMethod: Ci.nsMsgAuthMethod.passwordCleartext });
const account = MailServices.accounts.createAccount();
const identity = MailServices.accounts.createIdentity();
identity.email = login;
account.addIdentity(identity);
account.incomingServer = server;
MailServices.accounts.defaultAccount = account;
"""


class Thunderbird:
    """A running one. `script` and `until` see these names: `server`, `folder(name)`, `pane` (the window's three panes)."""

    _PRELUDE = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.defaultAccount?.incomingServer;
const folder = name => server.rootFolder.descendants.find(one => one.name.toLowerCase() == name.toLowerCase());
const pane = Services.wm.getMostRecentWindow("mail:3pane")?.document.getElementById("tabmail").currentAbout3Pane;
"""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)

    async def _receive(self) -> Any:
        length = await self._reader.readuntil(b":")
        return json.loads(await self._reader.readexactly(int(length[:-1])))

    async def _command(self, name: str, **parameters: Any) -> Any:
        message = json.dumps([0, next(self._numbers), name, parameters]).encode()
        self._writer.write(b"%d:%b" % (len(message), message))
        async with asyncio.timeout(WAIT_SECONDS):
            _, _, error, result = await self._receive()
        assert error is None, error
        return result

    async def begin(self) -> None:
        await self._receive()  # its greeting
        await self._command("WebDriver:NewSession", capabilities={})
        await self._command("Marionette:SetContext", value="chrome")

    async def add_account(self, port: int, login: str, password: str) -> None:
        """An IMAP account at 127.0.0.1:`port`, with TLS from the start; the certificate shown there is believed."""
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        await self._run(_ADD_ACCOUNT, "127.0.0.1", port, login, password, "".join(pem.split("\n")[1:-2]))

    async def script(self, body: str) -> Any:
        """What the statements return."""
        return await self._run(self._PRELUDE + body)

    async def _run(self, body: str, *arguments: object) -> Any:
        whole = (
            "const done = arguments[arguments.length - 1];"
            f"(async () => {{ {body} }})().then(done, error => done('failed: ' + error + error.stack));"
        )
        result = await self._command("WebDriver:ExecuteAsyncScript", script=whole, args=list(arguments), sandbox="system", newSandbox=False)
        assert not str(result["value"]).startswith("failed: "), result["value"]
        return result["value"]

    async def until(self, expression: str) -> Any:
        """The value of the expression once it is true; for what nobody announces."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if value := await self.script(f"try {{ return {expression}; }} catch {{ return null; }}"):
                    return value
                await asyncio.sleep(0.1)

    async def screenshot(self, path: Path) -> None:
        """What its window shows, as PNG."""
        picture = await self._command("WebDriver:TakeScreenshot", full=False)
        path.write_bytes(base64.b64decode(picture["value"]))

    async def quit(self) -> None:
        try:
            await self._command("Marionette:Quit", flags=["eForceQuit"])
        finally:
            self._writer.close()


@asynccontextmanager
async def running_thunderbird(directory: Path) -> AsyncIterator[Thunderbird]:
    """On a display of its own, with a new profile below `directory`; when a test fails, `screen.png` there shows what was seen."""
    profile = directory / "profile"
    profile.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**_PREFERENCES, "marionette.port": port}
    (profile / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items()))
    telling, told = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(told), "-screen", "0", SCREEN, "-nolisten", "tcp"], pass_fds=[told], stderr=subprocess.DEVNULL
    )
    os.close(told)
    try:
        with os.fdopen(telling) as number:
            display = ":" + (await asyncio.to_thread(number.readline)).strip()
        environment = {"HOME": str(directory), "DISPLAY": display, "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
        with (directory / "thunderbird.log").open("wb") as log:
            process = subprocess.Popen(
                ["thunderbird", "--no-remote", "--profile", profile, "--marionette", "--remote-allow-system-access"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            thunderbird = Thunderbird(*await _connect(port, process))
            await thunderbird.begin()
            try:
                yield thunderbird
            except BaseException:
                await thunderbird.screenshot(directory / "screen.png")
                raise
            await thunderbird.quit()
            await asyncio.to_thread(process.wait, WAIT_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        screen.terminate()
        screen.wait()


async def _connect(port: int, process: subprocess.Popen[bytes]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To Marionette, once it listens."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.poll() is None, "thunderbird has ended"
            try:
                return await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
            except OSError:
                await asyncio.sleep(0.1)
