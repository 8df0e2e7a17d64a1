"""
A full disk in a stream of updates: they are answered 503 and leave no trace, questions are answered, and it heals.

Of SQLite and all that lies beside it, of PostgreSQL's tables, and of its write-ahead log. Nothing is restarted but
PostgreSQL where it has ended by itself.

Clause 2.1. Readings 28, 54.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import psycopg
import pytest

import postgresql as the_tests_own
from ibt.conformance import messages
from ibt.conformance.server import PATIENCE, Server
from small_disk import small_disk
from test_crash import CLIENTS, Victim, Watch, await_acknowledged, forget_acknowledged, posting, watching
from traffic import CUSTOMERS, Poster, Running, checked, running, user_of, write_world

#: More than are ever posted in one test by one customer's clients.
_POSTED = 4000

#: So many updates are acknowledged before the disk is filled, and after there is room again.
_ACKNOWLEDGED = 50

#: After so many refusals in a row each client has seen that there is no room.
_REFUSED_IN_A_ROW = 5

_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Service(Running):
    """`ibt serve` while it runs, and the port of its operator."""

    operator_port: int

    def readiness(self) -> tuple[int, str]:
        """What the operator is told of whether it is ready: status and text."""
        connection = HTTPConnection("127.0.0.1", self.operator_port, timeout=PATIENCE)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def await_readiness(self, status: int) -> str:
        """Waits until it is ready, 200, or not, 503; returns what is told then."""
        end = time.monotonic() + PATIENCE
        while (told := self.readiness())[0] != status:
            assert time.monotonic() < end, told
        return told[1]


@pytest.fixture
def posters() -> list[Poster]:
    """Two for each customer."""
    first = Poster("poster 0", CUSTOMERS[0], count(1, CLIENTS))
    rest = [
        Poster(f"poster {number}", CUSTOMERS[number % len(CUSTOMERS)], count(number + 1, CLIENTS), first.acknowledged)
        for number in range(1, CLIENTS)
    ]
    return [first, *rest]


@contextmanager
def serving(folder: Path, url: str, log: Path, within: Sequence[str] = ()) -> Iterator[Service]:
    """
    Runs the service on the database at *url* with the sandbox's world and certificates, which are made in *folder*.

    It logs to *log*. *within* is what its command begins with.
    """
    world = write_world(folder / "world", subaccounts=_POSTED)
    sandbox = folder / "sandbox"
    with running(sandbox, "--data", str(world), "--database", url, within=within) as made:
        made.process.terminate()
        assert made.process.wait(PATIENCE) == 0
    with socket.socket() as held, log.open("wb") as stderr:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        files = ("--server-certificate", sandbox / "server.pem", "--client-ca", sandbox / "ca.pem", "--database", url)
        ports = ("--port", "0", "--operator-port", str(port), "--workers", "2")
        command = [*within, sys.executable, "-m", "ibt", "serve", *map(str, files), *ports]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready: "), log.read_text()
            yield Service(process, Server(ready.removeprefix("ready: ").strip(), sandbox), port)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()


def await_refusals(posters: Sequence[Poster]) -> None:
    """Waits until none of them has had an update acknowledged for a while."""
    end = time.monotonic() + PATIENCE
    since = [len(poster.log) for poster in posters]
    while not all(refused(poster, before) for poster, before in zip(posters, since, strict=True)):
        if time.monotonic() > end:
            pytest.fail(
                f"updates are not refused: {[[each.status for each in poster.log[-5:]] for poster in posters]}"
            )
        time.sleep(_AGAIN_SECONDS)


def refused(poster: Poster, before: int) -> bool:
    """Whether the last updates of *poster*, none of which is among the first ones *before*, were answered 503."""
    last = [each.status for each in poster.log[before:] if each.status != 400][-_REFUSED_IN_A_ROW:]
    return last == [503] * _REFUSED_IN_A_ROW


#: How often it is looked whether the clients have seen what they should.
_AGAIN_SECONDS = 0.05


def goes_on(
    service: Service, posters: Sequence[Poster], fill: Callable[[], object], make_room: Callable[[], object]
) -> tuple[Watch, str]:
    """
    Fills the disk in a stream of updates, and makes room when all are refused.

    Returns what a client saw that asked meanwhile, and what the operator was told while the disk was full.
    """
    watch, workers = Watch(), service.workers()
    stream = list(posters)
    with posting(service, stream, may={200, 400, 503}), watching(service, watch):
        await_acknowledged(stream, _ACKNOWLEDGED)
        fill()
        await_refusals(stream)
        told = service.await_readiness(503)
        make_room()
        forget_acknowledged(stream)
        await_acknowledged(stream, _ACKNOWLEDGED)
    assert service.await_readiness(200) == "ok\n"
    assert service.workers() == workers
    assert checked(service.server, stream) == []
    return watch, told


def sure(posters: Sequence[Poster]) -> bool:
    """Whether each of their updates had an answer, and none that the outcome is unknown."""
    return not any(each.undecided for poster in posters for each in poster.log)


@pytest.mark.timeout(180)
def test_sqlite_and_its_log_on_a_full_disk(posters: list[Poster], tmp_path: Path) -> None:
    with small_disk(24 * _MEGABYTE) as disk:
        url = f"sqlite:///{disk.inside / 'ibt.db'}"
        # The log is on that disk too: what it cannot take is lost, and nothing else.
        with serving(tmp_path, url, disk.place / "log", disk.within) as service:
            watch, told = goes_on(service, posters, disk.fill, disk.empty)
    assert told == "The database takes no updates: database or disk is full.\n"
    assert {status for _, status in watch.seen} == {200}
    assert sure(posters)


@pytest.mark.timeout(180)
def test_sqlite_answers_on_a_disk_that_was_full_before_anyone_asked(tmp_path: Path) -> None:
    with small_disk(24 * _MEGABYTE) as disk:
        url = f"sqlite:///{disk.inside / 'ibt.db'}"
        with serving(tmp_path, url, tmp_path / "log", disk.within) as service:
            disk.fill()
            for customer_id in CUSTOMERS * 4:
                with service.server.client(user_of(customer_id)) as client:
                    assert client.get(messages.path(customer_id)).status_code == 200
            assert service.readiness() == (503, "The database takes no updates: database or disk is full.\n")


@pytest.mark.timeout(180)
def test_postgresqls_tables_on_a_full_disk(posters: list[Poster], tmp_path: Path) -> None:
    with the_tests_own.running(durable=True) as server, small_disk(32 * _MEGABYTE, server.owner) as disk:
        tell(server, f"create tablespace small location '{disk.place}'")
        tell(server, "create database small template template0 tablespace small")
        with serving(tmp_path, server.url("small"), tmp_path / "log") as service:
            watch, told = goes_on(service, posters, disk.fill, disk.empty)
    assert told.startswith("The database takes no updates: could not write to file ")
    assert told.endswith("No space left on device.\n")
    assert {status for _, status in watch.seen} == {200}
    assert sure(posters)


def tell(server: the_tests_own.Server, statement: str) -> None:
    """Has an administrator tell PostgreSQL."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


def use_up_log(server: the_tests_own.Server) -> None:
    """Has PostgreSQL go through the files that it has made for its log beforehand, until it ends for want of one."""
    for _ in range(100):
        try:
            tell(server, "select pg_switch_wal()")
        except psycopg.OperationalError:
            return
    pytest.fail("PostgreSQL goes on without room for its log")


@pytest.mark.timeout(240)
def test_postgresqls_log_on_a_full_disk(posters: list[Poster], tmp_path: Path) -> None:
    with small_disk(32 * _MEGABYTE, the_tests_own.the_owner()) as disk:
        wal = f"--waldir={disk.place / 'wal'}"
        sizes = ("max_wal_size=8MB", "min_wal_size=2MB")
        with the_tests_own.running(durable=True, initdb=[wal, "--wal-segsize=1"], configure=sizes) as server:
            victim = Victim(server.process, server.port)
            with server.database() as url, serving(tmp_path, url, tmp_path / "log") as service:
                # For a standby that is away PostgreSQL keeps the files of its log: it may use none anew.
                tell(server, "select pg_create_physical_replication_slot('away', true)")

                def fill() -> None:
                    disk.fill()
                    use_up_log(server)

                def make_room() -> None:
                    disk.empty()
                    victim.start()
                    tell(server, "select pg_drop_replication_slot('away')")

                watch, _ = goes_on(service, posters, fill, make_room)
            victim.end()
    assert {status for _, status in watch.seen} == {200, 503}
