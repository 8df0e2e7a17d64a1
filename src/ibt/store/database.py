"""
The database: connections, transactions, and what is said when it is not there.

SQLite and PostgreSQL alike. A transaction that reads sees one snapshot; one that updates holds the lock that
makes updates serial. Connections are kept by the thread that uses them. Each commit is durable when it
returns: SQLite runs in WAL mode with `synchronous=FULL`.

Readings 28, 54.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: How long an update waits for the others before it is told to come again, in seconds (reading 54).
LOCK_WAIT = 5.0

#: The name, a number, of the lock on PostgreSQL under which one process upgrades the schema and others wait.
_UPGRADING = 0x696274


class Unusable(Exception):
    """The database cannot be used at all: one sentence for the operator."""


class Unavailable(Exception):
    """
    The database could not do it now. *outcome_unknown*: whether the change may have happened all the same.

    Reading 54.
    """

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(reason)
        self.outcome_unknown = outcome_unknown


class Database:
    """The database at *url*: `sqlite:////path/ibt.db` or `postgresql://…`. Raises Unusable for anything else."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sqlalchemy.make_url(url)
        except ArgumentError:
            raise Unusable(
                f'"{url}" is not the URL of a database: write sqlite:////path/ibt.db or postgresql://…'
            ) from None
        self.url = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        if self.url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise Unusable(f"{self.url.drivername} is not a database that ibt knows: use sqlite or postgresql")
        if self.sqlite and self.url.database in (None, "", ":memory:"):
            raise Unusable(f'"{url}" names no file: write sqlite:////path/ibt.db')
        self.engine = _sqlite(self.url) if self.sqlite else _postgresql(self.url)
        self._threads = threading.local()
        self._writing = threading.Lock()

    @property
    def sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        """Closes the connections that no thread is using."""
        for kind in ("reader", "writer"):
            if connection := getattr(self._threads, kind, None):
                connection.close()
                delattr(self._threads, kind)
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot to read from. Raises Unavailable."""
        connection = self._kept("reader")
        try:
            with _begun(connection):
                yield connection
        except DBAPIError as error:
            raise _unavailable(error) from error

    @contextmanager
    def updating(self) -> Iterator[Connection]:
        """
        One transaction that changes data: committed, and durable, when the block ends; undone if it raises.

        Raises Unavailable where it waited too long for other updates or the database is away.
        """
        connection = self._kept("writer")
        with self._turn():
            try:
                transaction = _begun(connection)
                try:
                    yield connection
                except BaseException:
                    transaction.rollback()
                    raise
                self._commit(transaction)
            except DBAPIError as error:
                raise _unavailable(error) from error

    def _commit(self, transaction: sqlalchemy.RootTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            # The connection may still be within the transaction, or lost: the next update gets another one.
            transaction.connection.invalidate()
            transaction.close()
            # SQLite's answer to a COMMIT is final. A server that is gone may have committed before it went.
            if self.sqlite:
                raise
            raise Unavailable("the connection was lost during COMMIT", outcome_unknown=True) from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer: the threads of one process queue here in order, rather than poll its lock."""
        if not self.sqlite:
            yield
            return
        if not self._writing.acquire(timeout=LOCK_WAIT):
            raise Unavailable("other updates took too long")
        try:
            yield
        finally:
            self._writing.release()

    def _kept(self, kind: str) -> Connection:
        connection: Connection | None = getattr(self._threads, kind, None)
        if connection is None:
            try:
                connection = self.engine.connect().execution_options(ibt_writes=kind == "writer")
            except DBAPIError as error:
                raise _unavailable(error) from error
            setattr(self._threads, kind, connection)
        return connection

    def upgrade(self) -> None:
        """Brings the schema to the newest version, in one transaction; makes the SQLite file. Raises Unusable."""
        try:
            with self.engine.connect().execution_options(ibt_writes=True) as connection, connection.begin():
                if not self.sqlite:  # whose transaction holds the lock already
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADING})")
                configuration = alembic.config.Config()
                configuration.set_main_option("script_location", str(resources.files("ibt.store") / "migrations"))
                configuration.attributes["connection"] = connection
                self._refuse_newer(connection, configuration)
                alembic.command.upgrade(configuration, "head")
        except DBAPIError as error:
            raise Unusable(f"The database {self.url!r} cannot be opened: {_reason(error)}.") from error

    def _refuse_newer(self, connection: Connection, configuration: alembic.config.Config) -> None:
        scripts = alembic.script.ScriptDirectory.from_config(configuration)
        known = {script.revision for script in scripts.walk_revisions()}
        for revision in alembic.runtime.migration.MigrationContext.configure(connection).get_current_heads():
            if revision not in known:
                raise Unusable(
                    f"The database {self.url!r} has schema {revision}, which this version of ibt does not know: "
                    "use the version that made it, or a newer one."
                )


def _begun(connection: Connection) -> sqlalchemy.RootTransaction:
    """A transaction, on another connection where the server has closed this one since it was last used."""
    try:
        return connection.begin()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return connection.begin()


def _sqlite(url: sqlalchemy.URL) -> Engine:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_WAIT})

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so: see below
        _write_ahead(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that means to write takes the write lock first: it could not be given to it later,
        # when what it read has been overtaken.
        writes = connection.get_execution_options().get("ibt_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turns WAL mode on, which the file remembers: only the first connection of all has anything to do."""
    end = time.monotonic() + LOCK_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Another process is at it, and this statement does not wait for it; a transaction does.
            if not _is_unavailable(error) or time.monotonic() > end:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return


def _postgresql(url: sqlalchemy.URL) -> Engine:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.autocommit = True  # transactions begin where we say so, in one message: see below
        connection.execute(f"SET lock_timeout = {int(LOCK_WAIT * 1000)}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # An update sees what the one before it did, once it has the customer's lock; a reader sees one moment.
        writes = connection.get_execution_options().get("ibt_writes")
        kind = "READ COMMITTED, READ WRITE" if writes else "REPEATABLE READ, READ ONLY"
        connection.exec_driver_sql(f"BEGIN ISOLATION LEVEL {kind}")

    return engine


#: What SQLite says of a database that is busy, full, read-only or out of reach; the rest are mistakes of ours.
_SQLITE_UNAVAILABLE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    )
)


def _unavailable(error: DBAPIError) -> Exception:
    """What a driver's error means: the database is away or busy, or the fault is ours and stays what it is."""
    if isinstance(error.orig, sqlite3.Error):
        unavailable = _is_unavailable(error.orig)
    else:
        unavailable = error.connection_invalidated or isinstance(error, OperationalError)
    return Unavailable(_reason(error)) if unavailable else error


def _is_unavailable(error: sqlite3.Error) -> bool:
    # The extended code has the primary one in its low byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNAVAILABLE


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
