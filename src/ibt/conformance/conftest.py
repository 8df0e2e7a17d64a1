"""
The servers that the tests ask, and their users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from ibt.conformance.server import WORLD, Server, sandbox

#: Contracts of customer 1004 that are alike: August and September 2015. A test that changes one takes its own.
OWN_CONTRACTS = range(40001, 40100)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ibt conformance")
    group.addoption("--server-url", help="base URL of a server that has loaded the suite's world afresh")
    group.addoption("--certificates", type=Path, help="folder with ca.pem and clients/USER.pem for that server")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "any_server: asks any server that has loaded the suite's world")
    config.addinivalue_line("markers", "sandbox: needs a sandbox that the suite starts itself")
    url, certificates = config.getoption("--server-url", None), config.getoption("--certificates", None)
    if (url is None) != (certificates is None):
        raise pytest.UsageError("--server-url and --certificates belong together")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against a server that is not ours, the tests that need a sandbox are left out."""
    if config.getoption("--server-url", None) is None:
        return
    ours = [item for item in items if item.get_closest_marker("sandbox")]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with the suite's world."""
    url = request.config.getoption("--server-url", None)
    if url is not None:
        yield Server(url.rstrip("/"), request.config.getoption("--certificates"))
        return
    with sandbox(tmp_path_factory.mktemp("suite") / "sandbox", "--data", str(WORLD)) as started:
        yield started


@pytest.fixture(scope="session")
def user(server: Server) -> Iterator[Callable[[str], httpx2.Client]]:
    """A user's client, by name; one for the whole session, so that connections are kept."""
    clients: dict[str, httpx2.Client] = {}

    def client(name: str) -> httpx2.Client:
        if name not in clients:
            clients[name] = server.client(name)
        return clients[name]

    yield client
    for each in clients.values():
        each.close()


@pytest.fixture
def alder(user: Callable[[str], httpx2.Client]) -> httpx2.Client:
    """The user of customer 1001, whose data no test changes."""
    return user("alder")


@pytest.fixture
def dogwood(user: Callable[[str], httpx2.Client]) -> httpx2.Client:
    """The user of customer 1004, who updates."""
    return user("dogwood")


@pytest.fixture(scope="session")
def _own_contracts() -> Iterator[int]:
    return iter(OWN_CONTRACTS)


@pytest.fixture
def own_contract(_own_contracts: Iterator[int]) -> int:
    """A contract of customer 1004 that no other test has: August and September 2015, both at `Default`."""
    return next(_own_contracts)
