"""Loading in pieces: whatever stands where in a file, lines are told, rows read and versions hashed as one by one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest
from markets import HISTORY_HEADER, SAMPLE, write_market
from sqlalchemy import select

from ibt.rules.faults import Faults
from ibt.store import Database, audit, chains, loading, records, standing, tables, versions
from ibt.store.chains import Tally
from ibt.store.folder import CONTRACTS, CUSTOMERS, HISTORY

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
AUGUST = "2015-08-01T04:00:00Z,2015-09-01T04:00:00Z"
SEPTEMBER = "2015-09-01T04:00:00Z,2015-10-01T04:00:00Z"
BORN, LATER = "2015-07-01T04:00:00Z", "2015-07-02T04:00:00Z"

NAMES = (
    "plain",
    '"two\nlines"',
    "x",
    '"\r\nthree\n"',
    "tab\there",
    "back\\slash \\N \\.",
    "None",
    "",
    '"a ""quoted"" one"',
    "é–𝄞",
)


@pytest.fixture(params=[1, 2, 3, 7, 1000])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many records are read at a time, and few bytes."""
    monkeypatch.setattr(records, "_RECORDS", request.param)
    monkeypatch.setattr(records, "_BYTES", 10 * request.param)
    return int(request.param)


def customers(names: Sequence[str]) -> str:
    """customers.csv with some lines that are blank."""
    lines = (f"{number},{name}\n{'' if number % 4 else chr(10)}" for number, name in enumerate(names, 1))
    return "customer_id,name\n\n" + "".join(lines)


def one_by_one(text: str) -> list[tuple[int, tuple[int, str]]]:
    """Where each record begins, by the reader's own count, and the row that it is."""
    reader = csv.reader(f"{line}\n" for line in text.removesuffix("\n").split("\n"))
    rows, line = [], 1
    for record in reader:
        if record and line > 1:
            rows.append((line, (int(record[0]), record[1])))
        line = reader.line_num + 1
    return rows


def test_records_are_told_by_the_line_where_they_begin(tmp_path: Path, pieces: int) -> None:
    text = customers(NAMES)
    (tmp_path / "customers.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    faults = Faults()
    assert list(records.Records(tmp_path, CUSTOMERS, faults)) == one_by_one(text)
    batches = list(records.Records(tmp_path, CUSTOMERS, faults).batches(3))
    assert [len(rows) for _, rows in batches] == [3, 3, 3, 1]
    assert [pair for lines, rows in batches for pair in zip(lines, rows, strict=True)] == one_by_one(text)
    assert faults.lines() == []


def test_what_is_wrong_is_told_in_its_place_and_the_rest_is_read(tmp_path: Path, pieces: int) -> None:
    lines = ["customer_id,name", "1,a", "x,b", '2,"c', 'd"', "2,again", "3", "", "4,e"]
    text = "\n".join(lines).encode()
    (tmp_path / "customers.csv").write_bytes(text + b"\n5,\xff\n6,f\n")
    faults, told, read = Faults(), [], []
    file = records.Records(tmp_path, CUSTOMERS, faults)
    for line, row in file:
        read.append((line, row))
        told.append(faults.count)
    assert read == [(2, (1, "a")), (4, (2, "c\nd")), (9, (4, "e"))]
    assert told == [0, 1, 3]
    assert [line.split(":")[0] for line in faults.lines()] == [
        'customers.csv, line 3, customer_id "x"',
        'customers.csv, line 6, customer_id "2"',
        "customers.csv, line 7",
        "customers.csv, line 10",
    ]
    assert not file.whole


def test_a_batch_tells_nothing_of_what_comes_after_it(tmp_path: Path) -> None:
    lines = [f"1,999999,{AUGUST},{BORN},Default"] * 2 + [f"x,999999,{AUGUST},{BORN},Default"]
    (tmp_path / "history.csv").write_text(HISTORY_HEADER + "\n".join([*lines, *lines]))
    faults = Faults()
    batches = records.Records(tmp_path, HISTORY, faults).batches(2)
    assert [(list(lines), faults.count) for lines, _ in batches] == [([2, 3], 0), ([5, 6], 1)]
    assert faults.count == 2


def test_a_column_that_is_left_out_is_empty(tmp_path: Path, pieces: int) -> None:
    header, *lines = SAMPLE["contracts.csv"].splitlines()
    text = "\n".join(line.rpartition(",")[0] for line in (header, *lines))
    (tmp_path / "contracts.csv").write_text(text)
    assert [row.version for _, row in records.Records(tmp_path, CONTRACTS, Faults())] == [None, None]


HISTORIES = {
    "in order": [(1, 999998), (1, 999999), (2, 999998), (3, 999999)],
    "contracts the other way": [(1, 999999), (1, 999998), (2, 999998), (3, 999999)],
    "customers in turn": [(1, 999999), (2, 999998), (1, 999998), (3, 999999)],
    "with births before them": [(1, 999999), (3, 999999)],
    "none": [],
}


@pytest.mark.parametrize("keys", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_the_audit_has_the_hash_of_the_versions_in_whatever_order_they_came(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[tuple[int, int]], chunk: int
) -> None:
    monkeypatch.setattr(versions, "CHUNK", chunk)
    monkeypatch.setattr(loading, "CHUNK", chunk)
    lines = chain.from_iterable(
        (
            f"{customer_id},{contract_id},{AUGUST},{BORN},Default\n",
            f"{customer_id},{contract_id},{SEPTEMBER},{BORN},Default\n",
            f"{customer_id},{contract_id},{AUGUST},{LATER},Default\n",
        )
        for customer_id, contract_id in keys
    )
    faults = Faults()
    write_market(tmp_path, {"history.csv": HISTORY_HEADER + "".join(lines), "mappings.csv": None})
    loading.load_folder(database, tmp_path, NOW, faults)
    assert faults.lines() == []
    tally = Tally()
    with database.reading() as connection:
        assert list(chains.faults(connection, tally)) == []
        current = connection.execute(
            select(tables.current_mapping.c.sequence, tables.current_mapping.c.version)
        ).all()
    assert tally.versions == 8 + len(keys)
    assert sum(sequence == 2 for sequence, _ in current) == len(keys)
    assert len(current) == 8


def test_versions_that_came_in_order_are_not_read_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_ADDED", None)
    faults = Faults()
    loading.load_folder(database, write_market(tmp_path, {"mappings.csv": None}), NOW, faults)
    assert faults.lines() == []


def test_a_digest_of_pieces_is_the_hash_of_the_whole() -> None:
    rows = [(contract_id, 201508, 1, 2, 3, 'é"\\') for contract_id in range(5)]
    digest = audit.VersionsDigest()
    digest.add(rows[:2])
    digest.add(rows[2:])
    assert (digest.count, digest.sha256) == audit.versions_hash(rows)


@pytest.mark.parametrize("name", ["a\\b", "None", "é–𝄞", "a b", '"', "\\N", "\\."])
def test_texts_are_stored_as_they_are(database: Database, tmp_path: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    subaccounts = f'{SAMPLE["subaccounts.csv"]}1,{quoted},2013-05-01T04:00:00Z,,"{chr(9)}{chr(10)}",Active\n'
    history = f"{HISTORY_HEADER}1,999999,{AUGUST},{BORN},{quoted}\n"
    faults = Faults()
    changes = {"subaccounts.csv": subaccounts, "history.csv": history, "mappings.csv": None}
    loading.load_folder(database, write_market(tmp_path, changes), NOW, faults)
    assert faults.lines() == []
    told = tables.mapping_version.c.subaccount_id, tables.mapping_version.c.customer_id
    with database.reading() as connection:
        assert name in connection.execute(select(told[0]).where(told[1] == 1)).scalars().all()
        assert list(chains.faults(connection, Tally())) == []
