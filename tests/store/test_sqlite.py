"""Updates on SQLite that wait for each other: they share a commit, and each is undone or told of by itself."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from ibt.store import Database, Unavailable, question, sqlite, tables

PATIENCE = 20.0


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Database]:
    """An empty database on SQLite."""
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def commits(embedded: Database) -> list[float]:
    """Gets the time of each commit."""
    seen: list[float] = []
    event.listen(embedded.engine, "commit", lambda _: seen.append(time.monotonic()))
    return seen


def add(database: Database, number: int, within: Callable[[], Any] = lambda: None) -> None:
    with database.updating() as connection:
        connection.execute(insert(tables.customer).values(customer_id=number, name=str(number)))
        within()


def there(database: Database) -> list[int]:
    with database.reading() as connection:
        return list(connection.execute(select(tables.customer.c.customer_id).order_by("customer_id")).scalars())


def queued(database: Database, first: Callable[[], Any], *others: Callable[[], Any]) -> list[Future[None]]:
    """Customer 1 is added, and *first* called, while *others* wait for their turn, which they get in any order."""
    others_wait = threading.Event()
    with ThreadPoolExecutor(1 + len(others)) as threads:
        begun = threading.Event()

        def hold() -> None:
            begun.set()
            others_wait.wait(PATIENCE)
            first()

        futures = [threads.submit(add, database, 1, hold)]
        assert begun.wait(PATIENCE)
        for number, other in enumerate(others, 1):
            futures.append(threads.submit(other))
            await_waiting(database, number)
        others_wait.set()
    return futures


def await_waiting(database: Database, number: int) -> None:
    """Returns when so many updates wait for their turn."""
    writer = database._writer
    assert writer is not None
    end = time.monotonic() + PATIENCE
    while writer._waiting < number:
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates come together however slow this machine is."""
    monkeypatch.setattr(sqlite, "_LONGEST_SECONDS", PATIENCE)


def test_updates_that_wait_for_each_other_share_a_commit(embedded: Database, commits: list[float]) -> None:
    others = [lambda number=number: add(embedded, number) for number in range(2, 9)]
    futures = queued(embedded, lambda: None, *others)
    assert [future.exception() for future in futures] == [None] * 8
    assert there(embedded) == list(range(1, 9))
    assert len(commits) == 1


def test_none_returns_before_the_commit(embedded: Database, commits: list[float]) -> None:
    returned: list[float] = []

    def other(number: int) -> None:
        add(embedded, number)
        returned.append(time.monotonic())

    queued(embedded, lambda: None, lambda: other(2), lambda: other(3))
    assert len(commits) == 1
    assert all(instant >= commits[0] for instant in returned)


def test_one_that_raises_is_undone_alone(embedded: Database, commits: list[float]) -> None:
    def fail() -> None:
        add(embedded, 3, lambda: 1 / 0)

    futures = queued(embedded, lambda: None, lambda: add(embedded, 2), fail, lambda: add(embedded, 4))
    assert [type(future.exception()) for future in futures] == [type(None), type(None), ZeroDivisionError, type(None)]
    assert there(embedded) == [1, 2, 4]
    assert len(commits) == 1


def test_when_the_first_raises_those_behind_it_go_on(embedded: Database) -> None:
    futures = queued(embedded, lambda: 1 / 0, lambda: add(embedded, 2), lambda: add(embedded, 3))
    assert [type(future.exception()) for future in futures] == [ZeroDivisionError, type(None), type(None)]
    assert there(embedded) == [2, 3]


def test_a_commit_that_fails_is_told_to_all_who_share_it(embedded: Database) -> None:
    def orphan() -> None:
        with embedded.updating() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.execute(insert(tables.grants).values(user_name="nobody", customer_id=1, role="IBT"))

    futures = queued(embedded, lambda: None, lambda: add(embedded, 2), orphan)
    assert [type(future.exception()) for future in futures] == [IntegrityError] * 3
    assert there(embedded) == []
    add(embedded, 5)
    assert there(embedded) == [5]


def test_what_undid_all_is_told_to_those_who_succeeded_before(embedded: Database) -> None:
    """SQLite may undo the whole transaction by itself, where the disk is full for instance."""

    with ThreadPoolExecutor(1) as thread:
        later: list[Future[None]] = []

        def undo_all() -> None:
            with embedded.updating() as connection:
                connection.exec_driver_sql("ROLLBACK")
                later.append(thread.submit(add, embedded, 3))
                await_waiting(embedded, 1)
                raise ZeroDivisionError

        futures = [*queued(embedded, lambda: None, undo_all), *later]
    assert [type(future.exception()) for future in futures] == [Unavailable, ZeroDivisionError, type(None)]
    assert there(embedded) == [3]


def test_what_was_undone_unseen_is_never_told_as_done(embedded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The savepoint itself may fail, and SQLite have undone all by then."""

    def command(connection: Connection, text: str) -> None:
        if text.startswith("SAVEPOINT"):
            question.command(connection, "ROLLBACK")
            raise ZeroDivisionError
        question.command(connection, text)

    monkeypatch.setattr(sqlite, "command", command)
    futures = queued(embedded, lambda: None, lambda: add(embedded, 2))
    assert [type(future.exception()) for future in futures] == [OperationalError, ZeroDivisionError]
    assert there(embedded) == []
    add(embedded, 3)
    assert there(embedded) == [3]


def test_who_gives_up_waiting_leaves_no_one_uncommitted(
    embedded: Database, monkeypatch: pytest.MonkeyPatch, commits: list[float]
) -> None:
    writer = embedded._writer
    assert writer is not None
    monkeypatch.setattr(writer, "_lock_wait", 0.2)
    futures = queued(embedded, lambda: time.sleep(0.5), lambda: add(embedded, 2))
    assert futures[0].exception() is None
    assert isinstance(futures[1].exception(), Unavailable)
    assert (there(embedded), len(commits)) == ([1], 1)


def test_the_wait_for_the_turn_and_for_the_file_are_one_wait(
    embedded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    begin_writing = sqlite._begin_writing

    def noted(connection: Connection, lock_wait: float) -> None:
        waits.append(lock_wait)
        begin_writing(connection, lock_wait)

    monkeypatch.setattr(sqlite, "_begin_writing", noted)
    writer = embedded._writer
    assert writer is not None
    with ThreadPoolExecutor(1) as pool:
        with writer._turn:
            future = pool.submit(add, embedded, 1)
            while not writer._waiting:
                time.sleep(0.01)
            time.sleep(0.3)
        future.result()
    assert waits[0] <= writer._lock_wait - 0.3


def test_one_that_was_to_commit_and_does_not_come_is_not_waited_for(embedded: Database, commits: list[float]) -> None:
    writer = embedded._writer
    assert writer is not None
    writer._waiting = 1  # as if there were another, which gave up at the last moment
    add(embedded, 1)
    writer._waiting = 0
    assert (there(embedded), len(commits)) == ([1], 1)


def test_another_connection_sees_nothing_of_it_before_the_commit(embedded: Database, tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        with sqlite3.connect(tmp_path / "ibt.db") as other:
            seen.append(other.execute("SELECT count(*) FROM customer").fetchone()[0])

    def second() -> None:
        add(embedded, 2, look)

    queued(embedded, look, second)
    assert seen == [0, 0]
    assert there(embedded) == [1, 2]
