"""What tests of several rooms need: a database of each kind, and the small market of `store/markets.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import postgresql as the_tests_own
from ibt.store import Database

sys.path.append(str(Path(__file__).parent / "store"))  # where markets.py lies, for the tests of the other rooms

#: A sandbox leaves a profile where its user's profiles are: not in the home of whoever runs the tests.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="ibt-tests-")

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[the_tests_own.Server]:
    """The tests' own PostgreSQL, which starts when the first test asks for it."""
    with the_tests_own.running() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Gives the URL of an empty database for as long as a block runs; the test runs for each kind of database."""
    if request.param == "postgresql":
        server: the_tests_own.Server = request.getfixturevalue("postgresql")
        return server.database

    @contextmanager
    def sqlite() -> Iterator[str]:
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'ibt.db'}"

    return sqlite


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    with new_database() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of each kind with our tables, and nothing in them."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()
