"""The floor of a POST on SQLite: durable transactions of the bare driver that update one row and add two."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path


def bare_update(path: Path) -> Callable[[], object]:
    """One such transaction, in a new file at *path*."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = wal", "synchronous = full"):
        connection.execute(f"pragma {pragma}")
    connection.execute("create table a (k integer primary key, v)")
    connection.execute("insert into a values (0, 0)")

    def once() -> None:
        connection.execute("begin immediate")
        connection.execute("update a set v = v + 1 where k = 0")
        connection.execute("insert into a (v) values (1)")
        connection.execute("insert into a (v) values (2)")
        connection.execute("commit")

    return once
