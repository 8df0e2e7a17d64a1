"""
What the service leaves in the audit: a row of each update that changes something, and of each that is refused late.

Readings 7, 41, 54.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import structlog.testing
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from test_app import LONGEST_BODY, NOW, UPDATE, Request, Service, certificates, impatient, service, update

from ibt.service.negotiation import VENDOR_TYPE
from ibt.store import Database, chains, tables, writes
from ibt.store.audit import Entry

__all__ = ["certificates", "impatient", "service"]  # fixtures


@dataclass(frozen=True)
class Observed(Service):
    """A service whose callers have an address, and whose audit is looked into."""

    def scope(self, request: Request) -> dict[str, Any]:
        return super().scope(request) | {"client": ("192.0.2.7", 49152)}

    def rows(self, customer_id: int | None = None) -> list[Entry]:
        with self.database.reading() as connection:
            return list(chains.entries(connection, customer_id=customer_id))

    def faults(self) -> list[str]:
        with self.database.reading() as connection:
            return list(chains.faults(connection, chains.Tally()))


@pytest.fixture
def observed(service: Service) -> Observed:
    return Observed(service.database, service.application, service.certificates)


def test_an_update_leaves_a_row_that_tells_who_made_it_and_what_came_of_it(observed: Observed) -> None:
    before = observed.rows()
    assert observed.ask(UPDATE.with_header("x-request-id", "monday-1")).status == 200
    (row,) = [row for row in observed.rows() if row not in before]
    certificate = x509.load_pem_x509_certificate(observed.certificates["xyz"].encode())
    assert row._replace(versions_sha256="", hash="") == Entry(
        customer_id=1,
        audit_number=2,
        time=tables.seconds(NOW) or 0,
        kind="update",
        user_name="xyz",
        subject=certificate.subject.rfc4514_string(),
        serial=certificate.serial_number.to_bytes((certificate.serial_number.bit_length() + 7) // 8).hex(),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        address="192.0.2.7",
        request_id="monday-1",
        status=200,
        body_sha256=hashlib.sha256(UPDATE.body).hexdigest(),
        versions_created=1,
        versions_sha256="",
        detail="",
        hash="",
    )
    assert observed.faults() == []


def test_an_update_that_changes_nothing_leaves_no_row(observed: Observed) -> None:
    assert observed.ask(UPDATE).status == 200
    before = observed.rows()
    assert observed.ask(UPDATE).status == 200
    assert observed.rows() == before


#: Updates that are refused to a caller with the role: the status, and how what is told begins.
REFUSED = {
    "a body that is no XML": (replace(UPDATE, body=b"<"), 400, "message: is not well-formed XML"),
    "a subaccount that there is not": (replace(UPDATE, body=update("S9")), 400, "contract 999999"),
    "a state that is past": (UPDATE.with_header("if-match", '"past"'), 412, "If-Match names a state"),
    "parameters that are none": (replace(UPDATE, query="a=%ff"), 400, 'parameter "a": '),
    "parameters that it does not have": (
        replace(UPDATE, query="a=b").with_header("prefer", "handling=strict"),
        400,
        'parameter "a": ',
    ),
}


@pytest.mark.parametrize(("request_", "status", "told"), REFUSED.values(), ids=REFUSED)
def test_a_refused_update_leaves_a_row(observed: Observed, request_: Request, status: int, told: str) -> None:
    before, history = observed.rows(), observed.history()
    answer = observed.ask(request_)
    assert answer.status == status
    (row,) = [row for row in observed.rows() if row not in before]
    assert (row.customer_id, row.kind, row.status, row.user_name) == (1, "refusal", status, "xyz")
    assert (row.address, row.request_id) == ("192.0.2.7", answer.headers["x-request-id"])
    assert row.fingerprint
    assert answer.text.startswith(row.detail.removesuffix("…"))
    assert row.detail.startswith(told)
    assert (row.versions_created, observed.history()) == (0, history)
    # What is refused by its head alone has no body: it was not read.
    assert row.body_sha256 == ("" if "%" in request_.query else hashlib.sha256(request_.body).hexdigest())
    assert observed.faults() == []


#: What the log alone has.
ELSEWHERE = {
    "no certificate": (replace(UPDATE, user=None), 403),
    "another's customer": (replace(UPDATE, user="qrs"), 403),
    "a user without the role": (replace(UPDATE, user="nobody"), 403),
    "another site": (UPDATE.with_header("origin", "https://elsewhere.example"), 403),
    "no resource": (replace(UPDATE, resource="nothing"), 404),
    "another method": (replace(UPDATE, rest="/999999"), 405),
    "a type of answer that there is not": (UPDATE.with_header("accept", "image/png"), 406),
    "a long body": (replace(UPDATE, body=b" " * (LONGEST_BODY + 1)), 413),
    "another type": (UPDATE.with_header("content-type", "text/plain"), 415),
    "a query": (replace(UPDATE, method="GET", query="start=x"), 400),
}


@pytest.mark.parametrize(("request_", "status"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_refused_earlier_or_asks_for_nothing_leaves_no_row(
    observed: Observed, request_: Request, status: int
) -> None:
    before = observed.rows()
    assert observed.ask(request_).status == status
    assert observed.rows() == before


def test_an_update_of_one_who_loses_the_role_meanwhile_leaves_no_row(observed: Observed) -> None:
    before = observed.rows()
    lose: Callable[[], None] = lambda: observed.tell("delete from grants where user_name = 'xyz'")  # noqa: E731
    assert observed.ask(UPDATE, before_the_body=lose).status == 403
    assert observed.rows() == before


@pytest.mark.usefixtures("impatient")
def test_a_refusal_stands_where_its_row_cannot_be_written_and_the_log_says_so(observed: Observed) -> None:
    before = observed.rows()
    other = Database(observed.database.url.render_as_string(hide_password=False))
    with other.updating() as connection, structlog.testing.capture_logs() as logged:
        writes.lock(connection, 1)
        answer = observed.ask(replace(UPDATE, body=b"<"))
    other.close()
    assert answer.status == 400
    assert observed.rows() == before
    missing, request_ = logged
    assert (missing["event"], missing["log_level"]) == ("refusal not in the audit", "error")
    assert missing["id"] == request_["id"] == answer.headers["x-request-id"]


def test_an_update_that_fails_as_a_whole_leaves_no_row(observed: Observed) -> None:
    before, history = observed.rows(), observed.history()
    observed.tell("alter table audit rename to elsewhere")
    assert observed.ask(UPDATE).status == 500
    observed.tell("alter table elsewhere rename to audit")
    assert observed.history() == history
    assert observed.rows() == before
    assert observed.ask(UPDATE.with_header("content-type", VENDOR_TYPE)).status == 200
    assert observed.faults() == []
