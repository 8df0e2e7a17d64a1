"""
What the statements find, against a plain reckoning over the same market, on each database.

Clauses 3.1, 3.2.3, 3.2.4, 3.3. Readings 11-13, 16-18, 20-23, 39, 44-46, 61, 63.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import combinations, groupby, product
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markets import write_market
from sqlalchemy import Connection, event

from ibt.rules.faults import Faults
from ibt.rules.model import Category, Contract, MappingVersion, Month, SubaccountMapping
from ibt.rules.periods import eastern_days, read_time
from ibt.rules.queries import LARGEST_NUMBER, Pattern, Query
from ibt.store import Database, reads, tables
from ibt.store.dialects import matching
from ibt.store.loading import load, read_market
from ibt.store.market import Market

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)

#: What a pattern language, a collation or an encoding may trip over; ids of subaccounts, so no control characters.
NASTY = (
    "%",
    "_",
    "*",
    "?",
    "[a]",
    "]",
    "[^a]",
    "[!a]",
    "a-z",
    "\\",
    "\\%",
    "a\\",
    "'",
    '"',
    ";--",
    "a b",
    "a",
    "A",
    "Z",
    "aa",
    "ab",
    "é",
    "e\u0301",
    "É",
    "ß",
    "ss",
    "ı",
    "007",
    "7",
    "\ufeff",
    "\uff21",
    "\U0001f600",
    "\U0001f600a",
    "\ue000",
)

HEADERS = {
    "customers.csv": "customer_id,name\n",
    "subaccounts.csv": "customer_id,subaccount_id,begin,end,name,status\n",
    "contracts.csv": "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version\n",
    "mappings.csv": "customer_id,contract_id,begin,end,version,subaccount_id\n",
}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def file(name: str, lines: Iterable[str]) -> str:
    return HEADERS[name] + "".join(f"{line}\n" for line in lines)


def subaccount_lines() -> Iterator[str]:
    """Subaccounts of customer 1: nasty ones with nasty names, one with three lives and a gap. A namesake of 2."""
    for subaccount_id, name in zip(NASTY, reversed(NASTY), strict=True):
        yield f"1,{quoted(subaccount_id)},2013-05-01T04:00:00Z,,{quoted(name)},Active"
    yield "1,lives,2013-05-01T04:00:00Z,2015-09-01T04:00:00Z,young,Active"
    yield "1,lives,2015-09-01T04:00:00Z,2015-10-01T04:00:00Z,old,Retired"
    yield "1,lives,2015-11-01T04:00:00Z,,,Active"
    yield "2,a,2013-05-01T04:00:00Z,,another customer's,Active"


def contract_lines() -> Iterator[str]:
    """Contracts of customer 1 with each nasty text as reference, others that it has no part in, and an empty one."""
    times = "2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,Conf,2015-07-01T04:00:00Z"
    categories = [category.value for category in Category]
    for number, reference in enumerate(NASTY):
        parties = ("1,2", "3,1", "2,3")[number % 3]
        location = (0, 4001, 999999999)[number % 3]
        yield f"{100 + number},{quoted(reference)},{categories[number % 4]},{location},{parties},{times}"
    yield "7,,ENERGY DAY AHEAD,4000,1,2,2015-02-17T18:30:00Z,2016-03-01T05:00:00Z,New,2015-01-01T05:00:00Z"
    yield "70,,ENERGY DAY AHEAD,4000,1,2,2015-08-01T04:00:00Z,2015-08-01T04:00:00Z,New,2015-01-01T05:00:00Z"
    yield "999999999,R,LOAD REAL TIME,4000,1,3,2015-12-01T05:00:00Z,2015-12-01T06:00:00Z,New,2015-01-01T05:00:00Z"


def mapping_lines() -> Iterator[str]:
    august, september = "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z", "2015-09-01T04:00:00Z,2015-10-01T04:00:00Z"
    for number, subaccount_id in enumerate(NASTY):
        if number % 3 != 2:
            yield f"1,{100 + number},{august},2015-07-02T04:00:00Z,{quoted(subaccount_id)}"
    for period in (august, september, "2015-11-01T04:00:00Z,2015-12-01T05:00:00Z"):
        yield f"1,7,{period},2015-07-02T04:00:00Z,lives"
    # Three of one time, of which the last is current; and the seller's own, which the buyer must not see.
    for subaccount_id in ("a", "lives", "A"):
        yield f"1,100,{september},2015-07-03T04:00:00Z,{subaccount_id}"
    yield f"2,7,{august},2015-07-09T04:00:00Z,Default"


class Loaded(NamedTuple):
    """A market, and the database that it was loaded into."""

    market: Market
    database: Database


@pytest.fixture(scope="module")
def loaded(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    """The market of this module in a database that no test changes."""
    names = ["1,XYZ Inc", "2,QRS Ltd", '3,"TUV, LLC"', "4,Nobody's"]
    world = {
        "customers.csv": file("customers.csv", names),
        "subaccounts.csv": file("subaccounts.csv", subaccount_lines()),
        "contracts.csv": file("contracts.csv", contract_lines()),
        "mappings.csv": file("mappings.csv", mapping_lines()),
        "users.csv": "user,customer_id,role\n",
    }
    faults = Faults()
    market = read_market(write_market(tmp_path_factory.mktemp("market"), world), NOW, faults)
    assert faults.lines() == []
    with new_database() as url:
        database = Database(url)
        database.upgrade()
        with database.updating() as connection:
            load(connection, market)
        yield Loaded(market, database)
        database.close()


# The plain reckoning ----------------------------------------------------------------------------------------


Shown = tuple[Contract, MappingVersion]


def overlaps(query: Query, version: MappingVersion) -> bool:
    if query.begin is None or query.end is None:
        return True
    return version.begin < query.end and query.begin < version.end


def fits(wanted: str | Pattern | None, text: str | None) -> bool:
    if wanted is None:
        return True
    if text is None:
        return False
    return wanted.matches(text) if isinstance(wanted, Pattern) else wanted == text


def expected(market: Market, customer_id: int, query: Query) -> list[Shown]:
    """The current versions that 3.2.4 asks for, in order."""
    found = []
    for of_customer, contract_id, _, versions in market.mappings():
        contract, version = market.contracts[contract_id], versions[-1]
        names = [
            named.subaccount_name
            for named in market.subaccounts[of_customer, version.subaccount_id]
            if named.in_effect(version.begin)
        ]
        wanted = Pattern(str(query.contract_id)) if isinstance(query.contract_id, int) else query.contract_id
        if (
            of_customer == customer_id
            and fits(wanted, str(contract_id))
            and fits(query.reference_id, contract.reference_id)
            and fits(query.subaccount_id, version.subaccount_id)
            and fits(query.subaccount_name, names[0] if names else None)
            and query.category in (None, contract.category)
            and query.location_id in (None, contract.location_id)
            and query.party_id in (None, contract.buyer_id, contract.seller_id)
            and overlaps(query, version)
        ):
            found.append((shown(market, contract_id), version))
    return sorted(found, key=lambda item: (item[0].contract_id, item[1].begin))


def shown(market: Market, contract_id: int) -> Contract:
    contract = market.contracts[contract_id]
    return Contract(
        contract_id,
        contract.category.market_name,
        market.customers[contract.buyer_id],
        market.customers[contract.seller_id],
        contract.contract_begin,
        contract.contract_end,
        contract.status,
    )


def page_of(
    customer_id: int, versions: list[tuple[Contract, MappingVersion]], query: Query
) -> list[SubaccountMapping]:
    page = versions[query.start : query.start + query.limit]
    return [
        SubaccountMapping(customer_id, contract, tuple(version for _, version in group))
        for contract, group in groupby(page, key=lambda item: item[0])
    ]


def check(loaded: Loaded, connection: Connection, query: Query, customer_id: int = 1) -> None:
    versions = expected(loaded.market, customer_id, query)
    found = reads.current_mappings(connection, customer_id, query)
    assert found == (len(versions), page_of(customer_id, versions, query)), query


# Filters ----------------------------------------------------------------------------------------------------


def days(first: date, last: date | None = None) -> tuple[datetime, datetime]:
    return eastern_days(first, last or first)


PATTERNS = tuple(map(Pattern, ("*", "%%", "a*", "*a", "*a*", "[a*", "*\\", "_*", "?%", "*\U0001f600*")))

#: The values that each filter is tried with: ones that match, ones that almost do, and ones that match nothing.
FILTERS: dict[str, tuple[Any, ...]] = {
    "contract_id": (
        7,
        70,
        102,
        999999999,
        0,
        8,
        *(Pattern(text) for text in ("*", "1*", "%0", "1*0*", "9%9", "7*7")),
    ),
    "reference_id": ("", "a", "%", "\\", "é", "\U0001f600", "no", *PATTERNS),
    "subaccount_id": ("Default", "lives", "a", "é", "e\u0301", "_", "7", "no", *PATTERNS),
    "subaccount_name": ("Default", "young", "old", "", "a", "ss", "another customer's", "no", *PATTERNS),
    "category": tuple(Category),
    "location_id": (0, 4000, 4001, 999999999, 2**31, LARGEST_NUMBER),
    "party_id": (1, 2, 3, 4, 0, 2**31, LARGEST_NUMBER),
    "days": (
        days(date(2015, 8, 1)),
        days(date(2015, 7, 31)),
        days(date(2015, 8, 31)),
        days(date(2015, 9, 1)),
        days(date(2015, 2, 16)),
        days(date(2015, 2, 17)),
        days(date(2015, 11, 30), date(2015, 12, 1)),
        days(date(2016, 2, 29)),
        days(date(2016, 3, 1)),
        days(date(1, 1, 1), date(9999, 12, 31)),
        days(date(1, 1, 1)),
        days(date(9999, 12, 31)),
    ),
}


def narrowed(query: Query, name: str, value: Any) -> Query:
    if name == "days":
        return replace(query, begin=value[0], end=value[1])
    return replace(query, **{name: value})


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_what_the_specification_says(loaded: Loaded, name: str) -> None:
    with loaded.database.reading() as connection:
        for value in FILTERS[name]:
            check(loaded, connection, narrowed(Query(limit=1000), name, value))


@pytest.mark.parametrize("names", list(combinations(FILTERS, 2)), ids="-".join)
def test_two_filters_find_what_both_do(loaded: Loaded, names: tuple[str, str]) -> None:
    with loaded.database.reading() as connection:
        for values in product(*(FILTERS[name] for name in names)):
            query = Query(limit=1000)
            for name, value in zip(names, values, strict=True):
                query = narrowed(query, name, value)
            check(loaded, connection, query)


def test_the_tables_of_values_find_something_and_not_everything(loaded: Loaded) -> None:
    everything = len(expected(loaded.market, 1, Query()))
    for name, values in FILTERS.items():
        counts = {len(expected(loaded.market, 1, narrowed(Query(), name, value))) for value in values}
        assert any(0 < count < everything for count in counts), name


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("name", ["reference_id", "subaccount_id", "subaccount_name"])
def test_a_text_finds_itself_alone_and_with_a_wildcard(loaded: Loaded, name: str, text: str) -> None:
    with loaded.database.reading() as connection:
        for value in (text, Pattern(f"{text}*"), Pattern(f"*{text}"), Pattern(f"*{text}*")):
            if not (isinstance(value, str) and set(value) & {"*", "%"}):  # which a query makes a Pattern of
                check(loaded, connection, narrowed(Query(limit=1000), name, value))


@pytest.mark.parametrize("customer_id", [1, 2, 3, 4, 5])
def test_a_customer_sees_its_own_mappings_only(loaded: Loaded, customer_id: int) -> None:
    with loaded.database.reading() as connection:
        check(loaded, connection, Query(limit=1000), customer_id)


# Patterns ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("%_*?[]^-!\\aé"))

MATCHING = sa.select(matching(sa.bindparam("text", type_=tables.CodePoints), "pattern"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_wildcard_means_the_same_in_sql(loaded: Loaded, data: st.DataObject) -> None:
    text = data.draw(texts)
    # A pattern made of the text itself is one that matches more often than not.
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pattern = Pattern(data.draw(st.just("*".join(pieces)) | texts))
    with loaded.database.reading() as connection:
        found = connection.execute(MATCHING, {"text": text, "pattern": pattern}).scalar_one()
    assert bool(found) == pattern.matches(text)


def test_a_pattern_of_many_wildcards_is_judged_at_once(loaded: Loaded) -> None:
    pattern, text = Pattern("*a" * 49 + "*b"), "a" * 100
    with loaded.database.reading() as connection:
        assert not connection.execute(MATCHING, {"text": text, "pattern": pattern}).scalar_one()


# Paging -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 1000])
def test_pages_follow_each_other_and_know_the_total(loaded: Loaded, limit: int) -> None:
    total = len(expected(loaded.market, 1, Query()))
    with loaded.database.reading() as connection:
        for start in (*range(0, total + limit, limit), total - 1, total, LARGEST_NUMBER):
            check(loaded, connection, Query(start=start, limit=limit))


def test_a_contract_continues_on_the_next_page(loaded: Loaded) -> None:
    with loaded.database.reading() as connection:
        (_, (first,)) = reads.current_mappings(connection, 1, Query(limit=3))
        (_, (second, *_)) = reads.current_mappings(connection, 1, Query(limit=100, start=3))
    assert first.contract == second.contract
    assert (len(first.versions), len(second.versions)) == (3, 10)


# One contract -----------------------------------------------------------------------------------------------


def test_a_history_has_all_versions_by_month_and_then_oldest_first(loaded: Loaded) -> None:
    history: dict[tuple[int, int], list[MappingVersion]] = {}
    for customer_id, contract_id, _, versions in loaded.market.mappings():
        history.setdefault((customer_id, contract_id), []).extend(versions)
    with loaded.database.reading() as connection:
        for (customer_id, contract_id), versions in history.items():
            found = reads.mapping_history(connection, customer_id, contract_id)
            assert found == SubaccountMapping(customer_id, shown(loaded.market, contract_id), tuple(versions))
        september = [version.subaccount_id for version in reads.mapping_history(connection, 1, 100).versions[-4:]]
    assert september == ["Default", "a", "lives", "A"]


def test_a_contract_with_an_empty_period_has_a_history_without_versions(loaded: Loaded) -> None:
    with loaded.database.reading() as connection:
        assert reads.mapping_history(connection, 1, 70) == SubaccountMapping(1, shown(loaded.market, 70), ())


def test_a_period_that_fell_away_leaves_history_and_standing_but_not_the_database(loaded: Loaded) -> None:
    september = tables.current_mapping.delete().where(
        tables.current_mapping.c.contract_id == 100, tables.current_mapping.c.month == Month("2015-09")
    )
    with loaded.database.engine.connect().execution_options(ibt_writes=True) as connection:
        transaction = connection.begin()
        connection.execute(september)
        begins = {version.begin for version in reads.mapping_history(connection, 1, 100).versions}
        standing = reads.standing(connection, 1, [100], []).mappings[100]
        kept = connection.execute(
            sa.select(sa.func.count())
            .select_from(tables.mapping_version)
            .where(tables.mapping_version.c.customer_id == 1, tables.mapping_version.c.contract_id == 100)
        ).scalar_one()
        transaction.rollback()
    assert begins == {version.begin for version in standing.versions} == {read_time("2015-08-01T04:00:00Z")}
    assert kept == 6


def test_a_contract_is_there_for_its_parties_alone(loaded: Loaded) -> None:
    with loaded.database.reading() as connection:
        there = {
            (customer_id, contract_id)
            for customer_id in (1, 2, 3, 4, 5)
            for contract_id in (*loaded.market.contracts, 0, 8, 999999998)
            if reads.has_contract(connection, customer_id, contract_id)
        }
    assert there == {
        (party, contract.contract_id) for contract in loaded.market.contracts.values() for party in contract.parties
    }


# Subaccounts, standing, grants ------------------------------------------------------------------------------


def test_subaccounts_are_in_the_order_of_code_points_and_their_versions_by_begin(loaded: Loaded) -> None:
    with loaded.database.reading() as connection:
        found = reads.subaccounts(connection, 1)
    assert [subaccount.subaccount_id for subaccount in found] == sorted({*NASTY, "lives", "Default"})
    assert {subaccount.subaccount_id: subaccount.subaccount_versions for subaccount in found} == {
        subaccount_id: tuple(versions)
        for (customer_id, subaccount_id), versions in loaded.market.subaccounts.items()
        if customer_id == 1
    }


def test_an_update_is_judged_against_the_customers_own_contracts(loaded: Loaded) -> None:
    asked = [100, 100, 7, 70, 102, 5, 999999998]  # 102 is the others', the last two are nobody's
    with loaded.database.reading() as connection:
        subaccounts = reads.subaccounts(connection, 1)[1:]
        named = ["nobody's", "a\0b", *(subaccount.subaccount_id for subaccount in subaccounts)]
        standing = reads.standing(connection, 1, asked, named)
        current = {mapping.contract.contract_id: mapping for mapping in reads.current_mappings(connection, 1, ALL)[1]}
    assert standing.customer_id == 1
    assert standing.mappings == {
        7: current[7],
        70: SubaccountMapping(1, shown(loaded.market, 70), ()),
        100: current[100],
    }
    assert list(standing.subaccounts.values()) == subaccounts
    assert list(standing.subaccounts) == [subaccount.subaccount_id for subaccount in subaccounts]


ALL = Query(limit=1000)


# Statements -------------------------------------------------------------------------------------------------


def statements(database: Database, limit: int) -> int:
    """How many statements a page of *limit* costs."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    event.listen(database.engine, "before_cursor_execute", counted)
    try:
        with database.reading() as connection:
            reads.current_mappings(connection, 1, Query(limit=limit))
    finally:
        event.remove(database.engine, "before_cursor_execute", counted)
    return count


def test_a_page_costs_the_same_statements_whatever_it_holds(loaded: Loaded) -> None:
    expected = 4 if loaded.database.sqlite else 3
    assert {statements(loaded.database, limit) for limit in (1, 25, 1000)} == {expected}
