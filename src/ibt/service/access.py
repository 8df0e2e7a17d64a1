"""
Who is asking, and what they may do.

A certificate under a trusted CA names a user by its subject's common name; the user's grants say whether they have
the role at the customer that they ask for. Both are asked for each request, in one statement, with whether the
certificate is revoked, so that a change acts at once; nothing is asked where the database says that nothing was
changed. Certificates are not recognised by fingerprint, as they are renewed every year; but a user may be pinned to
some.

Clauses 1.2, 1.3. Readings 7-9, 55, 56.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from ibt.rules.faults import Refusal, Rule, quoted
from ibt.service.log import log
from ibt.store import reads
from ibt.store.question import lasting
from ibt.store.reads import Shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The one role of the specification (1.3), as a grant spells it.
ROLE = "IBT"

# Why who asks is refused.
NO_CERTIFICATE = Rule(
    "certificate-missing",
    "No client certificate was sent: connect with the certificate that your Security Administrator issued",
    "1.2, reading 8",
    403,
)
EXPIRED = Rule(
    "certificate-expired",
    "It is past the end, {end:%Y-%m-%dT%H:%M:%SZ}, of {certificate}: have your Security Administrator issue a new "
    "one",
    "1.2, readings 8, 55",
    403,
)
REVOKED = Rule(
    "certificate-revoked",
    "Nobody is let in any more with {certificate}, which was revoked: have your Security Administrator issue a new "
    "one",
    "1.2, reading 55",
    403,
)
COMMON_NAMES = Rule(
    "common-name",
    "A user is known by one common name (CN), and {certificate} has {count}: use a certificate whose subject has "
    "exactly one",
    "1.2, reading 55",
    403,
)
PINNED = Rule(
    "certificate-not-pinned",
    "User {user} is let in by certain certificates only, and {certificate} is none of them: have your Security "
    "Administrator tell the operator of the service of it",
    "1.2, reading 55",
    403,
)
NO_ROLE = Rule(
    "role-missing",
    f"User {{user}}, known by {{certificate}}, does not have the role {ROLE} at any customer: have your Security "
    "Administrator grant it",
    "1.3, reading 9",
    403,
)
OTHER_CUSTOMER = Rule(
    "other-customer",
    f"User {{user}}, known by {{certificate}}, does not have the role {ROLE} at customer {{customer_id}}: ask for a "
    "customer of your own, or have your Security Administrator grant the role",
    "1.3, reading 9",
    403,
)

#: So long before its end a certificate is told of.
ENDS_SOON = timedelta(days=30)

#: Of so many certificates a process tells in one day.
_MOST_REMINDED = 65_536

_UNREADABLE = "(not readable)"
_NO_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    A client's certificate as the handshake has verified it.

    Names are as RFC 4514 writes them; serial and fingerprint (SHA-256) in hexadecimal, small letters, whole octets.
    """

    subject: str
    issuer: str
    serial: str
    fingerprint: str
    common_names: tuple[str, ...]
    not_after: datetime

    def names(self) -> dict[str, str]:
        """What the log calls it by where it is refused."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial,
            "fingerprint": self.fingerprint,
        }

    def refuse_expired(self, now: datetime) -> None:
        """Refuses with 403 after its end: an open connection, or one resumed, outlives what its handshake saw."""
        if now > self.not_after:
            raise Refusal.of(EXPIRED, end=self.not_after, certificate=self)

    def __str__(self) -> str:
        return f"the certificate with subject {quoted(self.subject)} and SHA-256 fingerprint {self.fingerprint}"


@lru_cache(maxsize=4096)
def read_certificate(pem: str) -> Certificate:
    """The certificate in *pem*; one whose names cannot be read has none, and is nobody's."""
    fingerprint = sha256(PEM_cert_to_DER_cert(pem)).hexdigest()
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Certificate(
            certificate.subject.rfc4514_string(),
            certificate.issuer.rfc4514_string(),
            serial_of(certificate.serial_number),
            fingerprint,
            tuple(str(name.value) for name in names),
            certificate.not_valid_after_utc,
        )
    except (ValueError, x509.InvalidVersion):
        # Authorities sign more than the standards allow, and OpenSSL takes more than we can read.
        return Certificate(_UNREADABLE, _UNREADABLE, _UNREADABLE, fingerprint, (), _NO_END)


def serial_of(number: int) -> str:
    """A serial number in hexadecimal, as OpenSSL prints it, in small letters."""
    octets = f"{number:x}"
    return octets if len(octets) % 2 == 0 else f"0{octets}"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user who asks for the data of a customer, whether they have the role there, and the revision of it."""

    user_name: str
    certificate: Certificate
    customer_id: int
    has_role: bool
    revision: str

    def sees_the_same(self, connection: Connection) -> bool:
        """Whether the revision is still the same, and so all that the customer can see."""
        return reads.revision(connection, self.customer_id) == self.revision

    def again(self, connection: Connection) -> None:
        """Refuses with 403 where the caller may no longer act for the customer."""
        caller(connection, self.certificate, self.customer_id).refuse_other_customer()

    def refuse_other_customer(self) -> None:
        """Refuses with 403 where the caller has no role at the customer, whether it exists or not. Reading 9."""
        if not self.has_role:
            user = quoted(self.user_name)
            raise Refusal.of(OTHER_CUSTOMER, user=user, certificate=self.certificate, customer_id=self.customer_id)


class Reminder:
    """Says in the log, once a day for each certificate, that it ends soon: its user may not notice in time."""

    def __init__(self) -> None:
        self._day = date.min
        self._reminded: set[str] = set()

    def note(self, caller: Caller, now: datetime) -> None:
        """Notes that this caller came; may be called by any thread."""
        certificate = caller.certificate
        if certificate.not_after - now > ENDS_SOON:
            return
        if self._day != now.date():
            self._day, self._reminded = now.date(), set()
        if certificate.fingerprint in self._reminded or len(self._reminded) >= _MOST_REMINDED:
            return
        self._reminded.add(certificate.fingerprint)
        end = f"{certificate.not_after:%Y-%m-%dT%H:%M:%SZ}"
        log.warning("certificate ends soon", user=caller.user_name, end=end, **certificate.names())


def lasting_caller(connection: Connection, certificate: Certificate | None, customer_id: int) -> Caller:
    """As `caller`, on a connection that only reads; nothing is asked where nothing can have changed since."""
    if certificate is None:
        return caller(connection, None, customer_id)
    known = certificate.fingerprint, customer_id
    return lasting(connection, known, lambda: caller(connection, certificate, customer_id))


def caller(connection: Connection, certificate: Certificate | None, customer_id: int) -> Caller:
    """
    Who asks for the data of *customer_id*; refuses with 403 who has no role anywhere, or not by this certificate.

    Clause 1.3. Readings 7-9, 55, 56.
    """
    if certificate is None:
        raise Refusal.of(NO_CERTIFICATE)
    if len(certificate.common_names) != 1:
        raise Refusal.of(COMMON_NAMES, certificate=certificate, count=len(certificate.common_names) or "no")
    user_name = certificate.common_names[0]
    shown = Shown(certificate.issuer, certificate.serial, certificate.fingerprint)
    rights = reads.rights(connection, user_name, ROLE, shown, customer_id)
    if rights.revoked:
        raise Refusal.of(REVOKED, certificate=certificate)
    if rights.pinned:
        raise Refusal.of(PINNED, user=quoted(user_name), certificate=certificate)
    if not rights.anywhere:
        raise Refusal.of(NO_ROLE, user=quoted(user_name), certificate=certificate)
    return Caller(user_name, certificate, customer_id, rights.here, rights.revision)
