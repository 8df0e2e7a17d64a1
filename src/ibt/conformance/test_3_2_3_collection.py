"""
Clause 3.2.3, what the collection of contract subaccount mappings holds. Readings 11, 12, 24, 25, 26, 62, 63.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from ibt.conformance.messages import (
    AUGUST,
    SEPTEMBER,
    Mapping,
    contracts,
    mappings,
    path,
    post,
    rows,
    total,
    update,
    versions,
)
from ibt.conformance.server import NOW

ALL = [
    "7 2015-01 RENAMED",
    "7 2015-02 RENAMED",
    "7 2015-03 Default",
    "70 2015-10 Default",
    "70 2015-11 A_1",
    "70 2015-12 a1",
    "71 2015-08 007",
    "71 2015-09 7",
    "700 2016-02 Default",
    "700 2016-03 Default",
    "701 2015-08 [x]",
    "702 2015-08 Default",
    "703 2015-08 Default",
    "704 2015-08 RETIRED",
    "705 2015-08 Ä & <ö>",
    "706 2015-08 Default",
    *(f"800 2017-{month:02} Default" for month in range(1, 13)),
    "1000 2015-08 Default",
    "999999999 2015-08 Default",
]

PERIODS = {
    7: [("2015-01-01T05", "2015-02-01T05"), ("2015-02-01T05", "2015-03-01T05"), ("2015-03-01T05", "2015-04-01T04")],
    70: [("2015-10-01T04", "2015-11-01T04"), ("2015-11-01T04", "2015-12-01T05"), ("2015-12-01T05", "2016-01-01T05")],
    71: [("2015-08-15T04", "2015-09-01T04"), ("2015-09-01T04", "2015-09-15T04")],
    700: [("2016-02-10T05", "2016-03-01T05"), ("2016-03-01T05", "2016-03-20T04")],
    1000: [("2015-08-01T04", "2015-09-01T04")],
    710: [],
}


@pytest.mark.any_server
def test_the_collection_holds_the_current_version_of_each_mapping_period(alder: httpx2.Client) -> None:
    """
    "Contract Subaccount Mapping includes a sequence of versions with the data currently effective for
    different mapping periods during the contract", by contract id as a number, then begin. Reading 11.
    """
    assert rows(alder.get(path(1001), params={"limit": 1000})) == ALL


@pytest.mark.any_server
def test_a_contract_without_a_matching_version_is_left_out(alder: httpx2.Client) -> None:
    """
    "Collection contains one Contract Subaccount Mapping for each contract the Market Participant is a party
    to": records being versions, a contract that has none is left out. Readings 11, 63.
    """
    answer = alder.get(path(1001), params={"contract_id": "710"})
    assert (total(answer), rows(answer), contracts(answer)) == (0, [], [])


@pytest.mark.any_server
def test_a_mapping_has_the_fields_of_the_sample(alder: httpx2.Client) -> None:
    """
    "customer_id, contract_id, market_name, buyer_name, seller_name, contract_begin, contract_end, status"
    (3.2.4, 3.2.7). Reading 11.
    """
    (found,) = mappings(alder.get(path(1001), params={"contract_id": 71}))
    assert found == Mapping(
        "1001",
        "71",
        "Load RT",
        "Alder Power",
        "Cedar Load",
        "2015-08-15T04:00:00Z",
        "2015-09-15T04:00:00Z",
        "New",
        found.versions,
    )


@pytest.mark.any_server
@pytest.mark.parametrize(
    ("contract_id", "market_name"), [(7, "Energy DA"), (70, "Energy RT"), (71, "Load RT"), (700, "FCM Load")]
)
def test_the_market_name_shows_the_category(alder: httpx2.Client, contract_id: int, market_name: str) -> None:
    """
    "Contract's market name 'Energy DA' etc." (3.2.4); "FCM Load" (3.2.7). The vocabulary of the readings.
    """
    assert [each.market_name for each in mappings(alder.get(path(1001, contract_id)))] == [market_name]


@pytest.mark.any_server
def test_names_come_whole(dogwood: httpx2.Client) -> None:
    """
    "Contract's party name" (3.2.4), whatever its characters. Reading 49.
    """
    (found,) = mappings(dogwood.get(path(1004, 41001)))
    assert (found.buyer_name, found.seller_name) == ("Dogwood & Sons <Trading>", 'Elm Retail "East"')


@pytest.mark.any_server
@pytest.mark.parametrize("start", range(0, 32, 4))
def test_a_page_is_a_run_of_versions_whatever_their_contract(alder: httpx2.Client, start: int) -> None:
    """
    "Subset of Market Participant's records (Contract Subaccount Mapping versions) to retrieve": a contract may
    continue on the next page. Reading 12.
    """
    answer = alder.get(path(1001), params={"start": start, "limit": 4})
    assert (rows(answer), total(answer)) == (ALL[start : start + 4], len(ALL))


@pytest.mark.any_server
def test_a_page_names_each_contract_once(alder: httpx2.Client) -> None:
    """
    "Collection contains one Contract Subaccount Mapping for each contract": grouping comes after paging.
    Reading 12.
    """
    first, second = (contracts(alder.get(path(1001), params={"start": start, "limit": 2})) for start in (0, 2))
    assert (first, second) == (["7"], ["7", "70"])


@pytest.mark.any_server
@pytest.mark.parametrize("contract_id", PERIODS)
def test_a_contract_is_divided_into_eastern_months(alder: httpx2.Client, contract_id: int) -> None:
    """
    "The contract's period is divided into mapping periods" (3.2.4): Eastern Time calendar months cut to the
    contract, half-open, through both clock changes and a leap day. Readings 24, 63.
    """
    found = {(version.begin, version.end): None for version in versions(alder.get(path(1001, contract_id)))}
    periods = [(f"{begin}:00:00Z", f"{end}:00:00Z") for begin, end in PERIODS[contract_id]]
    # Contract 702 aside, a period keeps its borders through all its versions.
    assert list(found) == periods


@pytest.mark.any_server
def test_a_contract_begins_at_default_with_one_version_time(alder: httpx2.Client) -> None:
    """
    "<subaccount_id>Default</subaccount_id>" with one version time for all periods (3.3.6). Reading 25.
    """
    found = versions(alder.get(path(1001, 800)))
    assert len(found) == 12
    assert {(each.version, each.subaccount_id) for each in found} == {("2014-12-01T05:00:00Z", "Default")}


@pytest.mark.sandbox
def test_a_contract_without_a_version_time_has_the_time_of_loading(user: Callable[[str], httpx2.Client]) -> None:
    """
    "Creation timestamp for an individual version of the Contract Subaccount Mapping" (3.2.4): the clock's time
    at loading. Readings 25, 67.
    """
    assert [each.version for each in versions(user("fir").get(path(1006, 41007)))] == [NOW, NOW]


@pytest.mark.any_server
def test_buyer_and_seller_each_have_their_own_mapping(user: Callable[[str], httpx2.Client]) -> None:
    """
    "Contract Subaccount Mappings belonging to the Market Participant indicated by the customerId parameter"
    (3.2.1): never the other party's. Reading 26.
    """
    alder, birch = user("alder").get(path(1001, 7)), user("birch").get(path(1002, 7))
    assert {found.customer_id for found in mappings(birch)} == {"1002"}
    assert {each.subaccount_id for each in versions(alder)} == {"Default", "A1", "RENAMED"}
    assert {each.subaccount_id for each in versions(birch)} == {"Default", "B1"}
    assert b"RENAMED" not in birch.content


@pytest.mark.any_server
def test_an_update_does_not_reach_the_other_party(user: Callable[[str], httpx2.Client], own_contract: int) -> None:
    """
    "Updates a collection of Contract Subaccount Mappings belonging to the Market Participant" (3.2.1).
    Reading 26.
    """
    before = user("elm").get(path(1005, own_contract)).content
    assert post(user("dogwood"), update(own_contract, (AUGUST, "D1"), (SEPTEMBER, "D1"))).status_code == 200
    assert user("elm").get(path(1005, own_contract)).content == before


@pytest.mark.any_server
def test_a_period_is_known_by_its_eastern_month(alder: httpx2.Client) -> None:
    """
    "Each Contract Subaccount Mapping version should have a unique mapping period month" (3.2.5): versions of
    one month belong together though the contract's begin has moved. Reading 62.
    """
    assert [each.begin for each in versions(alder.get(path(1001, 702)))] == [
        "2015-08-05T04:00:00Z",
        "2015-08-01T04:00:00Z",
        "2015-08-01T04:00:00Z",
    ]
    assert rows(alder.get(path(1001), params={"contract_id": 702})) == ["702 2015-08 Default"]
