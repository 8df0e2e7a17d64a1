"""
kill -9 in a stream of updates: what was acknowledged is there, no half update is, and all goes on.

Of the service, of one of its workers, of PostgreSQL. IBT_CRASHES says how often: so often a worker, a fifth of it the
others. `make crash` runs it long.

Clause 2.1. Readings 28, 54.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

import postgresql as the_tests_own
from audited import audit_faults
from ibt.conformance import messages
from ibt.conformance.server import PATIENCE
from traffic import CUSTOMERS, Poster, Running, checked, running, times, user_of, write_world

CLIENTS = 8
CRASHES = times("IBT_CRASHES", 10)
FEWER = max(3, CRASHES // 5)

#: So many updates are acknowledged before a kill, at most; and more than are ever posted from one kill to the next.
_ACKNOWLEDGED = 50
_POSTED_BETWEEN_KILLS = 400

#: How long a client waits that was told to try again: less than it was told, so that it sees the first moment.
_AGAIN_SECONDS = 0.05

#: How soon the service answers again after the database does. It is hardly measurable on a machine that is idle.
_BACK_SECONDS = 5.0


def world(folder: Path, crashes: int) -> str:
    """The folder of a world with subaccounts enough for so many crashes."""
    return str(write_world(folder / "world", subaccounts=(crashes + 1) * _POSTED_BETWEEN_KILLS))


@pytest.fixture
def posters() -> list[Poster]:
    """Two for each customer."""
    acknowledged = threading.Semaphore(0)
    return [
        Poster(f"poster {number}", CUSTOMERS[number % len(CUSTOMERS)], count(number + 1, CLIENTS), acknowledged)
        for number in range(CLIENTS)
    ]


@pytest.mark.timeout(120 + 20 * FEWER)
def test_nothing_acknowledged_is_lost_when_the_service_is_killed(
    database_url: str, posters: list[Poster], tmp_path: Path
) -> None:
    chance = random.Random(0)
    options = ("--data", world(tmp_path, FEWER), "--database", database_url)
    for _ in range(FEWER):
        with running(tmp_path / "sandbox", *options) as sandbox:
            assert checked(sandbox.server, posters) == []
            assert audit_faults(database_url) == []
            with posting(sandbox, posters):
                await_acknowledged(posters, chance.randint(1, _ACKNOWLEDGED))
                os.kill(sandbox.process.pid, signal.SIGKILL)
    with running(tmp_path / "sandbox", *options) as sandbox:
        assert checked(sandbox.server, posters) == []
        assert audit_faults(database_url) == []


@pytest.mark.timeout(120 + 20 * CRASHES)
def test_nothing_acknowledged_is_lost_when_a_worker_is_killed(
    database_url: str, posters: list[Poster], tmp_path: Path
) -> None:
    chance = random.Random(0)
    options = ("--data", world(tmp_path, CRASHES), "--database", database_url, "--workers", "2")
    with running(tmp_path / "sandbox", *options) as sandbox:
        for _ in range(CRASHES):
            before = sandbox.workers()
            with posting(sandbox, posters):
                await_acknowledged(posters, chance.randint(1, _ACKNOWLEDGED))
                os.kill(chance.choice(before), signal.SIGKILL)
                await_acknowledged(posters, 10)
            await_replacement(sandbox, before)
            assert checked(sandbox.server, posters) == []
        assert audit_faults(database_url) == []
        sandbox.process.terminate()
        assert sandbox.process.wait(PATIENCE) == 0


@pytest.mark.timeout(120 + 40 * FEWER)
def test_nothing_acknowledged_is_lost_when_postgresql_is_killed(posters: list[Poster], tmp_path: Path) -> None:
    chance = random.Random(0)
    back: list[tuple[float, float]] = []
    with postgresql_to_kill() as (server, url):
        options = ("--data", world(tmp_path, FEWER), "--database", url, "--workers", "2")
        with running(tmp_path / "sandbox", *options) as sandbox:
            for _ in range(FEWER):
                watch = Watch()
                with posting(sandbox, posters, may={200, 400, 503}), watching(sandbox, watch):
                    await_acknowledged(posters, chance.randint(1, _ACKNOWLEDGED))
                    server.kill()
                    forget_acknowledged(posters)
                    answers = server.start()
                    await_acknowledged(posters, 1)
                    back.append((time.monotonic() - answers, watch.first_good(answers) - answers))
                    await_acknowledged(posters, 10)
                assert {status for _, status in watch.seen} <= {200, 503}
                assert checked(sandbox.server, posters) == []
                assert audit_faults(url) == []
    updates, queries = zip(*back, strict=True)
    print(f"\nback after the database, at most: updates {max(updates):.2f} s, queries {max(queries):.2f} s")  # noqa: T201 - asked for
    assert max(*updates, *queries) < _BACK_SECONDS


@dataclass
class Victim:
    """A PostgreSQL that can be killed and started again."""

    process: int
    port: int

    def __post_init__(self) -> None:
        place = Path(f"/proc/{self.process}")
        self._command = (place / "cmdline").read_bytes().split(b"\0")[:-1]
        self._folder = os.readlink(place / "cwd")
        self._owner = place.stat()
        self._started: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Kills all of its processes at once."""
        for process in (self.process, *children(self.process)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):  # while it is not waited for, it is there, and is in the way of the next
            os.waitpid(self.process, 0)

    def start(self) -> float:
        """Starts it again; returns when it answers."""
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < end, "PostgreSQL does not start again"
            if self._started is None or self._started.poll() is not None:  # what is left of the old one is in the way
                self._started = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                    stderr=subprocess.DEVNULL,
                    user=self._owner.st_uid,
                    group=self._owner.st_gid,
                    extra_groups=() if os.geteuid() == 0 else None,
                )
                self.process = self._started.pid
        return time.monotonic()

    def _answers(self) -> bool:
        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="ibt", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def end(self) -> None:
        """Ends what was started here."""
        if self._started is not None:
            self._started.send_signal(signal.SIGINT)
            self._started.wait(PATIENCE)


@contextmanager
def postgresql_to_kill() -> Iterator[tuple[Victim, str]]:
    """A PostgreSQL whose commits are durable, and the URL of a database in it."""
    with the_tests_own.running(durable=True) as server:
        victim = Victim(server.process, server.port)
        with server.database() as url:
            try:
                yield victim, url
            finally:
                victim.start()
        victim.end()


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Watch:
    """What a client sees that asks for a page again and again: when it was answered, and with which status."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []
        self.enough = threading.Event()

    def first_good(self, since: float) -> float:
        """When the first page came that was asked for after *since*, a time."""
        end = time.monotonic() + PATIENCE
        while not (good := [at for at, status in self.seen if at > since and status == 200]):
            assert time.monotonic() < end, "no page is answered any more"
            self.enough.wait(_AGAIN_SECONDS)
        return good[0]


@contextmanager
def watching(sandbox: Running, watch: Watch) -> Iterator[None]:
    """Has a client ask for pages while the block runs."""

    def ask() -> None:
        with sandbox.server.client(user_of(CUSTOMERS[0])) as client:
            while not watch.enough.wait(_AGAIN_SECONDS):
                status = client.get(messages.path(CUSTOMERS[0])).status_code
                watch.seen.append((time.monotonic(), status))

    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(ask)
        try:
            yield
        finally:
            watch.enough.set()
    work.result()


@contextmanager
def posting(
    sandbox: Running, posters: list[Poster], may: frozenset[int] | set[int] = frozenset({200, 400})
) -> Iterator[None]:
    """
    Has all of them post while the block runs; those that get no answer go on while the service is there.

    *may* has the statuses that an answer may have.
    """
    enough = threading.Event()
    forget_acknowledged(posters)

    def post(poster: Poster) -> None:
        with sandbox.server.client(user_of(poster.customer_id)) as client:
            while not enough.is_set() and sandbox.process.poll() is None:
                poster.post(client)
                assert poster.log[-1].status in {*may, None}
                if poster.log[-1].status == 503:
                    enough.wait(_AGAIN_SECONDS)

    with ThreadPoolExecutor(CLIENTS) as threads:
        works = [threads.submit(post, poster) for poster in posters]
        try:
            yield
        finally:
            enough.set()
    for work in works:
        work.result()


def forget_acknowledged(posters: list[Poster]) -> None:
    """Counts no more the updates that were acknowledged before."""
    while posters[0].acknowledged.acquire(blocking=False):
        pass


def await_acknowledged(posters: list[Poster], number: int) -> None:
    """Waits until so many more updates are acknowledged, which all posters count together."""
    for _ in range(number):
        if not posters[0].acknowledged.acquire(timeout=PATIENCE):
            last = [poster.log[-1].status for poster in posters if poster.log]
            pytest.fail(f"no update is acknowledged any more: the posters were told {last} at last")


def await_replacement(sandbox: Running, before: list[int]) -> None:
    """Waits until there are as many workers as *before*, one of them new."""
    end = time.monotonic() + PATIENCE
    while len(workers := set(sandbox.workers())) < len(before) or workers == set(before):
        assert time.monotonic() < end, "the worker is not replaced"
