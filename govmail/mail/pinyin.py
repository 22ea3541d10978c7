"""How Chinese is read: names in pinyin with the right surname readings, and the order in which people look for text.

Invariants: nothing here depends on a locale; equal text has equal keys, different text different ones; what is not Chinese
sorts by its folded characters. pypinyin is imported when the first Chinese character is read: its tables take 20 MB.

GB/T 28039-2011 (names in pinyin); RFC 5255 §4.5 (i;unicode-casemap for the rest).
"""

from __future__ import annotations

import re
import unicodedata

from govmail.mail.text import fold

# Characters whose reading as a surname differs from the usual one (GB/T 28039-2011: surname first, no tone marks).
SURNAMES = {
    "单": "shan", "曾": "zeng", "解": "xie", "仇": "qiu", "查": "zha", "区": "ou", "朴": "piao", "盖": "ge", "任": "ren",
    "华": "hua", "尉": "wei", "召": "shao", "乐": "yue", "员": "yun", "缪": "miao", "翟": "zhai", "宁": "ning", "覃": "qin",
    "冼": "xian", "洗": "xian", "逄": "pang", "折": "she", "种": "chong", "秘": "bi", "繁": "po", "黑": "he", "重": "chong",
    "祭": "zhai", "万": "wan", "卜": "bu", "应": "ying", "纪": "ji", "燕": "yan", "柏": "bai", "葛": "ge", "牟": "mou",
    "臧": "zang", "郗": "xi", "晁": "chao", "郇": "xun", "哈": "ha", "那": "na", "么": "yao", "呙": "guo", "车": "che",
    "吕": "lv", "闾": "lv", "隗": "wei", "撒": "sa", "佴": "nai", "逯": "lu", "乜": "nie", "訾": "zi", "句": "gou",
    "薄": "bo", "贲": "ben", "褚": "chu", "费": "fei", "干": "gan", "过": "guo", "观": "guan", "俞": "yu", "沈": "shen",
    "石": "shi", "谌": "chen", "阚": "kan", "于": "yu", "尹": "yin", "都": "du", "宓": "mi", "幺": "yao",
}

COMPOUND_SURNAMES = {
    "欧阳": "ouyang", "司马": "sima", "上官": "shangguan", "诸葛": "zhuge", "东方": "dongfang", "皇甫": "huangfu",
    "尉迟": "yuchi", "公孙": "gongsun", "令狐": "linghu", "长孙": "zhangsun", "宇文": "yuwen", "司徒": "situ",
    "夏侯": "xiahou", "万俟": "moqi", "单于": "chanyu", "澹台": "tantai", "公冶": "gongye", "宗政": "zongzheng",
    "濮阳": "puyang", "淳于": "chunyu", "太叔": "taishu", "申屠": "shentu", "轩辕": "xuanyuan", "钟离": "zhongli",
    "慕容": "murong", "鲜于": "xianyu", "闾丘": "lvqiu", "亓官": "qiguan", "司空": "sikong", "南宫": "nangong",
    "西门": "ximen", "独孤": "dugu", "端木": "duanmu", "百里": "baili", "呼延": "huyan", "拓跋": "tuoba",
}

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def split_name(name: str) -> tuple[str, str]:
    """Surname and given name; what is not written in Chinese characters is split at its last blank."""
    if not name or not _is_han(name[0]):
        first, _, last = name.rpartition(" ")
        return (last, first) if first else (name, "")
    if name[:2] in COMPOUND_SURNAMES and len(name) > 2:
        return name[:2], name[2:]
    return name[:1], name[1:]


def pinyin(name: str) -> str:
    """The name in pinyin without tones, surname first, ü written v: "吕思源" -> "lv siyuan"; "" when it has no reading."""
    surname, given = split_name(name)
    if not (surname and _is_han(surname[0])):
        return " ".join(filter(None, (_plain(name),)))
    first = COMPOUND_SURNAMES.get(surname) or SURNAMES.get(surname) or _read(surname)
    return " ".join(filter(None, (first, _read(given))))


def _read(text: str) -> str:
    # Imported when the first name is read: its tables take 0.2 s and 20 MB.
    from pypinyin import Style, lazy_pinyin

    return _plain("".join(lazy_pinyin(text, style=Style.NORMAL, v_to_u=False, errors="ignore")).replace("ü", "v"))


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return _NOT_PLAIN.sub("", folded)


def _is_han(char: str) -> bool:
    return unicodedata.name(char, "").startswith("CJK ")


# -- order --------------------------------------------------------------------------------------------------------

PERSON_CHARACTERS = 4  # a Chinese text up to this long may be a person's name


class _Readings(dict[int, str]):
    """For `str.translate`: a character as it sorts – syllable, tone, the character itself."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        found = char if code < 0x2E80 else _sortable(char)
        if len(self) < _CHARACTERS:
            self[code] = found
        return found


_CHARACTERS = 50_000  # of all scripts; beyond it readings are looked up again
_READINGS = _Readings()


def collation(text: str) -> str:
    """The key by which folded text sorts: Chinese by pinyin, character by character, beside Latin by its letters."""
    return text if text.isascii() else text.translate(_READINGS)


def name_collation(name: str) -> str:
    """The same for a name as shown: a Chinese surname is read as one."""
    text = fold(name)
    surname, given = split_name(text)
    if not given or len(text) > PERSON_CHARACTERS:
        return collation(text)
    if surname in COMPOUND_SURNAMES:
        return f"{COMPOUND_SURNAMES[surname]}{surname} {collation(given)}"
    return _sortable(surname, SURNAMES[surname]) + collation(given) if surname in SURNAMES else collation(text)


def _sortable(char: str, syllable: str = "") -> str:
    """`syllable`: the reading without tone that is wanted, if it is known."""
    readings = _tones(char)
    if not readings:
        return char
    found = next((one for one in readings if one[:-1] == syllable), syllable or readings[0])
    return f"{found}{char} "


def _tones(char: str) -> list[str]:
    """The readings of a character, each with its tone as a digit: wang2."""
    from pypinyin import Style, pinyin

    if not _is_han(char):
        return []
    return pinyin(char, style=Style.TONE3, heteronym=True, neutral_tone_with_five=True, errors="ignore")[0]
