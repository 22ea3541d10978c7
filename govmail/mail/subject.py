"""What a subject is about: without the marks of answers, forwards and mailing lists.

Invariant: takes folded text (`mail.text.fold`), so case and full-width forms are no matter; linear but for the marks in the
first SUBJECT_CHARACTERS.

RFC 5256 §2.1. Beside the letter of it, the marks that Chinese clients write count as well: 回复, 答复, 转发.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SUBJECT_CHARACTERS = 4096  # what lies beyond decides no order

_BLOB = r"\[[^\[\]]*+\] ?"  # "[" *BLOBCHAR "]" *WSP
# No possessive groups: in Python 3.11 they keep what a repetition took that failed. There is one way only to read blobs.
_LEADER = re.compile(rf" |(?:{_BLOB})*(?:re|fwd?|回复|答复|转发) ?(?:{_BLOB})?:")
_LIST = re.compile(_BLOB)


class Subject(NamedTuple):
    """The base subject, and whether marks of an answer or a forward were taken away."""

    base: str
    answers: bool


def base_subject(folded: str) -> Subject:
    """RFC 5256 §2.1, steps 2 to 6; step 1 is folding."""
    text = folded[:SUBJECT_CHARACTERS]
    start, stop = 0, len(text)
    answers = False
    while True:
        while True:  # (2) trailers
            if text.endswith("(fwd)", start, stop):
                stop -= 5
                answers = True
            elif text.endswith(" ", start, stop):
                stop -= 1
            else:
                break
        while True:
            leader = _LEADER.match(text, start, stop)
            if leader is not None:  # (3) leaders
                start = leader.end()
                answers = answers or leader[0] != " "
                continue
            blob = _LIST.match(text, start, stop)
            if blob is None or blob.end() == stop:  # (4) a list's mark, unless it is all there is
                break
            start = blob.end()
        if not (text.startswith("[fwd:", start, stop) and text.endswith("]", start, stop)):
            return Subject(text[start:stop], answers)
        start, stop, answers = start + 5, stop - 1, True  # (6)
