"""
Clauses 3.2.3 and 3.2.5, what a POST may ask for and what it does.

Readings 29, 30, 35 to 39, 41, 42, 43, 63.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from ibt.conformance.messages import (
    AUGUST,
    SEPTEMBER,
    contracts,
    faults,
    mapping,
    message,
    path,
    post,
    rows,
    update,
    version,
    versions,
)
from ibt.conformance.server import NOW

BIRTH = "2015-07-01T04:00:00Z"
FUTURE = "2100-01-01T00:00:00Z"

Wish = tuple[tuple[str, str], str]


# What is refused


@pytest.mark.any_server
@pytest.mark.parametrize("again", ["40000", "0040000", "+40000"])
def test_a_contract_that_comes_twice_is_refused(dogwood: httpx2.Client, again: str) -> None:
    """
    "contract_id must not be repeated within the request message body. Each Contract Subaccount Mapping must
    have a unique contract_id", by value. Reading 36.
    """
    body = message(mapping(40000, version(AUGUST, "Default")), mapping(again, version(SEPTEMBER, "Default")))
    (line,) = faults(post(dogwood, body))
    assert "contract_id" in line
    assert "3.2.5" in line


@pytest.mark.any_server
@pytest.mark.parametrize("subaccount_id", ["Default", "D1"])
def test_a_month_that_comes_twice_is_refused(dogwood: httpx2.Client, subaccount_id: str) -> None:
    """
    "Each Contract Subaccount Mapping version should have a unique mapping period month." Reading 36.
    """
    (line,) = faults(post(dogwood, update(40000, (AUGUST, "Default"), (SEPTEMBER, "D1"), (AUGUST, subaccount_id))))
    assert AUGUST[0] in line
    assert "3.2.5" in line


@pytest.mark.any_server
def test_one_month_may_come_once_in_each_contract(dogwood: httpx2.Client) -> None:
    """
    "Each Contract Subaccount Mapping version should have a unique mapping period month": within its mapping.
    Reading 36.
    """
    body = message(*(mapping(contract_id, version(AUGUST, "Default")) for contract_id in (40000, 40006)))
    assert rows(post(dogwood, body)) == ["40000 2015-08 Default", "40006 2015-08 Default"]


@pytest.mark.any_server
@pytest.mark.parametrize(
    "contract_id",
    [
        pytest.param(50000, id="unknown"),
        pytest.param(7, id="of two others"),
        pytest.param(0, id="zero"),
        pytest.param(999999999, id="the largest, of two others"),
    ],
)
def test_a_contract_without_us_is_refused_in_one_line(dogwood: httpx2.Client, contract_id: int) -> None:
    """
    "The Market Participant must be a party to this contract": the same line for a contract that is unknown and
    for one of others; its periods are not judged. Reading 37.
    """
    bad = version((SEPTEMBER[1], AUGUST[0]), "NOT MINE")
    (line,) = faults(post(dogwood, message(mapping(contract_id, bad, bad))))
    (unknown,) = faults(post(dogwood, message(mapping(50001, bad))))
    assert "3.2.5" in line
    assert line == unknown.replace("50001", str(contract_id))


@pytest.mark.any_server
@pytest.mark.parametrize("customer_id", [1005, 1001, 0, 999999999])
def test_another_customer_id_is_refused(dogwood: httpx2.Client, customer_id: int) -> None:
    """
    "customer_id: Must be Market Participant's unique numeric ID at ISO New England" (3.2.4). Reading 38.
    """
    (line,) = faults(post(dogwood, message(mapping(40000, version(AUGUST, "Default"), customer_id=customer_id))))
    assert "customer_id" in line
    assert f'"{customer_id}"' in line


PERIODS = [
    pytest.param(40000, AUGUST[0], AUGUST[0], "3.2.5", id="empty"),
    pytest.param(40000, AUGUST[1], AUGUST[0], "3.2.5", id="end before begin"),
    pytest.param(40000, AUGUST[0], SEPTEMBER[1], "3.2.5", id="two months"),
    pytest.param(40000, "2015-08-31T04:00:00Z", "2015-09-02T04:00:00Z", "3.2.5", id="over the border"),
    pytest.param(40000, "2015-07-01T04:00:00Z", "2015-08-01T04:00:00Z", "3.2.5", id="the month before the contract"),
    pytest.param(40000, "2015-10-01T04:00:00Z", "2015-11-01T04:00:00Z", "3.2.5", id="the month after the contract"),
    pytest.param(40000, "2015-08-01T03:59:59Z", AUGUST[1], "3.2.5", id="a second before the contract"),
    pytest.param(40000, SEPTEMBER[0], "2015-10-01T04:00:01Z", "3.2.5", id="a second after the contract"),
    pytest.param(40000, "2015-08-01T00:00:00Z", "2015-09-01T00:00:00Z", "3.2.5", id="a month of Greenwich"),
    pytest.param(40000, "2015-08-01T05:00:00Z", "2015-09-01T05:00:00Z", "3.2.5", id="a month of standard time"),
    pytest.param(40000, "2000-02-01T05:00:00Z", "2000-03-01T05:00:00Z", "3.2.5", id="long before the contract"),
    pytest.param(40000, "9999-12-01T05:00:00Z", "9999-12-31T23:59:59Z", "3.2.5", id="the last year"),
    pytest.param(41001, "2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z", "3.2.5", id="a month that the contract cuts"),
    pytest.param(40000, "2015-08-02T04:00:00Z", AUGUST[1], "3.2.4", id="a later begin"),
    pytest.param(40000, AUGUST[0], "2015-08-31T04:00:00Z", "3.2.4", id="an earlier end"),
    pytest.param(40000, "2015-08-10T04:00:00Z", "2015-08-11T04:00:00Z", "3.2.4", id="a day"),
    pytest.param(40000, "2015-08-01T04:00:01Z", AUGUST[1], "3.2.4", id="a second too late"),
    pytest.param(40000, AUGUST[0], "2015-09-01T03:59:59Z", "3.2.4", id="a second too early"),
    pytest.param(41001, "2015-10-01T04:00:00Z", "2015-10-09T04:00:00Z", "3.2.4", id="less than the cut month"),
]


@pytest.mark.any_server
@pytest.mark.parametrize(("contract_id", "begin", "end", "clause"), PERIODS)
def test_a_period_that_is_no_mapping_period_is_refused(
    dogwood: httpx2.Client, contract_id: int, begin: str, end: str, clause: str
) -> None:
    """
    "begin must be later than or the same as the contract period's begin. end must be earlier than or the same
    as the contract period's end. begin must be earlier than end. begin and end must belong to a single month."
    A wrong period has one line: the first rule that fails. Readings 6, 35.
    """
    before = dogwood.get(path(1004, contract_id)).content
    (line,) = faults(post(dogwood, update(contract_id, ((begin, end), "Default"))))
    assert all(part in line for part in (str(contract_id), begin, end, clause))
    assert dogwood.get(path(1004, contract_id)).content == before


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("contract_id", "begin", "end", "right"),
    [
        pytest.param(40000, "2015-08-10T04:00:00Z", "2015-08-11T04:00:00Z", AUGUST, id="a whole month"),
        pytest.param(40000, "2015-09-01T04:00:00Z", "2015-09-30T04:00:00Z", SEPTEMBER, id="a last month"),
        pytest.param(
            41001, "2015-08-20T04:00:00Z", AUGUST[1], ("2015-08-15T04:00:00Z", AUGUST[1]), id="a cut first month"
        ),
        pytest.param(
            41002,
            "2015-11-01T05:00:00Z",
            "2015-12-01T05:00:00Z",
            ("2015-11-01T04:00:00Z", "2015-12-01T05:00:00Z"),
            id="the month in which the clocks change",
        ),
    ],
)
def test_a_period_inside_a_month_is_told_which_one_to_send(
    dogwood: httpx2.Client, contract_id: int, begin: str, end: str, right: tuple[str, str]
) -> None:
    """
    "The contract's period is divided into mapping periods" (3.2.4): never widened, never split; the line states
    the period to send. Reading 35.
    """
    (line,) = faults(post(dogwood, update(contract_id, ((begin, end), "Default"))))
    assert "3.2.4" in line
    assert all(border in line for border in right)


@pytest.mark.any_server
def test_a_begin_inside_a_period_is_refused_without_an_end_too(dogwood: httpx2.Client) -> None:
    """
    "Optional: Yes; end" (3.2.4): a missing end does not make a period of any begin. Readings 34, 35.
    """
    body = update(40000, (("2015-08-02T04:00:00Z", AUGUST[1]), "Default"))
    (line,) = faults(post(dogwood, body.replace(f"<end>{AUGUST[1]}</end>", "")))
    assert AUGUST[0] in line


@pytest.mark.any_server
def test_a_contract_with_an_empty_period_has_nothing_to_update(dogwood: httpx2.Client) -> None:
    """
    "begin must be later than or the same as the contract period's begin ..." is true of no period. Reading 63.
    """
    faults(post(dogwood, update(41003, (AUGUST, "Default"))))
    assert rows(dogwood.get(path(1004, 41003))) == []


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("period", "subaccount_id"),
    [
        pytest.param(AUGUST, "NOT MINE", id="nobody's"),
        pytest.param(AUGUST, "ONLY-BIRCH", id="another customer's"),
        pytest.param(AUGUST, "d1", id="another case"),
        pytest.param(AUGUST, "D1 ", id="a blank at the end"),
        pytest.param(AUGUST, " D1", id="a blank at the begin"),
        pytest.param(AUGUST, "D1\n", id="a line feed at the end"),
        pytest.param(AUGUST, "D  2", id="two blanks for one"),
        pytest.param(AUGUST, "default", id="Default in lower case"),
        pytest.param(AUGUST, "D*", id="a wildcard"),
        pytest.param(AUGUST, "LATE", id="not yet defined"),
        pytest.param(SEPTEMBER, "ENDED", id="no longer defined"),
        pytest.param(AUGUST, "\u0394\u0031", id="letters that look alike"),
        pytest.param(AUGUST, "x" * 100, id="100 characters"),
    ],
)
def test_a_subaccount_that_is_not_ours_at_the_periods_begin_is_refused(
    dogwood: httpx2.Client, period: tuple[str, str], subaccount_id: str
) -> None:
    """
    "subaccount_id must represent a subaccount belonging to the Market Participant and defined as of the mapping
    period begin." Readings 39, 47.
    """
    (line,) = faults(post(dogwood, update(40000, (period, subaccount_id))))
    assert all(part in line for part in ("40000", *period, "subaccount_id", "3.2.5"))


# What is done


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("period", "subaccount_id"),
    [
        pytest.param(AUGUST, "D1", id="any of ours"),
        pytest.param(AUGUST, "D 2", id="a blank inside"),
        pytest.param(SEPTEMBER, "LATE", id="defined since the period's begin"),
        pytest.param(AUGUST, "ENDED", id="ends with the period"),
        pytest.param(AUGUST, "OFF", id="whatever its status"),
    ],
)
def test_a_subaccount_that_is_ours_at_the_periods_begin_is_taken(
    dogwood: httpx2.Client, own_contract: int, period: tuple[str, str], subaccount_id: str
) -> None:
    """
    "So that the contract is mapped to this subaccount during this mapping period" (3.2.4). Reading 39.
    """
    month = period[0][:7]
    expected = [f"{own_contract} {month} {subaccount_id}"]
    assert rows(post(dogwood, update(own_contract, (period, subaccount_id)))) == expected
    current = dogwood.get(path(1004), params={"contract_id": own_contract, "subaccount_id": subaccount_id})
    assert rows(current) == expected


@pytest.mark.any_server
def test_an_unchanged_period_keeps_its_version(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "<version>2015-07-01T04:00:00Z</version>" of contract 999998 in 3.2.9, against the letter of 3.2.3 ("creates
    new current versions for each"). Reading 29.
    """
    answer = post(dogwood, update(own_contract, (AUGUST, "Default"), (SEPTEMBER, "D1")))
    assert versions(answer)[0].version == BIRTH
    assert versions(answer)[1].version > BIRTH
    assert rows(dogwood.get(path(1004, own_contract))) == [
        f"{own_contract} 2015-08 Default",
        f"{own_contract} 2015-09 Default",
        f"{own_contract} 2015-09 D1",
    ]


@pytest.mark.any_server
def test_the_same_message_twice_changes_once(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "So that the current versions have the requested subaccount" (3.2.3): they have it already. Reading 29.
    """
    body = update(own_contract, (AUGUST, "D1"), (SEPTEMBER, "D 2"))
    first, second = post(dogwood, body), post(dogwood, body)
    assert first.content == second.content
    assert len(versions(dogwood.get(path(1004, own_contract)))) == 4


@pytest.mark.any_server
def test_each_change_is_a_version_also_the_way_back(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "POST creates new current versions" (3.2.3). Versions of equal time stand in the order of the updates.
    Readings 29, 41, 44.
    """
    for subaccount_id in ("D1", "OFF", "D1", "Default"):
        assert post(dogwood, update(own_contract, (AUGUST, subaccount_id))).status_code == 200
    history = [
        each.subaccount_id for each in versions(dogwood.get(path(1004, own_contract))) if each.begin == AUGUST[0]
    ]
    assert history == ["Default", "D1", "OFF", "D1", "Default"]
    assert rows(dogwood.get(path(1004), params={"contract_id": own_contract})) == [
        f"{own_contract} 2015-08 Default",
        f"{own_contract} 2015-09 Default",
    ]


@pytest.mark.any_server
def test_months_not_posted_are_untouched(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "POST creates new current versions for each Contract Subaccount Mapping in the request" (3.2.3). Reading 42.
    """
    post(dogwood, update(own_contract, (SEPTEMBER, "D1")))
    august = [each for each in versions(dogwood.get(path(1004, own_contract))) if each.begin == AUGUST[0]]
    assert [(each.version, each.subaccount_id) for each in august] == [(BIRTH, "Default")]


@pytest.mark.any_server
def test_the_answer_has_the_periods_of_the_request_in_its_order(dogwood: httpx2.Client) -> None:
    """
    "The new state of the data following a modification" (1.1): the request's periods, in the request's order,
    without query_info. Reading 30.
    """
    answer = post(
        dogwood,
        message(
            mapping(40007, version(SEPTEMBER, "Default"), version(AUGUST, "Default")),
            mapping(40006, version(SEPTEMBER, "Default")),
            mapping(40008, version(AUGUST, "Default")),
        ),
    )
    assert rows(answer) == [
        "40007 2015-09 Default",
        "40007 2015-08 Default",
        "40006 2015-09 Default",
        "40008 2015-08 Default",
    ]
    assert contracts(answer) == ["40007", "40006", "40008"]
    assert b"query_info" not in answer.content


@pytest.mark.any_server
@pytest.mark.parametrize("contract_id", [41001, 41002])
def test_every_period_of_a_contract_can_be_posted_as_it_was_got(dogwood: httpx2.Client, contract_id: int) -> None:
    """
    "Mapping period begin/end date/time for an individual version", cut months and both clock changes included.
    Readings 24, 35.
    """
    got = versions(dogwood.get(path(1004), params={"contract_id": contract_id}))
    answer = post(dogwood, update(contract_id, *(((each.begin, each.end), each.subaccount_id) for each in got)))
    assert versions(answer) == got


@pytest.mark.any_server
def test_past_months_and_any_status_can_be_updated(dogwood: httpx2.Client) -> None:
    """
    "Additional Value Restrictions" (3.2.5) has none on the past or on the contract's status. Reading 43.
    """
    july = ("2013-07-01T04:00:00Z", "2013-08-01T04:00:00Z")
    assert rows(post(dogwood, update(41005, (july, "D1")))) == ["41005 2013-07 D1"]


@pytest.mark.sandbox
def test_a_new_version_has_the_services_time(dogwood: httpx2.Client, own_contract: int) -> None:
    """
    "Creation timestamp for an individual version of the Contract Subaccount Mapping" (3.2.4): whole seconds, one
    for the whole message. Reading 41.
    """
    answer = post(dogwood, update(own_contract, (AUGUST, "D1"), (SEPTEMBER, "D1")))
    assert [each.version for each in versions(answer)] == [NOW, NOW]


@pytest.mark.any_server
def test_a_new_version_is_not_before_the_latest_that_the_message_replaces(
    dogwood: httpx2.Client, own_contract: int
) -> None:
    """
    "Creation timestamp" (3.2.4): the greater of now and the latest version it replaces, one for the whole
    message. Reading 41.
    """
    body = message(mapping(own_contract, version(AUGUST, "D1")), mapping(41004, version(AUGUST, "D1")))
    assert {each.version for each in versions(post(dogwood, body))} == {FUTURE}
    history = [each for each in versions(dogwood.get(path(1004, 41004))) if each.begin == AUGUST[0]]
    assert [(each.version, each.subaccount_id) for each in history] == [(FUTURE, "Default"), (FUTURE, "D1")]


@pytest.mark.any_server
def test_the_seller_updates_as_the_buyer_does(user: Callable[[str], httpx2.Client], own_contract: int) -> None:
    """
    "The Market Participant must be a party to this contract." Readings 26, 37.
    """
    body = message(mapping(own_contract, version(AUGUST, "Default"), customer_id=1005))
    assert rows(post(user("elm"), body, customer_id=1005)) == [f"{own_contract} 2015-08 Default"]
