"""Threading against the algorithm as RFC 5256 tells it, step by step and without haste."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govmail.imap.threads import Mail, Node, by_references, by_subject, thread_line


def mail(number: int, *references: str, sent: int = 0, subject: str = "", answers: bool = False) -> Mail:
    return Mail(number, sent or number, f"<{number}>", references, subject, answers)


def shown(mails: list[Mail]) -> str:
    return thread_line(by_references(mails)).decode().removeprefix("* THREAD").strip()


# -- as it is written ------------------------------------------------------------------------------------------------


def tree(mark: int | None, *children: Node) -> Node:
    node = Node(None if mark is None else mail(mark))
    node.children = list(children)
    return node


def test_the_examples_of_the_rfc() -> None:
    """RFC 5256 §4: THREAD."""
    branches = tree(3, tree(6, tree(4, tree(23)), tree(44, tree(7, tree(96)))))
    assert thread_line([tree(2), branches]) == b"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n"
    assert thread_line([tree(None, tree(3), tree(5))]) == b"* THREAD ((3)(5))\r\n"
    assert thread_line([]) == b"* THREAD\r\n"


def test_nothing_recurses() -> None:
    line = [mail(number, f"<{number - 1}>") for number in range(1, 20_001)]
    assert shown(line) == "(" + " ".join(map(str, range(1, 20_001))) + ")"
    comb = [mail(number, f"<{number - 1 - number % 2}>") for number in range(1, 10_001)]
    assert len(re.findall(r"\d+", shown(comb))) == 10_000


# -- cases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mails", "expected"), [
    ([], ""),
    ([mail(1), mail(2, "<1>"), mail(3, "<1>", "<2>"), mail(4)], "(1 2 3)(4)"),
    ([mail(1), mail(2, "<1>"), mail(3, "<1>")], "(1 (2)(3))"),
    # the parent is missing: its children are siblings, a single one stands for itself
    ([mail(1, "<x>"), mail(2, "<x>")], "((1)(2))"),
    ([mail(1, "<x>", "<y>")], "(1)"),
    # a missing message in between is left out
    ([mail(1), mail(2, "<1>", "<gone>")], "(1 2)"),
    # siblings by date, not by number
    ([mail(1), mail(2, "<1>", sent=9), mail(3, "<1>", sent=8)], "(1 (3)(2))"),
    # threads by the date of their first message
    ([mail(1, sent=9), mail(2, sent=3)], "(2)(1)"),
    # loops
    ([mail(1, "<2>"), mail(2, "<1>")], "(2 1)"),
    ([mail(1, "<1>")], "(1)"),
    # by subject: an answer goes below what it answers, equals stand side by side
    ([mail(1, subject="a"), mail(2, subject="a", answers=True)], "(1 2)"),
    ([mail(1, subject="a", answers=True), mail(2, subject="a")], "(2 1)"),
    ([mail(1, subject="a"), mail(2, subject="a")], "((1)(2))"),
    ([mail(1, subject="a"), mail(2, subject="a"), mail(3, subject="a", answers=True)], "((1)(2)(3))"),
    ([mail(1, "<x>", subject="a"), mail(2, "<x>", subject="a"), mail(3, subject="a")], "((1)(2)(3))"),
    ([mail(1, "<x>", subject="a"), mail(2, "<x>"), mail(3, "<y>", subject="a"), mail(4, "<y>")], "((1)(2)(3)(4))"),
    ([mail(1), mail(2)], "(1)(2)"),  # no subject is none in common
])  # fmt: skip
def test_references(mails: list[Mail], expected: str) -> None:
    assert shown(mails) == expected


def test_equal_ids_are_messages_of_their_own() -> None:
    first = Mail(1, 1, "<same>", (), "", answers=False)
    assert shown([first, first._replace(number=2, sent=2), mail(3, "<same>")]) == "(1 3)(2)"


def test_ordered_subject() -> None:
    mails = [mail(1, subject="b", sent=5), mail(2, subject="a", sent=4), mail(3, subject="b", sent=3), mail(4, subject="b", sent=9)]
    assert thread_line(by_subject(mails)) == b"* THREAD (3 (1)(4))(2)\r\n"


# -- a naive evaluation of steps 1 to 4 ------------------------------------------------------------------------------


class Slow:
    """Parents by id; loops are found by walking up."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def is_above(self, above: str, one: str) -> bool:
        while one != above:
            if one not in self.parent:
                return False
            one = self.parent[one]
        return True

    def link(self, parent: str, child: str) -> None:
        if not self.is_above(child, parent):
            self.parent[child] = parent


def as_the_rfc_says(mails: list[Mail]) -> dict[str, str]:
    """Message by message: first what others say, then what it says of itself (step 1, A and B)."""
    slow = Slow()
    for one in mails:
        for above, below in pairwise(one.references):
            if below not in slow.parent:
                slow.link(above, below)
        slow.parent.pop(one.message_id, None)
        if one.references:
            slow.link(one.references[-1], one.message_id)
    return slow.parent


def own_words_first(mails: list[Mail]) -> dict[str, str]:
    slow = Slow()
    for one in mails:
        if one.references:
            slow.link(one.references[-1], one.message_id)
    for one in mails:
        for above, below in pairwise(one.references):
            if below not in slow.parent:
                slow.link(above, below)
    return slow.parent


def nearest(mails: list[Mail], parents: dict[str, str]) -> dict[int, int]:
    """For each message the next message above it, 0 for none."""
    numbers = {one.message_id: one.number for one in mails}
    found = {}
    for one in mails:
        above = parents.get(one.message_id)
        while above is not None and above not in numbers:
            above = parents.get(above)
        found[one.number] = 0 if above is None else numbers[above]
    return found


def built(mails: list[Mail]) -> dict[int, int]:
    found = {}
    waiting: list[tuple[Node, int]] = [(root, 0) for root in by_references(mails)]
    while waiting:
        node, above = waiting.pop()
        if node.mail is not None:
            assert node.mail.number not in found
            found[node.mail.number] = above
        waiting += [(child, node.mail.number if node.mail else 0) for child in node.children]
        assert [one.first.sent for one in node.children] == sorted(one.first.sent for one in node.children)
    return found


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25))
def test_honest_references(seed: int, count: int) -> None:
    """Each names its ancestors, or the last of them; some messages are missing."""
    source = random.Random(seed)
    ancestors: dict[int, list[str]] = {}
    mails = []
    for number in range(1, count + 1):
        parent = source.randint(0, number - 1)
        ancestors[number] = [*ancestors[parent], f"<{parent}>"] if parent else []
        if source.random() < 0.8:
            kept = ancestors[number][-source.randint(1, 6) :]
            mails.append(mail(number, *kept, sent=source.randint(1, 50)))
    source.shuffle(mails)
    assert built(mails) == nearest(mails, as_the_rfc_says(mails))


ids = st.integers(1, 12).map("<{}>".format)


@settings(deadline=None)
@given(st.lists(st.lists(ids, max_size=5), max_size=10))
def test_any_references(references: list[list[str]]) -> None:
    mails = [mail(number, *some) for number, some in enumerate(references, 1)]
    assert built(mails) == nearest(mails, own_words_first(mails))
