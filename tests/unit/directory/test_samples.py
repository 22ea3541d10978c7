"""The sample trees hold together and have the promised shape."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from directory import samples, slapd, tree
from directory.model import Level, NewUnit
from govmail.mail.address import canonical_domain


@pytest.fixture(scope="module")
def province() -> list[NewUnit]:
    return list(samples.sample_units("province"))


def test_the_province_has_9400_units_in_112_regions(province: list[NewUnit]) -> None:
    regions = Counter(unit.level for unit in province if unit.is_region)
    organs = Counter(unit.level for unit in province if not unit.is_region)
    assert regions == {Level.PROVINCE: 1, Level.CITY: 11, Level.COUNTY: 100, Level.TOWNSHIP: 1767}
    assert organs == {Level.PROVINCE: 86, Level.CITY: 11 * 77, Level.COUNTY: 100 * 67}
    assert sum(organs.values()) + regions[Level.TOWNSHIP] == 9400


@pytest.mark.parametrize("kind", ["small", "province"])
def test_a_sample_is_one_tree_with_unique_siblings(kind: samples.Kind) -> None:
    seen: set[str] = set()
    names: set[tuple[str | None, str]] = set()
    labels: set[tuple[str | None, str]] = set()
    domains: set[str] = set()
    roots = 0
    for unit in samples.sample_units(kind):
        assert tree.check_unit(unit) == unit
        assert unit.parent_id in seen or unit.parent_id is None
        roots += unit.parent_id is None
        for key, used in (((unit.parent_id, unit.name), names), ((unit.parent_id, unit.label), labels)):
            assert key not in used, unit
            used.add(key)
        if unit.domain:
            assert canonical_domain(unit.domain).endswith(".example") and unit.domain not in domains
            domains.add(unit.domain)
        seen.add(unit.unit_id)
    assert roots == 1


def test_the_small_tree_is_small() -> None:
    units = list(samples.sample_units("small"))
    assert Counter(unit.level for unit in units if unit.is_region) == {Level.PROVINCE: 1, Level.CITY: 2, Level.COUNTY: 3}
    assert sum(not unit.is_region for unit in units) == 20
    assert "fgw.ganzhou.jx.example" in {unit.domain for unit in units}
    assert {"{", "}"}.isdisjoint("".join(unit.name for unit in units))


def test_people_are_dealt_out_with_addresses_of_their_units(province: list[NewUnit]) -> None:
    small = list(samples.sample_units("small"))
    people = list(samples.sample_people(small))
    assert len(people) == 50 and len({person.address.key for person in people}) == 50
    domains = {unit.domain for unit in small}
    for person in people:
        assert tree.check_person(person) == person
        assert person.address.domain in domains
    again = list(samples.sample_people(small))
    assert [(one.name, one.address) for one in again] == [(one.name, one.address) for one in people]
    many = list(samples.sample_people(province, 3000))
    assert len({person.address.key for person in many}) == 3000


def test_labels_of_counties_with_several_readings() -> None:
    labels = {region.name: region.label for region in samples.regions() if region.level <= Level.COUNTY}
    expected = {"铅山县": "yanshan", "都昌县": "duchang", "宁都县": "ningdu", "于都县": "yudu", "乐安县": "lean", "会昌县": "huichang", "赣县区": "ganxian"}
    assert {name: labels[name] for name in expected} == expected


def test_every_change_since_2000_names_what_it_changes() -> None:
    with (samples.DATA / "division_changes.csv").open(encoding="utf-8", newline="") as file:
        changes = list(csv.DictReader(file))
    assert len(changes) == 68
    assert all(row["old_code"] or row["new_code"] for row in changes)


def test_slapd_conf_holds_no_password_and_no_placeholder(tmp_path: object) -> None:
    from pathlib import Path

    text = slapd.render("ou=agencies,dc=jx,dc=example", data_dir=Path("/d"), run_dir=Path("/r"), admin_password="s3cret-s3cret")
    assert "s3cret" not in text and "@" not in text.replace("@NAMES@", "")
    assert 'suffix "dc=jx,dc=example"' in text and "dbnosync" not in text
    with pytest.raises(ValueError):
        slapd.render('dc="x', data_dir=Path("/d"), run_dir=Path("/r"), admin_password="x")
