"""
A backup of SQLite while the service runs: the whole database as one file, of one moment.

The pages are copied in steps, from the snapshot that a transaction holds meanwhile: without it SQLite would begin
anew after each commit of another process, and under load never end. Updates do not wait for it; the write-ahead
log grows until it has ended. PostgreSQL has programs of its own for this.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ibt.store.database import LOCK_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibt.store.database import Database

#: How many pages are copied in a step, between which the program can be interrupted: about a megabyte.
STEP = 256

#: What is being written, beside its place: a folder, as SQLite may put files of its own beside a database.
_BESIDE = ".ibt-backup-"

_HAS_SCHEMA = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"


class NotMade(Exception):
    """There is no backup, and why: one sentence."""


def backup(database: Database, file: Path, progress: Callable[[int], None] = lambda _: None) -> int:
    """
    Copies *database*, an SQLite, into the new *file*; the bytes that it has.

    The file has its name only when it is whole and on the disk, and is its owner's alone. *progress* is told after
    each step how many pages remain. Raises NotMade: where *file* is there already, for a PostgreSQL, where there is
    no such database, and where it cannot be read or written.
    """
    if not database.sqlite:
        raise NotMade(
            f"The database {database.url!r} is PostgreSQL, whose own programs make its backups: "
            'see "Backing up PostgreSQL" in docs/operate.md.'
        )
    _refuse_existing(file)
    try:
        with tempfile.TemporaryDirectory(prefix=_BESIDE, dir=file.parent) as beside:
            part = Path(beside) / "part"
            part.touch(mode=0o600)
            _copy(Path(str(database.url.database)), part, progress)
            _sync(part)
            size = part.stat().st_size
            _refuse_existing(file)  # someone may have made it in the meantime
            part.rename(file)
        _sync(file.parent)
    except OSError as error:
        raise NotMade(f"There is no backup in {file}: {error.strerror or 'the system does not say why'}.") from error
    except sqlite3.Error as error:
        raise NotMade(f"The database {database.url!r} cannot be copied to {file}: {error}.") from error
    return size


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise NotMade(f"{file} is there already: name a new file.")


def _copy(path: Path, part: Path, progress: Callable[[int], None]) -> None:
    if not path.exists():
        raise NotMade(f"There is no database {path}.")
    # mode=rw makes no file, should that one be gone by now.
    there = f"{path.absolute().as_uri()}?mode=rw"
    with (
        closing(sqlite3.connect(there, uri=True, timeout=LOCK_WAIT, isolation_level=None)) as source,
        closing(sqlite3.connect(part)) as target,
    ):
        source.execute("BEGIN")
        ((has_schema,),) = source.execute(_HAS_SCHEMA)  # the snapshot is of this moment
        if not has_schema:
            raise NotMade(f"{path} is no database of ibt: it has no schema.")
        source.backup(target, pages=STEP, progress=lambda _status, remaining, _total: progress(remaining))


def _sync(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk."""
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
