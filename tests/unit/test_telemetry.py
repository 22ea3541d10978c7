"""A log line is one line of JSON, goes to the stream of the moment, and never carries on another's line."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

PROGRAM = """
import io, sys, structlog
from govmail import telemetry
telemetry.configure("info")
log = structlog.get_logger()
sys.stderr = first = io.StringIO()
log.info("a.first", text="one\\ntwo", octets=b"x")
sys.stderr = second = io.StringIO()
first.close()
log.warning("a.second")
log.debug("a.third")
sys.stdout.write(second.getvalue())
"""


def test_a_replaced_and_closed_standard_error_is_no_trouble() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["event"] == "a.second"


def test_a_hostile_value_stays_within_its_line() -> None:
    program = PROGRAM.replace("sys.stdout.write(second.getvalue())", "").replace("first.close()", "sys.stdout.write(first.getvalue())")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = io.StringIO(done.stdout).readlines()
    assert json.loads(line)["text"] == "one\ntwo"


HOSTILE = """
import io, sys, structlog
from govmail import telemetry
stream = io.StringIO()
telemetry.configure(stream=stream, pretty=sys.argv[1] == "pretty")
structlog.get_logger().info("imap.login_failed", login="张三\\r\\n2026 forged\\x1b[2J\\x9b31m\\u202e\\u2028", more=("\\x1b[2J",), raw=b"\\n")
sys.stdout.buffer.write(stream.getvalue().encode())
"""


@pytest.mark.parametrize("how", ["json", "pretty"])
def test_a_hostile_value_stays_in_its_line_and_steers_no_terminal(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE, how], capture_output=True, check=True)
    text = done.stdout.decode()
    assert "张三" in text and "forged" in text
    assert text.endswith("\n") and text[:-1].isprintable()
    if how == "json":
        assert json.loads(text)["login"] == "张三\r\n2026 forged\x1b[2J\x9b31m\u202e\u2028"
