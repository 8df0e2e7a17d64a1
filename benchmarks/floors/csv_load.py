"""
The floor of loading: the same files read by csv, each field converted, and nothing judged; then executemany or COPY.

    python benchmarks/floors/csv_load.py URL FOLDER

The database has its tables and nothing in them. What is repeated is converted once.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from ibt.rules.periods import month_of
from ibt.store import tables

_CHUNK = 20_000

Row = tuple[Any, ...]


@lru_cache(maxsize=65536)
def seconds(text: str) -> int:
    """A time as the tables keep it."""
    return int(datetime.fromisoformat(text).timestamp())


@lru_cache(maxsize=65536)
def month(text: str) -> int:
    """The month of a begin as the tables keep it."""
    found = month_of(datetime.fromisoformat(text))
    return found.year * 100 + found.month


def rows(folder: Path, name: str) -> Iterator[list[str]]:
    """The lines of a file but its header."""
    with (folder / name).open(newline="") as file:
        lines = csv.reader(file)
        next(lines)
        yield from lines


def customers(folder: Path) -> Iterator[Row]:
    """Rows of `customer`."""
    return ((int(row[0]), row[1]) for row in rows(folder, "customers.csv"))


def contracts(folder: Path) -> Iterator[Row]:
    """Rows of `contract`, one for each party."""
    for id_, reference, category, location, buyer, seller, begin, end, status in rows(folder, "contracts.csv"):
        shown = (int(id_), reference, category, int(location), int(buyer), int(seller), seconds(begin), seconds(end))
        yield (int(buyer), *shown, status)
        yield (int(seller), *shown, status)


def versions(folder: Path) -> Iterator[Row]:
    """The columns of both tables of versions."""
    for customer, contract, begin, end, version, subaccount in rows(folder, "history.csv"):
        times = seconds(begin), seconds(end), seconds(version)
        yield int(customer), int(contract), month(begin), 1, *times, subaccount, 1


def _inserted(table: Any, columns: int, placeholder: str) -> str:
    names = ", ".join(f'"{column.name}"' for column in list(table.columns)[:columns])
    values = f"values ({', '.join([placeholder] * columns)})" if placeholder else "from stdin"
    return f"{'insert into' if placeholder else 'copy'} {table.name} ({names}) {values}"


def _chunks(found: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(found, _CHUNK)):
        yield chunk


def _current(row: Row) -> Row:
    return (*row[:3], row[4], row[5], row[6], row[3], row[7])


def load(url: str, folder: Path) -> None:
    """Reads, converts, inserts and commits."""
    if url.startswith("sqlite:///"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("pragma synchronous = full")
        connection.execute("begin immediate")

        def insert(table: Any, chunk: list[Row]) -> None:
            connection.executemany(_inserted(table, len(chunk[0]), "?"), chunk)
    else:
        connection = psycopg.connect(url)

        def insert(table: Any, chunk: list[Row]) -> None:
            with connection.cursor().copy(_inserted(table, len(chunk[0]), "")) as copy:
                for row in chunk:
                    copy.write_row(row)

    for table, found in ((tables.customer, customers(folder)), (tables.contract, contracts(folder))):
        for chunk in _chunks(found):
            insert(table, chunk)
    for chunk in _chunks(versions(folder)):
        insert(tables.mapping_version, chunk)
        insert(tables.current_mapping, [_current(row) for row in chunk])
    connection.execute("commit")
    connection.close()


if __name__ == "__main__":
    load(sys.argv[1], Path(sys.argv[2]))
