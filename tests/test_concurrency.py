"""
Many clients at once: what they are told is what is there, one update after the other, and nobody gets a 5xx.

IBT_POSTS says how many updates each client sends.

Clause 2.1. Readings 28, 41, 54.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest

from audited import audit_faults, refusals
from traffic import CUSTOMERS, Poster, Reader, Running, checked, running, times, user_of, write_world

CLIENTS = 8
POSTS = times("IBT_POSTS", 25)


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def sandbox(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Running]:
    world = write_world(tmp_path / "world", subaccounts=CLIENTS * POSTS)
    options = ("--data", str(world), "--database", database_url, "--workers", str(request.param))
    with running(tmp_path / "sandbox", *options) as started:
        yield started


@pytest.mark.parametrize("customers", [CUSTOMERS[:1], CUSTOMERS], ids=["one customer", "several customers"])
def test_histories_are_a_sequence_of_exactly_the_acknowledged_updates(
    sandbox: Running, database_url: str, customers: tuple[int, ...]
) -> None:
    posters = [
        Poster(f"poster {number}", customer_id, iter(range(1 + number * POSTS, 1 + (number + 1) * POSTS)))
        for number, customer_id in enumerate(islice(cycle(customers), CLIENTS))
    ]
    readers = [Reader(f"reader of {customer_id}", customer_id) for customer_id in customers]
    with ThreadPoolExecutor(CLIENTS + len(readers)) as threads:
        posting = [threads.submit(post_all, sandbox, poster) for poster in posters]
        reading = [threads.submit(read_meanwhile, sandbox, reader, posting) for reader in readers]
        for work in (*posting, *reading):
            work.result()
    assert {each.status for poster in posters for each in poster.log} == {200, 400}
    assert all(reader.log for reader in readers)
    assert checked(sandbox.server, posters, readers) == []
    assert audit_faults(database_url) == []
    assert refusals(database_url) == sum(each.status == 400 for poster in posters for each in poster.log)


def post_all(sandbox: Running, poster: Poster) -> None:
    with sandbox.server.client(user_of(poster.customer_id)) as client:
        for _ in range(POSTS):
            poster.post(client)


def read_meanwhile(sandbox: Running, reader: Reader, posting: Sequence[Future[None]]) -> None:
    """Reads all at once and in pages, until all is posted."""
    with sandbox.server.client(user_of(reader.customer_id)) as client:
        while not all(work.done() for work in posting):
            reader.read(client)
            reader.read(client, limit=7, start=7)
