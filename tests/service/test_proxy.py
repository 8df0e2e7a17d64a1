"""What a proxy says of a client: whose word counts, what is taken from it, and which certificates are good."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import certificates
from certificates import DAY, SERVER, Authority, Issued
from ibt.rules.faults import Refusal
from ibt.service import proxy
from ibt.service.access import read_certificate
from ibt.service.proxy import ADDRESS, CERTIFICATE, CHAIN, Proxies
from ibt.service.settings import networks

NOW = datetime.now(UTC)


@pytest.fixture
def root(tmp_path: Path) -> Authority:
    return certificates.root("Root", tmp_path)


def of(*authorities: Authority, at: str = "192.0.2.1") -> Proxies:
    """The proxies at these addresses, for clients of these authorities."""
    pem = b"".join(each.certificate.public_bytes(Encoding.PEM) for each in authorities)
    return Proxies(networks(at), proxy.authorities(pem))


def sequence(certificate: x509.Certificate) -> bytes:
    """As RFC 9440 has it."""
    return b":%b:" % base64.b64encode(certificate.public_bytes(Encoding.DER))


def good(proxies: Proxies, issued: Issued, *chain: Authority) -> bool:
    """Whether the certificate counts, with these authorities in the chain."""
    fields = [(CERTIFICATE, sequence(issued.certificate))]
    if chain:
        fields.append((CHAIN, b" , ".join(sequence(each.certificate) for each in chain)))
    client = proxies.client(fields)
    assert fields == []
    assert client.certificate is not None
    assert read_certificate(client.certificate).fingerprint == issued.fingerprint
    assert ("client_cert_error" in client.extensions()["tls"]) == client.untrusted
    return not client.untrusted


# --- whose word counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("198.51.100.7", True),
        ("::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.2", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("", False),
        (None, False),
    ],
)
def test_the_word_of_those_who_are_listed_counts(root: Authority, address: str | None, trusted: bool) -> None:
    proxies = of(root, at="192.0.2.1, 198.51.100.0/24,2001:db8::/64")
    assert proxies.trust(address) is trusted


def test_where_none_is_listed_nobodys_word_counts(root: Authority) -> None:
    pem = root.certificate.public_bytes(Encoding.PEM)
    assert not Proxies((), proxy.authorities(pem)).trust("127.0.0.1")


def test_networks_are_read_in_their_order() -> None:
    assert networks("192.0.2.1, 2001:db8::/64") == (ip_network("192.0.2.1"), ip_network("2001:db8::/64"))


def test_what_only_a_proxy_may_say_is_taken_from_anyone_else() -> None:
    fields = [(b"host", b"localhost"), (CERTIFICATE, b":AA==:"), (ADDRESS, b"192.0.2.9"), (CHAIN, b":AA==:")]
    assert proxy.take_claims(fields)
    assert fields == [(b"host", b"localhost"), (ADDRESS, b"192.0.2.9")]
    assert not proxy.take_claims(fields)


# --- the client's address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([], None),
        (["192.0.2.9"], "192.0.2.9"),
        (["203.0.113.1, 192.0.2.9"], "192.0.2.9"),
        (["203.0.113.1", "192.0.2.9"], "192.0.2.9"),
        (["192.0.2.9, 203.0.113.1", "2001:db8::9"], "2001:db8::9"),
        (["::ffff:192.0.2.9"], "192.0.2.9"),
        (["192.0.2.9, unknown"], None),
        ([""], None),
    ],
)
def test_the_clients_address_is_what_the_proxy_added_last(
    root: Authority, values: list[str], address: str | None
) -> None:
    fields = [(b"host", b"localhost"), *((ADDRESS, value.encode()) for value in values)]
    assert of(root).client(fields) == (address, None, False)
    assert fields == [(b"host", b"localhost")]


# --- the certificate --------------------------------------------------------------------------------------


def test_without_the_field_there_is_no_certificate_whatever_the_chain_says(root: Authority) -> None:
    client = of(root).client([(CHAIN, sequence(root.certificate))])
    assert client.extensions() == {"tls": {"client_cert_chain": []}}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"::",
        b":AAAA:",
        b"AAAA",
        b":AAAA",
        b":A:",
        b":AAA*:",
        b'"text"',
        b":%b:, :%b:",
        b":%b:;a=1",
        b":%b",
        b":%bAAAA:",
        b"-----BEGIN CERTIFICATE----- %b -----END CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_refused(root: Authority, value: bytes) -> None:
    encoded = sequence(root.client("xyz").certificate)[1:-1]
    with pytest.raises(Refusal) as refused:
        of(root).client([(CERTIFICATE, value.replace(b"%b", encoded))])
    assert (refused.value.status, refused.value.rule) == (400, "client-cert")


def test_a_chain_that_is_none_is_refused(root: Authority) -> None:
    field = (CERTIFICATE, sequence(root.client("xyz").certificate))
    with pytest.raises(Refusal) as refused:
        of(root).client([field, (CHAIN, sequence(root.certificate) + b",")])
    assert refused.value.text.startswith('Client-Cert-Chain "": ')


def test_two_certificates_are_refused(root: Authority) -> None:
    field = (CERTIFICATE, sequence(root.client("xyz").certificate))
    with pytest.raises(Refusal) as refused:
        of(root).client([field, field])
    assert (refused.value.status, refused.value.rule) == (400, "client-cert-count")


def test_a_certificate_of_an_authority_is_good_whatever_its_key_and_names(root: Authority) -> None:
    proxies = of(root)
    for issued in (
        root.client("xyz"),
        root.client("xyz", key=certificates.p384()),
        root.client("xyz", key=certificates.rsa_2048()),
        root.client("xyz", usages=()),
        root.client("xyz", usages=(SERVER, certificates.CLIENT)),
        root.client(),
        root.client("two", "names"),
    ):
        assert good(proxies, issued)
        assert good(proxies, issued)


def test_a_certificate_is_not_good_that_no_authority_vouches_for(root: Authority, tmp_path: Path) -> None:
    proxies = of(root)
    for issued in (
        certificates.root("Stranger", tmp_path).client("xyz"),
        certificates.root("Root", tmp_path).client("xyz"),
        certificates.self_signed("xyz", tmp_path),
        root.client("xyz", usages=(SERVER,)),
        root.client("xyz", end=NOW - DAY / 2),
        root.client("xyz", begin=NOW + DAY / 2),
    ):
        assert not good(proxies, issued)


def test_authorities_between_are_in_the_chain_or_among_the_authorities(root: Authority) -> None:
    between = root.authority("Between", path_length=0)
    issued = between.client("xyz")
    assert not good(of(root), issued)
    assert good(of(root), issued, between)
    assert good(of(root), issued, between, root)
    assert good(of(between), issued)
    below = between.authority("Below")
    assert not good(of(root), below.client("xyz"), below, between)


def test_who_has_a_certificate_is_no_authority(root: Authority, tmp_path: Path) -> None:
    key = certificates.p256()
    holder = Authority(key, root.client("xyz", key=key).certificate, tmp_path)
    assert not good(of(root), holder.client("abc"), holder)


def test_what_was_good_is_judged_anew_by_other_authorities_and_at_another_time(
    root: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = of(root)
    issued = root.client("xyz")
    assert good(proxies, issued)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # of one kind only
            return NOW + 366 * DAY

    with monkeypatch.context() as patched:
        patched.setattr(proxy, "datetime", Later)
        assert not good(proxies, issued)
    assert good(proxies, issued)
    other = certificates.root("Other", tmp_path)
    proxies.go_by(proxy.authorities(other.certificate.public_bytes(Encoding.PEM)))
    assert not good(proxies, issued)
