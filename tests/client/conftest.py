"""
A sandbox with a world for clients, and the clients of its users.

Customer 1, of the users `one` and `second`, updates; customer 3, of `three`, only reads; `two` is the other party.
"""

from __future__ import annotations

import itertools
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from client.proxy import Gateway, Wire, gateway, wire
from ibt import Client, Month
from ibt.rules.model import DEFAULT_SUBACCOUNT

PATIENCE = 60.0

#: The periods of customer 1's contracts 101 to 140, over and over.
PERIODS = (
    "2015-01-01T05:00:00Z,2016-01-01T05:00:00Z",
    "2015-03-15T04:00:00Z,2015-06-10T04:00:00Z",
    "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z",
    "2015-06-01T04:00:00Z,2015-06-01T04:00:00Z",
    "2015-10-01T04:00:00Z,2016-03-01T05:00:00Z",
)

WORLD = {
    "customers.csv": ["customer_id,name", "1,One & Co", "2,Two Inc", "3,Three <LLC>"],
    "subaccounts.csv": [
        "customer_id,subaccount_id,begin,end,name,status",
        "1,A,2010-01-01T05:00:00Z,,A name,Active",
        "1,B & Ä,2010-01-01T05:00:00Z,,B name,Inactive",
        "1,LATE,2015-09-01T04:00:00Z,,Late,Active",
        "1,ENDED,2010-01-01T05:00:00Z,2015-10-01T04:00:00Z,Ended,Active",
        "3,C,2010-01-01T05:00:00Z,,C name,Active",
    ],
    "contracts.csv": [
        "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version",
        *(
            f"{101 + n},R-{n},ENERGY DAY AHEAD,4000,1,2,{PERIODS[n % len(PERIODS)]},Conf,2014-12-01T05:00:00Z"
            for n in range(40)
        ),
        *(f"{301 + n},,FCM LOAD OBLIGATION,8500,2,3,{PERIODS[0]},Conf,2014-12-01T05:00:00Z" for n in range(30)),
    ],
    "users.csv": ["user,customer_id,role", "one,1,IBT", "second,1,IBT", "two,2,IBT", "three,3,IBT", "nobody,,"],
}


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that serves."""

    url: str
    folder: Path

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, user: str) -> Path:
        return self.folder / "clients" / f"{user}.pem"

    def client(self, user: str = "one", customer: int = 1, **settings: Any) -> Client:  # Any: what a Client takes
        """A client of *user*, straight to the sandbox unless *settings* say otherwise; it may not sleep."""
        given = {"url": self.url, "ca": self.ca, "sleep": awake, **settings}
        return Client(certificate=self.certificate(user), customer=customer, **given)


@dataclass
class Pauses:
    """Sleeps no moment, and remembers for how long it should have."""

    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def awake(seconds: float) -> None:
    raise AssertionError(f"there was nothing to wait {seconds} seconds for")


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of all these tests."""
    place = tmp_path_factory.mktemp("client")
    data = place / "world"
    data.mkdir()
    for name, lines in WORLD.items():
        (data / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    folder = place / "sandbox"
    start = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--data", str(data), "--port", "0"]
    log = place / "log"
    with log.open("wb") as err, subprocess.Popen(start, stdout=subprocess.PIPE, stderr=err, text=True) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready: "), log.read_text()
            yield Sandbox(ready.removeprefix("ready: ").strip(), folder)
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    """The client of user `one`."""
    with sandbox.client() as one:
        yield one


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def cable(sandbox: Sandbox) -> Iterator[Wire]:
    """A wire to the sandbox."""
    with wire(sandbox.port) as between:
        yield between


@pytest.fixture
def wired(sandbox: Sandbox, cable: Wire, pauses: Pauses) -> Iterator[Client]:
    """The client of user `one` at the wire, whose connection stands; impatient, and it may pause."""
    url = sandbox.url.replace(str(sandbox.port), str(cable.port))
    with sandbox.client(url=url, timeout=2.0, sleep=pauses) as one:
        one.subaccounts()
        yield one


@pytest.fixture
def door(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway before the sandbox, which asks as user `one`."""

    context = ssl.create_default_context(cafile=sandbox.ca)
    context.load_cert_chain(sandbox.certificate("one"))
    with httpx2.Client(base_url=sandbox.url, verify=context) as upstream, gateway(upstream, tmp_path) as between:
        yield between


@pytest.fixture
def behind(sandbox: Sandbox, door: Gateway, pauses: Pauses) -> Iterator[Client]:
    """The client of user `one` behind the gateway, which may pause."""
    with sandbox.client(url=door.url, ca=door.ca, sleep=pauses) as one:
        yield one


@pytest.fixture
def contract(sandbox: Sandbox, _contracts: Iterator[int]) -> int:
    """A contract of customer 1, August 2015 alone, now at `Default`."""
    contract_id = next(_contracts)
    with sandbox.client() as client:
        client.update([client.mapping(contract_id).with_subaccount(Month("2015-08"), DEFAULT_SUBACCOUNT)])
    return contract_id


@pytest.fixture(scope="session")
def _contracts() -> Iterator[int]:
    return itertools.cycle(range(103, 141, 5))
