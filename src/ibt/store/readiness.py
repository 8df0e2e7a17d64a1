"""
What an operator asks of the database: whether it takes updates now, and whether a standby keeps them too.

Nothing is changed, and nobody's data are read or locked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ibt.store.tables import customer_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from ibt.store.database import Database

#: An update of nothing, which only a database that takes updates does.
_NO_UPDATE = (
    sa.update(customer_state)
    .where(customer_state.c.customer_id == sa.bindparam("nobody", -1, sa.Integer))
    .values(revision=customer_state.c.revision)
)

#: What takes room on PostgreSQL's disk for a moment, some 150 KB where the database is, and leaves no trace.
_TAKING_ROOM = (
    "SET LOCAL temp_tablespaces = ''",
    "SET LOCAL work_mem = '64kB'",
    "SELECT count(*) FROM generate_series(1, 5000)",
)

_STANDBYS = sa.text(
    "SELECT current_setting('synchronous_standby_names') AS names, current_setting('synchronous_commit') AS waits, "
    "current_user AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS sees, (SELECT count(*) FROM "
    "pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')) AS there"
)

#: How many standbys PostgreSQL waits for: a number before a list of them, else one.
_WAITED_FOR = re.compile(r"\s*(?:first\s+|any\s+)?([0-9]+)\s*\(", re.IGNORECASE)


def check_writable(database: Database) -> None:
    """Raises Unavailable where the database cannot be reached, takes no updates or has no room for them."""
    with database.updating() as connection:
        connection.execute(_NO_UPDATE)
        if database.sqlite:
            _write_nothing_new(connection)
        else:
            for statement in _TAKING_ROOM:
                connection.exec_driver_sql(statement)


def _write_nothing_new(connection: Connection) -> None:
    """Writes a number of SQLite's header, which is there for programs, as it is: its commit needs room like any."""
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {int(number)}")


def unkept(database: Database) -> Iterator[str]:
    """
    Why a PostgreSQL does not keep each update on a standby too before it answers: a sentence, without its full stop.

    Nothing where it does. Raises Unavailable.
    """
    with database.reading() as connection:
        told = connection.execute(_STANDBYS).one()
    waited_for = _WAITED_FOR.match(told.names)
    wanted = int(waited_for[1]) if waited_for else 1
    if not told.names:
        yield "PostgreSQL waits for no standby: set synchronous_standby_names"
    elif told.waits not in ("on", "remote_apply"):
        yield f"PostgreSQL waits for no standby to keep an update: set synchronous_commit to on, not {told.waits}"
    elif not told.sees:
        yield f"It cannot be seen whether there is a standby: grant pg_read_all_stats to the role {told.role}"
    elif told.there < wanted:
        there = f"only {told.there} of {wanted}" if told.there else "none"
        yield f"Updates wait for a synchronous standby, and {there} is connected: start it, or look at its log"
