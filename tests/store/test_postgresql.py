"""A PostgreSQL that is away, hung, fenced or not sure: what is said, how soon, and that all goes on. Reading 54."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import psycopg
import pytest
from sqlalchemy import Connection, insert, select, text

import ibt.store.postgresql
from ibt.store import Database, Unavailable, tables, writes
from postgresql import Server, running

SHORT = 0.5
PATIENCE = 30.0

#: Well below the time that the operating system itself would take to give up.
SOON = 12.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A PostgreSQL whose settings are changed and whose processes are killed."""
    with running() as server:
        yield server


@pytest.fixture
def database(own_server: Server) -> Iterator[Database]:
    with own_server.database() as url:
        database = Database(url)
        database.upgrade()
        fill(database)
        yield database
        database.close()


def fill(database: Database) -> None:
    with database.updating() as connection:
        for customer_id in (1, 2):
            connection.execute(insert(tables.customer_state).values(customer_id=customer_id, revision="r"))


def add_user(database: Database, name: str) -> None:
    with database.updating() as connection:
        connection.execute(insert(tables.users).values(user_name=name))


def users(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(select(tables.users.c.user_name)).scalars())


def await_true(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"


@contextmanager
def told(server: Server, name: str = "postgres") -> Iterator[psycopg.Connection]:
    """A connection of an administrator to the database *name*, without transactions."""
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        yield connection


@contextmanager
def setting(server: Server, name: str, value: str) -> Iterator[None]:
    """The server's setting while the block runs."""
    with told(server) as admin:
        admin.execute(f"alter system set {name} = '{value}'".encode())
        admin.execute("select pg_reload_conf()")
        await_true(lambda: shown(server, name) == value)
        admin.execute("checkpoint")  # by the process that tells all others which standbys there are
        try:
            yield
        finally:
            admin.execute(f"alter system reset {name}".encode())
            admin.execute("select pg_reload_conf()")
            await_true(lambda: shown(server, name) != value)


def shown(server: Server, name: str) -> str:
    with told(server) as admin:
        row = admin.execute(f"show {name}".encode()).fetchone()
    return str(row[0]) if row else ""


def is_lost(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("select 1")
    except psycopg.OperationalError:
        return True
    return False


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


# Where it is ----------------------------------------------------------------------------------------------


def opened(url: str) -> str:
    """The name of the database that *url* leads to."""
    database = Database(url)
    with database.reading() as connection:
        name = str(connection.execute(text("select current_database()")).scalar_one())
    database.close()
    return name


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://ibt@127.0.0.1:{port}/postgres",
        "postgresql+psycopg://ibt@127.0.0.1:{port}/postgres",
        "postgresql:///postgres?host={folder}&port={port}&user=ibt",
        "postgresql://ibt@/postgres?host={folder}&port={port}",
        "postgresql://ibt@127.0.0.1:1,127.0.0.1:{port}/postgres",
        "postgresql://ibt:secret@127.0.0.1:1,127.0.0.1:{port}/postgres?target_session_attrs=read-write",
        "postgresql://ibt@/postgres?host=127.0.0.1:1&host=127.0.0.1:{port}",
        "postgresql://ibt@127.0.0.1,127.0.0.1:{port}/postgres?connect_timeout=5",
    ],
)
def test_a_url_may_have_every_form_of_the_library(own_server: Server, form: str) -> None:
    folder = shown(own_server, "unix_socket_directories")
    assert opened(form.format(port=own_server.port, folder=folder)) == "postgres"


def test_of_several_hosts_the_one_that_takes_updates_is_found(own_server: Server, postgresql: Server) -> None:
    hosts = f"127.0.0.1:{own_server.port},127.0.0.1:{postgresql.port}"
    with setting(own_server, "default_transaction_read_only", "on"):
        database = Database(f"postgresql://ibt@{hosts}/postgres?target_session_attrs=read-write")
        with database.updating() as connection:
            assert connection.execute(text("show port")).scalar_one() == str(postgresql.port)
        database.close()


def test_what_the_url_says_of_the_connection_wins_over_what_we_say(own_server: Server) -> None:
    database = Database(f"{own_server.url('postgres')}?application_name=mine&keepalives_idle=77")
    with database.reading() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        parameters = driver.info.get_parameters()
    assert {parameters["application_name"], parameters["keepalives_idle"]} == {"mine", "77"}
    assert (parameters["connect_timeout"], parameters["tcp_user_timeout"]) == ("2", "3000")
    database.close()


# COMMIT ---------------------------------------------------------------------------------------------------


def test_a_commit_that_waits_too_long_is_not_cancelled_and_its_outcome_is_unknown(
    own_server: Server, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ibt.store.postgresql, "COMMIT_WAIT", SHORT)
    with setting(own_server, "synchronous_standby_names", "nobody"):
        with pytest.raises(Unavailable) as caught:
            add_user(database, "ann")
        assert caught.value.outcome_unknown
        # The server was not told to give up: it goes on waiting for the standby, and no one sees the change before.
        assert waiting(own_server) != []
        assert users(database) == []
    await_true(lambda: users(database) == ["ann"])
    add_user(database, "bob")
    assert sorted(users(database)) == ["ann", "bob"]


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_commit_whose_wait_for_the_standby_is_cancelled_has_an_unknown_outcome(
    own_server: Server, database: Database, function: str
) -> None:
    def cancel() -> None:
        await_true(lambda: waiting(own_server) != [])
        with told(own_server) as admin:
            for process in waiting(own_server):
                admin.execute(f"select {function}({process})".encode())

    thread = threading.Thread(target=cancel)
    with setting(own_server, "synchronous_standby_names", "nobody"):
        thread.start()
        with pytest.raises(Unavailable) as caught:
            add_user(database, "ann")
        thread.join(PATIENCE)
    assert caught.value.outcome_unknown
    add_user(database, "bob")
    assert sorted(users(database)) == ["ann", "bob"]


def waiting(server: Server) -> list[int]:
    """The processes that wait for a standby."""
    with told(server) as admin:
        rows = admin.execute("select pid from pg_stat_activity where wait_event = 'SyncRep'").fetchall()
    return [process for (process,) in rows]


# A server that does not do it -----------------------------------------------------------------------------


def test_a_server_that_takes_no_updates_is_unavailable_and_left(own_server: Server, database: Database) -> None:
    name = database.url.database
    with told(own_server) as admin:
        admin.execute(f"alter database {name} set default_transaction_read_only = on".encode())
        database.close()
        with pytest.raises(Unavailable, match="read-only") as caught:
            add_user(database, "ann")
        assert not caught.value.outcome_unknown
        assert users(database) == []
        admin.execute(f"alter database {name} reset default_transaction_read_only".encode())
    add_user(database, "bob")  # on another connection, since that one would still be read-only
    assert users(database) == ["bob"]


def test_of_two_updates_that_wait_for_each_other_one_is_unavailable(database: Database) -> None:
    other = Database(url_of(database))
    barrier = threading.Barrier(2)
    raised: list[Unavailable] = []

    def update(own: Database, first: int, second: int) -> None:
        try:
            with own.updating() as connection:
                writes.lock(connection, first)
                barrier.wait(PATIENCE)
                writes.lock(connection, second)
        except Unavailable as unavailable:
            raised.append(unavailable)

    threads = [threading.Thread(target=update, args=arguments) for arguments in ((database, 1, 2), (other, 2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [unavailable.outcome_unknown for unavailable in raised] == [False]
    assert "deadlock" in str(raised[0])
    other.close()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database) -> None:
    impatient = Database(url_of(database), patience=SHORT)
    for transaction in (impatient.reading, impatient.updating):
        with pytest.raises(Unavailable, match="statement timeout") as caught, transaction() as connection:
            connection.execute(text("select pg_sleep(60)"))
        assert not caught.value.outcome_unknown
    impatient.close()


def test_a_server_that_crashes_and_comes_back_needs_no_other_database(own_server: Server, database: Database) -> None:
    add_user(database, "ann")
    assert users(database) == ["ann"]
    with told(own_server) as victim, told(own_server) as other:
        os.kill(victim.info.backend_pid, signal.SIGKILL)  # whereupon the server ends all others and recovers
        await_true(lambda: is_lost(other))

    names = (f"user{number}" for number in count())
    acknowledged = ["ann"]

    def is_back() -> bool:
        name = next(names)
        try:
            add_user(database, name)
        except Unavailable:
            return False
        acknowledged.append(name)
        return True

    await_true(is_back)
    assert set(acknowledged) <= set(users(database))


# A network that swallows ----------------------------------------------------------------------------------


class Swallowing:
    """A proxy to a port of this machine that goes on taking what it gets, and hands nothing on, when told so."""

    def __init__(self, port: int) -> None:
        self.swallows = False
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._ends, self._end = socket.socketpair()
        self._selector.register(self._ends, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._end.send(b".")
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._ends:
                    for each in list(self._selector.get_map().values()):
                        assert isinstance(each.fileobj, socket.socket)
                        each.fileobj.close()
                    return
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._listener:
                    self._connect()
                elif key.fileobj.fileno() >= 0:  # else it was closed with its other end, a moment ago
                    self._hand_on(key.fileobj, key.data)

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._to))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data and not self.swallows:
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                self._selector.unregister(each)
                each.close()


@pytest.fixture
def network(own_server: Server) -> Iterator[Swallowing]:
    proxy = Swallowing(own_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(database: Database, network: Swallowing) -> Iterator[Database]:
    """The database behind that network, asked by someone who is not patient."""
    url = f"{url_of(database).replace(f':{database.url.port}/', f':{network.port}/')}?connect_timeout=4"
    behind = Database(url, patience=SHORT)
    yield behind
    network.swallows = False
    behind.close()


def test_a_server_that_answers_nothing_any_more_is_unavailable_soon(network: Swallowing, behind: Database) -> None:
    def ask(transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        with transaction() as connection:
            connection.execute(select(tables.users)).all()
            network.swallows = True
            connection.execute(select(tables.users)).all()

    for transaction in (behind.reading, behind.updating):
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            ask(transaction)
        assert not caught.value.outcome_unknown
        assert time.monotonic() - began < SOON
        network.swallows = False
    add_user(behind, "ann")
    assert users(behind) == ["ann"]


def test_a_server_that_is_not_reached_at_all_is_unavailable_soon(network: Swallowing, behind: Database) -> None:
    network.swallows = True
    for transaction in (behind.reading, behind.updating):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="timeout") as caught, transaction():
            pass
        assert not caught.value.outcome_unknown
        assert time.monotonic() - began < SOON
    network.swallows = False
    assert users(behind) == []


def test_a_commit_that_is_swallowed_has_an_unknown_outcome(
    network: Swallowing, behind: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ibt.store.postgresql, "COMMIT_WAIT", SHORT)

    def update() -> None:
        with behind.updating() as connection:
            connection.execute(insert(tables.users).values(user_name="ann"))
            network.swallows = True

    with pytest.raises(Unavailable) as caught:
        update()
    assert caught.value.outcome_unknown
    network.swallows = False
    assert users(behind) == []
    add_user(behind, "bob")
    assert users(behind) == ["bob"]
