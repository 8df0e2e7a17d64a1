"""
A sandbox as a process, and clients that post to it and read from it, each keeping the log that the checker takes.

In this world a customer has five contracts of four months and thousands of subaccounts, so that each update can
map its periods to a subaccount that no other update names.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from history import Page, Period, Posted, Version, faults
from ibt.conformance import messages
from ibt.conformance.server import Server

CUSTOMERS = (1001, 1002, 1003, 1004)
MONTHS = (
    ("2015-02-01T05:00:00Z", "2015-03-01T05:00:00Z"),
    ("2015-03-01T05:00:00Z", "2015-04-01T04:00:00Z"),
    ("2015-04-01T04:00:00Z", "2015-05-01T04:00:00Z"),
    ("2015-05-01T04:00:00Z", "2015-06-01T04:00:00Z"),
)
_COUNTERPARTY = 9999
_CONTRACTS = 5


def contract_ids(customer_id: int) -> list[int]:
    """The contracts of a customer."""
    return [customer_id * 10 + number for number in range(1, _CONTRACTS + 1)]


def write_world(folder: Path, subaccounts: int) -> Path:
    """Makes *folder* with the CSV files of the world; each customer has S00001 and so on besides `Default`."""
    folder.mkdir()
    names = [f"S{number:05}" for number in range(1, subaccounts + 1)]
    begin, end = MONTHS[0][0], MONTHS[-1][1]
    files = {
        "customers.csv": ["customer_id,name", *(f"{id_},Customer {id_}" for id_ in (*CUSTOMERS, _COUNTERPARTY))],
        "subaccounts.csv": [
            "customer_id,subaccount_id,begin,end,name,status",
            *(f"{id_},{name},2010-01-01T05:00:00Z,,{name},Active" for id_ in CUSTOMERS for name in names),
        ],
        "contracts.csv": [
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version",
            *(
                f"{contract_id},,ENERGY DAY AHEAD,4000,{id_},{_COUNTERPARTY},{begin},{end},Conf,2015-01-01T05:00:00Z"
                for id_ in CUSTOMERS
                for contract_id in contract_ids(id_)
            ),
        ],
        "users.csv": ["user,customer_id,role", *(f"u{id_},{id_},IBT" for id_ in CUSTOMERS)],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


# --- the sandbox ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A sandbox that serves."""

    process: subprocess.Popen[str]
    server: Server

    def workers(self) -> list[int]:
        """The ids of its worker processes; none where it does the work itself."""
        children = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, after_name = stat.read_text().rpartition(")")
            except OSError:  # it has just ended
                continue
            if int(after_name.split()[1]) == self.process.pid:
                children.append(int(stat.parent.name))
        return children


@contextmanager
def running(
    folder: Path, *options: str, within: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """
    A sandbox in *folder*, on the clock of the machine; what is left of it at the end is killed.

    *within* is what its command begins with, *environment* what is added to ours.
    """
    command = [*within, sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0", *options]
    log = folder.with_suffix(".log")
    with log.open("ab") as err:
        env = {**os.environ, **(environment or {})}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=env)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), f"the sandbox did not start: {log.read_text()}"
        yield Running(process, Server(ready.removeprefix("ready: ").strip(), folder))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- the clients ------------------------------------------------------------------------------------------


@dataclass
class Poster:
    """A client that posts for one customer; *numbers* are those of the subaccounts that no one else takes."""

    name: str
    customer_id: int
    numbers: Iterator[int]
    acknowledged: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    log: list[Posted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.name)

    def post(self, client: httpx2.Client) -> None:
        """Posts an update of several contracts and periods; every fifth breaks a rule in its last period."""
        subaccount_id = f"S{next(self.numbers):05}"
        chosen = {
            contract_id: self._random.sample(MONTHS, self._random.randint(1, len(MONTHS)))
            for contract_id in self._random.sample(contract_ids(self.customer_id), self._random.randint(2, 4))
        }
        mappings = [[messages.version(month, subaccount_id) for month in months] for months in chosen.values()]
        if len(self.log) % 5 == 4:
            mappings[-1].append(messages.version(MONTHS[0], "nobody's"))
        text = messages.message(
            *(
                messages.mapping(contract_id, *versions, customer_id=self.customer_id)
                for contract_id, versions in zip(chosen, mappings, strict=True)
            )
        )
        periods = tuple((self.customer_id, id_, begin) for id_, months in chosen.items() for begin, _ in months)
        began = time.monotonic()
        try:
            answer: httpx2.Response | None = messages.post(client, text, self.customer_id)
        except httpx2.TransportError:
            answer = None
        self._note(subaccount_id, periods, began, answer)

    def _note(
        self, subaccount_id: str, periods: tuple[Period, ...], began: float, answer: httpx2.Response | None
    ) -> None:
        ended = time.monotonic()
        status = None if answer is None else answer.status_code
        version = None
        if answer is not None and status == 200:
            shown = _rows(self.customer_id, answer)
            assert [period for period, _ in shown] == list(periods)
            versions = {version for _, version in shown}
            version = versions.pop().version if len(versions) == 1 else None
        unknown = answer is not None and status != 200 and "outcome is unknown" in answer.text
        self.log.append(Posted(self.name, subaccount_id, periods, began, ended, status, unknown, version))
        if status == 200:
            self.acknowledged.release()


@dataclass
class Reader:
    """A client that reads a customer's collection, all of it or a page."""

    name: str
    customer_id: int
    log: list[Page] = field(default_factory=list)

    def read(self, client: httpx2.Client, *, limit: int = 1000, start: int = 0) -> None:
        """Reads a page; anything but 200 is an error."""
        began = time.monotonic()
        query = {"limit": limit, "start": start}
        answer = client.get(messages.path(self.customer_id), params=query)
        ended = time.monotonic()
        current = {period: version.subaccount_id for period, version in _rows(self.customer_id, answer)}
        self.log.append(Page(self.name, began, ended, current))


def _rows(customer_id: int, answer: httpx2.Response) -> list[tuple[Period, Version]]:
    """The versions of an answer, in its order."""
    return [
        ((customer_id, int(mapping.contract_id), version.begin), Version(version.version, version.subaccount_id))
        for mapping in messages.mappings(answer)
        for version in mapping.versions
    ]


def user_of(customer_id: int) -> str:
    """The user who may act for a customer."""
    return f"u{customer_id}"


# --- the check --------------------------------------------------------------------------------------------


def checked(server: Server, posters: Sequence[Poster], readers: Sequence[Reader] = ()) -> list[str]:
    """What the checker finds wrong between the logs and what the service has now."""
    histories: dict[Period, list[Version]] = {}
    collection: list[tuple[Period, Version]] = []
    for customer_id in sorted({poster.customer_id for poster in posters}):
        with server.client(user_of(customer_id)) as client:
            collection += _rows(customer_id, client.get(messages.path(customer_id), params={"limit": 1000}))
            for contract_id in contract_ids(customer_id):
                for period, version in _rows(customer_id, client.get(messages.path(customer_id, contract_id))):
                    histories.setdefault(period, []).append(version)
    posted = [each for poster in posters for each in poster.log]
    pages = [page for reader in readers for page in reader.log]
    assert len(histories) == len({poster.customer_id for poster in posters}) * _CONTRACTS * len(MONTHS)
    return faults(posted, histories, collection, pages)


def times(name: str, default: int) -> int:
    """How often something is to be done: *default*, or what the environment variable *name* says."""
    return int(os.environ.get(name, default))
