"""One owner of a data directory at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from govmail import datadir


def test_the_lock_has_one_holder_and_can_be_taken_again(tmp_path: Path) -> None:
    lock = datadir.take_lock(tmp_path)
    with pytest.raises(datadir.DataDirBusy, match=f"process {os.getpid()}"):
        datadir.take_lock(tmp_path)
    lock.release()
    lock.release()
    datadir.take_lock(tmp_path).release()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from govmail import datadir; datadir.take_lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(datadir.DataDirBusy, match=f"process {child.pid}"):
            datadir.take_lock(tmp_path)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    datadir.take_lock(tmp_path).release()


def test_run_is_for_its_owner_only(tmp_path: Path) -> None:
    assert datadir.run_dir(tmp_path).stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_left_in_the_spool_is_gone_at_the_next_start(tmp_path: Path) -> None:
    spool = datadir.empty_spool(tmp_path)
    assert spool.stat().st_mode & 0o777 == 0o700
    for name in ("1.in", "append-x", "review-3-y"):
        (spool / name).write_bytes(b"From: ")
    assert datadir.empty_spool(tmp_path) == spool
    assert list(spool.iterdir()) == []


def test_a_socket_works_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    path = deep / "control.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with datadir.socket_address(path) as address:
            server.bind(address)
        server.listen()
        assert path.is_socket()
        with datadir.socket_address(path) as address:
            client.connect(address)
