"""Labels of units: what stands in domains, DNs and paths for a Chinese name.

The custom of government domains: a region has its name in pinyin without the word for its level (赣州市 → ganzhou), an
organ the initials of its short name (发改委 → fgw).
"""

from __future__ import annotations

import re
from collections.abc import Container

REGION_ENDINGS = (
    "自治区", "特别行政区", "自治州", "自治县", "自治旗", "地区", "林区", "矿区", "开发区", "新区", "街道", "省", "市", "县", "区", "盟", "旗", "州", "乡", "镇",
)  # fmt: skip
LABEL_LENGTH = 40  # leaves room for a number and for the rest of a domain

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def is_region(name: str) -> bool:
    """Whether the name is that of a region and not of an organ."""
    return any(name.endswith(ending) and len(name) > len(ending) for ending in REGION_ENDINGS)


def label_for(name: str, taken: Container[str], *, region: bool) -> str:
    """The label of a unit; with 2, 3 … behind it where a sibling has it already."""
    # Imported when the first label is made: its tables take 0.2 s and 20 MB.
    from pypinyin import Style, lazy_pinyin

    stem = name
    if region:
        ending = max((one for one in REGION_ENDINGS if name.endswith(one) and len(name) - len(one) >= 2), key=len, default="")
        stem = name.removesuffix(ending)
    style = Style.NORMAL if region else Style.FIRST_LETTER
    letters = "".join(lazy_pinyin(stem, style=style, errors=str.lower))
    plain = _NOT_PLAIN.sub("", letters.replace("ü", "v"))[:LABEL_LENGTH] or "u"
    number = 1
    label = plain
    while label in taken:
        number += 1
        label = f"{plain}{number}"
    return label
