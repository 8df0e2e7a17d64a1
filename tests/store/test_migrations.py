"""The schema as the migrations make it. Reading 61."""

from __future__ import annotations

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
from ibt.store import Database, Unusable, loading, reads, tables

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
PATIENCE = 60


def schema_in_sql(connection: Connection) -> dict[str, str]:
    """What SQLite was told to make, by name and without regard to layout."""
    rows = connection.execute(text("select name, sql from sqlite_master where name not like 'alembic%'"))
    return {name: " ".join(sql.split()) for name, sql in rows if sql is not None}


def test_the_migrations_make_the_tables_that_the_statements_know(database: Database) -> None:
    with database.reading() as connection:
        context = alembic.runtime.migration.MigrationContext.configure(connection)
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


def test_sqlite_gets_the_same_statements_from_both(tmp_path: Path) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        expected = schema_in_sql(connection)
    engine.dispose()
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    with database.reading() as connection:
        assert schema_in_sql(connection) == expected
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


def test_a_schema_that_is_not_known_is_refused_in_one_sentence(database: Database) -> None:
    with database.updating() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(Unusable) as caught:
        database.upgrade()
    told = str(caught.value)
    assert "has schema 9999, which this version of ibt does not know: use the version that made it" in told
    assert told.endswith(".")
    assert "\n" not in told


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
