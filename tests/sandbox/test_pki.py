"""The sandbox's certificates, as OpenSSL and Python's strict checks see them. Reading 55."""

from __future__ import annotations

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from ibt.sandbox import pki

NOW = datetime.now(UTC)
USERS = ["xyz", "A.b-c_9", "u" * 64]


def made(folder: Path, now: datetime = NOW, host: str = "127.0.0.1") -> pki.Pair:
    """All certificates in *folder*, made or brought up to date at *now*."""
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, host, now)
    pki.client_certificates(folder, issuer, USERS, now)
    return issuer


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(folder: Path, before: dict[str, bytes]) -> set[str]:
    now = contents(folder)
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def strict_handshake(folder: Path, user: str, host: str) -> str:
    """Shakes hands in memory, both sides with the strict checks; returns the subject that the server sees."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "server.pem")
    server_side.verify_mode = ssl.CERT_REQUIRED
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.load_cert_chain(folder / "clients" / f"{user}.pem")
    for context in (server_side, client_side):
        context.load_verify_locations(folder / "ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname=host)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    seen = server.getpeercert(binary_form=True)
    assert seen is not None
    return x509.load_der_x509_certificate(seen).subject.rfc4514_string()


@pytest.mark.parametrize("user", USERS)
def test_openssl_accepts_a_client_certificate_strictly(tmp_path: Path, user: str) -> None:
    made(tmp_path)
    pem = tmp_path / "clients" / f"{user}.pem"
    verified = openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", tmp_path / "ca.pem", pem)
    assert verified.returncode == 0, verified.stderr


def test_openssl_accepts_the_server_certificate_strictly(tmp_path: Path) -> None:
    made(tmp_path)
    pem = tmp_path / "server.pem"
    verified = openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", tmp_path / "ca.pem", pem)
    assert verified.returncode == 0, verified.stderr


def test_a_client_certificate_is_none_of_a_server(tmp_path: Path) -> None:
    made(tmp_path)
    pem = tmp_path / "clients" / "xyz.pem"
    assert openssl("verify", "-purpose", "sslserver", "-CAfile", tmp_path / "ca.pem", pem).returncode != 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "ibt.example.test", "192.0.2.7", "2001:db8::7"])
def test_both_sides_accept_each_other_strictly(tmp_path: Path, host: str) -> None:
    made(tmp_path, host=host)
    for name in ("localhost", "127.0.0.1", "::1", host):
        assert strict_handshake(tmp_path, "xyz", name) == "CN=xyz"


@pytest.mark.parametrize("user", USERS)
def test_the_user_is_the_one_common_name_of_the_subject(tmp_path: Path, user: str) -> None:
    made(tmp_path)
    names = certificate(tmp_path / "clients" / f"{user}.pem").subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == [user]


def test_keys_are_p_256(tmp_path: Path) -> None:
    made(tmp_path)
    for path in (tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "clients" / "xyz.pem"):
        key = certificate(path).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


def test_only_their_owner_may_read_keys(tmp_path: Path) -> None:
    made(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "ca.pem":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "clients").stat().st_mode) == 0o700


def test_openssl_opens_a_p12_with_its_password(tmp_path: Path) -> None:
    made(tmp_path)
    p12 = tmp_path / "clients" / "xyz.p12"
    opened = openssl("pkcs12", "-in", p12, "-passin", "pass:sandbox", "-noenc")
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.count("BEGIN CERTIFICATE") == 2  # the user's and the authority's
    assert opened.stdout.count("BEGIN PRIVATE KEY") == 1
    assert openssl("pkcs12", "-in", p12, "-passin", "pass:other", "-noenc").returncode != 0


def test_certificates_are_valid_a_little_before_they_are_made(tmp_path: Path) -> None:
    made(tmp_path)
    for path in (tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "clients" / "xyz.pem"):
        assert NOW - timedelta(minutes=10) < certificate(path).not_valid_before_utc < NOW - timedelta(minutes=1)


def test_what_is_good_stays_byte_for_byte(tmp_path: Path) -> None:
    made(tmp_path)
    before = contents(tmp_path)
    made(tmp_path, NOW + timedelta(days=366))
    assert changed(tmp_path, before) == set()


ISSUED = {"server.pem"} | {f"clients/{user}.{kind}" for user in USERS for kind in ("pem", "p12")}
XYZ = {"clients/xyz.pem", "clients/xyz.p12"}


@pytest.mark.parametrize(
    ("days", "renewed"),
    [
        (397 - 31, set()),
        (397 - 30, ISSUED),
        (397 + 100, ISSUED),
        (3652 - 31, ISSUED),
        (3652 - 30, ISSUED | {"ca.pem"}),
    ],
)
def test_certificates_near_their_end_are_renewed(tmp_path: Path, days: int, renewed: set[str]) -> None:
    made(tmp_path)
    before = contents(tmp_path)
    made(tmp_path, NOW + timedelta(days=days))
    assert changed(tmp_path, before) == renewed


def test_a_renewed_authority_still_vouches_for_what_it_issued(tmp_path: Path) -> None:
    made(tmp_path, NOW - timedelta(days=3652 - 25))  # its end is in 25 days
    made(tmp_path, NOW - timedelta(days=100))  # makes all but the authority anew
    before, old = contents(tmp_path), certificate(tmp_path / "ca.pem")
    made(tmp_path)
    new = certificate(tmp_path / "ca.pem")
    assert (new.subject, new.public_key()) == (old.subject, old.public_key())
    assert new.not_valid_after_utc > NOW + timedelta(days=3000)
    # Users keep their certificates; only the bundles with the authority's old one are written again.
    assert changed(tmp_path, before) == {"ca.pem"} | {f"clients/{user}.p12" for user in USERS}
    _key, mine, others = pkcs12.load_key_and_certificates((tmp_path / "clients" / "xyz.p12").read_bytes(), b"sandbox")
    assert mine == certificate(tmp_path / "clients" / "xyz.pem")
    assert others == [new]
    assert strict_handshake(tmp_path, "xyz", "localhost") == "CN=xyz"


@pytest.mark.parametrize(
    ("missing", "remade"),
    [
        ("clients/xyz.p12", {"clients/xyz.p12"}),
        ("clients/xyz.pem", XYZ),
        ("server.pem", {"server.pem"}),
        ("ca.pem", ISSUED | {"ca.pem", "ca-key.pem"}),
        ("ca-key.pem", ISSUED | {"ca.pem", "ca-key.pem"}),
    ],
)
def test_what_is_missing_is_made_with_all_that_depends_on_it(tmp_path: Path, missing: str, remade: set[str]) -> None:
    made(tmp_path)
    before = contents(tmp_path)
    (tmp_path / missing).unlink()
    made(tmp_path)
    assert changed(tmp_path, before) == remade
    assert strict_handshake(tmp_path, "xyz", "localhost") == "CN=xyz"


def test_an_authority_torn_apart_is_made_anew(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
        made(folder)
    (ours / "ca-key.pem").write_bytes((other / "ca-key.pem").read_bytes())
    made(ours)
    assert strict_handshake(ours, "xyz", "localhost") == "CN=xyz"


def test_another_host_changes_only_the_server_certificate(tmp_path: Path) -> None:
    made(tmp_path)
    before = contents(tmp_path)
    made(tmp_path, host="ibt.example.test")
    assert changed(tmp_path, before) == {"server.pem"}
    before = contents(tmp_path)
    made(tmp_path, host="127.0.0.1")
    assert changed(tmp_path, before) == set()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("ca-key.pem", b"nothing of the kind"),
        ("ca.pem", b""),
        ("server.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("clients/xyz.pem", b"\xff\xfe"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, path: str, content: bytes) -> None:
    made(tmp_path)
    (tmp_path / path).write_bytes(content)
    with pytest.raises(pki.Damaged) as damaged:
        made(tmp_path)
    assert str(tmp_path / path) in str(damaged.value)


def test_a_file_that_cannot_be_named_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").mkdir()
    with pytest.raises(OSError, match="directory"):
        pki.write_file(tmp_path / "ca.pem", b"content", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["ca.pem"]


def test_certificates_of_a_sandbox_are_told_from_others(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "clients" / "mine.pem").write_text("my own notes")
    assert pki.issued_here(tmp_path / "clients" / "xyz.pem")
    assert not pki.issued_here(tmp_path / "clients" / "mine.pem")
    assert not pki.issued_here(tmp_path / "clients" / "absent.pem")
