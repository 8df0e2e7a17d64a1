"""
Clause 1.2, accessing the IBT web services. Readings 8, 55.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ibt.conformance import wire
from ibt.conformance.messages import faults, path
from ibt.conformance.server import Server

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that signs clients' certificates for these tests."""

    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    folder: Path

    def client(
        self,
        *common_names: str,
        begin: datetime | None = None,
        end: datetime | None = None,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    ) -> Path:
        """A PEM file with a new key and a certificate whose subject has these common names."""
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Conformance"), *names]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin or now - DAY)
            .not_valid_after(end or now + DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = self.folder / f"{certificate.serial_number}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return pem


@pytest.fixture
def authority(server: Server, tmp_path: Path) -> Authority:
    """The sandbox's own authority: its key lies beside its certificate."""
    key = serialization.load_pem_private_key((server.directory / "ca-key.pem").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(
        key, x509.load_pem_x509_certificate((server.directory / "ca.pem").read_bytes()).subject, tmp_path
    )


@pytest.fixture
def stranger(authority: Authority, tmp_path: Path) -> Authority:
    """An authority of the same name that the server does not trust."""
    return Authority(ec.generate_private_key(ec.SECP256R1()), authority.name, tmp_path)


@pytest.fixture
def ask(server: Server) -> Callable[[Path], wire.Answer]:
    """Asks for customer 1001's subaccounts with a certificate."""

    def ask(certificate: Path) -> wire.Answer:
        return wire.exchange(server, certificate, wire.request("GET", f"{server.path}/1001/subaccounts"))

    return ask


@pytest.fixture
def nobody(server: Server) -> Iterator[httpx2.Client]:
    """A client without a certificate."""
    with server.client(None) as client:
        yield client


OPERATIONS = [
    pytest.param("GET", "/1001/subaccounts", id="subaccounts"),
    pytest.param("HEAD", "/1001/subaccounts", id="head"),
    pytest.param("GET", path(1001), id="collection"),
    pytest.param("POST", path(1001), id="post"),
    pytest.param("GET", path(1001, 7), id="contract"),
    pytest.param("OPTIONS", path(1001), id="options"),
    pytest.param("PUT", path(1001), id="method not allowed"),
    pytest.param("GET", "/nothing/here", id="unknown URL"),
]


@pytest.mark.any_server
@pytest.mark.parametrize(("method", "target"), OPERATIONS)
def test_without_a_certificate_every_operation_is_refused(nobody: httpx2.Client, method: str, target: str) -> None:
    """
    "Access to IBT web services is managed through ... digital certificates." The connection is accepted and
    each operation answers 403. Reading 8.
    """
    assert nobody.request(method, target).status_code == 403


@pytest.mark.any_server
def test_without_a_certificate_one_sentence_says_what_was_missing(nobody: httpx2.Client) -> None:
    """
    "The client error 4XX response status codes are used ... along with a standard text/plain HTTP response
    body." One sentence. Reading 8.
    """
    (line,) = faults(nobody.get("/1001/subaccounts"), 403)
    assert "certificate" in line


@pytest.mark.any_server
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_service_speaks_tls(server: Server, version: ssl.TLSVersion) -> None:
    """
    "The IBT web services are based on REST over HTTPS (version 1.1)." TLS 1.2 and later. Reading 58.
    """
    context = server.tls("alder")
    context.minimum_version = context.maximum_version = version
    with httpx2.Client(base_url=server.url, verify=context, trust_env=False) as client:
        answer = client.get("/1001/subaccounts")
    assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")


@pytest.mark.any_server
def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    """
    "All web service requests follow the request/response pattern supported by HTTP(S) communication." One
    connection serves requests one after another, refused ones too. Reading 58.
    """
    with wire.connection(server, "alder") as connection:
        statuses = []
        for target in ("/1001/subaccounts", "/nothing", "/1002/subaccounts", path(1001, 7)):
            connection.sendall(wire.request("GET", server.path + target))
            statuses.append(wire.answer(connection, "GET").status_code)
    assert statuses == [200, 404, 403, 200]


@pytest.mark.any_server
def test_requests_may_be_sent_ahead_of_the_answers(server: Server) -> None:
    """
    "REST over HTTPS (version 1.1)." Pipelined requests are answered in their order. Reading 58.
    """
    with wire.connection(server, "alder") as connection:
        connection.sendall(b"".join(wire.request("HEAD", server.path + each) for each in ("/1001/subaccounts", "/x")))
        assert [wire.answer(connection, "HEAD").status_code for _ in range(2)] == [200, 404]


@pytest.mark.sandbox
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_servers_certificate_names_the_host(server: Server, host: str) -> None:
    """
    "The web service is accessible to authorized Participants through an ISO New England published URL."
    """
    with httpx2.Client(verify=server.tls("alder"), trust_env=False) as client:
        assert client.get(f"https://{host}:{server.port}{server.path}/1001/subaccounts").status_code == 200


@pytest.mark.sandbox
def test_a_renewed_certificate_is_the_same_user(authority: Authority, ask: Callable[[Path], wire.Answer]) -> None:
    """
    "The SA is also responsible for issuing digital certificates to users": a user is known by the common
    name, not by one certificate; several may be valid at once. Reading 55.
    """
    certificates = [authority.client("alder"), authority.client("alder")]
    assert [ask(each).status_code for each in (*certificates, certificates[0])] == [200, 200, 200]


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "common_names",
    [
        pytest.param((), id="none"),
        pytest.param(("alder", "alder"), id="the same twice"),
        pytest.param(("alder", "birch"), id="two users"),
        pytest.param(("somebody",), id="a user that we do not have"),
        pytest.param(("alder ",), id="a blank more"),
        pytest.param(("ald%",), id="a wildcard"),
    ],
)
def test_a_subject_that_is_not_one_user_is_refused(
    authority: Authority, ask: Callable[[Path], wire.Answer], common_names: tuple[str, ...]
) -> None:
    """
    "The web service is accessible to authorized Participants": a subject with no or two common names, or
    with one that is no user's, is 403. Readings 9, 55.
    """
    faults(ask(authority.client(*common_names)), 403)


@pytest.mark.sandbox
def test_an_authority_that_is_not_trusted_fails_the_handshake(
    stranger: Authority, ask: Callable[[Path], wire.Answer]
) -> None:
    """
    "Access to IBT web services is managed through the Customer and Asset Management System": a certificate
    of another authority, even one of the same name, fails the handshake. Reading 8.
    """
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(stranger.client("alder"))


@pytest.mark.sandbox
@pytest.mark.parametrize(("begin", "end"), [pytest.param(-2, -1, id="expired"), pytest.param(1, 2, id="not yet")])
def test_a_certificate_outside_its_time_fails_the_handshake(
    authority: Authority, ask: Callable[[Path], wire.Answer], begin: int, end: int
) -> None:
    """
    "Issuing digital certificates to users, as required": a certificate outside its time fails the handshake.
    Reading 8.
    """
    now = datetime.now(UTC)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(authority.client("alder", begin=now + begin * DAY, end=now + end * DAY))


@pytest.mark.sandbox
def test_a_certificate_for_servers_fails_the_handshake(
    authority: Authority, ask: Callable[[Path], wire.Answer]
) -> None:
    """
    "Issuing digital certificates to users": a certificate that may not be used by clients fails the
    handshake. Reading 55.
    """
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(authority.client("alder", usage=ExtendedKeyUsageOID.SERVER_AUTH))
