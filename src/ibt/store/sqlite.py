"""
SQLite: how its connections are made, and how the updates of a process take turns on the one that writes.

It has one writer at a time, and each commit waits for the disk. Updates that wait for each other share a
commit: the first begins a transaction, those behind it add theirs within savepoints, and the last one commits for
all. None of them returns before that.

Readings 28, 54.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.pool import NullPool

from ibt.store.question import command, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: How often a process looks whether another has let go of the write lock.
_POLL_SECONDS = 0.001

#: So many updates share a commit, and none begins so long after the first.
_MOST_TOGETHER = 32
_LONGEST_SECONDS = 0.02

#: How often an update looks whether the one that was to commit for it has gone away.
_LOOK_SECONDS = 0.02

#: What SQLite says of a database that is busy, full, read-only or out of reach; the rest are mistakes of ours.
UNAVAILABLE = frozenset(
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

#: What it says where another process does the same at this moment.
_OTHERS_AT_IT = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL))


def code(error: BaseException | None) -> int:
    """SQLite's code for a driver's error: the extended one has the primary in its low byte; 0 where there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def engine(url: sqlalchemy.URL, lock_wait: float) -> Engine:
    """Connects to the file; a transaction on a connection with the option `ibt_writes` takes the write lock first."""
    # Of the connection that writes each thread has its turn.
    given = {"timeout": lock_wait, "check_same_thread": False}
    made = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=given)

    @event.listens_for(made, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so: see below
        _write_ahead(connection, lock_wait)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("ibt_writes"):
            _begin_writing(connection, lock_wait)

    return made


def _begin_writing(connection: Connection, lock_wait: float) -> None:
    """
    Takes the write lock, as soon as it is free, within the wait of reading 54.

    A transaction that means to write takes it first: it could not be given to it later, when what it read has been
    overtaken. SQLite's own waiting looks ever more rarely, every 100 ms in the end: a process whose threads take
    turns would keep the lock from another for seconds.
    """
    end = time.monotonic() + lock_wait
    command(connection, "PRAGMA busy_timeout = 0")
    while True:
        try:
            command(connection, "BEGIN IMMEDIATE")
        except DBAPIError as error:
            if code(error.orig) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _write_ahead(connection: sqlite3.Connection, lock_wait: float) -> None:
    """Turns WAL mode on, which the file remembers: only the first connection of all has anything to do."""
    end = time.monotonic() + lock_wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Another process is at it, and this statement does not wait for it; a transaction does.
            if code(error) not in _OTHERS_AT_IT or time.monotonic() > end:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return


class TooLong(Exception):
    """Other updates took too long."""


class NotCommitted(Exception):
    """The COMMIT that an update shares with others failed, as its cause tells."""


class _Together:
    """Updates that share a commit: how many succeeded, since when, and how it ended."""

    def __init__(self) -> None:
        self.succeeded = 0
        self.began = time.monotonic()
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def takes_more(self) -> bool:
        """Whether another update may still begin."""
        return self.succeeded < _MOST_TOGETHER and time.monotonic() - self.began < _LONGEST_SECONDS


class Writer:
    """The one connection of a process that writes, and the turns on it."""

    def __init__(self, made: Engine, lock_wait: float) -> None:
        self._engine = made
        self._lock_wait = lock_wait
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._connection: Connection | None = None
        self._together: _Together | None = None

    def close(self) -> None:
        """Closes the connection; no update may be under way."""
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None

    @contextmanager
    def update(self) -> Iterator[Connection]:
        """
        One update, in its turn: durable when the block ends, undone if it raises.

        Raises TooLong, NotCommitted and sqlalchemy.exc.DBAPIError, each of which means that nothing was changed, but
        for a COMMIT on a disk that fails.
        """
        together, connection = self._begin()
        try:
            if together.succeeded:
                command(connection, "SAVEPOINT one")
            try:
                yield connection
            except BaseException:
                self._undo(together, connection)
                raise
            if together.succeeded:
                command(connection, "RELEASE one")
            together.succeeded += 1
        finally:
            self._pass_on(together, connection)
        self._wait(together, connection)

    def _begin(self) -> tuple[_Together, Connection]:
        with self._counting:
            self._waiting += 1
        end = time.monotonic() + self._lock_wait
        mine = self._turn.acquire(timeout=self._lock_wait)
        with self._counting:
            self._waiting -= 1
        if not mine:
            raise TooLong
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            if self._together is None:
                _begin_writing(self._connection, end - time.monotonic())
                self._together = _Together()
        except BaseException:
            self._turn.release()
            raise
        return self._together, self._connection

    def _undo(self, together: _Together, connection: Connection) -> None:
        """Undoes this update alone, unless SQLite has undone all, as it may where the disk is full."""
        driver: Any = connection.connection.driver_connection
        try:
            with told(connection, "ROLLBACK"):
                if together.succeeded and driver.in_transaction:
                    driver.execute("ROLLBACK TO one")
                    driver.execute("RELEASE one")
                    return
                driver.rollback()
        except (DBAPIError, InvalidRequestError):
            self.close()  # which undoes it too
        self._end(together, NotCommitted("another update undid all"))

    def _pass_on(self, together: _Together, connection: Connection) -> None:
        """Ends the turn; and commits, unless the next one in turn will."""
        try:
            if self._together is together and not (together.succeeded and self._waiting and together.takes_more()):
                self._commit(together, connection)
        finally:
            self._turn.release()

    def _commit(self, together: _Together, connection: Connection) -> None:
        try:
            with told(connection, "COMMIT"):
                for tell in connection.dispatch.commit:  # as SQLAlchemy does: someone may listen
                    tell(connection)
                # The driver's own commit() says nothing where SQLite has undone all by itself.
                connection.connection.driver_connection.execute("COMMIT")  # type: ignore[union-attr]  # there is one
        except BaseException as failure:  # whatever it is, it belongs to all who wait for it
            self.close()
            self._end(together, failure)
        else:
            self._end(together, None)

    def _end(self, together: _Together, failure: BaseException | None) -> None:
        self._together = None
        together.failure = failure
        together.ended.set()

    def _wait(self, together: _Together, connection: Connection) -> None:
        while not together.ended.wait(_LOOK_SECONDS):
            # Whoever was to come next and commit may have given up waiting.
            if self._turn.acquire(blocking=False):
                try:
                    if self._together is together:
                        self._commit(together, connection)
                finally:
                    self._turn.release()
        if together.failure is not None:
            raise NotCommitted from together.failure
