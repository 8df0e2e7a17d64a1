"""
Places near any page: what they say is so, after each kind of loading; and pages are the same with and without them.

Clause 3.2.3. Readings 11, 12, 27.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import alembic.command
import pytest
from markets import SAMPLE, added, write_market
from sqlalchemy import Connection, delete, select, text

from ibt.rules.faults import Faults
from ibt.rules.mappings import NewVersion
from ibt.rules.model import Month
from ibt.rules.periods import month_begin, write_time
from ibt.rules.queries import Query
from ibt.store import Database, loading, migrations, places, reads, tables, writes
from ibt.store.audit import Deed
from ibt.store.places import Place

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
LATER = NOW + timedelta(days=1)

#: Of customers 1 and 2: contracts of one month to forty, one in fifteen of them of two hundred.
CONTRACTS = {1_000 + 7 * number: 200 if number % 15 == 14 else number * 11 % 40 + 1 for number in range(60)}


def period(months: int, first: int = 0) -> str:
    """The begin and the end of so many months from the one after January 2016 that is *first*."""
    begin, end = (write_time(month_begin(Month.of(2016 + n // 12, n % 12 + 1))) for n in (first, first + months))
    return f"{begin},{end}"


def contract(contract_id: int, months: int, first: int = 0) -> str:
    return f"{contract_id},,LOAD REAL TIME,8500,1,2,{period(months, first)},Conf,2015-07-01T04:00:00Z"


def load(database: Database, folder: Path, lines: list[str], *, all_files: bool = False) -> None:
    header = SAMPLE["contracts.csv"].partition("\n")[0]
    alone = {**dict.fromkeys(SAMPLE), "contracts.csv": "".join(f"{line}\n" for line in (header, *lines))}
    files = added("contracts.csv", *lines) if all_files else alone
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    faults = Faults()
    loading.load_folder(database, write_market(place, files), LATER, faults)
    assert faults.lines() == []


@pytest.fixture
def market(database: Database, tmp_path: Path) -> Database:
    load(database, tmp_path, [contract(*one) for one in CONTRACTS.items()], all_files=True)
    return database


def expected(connection: Connection, customer_id: int) -> list[Place]:
    """The end of each contract in which a hundred versions are full, counted one by one."""
    mapping = tables.current_mapping.c
    rows = connection.execute(
        select(mapping.contract_id, mapping.month)
        .where(mapping.customer_id == customer_id)
        .order_by(mapping.contract_id, mapping.month)
    ).all()
    found, passed = [], 0
    for contract_id, group in groupby(rows, key=lambda row: int(row[0])):
        months = [row[1] for row in group]
        if (passed + len(months)) // 100 > passed // 100:
            found.append(Place(passed + len(months), contract_id, months[-1]))
        passed += len(months)
    return found


def kept(connection: Connection, customer_id: int) -> list[Place]:
    place = tables.place.c
    columns = (place.passed, place.contract_id, place.month)
    rows = connection.execute(select(*columns).where(place.customer_id == customer_id).order_by(place.passed))
    return [Place(*row) for row in rows]


def check(database: Database) -> dict[int, int]:
    """How many places there are of each customer, all of them good."""
    with database.reading() as connection:
        for customer_id in (1, 2, 3):
            assert kept(connection, customer_id) == expected(connection, customer_id)
        assert connection.execute(places.astray(None)).all() == []
        assert places.are_whole(connection)
        return {customer_id: len(kept(connection, customer_id)) for customer_id in (1, 2, 3)}


def shown(connection: Connection, query: Query) -> list[tuple[int, datetime]]:
    return [
        (mapping.contract.contract_id, version.begin)
        for mapping in reads.page(connection, 1, query)
        for version in mapping.versions
    ]


def every_page(database: Database, limit: int = 37) -> Iterator[list[tuple[int, datetime]]]:
    with database.reading() as connection:
        for start in range(0, reads.total(connection, 1, Query()), limit):
            yield shown(connection, Query(start=start, limit=limit))


def test_a_folder_that_was_loaded_leaves_places(market: Database) -> None:
    counts = check(market)
    assert counts[1] == counts[2] > 10
    assert counts[3] == 0, "it has two versions"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([contract(1_001, 50), contract(999_997, 300)], id="new contracts"),
        pytest.param([contract(1_000, 120)], id="a longer one"),
        pytest.param([contract(1_007, 3)], id="a shorter one"),
        pytest.param([contract(1_014, 30, first=7)], id="a later one"),
        pytest.param([contract(contract_id, 1) for contract_id in CONTRACTS], id="all of one month"),
    ],
)
def test_places_are_made_anew_where_mapping_periods_become_others(
    market: Database, tmp_path: Path, lines: list[str]
) -> None:
    with market.reading() as connection:
        before = kept(connection, 1)
    load(market, tmp_path, lines)
    check(market)
    with market.reading() as connection:
        assert kept(connection, 1) != before


def test_an_update_leaves_places_as_they_are(market: Database) -> None:
    with market.reading() as connection:
        before = kept(connection, 1)
        mapping = reads.mapping_history(connection, 1, 1_007)
    new = [
        NewVersion(1_007, Month.of(2016, number + 1), replace(version, version=LATER, subaccount_id="ABC1"))
        for number, version in enumerate(mapping.versions)
    ]
    with market.updating() as connection:
        deed = Deed(kind="update", time=LATER, user_name="xyz")
        writes.add_versions(connection, writes.lock(connection, 1), new, deed)
    check(market)
    with market.reading() as connection:
        assert kept(connection, 1) == before
        assert len(reads.mapping_history(connection, 1, 1_007).versions) == 2 * len(mapping.versions)


def test_a_load_that_is_undone_leaves_places_as_they_are(market: Database, tmp_path: Path) -> None:
    with market.reading() as connection:
        before = kept(connection, 1)
    place = tmp_path / "again"
    place.mkdir()
    loading.load_folder(
        market, write_market(place, added("contracts.csv", contract(1_001, 90))), LATER, Faults(), dry_run=True
    )
    with market.reading() as connection:
        assert kept(connection, 1) == before


def test_pages_and_the_total_are_the_same_without_places(market: Database) -> None:
    pages = list(every_page(market))
    with market.updating() as connection:
        connection.execute(delete(tables.place).where(tables.place.c.customer_id == 1))
    assert list(every_page(market)) == pages
    together = [version for page in pages for version in page]
    assert together == sorted(together)
    assert len(set(together)) == len(together) == sum(CONTRACTS.values()) + 4


def test_a_page_may_begin_at_each_version(market: Database) -> None:
    together = [version for page in every_page(market, 1000) for version in page]
    with market.reading() as connection:
        total = reads.total(connection, 1, Query())
        for start in range(total + 1):
            assert shown(connection, Query(start=start, limit=2)) == together[start : start + 2]


def test_the_migration_makes_the_places_that_loading_makes(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    database.upgrade()
    load(database, tmp_path, [contract(*one) for one in CONTRACTS.items()], all_files=True)
    # Alembic ends a transaction that it did not see begin, so this is not an update but what `Database.upgrade` does.
    engine = database._engine(math.inf)
    with engine.connect().execution_options(ibt_writes=True) as connection, connection.begin():
        connection.execute(text("drop table place"))
        alembic.command.stamp(migrations._configuration(connection), "0004")
    engine.dispose()
    database.upgrade()
    assert check(database)[1] > 10
    database.close()


def test_a_place_that_is_not_there_is_found(market: Database) -> None:
    place = tables.place
    with market.updating() as connection:
        connection.execute(place.update().where(place.c.customer_id == 2).values(passed=place.c.passed + 1))
    with market.reading() as connection:
        strayed = connection.execute(places.astray(None)).all()
        assert [(row[0], row[1]) for row in strayed] == [(2, each.passed) for each in kept(connection, 2)] != []
        assert connection.execute(places.astray(1)).all() == []
        assert connection.execute(places.astray(2)).all() == strayed


#: What may have become of the rows of `place`, and who has seen wrong pages by them.
SPOILT = {
    "wrong": ("update place set passed = passed + 1 where customer_id = 2", [2]),
    "missing": ("delete from place where customer_id = 1 and passed > 500", []),
    "too many": ("insert into place values (3, 100, 999999, 201509)", [3]),
}


def revisions(database: Database) -> dict[int, str]:
    with database.reading() as connection:
        return {customer_id: reads.revision(connection, customer_id) for customer_id in (1, 2, 3)}


@pytest.mark.parametrize(("statement", "renewed"), SPOILT.values(), ids=SPOILT)
def test_places_that_are_not_right_are_made_anew(market: Database, statement: str, renewed: list[int]) -> None:
    assert not loading.mend_places(market)
    with market.updating() as connection:
        connection.execute(text(statement))
    before = revisions(market)
    assert loading.mend_places(market)
    check(market)
    after = revisions(market)
    assert [customer_id for customer_id in before if before[customer_id] != after[customer_id]] == renewed
    assert not loading.mend_places(market)
    assert revisions(market) == after


def test_places_of_a_newer_schema_are_left_as_they_are(market: Database) -> None:
    with market.updating() as connection:
        connection.execute(text("delete from place where customer_id = 1"))
        connection.execute(text("update alembic_version set version_num = '9999'"))
    assert not loading.mend_places(market)
    with market.reading() as connection:
        assert kept(connection, 1) == []
