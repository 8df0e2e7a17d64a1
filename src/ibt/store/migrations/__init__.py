"""
The schema: how it is brought forward, and which programs may run on it.

A migration only adds what the next program needs, so that programs of before and after run on it side by side;
what no program uses any more is taken away by a migration of a later release. That one then says so: beside its
number the schema names the oldest program that may run on it, by the newest migration that the program knows.
Migrations are numbered 0001, 0002 and so on, in one line. One that is to run while services do changes one table that
they use, in a moment: each is a transaction of its own, which needs that table for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from sqlalchemy import select

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The column that migration 0001 adds to Alembic's table; a later migration sets it where it takes something away.
OLDEST_PROGRAM = "oldest_program"

_alembic_version = sa.table("alembic_version", sa.column("version_num"), sa.column(OLDEST_PROGRAM))


@dataclass(frozen=True, slots=True)
class Schema:
    """
    The schema of a database: its *number*, None where it has none; the *oldest* program that may run on it.

    Programs are named by the newest migration that they know; *known* is that of this one.
    """

    number: str | None
    oldest: str | None
    known: str

    @property
    def newer(self) -> bool:
        """Whether a newer program has made it what it is."""
        return self.number is not None and self.number > self.known

    @property
    def fault(self) -> str | None:
        """Why this program may not run on it, and what to do: the end of a sentence about the database."""
        if self.number is None:
            return "has no schema: run ibt db upgrade"
        if self.number < self.known:
            return f"has schema {self.number}, and this version of ibt needs {self.known}: run ibt db upgrade"
        if self.oldest is None or self.oldest > self.known:
            return (
                f"has schema {self.number}, which needs a version of ibt that knows schema {self.oldest}; this one "
                f"knows {self.known}: use a newer version"
            )
        return None

    def __str__(self) -> str:
        return (
            f"schema {self.number}, for versions of ibt that know schema {self.oldest}; this one knows {self.known}"
        )


def schema(connection: Connection) -> Schema:
    """What schema the database of *connection* has."""
    known = alembic.script.ScriptDirectory.from_config(_configuration(connection)).get_current_head()
    assert known is not None, "there are migrations"  # noqa: S101 - for the type: a package without is no program
    row = None
    if sa.inspect(connection).has_table(_alembic_version.name):
        row = connection.execute(select(_alembic_version)).one_or_none()
    number, oldest = row or (None, None)
    return Schema(number, oldest, known)


def upgrade(connection: Connection, *, one: bool = False) -> None:
    """Runs the migrations that are missing, or the first *one* of them, in the transaction of *connection*."""
    alembic.command.upgrade(_configuration(connection), "+1" if one else "head")


def _configuration(connection: Connection) -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(resources.files(__name__)))
    configuration.attributes["connection"] = connection
    return configuration
