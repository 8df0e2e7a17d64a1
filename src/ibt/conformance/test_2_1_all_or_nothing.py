"""
Clause 2.1: each message is an "all or nothing" event. Readings 28, 54.
"""

from __future__ import annotations

import contextlib
import sqlite3

import httpx2
import pytest

from ibt.conformance.messages import AUGUST, SEPTEMBER, faults, mapping, message, path, post, rows, update, version
from ibt.conformance.server import TEXT, Server

GOOD = version(AUGUST, "D1")
FAULTS = [
    pytest.param(version(AUGUST, "NOT MINE"), id="a subaccount that is not ours"),
    pytest.param(version(("2015-08-01T04:00:00Z", "2015-08-02T04:00:00Z"), "D1"), id="a period that is none"),
    pytest.param("", id="no version"),
    pytest.param("<unknown/>", id="an unknown element"),
    pytest.param(version(("2015-08-01", "2015-09-01"), "D1"), id="a time that is none"),
]


@pytest.mark.any_server
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_fault_refuses_the_whole_message(dogwood: httpx2.Client, place: int, fault: str) -> None:
    """
    "Each message sent to IBT is an 'all or nothing' event ... a commit will only occur on successful
    processing of an entire REST operation." Reading 28.
    """
    parts = [mapping(40010, GOOD), mapping(40011, GOOD)]
    parts.insert(place, mapping(40012, fault))
    before = [dogwood.get(path(1004, each)).content for each in (40010, 40011, 40012)]
    faults(post(dogwood, message(*parts)))
    assert [dogwood.get(path(1004, each)).content for each in (40010, 40011, 40012)] == before


@pytest.mark.any_server
def test_one_bad_period_refuses_the_good_ones_of_its_contract(dogwood: httpx2.Client) -> None:
    """
    "The transaction will be rolled back." Reading 28.
    """
    before = dogwood.get(path(1004, 40013)).content
    faults(post(dogwood, update(40013, (AUGUST, "D1"), (SEPTEMBER, "ENDED"))))
    assert dogwood.get(path(1004, 40013)).content == before


@pytest.mark.any_server
def test_a_message_without_a_fault_changes_all_it_asks_for(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "A commit will only occur on successful processing of an entire REST operation." Reading 28.
    """
    answer = post(dogwood, update(own_contract, (AUGUST, "D1"), (SEPTEMBER, "LATE")))
    expected = [f"{own_contract} 2015-08 D1", f"{own_contract} 2015-09 LATE"]
    assert rows(answer) == expected
    assert rows(dogwood.get(path(1004), params={"contract_id": own_contract})) == expected


@pytest.mark.sandbox
def test_a_database_that_stays_locked_is_503_and_nothing_is_changed(server: Server, dogwood: httpx2.Client) -> None:
    """
    "If an exception occurs while processing a request, a response will be sent to the user with the
    appropriate HTTP response status code": 503 with Retry-After, after waiting for other writers; it says
    whether anything was changed. Reading 54.
    """
    before = dogwood.get(path(1004, 40014)).content
    with contextlib.closing(sqlite3.connect(server.directory / "ibt.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        answer = post(dogwood, update(40014, (AUGUST, "D1")))
        other.execute("rollback")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, TEXT)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "nothing was changed" in answer.text.lower()
    assert dogwood.get(path(1004, 40014)).content == before
