"""Loading: what a folder of CSV files may say, how its faults are told, what is in the tables afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markets import HISTORY_HEADER, SAMPLE, added, replaced, write_market
from sqlalchemy import Connection, Select, select

from ibt.rules.faults import Faults
from ibt.rules.model import Month
from ibt.rules.periods import mapping_periods, read_time, write_time
from ibt.store import Database, folder, market, records, tables
from ibt.store import versions as version_files
from ibt.store.audit import OPERATOR
from ibt.store.loading import clear, load, read_market
from ibt.store.writes import new_revision

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
CONTRACTS_HEADER = SAMPLE["contracts.csv"].partition("\n")[0]
AUGUST = "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z"
SEPTEMBER = "2015-09-01T04:00:00Z,2015-10-01T04:00:00Z"
FROM_AUGUST = "2015-08-01T04:00:00Z,2015-10-01T04:00:00Z"
ABC1 = "1,ABC1,2013-05-01T04:00:00Z,,ABC1 activity,Active"

Changes = Mapping[str, str | bytes | None]


def history(*lines: str) -> dict[str, str | bytes | None]:
    """A history.csv of *lines*, with no mappings.csv beside it."""
    return {"history.csv": HISTORY_HEADER + "".join(f"{line}\n" for line in lines), "mappings.csv": None}


def faults_of(path: Path, changes: Changes) -> Faults:
    faults = Faults()
    read_market(write_market(path, changes), NOW, faults)
    return faults


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.updating() as connection:
        yield connection


def loaded(connection: Connection, path: Path, changes: Changes | None = None) -> None:
    faults = Faults()
    found = read_market(write_market(path, changes), NOW, faults)
    assert faults.lines() == []
    load(connection, found)


def rows_of(connection: Connection, query: Select[Any]) -> set[tuple[object, ...]]:
    return {tuple(row) for row in connection.execute(query)}


def versions(connection: Connection, customer_id: int, contract_id: int) -> list[tuple[str, int, str, str]]:
    """Month, sequence, version and subaccount of all versions, in order."""
    table = tables.mapping_version
    rows = connection.execute(
        select(table.c.month, table.c.sequence, table.c.version, table.c.subaccount_id)
        .where(table.c.customer_id == customer_id, table.c.contract_id == contract_id)
        .order_by(table.c.month, table.c.sequence)
    )
    return [(str(month), sequence, write_time(version), subaccount) for month, sequence, version, subaccount in rows]


# What is in the tables ------------------------------------------------------------------------------------


def test_customers_users_and_grants_are_stored(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path)
    assert rows_of(connection, select(tables.customer)) == {
        (1, "XYZ Inc"),
        (2, "QRS Ltd"),
        (3, "TUV LLC"),
    }
    assert set(connection.execute(select(tables.users.c.user_name)).scalars()) == {"xyz", "qrs", "both", "nobody"}
    assert rows_of(connection, select(tables.grants)) == {
        ("xyz", 1, "IBT"),
        ("qrs", 2, "IBT"),
        ("both", 1, "IBT"),
        ("both", 3, "VIEW"),
    }


def test_each_customer_has_a_revision_of_its_own(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path)
    state = tables.customer_state.c
    revisions = connection.execute(select(state.revision).where(state.customer_id != OPERATOR)).scalars().all()
    assert len(set(revisions)) == 3
    assert new_revision() not in revisions


def test_a_contract_is_stored_for_each_party(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path)
    rows = connection.execute(select(tables.contract).where(tables.contract.c.contract_id == 999999)).mappings()
    begin, end = read_time("2015-08-01T04:00:00Z"), read_time("2015-10-01T04:00:00Z")
    terms = {
        "contract_id": 999999,
        "reference_id": "R-9",
        "category": "FCM LOAD OBLIGATION",
        "location_id": 8500,
        "buyer_id": 1,
        "seller_id": 3,
        "contract_begin": begin,
        "contract_end": end,
        "status": "Conf",
    }
    assert sorted(map(dict, rows), key=str) == [{"customer_id": 1, **terms}, {"customer_id": 3, **terms}]


def test_mappings_csv_adds_versions_after_the_birth_version(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path)
    assert versions(connection, 1, 999999) == [
        ("2015-08", 1, "2015-07-02T06:00:00Z", "Default"),
        ("2015-08", 2, "2015-07-11T12:01:22Z", "ABC1"),
        ("2015-09", 1, "2015-07-02T06:00:00Z", "Default"),
    ]
    assert versions(connection, 3, 999999) == [
        ("2015-08", 1, "2015-07-02T06:00:00Z", "Default"),
        ("2015-09", 1, "2015-07-02T06:00:00Z", "Default"),
    ]


def test_versions_of_equal_time_keep_the_order_of_the_file(connection: Connection, tmp_path: Path) -> None:
    lines = (f"1,999998,{AUGUST},2015-07-01T04:00:00Z,{subaccount}" for subaccount in ("ABC1", "Default", "ABC1"))
    loaded(connection, tmp_path, added("mappings.csv", *lines))
    assert [row[1:] for row in versions(connection, 1, 999998)[:4]] == [
        (1, "2015-07-01T04:00:00Z", "Default"),
        (2, "2015-07-01T04:00:00Z", "ABC1"),
        (3, "2015-07-01T04:00:00Z", "Default"),
        (4, "2015-07-01T04:00:00Z", "ABC1"),
    ]


def test_history_csv_replaces_the_birth_version_of_the_months_it_names(
    connection: Connection, tmp_path: Path
) -> None:
    changes = history(
        "1,999999,2015-08-10T04:00:00Z,2015-09-01T04:00:00Z,2010-01-01T00:00:00Z,ABC1",
        f"1,999999,{AUGUST},2010-01-01T00:00:00Z,Default",
    )
    loaded(connection, tmp_path, changes)
    assert versions(connection, 1, 999999) == [
        ("2015-08", 1, "2010-01-01T00:00:00Z", "ABC1"),
        ("2015-08", 2, "2010-01-01T00:00:00Z", "Default"),
        ("2015-09", 1, "2015-07-02T06:00:00Z", "Default"),
    ]
    first = tables.mapping_version.c
    begin = select(first.begin).where(first.sequence == 1, first.customer_id == 1, first.month == Month("2015-08"))
    assert connection.execute(begin.where(first.contract_id == 999999)).scalar() == read_time("2015-08-10T04:00:00Z")


def test_only_the_last_version_of_a_month_in_history_csv_must_be_possible_now(
    connection: Connection, tmp_path: Path
) -> None:
    changes = history(
        "1,999999,2015-08-05T04:00:00Z,2015-08-20T04:00:00Z,2015-07-03T00:00:00Z,gone long ago",
        f"1,999999,{AUGUST},2015-07-03T00:00:00Z,not defined",
        f"1,999999,{AUGUST},2015-07-04T00:00:00Z,ABC1",
    )
    loaded(connection, tmp_path, changes)
    assert [row[3] for row in versions(connection, 1, 999999)] == ["gone long ago", "not defined", "ABC1", "Default"]


def test_the_lines_of_history_csv_and_mappings_csv_may_be_in_any_order(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_files, "CHUNK", 2)
    changes = history(
        f"1,999999,{AUGUST},2015-07-03T00:00:00Z,Default",
        f"1,999998,{AUGUST},2015-07-03T00:00:00Z,ABC1",
        f"3,999999,{SEPTEMBER},2015-07-03T00:00:00Z,Default",
        f"1,999999,{SEPTEMBER},2015-07-03T00:00:00Z,Default",
        f"1,999999,{AUGUST},2015-07-04T00:00:00Z,ABC1",
        f"1,999998,{AUGUST},2015-07-04T00:00:00Z,Default",
        f"1,999999,{AUGUST},2015-07-05T00:00:00Z,Default",
    )
    further = (
        f"1,999998,{SEPTEMBER},2015-07-04T00:00:00Z,ABC1",
        f"1,999999,{AUGUST},2015-07-06T00:00:00Z,ABC1",
        f"1,999998,{SEPTEMBER},2015-07-05T00:00:00Z,Default",
        f"1,999998,{AUGUST},2015-07-06T00:00:00Z,ABC1",
        f"1,999998,{SEPTEMBER},2015-07-05T00:00:00Z,ABC1",
    )
    loaded(connection, tmp_path, {**changes, "mappings.csv": HISTORY_HEADER + "\n".join(further)})
    assert [row[0::3] for row in versions(connection, 1, 999999)] == [
        *(("2015-08", subaccount) for subaccount in ("Default", "ABC1", "Default", "ABC1")),
        ("2015-09", "Default"),
    ]
    assert [row[0::3] for row in versions(connection, 1, 999998)] == [
        *(("2015-08", subaccount) for subaccount in ("ABC1", "Default", "ABC1")),
        *(("2015-09", subaccount) for subaccount in ("Default", "ABC1", "Default", "ABC1")),
    ]
    assert last_versions(connection) == current_mappings(connection)


def test_mappings_csv_adds_versions_after_a_history(connection: Connection, tmp_path: Path) -> None:
    changes = {
        **history(f"1,999999,{AUGUST},2010-01-01T00:00:00Z,Default"),
        "mappings.csv": HISTORY_HEADER + f"1,999999,{AUGUST},2011-01-01T00:00:00Z,ABC1\n",
    }
    loaded(connection, tmp_path, changes)
    assert versions(connection, 1, 999999)[:2] == [
        ("2015-08", 1, "2010-01-01T00:00:00Z", "Default"),
        ("2015-08", 2, "2011-01-01T00:00:00Z", "ABC1"),
    ]


def test_the_last_version_of_a_month_is_the_current_one(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path, added("mappings.csv", f"1,999999,{AUGUST},2015-07-11T12:01:22Z,Default"))
    assert last_versions(connection) == current_mappings(connection)


def last_versions(connection: Connection) -> set[tuple[object, ...]]:
    rows = map(tuple, connection.execute(select(tables.mapping_version).order_by(tables.mapping_version.c.sequence)))
    return set({row[:3]: row[:-1] for row in rows}.values())  # all but the number of the audit row


def current_mappings(connection: Connection) -> set[tuple[object, ...]]:
    table = tables.current_mapping.c
    columns = [table[column.name] for column in tables.mapping_version.c if column.name in table]
    return rows_of(connection, select(*columns))


def test_a_contract_without_version_is_born_at_the_time_of_loading(connection: Connection, tmp_path: Path) -> None:
    contracts = f"{CONTRACTS_HEADER.removesuffix(',version')}\n7,,LOAD REAL TIME,4000,2,3,{FROM_AUGUST},New\n"
    loaded(connection, tmp_path, {"contracts.csv": contracts, "mappings.csv": None})
    assert {row[2:] for row in versions(connection, 2, 7)} == {(write_time(NOW), "Default")}


def test_a_customer_without_default_gets_one(connection: Connection, tmp_path: Path) -> None:
    early = "7,,LOAD REAL TIME,4000,2,3,1999-01-01T05:00:00Z,1999-02-01T05:00:00Z,Conf,"
    changes = {**added("contracts.csv", early), **added("customers.csv", "4,Idle"), "mappings.csv": None}
    loaded(connection, tmp_path, {**changes, "subaccounts.csv": SAMPLE["subaccounts.csv"].partition("\n")[0]})
    assert rows_of(connection, select(tables.subaccount_version)) == {
        (1, "Default", read_time("2000-01-01T05:00:00Z"), None, "Default", "Active"),
        (2, "Default", read_time("1999-01-01T05:00:00Z"), None, "Default", "Active"),
        (3, "Default", read_time("1999-01-01T05:00:00Z"), None, "Default", "Active"),
        (4, "Default", read_time("2000-01-01T05:00:00Z"), None, "Default", "Active"),
    }


def test_clear_empties_every_table(connection: Connection, tmp_path: Path) -> None:
    loaded(connection, tmp_path)
    clear(connection)
    assert all(connection.execute(select(table)).first() is None for table in tables.metadata.sorted_tables)
    loaded(connection, tmp_path)


@st.composite
def contracts(draw: st.DrawFn) -> list[tuple[int, int, datetime, datetime]]:
    """Buyer, seller, begin and end of some contracts."""
    earliest = datetime(1995, 1, 1, tzinfo=UTC)
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        buyer, seller = draw(st.permutations((1, 2, 3)))[:2]
        begin = earliest + timedelta(seconds=draw(st.integers(0, 40 * 365 * 86400)))
        lines.append((buyer, seller, begin, begin + timedelta(seconds=draw(st.integers(0, 500 * 86400)))))
    return lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(contracts())
def test_the_birth_versions_are_the_mapping_periods_of_both_parties(
    database: Database, drawn: list[tuple[int, int, datetime, datetime]]
) -> None:
    lines = "".join(
        f"{contract_id},,LOAD REAL TIME,4000,{buyer},{seller},{write_time(begin)},{write_time(end)},Conf\n"
        for contract_id, (buyer, seller, begin, end) in enumerate(drawn, start=1)
    )
    header = CONTRACTS_HEADER.removesuffix(",version")
    changes = {"contracts.csv": f"{header}\n{lines}", "mappings.csv": None}
    changes["subaccounts.csv"] = SAMPLE["subaccounts.csv"].partition("\n")[0]
    with TemporaryDirectory() as path, database.updating() as connection:
        clear(connection)
        loaded(connection, Path(path), changes)
        table = tables.mapping_version.c
        columns = (table.customer_id, table.contract_id, table.month, table.begin, table.end)
        assert rows_of(connection, select(*columns)) == {
            (party, contract_id, period.month, period.begin, period.end)
            for contract_id, (buyer, seller, begin, end) in enumerate(drawn, start=1)
            for party in (buyer, seller)
            for period in mapping_periods(begin, end)
        }
        assert current_mappings(connection) == last_versions(connection)


# What is accepted -----------------------------------------------------------------------------------------

ACCEPTED: dict[str, Changes] = {
    "a BOM": {"customers.csv": "\ufeff" + SAMPLE["customers.csv"]},
    "line ends of CR LF": {name: text.replace("\n", "\r\n") for name, text in SAMPLE.items()},
    "no line end after the last line": {"customers.csv": SAMPLE["customers.csv"].rstrip("\n")},
    "blank lines": {"customers.csv": "\n\n" + SAMPLE["customers.csv"].replace("\n", "\n\n")},
    "columns in another order, and unknown ones twice": {
        "customers.csv": "x,name,y,customer_id,x\n,XYZ Inc,,1,\n,QRS Ltd,,2,\n,TUV LLC,,3,\n"
    },
    "quoted fields": replaced("customers.csv", "1,XYZ Inc", '"1","XYZ ""Inc"",\n& Sons"'),
    "an id with leading zeros": replaced("customers.csv", "1,XYZ Inc", "000000001,XYZ Inc"),
    "the largest id": added("customers.csv", "999999999,Last"),
    "a name of 100 characters": replaced("customers.csv", "XYZ Inc", "\U0001f600" * 100),
    "an empty name": replaced("customers.csv", "XYZ Inc", ""),
    "a reference id of 25 characters": replaced("contracts.csv", "R-9", "é" * 25),
    "a contract with an empty period": added(
        "contracts.csv", "7,,LOAD REAL TIME,4000,1,2,2015-08-01T04:00:00Z,2015-08-01T04:00:00Z,New,"
    ),
    "a zero fraction of a second": replaced("contracts.csv", "2015-07-01T04:00:00Z", "2015-07-01T04:00:00.000Z"),
    "a location of nine digits": replaced("contracts.csv", "8500", "999999999"),
    "a status that nobody knows": replaced("contracts.csv", "Conf", "Under review"),
    "a subaccount id that looks like a number": added("subaccounts.csv", "1,007,2013-05-01T04:00:00Z,,7,Retired"),
    "subaccount ids that differ by case": added("subaccounts.csv", "1,abc1,2013-05-01T04:00:00Z,,low,Active"),
    "versions of a subaccount that touch, in any order": replaced(
        "subaccounts.csv",
        ABC1,
        "1,ABC1,2016-05-01T04:00:00Z,,c,Active\n1,ABC1,2013-05-01T04:00:00Z,2015-09-01T04:00:00Z,a,Active\n"
        "1,ABC1,2015-09-01T04:00:00Z,2016-05-01T04:00:00Z,b,Retired",
    ),
    "a role of any text": added("users.csv", "xyz,2,no such role"),
    "a role without a customer": added("users.csv", "ghost,,IBT"),
    "a user name of 64 characters": added("users.csv", "a" * 64 + ",1,IBT"),
    "no mappings and no history": {"mappings.csv": None},
    "files with only a header line": {name: text.partition("\n")[0] for name, text in SAMPLE.items()},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(changes: Changes, tmp_path: Path) -> None:
    assert faults_of(tmp_path, changes).lines() == []


# What is refused, and how it is told ----------------------------------------------------------------------

ID = "must be a number from 1 to 999999999 (reading 65)"
KNOWN_CUSTOMER = "must be a customer of customers.csv or of the database (reading 65)"
KNOWN_CONTRACT = "must be a contract of contracts.csv or of the database (reading 65)"
TIME = "must be a time of whole seconds with Z, such as 2015-08-01T04:00:00Z (reading 65)"
CATEGORY = "must be one of ENERGY DAY AHEAD, ENERGY REAL TIME, LOAD REAL TIME, FCM LOAD OBLIGATION (reading 65)"
USER = "must be 1 to 64 letters (A-Z, a-z), digits and any of . _ - and must not start with a dot (reading 65)"
BLANKS = "must not have control characters, or blanks at its ends (reading 65)"
LOCATION = "must be a number of 1 to 9 digits (3.2.4)"
CSV = (
    "must be CSV as RFC 4180 has it: a quote is not closed, or a quote or line end stands where it must not; "
    "nothing was read from here on (reading 64)"
)
UTF_8 = "must be UTF-8; nothing was read from here on (reading 64)"
AUGUST_IS = "must be that of the mapping period of 2015-08, 2015-08-01T04:00:00Z to 2015-09-01T04:00:00Z (reading 65)"

# Each change of the sample world by its name, with all the lines that tell of it.
REFUSED: dict[str, tuple[Changes, list[str]]] = {
    # The form of a file: reading 64.
    **{
        f"no {name}": ({name: None}, [f"{name}: the file is missing (reading 64)"])
        for name in ("customers.csv", "subaccounts.csv", "contracts.csv", "users.csv")
    },
    "an empty file": (
        {"users.csv": "\n"},
        ["users.csv: the file is empty: it must begin with a header line, user,customer_id,role (reading 64)"],
    ),
    "missing columns": (
        {"customers.csv": "id,Name\n1,XYZ Inc\n"},
        [
            'customers.csv, line 1, column "customer_id": is missing from the header line (reading 64)',
            'customers.csv, line 1, column "name": is missing from the header line (reading 64)',
        ],
    ),
    "a column twice": (
        {"customers.csv": "customer_id,name,name\n1,XYZ Inc,\n"},
        ['customers.csv, line 1, column "name": is named more than once in the header line (reading 64)'],
    ),
    "too many and too few fields": (
        {"customers.csv": "customer_id,name\n1,XYZ, Inc\n2\n3,TUV LLC\n"},
        [
            "customers.csv, line 2: must have as many fields as the header line, 2, not 3 (reading 64)",
            "customers.csv, line 3: must have as many fields as the header line, 2, not 1 (reading 64)",
        ],
    ),
    "octets that are not UTF-8": (
        {"customers.csv": b"customer_id,name\n1,XYZ\n2,Soci\xe9t\xe9\n3,TUV LLC\n"},
        [f"customers.csv, line 3: {UTF_8}"],
    ),
    "UTF-16": ({"customers.csv": SAMPLE["customers.csv"].encode("utf-16")}, [f"customers.csv, line 1: {UTF_8}"]),
    "a quote that is not closed": (
        replaced("customers.csv", "2,QRS Ltd", '2,"QRS Ltd'),
        [f"customers.csv, line 3: {CSV}"],
    ),
    "text after a closing quote": (
        replaced("customers.csv", "2,QRS Ltd", '2,"QRS" Ltd'),
        [f"customers.csv, line 3: {CSV}"],
    ),
    "a line end of CR alone": (
        replaced("customers.csv", "2,QRS Ltd\n", "2,QRS Ltd\r"),
        [f"customers.csv, line 3: {CSV}"],
    ),
    "a fault after a record of three lines": (
        {"customers.csv": 'customer_id,name\n\n1,"X\nY\nZ"\n0,"Q\nR"\n2,QRS Ltd\n3,TUV LLC\n'},
        [f'customers.csv, line 6, customer_id "0": {ID}'],
    ),
    # Fields: reading 65.
    **{
        f"a customer id {text!r}": (
            added("customers.csv", f"{text},Wrong"),
            [f'customers.csv, line 5, customer_id "{text}": {ID}'],
        )
        for text in ("", "0", "-1", "+4", " 4", "1000000000", "four", "4.0", "٤")
    },
    "a name of 101 characters": (
        replaced("customers.csv", "XYZ Inc", "x" * 101),
        [f'customers.csv, line 2, name "{"x" * 100}"...: must have 0 to 100 characters, not 101 (reading 65)'],
    ),
    "a character that XML cannot carry": (
        replaced("customers.csv", "XYZ Inc", "XYZ\x07"),
        [
            (
                r'customers.csv, line 2, name "XYZ\x07": '
                "must not have the character U+0007, which XML cannot carry (reading 65)"
            )
        ],
    ),
    "U+FFFF": (
        added("users.csv", "xyz,2,\uffff"),
        [
            (
                r'users.csv, line 7, role "\uffff": '
                "must not have the character U+FFFF, which XML cannot carry (reading 65)"
            )
        ],
    ),
    "NUL": (
        replaced("contracts.csv", "R-9", "R\x00"),
        [
            (
                r'contracts.csv, line 3, reference_id "R\x00": '
                "must not have the character U+0000, which XML cannot carry (reading 65)"
            )
        ],
    ),
    "no such category": (
        replaced("contracts.csv", "FCM LOAD OBLIGATION", "FCM Load"),
        [f'contracts.csv, line 2, category "FCM Load": {CATEGORY}'],
    ),
    "a reference id of 26 characters": (
        replaced("contracts.csv", "R-9", "R" * 26),
        [f'contracts.csv, line 3, reference_id "{"R" * 26}": must have 0 to 25 characters, not 26 (reading 65)'],
    ),
    "an empty status": (
        replaced("contracts.csv", "Conf", ""),
        ['contracts.csv, line 2, status "": must have 1 to 100 characters, not 0 (reading 65)'],
    ),
    "a location that is no number": (
        replaced("contracts.csv", "8500", "hub"),
        [f'contracts.csv, line 2, location_id "hub": {LOCATION}'],
    ),
    **{
        f"a time {text!r}": (
            replaced("subaccounts.csv", ABC1, f"1,ABC1,{text},,ABC1 activity,Active"),
            [f'subaccounts.csv, line 2, begin "{text}": {TIME}'],
        )
        for text in (
            "",
            "2013-05-01",
            "2013-05-01T04:00:00",
            "2013-05-01T04:00:00+00:00",
            "2013-05-01T04:00:00z",
            "2013-05-01T04:00:00.5Z",
            "2013-05-01 04:00:00Z",
            "2013-02-29T04:00:00Z",
            "2013-05-01T24:00:00Z",
            "0000-05-01T04:00:00Z",
        )
    },
    **{
        f"a subaccount id {text!r}": (
            added("subaccounts.csv", f'1,"{text}",2013-05-01T04:00:00Z,,wrong,Active'),
            [f'subaccounts.csv, line 4, subaccount_id "{told}": {BLANKS}'],
        )
        for text, told in (
            (" A", " A"),
            ("A ", "A "),
            ("\u00a0A", r"\xa0A"),
            ("A\tB", r"A\tB"),
            ("A\x85B", r"A\x85B"),
        )
    },
    "an empty subaccount id": (
        added("subaccounts.csv", "1,,2013-05-01T04:00:00Z,,wrong,Active"),
        ['subaccounts.csv, line 4, subaccount_id "": must have 1 to 100 characters, not 0 (reading 65)'],
    ),
    **{
        f"a user name {text!r}": (
            added("users.csv", f"{text},1,IBT"),
            [f'users.csv, line 7, user "{text}": {USER}'],
        )
        for text in ("", ".hidden", "../up", "a b", "müller", "a" * 65)
    },
    "all wrong fields of a line": (
        added("contracts.csv", "x,,GAS,4000,1,2,then,2015-10-01T04:00:00Z,Conf,"),
        [
            f'contracts.csv, line 4, contract_id "x": {ID}',
            f'contracts.csv, line 4, category "GAS": {CATEGORY}',
            f'contracts.csv, line 4, begin "then": {TIME}',
        ],
    ),
    # Lines together: reading 65.
    "a customer id twice": (
        added("customers.csv", "002,QRS again"),
        [
            (
                'customers.csv, line 5, customer_id "002": '
                "must not come twice: line 3 has the same customer_id (reading 65)"
            )
        ],
    ),
    "a contract id twice": (
        added("contracts.csv", f"999998,,LOAD REAL TIME,4000,1,2,{FROM_AUGUST},Conf,"),
        [
            (
                'contracts.csv, line 4, contract_id "999998": '
                "must not come twice: line 2 has the same contract_id (reading 65)"
            )
        ],
    ),
    "a grant twice": (
        added("users.csv", "xyz,01,IBT"),
        [
            (
                'users.csv, line 7, user "xyz": '
                "must not come twice: line 2 has the same user, customer_id, role (reading 65)"
            )
        ],
    ),
    "unknown customers": (
        {
            **added("subaccounts.csv", "7,A,2013-05-01T04:00:00Z,,A,Active"),
            **added("contracts.csv", f"7,,LOAD REAL TIME,4000,8,9,{FROM_AUGUST},Conf,"),
            **added("users.csv", "u,7,IBT"),
        },
        [
            f'subaccounts.csv, line 4, customer_id "7": {KNOWN_CUSTOMER}',
            f'contracts.csv, line 4, buyer_id "8": {KNOWN_CUSTOMER}',
            f'contracts.csv, line 4, seller_id "9": {KNOWN_CUSTOMER}',
            f'users.csv, line 7, customer_id "7": {KNOWN_CUSTOMER}',
        ],
    ),
    "a buyer that is the seller": (
        added("contracts.csv", f"7,,LOAD REAL TIME,4000,2,2,{FROM_AUGUST},Conf,"),
        ['contracts.csv, line 4, seller_id "2": must not be the buyer too (reading 65)'],
    ),
    "a contract that ends before it begins": (
        added("contracts.csv", "7,,LOAD REAL TIME,4000,1,2,2015-08-01T04:00:00Z,2015-08-01T03:59:59Z,Conf,"),
        [
            (
                'contracts.csv, line 4, end "2015-08-01T03:59:59Z": '
                "must not be earlier than begin, 2015-08-01T04:00:00Z (reading 65)"
            )
        ],
    ),
    "an empty version of a subaccount": (
        added("subaccounts.csv", "1,B,2013-05-01T04:00:00Z,2013-05-01T04:00:00Z,B,Active"),
        [
            (
                'subaccounts.csv, line 4, end "2013-05-01T04:00:00Z": '
                "must be later than begin, 2013-05-01T04:00:00Z (reading 65)"
            )
        ],
    ),
    "versions of a subaccount that overlap": (
        added(
            "subaccounts.csv",
            "1,ABC1,2012-01-01T00:00:00Z,2013-05-01T04:00:01Z,before,Active",
            "1,ABC1,2013-05-01T04:00:00Z,,same begin,Active",
            "1,ABC1,2014-01-01T00:00:00Z,2014-02-01T00:00:00Z,inside,Active",
        ),
        [
            f'subaccounts.csv, line {line}, begin "{begin}": '
            "must not overlap the version that begins at 2013-05-01T04:00:00Z (reading 65)"
            for line, begin in (
                (4, "2012-01-01T00:00:00Z"),
                (5, "2013-05-01T04:00:00Z"),
                (6, "2014-01-01T00:00:00Z"),
            )
        ],
    ),
    "a Default that ends too early": (
        replaced(
            "subaccounts.csv",
            "1,Default,2013-05-01T04:00:00Z,,",
            "1,Default,2013-05-01T04:00:00Z,2015-09-01T04:00:00Z,",
        ),
        [
            (
                'contracts.csv, line 2, buyer_id "1": has no Default in effect at 2015-09-01T04:00:00Z, '
                "where a mapping period of contract 999998 begins (reading 65)"
            )
        ],
    ),
    "a mapping of an unknown contract": (
        added("mappings.csv", f"1,7,{AUGUST},2015-07-11T12:01:22Z,ABC1"),
        [f'mappings.csv, line 3, contract_id "7": {KNOWN_CONTRACT}'],
    ),
    "a mapping of a customer that is no party": (
        added("mappings.csv", f"2,999999,{AUGUST},2015-07-11T12:01:22Z,Default"),
        ['mappings.csv, line 3, customer_id "2": must be a party of contract 999999: 1 or 3 (reading 65)'],
    ),
    "a mapping of a month outside the contract": (
        added("mappings.csv", "1,999999,2015-10-01T04:00:00Z,2015-11-01T04:00:00Z,2015-07-11T12:01:22Z,ABC1"),
        [
            (
                'mappings.csv, line 3, begin "2015-10-01T04:00:00Z": '
                "is in 2015-10, in which contract 999999 has no mapping period (reading 65)"
            )
        ],
    ),
    "mappings of other periods than the contract's": (
        added(
            "mappings.csv",
            "1,999999,2015-08-02T04:00:00Z,2015-09-01T04:00:00Z,2015-07-11T12:01:22Z,ABC1",
            "1,999999,2015-08-01T04:00:00Z,2015-10-01T04:00:00Z,2015-07-11T12:01:22Z,ABC1",
        ),
        [
            f'mappings.csv, line 3, begin "2015-08-02T04:00:00Z": {AUGUST_IS}',
            f'mappings.csv, line 4, end "2015-10-01T04:00:00Z": {AUGUST_IS}',
        ],
    ),
    "a subaccount that is unknown, another customer's, or not yet defined": (
        {
            **added("subaccounts.csv", "1,LATE,2015-08-01T04:00:01Z,,late,Active"),
            **added(
                "mappings.csv",
                f"1,999999,{AUGUST},2015-07-11T12:01:22Z,abc1",
                f"3,999999,{AUGUST},2015-07-11T12:01:22Z,ABC1",
                f"1,999999,{AUGUST},2015-07-11T12:01:22Z,LATE",
                f"1,999999,{SEPTEMBER},2015-07-11T12:01:22Z,LATE",
            ),
        },
        [
            f'mappings.csv, line {line}, subaccount_id "{subaccount}": '
            f"must be a subaccount of customer {customer} that is defined at 2015-08-01T04:00:00Z (reading 65)"
            for line, customer, subaccount in ((3, 1, "abc1"), (4, 3, "ABC1"), (5, 1, "LATE"))
        ],
    ),
    "a version earlier than its forerunner, or than the birth version": (
        added(
            "mappings.csv",
            f"1,999999,{AUGUST},2015-07-11T12:01:21Z,Default",
            f"1,999999,{SEPTEMBER},2015-07-02T05:59:59Z,ABC1",
        ),
        [
            (
                'mappings.csv, line 3, version "2015-07-11T12:01:21Z": '
                "must not be earlier than the version before it, 2015-07-11T12:01:22Z (reading 65)"
            ),
            (
                'mappings.csv, line 4, version "2015-07-02T05:59:59Z": '
                "must not be earlier than the version before it, 2015-07-02T06:00:00Z (reading 65)"
            ),
        ],
    ),
    "a history whose last version has old borders": (
        history(
            f"1,999999,{AUGUST},2015-07-01T00:00:00Z,Default",
            "1,999999,2015-08-01T04:00:00Z,2015-08-20T04:00:00Z,2015-07-02T00:00:00Z,Default",
        ),
        [f'history.csv, line 3, end "2015-08-20T04:00:00Z": {AUGUST_IS}'],
    ),
    "a history of impossible periods": (
        history(
            "1,999999,2015-08-01T04:00:00Z,2015-08-01T04:00:00Z,2015-07-01T00:00:00Z,Default",
            "1,999999,2015-08-01T04:00:00Z,2015-09-01T04:00:01Z,2015-07-01T00:00:00Z,Default",
        ),
        [
            (
                'history.csv, line 2, end "2015-08-01T04:00:00Z": '
                "must be later than begin, 2015-08-01T04:00:00Z (reading 65)"
            ),
            (
                'history.csv, line 3, end "2015-09-01T04:00:01Z": '
                "must belong to the same Eastern Time month as begin, 2015-08 (3.2.5)"
            ),
        ],
    ),
    "a history that goes back": (
        history(
            f"1,999999,{AUGUST},2015-07-02T00:00:00Z,Default",
            f"1,999999,{AUGUST},2015-07-01T00:00:00Z,ABC1",
        ),
        [
            (
                'history.csv, line 3, version "2015-07-01T00:00:00Z": '
                "must not be earlier than the version before it, 2015-07-02T00:00:00Z (reading 65)"
            )
        ],
    ),
    # One mistake is told once.
    "a refused contract with mappings": (
        replaced("contracts.csv", "999999,R-9,FCM", "999999,R-9,F.C.M."),
        [f'contracts.csv, line 3, category "F.C.M. LOAD OBLIGATION": {CATEGORY}'],
    ),
    "a refused customer with everything": (
        replaced("customers.csv", "2,QRS Ltd", "2,\x01"),
        [
            (
                r'customers.csv, line 3, name "\x01": '
                "must not have the character U+0001, which XML cannot carry (reading 65)"
            )
        ],
    ),
    "a refused subaccount with mappings": (
        replaced("subaccounts.csv", "ABC1 activity,Active", "ABC1 activity,"),
        ['subaccounts.csv, line 2, status "": must have 1 to 100 characters, not 0 (reading 65)'],
    ),
    "a refused Default with contracts": (
        replaced("subaccounts.csv", "1,Default,2013", "1,Default,13"),
        [f'subaccounts.csv, line 3, begin "13-05-01T04:00:00Z": {TIME}'],
    ),
    "a refused history with mappings": (
        {
            **history(f"1,999999,{AUGUST},2010-01-01T00:00:00Z,nobody's"),
            "mappings.csv": HISTORY_HEADER + f"1,999999,{AUGUST},2011-01-01T00:00:00Z,ABC1\n",
        },
        [
            (
                'history.csv, line 2, subaccount_id "nobody\'s": '
                "must be a subaccount of customer 1 that is defined at 2015-08-01T04:00:00Z (reading 65)"
            )
        ],
    ),
}


@pytest.mark.parametrize(("changes", "lines"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(changes: Changes, lines: list[str], tmp_path: Path) -> None:
    assert faults_of(tmp_path, changes).lines() == lines


def test_a_folder_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    faults = Faults()
    read_market(tmp_path / "nowhere", NOW, faults)
    assert faults.lines() == [
        f'folder "{tmp_path}/nowhere": must be a folder of CSV files (reading 64)',
    ]


def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    write_market(tmp_path, {"mappings.csv": None})
    (tmp_path / "mappings.csv").mkdir()
    faults = Faults()
    read_market(tmp_path, NOW, faults)
    assert faults.lines() == ["mappings.csv: the file cannot be read: Is a directory (reading 64)"]


def test_past_a_hundred_faults_they_are_counted(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, added("customers.csv", *["x,Nobody"] * 103))
    assert len(faults.lines()) == 101
    assert faults.lines()[-1] == "and 3 more"


def test_each_rule_of_loading_has_an_example(tmp_path: Path) -> None:
    broken = set()
    for number, (changes, _) in enumerate(REFUSED.values()):
        path = tmp_path / str(number)
        path.mkdir()
        broken |= {fault.rule for fault in faults_of(path, changes).told}
    elsewhere = {market.NOT_A_FOLDER, records.FILE_UNREADABLE}  # the two tests above
    elsewhere |= {market.NO_FILE, market.PARTY_CHANGED}  # beside data that are there: test_loading_over.py
    elsewhere |= {version_files.HISTORY_DIFFERS, version_files.HISTORY_SHORT}
    assert broken == {*records.RULES, *folder.RULES, *market.RULES, *version_files.RULES} - elsewhere
