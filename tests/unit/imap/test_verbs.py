"""The verb table and what is derived from it."""

from __future__ import annotations

import pytest

from govmail.imap.state import State
from govmail.imap.verbs import VERBS, capabilities
from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage


def test_no_password_in_clear_is_offered() -> None:
    """R-20."""
    clear = capabilities(logged_in=False, tls=False, starttls=True, plain_login=False)
    assert "LOGINDISABLED" in clear
    assert not any(name.startswith("AUTH=") for name in clear)
    secure = capabilities(logged_in=False, tls=True, starttls=True, plain_login=False)
    assert {"AUTH=PLAIN", "AUTH=LOGIN"} <= set(secure)
    assert "STARTTLS" not in secure


def test_every_row_names_its_rfc() -> None:
    assert all(verb.rfc.startswith("RFC ") for verb in VERBS.values())


@pytest.mark.parametrize("state", [State.FRESH, State.AUTHENTICATED, State.SELECTED])
async def test_verbs_are_refused_outside_their_states(stage: Stage, state: State) -> None:
    async with ImapClient(stage.plain) as client:
        if state is not State.FRESH:
            await client.login("states@jx.example")
        if state is State.SELECTED:
            await client.ok(b"SELECT INBOX")
        for verb in VERBS.values():
            if verb.states & state:
                continue
            _, tagged = await client.command(verb.name.encode())
            assert tagged == b"BAD command not possible in this state\r\n"
            await client.ok(b"NOOP")
