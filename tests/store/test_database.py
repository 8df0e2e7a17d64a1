"""Transactions, and what is said when the database is not there. Readings 28, 54."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

import ibt.store.database
from ibt.store import Database, Unavailable, Unusable, tables, writes
from postgresql import Server

SHORT = 0.1
PATIENCE = 30


@pytest.fixture
def database(database: Database) -> Database:
    """A database with two customers."""
    fill(database)
    return database


@pytest.fixture
def other(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Another process's view of the database, which is not patient."""
    monkeypatch.setattr(ibt.store.database, "LOCK_WAIT", SHORT)
    other = Database(database.url.render_as_string(hide_password=False))
    yield other
    other.close()


@pytest.fixture
def on_postgresql(postgresql: Server) -> Iterator[Database]:
    with postgresql.database() as url:
        database = Database(url)
        database.upgrade()
        yield database
        database.close()


def fill(database: Database) -> None:
    with database.updating() as connection:
        for customer_id in (1, 2):
            connection.execute(insert(tables.customer).values(customer_id=customer_id, name="A"))
            connection.execute(insert(tables.customer_state).values(customer_id=customer_id, revision="r"))


def name(database: Database, customer_id: int = 1) -> str:
    query = select(tables.customer.c.name).where(tables.customer.c.customer_id == customer_id)
    with database.reading() as connection:
        return str(connection.execute(query).scalar_one())


def rename(database: Database, new: str, customer_id: int = 1) -> None:
    with database.updating() as connection:
        writes.lock(connection, customer_id)
        connection.execute(
            tables.customer.update().where(tables.customer.c.customer_id == customer_id).values(name=new)
        )


# URLs -----------------------------------------------------------------------------------------------------

NOT_URLS = {
    "no URL": ("ibt.db", '"ibt.db" is not the URL of a database: write sqlite:////path/ibt.db or postgresql://…'),
    "nothing": ("", '"" is not the URL of a database: write sqlite:////path/ibt.db or postgresql://…'),
    "another database": ("nosuch://x/y", "nosuch is not a database that ibt knows: use sqlite or postgresql"),
}


@pytest.mark.parametrize(("url", "told"), NOT_URLS.values(), ids=NOT_URLS)
def test_what_is_no_url_of_a_database_is_told_in_one_sentence(url: str, told: str) -> None:
    with pytest.raises(Unusable) as caught:
        Database(url)
    assert str(caught.value) == told


UNREACHABLE = {
    "a folder that is not there": "sqlite:////nowhere/at/all/ibt.db",
    "no server": "postgresql://ibt:secret@127.0.0.1:1/ibt",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_database_out_of_reach_is_told_in_one_sentence_without_its_password(url: str) -> None:
    with pytest.raises(Unusable, match="cannot be opened") as caught:
        Database(url).upgrade()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_database_that_has_gone_is_unavailable(url: str) -> None:
    database = Database(url)
    for transaction in (database.reading, database.updating):
        with pytest.raises(Unavailable) as caught, transaction():
            pass
        assert not caught.value.outcome_unknown


# Transactions ---------------------------------------------------------------------------------------------


def test_a_reader_sees_one_moment_whatever_others_commit(database: Database, other: Database) -> None:
    names = select(tables.customer.c.name).where(tables.customer.c.customer_id == 1)
    with database.reading() as connection:
        assert connection.execute(names).scalar_one() == "A"
        rename(other, "B")
        assert connection.execute(names).scalar_one() == "A"
    assert name(database) == "B"


def test_a_reader_does_not_wait_for_an_update(database: Database, other: Database) -> None:
    with database.updating() as connection:
        writes.lock(connection, 1)
        connection.execute(tables.customer.update().values(name="B"))
        assert name(other) == "A"
    assert name(other) == "B"


def test_an_update_that_raises_is_undone(database: Database) -> None:
    def update() -> None:
        with database.updating() as connection:
            connection.execute(tables.customer.update().values(name="B"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        update()
    assert name(database) == "A"
    rename(database, "C")
    assert name(database) == "C"


def test_updates_of_one_customer_wait_for_each_other(database: Database) -> None:
    arrived, locked = threading.Event(), threading.Event()

    def second() -> None:
        with database.updating() as connection:
            arrived.set()
            writes.lock(connection, 1)
            locked.set()
            names = select(tables.customer.c.name).where(tables.customer.c.customer_id == 1)
            seen.append(connection.execute(names).scalar_one())

    seen: list[str] = []
    thread = threading.Thread(target=second)
    with database.updating() as connection:
        writes.lock(connection, 1)
        thread.start()
        if not database.sqlite:  # where the second waits before it has a transaction at all
            assert arrived.wait(PATIENCE)
        assert not locked.wait(SHORT)
        connection.execute(tables.customer.update().values(name="B"))
    thread.join(PATIENCE)
    assert seen == ["B"]


def test_updates_of_two_customers_do_not_wait_for_each_other_on_postgresql(on_postgresql: Database) -> None:
    fill(on_postgresql)
    other = Database(on_postgresql.url.render_as_string(hide_password=False))
    with on_postgresql.updating() as first, other.updating() as second:
        assert writes.lock(first, 1).revision == "r"
        assert writes.lock(second, 2).revision == "r"
    other.close()


def test_an_update_that_waits_too_long_is_told_so_and_changes_nothing(database: Database, other: Database) -> None:
    with database.updating() as connection:
        writes.lock(connection, 1)
        with pytest.raises(Unavailable) as caught:
            rename(other, "B")
        assert not caught.value.outcome_unknown
    assert name(database) == "A"
    rename(other, "C")
    assert name(database) == "C"


def test_an_update_in_the_same_process_waits_no_longer_either(database: Database, other: Database) -> None:
    raised: list[Exception] = []

    def second() -> None:
        try:
            rename(other, "B")
        except Unavailable as unavailable:
            raised.append(unavailable)

    with other.updating() as connection:
        writes.lock(connection, 1)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(PATIENCE)
    assert len(raised) == 1
    assert name(database) == "A"


def test_a_mistake_of_ours_is_not_called_unavailable(database: Database) -> None:
    for transaction in (database.reading, database.updating):
        with pytest.raises(DBAPIError), transaction() as connection:
            connection.execute(text("select nothing from nowhere"))
    assert name(database) == "A"


def test_threads_do_not_share_a_transaction(database: Database) -> None:
    count = 4
    barrier = threading.Barrier(count)
    seen: list[int] = []

    def read() -> None:
        with database.reading() as connection:
            connection.execute(select(tables.customer.c.name)).first()
            barrier.wait(PATIENCE)
            seen.append(id(connection))
            barrier.wait(PATIENCE)

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(seen)) == count


def test_sqlite_commits_are_durable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    with database.updating() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
    database.close()


def test_a_commit_that_fails_leaves_the_next_update_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()

    def update() -> None:
        with database.updating() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.execute(insert(tables.grants).values(user_name="nobody", customer_id=1, role="IBT"))

    with pytest.raises(DBAPIError, match="FOREIGN KEY"):
        update()
    fill(database)
    with database.reading() as connection:
        assert connection.execute(select(tables.grants)).all() == []
    database.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Has each write to a file beyond that size fail while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_commit_that_sqlites_disk_fails_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    database.hold()
    size = (tmp_path / "ibt.db-wal").stat().st_size
    with pytest.raises(Unavailable) as caught, files_of_at_most(size):
        fill(database)
    assert caught.value.outcome_unknown
    fill(database)
    assert name(database) == "A"
    database.close()


def test_connections_are_counted_while_they_are_open_and_in_use(database: Database) -> None:
    before = database.connections()
    assert (before.reading, before.updating) == (0, 0)
    with database.reading():
        assert database.connections() == (2, 1, 0)  # the one that filled it is kept
        with database.updating() as connection:
            writes.lock(connection, 1)
            assert database.connections() == (2, 1, 1)
    assert database.connections() == (2, 0, 0)
    database.close()
    assert database.connections() == (0, 0, 0)


# A server that goes away ----------------------------------------------------------------------------------


def lose(database: Database) -> None:
    """Ends all connections to the database but the one that says so."""
    other = Database(database.url.render_as_string(hide_password=False))
    with other.reading() as connection:
        connection.execute(
            text(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        )
    other.close()


def test_a_connection_lost_between_transactions_is_made_anew(on_postgresql: Database) -> None:
    for transaction in (on_postgresql.reading, on_postgresql.updating):
        for _ in range(3):
            with transaction() as connection:
                assert connection.execute(select(tables.customer)).all() == []
            lose(on_postgresql)


def test_a_connection_lost_when_all_was_read_is_unavailable_once_too(on_postgresql: Database) -> None:
    def read() -> None:
        with on_postgresql.reading() as connection:
            connection.execute(select(tables.customer)).all()
            lose(on_postgresql)

    with pytest.raises(Unavailable):
        read()
    fill(on_postgresql)
    assert name(on_postgresql) == "A"


def test_an_update_that_raises_on_a_lost_connection_is_unavailable_once(on_postgresql: Database) -> None:
    def update() -> None:
        with on_postgresql.updating() as connection:
            connection.execute(insert(tables.customer).values(customer_id=1, name="A"))
            lose(on_postgresql)
            raise ZeroDivisionError

    with pytest.raises((Unavailable, ZeroDivisionError)):
        update()
    fill(on_postgresql)
    assert name(on_postgresql) == "A"


def test_a_connection_lost_within_an_update_is_unavailable(on_postgresql: Database) -> None:
    def update() -> None:
        with on_postgresql.updating() as connection:
            connection.execute(insert(tables.customer).values(customer_id=1, name="A"))
            lose(on_postgresql)
            connection.execute(select(tables.customer)).all()

    with pytest.raises(Unavailable) as caught:
        update()
    assert not caught.value.outcome_unknown


def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(on_postgresql: Database) -> None:
    def update() -> None:
        with on_postgresql.updating() as connection:
            connection.execute(insert(tables.customer).values(customer_id=1, name="A"))
            lose(on_postgresql)

    with pytest.raises(Unavailable) as caught:
        update()
    assert caught.value.outcome_unknown
    with on_postgresql.reading() as connection:
        assert connection.execute(select(tables.customer)).all() == []
    fill(on_postgresql)
    assert name(on_postgresql) == "A"
