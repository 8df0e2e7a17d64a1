"""
`ibt serve` as processes: how it starts and why not, how it ends, whom it replaces, when it reads certificates anew.

Issue 5. Readings 53, 54, 55.
"""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from markets import write_market

import certificates
from ibt.cli import main
from ibt.sandbox import pki
from ibt.service.settings import SETTINGS

sys.path.append(str(Path(__file__).parents[1] / "door"))
from wire import PATIENCE, Door, get, post, update  # it lies with the tests of the door

NOW = datetime.now(UTC)

#: Within a second, on a machine that is busy with other tests.
A_SECOND = 10.0


@dataclass(frozen=True)
class Place:
    """A folder with certificates, and the URL of a database with the sample world."""

    folder: Path
    url: str

    def options(self, **changed: object) -> list[str]:
        """The options of `ibt serve`; those *changed* have another value."""
        options: dict[str, object] = {
            "port": 0,
            "operator_port": 0,
            "server_certificate": self.folder / "server.pem",
            "client_ca": self.folder / "ca.pem",
            "database": self.url,
        }
        return [part for name, value in (options | changed).items() for part in (option(name), str(value))]


def option(name: str) -> str:
    """The option of the setting *name*."""
    return next(setting.option for setting in SETTINGS if setting.name == name)


@dataclass(frozen=True)
class Service:
    """`ibt serve` while it runs."""

    process: subprocess.Popen[str]
    door: Door
    ready: str

    def workers(self) -> set[int]:
        """The ids of its worker processes, and of the one that the operator sees, where there is one."""
        number = self.process.pid
        return set(map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split()))

    def await_logged(self, count: int, **wanted: object) -> None:
        """Waits until the log has so many lines with these keys and values."""
        for event in self.door.events():
            count -= all(event.get(key) == value for key, value in wanted.items())
            if count == 0:
                return
        raise AssertionError(f"the log lacks {count} lines with {wanted}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status after this signal."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def place(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One on each kind of database."""
    with new_database() as url:
        yield made(tmp_path_factory.mktemp("place"), url)


@pytest.fixture(scope="module")
def sqlite_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One for what has nothing to do with the kind of database."""
    folder = tmp_path_factory.mktemp("place")
    return made(folder, f"sqlite:///{folder / 'ibt.db'}")


def made(folder: Path, url: str) -> Place:
    """Certificates in *folder*, and the sample world in the database."""
    write_certificates(folder)
    market = folder / "market"
    market.mkdir()
    ibt("db", "upgrade", "--database", url)
    ibt("load", str(write_market(market)), "--database", url)
    return Place(folder, url)


def write_certificates(folder: Path, now: datetime = NOW) -> None:
    """An authority's certificate, the server's and that of the user xyz, as a sandbox has them."""
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, "localhost", now)
    pki.client_certificates(folder, issuer, ["xyz"], now)


def ibt(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The command, which ends by itself with this status."""
    command = [sys.executable, "-m", "ibt", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == status, ended.stderr
    return ended


@contextmanager
def serving(place: Place, log: Path, **changed: object) -> Iterator[Service]:
    """Runs the service; what is left of it at the end is killed."""
    command = [sys.executable, "-m", "ibt", "serve", *place.options(**changed)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), log.read_text()
        port = int(ready.split(":")[3].partition("/")[0])
        yield Service(process, Door(port, place.folder, log, process.pid), ready)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def await_ended(processes: set[int]) -> None:
    """Waits until processes that are not our children are gone."""
    for number in processes:
        try:
            descriptor = os.pidfd_open(number)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {number} does not end"
        os.close(descriptor)


def await_refused(door: Door) -> None:
    """Waits until nobody listens any more; while one worker still does, the system takes a client for it."""
    begin = time.monotonic()
    while True:
        try:
            door.tcp().close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it was taken at the very moment at which the last listener closed
        assert seconds_since(begin) < PATIENCE, "new clients are still taken"


def seconds_since(begin: float) -> float:
    return time.monotonic() - begin


# --- serving and ending -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.parametrize("workers", [1, 3])
def test_it_ends_with_status_0_when_what_is_under_way_is_answered(
    place: Place, workers: int, how: signal.Signals, tmp_path: Path
) -> None:
    message = post(update("Default" if how is signal.SIGTERM else "ABC1"), "Expect: 100-continue")
    head, _, body = message.partition(b"\r\n\r\n")
    with serving(place, tmp_path / "log", workers=workers) as service:
        assert service.ready == f"ready: https://127.0.0.1:{service.door.port}/sms_oper_contract/api/customers\n"
        assert len(service.workers()) == workers
        assert service.door.answer(get()).status == 200
        with service.door.connect() as idle, service.door.connect() as slow, service.door.connect() as new:
            idle.send(get())
            assert idle.answer().status == 200
            slow.send(head + b"\r\n\r\n")
            assert slow.answer().status == 100
            service.process.send_signal(how)
            assert idle.rest() == b""
            assert new.rest() == b""
            await_refused(service.door)
            assert service.process.poll() is None
            slow.send(body)
            answer = slow.answer("POST")
            assert (answer.status, answer["connection"]) == (200, "close")
            assert slow.rest() == b""
        assert service.process.wait(PATIENCE) == 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == ""


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_never_finished_is_closed_after_the_drain_time(place: Place, workers: int, tmp_path: Path) -> None:
    with (
        serving(place, tmp_path / "log", workers=workers, limit_drain_seconds=0.2) as service,
        service.door.connect() as slow,
    ):
        slow.send(post(update("Default"), "Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert slow.answer().status == 100
        begin = time.monotonic()
        assert service.end() == 0
        assert seconds_since(begin) < 0.2 + A_SECOND
        assert slow.rest() == b""


# --- workers ----------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_while_the_others_serve(place: Place, tmp_path: Path) -> None:
    with serving(place, tmp_path / "log", workers=3) as service:
        before = service.workers()
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        await_ended({killed})
        begin = time.monotonic()
        while len(service.workers() - {killed}) < 3:
            assert service.door.answer(get()).status == 200
            assert seconds_since(begin) < A_SECOND, "the worker is not replaced"
        assert service.workers() > before - {killed}
        service.await_logged(1, event="worker died", process=killed, status=-9)
        assert service.end() == 0


@pytest.mark.parametrize("workers", [2, 3])
def test_when_all_workers_are_killed_the_next_client_waits_for_a_new_one(
    place: Place, workers: int, tmp_path: Path
) -> None:
    with serving(place, tmp_path / "log", workers=workers) as service:
        before = service.workers()
        for number in before:
            os.kill(number, signal.SIGKILL)
        await_ended(before)
        begin = time.monotonic()
        assert service.door.answer(get()).status == 200
        assert seconds_since(begin) < A_SECOND
        service.await_logged(workers, event="worker died")
        assert service.workers().isdisjoint(before)
        assert service.end() == 0


def test_when_the_watcher_is_killed_its_workers_answer_what_is_under_way_and_end(
    place: Place, tmp_path: Path
) -> None:
    head, _, body = post(update("Default"), "Expect: 100-continue").partition(b"\r\n\r\n")
    with serving(place, tmp_path / "log", workers=3) as service:
        workers = service.workers()
        with service.door.connect() as slow:
            slow.send(head + b"\r\n\r\n")
            assert slow.answer().status == 100
            service.process.kill()
            service.process.wait(PATIENCE)
            slow.send(body)
            assert slow.answer("POST").status == 200
            assert slow.rest() == b""
        await_ended(workers)
        await_refused(service.door)


# --- SIGHUP -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Renewable:
    """A service on copies of the certificates, which may be replaced while it runs."""

    service: Service
    folder: Path
    workers: int
    database: Path

    def reread(self, count: int, event: str = "certificates read anew") -> None:
        """Has every worker read them for the *count*-th time with this outcome."""
        self.service.process.send_signal(signal.SIGHUP)
        self.service.await_logged(count * self.workers, event=event)

    def server_certificate(self) -> bytes:
        """What a new connection gets to see."""
        with self.service.door.connect() as wire:
            return wire.tls.getpeercert(binary_form=True) or b""

    def renew(self) -> bytes:
        """Writes another certificate of the same authority; returns it."""
        (self.folder / "server.pem").unlink()
        pki.server_certificate(self.folder, pki.authority(self.folder, NOW), "localhost", NOW)
        return first_certificate(self.folder / "server.pem")


def first_certificate(pem: Path) -> bytes:
    """The first certificate of a file, as DER."""
    text = pem.read_text()
    begin = text.index("-----BEGIN CERTIFICATE-----")
    end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin:end])


@pytest.fixture(params=[1, 3])
def renewable(sqlite_place: Place, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Renewable]:
    folder = tmp_path / "place"
    folder.mkdir()
    write_certificates(folder)
    (folder / "client-ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    with serving(
        Place(folder, sqlite_place.url), tmp_path / "log", workers=request.param, client_ca=folder / "client-ca.pem"
    ) as service:
        yield Renewable(service, folder, request.param, Path(sqlite_place.url.removeprefix("sqlite:///")))
        assert service.end() == 0


def test_a_new_server_certificate_is_shown_after_sighup_and_open_connections_go_on(renewable: Renewable) -> None:
    old = first_certificate(renewable.folder / "server.pem")
    with renewable.service.door.connect() as open_before:
        open_before.send(get())
        assert open_before.answer().status == 200
        new = renewable.renew()
        assert renewable.server_certificate() == old
        renewable.reread(1)
        assert renewable.server_certificate() == new != old
        open_before.send(get())
        assert open_before.answer().status == 200


def test_a_new_authority_of_clients_counts_after_sighup(renewable: Renewable) -> None:
    authority = certificates.root("Another authority", renewable.folder)
    stranger = authority.client("xyz").pem
    assert refused(renewable.service.door, stranger)
    authority.write(renewable.folder / "other-key.pem", renewable.folder / "other.pem")
    with (renewable.folder / "client-ca.pem").open("ab") as file:
        file.write((renewable.folder / "other.pem").read_bytes())
    renewable.reread(1)
    assert renewable.service.door.answer(get(), stranger).status == 200
    assert renewable.service.door.answer(get()).status == 200
    (renewable.folder / "client-ca.pem").write_bytes((renewable.folder / "other.pem").read_bytes())
    renewable.reread(2)
    assert renewable.service.door.answer(get(), stranger).status == 200
    assert refused(renewable.service.door, "xyz")


@dataclass(frozen=True)
class Outsiders:
    """Another authority, which the service trusts until `shut_out`."""

    renewable: Renewable
    authority: certificates.Authority
    ours: bytes

    @classmethod
    def of(cls, renewable: Renewable) -> Outsiders:
        """A new authority, which the service has been told of."""
        authority = certificates.root("Another authority", renewable.folder)
        authority.write(renewable.folder / "other-key.pem", renewable.folder / "other.pem")
        client_ca = renewable.folder / "client-ca.pem"
        ours = client_ca.read_bytes()
        client_ca.write_bytes(ours + (renewable.folder / "other.pem").read_bytes())
        renewable.reread(1)
        return cls(renewable, authority, ours)

    def shut_out(self, connections: int) -> None:
        """Takes the authority away, which ends so many connections."""
        (self.renewable.folder / "client-ca.pem").write_bytes(self.ours)
        self.renewable.reread(2)
        self.renewable.service.await_logged(connections, event="client no longer vouched for")


HISTORY = get("/sms_oper_contract/api/customers/1/contractSubaccountMappings/999999")


def test_the_open_connections_of_an_authority_that_is_taken_away_end_with_sighup(renewable: Renewable) -> None:
    door, outsiders = renewable.service.door, Outsiders.of(renewable)
    stranger, odd = outsiders.authority.client("xyz").pem, outsiders.authority.of_version_2("xyz")
    head, _, body = post(update("Default"), "Expect: 100-continue").partition(b"\r\n\r\n")
    before = door.answer(HISTORY).body
    with ExitStack() as stack:
        idle, unread, updating, refused_early, known, nobody = (
            stack.enter_context(door.connect(user)) for user in (stranger, odd, stranger, stranger, "xyz", None)
        )
        for wire in (idle, unread, known, nobody):
            wire.send(get())
        assert [wire.answer().status for wire in (idle, unread, known, nobody)] == [200, 403, 200, 403]
        updating.send(head + b"\r\n\r\n")
        assert updating.answer().status == 100
        refused_early.send(post(update("Default")).replace(b"Content-Type", b"X")[:-9])  # its body is still to come
        assert refused_early.answer("POST").status == 415
        outsiders.shut_out(connections=4)
        updating.send(body)
        assert [wire.rest() for wire in (idle, unread, updating, refused_early)] == 4 * [b""]
        for wire in (known, nobody):
            wire.send(get())
        assert [wire.answer().status for wire in (known, nobody)] == [200, 403]
    assert door.answer(HISTORY).body == before


@pytest.mark.parametrize("sent_ahead", [post(update("Default")), post(update("Default"))[:-9]], ids=["whole", "part"])
def test_what_is_sent_ahead_of_being_shut_out_is_not_done(renewable: Renewable, sent_ahead: bytes) -> None:
    """The update that is under way is answered, as it cannot be taken back."""
    door, outsiders = renewable.service.door, Outsiders.of(renewable)
    head, _, body = post(update("ABC1"), "Expect: 100-continue").partition(b"\r\n\r\n")
    door.answer(post(update("Default")))
    versions = door.answer(HISTORY).text.count("<version>")
    with (
        closing(sqlite3.connect(renewable.database, isolation_level=None)) as other,
        door.connect(outsiders.authority.client("xyz").pem) as wire,
    ):
        wire.send(head + b"\r\n\r\n")
        assert wire.answer().status == 100
        other.execute("BEGIN IMMEDIATE")
        wire.send(body + sent_ahead)
        outsiders.shut_out(connections=1)
        other.execute("ROLLBACK")
        assert wire.answer("POST").status == 200
        assert wire.rest() == b""
    assert door.answer(HISTORY).text.count("<version>") == versions + 1


def test_open_connections_go_on_where_no_authority_is_gone(renewable: Renewable) -> None:
    """Also where what vouches for a client came with it, and only the handshake saw it."""
    outsiders = Outsiders.of(renewable)
    between = outsiders.authority.authority("Between")
    with renewable.service.door.connect(between.client("xyz").pem) as wire:
        for count in (2, 3):
            wire.send(get())
            assert wire.answer().status == 200
            certificates.root(f"Authority {count}", renewable.folder).write(
                renewable.folder / "new-key.pem", renewable.folder / "new.pem"
            )
            with (renewable.folder / "client-ca.pem").open("ab") as file:
                file.write((renewable.folder / "new.pem").read_bytes())
            renewable.reread(count)
        wire.send(get())
        assert wire.answer().status == 200


def refused(door: Door, user: str | Path) -> bool:
    """Whether the handshake fails; under TLS 1.3 the client learns of it as it reads."""
    try:
        with door.connect(user) as wire:
            wire.send(get())
            return not wire.tls.recv(1)
    except (ssl.SSLError, ConnectionResetError):
        return True


BROKEN = {
    "no PEM": ("server.pem", lambda old: b"nothing of use"),
    "empty": ("server.pem", lambda old: b""),
    "a certificate without its key": ("server.pem", lambda old: old[old.index(b"-----BEGIN CERT") :]),
    "no authority": ("client-ca.pem", lambda old: b""),
    "gone": ("client-ca.pem", lambda old: None),
}


@pytest.mark.parametrize(("name", "broken"), BROKEN.values(), ids=BROKEN)
def test_files_that_are_broken_at_sighup_leave_the_old_ones_in_use_and_are_logged(
    renewable: Renewable, name: str, broken: Callable[[bytes], bytes | None]
) -> None:
    old = first_certificate(renewable.folder / "server.pem")
    file = renewable.folder / name
    good = file.read_bytes()
    bad = broken(good)
    if bad is None:
        file.unlink()
    else:
        file.write_bytes(bad)
    renewable.reread(1, event="certificates not read anew")
    assert renewable.server_certificate() == old
    assert renewable.service.door.answer(get()).status == 200
    file.write_bytes(good)
    new = renewable.renew()
    renewable.reread(1)
    assert renewable.server_certificate() == new


def test_no_client_is_lost_while_certificates_are_read_anew_again_and_again(renewable: Renewable) -> None:
    enough = threading.Event()

    def ask() -> int:
        count = 0
        with renewable.service.door.connect() as kept:
            while not enough.is_set():
                kept.send(get())
                assert kept.answer().status == 200
                assert renewable.service.door.answer(get()).status == 200
                count += 1
        return count

    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        try:
            for count in range(1, 6):
                renewable.renew()
                renewable.reread(count)
        finally:
            enough.set()
    assert all(each.result() > 0 for each in asking)


# --- starts that fail -------------------------------------------------------------------------------------


def checked(capsys: pytest.CaptureFixture[str], options: list[str]) -> tuple[int, str]:
    """What `ibt serve --check` ends with, and what it says is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--check", *options])
    return int(ended.value.code or 0), capsys.readouterr().err


def test_check_ends_with_status_0_where_all_is_well(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(capsys, place.options()) == (0, "")


def with_password(folder: Path) -> None:
    key = folder / "server.pem"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret"]
    locked = subprocess.run(command, check=True, capture_output=True).stdout
    key.write_bytes(locked + key.read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2])


def without(folder: Path, name: str, part: bytes) -> None:
    """Takes a part out of a PEM file."""
    before, begin, rest = (folder / name).read_bytes().partition(b"-----BEGIN " + part)
    (folder / name).write_bytes(before + (rest.partition(b"-----\n")[2].partition(b"-----\n")[2] if begin else b""))


WRONG: dict[str, tuple[Callable[[Path], object], dict[str, str], str]] = {
    "no such certificate": (
        lambda folder: (folder / "server.pem").unlink(),
        {},
        "server_certificate, FOLDER/server.pem, cannot be read: No such file or directory.",
    ),
    "a folder for a key": (
        lambda folder: None,
        {"server_key": "FOLDER"},
        "server_key, FOLDER, cannot be read: Is a directory.",
    ),
    "two files that are not there": (
        lambda folder: None,
        {"server_key": "FOLDER/key.pem", "client_ca": "FOLDER/clients.pem"},
        (
            "server_key, FOLDER/key.pem, cannot be read: No such file or directory.\n"
            "client_ca, FOLDER/clients.pem, cannot be read: No such file or directory."
        ),
    ),
    "no certificate in the file": (
        lambda folder: without(folder, "server.pem", b"CERTIFICATE"),
        {},
        "server_certificate, FOLDER/server.pem, holds no certificate: it must be PEM, the server's first.",
    ),
    "no key in the file": (
        lambda folder: without(folder, "server.pem", b"PRIVATE KEY"),
        {},
        (
            "server_certificate, FOLDER/server.pem, holds no private key: the server's must be there as PEM, or in "
            "server_key."
        ),
    ),
    "a key with a password": (
        with_password,
        {},
        "server_certificate, FOLDER/server.pem, has a private key with a password: write it without one.",
    ),
    "the key of another": (
        lambda folder: None,
        {"server_key": "FOLDER/ca-key.pem"},
        (
            "server_key, FOLDER/ca-key.pem, has a private key that is not that of the first certificate in "
            "FOLDER/server.pem."
        ),
    ),
    "no authority": (
        lambda folder: None,
        {"client_ca": "FOLDER/ca-key.pem"},
        "client_ca, FOLDER/ca-key.pem, holds no certificate: it must have the authorities' as PEM.",
    ),
    "neither key nor authority": (
        lambda folder: (folder / "empty.pem").touch(),
        {"server_key": "FOLDER/empty.pem", "client_ca": "FOLDER/empty.pem"},
        (
            "server_key, FOLDER/empty.pem, holds no private key: the server's must be there as PEM, or in "
            "server_key.\n"
            "client_ca, FOLDER/empty.pem, holds no certificate: it must have the authorities' as PEM."
        ),
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates that a test may spoil."""
    write_certificates(tmp_path)
    return tmp_path


@pytest.fixture
def spoilt(sqlite_place: Place, folder: Path) -> Place:
    return Place(folder, sqlite_place.url)


@pytest.mark.parametrize(("spoil", "changed", "told"), WRONG.values(), ids=WRONG)
def test_certificates_that_do_not_serve_are_told_in_a_sentence(
    spoilt: Place,
    spoil: Callable[[Path], object],
    changed: dict[str, str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(spoilt.folder)
    options = spoilt.options(**{name: text.replace("FOLDER", str(spoilt.folder)) for name, text in changed.items()})
    assert checked(capsys, options) == (2, told.replace("FOLDER", str(spoilt.folder)) + "\n")


@pytest.mark.parametrize("days", [-1000, 1000])
def test_a_certificate_that_is_expired_or_not_yet_valid_is_told(
    sqlite_place: Place, days: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = NOW + timedelta(days=days)
    write_certificates(tmp_path, then)
    begin, end = then - timedelta(minutes=5), then + timedelta(days=397)
    status, told = checked(capsys, Place(tmp_path, sqlite_place.url).options())
    assert status == 2
    assert told == (
        f"server_certificate, {tmp_path / 'server.pem'}, is valid from {begin:%F} to {end:%F}: no client will accept "
        "it now.\n"
    )


def test_a_port_in_use_is_told_with_status_2(sqlite_place: Place, tmp_path: Path) -> None:
    with serving(sqlite_place, tmp_path / "log") as service:
        port = service.door.port
        ended = ibt("serve", *sqlite_place.options(port=port), status=2)
        assert ended.stdout == ""
        assert ended.stderr == (f"It is not possible to listen on 127.0.0.1, port {port}: Address already in use.\n")
        assert service.door.answer(get()).status == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a..b"])
def test_a_host_that_is_not_ours_is_told_with_status_2(sqlite_place: Place, host: str) -> None:
    ended = ibt("serve", *sqlite_place.options(host=host), status=2)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(f"It is not possible to listen on {host}, port 0: ")


def test_a_database_without_our_tables_is_told_with_status_2_and_stays_empty(
    new_database: Callable[[], AbstractContextManager[str]], folder: Path
) -> None:
    with new_database() as url:
        ended = ibt("serve", *Place(folder, url).options(), status=2)
        assert ended.stdout == ""
        assert len(ended.stderr.splitlines()) == 1
        assert "ibt db upgrade" in ended.stderr
        if url.startswith("sqlite:///"):
            assert not Path(url.removeprefix("sqlite:///")).exists()


AWAY = [
    "postgresql://ibt:hunter2@127.0.0.1:1/ibt",
    "postgresql://ibt@127.0.0.1:1/ibt?password=hunter2",
    "postgresql:///ibt?host=/nowhere&password=hunter2",
    "sqlite:////nowhere/ibt.db",
    "postgresql://ibt:hunter2@127.0.0.1:port/ibt",
    "mysql://ibt:hunter2@127.0.0.1/ibt",
    "host=127.0.0.1 password=hunter2",
]


@pytest.mark.parametrize("url", AWAY)
def test_a_database_that_is_away_is_told_with_status_2_and_without_its_password(url: str, folder: Path) -> None:
    ended = ibt("serve", *Place(folder, url).options(), status=2)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    (folder / "ca.pem").unlink()
    ended = ibt("serve", *Place(folder, "sqlite:////nowhere/ibt.db").options(), status=2)
    assert [line.split(",")[0].split(" sqlite")[0] for line in ended.stderr.splitlines()] == [
        "client_ca",
        "The database",
    ]
