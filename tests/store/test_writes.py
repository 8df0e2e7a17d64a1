"""The update transaction in the database. Clause 3.2.3; readings 26, 28, 29, 41, 57."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markets import SAMPLE, write_market
from sqlalchemy import event, select

from ibt.rules import mappings
from ibt.rules.faults import Faults
from ibt.rules.mappings import NewVersion
from ibt.rules.model import MappingVersion, Month, RequestedMapping, RequestedVersion, SubaccountMapping
from ibt.rules.periods import read_time
from ibt.rules.queries import Query
from ibt.store import Database, reads, tables, writes
from ibt.store.audit import Deed
from ibt.store.loading import clear, load, read_market

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
AUGUST, SEPTEMBER, OCTOBER = map(read_time, ("2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z", "2015-10-01T04:00:00Z"))
UPDATE = Deed(kind="update", time=NOW)
PATIENCE = 60


@pytest.fixture
def database(database: Database, tmp_path: Path) -> Database:
    """A database with the specification's sample world."""
    return loaded(database, tmp_path)


def loaded(database: Database, folder: Path, changes: dict[str, str | bytes | None] | None = None) -> Database:
    faults = Faults()
    market = read_market(write_market(folder, changes), NOW, faults)
    assert faults.lines() == []
    with database.updating() as connection:
        load(connection, market)
    return database


def august(subaccount_id: str, version: datetime = NOW, contract_id: int = 999999) -> NewVersion:
    return NewVersion(contract_id, Month("2015-08"), MappingVersion(AUGUST, SEPTEMBER, version, subaccount_id))


def update(database: Database, *new: NewVersion, customer_id: int = 1) -> str:
    with database.updating() as connection:
        return writes.add_versions(connection, writes.lock(connection, customer_id), new, UPDATE)


def history(database: Database, customer_id: int = 1, contract_id: int = 999999) -> Sequence[MappingVersion]:
    with database.reading() as connection:
        return reads.mapping_history(connection, customer_id, contract_id).versions


def current(database: Database, customer_id: int = 1) -> list[SubaccountMapping]:
    with database.reading() as connection:
        return reads.current_mappings(connection, customer_id, Query(limit=1000))[1]


def revisions(database: Database) -> dict[int, str]:
    with database.reading() as connection:
        rows = connection.execute(select(tables.customer_state.c.customer_id, tables.customer_state.c.revision))
        return dict(map(tuple, rows))


def test_a_new_version_is_added_to_the_history_and_is_the_current_one(database: Database) -> None:
    before = history(database)
    update(database, august("Default"))
    new = MappingVersion(AUGUST, SEPTEMBER, NOW, "Default")
    assert history(database) == (*before[:2], new, *before[2:])
    assert [version for mapping in current(database) for version in mapping.versions].count(new) == 1
    assert current(database)[1].versions == (new, before[2])


def test_the_period_is_as_it_stands_and_only_version_and_subaccount_are_new(database: Database) -> None:
    elsewhere = NewVersion(999999, Month("2015-08"), MappingVersion(NOW, NOW, NOW, "ABC1"))
    update(database, elsewhere)
    assert history(database)[2] == MappingVersion(AUGUST, SEPTEMBER, NOW, "ABC1")


def test_versions_of_one_time_are_kept_in_the_order_they_came(database: Database) -> None:
    wanted = ["Default", "ABC1", "Default", "ABC1"]
    for subaccount_id in wanted:
        update(database, august(subaccount_id))
    assert [version.subaccount_id for version in history(database)[2:-1]] == wanted
    assert {version.version for version in history(database)[2:-1]} == {NOW}


def test_a_party_changes_its_own_mapping_and_not_the_others(database: Database) -> None:
    theirs, other_contract = history(database, 3), history(database, 1, 999998)
    update(database, august("Default"))
    assert history(database, 3) == theirs
    assert history(database, 1, 999998) == other_contract


def test_an_update_renews_the_revision_of_its_customer_alone(database: Database) -> None:
    before = revisions(database)
    renewed = update(database, august("Default"))
    assert revisions(database) == before | {1: renewed}
    assert renewed not in before.values()


def test_the_lock_tells_the_revision_that_stands(database: Database) -> None:
    with database.updating() as connection:
        assert writes.lock(connection, 1).revision == revisions(database)[1]
    renewed = update(database, august("Default"))
    with database.updating() as connection:
        assert writes.lock(connection, 1).revision == renewed


def test_an_update_that_raises_leaves_history_current_state_and_revision_alone(database: Database) -> None:
    before = (history(database), current(database), revisions(database))

    def failing() -> None:
        with database.updating() as connection:
            writes.add_versions(connection, writes.lock(connection, 1), [august("Default")], UPDATE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert (history(database), current(database), revisions(database)) == before


def test_updates_at_the_same_time_are_all_kept_one_after_the_other(database: Database) -> None:
    count, each = 4, 10
    barrier = threading.Barrier(count)

    def work(subaccount_id: str) -> None:
        barrier.wait(PATIENCE)
        for _ in range(each):
            update(database, august(subaccount_id))

    threads = [threading.Thread(target=work, args=(f"S{number}",)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    kept = [version.subaccount_id for version in history(database)[2:-1]]
    assert sorted(kept) == sorted(f"S{number}" for number in range(count) for _ in range(each))
    assert current(database)[1].versions[0].subaccount_id == kept[-1]
    with database.reading() as connection:
        sequences = connection.execute(
            select(tables.mapping_version.c.sequence)
            .where(tables.mapping_version.c.customer_id == 1, tables.mapping_version.c.contract_id == 999999)
            .where(tables.mapping_version.c.month == Month("2015-08"))
            .order_by(tables.mapping_version.c.sequence)
        ).scalars()
        assert list(sequences) == list(range(1, 3 + count * each))


# Statements -------------------------------------------------------------------------------------------------


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that a block costs; one with many rows is one."""
    told: list[str] = []

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    event.listen(database.engine, "before_cursor_execute", tell)
    try:
        yield told
    finally:
        event.remove(database.engine, "before_cursor_execute", tell)


def everything(database: Database, contract_ids: range, subaccount_id: str) -> int:
    """Maps all months of these contracts as the service does; returns how many versions are new."""
    with database.updating() as connection:
        locked = writes.lock(connection, 1)
        standing = reads.standing(connection, 1, contract_ids, [subaccount_id])
        requested = tuple(
            RequestedMapping(
                1,
                contract_id,
                tuple(RequestedVersion(version.begin, None, subaccount_id) for version in mapping.versions),
            )
            for contract_id, mapping in standing.mappings.items()
        )
        outcome = mappings.update(standing, requested, NOW, Faults())
        writes.add_versions(connection, locked, outcome.new, UPDATE)
        return len(outcome.new)


def test_an_update_of_12000_versions_costs_the_statements_of_one_of_24(database: Database, tmp_path: Path) -> None:
    with database.updating() as connection:
        clear(connection)
    contracts = "".join(
        f"{number},,ENERGY DAY AHEAD,4000,1,2,2016-01-01T05:00:00Z,2017-01-01T05:00:00Z,Conf,\n"
        for number in range(1, 1001)
    )
    header = SAMPLE["contracts.csv"].partition("\n")[0] + "\n"
    (folder := tmp_path / "large").mkdir()
    loaded(database, folder, {"contracts.csv": header + contracts, "mappings.csv": None})
    with counted(database) as few:
        assert everything(database, range(1, 3), "ABC1") == 24
    with counted(database) as many:
        assert everything(database, range(1, 1001), "Default") == 24
    with counted(database) as most:
        assert everything(database, range(1, 1001), "ABC1") == 12_000
    assert few == many == most
    assert len(most) <= 9
    assert {version.subaccount_id for mapping in current(database) for version in mapping.versions} == {"ABC1"}
