"""Sample trees from public facts about Jiangxi, and invented people for them.

Invariants: parents come before children; domains end in `.example`; names of people are drawn from tables of common
surnames and given names, so that they mean nobody.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from directory import naming
from directory.model import IdSource, Level, NewPerson, NewUnit, new_id

Kind = Literal["small", "province"]

DATA = Path(__file__).parent / "data"
DOMAIN = "jx.example"

_LEVEL_NAMES = {Level.PROVINCE: "province", Level.CITY: "city", Level.COUNTY: "county"}
_RANKS = {Level.PROVINCE: "正厅", Level.CITY: "正处", Level.COUNTY: "正科", Level.TOWNSHIP: "正科"}

# The small tree: regions by code, labels of organs by level.
_SMALL_REGIONS = {"360000", "360100", "360121", "360700", "360702", "360722"}
_SMALL_ORGANS = {
    Level.PROVINCE: {"wb", "jw", "rd", "fgw", "jyt", "czt", "gat", "xxzx"},
    Level.CITY: {"fgw", "jyt", "xxzx"},
    Level.COUNTY: {"fgw", "jyt"},
}

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤单仇查区解朴"
)
_COMPOUND = ("欧阳", "上官", "司马", "诸葛", "夏侯")
_GIVEN = ["伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超", "霞", "平", "刚", "桂英", "秀兰", "玉兰", "建国", "建华", "志强", "志明", "国强", "国华", "文斌", "文静", "晓东", "晓燕", "晓玲", "海燕", "海涛", "春梅", "春华", "秋萍", "冬梅", "小红", "小军", "小英", "思源", "思远", "雨轩", "雨欣", "子涵", "子轩", "浩然", "一鸣", "家豪", "嘉怡", "欣怡", "俊杰", "婷婷", "丹丹", "丽华", "丽娟", "玉华", "玉梅", "金花", "红梅", "爱国", "爱华", "永强", "永红", "长青", "长江", "光明", "光辉", "学文", "学军", "德华", "德明", "世杰", "世忠", "绿", "吕安", "钰", "䶮"]
_TITLES = {
    Level.PROVINCE: ("厅长", "副厅长", "处长", "副处长", "一级主任科员", "四级调研员"),
    Level.CITY: ("局长", "副局长", "科长", "副科长", "一级科员"),
    Level.COUNTY: ("局长", "副局长", "股长", "科员"),
    Level.TOWNSHIP: ("镇长", "副镇长", "科员"),
}


@dataclass(frozen=True, slots=True)
class Region:
    """A row of the divisions or townships."""

    code: str
    name: str
    level: int
    parent_code: str
    label: str


def regions() -> list[Region]:
    """Province, cities, counties and townships, parents first."""
    found = [Region(row["code"], row["name"], int(row["level"]), row["parent_code"], row["label"]) for row in _rows("divisions.csv")]
    found.sort(key=lambda region: region.level)
    found += [Region(row["code"], row["name"], Level.TOWNSHIP, row["parent_code"], row["label"]) for row in _rows("townships.csv")]
    return found


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def sample_units(kind: Kind, *, ids: IdSource = new_id) -> Iterator[NewUnit]:
    """The units of a sample tree, parents first, each with its id.

    "small": 1 province, 2 cities, 3 counties and 20 organs. "province": all 112 regions with 9,400 units in them
    (86 + 11 × 77 + 100 × 67 organs, 1,767 townships). Regions down to the counties, and the organs of province and
    cities, have mail domains of their own, like `fgw.ganzhou.jx.example`.
    """
    organs = list(_rows("departments.csv"))
    made: dict[str, tuple[str, str]] = {}  # code -> unit_id, domain
    for region in regions():
        if kind == "small" and region.code not in _SMALL_REGIONS:
            continue
        parent_id, above = made.get(region.parent_code, (None, ""))
        is_township = region.level == Level.TOWNSHIP
        domain = "" if is_township else f"{region.label}.{above}" if above else DOMAIN
        unit = NewUnit(
            region.name, region.label, parent_id, region.level, kind="乡镇" if is_township else "地区", code=region.code,
            rank=_RANKS[region.level] if is_township else "", domain=domain or None, is_region=True, unit_id=ids(),
        )
        made[region.code] = unit.unit_id, domain
        yield unit
        if not is_township:
            yield from _organs(kind, region, unit.unit_id, domain, organs, ids)


def _organs(
    kind: Kind, region: Region, unit_id: str, domain: str, organs: Iterable[Mapping[str, str]], ids: IdSource
) -> Iterator[NewUnit]:
    for row in organs:
        name = row[_LEVEL_NAMES[region.level]].replace("{s}", region.name[-1])
        if not name or (kind == "small" and row["label"] not in _SMALL_ORGANS[region.level]):
            continue
        yield NewUnit(
            name, row["label"], unit_id, region.level, kind=row["kind"], line=row["line"], rank=_RANKS[region.level],
            domain=f"{row['label']}.{domain}" if region.level < Level.COUNTY else None, unit_id=ids(),
        )


def sample_people(units: Iterable[NewUnit], count: int = 50, *, seed: int = 2003, ids: IdSource = new_id) -> Iterator[NewPerson]:
    """Invented people, dealt out over the organs (and townships) of a tree one after the other; without passwords.

    The same seed gives the same names, titles and addresses.
    """
    chance = random.Random(seed)
    domains: dict[str | None, str] = {None: DOMAIN}
    seats: list[NewUnit] = []
    for unit in units:
        domains[unit.unit_id] = unit.domain or domains[unit.parent_id]
        if not unit.is_region or unit.level == Level.TOWNSHIP:
            seats.append(unit)
    taken: set[str] = set()
    for number in range(count):
        unit = seats[number % len(seats)]
        surname = chance.choice(_COMPOUND) if chance.random() < 0.02 else chance.choice(_SURNAMES)
        name = surname + chance.choice(_GIVEN)
        address = naming.suggest(name, domains[unit.unit_id], lambda wanted: wanted.key in taken)
        taken.add(address.key)
        titles = _TITLES[unit.level]
        title = titles[min(number // len(seats), len(titles) - 1)]
        yield NewPerson(unit.unit_id, name, address, title=title, pinyin=naming.pinyin(name), person_id=ids())
