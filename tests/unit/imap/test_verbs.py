"""The tables of verbs and capabilities, and what is derived from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from govmail.imap.capabilities import CAPABILITIES, Capability, Offer, announced
from govmail.imap.state import State, Verb
from govmail.imap.verbs import VERBS
from tests.kit.imap import ImapClient
from tests.kit.imap_server import Stage

TESTS = Path(__file__).parents[2]
NAMES = [one.name for one in CAPABILITIES]


def test_no_password_in_clear_is_offered() -> None:
    """R-20."""
    clear = announced(Offer(State.FRESH, tls=False, starttls=True))
    assert "LOGINDISABLED" in clear
    assert not any(name.startswith("AUTH=") for name in clear)
    secure = announced(Offer(State.FRESH, tls=True, starttls=True))
    assert {"AUTH=PLAIN", "AUTH=LOGIN"} <= set(secure)
    assert "STARTTLS" not in secure


def test_what_is_switched_off_is_not_announced() -> None:
    offer = Offer(State.AUTHENTICATED, tls=True)
    assert set(announced(offer)) - set(announced(offer, without={"MOVE"})) == {"MOVE"}


def test_every_row_names_its_rfc() -> None:
    assert all(re.match(r"(RFC|draft)[ -]\S+ §", row.rfc) for row in (*VERBS.values(), *CAPABILITIES))


def test_names_stand_once() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=NAMES)
def test_every_capability_is_shown_at_work(capability: Capability) -> None:
    """The dialogue says in its comments which capabilities it is about."""
    assert re.search(rf"(?<![\w=+-]){re.escape(capability.name)}(?![\w=+-])", (TESTS / capability.shown).read_text("utf-8"))


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verb_belongs_to_a_capability_that_exists(verb: Verb) -> None:
    assert not verb.capability or verb.capability in NAMES


@pytest.mark.parametrize("state", [State.FRESH, State.AUTHENTICATED, State.SELECTED])
async def test_verbs_are_refused_outside_their_states(stage: Stage, state: State) -> None:
    for verb in VERBS.values():
        if verb.states & state:
            continue
        async with ImapClient(stage.plain) as client:  # one for each: too many bad commands end a connection
            if state is not State.FRESH:
                await client.login("states@jx.example")
            if state is State.SELECTED:
                await client.ok(b"SELECT INBOX")
            _, tagged = await client.command(verb.name.encode())
            assert tagged == b"BAD command not possible in this state\r\n"
            await client.ok(b"NOOP")
