"""
Clause 3.3, one contract's mapping with all its versions. Readings 15, 44, 45, 63.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from ibt.conformance.messages import NAMESPACE, Version, faults, mappings, path, rows, tree, versions

pytestmark = pytest.mark.any_server

BIRTH = "2014-12-01T05:00:00Z"
JANUARY = ("2015-01-01T05:00:00Z", "2015-02-01T05:00:00Z")
FEBRUARY = ("2015-02-01T05:00:00Z", "2015-03-01T05:00:00Z")
MARCH = ("2015-03-01T05:00:00Z", "2015-04-01T04:00:00Z")


def test_all_versions_stand_by_month_then_oldest_first(alder: httpx2.Client) -> None:
    """
    "Includes a sequence of versions, with one current version and zero or more historical versions for every
    mapping period during the contract" (3.3.1): versions of equal time in the order they came. Reading 44.
    """
    assert versions(alder.get(path(1001, 7))) == [
        Version(*JANUARY, BIRTH, "Default"),
        Version(*JANUARY, "2015-01-05T12:00:00Z", "RENAMED"),
        Version(*FEBRUARY, BIRTH, "Default"),
        Version(*FEBRUARY, "2015-01-10T12:00:00Z", "A1"),
        Version(*FEBRUARY, "2015-01-10T12:00:00Z", "RENAMED"),
        Version(*MARCH, BIRTH, "Default"),
    ]


@pytest.mark.parametrize("contract_id", [7, 70, 71, 700, 702, 800])
def test_the_last_version_of_each_month_is_the_current_one(alder: httpx2.Client, contract_id: int) -> None:
    """
    "With one current version ... for every mapping period during the contract" (3.3.1). Reading 44.
    """
    last = {row.split()[1]: row for row in rows(alder.get(path(1001, contract_id)))}
    assert list(last.values()) == rows(alder.get(path(1001), params={"contract_id": contract_id}))


def test_the_root_is_one_mapping(alder: httpx2.Client) -> None:
    """
    "<contract_subaccount_mapping xmlns=...>" (3.3.6): no collection and no query_info. Reading 44.
    """
    root = tree(alder.get(path(1001, 7)))
    assert root.tag == f"{{{NAMESPACE}}}contract_subaccount_mapping"
    assert b"query_info" not in alder.get(path(1001, 7)).content


def test_a_contract_with_an_empty_period_has_no_versions(alder: httpx2.Client) -> None:
    """
    "For every mapping period during the contract" (3.3.1): there is none. Reading 63.
    """
    (found,) = mappings(alder.get(path(1001, 710)))
    assert (found.contract_id, found.contract_begin, found.contract_end) == ("710", *["2015-08-01T04:00:00Z"] * 2)
    assert found.versions == ()


@pytest.mark.parametrize(
    "contract_id",
    [
        pytest.param(12345, id="unknown"),
        pytest.param(0, id="zero"),
        pytest.param(999999998, id="nearly the largest"),
        pytest.param(40000, id="of two others"),
        pytest.param(30001, id="of two others whom we know"),
    ],
)
def test_a_contract_without_us_is_not_found(alder: httpx2.Client, contract_id: int) -> None:
    """
    "Returns the Contract Subaccount Mapping belonging to the Market Participant" (3.3.1): 404, the same text
    for a contract that is unknown and for one of others. Reading 45.
    """
    (line,) = faults(alder.get(path(1001, contract_id)), 404)
    (unknown,) = faults(alder.get(path(1001, 54321)), 404)
    assert line == unknown.replace("54321", str(contract_id))


def test_each_party_sees_the_contract_under_its_own_number(user: Callable[[str], httpx2.Client]) -> None:
    """
    "Belonging to the Market Participant indicated by the customerId parameter" (3.3.1). Readings 26, 45.
    """
    both = user("both")
    found = [mappings(both.get(path(customer_id, 7)))[0] for customer_id in (1001, 1002)]
    assert [each.customer_id for each in found] == ["1001", "1002"]
    assert found[0].versions != found[1].versions


@pytest.mark.parametrize("query", ["?_dc=1", "?limit=1", "?start_date=x", "?subaccount_id=A1&subaccount_id=A1"])
def test_parameters_are_ignored(alder: httpx2.Client, query: str) -> None:
    """
    "Parameters: customerId, contractId" (3.3.4): every other one is ignored. Reading 15.
    """
    assert alder.get(path(1001, 7) + query).content == alder.get(path(1001, 7)).content


def test_parameters_are_refused_under_strict_handling(alder: httpx2.Client) -> None:
    """
    "Parameters: customerId, contractId" (3.3.4): with `Prefer: handling=strict` another one is 400. Reading 15.
    """
    (line,) = faults(alder.get(f"{path(1001, 7)}?limit=1", headers={"Prefer": "handling=strict"}))
    assert "limit" in line
