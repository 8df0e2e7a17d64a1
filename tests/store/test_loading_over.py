"""Loading over what is there: what is added, changed and left alone, who can see a difference, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from markets import HISTORY_HEADER, SAMPLE, added, write_market
from sqlalchemy import Row, select
from test_loading import ACCEPTED, AUGUST, KNOWN_CONTRACT, KNOWN_CUSTOMER, SEPTEMBER, history

import postgresql as the_tests_own
from ibt.cli import main
from ibt.rules.faults import Faults
from ibt.rules.mappings import NewVersion
from ibt.rules.model import MappingVersion, Month
from ibt.rules.periods import read_time, write_time
from ibt.store import Database, loading, market, reads, tables, versions, writes
from ibt.store.audit import OPERATOR, Deed
from ibt.store.loading import Count, Report

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
THEN = write_time(LATER)

Files = Mapping[str, str | bytes | None]

HEADERS = {name: text.partition("\n")[0] for name, text in SAMPLE.items()} | {"history.csv": HISTORY_HEADER.strip()}

#: Contract 999999 as the sample has it, in parts.
CONTRACT = "999999,R-9,FCM LOAD OBLIGATION,8500,1,3"
ITS_PERIOD = "2015-08-01T04:00:00Z,2015-10-01T04:00:00Z"
BORN = "2015-07-02T06:00:00Z"


def only(name: str, *lines: str) -> dict[str, str]:
    """A folder of one file with *lines* after its header."""
    return {name: "".join(f"{line}\n" for line in (HEADERS[name], *lines))}


def write(folder: Path, files: Files) -> Path:
    """A new folder in *folder* that has *files* and no others."""
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    return write_market(place, {**dict.fromkeys(SAMPLE), **files})


def load(database: Database, folder: Path, files: Files, now: datetime = LATER, **options: Any) -> Report:
    """Loads *files*, which have no fault."""
    faults = Faults()
    report = loading.load_folder(database, write(folder, files), now, faults, **options)
    assert faults.lines() == []
    return report


def faults_of(database: Database, folder: Path, files: Files) -> Faults:
    faults = Faults()
    loading.load_folder(database, write(folder, files), LATER, faults)
    return faults


@pytest.fixture
def sample(database: Database, tmp_path: Path) -> Database:
    """The sample's world, with a customer 4 who has no contract."""
    load(database, tmp_path, {**SAMPLE, **added("customers.csv", "4,Idle")}, NOW)
    return database


def state(database: Database) -> dict[str, set[tuple[Any, ...]]]:
    """Everything that is there, by table."""
    with database.reading() as connection:
        return {
            table.name: {tuple(row) for row in connection.execute(select(table))}
            for table in tables.metadata.sorted_tables
        }


def customer_states(database: Database) -> dict[int, Row[Any]]:
    """The rows of `customer_state` by customer."""
    with database.reading() as connection:
        return {row.customer_id: row for row in connection.execute(select(tables.customer_state))}


def mapped(database: Database, customer_id: int, contract_id: int) -> list[tuple[str, str, str, str]]:
    """Begin, end, version and subaccount of all versions that an answer shows (3.3)."""
    with database.reading() as connection:
        found = reads.mapping_history(connection, customer_id, contract_id).versions
    return [(write_time(one.begin), write_time(one.end), write_time(one.version), one.subaccount_id) for one in found]


def post(database: Database, subaccount_id: str, version: datetime = LATER) -> None:
    """Customer 1 maps August of contract 999999 to another subaccount."""
    period = read_time("2015-08-01T04:00:00Z"), read_time("2015-09-01T04:00:00Z")
    new = NewVersion(999999, Month("2015-08"), MappingVersion(*period, version, subaccount_id))
    with database.updating() as connection:
        writes.add_versions(connection, writes.lock(connection, 1), [new], Deed(kind="update", time=version))


# Twice ------------------------------------------------------------------------------------------------------

TWICE: dict[str, Files] = {
    **ACCEPTED,
    "the sample": {},
    "equal versions": added("mappings.csv", *[f"1,999999,{AUGUST},2015-07-11T12:01:22Z,ABC1"] * 2),
    "a version equal to the birth": added("mappings.csv", f"1,999999,{SEPTEMBER},{BORN},Default"),
    "versions there and back": added(
        "mappings.csv", *(f"1,999999,{AUGUST},2015-07-11T12:01:22Z,{id_}" for id_ in ("Default", "ABC1", "Default"))
    ),
    "a history": history(f"1,999999,{AUGUST},{BORN},ABC1", f"1,999999,{AUGUST},2015-07-11T12:01:22Z,Default"),
}


@pytest.mark.parametrize("changes", TWICE.values(), ids=TWICE.keys())
def test_a_folder_loaded_twice_changes_nothing(database: Database, tmp_path: Path, changes: Files) -> None:
    files = {**SAMPLE, **changes}
    load(database, tmp_path, files, NOW)
    before = state(database)
    report = load(database, tmp_path, files)
    assert state(database) == before
    kinds = [report.customers, report.subaccount_versions, report.contracts, report.mapping_versions]
    assert {(kind.added, kind.changed) for kind in (*kinds, report.users, report.grants)} == {(0, 0)}


def test_the_report_counts_by_kind(database: Database, tmp_path: Path) -> None:
    assert load(database, tmp_path, SAMPLE, NOW) == Report(
        customers=Count(3),
        subaccount_versions=Count(4),
        contracts=Count(2),
        mapping_versions=Count(9),
        users=Count(4),
        grants=Count(4),
    )
    assert load(database, tmp_path, {**SAMPLE, **added("customers.csv", "4,Idle")}).lines() == [
        "                         added   changed  left alone",
        "customers                    1         0           3",
        "subaccount versions          1         0           2",
        "contracts                    0         0           2",
        "mapping versions             0         0           1",
        "users                        0         0           4",
        "grants                       0         0           4",
    ]


# Who sees what ------------------------------------------------------------------------------------------------

#: Files, the customers who can see a difference, and how many of the files' kind are added, changed, left alone.
SEEN: dict[str, tuple[Files, set[int], str, Count]] = {
    "a new customer": (only("customers.csv", "5,New"), set(), "customers", Count(1)),
    "a new name": (only("customers.csv", "3,TUV Corp"), {1, 3}, "customers", Count(0, 1)),
    "a new name of one without contracts": (only("customers.csv", "4,Busy"), set(), "customers", Count(0, 1)),
    "the same name": (only("customers.csv", "3,TUV LLC"), set(), "customers", Count(0, 0, 1)),
    "a new subaccount": (
        only("subaccounts.csv", "3,X,2015-01-01T05:00:00Z,,X,Active"),
        {3},
        "subaccount_versions",
        Count(1),
    ),
    "a subaccount's new name": (
        only("subaccounts.csv", "1,ABC1,2013-05-01T04:00:00Z,,Other,Active"),
        {1},
        "subaccount_versions",
        Count(0, 1),
    ),
    "a subaccount that ends and goes on": (
        only(
            "subaccounts.csv",
            "1,ABC1,2015-09-01T04:00:00Z,,ABC1 activity,Inactive",
            "1,ABC1,2013-05-01T04:00:00Z,2015-09-01T04:00:00Z,ABC1 activity,Active",
        ),
        {1},
        "subaccount_versions",
        Count(1, 1),
    ),
    "a Default that ends and goes on before it is needed": (
        only(
            "subaccounts.csv",
            "3,Default,2000-01-01T05:00:00Z,2015-01-01T05:00:00Z,Default,Active",
            "3,Default,2015-01-01T05:00:00Z,2016-01-01T05:00:00Z,Default,Active",
        ),
        {3},
        "subaccount_versions",
        Count(1, 1),
    ),
    "a new contract": (
        only("contracts.csv", f"7,,LOAD REAL TIME,4000,2,3,{ITS_PERIOD},New,"),
        {2, 3},
        "contracts",
        Count(1),
    ),
    "a new contract without a period": (
        only("contracts.csv", "7,,LOAD REAL TIME,4000,2,4,2015-08-01T04:00:00Z,2015-08-01T04:00:00Z,New,"),
        {2, 4},
        "contracts",
        Count(1),
    ),
    **{
        f"another {what}": (only("contracts.csv", line), {1, 3}, "contracts", Count(0, 1))
        for what, line in {
            "status": f"{CONTRACT},{ITS_PERIOD},New,",
            "reference": f"999999,R-8,FCM LOAD OBLIGATION,8500,1,3,{ITS_PERIOD},Conf,",
            "category": f"999999,R-9,LOAD REAL TIME,8500,1,3,{ITS_PERIOD},Conf,",
            "location": f"999999,R-9,FCM LOAD OBLIGATION,8501,1,3,{ITS_PERIOD},Conf,",
            "end": f"{CONTRACT},2015-08-01T04:00:00Z,2015-09-20T04:00:00Z,Conf,",
        }.items()
    },
    "the same contract, whenever born": (
        only("contracts.csv", f"{CONTRACT},{ITS_PERIOD},Conf,2015-01-01T05:00:00Z"),
        set(),
        "contracts",
        Count(0, 0, 1),
    ),
    "a mapping": (
        only("mappings.csv", f"3,999999,{AUGUST},2015-07-12T00:00:00Z,Default"),
        {3},
        "mapping_versions",
        Count(1),
    ),
    "a mapping that is there": (
        only("mappings.csv", f"1,999999,{AUGUST},2015-07-11T12:01:22Z,ABC1"),
        set(),
        "mapping_versions",
        Count(0, 0, 1),
    ),
    "a history that goes on": (
        only(
            "history.csv",
            f"3,999999,{AUGUST},{BORN},Default",
            f"3,999999,{AUGUST},2015-07-12T00:00:00Z,Default",
        ),
        {3},
        "mapping_versions",
        Count(1, 0, 1),
    ),
    "users": (only("users.csv", "new,4,IBT", "xyz,1,IBT", "idle,,"), set(), "grants", Count(1, 0, 1)),
}


@pytest.mark.parametrize(("files", "seen", "kind", "count"), SEEN.values(), ids=SEEN.keys())
def test_exactly_who_can_see_a_difference_has_a_new_revision(
    sample: Database, tmp_path: Path, files: Files, seen: set[int], kind: str, count: Count
) -> None:
    before = customer_states(sample)
    report = load(sample, tmp_path, files)
    after = customer_states(sample)
    assert {id_ for id_ in before if after[id_].revision != before[id_].revision} == seen
    assert getattr(report, kind) == count
    # They, the new ones and the operator have a row in the audit, and no one else.
    told = {id_ for id_ in after if after[id_].audit_count != (before[id_].audit_count if id_ in before else 0)}
    assert told == (seen | (after.keys() - before.keys()) | {OPERATOR} if count.added or count.changed else set())


def test_what_the_files_do_not_name_stays(sample: Database, tmp_path: Path) -> None:
    before = state(sample)
    load(sample, tmp_path, only("users.csv", "new,4,IBT"))
    after = state(sample)
    assert [row[:3] for row in after.pop("audit") - before.pop("audit")] == [(OPERATOR, 2, LATER)]
    moved = after.pop("customer_state") ^ before.pop("customer_state")
    assert {row[0] for row in moved} == {OPERATOR}
    assert after.pop("users") - before.pop("users") == {("new",)}
    assert after.pop("grants") - before.pop("grants") == {("new", 4, "IBT")}
    assert after == before


def test_lines_may_refer_to_what_is_in_the_database_alone(sample: Database, tmp_path: Path) -> None:
    load(sample, tmp_path, only("subaccounts.csv", "4,X,2015-01-01T05:00:00Z,,X,Active"))
    load(sample, tmp_path, only("contracts.csv", f"7,,LOAD REAL TIME,4000,2,4,{ITS_PERIOD},New,{BORN}"))
    load(sample, tmp_path, only("mappings.csv", f"4,7,{SEPTEMBER},{THEN},X"))
    assert mapped(sample, 4, 7) == [
        (*AUGUST.split(","), BORN, "Default"),
        (*SEPTEMBER.split(","), BORN, "Default"),
        (*SEPTEMBER.split(","), THEN, "X"),
    ]


# A contract's period: reading 27 ------------------------------------------------------------------------------


def period(begin: str, end: str) -> dict[str, str]:
    return only("contracts.csv", f"{CONTRACT},{begin},{end},Conf,")


FIRST, SECOND, THIRD, FOURTH = (f"2015-{month}-01T04:00:00Z" for month in ("08", "09", "10", "11"))


def test_cut_new_and_fallen_periods(sample: Database, tmp_path: Path) -> None:
    report = load(sample, tmp_path, period("2015-08-11T04:00:00Z", "2015-10-11T04:00:00Z"))
    assert (report.mapping_versions.added, report.fallen, report.undefined) == (4, 0, 0)
    assert mapped(sample, 1, 999999) == [
        (FIRST, SECOND, BORN, "Default"),
        (FIRST, SECOND, "2015-07-11T12:01:22Z", "ABC1"),
        ("2015-08-11T04:00:00Z", SECOND, THEN, "ABC1"),
        (SECOND, THIRD, BORN, "Default"),
        (THIRD, "2015-10-11T04:00:00Z", THEN, "Default"),
    ]
    report = load(sample, tmp_path, period(SECOND, THIRD))
    assert (report.mapping_versions.added, report.fallen, report.undefined) == (0, 4, 0)
    assert mapped(sample, 1, 999999) == [(SECOND, THIRD, BORN, "Default")]


def test_a_period_that_comes_back_has_its_history_and_a_new_version_at_default(
    sample: Database, tmp_path: Path
) -> None:
    load(sample, tmp_path, period(SECOND, THIRD))
    assert mapped(sample, 1, 999999) == [(SECOND, THIRD, BORN, "Default")]
    load(sample, tmp_path, period(FIRST, THIRD), LATER + timedelta(days=1))
    assert mapped(sample, 1, 999999) == [
        (FIRST, SECOND, BORN, "Default"),
        (FIRST, SECOND, "2015-07-11T12:01:22Z", "ABC1"),
        (FIRST, SECOND, "2015-07-13T12:01:22Z", "Default"),
        (SECOND, THIRD, BORN, "Default"),
    ]


def test_a_moved_begin_that_leaves_the_subaccount_undefined_goes_to_default_and_is_counted(
    sample: Database, tmp_path: Path
) -> None:
    ends = only("subaccounts.csv", "1,ABC1,2013-05-01T04:00:00Z,2015-08-10T04:00:00Z,ABC1 activity,Active")
    load(sample, tmp_path, ends)
    report = load(sample, tmp_path, period("2015-08-10T04:00:00Z", THIRD))
    assert report.undefined == 1
    assert report.lines()[-1] == (
        "1 mapping periods went to Default: their subaccount is not defined at the begin they have now."
    )
    assert mapped(sample, 1, 999999)[2] == ("2015-08-10T04:00:00Z", SECOND, THEN, "Default")


def test_a_change_after_a_later_update_does_not_go_back_in_time(sample: Database, tmp_path: Path) -> None:
    post(sample, "Default", LATER + timedelta(seconds=5))
    load(sample, tmp_path, period("2015-08-11T04:00:00Z", THIRD))
    assert mapped(sample, 1, 999999)[-2] == (
        "2015-08-11T04:00:00Z",
        SECOND,
        write_time(LATER + timedelta(seconds=5)),
        "Default",
    )


def test_a_history_tells_what_a_changed_period_came_to(sample: Database, tmp_path: Path) -> None:
    cut = "2015-08-11T04:00:00Z"
    files = {
        **period(cut, THIRD),
        **only(
            "history.csv",
            f"3,999999,{AUGUST},{BORN},Default",
            f"3,999999,{cut},{SECOND},2015-07-12T00:00:00Z,Default",
        ),
    }
    assert load(sample, tmp_path, files).mapping_versions == Count(2, 0, 1)
    assert mapped(sample, 3, 999999)[1] == (cut, SECOND, "2015-07-12T00:00:00Z", "Default")
    assert mapped(sample, 1, 999999)[2] == (cut, SECOND, THEN, "ABC1")


def test_lines_of_a_month_that_fell_away_are_left_alone(sample: Database, tmp_path: Path) -> None:
    load(sample, tmp_path, period(SECOND, THIRD))
    before = state(sample)
    report = load(sample, tmp_path, {"mappings.csv": SAMPLE["mappings.csv"]})
    assert (report.mapping_versions, state(sample)) == (Count(0, 0, 1), before)


def test_the_current_mappings_are_the_last_versions_of_the_contracts_periods(
    sample: Database, tmp_path: Path
) -> None:
    spans = [(FIRST, "2015-08-20T04:00:00Z"), ("2015-08-15T04:00:00Z", FOURTH), (SECOND, SECOND), (FIRST, FOURTH)]
    for number, span in enumerate(spans):
        load(sample, tmp_path, period(*span), LATER + timedelta(days=number))
        tables_now = state(sample)
        last: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for customer, contract, month, sequence, *version, _ in sorted(tables_now["mapping_version"], key=str):
            if sequence >= last.get((customer, contract, month), (0,))[0]:
                last[customer, contract, month] = (sequence, *version)
        for customer, contract, month, begin, end, version, sequence, subaccount in tables_now["current_mapping"]:
            assert last[customer, contract, month] == (sequence, begin, end, version, subaccount)


# mappings.csv beside updates -----------------------------------------------------------------------------------


def test_a_file_of_mappings_is_left_alone_after_updates(sample: Database, tmp_path: Path) -> None:
    post(sample, "Default")
    before = state(sample)
    load(sample, tmp_path, {"mappings.csv": SAMPLE["mappings.csv"]})
    assert state(sample) == before


def test_further_mappings_come_after_an_update(sample: Database, tmp_path: Path) -> None:
    post(sample, "Default")
    load(sample, tmp_path, added("mappings.csv", f"1,999999,{AUGUST},{THEN},ABC1"))
    assert [one[2:] for one in mapped(sample, 1, 999999)[:4]] == [
        (BORN, "Default"),
        ("2015-07-11T12:01:22Z", "ABC1"),
        (THEN, "Default"),
        (THEN, "ABC1"),
    ]


# What is refused -----------------------------------------------------------------------------------------------

STANDS = "must not overlap the version that begins at 2013-05-01T04:00:00Z (reading 65)"

#: Files over the sample's world, to whose August customer 1 posted Default; all the lines that tell of them.
REFUSED: dict[str, tuple[Files, list[str]]] = {
    "parties that change": (
        only("contracts.csv", f"999999,R-9,FCM LOAD OBLIGATION,8500,3,2,{ITS_PERIOD},Conf,"),
        [
            f'contracts.csv, line 2, {field} "{given}": '
            f"must be {stands}, as the parties of a contract do not change (reading 65)"
            for field, given, stands in (("buyer_id", 3, 1), ("seller_id", 2, 3))
        ],
    ),
    "a subaccount that overlaps one that stands": (
        only("subaccounts.csv", "1,ABC1,2016-01-01T05:00:00Z,,later,Active"),
        [f'subaccounts.csv, line 2, begin "2016-01-01T05:00:00Z": {STANDS}'],
    ),
    "a Default that begins too late for a new contract": (
        only("contracts.csv", "7,,LOAD REAL TIME,4000,2,3,1999-08-01T04:00:00Z,1999-09-01T04:00:00Z,New,"),
        [
            f'contracts.csv, line 2, {field} "{party}": has no Default in effect at 1999-08-01T04:00:00Z, '
            "where a mapping period of contract 7 begins (reading 65)"
            for field, party in (("buyer_id", 2), ("seller_id", 3))
        ],
    ),
    "a Default that no longer is in effect": (
        only("subaccounts.csv", "3,Default,2000-01-01T05:00:00Z,2015-09-01T04:00:00Z,Default,Active"),
        [
            (
                'subaccounts.csv, line 2, end "2015-09-01T04:00:00Z": must not be so early: contract 999999 needs '
                "the subaccount at 2015-09-01T04:00:00Z, where a mapping period begins (reading 65)"
            )
        ],
    ),
    "a mapping earlier than the last version": (
        added("mappings.csv", f"1,999999,{AUGUST},2015-07-12T00:00:00Z,ABC1") | dict.fromkeys(["customers.csv"]),
        [
            (
                'mappings.csv, line 3, version "2015-07-12T00:00:00Z": '
                "must not be earlier than the version before it, 2015-07-12T12:01:22Z (reading 65)"
            )
        ],
    ),
    "a mapping of a contract that is nowhere, and of a customer that is no party": (
        only("mappings.csv", f"1,5,{AUGUST},{THEN},ABC1", f"2,999999,{AUGUST},{THEN},Default"),
        [
            f'mappings.csv, line 2, contract_id "5": {KNOWN_CONTRACT}',
            'mappings.csv, line 3, customer_id "2": must be a party of contract 999999: 1 or 3 (reading 65)',
        ],
    ),
    "a history that differs": (
        only(
            "history.csv",
            f"1,999999,{AUGUST},{BORN},Default",
            f"1,999999,{AUGUST},2015-07-11T12:01:22Z,Default",
            f"1,999999,{AUGUST},{THEN},ABC1",
        ),
        [
            (
                'history.csv, line 3, version "2015-07-11T12:01:22Z": must be version 2 of 2015-08 as the database '
                'has it: 2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z, 2015-07-11T12:01:22Z, "ABC1" (reading 64)'
            )
        ],
    ),
    "a history that lacks a version": (
        only("history.csv", f"1,999999,{AUGUST},{BORN},Default", f"1,999999,{AUGUST},2015-07-11T12:01:22Z,ABC1"),
        [
            (
                'history.csv, line 3, version "2015-07-11T12:01:22Z": '
                "is the last of 2015-08 here, of which the database has 3 versions and not 2 (reading 64)"
            )
        ],
    ),
    "a folder with none of the files": (
        {"other.csv": "x\n"},
        [
            (
                "must have one of the files customers.csv, subaccounts.csv, contracts.csv, history.csv, "
                "mappings.csv, users.csv (reading 64)"
            )
        ],
    ),
    "unknown customers": (
        {
            **only("contracts.csv", f"7,,LOAD REAL TIME,4000,1,9,{ITS_PERIOD},New,"),
            **only("users.csv", "u,9,IBT"),
        },
        [
            f'{place} "9": {KNOWN_CUSTOMER}'
            for place in ("contracts.csv, line 2, seller_id", "users.csv, line 2, customer_id")
        ],
    ),
}


@pytest.mark.parametrize(("files", "lines"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_told_and_changes_nothing(
    sample: Database, tmp_path: Path, files: Files, lines: Sequence[str]
) -> None:
    post(sample, "Default")
    before = state(sample)
    told = faults_of(sample, tmp_path, files).lines()
    assert [line.partition(f'/{len(list(tmp_path.iterdir())) - 1}": ')[2] or line for line in told] == lines
    assert state(sample) == before


def test_a_subaccount_ends_no_earlier_than_mappings_need_it(sample: Database, tmp_path: Path) -> None:
    ends = "1,ABC1,2013-05-01T04:00:00Z,{},ABC1 activity,Active"
    told = faults_of(sample, tmp_path, only("subaccounts.csv", ends.format(FIRST))).lines()
    assert told == [
        (
            'subaccounts.csv, line 2, end "2015-08-01T04:00:00Z": must not be so early: contract 999999 needs '
            "the subaccount at 2015-08-01T04:00:00Z, where a mapping period begins (reading 65)"
        )
    ]
    moved = only("mappings.csv", f"1,999999,{AUGUST},{THEN},Default")
    load(sample, tmp_path, {**only("subaccounts.csv", ends.format(FIRST)), **moved})
    assert mapped(sample, 1, 999999)[2] == (FIRST, SECOND, THEN, "Default")


def test_each_rule_of_loading_over_data_has_an_example(sample: Database, tmp_path: Path) -> None:
    post(sample, "Default")
    broken = {fault.rule for files, _ in REFUSED.values() for fault in faults_of(sample, tmp_path, files).told}
    rules = {market.NO_FILE, market.PARTY_CHANGED, versions.HISTORY_DIFFERS, versions.HISTORY_SHORT, *loading.RULES}
    assert rules <= broken


def test_an_empty_database_needs_the_four_files(database: Database, tmp_path: Path) -> None:
    told = faults_of(database, tmp_path, only("contracts.csv")).lines()
    missing = ("customers.csv", "subaccounts.csv", "users.csv")
    assert told == [f"{name}: the file is missing (reading 64)" for name in missing]


def test_a_dry_run_says_the_same_and_changes_nothing(database: Database, tmp_path: Path) -> None:
    dry = load(database, tmp_path, SAMPLE, NOW, dry_run=True)
    assert all(rows == set() for rows in state(database).values())
    assert load(database, tmp_path, SAMPLE, NOW) == dry


def test_progress_comes_to_the_size_of_the_files(database: Database, tmp_path: Path) -> None:
    read: list[int] = []
    load(database, tmp_path, SAMPLE, NOW, progress=read.append)
    assert sum(read) == sum(map(len, SAMPLE.values()))


# Beside others ---------------------------------------------------------------------------------------------------


def test_reading_goes_on_while_a_folder_is_loaded(sample: Database, tmp_path: Path) -> None:
    before = mapped(sample, 1, 999999)
    faults = Faults()
    with closing(Database(sample.url.render_as_string(hide_password=False))) as another:
        with sample.updating() as connection:
            loading.load_over(connection, write(tmp_path, period(SECOND, FOURTH)), LATER, faults)
            assert mapped(another, 1, 999999) == before
        assert mapped(another, 1, 999999) != before


@pytest.fixture
def on_postgresql(postgresql: the_tests_own.Server, tmp_path: Path) -> Iterator[Database]:
    with postgresql.database() as url, closing(Database(url)) as database:
        database.upgrade()
        load(database, tmp_path, SAMPLE, NOW)
        yield database


@pytest.mark.parametrize(
    ("files", "locked"),
    [
        (only("customers.csv", "3,TUV Corp", "2,QRS Ltd"), {1, 3}),
        (only("subaccounts.csv", "3,X,2015-01-01T05:00:00Z,,X,Active"), {3}),
        (period(SECOND, FOURTH), {1, 3}),
        (only("mappings.csv", f"3,999999,{AUGUST},{THEN},Default"), {3}),
        (only("users.csv", "new,1,IBT"), set()),
    ],
    ids=["names", "subaccounts", "contracts", "mappings", "users"],
)
def test_only_the_customers_that_change_are_locked(
    on_postgresql: Database, tmp_path: Path, files: Files, locked: set[int]
) -> None:
    url = on_postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
    faults = Faults()
    with on_postgresql.updating() as connection, psycopg.connect(url) as another:
        loading.load_over(connection, write(tmp_path, files), LATER, faults)
        free = another.execute("select customer_id from customer_state for update skip locked").fetchall()
    assert {customer_id for (customer_id,) in free} == {1, 2, 3} - locked


# The command -----------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the command in this process: exit status, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_loads_over_what_is_there(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    tmp_path: Path,
) -> None:
    url = database.url.set(drivername=database.url.get_backend_name()).render_as_string(hide_password=False)
    folder = write(tmp_path, SAMPLE)
    dry = run(capsys, "load", str(folder), "--dry-run", "--database", url)
    assert (dry[0], dry[2], state(database)["customer"]) == (0, "", set())
    assert dry[1].endswith("Nothing was changed: this was a dry run.\n")
    monkeypatch.setenv("IBT_DATABASE", url)
    status, out, err = run(capsys, "load", str(folder))
    assert (status, err) == (0, "")
    assert dry[1].startswith(out)
    assert "\ncontracts                    2         0           0\n" in out


def test_the_command_tells_faults_on_stderr_with_status_2(
    capsys: pytest.CaptureFixture[str], database: Database, tmp_path: Path
) -> None:
    url = database.url.set(drivername=database.url.get_backend_name()).render_as_string(hide_password=False)
    folder = write(tmp_path, {**SAMPLE, **added("customers.csv", "x,Nobody")})
    assert run(capsys, "load", str(folder), "--database", url) == (
        2,
        "",
        'customers.csv, line 5, customer_id "x": must be a number from 1 to 999999999 (reading 65)\n',
    )
    assert state(database)["customer"] == set()


def test_the_command_says_that_a_database_has_no_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = run(capsys, "load", str(tmp_path), "--database", f"sqlite:///{tmp_path}/no.db")
    assert (status, out) == (2, "")
    assert "ibt db upgrade" in err
    assert not (tmp_path / "no.db").exists()
