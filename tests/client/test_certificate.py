"""
Certificates, keys and authorities as people have them, and what is told where they do not serve.

Clause 1.2; readings 8, 55.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from ibt import CertificateFailed, Client
from ibt.client import read_identity, tls_context

if TYPE_CHECKING:
    from client.conftest import Sandbox
    from client.proxy import Gateway


@dataclass(frozen=True)
class Files:
    """The certificate of user `one` in all the forms that people keep it in."""

    folder: Path
    sandbox: Sandbox

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def files(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    content = sandbox.certificate("one").read_bytes()
    certificate, key = x509.load_pem_x509_certificate(content), load_pem_private_key(content, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    pem, ca = certificate.public_bytes(Encoding.PEM), sandbox.ca.read_bytes()
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption("sésame".encode()))
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = {
        "both.pem": content,
        "chain first.pem": ca + pem + plain,
        "old.pem": parameters + old + pem,
        "certificate.pem": pem,
        "key.pem": plain,
        "secret.pem": secret,
        "other.pem": other,
        "one.pfx": pkcs12.serialize_key_and_certificates(b"one", key, certificate, None, NoEncryption()),
        "only certificate.p12": pkcs12.serialize_key_and_certificates(
            b"one", None, None, [certificate], BestAvailableEncryption(b"x")
        ),
        "empty.pem": b"",
        "broken.pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "broken key.pem": b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        "der.cer": certificate.public_bytes(Encoding.DER),
    }
    for name, bytes_of_it in contents.items():
        (folder / name).write_bytes(bytes_of_it)
    (folder / "one.p12").write_bytes(sandbox.certificate("one").with_suffix(".p12").read_bytes())
    return Files(folder, sandbox)


FORMS: list[tuple[str, str, str | None, str | None]] = [
    ("one PEM", "both.pem", None, None),
    ("one PEM, and a password that is not needed", "both.pem", None, "x"),
    ("one PEM with its authority first", "chain first.pem", None, None),
    ("an old PEM of OpenSSL's", "old.pem", None, None),
    ("a key in another file", "certificate.pem", "key.pem", None),
    ("an encrypted key", "certificate.pem", "secret.pem", "sésame"),
    ("PKCS#12", "one.p12", None, "sandbox"),
    ("PKCS#12 without a password", "one.pfx", None, None),
]


@pytest.mark.parametrize(("certificate", "key", "password"), [pytest.param(*form, id=name) for name, *form in FORMS])
def test_a_certificate_serves_in_every_form(
    files: Files, certificate: str, key: str | None, password: str | None
) -> None:
    sandbox = files.sandbox
    with Client(
        sandbox.url, files[certificate], files[key] if key else None, password, sandbox.ca, 1, retries=0
    ) as client:
        assert len(client.subaccounts()) == 5


FAULTS: list[tuple[str, str, str | None, str | None, str]] = [
    ("no file", "nowhere.pem", None, None, "There is no file {}nowhere.pem"),
    ("a folder", "", None, None, "{} cannot be read: Is a directory"),
    ("no key file", "certificate.pem", "nowhere.pem", None, "There is no file {}nowhere.pem"),
    ("no key", "certificate.pem", None, None, "{}certificate.pem has no private key: say in which file it is"),
    ("no certificate", "key.pem", None, None, "{}key.pem has no certificate that can be read"),
    ("another key", "certificate.pem", "other.pem", None,
     "The key in {}other.pem does not belong to the certificate in {}certificate.pem"),
    ("no password", "certificate.pem", "secret.pem", None, "The key in {}secret.pem is encrypted: give its password"),
    ("a wrong password", "certificate.pem", "secret.pem", "open",
     "The key in {}secret.pem cannot be opened with this password"),
    ("a broken certificate", "broken.pem", None, None, "{}broken.pem has no certificate that can be read"),
    ("a broken key", "certificate.pem", "broken key.pem", None, "The key in {}broken key.pem cannot be read"),
    ("PKCS#12 without its password", "one.p12", None, None,
     "{}one.p12 is neither PEM nor a PKCS#12 that opens without a password"),
    ("PKCS#12 with another password", "one.p12", None, "open",
     "{}one.p12 is neither PEM nor a PKCS#12 that this password opens"),
    ("PKCS#12 without a key", "only certificate.p12", None, "x",
     "{}only certificate.p12 does not have both a certificate and its key"),
    ("PKCS#12 with a key beside it", "one.p12", "key.pem", "sandbox",
     "{}one.p12 is not a PEM file; only a PEM has its key in another file"),
    ("nothing", "empty.pem", None, None,
     "{}empty.pem is neither PEM nor a PKCS#12 that opens without a password"),
    ("DER", "der.cer", None, None,
     "{}der.cer is neither PEM nor a PKCS#12 that opens without a password"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("certificate", "key", "password", "told"), [pytest.param(*fault, id=name) for name, *fault in FAULTS]
)
def test_what_does_not_serve_is_told_in_one_sentence(
    files: Files, certificate: str, key: str | None, password: str | None, told: str
) -> None:
    with pytest.raises(CertificateFailed) as caught:
        read_identity(files[certificate], files[key] if key else None, password)
    folder = f"{files.folder}/" if certificate else str(files.folder)
    assert str(caught.value) == told.replace("{}", folder)


def test_an_identity_says_whose_it_is_and_until_when(files: Files) -> None:
    identity = read_identity(files["both.pem"])
    assert str(identity) == f"CN=one, valid until {identity.certificate.not_valid_after_utc:%Y-%m-%d}"


def test_no_key_stays_on_the_disk(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tls_context(read_identity(files["both.pem"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ca", ["key.pem", "empty.pem", "nowhere.pem", "broken.pem"])
def test_authorities_that_cannot_be_read_are_told(files: Files, ca: str) -> None:
    with pytest.raises(CertificateFailed, match=ca):
        tls_context(read_identity(files["both.pem"]), files[ca])


def test_authorities_may_lie_in_a_folder(files: Files, tmp_path: Path) -> None:
    sandbox = files.sandbox
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(sandbox.ca)], capture_output=True, text=True, check=True
    )
    (tmp_path / f"{hashed.stdout.strip()}.0").write_bytes(sandbox.ca.read_bytes())
    with sandbox.client(ca=tmp_path, retries=0) as client:
        assert len(client.subaccounts()) == 5


# --- who trusts whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"ca": None}, {"ca": "gateway"}])
def test_a_server_of_another_authority_is_not_trusted(
    sandbox: Sandbox, door: Gateway, settings: dict[str, Any]
) -> None:
    ca = door.ca if settings["ca"] else None
    with (
        sandbox.client(ca=ca) as client,
        pytest.raises(CertificateFailed, match="is not of an authority that is trusted here"),
    ):
        client.subaccounts()


def test_a_server_of_another_name_is_not_trusted(sandbox: Sandbox, door: Gateway) -> None:
    url = door.url.replace("localhost", "127.0.0.1")
    with (
        sandbox.client(url=url, ca=door.ca) as client,
        pytest.raises(CertificateFailed, match=r"The certificate of 127\.0\.0\.1:\d+ is for another address"),
    ):
        client.subaccounts()


def test_a_certificate_that_the_service_does_not_trust_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=stranger")
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    pem = tmp_path / "stranger.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    with (
        Client(sandbox.url, pem, ca=sandbox.ca, customer=1, retries=0) as client,
        pytest.raises(CertificateFailed, match="refuses the certificate of CN=stranger, valid until"),
    ):
        client.subaccounts()
