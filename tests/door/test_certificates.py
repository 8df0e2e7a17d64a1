"""
Who may come in: readings 8, 9, 55 and 56, with certificates of all kinds, and what the log says of those refused.
"""

from __future__ import annotations

import sqlite3
import ssl
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from wire import BASE, MAPPINGS, SUBACCOUNTS, VENDOR, Door, door, get, post, request, update

import certificates
from certificates import CLIENT, DAY, SERVER, Authority, Issued

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime.now(UTC).replace(microsecond=0)

#: The authority's name, which is the one that a sandbox gives its own: its key is ours, and an intermediate may be.
NAME = "ibt sandbox authority"

SCHEMA = "/sms_oper_contract/schema/vnd.iso-ne.contract.customers.v1.xsd"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the service trusts."""
    return certificates.root(NAME, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def service(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A sandbox with the demonstration world, whose authority was there before it."""
    folder = tmp_path_factory.mktemp("certificates") / "sandbox"
    folder.mkdir()
    authority.write(folder / "ca-key.pem", folder / "ca.pem")
    with door(folder) as started:
        yield started


def signed_by_a_user(ours: Authority) -> Issued:
    """A certificate that a user of ours signed with the key of their own."""
    key = certificates.p256()
    user = ours.client("xyz", key=key).certificate
    return Authority(key, user, ours.folder, (user,)).client("xyz")


# --- the handshake ----------------------------------------------------------------------------------------

FAILING: dict[str, Callable[[Authority], Issued]] = {
    "expired": lambda ours: ours.client("xyz", begin=NOW - 2 * DAY, end=NOW - DAY),
    "expired a second ago": lambda ours: ours.client("xyz", end=NOW - timedelta(seconds=1)),
    "not yet valid": lambda ours: ours.client("xyz", begin=NOW + DAY, end=NOW + 2 * DAY),
    "for servers only": lambda ours: ours.client("xyz", usages=(SERVER,)),
    "of another authority": lambda ours: certificates.root("A stranger", ours.folder).client("xyz"),
    "of another authority with our name": lambda ours: certificates.root(NAME, ours.folder).client("xyz"),
    "self-signed": lambda ours: certificates.self_signed("xyz", ours.folder),
    "signed by a user": signed_by_a_user,
    "under an intermediate that is not sent": lambda ours: replace(ours.authority("Between"), chain=()).client("xyz"),
    "under an intermediate that may not have another": lambda ours: (
        ours.authority("Between", path_length=0).authority("Too deep").client("xyz")
    ),
}


def refused_in_the_handshake(service: Door, tls: ssl.SSLContext) -> bool:
    """Whether the server ends the handshake; under TLS 1.3 the client learns of it as it reads."""
    try:
        with service.connect(tls=tls) as wire:
            wire.send(get())
            return wire.tls.recv(1) == b""
    except (ssl.SSLError, ConnectionResetError):
        return True


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name
)
@pytest.mark.parametrize("made", FAILING.values(), ids=FAILING)
def test_a_certificate_that_is_not_trusted_fails_the_handshake_and_is_logged_by_its_names(
    service: Door, authority: Authority, made: Callable[[Authority], Issued], version: ssl.TLSVersion
) -> None:
    issued = made(authority)
    tls = service.tls(issued.pem)
    tls.minimum_version = tls.maximum_version = version
    assert refused_in_the_handshake(service, tls)
    logged = service.logged(event="handshake refused", fingerprint=issued.names["fingerprint"])
    assert logged.items() >= issued.names.items()
    assert logged["why"]


def test_the_client_is_told_why_its_certificate_is_refused(service: Door, authority: Authority) -> None:
    tls = service.tls(FAILING["expired"](authority).pem)
    with service.connect(tls=tls) as wire, pytest.raises(ssl.SSLError, match=r"(?i)certificate expired"):
        wire.tls.recv(1)


@pytest.mark.filterwarnings("ignore:.*TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(service: Door) -> None:
    tls = service.tls()
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        service.connect(tls=tls)


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name
)
def test_a_resumed_session_keeps_its_certificate(service: Door, version: ssl.TLSVersion) -> None:
    tls = service.tls()
    tls.minimum_version = tls.maximum_version = version
    with service.connect(tls=tls) as wire:
        wire.send(get())
        assert wire.answer().status == 200
        session = wire.tls.session
    with service.connect(tls=tls, session=session) as wire:
        assert wire.tls.session_reused
        wire.send(get())
        assert wire.answer().status == 200


def test_only_http_1_1_is_offered(service: Door) -> None:
    tls = service.tls()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    with service.connect(tls=tls) as wire:
        assert wire.tls.selected_alpn_protocol() == "http/1.1"


def test_plain_http_gets_no_answer(service: Door) -> None:
    with closing(service.tcp()) as plain:
        plain.sendall(get())
        assert b"HTTP" not in plain.recv(65536)


# --- certificates that are trusted ------------------------------------------------------------------------

GOOD: dict[str, Callable[[Authority], Issued]] = {
    "a renewed one": lambda ours: ours.client("xyz"),
    "RSA": lambda ours: ours.client("xyz", key=certificates.rsa_2048()),
    "P-384": lambda ours: ours.client("xyz", key=certificates.p384()),
    "without a key usage": lambda ours: ours.client("xyz", usages=()),
    "for clients and servers": lambda ours: ours.client("xyz", usages=(SERVER, CLIENT)),
    "another organization": lambda ours: ours.client("xyz", organization="Elsewhere"),
    "under an intermediate": lambda ours: ours.authority("Between").client("xyz"),
    "under two intermediates": lambda ours: ours.authority("Between").authority("Below").client("xyz"),
    "valid until the end of time": lambda ours: ours.client(
        "xyz", end=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    ),
}


@pytest.mark.parametrize("made", GOOD.values(), ids=GOOD)
def test_a_user_is_known_by_the_common_name_under_a_trusted_authority(
    service: Door, authority: Authority, made: Callable[[Authority], Issued]
) -> None:
    assert service.answer(get(), made(authority).pem).status == 200


LONG = "n" * 64

UNKNOWN: dict[str, tuple[Callable[[Authority], Issued], str]] = {
    "no common name": (lambda ours: ours.client(), "has no"),
    "two common names": (lambda ours: ours.client("xyz", "qrs"), "has 2"),
    "the same common name twice": (lambda ours: ours.client("xyz", "xyz"), "has 2"),
    "nobody": (lambda ours: ours.client("stranger"), 'User "stranger"'),
    "a user without a customer": (lambda ours: ours.client("nobody"), 'User "nobody"'),
    "a user with another role": (lambda ours: ours.client("viewer"), 'User "viewer"'),
    "another case": (lambda ours: ours.client("XYZ"), 'User "XYZ"'),
    "a blank at the end": (lambda ours: ours.client("xyz "), 'User "xyz "'),
    "a wildcard": (lambda ours: ours.client("%"), 'User "%"'),
    "a quote": (lambda ours: ours.client("xyz' OR '1'='1"), "OR"),
    "a newline": (lambda ours: ours.client("xyz\nqrs"), 'User "xyz\\nqrs"'),
    "a NUL": (lambda ours: ours.client("xyz\0"), 'User "xyz\\x00"'),
    "U+2028": (lambda ours: ours.client("xyz\u2028"), 'User "xyz\\u2028"'),
    "64 characters": (lambda ours: ours.client(LONG), LONG),
    "the authority's own name": (lambda ours: ours.client(NAME), NAME),
}


@pytest.mark.parametrize(("made", "says"), UNKNOWN.values(), ids=UNKNOWN)
def test_who_is_no_user_with_the_role_is_refused_by_name_and_logged(
    service: Door, authority: Authority, made: Callable[[Authority], Issued], says: str
) -> None:
    issued = made(authority)
    answer = service.answer(get(), issued.pem)
    assert answer.status == 403
    assert len(answer.text.splitlines()) == 1
    assert says in answer.text
    assert issued.names["fingerprint"] in answer.text
    logged = service.logged(event="request", fingerprint=issued.names["fingerprint"])
    assert (logged["status"], logged["issuer"]) == (403, issued.names["issuer"])
    assert logged["subject"].isprintable()


def test_a_name_that_cannot_be_read_is_no_name(service: Door, authority: Authority) -> None:
    pem, fingerprint = authority.unreadable()
    answer = service.answer(get(), pem)
    assert answer.status == 403
    assert fingerprint in answer.text
    assert "has no" in answer.text


OPERATIONS = {
    "the subaccounts": get(),
    "HEAD": request("HEAD", SUBACCOUNTS),
    "the collection": get(MAPPINGS),
    "a contract": get(f"{MAPPINGS}/999999"),
    "an update": post(update("Default")),
    "an update that asks first": post(b"", "Expect: 100-continue"),
    "OPTIONS": request("OPTIONS", MAPPINGS),
    "OPTIONS *": request("OPTIONS", "*"),
    "PUT": request("PUT", SUBACCOUNTS),
    "another customer": get(f"{BASE}/2/subaccounts"),
    "a customer that is not there": get(f"{BASE}/777/subaccounts"),
    "an unknown URL": get("/"),
    "a type that is not there": get(SUBACCOUNTS, "Accept: text/html"),
    "a bad query": get(f"{MAPPINGS}?limit=0"),
    "the schema": get(SCHEMA),
    "what the client has": get(SUBACCOUNTS, "If-None-Match: *"),
}


@pytest.mark.parametrize("user", [None, "nobody", "viewer"])
@pytest.mark.parametrize("raw", OPERATIONS.values(), ids=OPERATIONS)
def test_who_has_no_role_gets_403_for_everything(service: Door, user: str | None, raw: bytes) -> None:
    assert service.answer(raw, user).status == 403


def test_without_a_certificate_one_sentence_says_what_is_missing(service: Door) -> None:
    answer = service.answer(get(), None)
    assert answer.text.startswith("No client certificate was sent")
    assert len(answer.text.splitlines()) == 1
    logged = service.logged(event="request", id=answer["x-request-id"])
    assert (logged["status"], "fingerprint" in logged) == (403, False)


SEVERAL = {
    "a user of two, at the first": ("two", 10, 200),
    "a user of two, at the second": ("two", 20, 200),
    "a user of two, elsewhere": ("two", 1, 403),
    "the role here": ("mixed", 30, 200),
    "another role here": ("mixed", 40, 403),
}


@pytest.mark.parametrize(("user", "customer_id", "status"), SEVERAL.values(), ids=SEVERAL)
def test_a_role_counts_where_it_is_granted(service: Door, user: str, customer_id: int, status: int) -> None:
    assert service.answer(get(f"{BASE}/{customer_id}/subaccounts"), user).status == status


def test_another_customer_is_refused_alike_whether_it_exists_or_not(service: Door) -> None:
    texts = {
        service.answer(get(f"{BASE}/{customer_id}/{resource}")).text.replace(f"customer {customer_id}", "customer")
        for customer_id in (2, 777, 999999999)
        for resource in ("subaccounts", "contractSubaccountMappings", "contractSubaccountMappings/999998")
    }
    assert len(texts) == 1


# --- what changes while a connection is open --------------------------------------------------------------


def grant(service: Door, statement: str, *values: object) -> None:
    """Changes who may do what, beside the service."""
    with closing(sqlite3.connect(service.folder / "ibt.db")) as database, database:
        database.execute(statement, values)


def test_a_change_of_the_grants_acts_on_the_next_request_of_an_open_connection(service: Door) -> None:
    with service.connect("tuv") as wire:

        def statuses() -> list[int]:
            found = []
            for raw in (get(f"{BASE}/3/subaccounts"), get(f"{BASE}/2/subaccounts"), get(SCHEMA)):
                wire.send(raw)
                found.append(wire.answer().status)
            return found

        assert statuses() == [200, 403, 200]
        grant(service, "INSERT INTO grants (user_name, customer_id, role) VALUES ('tuv', 2, 'IBT')")
        assert statuses() == [200, 200, 200]
        grant(service, "DELETE FROM grants WHERE user_name = 'tuv' AND customer_id = 3")
        assert statuses() == [403, 200, 200]
        grant(service, "UPDATE grants SET role = 'ibt' WHERE user_name = 'tuv'")
        assert statuses() == [403, 403, 403]
        grant(service, "UPDATE grants SET role = 'IBT', customer_id = 3 WHERE user_name = 'tuv'")
        assert statuses() == [200, 403, 200]


def test_a_role_lost_while_the_body_comes_is_lost(service: Door) -> None:
    target = f"{BASE}/90/contractSubaccountMappings"
    with service.connect("otherside") as wire:
        wire.send(request("POST", target, f"Content-Type: {VENDOR}", "Content-Length: 3", "Expect: 100-continue"))
        assert wire.answer().status == 100
        grant(service, "UPDATE grants SET role = 'NONE' WHERE user_name = 'otherside'")
        wire.send(b"<x>")
        assert wire.answer().status in (400, 403)
        wire.send(get(f"{BASE}/90/subaccounts"))
        assert wire.answer().status == 403
    grant(service, "UPDATE grants SET role = 'IBT' WHERE user_name = 'otherside'")


def test_a_certificate_that_ends_is_refused_from_then_on_also_by_an_open_or_resumed_connection(
    service: Door, authority: Authority
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    tls = service.tls(authority.client("xyz", end=end).pem)
    known = get(SUBACCOUNTS, "If-None-Match: *")
    with service.connect(tls=tls) as wire:
        wire.send(known)
        assert wire.answer().status == 304
        session = wire.tls.session
        status = 304
        while status == 304:
            wire.send(known)
            answer = wire.answer()
            status = answer.status
            assert datetime.now(UTC) < end + timedelta(seconds=5)
        assert status == 403
        assert f"{end:%Y-%m-%dT%H:%M:%SZ}" in answer.text
        assert datetime.now(UTC) > end
    with service.connect(tls=tls, session=session) as wire:
        assert wire.tls.session_reused
        wire.send(known)
        assert wire.answer().status == 403
