"""
Two services behind HAProxy are upgraded one after the other, across a migration, under load: no request fails.

The new version is this program and a few migrations more, which add what a next version might need: a table, columns
of the tables in use, an index. So this shows that what runs goes on while tables are added to, that it runs beside a
newer one, and that no request is lost as services end and come back. It cannot show that the next version's own
migration is as mild.

Issue 7, point 6.
"""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count, pairwise
from pathlib import Path

import psycopg
import pytest

import ibt
import postgresql as the_tests_own
import proxies
from ibt.conformance import wire
from ibt.conformance.server import PATIENCE, WORLD, Server
from traffic import CUSTOMERS, Poster, Reader, checked, user_of, write_world

SCRIPT = proxies.DEPLOY / "rolling-upgrade.sh"

#: More than enough updates for as long as an upgrade takes.
_SUBACCOUNTS = 20_000

#: How long a service that is to end serves on: several times what HAProxy needs to learn of it.
_LEAVE_SECONDS = 4

#: What each migration does, which is about one table in use.
_MIGRATIONS = {
    "a_table": """
    op.create_table("note", sa.Column("customer_id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
    op.add_column("customer_state", sa.Column("note", sa.Text, server_default=""))
""",
    "an_index": """
    op.add_column("current_mapping", sa.Column("note", sa.Text))
    op.create_index("ix_note", "current_mapping", ["customer_id", "note"])
""",
    "a_column": """
    op.add_column("mapping_version", sa.Column("note", sa.Text, server_default="none"))
""",
    "of_the_grants": """
    op.add_column("grants", sa.Column("note", sa.Text))
""",
}

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
{steps}
"""


def newer(folder: Path) -> dict[str, str]:
    """The environment in which `ibt` is the new version."""
    source = Path(ibt.__file__).parent
    copy = folder / "newer" / "ibt"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    versions = copy / "store" / "migrations" / "versions"
    last = max(int(file.name[:4]) for file in versions.glob("[0-9]*.py"))
    for number, (name, steps) in enumerate(_MIGRATIONS.items(), start=last + 1):
        text = _MIGRATION.format(number=f"{number:04}", before=f"{number - 1:04}", steps=steps.strip("\n"))
        (versions / f"{number:04}_{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(copy.parent)}


@dataclass
class Host:
    """Where a service runs: now this version, after a restart the new one. It does what systemd would."""

    place: proxies.Place
    folder: Path
    name: str
    ports: tuple[int, int]
    upgraded: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Starts the service."""
        command = proxies.serve(self.place, *self.ports, "--leave-seconds", str(_LEAVE_SECONDS))
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def end(self) -> int:
        """Ends it; its status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    @contextmanager
    def restartable(self) -> Iterator[str]:
        """The command that restarts it with the new version, once."""
        asked, done = self.folder / f"{self.name}.asked", self.folder / f"{self.name}.done"
        os.mkfifo(asked)
        os.mkfifo(done)

        def restart() -> None:
            if asked.read_text() == "restart\n":
                assert self.end() == 0
                self.start(self.upgraded)
                done.write_text("done\n")

        with ThreadPoolExecutor(1) as thread:
            restarting = thread.submit(restart)
            try:
                yield f"echo restart > {asked} && cat {done}"
            finally:
                if not restarting.done():
                    asked.write_text("never\n")
            restarting.result()


@pytest.mark.timeout(300)
def test_two_services_are_upgraded_across_a_migration_and_no_request_fails(
    postgresql: the_tests_own.Server, tmp_path: Path
) -> None:
    world = write_world(tmp_path / "world", _SUBACCOUNTS)
    upgraded = newer(tmp_path)
    with postgresql.database() as url:
        place = proxies.made(tmp_path, world, url)
        ports = proxies.free_ports(4)
        hosts = [Host(place, tmp_path, name, (ports.pop(), ports.pop()), upgraded) for name in ("one", "two")]
        try:
            for host in hosts:
                host.start()
            await_ready(hosts)
            with proxies.haproxy(place, tmp_path, [host.ports for host in hosts]) as server:
                with load(server) as (posters, readers):
                    upgrade(hosts, upgraded, url)
                assert {post.status for poster in posters for post in poster.log} == {200, 400}
                assert all(len(client.log) > 50 for client in posters)
                assert all(len(client.log) > 50 for client in readers)
                assert checked(server, posters, readers) == []
        finally:
            for host in hosts:
                host.process.kill()
                host.process.wait()


def await_ready(hosts: list[Host]) -> None:
    """Waits until all are ready."""
    for host in hosts:
        url = f"http://127.0.0.1:{host.ports[1]}/readyz"
        curl = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--retry",
            "60",
            "--retry-all-errors",
            "--retry-delay",
            "1",
        ]
        subprocess.run([*curl, "--output", os.devnull, url], check=True, timeout=PATIENCE, capture_output=True)


def upgrade(hosts: list[Host], upgraded: dict[str, str], url: str) -> None:
    """Runs the script, which upgrades the tables and restarts each service."""
    command = f"{sys.executable} -m ibt db upgrade --database {url}"
    with hosts[0].restartable() as one, hosts[1].restartable() as two:
        restarts = [
            one,
            f"http://127.0.0.1:{hosts[0].ports[1]}/readyz",
            two,
            f"http://127.0.0.1:{hosts[1].ports[1]}/readyz",
        ]
        refused = subprocess.run(
            [sys.executable, "-m", "ibt", "db", "status", "--database", url], env=upgraded, check=False
        )
        assert refused.returncode == 2, "the new version does not need the migration"
        ran = subprocess.run(
            [str(SCRIPT), command, *restarts],
            env={**upgraded, "SETTLE": "2"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "All services run the new version."


@contextmanager
def load(server: Server) -> Iterator[tuple[list[Poster], list[Reader]]]:
    """Several clients that post and read until the block ends; any failure of theirs is told then."""
    enough = threading.Event()
    posters = [
        Poster(f"poster {number}", CUSTOMERS[number % len(CUSTOMERS)], count(number + 1, 4)) for number in range(4)
    ]
    readers = [Reader(f"reader {number}", CUSTOMERS[number % len(CUSTOMERS)]) for number in range(4)]

    def go_on(client: Poster | Reader, *, kept: bool) -> None:
        """On one connection, or each time on a new one."""
        http = server.client(user_of(client.customer_id))
        try:
            while not enough.is_set():
                if isinstance(client, Poster):
                    client.post(http)
                else:
                    client.read(http)
                if not kept:
                    http.close()
                    http = server.client(user_of(client.customer_id))
                enough.wait(0.02)  # else the clients leave no time to the services on a small machine
        finally:
            http.close()

    with ThreadPoolExecutor(8) as threads:
        clients: list[Poster | Reader] = [*posters, *readers]
        going = [threads.submit(go_on, each, kept=number % 4 != 3) for number, each in enumerate(clients)]
        try:
            yield posters, readers
        finally:
            enough.set()
        for each in going:
            each.result()


# --- a migration ------------------------------------------------------------------------------------------


def test_a_migration_waits_for_requests_and_requests_do_not_wait_for_it(
    postgresql: the_tests_own.Server, tmp_path: Path
) -> None:
    question = "select count(*) from customer_state"
    waits = "select count(*) from pg_locks where not granted and relation = 'customer_state'::regclass"
    with postgresql.database() as url:
        proxies.ibt("db", "upgrade", "--database", url)
        command = [sys.executable, "-m", "ibt", "db", "upgrade", "--database", url]
        with psycopg.connect(url) as busy, psycopg.connect(url, autocommit=True) as other:
            busy.execute(question)  # in a transaction that goes on
            other.execute("set statement_timeout = '20s'")
            upgrading = subprocess.Popen(command, env=newer(tmp_path))
            seen: list[int] = []
            while sum(before > after for before, after in pairwise(seen)) < 3:  # it has given way three times
                seen += [row[0] for row in other.execute(waits)]
                other.execute(question)
                assert upgrading.poll() is None
            busy.commit()
            assert upgrading.wait(PATIENCE) == 0


# --- the script -------------------------------------------------------------------------------------------


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script, and what it says."""
    environment = {**os.environ, "SETTLE": "0", "PATIENCE": "1", **variables}
    return subprocess.run(
        [str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_service_that_is_not_ready_stops_it_before_it_begins(tmp_path: Path) -> None:
    (port,) = proxies.free_ports(1)
    url, trace = f"http://127.0.0.1:{port}/readyz", tmp_path / "trace"
    ran = run(f"touch {trace}", f"touch {trace}", url, f"touch {trace}", url)
    assert ran.returncode == 1
    assert ran.stderr == f"Nothing more was done: {url} does not say that its service is ready.\n"
    assert not trace.exists()


def test_what_goes_wrong_leaves_the_other_services_as_they_are(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    url = f"file://{ready}"  # which curl asks like any other
    other = f"touch {tmp_path / 'other'}"
    ran = run("false", other, url, other, url)
    assert (ran.returncode, ran.stderr) == (1, "The tables were not upgraded, and nothing more was done.\n")
    gone = tmp_path / "gone"
    gone.touch()
    ran = run("true", f"rm {gone}", f"file://{gone}", other, url)
    assert (ran.returncode, ran.stderr) == (
        1,
        f"The new version is not ready after 1 seconds: ask file://{gone} why.\n",
    )
    assert not (tmp_path / "other").exists()
    assert run("true", "true", url).returncode == 1


def test_each_service_is_restarted_once_in_their_order(tmp_path: Path) -> None:
    url, trace = f"file://{tmp_path}/", tmp_path / "trace"
    ran = run(f"echo tables > {trace}", *(part for name in "abc" for part in (f"echo {name} >> {trace}", url)))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert trace.read_text().split() == ["tables", "a", "b", "c"]


# --- a service that is to end -----------------------------------------------------------------------------


def test_a_service_that_is_to_end_is_not_ready_serves_on_and_lets_go_of_connections(tmp_path: Path) -> None:
    place = proxies.made(tmp_path, WORLD, f"sqlite:///{tmp_path / 'ibt.db'}")
    with proxies.serving(place, tmp_path, "--leave-seconds", str(_LEAVE_SECONDS)) as service:
        request = wire.request("GET", f"{proxies.PATH}/1001/subaccounts", client_cert(place, "alder"))
        server = Server(f"https://localhost:{service.port}{proxies.PATH}", place.folder)
        with wire.connection(server, None) as kept:
            kept.sendall(request)
            assert wire.answer(kept, "GET").headers["Connection"] is None
            service.process.terminate()
            assert not_ready(service.operator_port) == "The service is about to end.\n"
            kept.sendall(request)
            last, other = wire.answer(kept, "GET"), wire.exchange(server, None, request)
            assert wire.closed(kept)
        for answer in (last, other):
            assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
        assert service.process.wait(PATIENCE) == 0


def client_cert(place: proxies.Place, user: str) -> str:
    """The field by which a proxy names a user."""
    pem = (place.folder / "clients" / f"{user}.pem").read_text()
    found = pem[pem.index("-----BEGIN CERTIFICATE-----") :]
    return f"Client-Cert: :{base64.b64encode(ssl.PEM_cert_to_DER_cert(found)).decode()}:"


def not_ready(operator_port: int) -> str:
    """Why a service is not ready, once it is not."""
    begin = time.monotonic()
    while True:
        connection = HTTPConnection("127.0.0.1", operator_port, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status == 503:
            return text
        assert time.monotonic() - begin < PATIENCE, "it stays ready"
