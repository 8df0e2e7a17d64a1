"""
The plans of the store's statements, as each database tells them: none reads more as the market grows.

The statements are those that the store asks, caught as they are asked. Each table of customers' data is to be entered
by an index, at one customer; any other table by an index too. A market of some hundred thousand rows stands behind,
so that the databases mean what they say. On PostgreSQL both plans are judged that a prepared
statement may get: the one for its values, and the generic one.

And what a page costs is counted, in steps of SQLite and in pages of PostgreSQL, which no busy machine changes: it is
the same for a small customer and for a large one.

Clause 3.2.4.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text

from ibt.rules.mappings import NewVersion
from ibt.rules.model import Category, MappingVersion, Month
from ibt.rules.periods import eastern_days, month_begin, month_end
from ibt.rules.queries import Pattern, Query
from ibt.store import Database, places, reads, writes
from ibt.store.audit import Deed
from ibt.store.places import Place
from ibt.store.reads import Shown
from postgresql import Server
from statements import OF_CUSTOMERS

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import market as markets_of_any_size  # type: ignore[import-not-found]  # it lies with the benchmarks

#: A small and a large customer among many.
MARKET = markets_of_any_size.Market(customers=3_000, contracts=4, others=(500, 50, 2_000))
SMALL, LARGE = MARKET.of_other(1), MARKET.of_other(2)

#: So many certificates are pinned, and so many revoked.
KNOWN = 3_000

AUGUST = eastern_days(date(2015, 8, 1), date(2015, 8, 31))
AUGUST_2015 = Month("2015-08")
LATE = eastern_days(date(2019, 12, 1), date(2019, 12, 31))
SPRING = eastern_days(date(2015, 3, 1), date(2015, 5, 31))

CONTRACT = markets_of_any_size.contract_ids(MARKET, LARGE)[1000]

FILTERS: dict[str, dict[str, Any]] = {
    "contract": {"contract_id": CONTRACT},
    "contracts": {"contract_id": Pattern(f"{CONTRACT // 10}*")},
    "reference": {"reference_id": "REF-77"},
    "references": {"reference_id": Pattern("REF-7*")},
    "subaccount": {"subaccount_id": "S101"},
    "subaccounts": {"subaccount_id": Pattern("S10*")},
    "name": {"subaccount_name": "Subaccount 1"},
    "names": {"subaccount_name": Pattern("*1")},
    "category": {"category": Category.LOAD_REAL_TIME},
    "location": {"location_id": 4003},
    "party": {"party_id": LARGE},
    "month": {"begin": AUGUST[0], "end": AUGUST[1]},
    "months": {"begin": SPRING[0], "end": SPRING[1]},
}

#: What a grid narrows by at the same time.
PAIRS = [
    ("category", "month"),
    ("category", "months"),
    ("subaccount", "month"),
    ("subaccounts", "month"),
    ("contract", "month"),
    ("contracts", "month"),
    ("reference", "category"),
    ("references", "category"),
    ("reference", "month"),
    ("party", "month"),
    ("party", "category"),
    ("location", "month"),
    ("location", "category"),
    ("name", "month"),
    ("names", "category"),
    ("subaccount", "category"),
]

QUERIES = {
    "all": Query(),
    **{name: Query(**given) for name, given in FILTERS.items()},
    **{" and ".join(pair): Query(**FILTERS[pair[0]], **FILTERS[pair[1]]) for pair in PAIRS},
    "all filters": Query(
        **{name: value for given in FILTERS.values() for name, value in given.items() if name != "begin"},
        begin=AUGUST[0],
    ),
}

#: A statement as a driver gets it.
Asked = tuple[str, Any]


@dataclass(frozen=True)
class Planner:
    """A database with the market, of a kind of `planner`, and how it is asked for its plans."""

    database: Database
    kind: str

    @contextmanager
    def asked(self) -> Iterator[list[Asked]]:
        """A list that gets the statements of a block."""
        seen: list[Asked] = []

        def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
            if re.match(r"(?i)select|insert|update|delete|with", statement):
                seen.append((statement, parameters))

        event.listen(self.database.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(self.database.engine, "before_cursor_execute", note)

    def faults(self, asked: Sequence[Asked]) -> list[str]:
        """What is wrong with the plans of these statements."""
        judge = self._sqlite if self.database.sqlite else self._postgresql
        return [
            f"{fault}: {' '.join(statement.split())}"
            for statement, values in asked
            for fault in judge(statement, values)
        ]

    def _sqlite(self, statement: str, values: Any) -> Iterator[str]:
        if isinstance(values, list) and values and isinstance(values[0], tuple):
            values = values[0]  # of many rows that get the same
        with self.database.reading() as connection:
            driver: Any = connection.connection.driver_connection
            steps = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
        for step in steps:
            yield from _faults_of_step(step, _names(statement))

    def _postgresql(self, statement: str, values: Any) -> Iterator[str]:
        for plan in self._plans(statement, values):
            yield from _faults_of_node(plan)

    def _plans(self, statement: str, values: Any, options: str = "") -> list[dict[str, Any]]:
        """The plan for these values, and the generic one."""
        plans = []
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement).replace("%%", "%")
        given = ", ".join(f"%({name})s" for name in names)
        url = self.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(f"PREPARE asked AS {numbered}".encode())
            for mode in ("force_custom_plan", "force_generic_plan"):
                connection.execute(f"SET plan_cache_mode = {mode}".encode())
                explained = f"EXPLAIN ({options}FORMAT JSON) EXECUTE asked{f'({given})' if names else ''}"
                row = connection.execute(explained.encode(), values or None).fetchone()
                assert row is not None
                plans.append(row[0][0]["Plan"])
        return plans

    def cost(self, asked: Sequence[Asked], *, generic: bool = False) -> int:
        """What the statements read, in steps of SQLite or in pages of PostgreSQL, there by the *generic* plan."""
        if self.database.sqlite:
            return sum(self._steps(*one) for one in asked)
        return sum(_pages_of(plan) for one in asked for plan in self._plans(*one, "ANALYZE, BUFFERS, ")[generic:][:1])

    def _steps(self, statement: str, values: Any) -> int:
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        with self.database.reading() as connection:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(step, 1)
            driver.execute(statement, values).fetchall()
            driver.set_progress_handler(None, 0)
        return steps


def _pages_of(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def _names(statement: str) -> dict[str, str]:
    """The tables of *statement* by the names that they have in it."""
    plain = statement.replace('"', "")
    found = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE|,) +(\w+)(?: +AS +(\w+))?", plain, re.IGNORECASE)
    return {name or table: table for table, name in found}


def _faults_of_step(step: str, names: dict[str, str]) -> Iterator[str]:
    """What is wrong with a line of `EXPLAIN QUERY PLAN`, which calls a customer_id that is the whole key a rowid."""
    found = re.match(r"(SCAN|SEARCH) (\w+)(.*)", step)
    if not found or found[2] in ("page", "json_each", "CONSTANT"):  # what the statement made itself
        return
    table = names.get(found[2], found[2])
    if found[1] == "SCAN":
        yield f"all of {table} is read ({step})"
    elif (
        table in OF_CUSTOMERS and "customer_id=?" not in found[3] and "INTEGER PRIMARY KEY (rowid=?)" not in found[3]
    ):
        yield f"{table} is not entered at a customer ({step})"


def _faults_of_node(node: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a node of a plan in JSON, and with those below."""
    kind, condition = node["Node Type"], node.get("Index Cond", "")
    told = f"{kind} on {node.get('Relation Name') or node.get('Index Name')}: {condition or 'no condition'}"
    if kind == "Seq Scan":
        yield f"all of {node['Relation Name']} is read ({told})"
    elif "Index Name" in node:
        table = node.get("Relation Name") or _table_of(node["Index Name"])
        if not condition or (table in OF_CUSTOMERS and not re.search(r"\bcustomer_id = ", condition)):
            yield f"{table} is not entered at a customer ({told})"
    for below in node.get("Plans", ()):
        yield from _faults_of_node(below)


def _table_of(index: str) -> str:
    """The table of an index, which has its name first."""
    return max((table for table in OF_CUSTOMERS if index.startswith(table)), key=len, default=index)


@pytest.fixture(scope="module", params=["sqlite", "sqlite without statistics", "postgresql"])
def planner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:
    """The market on each kind of database; on SQLite, which collects no statistics of itself, without them too."""
    if request.param != "postgresql":
        url = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'ibt.db'}"
        yield from _planner(url, request.param)
        return
    server: Server = request.getfixturevalue("postgresql")
    with server.database() as url:
        yield from _planner(url, request.param)


def _planner(url: str, kind: str) -> Iterator[Planner]:
    database = Database(url)
    markets_of_any_size.build(database, MARKET)
    numbers = (
        f"(with recursive n (n) as (select 1 union all select n + 1 from n where n < {KNOWN}) select n from n) as n"
    )
    with database.updating() as connection:
        for statement in (
            f"insert into pins (user_name, fingerprint, time) select 'user' || n, 'f', 0 from {numbers}",
            f"insert into revoked select 'CN=authority', 's' || n, 'CN=one', 'f' || n, 0 from {numbers}",
            *(line for contract_id, months in LONG.items() for line in _long_contract(contract_id, months)),
            *_late_contract(SMALL),
            *_late_contract(LARGE),
        ):
            connection.execute(text(statement))
        places.keep_all(connection)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if database.sqlite else "VACUUM ANALYZE")
        if kind == "sqlite without statistics":
            connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    database.close()  # a connection of SQLite reads the statistics once
    yield Planner(database, kind)
    database.close()


def _late_contract(customer_id: int) -> Iterator[str]:
    """Gives the customer one more contract, its last, of a month that no other has."""
    (begin, end), number = (int(time.timestamp()) for time in LATE), 9_999_999
    parties = f"{customer_id}, {customer_id + 1}"
    yield (
        f"insert into contract values ({customer_id}, {number}, 'LATE', 'LOAD REAL TIME', 4000, {parties}, "
        f"{begin}, {end}, 'Conf')"
    )
    yield (
        'insert into current_mapping (customer_id, contract_id, month, "begin", "end", version, sequence, '
        f"subaccount_id) values ({customer_id}, {number}, 201912, {begin}, {end}, {begin}, 1, 'Default')"
    )


#: Contracts of many months, of each of which there are as many versions.
LONG = {9_999_001: 20, 9_999_002: 200}
VERSIONS = 5


def _long_contract(contract_id: int, months: int) -> Iterator[str]:
    """Gives the large customer a contract of so many months, of which each has a few versions."""
    parties = f"{LARGE}, {LARGE + 1}"
    shown = f"'LONG', 'LOAD REAL TIME', 4000, {parties}, 0, 1, 'Conf'"
    yield f"insert into contract values ({LARGE}, {contract_id}, {shown})"
    numbers = (
        "with recursive n (n) as (select 0 union all select n + 1 from n where n < {0}) select n from n where n < {0}"
    )
    key = f"{LARGE}, {contract_id}, (2020 + m.n / 12) * 100 + m.n % 12 + 1"
    yield (
        'insert into current_mapping (customer_id, contract_id, month, sequence, "begin", "end", version, '
        f"subaccount_id) select {key}, {VERSIONS}, m.n, m.n + 1, 0, 'Default' from ({numbers.format(months)}) as m"
    )
    yield (
        'insert into mapping_version (customer_id, contract_id, month, sequence, "begin", "end", version, '
        f"subaccount_id) select {key}, v.n + 1, m.n, m.n + 1, 0, 'Default' "
        f"from ({numbers.format(months)}) as m, ({numbers.format(VERSIONS)}) as v"
    )


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_no_page_and_no_total_reads_more_as_the_market_grows(planner: Planner, query: Query) -> None:
    ended = Place(500, CONTRACT - 100, Month("2015-06"))
    with planner.asked() as asked, planner.database.reading() as connection:
        reads.total(connection, LARGE, query)
        reads.page(connection, LARGE, query)
        reads.page(connection, LARGE, replace(query, start=500), ended)
        reads.page(connection, LARGE, replace(query, start=500))
    expected = 7 if planner.database.sqlite else 4
    if not query.filtered:  # the total's place, and on SQLite that of the last page
        expected += 2 if planner.database.sqlite else 1
    assert len(asked) == expected
    assert planner.faults(asked) == []


def test_no_other_question_reads_more_as_the_market_grows(planner: Planner) -> None:
    with planner.asked() as asked, planner.database.reading() as connection:
        reads.rights(connection, f"user{LARGE}", "IBT", Shown("CN=authority", "s1", "f1"), LARGE)
        reads.revision(connection, LARGE)
        reads.subaccounts(connection, LARGE)
        assert reads.mapping_history(connection, LARGE, CONTRACT)
        reads.has_contract(connection, LARGE, CONTRACT)
        reads.standing(connection, LARGE, range(CONTRACT, CONTRACT + 3), ["S101"])
    assert len(asked) >= 6
    assert planner.faults(asked) == []


def test_no_update_reads_more_as_the_market_grows(planner: Planner) -> None:
    month = Month("2015-08")
    begin, end = month_begin(month), month_end(month)
    now = datetime(2020, 1, 1, tzinfo=UTC)
    new = [
        NewVersion(contract_id, month, MappingVersion(begin, end, now, "S101"))
        for contract_id in range(CONTRACT, CONTRACT + 3)
    ]
    with planner.asked() as asked, planner.database.updating() as connection:
        locked = writes.lock(connection, LARGE)
        writes.add_versions(connection, locked, new, Deed(kind="update", time=now, user_name="one"))
    names = " ".join(statement for statement, _ in asked)
    assert all(table in names for table in ("current_mapping", "mapping_version", "customer_state", "audit"))
    assert planner.faults(asked) == []


BAD = {
    "no customer": "SELECT status FROM contract WHERE contract_id = 7",
    "no condition": "SELECT count(*) FROM current_mapping",
    "a join by another column": (
        "SELECT c.status FROM contract AS c JOIN current_mapping ON current_mapping.contract_id = c.contract_id "
        f"WHERE c.customer_id = {LARGE}"
    ),
    "a range of customers": f"SELECT status FROM contract WHERE customer_id > {LARGE}",
    "an update of all customers": "UPDATE customer_state SET revision = 'x' WHERE revision = 'y'",
    "a name": "SELECT customer_id FROM customer WHERE name = 'Customer 7'",
}


@pytest.mark.parametrize("statement", BAD.values(), ids=BAD)
def test_a_plan_that_grows_with_the_market_is_found(planner: Planner, statement: str) -> None:
    assert planner.faults([(statement, ())]) != []


# --- what a page costs ------------------------------------------------------------------------------------------

Question = Callable[[Any, int], object]


def _deep(connection: Any, customer_id: int) -> object:
    """A page near the customer's last one, at a place that is known."""
    contracts = markets_of_any_size.contract_ids(MARKET, customer_id)
    end = (len(contracts) - 10) * MARKET.months
    return reads.page(connection, customer_id, Query(start=end), Place(end, contracts[-11], Month("2015-12")))


COSTS: dict[str, Question] = {
    "the first page": lambda connection, customer_id: reads.page(connection, customer_id, Query()),
    "a page behind a place": _deep,
    "a page of which no place is known": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(start=MARKET.versions_of(customer_id) // 2)
    ),
    "the last page": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(start=MARKET.versions_of(customer_id) - 25)
    ),
    "the total": lambda connection, customer_id: reads.total(connection, customer_id, Query()),
    "one month": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(begin=AUGUST[0], end=AUGUST[1])
    ),
    "three months": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(begin=SPRING[0], end=SPRING[1])
    ),
    "a month of one contract": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(begin=LATE[0], end=LATE[1])
    ),
    "one contract": lambda connection, customer_id: reads.mapping_history(
        connection, customer_id, markets_of_any_size.contract_ids(MARKET, customer_id)[7]
    ),
    "one contract of the collection": lambda connection, customer_id: reads.page(
        connection, customer_id, Query(contract_id=markets_of_any_size.contract_ids(MARKET, customer_id)[7])
    ),
    "what an update of two contracts is judged against": lambda connection, customer_id: reads.standing(
        connection, customer_id, markets_of_any_size.contract_ids(MARKET, customer_id)[7:9], ["S101"]
    ),
}


#: What costs more for a large customer, and should not.
GROWS: set[tuple[str, str]] = set()


@pytest.mark.parametrize("name", COSTS)
def test_a_page_costs_what_it_contains_and_not_what_the_customer_has(planner: Planner, name: str) -> None:
    costs = {}
    for customer_id in (SMALL, LARGE):
        with planner.asked() as asked, planner.database.reading() as connection:
            assert COSTS[name](connection, customer_id)
        costs[customer_id] = planner.cost(asked)
    grows = costs[LARGE] > 1.3 * costs[SMALL]
    assert grows == ((name, planner.kind) in GROWS), costs


#: Filters that choose contracts, with values that no contract of the customer has, and what they cost at most beside
#: all of the customer's versions: there are twelve times as many of these as of contracts.
OF_NO_CONTRACT = {
    "contract": Query(contract_id=Pattern("9*9*9*9*9*9*9*9")),
    "reference": Query(reference_id="none"),
    "references": Query(reference_id=Pattern("no*ne")),
    "location": Query(location_id=1),
    "party": Query(party_id=SMALL),
    "reference and months": Query(reference_id="none", begin=SPRING[0], end=SPRING[1]),
    "location and subaccount": Query(location_id=1, subaccount_id="S101"),
}


@pytest.mark.parametrize("query", OF_NO_CONTRACT.values(), ids=OF_NO_CONTRACT)
def test_a_filter_that_chooses_contracts_passes_over_contracts_and_not_over_versions(
    planner: Planner, query: Query
) -> None:
    costs = []
    for asked_for in (query, Query(subaccount_id="none")):
        with planner.asked() as asked, planner.database.reading() as connection:
            assert reads.total(connection, LARGE, asked_for) == 0
            assert not reads.page(connection, LARGE, asked_for)
            assert not reads.page(connection, LARGE, asked_for, Place(0, 1, Month("2015-01")))
        costs.append(planner.cost(asked))
    of_contracts, of_versions = costs
    assert of_contracts < of_versions / 2


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_page_behind_a_place_reads_each_version_once(planner: Planner, query: Query) -> None:
    """And not all later ones for each contract. PostgreSQL may come to each by an index of its own, in two pages."""
    limit = 25
    with planner.asked() as counting, planner.database.reading() as connection:
        reads.total(connection, LARGE, query)
    with planner.asked() as paging, planner.database.reading() as connection:
        reads.page(connection, LARGE, replace(query, start=500, limit=limit), Place(500, CONTRACT - 500, AUGUST_2015))
        reads.page(connection, LARGE, replace(query, limit=limit))
    if planner.database.sqlite:
        assert planner.cost(paging) < 3 * planner.cost(counting) + 120 * limit
    else:
        assert planner.cost(paging) < 2 * MARKET.versions_of(LARGE)


def test_a_name_that_no_subaccount_has_is_not_looked_for_in_each_version(planner: Planner) -> None:
    costs = []
    for query in (Query(subaccount_name="none"), Query(subaccount_id="none")):
        with planner.asked() as asked, planner.database.reading() as connection:
            assert reads.total(connection, LARGE, query) == 0
        costs.append(planner.cost(asked))
    by_name, by_id = costs
    assert by_name < 2.5 * by_id


def test_a_contract_of_many_months_costs_what_its_history_contains(planner: Planner) -> None:
    """And not all versions once for each month: PostgreSQL's plan that knows no values would do so."""
    costs = {}
    for contract_id, months in LONG.items():
        with planner.asked() as asked, planner.database.reading() as connection:
            assert len(reads.mapping_history(connection, LARGE, contract_id).versions) == months * VERSIONS
        costs[months] = planner.cost(asked, generic=True)
    few, many = sorted(costs)
    assert costs[many] < 2 * many / few * costs[few], costs


def test_a_jump_to_any_page_costs_the_same(planner: Planner) -> None:
    costs = []
    for start in range(1_000, 24_000, 1_500):
        with planner.asked() as asked, planner.database.reading() as connection:
            assert reads.page(connection, LARGE, Query(start=start))
        costs.append(planner.cost(asked))
    assert max(costs) < 3 * min(costs)
