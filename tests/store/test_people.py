"""Users, roles, pins and revoked certificates: what a change does, that it is done once, and its row in the audit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from markets import SAMPLE, write_market
from sqlalchemy import Connection, event, select, text

from ibt.rules.faults import Faults
from ibt.store import Database, audit, loading, people, reads, tables
from ibt.store.people import NotDone, Pin, Revoked
from ibt.store.reads import Rights, Shown

NOW = datetime(2026, 7, 11, 12, 1, 22, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)

ONE, TWO = "ab" * 32, "cd" * 32
SHOWN = Shown("CN=An authority", "07", ONE)
CERTIFICATE = Revoked("CN=An authority", "07", "CN=xyz", ONE, LATER)

PEOPLE = (tables.users, tables.grants, tables.pins, tables.revoked)


@pytest.fixture(scope="module")
def loaded(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database with the sample market, which no test changes for good."""
    with new_database() as url:
        database = Database(url)
        database.upgrade()
        market = loading.read_market(write_market(tmp_path_factory.mktemp("market")), NOW, Faults())
        with database.updating() as connection:
            loading.load(connection, market)
        yield database
        database.close()


@pytest.fixture
def connection(loaded: Database) -> Iterator[Connection]:
    """A transaction that changes, and that is undone."""
    with loaded.engine.connect().execution_options(ibt_writes=True) as connection:
        transaction = connection.begin()
        yield connection
        transaction.rollback()


def everyone(connection: Connection) -> dict[str, list[Any]]:
    """What the tables hold that say who is let in."""
    return {
        table.name: list(connection.execute(select(table).order_by(*table.primary_key.columns))) for table in PEOPLE
    }


def rows(connection: Connection) -> list[Any]:
    """The audit of the operators."""
    found = select(tables.audit).where(tables.audit.c.customer_id == audit.OPERATOR)
    return list(connection.execute(found.order_by(tables.audit.c.audit_number)))


#: A change that does something, and what the audit tells of it.
Change = Callable[[Connection], object]

CHANGES: dict[str, tuple[Change, Change, dict[str, object]]] = {
    "add": (
        lambda _: None,
        lambda connection: people.add_user(connection, "new.one", LATER),
        {"kind": "users", "detail": "added new.one"},
    ),
    "grant": (
        lambda _: None,
        lambda connection: people.grant(connection, "xyz", 2, "IBT", LATER),
        {"kind": "users", "detail": "granted xyz the role IBT at customer 2"},
    ),
    "grant another role": (
        lambda _: None,
        lambda connection: people.grant(connection, "xyz", 1, "VIEW", LATER),
        {"kind": "users", "detail": "granted xyz the role VIEW at customer 1"},
    ),
    "revoke": (
        lambda _: None,
        lambda connection: people.revoke(connection, "both", 3, "VIEW", LATER),
        {"kind": "users", "detail": "revoked the role VIEW of both at customer 3"},
    ),
    "pin": (
        lambda _: None,
        lambda connection: people.pin(connection, "xyz", ONE, LATER),
        {"kind": "certificates", "detail": "pinned xyz to a certificate", "fingerprint": ONE},
    ),
    "unpin": (
        lambda connection: people.pin(connection, "xyz", ONE, NOW),
        lambda connection: people.unpin(connection, "xyz", ONE, LATER),
        {"kind": "certificates", "detail": "took a pin of xyz away", "fingerprint": ONE},
    ),
    "revoke a certificate": (
        lambda _: None,
        lambda connection: people.revoke_certificate(connection, CERTIFICATE),
        {
            "kind": "certificates",
            "detail": "revoked a certificate of CN=An authority",
            "subject": "CN=xyz",
            "serial": "07",
            "fingerprint": ONE,
        },
    ),
    "undo that": (
        lambda connection: people.revoke_certificate(connection, CERTIFICATE),
        lambda connection: people.undo_revocation(connection, "CN=An authority", "07", LATER),
        {
            "kind": "certificates",
            "detail": "undid the revocation of a certificate of CN=An authority",
            "serial": "07",
            "fingerprint": "",
        },
    ),
}


@pytest.mark.parametrize(("before", "change", "told"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_made_once_and_leaves_one_row_in_the_audit(
    connection: Connection, before: Change, change: Change, told: dict[str, object]
) -> None:
    before(connection)
    standing, chain = everyone(connection), rows(connection)
    assert change(connection) is True
    changed, (row,) = everyone(connection), rows(connection)[len(chain) :]
    assert changed != standing
    expected = {"time": LATER, "user_name": audit.by_operator("", NOW).user_name, **told}
    assert {name: getattr(row, name) for name in expected} == expected
    assert change(connection) is False
    assert everyone(connection) == changed
    assert len(rows(connection)) == len(chain) + 1


def test_who_is_removed_loses_roles_and_pins_and_no_one_else_does(connection: Connection) -> None:
    for user in ("xyz", "both"):
        people.pin(connection, user, ONE, NOW)
    before = everyone(connection)
    people.remove_user(connection, "both", LATER)
    kept = {name: [row for row in found if row[0] != "both"] for name, found in before.items()}
    assert everyone(connection) == kept
    assert [len(before[name]) - len(kept[name]) for name in ("users", "grants", "pins")] == [1, 2, 1]
    assert rows(connection)[-1].detail == "removed both, with IBT at 1, VIEW at 3"
    people.remove_user(connection, "nobody", LATER)
    assert rows(connection)[-1].detail == "removed nobody, with no role"


MISTAKES: dict[str, tuple[Change, str]] = {
    "no user to grant to": (lambda c: people.grant(c, "Xyz", 1, "IBT", NOW), 'There is no user "Xyz"'),
    "no user to revoke from": (lambda c: people.revoke(c, "who", 1, "IBT", NOW), 'There is no user "who"'),
    "no user to remove": (lambda c: people.remove_user(c, "who", NOW), 'There is no user "who"'),
    "no user to pin": (lambda c: people.pin(c, "who", ONE, NOW), 'There is no user "who"'),
    "no user to unpin": (lambda c: people.unpin(c, "who", ONE, NOW), 'There is no user "who"'),
    "a name with a NUL": (lambda c: people.remove_user(c, "xyz\0", NOW), 'There is no user "xyz\\x00"'),
    "a name that is no text": (lambda c: people.remove_user(c, "\udcff", NOW), "There is no user"),
    "no customer to grant at": (lambda c: people.grant(c, "xyz", 4, "IBT", NOW), "There is no customer 4"),
    "no customer to revoke at": (lambda c: people.revoke(c, "xyz", 4, "IBT", NOW), "There is no customer 4"),
    "an empty name": (lambda c: people.add_user(c, "", NOW), '"" cannot be the name of a user: it must be 1 to 64'),
    "a blank in a name": (lambda c: people.add_user(c, "x y", NOW), '"x y" cannot be the name of a user'),
    "a dot before a name": (lambda c: people.add_user(c, ".x", NOW), '".x" cannot be the name of a user'),
    "too long a name": (lambda c: people.add_user(c, 65 * "x", NOW), f'"{65 * "x"}" cannot be the name of a user'),
}


@pytest.mark.parametrize(("mistake", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_and_changes_nothing(connection: Connection, mistake: Change, told: str) -> None:
    before = everyone(connection), rows(connection)
    with pytest.raises(NotDone) as caught:
        mistake(connection)
    assert str(caught.value).startswith(told)
    assert str(caught.value).isprintable()
    assert (everyone(connection), rows(connection)) == before


def test_what_there_is_is_listed_in_order(connection: Connection) -> None:
    lines = [tuple(line.split(",")) for line in SAMPLE["users.csv"].splitlines()[1:]]
    found = people.user_rows(connection)
    assert [(user, str(customer or ""), role) for user, customer, role in found] == sorted(lines)
    assert people.user_rows(connection, 1) == [("both", 1, "IBT"), ("xyz", 1, "IBT")]
    assert people.user_rows(connection, 4) == []
    assert (people.pin_rows(connection), people.revoked_rows(connection)) == ([], [])
    for user, fingerprint in (("xyz", TWO), ("both", TWO), ("xyz", ONE)):
        people.pin(connection, user, fingerprint, NOW)
    people.revoke_certificate(connection, CERTIFICATE)
    people.revoke_certificate(connection, CERTIFICATE._replace(serial="06", time=NOW))
    assert people.pin_rows(connection) == [Pin("both", TWO, NOW), Pin("xyz", ONE, NOW), Pin("xyz", TWO, NOW)]
    assert people.revoked_rows(connection) == [CERTIFICATE._replace(serial="06", time=NOW), CERTIFICATE]


# --- what a request is told -------------------------------------------------------------------------------


def test_rights_say_whether_the_certificate_lets_the_user_in(connection: Connection) -> None:
    def rights(user_name: str, shown: Shown, customer_id: int = 1, role: str = "IBT") -> Rights:
        return reads.rights(connection, user_name, role, shown, customer_id)

    revision = reads.revision(connection, 1)
    assert rights("xyz", SHOWN) == Rights(anywhere=True, here=True, revision=revision)
    assert rights("xyz", SHOWN, 2) == Rights(anywhere=True)
    assert rights("xyz", SHOWN, role="other") == Rights()
    people.pin(connection, "both", TWO, NOW)
    assert rights("xyz", SHOWN).pinned is False
    people.pin(connection, "xyz", TWO, NOW)
    assert rights("xyz", SHOWN).pinned is True
    assert rights("xyz", SHOWN._replace(fingerprint=TWO)).pinned is False
    people.pin(connection, "xyz", ONE, NOW)
    assert rights("xyz", SHOWN) == Rights(anywhere=True, here=True, revision=revision)
    for other in (CERTIFICATE._replace(serial="08"), CERTIFICATE._replace(issuer="CN=Another")):
        people.revoke_certificate(connection, other)
    assert rights("xyz", SHOWN).revoked is False
    assert rights("who", SHOWN) == rights("xyz\0", SHOWN) == Rights()
    people.revoke_certificate(connection, CERTIFICATE)
    assert rights("xyz", SHOWN).revoked is True
    assert rights("qrs", SHOWN._replace(fingerprint="of another encoding")).revoked is True
    assert rights("qrs", SHOWN._replace(serial="09")).revoked is False


def test_rights_are_one_statement_that_looks_everything_up_by_its_key(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'ibt.db'}")
    database.upgrade()
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    with database.reading() as connection:
        event.listen(database.engine, "before_cursor_execute", note)
        reads.rights(connection, "xyz", "IBT", SHOWN, 1)
    database.close()
    ((statement, parameters),) = [each for each in asked if each[0].startswith("SELECT")]
    with closing(sqlite3.connect(tmp_path / "ibt.db")) as plain:
        plan = [row[-1] for row in plain.execute(f"explain query plan {statement}", parameters)]
    assert len([step for step in plan if "SEARCH" in step]) == 5, plan
    assert [step for step in plan if "SCAN" in step] == ["SCAN CONSTANT ROW"]


# --- several at once --------------------------------------------------------------------------------------


def test_of_several_who_add_the_same_at_once_one_does(database: Database) -> None:
    begin = threading.Barrier(8)

    def add(_: int) -> bool:
        begin.wait()
        with database.updating() as connection:
            return people.add_user(connection, "new", NOW)

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(add, range(8))) == [False] * 7 + [True]
    with database.reading() as connection:
        assert [row.detail for row in rows(connection)] == ["added new"]


def await_waiting(database: Database) -> None:
    """Waits until another transaction waits for a lock; SQLite, which has one writer, tells nobody."""
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while not database.sqlite:
        with database.engine.connect() as watching:
            if watching.execute(text(waiting)).first():
                return


def test_a_load_waits_for_a_change_of_people_and_the_other_way_round(database: Database, tmp_path: Path) -> None:
    with database.updating() as connection:
        loading.load(connection, loading.read_market(write_market(tmp_path), NOW, Faults()))
    (tmp_path / "more").mkdir()
    write_market(tmp_path / "more", dict.fromkeys(SAMPLE) | {"users.csv": "user,customer_id,role\nnew,1,IBT\n"})
    added, loads = threading.Event(), threading.Event()

    def load() -> loading.Report:
        added.wait()
        loads.set()
        return loading.load_folder(database, tmp_path / "more", LATER, Faults())

    with ThreadPoolExecutor(1) as thread:
        loaded = thread.submit(load)
        with database.updating() as connection:
            people.add_user(connection, "new", NOW)
            people.grant(connection, "new", 1, "IBT", NOW)
            added.set()
            loads.wait()
            await_waiting(database)
        report = loaded.result()
    assert (report.users.added, report.grants.added) == (0, 0)
    with database.reading() as connection:
        assert ("new", 1, "IBT") in people.user_rows(connection)
