"""Base subjects, RFC 5256 §2.1, and the marks of Chinese clients."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govmail.mail.subject import base_subject
from govmail.mail.text import fold


@pytest.mark.parametrize(("subject", "base", "answers"), [
    ("Meeting", "meeting", False),
    ("Re: Meeting", "meeting", True),
    ("RE : Fwd: fw:Meeting", "meeting", True),
    ("Re[4]: Meeting", "meeting", True),
    ("[list] Re: [list] Meeting", "meeting", True),
    ("[list] Meeting", "meeting", False),
    ("[list]", "[list]", False),
    ("Meeting (fwd) (fwd)", "meeting", True),
    ("[Fwd: [Fwd: Re: Meeting]]", "meeting", True),
    ("[fwd: Meeting", "[fwd: meeting", False),
    ("[list][Fwd: Meeting]", "meeting", True),
    ("Re: ", "", True),
    ("Rent: Meeting", "rent: meeting", False),
    ("  a \t b ", "a b", False),
    ("回复：会议", "会议", True),
    ("答复: 转发：Re: 会议", "会议", True),
    ("Ｒｅ：会议", "会议", True),
    ("回复的会议", "回复的会议", False),
    ("", "", False),
])  # fmt: skip
def test_examples(subject: str, base: str, answers: bool) -> None:
    assert base_subject(fold(subject)) == (base, answers)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["re:", "[x]", "[", "]", "(fwd)", " ", "fwd:", "[fwd:", "会", "a", ":"]), max_size=12).map("".join))
def test_what_is_left_has_no_marks(subject: str) -> None:
    base = base_subject(fold(subject)).base
    assert base_subject(base).base == base


def test_a_hostile_subject_costs_no_time() -> None:
    assert base_subject("re:" * 100_000).answers
    assert len(base_subject("[a]" * 100_000 + "x").base) < 10
