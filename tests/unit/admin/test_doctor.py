"""The doctor on a real server: it finds what is broken, and its probe leaves nothing behind."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admin import doctor, setup
from admin.actions.context import Actor, Context
from admin.doctor import Check
from admin.engines import EngineState
from govmail import app, config, datadir
from govmail.app import Parts
from govmail.config import FilterTable, Listener
from govmail.control import context_of
from govmail.mail.address import Address
from govmail.wire.control import Done

ME = Actor.of_uid(0, "test")


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A whole server on free ports."""
    setup.prepare(tmp_path, engines=False)
    loaded = config.load(datadir.config_file(tmp_path))
    listeners = tuple(msgspec.structs.replace(one, port=0) for one in loaded.listener)
    built = await app.build(msgspec.structs.replace(loaded, listener=listeners, hostname="localhost"), tmp_path)
    await built.directory.prepare()
    async with app.listening(built):
        yield built
    await built.close()


async def examine(ctx: Context) -> tuple[dict[str, Check], int]:
    frames: list[Any] = [frame async for frame in doctor.run(ctx, ME)]
    assert isinstance(frames[-1], Done)
    return {one.check: one for one in frames[:-1]}, frames[-1].code


async def province(ctx: Context) -> None:
    from admin.actions import domain, unit

    await unit.add(ctx, ME, "江西省")
    await domain.add(ctx, ME, "jx.example")


async def test_a_whole_server_is_found_well_and_the_probe_goes_round(parts: Parts) -> None:
    ctx = context_of(parts)
    await province(ctx)
    found, code = await examine(ctx)
    assert code == 0, found
    assert {name for name, one in found.items() if one.status == "warning"} == {"hostname", "certificate", "postmaster"}  # localhost; self-signed; nobody was named
    assert [name for name in found if name.startswith("probe")] == ["probe account", "probe login", "probe send", "probe fetch", "probe remove"]
    assert {f"port {one.name}" for one in ctx.config.listener} <= set(found)
    from admin.actions import mailbox

    assert (await mailbox.count(ctx, ME)).messages == 0
    again, code = await examine(ctx)
    assert code == 0, again
    assert (await ctx.directory.counts()).people == 1


async def test_the_probe_account_gets_its_password_back(parts: Parts) -> None:
    ctx = context_of(parts)
    await province(ctx)
    await examine(ctx)
    (datadir.secrets_dir(ctx.data_dir) / "doctor").unlink()
    found, code = await examine(ctx)
    assert code == 0, found


async def test_without_units_there_is_no_probe(parts: Parts) -> None:
    found, code = await examine(context_of(parts))
    assert code == 1
    assert found["directory"].status == "warning"
    assert found["probe account"].status == "failed"
    assert "govmail unit add" in found["probe account"].text
    assert "probe login" not in found


async def test_what_does_not_answer_is_named(parts: Parts) -> None:
    ctx = context_of(parts)
    await province(ctx)
    dead = Listener(name="dead", protocol="imap", port=1, tls="none")
    filters = (
        FilterTable(name="clamav", kind="clamd", url="tcp://127.0.0.1:1"),
        FilterTable(name="rspamd", kind="rspamd", url="http://127.0.0.1:1"),
    )
    changed = msgspec.structs.replace(ctx.config, listener=(*ctx.config.listener, dead), filter=filters)
    found, code = await examine(replace(ctx, config=changed))
    assert code == 1
    assert {name for name, one in found.items() if one.status == "failed"} == {"port dead", "filter clamav", "filter rspamd"}


async def test_a_plain_login_listener_is_announced(parts: Parts) -> None:
    ctx = context_of(parts)
    imap = next(one for one in ctx.config.listener if one.name == "imap")
    changed = msgspec.structs.replace(imap, allow_plain_login=True)
    finding = await doctor.check_listener(ctx, changed)
    assert finding.status == "warning"


async def test_a_certificate_that_runs_out_or_is_open_to_others(parts: Parts) -> None:
    ctx = context_of(parts)
    soon = replace(ctx, clock=lambda: parts.clock() + timedelta(days=390))
    assert (await doctor.check_certificate(soon)).status == "warning"
    late = replace(ctx, clock=lambda: parts.clock() + timedelta(days=400))
    assert (await doctor.check_certificate(late)).status == "failed"
    elsewhere = replace(ctx, config=msgspec.structs.replace(ctx.config, hostname="mail.jx.example"))
    assert (await doctor.check_certificate(elsewhere)).status == "warning"
    (ctx.data_dir / ctx.config.tls.key).chmod(0o644)
    assert (await doctor.check_certificate(ctx)).status == "failed"


async def test_a_clock_that_was_put_back_is_found(parts: Parts) -> None:
    ctx = context_of(parts)
    await province(ctx)
    assert (await doctor.check_clock(ctx)).status == "ok"
    assert (await doctor.check_clock(replace(ctx, clock=lambda: parts.clock() - timedelta(days=1)))).status == "failed"
    assert (await doctor.check_clock(replace(ctx, clock=lambda: parts.clock() - timedelta(days=3650)))).status == "failed"


async def test_postmasters_that_reach_nobody_are_named(parts: Parts) -> None:
    ctx = context_of(parts)
    await province(ctx)
    finding = await doctor.check_postmaster(ctx)
    assert finding.status == "warning"
    assert "jx.example" in finding.text
    from admin.actions import person

    added = await person.add(ctx, ME, "张三", unit="江西省")
    root, keeper = await ctx.directory.root(), await ctx.directory.person_by_address(Address.parse(added.address))
    assert root is not None
    await ctx.directory.set_keeper(root.unit_id, keeper.person_id)
    assert (await doctor.check_postmaster(ctx)).status == "ok"


async def test_a_clamd_that_hides_what_it_has_not_seen_is_announced(parts: Parts) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readline()
        if b"VERSION" in command:
            writer.write(f"ClamAV 1.4.3/27800/{datetime.now(UTC):%a %b %d %H:%M:%S %Y}\n".encode())
        else:
            await reader.readuntil(b"\0\0\0\0")
            writer.write(b"stream: OK\n")
        writer.close()

    pretender = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = pretender.sockets[0].getsockname()[1]
    finding = await doctor.check_filter(context_of(parts), FilterTable(name="clamav", kind="clamd", url=f"tcp://127.0.0.1:{port}"))
    pretender.close()
    assert finding.status == "warning"
    assert "AlertExceedsMax" in finding.text


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        (EngineState("rspamd", "ready", "3.4", 7, 0, ""), "ok", "3.4"),
        (EngineState("rspamd", "ready", "3.4", 7, 0, "no DNS"), "warning", "no DNS"),
        (EngineState("rspamd", "ready", "3.4", 7, 2, ""), "warning", "restarted 2 times"),
        (EngineState("clamd", "absent", "", None, 0, ""), "warning", "unscanned"),
        (EngineState("clamd", "down", "", None, 5, ""), "failed", "restarted 5 times"),
    ],
)
async def test_engines_are_reported(state: EngineState, status: str, text: str) -> None:
    finding = await doctor.check_engine(state)
    assert (finding.status, text in finding.text) == (status, True)


async def test_a_database_of_another_version_is_found(parts: Parts) -> None:
    ctx = context_of(parts)
    assert (await doctor.check_database(ctx)).status == "ok"
    with sqlite3.connect(ctx.data_dir / "mail.sqlite") as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    other.close()
    finding = await doctor.check_database(ctx)
    assert finding.status == "failed"
    assert "9999" in finding.text
