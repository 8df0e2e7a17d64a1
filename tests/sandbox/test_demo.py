"""The demonstration world holds what a client's developer must meet, and its README tells the truth."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime
from importlib import resources

import pytest

from ibt.rules.faults import Faults
from ibt.rules.model import Category, Month, SubaccountVersion
from ibt.rules.periods import read_time
from ibt.store.loading import Market, read_market

DEMO = resources.files("ibt.sandbox") / "demo"
NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
MAY_2013 = read_time("2013-05-01T04:00:00Z")


@pytest.fixture(scope="module")
def market() -> Market:
    faults = Faults()
    market = read_market(DEMO, NOW, faults)
    assert faults.lines() == []
    return market


def lines(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((DEMO / name).read_text("utf-8").splitlines()))


def contracts_of(market: Market, customer_id: int) -> list[int]:
    return [contract.contract_id for contract in market.contracts.values() if customer_id in contract.parties]


def reference_ids(market: Market) -> set[str]:
    return {market.contracts[contract_id].reference_id for contract_id in contracts_of(market, 30)}


def test_customer_1_has_exactly_the_specifications_world(market: Market) -> None:
    subaccounts = {id_: versions for (customer, id_), versions in market.subaccounts.items() if customer == 1}
    assert subaccounts == {
        "ABC1": [SubaccountVersion(MAY_2013, None, "ABC1 activity", "Active")],
        "Default": [SubaccountVersion(MAY_2013, None, "Default", "Active")],
    }
    assert contracts_of(market, 1) == [999998, 999999]
    for contract_id, seller, version in (
        (999998, "QRS Ltd", "2015-07-01T04:00:00Z"),
        (999999, "TUV LLC", "2015-07-02T06:00:00Z"),
    ):
        contract = market.contracts[contract_id]
        assert contract.category is Category.FCM_LOAD_OBLIGATION
        assert (market.customers[contract.buyer_id], market.customers[contract.seller_id]) == ("XYZ Inc", seller)
        assert contract.contract_begin == read_time("2015-08-01T04:00:00Z")
        assert contract.contract_end == read_time("2015-10-01T04:00:00Z")
        assert contract.version == read_time(version)
        assert contract.status == "Conf"
    assert not [key for key in market.later if key[0] == 1]


def test_a_customer_has_only_default(market: Market) -> None:
    assert [id_ for customer, id_ in market.subaccounts if customer == 10] == ["Default"]


@pytest.mark.parametrize(
    ("contract_id", "first", "last", "count"),
    [
        (200001, "2015-01", "2015-03", 3),
        (200002, "2016-01", "2016-12", 12),
        (200003, "2016-02", "2016-02", 1),
        (200004, "2015-03", "2015-03", 1),
        (200005, "2015-10", "2015-11", 2),
        (200006, "2010-01", "2019-12", 120),
    ],
)
def test_contracts_of_customer_20_have_the_mapping_periods_that_they_show(
    market: Market, contract_id: int, first: str, last: str, count: int
) -> None:
    months = list(market.contracts[contract_id].periods)
    assert (months[0], months[-1], len(months)) == (Month(first), Month(last), count)


def test_a_contract_begins_and_ends_in_the_middle_of_a_month(market: Market) -> None:
    contract = market.contracts[200001]
    assert (contract.contract_begin.day, contract.contract_end.day) == (15, 20)
    assert (contract.contract_begin.hour, contract.contract_end.hour) == (5, 4)  # the clocks changed in between


def test_a_contract_has_an_empty_period(market: Market) -> None:
    contract = market.contracts[200007]
    assert contract.contract_begin == contract.contract_end
    assert not contract.periods


def test_all_categories_are_at_all_their_locations(market: Market) -> None:
    found = {category: set[int]() for category in Category}
    for contract_id in contracts_of(market, 30):
        contract = market.contracts[contract_id]
        found[contract.category].add(contract.location_id)
    assert found == {
        Category.ENERGY_DAY_AHEAD: set(range(4000, 4009)),
        Category.ENERGY_REAL_TIME: set(range(4000, 4009)),
        Category.LOAD_REAL_TIME: set(range(4001, 4009)),
        Category.FCM_LOAD_OBLIGATION: set(range(8500, 8507)),
    }


@pytest.mark.parametrize("part", ["%", "_", "*", "?", "[", "\\", "é", "e\u0301", ",", '"', "&", "<"])
def test_some_reference_id_has(market: Market, part: str) -> None:
    assert [id_ for id_ in reference_ids(market) if part in id_.casefold()]


def test_reference_ids_are_blank_and_as_long_as_may_be_too(market: Market) -> None:
    assert {0, 25} <= {len(id_) for id_ in reference_ids(market)}


def test_subaccounts_are_retired_renamed_closed_and_opened_again(market: Market) -> None:
    retired, north, old, again = (market.subaccounts[40, id_] for id_ in ("RETIRED", "NORTH", "OLD", "AGAIN"))
    assert [version.subaccount_status for version in retired] == ["Active", "Inactive"]
    assert north[0].subaccount_name != north[1].subaccount_name
    assert old[-1].end is not None
    assert again[0].end is not None
    assert again[0].end < again[1].begin


def test_a_month_has_many_versions_and_two_of_one_time(market: Market) -> None:
    months = market.later[40, 400001]
    assert max(len(versions) for versions in months.values()) == 4
    assert [
        versions for versions in months.values() if len({version.version for version in versions}) < len(versions)
    ]


def test_a_thousand_contracts_have_twelve_months(market: Market) -> None:
    contracts = contracts_of(market, 50)
    assert len(contracts) == 1000
    assert {len(market.contracts[contract_id].periods) for contract_id in contracts} == {12}


def test_users_have_one_two_and_no_customers_and_lack_the_role(market: Market) -> None:
    roles = {
        user: [(g.customer_id, g.role) for g in market.grants if g.user_name == user] for user in market.user_names
    }
    assert roles["xyz"] == [(1, "IBT")]
    assert roles["two"] == [(10, "IBT"), (20, "IBT")]
    assert roles["mixed"] == [(30, "IBT"), (40, "VIEWER")]
    assert roles["viewer"] == [(1, "VIEWER")]
    assert roles["nobody"] == []


def test_the_readme_lists_every_customer_with_its_users() -> None:
    rows = re.findall(
        r"^\| (\d+) \| ([^|]+?) \| [^|]+ \| ([^|]+?) \|$", (DEMO / "README.md").read_text("utf-8"), re.MULTILINE
    )
    told = {(int(id_), name): sorted(re.findall(r"`([^`]+)`", users)) for id_, name, users in rows}
    assert told == {
        (int(row["customer_id"]), row["name"]): sorted(
            user["user"]
            for user in lines("users.csv")
            if user["customer_id"] == row["customer_id"] and user["role"] == "IBT"
        )
        for row in lines("customers.csv")
    }


def test_the_readme_lists_every_user() -> None:
    section = (DEMO / "README.md").read_text("utf-8").split("## ")[2]
    told = [user for row in section.splitlines() for user in re.findall(r"`([^`]+)`", row.partition(" | ")[0])]
    assert sorted(told) == sorted({row["user"] for row in lines("users.csv")})
