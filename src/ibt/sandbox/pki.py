"""
The sandbox's certificates: its own authority, the server's certificate and one for each user.

    ca.pem, ca-key.pem     the authority
    server.pem             key and certificate of the server, in one PEM
    clients/USER.pem       key and certificate of a user, in one PEM; the user is the subject's common name
    clients/USER.p12       the same and the authority's certificate, for browsers and Windows

Each function brings its files up to date: what is there and good stays byte for byte, what is missing or
near its end is made. A file is written whole and then named, and a key is never readable by others, so
that a process that is killed leaves only what the next start completes. The present is an argument.

Keys are P-256. The certificates also pass the strict checks of RFC 5280 that OpenSSL and Python can turn
on. Clause 1.2 (certificates); reading 55 (a certificate belongs to the user of its common name).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The password of each USER.p12: programs that import one insist on a password, it protects nothing.
PASSWORD = "sandbox"  # noqa: S105 - published on purpose

#: A certificate so near its end is made anew at a start.
RENEWAL = timedelta(days=30)

_AUTHORITY_LIFE = timedelta(days=3652)
_LIFE = timedelta(days=397)  # the most that browsers accept of a server

#: Clocks differ: a certificate is valid a little before it is made.
_SLACK = timedelta(minutes=5)

_AUTHORITY_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ibt sandbox authority")])


class Damaged(Exception):
    """A file that holds no key or certificate that we could use: one sentence that names it."""


@dataclass(frozen=True)
class Pair:
    """A private key and the certificate of its public key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The private key, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def matches(self) -> bool:
        """Whether the certificate is one of this key."""
        return self.certificate.public_key() == self.key.public_key()

    def good(self, now: datetime) -> bool:
        """Whether key and certificate belong together and the end is not near."""
        return self.matches and self.certificate.not_valid_after_utc - now > RENEWAL

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this pair's key signed *certificate* in this pair's name."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def authority(folder: Path, now: datetime) -> Pair:
    """
    The authority of *folder*: made where it is missing or torn apart, renewed near its end.

    A renewed one has the same key and name, so that what it issued stays valid. Raises Damaged.
    """
    there = _read_pair(folder / "ca-key.pem", folder / "ca.pem")
    if there is not None and there.good(now):
        return there
    key = there.key if there is not None and there.matches else _new_key()
    made = Pair(key, _authority_certificate(key, now))
    if there is None or key is not there.key:
        write_file(folder / "ca-key.pem", made.key_pem, 0o600)
    write_file(folder / "ca.pem", made.certificate_pem, 0o644)
    return made


def server_certificate(folder: Path, issuer: Pair, host: str, now: datetime) -> Path:
    """
    The PEM, with key and certificate, of the server at localhost, its addresses, and *host*.

    Made where it is missing, near its end, of another authority, or not for *host*. Raises Damaged.
    """
    path = folder / "server.pem"
    there = _read_pair(path, path)
    names = _names(host)
    if there is None or not there.good(now) or not issuer.issued(there.certificate) or not _names_all(there, names):
        made = _issue(issuer, "localhost", ExtendedKeyUsageOID.SERVER_AUTH, now, names)
        write_file(path, made.key_pem + made.certificate_pem, 0o600)
    return path


def client_certificates(folder: Path, issuer: Pair, users: Iterable[str], now: datetime) -> None:
    """
    A USER.pem and a USER.p12 in *folder*/clients for each of *users*.

    Made where they are missing, near their end or of another authority. Raises Damaged.
    """
    clients = folder / "clients"
    clients.mkdir(mode=0o700, exist_ok=True)
    for user in users:
        pem, p12 = clients / f"{user}.pem", clients / f"{user}.p12"
        pair = _read_pair(pem, pem)
        if pair is not None and pair.good(now) and issuer.issued(pair.certificate):
            if not _holds(p12, pair, issuer):
                write_file(p12, _bundle(user, pair, issuer), 0o600)
            continue
        made = _issue(issuer, user, ExtendedKeyUsageOID.CLIENT_AUTH, now)
        write_file(p12, _bundle(user, made, issuer), 0o600)
        write_file(pem, made.key_pem + made.certificate_pem, 0o600)


def issued_here(pem: Path) -> bool:
    """Whether *pem* holds a certificate of a sandbox's authority."""
    try:
        return x509.load_pem_x509_certificate(pem.read_bytes()).issuer == _AUTHORITY_NAME
    except (OSError, ValueError):
        return False


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Writes *content* to *path* whole or not at all, with *mode* from the moment it exists."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _read_pair(key: Path, certificate: Path) -> Pair | None:
    """The pair in these files, which may be one; None where a file is missing. Raises Damaged."""
    try:
        private_key = load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(private_key, ec.EllipticCurvePrivateKey):
            raise Damaged(f"{key} holds another kind of key than the sandbox makes")
        return Pair(private_key, x509.load_pem_x509_certificate(certificate.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # TypeError: a key that wants a password
        raise Damaged(f"{key} and {certificate} hold no key and certificate that the sandbox can read") from None


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _authority_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    public_key = key.public_key()
    return (
        _certificate(_AUTHORITY_NAME, public_key, public_key, now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issue(
    issuer: Pair,
    name: str,
    purpose: x509.ObjectIdentifier,
    now: datetime,
    names: list[x509.GeneralName] | None = None,
) -> Pair:
    key = _new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _certificate(subject, key.public_key(), issuer.key.public_key(), now, _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(key, builder.sign(issuer.key, hashes.SHA256()))


def _certificate(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    """What every certificate of the sandbox has."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY_NAME)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    """The names a server certificate must have: this machine as itself knows it, and *host*."""
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    try:
        named: x509.GeneralName = x509.IPAddress(ip_address(host))
    except ValueError:
        named = x509.DNSName(host.lower())
    return names if named in names else [*names, named]


def _names_all(pair: Pair, names: list[x509.GeneralName]) -> bool:
    try:
        present = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(names) <= set(present)


def _bundle(user: str, pair: Pair, issuer: Pair) -> bytes:
    # Few rounds: they slow down guessing, and there is nothing to guess.
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(2048)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(PASSWORD.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        user.encode(), pair.key, pair.certificate, [issuer.certificate], encryption
    )


def _holds(p12: Path, pair: Pair, issuer: Pair) -> bool:
    """Whether *p12* holds *pair* and the present certificate of its issuer."""
    try:
        _key, certificate, others = pkcs12.load_key_and_certificates(p12.read_bytes(), PASSWORD.encode())
    except (FileNotFoundError, ValueError):
        return False
    return certificate == pair.certificate and others == [issuer.certificate]
