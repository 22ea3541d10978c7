"""The rule for keys, the ways to a schema, and plans of the statements that run most."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, make_url

from govmail.errors import StoreFailed
from govmail.store import (
    accounts,
    acl,
    annotation,
    blobs,
    changes,
    collect,
    contents,
    incoming,
    keywords,
    mailboxes,
    messages,
    migrate,
    postgres,
    queue,
    search,
    sqlite,
)  # fmt: skip
from govmail.store.schema import KIND, metadata
from govmail.store.sql import Prepared, as_rows, as_set
from govmail.store.values import Delivery
from tests.kit.contents import numbered

NOW = 1_800_000_000
MODULES = (accounts, acl, annotation, blobs, changes, collect, contents, keywords, mailboxes, messages, queue, search)

# -- kinds of tables ------------------------------------------------------------------------------------------------


def test_every_table_has_a_kind_and_the_key_of_its_kind() -> None:
    assert set(KIND) >= {"account", "mailbox", "message", "content", "blob", "queue_entry", "audit"}
    assert set(KIND.values()) == {"account", "content", "system"}
    for name, kind in KIND.items():
        key = [column.name for column in metadata.tables[{"group": "dir_group"}.get(name, name)].primary_key]
        if kind == "account":
            assert key[0] == "account_id", name
        elif kind == "content":
            assert key in (["content_id"], ["blob_id"]), name
        else:
            assert key[0] not in ("account_id", "content_id", "blob_id"), name


def statements() -> Iterator[tuple[str, Prepared]]:
    for module in MODULES:
        for name, value in vars(module).items():
            for index, one in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(one, Prepared):
                    yield f"{module.__name__}.{name}[{index}]", one


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = sqlite.make_engine(None, durable=False)
    migrate.to_head(engine)
    with engine.connect() as conn:
        yield conn


def test_no_statement_joins_tables_of_different_kinds(conn: Connection) -> None:
    checked = 0
    for name, statement in statements():
        words = set(statement.form(conn).text.replace("(", " ").replace(")", " ").replace(",", " ").replace(".", " ").split())
        kinds = {kind for table, kind in KIND.items() if table in words and table not in ("group", "address", "domain", "unit", "person")}
        assert len(kinds) <= 1, (name, statement.form(conn).text)
        checked += 1
    assert checked > 80


# -- ways to the schema ---------------------------------------------------------------------------------------------


def test_a_fresh_database_and_a_migrated_one_are_the_same(tmp_path: Path) -> None:
    dumps = []
    for way in ("fresh", "migrated"):
        engine = sqlite.make_engine(tmp_path / way, durable=False)
        if way == "fresh":
            migrate.to_head(engine)
        with engine.connect() as conn:
            if way == "migrated":
                conn.exec_driver_sql("BEGIN")
                command.upgrade(migrate.configuration(conn), "head")
                conn.exec_driver_sql("COMMIT")
            rows = conn.exec_driver_sql("SELECT type, name, sql FROM sqlite_master")
            # By words in any order: a column that was added later stands elsewhere. Types are compared below.
            dumps.append(sorted((kind, name, sorted(re.findall(r"[\w&=']+", sql))) for kind, name, sql in rows if sql))
    assert dumps[0] == dumps[1]


def test_migrations_give_what_the_schema_declares(url: str, tmp_path: Path) -> None:
    engine = postgres.make_engine(make_url(url), durable=False) if url else sqlite.make_engine(tmp_path / "x", durable=False)
    with engine.begin() as conn:
        if url:
            conn.exec_driver_sql("CREATE SCHEMA other")
            conn.exec_driver_sql("SET search_path = other")
        command.upgrade(migrate.configuration(conn), "head")
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        if url:
            conn.rollback()


def test_a_newer_database_is_refused(url: str, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'new.sqlite'}")
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE account (account_id INTEGER)")
        conn.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        conn.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(StoreFailed):
        migrate.to_head(sqlite.make_engine(tmp_path / "new.sqlite", durable=False))


# -- plans and numbers of statements --------------------------------------------------------------------------------

SMALL_TABLES = {"counter", "lease"}


def test_statements_find_their_rows_by_an_index(conn: Connection) -> None:
    """No SCAN of a table that grows, but where a statement walks it in the order of its key on purpose."""
    on_purpose = {
        "accounts._PAGE", "queue._PAGE", "mailboxes._COUNT_ALL", "collect._LONG_HISTORY", "collect._GONE", "queue._NEXT_DUE",
    }  # fmt: skip
    for name, statement in statements():
        short = name.removeprefix("govmail.store.").partition("[")[0]
        form = statement.form(conn)
        assert form.order is not None
        plan = [
            row[3] for row in sqlite.driver(conn).execute(f"EXPLAIN QUERY PLAN {form.text}", [as_rows([]) if one in ("rows", "ranges") else None for one in form.order])
        ]  # fmt: skip
        for step in plan:
            if step.startswith("SCAN") and short not in on_purpose:
                table = step.split()[1]
                assert table in SMALL_TABLES or table.endswith("_in") or table == "json_each" or "CONSTANT" in step, (name, plan)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (changes._CHANGED, "USING INDEX message_modseq (account_id=? AND mailbox_id=? AND modseq>?)"),
        (changes._VANISHED, "USING PRIMARY KEY (account_id=? AND mailbox_id=? AND modseq>?)"),
        (messages._FIRST_UNSEEN, "USING INDEX message_unseen (account_id=? AND mailbox_id=?)"),
    ],
)
def test_news_cost_what_is_new_and_not_the_mailbox(conn: Connection, statement: Prepared, expected: str) -> None:
    form = statement.form(conn)
    assert form.order is not None
    plan = sqlite.driver(conn).execute(f"EXPLAIN QUERY PLAN {form.text}", [None] * len(form.order)).fetchall()
    assert [row[3].partition(" ")[2].partition(" ")[2] for row in plan] == [expected]


@pytest.mark.parametrize("count", [1, 40])
def test_a_fetch_costs_as_many_statements_for_one_message_as_for_forty(conn: Connection, count: int) -> None:
    raw = sqlite.driver(conn)
    for number in range(40):
        incoming.deliver(conn, numbered(number), [Delivery("li", "li@jx.example")], internal_date=NOW, now=NOW)
    log: list[str] = []
    raw.set_trace_callback(log.append)
    rows = messages.rows(conn, 1, 1, [(1, count)])
    ids = [row.content_id for row in rows]
    found = contents.envelopes(conn, ids)
    contents.headers(conn, ids)
    contents.parts(conn, ids)
    contents.texts(conn, ids)
    blobs.locate(conn, [one.blob_id for one in found.values()])
    changes.since(conn, 1, 1, 1, 1)
    raw.set_trace_callback(None)
    assert len(rows) == len(found) == count
    assert len(statements_in(log)) == 9


@pytest.mark.parametrize("count", [1, 50])
def test_a_delivery_costs_as_many_statements_for_one_recipient_as_for_fifty(conn: Connection, count: int) -> None:
    raw = sqlite.driver(conn)
    owners = [Delivery(f"clerk-{number}", "x@jx.example") for number in range(count)]
    incoming.deliver(conn, numbered(1), owners, internal_date=NOW, now=NOW)
    log: list[str] = []
    raw.set_trace_callback(log.append)
    incoming.deliver(conn, numbered(2), owners, internal_date=NOW, now=NOW)
    raw.set_trace_callback(None)
    assert len(statements_in(log)) == 8


def statements_in(log: list[str]) -> list[str]:
    return [line for line in log if not line.startswith("--")]


def test_functions_of_the_store_take_a_connection_first() -> None:
    for module in MODULES:
        tree = ast.parse(inspect.getsource(module))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any(one.arg == "conn" for one in node.args.args):
                assert node.args.args[0].arg == "conn", f"{module.__name__}.{node.name}"
            if isinstance(node, ast.AsyncFunctionDef):
                pytest.fail(f"{module.__name__}.{node.name} can await inside a transaction")


def test_sets_and_rows_are_one_parameter() -> None:
    assert (as_set([3, 1]), as_rows([(1, "王"), (2, None)])) == ("[3,1]", '[[1,"王"],[2,null]]')
