"""Commands without a server: this process takes the lock and does the act itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from admin import setup
from govmail import datadir


def govmail(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with the configuration named by the environment."""
    return subprocess.run(
        [sys.executable, "-m", "admin.cli", *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "GOVMAIL_CONFIG": str(datadir.config_file(data_dir)), "LANG": "C.UTF-8", "LC_ALL": "", **environment},
    )  # fmt: skip


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    setup.prepare(tmp_path, engines=False)
    return tmp_path


def test_acts_are_done_and_recorded_as_the_command_lines_own(data_dir: Path) -> None:
    added = govmail(data_dir, "unit", "add", "江西省/赣州市/发改委", "--json")
    assert (added.returncode, added.stderr) == (0, "")
    assert [one["label"] for one in json.loads(added.stdout)["made"]] == ["jiangxi", "ganzhou", "fgw"]
    entry = json.loads(govmail(data_dir, "audit", "list", "--json").stdout)
    assert (entry["act"], entry["source"]) == ("unit.add", "cli")
    datadir.take_lock(data_dir).release()  # given back


def test_doctor_without_a_server_says_so_and_what_to_do(data_dir: Path) -> None:
    result = govmail(data_dir, "doctor", "--json")
    assert result.returncode == 4
    report = json.loads(result.stdout)
    assert (report["ok"], report["failed"]) == (False, ["server"])
    assert "govmail up" in report["checks"][0]["text"]
    assert {"disk", "database", "directory"} <= {one["check"] for one in report["checks"] if one["status"] != "failed"}
    spoken = govmail(data_dir, "doctor", LANG="zh_CN.UTF-8")
    assert spoken.returncode == 4
    assert "服务器没有运行" in spoken.stdout


def test_acts_on_a_directory_that_runs_only_with_the_server_say_so(tmp_path: Path) -> None:
    setup.prepare(tmp_path, port_offset=60_000, ldap=True)
    for arguments in (("person", "list"), ("unit", "add", "江西省")):
        result = govmail(tmp_path, *arguments)
        assert result.returncode == 4
        assert "govmail up" in result.stderr


def test_a_broken_configuration_is_named(data_dir: Path) -> None:
    datadir.config_file(data_dir).write_text("colour = 'red'\n")
    result = govmail(data_dir, "mailbox", "count", LANG="zh_CN.UTF-8")
    assert result.returncode == 2
    assert "colour" in result.stderr
    assert result.stderr.startswith("错误：")


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(data_dir: Path) -> None:
    command = f"{sys.executable} -m admin.cli person --help | head -1"
    result = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""
