"""
The audit in the database: what its rows tell, and that nothing of it can be changed unnoticed. Reading 41.

A tamperer here writes to the database as they like, and even makes all hashes right again; what they cannot reach is
the head that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from markets import write_market
from sqlalchemy import Connection, delete, insert, select, text, update

from ibt.rules.faults import Faults
from ibt.rules.mappings import NewVersion
from ibt.rules.model import MappingVersion, Month
from ibt.rules.periods import read_time
from ibt.store import Database, audit, chains, loading, migrations, tables, writes
from ibt.store.audit import OPERATOR, Deed, Entry, Head
from ibt.store.chains import ChainHead, Tally
from ibt.store.tables import NO_HASH

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
AUGUST, SEPTEMBER = map(read_time, ("2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z"))
PATIENCE = 60

UPDATE = Deed(
    kind="update",
    time=NOW,
    user_name="xyz",
    subject="CN=xyz",
    serial="0a",
    fingerprint="f" * 64,
    address="192.0.2.1",
    request_id="r-1",
    status=200,
    body_sha256="b" * 64,
)


@pytest.fixture
def sample(database: Database, tmp_path: Path) -> Database:
    """A database with the specification's sample world."""
    with database.updating() as connection:
        loading.load(connection, loading.read_market(write_market(tmp_path), NOW, Faults()))
    return database


def refusal(time: datetime = NOW, **told: Any) -> Deed:
    return Deed(kind="refusal", time=time, status=400, **told)


def post(connection: Connection, subaccount_id: str, customer_id: int = 1, time: datetime = NOW) -> None:
    """The customer maps August of contract 999999 to a subaccount."""
    new = NewVersion(999999, Month("2015-08"), MappingVersion(AUGUST, SEPTEMBER, time, subaccount_id))
    writes.add_versions(connection, writes.lock(connection, customer_id), [new], UPDATE)


def rows(connection: Connection, customer_id: int | None = None) -> list[Entry]:
    return list(chains.entries(connection, customer_id=customer_id))


def faults(connection: Connection, kept: list[ChainHead] | None = None) -> list[str]:
    return list(chains.faults(connection, Tally(), {head.customer_id: head for head in kept or ()}))


class _Undone(Exception):
    pass


@contextmanager
def tampering(database: Database) -> Iterator[Connection]:
    """A transaction of which nothing stays."""
    with suppress(_Undone), database.updating() as connection:
        yield connection
        raise _Undone


# What a row tells ---------------------------------------------------------------------------------------------


def test_an_update_leaves_a_row_that_its_versions_know(sample: Database) -> None:
    with sample.updating() as connection:
        post(connection, "Default")
    with sample.reading() as connection:
        row = rows(connection, 1)[-1]
        told = (row.audit_number, row.kind, row.user_name, row.status, row.versions_created, row.body_sha256)
        assert told == (2, "update", "xyz", 200, 1, "b" * 64)
        known = connection.execute(
            select(tables.mapping_version.c.subaccount_id).where(
                tables.mapping_version.c.customer_id == 1, tables.mapping_version.c.audit_number == 2
            )
        )
        assert list(known.scalars()) == ["Default"]


def test_a_load_leaves_a_row_for_each_customer_and_one_of_the_operator(sample: Database) -> None:
    with sample.reading() as connection:
        found = [(row.customer_id, row.audit_number, row.kind, row.versions_created) for row in rows(connection)]
        assert found == [
            (OPERATOR, 1, "load", 0),
            *((id_, 1, "load", count) for id_, count in ((1, 5), (2, 2), (3, 2))),
        ]
        (operators,) = rows(connection, OPERATOR)
        assert "3 customers added" in operators.detail
        assert operators.user_name
        assert operators.address
        numbers = connection.execute(select(tables.mapping_version.c.audit_number)).scalars()
        assert set(numbers) == {1}


def test_a_load_that_changes_nothing_leaves_no_row(sample: Database, tmp_path: Path) -> None:
    with sample.reading() as connection:
        before = rows(connection)
    faults_found = Faults()
    loading.load_folder(sample, write_market(tmp_path), NOW, faults_found)
    loading.load_folder(
        sample,
        write_market(tmp_path, {"customers.csv": "customer_id,name\n9,Nine\n"}),
        NOW,
        faults_found,
        dry_run=True,
    )
    assert faults_found.lines() == []
    with sample.reading() as connection:
        assert rows(connection) == before


def test_a_hash_is_what_the_page_says(sample: Database) -> None:
    with sample.updating() as connection:
        post(connection, "Default")
    with sample.reading() as connection:
        first, second = rows(connection, 1)
        state = connection.execute(
            select(tables.customer_state).where(tables.customer_state.c.customer_id == 1)
        ).one()
        version = connection.execute(
            text(
                'select contract_id, month, begin, "end", version, subaccount_id from mapping_version '
                "where customer_id = 1 and audit_number = 2"
            )
        ).one()
    for row, forerunner in ((first, "0" * 64), (second, first.hash)):
        array = json.dumps([forerunner, *row[:-1]]).replace(", ", ",")
        assert row.hash == hashlib.sha256(array.encode()).hexdigest()
    assert (state.audit_count, state.audit_hash, state.audit_time) == (2, second.hash, NOW)
    line = json.dumps([*version], separators=(",", ":")) + "\n"
    assert second.versions_sha256 == hashlib.sha256(line.encode()).hexdigest()


def test_rows_are_numbered_in_the_chain_of_their_customer_and_times_never_go_back(sample: Database) -> None:
    hour = timedelta(hours=1)
    with sample.updating() as connection:
        numbers = [audit.append(connection, 1, refusal(NOW + after)) for after in (hour, -hour, 2 * hour)]
        assert audit.append(connection, 2, refusal()) == 2
    assert numbers == [2, 3, 4]
    with sample.reading() as connection:
        times = [NOW + after for after in (timedelta(), hour, hour, 2 * hour)]
        assert [row.time for row in rows(connection, 1)] == [tables.seconds(time) for time in times]
        assert faults(connection) == []


def test_an_update_after_a_row_of_a_later_time_has_that_time(sample: Database) -> None:
    with sample.updating() as connection:
        audit.append(connection, 1, refusal(NOW + timedelta(days=1)))
        post(connection, "Default")
    with sample.reading() as connection:
        assert rows(connection, 1)[-1].time == tables.seconds(NOW + timedelta(days=1))


STRANGE = {
    "what PostgreSQL does not have": "a\0b",
    "half a character": "a\ud800b",
    "lines": "a\nb",
    "of other scripts": "\U0001d4b3é",
    "long": "x" * 10_000,
}


@pytest.mark.parametrize("told", STRANGE.values(), ids=STRANGE)
def test_whatever_is_told_can_be_kept_and_verified(sample: Database, told: str) -> None:
    with sample.updating() as connection:
        deed = refusal(user_name=told, subject=told, serial=told, address=told, request_id=told, detail=told)
        audit.append(connection, 1, deed)
    with sample.reading() as connection:
        assert faults(connection) == []
        assert max(len(text) for text in rows(connection, 1)[-1] if isinstance(text, str)) <= 1000


def test_the_operators_chain_begins_when_it_is_first_used(database: Database) -> None:
    """By several at once."""
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(PATIENCE)
        with database.updating() as connection:
            audit.append(connection, OPERATOR, Deed(kind="users", time=NOW))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with database.reading() as connection:
        assert [row.audit_number for row in rows(connection)] == [1, 2, 3, 4]
        assert faults(connection) == []


def test_a_customer_who_is_not_there_has_no_chain(database: Database) -> None:
    with pytest.raises(LookupError, match="customer 7"), database.updating() as connection:
        audit.append(connection, 7, refusal())


def test_what_is_undone_leaves_no_row(sample: Database) -> None:
    with sample.reading() as connection:
        before = chains.heads(connection)
    with tampering(sample) as connection:
        post(connection, "Default")
        audit.append(connection, OPERATOR, Deed(kind="users", time=NOW))
    with sample.reading() as connection:
        assert chains.heads(connection) == before
        assert faults(connection, before) == []


# What is asked for --------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[dict[str, Any], list[tuple[int, int]]]] = {
    "one customer": ({"customer_id": 2}, [(2, 1)]),
    "since": ({"since": NOW + timedelta(hours=1)}, [(1, 2), (3, 2)]),
    "a user": ({"user_name": "xyz"}, [(1, 2)]),
    "a kind": ({"kind": "refusal"}, [(1, 2), (3, 2)]),
    "the last": ({"limit": 3}, [(3, 1), (1, 2), (3, 2)]),
}


@pytest.mark.parametrize(("asked", "found"), ASKED.values(), ids=ASKED)
def test_rows_are_listed_by_time(sample: Database, asked: dict[str, Any], found: list[tuple[int, int]]) -> None:
    with sample.updating() as connection:
        audit.append(connection, 3, refusal(NOW + timedelta(hours=2), user_name="tuv"))
        audit.append(connection, 1, refusal(NOW + timedelta(hours=1), user_name="xyz"))
    with sample.reading() as connection:
        assert [entry[:2] for entry in chains.entries(connection, **asked)] == found


# Tampering with rows ------------------------------------------------------------------------------------------

audit_table, state_table, version_table = tables.audit, tables.customer_state, tables.mapping_version

#: What is done with the rows of a chain: the customer, and how the row is told.
DEEDS = st.lists(
    st.tuples(st.sampled_from([OPERATOR, 1, 2, 3]), st.sampled_from(["update", "refusal"]), st.integers(-9, 9)),
    min_size=1,
    max_size=8,
)


def build(connection: Connection, deeds: list[tuple[int, str, int]]) -> list[ChainHead]:
    """Leaves rows of *deeds*; returns the heads."""
    for number, (customer_id, kind, after) in enumerate(deeds):
        if kind == "update" and customer_id in {1, 3}:
            post(connection, f"S{number}", customer_id)
        else:
            audit.append(connection, customer_id, refusal(NOW + timedelta(seconds=after), detail=f"refusal {number}"))
    return chains.heads(connection)


def other(value: Any, column: str) -> Any:
    """Another value that the column could have."""
    if column in {"customer_id", "audit_number"}:
        return value + 1000
    if isinstance(value, str):
        return value[:-1] if column.endswith("hash") and value else f"{value}x"
    return 418 if value is None else value + 1


def rewrite(connection: Connection, entries: list[Entry]) -> None:
    """Makes a chain of *entries*, with all hashes and the head right."""
    customer_id = entries[0].customer_id
    connection.execute(delete(audit_table).where(audit_table.c.customer_id == customer_id))
    head = Head()
    for entry in entries:
        columns = (customer_id, head.number + 1, *entry[2:-1])
        row = Entry(*columns, audit.chained(head.hash, columns))
        put(connection, row)
        head = row.head
    move(connection, customer_id, head)


def put(connection: Connection, entry: Entry) -> None:
    connection.execute(insert(audit_table), stored(entry))


def stored(entry: Entry) -> dict[str, Any]:
    return entry._asdict() | {"time": datetime.fromtimestamp(entry.time, UTC)}


def move(connection: Connection, customer_id: int, head: Head) -> None:
    time = None if head.time is None else datetime.fromtimestamp(head.time, UTC)
    connection.execute(
        update(state_table)
        .where(state_table.c.customer_id == customer_id)
        .values(audit_count=head.number, audit_hash=head.hash, audit_time=time)
    )


def is_row(entry: Entry) -> Any:
    return (audit_table.c.customer_id == entry.customer_id) & (audit_table.c.audit_number == entry.audit_number)


def change_a_column(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    column = data.draw(st.sampled_from(list(audit_table.c)), "column")
    values = stored(entry._replace(**{column.name: other(getattr(entry, column.name), column.name)}))
    connection.execute(update(audit_table).where(is_row(entry)).values({column.name: values[column.name]}))


def remove_a_row(connection: Connection, entry: Entry, _data: st.DataObject) -> None:
    connection.execute(delete(audit_table).where(is_row(entry)))


def insert_a_row(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    """Before, between or after the others, whose numbers make room; its own hash is right."""
    chain = rows_of_chain(connection, entry.customer_id)
    place = data.draw(st.integers(0, len(chain)), "place")
    connection.execute(delete(audit_table).where(audit_table.c.customer_id == entry.customer_id))
    forerunner = chain[place - 1].hash if place else NO_HASH
    columns = (entry.customer_id, place + 1, *entry[2:-1])
    inserted = Entry(*columns, audit.chained(forerunner, columns))
    moved = [row._replace(audit_number=row.audit_number + 1) for row in chain[place:]]
    for row in [*chain[:place], inserted, *moved]:
        put(connection, row)


def swap_two_rows(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    chain = rows_of_chain(connection, entry.customer_id)
    assume(len(chain) > 1)
    one, two = data.draw(st.permutations(chain), "rows")[:2]
    remove_a_row(connection, one, data)
    remove_a_row(connection, two, data)
    put(connection, one._replace(audit_number=two.audit_number))
    put(connection, two._replace(audit_number=one.audit_number))


def truncate(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    """Takes rows away at the end, and makes the head right."""
    chain = rows_of_chain(connection, entry.customer_id)
    left = chain[: data.draw(st.integers(0, len(chain) - 1), "left")]
    connection.execute(
        delete(audit_table).where(
            audit_table.c.customer_id == entry.customer_id, audit_table.c.audit_number > len(left)
        )
    )
    move(connection, entry.customer_id, left[-1].head if left else Head())


def rewrite_from_a_row_on(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    """Changes a row, and makes all hashes that follow and the head right."""
    chain = rows_of_chain(connection, entry.customer_id)
    name = data.draw(st.sampled_from(["time", "user_name", "status", "body_sha256", "detail"]), "column")
    changed = entry._replace(**{name: other(getattr(entry, name), name)})
    rewrite(connection, [changed if row == entry else row for row in chain])


def rewrite_without_a_row(connection: Connection, entry: Entry, _data: st.DataObject) -> None:
    left = [row for row in rows_of_chain(connection, entry.customer_id) if row != entry]
    assume(left)
    rewrite(connection, left)


def change_the_head(connection: Connection, entry: Entry, data: st.DataObject) -> None:
    head = rows_of_chain(connection, entry.customer_id)[-1].head
    wrong = (
        head._replace(number=head.number + 1),
        head._replace(hash=NO_HASH),
        head._replace(time=(head.time or 0) + 1),
    )
    move(connection, entry.customer_id, data.draw(st.sampled_from(wrong), "head"))


def rows_of_chain(connection: Connection, customer_id: int) -> list[Entry]:
    return sorted(rows(connection, customer_id), key=lambda row: row.audit_number)


Tampering = Callable[[Connection, Entry, st.DataObject], None]

#: What is found by the hashes alone, and what only by a head that was kept.
ALONE: tuple[Tampering, ...] = (change_a_column, remove_a_row, insert_a_row, swap_two_rows, change_the_head)
BY_A_HEAD: tuple[Tampering, ...] = (truncate, rewrite_from_a_row_on, rewrite_without_a_row)

examples = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


@pytest.mark.parametrize("tamper", [*ALONE, *BY_A_HEAD])
@examples
@given(deeds=DEEDS, data=st.data())
def test_whatever_is_done_to_a_row_is_found(
    sample: Database, tamper: Tampering, deeds: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    with tampering(sample) as connection:
        kept = build(connection, deeds)
        assert faults(connection, kept) == []
        entry = data.draw(st.sampled_from(rows(connection)), "row")
        tamper(connection, entry, data)
        assert faults(connection, kept) != []
        assert tamper in BY_A_HEAD or faults(connection) != []


@examples
@given(deeds=DEEDS, later=DEEDS)
def test_a_chain_that_goes_on_passes_through_the_heads_that_were_kept(
    sample: Database, deeds: list[tuple[int, str, int]], later: list[tuple[int, str, int]]
) -> None:
    with tampering(sample) as connection:
        before, after = build(connection, deeds), build(connection, later)
        assert faults(connection, before) == faults(connection, after) == []


# Tampering with what the rows tell of -------------------------------------------------------------------------

VERSIONS = "customer_id = 1 and contract_id = 999999 and month = 201508"
_THIRD = f"{VERSIONS} and sequence = 3"
_COPIED = 'customer_id, contract_id, month, sequence + 10, begin, "end", version, subaccount_id'

#: What is done to mapping versions, and what is then told.
DISTORTED = {
    "another subaccount": (
        f"update mapping_version set subaccount_id = 'S9' where {VERSIONS} and sequence = 3",
        "customer 1, row 2: the mapping versions that it made are not what they were.",
    ),
    "another time": (
        f"update mapping_version set version = version + 1 where {VERSIONS} and sequence = 3",
        "customer 1, row 2: the mapping versions that it made are not what they were.",
    ),
    "one of a load": (
        f"update mapping_version set subaccount_id = 'S9' where {VERSIONS} and sequence = 2",
        "customer 1, row 1: the mapping versions that it made are not what they were.",
    ),
    "one that is removed": (
        f"delete from mapping_version where {VERSIONS} and sequence = 3",
        "customer 1, row 2: it made 1 mapping versions, and there are 0 of it.",
    ),
    "one more": (
        f"insert into mapping_version select {_COPIED}, audit_number from mapping_version where {_THIRD}",
        "customer 1, row 2: it made 1 mapping versions, and there are 2 of it.",
    ),
    "one of another row": (
        f"update mapping_version set audit_number = 4 where {VERSIONS} and sequence = 3",
        "customer 1, row 4: it made 0 mapping versions, and there are 1 of it.",
    ),
    "one of no row that is there": (
        f"update mapping_version set audit_number = 5 where {VERSIONS} and sequence = 3",
        "customer 1: 1 mapping versions are of row 5, which is not there.",
    ),
    "one that is said to be older than the audit": (
        f"update mapping_version set audit_number = null where {VERSIONS} and sequence = 3",
        "customer 1: 1 mapping versions have no row, and 0 had none when the head was kept.",
    ),
    "another order": (
        f"update mapping_version set sequence = 9 - sequence where {VERSIONS} and sequence in (3, 4)",  # 6 and 5
        "customer 1, contract 999999, 2015-08: the mapping versions are not in the order in which they came.",
    ),
    "a current mapping that is not the last version": (
        f"update current_mapping set subaccount_id = 'S9' where {VERSIONS}",
        "customer 1, contract 999999, 2015-08: the current mapping is not the last version.",
    ),
    "a place that is not there": (
        "insert into place (customer_id, passed, contract_id, month) values (1, 7, 999999, 201508)",
        "customer 1, contract 999999, 2015-08: the row of place is wrong, and so are the pages that it leads to.",
    ),
    "an older version that is current": (
        f"update current_mapping set sequence = 3, subaccount_id = 'A' where {VERSIONS}",
        "customer 1, contract 999999, 2015-08: the current mapping is not the last version.",
    ),
}


@pytest.mark.parametrize(("statement", "told"), DISTORTED.values(), ids=DISTORTED)
def test_what_is_done_to_mapping_versions_is_found(sample: Database, statement: str, told: str) -> None:
    with tampering(sample) as connection:
        post(connection, "A")
        post(connection, "B")
        audit.append(connection, 1, refusal())
        kept = chains.heads(connection)
        assert faults(connection, kept) == []
        connection.execute(text(statement))
        assert told in faults(connection, kept)


def test_one_change_is_one_fault(sample: Database) -> None:
    with tampering(sample) as connection:
        for _ in range(5):
            audit.append(connection, 1, refusal())
        connection.execute(
            update(audit_table)
            .where(audit_table.c.customer_id == 1, audit_table.c.audit_number == 3)
            .values(status=412)
        )
        assert faults(connection) == [
            "customer 1, row 3: its hash is not that of what it says and of the row before it."
        ]


def test_a_removed_row_and_the_versions_that_it_made_are_told_once(sample: Database) -> None:
    with tampering(sample) as connection:
        for subaccount_id in ("A", "B", "C"):
            post(connection, subaccount_id)
        connection.execute(delete(audit_table).where(audit_table.c.customer_id == 1, audit_table.c.audit_number == 2))
        assert faults(connection) == [
            "customer 1: row 2 is missing.",
            "customer 1: 1 mapping versions are of row 2, which is not there.",
        ]


def test_one_customer_can_be_verified_without_the_others(sample: Database) -> None:
    with tampering(sample) as connection:
        kept = {head.customer_id: head for head in chains.heads(connection)}
        connection.execute(update(audit_table).where(audit_table.c.customer_id == 2).values(status=412))
        assert list(chains.faults(connection, Tally(), kept, 1)) == []
        assert len(list(chains.faults(connection, Tally(), kept, 2))) == 1


@pytest.mark.parametrize("column", ["audit_number", "time", "status", "detail", "versions_created", "hash"])
def test_what_sqlite_lets_be_put_into_a_column_is_told_and_not_stumbled_over(tmp_path: Path, column: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    with database.updating() as connection:
        loading.load(connection, loading.read_market(write_market(tmp_path), NOW, Faults()))
    with tampering(database) as connection:
        connection.execute(text(f"update audit set {column} = x'ff' where customer_id = 1"))
        connection.execute(text("update mapping_version set audit_number = 'none' where customer_id = 1"))
        assert faults(connection)
    database.close()


@pytest.mark.parametrize("table", ["current_mapping", "place"])
@pytest.mark.parametrize(("month", "shown"), [("201513", "2015-13"), ("0", "0-00"), ("'x'", "'x'")])
def test_a_month_that_is_none_is_told(tmp_path: Path, table: str, month: str, shown: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    with database.updating() as connection:
        loading.load(connection, loading.read_market(write_market(tmp_path), NOW, Faults()))
    with tampering(database) as connection:
        if table == "place":
            connection.execute(text("insert into place values (1, 1, 999999, 201508)"))
        connection.execute(text(f"update {table} set month = {month} where contract_id = 999999 and month = 201508"))
        assert any(fault.startswith(f"customer 1, contract 999999, {shown}: ") for fault in faults(connection))
    database.close()


# Apart from the database --------------------------------------------------------------------------------------


def exported(connection: Connection, customer_id: int | None = None, before: datetime | None = None) -> list[bytes]:
    stream = BytesIO()
    chains.export(connection, stream, customer_id, before)
    return stream.getvalue().splitlines(keepends=True)


def faults_of(lines: list[bytes], kept: list[ChainHead] | None = None) -> list[str]:
    return list(chains.faults_of_file(lines, Tally(), {head.customer_id: head for head in kept or ()}))


def change_a_line(lines: list[bytes], at: int, data: st.DataObject) -> list[bytes]:
    told = json.loads(lines[at])
    name = data.draw(st.sampled_from(sorted(told.keys() - {"older"})), "field")
    return [*lines[:at], json.dumps(told | {name: other(told[name], name)}).encode() + b"\n", *lines[at + 1 :]]


def remove_a_line(lines: list[bytes], at: int, _data: st.DataObject) -> list[bytes]:
    return [*lines[:at], *lines[at + 1 :]]


def repeat_a_line(lines: list[bytes], at: int, data: st.DataObject) -> list[bytes]:
    place = data.draw(st.integers(1, len(lines)), "place")
    return [*lines[:place], lines[at], *lines[place:]]


def swap_two_lines(lines: list[bytes], at: int, data: st.DataObject) -> list[bytes]:
    to = data.draw(st.integers(1, len(lines) - 1), "to")
    assume(to != at)
    swapped = list(lines)
    swapped[at], swapped[to] = lines[to], lines[at]
    return swapped


def end_early(lines: list[bytes], at: int, _data: st.DataObject) -> list[bytes]:
    return lines[:at]


def say_a_name_twice(lines: list[bytes], at: int, _data: st.DataObject) -> list[bytes]:
    """The value that counts to us stays: another reader may take the other."""
    return [*lines[:at], b'{"customer_id": 7, ' + lines[at].removeprefix(b"{"), *lines[at + 1 :]]


TAMPERS = [change_a_line, remove_a_line, repeat_a_line, swap_two_lines, end_early, say_a_name_twice]


@pytest.mark.parametrize("tamper", TAMPERS)
@examples
@given(deeds=DEEDS, data=st.data())
def test_whatever_is_done_to_a_line_of_a_file_is_found(
    sample: Database,
    tamper: Callable[[list[bytes], int, st.DataObject], list[bytes]],
    deeds: list[tuple[int, str, int]],
    data: st.DataObject,
) -> None:
    with tampering(sample) as connection:
        build(connection, deeds)
        lines = exported(connection)
    assert faults_of(lines) == []
    at = data.draw(st.integers(1, len(lines) - 1), "line")
    assert faults_of(tamper(lines, at, data)) != []


def test_a_file_of_old_rows_ends_where_they_end_and_passes_through_heads_of_then(sample: Database) -> None:
    with sample.updating() as connection:
        audit.append(connection, 1, refusal(NOW + timedelta(hours=1)))
        then = chains.heads(connection)
        audit.append(connection, 1, refusal(NOW + timedelta(hours=2)))
        later = chains.heads(connection)
        lines = exported(connection, before=NOW + timedelta(hours=2))
    assert [json.loads(line)["audit_number"] for line in lines if b'"customer_id": 1, "audit' in line] == [1, 2]
    assert faults_of(lines, then) == []
    assert faults_of(lines, later) == ["customer 1: row 3 is missing, by the head that was kept."]


def test_a_file_of_one_customer_has_no_other(sample: Database) -> None:
    with sample.reading() as connection:
        lines = exported(connection, customer_id=2)
        kept = {head.customer_id: head for head in chains.heads(connection)}
    assert len(lines) == 3
    assert list(chains.faults_of_file(lines, Tally(), kept, 2)) == []
    assert list(chains.faults_of_file(lines, Tally(), kept)) != []


NO_FILES = {
    "nothing": [],
    "no JSON": [b"\xff\n"],
    "another file": [b'{"file": "another"}\n'],
    "a later form": [b'{"file": "ibt audit", "version": 2, "chains": 0}\n'],
    "a list": [b"[]\n"],
}


@pytest.mark.parametrize("lines", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_of_the_audit_is_told(lines: list[bytes]) -> None:
    with pytest.raises(chains.Unreadable):
        faults_of(lines)


@pytest.mark.parametrize(
    "line", [b"\n", b"[]\n", b"{}\n", b'{"audit_number": 1}\n', b"[" * 100_000, b'"audit_number"']
)
def test_a_line_that_is_neither_a_row_nor_a_head_is_told(line: bytes) -> None:
    first = b'{"file": "ibt audit", "version": 1, "chains": 0}\n'
    assert faults_of([first, line]) == ["line 2: it is neither a row nor a head."]


def test_heads_are_read_as_they_were_written(sample: Database) -> None:
    stream = StringIO()
    with sample.reading() as connection:
        heads = chains.heads(connection)
    chains.write_heads(heads, stream)
    assert list(chains.read_heads(stream.getvalue()).values()) == heads


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"heads": [{}]}', '{"heads": []}', '{"heads": 1}'])
def test_what_is_no_file_of_heads_is_told(written: str) -> None:
    with pytest.raises(chains.Unreadable):
        chains.read_heads(written)


# The schema of before -----------------------------------------------------------------------------------------

#: What a program that knows schema 0001 says where it makes a customer, and a mapping version.
OLD_STATEMENTS = (
    "insert into customer_state (customer_id, revision) values (1, 'r')",
    """
    insert into mapping_version (customer_id, contract_id, month, sequence, begin, "end", version, subaccount_id)
    values (1, 7, 201508, 1, 1, 2, 3, 'S')
    """,
    """
    insert into current_mapping (customer_id, contract_id, month, begin, "end", version, sequence, subaccount_id)
    values (1, 7, 201508, 1, 2, 3, 1, 'S')
    """,
)


@pytest.mark.parametrize("before", [True, False], ids=["before the migration", "after it, by an old program"])
def test_what_is_older_than_the_audit_is_counted(database_url: str, before: bool) -> None:
    database = Database(database_url)
    # Alembic ends a transaction that it did not see begin, so this is not an update but what `Database.upgrade` does.
    engine = database._engine(math.inf)
    with engine.connect().execution_options(ibt_writes=True) as connection, connection.begin():
        alembic.command.upgrade(migrations._configuration(connection), "0001" if before else "head")
        for statement in OLD_STATEMENTS:
            connection.execute(text(statement))
    engine.dispose()
    database.upgrade()
    with database.updating() as connection:
        assert audit.append(connection, 1, refusal()) == 1
    with database.reading() as connection:
        tally = Tally()
        assert list(chains.faults(connection, tally)) == []
        assert (tally.versions, tally.older) == (0, 1)
        assert [head.older for head in chains.heads(connection)] == [1]
    database.close()
