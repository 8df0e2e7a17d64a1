"""
What is wrong with a certificate, a key, a clock, a connection, a role: one check after the other.

A check that fails says how to mend it. What cannot be tried after a failure is not tried.

Clauses 1.2, 1.3, 2.2.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from ibt.client.certificate import Identity, read_identity, tls_context
from ibt.client.client import BASE_PATH, Client, base_url
from ibt.client.exceptions import CertificateFailed, ClientError, ConnectionFailed, Refused
from ibt.client.exchange import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ibt.client.exchange import Request
    from ibt.client.profiles import Profile

#: A certificate that ends sooner than that should be renewed.
_SOON = timedelta(days=30)

#: Clocks that differ by more than that are wrong.
_SKEW = timedelta(seconds=60)

_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found; *fix* says how to mend it, where it has *failed* or soon will."""

    check: str
    said: str
    fix: str | None = None
    failed: bool = False


def _failed(check: str, said: str, fix: str) -> Finding:
    return Finding(check, said, fix, failed=True)


#: How to mend what is wrong with the user's files, by words of the sentence that tells of it.
_FILE_FIXES = (
    ("There is no file", "name a file that is there, with --certificate, --key or --ca, or in the profile"),
    ("cannot be read:", "let yourself read it, with chmod u+r"),
    ("is encrypted", "give the password: set IBT_PASSWORD, or run this on a terminal, which asks"),
    ("opens without a password", "give the password: set IBT_PASSWORD, or run this on a terminal, which asks"),
    ("this password", "give the password that was chosen when the certificate was exported"),
    ("has no private key", "give the file that has the key, with --key"),
    ("does not belong", "give the key that this certificate was made for, with --key"),
    ("only a PEM has its key", "leave --key out: a PKCS#12 file holds the key as well"),
    ("of an authority", "give a PEM file that begins with -----BEGIN CERTIFICATE-----, with --ca"),
    ("too weak", "ask your Security Administrator for a new certificate"),
)

_OTHER_FILE = "export certificate and key once more, as PEM or PKCS#12"

#: How to mend that a service's certificate is not trusted, by the numbers that OpenSSL gives to the reasons.
_TRUST_FIXES = {
    **dict.fromkeys(
        (18, 19, 20, 21), "give the authority's certificate with --ca; a sandbox's is ca.pem in its folder"
    ),
    9: "set this machine's clock",
    10: "set this machine's clock; if it is right, whoever runs the service has to renew its certificate",
    **dict.fromkeys((62, 64), "write the host in --url as the service's certificate has it"),
}

_OTHER_TRUST = "ask whoever runs the service for its authority's certificate, and give that with --ca"


def fix_of(error: CertificateFailed) -> str:
    """How to mend what *error* tells: of the user's files, or of the trust between the two sides."""
    code = next((each.verify_code for each in _causes(error) if isinstance(each, ssl.SSLCertVerificationError)), None)
    if code is not None:
        return _TRUST_FIXES.get(code, _OTHER_TRUST)
    if error.__cause__ is not None:  # it was the connection that failed
        return "give a certificate that this service knows; a sandbox's are in the folder clients of its own"
    return next((fix for words, fix in _FILE_FIXES if words in str(error)), _OTHER_FILE)


def examine(profile: Profile, now: Callable[[], datetime]) -> Iterator[Finding]:
    """The findings for what *profile* says, one by one as they are made; *now* is this machine's clock."""
    url, found = _service(profile)
    yield from found
    identity: Identity | None = None
    for finding, known in _certificate(profile, now()):
        identity = known
        yield finding
    if url is None or identity is None or profile.customer is None or profile.certificate is None:
        return
    try:
        tls_context(identity, profile.ca)
    except CertificateFailed as failed:
        yield _failed("authorities", str(failed), fix_of(failed))
        return
    trusted = str(profile.ca) if profile.ca is not None else "those that this machine trusts"
    yield Finding("authorities", trusted)
    reached = _reached(url)
    yield from reached
    if not any(finding.failed for finding in reached):
        yield from _call(profile, url, profile.certificate, now)


def _service(profile: Profile) -> tuple[str | None, list[Finding]]:
    """The API's base, if it is one, and what is found of service and customer."""
    found = []
    url = None
    try:
        if profile.url is None:
            found.append(_failed("service", "no URL", "give --url, or set IBT_URL, or name a profile with --profile"))
        else:
            url = base_url(profile.url)
            found.append(Finding("service", url + (", for production" if profile.guarded else "")))
    except ValueError as error:
        found.append(_failed("service", str(error), f"write it as https://HOST{BASE_PATH}"))
    if profile.customer is None:
        found.append(_failed("customer", "none", "give --customer, or set IBT_CUSTOMER, or name it in the profile"))
    else:
        found.append(Finding("customer", str(profile.customer)))
    return url, found


def _certificate(profile: Profile, now: datetime) -> Iterator[tuple[Finding, Identity | None]]:
    """What is found of the user's files, each with the identity where it serves."""
    file = profile.certificate
    if file is None:
        yield _failed("certificate", "none", "give --certificate, or set IBT_CERTIFICATE"), None
        return
    try:
        identity = read_identity(file, profile.key, profile.password)
    except CertificateFailed as failed:
        yield _failed("certificate and key", str(failed), fix_of(failed)), None
        return
    yield Finding("certificate", f"{identity.certificate.subject.rfc4514_string()}, in {file}"), None
    yield Finding("key", f"belongs to it, in {profile.key or file}"), None
    yield _usage(identity), None
    yield _chain(identity), None
    ends = _end(identity, now)
    yield ends, None if ends.failed else identity


def _usage(identity: Identity) -> Finding:
    try:
        usages = identity.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return Finding("made for", "any use")
    if ExtendedKeyUsageOID.CLIENT_AUTH in usages:
        return Finding("made for", "clients")
    return _failed("made for", "another use than that of a client", "ask for a certificate for client authentication")


def _chain(identity: Identity) -> Finding:
    """Whether the certificates in between follow one on the other, from the user's own up."""
    left = list(identity.chain)
    lowest = identity.certificate
    while above := next((one for one in left if _issued(lowest, one)), None):
        left.remove(above)
        lowest = above
    if left:
        return Finding(
            "chain",
            f"{left[0].subject.rfc4514_string()} in the file has not issued it, nor any that has",
            "remove it from the file, or add what is missing between",
        )
    between = len(identity.chain)
    return Finding("chain", f"issued by {lowest.issuer.rfc4514_string()}, {between or 'none'} in between")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _end(identity: Identity, now: datetime) -> Finding:
    begin, end = identity.certificate.not_valid_before_utc, identity.certificate.not_valid_after_utc
    renew = "ask your company's Security Administrator for a new certificate"
    if now < begin:
        return _failed("valid", f"only from {begin:%Y-%m-%d %H:%M} UTC on", "set this machine's clock, or wait")
    if now >= end:
        return _failed("valid", f"until {end:%Y-%m-%d}, so no longer", renew)
    said = f"until {end:%Y-%m-%d}, {(end - now).days} days from now"
    return Finding("valid", said, renew if end - now < _SOON else None)


def _reached(url: str) -> list[Finding]:
    """What is found of the way to the service."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    proxy = getproxies().get("https")
    if proxy is not None and not proxy_bypass(host):
        return [Finding("host name", f"{host}, through the proxy {urlsplit(proxy).hostname or proxy}")]
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [_failed("host name", f"{host} has no address", "is --url written right, and is there a network?")]
    found = [Finding("host name", f"{host} is at {places[0][4][0]}")]
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except OSError as error:
        why = error.strerror or "no answer"
        fix = "is the port in --url right, does the service run, and does a firewall let you through?"
        return [*found, _failed("connection", f"port {port} of {host} does not answer: {why}", fix)]
    return [*found, Finding("connection", f"port {port} answers")]


def _call(profile: Profile, url: str, certificate: Path, now: Callable[[], datetime]) -> Iterator[Finding]:
    """What one question to the service, for the customer's subaccounts, finds."""
    heard: list[tuple[Reply, datetime]] = []

    def watch(_: Request, outcome: Reply | ConnectionFailed) -> None:
        if isinstance(outcome, Reply):
            heard.append((outcome, now()))

    key, password, ca, customer = profile.key, profile.password, profile.ca, profile.customer
    error: ClientError | None = None
    count = 0
    with Client(url, certificate, key, password, ca, customer, _PATIENCE, retries=0, watch=watch) as client:
        try:
            count = len(client.subaccounts())
        except ClientError as failed:
            error = failed
    if not heard:
        yield _not_heard(error) if error is not None else _failed("call", "no answer", "try again")
        return
    yield Finding("trust", "the service is trusted here, and your certificate there")
    yield from _clock(*heard[0])
    if error is None:
        yield Finding("role", f"you may ask for customer {customer}")
        yield Finding("call", f"customer {customer} has {count} subaccounts (3.1)")
    else:
        yield _refused(error, customer)


def _not_heard(error: ClientError) -> Finding:
    if isinstance(error, CertificateFailed):
        return _failed("trust", str(error), fix_of(error))
    return _failed(
        "connection", str(error), "does the service at this URL speak HTTPS? Try again, or ask who runs it"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _clock(reply: Reply, now: datetime) -> Iterator[Finding]:
    try:
        skew = now - parsedate_to_datetime(reply.headers.get("date", ""))
    except (ValueError, TypeError):  # a service that does not tell the time
        return
    said = f"{abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} the service's"
    if abs(skew) > _SKEW:
        yield _failed("clock", said, "set this machine's clock, best by NTP")
    else:
        yield Finding("clock", said)


def _refused(error: ClientError, customer: int | None) -> Finding:
    said = " ".join(str(error).splitlines())
    if isinstance(error, Refused) and error.status == 403:
        fix = f"ask your Security Administrator for the role IBT at customer {customer}, or give your own --customer"
        return _failed("role", said, fix)
    return _failed("call", said, f"is --url that of an IBT service? Its base is https://HOST{BASE_PATH}")
