"""`ibt db`, on each kind of database. Reading 61."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from sqlalchemy import text

from ibt.store import Database

from .conftest import Command


def test_an_upgrade_makes_wrong_rows_of_place_anew(
    ibt: Command, new_database: Callable[[], AbstractContextManager[str]]
) -> None:
    """As a program leaves them that knows no places."""
    mended = "The rows of place were not right, and were made anew.\n"
    with new_database() as url:
        upgrade = ("db", "upgrade", "--database", url)
        first = ibt(*upgrade)
        assert (first.status, first.err) == (0, "")
        with closing(Database(url)) as database, database.updating() as connection:
            connection.execute(text("insert into place values (1, 100, 7, 201508)"))
        again = [ibt(*upgrade), ibt(*upgrade)]
        assert [(ran.status, ran.out, ran.err) for ran in again] == [(0, first.out + mended, ""), (0, first.out, "")]


def test_an_upgrade_of_what_is_no_database_is_told(ibt: Command, tmp_path: Path) -> None:
    (tmp_path / "ibt.db").write_bytes(b"no database" * 1000)
    ran = ibt("db", "upgrade", "--database", f"sqlite:///{tmp_path / 'ibt.db'}")
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
