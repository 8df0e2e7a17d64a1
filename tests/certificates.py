"""
Authorities and the certificates that they sign, good ones and odd ones.

Each certificate comes as a PEM file with its key and whatever chain belongs to it, as a client sends it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = timedelta(days=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH

_numbers = itertools.count()


@dataclass(frozen=True)
class Issued:
    """A certificate in a PEM file, and what the log is to say of it."""

    pem: Path
    certificate: x509.Certificate

    @property
    def names(self) -> dict[str, str]:
        """Its subject, its issuer, its fingerprint."""
        return {
            "subject": self.certificate.subject.rfc4514_string(),
            "issuer": self.certificate.issuer.rfc4514_string(),
            "fingerprint": self.fingerprint,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal."""
        return self.certificate.fingerprint(SHA256()).hex()

    def encoded_otherwise(self) -> Path:
        """A PEM file with the key and the certificate in the other encoding that each signature on P-256 has."""
        r, s = decode_dss_signature(self.certificate.signature)
        twin = encode_dss_signature(r, _ORDER_OF_P256 - s)
        signed = self.certificate.tbs_certificate_bytes + _ECDSA_WITH_SHA256
        key = self.pem.read_text().partition("-----BEGIN CERTIFICATE")[0]
        pem = self.pem.with_suffix(".twin.pem")
        pem.write_text(key + DER_cert_to_PEM_cert(_der(0x30, signed + _der(0x03, b"\0" + twin))))
        return pem


@dataclass(frozen=True)
class Authority:
    """Who signs: a key, a certificate, those above it that a client has to send along, a folder for the files."""

    key: Key
    certificate: x509.Certificate
    folder: Path
    chain: tuple[x509.Certificate, ...] = ()

    def client(
        self,
        *common_names: str,
        key: Key | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        usages: tuple[x509.ObjectIdentifier, ...] = (CLIENT,),
        organization: str = "Door",
    ) -> Issued:
        """A certificate whose subject has these common names, valid from yesterday on for a year."""
        key = key or p256()
        built = _builder(_subject(organization, *common_names), self.certificate.subject, key, begin, end)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if usages:
            built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return self._written(key, built)

    def unreadable(self) -> tuple[Path, str]:
        """A PEM file with a certificate whose common name has octets that its type cannot have; its fingerprint."""
        key = p256()
        made = self.client("????", key=key)
        # T61String in the place of UTF8String, and octets that are neither; then the authority signs what that is.
        signed = made.certificate.tbs_certificate_bytes.replace(b"\x0c\x04????", b"\x14\x04\xe9\xff\xfe\xc0")
        return made.pem, sha256(self._replaced(made.pem, key, signed)).hexdigest()

    def of_version_2(self, common_name: str) -> Path:
        """A PEM file with a certificate of a version that nobody issues: OpenSSL takes it, others do not read it."""
        key = p256()
        made = self.client(common_name, key=key)
        signed = made.certificate.tbs_certificate_bytes.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
        self._replaced(made.pem, key, signed)
        return made.pem

    def authority(self, name: str, *, path_length: int | None = None) -> Authority:
        """An authority under this one."""
        key = p256()
        built = _authority(_builder(_subject(name, name), self.certificate.subject, key, None, None), path_length)
        certificate = self._signed(built)
        return Authority(key, certificate, self.folder, (certificate, *self.chain))

    def revoke(
        self,
        *revoked: x509.Certificate,
        end: datetime | None = None,
        extension: x509.ExtensionType | None = None,
    ) -> bytes:
        """The list that these certificates are revoked, as PEM; it ends in a week, or at *end*."""
        now = datetime.now(UTC)
        end = end or now + 7 * DAY
        built = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        built = built.last_update(min(now, end) - DAY).next_update(end)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(now - DAY)
            built = built.add_revoked_certificate(entry.build())
        if extension is not None:
            built = built.add_extension(extension, critical=True)
        return built.sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def write(self, key: Path, certificate: Path) -> None:
        """Writes key and certificate, each into a file of its own."""
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def _replaced(self, pem: Path, key: Key, signed: bytes) -> bytes:
        """Writes key and certificate, where this is what the authority signs; returns its DER."""
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        signature = self.key.sign(signed, ec.ECDSA(SHA256()))
        der = _der(0x30, signed + _ECDSA_WITH_SHA256 + _der(0x03, b"\0" + signature))
        pem.write_text(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() + DER_cert_to_PEM_cert(der)
        )
        return der

    def _signed(self, built: x509.CertificateBuilder) -> x509.Certificate:
        return built.sign(self.key, SHA256())

    def _written(self, key: Key, built: x509.CertificateBuilder) -> Issued:
        certificate = self._signed(built)
        pem = self.folder / f"{next(_numbers)}.pem"
        parts = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
        parts += [each.public_bytes(Encoding.PEM) for each in (certificate, *self.chain)]
        pem.write_bytes(b"".join(parts))
        return Issued(pem, certificate)


def root(name: str, folder: Path) -> Authority:
    """A new authority under no other."""
    key = p256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return Authority(key, _authority(_builder(subject, subject, key, None, None), None).sign(key, SHA256()), folder)


def self_signed(common_name: str, folder: Path) -> Issued:
    """A certificate that nobody but its own key signed."""
    key = p256()
    name = _subject("Door", common_name)
    return Authority(key, _builder(name, name, key, None, None).sign(key, SHA256()), folder).client(
        common_name, key=key
    )


def p256() -> ec.EllipticCurvePrivateKey:
    """A new key as the sandbox makes them."""
    return ec.generate_private_key(ec.SECP256R1())


def p384() -> ec.EllipticCurvePrivateKey:
    """A new key on P-384."""
    return ec.generate_private_key(ec.SECP384R1())


def rsa_2048() -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(65537, 2048)


#: How many points the curve P-256 generates (FIPS 186-5).
_ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

#: The AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758 3.2).
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def _der(tag: int, content: bytes) -> bytes:
    """*content* with its tag and length."""
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def _subject(organization: str, *common_names: str) -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), *names])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begin: datetime | None, end: datetime | None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .not_valid_before(begin or now - DAY)
        .not_valid_after(end or now + 365 * DAY)
    )


def _authority(built: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return built.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        usage, critical=True
    )
