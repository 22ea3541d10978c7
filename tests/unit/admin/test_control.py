"""The control socket: who may come in, what it bears, how it ends."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from admin.cli.client import Place, ask
from govmail import control, datadir
from govmail.control import ControlServer
from govmail.wire.control import REQUEST_OCTETS, Done, Failure, Frame, Request, Row, decode_frame, encode
from tests.unit.admin.conftest import World

ORGAN = "江西省/赣州市/发改委"


@pytest.fixture
async def served(world: World) -> AsyncIterator[World]:
    await world.province()
    lock = datadir.take_lock(world.ctx.data_dir)
    (datadir.config_file(world.ctx.data_dir)).write_text('hostname = "mail.jx.example"\n')
    server = ControlServer(world.ctx)
    await server.start()
    world.server = server
    yield world
    await server.close()
    lock.release()


async def call(world: World, act: str, arguments: dict[str, Any] | None = None, data: bytes = b"", **more: Any) -> tuple[list[Frame], Done | Failure]:
    """Through the command line's own client."""
    frames: list[Frame] = []
    request = Request(act, arguments or {}, input=len(data), **more)
    last = await asyncio.to_thread(ask, Place(datadir.config_file(world.ctx.data_dir)), request, data, frames.append)
    return frames, last


async def raw(world: World, octets: bytes) -> list[Frame]:
    """What the server answers to these octets."""
    reader, writer = await asyncio.open_unix_connection(str(datadir.control_socket(world.ctx.data_dir)))
    writer.write(octets)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return [decode_frame(line) for line in answer.splitlines()]


async def test_the_socket_is_for_its_owner_only(served: World) -> None:
    path = datadir.control_socket(served.ctx.data_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_an_act_is_done_by_the_server_in_the_name_of_the_peer(served: World) -> None:
    _, last = await call(served, "person.disable", {"person": "zhangsan@fgw.gz.jx.example"})
    assert isinstance(last, Done)
    assert last.value["state"] == "disabled"
    assert served.kicked
    entry = (await served.audit())[-1]
    assert entry["source"] == "control"
    assert entry["actor"] == pwd.getpwuid(os.geteuid()).pw_name


async def test_rows_stream_and_the_language_is_the_operators(served: World) -> None:
    frames, last = await call(served, "unit.list")
    assert [frame.value["name"] for frame in frames if isinstance(frame, Row)] == ["江西省", "赣州市", "发改委"]
    assert isinstance(last, Done)
    _, last = await call(served, "unit.show", {"unit": "无"}, language="zh")
    assert isinstance(last, Failure)
    assert (last.code, last.text) == (2, "没有单位“无”：请用 govmail unit tree 查看")


async def test_input_larger_than_all_buffers_goes_through(served: World) -> None:
    """Rows come back while input still goes out: neither side may wait for the other for ever."""
    padding = "长" * 2000
    table = "name\taddress\tpassword\ttitle\n" + "".join(f"人{n}\tu{n}@jx.example\tpass\t{padding}\n" for n in range(400))
    data = table.encode()
    assert len(data) > 2 * 1024 * 1024
    frames, last = await call(served, "person.add_many", {"unit": ORGAN}, data)
    assert isinstance(last, Done)
    statuses = [frame.value["status"] for frame in frames if isinstance(frame, Row)]
    assert len(statuses) == 400


async def test_a_dry_run_reaches_the_act(served: World) -> None:
    before = await served.audit()
    _, last = await call(served, "unit.add", {"path": "江西省/南昌市"}, dry_run=True)
    assert isinstance(last, Done)
    assert await served.audit() == before


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "no line end"),
        (b"hello\n", "control request"),
        (b"[1]\n", "control request"),
        (b'{"act":"unit.list"}\n', "arguments"),
        (b'{"act":"unit.list","arguments":{},"uid":0}\n', "uid"),
        (b'{"act":"unit.list","arguments":{},"input":-1}\n', "negative"),
        (b'{"act":"unit.list","arguments":{},"language":"fr"}\n', "language"),
        (b'{"act":"x","arguments":{"a":"' + b"x" * (REQUEST_OCTETS * 2) + b'"}}\n', "more than"),
        (b'{"act":"group.add","arguments":{"address":"a@jx.example"},"input":99999999999}\n', "99999999999"),
        (b'{"act":"no.such","arguments":{}}\n', "no.such"),
        (b"\xff\xfe\n", "control request"),
    ],
)
async def test_what_is_no_request_is_answered_and_harms_nobody(served: World, octets: bytes, text: str) -> None:
    frames = await raw(served, octets)
    assert len(frames) == 1
    assert isinstance(frames[0], Failure)
    assert frames[0].code == 2
    assert text in frames[0].text
    assert isinstance((await call(served, "mailbox.count"))[1], Done)


async def test_a_line_of_input_has_a_limit(served: World) -> None:
    data = b"name\n" + b"x" * (control.LINE_OCTETS * 3)
    frames = await raw(served, encode(Request("person.add_many", {"unit": ORGAN}, input=len(data))) + data)
    assert isinstance(frames[-1], Failure)
    assert "row 2" in frames[-1].text


async def test_a_client_killed_in_mid_stream_ends_it_between_two_changes(served: World) -> None:
    count = 3000
    table = ("name\taddress\tpassword\n" + "".join(f"人{n}\tu{n}@jx.example\tpass\n" for n in range(count))).encode()
    reader, writer = await asyncio.open_unix_connection(str(datadir.control_socket(served.ctx.data_dir)))
    writer.write(encode(Request("person.add_many", {"unit": ORGAN}, input=len(table))) + table)
    await reader.readline()  # the first row: the import is under way
    # Gone without a word, as when it is killed: the kernel resets the connection.
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    assert served.server is not None
    await served.server.close()  # waits for what is under way
    added = [address for entry in await served.audit() if entry["act"] == "person.add_many" for address in entry["detail"]["added"]]
    people = [one["address"] for one in await served.do("person.list")]
    assert 250 <= len(people) < count
    assert sorted([*added, "zhangsan@fgw.gz.jx.example"]) == sorted(people)
    [verified] = await served.do("audit.verify")
    assert verified["whole"]


async def test_a_client_that_vanishes_while_an_act_runs_does_not_undo_it(served: World) -> None:
    _, writer = await asyncio.open_unix_connection(str(datadir.control_socket(served.ctx.data_dir)))
    served.may_kick.clear()
    writer.write(encode(Request("person.disable", {"person": "zhangsan@fgw.gz.jx.example"})))
    await asyncio.wait_for(served.kicking.wait(), 20)
    writer.transport.abort()
    served.may_kick.set()
    assert served.server is not None
    await served.server.close()
    entry = (await served.audit())[-1]
    assert (entry["act"], entry["result"]) == ("person.disable", "done")


async def test_a_stale_socket_is_replaced(world: World) -> None:
    path = datadir.control_socket(world.ctx.data_dir)
    datadir.run_dir(world.ctx.data_dir)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = ControlServer(world.ctx)
    await server.start()
    try:
        assert isinstance((await raw(world, encode(Request("unit.list", {}))))[-1], Done)
    finally:
        await server.close()
    assert not path.exists()


async def test_another_uid_is_refused_even_where_it_can_connect(served: World) -> None:
    if os.geteuid() != 0:
        return  # only root can be somebody else; the same rule is tested on the acts themselves
    path = datadir.control_socket(served.ctx.data_dir)
    for one in (path, *path.parents):
        if one.is_relative_to(Path("/tmp")) and one != Path("/tmp"):
            one.chmod(one.stat().st_mode | 0o077)
    code = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'{\"act\":\"person.disable\",\"arguments\":{\"person\":\"zhangsan@fgw.gz.jx.example\"}}\\n')\n"
        "sys.stdout.write(s.makefile().read())\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", code, str(path), stdout=subprocess.PIPE)
    output, _ = await asyncio.wait_for(child.communicate(), 20)
    frame = decode_frame(output)
    assert isinstance(frame, Failure)
    assert (frame.code, frame.kind) == (3, "NotPermitted")
    entry = (await served.audit())[-1]
    assert (entry["act"], entry["actor"], entry["result"]) == ("person.disable", "nobody", "refused")
    assert (await served.do("person.show", {"person": "zhangsan@fgw.gz.jx.example"}))["state"] == "active"
