"""
Conditional requests, beyond the specification and harmless to a client that knows nothing of them. Reading 57.

Clauses 2.1 and 2.2 say nothing of them; the tag is the state of the data that 1.1 calls "current".
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from ibt.conformance.messages import AUGUST, SEPTEMBER, faults, path, post, rows, update

pytestmark = pytest.mark.any_server

RESOURCES = ["/1001/subaccounts", path(1001), path(1001, 7), f"{path(1001)}?contract_id=5"]
UNCHANGED = update(40000, (AUGUST, "Default"))


def tag(answer: httpx2.Response) -> str:
    """The ETag of an answer that succeeded."""
    assert answer.status_code in {200, 304}, answer.text
    return answer.headers["ETag"]


@pytest.mark.parametrize("target", RESOURCES)
def test_every_answer_carries_a_strong_tag(alder: httpx2.Client, target: str) -> None:
    """
    "The current state of the data for a query" (1.1): every 200 to GET and HEAD has an ETag. Reading 57.
    """
    get, head = alder.get(target), alder.head(target)
    assert tag(get) == tag(head)
    assert tag(get).startswith('"')
    assert tag(get).endswith('"')


def test_the_answer_to_a_post_carries_the_new_tag(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "The new state of the data following a modification" (1.1). Reading 57.
    """
    before = tag(dogwood.get(path(1004)))
    answer = post(dogwood, update(own_contract, (AUGUST, "D1")))
    assert tag(answer) == tag(dogwood.get(path(1004))) != before


def test_a_post_that_changes_nothing_keeps_the_tag(dogwood: httpx2.Client) -> None:
    """
    "The new state of the data following a modification" (1.1) is the old one. Readings 29, 57.
    """
    before = tag(dogwood.get(path(1004)))
    assert tag(post(dogwood, UNCHANGED)) == tag(dogwood.get(path(1004))) == before


def test_a_refused_post_keeps_the_tag(dogwood: httpx2.Client) -> None:
    """
    "The transaction will be rolled back" (2.1). Readings 28, 57.
    """
    before = tag(dogwood.get(path(1004)))
    faults(post(dogwood, update(40000, (AUGUST, "D1"), (SEPTEMBER, "NOT MINE"))))
    assert tag(dogwood.get(path(1004))) == before


def test_the_other_partys_update_keeps_the_tag(user: Callable[[str], httpx2.Client], own_contract: int) -> None:
    """
    "Belonging to the Market Participant" (3.2.1): whatever changes something that the customer can see, and
    nothing else. Readings 26, 57.
    """
    before = tag(user("elm").get(path(1005)))
    assert post(user("dogwood"), update(own_contract, (AUGUST, "D1"))).status_code == 200
    assert tag(user("elm").get(path(1005))) == before


def test_each_representation_has_its_own_tag(alder: httpx2.Client) -> None:
    """
    "Clients are encouraged to use Accept request headers" (2.2): a suffix for media type and coding. Reading 57.
    """
    headers = [
        {},
        {"Accept": "application/xml"},
        {"Accept-Encoding": "gzip"},
        {"Accept": "application/xml", "Accept-Encoding": "gzip"},
    ]
    assert len({tag(alder.get(path(1001), headers=each)) for each in headers}) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"other", {}', 304),
        ('"other"  ,W/{}', 304),
        ("*", 304),
        ('"other"', 200),
        ("nonsense", 200),
        ("", 200),
    ],
)
def test_a_state_that_is_known_is_not_sent_again(alder: httpx2.Client, method: str, form: str, status: int) -> None:
    """
    "The current state of the data for a query" (1.1): If-None-Match, compared weakly, is 304 with the tag and
    without a body. Reading 57.
    """
    current = tag(alder.get(path(1001)))
    answer = alder.request(method, path(1001), headers={"If-None-Match": form.format(current)})
    assert (answer.status_code, tag(answer)) == (status, current)
    assert (answer.content == b"") == (status == 304 or method == "HEAD")


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        pytest.param(f"{path(1001)}?limit=0", {}, 400, id="a bad parameter"),
        pytest.param(path(1001, 12345), {}, 404, id="an unknown contract"),
        pytest.param(path(1001), {"Accept": "text/html"}, 406, id="another media type"),
        pytest.param(path(1002), {}, 403, id="another customer"),
    ],
)
def test_what_would_be_refused_is_refused(
    alder: httpx2.Client, target: str, headers: dict[str, str], status: int
) -> None:
    """
    "The client error 4XX response status codes" (2.1) come before 304, which is last of all. Readings 7, 57.
    """
    faults(alder.get(target, headers={"If-None-Match": "*", **headers}), status)


@pytest.mark.parametrize("target", ["/1004/subaccounts", path(1004, 40000), f"{path(1004)}?contract_id=5"])
def test_a_tag_from_any_resource_of_the_customer_serves(dogwood: httpx2.Client, target: str) -> None:
    """
    "The new state of the data" (1.1) is one for all resources of the customer. Reading 57.
    """
    assert post(dogwood, UNCHANGED, headers={"If-Match": tag(dogwood.get(target))}).status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [("{}", 200), ("W/{}", 200), ('"other", {}', 200), ("*", 200), ('"other"', 412), ('W/"other"', 412), ('""', 412)],
)
def test_if_match_compares_the_revision_alone(dogwood: httpx2.Client, form: str, status: int) -> None:
    """
    "A commit will only occur on successful processing" (2.1): `W/` and the representation's suffix do not
    count. Reading 57.
    """
    for headers in ({}, {"Accept": "application/xml"}, {"Accept-Encoding": "gzip"}):
        current = tag(dogwood.get(path(1004), headers=headers))
        answer = post(dogwood, UNCHANGED, headers={"If-Match": form.format(current)})
        assert answer.status_code == status


def test_an_update_of_a_state_that_is_past_is_refused_and_changes_nothing(
    dogwood: httpx2.Client, own_contract: int
) -> None:
    """
    "All or nothing" (2.1): If-Match with an old tag is 412. Reading 57.
    """
    old = {"If-Match": tag(dogwood.get(path(1004)))}
    assert post(dogwood, update(own_contract, (AUGUST, "D1")), headers=old).status_code == 200
    (line,) = faults(post(dogwood, update(own_contract, (AUGUST, "OFF")), headers=old), 412)
    assert line
    assert rows(dogwood.get(path(1004, own_contract)))[:2] == [
        f"{own_contract} 2015-08 Default",
        f"{own_contract} 2015-08 D1",
    ]


def test_a_fault_comes_before_a_tag_that_does_not_match(dogwood: httpx2.Client) -> None:
    """
    "400 Bad Request" (2.1) comes before 412. Readings 7, 57.
    """
    faults(post(dogwood, "<", headers={"If-Match": '"other"'}))
    faults(post(dogwood, update(40000, (AUGUST, "NOT MINE")), headers={"If-Match": '"other"'}))


def test_a_range_is_ignored(alder: httpx2.Client) -> None:
    """
    "Returns a collection" (3.2.1), always whole. Reading 57.
    """
    answer = alder.get(path(1001), headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, alder.get(path(1001)).content)


def test_answers_are_asked_for_again_and_kept_private(alder: httpx2.Client) -> None:
    """
    "Access to IBT web services is managed" (1.2): `Cache-Control: private, no-cache`. Reading 57.
    """
    assert alder.get(path(1001)).headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br, gzip;q=0.5", "gzip"),
        ("*", "gzip"),
        ("identity", None),
        ("", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.4, identity;q=0.5", None),
    ],
)
def test_a_long_answer_is_compressed_where_it_is_asked_for(
    alder: httpx2.Client, accept_encoding: str, coding: str | None
) -> None:
    """
    "Vary: Accept, Accept-Encoding": gzip is a coding of the same message. Readings 49, 57.
    """
    answer = alder.get(path(1001), headers={"Accept-Encoding": accept_encoding})
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.content == alder.get(path(1001)).content


def test_a_short_answer_is_not_compressed(alder: httpx2.Client) -> None:
    """
    "Vary: Accept, Accept-Encoding": gzip only for answers over 1 KB. Reading 49.
    """
    answer = alder.get(f"{path(1001)}?contract_id=5", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
