"""People by the thousand, from a table: set-based, row by row answerable, safe to repeat.

Invariants: a batch is looked up, hashed, written and audited before the first of its rows is answered, so a caller that
vanishes loses no row it has seen; a repeated import answers "exists" for what is there with the same address, unit and
name, and changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from admin.actions.context import BAD_INPUT, Actor, Context
from admin.actions.find import address_of, domain_for, path_of, unit_of
from admin.actions.person import PersonAdded, free_address, holder
from admin.actions.table import TableRow, read_table
from admin.reasons import explain
from admin.sizes import parse_quota
from admin.texts import say
from directory import naming, passwords, tree
from directory.model import NewPerson, Person, Unit, limit_of, new_id
from govmail.errors import BadInput, Conflict, MailError
from govmail.mail.address import Address
from govmail.store import accounts
from govmail.wire.control import Done, Progress

BATCH = 250  # rows hashed and written together, and between two audit entries
COLUMNS = ("name", "unit", "address", "password", "title", "quota")


@dataclass(frozen=True, slots=True)
class _Seat:
    """A row that is to become a person."""

    row: TableRow
    new: NewPerson
    password: str
    path: str
    generated: bool


class _Known:
    """What rows have in common, asked once per import: units by the paths that rows write, domains, namesakes."""

    def __init__(self, ctx: Context, default: str | None) -> None:
        self._ctx = ctx
        self._default = default
        self._known: dict[str, tuple[Unit, str] | BadInput] = {}
        self._domains: dict[str, str] = {}
        self._local: dict[str, bool] = {}
        self._people: dict[str, dict[str, Person]] = {}  # unit -> address key -> person who was there before this import
        self._namesakes: dict[tuple[str, str], list[Address]] = {}

    async def find(self, path: str) -> tuple[Unit, str]:
        """The unit and its full path. Raises BadInput."""
        path = path or self._default or ""
        if not path:
            raise BadInput(say("value_missing"))
        if path not in self._known:
            try:
                unit = await unit_of(self._ctx, path)
                self._known[path] = (unit, await path_of(self._ctx, unit.unit_id))
            except BadInput as error:
                self._known[path] = error
        found = self._known[path]
        if isinstance(found, BadInput):
            raise BadInput(found.public)
        return found

    async def domain(self, unit: Unit) -> str:
        if unit.unit_id not in self._domains:
            self._domains[unit.unit_id] = await domain_for(self._ctx, unit)
        return self._domains[unit.unit_id]

    async def is_local(self, domain: str) -> bool:
        if domain not in self._local:
            self._local[domain] = await self._ctx.directory.is_local_domain(domain)
        return self._local[domain]

    async def people(self, unit_id: str) -> Mapping[str, Person]:
        """Who was in the unit before this import, by all their addresses; read a page at a time, once per unit."""
        if unit_id not in self._people:
            found = self._people[unit_id] = {}
            async for page in self._ctx.directory.people(unit_id):
                found.update((address.key, person) for person in page for address in person.addresses)
        return self._people[unit_id]

    async def namesake(self, name: str, unit: Unit) -> Address | None:
        """The next person of that name in the unit who was there before this import; None when there are no more.

        So a table without addresses can be repeated: its first 张伟 means the first one that is there, and so on.
        """
        key = (name, unit.unit_id)
        if key not in self._namesakes:
            there = {one.primary for one in (await self.people(unit.unit_id)).values() if one.name == name}
            self._namesakes[key] = sorted(there, key=lambda one: (len(one.local), one.local), reverse=True)
        return self._namesakes[key].pop() if self._namesakes[key] else None


async def add_many(
    ctx: Context, actor: Actor, *, unit: str | None = None, total: int = 0, lines: AsyncIterator[bytes], dry_run: bool = False,
) -> AsyncIterator[PersonAdded | Progress | Done]:
    """Adds a person per row of a table with the columns `COLUMNS`. `unit`: for rows that name none; `total`: rows, for progress.

    Rows without a password get one, shown in their answer; any password that is not empty is taken.
    """
    await ctx.admit(actor, "person.add_many", "import", None, dry_run=dry_run)
    known = _Known(ctx, unit)
    seen: dict[str, int] = {}  # address -> row that has it in this table
    done = failed = 0
    async for batch in read_table(lines, columns=COLUMNS, required=("name",), batch=BATCH):
        target = f"rows {batch[0].number}-{batch[-1].number}"
        async with ctx.recorded(actor, "person.add_many", target, dry_run=dry_run) as note:
            answers = await _add_batch(ctx, batch, known, seen, dry_run)
            note.detail["added"] = [one.address for one in answers if one.status == "added"]
            note.detail["failed"] = sum(one.status == "error" for one in answers)
        for answer in answers:
            failed += answer.status == "error"
            yield answer
        done += len(batch)
        yield Progress(done, total)
    yield Done(code=BAD_INPUT if failed else 0)


async def _add_batch(ctx: Context, batch: list[TableRow], known: _Known, seen: dict[str, int], dry_run: bool) -> list[PersonAdded]:
    answers: dict[int, PersonAdded] = {}
    seats: list[_Seat] = []
    for row in batch:
        try:
            seats.append(await _seat(ctx, row, known, seen))
        except MailError as error:
            answers[row.number] = _failed(row, error.public)
    fresh: list[_Seat] = []
    for seat in seats:
        there = (await known.people(seat.new.unit_id)).get(seat.new.address.key)
        if there is not None and there.name == seat.new.name:
            answers[seat.row.number] = _answer(seat, "exists", show=False)
        elif dry_run and (taken := await _taken(ctx, seat)):
            answers[seat.row.number] = _failed(seat.row, taken)
        else:
            fresh.append(seat)
    if dry_run:
        answers.update((seat.row.number, _answer(seat, "added", show=False)) for seat in fresh)
    elif fresh:
        answers.update(await _make(ctx, fresh))
    return [answers[row.number] for row in batch]


async def _seat(ctx: Context, row: TableRow, known: _Known, seen: dict[str, int]) -> _Seat:
    """The row as a person to be made. Raises BadInput that names row and field."""
    if row.error:
        raise BadInput(row.error)
    field = "name"
    try:
        name = tree.check_name(row.get("name"))
        field = "unit"
        unit, path = await known.find(row.get("unit"))
        field = "address"
        if text := row.get("address"):
            address = address_of(text)
        else:
            address = await known.namesake(name, unit) or await free_address(ctx, name, await known.domain(unit), taken=seen)
        if not await known.is_local(address.domain):
            raise BadInput(say("domain_foreign", domain=address.domain))
        if address.key in seen:
            raise BadInput(say("batch_twice", other=seen[address.key]))
        field = "password"
        password = row.values.get("password", "")
        generated = not password
        password = password or passwords.generate()
        passwords.check_usable(password)
        field = "title"
        title = tree.check_text(row.get("title"), what="title")
        field = "quota"
        quota = parse_quota(text) if (text := row.get("quota")) else None
    except MailError as error:
        raise BadInput(say("row_error", row=row.number, field=field, reason=explain(error))) from error
    seen[address.key] = row.number
    new = NewPerson(unit.unit_id, name, address, title=title, pinyin=naming.pinyin(name), quota_octets=quota, person_id=new_id())
    return _Seat(row, new, password, path, generated)


async def _taken(ctx: Context, seat: _Seat) -> str:
    """Why the row cannot have its address: somebody else has it; "" when nobody has."""
    try:
        person = await holder(ctx, seat.new.address)
    except Conflict as error:
        return say("row_error", row=seat.row.number, field="address", reason=error.public)
    if person is None:
        return ""
    reason = say("seat_exists_elsewhere", unit=await path_of(ctx, person.unit_id), name=person.name)
    return say("row_error", row=seat.row.number, field="address", reason=reason)


async def _make(ctx: Context, seats: list[_Seat]) -> Mapping[int, PersonAdded]:
    hashes = await ctx.hasher.hash_many([seat.password for seat in seats])
    rows = [replace(seat.new, password_hash=one) for seat, one in zip(seats, hashes, strict=True)]
    result = await ctx.directory.add_people(rows)
    for seat in seats:
        ctx.cache.invalidate_address(seat.new.address)
    default = ctx.config.directory.quota_octets
    quotas = {one: limit_of(row.quota_octets, default) for one, row in zip(result.ids, rows, strict=True) if one == row.person_id}
    await ctx.database.write(accounts.create_missing, [one for one in result.ids if one], now=ctx.now, quotas=quotas)
    reasons = {failure.row: failure.reason for failure in result.failures}
    answers: dict[int, PersonAdded] = {}
    for index, seat in enumerate(seats):
        if result.ids[index] == seat.new.person_id:
            answers[seat.row.number] = _answer(seat, "added", show=seat.generated)
        elif result.ids[index]:
            answers[seat.row.number] = _answer(seat, "exists", show=False)
        else:
            why = say("row_error", row=seat.row.number, field="address", reason=reasons.get(index, ""))
            answers[seat.row.number] = _failed(seat.row, await _taken(ctx, seat) or why)
    return answers


def _answer(seat: _Seat, status: str, *, show: bool) -> PersonAdded:
    return PersonAdded(str(seat.new.address), status, seat.password if show else "", seat.new.name, seat.path, seat.row.number)


def _failed(row: TableRow, reason: str) -> PersonAdded:
    return PersonAdded(row.get("address"), "error", "", row.get("name"), row.get("unit"), row.number, reason)
