"""
Many rows at once: tuples in the order of a table's columns, values as the tables keep them.

Times are seconds since 1970 and months numbers such as 201508 here, as the driver has them: nothing is converted,
and nothing of SQLAlchemy is paid for each row. On PostgreSQL rows come by COPY and changes as arrays, a statement
for all; SQLite runs one prepared statement for each row. Rows are chosen by the primary key, whose columns are a
table's first, and customer_id the first of them wherever the data are a customer's.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ibt.rules.model import Month

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from sqlalchemy import Column, Connection, Table

#: A row, or the first columns of its key. Any: what a column holds.
Values = tuple[Any, ...]

#: How many rows are written to a COPY at a time.
_PIECE = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def seconds(instant: datetime) -> int:
    """*instant* as the tables keep it."""
    return (instant - _EPOCH) // _SECOND


def instant(seconds: int) -> datetime:
    """The time that the tables keep as *seconds*."""
    return _EPOCH + timedelta(seconds=seconds)


def number(month: Month) -> int:
    """*month* as the tables keep it."""
    return month.year * 100 + month.month


def month(number: int) -> Month:
    """The month that the tables keep as *number*."""
    return Month.of(number // 100, number % 100)


def insert(connection: Connection, table: Table, rows: Collection[Values]) -> None:
    """Adds *rows*, all columns of each."""
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.exec_driver_sql(_insert(table), list(rows))
        return
    driver: Any = connection.connection  # Any: a psycopg connection, behind SQLAlchemy's
    try:
        with driver.cursor() as cursor, cursor.copy(_copy(table)) as copy:
            for piece in _pieces(rows):
                if (text := _copied(piece)) is not None:
                    copy.write(text)
                else:
                    for row in piece:
                        copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        # As SQLAlchemy tells of what goes wrong with all other statements.
        raise DBAPIError.instance(_copy(table), None, error, connection.dialect.loaded_dbapi.Error) from error


def _pieces(rows: Collection[Values]) -> Iterator[list[Values]]:
    """*rows* in pieces that are small, so that the server is at work while the next one is written."""
    rest = iter(rows)
    while piece := list(islice(rest, _PIECE)):
        yield piece


def _copied(rows: list[Values]) -> str | None:
    """*rows* as COPY reads them, where no field of theirs is empty or has a character that means something there."""
    width = len(rows[0])
    line = "\t".join(["%s"] * width) + "\n"
    text = "".join(map(line.__mod__, rows))
    plain = text.count("\t") == (width - 1) * len(rows) and text.count("\n") == len(rows)
    return text if plain and "\\" not in text and "\r" not in text and "None" not in text else None


def replace(connection: Connection, table: Table, rows: Collection[Values]) -> None:
    """Gives the rows that have the keys of *rows* the values of *rows*."""
    if rows:
        key = len(table.primary_key.columns)
        values_first = [row[key:] + row[:key] for row in rows]
        _execute_each(connection, _replace(table, connection.dialect.name), values_first)


def delete(connection: Connection, table: Table, keys: Collection[Values]) -> None:
    """Removes the rows that have *keys*."""
    if keys:
        _execute_each(connection, _delete(table, connection.dialect.name), keys)


def select(connection: Connection, table: Table, keys: Collection[Values]) -> Iterable[Values]:
    """The rows whose keys begin with one of *keys*, which are numbers; ordered by key."""
    if not keys:
        return ()
    width = len(next(iter(keys)))
    statement = _select(table, width, connection.dialect.name)
    if connection.dialect.name == "postgresql":
        parameters: Values = tuple(list(column) for column in zip(*keys, strict=True))
    else:
        parameters = (json.dumps(list(keys)),)
    return connection.exec_driver_sql(statement, parameters)


def _execute_each(connection: Connection, statement: str, rows: Collection[Values]) -> None:
    """Runs *statement* with the values of each row: at once, as a list of each column, on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(statement, tuple(list(column) for column in zip(*rows, strict=True)))
    else:
        connection.exec_driver_sql(statement, list(rows))


# --- the statements: they hold names of ours and no values --------------------------------------------------


def _named(column: Column[Any]) -> str:
    return f'"{column.name}"'


def _list(columns: Iterable[Column[Any]], of: str = "") -> str:
    return ", ".join(of + _named(column) for column in columns)


def _key(table: Table) -> Sequence[Column[Any]]:
    return list(table.primary_key.columns)


def _others(table: Table) -> Sequence[Column[Any]]:
    return [column for column in table.c if not column.primary_key]


@lru_cache
def _copy(table: Table) -> str:
    return f"COPY {table.name} ({_list(table.c)}) FROM STDIN"


@lru_cache
def _insert(table: Table) -> str:
    values = ", ".join("?" for _ in table.c)
    return f"INSERT INTO {table.name} ({_list(table.c)}) VALUES ({values})"  # noqa: S608 - no values


@lru_cache
def _replace(table: Table, dialect: str) -> str:
    if dialect == "postgresql":
        changes = ", ".join(f"{_named(column)} = given.{_named(column)}" for column in _others(table))
        given = _given([*_others(table), *_key(table)])
        return f"UPDATE {table.name} SET {changes} FROM {given} WHERE {_same_key(table, _key(table))}"  # noqa: S608 - no values
    changes = ", ".join(f"{_named(column)} = ?" for column in _others(table))
    return f"UPDATE {table.name} SET {changes} WHERE {_is_key(table)}"  # noqa: S608 - no values


@lru_cache
def _delete(table: Table, dialect: str) -> str:
    if dialect == "postgresql":
        given, same = _given(_key(table)), _same_key(table, _key(table))
        return f"DELETE FROM {table.name} USING {given} WHERE {same}"  # noqa: S608 - no values
    return f"DELETE FROM {table.name} WHERE {_is_key(table)}"  # noqa: S608 - no values


@lru_cache
def _select(table: Table, width: int, dialect: str) -> str:
    key = _key(table)[:width]
    if dialect == "postgresql":
        given, same = _given(key), _same_key(table, key)
    else:
        given = "json_each(?) AS given"
        same = " AND ".join(
            f"{table.name}.{_named(column)} = json_extract(given.value, '$[{place}]')"
            for place, column in enumerate(key)
        )
    columns, order = _list(table.c, f"{table.name}."), _list(_key(table), f"{table.name}.")
    # CROSS JOIN: the keys are the outer loop, whatever SQLite thinks of how many there are.
    return f"SELECT {columns} FROM {given} CROSS JOIN {table.name} WHERE {same} ORDER BY {order}"  # noqa: S608 - no values


def _given(columns: Sequence[Column[Any]]) -> str:
    """The values of *columns*, a list of each, as the rows of `given`."""
    lists = ", ".join("%s::text[]" if isinstance(column.type, sa.Text) else "%s::bigint[]" for column in columns)
    return f"unnest({lists}) AS given ({_list(columns)})"


def _same_key(table: Table, key: Sequence[Column[Any]]) -> str:
    return " AND ".join(f"{table.name}.{_named(column)} = given.{_named(column)}" for column in key)


def _is_key(table: Table) -> str:
    return " AND ".join(f"{_named(column)} = ?" for column in _key(table))
