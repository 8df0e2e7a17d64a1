"""
Connections to PostgreSQL: how long they wait, and what a COMMIT may say.

No thread may wait for ever for a server that is hung, frozen or behind a network that swallows. Where an answer
takes too long the socket is closed, and that is all: a COMMIT that is cancelled while it waits for its synchronous
standby is answered as if it were safe, and a failover then loses it. So nothing here ever cancels.

Reading 54.
"""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import sqlalchemy
from psycopg import waiting
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from sqlalchemy import Engine

    Answer = TypeVar("Answer")

#: How long a COMMIT may take, which waits for synchronous standbys, in seconds.
COMMIT_WAIT = 15.0

#: The server ends a statement that takes too long; how much later a client no longer believes in the server.
_SERVER_FIRST = 1.0

#: What the URL does not say: a server that is gone is noticed within seconds, by the network itself.
_DEFAULTS = {
    "connect_timeout": 2,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 3000,
    "application_name": "ibt",
}


class PatientConnection(psycopg.Connection[Any]):
    """A connection of the driver that waits up to *patience* seconds for each answer, and then closes itself."""

    patience = math.inf
    warning: str | None = None

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        """As the driver's, without its cancelling. Raises psycopg.OperationalError."""
        longest = self.patience if timeout is None else timeout
        try:
            return waiting.wait(gen, self.pgconn.socket, interval, None if longest == math.inf else longest)
        except (psycopg.OperationalError, KeyboardInterrupt, SystemExit):
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:  # the answer has not come
                self.close()
            raise

    def commit(self) -> None:
        """Raises psycopg.OperationalError where it is not certain that what was committed stays."""
        before, self.patience, self.warning = self.patience, COMMIT_WAIT, None
        try:
            super().commit()
        finally:
            self.patience = before
        if self.warning:  # the wait for the standby was cancelled, by whomever
            raise psycopg.OperationalError(f"COMMIT was answered with a warning: {self.warning}")

    def note_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        """Keeps a warning of the server."""
        if notice.severity_nonlocalized == "WARNING":
            self.warning = notice.message_primary


def engine(url: sqlalchemy.URL, lock_wait: float, patience: float) -> Engine:
    """
    Connects as *url* says; a statement waits *lock_wait* seconds for a lock and *patience* for all.

    An execution option `ibt_writes` of the connection says which kind of transaction begins.
    """
    made = sqlalchemy.create_engine(url, poolclass=NullPool)
    timeouts = {"lock_timeout": lock_wait, "statement_timeout": 0 if patience == math.inf else patience}

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, arguments: Any, named: dict[str, Any]) -> PatientConnection:
        # Transactions begin where we say so, in one message: see below.
        connection = PatientConnection.connect(*arguments, **{**_DEFAULTS, **named}, autocommit=True)
        connection.patience = patience + _SERVER_FIRST
        connection.add_notice_handler(connection.note_warning)
        settings = "; ".join(f"SET {name} = {round(seconds * 1000)}" for name, seconds in timeouts.items())
        connection.execute(settings.encode())
        return connection

    @event.listens_for(made, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        # An update sees what the one before it did, once it has the customer's lock. That it may write is left to
        # the server: one that was demoted or fenced must not be talked out of it.
        if connection.get_execution_options().get("ibt_writes"):
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")

    return made


def was_closed(connection: sqlalchemy.Connection) -> bool:
    """Whether the server has said something to a connection that asked for nothing: that it closes it, or its end."""
    driver: Any = connection.connection.driver_connection
    if driver.closed:
        return True
    poll = select.poll()
    poll.register(driver.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))
