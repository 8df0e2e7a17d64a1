"""
The limits of the service: sizes and times beyond which a client is refused. Reading 53.

The sizes are the service's own; the times are set short, so that the tests need not wait for them.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from ibt.conformance import wire
from ibt.conformance.messages import (
    NAMESPACE,
    faults,
    mapping,
    mappings,
    message,
    path,
    post,
    rows,
    total,
    version,
    versions,
)
from ibt.conformance.server import NOW, TEXT, VENDOR, WORLD, Server, sandbox

pytestmark = pytest.mark.sandbox

BODY = 16 * 1024 * 1024
#: Contracts that the world gets besides, by how many months they have.
MONTHS = {60: range(60001, 60201), 1: range(60301, 60501)}
#: How long the tests wait for what happens after half a second.
WAIT = 5.0
TIMES = {
    "IBT_LIMIT_HANDSHAKE_SECONDS": "0.5",
    "IBT_LIMIT_HEAD_SECONDS": "0.5",
    "IBT_LIMIT_BODY_SECONDS": "0.5",
    "IBT_LIMIT_IDLE_SECONDS": "0.5",
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with the suite's world and, for customer 1004, 200 contracts of 60 months and 200 of one."""
    base = tmp_path_factory.mktemp("large")
    shutil.copytree(WORLD, base / "world")
    ends = {60: "2021-01-01T05:00:00Z", 1: "2016-02-01T05:00:00Z"}
    with (base / "world" / "contracts.csv").open("a", encoding="utf-8") as file:
        for months, contract_ids in MONTHS.items():
            rest = f"ENERGY DAY AHEAD,4000,1004,1005,2016-01-01T05:00:00Z,{ends[months]},Conf,2015-07-01T04:00:00Z"
            file.writelines(f"{contract_id},OF {months},{rest}\n" for contract_id in contract_ids)
    with sandbox(base / "sandbox", "--data", str(base / "world")) as started:
        yield started


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with the suite's world that waits half a second for anything."""
    base = tmp_path_factory.mktemp("hurried")
    with sandbox(base / "sandbox", "--data", str(WORLD), env={**os.environ, **TIMES}) as started:
        yield started


def padded(size: int) -> bytes:
    """A message of exactly *size* bytes: market names, which have no effect, fill it."""
    january = ("2016-01-01T05:00:00Z", "2016-02-01T05:00:00Z")
    body = message(*(mapping(contract_id, version(january, "D1")) for contract_id in MONTHS[1]))
    each, rest = divmod(size - len(body), len(MONTHS[1]))
    filled = body.replace("Energy DA", "Energy DA" + "x" * each)
    return filled.replace("<market_name>", "<market_name>" + "x" * rest, 1).encode()


# Sizes


def test_a_body_of_exactly_16_mebibytes_is_read(large: Server) -> None:
    """
    "Requests whose message body ..." (2.1): 16 MiB, exactly so much still allowed. Reading 53.
    """
    body = padded(BODY)
    assert len(body) == BODY
    with large.client("dogwood") as dogwood:
        assert rows(post(dogwood, body)) == [f"{contract_id} 2016-01 D1" for contract_id in MONTHS[1]]


def test_a_longer_body_is_refused_before_a_byte_of_it_is_read(large: Server) -> None:
    """
    413, decided by Content-Length. Reading 53.
    """
    fields = (f"Content-Type: {VENDOR}", f"Content-Length: {BODY + 1}")
    faults(wire.exchange(large, "dogwood", wire.request("POST", large.path + path(1004), *fields)), 413)


def test_a_longer_body_in_chunks_is_refused_while_it_is_read(large: Server) -> None:
    """
    413, "else while reading". Reading 53.
    """
    head = wire.request("POST", large.path + path(1004), f"Content-Type: {VENDOR}", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (1024 * 1024, b" " * 1024 * 1024)
    faults(wire.exchange(large, "dogwood", head + chunk * 17), 413)


@pytest.mark.parametrize(
    ("customer_id", "content_type", "status"),
    [
        pytest.param(1004, "text/html", 415, id="415 before 413"),
        pytest.param(1005, VENDOR, 403, id="403 before 413"),
        pytest.param(1004, VENDOR, 413, id="413 before 400"),
    ],
)
def test_the_length_has_its_place_among_the_refusals(
    large: Server, customer_id: int, content_type: str, status: int
) -> None:
    """
    "The appropriate HTTP response status code" (2.1): 413 comes after 415 and before 400. Reading 7.
    """
    fields = (f"Content-Type: {content_type}", f"Content-Length: {BODY + 1}", "Prefer: handling=strict")
    request = wire.request("POST", f"{large.path}{path(customer_id)}?x=1", *fields)
    faults(wire.exchange(large, "dogwood", request), status)


def test_twelve_thousand_versions_fit_in_one_message(large: Server) -> None:
    """
    "Each message sent to IBT is an 'all or nothing' event" (2.1), of at least 12,000 mapping versions; they
    have one version time. Readings 41, 53.
    """
    with large.client("dogwood") as dogwood:
        periods = [(each.begin, each.end) for each in versions(dogwood.get(path(1004, MONTHS[60][0])))]
        assert len(periods) == 60
        wishes = [version(period, "D1") for period in periods]
        answer = post(dogwood, message(*(mapping(contract_id, *wishes) for contract_id in MONTHS[60])))
        found = versions(answer)
        assert len(found) == 12_000
        assert {(each.version, each.subaccount_id) for each in found} == {(NOW, "D1")}
        assert total(dogwood.get(path(1004), params={"reference_id": "OF 60", "subaccount_id": "D1"})) == 12_000


def test_twelve_thousand_faults_are_counted(large: Server) -> None:
    """
    "Errors requiring correction on the client side" (2.1): at most 100 lines. Readings 6, 53.
    """
    bad = version(("2016-01-02T05:00:00Z", "2016-02-01T05:00:00Z"), "D1")
    with large.client("dogwood") as dogwood:
        lines = faults(post(dogwood, message(*(mapping(50000 + each, bad) for each in range(12_000)))))
    assert (len(lines), lines[-1]) == (101, "and 11900 more")


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        pytest.param("a" * 16_000, 5, 200, id="a request line under 16 KiB"),
        pytest.param("a" * 17_000, 5, 414, id="a request line over 16 KiB"),
        pytest.param("a" * 100_000, 5, 414, id="a request line of 100 KB"),
        pytest.param("a", 98, 200, id="99 fields"),
        pytest.param("a", 101, 431, id="102 fields"),
        pytest.param("a", 2000, 431, id="2001 fields"),
    ],
)
def test_the_head_has_limits(large: Server, target: str, fields: int, status: int) -> None:
    """
    Request line 16 KiB (414), 100 fields (431). Reading 53.
    """
    request = wire.request(
        "GET", f"{large.path}/1001/subaccounts?{target}", *(f"X-{each}: y" for each in range(fields))
    )
    answer = wire.exchange(large, "alder", request)
    assert answer.status_code == status
    assert status == 200 or answer.headers["Content-Type"] == TEXT


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (66_000, 431), (1_000_000, 431)])
def test_all_fields_together_have_a_limit(large: Server, size: int, status: int) -> None:
    """
    Head 64 KiB (431). Reading 53.
    """
    fields = [f"X-{each}: {'y' * (size // 10)}" for each in range(10)]
    request = wire.request("GET", f"{large.path}/1001/subaccounts", *fields)
    assert wire.exchange(large, "alder", request).status_code == status


@pytest.mark.parametrize(
    ("content_type", "length", "first"),
    [
        pytest.param(VENDOR, 10, b"100", id="goes on"),
        pytest.param("text/html", 10, b"415", id="another media type"),
        pytest.param(VENDOR, BODY + 1, b"413", id="too long"),
    ],
)
def test_a_client_that_waits_is_answered_before_it_sends(
    large: Server, content_type: str, length: int, first: bytes
) -> None:
    """
    `Expect: 100-continue` is answered by the refusal where the head already decides. Reading 53.
    """
    fields = (f"Content-Type: {content_type}", f"Content-Length: {length}", "Expect: 100-continue")
    with wire.connection(large, "dogwood") as connection:
        connection.sendall(wire.request("POST", large.path + path(1004), *fields))
        assert connection.recv(12) == b"HTTP/1.1 " + first


# Times


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing, after the handshake"),
        pytest.param(b"GET /sms_oper", id="a request line that does not end"),
        pytest.param(b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-", id="a head that does not end"),
        pytest.param(
            wire.request(
                "POST", f"/sms_oper_contract/api/customers{path(1004)}", f"Content-Type: {VENDOR}", body=b"x" * 99
            )[:-50],
            id="a body that does not end",
        ),
    ],
)
def test_a_slow_client_is_refused_or_its_connection_closed(hurried: Server, sent: bytes) -> None:
    """
    30 s for the head, 60 s for the body, 75 s idle; then 408 or closed. Reading 53.
    """
    with wire.connection(hurried, "dogwood") as connection:
        connection.settimeout(WAIT)
        connection.sendall(sent)
        first = connection.recv(12)
        assert first in {b"", b"HTTP/1.1 408"}
        while connection.recv(4096):
            pass


def test_a_slow_handshake_is_closed(hurried: Server) -> None:
    """
    10 s for the handshake. Reading 53.
    """
    with socket.create_connection((hurried.host, hurried.port), timeout=WAIT) as connection:
        assert connection.recv(1) == b""


def test_an_idle_connection_is_closed(hurried: Server) -> None:
    """
    75 s idle. Reading 53.
    """
    with wire.connection(hurried, "alder") as connection:
        connection.sendall(wire.request("GET", f"{hurried.path}/1001/subaccounts"))
        assert wire.answer(connection, "GET").status_code == 200
        connection.settimeout(WAIT)
        assert wire.closed(connection)


def test_a_client_that_is_quick_is_served_as_ever(hurried: Server) -> None:
    """
    The limits are for those who are slow. Reading 53.
    """
    with hurried.client("alder") as alder:
        assert [found.customer_id for found in mappings(alder.get(path(1001, 7)))] == ["1001"]
        assert NAMESPACE in alder.get("/1001/subaccounts").text
