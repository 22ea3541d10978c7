"""The queue at work: on a real store, beside servers that say what the test wants."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from pathlib import Path

import pytest

from govmail.mail.address import Address
from govmail.mail.envelope import DEFAULT_NOTIFY, Notify
from govmail.queue import bounce, work
from govmail.store import accounts, queue
from govmail.store.connection import Connection
from govmail.store.values import NewEntry, QueueEntry
from tests.kit.peer import HANG, Peer
from tests.kit.postgres import PostgresServer
from tests.kit.queue import MESSAGE, Directory, house, remote


async def test_recipients_of_a_domain_go_together_and_leave_the_queue(tmp_path: Path) -> None:
    peer = Peer()
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("x@a.example"), remote("y@a.example"), remote("z@b.example"))
        await one.work()
        assert await one.entries() == [] and await one.notices() == []
    assert sorted(len(taken.rcpts) for taken in peer.taken) == [1, 2]
    assert all(taken.data == MESSAGE for taken in peer.taken)


@pytest.mark.parametrize("ehlo", [["SIZE 1000", "8BITMIME"], []])
async def test_our_return_path_stays_here(tmp_path: Path, ehlo: list[str]) -> None:
    """RFC 5321 §4.4: it is the last server's to add, from the MAIL that it got."""
    peer = Peer(ehlo=ehlo)
    path = b"Return-Path:\r\n <zhang@jx.example>\r\n"
    second = b"Received: from x\r\nReturn-Path: <kept@else.example>\r\n"
    octets = second + MESSAGE.replace(b"\r\n\r\nbody", "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n正文".encode())
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("x@a.example"), octets=path + octets)
        await one.work()
    (taken,) = peer.taken
    assert taken.data.startswith(second)
    if ehlo:
        assert taken.data == octets and f"SIZE={len(octets)} " in taken.mail + " "


async def test_notifications_carry_the_time_that_people_here_read(tmp_path: Path) -> None:
    async with house(tmp_path, Peer({"RCPT": b"550 5.1.1 no\r\n"})) as one:
        await one.enqueue(remote("gone@a.example"))
        await one.work()
        (notice,) = await one.inbox("zhang")
    assert notice["Date"] == "Mon, 23 Nov 2026 10:00:00 +0800"
    assert "邮件接收时间：2026-11-23 10:00:00 +0800" in next(iter(notice.iter_parts())).get_content()


async def test_a_refusal_reaches_the_sender_in_words_he_understands(tmp_path: Path) -> None:
    peer = Peer({"RCPT TO:<gone": b"550 " + "用户不存在".encode("gbk") + b"\r\n"})
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("gone@a.example"), remote("ok@a.example"))
        await one.work()
        assert await one.entries() == []
        (notice,) = await one.inbox("zhang")
    assert notice["Return-Path"] == "<>" and notice["Auto-Submitted"] == "auto-replied"
    text = next(iter(notice.iter_parts())).get_content()
    assert "gone@a.example" in text and "550 用户不存在" in text and "ok@a.example" not in text
    assert len(peer.taken) == 1


async def test_a_remote_sender_gets_it_by_mail_with_the_null_path(tmp_path: Path, url: str) -> None:
    peer = Peer({"RCPT TO:<gone": b"550 5.1.1 no\r\n"})
    async with house(tmp_path, peer, url=url) as one:
        await one.enqueue(remote("gone@a.example"), sender="far@b.example")
        await one.work()
        assert await one.entries() == []
    (taken,) = peer.taken
    assert taken.mail.startswith("MAIL FROM:<> ") and taken.rcpts == ["RCPT TO:<far@b.example> NOTIFY=NEVER"]
    assert b"Action: failed" in taken.data


async def test_a_notification_that_bounces_is_the_end_of_it(tmp_path: Path) -> None:
    peer = Peer({"RCPT": b"550 5.1.1 no\r\n"})
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("gone@a.example"), sender="far@b.example")
        await one.work()
        assert await one.entries() == [] and peer.taken == []


async def test_trouble_is_retried_then_told_then_given_up(tmp_path: Path, url: str) -> None:
    peer = Peer({"RCPT": b"450 4.2.0 greylisted\r\n"})
    async with house(tmp_path, peer, url=url) as one:
        queue_id = await one.enqueue(remote("x@a.example"))
        await one.work()
        (entry,) = await one.entries()
        assert (entry.state, entry.attempts, entry.last_code, entry.last_text) == ("ready", 1, 450, "greylisted")
        assert one.now + 54 <= entry.next_attempt <= one.now + 66
        await one.work(seconds=30)
        assert (await one.entries())[0].attempts == 1
        await one.work(hours=5)
        assert await one.notices() == ["延迟通知：邮件尚未送达"]
        await one.work(hours=5)
        assert len(await one.notices()) == 1
        _, attempts = await one.database.read(queue.show, queue_id)
        assert [attempt.result.status for attempt in attempts] == ["4.2.0"] * 3
        await one.work(days=5)
        assert await one.entries() == []
        assert await one.notices() == ["延迟通知：邮件尚未送达", "退信通知：邮件未能送达"]


async def test_success_is_told_where_the_other_server_does_not(tmp_path: Path) -> None:
    async with house(tmp_path, Peer(ehlo=[])) as one:
        await one.enqueue(remote("x@a.example", Notify.SUCCESS))
        await one.work()
        assert await one.notices() == ["转发通知"]


async def test_refused_at_acceptance_is_told_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        entry = NewEntry("bounce", "old@jx.example", "jx.example", DEFAULT_NOTIFY, status="5.2.1", text="mailbox disabled")
        await one.enqueue(entry)
        await one.work()
        (notice,) = await one.inbox("zhang")
        assert "收件人的邮箱已停用。" in next(iter(notice.iter_parts())).get_content()


async def test_a_full_mailbox_gets_its_mail_once_there_is_room(tmp_path: Path, url: str) -> None:
    directory = Directory("zhang", "li")
    async with house(tmp_path, directory=directory, url=url) as one:
        li = directory.people["li"]
        await one.database.write(accounts.ensure, li, now=one.now)
        await one.database.write(accounts.set_quota, li, 10)
        await one.enqueue(NewEntry("local", "li@jx.example", "jx.example", DEFAULT_NOTIFY, directory_id=li))
        await one.work()
        (entry,) = await one.entries()
        assert (entry.last_status, await one.inbox("li")) == ("4.2.2", [])
        await one.database.write(accounts.set_quota, li, None)
        await one.work(minutes=10)
        assert await one.entries() == []
        assert [str(found["Subject"]) for found in await one.inbox("li")] == ["test"]


async def test_a_notification_for_a_full_mailbox_waits(tmp_path: Path) -> None:
    peer = Peer({"RCPT": b"550 5.1.1 no\r\n"})
    async with house(tmp_path, peer) as one:
        zhang = one.directory.people["zhang"]
        await one.database.write(accounts.ensure, zhang, now=one.now)
        await one.database.write(accounts.set_quota, zhang, 10)
        await one.enqueue(remote("gone@a.example"))
        await one.work()
        (entry,) = await one.entries()
        assert (entry.kind, entry.recipient, entry.message.sender) == ("local", "zhang@jx.example", "")
        await one.database.write(accounts.set_quota, zhang, None)
        await one.work(minutes=10)
        assert await one.notices() == ["退信通知：邮件未能送达"]


async def test_a_notification_to_a_list_reaches_each_member_once(tmp_path: Path, url: str) -> None:
    """A member without room gets it later, and the others do not get it again; members elsewhere get it too."""
    peer = Peer({"RCPT TO:<gone": b"550 5.1.1 no\r\n"})
    directory = Directory("zhang", "li", remote=["far@b.example"])
    async with house(tmp_path, peer, directory, url=url) as one:
        li = directory.people["li"]
        await one.database.write(accounts.limit, li, 10, now=one.now)
        await one.enqueue(remote("gone@a.example"), sender="office@jx.example")
        await one.work()
        assert (len(await one.notices("zhang")), await one.notices("li")) == (1, [])
        for _ in range(3):
            await one.work(minutes=30)
        await one.database.write(accounts.set_quota, li, None)
        await one.work(hours=4)
        assert await one.entries() == []
        assert (len(await one.notices("zhang")), len(await one.notices("li"))) == (1, 1)
    assert [taken.rcpts for taken in peer.taken] == [["RCPT TO:<far@b.example> NOTIFY=NEVER"]]


async def test_a_mail_to_several_people_behind_one_address_reaches_each_once(tmp_path: Path, url: str) -> None:
    """postmaster@ with NOTIFY=SUCCESS is delivered by the queue; one of two keepers has no room."""
    directory = Directory("zhang", "li")
    async with house(tmp_path, directory=directory, url=url) as one:
        li = directory.people["li"]
        await one.database.write(accounts.limit, li, 10, now=one.now)
        await one.enqueue(NewEntry("local", "office@jx.example", "jx.example", Notify.FAILURE), sender="far@b.example")
        for _ in range(3):
            await one.work(minutes=30)
        assert (len(await one.inbox("zhang")), await one.inbox("li")) == (1, [])
        await one.database.write(accounts.set_quota, li, None)
        await one.work(hours=4)
        assert (len(await one.inbox("zhang")), len(await one.inbox("li"))) == (1, 1)
        assert await one.entries() == []


async def test_a_member_of_two_lists_who_is_a_recipient_too_gets_one_copy_and_the_sender_one_bounce(tmp_path: Path, url: str) -> None:
    directory = Directory("zhang", "li", "wang")
    async with house(tmp_path, directory=directory, url=url) as one:
        li = directory.people["li"]
        await one.database.write(accounts.limit, li, 10, now=one.now)
        lists = [NewEntry("list", f"{name}@jx.example", "jx.example", DEFAULT_NOTIFY) for name in ("everyone", "office")]
        await one.enqueue(NewEntry("local", "li@jx.example", "jx.example", DEFAULT_NOTIFY, directory_id=li, wait=60), *lists)
        await one.work()
        assert [len(await one.inbox(name)) for name in directory.people] == [1, 0, 1]
        assert [(entry.kind, entry.recipient) for entry in await one.entries()] == [("local", "li@jx.example")]
        await one.work(days=6)
        assert await one.entries() == []
        assert (await one.notices()).count("退信通知：邮件未能送达") == 1


async def test_who_was_full_at_acceptance_is_not_tried_again_at_once(tmp_path: Path) -> None:
    directory = Directory("zhang", "li")
    async with house(tmp_path, directory=directory) as one:
        li = directory.people["li"]
        await one.enqueue(NewEntry("local", "li@jx.example", "jx.example", DEFAULT_NOTIFY, directory_id=li, status="4.2.2", wait=60))
        await one.work()
        (entry,) = await one.entries()
        assert (entry.attempts, entry.next_attempt) == (1, one.now + 60)
        await one.work(seconds=60)
        assert await one.entries() == [] and len(await one.inbox("li")) == 1


async def test_a_member_without_room_is_not_tried_again_at_once(tmp_path: Path) -> None:
    directory = Directory("zhang", "li")
    async with house(tmp_path, directory=directory) as one:
        await one.database.write(accounts.limit, directory.people["li"], 10, now=one.now)
        await one.enqueue(NewEntry("list", "everyone@jx.example", "jx.example", DEFAULT_NOTIFY))
        began = one.now
        await one.work()
        (entry,) = await one.entries()
        assert (entry.kind, entry.attempts, entry.next_attempt) == ("local", 1, began + one.config.queue.retry_seconds[0])


async def test_a_notification_outlives_a_directory_that_is_away(tmp_path: Path) -> None:
    peer = Peer({"RCPT TO:<gone": b"550 5.1.1 no\r\n"})
    async with house(tmp_path, peer) as one:
        one.directory.away = True
        await one.enqueue(remote("gone@a.example"))
        await one.enqueue(remote("gone@a.example"), sender="far@b.example")
        await one.work()
        assert [entry.kind for entry in await one.entries()] == ["local", "local"]
        one.directory.away = False
        await one.work(minutes=10)
        assert await one.entries() == [] and await one.notices() == ["退信通知：邮件未能送达"]
    assert [taken.rcpts for taken in peer.taken] == [["RCPT TO:<far@b.example> NOTIFY=NEVER"]]


async def test_what_is_tried_again_goes_where_it_belongs(tmp_path: Path, url: str) -> None:
    directory = Directory("zhang", "li")
    async with house(tmp_path, directory=directory, url=url) as one:
        li = directory.people["li"]
        await one.database.write(accounts.ensure, li, now=one.now)
        await one.database.write(accounts.set_quota, li, 10)
        await one.enqueue(NewEntry("list", "everyone@jx.example", "jx.example", DEFAULT_NOTIFY, mailbox="Junk"))
        await one.work()
        assert await one.inbox("zhang") == [] and len(await one.inbox("zhang", "Junk")) == 1
        await one.database.write(accounts.set_quota, li, None)
        await one.work(minutes=10)
        assert await one.entries() == [] and await one.inbox("li") == [] and len(await one.inbox("li", "Junk")) == 1


async def test_everything_is_given_up_when_the_configuration_says(tmp_path: Path) -> None:
    """The notification too, and members of a list with the list."""
    directory = Directory("zhang", remote=["x@a.example"])
    async with house(tmp_path, Peer({"RCPT": b"450 4.2.0 later\r\n"}), directory, lifetime_seconds=7200) as one:
        directory.away = True
        await one.enqueue(remote("gone@a.example"), sender="far@b.example")
        await one.enqueue(NewEntry("list", "everyone@jx.example", "jx.example", DEFAULT_NOTIFY), sender="far@b.example")
        began = one.now
        await one.work()
        directory.away = False
        await one.work(minutes=90)
        assert {(entry.kind, entry.expires) for entry in await one.entries()} == {("remote", began + 7200)}
        await one.work(minutes=40)
        assert {(entry.kind, entry.message.sender, entry.expires) for entry in await one.entries()} == {("remote", "", one.now + 7200)}


async def test_a_list_is_expanded(tmp_path: Path, url: str) -> None:
    people = [f"p{n}" for n in range(30)]
    directory = Directory(*people, remote=["r1@a.example", "r2@a.example"])
    peer = Peer()
    async with house(tmp_path, peer, directory, url=url) as one:
        full = directory.people["p7"]
        await one.database.write(accounts.ensure, full, now=one.now)
        await one.database.write(accounts.set_quota, full, 10)
        await one.enqueue(NewEntry("list", "everyone@jx.example", "jx.example", DEFAULT_NOTIFY), sender="p0@jx.example")
        await one.work()
        (entry,) = await one.entries()
        assert (entry.kind, entry.recipient) == ("local", "p7@jx.example")
        assert [len(await one.inbox(name)) for name in people] == [int(name != "p7") for name in people]
    assert [len(taken.rcpts) for taken in peer.taken] == [2]


async def test_a_list_goes_on_where_it_was(tmp_path: Path, url: str) -> None:
    people = [f"p{n}" for n in range(10)]
    directory = Directory(*people)
    async with house(tmp_path, directory=directory, url=url) as one:
        await one.enqueue(NewEntry("list", "everyone@jx.example", "jx.example", DEFAULT_NOTIFY), sender="p0@jx.example")
        (entry,) = await one.database.write(queue.lease, "dead", now=one.now, limit=10, lease_seconds=900)
        batch = (await directory.resolve(Address.parse("everyone@jx.example"))).targets[:4]
        assert await one.database.write(work.serve_members, "dead", entry, len(MESSAGE), batch, "q", one.now, 60)
        assert not await one.database.write(work.serve_members, "other", entry, len(MESSAGE), batch, "q", one.now, 60)
        await one.work()  # the worker "dead" never came back
        assert await one.entries() == []
        assert [len(await one.inbox(name)) for name in people] == [1] * 10


async def test_two_workers_never_have_the_same_entry(tmp_path: Path, url: str) -> None:
    peer = Peer()
    async with house(tmp_path, peer, url=url) as one:
        for n in range(40):
            await one.enqueue(remote(f"x{n}@d{n % 7}.example"))
        async with asyncio.timeout(60):
            await asyncio.gather(one.runner(alone=False).run_due(), one.runner(alone=False).run_due())
        assert await one.entries() == []
    assert len(peer.taken) == 40


async def test_a_worker_passes_by_what_another_is_about_to_take(tmp_path: Path, postgres: PostgresServer) -> None:
    """PostgreSQL: it neither waits for the other's transaction nor takes what that has locked."""
    began, go_on = threading.Event(), threading.Event()

    def slowly(conn: Connection, now: int) -> list[QueueEntry]:
        taken = queue.lease(conn, "first", now=now, limit=2, lease_seconds=900)
        began.set()
        assert go_on.wait(60)
        return taken

    with postgres.database() as url:
        async with house(tmp_path, url=url) as one:
            await one.enqueue(*(remote(f"x{n}@a.example") for n in range(5)))
            first = asyncio.ensure_future(one.database.write(slowly, one.now))
            assert await asyncio.to_thread(began.wait, 60)
            second = await one.database.write(queue.lease, "second", now=one.now, limit=10, lease_seconds=900)
            go_on.set()
            assert (len(await first), len(second)) == (2, 3)
            assert {entry.lease_owner for entry in await one.entries()} == {"first", "second"}


async def test_a_lost_lease_changes_nothing_and_says_nothing(tmp_path: Path, url: str) -> None:
    async with house(tmp_path, url=url) as one:
        await one.enqueue(remote("x@a.example"))
        (entry,) = await one.database.write(queue.lease, "first", now=one.now, limit=10, lease_seconds=900)
        assert await one.database.write(queue.lease, "second", now=one.now + 901, limit=10, lease_seconds=900)
        assert not await one.database.write(bounce.settle, "first", [work.refuse(entry)], [], now=one.now)
        assert len(await one.entries()) == 1


async def test_killed_between_delivery_and_record_means_once_more_never_less(tmp_path: Path, url: str) -> None:
    peer = Peer({".": [HANG, b"250 2.0.0 taken\r\n"]})
    async with house(tmp_path, peer, url=url) as one:
        await one.enqueue(remote("x@a.example"))
        dying = asyncio.ensure_future(one.runner().run())
        await peer.until(lambda: "." in peer.commands)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await one.work()
        assert await one.entries() == []
    assert len(peer.taken) == 1


async def test_stop_lets_a_delivery_finish(tmp_path: Path) -> None:
    peer = Peer()
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("x@a.example"))
        runner = one.runner()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await peer.until(lambda: peer.connections > 0)
            runner.stop()
        assert await one.entries() == [] and len(peer.taken) == 1


async def test_new_mail_wakes_the_runner(tmp_path: Path) -> None:
    peer = Peer()
    async with house(tmp_path, peer) as one:
        runner = one.runner()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await one.enqueue(remote("x@a.example"))
            runner.wake()
            await peer.until(lambda: bool(peer.taken))
            runner.stop()


async def test_one_slow_domain_does_not_hold_the_others(tmp_path: Path) -> None:
    peer = Peer({"RCPT TO:<slow": HANG})
    async with house(tmp_path, peer, workers=4, per_domain=2, command_seconds=5.0) as one:
        for n in range(6):
            await one.enqueue(remote(f"slow{n}@slow.example"))
        for n in range(6):
            await one.enqueue(remote(f"x{n}@fast.example"))
        runner = one.runner()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await peer.until(lambda: len(peer.taken) == 6)
            assert sum("slow" in line for line in peer.commands if line.startswith("RCPT")) <= 2
            runner.stop()


@pytest.mark.parametrize("ehlo", [["8BITMIME"], []])
async def test_eight_bit_mail_for_a_seven_bit_server_is_encoded(tmp_path: Path, ehlo: list[str]) -> None:
    peer = Peer(ehlo=ehlo)
    octets = MESSAGE.replace(b"\r\n\r\nbody", "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n正文".encode())
    async with house(tmp_path, peer) as one:
        await one.enqueue(remote("x@a.example"), octets=octets)
        await one.work()
        assert await one.entries() == []
    (taken,) = peer.taken
    assert taken.data.isascii() == (not ehlo)
    assert email.message_from_bytes(taken.data, policy=email.policy.default).get_content().strip() == "正文"
    assert ("BODY=8BITMIME" in taken.mail) == bool(ehlo)
