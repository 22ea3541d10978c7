"""Logins as people and back."""

from __future__ import annotations

from directory.cache import CachedResolver
from directory.local import LocalDirectory
from directory.model import NewPerson, NewUnit
from directory.people import DirectoryPeople
from govmail.config import DirectoryTable
from govmail.errors import DirectoryUnavailable
from govmail.mail.address import Address
from govmail.store.database import Database


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_people_are_found_by_any_address_and_named_by_the_primary(tmp_path) -> None:  # type: ignore[no-untyped-def]
    database = Database.open("sqlite://", data_dir=tmp_path, durable=False)
    clock, config = Clock(), DirectoryTable()
    directory = LocalDirectory(database)
    resolver = CachedResolver(directory, config, clock=clock)
    people = DirectoryPeople(directory, resolver, config, clock=clock)
    try:
        unit = await directory.add_unit(NewUnit("江西省", "jx", None, 1))
        await directory.add_domain("jx.example", unit.unit_id)
        wang = await directory.add_person(NewPerson(unit.unit_id, "王", Address.parse("Wang@jx.example")))
        await directory.add_alias(wang.person_id, Address.parse("w@jx.example"))
        await directory.add_group(unit.unit_id, Address.parse("all@jx.example"), "全体", members=[wang.person_id])
        for login in ("wang@jx.example", "WANG@JX.example", "w@jx.example"):
            assert await people.find(login) == wang.person_id
        for nobody in ("all@jx.example", "none@jx.example", "wang@elsewhere.example", "wang", ""):
            assert await people.find(nobody) is None
        assert await people.logins((wang.person_id, "unknown")) == {wang.person_id: "wang@jx.example"}

        async def away(*_: object) -> dict[str, object]:
            raise DirectoryUnavailable

        directory.people_by_id = away  # type: ignore[method-assign, assignment]
        clock.now += 10 * config.positive_seconds
        assert await people.logins((wang.person_id, "unknown")) == {wang.person_id: "wang@jx.example"}
    finally:
        await database.close()
