"""The schema as the migrations make it. Reading 61."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import alembic.autogenerate
import alembic.runtime.migration
import pytest
from markets import write_market
from sqlalchemy import Connection, Text, create_engine, inspect, text

from ibt.rules.faults import Faults
from ibt.store import Database, Unusable, loading, migrations, reads, tables

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
PATIENCE = 60

#: The newest migration.
KNOWN = max(path.name[:4] for path in (Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))


def schema_of(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """
    What SQLite has made, by name: a table's columns, foreign keys and whether it has rowids; an index's statement.

    The statements of tables are not the same: a column that is added later comes after the keys.
    """
    found: dict[str, list[tuple[object, ...]]] = {}
    for name, kind, sql in connection.execute(text("select name, type, sql from sqlite_master")).all():
        if kind == "table" and not name.startswith("alembic"):
            pragmas = (f"{pragma}('{name}')" for pragma in ("table_xinfo", "foreign_key_list"))
            found[name] = [tuple(row) for pragma in pragmas for row in connection.execute(text(f"pragma {pragma}"))]
            found[name].append(("without rowid", sql.rstrip().endswith("WITHOUT ROWID")))
        elif kind == "index" and sql is not None:
            found[name] = [(" ".join(sql.split()),)]
    return found


def is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    """Whether it is no partition of a table, such as contract_0."""
    return kind != "table" or name is None or not re.search(r"_[0-9]$", name)


def test_the_migrations_make_the_tables_that_the_statements_know(database: Database) -> None:
    with database.reading() as connection:
        context = alembic.runtime.migration.MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert alembic.autogenerate.compare_metadata(context, tables.metadata) == []


def test_texts_are_compared_by_code_point(database: Database) -> None:
    with database.reading() as connection:
        inspector, dialect = inspect(connection), connection.dialect
        texts = {
            (name, column.name): column.type.dialect_impl(dialect)
            for name, table in tables.metadata.tables.items()
            for column in table.columns
            if isinstance(column.type, Text)
        }
        made = {
            (name, column["name"]): column["type"]
            for name in tables.metadata.tables
            for column in inspector.get_columns(name)
            if isinstance(column["type"], Text)
        }
    assert {place: getattr(type_, "collation", None) for place, type_ in texts.items()} == dict.fromkeys(
        made, None if database.sqlite else "C"
    )
    assert {getattr(type_, "collation", None) for type_ in made.values()} == {None if database.sqlite else "C"}


def test_sqlite_has_the_same_schema_from_both(tmp_path: Path) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        expected = schema_of(connection)
    engine.dispose()
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    with database.reading() as connection:
        assert schema_of(connection) == expected
    database.close()


def test_an_upgrade_of_a_database_that_has_data_changes_nothing(database: Database, tmp_path: Path) -> None:
    market = loading.read_market(write_market(tmp_path), NOW, Faults())
    with database.updating() as connection:
        loading.load(connection, market)
    with database.reading() as connection:
        before = reads.mapping_history(connection, 1, 999999)
    database.upgrade()
    with database.reading() as connection:
        assert reads.mapping_history(connection, 1, 999999) == before


#: The schema of a database, the oldest program that may run on it, and what is told of it if it is refused.
FOREIGN_SCHEMAS = {
    "of a newer program, which lets this one run": ("9998", "0001", None),
    "of a newer program, which does not": (
        "9999",
        "9998",
        (
            f"has schema 9999, which needs a version of ibt that knows schema 9998; this one knows {KNOWN}: "
            "use a newer version."
        ),
    ),
    "of an older program": (
        "0000",
        "0000",
        f"has schema 0000, and this version of ibt needs {KNOWN}: run ibt db upgrade.",
    ),
}


@pytest.mark.parametrize(("number", "oldest", "told"), FOREIGN_SCHEMAS.values(), ids=FOREIGN_SCHEMAS)
def test_a_schema_says_which_programs_may_run_on_it(
    database: Database, number: str, oldest: str, told: str | None
) -> None:
    with database.updating() as connection:
        connection.execute(
            text("update alembic_version set version_num = :number, oldest_program = :oldest"),
            {"number": number, "oldest": oldest},
        )
    if told is None:
        database.check()
        database.upgrade()
        assert f"has schema {number}, for versions of ibt" in database.status()
    else:
        with pytest.raises(Unusable) as caught:
            database.check()
        assert str(caught.value) == f"The database {database.url!r} {told}"
        assert database.status() == str(caught.value)


def test_a_schema_that_this_program_may_not_run_on_is_not_upgraded_either(database: Database) -> None:
    with database.updating() as connection:
        connection.execute(text("update alembic_version set version_num = '9999', oldest_program = '9998'"))
    with pytest.raises(Unusable, match="use a newer version"):
        database.upgrade()


def test_a_database_without_a_schema_is_told_and_left_as_it_is(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(Unusable, match="has no schema: run ibt db upgrade"):
        database.check()
    assert database.status().endswith("has no schema: run ibt db upgrade.")
    assert not (database.sqlite and Path(database.url.database or "").exists())
    database.upgrade()
    database.check()
    assert database.status().endswith(
        f"has schema {KNOWN}, for versions of ibt that know schema 0001; this one knows {KNOWN}."
    )
    database.close()


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/ibt.db", "postgresql://ibt:secret@127.0.0.1:1/ibt"])
def test_a_database_that_is_away_is_told_or_has_no_schema(url: str) -> None:
    with pytest.raises(Unusable, match=r"cannot be opened|has no schema") as caught:
        Database(url).check()
    assert "secret" not in str(caught.value)


#: Upgrades and stops for ever before the statement of this number, which is the commit where there are not so many.
UPGRADE_AND_STOP = """
import itertools, sys
from sqlalchemy import Engine, event
from ibt.store import Database

database, stop, numbers = Database(sys.argv[1]), int(sys.argv[2]), itertools.count(1)

def wait():
    print(database.url.drivername, flush=True)
    sys.stdin.read()

@event.listens_for(Engine, "before_cursor_execute")
def count(_connection, _cursor, statement, *_):
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "INSERT")) and next(numbers) == stop:
        wait()

@event.listens_for(Engine, "commit")
def commit(_connection):
    wait()

database.upgrade()
"""


@pytest.mark.parametrize("stop", [1, 2, 5, 9, 99])
def test_an_upgrade_that_is_killed_leaves_the_old_schema(database_url: str, stop: int) -> None:
    command = [sys.executable, "-c", UPGRADE_AND_STOP, database_url, str(stop)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() in {"sqlite", "postgresql+psycopg"}
        process.kill()
    database = Database(database_url)
    with pytest.raises(Unusable, match="has no schema"):
        database.check()
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == []
    database.upgrade()
    database.check()
    database.close()


def test_an_upgrade_that_fails_leaves_nothing_behind(database_url: str) -> None:
    database = Database(database_url)
    with database.updating() as connection:
        connection.execute(text("create table mapping_version (in_the_way integer)"))
    with pytest.raises(Unusable, match="mapping_version"):
        database.upgrade()
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["mapping_version"]
    database.close()


def test_processes_that_upgrade_at_the_same_time_do_not_meet(database_url: str) -> None:
    upgrade = (
        "import sys; from ibt.store import Database; database = Database(sys.argv[1]);"
        "print('here', flush=True); input(); database.upgrade()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", upgrade, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
    assert [process.communicate(timeout=PATIENCE)[1] for process in processes] == [""] * len(processes)
    assert [process.returncode for process in processes] == [0] * len(processes)
