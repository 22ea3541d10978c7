"""THREAD: who answers whom.

Invariants: linear in messages and references, whatever the references say – loops are refused by joining sets, not by
walking; the answer is deterministic; nothing recurses.

RFC 5256 §3 (THREAD). One deviation where references contradict each other: what messages say of themselves counts before
what others say of them, for all messages, not in the order of the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from govmail.imap.searching import Question, find_rows, headers
from govmail.imap.sorting import sent, subjects
from govmail.mail.header import message_ids, values
from govmail.mail.subject import Subject
from govmail.store.connection import Connection


class Mail(NamedTuple):
    """A message as threading sees it: number or UID to show, when sent, ids, what it is about."""

    number: int
    sent: int
    message_id: str  # "" when there is none
    references: tuple[str, ...]  # oldest first; In-Reply-To where there are none
    subject: str  # base subject
    answers: bool


class Node:
    """A message, or a place where one is missing, with what hangs below it."""

    __slots__ = ("children", "mail", "parent", "set")

    def __init__(self, mail: Mail | None) -> None:
        self.mail = mail
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.set = self  # towards the representative of its tree while links are made

    @property
    def first(self) -> Mail:
        """The message that stands for it: its own, or its first child's. A place without message always has children."""
        node = self
        while node.mail is None:
            node = node.children[0]
        return node.mail


def by_references(mails: Sequence[Mail]) -> list[Node]:
    """REFERENCES: roots of threads, sorted."""
    roots = _pruned(_linked(mails))
    _sort(roots)
    roots = _gathered(roots)
    _sort(roots)
    return roots


def by_subject(mails: Iterable[Mail]) -> list[Node]:
    """ORDEREDSUBJECT: the messages of one subject are children of the first; threads by their first message's date."""
    roots: dict[str, Node] = {}
    for mail in sorted(mails, key=_age):
        root = roots.get(mail.subject)
        if root is None:
            roots[mail.subject] = Node(mail)
        else:
            root.children.append(Node(mail))
    return list(roots.values())


def _age(mail: Mail) -> tuple[int, int]:
    return mail.sent, mail.number


def line(conn: Connection, question: Question, algorithm: str, *, by_uid: bool) -> bytes:
    """The THREAD response for what a search finds. Runs in a reading thread."""
    rows = find_rows(conn, question)
    numbers = [row.uid for row in rows] if by_uid else question.view.uids.numbers([row.uid for row in rows])
    moment, about = sent(conn, rows), subjects(conn, rows)
    ids: dict[int, tuple[str, tuple[str, ...]]] = {}
    if algorithm == "REFERENCES":
        most = question.limits.imap_thread_references
        ids = {content_id: _ids(raw, most) for content_id, raw in headers(conn, {row.content_id for row in rows})}
    mails = []
    for number, row in zip(numbers, rows, strict=True):
        subject = about.get(row.content_id, _NO_SUBJECT)
        mails.append(Mail(number, moment(row), *ids.get(row.content_id, ("", ())), subject.base, subject.answers))
    return thread_line(by_references(mails) if algorithm == "REFERENCES" else by_subject(mails))


_NO_SUBJECT = Subject("", answers=False)


def _ids(raw: bytes, most: int) -> tuple[str, tuple[str, ...]]:
    """Message-ID, and the ids that it refers to, the last `most` of them (RFC 5256 §3, step 1)."""
    own = next((one for value in values(raw, b"message-id") for one in message_ids(value)), "")
    references = [one for value in values(raw, b"references") for one in message_ids(value, len(raw))]
    if not references:
        references = [one for value in values(raw, b"in-reply-to") for one in message_ids(value, 1)][:1]
    return _plain(own), tuple(map(_plain, references[-most:]))


def _plain(message_id: str) -> str:
    """Quoting makes no difference: <"a"@b> is <a@b>."""
    return message_id.replace("\\", "").replace('"', "") if '"' in message_id else message_id


# -- REFERENCES, step by step ---------------------------------------------------------------------------------------


def _linked(mails: Sequence[Mail]) -> list[Node]:
    """Step 1: every message and every message that one refers to, linked."""
    by_id: dict[str, Node] = {}
    nodes: list[Node] = []
    for mail in mails:
        node = Node(mail)
        nodes.append(node)
        if mail.message_id:
            by_id.setdefault(mail.message_id, node)  # a second message of the same id is one without
    mine = list(zip(nodes, mails, strict=True))
    for _, mail in mine:
        for reference in mail.references:
            if reference not in by_id:
                by_id[reference] = Node(None)
                nodes.append(by_id[reference])
    for node, mail in mine:
        if mail.references:
            _link(by_id[mail.references[-1]], node)
    for _, mail in mine:
        chain = [by_id[reference] for reference in mail.references]
        for parent, child in pairwise(chain):
            if child.parent is None:
                _link(parent, child)
    return nodes


def _link(parent: Node, child: Node) -> None:
    """Hang `child`, which is a root, below `parent`, unless that is below it already."""
    one, other = _representative(parent), _representative(child)
    if one is not other:
        other.set = one
        child.parent = parent
        parent.children.append(child)


def _representative(node: Node) -> Node:
    while node.set is not node:
        node.set = node.set.set
        node = node.set
    return node


def _pruned(nodes: Sequence[Node]) -> list[Node]:
    """Steps 2 and 3: places without message give their children to their parent; at the top only a single one."""
    roots: list[Node] = []
    for top in nodes:
        if top.parent is not None:
            continue
        for node in _upwards(top):
            kept: list[Node] = []
            for child in node.children:
                if child.mail is not None:
                    kept.append(child)
                elif len(child.children) > len(kept):  # the longer list stays: no chain of places copies it again and again
                    kept, child.children = child.children, kept
                    kept.extend(child.children)
                else:
                    kept.extend(child.children)
            node.children = kept
        if top.mail is not None or len(top.children) > 1:
            roots.append(top)
        else:
            roots.extend(top.children)
    return roots


def _upwards(top: Node) -> Iterable[Node]:
    """All nodes of a tree, children before their parents."""
    order = [top]
    for node in order:
        order.extend(node.children)
    return reversed(order)


def _sort(roots: list[Node]) -> None:
    """Steps 4 and 6: siblings by date, children first, because a place without message is as old as its first child."""
    for top in roots:
        for node in _upwards(top):
            if len(node.children) > 1:
                node.children.sort(key=lambda one: _age(one.first))
    roots.sort(key=lambda one: _age(one.first))


def _gathered(roots: Sequence[Node]) -> list[Node]:
    """Step 5: threads of one subject under one root."""
    table: dict[str, Node] = {}
    for root in roots:
        mail = root.first
        if not mail.subject:
            continue
        known = table.get(mail.subject)
        if known is None or (known.mail is not None and (root.mail is None or (known.mail.answers and not root.mail.answers))):
            table[mail.subject] = root
    gathered: list[Node] = []
    moved: set[int] = set()  # roots that have become children, by identity
    for root in roots:
        known = table.get(root.first.subject)
        if id(root) in moved:
            continue
        if known is None or known is root:
            gathered.append(root)
        elif known.mail is None:
            known.children += [root] if root.mail is not None else root.children
        elif root.mail is not None and root.mail.answers and not known.mail.answers:
            known.children.append(root)
        else:
            together = table[known.mail.subject] = Node(None)
            together.children = [known, root]
            moved.add(id(known))
            gathered.append(together)
    return [root for root in gathered if id(root) not in moved]


# -- as IMAP says it ----------------------------------------------------------------------------------------------


def thread_line(roots: Iterable[Node]) -> bytes:
    """THREAD: `(3 6 (4 23)(44 7 96))`; a place without message is a pair of parentheses without number."""
    out = [b"* THREAD"]
    threads = [_thread(root) for root in roots]
    if threads:
        out += [b" ", *threads]
    return b"".join(out) + b"\r\n"


def _thread(root: Node) -> bytes:
    out: list[bytes] = []
    waiting: list[Node | bytes] = [b")", root, b"("]
    while waiting:
        one = waiting.pop()
        if isinstance(one, bytes):
            out.append(one)
            continue
        if one.mail is not None:
            out.append(b"%d" % one.mail.number)
            if one.children:
                out.append(b" ")
        if len(one.children) == 1:
            waiting.append(one.children[0])
        else:
            for child in reversed(one.children):
                waiting += (b")", child, b"(")
    return b"".join(out)
