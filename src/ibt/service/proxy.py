"""
A proxy that ends TLS before the service: whose word counts, and what it says of the client.

On a connection of a proxy the fields of its requests alone say who the client is; the proxy's own certificate says
nothing of it. On any other connection those fields are taken away: they are only a client's own words.

The proxy has verified the client in its handshake. That the certificate chains to `client_ca` and is in date is
verified here again, so that a proxy that is set wrong lets nobody in.

Clause 1.2. Readings 8, 55. RFC 9440.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert
from typing import NamedTuple

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from ibt.rules.faults import Refusal, Rule
from ibt.service.memory import Memory

Network = IPv4Network | IPv6Network
Fields = list[tuple[bytes, bytes]]

CERTIFICATE, CHAIN, ADDRESS = b"client-cert", b"client-cert-chain", b"x-forwarded-for"

#: The fields by which a proxy names a client; from anyone else they say nothing.
NAMES_A_CLIENT = frozenset((CERTIFICATE, CHAIN))

#: What a proxy may add to the head of a client's request, beyond the client's own limits: fields, and bytes.
MOST_FIELDS = 16
MOST_BYTES = 32 * 1024

#: Of so many certificates a process remembers that they are good.
_REMEMBERED = 4096

# What is refused of what a proxy says.
COUNT = Rule(
    "client-cert-count",
    "A proxy names a client in one Client-Cert field, and this request has {count}: have the proxy take away what "
    "the client sends of it",
    "1.2, RFC 9440 2.2",
)
FORM = Rule(
    "client-cert",
    "is not what a proxy says of a client's certificate: have it send the DER of the certificate in base64 between "
    "two colons",
    "1.2, RFC 9440 2.1",
)
UNTRUSTED = Rule(
    "certificate-untrusted",
    "No authority of this service vouches now that a client may use {certificate}: use the certificate that your "
    "Security Administrator issued, and tell the operator of the service, whose proxy let this one through",
    "1.2, reading 8",
    403,
)

_BYTE_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]*={0,2}):")


class Client(NamedTuple):
    """The client that a proxy speaks for: its address, and its certificate as PEM; and whether that is no good."""

    address: str | None = None
    certificate: str | None = None
    untrusted: bool = False

    def extensions(self) -> dict[str, dict[object, object]]:
        """As ASGI's TLS extension has it."""
        found: dict[object, object] = {"client_cert_chain": [self.certificate] if self.certificate else []}
        if self.untrusted:
            found["client_cert_error"] = "not trusted"
        return {"tls": found}


class Authorities(NamedTuple):
    """Those who sign for clients: their certificates, and these as they are asked."""

    certificates: frozenset[x509.Certificate]
    store: verification.Store

    def lack(self, before: Authorities) -> bool:
        """Whether any of those *before* is not among these."""
        return not before.certificates <= self.certificates


class _Good(NamedTuple):
    """A certificate as PEM, and from when to when all that vouches for it is valid."""

    certificate: str
    begin: datetime
    end: datetime


class Proxies:
    """
    The proxies whose word counts: those who connect from *networks*, and whoever may use the proxies' own socket.

    *authorities* are those who sign for clients.
    """

    def __init__(self, networks: Sequence[Network], authorities: Authorities) -> None:
        self._networks = networks
        self.authorities = authorities
        self._good: Memory[_Good] = Memory(_REMEMBERED)

    def go_by(self, authorities: Authorities) -> bool:
        """Takes these in the place of the ones before, at once also on proxies' connections; whether any is gone."""
        before, self.authorities = self.authorities, authorities
        self._good = Memory(_REMEMBERED)
        return authorities.lack(before)

    def trust(self, address: str | None) -> bool:
        """Whether the word of one who connects from *address*, by TLS, counts."""
        found = _address(address or "")
        return found is not None and any(found in network for network in self._networks)

    def vouched(self, certificate: str) -> bool:
        """Whether the authorities vouch now for a client with this certificate, as PEM, and none between."""
        return bool(self._path(PEM_cert_to_DER_cert(certificate), (), datetime.now(UTC)))

    def client(self, fields: Fields) -> Client:
        """What a proxy says in *fields*, which it then takes out of them; refuses with 400 what cannot be meant."""
        said = _taken(fields, {*NAMES_A_CLIENT, ADDRESS})
        addresses = [value for name, value in said if name == ADDRESS]
        # A proxy adds at the end: what stands before is what the client sent.
        last = _address(addresses[-1].rpartition(b",")[2].strip().decode("latin-1")) if addresses else None
        address = None if last is None else str(last)
        certificates = [value for name, value in said if name == CERTIFICATE]
        if not certificates:
            return Client(address)
        if len(certificates) > 1:
            raise Refusal.of(COUNT, count=len(certificates))
        chain = b",".join(value for name, value in said if name == CHAIN)
        return Client(address, *self._certificate(certificates[0], chain, datetime.now(UTC)))

    def _certificate(self, value: bytes, chain: bytes, now: datetime) -> tuple[str, bool]:
        """The certificate as PEM, and whether it is not to be trusted at this moment."""
        key = sha256(b"%b %b" % (value, chain)).digest()
        good = self._good.recall(key)
        if good is not None and good.begin <= now <= good.end:
            return good.certificate, False
        der = _der("Client-Cert", value)
        between = [_der("Client-Cert-Chain", each) for each in chain.split(b",")] if chain else []
        certificate = DER_cert_to_PEM_cert(der)
        path = self._path(der, between, now)
        if path:
            begin = max(each.not_valid_before_utc for each in path)
            self._good.keep(key, _Good(certificate, begin, min(each.not_valid_after_utc for each in path)))
        return certificate, not path

    def _path(self, der: bytes, between: Sequence[bytes], now: datetime) -> Sequence[x509.Certificate]:
        """The certificates from this one to an authority; none where they do not vouch for it at this moment."""
        policy = verification.PolicyBuilder().store(self.authorities.store).time(now.replace(tzinfo=None))
        verifier = policy.extension_policies(ca_policy=_AUTHORITIES, ee_policy=_CLIENTS).build_client_verifier()
        try:
            others = [x509.load_der_x509_certificate(each) for each in between]
            return verifier.verify(x509.load_der_x509_certificate(der), others).chain
        except (verification.VerificationError, ValueError, x509.InvalidVersion):
            return ()


def authorities(pem: bytes) -> Authorities:
    """The authorities in *pem*. Raises ValueError where it holds none, or one that cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error
    return Authorities(frozenset(found), verification.Store(found))


def take_claims(fields: Fields) -> bool:
    """Takes out of *fields* what only a proxy may say; whether there was any."""
    return bool(_taken(fields, NAMES_A_CLIENT))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that *text* is; an IPv4 one as such, also where a socket of IPv6 has it. None where it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _taken(fields: Fields, names: set[bytes] | frozenset[bytes]) -> Fields:
    """The fields of these names, which are then no longer in *fields*."""
    taken = [field for field in fields if field[0] in names]
    if taken:
        fields[:] = [field for field in fields if field[0] not in names]
    return taken


def _der(field: str, value: bytes) -> bytes:
    """The DER of the one certificate in *value*."""
    found = _BYTE_SEQUENCE.fullmatch(value.strip(b" \t"))
    try:
        der = base64.b64decode(found[1] if found else b"", validate=True)
        x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        raise Refusal.of(FORM, field=field, value=value.decode("latin-1")) from None
    return der


# What the certificates must say of themselves. The library's own rules are those of the public web, where a
# certificate names hosts; these are OpenSSL's, by which a client is judged that comes without a proxy.


def _must_be_an_authoritys(_policy: object, _certificate: object, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("is no authority")


def _must_sign(_policy: object, _certificate: object, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("may not sign certificates")


def _must_prove(_policy: object, _certificate: object, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not (usage.digital_signature or usage.key_agreement):
        raise ValueError("may not sign a handshake")


def _must_be_for_clients(_policy: object, _certificate: object, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and not _CLIENT_USAGES & set(usage):
        raise ValueError("may not be used by clients")


_CLIENT_USAGES = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_ANY = verification.Criticality.AGNOSTIC
_FOR_CLIENTS = verification.ExtensionPolicy.permit_all().may_be_present(
    x509.ExtendedKeyUsage, _ANY, _must_be_for_clients
)
_CLIENTS = _FOR_CLIENTS.may_be_present(x509.KeyUsage, _ANY, _must_prove)
_AUTHORITIES = _FOR_CLIENTS.may_be_present(x509.KeyUsage, _ANY, _must_sign).require_present(
    x509.BasicConstraints, _ANY, _must_be_an_authoritys
)
