"""
The store's tests run on a third kind of database too, whose tables are partitioned by customer; and each statement
that the store executes in them is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from partitions import partitioned
from statements import WHOLE_MARKET, executed, faults

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session", params=["sqlite", "postgresql", "partitioned"])
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Gives the URL of an empty database for as long as a block runs; the test runs for each kind of database."""
    if request.param == "sqlite":

        @contextmanager
        def sqlite() -> Iterator[str]:
            yield f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'ibt.db'}"

        return sqlite
    server = request.getfixturevalue("postgresql")
    new: dict[str, NewDatabase] = {"postgresql": server.database, "partitioned": partial(partitioned, server)}
    return new[request.param]


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
