"""Each dialogue file is a test; see tests/kit/dialogue.py for what may stand in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.dialogue import Dialogue
from tests.kit.imap_server import running

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_dialogue(path: Path, url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as stage:
        await Dialogue(path, stage).run()
