"""
What an operator sees of the database and of the server's certificate: room, standby, connections, the near end.

Issue 7, point 4.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from test_seeing import NOW, Place, Service, made, serving
from wire import PATIENCE, get, post, update

import postgresql as the_tests_own
from ibt.sandbox import pki
from ibt.service import seeing
from ibt.service.metrics import Metrics
from ibt.store import Database, writes

ALONE = "Updates wait for a synchronous standby, and none is connected: start it, or look at its log.\n"


# --- the standby ------------------------------------------------------------------------------------------


@contextmanager
def waiting_for(names: str, server: the_tests_own.Server) -> Iterator[None]:
    """Has PostgreSQL wait for these standbys while the block runs."""
    set_names(server, names)
    yield
    set_names(server, "")


def set_names(server: the_tests_own.Server, names: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"alter system set synchronous_standby_names = '{names}'".encode())
        connection.execute("select pg_reload_conf()")
        connection.execute("checkpoint")  # by the process that tells all others which standbys there are


def await_told(service: Service, status: int, told: str) -> None:
    """Waits until the operator is told this."""
    end = time.monotonic() + PATIENCE
    while ((answer := service.ask("/readyz")).status, answer.body) != (status, told):
        assert time.monotonic() < end, answer


@pytest.mark.timeout(180)
def test_with_a_standby_required_the_service_is_ready_only_while_one_keeps_the_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBT_REQUIRE_SYNCHRONOUS_STANDBY", "true")
    with (
        the_tests_own.running() as server,
        server.database() as url,
        serving(made(tmp_path, url), tmp_path / "log") as service,
    ):
        await_told(service, 503, "PostgreSQL waits for no standby: set synchronous_standby_names.\n")
        with the_tests_own.standby_of(server) as standby, waiting_for("standby", server):
            await_told(service, 503, ALONE)
            for _ in range(2):
                standby.start()
                await_told(service, 200, "ok\n")
                assert service.door.answer(post(update("Default"))).status == 200
                standby.stop()
                await_told(service, 503, ALONE)
            assert service.door.answer(get()).status == 200


@pytest.mark.timeout(120)
def test_what_else_keeps_updates_on_one_machine_is_told() -> None:
    with (
        the_tests_own.running() as server,
        server.database() as url,
        the_tests_own.standby_of(server) as standby,
    ):
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("create role plain login")
        standby.start()
        with waiting_for("ANY 2 (standby, another)", server):
            await_unkept(
                url,
                "Updates wait for a synchronous standby, and only 1 of 2 is connected: start it, or look at its log.",
            )
        with waiting_for("FIRST 1 (standby, another)", server):
            await_unkept(url)
            (told,) = seeing.unkept(f"{url}?options=-csynchronous_commit%3Dlocal")
            assert (
                told == "PostgreSQL waits for no standby to keep an update: set synchronous_commit to on, not local."
            )
            (told,) = seeing.unkept(url.replace("ibt@", "plain@"))
            assert told == "It cannot be seen whether there is a standby: grant pg_read_all_stats to the role plain."
    (told,) = seeing.unkept(url)
    assert told.startswith("It cannot be seen whether a standby keeps the updates: connection failed: ")


def await_unkept(url: str, *told: str) -> None:
    """Waits until the standby is told of so."""
    end = time.monotonic() + PATIENCE
    while (found := tuple(seeing.unkept(url))) != told:
        assert time.monotonic() < end, found


# --- connections ------------------------------------------------------------------------------------------


def test_connections_to_the_database_are_told_by_what_they_are_used_for(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> None:
    def in_use(kind: str) -> str:
        return f'ibt_database_connections_in_use{{kind="{kind}"}}'

    with new_database() as url, serving(made(tmp_path, url), tmp_path / "log") as service:
        with closing(Database(url)) as database, ThreadPoolExecutor(1) as threads:
            with database.updating() as connection:
                writes.lock(connection, 1)
                answer = threads.submit(service.door.answer, post(update("Default")))
                found = service.await_samples(lambda found: found.get(in_use("updating"), 0) == 1)
                assert found[in_use("reading")] == 0
                assert found["ibt_database_connections_open"] >= 2
            assert answer.result().status == 200
        found = service.await_samples(lambda found: found[in_use("updating")] == 0)
        assert found['ibt_database_wait_seconds_count{kind="updating"}'] == 1


def test_how_long_a_request_waits_for_a_thread_is_told() -> None:
    one, held = Metrics(), threading.Event()
    with one.threads("updating", 1) as threads:
        threads.submit(held.wait, PATIENCE)
        second = threads.submit(lambda: None)
        held.wait(0.1)
        held.set()
        second.result()
    name, of_updates = "ibt_database_wait_seconds", {"kind": "updating"}
    assert one.registry.get_sample_value(f"{name}_count", of_updates) == 2
    assert (one.registry.get_sample_value(f"{name}_sum", of_updates) or 0) >= 0.1


# --- the certificate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [29, 31])
def test_the_near_end_of_the_servers_certificate_is_logged(days: int, tmp_path: Path) -> None:
    place: Place = made(tmp_path, f"sqlite:///{tmp_path / 'ibt.db'}")
    (tmp_path / "server.pem").unlink()
    # The sandbox's authority signs for 397 days.
    then = NOW - timedelta(days=397 - days)
    pki.server_certificate(tmp_path, pki.authority(tmp_path, NOW), "localhost", then)
    with serving(place, tmp_path / "log") as service:
        assert service.ask("/readyz").status == 200
        service.process.terminate()
        service.process.wait(PATIENCE)
    lines = (tmp_path / "log").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "server certificate ends soon"]
    assert [event["end"][:10] for event in events] == ([f"{NOW + timedelta(days=29):%F}"] if days < 30 else [])
