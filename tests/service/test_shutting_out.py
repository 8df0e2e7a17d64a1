"""
Who is shut out of a service that runs: on connections that are open as on new ones, by each of its workers.

Issue 7, point 1. Readings 9, 54, 55.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from markets import write_market
from test_operation import Place, Service, ibt, serving

import certificates
from certificates import DAY, Authority, Issued
from ibt.sandbox import pki

sys.path.append(str(Path(__file__).parents[1] / "door"))
from wire import PATIENCE, Answer, Wire, get, post, update  # it lies with the tests of the door

NOW = datetime.now(UTC).replace(microsecond=0)

WORKERS = 2

#: So many connections that each worker has some of them, but for a chance in a thousand.
CONNECTIONS = 12


@dataclass(frozen=True)
class Realm:
    """An authority, its folder with what a service needs, and the URL of a database with the sample market."""

    authority: Authority
    place: Place

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def crl(self) -> Path:
        return self.folder / "crl.pem"

    def publish(self, content: bytes) -> None:
        """Puts a list in the place of the one that is there."""
        new = self.folder / "crl.pem.new"
        new.write_bytes(content)
        new.replace(self.crl)

    def ibt(self, *arguments: object) -> str:
        """What a command on the database says."""
        return ibt(*map(str, arguments), "--database", self.place.url).stdout


@pytest.fixture(scope="module")
def realm(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Realm]:
    """One on each kind of database."""
    with new_database() as url:
        yield made(tmp_path_factory.mktemp("realm"), url)


@pytest.fixture
def own_realm(tmp_path: Path) -> Realm:
    """One on SQLite, for what has nothing to do with the kind of database."""
    return made(tmp_path, f"sqlite:///{tmp_path / 'ibt.db'}")


def made(folder: Path, url: str) -> Realm:
    authority = certificates.root("ibt sandbox authority", folder)
    authority.write(folder / "ca-key.pem", folder / "ca.pem")
    pki.server_certificate(folder, pki.authority(folder, NOW), "localhost", NOW)
    (folder / "market").mkdir()
    ibt("db", "upgrade", "--database", url)
    ibt("load", str(write_market(folder / "market")), "--database", url)
    realm = Realm(authority, Place(folder, url))
    realm.publish(authority.revoke())
    return realm


@contextmanager
def connected(service: Service, pem: Path, count: int = CONNECTIONS) -> Iterator[list[Wire]]:
    """So many open connections with a certificate, each of which was answered 200."""
    with ExitStack() as stack:
        wires = [stack.enter_context(service.door.connect(pem)) for _ in range(count)]
        assert [answer.status for answer in asked(wires)] == count * [200]
        yield wires


def asked(wires: list[Wire], request: bytes = get()) -> list[Answer]:
    """The answers to a request on each of *wires*."""
    for wire in wires:
        wire.send(request)
    return [wire.answer() for wire in wires]


def seconds_until(wires: list[Wire], status: int) -> float:
    """How long it takes until each of *wires*, which are asked again and again, is answered with *status*."""
    begin = time.monotonic()
    waiting = wires
    while waiting := [wire for wire, answer in zip(waiting, asked(waiting), strict=True) if answer.status != status]:
        assert time.monotonic() - begin < PATIENCE, f"{len(waiting)} connections are not answered {status}"
    return time.monotonic() - begin


# --- commands ---------------------------------------------------------------------------------------------


def revoke_by_list(realm: Realm, service: Service, issued: Issued) -> None:
    """Publishes a list with the certificate, and has it read."""
    realm.publish(realm.authority.revoke(issued.certificate))
    service.process.send_signal(signal.SIGHUP)


def restore_by_list(realm: Realm, service: Service) -> None:
    realm.publish(realm.authority.revoke())
    service.process.send_signal(signal.SIGHUP)


Way = Callable[[Realm, Service, Issued], object]

#: What shuts the user xyz out, by which rule, and what lets them in again.
WAYS: Mapping[str, tuple[Way, str, Way]] = {
    "users remove": (
        lambda realm, *_: realm.ibt("users", "remove", "xyz"),
        "role-missing",
        lambda realm, *_: realm.ibt("users", "add", "xyz", "--customer", 1),
    ),
    "users revoke": (
        lambda realm, *_: realm.ibt("users", "revoke", "xyz", 1),
        "role-missing",
        lambda realm, *_: realm.ibt("users", "grant", "xyz", 1),
    ),
    "certificates revoke": (
        lambda realm, _, issued: realm.ibt("certificates", "revoke", issued.pem),
        "certificate-revoked",
        lambda realm, _, issued: realm.ibt("certificates", "revoke", issued.pem, "--undo"),
    ),
    "certificates pin, another": (
        lambda realm, *_: realm.ibt("certificates", "pin", "xyz", "ab" * 32),
        "certificate-not-pinned",
        lambda realm, *_: realm.ibt("certificates", "unpin", "xyz", "ab" * 32),
    ),
    "a list, and SIGHUP": (
        revoke_by_list,
        "certificate-revoked",
        lambda realm, service, _: restore_by_list(realm, service),
    ),
}


@pytest.fixture(scope="module")
def shared(realm: Realm) -> Iterator[Service]:
    """A service on each kind of database, whose people every test leaves as they were."""
    with serving(realm.place, realm.folder / "log", workers=WORKERS, client_crl=realm.crl) as service:
        yield service
        assert service.end() == 0


@pytest.mark.parametrize(("shut", "rule", "let"), WAYS.values(), ids=WAYS)
def test_who_is_shut_out_is_refused_on_an_open_connection_within_a_second(
    realm: Realm, shared: Service, shut: Way, rule: str, let: Way, record_property: Callable[[str, object], None]
) -> None:
    mine, other = realm.authority.client("xyz"), realm.authority.client("qrs")
    with connected(shared, mine.pem) as wires:
        shut(realm, shared, mine)
        seconds = seconds_until(wires, 403)
        record_property("seconds until every open connection is refused", round(seconds, 3))
        answers = asked(wires)
        assert {answer.status for answer in answers} == {403}
        assert "connection" not in answers[0]  # it stays open
        logged = shared.door.logged(event="request", rule=rule, status=403, fingerprint=mine.fingerprint)
        assert logged.items() >= mine.names.items()
        assert shared.door.answer(get(), mine.pem).status == 403
        refused = shared.door.answer(post(update("Default")), mine.pem)
        assert (refused.status, refused.text.count("\n")) == (403, 1)
        assert shared.door.answer(get("/sms_oper_contract/api/customers/2/subaccounts"), other.pem).status == 200
        let(realm, shared, mine)
        seconds_until(wires, 200)


def test_a_user_is_let_in_by_the_pinned_certificate_and_no_other(realm: Realm, shared: Service) -> None:
    mine, other = realm.authority.client("xyz"), realm.authority.client("xyz")

    def statuses() -> list[int]:
        return [shared.door.answer(get(), each.pem).status for each in (mine, other)]

    realm.ibt("certificates", "pin", "xyz", mine.pem)
    assert statuses() == [200, 403]
    realm.ibt("certificates", "pin", "xyz", other.fingerprint)
    assert statuses() == [200, 200]
    realm.ibt("certificates", "unpin", "xyz", mine.pem)
    assert statuses() == [403, 200]
    realm.ibt("certificates", "unpin", "xyz", other.pem)
    assert statuses() == [200, 200]


def test_an_update_whose_body_comes_after_its_sender_was_shut_out_is_refused(
    own_realm: Realm, tmp_path: Path
) -> None:
    mine = own_realm.authority.client("xyz")
    head, _, body = post(update("ABC1"), "Expect: 100-continue").partition(b"\r\n\r\n")
    with serving(own_realm.place, tmp_path / "log", workers=1, client_crl=own_realm.crl) as service:
        for shut, _, let in (WAYS["certificates revoke"], WAYS["a list, and SIGHUP"]):
            with service.door.connect(mine.pem) as slow, service.door.connect(mine.pem) as wire:
                slow.send(head + b"\r\n\r\n")
                assert slow.answer().status == 100
                shut(own_realm, service, mine)
                seconds_until([wire], 403)
                slow.send(body)
                assert slow.answer("POST").status == 403
                let(own_realm, service, mine)
                seconds_until([wire], 200)


def test_another_encoding_of_a_revoked_certificate_is_refused_too(own_realm: Realm, tmp_path: Path) -> None:
    mine = own_realm.authority.client("xyz")
    twin = mine.encoded_otherwise()
    with serving(own_realm.place, tmp_path / "log", client_crl=own_realm.crl) as service:
        assert service.door.answer(get(), twin).status == 200
        own_realm.ibt("certificates", "revoke", mine.pem)
        refused = service.door.answer(get(), twin)
        assert refused.status == 403
        assert mine.fingerprint not in refused.text
        own_realm.ibt("certificates", "revoke", mine.pem, "--undo")
        assert service.door.answer(get(), twin).status == 200
        with service.door.connect(twin) as wire:
            revoke_by_list(own_realm, service, mine)
            seconds_until([wire], 403)


def test_the_sandbox_takes_the_commands_too(tmp_path: Path) -> None:
    from wire import door  # noqa: PLC0415 - as above

    with door(tmp_path / "sandbox") as sandbox, sandbox.connect("xyz") as wire:
        database = ("--database", f"sqlite:///{tmp_path / 'sandbox' / 'ibt.db'}")
        assert asked([wire])[0].status == 200
        ibt("certificates", "revoke", str(tmp_path / "sandbox" / "clients" / "xyz.pem"), *database)
        assert asked([wire])[0].status == 403
        ibt("certificates", "revoke", str(tmp_path / "sandbox" / "clients" / "xyz.pem"), "--undo", *database)
        ibt("users", "revoke", "xyz", "1", *database)
        assert asked([wire])[0].status == 403
        ibt("users", "grant", "xyz", "1", *database)
        assert asked([wire])[0].status == 200


# --- lists of revoked certificates ------------------------------------------------------------------------


def test_a_new_list_is_read_without_being_told(own_realm: Realm, tmp_path: Path) -> None:
    mine = own_realm.authority.client("xyz")
    with (
        serving(own_realm.place, tmp_path / "log", workers=WORKERS, client_crl=own_realm.crl) as service,
        connected(service, mine.pem) as wires,
    ):
        own_realm.publish(own_realm.authority.revoke(mine.certificate))
        seconds_until(wires, 403)
        service.await_logged(WORKERS, event="revocation lists read anew", revoked=1)


def test_a_broken_list_leaves_the_last_good_one_in_each_worker(own_realm: Realm, tmp_path: Path) -> None:
    mine = own_realm.authority.client("xyz")
    own_realm.publish(own_realm.authority.revoke(mine.certificate))
    with serving(own_realm.place, tmp_path / "log", workers=WORKERS, client_crl=own_realm.crl) as service:
        own_realm.publish(b"-----BEGIN X509 CRL-----\n")
        service.process.send_signal(signal.SIGHUP)
        service.await_logged(WORKERS, event="revocation lists not read anew")
        service.await_logged(WORKERS, event="certificates read anew")
        assert {service.door.answer(get(), mine.pem).status for _ in range(CONNECTIONS)} == {403}


FAULTS: Mapping[str, tuple[Callable[[Realm], bytes], str]] = {
    "a stranger's list": (
        lambda realm: certificates.root("A stranger", realm.folder).revoke(),
        'has a list of "CN=A stranger", who is no authority in client_ca: leave it out, or add the authority.',
    ),
    "no list": (
        lambda _: b"",
        (
            "holds no list of revoked certificates: it must have the CRLs of the authorities in client_ca, as PEM, "
            "or one as DER."
        ),
    ),
}


@pytest.mark.parametrize(("content", "told"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("options", [(), ("--check",)], ids=["start", "check"])
def test_a_file_that_cannot_be_used_is_told_at_the_start(
    own_realm: Realm, content: Callable[[Realm], bytes], told: str, options: tuple[str, ...]
) -> None:
    own_realm.publish(content(own_realm))
    ran = ibt("serve", *own_realm.place.options(client_crl=own_realm.crl), *options, status=2)
    assert ran.stderr == f"client_crl, {own_realm.crl}, {told}\n"


def test_a_file_that_is_not_there_is_told_at_the_start(own_realm: Realm) -> None:
    own_realm.crl.unlink()
    ran = ibt("serve", *own_realm.place.options(client_crl=own_realm.crl), status=2)
    assert ran.stderr == f"client_crl, {own_realm.crl}, cannot be read: No such file or directory.\n"


def told_by_operator(port: int, path: str) -> tuple[int, str]:
    """What the operator is told."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def crl_end(port: int) -> float:
    """The metric."""
    (value,) = re.findall(r"^ibt_client_crl_end_seconds (\S+)$", told_by_operator(port, "/metrics")[1], re.MULTILINE)
    return float(value)


@pytest.fixture
def operator_port() -> Iterator[int]:
    """A port that nobody else gets meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


ENDED = "The list of revoked certificates is past its end: put a new one in the place of client_crl.\n"


@pytest.mark.parametrize(
    ("expired", "status", "ready"), [("refuse", 503, (503, ENDED)), ("warn", 200, (200, "ok\n"))]
)
def test_a_list_past_its_end_refuses_everyone_or_not_as_it_is_set(
    own_realm: Realm, operator_port: int, tmp_path: Path, expired: str, status: int, ready: tuple[int, str]
) -> None:
    good, bad = own_realm.authority.client("xyz"), own_realm.authority.client("xyz")
    end = NOW - timedelta(hours=1)
    own_realm.publish(own_realm.authority.revoke(bad.certificate, end=end))
    with serving(
        own_realm.place,
        tmp_path / "log",
        workers=WORKERS,
        operator_port=operator_port,
        client_crl=own_realm.crl,
        client_crl_expired=expired,
    ) as service:
        assert service.door.answer(get(), good.pem).status == status
        assert service.door.answer(get(), bad.pem).status == 403
        assert service.door.answer(get(), None).status == 403
        assert told_by_operator(operator_port, "/readyz") == ready
        assert crl_end(operator_port) == end.timestamp()
        service.await_logged(WORKERS, event="revocation list past its end")
        own_realm.publish(own_realm.authority.revoke(bad.certificate, end=NOW + DAY))
        service.process.send_signal(signal.SIGHUP)
        service.await_logged(WORKERS, event="certificates read anew")
        assert [service.door.answer(get(), each.pem).status for each in (good, bad)] == [200, 403]
        assert told_by_operator(operator_port, "/readyz") == (200, "ok\n")
        assert crl_end(operator_port) == (NOW + DAY).timestamp()


def test_without_lists_there_is_no_end(own_realm: Realm, operator_port: int, tmp_path: Path) -> None:
    with serving(own_realm.place, tmp_path / "log", operator_port=operator_port):
        assert crl_end(operator_port) == float("inf")
        assert told_by_operator(operator_port, "/readyz") == (200, "ok\n")


def test_a_list_that_openssl_makes_is_gone_by(own_realm: Realm, tmp_path: Path) -> None:
    folder, mine = own_realm.folder, own_realm.authority.client("xyz")
    config = folder / "ca.conf"
    config.write_text(
        f"[ca]\ndefault_ca = ours\n[ours]\ndatabase = {folder}/index.txt\ncrlnumber = {folder}/number\n"
        f"certificate = {folder}/ca.pem\nprivate_key = {folder}/ca-key.pem\n"
        "default_md = sha256\ndefault_crl_days = 7\ncrl_extensions = extensions\n"
        "[extensions]\nauthorityKeyIdentifier = keyid:always\n"
    )
    (folder / "index.txt").write_text("")
    (folder / "number").write_text("01\n")
    (folder / "mine.pem").write_bytes(mine.certificate.public_bytes(Encoding.PEM))
    for arguments in (
        ("-revoke", folder / "mine.pem", "-crl_reason", "keyCompromise"),
        ("-gencrl", "-out", own_realm.crl),
    ):
        command = ["openssl", "ca", "-batch", "-config", str(config), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)
    other = own_realm.authority.client("xyz")
    with serving(own_realm.place, tmp_path / "log", client_crl=own_realm.crl) as service:
        assert [service.door.answer(get(), each.pem).status for each in (mine, other)] == [403, 200]


# --- certificates that end --------------------------------------------------------------------------------


def test_a_certificate_that_ends_soon_is_logged_once_by_each_worker_that_sees_it(
    own_realm: Realm, tmp_path: Path
) -> None:
    soon = own_realm.authority.client("xyz", end=NOW + 29 * DAY)
    later = own_realm.authority.client("xyz", end=NOW + 31 * DAY)
    with serving(own_realm.place, tmp_path / "log", workers=WORKERS) as service:
        for pem in (later.pem, soon.pem):
            with connected(service, pem) as wires:
                asked(wires)
        assert service.door.answer(get("/last"), later.pem).status == 404
        service.door.logged(path="/last")
        lines = [line for line in (tmp_path / "log").read_text().splitlines() if "certificate ends soon" in line]
    assert 1 <= len(lines) <= WORKERS
    assert all(soon.fingerprint in line and '"level": "warning"' in line for line in lines)
