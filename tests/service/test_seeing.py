"""
What an operator sees of `ibt serve`: health and metrics, of all workers together, whatever becomes of them.

Issue 7, point 4.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import psycopg
import pytest
from markets import write_market

from ibt.sandbox import pki
from ibt.service import seeing
from ibt.service.metrics import NO_OPERATION, Metrics
from ibt.service.resources import ROUTES
from postgresql import Server

sys.path.append(str(Path(__file__).parents[1] / "door"))
from wire import MAPPINGS, PATIENCE, SUBACCOUNTS, Door, get, post, update  # it lies with the tests of the door

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Place:
    """A folder with certificates, and the URL of a database with the sample world."""

    folder: Path
    url: str


@dataclass(frozen=True)
class Answer:
    """What the operator's listener answered."""

    status: int
    headers: Mapping[str, str]
    body: str

    def samples(self) -> dict[str, float]:
        """The values of metrics by name and labels, as they are written."""
        lines = [line for line in self.body.splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


@dataclass(frozen=True)
class Service:
    """`ibt serve` while it runs, and the port of its operator."""

    process: subprocess.Popen[str]
    door: Door
    operator_port: int

    def ask(self, path: str, method: str = "GET") -> Answer:
        """What the operator is told."""
        connection = HTTPConnection("127.0.0.1", self.operator_port, timeout=PATIENCE)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """All that comes for *request*, sent as it is."""
        with socket.create_connection(("127.0.0.1", self.operator_port), PATIENCE) as wire:
            wire.sendall(request)
            return b"".join(iter(lambda: wire.recv(65536), b""))

    def samples(self) -> dict[str, float]:
        """The values of all metrics."""
        return self.ask("/metrics").samples()

    def await_samples(self, wanted: Callable[[Mapping[str, float]], bool]) -> dict[str, float]:
        """The values of all metrics, once they are as wanted: an answer may be read before it is counted."""
        begin = time.monotonic()
        while not wanted(found := self.samples()):
            assert time.monotonic() - begin < PATIENCE, found
        return found

    def children(self) -> set[int]:
        """The ids of its processes."""
        number = self.process.pid
        return set(map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split()))

    def workers(self) -> set[int]:
        """The ids of its processes that clients are served by: the memory of each is a metric."""
        found = self.await_samples(lambda found: any(name.startswith("ibt_memory_bytes") for name in found))
        return {int(pid) for name in found for pid in re.findall(r'ibt_memory_bytes\{pid="([0-9]+)"\}', name)}

    def listener(self) -> int:
        """The id of the process that answers the operator."""
        (number,) = self.children() - self.workers()
        return number


@pytest.fixture(scope="module")
def place(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One on each kind of database."""
    with new_database() as url:
        yield made(tmp_path_factory.mktemp("place"), url)


@pytest.fixture
def own_place(tmp_path: Path) -> Place:
    """One that a test may spoil."""
    return made(tmp_path, f"sqlite:///{tmp_path / 'ibt.db'}")


def made(folder: Path, url: str) -> Place:
    """Certificates in *folder*, and the sample world in the database."""
    issuer = pki.authority(folder, NOW)
    pki.server_certificate(folder, issuer, "localhost", NOW)
    pki.client_certificates(folder, issuer, ["xyz"], NOW)
    market = folder / "market"
    market.mkdir()
    for command in (["db", "upgrade"], ["load", str(write_market(market))]):
        subprocess.run([sys.executable, "-m", "ibt", *command, "--database", url], check=True, capture_output=True)
    return Place(folder, url)


@contextmanager
def serving(place: Place, log: Path, workers: int = 2) -> Iterator[Service]:
    """Runs the service, with a port for the operator that nobody else gets meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        process = start(place, log, "--operator-port", str(port), "--workers", str(workers))
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready: "), log.read_text()
            door_port = int(ready.split(":")[3].partition("/")[0])
            yield Service(process, Door(door_port, place.folder, log, process.pid), port)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()


def start(place: Place, log: Path, *options: str) -> subprocess.Popen[str]:
    """Starts the service."""
    files = ["--server-certificate", place.folder / "server.pem", "--client-ca", place.folder / "ca.pem"]
    command = [sys.executable, "-m", "ibt", "serve", "--port", "0", "--database", place.url, *map(str, files)]
    with log.open("wb") as stderr:
        return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True)


# --- health -----------------------------------------------------------------------------------------------


def test_a_service_that_runs_is_live_and_ready(place: Place, tmp_path: Path) -> None:
    with serving(place, tmp_path / "log") as service:
        for path in ("/livez", "/readyz", "/readyz?verbose"):
            answer = service.ask(path)
            assert (answer.status, answer.body) == (200, "ok\n")


def expire(folder: Path) -> None:
    """Puts a certificate in the server's place that is past its end."""
    (folder / "server.pem").unlink()
    pki.server_certificate(folder, pki.authority(folder, NOW), "localhost", NOW - timedelta(days=5000))


PARTS: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "the database": (
        lambda folder: (folder / "ibt.db").unlink(),
        "The database sqlite:///FOLDER/ibt.db has no schema: run ibt db upgrade",
    ),
    "the certificate": (
        lambda folder: (folder / "server.pem").unlink(),
        "server_certificate, FOLDER/server.pem, cannot be read: No such file or directory.",
    ),
    "the certificate's time": (
        expire,
        "server_certificate, FOLDER/server.pem, is valid from ",
    ),
    "the authority": (
        lambda folder: (folder / "ca.pem").write_bytes(b""),
        "client_ca, FOLDER/ca.pem, holds no certificate: it must have the authorities' as PEM.",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), PARTS.values(), ids=PARTS)
def test_what_is_missing_is_told_until_it_is_there_again(
    spoil: Callable[[Path], object], told: str, own_place: Place
) -> None:
    folder = own_place.folder
    files = [folder / name for name in ("ibt.db", "server.pem", "ca.pem")]
    with serving(own_place, folder / "log") as service:
        kept = {file: file.read_bytes() for file in files}
        spoil(folder)
        answer = service.ask("/readyz")
        assert answer.status == 503
        (line,) = answer.body.splitlines()
        assert line.startswith(told.replace("FOLDER", str(folder)))
        assert line.endswith(".")
        assert service.ask("/livez").status == 200
        for file, content in kept.items():
            file.write_bytes(content)
        answer = service.ask("/readyz")
        assert (answer.status, answer.body) == (200, "ok\n")


def test_each_thing_that_is_wrong_has_a_line(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log") as service:
        for name in ("ibt.db", "ca.pem"):
            (own_place.folder / name).unlink()
        lines = service.ask("/readyz").body.splitlines()
        assert [line.split(",")[0].split(" sqlite")[0] for line in lines] == ["client_ca", "The database"]


def test_a_database_that_takes_no_updates_is_told(postgresql: Server, tmp_path: Path) -> None:
    with postgresql.database() as url:
        made(tmp_path, url)
        assert list(seeing.unwritable(url)) == []
        with psycopg.connect(url, autocommit=True) as connection:
            name = connection.info.dbname
            connection.execute(f'alter database "{name}" set default_transaction_read_only = on'.encode())
        (told,) = seeing.unwritable(url)
    assert told == "The database takes no updates: cannot execute UPDATE in a read-only transaction."


def test_a_file_that_cannot_be_written_is_told(own_place: Place) -> None:
    file = own_place.folder / "ibt.db"
    (told,) = seeing.unwritable(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert told == "The database takes no updates: attempt to write a readonly database."


#: What only the watcher's processes see: a certificate in use that has ended, and that nobody is left to use it.
UNSERVED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from ibt.service import metrics, seeing
with metrics.shared() as folder:
    print(*seeing.unserved(folder))
    one = metrics.Metrics()
    one.note_server_certificate(Path(sys.argv[1]).read_bytes())
    print(*seeing.unserved(folder))
    one.note_server_certificate(Path(sys.argv[2]).read_bytes())
    print(*seeing.unserved(folder))
assert not folder.exists()
"""


def test_no_worker_and_a_certificate_in_use_past_its_end_are_told(tmp_path: Path) -> None:
    issuer = pki.authority(tmp_path, NOW)
    good, ended = tmp_path / "good.pem", tmp_path / "server.pem"
    pki.server_certificate(tmp_path, issuer, "localhost", NOW)
    good.write_bytes(ended.read_bytes())
    expire(tmp_path)
    command = [sys.executable, "-c", UNSERVED, str(ended), str(good)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n") == [
        "No worker serves: the log says why.",
        "The certificate that clients are shown is past its end: renew it, then send SIGHUP.",
        *("", ""),
    ]


# --- the listener -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that no test changes."""
    with serving(place, tmp_path_factory.mktemp("service") / "log") as service:
        yield service


@pytest.mark.parametrize(
    ("request_", "first", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found", b"There are /livez, /readyz, /metrics, and nothing else.\n"),
        (b"GET /livez/ HTTP/1.1\r\n\r\n", b"404 Not Found", None),
        (b"POST /livez HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", b"Use GET or HEAD.\n"),
        (b"GET  /livez HTTP/1.1\r\n\r\n", b"400 Bad Request", b"This is not a request as HTTP/1.1 has it.\n"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request", None),
        (b"GET /livez HTTP/1.1\r\na: " + 20_000 * b"b" + b"\r\n\r\n", b"400 Bad Request", None),
        (b"GET /livez HTTP/1.0\r\n\r\n", b"200 OK", b"ok\n"),
        (b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200 OK", b""),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK", b""),
    ],
    ids=lambda part: part[:20] if isinstance(part, bytes) else None,
)
def test_what_else_is_asked_gets_an_answer_that_says_what_there_is(
    service: Service, request_: bytes, first: bytes, told: bytes | None
) -> None:
    head, _, body = service.raw(request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + first + b"\r\n")
    assert b"\r\nConnection: close" in head
    assert re.search(rb"\r\nContent-Type: text/plain;( version=0\.0\.4;)? charset=utf-8\r\n", head)
    assert (b"\r\nAllow: GET, HEAD" in head) == first.startswith(b"405")
    assert told is None or body == told


def test_the_examples_of_the_page_work(service: Service) -> None:
    examples = re.findall(r"^curl .* http://127\.0\.0\.1:8444(/.*)$", PAGE, re.MULTILINE)
    assert sorted(examples) == sorted(seeing.PATHS)
    for line in re.findall(r"^curl .*:8444.*$", PAGE, re.MULTILINE):
        subprocess.run(shlex.split(line.replace("8444", str(service.operator_port))), check=True, capture_output=True)


def test_it_answers_while_every_worker_is_stuck(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log") as service:
        workers = service.workers()
        for number in workers:
            os.kill(number, signal.SIGSTOP)
        try:
            assert [service.ask(path).status for path in seeing.PATHS] == [200, 200, 200]
        finally:
            for number in workers:
                os.kill(number, signal.SIGCONT)


def test_it_is_replaced_when_it_dies(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log", workers=1) as service:
        listener = service.listener()
        os.kill(listener, signal.SIGKILL)
        service.door.logged(event="worker died", process=listener, status=-9)
        assert service.ask("/livez").status == 200
        assert service.listener() != listener


def test_it_stays_when_certificates_are_read_anew(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log", workers=1) as service:
        listener = service.listener()
        service.process.send_signal(signal.SIGHUP)
        service.door.logged(event="certificates read anew")
        assert service.ask("/readyz").status == 200
        assert service.listener() == listener


def test_while_the_service_ends_nobody_waits_for_it(own_place: Place) -> None:
    head = post(update("Default"), "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with serving(own_place, own_place.folder / "log") as service, service.door.connect() as slow:
        slow.send(head)
        assert slow.answer().status == 100
        service.process.terminate()
        await_refused(service)
        assert service.process.poll() is None


def await_refused(service: Service) -> None:
    """Waits until nobody listens to the operator any more; a client that is taken has its answer, or an end."""
    begin = time.monotonic()
    while True:
        try:
            service.ask("/livez")
        except ConnectionRefusedError:
            return
        except (ConnectionResetError, RemoteDisconnected):
            pass
        assert time.monotonic() - begin < PATIENCE


def test_with_port_0_there_is_none(own_place: Place, tmp_path: Path) -> None:
    process = start(own_place, tmp_path / "log", "--workers", "1", "--operator-port", "0")
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("ready: ")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert len(children) == 1


def test_a_port_that_is_taken_ends_the_start(own_place: Place, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(own_place, tmp_path / "log", "--operator-port", str(port))
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == ""
    assert process.returncode == 2
    told = f"It is not possible to listen on 127.0.0.1, port {port}: Address already in use.\n"
    assert (tmp_path / "log").read_text() == told


def test_those_who_ask_at_once_whether_it_is_ready_share_the_answer_and_keep_nobody_waiting(tmp_path: Path) -> None:
    count, found = [], threading.Event()

    def unready() -> list[str]:
        count.append(1)
        assert found.wait(PATIENCE)
        return ["Not yet."]

    async def ask(port: int, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async def all_at_once() -> Sequence[bytes]:
        server = await asyncio.start_server(seeing.Listener(tmp_path, unready).answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        asking = [asyncio.create_task(ask(port, "/readyz")) for _ in range(20)]
        for _ in range(3):
            assert (await ask(port, "/livez")).startswith(b"HTTP/1.1 200")
        found.set()
        answers = await asyncio.gather(*asking)
        server.close()
        return answers

    answers = asyncio.run(all_at_once())
    assert {answer.splitlines()[0] for answer in answers} == {b"HTTP/1.1 503 Service Unavailable"}
    assert {answer.splitlines()[-1] for answer in answers} == {b"Not yet."}
    assert len(count) < 20


def test_what_nobody_foresaw_is_not_ready_either(tmp_path: Path) -> None:
    def unready() -> list[str]:
        raise RuntimeError("as asked")

    async def ask() -> bytes:
        listener = seeing.Listener(tmp_path, unready)
        server = await asyncio.start_server(listener.answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\nSomething unforeseen went wrong: the log says what.\n")


# --- metrics ----------------------------------------------------------------------------------------------


def test_requests_faults_and_versions_are_counted(place: Place, tmp_path: Path) -> None:
    with serving(place, tmp_path / "log") as service:
        door = service.door
        for path in [SUBACCOUNTS] * 20 + [MAPPINGS] * 20:
            assert door.answer(get(path)).status == 200
        assert door.answer(post(update("Default"))).status == 200
        assert door.answer(post(update("Default"))).status == 200
        assert door.answer(post(update("Nobody's"))).status == 400
        assert door.answer(get("/elsewhere")).status == 404
        assert door.answer(get(SUBACCOUNTS), user=None).status == 403
        assert door.answer(b"what is this\r\n\r\n").status == 400
        found = service.await_samples(lambda found: sum_of(found, "ibt_requests_total") == 46)
    assert {name: value for name, value in found.items() if name.startswith("ibt_requests_total")} == {
        'ibt_requests_total{operation="subaccounts",status="200"}': 20,
        'ibt_requests_total{operation="subaccounts",status="403"}': 1,
        'ibt_requests_total{operation="current_mappings",status="200"}': 20,
        'ibt_requests_total{operation="update_mappings",status="200"}': 2,
        'ibt_requests_total{operation="update_mappings",status="400"}': 1,
        'ibt_requests_total{operation="none",status="404"}': 1,
        'ibt_requests_total{operation="none",status="400"}': 1,
    }
    assert {name: value for name, value in found.items() if name.startswith("ibt_faults_total")} == {
        'ibt_faults_total{rule="subaccount"}': 1,
        'ibt_faults_total{rule="no-resource"}': 1,
        'ibt_faults_total{rule="certificate-missing"}': 1,
        'ibt_faults_total{rule="not-http"}': 1,
    }
    assert found["ibt_updates_total"] == 1
    assert found["ibt_versions_total"] == 1
    assert found['ibt_request_seconds_count{operation="subaccounts"}'] == 21
    assert found['ibt_request_seconds_bucket{le="10.0",operation="subaccounts"}'] == 21
    assert sum_of(found, "ibt_request_seconds_count") == 45


def test_what_each_worker_counts_is_told_as_one(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log") as service:
        for number in service.workers():
            os.kill(number, signal.SIGSTOP)
            try:
                assert service.door.answer(get()).status == 200
            finally:
                os.kill(number, signal.SIGCONT)
        service.await_samples(lambda found: sum_of(found, "ibt_requests_total") == 2)
        assert len(service.workers()) == 2


def sum_of(found: Mapping[str, float], name: str) -> float:
    """The sum of a metric over all its labels."""
    return sum(value for key, value in found.items() if key.partition("{")[0] == name)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_nothing_is_left_of_the_counts_when_the_service_has_ended(how: signal.Signals, own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log") as service:
        maps = Path(f"/proc/{min(service.workers())}/maps").read_text()
        folder = Path(re.findall(r" (/\S+)/counter_[0-9]+\.db$", maps, re.MULTILINE)[0])
        children = [os.pidfd_open(number) for number in service.children()]
        service.process.send_signal(how)
        for child in children:
            assert select.select([child], [], [], PATIENCE)[0]
            os.close(child)
        service.process.wait(PATIENCE)
        assert not folder.exists()


def test_a_process_that_never_was_ready_leaves_nothing() -> None:
    script = """
from ibt.service import metrics
with metrics.shared() as folder:
    one = metrics.Metrics()
    one.answered("subaccounts", 200, 0.1)
    import os
    metrics.forget(folder, os.getpid(), True)
    print(*sorted(file.name.partition("_")[0] for file in folder.iterdir()))
    metrics.forget(folder, os.getpid(), False)
    print(*folder.iterdir())
"""
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == "counter histogram\n\n"


def test_a_file_that_a_process_has_just_begun_is_waited_for() -> None:
    script = """
import threading
from ibt.service import metrics
with metrics.shared() as folder:
    begun = folder / "counter_1.db"
    begun.touch()
    threading.Timer(0.03, begun.unlink).start()
    assert metrics.text(folder) == b""
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_connections_are_counted_while_they_are_open(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log") as service:
        with service.door.connect() as one, service.door.connect() as another:
            for wire in (one, another):
                wire.send(get())
                assert wire.answer().status == 200
            assert service.samples()["ibt_connections_open"] == 2
        service.await_samples(lambda found: found["ibt_connections_open"] == 0)


def test_a_worker_that_dies_leaves_its_counts_and_takes_its_connections_and_memory_along(own_place: Place) -> None:
    with serving(own_place, own_place.folder / "log", workers=1) as service, service.door.connect() as wire:
        wire.send(get())
        assert wire.answer().status == 200
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        service.await_samples(lambda found: found.get("ibt_connections_open") == 0)
        assert worker not in service.workers()
        assert service.door.answer(get()).status == 200
        service.await_samples(lambda found: sum_of(found, "ibt_requests_total") == 2)


def test_the_ends_of_certificates_are_told(own_place: Place) -> None:
    folder = own_place.folder
    with serving(own_place, folder / "log") as service:
        before = service.samples()
        assert before["ibt_server_certificate_end_seconds"] == end_of(folder / "server.pem")
        assert before["ibt_client_certificate_end_seconds"] == float("inf")
        assert service.door.answer(get()).status == 200
        assert service.samples()["ibt_client_certificate_end_seconds"] == end_of(folder / "clients" / "xyz.pem")
        (folder / "server.pem").unlink()
        pki.server_certificate(folder, pki.authority(folder, NOW), "localhost", NOW - timedelta(days=1))
        name = "ibt_server_certificate_end_seconds"
        assert service.samples()[name] == before[name]  # until the file is read anew
        service.process.send_signal(signal.SIGHUP)
        end = end_of(folder / "server.pem")
        service.await_samples(lambda found: found[name] == end)


def end_of(pem: Path) -> float:
    """When the first certificate in a file ends, in seconds since 1970."""
    command = ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", str(pem)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return datetime.fromisoformat(told.strip().removeprefix("notAfter=")).timestamp()


def test_a_users_new_certificate_takes_the_place_of_the_old_one() -> None:
    one = Metrics()
    name = "ibt_client_certificate_end_seconds"
    for user, days, first in [("xyz", 10, 10), ("abc", 5, 5), ("abc", 400, 10), ("xyz", 500, 400), ("xyz", 500, 400)]:
        one.note_client_certificate(user, NOW + timedelta(days=days))
        assert one.registry.get_sample_value(name) == (NOW + timedelta(days=first)).timestamp()


def test_a_server_certificate_that_cannot_be_read_has_no_end() -> None:
    one = Metrics()
    one.note_server_certificate(b"")
    assert one.registry.get_sample_value("ibt_server_certificate_end_seconds") == float("inf")


def test_the_page_lists_every_metric_with_its_kind() -> None:
    there = {
        (metric.name + ("_total" if metric.type == "counter" else ""), metric.type)
        for metric in Metrics().registry.collect()
    }
    listed = re.findall(r"^\| `(ibt_\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(there)


def test_the_page_lists_every_operation() -> None:
    (line,) = re.findall(r"^An `operation` is (.*)$", PAGE, re.MULTILINE)
    methods = {(route, method) for route in ROUTES for method in route.methods}
    assert set(re.findall(r"`(\w+)`", line)) == {route.operation(method) for route, method in methods}
    assert f"It is `{NO_OPERATION}` where" in PAGE
