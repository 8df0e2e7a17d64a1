"""
The database as a folder of CSV files: loaded into an empty one, they give the same answers to every request.

`history.csv` has all versions of each current mapping period, so `mappings.csv` is not written. Mapping periods
that fell away (reading 27), which no answer shows, are left out. Everything is of one moment, and is written as
it is read: however large the market is, little of it is in memory.

Readings 44, 64, 66.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import select

from ibt.rules.periods import write_time
from ibt.store import bulk
from ibt.store.folder import CONTRACTS, CUSTOMERS, HISTORY, SUBACCOUNTS, USERS
from ibt.store.tables import (
    Time,
    contract,
    current_mapping,
    customer,
    grants,
    mapping_version,
    subaccount_version,
    users,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Select

    from ibt.store.database import Database
    from ibt.store.records import File

#: How many rows are fetched at a time.
CHUNK = 10_000

#: The end of a file's name while it is being written: no such file is ever loaded.
_PART = ".part"


def _raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """*column* as the table keeps it: there are millions of times, and few that differ."""
    return sa.type_coerce(column, sa.BigInteger) if isinstance(column.type, Time) else column


def _columns(table: sa.FromClause, *names: str) -> list[sa.ColumnElement[Any]]:
    return [_raw(table.c[name]) for name in names]


_CUSTOMERS = select(customer.c.customer_id, customer.c.name).order_by(customer.c.customer_id)

_SUBACCOUNTS = select(
    *_columns(
        subaccount_version, "customer_id", "subaccount_id", "begin", "end", "subaccount_name", "subaccount_status"
    )
).order_by(*subaccount_version.primary_key.columns)

_IS_CURRENT = sa.and_(*(column == mapping_version.c[column.name] for column in current_mapping.primary_key.columns))

#: When the first mapping period began life: without effect where history.csv has the months, as it has here.
_BORN = (
    select(_raw(mapping_version.c.version))
    .join(current_mapping, _IS_CURRENT)
    .where(
        mapping_version.c.customer_id == contract.c.customer_id,
        mapping_version.c.contract_id == contract.c.contract_id,
    )
    .order_by(mapping_version.c.month, mapping_version.c.sequence)
    .limit(1)
    .correlate(contract)
    .scalar_subquery()
)

#: Each contract once, as its buyer has it.
_CONTRACTS = (
    select(
        *_columns(contract, "contract_id", "reference_id", "category", "location_id", "buyer_id", "seller_id"),
        *_columns(contract, "contract_begin", "contract_end", "status"),
        _BORN,
    )
    .where(contract.c.customer_id == contract.c.buyer_id)
    .order_by(contract.c.contract_id)
)

_HISTORY = (
    select(*_columns(mapping_version, "customer_id", "contract_id", "begin", "end", "version", "subaccount_id"))
    .join(current_mapping, _IS_CURRENT)
    .order_by(*mapping_version.primary_key.columns)
)

_USERS = (
    select(users.c.user_name, grants.c.customer_id, grants.c.role)
    .join(grants, grants.c.user_name == users.c.user_name, isouter=True)
    .order_by(users.c.user_name, grants.c.customer_id, grants.c.role)
)

#: Each file with what is asked for it, and with the columns that are times.
_FILES: tuple[tuple[File[Any], Select[Any], tuple[int, ...]], ...] = (
    (CUSTOMERS, _CUSTOMERS, ()),
    (SUBACCOUNTS, _SUBACCOUNTS, (2, 3)),
    (CONTRACTS, _CONTRACTS, (6, 7, 9)),
    (HISTORY, _HISTORY, (2, 3, 4)),
    (USERS, _USERS, ()),
)


class Occupied(Exception):
    """The folder has something in it, or is none: one sentence."""


def export(database: Database, folder: Path, progress: Callable[[int], None] = lambda _: None) -> dict[str, int]:
    """
    Writes what is in *database* into *folder*, which is made or must be empty; how many lines each file has, by name.

    The files have their names only when all are written whole; none is left behind by a failure. *progress* is told
    of the lines that were written, now and then. Raises Occupied, OSError and Unavailable.

    Reading 64.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Occupied(f"{folder} is not an empty folder: name another one.")
    folder.mkdir(parents=True, exist_ok=True)
    names = [file.name for file, _, _ in _FILES]
    try:
        with database.reading() as connection:
            lines = {
                file.name: _write(folder / f"{file.name}{_PART}", file, _rows(connection, statement, times), progress)
                for file, statement, times in _FILES
            }
        for name in names:
            (folder / f"{name}{_PART}").replace(folder / name)
    except BaseException:
        for name in names:
            (folder / f"{name}{_PART}").unlink(missing_ok=True)
            (folder / name).unlink(missing_ok=True)
        raise
    return lines


def _rows(connection: Connection, statement: Select[Any], times: Sequence[int]) -> Iterator[list[list[object]]]:
    """The rows in chunks, their times as texts."""
    # A server-side cursor: else all rows would be fetched before the first one is here.
    for chunk in connection.execute(statement, execution_options={"yield_per": CHUNK}).partitions():
        rows = [list(row) for row in chunk]
        for place in times:
            for row in rows:
                if row[place] is not None:
                    row[place] = _text(row[place])
        yield rows


def _write(path: Path, file: File[Any], chunks: Iterable[list[list[object]]], progress: Callable[[int], None]) -> int:
    lines = 0
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([name for name, _ in file.columns])
        for rows in chunks:
            writer.writerows(rows)
            progress(len(rows))
            lines += len(rows)
    return lines


@lru_cache(maxsize=65536)
def _text(seconds: int) -> str:
    return write_time(bulk.instant(seconds))
