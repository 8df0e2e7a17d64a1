"""
The service behind HAProxy and behind nginx, each with its file of `deploy/`: it conforms, and a client is who its
certificate says, whatever it sends.

Issue 7, point 3. Clause 1.2. Readings 8, 53, 55. RFC 9440.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import certificates
import proxies
from ibt import conformance
from ibt.conformance import wire
from ibt.conformance.messages import faults, path
from ibt.conformance.server import PATIENCE, TEXT, VENDOR, WORLD, Server

SUITE = Path(conformance.__file__).parent

MIB = 1024 * 1024

#: What does not hold behind a proxy, as it answers itself before the service is asked: docs/operate.md tells of each.
EXCEPT = {
    "haproxy": {
        # 400 as it should be, but HAProxy's words are HTML.
        *(
            f"test_a_message_of_doubtful_length_is_refused_and_the_connection_closed[{case}]"
            for case in (
                "both lengths",
                "both lengths, other order",
                "two lengths",
                "a length that is no number",
                "a negative length",
                "a field name with a blank",
            )
        ),
        # 400, as the test's Host leaves out the port that its target has.
        "test_an_absolute_target_is_accepted",
    },
    "nginx": {
        # 400 in the place of 404, for a path with a NUL and for none.
        "test_a_url_that_names_no_resource_is_not_found[/1001/subaccounts%00]",
        "test_options_of_the_whole_server_is_not_found",
    },
}


@dataclass(frozen=True)
class Behind:
    """A proxy that runs, what it is called, and the service behind it."""

    name: str
    server: Server
    service: proxies.Service
    place: proxies.Place

    def ask(self, user: str | Path | None, *fields: str, target: str = "/1001/subaccounts") -> wire.Answer:
        """The answer to a GET through the proxy."""
        return wire.exchange(self.server, user, wire.request("GET", f"{self.server.path}{target}", *fields))


@contextmanager
def behind(name: str, folder: Path, *options: str) -> Iterator[Behind]:
    """Runs the proxy *name* before a service of its own, on SQLite, with the world of the conformance suite."""
    place = proxies.made(folder, WORLD, f"sqlite:///{folder / 'ibt.db'}")
    (folder / "crl.pem").write_bytes(place.authority.revoke())
    with proxies.serving(place, folder, "--client-crl", str(folder / "crl.pem"), *options) as service:
        started = (
            proxies.haproxy(place, folder, [(service.port, service.operator_port)])
            if name == "haproxy"
            else proxies.nginx(place, folder, service)
        )
        with started as server:
            yield Behind(name, server, service, place)


@pytest.fixture(scope="module", params=EXCEPT)
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """Each proxy."""
    with behind(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[proxies.Service, proxies.Place]]:
    """A service that expects a proxy, and none before it."""
    folder = tmp_path_factory.mktemp("service")
    place = proxies.made(folder, WORLD, f"sqlite:///{folder / 'ibt.db'}")
    with proxies.serving(place, folder) as started:
        yield started, place


def client_cert(pem: Path) -> str:
    """The field by which a proxy names the client whose certificate is the first in *pem*."""
    certificate = x509.load_pem_x509_certificates(pem.read_bytes())[0]
    return f"Client-Cert: {sequence(certificate)}"


def sequence(certificate: x509.Certificate) -> str:
    """A byte sequence as RFC 8941 has it."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"


def logged(log: Path, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
    """The lines of the log that are wanted, once there are so many."""
    begin = time.monotonic()
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        found = [line for line in lines if wanted(line)]
        if len(found) >= count:
            return found
        assert time.monotonic() - begin < PATIENCE, f"{log.read_text()[-2000:]}"


# --- conformance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCEPT)
def test_the_service_conforms_behind_a_proxy(name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    with behind(name, tmp_path) as started:
        suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(SUITE)]
        where = ["--server-url", started.server.url, "--certificates", str(started.place.folder)]
        asked = subprocess.run([*suite, *where], capture_output=True, text=True, check=False)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None
    }
    assert failed == EXCEPT[name], asked.stdout[-4000:]
    assert len(cases) - len(failed) > 900


def test_an_absolute_target_of_the_host_that_is_named_is_accepted(proxied: Behind) -> None:
    host = f"localhost:{proxied.server.port}"
    request = f"GET https://{host}{proxied.server.path}/1001/subaccounts HTTP/1.1\r\nHost: {host}\r\n\r\n"
    assert wire.exchange(proxied.server, "alder", request.encode()).status_code == 200


def test_an_update_by_the_page_of_another_site_is_refused_and_by_an_own_one_is_not(proxied: Behind) -> None:
    host = f"localhost:{proxied.server.port}"
    for origin, status in ((f"https://{host}", 400), ("https://example.com", 403)):
        head = f"POST {proxied.server.path}{path(1001)} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n"
        rest = f"Content-Type: {VENDOR}\r\nContent-Length: 1\r\n\r\nx"
        faults(wire.exchange(proxied.server, "alder", (head + rest).encode()), status)


def test_an_answer_comes_as_the_service_gave_it(proxied: Behind) -> None:
    plain = proxied.ask("alder", target=path(1001))
    packed = proxied.ask("alder", "Accept-Encoding: gzip", target=path(1001))
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] == plain.headers["ETag"][:-1] + 'z"'
    assert proxied.ask("alder", f"If-None-Match: {plain.headers['ETag']}", target=path(1001)).status_code == 304
    head = wire.exchange(proxied.server, "alder", wire.request("HEAD", proxied.server.path + path(1001)))
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(plain.content)))


# --- who the client is ------------------------------------------------------------------------------------


def test_what_a_client_says_of_itself_does_not_pass_the_proxy(proxied: Behind) -> None:
    alder = client_cert(proxied.place.folder / "clients" / "alder.pem")
    (line,) = faults(proxied.ask(None, alder), 403)
    assert "No client certificate was sent" in line
    assert "birch" in faults(proxied.ask("birch", alder, alder), 403)[0]
    assert proxied.ask("birch", alder, target="/1002/subaccounts").status_code == 200
    assert proxied.ask("alder", "Client-Cert: x", "client-cert-chain: x").status_code == 200


def test_the_audit_has_the_address_of_the_client_and_not_what_it_says_of_it(proxied: Behind) -> None:
    fields = [f"Content-Type: {VENDOR}", "X-Forwarded-For: 192.0.2.66", "Forwarded: for=192.0.2.66"]
    target = f"{proxied.server.path}{path(1001)}"
    with connection_from("127.0.0.7", proxied.server, "alder") as connection:
        connection.sendall(wire.request("POST", target, *fields, "X-Request-ID: told-its-address", body=b"x"))
        faults(wire.answer(connection, "POST"), 400)
    with closing(sqlite3.connect(proxied.place.folder / "ibt.db")) as database:
        rows = database.execute("select address from audit where request_id = 'told-its-address'").fetchall()
    assert rows == [("127.0.0.7",)]


def connection_from(source: str, server: Server, user: str | Path | None) -> ssl.SSLSocket:
    """A new TLS connection of *user* from the address *source*."""
    raw = socket.create_connection(("127.0.0.1", server.port), PATIENCE, source_address=(source, 0))
    return server.tls(user).wrap_socket(raw, server_hostname="localhost")


def test_a_certificate_revoked_meanwhile_is_refused_on_a_connection_that_is_open(proxied: Behind) -> None:
    issued = proxied.place.authority.client("alder")
    request = wire.request("GET", f"{proxied.server.path}/1001/subaccounts")
    with wire.connection(proxied.server, issued.pem) as connection:
        connection.sendall(request)
        assert wire.answer(connection, "GET").status_code == 200
        (proxied.place.folder / "crl.pem").write_bytes(proxied.place.authority.revoke(issued.certificate))
        proxied.service.process.send_signal(signal.SIGHUP)
        logged(proxied.service.log, lambda line: line["event"] == "revocation lists read anew", 2)
        connection.sendall(request)
        (line,) = faults(wire.answer(connection, "GET"), 403)
    assert "was revoked" in line
    assert issued.fingerprint in line
    assert proxied.ask("alder").status_code == 200


def test_a_certificate_of_a_strange_authority_or_out_of_date_is_refused(proxied: Behind, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    strange = certificates.root("A stranger", tmp_path).client("alder").pem
    old = proxied.place.authority.client("alder", end=now - certificates.DAY / 2).pem
    for pem in (strange, old):
        if proxied.name == "haproxy":
            with pytest.raises((ssl.SSLError, ConnectionError)):
                proxied.ask(pem)
        else:
            assert "is not trusted or not in date" in faults_of_nginx(proxied.ask(pem), 403)


def faults_of_nginx(answer: wire.Answer, status: int) -> str:
    """The sentence that nginx says itself."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, TEXT)
    return answer.text


# --- the limits of the door -------------------------------------------------------------------------------

#: A head's target and fields, and the status by the service, by HAProxy, by nginx.
HEADS = {
    "a request line over 16 KiB": ("x" * 17_000, 0, 0, 414, 414),
    "a request line of 70 KB": ("x" * 70_000, 0, 0, 414, 414),
    "a request line of 84 KB": ("x" * 84_000, 0, 0, 400, 414),
    "99 fields": ("", 98, 1, 200, 200),
    "102 fields": ("", 101, 1, 431, 431),
    "fields of 60 KB": ("", 10, 6000, 200, 200),
    "fields of 66 KB": ("", 10, 6600, 431, 431),
    "a field of 70 KB": ("", 1, 70_000, 431, 431),
    "fields of 84 KB": ("", 10, 8400, 400, 431),
}


@pytest.mark.parametrize(("target", "fields", "size", "haproxy", "nginx"), HEADS.values(), ids=HEADS)
def test_a_head_has_its_limits(
    proxied: Behind, target: str, fields: int, size: int, haproxy: int, nginx: int
) -> None:
    lines = [f"X-{number}: {'y' * size}" for number in range(fields)]
    answer = proxied.ask("alder", *lines, target=f"/1001/subaccounts?{target}")
    assert answer.status_code == (haproxy if proxied.name == "haproxy" else nginx)


def test_a_body_of_more_than_16_mebibytes_is_refused(proxied: Behind) -> None:
    target, kind = f"{proxied.server.path}{path(1001)}", f"Content-Type: {VENDOR}"
    told = wire.request("POST", target, kind, f"Content-Length: {16 * MIB + 1}")
    faults(wire.exchange(proxied.server, "alder", told), 413)
    chunked = wire.request("POST", target, kind, "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
    faults(wire.exchange(proxied.server, "alder", chunked + chunk * 16 + b"1\r\n \r\n0\r\n\r\n"), 413)
    whole = wire.request("POST", target, kind, body=b" " * 16 * MIB)
    faults(wire.exchange(proxied.server, "alder", whole), 400)


@pytest.mark.parametrize(
    ("kind", "first"), [pytest.param(VENDOR, b"100", id="good"), pytest.param("text/html", b"415", id="bad")]
)
def test_a_client_that_asks_before_it_sends_is_answered(proxied: Behind, kind: str, first: bytes) -> None:
    """nginx says 100 to whoever asks, and the service answers when the body is there."""
    fields = (f"Content-Type: {kind}", "Content-Length: 1", "Expect: 100-continue")
    with wire.connection(proxied.server, "alder") as connection:
        connection.sendall(wire.request("POST", proxied.server.path + path(1001), *fields))
        answered = connection.recv(12)
        assert answered == b"HTTP/1.1 " + (b"100" if proxied.name == "nginx" else first)
        if answered.endswith(b"100"):
            while not answered.endswith(b"\r\n\r\n"):
                answered += connection.recv(1)
            connection.sendall(b"x")
            assert wire.answer(connection, "POST").status_code == (400 if kind == VENDOR else 415)


def test_a_slow_client_is_waited_for_by_the_proxy_and_not_by_the_service(proxied: Behind) -> None:
    whole = wire.request("POST", f"{proxied.server.path}{path(1001)}", f"Content-Type: {VENDOR}", body=b"x" * 99)
    request_ids = [f"slow-{proxied.name}-{number}" for number in range(2)]
    sent = [
        b"GET /sms_oper_contract HTTP/1.1\r\nX-Request-ID: %b\r\n" % request_ids[0].encode(),
        whole[:-50].replace(b"\r\n", b"\r\nX-Request-ID: %b\r\n" % request_ids[1].encode(), 1),
    ]
    before = proxied.service.log.read_text()
    connections = [wire.connection(proxied.server, "alder") for _ in sent]
    for connection, piece in zip(connections, sent, strict=True):
        connection.sendall(piece)
    for connection in connections:
        with connection:
            first = connection.recv(12)
            assert first == (b"HTTP/1.1 408" if proxied.name == "haproxy" else b"")
            while connection.recv(4096):
                pass
    assert proxied.ask("alder", "X-Request-ID: after-the-slow").status_code == 200
    logged(proxied.service.log, lambda line: line.get("id") == "after-the-slow")
    after = [json.loads(line) for line in proxied.service.log.read_text().removeprefix(before).splitlines()]
    assert [line for line in after if line.get("id") in request_ids or line.get("status") == 408] == []


def test_plain_http_is_neither_answered_nor_sent_elsewhere(proxied: Behind) -> None:
    with socket.create_connection(("127.0.0.1", proxied.server.port), PATIENCE) as plain:
        plain.sendall(wire.request("GET", f"{proxied.server.path}/1001/subaccounts"))
        answered = b"".join(iter(lambda: plain.recv(4096), b""))
    assert not answered.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3"))
    assert b"location:" not in answered.lower()


#: The fields and the body of requests whose end could be read in two ways, with another request behind one of them.
TWO_ENDS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "both lengths": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "both lengths, other order": (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n"),
    "two lengths": (("Content-Length: 0", "Content-Length: 5"), b""),
    "a coding that nobody knows": (("Transfer-Encoding: xchunked", "Content-Length: 0"), b""),
    "a length before a blank": (("Content-Length : 5", "Content-Length: 0"), b""),
}


@pytest.mark.parametrize(("fields", "body"), TWO_ENDS.values(), ids=TWO_ENDS)
def test_nothing_is_smuggled_past_a_proxy(proxied: Behind, fields: tuple[str, ...], body: bytes) -> None:
    target = proxied.server.path + path(1001)
    hidden = f"smuggled-{proxied.name}-{list(TWO_ENDS.values()).index((fields, body))}"
    behind_it = wire.request("GET", target, f"X-Request-ID: {hidden}")
    with wire.connection(proxied.server, "alder") as connection:
        connection.sendall(wire.request("POST", target, f"Content-Type: {VENDOR}", *fields) + body + behind_it)
        answered = b"".join(iter(lambda: connection.recv(4096), b""))
    (status,) = re.findall(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ", answered)
    assert status in {b"400", b"501"}
    assert proxied.ask("alder", f"X-Request-ID: after-{hidden}").status_code == 200
    logged(proxied.service.log, lambda line: line.get("id") == f"after-{hidden}")
    assert f'"{hidden}"' not in proxied.service.log.read_text()


# --- the service itself -----------------------------------------------------------------------------------

Running = tuple[proxies.Service, proxies.Place]


def direct(service: Running, user: str | Path | None, *fields: str, source: str = "127.0.0.1") -> wire.Answer:
    """The answer to a GET that comes by TLS from the address *source*."""
    started, place = service
    server = Server(f"https://localhost:{started.port}{proxies.PATH}", place.folder)
    with connection_from(source, server, user) as connection:
        for _ in range(2):  # on a connection that is kept the second is judged as the first
            connection.sendall(wire.request("GET", f"{server.path}/1001/subaccounts", *fields))
            answer = wire.answer(connection, "GET")
        return answer


def by_socket(service: Running, *fields: str) -> wire.Answer:
    """The answer to a GET that comes by the proxies' own socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(service[0].socket))
        connection.sendall(wire.request("GET", f"{proxies.PATH}/1001/subaccounts", *fields))
        response = HTTPResponse(connection)
        response.begin()
        return wire.Answer(response.status, response.headers, response.read())


def test_who_is_no_proxy_cannot_say_who_it_is_and_the_log_tells_of_it_once(service: Running) -> None:
    alder = client_cert(service[1].folder / "clients" / "alder.pem")
    (line,) = faults(direct(service, None, alder, source="127.0.0.2"), 403)
    assert "No client certificate was sent" in line
    assert "birch" in faults(direct(service, "birch", alder, source="127.0.0.3"), 403)[0]
    assert direct(service, "alder", "Client-Cert: x", source="127.0.0.4").status_code == 200
    claims = logged(service[0].log, lambda line: line["event"] == "client certificate claimed", 3)
    assert sorted(claim["address"] for claim in claims) == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


def test_a_proxys_own_certificate_is_nobodys(service: Running) -> None:
    (line,) = faults(direct(service, "alder"), 403)
    assert "No client certificate was sent" in line
    birch = client_cert(service[1].folder / "clients" / "birch.pem")
    assert "birch" in faults(direct(service, "alder", birch), 403)[0]


def test_a_proxy_that_verifies_nothing_lets_nobody_in(service: Running, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = service[1].authority
    wrong = {
        "of another authority": certificates.root("A stranger", tmp_path).client("alder").pem,
        "of one that calls itself the same": certificates.root("ibt sandbox authority", tmp_path).client("alder").pem,
        "signed by itself": certificates.self_signed("alder", tmp_path).pem,
        "old": authority.client("alder", end=now - certificates.DAY / 2).pem,
        "not yet": authority.client("alder", begin=now + certificates.DAY / 2).pem,
        "for servers": authority.client("alder", usages=(certificates.SERVER,)).pem,
    }
    said = {name: faults(by_socket(service, client_cert(pem)), 403)[0] for name, pem in wrong.items()}
    assert {name for name, line in said.items() if "vouches" not in line} == {"old"}
    assert "past the end" in said["old"]
    assert by_socket(service, client_cert(authority.client("alder").pem)).status_code == 200


def test_the_socket_is_for_owner_and_group_and_goes_with_the_service(tmp_path: Path) -> None:
    place = proxies.made(tmp_path, WORLD, f"sqlite:///{tmp_path / 'ibt.db'}")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "proxy.sock"))
    left.close()  # as by a service that was killed
    with proxies.serving(place, tmp_path) as started:
        assert started.socket.stat().st_mode & 0o777 == 0o660
        second = [
            sys.executable,
            "-m",
            "ibt",
            "serve",
            "--port",
            "0",
            "--operator-port",
            "0",
            "--database",
            place.url,
        ]
        files = ["--server-certificate", str(tmp_path / "server.pem"), "--client-ca", str(tmp_path / "ca.pem")]
        refused = subprocess.run(
            [*second, *files, "--database", place.url, "--proxy-socket", str(started.socket)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (refused.returncode, refused.stderr) == (
            2,
            f"It is not possible to listen on {started.socket}: Address already in use.\n",
        )
        assert by_socket((started, place)).status_code == 403
    assert not started.socket.exists()
