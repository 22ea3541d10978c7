"""Engines that integration tests share; each is started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from admin.engines import ClamdEngine, RspamdEngine
from tests.kit.engines import data_directory, running_clamd, running_rspamd


@pytest.fixture(scope="session")
def clamd_engine() -> Iterator[ClamdEngine]:
    with data_directory() as path, running_clamd(path) as engine:
        yield engine


@pytest.fixture(scope="session")
def rspamd_engine() -> Iterator[RspamdEngine]:
    with data_directory() as path, running_rspamd(path) as engine:
        yield engine
