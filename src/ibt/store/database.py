"""
The database: connections, transactions, and what is said when it is not there.

SQLite and PostgreSQL alike. A transaction that reads sees one snapshot; one that updates holds the lock that
makes updates serial. Connections are kept by the thread that uses them. Each commit is durable when it
returns: SQLite runs in WAL mode with `synchronous=FULL`.

Readings 28, 54.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from ibt.store import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: How long an update waits for the others before it is told to come again, in seconds (reading 54).
LOCK_WAIT = 5.0

#: How often a process looks whether another has let go of SQLite's write lock.
_POLL_SECONDS = 0.001

#: How long a server may take for a statement before it counts as away, in seconds.
PATIENCE = 10.0

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
    """
    The database at *url*: `sqlite:////path/ibt.db` or `postgresql://…`. Raises Unusable for anything else.

    The URL of a PostgreSQL is that of its own library: several hosts, a folder of sockets and all its parameters.
    A server that takes longer than *patience* seconds for a statement is Unavailable.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        parsed = _parsed(url)
        self.url = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        if self.url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise Unusable(f"{self.url.drivername} is not a database that ibt knows: use sqlite or postgresql")
        if self.sqlite and self.url.database in (None, "", ":memory:"):
            raise Unusable(f'"{url}" names no file: write sqlite:////path/ibt.db')
        self.engine = self._engine(patience)
        self._threads = threading.local()
        self._writing = threading.Lock()

    @property
    def sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    def _engine(self, patience: float) -> Engine:
        if self.sqlite:
            return _sqlite(self.url)
        from ibt.store import postgresql  # noqa: PLC0415 - who has SQLite need not wait for its driver

        return postgresql.engine(self.url, LOCK_WAIT, patience)

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
                if _is_read_only(error):
                    connection.invalidate()  # the next update looks for the server that takes updates
                raise _unavailable(error) from error

    def _commit(self, transaction: sqlalchemy.RootTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            # The connection may still be within the transaction, or lost: the next update gets another one.
            transaction.connection.invalidate()
            transaction.close()
            # SQLite's answer to a COMMIT is final. A server that is gone may have committed before it went, and one
            # that was not waited for may do so yet.
            if self.sqlite:
                raise
            raise Unavailable(
                f"COMMIT was not answered as it should: {_reason(error)}", outcome_unknown=True
            ) from error

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
        """
        Brings the schema to the newest version, in one transaction; makes the SQLite file.

        Leaves a newer schema as it is. Raises Unusable, also where this program may not run on that.
        """
        engine = self._engine(math.inf)
        try:
            with engine.connect().execution_options(ibt_writes=True) as connection, connection.begin():
                if not self.sqlite:  # whose transaction holds the lock already
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADING})")
                found = migrations.schema(connection)
                if found.newer:
                    self._refuse(found)
                else:
                    migrations.upgrade(connection)
        except DBAPIError as error:
            raise self._closed(error) from error
        finally:
            engine.dispose()

    def check(self) -> None:
        """Raises Unusable where the database is away, or its schema is not one that this program may run on."""
        self._refuse(self._schema())

    def status(self) -> str:
        """The schema in one line, and what is to be done where it is not right. Raises Unusable if it is away."""
        found = self._schema()
        return f"The database {self.url!r} {found.fault or f'has {found}'}."

    def _schema(self) -> migrations.Schema:
        path = Path(self.url.database or "") if self.sqlite else None
        engine = sqlalchemy.create_engine("sqlite://") if path and not path.exists() else self.engine
        try:
            with engine.connect() as connection:  # to memory where there is no file, so that none is made
                return migrations.schema(connection)
        except DBAPIError as error:
            raise self._closed(error) from error

    def _refuse(self, found: migrations.Schema) -> None:
        if found.fault:
            raise Unusable(f"The database {self.url!r} {found.fault}.")

    def _closed(self, error: DBAPIError) -> Unusable:
        return Unusable(f"The database {self.url!r} cannot be opened: {_reason(error)}.")


#: A URL with several hosts: what is before them, they, and what is after them.
_HOSTS = re.compile(r"(postgresql[^:/]*://(?:[^@/?]*@)?)([^/?]*,[^/?]*)([^?]*)\??(.*)", re.DOTALL)


def _parsed(url: str) -> sqlalchemy.URL:
    """*url* in its parts. SQLAlchemy takes several hosts, each with a port, as parameters only."""
    several = _HOSTS.fullmatch(url)
    if several:
        before, hosts, after, query = several.groups()
        parameters = [f"host={host}" for host in hosts.split(",")]
        url = f"{before}{after}?{'&'.join([*parameters, *filter(None, [query])])}"
    try:
        return sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):
        told = f'"{url}"' if "@" not in url else "What is given"  # which may hold a password
        raise Unusable(
            f"{told} is not the URL of a database: write sqlite:////path/ibt.db or postgresql://…"
        ) from None


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
        if connection.get_execution_options().get("ibt_writes"):
            _begin_writing(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_writing(connection: Connection) -> None:
    """
    Takes SQLite's write lock, as soon as it is free, within the wait of reading 54.

    SQLite's own waiting looks ever more rarely, every 100 ms in the end: a process whose threads take turns would
    keep the lock from another for seconds.
    """
    end = time.monotonic() + LOCK_WAIT
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except DBAPIError as error:
            busy = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


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
        unavailable = error.connection_invalidated or isinstance(error, OperationalError) or _is_read_only(error)
    return Unavailable(_reason(error)) if unavailable else error


def _is_read_only(error: DBAPIError) -> bool:
    """Whether a PostgreSQL takes no updates: it has become a standby, or someone has fenced it."""
    return getattr(error.orig, "sqlstate", None) == "25006"


def _is_unavailable(error: sqlite3.Error) -> bool:
    # The extended code has the primary one in its low byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNAVAILABLE


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
