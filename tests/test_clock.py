"""
The clock is stepped back an hour and forward a day while the service runs.

Version times never go back, nor do those of the audit; certificates are judged by what the clock says now, also
where that of the versions is frozen; what is waited for is not, and the log tells the time as it is.

Readings 8, 41, 53, 55.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from certificates import Authority
from ibt.conformance import messages
from ibt.conformance.server import PATIENCE
from ibt.sandbox import pki
from ibt.store import Database
from ibt.store.tables import audit, seconds
from stepped_clock import SteppedClock
from test_crash import CLIENTS, Watch, await_acknowledged, forget_acknowledged, posting, watching
from traffic import CUSTOMERS, Poster, checked, running, user_of, write_world

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

#: How far the clock is from the real time, one after the other; at the end it is right again.
STEPS = (timedelta(), -HOUR, DAY, timedelta())

_POSTED = 4000
_ACKNOWLEDGED = 2 * CLIENTS

#: What a busy machine may take from one step to the next: far less than any step.
_SLACK = timedelta(minutes=10)


@pytest.fixture
def clock(tmp_path: Path) -> SteppedClock:
    """One that is right."""
    return SteppedClock(tmp_path / "clock")


@pytest.fixture
def posters() -> list[Poster]:
    """Two for each customer."""
    first = Poster("poster 0", CUSTOMERS[0], count(1, CLIENTS))
    rest = [
        Poster(f"poster {number}", CUSTOMERS[number % len(CUSTOMERS)], count(number + 1, CLIENTS), first.acknowledged)
        for number in range(1, CLIENTS)
    ]
    return [first, *rest]


@pytest.mark.timeout(180)
def test_version_times_never_go_back_and_no_connection_is_lost(
    database_url: str, clock: SteppedClock, posters: list[Poster], tmp_path: Path
) -> None:
    world = write_world(tmp_path / "world", subaccounts=_POSTED)
    options = ("--data", str(world), "--database", database_url, "--workers", "2")
    ends: list[float] = []
    watch = Watch()
    with running(tmp_path / "sandbox", *options, environment=clock.environment) as sandbox:
        # Where the machine is busy an update may wait too long for others (503).
        with posting(sandbox, posters, may={200, 400, 503}), watching(sandbox, watch):
            for off in STEPS:
                clock.step(off)
                forget_acknowledged(posters)
                await_acknowledged(posters, _ACKNOWLEDGED)
                ends.append(time.monotonic())
        assert checked(sandbox.server, posters) == []
    assert {status for _, status in watch.seen} == {200}
    assert not any(each.undecided for poster in posters for each in poster.log)
    latest = [max(versions) for versions in versions_by_step(posters, ends)]
    # Back an hour, each period keeps the time that it had; forward a day, it is tomorrow; and so it stays.
    assert latest[1] - latest[0] < HOUR - _SLACK
    assert timedelta() <= latest[1] - latest[0]
    assert latest[2] - latest[0] > DAY - _SLACK
    assert latest[3] >= latest[2]
    audit_is_in_order(database_url, posters)


def versions_by_step(posters: list[Poster], ends: list[float]) -> Iterator[list[datetime]]:
    """The version times that were told for updates done under each step."""
    begin = 0.0
    for end in ends:
        yield [
            datetime.fromisoformat(each.version)
            for poster in posters
            for each in poster.log
            if each.version is not None and begin <= each.began and each.ended <= end
        ]
        begin = end


def audit_is_in_order(url: str, posters: list[Poster]) -> None:
    """The audit's rows of each customer, in the order of their numbers, have times that never go back."""
    for customer_id in CUSTOMERS:
        rows = (
            select(audit.c.time)
            .where(audit.c.customer_id == customer_id, audit.c.kind != "load")
            .order_by(audit.c.audit_number)
        )
        with closing(Database(url)) as database, database.reading() as connection:
            times = [seconds(at) or 0 for at in connection.execute(rows).scalars()]
        logs = [each for poster in posters if poster.customer_id == customer_id for each in poster.log]
        # An update that is refused leaves a row too, unless the database is busy just then.
        assert len(times) >= sum(each.acknowledged for each in logs)
        assert times == sorted(times)
        assert times[-1] - times[0] > (DAY - _SLACK).total_seconds()


@pytest.mark.parametrize("options", [(), ("--now", "2015-07-11T12:01:22Z")], ids=["its clock", "a frozen clock"])
def test_a_certificate_is_judged_by_what_the_clock_says_now(
    options: tuple[str, ...], clock: SteppedClock, tmp_path: Path
) -> None:
    folder = tmp_path / "sandbox"
    user = user_of(CUSTOMERS[0])
    options = ("--data", str(write_world(tmp_path / "world", subaccounts=1)), *options)
    with running(folder, *options, environment=clock.environment) as sandbox:
        short = until(clock.now() + DAY / 2, user, folder)
        with sandbox.server.client(short) as client:
            for off, expected in [(timedelta(), 200), (-HOUR, 200), (DAY, 403), (-HOUR, 200)]:
                clock.step(off)
                answer = client.get(messages.path(CUSTOMERS[0]))
                assert answer.status_code == expected
                assert ("It is past the end" in answer.text) == (expected == 403)
            clock.step(DAY)
            with sandbox.server.client(short) as another, pytest.raises(httpx2.TransportError):
                another.get(messages.path(CUSTOMERS[0]))


def until(end: datetime, user: str, folder: Path) -> Path:
    """A certificate of *user* that the authority of the sandbox in *folder* has signed, valid until *end*."""
    pair = pki.authority(folder, datetime.now(UTC))
    return Authority(pair.key, pair.certificate, folder).client(user, end=end).pem


@pytest.mark.parametrize("off", [-HOUR, DAY], ids=["back an hour", "forward a day"])
def test_what_is_waited_for_goes_by_the_time_that_passes(off: timedelta, clock: SteppedClock, tmp_path: Path) -> None:
    idle = 2.0
    options = ("--data", str(write_world(tmp_path / "world", subaccounts=1)))
    limits = {"IBT_LIMIT_IDLE_SECONDS": str(idle)}
    with running(tmp_path / "sandbox", *options, environment={**clock.environment, **limits}) as sandbox:
        tls = sandbox.server.tls(user_of(CUSTOMERS[0]))
        address = ("localhost", sandbox.server.port)
        with (
            socket.create_connection(address, PATIENCE) as raw,
            tls.wrap_socket(raw, server_hostname="localhost") as wire,
        ):
            began = time.monotonic()
            wire.sendall(f"GET {sandbox.server.path}/{CUSTOMERS[0]}/subaccounts HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert wire.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            clock.step(off)
            while wire.recv(1 << 16):
                pass
            # Not before its time, though a day has gone by on the clock; and not an hour after it.
            assert time.monotonic() - began > idle
        lines = list(requests(tmp_path / "sandbox.log"))
    assert [line["status"] for line in lines] == [200]


def requests(log: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a log that tell of requests."""
    for line in log.read_text().splitlines():
        if line.startswith("{") and (event := json.loads(line))["event"] == "request":
            yield event


def await_requests(log: Path, number: int) -> None:
    """Waits until the log tells of so many: a request is answered before that."""
    end = time.monotonic() + PATIENCE
    while len(list(requests(log))) < number:
        assert time.monotonic() < end, "the log does not tell of a request"


def test_the_log_tells_the_time_of_the_clock(clock: SteppedClock, tmp_path: Path) -> None:
    options = ("--data", str(write_world(tmp_path / "world", subaccounts=1)))
    with running(tmp_path / "sandbox", *options, environment=clock.environment) as sandbox:
        expected = []
        with sandbox.server.client(user_of(CUSTOMERS[0])) as client:
            for off in STEPS:
                clock.step(off)
                assert client.get(messages.path(CUSTOMERS[0])).status_code == 200
                expected.append(clock.now())
                await_requests(tmp_path / "sandbox.log", len(expected))
        told = [datetime.fromisoformat(line["time"]) for line in requests(tmp_path / "sandbox.log")]
    assert len(told) == len(expected)
    assert all(abs(at - then) < _SLACK for at, then in zip(told, expected, strict=True))
