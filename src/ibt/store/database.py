"""
The database: connections, transactions, and what is said when it is not there.

SQLite and PostgreSQL alike. A transaction that reads sees one snapshot; one that updates holds the lock that
makes updates serial. Connections are kept by the thread that uses them. Each commit is durable when it
returns: SQLite runs in WAL mode with `synchronous=FULL`. Where the disk is full it says so at once, and reads go on.

Readings 28, 54.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError, OperationalError

from ibt.store import migrations, sqlite
from ibt.store.question import command, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: How long an update waits for the others before it is told to come again, in seconds (reading 54).
LOCK_WAIT = 5.0

#: How long a server may take for a statement before it counts as away, in seconds.
PATIENCE = 10.0

#: The name, a number, of the lock on PostgreSQL under which one process upgrades the schema and others wait.
_UPGRADING = 0x696274

#: How long a migration waits for a table, and before it tries again; and for how long it tries, in seconds.
_GIVE_WAY_SECONDS = 0.2
_UPGRADE_WAIT = 120.0

#: PostgreSQL's codes for a lock that was not to be had, and for one that would never have been.
_LOCKED = frozenset(("55P03", "40P01"))


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


class Connections(NamedTuple):
    """How many connections a process has to the database, and how many of its transactions use one now, by kind."""

    open: int
    reading: int
    updating: int


class Database:
    """
    The database at *url*: `sqlite:////path/ibt.db` or `postgresql://…`. Raises Unusable for anything else.

    The URL of a PostgreSQL is that of its own library: several hosts, a folder of sockets and all its parameters.
    A server that takes longer than *patience* seconds for a statement is Unavailable.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        parsed = _parsed(url)
        self.url = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        #: Whether this is the embedded database.
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise Unusable(f"{self.url.drivername} is not a database that ibt knows: use sqlite or postgresql")
        if self.sqlite and self.url.database in (None, "", ":memory:"):
            raise Unusable(f'"{url}" names no file: write sqlite:////path/ibt.db')
        self._open = 0
        self._in_use = {"reader": 0, "writer": 0}
        self._counting = threading.Lock()
        self.engine = self._engine(patience)
        self._threads = threading.local()
        self._writer = sqlite.Writer(self.engine, LOCK_WAIT) if self.sqlite else None
        self._held: Connection | None = None

    def _engine(self, patience: float) -> Engine:
        if self.sqlite:
            made = sqlite.engine(self.url, LOCK_WAIT)
        else:
            from ibt.store import postgresql  # noqa: PLC0415 - who has SQLite need not wait for its driver

            made = postgresql.engine(self.url, LOCK_WAIT, patience)
        event.listen(made, "connect", lambda *_: self._count_open(1))
        event.listen(made, "close", lambda *_: self._count_open(-1))
        return made

    def hold(self) -> None:
        """
        Has SQLite's files stay beside the database until `close`, with the room that they take; else does nothing.

        The last connection removes them, and on a disk that is full no one could make them again, even to read.
        """
        if self.sqlite and self._held is None:
            try:
                self._held = self.engine.connect()
            except DBAPIError as error:
                raise _unavailable(error) from error

    def connections(self) -> Connections:
        """The connections that there are at this moment."""
        with self._counting:
            return Connections(self._open, self._in_use["reader"], self._in_use["writer"])

    def close(self) -> None:
        """Closes the connections that no thread is using."""
        if self._held is not None:
            self._held.close()
            self._held = None
        if self._writer:
            self._writer.close()
        for kind in ("reader", "writer"):
            self._forget(kind)
        self.engine.dispose()

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        """What each question finds is as of its own moment. Raises Unavailable."""
        self._count_in_use("reader", 1)
        try:
            yield self._usable("reader")
        except DBAPIError as error:
            self._forget("reader")
            raise _unavailable(error) from error
        finally:
            self._count_in_use("reader", -1)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot to read from. Raises Unavailable."""
        with self.asking() as connection:
            # A transaction that SQLAlchemy knows nothing of: its own cost more than the questions.
            command(connection, "BEGIN" if self.sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                yield connection
            finally:
                with suppress(InvalidRequestError):  # SQLAlchemy has given the connection up: its error is on its way
                    command(connection, "COMMIT")

    def _usable(self, kind: str) -> Connection:
        """The thread's connection of this kind; another where the server has closed it since it was last used."""
        connection = self._kept(kind)
        if not self.sqlite:
            from ibt.store import postgresql  # noqa: PLC0415 - as above

            if postgresql.was_closed(connection):
                self._forget(kind)
                return self._kept(kind)
        return connection

    def _forget(self, kind: str) -> None:
        """Closes the thread's connection of this kind; its next use opens another."""
        if connection := getattr(self._threads, kind, None):
            delattr(self._threads, kind)
            with suppress(DBAPIError):  # it may be lost already
                connection.close()

    @contextmanager
    def updating(self) -> Iterator[Connection]:
        """
        One transaction that changes data: committed, and durable, when the block ends; undone if it raises.

        Raises Unavailable where it waited too long for other updates or the database is away.
        """
        update = self._sqlite_update(self._writer) if self._writer else self._server_update()
        with self._used("writer"), update as connection:
            yield connection

    @contextmanager
    def _sqlite_update(self, writer: sqlite.Writer) -> Iterator[Connection]:
        try:
            with writer.update() as connection:
                yield connection
        except sqlite.TooLong as error:
            raise Unavailable("other updates took too long") from error
        except sqlite.NotCommitted as error:
            raise _not_committed(error) from error
        except DBAPIError as error:
            raise _unavailable(error) from error

    @contextmanager
    def _server_update(self) -> Iterator[Connection]:
        try:
            connection = self._usable("writer")
            # An update sees what the one before it did, once it has the customer's lock. That it may write is left to
            # the server: one that was demoted or fenced must not be talked out of it.
            command(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
            try:
                yield connection
            except BaseException:
                self._undo(connection)
                raise
            self._commit(connection)
        except DBAPIError as error:
            self._forget("writer")
            raise _unavailable(error) from error

    def _undo(self, connection: Connection) -> None:
        try:
            with told(connection, "ROLLBACK"):
                self._driver(connection).rollback()
        except (DBAPIError, InvalidRequestError):
            self._forget("writer")  # which is lost: its end undoes it too

    @staticmethod
    def _driver(connection: Connection) -> Any:
        return connection.connection.driver_connection

    def _commit(self, connection: Connection) -> None:
        try:
            with told(connection, "COMMIT"):
                for tell in connection.dispatch.commit:  # as SQLAlchemy does: someone may listen
                    tell(connection)
                self._driver(connection).commit()
        except DBAPIError as error:
            # A server that is gone may have committed before it went, and one that was not waited for may do so yet.
            self._forget("writer")
            raise Unavailable(
                f"COMMIT was not answered as it should: {_reason(error)}", outcome_unknown=True
            ) from error

    @contextmanager
    def _used(self, kind: str) -> Iterator[None]:
        self._count_in_use(kind, 1)
        try:
            yield
        finally:
            self._count_in_use(kind, -1)

    def _count_in_use(self, kind: str, more: int) -> None:
        with self._counting:
            self._in_use[kind] += more

    def _count_open(self, more: int) -> None:
        with self._counting:
            self._open += more

    def _kept(self, kind: str) -> Connection:
        connection: Connection | None = getattr(self._threads, kind, None)
        if connection is None:
            try:
                connection = self.engine.connect()
            except DBAPIError as error:
                raise _unavailable(error) from error
            setattr(self._threads, kind, connection)
        return connection

    def upgrade(self) -> None:
        """
        Brings the schema to the newest version; makes the SQLite file.

        It is one transaction; on a PostgreSQL that has a schema, each migration is one, and gives way to the requests
        of services that run: see `_step`. Leaves a newer schema as it is. Raises Unusable, also where this program
        may not run on that.
        """
        engine = self._engine(math.inf)
        end = time.monotonic() + _UPGRADE_WAIT
        try:
            while not self._step(engine):
                if time.monotonic() > end:
                    raise Unusable(f"The database {self.url!r} is too busy to be upgraded: do it when less is asked.")
                time.sleep(_GIVE_WAY_SECONDS)
        except DBAPIError as error:
            raise self._closed(error) from error
        finally:
            engine.dispose()

    def _step(self, engine: Engine) -> bool:
        """
        Runs the next migration, or all of them; returns False where more are left, or this one could not be.

        A migration needs a table that it changes for itself. Where it waits for one, all later requests wait for it,
        so it waits a short time only. Of two tables it would hold the first and wait for the second, and a request
        the other way round: PostgreSQL would end the request after a second (`deadlock_timeout`).
        """
        try:
            with engine.connect().execution_options(ibt_writes=True) as connection, connection.begin():
                if not self.sqlite:  # whose transaction holds the lock already
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADING})")
                found = migrations.schema(connection)
                if found.newer:
                    self._refuse(found)
                    return True
                in_use = found.number is not None and not self.sqlite
                if in_use:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(_GIVE_WAY_SECONDS * 1000)}")
                migrations.upgrade(connection, one=in_use and found.number != found.known)
                return not in_use or migrations.schema(connection).number == found.known
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _LOCKED:
                raise
            return False

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


def _unavailable(error: DBAPIError) -> Exception:
    """What a driver's error means: the database is away or busy, or the fault is ours and stays what it is."""
    if isinstance(error.orig, sqlite3.Error):
        unavailable = sqlite.code(error.orig) in sqlite.UNAVAILABLE
    else:
        unavailable = error.connection_invalidated or isinstance(error, OperationalError) or _is_read_only(error)
    return Unavailable(_reason(error)) if unavailable else error


def _not_committed(error: sqlite.NotCommitted) -> Exception:
    cause = error.__cause__
    if not isinstance(cause, DBAPIError):
        return Unavailable(str(error))
    if sqlite.code(cause.orig) == sqlite3.SQLITE_IOERR:
        # SQLite's answer to a COMMIT is final, but where the disk has failed: what it has of the change may be found
        # whole after a crash.
        return Unavailable(f"COMMIT was not answered as it should: {_reason(cause)}", outcome_unknown=True)
    return _unavailable(cause)


def _is_read_only(error: DBAPIError) -> bool:
    """Whether a PostgreSQL takes no updates: it has become a standby, or someone has fenced it."""
    return getattr(error.orig, "sqlstate", None) == "25006"


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
