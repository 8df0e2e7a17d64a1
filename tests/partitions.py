"""
Databases on PostgreSQL whose tables of customers' data are partitioned by customer_id, as on several machines.

The migrations make them: what they say is rewritten on its way to the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, make_url

from postgresql import Server
from statements import OF_CUSTOMERS

PARTITIONS = 4

#: What makes a table: its name, its columns, and how it is stored, which only partitions can be told.
_CREATE = re.compile(rf"\s*CREATE TABLE ({'|'.join(OF_CUSTOMERS)}) (\(.*?\))\s*(WITH \([^)]*\))?\s*", re.DOTALL)
_names: set[str] = set()


@contextmanager
def partitioned(server: Server) -> Iterator[str]:
    """The URL of an empty database, as `Server.database` has it, in which each table of customers is partitioned."""
    with server.database() as url:
        name = str(make_url(url).database)
        _names.add(name)
        yield url
        _names.remove(name)


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def partition(
    connection: Connection, _cursor: object, statement: str, parameters: object, *_: object
) -> tuple[str, object]:
    """Has a table made in partitions."""
    made = _CREATE.fullmatch(statement) if connection.engine.url.database in _names else None
    if made:
        table, columns, stored = made.groups(default="")
        parts = (
            f"CREATE TABLE {table}_{number} PARTITION OF {table} "
            f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number}) {stored}"
            for number in range(PARTITIONS)
        )
        statement = "; ".join([f"CREATE TABLE {table} {columns} PARTITION BY HASH (customer_id)", *parts])
    return statement, parameters
