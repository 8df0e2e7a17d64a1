"""What tests of several rooms need: a database of each kind, and the small market of `store/markets.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

import postgresql as the_tests_own
from ibt.store import Database
from partitions import partitioned
from statements import WHOLE_MARKET, executed, faults

sys.path.append(str(Path(__file__).parent / "store"))  # where markets.py lies, for the tests of the other rooms

#: A sandbox leaves a profile where its user's profiles are: not in the home of whoever runs the tests.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="ibt-tests-")

#: Where nothing is a matter of time, so that two of these may run at once; `make test` runs the others alone.
BESIDE = (
    "cli",
    "client",
    "hostile/test_mutations.py",
    "model",
    "rules",
    "sandbox",
    "service/test_audit_rows.py",
    "service/test_seeing.py",
    "service/test_seeing_the_database.py",
    "service/test_workers.py",
    "store",
    "test_conformance_on_postgresql.py",
    "test_full_disk.py",
    "test_openapi.py",
    "test_operate.py",
    "test_proxies.py",
    "test_restore.py",
)

NewDatabase = Callable[[], AbstractContextManager[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what may run beside other tests."""
    places = [Path(__file__).parent / place for place in BESIDE]
    for item in items:
        if any(item.path.is_relative_to(place) for place in places):
            item.add_marker("beside")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[the_tests_own.Server]:
    """The tests' own PostgreSQL, which starts when the first test asks for it."""
    with the_tests_own.running() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs for each kind of database; those of the store on tables that are partitioned by customer too."""
    if "new_database" in metafunc.fixturenames:
        of_the_store = metafunc.definition.path.parent.name == "store"
        kinds = ["sqlite", "postgresql", *(["partitioned"] if of_the_store else [])]
        metafunc.parametrize("new_database", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Gives the URL of an empty database of a kind for as long as a block runs."""
    if request.param == "sqlite":

        @contextmanager
        def sqlite() -> Iterator[str]:
            yield f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'ibt.db'}"

        return sqlite
    server: the_tests_own.Server = request.getfixturevalue("postgresql")
    return server.database if request.param == "postgresql" else partial(partitioned, server)


@pytest.fixture(autouse=True)
def statements_name_their_customer() -> Iterator[None]:
    """Fails a test in which the store executes a statement on customers' data without their customer_id."""
    seen = executed()
    seen.clear()
    yield
    found = {
        f"{module}: {fault}"
        for module, statement in set(seen)
        for fault in faults(statement, whole_market=module in WHOLE_MARKET)
    }
    assert not found, "\n".join(sorted(found))


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
