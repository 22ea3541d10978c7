"""Units: regions and the organs of government in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from admin.actions.context import BAD_INPUT, Actor, Context, require
from admin.actions.domain import make_key
from admin.actions.find import unit_of, unit_or_root
from admin.actions.labels import is_region, label_for
from admin.actions.table import TableRow, read_table
from admin.reasons import explain
from admin.texts import say
from directory import tree
from directory.model import Level, NewUnit, Unit, new_id
from govmail.errors import BadInput, MailError, NotFound
from govmail.wire.control import Done, Progress

BATCH = 200  # rows between two audit entries
COLUMNS = ("unit", "label", "line", "kind", "code", "rank", "domain")


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit as operators see it. `path`: names from the root, joined by "/"."""

    path: str
    name: str
    label: str
    level: int
    kind: str
    line: str
    code: str | None
    rank: str
    domain: str | None
    is_region: bool
    unit_id: str

    @classmethod
    def of(cls, unit: Unit, path: str) -> UnitRow:
        return cls(
            path, unit.name, unit.label, unit.level, unit.kind, unit.line, unit.code, unit.rank, unit.domain, unit.is_region, unit.unit_id,
        )


@dataclass(frozen=True, slots=True)
class UnitAdded:
    """`status`: "added", "exists", or "error" with the reason; `made`: every unit that was missing on the way."""

    path: str
    status: str
    made: tuple[UnitRow, ...] = ()
    row: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class UnitDetail:
    unit: UnitRow
    children: int
    people: int
    groups: int
    keeper: str | None


async def add(
    ctx: Context, actor: Actor, path: str, *, label: str = "", line: str = "", kind: str = "", code: str | None = None,
    rank: str = "", domain: str | None = None, dry_run: bool = False,
) -> UnitAdded:
    """Adds the last unit of the path, and those above it that are missing (as regions). Idempotent."""
    async with ctx.recorded(actor, "unit.add", path, dry_run=dry_run) as note:
        require(actor, "unit.add", None)
        last = NewUnit(name="", label=label, parent_id=None, level=0, line=line, kind=kind, code=code, rank=rank, domain=domain)
        chain, missing = await _missing(ctx, path, last)
        if not missing:
            return UnitAdded(path, "exists")
        made = [tree.check_unit(one) for one in missing]
        note.detail["units"] = [{"unit_id": one.unit_id, "name": one.name, "label": one.label} for one in made]
        if not dry_run:
            for one in made:
                await _make(ctx, one)
            ctx.cache.invalidate()
        return UnitAdded(path, "added", tuple(_rows(chain, made)))


async def add_many(ctx: Context, actor: Actor, *, lines: AsyncIterator[bytes], dry_run: bool = False) -> AsyncIterator[UnitAdded | Progress | Done]:
    """Adds a unit per row of a table with the columns `COLUMNS`, parents before children or made on the way."""
    await ctx.admit(actor, "unit.add_many", "import", None, dry_run=dry_run)
    done = failed = 0
    planned: set[str] = set()  # what a dry run would have made by now
    async for batch in read_table(lines, columns=COLUMNS, required=("unit",), batch=BATCH):
        results: list[UnitAdded] = []
        async with ctx.recorded(actor, "unit.add_many", f"{len(batch)} rows from row {batch[0].number}", dry_run=dry_run) as note:
            results += [await _add_row(ctx, row, dry_run=dry_run, planned=planned) for row in batch]
            note.detail["added"] = [one.path for one in results if one.status == "added"]
            if not dry_run:
                ctx.cache.invalidate()
        for result in results:
            failed += result.status == "error"
            yield result
        done += len(batch)
        yield Progress(done)
    yield Done(code=BAD_INPUT if failed else 0)


async def _add_row(ctx: Context, row: TableRow, *, dry_run: bool, planned: set[str]) -> UnitAdded:
    path = row.get("unit")
    try:
        if row.error:
            raise BadInput(row.error)
        if not path:
            raise BadInput(say("row_error", row=row.number, field="unit", reason=say("value_missing")))
        last = NewUnit(
            name="", label=row.get("label"), parent_id=None, level=0, line=row.get("line"), kind=row.get("kind"),
            code=row.get("code") or None, rank=row.get("rank"), domain=row.get("domain") or None,
        )
        chain, missing = await _missing(ctx, path, last)
        made = [tree.check_unit(one) for one in missing]
        if dry_run:
            shown = [one for one in _rows(chain, made) if one.path not in planned]
            planned.update(one.path for one in shown)
            return UnitAdded(path, "added" if shown else "exists", tuple(shown), row.number)
        for one in made:
            await _make(ctx, one)
        return UnitAdded(path, "added" if made else "exists", tuple(_rows(chain, made)), row.number)
    except MailError as error:
        reason = error.public if row.error else say("row_error", row=row.number, field="unit", reason=explain(error))
        return UnitAdded(path, "error", (), row.number, reason)


async def _make(ctx: Context, new: NewUnit) -> None:
    await ctx.directory.add_unit(new)
    if new.domain:
        await make_key(ctx, new.domain)


async def _missing(ctx: Context, path: str, last: NewUnit) -> tuple[list[Unit], list[NewUnit]]:
    """The units of the path that are there, and those to be made, the last with the attributes of `last`."""
    names = tree.split_path(path)
    chain: list[Unit] = []
    for depth in range(len(names), 0, -1):
        try:
            deepest = await ctx.directory.unit_by_path("/".join(names[:depth]))
        except NotFound:
            continue
        chain = list(await ctx.directory.unit_chain(deepest.unit_id))
        break
    made: list[NewUnit] = []
    parent_id = chain[-1].unit_id if chain else None
    level, in_region = (chain[-1].level, chain[-1].is_region) if chain else (0, True)
    taken = {one.label for one in await ctx.directory.children(parent_id)} if parent_id else set()
    for index in range(len(chain), len(names)):
        name = tree.check_name(names[index])
        is_last = index == len(names) - 1
        region = in_region and level < Level.TOWNSHIP and (is_region(name) or (not chain and not made))
        level = level + 1 if region else level
        label = last.label if is_last and last.label else label_for(name, taken, region=region)
        attributes = last if is_last else NewUnit("", "", None, 0)
        new = replace(attributes, name=name, label=label, parent_id=parent_id, level=level, is_region=region, unit_id=new_id())
        made.append(new)
        parent_id, in_region, taken = new.unit_id, region, set()
    return chain, made


def _rows(chain: list[Unit], made: list[NewUnit]) -> list[UnitRow]:
    path = "/".join(unit.name for unit in chain)
    rows: list[UnitRow] = []
    for one in made:
        path = f"{path}/{one.name}".lstrip("/")
        rows.append(UnitRow(path, one.name, one.label, one.level, one.kind, one.line, one.code, one.rank, one.domain, one.is_region, one.unit_id))
    return rows


async def list_units(ctx: Context, actor: Actor, *, unit: str | None = None, line: str | None = None, level: int | None = None) -> AsyncIterator[UnitRow]:
    """The units of a subtree, by path; perhaps of one functional line (纵向) or level only."""
    require(actor, "unit.list", None)
    if unit is None and await ctx.directory.root() is None:
        return
    top = await unit_or_root(ctx, unit)
    for row in await _subtree(ctx, top):
        if (line is None or row.line == line) and (level is None or row.level == level):
            yield row


async def _subtree(ctx: Context, top: Unit) -> list[UnitRow]:
    """`top` with all below it, parents before children, with their paths in names."""
    above = await ctx.directory.unit_chain(top.unit_id)
    paths: dict[str | None, str] = {top.parent_id: "/".join(one.name for one in above[:-1])}
    rows: list[UnitRow] = []
    for one in await ctx.directory.subtree(top.unit_id):
        path = paths[one.unit_id] = f"{paths[one.parent_id]}/{one.name}".lstrip("/")
        rows.append(UnitRow.of(one, path))
    return rows


@dataclass(frozen=True, slots=True)
class TreeLine:
    """A unit in the drawing of a tree: `depth` 0 is the top."""

    depth: int
    name: str
    label: str
    line: str
    domain: str | None
    path: str


async def tree_(ctx: Context, actor: Actor, *, unit: str | None = None, depth: int | None = None) -> AsyncIterator[TreeLine]:
    """The subtree as indented lines, children under their parents."""
    require(actor, "unit.list", None)
    if unit is None and await ctx.directory.root() is None:
        return
    top = await unit_or_root(ctx, unit)
    base = top.path.count("/")
    for one in await ctx.directory.subtree(top.unit_id):
        below = one.path.count("/") - base
        if depth is None or below <= depth:
            yield TreeLine(below, one.name, one.label, one.line, one.domain, one.path)


async def show(ctx: Context, actor: Actor, unit: str) -> UnitDetail:
    """One unit with what hangs on it."""
    found = await unit_of(ctx, unit)
    require(actor, "unit.list", found.unit_id)
    chain = await ctx.directory.unit_chain(found.unit_id)
    people = 0
    async for page in ctx.directory.people(found.unit_id):
        people += len(page)
    keeper = (await ctx.directory.person(found.keeper_id)).primary if found.keeper_id else None
    return UnitDetail(
        UnitRow.of(found, "/".join(one.name for one in chain)),
        children=len(await ctx.directory.children(found.unit_id)),
        people=people,
        groups=len(await ctx.directory.groups(found.unit_id)),
        keeper=str(keeper) if keeper else None,
    )
