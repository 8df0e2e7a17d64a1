"""Exporting: what is written, and that it answers every request alike when it is loaded again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from itertools import cycle, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markets import SAMPLE, write_market
from sqlalchemy import select
from test_loading_over import run

from ibt.messages import write_mapping, write_mappings, write_subaccounts
from ibt.rules import mappings
from ibt.rules.faults import Faults
from ibt.rules.model import RequestedMapping, RequestedVersion
from ibt.rules.periods import write_time
from ibt.rules.queries import Query
from ibt.store import Database, loading, people, reads, tables, writes
from ibt.store.audit import Deed
from ibt.store.export import Occupied, export

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
CUSTOMERS = (1, 2, 3)

#: The parties of each contract, which never change.
PARTIES = {7: (1, 2), 8: (2, 1), 9: (3, 1), 999999999: (2, 3)}
NAMES = ("XYZ Inc", 'Q"R, S', "two\nlines", " Société ", "")
SUBACCOUNTS = ("A", "B,1", 'Ä"')

Row = Sequence[object]


def write(folder: Path, files: Mapping[str, Sequence[Row]]) -> Path:
    """A new folder in *folder* with *files*, whose first rows are the headers."""
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    for name, rows in files.items():
        with (place / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(rows)
    return place


def answers(database: Database) -> dict[tuple[int, object], bytes]:
    """The bytes of every answer that a customer can get."""
    found: dict[tuple[int, object], bytes] = {}
    with database.reading() as connection:
        for customer_id in CUSTOMERS:
            found[customer_id, "subaccounts"] = write_subaccounts(reads.subaccounts(connection, customer_id))
            total, collection = reads.current_mappings(connection, customer_id, Query(limit=1000))
            found[customer_id, "mappings"] = write_mappings(collection, total)
            for contract_id in PARTIES:
                if reads.has_contract(connection, customer_id, contract_id):
                    history = reads.mapping_history(connection, customer_id, contract_id)
                    found[customer_id, contract_id] = write_mapping(history)
        found[0, "users"] = repr(people.user_rows(connection)).encode()
    return found


def state(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    with database.reading() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=str)
            for table in tables.metadata.sorted_tables
        }


def clear(database: Database) -> None:
    with database.updating() as connection:
        loading.clear(connection)


# --- random worlds ----------------------------------------------------------------------------------------------

#: Contracts begin in some two months and end within the same and the next two; subaccounts may end in between.
begins, ends, borders = (
    st.integers(first, last).map(lambda hours: datetime(2015, 1, 1, 5, tzinfo=UTC) + timedelta(hours=hours))
    for first, last in ((0, 24 * 50), (24 * 50, 24 * 120), (24, 24 * 40))
)


@st.composite
def contract_rows(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for contract_id in draw(st.sets(st.sampled_from(sorted(PARTIES)), min_size=1)):
        begin, end = draw(begins), draw(ends)
        reference, status = draw(st.sampled_from(("", "R,1", "%"))), draw(st.sampled_from(("New", "Conf")))
        period = write_time(begin), write_time(end)
        rows.append((contract_id, reference, "ENERGY DAY AHEAD", 4000, *PARTIES[contract_id], *period, status))
    return rows


@st.composite
def subaccount_rows(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for customer_id, subaccount_id in draw(st.sets(st.sampled_from(sorted(product(CUSTOMERS, SUBACCOUNTS))))):
        border = draw(st.none() | borders)
        first, name = "2014-01-01T05:00:00Z", draw(st.sampled_from(NAMES))
        rows.append((customer_id, subaccount_id, first, border and write_time(border), name, "Active"))
        if border and draw(st.integers(0, 3)) == 0:
            rows.append((customer_id, subaccount_id, write_time(border), "", name, "Inactive"))
    return rows


@st.composite
def folders(draw: st.DrawFn) -> dict[str, list[Row]]:
    customers = [(id_, draw(st.sampled_from(NAMES))) for id_ in CUSTOMERS]
    users = draw(st.sets(st.tuples(st.sampled_from(("ann", "bob")), st.sampled_from(CUSTOMERS), st.just("IBT"))))
    return {
        "customers.csv": [("customer_id", "name"), *customers],
        "subaccounts.csv": [
            ("customer_id", "subaccount_id", "begin", "end", "name", "status"),
            *draw(subaccount_rows()),
        ],
        "contracts.csv": [
            (
                "contract_id",
                "reference_id",
                "category",
                "location_id",
                "buyer_id",
                "seller_id",
                "begin",
                "end",
                "status",
            ),
            *draw(contract_rows()),
        ],
        "users.csv": [("user", "customer_id", "role"), ("nobody", "", ""), *sorted(users)],
    }


#: What one customer asks for one contract: a subaccount for each of its first months, in turn.
posts = st.tuples(
    st.sampled_from([(party, contract_id) for contract_id, parties in PARTIES.items() for party in parties]),
    st.lists(st.sampled_from(("Default", *SUBACCOUNTS)), min_size=1, max_size=3),
)


def post(database: Database, now: datetime, key: tuple[int, int], wishes: Sequence[str]) -> None:
    """An update as the service makes it; one that is refused changes nothing."""
    customer_id, contract_id = key
    with database.updating() as connection:
        locked = writes.lock(connection, customer_id)
        standing = reads.standing(connection, customer_id, [contract_id], wishes)
        if contract_id not in standing.mappings:
            return
        current = standing.mappings[contract_id].versions
        versions = tuple(
            RequestedVersion(version.begin, None, wish) for version, wish in zip(current, wishes, strict=False)
        )
        faults = Faults()
        outcome = mappings.update(standing, (RequestedMapping(customer_id, contract_id, versions),), now, faults)
        if not faults.count and outcome.new:
            writes.add_versions(connection, locked, outcome.new, Deed(kind="update", time=now))


@pytest.fixture
def another(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[Database]:
    with new_database() as url, closing(Database(url)) as database:
        database.upgrade()
        yield database


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
    deadline=None,
)
@given(first=folders(), steps=st.lists(st.lists(posts, max_size=4) | folders(), min_size=2, max_size=6))
def test_what_was_exported_answers_every_request_alike_when_it_is_loaded(
    database: Database, another: Database, first: dict[str, list[Row]], steps: list[Any]
) -> None:
    clear(database)
    clear(another)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, step in enumerate((first, *steps)):
            now = NOW + timedelta(hours=number // 2)
            if isinstance(step, dict):
                loading.load_folder(database, write(folder, step), now, Faults())
            else:
                for key, wishes in step:
                    post(database, now, key, wishes)
        out = folder / "export"
        export(database, out)
        faults = Faults()
        loading.load_folder(another, out, NOW - timedelta(days=1), faults)
        assert faults.lines() == []
        assert answers(another) == answers(database)
        export(another, folder / "again")
        for file in out.iterdir():
            assert (folder / "again" / file.name).read_bytes() == file.read_bytes()
        before = state(database)
        loading.load_folder(database, out, NOW + timedelta(days=1), faults)
        assert (faults.lines(), state(database)) == ([], before)


def test_older_borders_undefined_subaccounts_and_periods_that_came_back_are_exported(
    database: Database, another: Database, tmp_path: Path
) -> None:
    columns = ("customer_id", "subaccount_id", "begin", "end", "name", "status")
    terms = (
        "contract_id",
        "reference_id",
        "category",
        "location_id",
        "buyer_id",
        "seller_id",
        "begin",
        "end",
        "status",
    )
    contract = (7, "", "LOAD REAL TIME", 4000, 1, 2)
    august, tenth, september, october = (f"2015-{day}T04:00:00Z" for day in ("08-01", "08-10", "09-01", "10-01"))
    steps: list[Any] = [
        {
            "customers.csv": [("customer_id", "name"), (1, "One"), (2, "Two"), (3, "Three")],
            "subaccounts.csv": [columns, (1, "A", august, "", "A", "Active")],
            "contracts.csv": [terms, (*contract, august, october, "New")],
            "users.csv": [("user", "customer_id", "role")],
        },
        ((1, 7), ["A", "A"]),
        {"subaccounts.csv": [columns, (1, "A", august, "2015-08-05T04:00:00Z", "A", "Active")]},  # September needs it
        ((1, 7), ["A", "Default"]),
        {"subaccounts.csv": [columns, (1, "A", august, "2015-08-05T04:00:00Z", "A", "Active")]},
        {"contracts.csv": [terms, (*contract, tenth, september, "New")]},
        {"contracts.csv": [terms, (*contract, tenth, october, "Conf")]},
    ]
    for number, step in enumerate(steps):
        now = NOW + timedelta(hours=number)
        if isinstance(step, dict):
            faults = Faults()
            loading.load_folder(database, write(tmp_path, step), now, faults)
            assert faults.count == (1 if number == 2 else 0)
        else:
            post(database, now, *step)
    lines = export(database, tmp_path / "export")
    assert lines == {"customers.csv": 3, "subaccounts.csv": 4, "contracts.csv": 1, "history.csv": 11, "users.csv": 0}
    assert (tmp_path / "export" / "history.csv").read_text().splitlines()[1:8] == [
        f"1,7,{august},{september},2015-07-11T12:01:22Z,Default",
        f"1,7,{august},{september},2015-07-11T13:01:22Z,A",
        f"1,7,{tenth},{september},2015-07-11T17:01:22Z,Default",
        f"1,7,{september},{october},2015-07-11T12:01:22Z,Default",
        f"1,7,{september},{october},2015-07-11T13:01:22Z,A",
        f"1,7,{september},{october},2015-07-11T15:01:22Z,Default",
        f"1,7,{september},{october},2015-07-11T18:01:22Z,Default",
    ]
    loading.load_folder(another, tmp_path / "export", NOW, faults := Faults())
    assert faults.lines() == []
    assert answers(another) == answers(database)


def test_an_empty_database_is_exported_as_header_lines(database: Database, tmp_path: Path) -> None:
    assert set(export(database, tmp_path / "new" / "export").values()) == {0}
    lines = {file.name: file.read_text() for file in (tmp_path / "new" / "export").iterdir()}
    mappings_header = SAMPLE["mappings.csv"].partition("\n")[0]
    assert lines.pop("history.csv") == f"{mappings_header}\n"
    assert lines == {name: f"{SAMPLE[name].partition(chr(10))[0]}\n" for name in SAMPLE if name != "mappings.csv"}


def test_a_folder_that_has_something_in_it_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(Occupied, match="name another"):
            export(database, folder)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_leaves_no_file_behind(database: Database, tmp_path: Path) -> None:
    loading.load_folder(database, write_market(tmp_path), NOW, Faults())
    with pytest.raises(KeyboardInterrupt):
        export(database, tmp_path / "export", progress=_interrupted)
    assert list((tmp_path / "export").iterdir()) == []
    export(database, tmp_path / "export")


def _interrupted(_lines: int) -> None:
    raise KeyboardInterrupt


def test_everything_is_of_one_moment(database: Database, tmp_path: Path) -> None:
    loading.load_folder(database, write_market(tmp_path), NOW, Faults())
    url = database.url.render_as_string(hide_password=False)

    wishes = cycle(("Default", "ABC1"))
    with closing(Database(url)) as other:

        def change(_lines: int) -> None:
            post(other, NOW, (1, 999999), [next(wishes)])

        export(database, tmp_path / "export", progress=change)
        assert sum(1 for _ in (tmp_path / "export" / "history.csv").open()) == 1 + 9
        export(database, tmp_path / "after")
        assert sum(1 for _ in (tmp_path / "after" / "history.csv").open()) > 1 + 9


def test_the_command_writes_the_files_and_tells_their_lines(
    capsys: pytest.CaptureFixture[str], database: Database, tmp_path: Path
) -> None:
    loading.load_folder(database, write_market(tmp_path), NOW, Faults())
    url = database.url.set(drivername=database.url.get_backend_name()).render_as_string(hide_password=False)
    folder = str(tmp_path / "export")
    assert run(capsys, "export", folder, "--database", url) == (
        0,
        (
            "customers.csv                3\n"
            "subaccounts.csv              4\n"
            "contracts.csv                2\n"
            "history.csv                  9\n"
            "users.csv                    5\n"
        ),
        "",
    )
    assert run(capsys, "export", folder, "--database", url) == (
        2,
        "",
        f"{folder} is not an empty folder: name another one.\n",
    )
