"""
Each customer is alone: whatever a user asks, no byte of a stranger comes back, nor stands in the log of the request.

What is a stranger's and what is not there at all are told alike, in the same words and about the same time.

Clauses 1.3, 3.2.5, 3.3. Readings 9, 26, 37, 45.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
import structlog.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from inside import BASE, Answer, Inside, Request, inside
from strangers import (
    CUSTOMERS,
    UNKNOWN_CONTRACT,
    USERS,
    contract_ids,
    name_marker,
    neighbours,
    own_marker,
    subaccount_ids,
    update,
    user_of,
)

VENDOR = b"application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"

#: Customers that are in the world, and one that is not.
_UNKNOWN_CUSTOMER = 1999
_ASKED = (*CUSTOMERS, _UNKNOWN_CUSTOMER)

_CONTRACTS = (*sorted({id_ for customer_id in CUSTOMERS for id_ in contract_ids(customer_id, 3)}), UNKNOWN_CONTRACT)

#: Subaccounts of everybody, and one that is nobody's and written like them.
_UNKNOWN_SUBACCOUNT = "PRIVATE-9999-A"
_SUBACCOUNTS = (
    "Default",
    _UNKNOWN_SUBACCOUNT,
    *(id_ for customer_id in CUSTOMERS for id_ in subaccount_ids(customer_id)),
)

_MARKERS = {marker(customer_id) for customer_id in CUSTOMERS for marker in (own_marker, name_marker)}


@pytest.fixture(scope="module")
def served(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inside]:
    """The application with the world of strangers, on each kind of database."""
    with new_database() as url, inside(url, tmp_path_factory.mktemp("isolation") / "world") as started:
        yield started


def customer_path(customer_id: int, rest: str) -> bytes:
    """The path of a customer's resource."""
    return f"{BASE}/{customer_id}/{rest}".encode()


def posted(user: str, customer_id: int, body: bytes) -> Request:
    """An update that is sent to a customer's collection."""
    return Request("POST", customer_path(customer_id, MAPPINGS), ((b"content-type", VENDOR),), body, user)


MAPPINGS = "contractSubaccountMappings"

_CUSTOMER = st.sampled_from(_ASKED)
_CONTRACT = st.sampled_from(_CONTRACTS)
_WISHES = st.lists(
    st.tuples(_CONTRACT, st.integers(0, 2), st.sampled_from(_SUBACCOUNTS)),
    min_size=1,
    max_size=6,
    unique_by=lambda wish: wish[:2],
)
_VALUES = ("*", "%25", "PRIVATE*", "*-A*", "REFERENCE-*", "*named", "4000", *map(str, (*_ASKED, *_CONTRACTS)))
_FILTERS = st.dictionaries(
    st.sampled_from(("contract_id", "reference_id", "subaccount_id", "subaccount_name", "party_id", "location_id")),
    st.sampled_from(
        ("*", "%25", "PRIVATE*", "*-A*", "REFERENCE-*", "*named", "4000", *map(str, (*_ASKED, *_CONTRACTS)))
    ),
    max_size=3,
).map(lambda filters: "&".join(f"{name}={value}" for name, value in filters.items()))
_RESOURCE = st.one_of(
    st.just("subaccounts"),
    st.just(MAPPINGS),
    _FILTERS.map(lambda query: f"{MAPPINGS}?limit=1000&{query}"),
    _CONTRACT.map(lambda contract_id: f"{MAPPINGS}/{contract_id}"),
    st.just("nothing"),
)
_FIELDS = st.sampled_from(
    ((), ((b"accept", b"application/xml"),), ((b"if-none-match", b"*"),), ((b"if-match", b'"x"'),))
)

_UPDATES = st.builds(
    lambda user, customer_id, named, wishes: posted(user, customer_id, update(named, *wishes)),
    st.sampled_from(sorted(USERS)),
    _CUSTOMER,
    _CUSTOMER,
    _WISHES,
)
_READS = st.builds(
    lambda method, customer_id, resource, fields, user: Request(
        method, customer_path(customer_id, resource), fields, user=user
    ),
    st.sampled_from(("GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "DELETE")),
    _CUSTOMER,
    _RESOURCE,
    _FIELDS,
    st.sampled_from((*sorted(USERS), None)),
)


def visible(request: Request) -> set[str]:
    """The markers that the answer may hold: those of the customer asked for, where the user has the role there."""
    customer_id = int(request.target.split(b"/")[4])
    if request.user is None or customer_id not in USERS[request.user]:
        return set()
    return {own_marker(customer_id), *(name_marker(id_) for id_ in (customer_id, *neighbours(customer_id)))}


def foreign(request: Request, text: str) -> set[str]:
    """The markers in *text* that may not be in it; what the caller itself said does not count."""
    said = (request.target + request.body).decode()
    return {marker for marker in _MARKERS - visible(request) if marker in text and marker not in said}


def foreign_users(request: Request, text: str) -> set[str]:
    """The names of other users in *text*."""
    return {user for user in USERS if user != request.user and f'"{user}"' in text}


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=st.one_of(_READS, _UPDATES))
@example(request=Request("GET", customer_path(1001, MAPPINGS), user="both"))
@example(request=Request("GET", customer_path(1002, f"{MAPPINGS}?party_id=1003"), user="both"))
def test_no_byte_of_a_stranger_is_in_an_answer_or_in_the_log(served: Inside, request: Request) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = served.ask(request)
    log = "\n".join(str(line) for line in logged)
    assert answer.status < 500
    assert len(logged) == 1
    for text in (answer.whole(), log):
        assert foreign(request, text) == set()
        assert foreign_users(request, text.replace("'", '"')) == set()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=_UPDATES)
def test_an_update_changes_no_one_but_the_customer_asked_for(served: Inside, request: Request) -> None:
    customer_id = int(request.target.split(b"/")[4])
    before = served.state()
    answer = served.ask(request)
    changed = {old[0] for old, new in zip(before, served.state(), strict=True) if old != new}
    assert changed <= ({customer_id} if answer.status == 200 else set())
    if answer.status == 200:
        assert request.user is not None
        assert customer_id in USERS[request.user]


# --- what is a stranger's, and what is not there ----------------------------------------------------------

_STRANGERS_CONTRACT = 1_005_001
_STRANGERS_SUBACCOUNT = subaccount_ids(1005)[0]
_STRANGER = 1005

#: A request for what is a stranger's, how it is said, and what is said in its place for what is not there at all.
ALIKE: dict[str, tuple[Request, object, object]] = {
    "a contract": (
        Request("GET", customer_path(1001, f"{MAPPINGS}/{_STRANGERS_CONTRACT}"), user="u1001"),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
    "a contract's HEAD": (
        Request("HEAD", customer_path(1001, f"{MAPPINGS}/{_STRANGERS_CONTRACT}"), user="u1001"),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
    "a contract known by its tag": (
        Request(
            "GET", customer_path(1001, f"{MAPPINGS}/{_STRANGERS_CONTRACT}"), ((b"if-none-match", b"*"),), user="u1001"
        ),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
    "a contract in an update": (
        posted("u1001", 1001, update(1001, (_STRANGERS_CONTRACT, 0, "Default"))),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
    "a contract in an update with a wrong subaccount": (
        posted("u1001", 1001, update(1001, (_STRANGERS_CONTRACT, 0, "none"), (1_001_001, 0, "none"))),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
    "a subaccount in an update": (
        posted("u1001", 1001, update(1001, (1_001_001, 0, _STRANGERS_SUBACCOUNT))),
        _STRANGERS_SUBACCOUNT,
        _UNKNOWN_SUBACCOUNT,
    ),
    "a customer's subaccounts": (
        Request("GET", customer_path(_STRANGER, "subaccounts"), user="u1001"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer's mappings": (
        Request("GET", customer_path(_STRANGER, MAPPINGS), user="u1001"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer's contract": (
        Request("GET", customer_path(_STRANGER, f"{MAPPINGS}/{UNKNOWN_CONTRACT}"), user="u1001"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer's update": (
        posted("u1001", _STRANGER, update(_STRANGER, (UNKNOWN_CONTRACT, 0, "Default"))),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer named in an update": (
        posted("u1001", 1001, update(_STRANGER, (1_001_001, 0, "Default"))),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer's OPTIONS": (
        Request("OPTIONS", customer_path(_STRANGER, MAPPINGS), user="u1001"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer, for a user without a role": (
        Request("GET", customer_path(_STRANGER, "subaccounts"), user="nobody"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a customer, for a user with another role": (
        Request("GET", customer_path(1001, "subaccounts"), user="viewer"),
        1001,
        _UNKNOWN_CUSTOMER,
    ),
    "a party to filter by": (
        Request("GET", customer_path(1001, f"{MAPPINGS}?party_id={_STRANGER}"), user="u1001"),
        _STRANGER,
        _UNKNOWN_CUSTOMER,
    ),
    "a subaccount to filter by": (
        Request("GET", customer_path(1001, f"{MAPPINGS}?subaccount_id={_STRANGERS_SUBACCOUNT}"), user="u1001"),
        _STRANGERS_SUBACCOUNT,
        _UNKNOWN_SUBACCOUNT,
    ),
    "a contract to filter by": (
        Request("GET", customer_path(1001, f"{MAPPINGS}?contract_id={_STRANGERS_CONTRACT}"), user="u1001"),
        _STRANGERS_CONTRACT,
        UNKNOWN_CONTRACT,
    ),
}


def instead(request: Request, said: object, other: object) -> Request:
    """The same request, for another thing."""
    old, new = str(said).encode(), str(other).encode()
    return replace(request, target=request.target.replace(old, new), body=request.body.replace(old, new))


def said_of(answer: Answer, thing: object) -> str:
    """The answer whole, but for the name of the thing and what its length makes."""
    fields = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return replace(answer, headers=fields).whole().replace(str(thing), "(the thing)")


@pytest.mark.parametrize(("request_", "strangers", "unknown"), ALIKE.values(), ids=ALIKE)
def test_a_strangers_thing_and_an_unknown_one_are_told_in_the_same_words(
    served: Inside, request_: Request, strangers: object, unknown: object
) -> None:
    with structlog.testing.capture_logs() as logged:
        of_stranger = served.ask(request_)
        of_unknown = served.ask(instead(request_, strangers, unknown))
    assert said_of(of_stranger, strangers) == said_of(of_unknown, unknown)
    assert [line["status"] for line in logged] == [of_stranger.status] * 2
    assert logged[0].keys() == logged[1].keys()


#: How often each of two is asked; and by how much their medians may differ on a machine that does other things too.
_ROUNDS = 300
_RATIO = 1.5
_TRIES = 4


@pytest.mark.parametrize("name", ["a contract", "a contract in an update", "a subaccount in an update"])
def test_a_strangers_thing_and_an_unknown_one_take_the_same_time(served: Inside, name: str) -> None:
    request, strangers, unknown = ALIKE[name]
    pair = (request, instead(request, strangers, unknown))
    ratios = []
    for _ in range(_TRIES):
        of_stranger, of_unknown = _medians(served, pair)
        ratios.append(max(of_stranger, of_unknown) / min(of_stranger, of_unknown))
        if ratios[-1] < _RATIO:
            return
    pytest.fail(f"the medians differ by factors of {ratios}")


def _medians(served: Inside, pair: tuple[Request, Request]) -> tuple[float, float]:
    """The median time of each, asked in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    with structlog.testing.capture_logs():
        for number in range(2 * _ROUNDS):
            began = time.perf_counter()
            served.ask(pair[number % 2])
            times[number % 2].append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def test_the_markers_are_there_to_be_seen(served: Inside) -> None:
    """Without this the property would hold of an empty world."""
    answer = served.ask(Request("GET", customer_path(1002, "subaccounts"), user=user_of(1002)))
    assert own_marker(1002) in answer.text
    answer = served.ask(Request("GET", customer_path(1002, MAPPINGS), user=user_of(1002)))
    assert {marker for marker in _MARKERS if marker in answer.text} >= {
        name_marker(id_) for id_ in (1001, 1002, 1003)
    }
