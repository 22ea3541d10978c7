"""Sizes as operators write them: 500M, 2G, none."""

from __future__ import annotations

import re
import unicodedata

from admin.texts import say
from govmail.errors import BadInput

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([KMGT]?)(?:I?B)?")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_NO_LIMIT = frozenset({"0", "NONE", "无", "不限"})
_DEFAULT = frozenset({"DEFAULT", "默认", "缺省"})
MOST = 1 << 60  # octets


def parse_quota(text: str) -> int | None:
    """Octets; 0: no limit; None: that of the configuration. 1K = 1024. Raises BadInput."""
    plain = unicodedata.normalize("NFKC", text).strip().upper()
    if plain in _NO_LIMIT:
        return 0
    if plain in _DEFAULT:
        return None
    found = _SIZE.fullmatch(plain)
    octets = int(float(found[1]) * 1024 ** _POWERS[found[2]]) if found else 0
    if not 0 < octets <= MOST:
        raise BadInput(say("size_bad", text=text[:40]))
    return octets
