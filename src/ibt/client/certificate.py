"""
The user's certificate, from the files that people have to the TLS settings of a connection.

PEM or PKCS#12, told by what is in the file. Each thing that can be wrong with them is one sentence of
CertificateFailed, before anything is sent. An unencrypted key is never written anywhere.

Clause 1.2.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from ibt.client.exceptions import CertificateFailed

_BEGINS_PEM = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Identity:
    """A user's certificate, its private key, and the certificates between it and its authority."""

    certificate: x509.Certificate
    key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...] = ()

    def __str__(self) -> str:
        """Whose certificate, and until when."""
        end = self.certificate.not_valid_after_utc
        return f"{self.certificate.subject.rfc4514_string()}, valid until {end:%Y-%m-%d}"


def read_identity(certificate: str | Path, key: str | Path | None = None, password: str | None = None) -> Identity:
    """
    The identity in the file *certificate* (PEM or PKCS#12), with the key in *key* where that is another PEM file.

    *password* opens an encrypted key or a PKCS#12. Raises CertificateFailed.
    """
    file = Path(certificate)
    content = _content(file)
    if _BEGINS_PEM in content:
        return _from_pem(file, content, Path(key) if key is not None else file, password)
    if key is not None:
        raise CertificateFailed(f"{file} is not a PEM file; only a PEM has its key in another file")
    return _from_pkcs12(file, content, password)


def tls_context(identity: Identity, ca: str | Path | None = None) -> ssl.SSLContext:
    """
    The TLS settings of a client that is *identity*.

    The server's certificate must be of an authority in *ca*, a PEM file or a folder of them, or else of one that
    this machine trusts. Raises CertificateFailed.
    """
    context = _trusting(Path(ca) if ca is not None else None)
    # The library reads keys from files alone: for a moment one lies there, under a password that nobody knows.
    password = secrets.token_bytes(32).hex().encode()
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in (identity.certificate, *identity.chain))
    pem += identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    descriptor, name = tempfile.mkstemp(suffix=".pem")
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(name, password=password)
    except ssl.SSLError:
        raise CertificateFailed(f"The certificate of {identity} is too weak for TLS, or of an unknown kind") from None
    finally:
        os.unlink(name)
    return context


def _trusting(ca: Path | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    if ca.is_dir():
        return ssl.create_default_context(capath=str(ca))
    _content(ca)  # tells better what is wrong with the file
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        raise CertificateFailed(f"{ca} has no certificate of an authority in PEM") from None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise CertificateFailed(f"There is no file {file}") from None
    except OSError as error:
        raise CertificateFailed(f"{file} cannot be read: {error.strerror}") from None


def _from_pem(file: Path, content: bytes, key_file: Path, password: str | None) -> Identity:
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except (ValueError, x509.InvalidVersion):
        raise CertificateFailed(f"{file} has no certificate that can be read") from None
    key = _pem_key(key_file, content if key_file == file else _content(key_file), password)
    own = [one for one in certificates if _public(one.public_key()) == _public(key.public_key())]
    if not own:
        raise CertificateFailed(f"The key in {key_file} does not belong to the certificate in {file}")
    return Identity(own[0], key, tuple(one for one in certificates if one != own[0]))


def _pem_key(file: Path, content: bytes, password: str | None) -> PrivateKeyTypes:
    if b"PRIVATE KEY-----" not in content:
        raise CertificateFailed(f"{file} has no private key: say in which file it is")
    secret = password.encode() if password is not None else None
    try:
        return load_pem_private_key(content, secret)
    except TypeError:
        if password is None:
            raise CertificateFailed(f"The key in {file} is encrypted: give its password") from None
        return load_pem_private_key(content, None)  # a password for a key that needs none
    except (ValueError, UnsupportedAlgorithm):
        wrong = "cannot be read" if password is None else "cannot be opened with this password"
        raise CertificateFailed(f"The key in {file} {wrong}") from None


def _from_pkcs12(file: Path, content: bytes, password: str | None) -> Identity:
    secret = password.encode() if password is not None else None
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(content, secret)
    except (ValueError, UnsupportedAlgorithm):
        opened = "opens without a password" if password is None else "this password opens"
        raise CertificateFailed(f"{file} is neither PEM nor a PKCS#12 that {opened}") from None
    if key is None or certificate is None:
        raise CertificateFailed(f"{file} does not have both a certificate and its key")
    return Identity(certificate, key, tuple(others))


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # every kind of public key can
