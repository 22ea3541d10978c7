"""Real clients against the IMAP server: curl, mbsync, offlineimap, mutt, imaplib, imapclient, aioimaplib."""

from __future__ import annotations

import asyncio
import imaplib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aioimaplib
import pytest
from imapclient import FLAGGED, RECENT, SEEN, IMAPClient

from tests.kit.imap import ImapClient
from tests.kit.imap_server import PASSWORD, Stage, running

CLIENT_SECONDS = 60
LOGIN = "clients@jx.example"


def message(number: int, text: str = "text") -> bytes:
    return f"From: a@jx.example\r\nTo: b@jx.example\r\nSubject: number {number}\r\nMessage-ID: <{number}@jx.example>\r\nDate: Thu, 14 Jan 2027 09:30:00 +0800\r\n\r\n{text} {number}\r\n".encode()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running("", tmp_path / "data") as stage:
        yield stage


async def run(*command: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None, status: int = 0) -> str:
    """What the program wrote; it must end with `status`."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    async with asyncio.timeout(CLIENT_SECONDS):
        out, _ = await process.communicate(stdin)
    text = out.decode("utf-8", "replace")
    assert process.returncode == status, text
    return text


async def test_curl(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "m.eml").write_bytes(message(1, "斑马鱼"))
    curl = ("curl", "-sS", "--insecure", "--user", f"{LOGIN}:{PASSWORD}")
    url = f"imaps://127.0.0.1:{stage.implicit}"
    await run(*curl, "-T", tmp_path / "m.eml", f"{url}/INBOX")
    assert "\\Sent" in await run(*curl, url)
    assert await run(*curl, f"{url}/INBOX;MAILINDEX=1") == message(1, "斑马鱼").decode()
    assert "* SEARCH 1" in await run(*curl, f"{url}/INBOX?SUBJECT%20%22number%22")
    clear = f"imap://127.0.0.1:{stage.starttls}"
    assert "斑马鱼" in await run(*curl, "--ssl-reqd", f"{clear}/INBOX;UID=1;SECTION=TEXT")
    await run("curl", "-sS", "--user", f"{LOGIN}:wrong", f"imap://127.0.0.1:{stage.plain}/INBOX;UID=1", status=67)


async def test_mbsync_converges(stage: Stage, tmp_path: Path) -> None:
    """Two-way synchronisation: what either side has, both have in the end; flags and removals, too."""
    local = tmp_path / "local"
    local.mkdir()
    (tmp_path / "mbsyncrc").write_text(f"""
IMAPAccount far
Host 127.0.0.1
Port {stage.plain}
User {LOGIN}
Pass {PASSWORD}
SSLType None
AuthMechs PLAIN

IMAPStore far
Account far

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
""")
    mbsync = ("mbsync", "-c", tmp_path / "mbsyncrc", "-q", "all")
    for number in range(1, 30):
        await stage.deliver(LOGIN, message(number))
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"CREATE &mXl27g-/2027")
        await client.append(message(100), "&mXl27g-/2027", "\\Seen \\Flagged")
        await run(*mbsync)
        assert len(files(local / "INBOX")) == 29
        # both sides change
        gone, flagged, *_ = sorted(files(local / "INBOX"))
        gone.unlink()
        flagged.rename(flagged.parent.parent / "cur" / (re.sub(r":2,.*", "", flagged.name) + ":2,FS"))
        (local / "INBOX" / "new" / "1.new").write_bytes(message(200).replace(b"\r\n", b"\n"))
        await client.ok(b"SELECT INBOX")
        await client.ok(b"STORE 29 +FLAGS (\\Answered)")
        await client.ok(b"MOVE 28 Archive")
        await run(*mbsync)
        await run(*mbsync)
        await client.ok(b"NOOP")
        found = await client.ok(b"UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        subjects = sorted(int(re.search(rb"number (\d+)", line)[1]) for line in found)  # type: ignore[index]
    near = files(local / "INBOX")
    assert sorted(int(re.search(rb"number (\d+)", path.read_bytes())[1]) for path in near) == subjects  # type: ignore[index]
    assert len(subjects) == 28
    assert 200 in subjects
    assert sum(path.name.endswith(":2,FS") for path in near) == 1
    assert sum("R" in path.name.rpartition(":2,")[2] for path in near) == 1
    assert len(files(local / "Archive")) == 1


async def test_offlineimap_converges(stage: Stage, tmp_path: Path) -> None:
    """It keeps UIDs itself and goes by UIDPLUS: what was changed on either side is on both after the next run."""
    (tmp_path / "offlineimaprc").write_text(f"""
[general]
accounts = clients
metadata = {tmp_path}/meta
ui = quiet
socktimeout = {CLIENT_SECONDS}

[Account clients]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {tmp_path}/near

[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {stage.plain}
remoteuser = {LOGIN}
remotepass = {PASSWORD}
ssl = no
starttls = no
auth_mechanisms = PLAIN, LOGIN
""")
    offlineimap = ("offlineimap", "-c", tmp_path / "offlineimaprc", "-o", "-1")
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    near = tmp_path / "near" / "INBOX"
    for number in range(1, 10):
        await stage.deliver(LOGIN, message(number))
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"CREATE &mXl27g-")
        await client.append(message(100), "&mXl27g-", "\\Seen \\Flagged")
        await run(*offlineimap, env=env)
        assert len(files(near)) == 9
        gone, flagged, *_ = sorted(files(near))
        gone.unlink()
        flagged.rename(near / "cur" / (re.sub(r":2,.*", "", flagged.name) + ":2,FS"))
        (near / "new" / "1.new").write_bytes(message(200).replace(b"\r\n", b"\n"))
        await client.ok(b"SELECT INBOX")
        await client.ok(b"UID STORE 9 +FLAGS (\\Answered)")
        await client.ok(b"UID MOVE 8 Archive")
        await run(*offlineimap, env=env)
        await run(*offlineimap, env=env)
        await client.ok(b"NOOP")
        found = await client.ok(b"UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    subjects = sorted(int(re.search(rb"number (\d+)", line)[1]) for line in found)  # type: ignore[index]
    assert sorted(int(re.search(rb"number (\d+)", path.read_bytes())[1]) for path in files(near)) == subjects  # type: ignore[index]
    assert len(subjects) == 8
    assert 200 in subjects
    assert sum(b"\\Flagged \\Seen" in line for line in found) == 1
    assert sum("R" in path.name.rpartition(":2,")[2] for path in files(near)) == 1
    assert len(files(tmp_path / "near" / "Archive")) == 1


def files(maildir: Path) -> list[Path]:
    return [path for part in ("cur", "new") for path in (maildir / part).iterdir()]


async def test_mutt(stage: Stage, tmp_path: Path) -> None:
    """mutt in batch: it opens INBOX, saves one message elsewhere, deletes another."""
    for number in (1, 2, 3):
        await stage.deliver(LOGIN, message(number))
    (tmp_path / "muttrc").write_text(f"""
set folder="imap://127.0.0.1:{stage.plain}/"
set spoolfile="+INBOX"
set imap_user="{LOGIN}"
set imap_pass="{PASSWORD}"
set ssl_starttls=no ssl_force_tls=no
set header_cache="" confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no wait_key=no
set sleep_time=0 smart_wrap=no
push "<limit>~s 2<enter><save-message>=Archive<enter><limit>all<enter><delete-pattern>~s 'number 3'<enter><quit>"
""")
    env = {"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    await run("script", "-qec", f"mutt -n -F {tmp_path}/muttrc", "/dev/null", env=env)
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        assert await client.ok(b"STATUS Archive (MESSAGES)") == [b"* STATUS Archive (MESSAGES 1)\r\n"]
        assert await client.ok(b"STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 1)\r\n"]


async def test_mutt_resynchronises(stage: Stage, tmp_path: Path) -> None:
    """mutt with QRESYNC and its cache: on its second visit it asks only what became of what it knew."""
    for number in (1, 2, 3, 4):
        await stage.deliver(LOGIN, message(number))
    env = {"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

    async def visit(keys: str) -> str:
        (tmp_path / "muttrc").write_text(f"""
set folder="imap://127.0.0.1:{stage.plain}/" spoolfile="+INBOX" imap_user="{LOGIN}" imap_pass="{PASSWORD}"
set ssl_starttls=no ssl_force_tls=no imap_qresync=yes imap_condstore=yes header_cache="{tmp_path}/cache"
set confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no wait_key=no sleep_time=0
push "{keys}<quit>"
""")
        await run("script", "-qec", f"mutt -n -d 2 -F {tmp_path}/muttrc", "/dev/null", env=env)
        return (tmp_path / ".muttdebug0").read_text("utf-8", "replace")

    await visit("")
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"SELECT INBOX")
        await client.ok(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
        await client.ok(b"EXPUNGE")
        await client.ok(b"UID STORE 3 +FLAGS.SILENT (\\Flagged)")
    await stage.deliver(LOGIN, message(5))
    said = await visit("<delete-pattern>~F<enter><limit>~s 5<enter><save-message>=Archive<enter><limit>all<enter>")
    assert re.search(r"UID FETCH 1:4 \(FLAGS\) \(CHANGEDSINCE [0-9]+ VANISHED\)", said)
    assert "VANISHED (EARLIER) 2" in said
    async with ImapClient(stage.plain) as client:
        await client.login(LOGIN)
        await client.ok(b"SELECT INBOX")
        assert await client.ok(b"UID SEARCH ALL") == [b"* SEARCH 1 4\r\n"]
        assert await client.ok(b"STATUS Archive (MESSAGES)") == [b"* STATUS Archive (MESSAGES 1)\r\n"]


async def test_imaplib(stage: Stage) -> None:
    await stage.deliver(LOGIN, message(1))

    def talk() -> None:
        with imaplib.IMAP4("127.0.0.1", stage.plain, timeout=CLIENT_SECONDS) as client:
            client.login(LOGIN, PASSWORD)
            assert client.select() == ("OK", [b"1"])
            assert client.append("INBOX", "\\Seen", imaplib.Time2Internaldate(1_800_000_000), message(2))[0] == "OK"
            assert client.noop()[0] == "OK"
            assert client.search(None, "UNSEEN") == ("OK", [b"1"])
            status, data = client.fetch("2", "(FLAGS INTERNALDATE BODY.PEEK[])")
            assert status == "OK"
            assert data[0] is not None
            assert data[0][1] == message(2)
            assert client.uid("MOVE", "1", "Trash")[0] == "OK"
            assert client.expunge()[0] == "OK"
            assert client.status("Trash", "(MESSAGES)")[1] == [b"Trash (MESSAGES 1)"]
            assert client.list()[0] == "OK"
            assert client.namespace()[0] == "OK"

    await asyncio.to_thread(talk)


async def test_imapclient(stage: Stage) -> None:
    await stage.deliver(LOGIN, message(1, "斑马鱼"))

    def talk() -> None:
        with IMAPClient("127.0.0.1", stage.plain, ssl=False, timeout=CLIENT_SECONDS) as client:
            client.login(LOGIN, PASSWORD)
            assert client.namespace().personal == (("", "/"),)
            assert client.find_special_folder(b"\\Sent") == "Sent"
            client.create_folder("公文/江西")
            assert "公文/江西" in [name for _, _, name in client.list_folders()]
            assert client.select_folder("INBOX")[b"EXISTS"] == 1
            assert client.append("公文/江西", message(2), [SEEN, "$work"], datetime(2026, 11, 23, 9, 0, tzinfo=UTC))
            (uid,) = client.search(["BODY", "斑马鱼"], charset="UTF-8")
            got = client.fetch([uid], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "BODY.PEEK[]", "FLAGS"])[uid]
            assert got[b"BODY[]"] == message(1, "斑马鱼")
            assert got[b"ENVELOPE"].subject == b"number 1"
            assert got[b"BODYSTRUCTURE"][:2] == (b"text", b"plain")
            assert client.add_flags([uid], [FLAGGED])[uid] == (FLAGGED, RECENT)
            client.copy([uid], "公文/江西")
            client.move([uid], "Trash")
            assert client.folder_status("公文/江西", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 2, b"UNSEEN": 1}
            client.idle()
            assert client.idle_done()[0] in (b"IDLE completed", b"OK IDLE completed")
            client.select_folder("公文/江西")
            client.delete_messages([1])
            client.expunge()
            assert client.search() == [2]
            client.unselect_folder()

    await asyncio.to_thread(talk)


async def test_aioimaplib(stage: Stage) -> None:
    client = aioimaplib.IMAP4(host="127.0.0.1", port=stage.plain, timeout=CLIENT_SECONDS)
    await client.wait_hello_from_server()
    assert (await client.login(LOGIN, PASSWORD)).result == "OK"
    assert (await client.select("INBOX")).result == "OK"
    waiting = await client.idle_start(timeout=CLIENT_SECONDS)
    await stage.deliver(LOGIN, message(7))
    pushed = await client.wait_server_push()
    assert b"1 EXISTS" in pushed
    client.idle_done()
    await asyncio.wait_for(waiting, CLIENT_SECONDS)
    fetched = await client.uid("fetch", "1", "(UID BODY.PEEK[])")
    assert fetched.result == "OK"
    assert message(7) in [bytes(line) for line in fetched.lines]
    assert (await client.uid_search("SUBJECT number")).lines[0] == b"1"
    assert (await client.logout()).result == "OK"
