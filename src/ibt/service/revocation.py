"""
Lists of revoked certificates (CRLs, RFC 5280), which the authorities of the clients sign.

A process reads their file when it starts, when it is told to, and when the file has changed. A file that cannot be
used changes nothing: the last good one stands. A certificate is looked up by issuer and serial number in each
request, so a new list acts on open connections too.

Clause 1.2. Reading 55.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ibt.rules.faults import Refusal, Rule
from ibt.service import access, metrics
from ibt.service.log import log

#: How often a process looks whether the file has changed.
LOOK_SECONDS = 5.0

#: How often the log says that a list is past its end.
_REMIND_SECONDS = 3600.0

#: When a client that was refused for want of a list in date may come again.
_RETRY_AFTER_SECONDS = "60"

LIST_EXPIRED = Rule(
    "revocation-list-expired",
    "The list that tells which certificates are revoked is past its end, {end:%Y-%m-%dT%H:%M:%SZ}, so nobody can be "
    "let in, and nothing was changed: try again later, and tell the operator of the service",
    "1.2, reading 55",
    503,
)

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class Unusable(Exception):
    """The file cannot be used: the end of a sentence that begins with it."""


@dataclass(frozen=True, slots=True)
class Lists:
    """
    What lists say together: the serial numbers revoked, by the names of those who issued the certificates; the names
    of the authorities that are revoked themselves; the end of the first list that ends, if one does.
    """

    serials: Mapping[str, frozenset[int]]
    authorities: frozenset[str] = frozenset()
    end: datetime | None = None

    def revoke(self, certificate: access.Certificate) -> bool:
        """Whether the certificate, or who issued it, is on a list."""
        serials = self.serials.get(certificate.issuer)
        listed = serials is not None and int(certificate.serial, 16) in serials
        return listed or certificate.issuer in self.authorities

    def ended(self, now: datetime) -> bool:
        """Whether a list is past its end."""
        return self.end is not None and now > self.end


NOTHING_REVOKED = Lists({})


def read_lists(content: bytes, authorities: Sequence[x509.Certificate]) -> Lists:
    """
    The lists in *content*, any number as PEM or one as DER, each signed by one of *authorities*. Raises Unusable.

    A list past its end is read like any other.
    """
    lists = list(_lists(content))
    serials: dict[str, frozenset[int]] = {}
    for each in lists:
        name = each.issuer.rfc4514_string()
        _refuse_foreign(each, name, authorities)
        _refuse_partial(each, name)
        revoked = frozenset(entry.serial_number for entry in each)
        serials[name] = serials.get(name, frozenset()) | revoked
    ends = [each.next_update_utc for each in lists if each.next_update_utc is not None]
    return Lists(serials, _revoked_authorities(serials, authorities), min(ends, default=None))


def _lists(content: bytes) -> Iterator[x509.CertificateRevocationList]:
    found = _PEM.findall(content)
    try:
        if not found:
            yield x509.load_der_x509_crl(content)
        for pem in found:
            yield x509.load_pem_x509_crl(pem)
    except ValueError:
        raise Unusable(
            "holds no list of revoked certificates: it must have the CRLs of the authorities in client_ca, as PEM, "
            "or one as DER"
        ) from None


def _refuse_foreign(
    found: x509.CertificateRevocationList, name: str, authorities: Sequence[x509.Certificate]
) -> None:
    named = [each for each in authorities if each.subject.rfc4514_string() == name]
    if not named:
        raise Unusable(
            f'has a list of "{name}", who is no authority in client_ca: leave it out, or add the authority'
        )
    if not any(_is_signed_by(found, each) for each in named):
        raise Unusable(f'has a list of "{name}" that this authority of client_ca has not signed')


def _is_signed_by(found: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # other kinds: TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _refuse_partial(found: x509.CertificateRevocationList, name: str) -> None:
    """Refuses what says less, or says it of other certificates, than a whole list (RFC 5280 5.2)."""
    try:
        critical = [each for each in found.extensions if each.critical]
    except (ValueError, x509.DuplicateExtension):
        raise Unusable(f'has a list of "{name}" whose extensions cannot be read') from None
    for each in critical:
        place = each.value
        if not isinstance(place, x509.IssuingDistributionPoint) or place.indirect_crl:
            raise Unusable(
                f'has a list of "{name}" that is no whole list of this authority\'s own certificates (extension '
                f"{each.oid.dotted_string}): ask the authority for one"
            )


def _revoked_authorities(
    serials: Mapping[str, frozenset[int]], authorities: Sequence[x509.Certificate]
) -> frozenset[str]:
    """The names of the authorities all of whose certificates are on a list, or issued by such an authority."""
    names = {each.subject.rfc4514_string() for each in authorities}
    revoked: set[str] = set()
    while True:
        good = {
            each.subject.rfc4514_string()
            for each in authorities
            if (issuer := each.issuer.rfc4514_string()) not in revoked
            and each.serial_number not in serials.get(issuer, ())
        }
        if names - good == revoked:
            return frozenset(revoked)
        revoked = names - good


def read_file(file: Path, client_ca: Path) -> Lists:
    """The lists in *file*, of the authorities in *client_ca*. Raises Unusable, a sentence's end about *file*."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from None
    try:
        authorities = x509.load_pem_x509_certificates(client_ca.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion):
        raise Unusable(f"cannot be judged: client_ca, {client_ca}, cannot be read") from None
    return read_lists(content, authorities)


class Revocation:
    """
    The lists that a process goes by; none where there is no *file*. Where they are past their end, everyone is
    refused, or the log says so from time to time: as *ended_refuses* has it.

    Requests may ask while another thread has them read anew.
    """

    def __init__(self, file: Path | None = None, client_ca: Path = Path(), *, ended_refuses: bool = True) -> None:
        """Reads the file, whose lists are of the authorities in *client_ca*. Raises Unusable."""
        self._file = file
        self._client_ca = client_ca
        self._ended_refuses = ended_refuses
        self._stamp = self._stamped()
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._next_reminder = 0.0
        self._lists = read_file(file, client_ca) if file else NOTHING_REVOKED
        self._remind()

    @property
    def end(self) -> datetime | None:
        """When the first of the lists ends: UTC; None where none does."""
        return self._lists.end

    def refuse(self, certificate: access.Certificate, now: datetime) -> None:
        """Refuses with 403 what a list has, with 503 everything once a list is past its end. Reading 55."""
        lists = self._lists
        if lists.revoke(certificate):
            raise Refusal.of(access.REVOKED, certificate=certificate)
        if self._ended_refuses and lists.end is not None and now > lists.end:
            raise Refusal.of(LIST_EXPIRED, end=lists.end, headers={"retry-after": _RETRY_AFTER_SECONDS})

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at the file again."""
        return self._file is not None and time.monotonic() >= self._next_look

    def look(self, told_to: bool = False) -> None:
        """Reads the file anew where it has changed, or where *told_to*; the log says what came of it."""
        if self._file is None:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        stamp = self._stamped()
        if told_to or stamp != self._stamp:
            self._stamp = stamp
            try:
                self._lists = read_file(self._file, self._client_ca)
            except Unusable as unusable:
                log.error("revocation lists not read anew", why=f"client_crl, {self._file}, {unusable}")
            else:
                self._next_reminder = 0.0
                revoked = sum(map(len, self._lists.serials.values()))
                log.info("revocation lists read anew", revoked=revoked, end=_written(self._lists.end))
        self._remind()

    def _remind(self) -> None:
        """Says now and then that a list is past its end."""
        if self._lists.ended(datetime.now(UTC)) and time.monotonic() >= self._next_reminder:
            self._next_reminder = time.monotonic() + _REMIND_SECONDS
            say = log.error if self._ended_refuses else log.warning
            outcome = "everyone is refused" if self._ended_refuses else "it is gone by all the same"
            say("revocation list past its end", end=_written(self._lists.end), why=outcome)

    def _stamped(self) -> tuple[int, ...] | None:
        """What changes when the file does."""
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _written(end: datetime | None) -> str | None:
    return None if end is None else f"{end:%Y-%m-%dT%H:%M:%SZ}"


def past_end(folder: Path) -> Iterator[str]:
    """That the lists of the workers, who count in *folder*, are past their end: a sentence, or nothing."""
    end = metrics.client_crl_end(folder)
    if end is not None and end < time.time():
        yield "The list of revoked certificates is past its end: put a new one in the place of client_crl."
