"""
kill -9 in a stream of updates: what was acknowledged is there, no half update is, and all goes on.

IBT_KILLS says how often.

Clause 2.1. Readings 28, 54.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from ibt.conformance.server import PATIENCE
from traffic import CUSTOMERS, Poster, Running, checked, running, times, user_of, write_world

CLIENTS = 4
KILLS = times("IBT_KILLS", 4)

#: So many updates are acknowledged before a kill, at most; and more than are ever posted from one kill to the next.
_ACKNOWLEDGED = 50
_POSTED_BETWEEN_KILLS = 300


@pytest.fixture
def options(database_url: str, tmp_path: Path) -> tuple[str, ...]:
    world = write_world(tmp_path / "world", subaccounts=(KILLS + 1) * _POSTED_BETWEEN_KILLS)
    return "--data", str(world), "--database", database_url


@pytest.fixture
def posters() -> list[Poster]:
    """Some for one customer and some for another."""
    acknowledged = threading.Semaphore(0)
    return [
        Poster(f"poster {number}", CUSTOMERS[number % 2], count(number + 1, CLIENTS), acknowledged)
        for number in range(CLIENTS)
    ]


@pytest.mark.timeout(60 + 20 * KILLS)
def test_nothing_acknowledged_is_lost_when_the_service_is_killed(
    options: tuple[str, ...], posters: list[Poster], tmp_path: Path
) -> None:
    chance = random.Random(0)
    for _ in range(KILLS):
        with running(tmp_path / "sandbox", *options) as sandbox:
            assert checked(sandbox.server, posters) == []
            with posting(sandbox, posters):
                await_acknowledged(posters, chance.randint(1, _ACKNOWLEDGED))
                os.kill(sandbox.process.pid, signal.SIGKILL)
    with running(tmp_path / "sandbox", *options) as sandbox:
        assert checked(sandbox.server, posters) == []


@pytest.mark.timeout(60 + 20 * KILLS)
def test_nothing_acknowledged_is_lost_when_a_worker_is_killed(
    options: tuple[str, ...], posters: list[Poster], tmp_path: Path
) -> None:
    chance = random.Random(0)
    with running(tmp_path / "sandbox", *options, "--workers", "2") as sandbox:
        for _ in range(KILLS):
            before = sandbox.workers()
            with posting(sandbox, posters):
                await_acknowledged(posters, chance.randint(1, _ACKNOWLEDGED))
                os.kill(chance.choice(before), signal.SIGKILL)
                await_acknowledged(posters, 10)
            await_replacement(sandbox, before)
            assert checked(sandbox.server, posters) == []
        sandbox.process.terminate()
        assert sandbox.process.wait(PATIENCE) == 0


@contextmanager
def posting(sandbox: Running, posters: list[Poster]) -> Iterator[None]:
    """Has all of them post while the block runs; those that get no answer go on while the service is there."""
    enough = threading.Event()
    while posters[0].acknowledged.acquire(blocking=False):
        pass  # those of the round before count no more

    def post(poster: Poster) -> None:
        with sandbox.server.client(user_of(poster.customer_id)) as client:
            while not enough.is_set() and sandbox.process.poll() is None:
                poster.post(client)
                assert poster.log[-1].status in {200, 400, None}

    with ThreadPoolExecutor(CLIENTS) as threads:
        works = [threads.submit(post, poster) for poster in posters]
        try:
            yield
        finally:
            enough.set()
    for work in works:
        work.result()


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
