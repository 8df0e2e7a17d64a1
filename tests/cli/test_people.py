"""`ibt users` and `ibt certificates`: what they do and say, and that each change of theirs is in the audit."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cryptography.hazmat.primitives.serialization import Encoding
from markets import write_market
from sqlalchemy import delete, func, select
from typer.core import TyperGroup

import certificates
from cli.conftest import Command, Ran, on_a_terminal
from ibt.cli import app
from ibt.rules.faults import Faults
from ibt.service.access import serial_of
from ibt.store import Database, audit, loading, people, tables

NOW = datetime.now(UTC).replace(microsecond=0)
PEOPLE = (tables.users, tables.grants, tables.pins, tables.revoked)


@dataclass(frozen=True)
class Market:
    """The command on a database with the sample market, and certificates of its user xyz."""

    ibt: Command
    url: str
    mine: certificates.Issued
    next: certificates.Issued
    folder: Path

    def __call__(self, *arguments: object) -> Ran:
        return self.ibt(*arguments, IBT_DATABASE=self.url)

    def asked(self, question: Callable[[Any], Any]) -> Any:
        """What a question of the database is answered."""
        with closing(Database(self.url)) as database, database.reading() as connection:
            return question(connection)

    def people(self) -> list[list[Any]]:
        """What the tables hold that say who is let in."""
        return self.asked(lambda c: [sorted(map(tuple, c.execute(select(table)))) for table in PEOPLE])  # type: ignore[no-any-return]

    def audited(self) -> int:
        """How many rows the audit of the operators has."""
        mine = tables.audit.c.customer_id == audit.OPERATOR
        return int(
            self.asked(lambda c: c.execute(select(func.count()).select_from(tables.audit).where(mine)).scalar())
        )


@pytest.fixture(scope="module")
def url(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A database of each kind with the sample market."""
    with new_database() as url:
        with closing(Database(url)) as database:
            database.upgrade()
            folder = write_market(tmp_path_factory.mktemp("market"))
            with database.updating() as connection:
                loading.load(connection, loading.read_market(folder, NOW, Faults()))
        yield url


@pytest.fixture
def market(ibt: Command, url: str, tmp_path: Path) -> Iterator[Market]:
    """What is done to the people is undone at the end."""
    authority = certificates.root("Ours", tmp_path)
    market = Market(ibt, url, authority.client("xyz"), authority.client("xyz"), tmp_path)
    before = market.people()
    yield market
    with closing(Database(url)) as database, database.updating() as connection:
        for table in reversed(PEOPLE):
            connection.execute(delete(table))
        for table, found in zip(PEOPLE, before, strict=True):
            for row in found:
                connection.execute(table.insert().values(row))


# --- users ------------------------------------------------------------------------------------------------


def test_a_user_is_let_in_and_shut_out_again(market: Market) -> None:
    told = [
        market("users", "add", "new", "--customer", 1, "--customer", "2"),
        market("users", "add", "new", "--customer", "1"),
        market("users", "grant", "new", "3"),
        market("users", "grant", "new", "3"),
        market("users", "list", "--customer", "3"),
        market("users", "revoke", "new", "2"),
        market("users", "revoke", "new", "2"),
        market("users", "remove", "new"),
    ]
    assert [(ran.status, ran.err) for ran in told] == 8 * [(0, "")]
    assert [ran.out for ran in told] == [
        "Added the user new.\nGranted new the role IBT at customer 1.\nGranted new the role IBT at customer 2.\n",
        "new is a user already.\nnew has the role IBT at customer 1 already.\n",
        "Granted new the role IBT at customer 3.\n",
        "new has the role IBT at customer 3 already.\n",
        "user,customer_id,role\nboth,3,VIEW\nnew,3,IBT\n",
        "new no longer has the role IBT at customer 2.\n",
        "new does not have the role IBT at customer 2: nothing was changed.\n",
        "Removed the user new, with every role and pin.\n",
    ]


def test_a_user_without_a_role_and_a_role_that_lets_nobody_in_are_told_of(market: Market) -> None:
    assert market("users", "add", "new").out.splitlines()[1] == (
        "They have no role yet: ibt users grant gives them one."
    )
    assert market("users", "grant", "new", "1", "--role", "VIEW").out == (
        "Granted new the role VIEW at customer 1.\nOnly the role IBT lets anyone in.\n"
    )
    assert market("users", "revoke", "new", "1").out.startswith("new does not have the role IBT at customer 1")
    assert market("users", "revoke", "new", "1", "--role", "VIEW").out.startswith("new no longer has the role VIEW")


def test_the_list_of_users_is_a_users_csv(market: Market, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "users.csv").write_text(market("users", "list").out)
    before = market.people()
    ran = market("load", tmp_path / "again")
    assert (ran.status, market.people()) == (0, before)
    assert "nobody,," in (tmp_path / "again" / "users.csv").read_text()


def test_on_a_terminal_the_lists_are_tables(market: Market, tmp_path: Path) -> None:
    market("certificates", "pin", "xyz", market.mine.pem)
    shown = {
        name: on_a_terminal(name, "list", folder=tmp_path, variables={"IBT_DATABASE": market.url}).out
        for name in ("users", "certificates")
    }
    assert shown["users"].splitlines()[0].split() == ["user", "customer_id", "role"]
    assert ["xyz", "1", "IBT"] in [line.split() for line in shown["users"].splitlines()]
    assert market.mine.fingerprint in shown["certificates"]


# --- certificates -----------------------------------------------------------------------------------------


def test_a_user_is_pinned_to_a_certificate_by_its_file_or_its_fingerprint(market: Market) -> None:
    mine, following = market.mine, market.next
    printed = ":".join(following.fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    der = market.folder / "mine.der"
    der.write_bytes(mine.certificate.public_bytes(Encoding.DER))
    what = f"the certificate with SHA-256 fingerprint {mine.fingerprint}"
    told = [
        market("certificates", "pin", "xyz", mine.pem),
        market("certificates", "pin", "xyz", der),
        market("certificates", "pin", "xyz", printed),
        market("certificates", "unpin", "xyz", der),
        market("certificates", "unpin", "xyz", mine.fingerprint),
        market("certificates", "unpin", "xyz", following.pem),
    ]
    only = "xyz is let in by pinned certificates only."
    assert [(ran.status, ran.err) for ran in told] == 6 * [(0, "")]
    assert [ran.lines for ran in told] == [
        [f"Pinned xyz to {what}.", only],
        [f"xyz is pinned to {what} already.", only],
        [f"Pinned xyz to the certificate with SHA-256 fingerprint {following.fingerprint}.", only],
        [f"xyz is no longer pinned to {what}.", only],
        [f"xyz was not pinned to {what}.", only],
        [
            f"xyz is no longer pinned to the certificate with SHA-256 fingerprint {following.fingerprint}.",
            "xyz is let in by every certificate of this name that a trusted authority signed.",
        ],
    ]


def test_a_certificate_comes_on_stdin_too(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin(io.StringIO):
        buffer = io.BytesIO(market.mine.pem.read_bytes())

    monkeypatch.setattr(io, "StringIO", Stdin)  # what the command gets as stdin
    assert market.mine.fingerprint in market("certificates", "pin", "xyz", "-").out


HEADER = "state,user,subject,issuer,serial,fingerprint,since"


def test_a_certificate_is_revoked_by_its_file_or_by_issuer_and_serial_number(market: Market) -> None:
    serial = serial_of(market.mine.certificate.serial_number)
    what = f'he certificate with serial number {serial} of "CN=Ours"'
    by_number = ("--serial", f"{market.mine.certificate.serial_number:X}", "--issuer", "CN=Ours")
    told = [
        market("certificates", "revoke", market.mine.pem),
        market("certificates", "revoke", market.mine.pem),
        market("certificates", "revoke", *by_number),
        market("certificates", "list"),
        market("certificates", "revoke", *by_number, "--undo"),
        market("certificates", "revoke", market.mine.pem, "--undo"),
        market("certificates", "revoke", *by_number),
    ]
    assert [(ran.status, ran.err) for ran in told] == 7 * [(0, "")]
    (since,) = {line.rpartition(",")[2] for line in told[3].lines[1:]}
    assert NOW - timedelta(seconds=1) <= datetime.fromisoformat(since)
    assert [ran.out for ran in told] == [
        f"Revoked t{what}.\n",
        f"T{what} is revoked already.\n",
        f"T{what} is revoked already.\n",
        f'{HEADER}\nrevoked,,"CN=xyz,O=Door",CN=Ours,{serial},{market.mine.fingerprint},{since}\n',
        f"T{what} counts again.\n",
        f"T{what} was not revoked.\n",
        f"Revoked t{what}.\n",
    ]


# --- what is wrong ----------------------------------------------------------------------------------------

REVOKE = ("certificates", "revoke")

NO_FINGERPRINT = "A fingerprint does not do here: give the certificate's file, or both --serial and --issuer."

MISTAKES: Mapping[str, tuple[Sequence[str], str]] = {
    "an unknown user": (("users", "grant", "who", "1"), 'There is no user "who": ibt users add makes one'),
    "nobody to remove": (("users", "remove", "who"), 'There is no user "who"'),
    "an unknown customer": (("users", "grant", "xyz", "4"), "There is no customer 4: ibt load brings customers."),
    "an unknown customer to add to": (("users", "add", "new", "--customer", "4"), "There is no customer 4"),
    "an unknown customer to list": (("users", "list", "--customer", "4"), "There is no customer 4"),
    "a customer that cannot be": (("users", "grant", "xyz", "0"), "Invalid value for 'CUSTOMER': "),
    "a name that cannot be": (("users", "add", "x y"), '"x y" cannot be the name of a user: it must be 1 to 64'),
    "no certificate": (("certificates", "pin", "xyz", "FOLDER/none.pem"), '"FOLDER/none.pem" is no file, and no SHA'),
    "no fingerprint": (("certificates", "unpin", "xyz", "ab:cd"), '"ab:cd" is no file, and no SHA-256 fingerprint'),
    "far too long a fingerprint": (
        ("certificates", "unpin", "xyz", 5000 * "a"),
        f'"{100 * "a"}"... is no file',
    ),
    "a folder": (("certificates", "pin", "xyz", "FOLDER"), "FOLDER cannot be read: Is a directory."),
    "a text": (
        ("certificates", "pin", "xyz", "FOLDER/text"),
        "FOLDER/text holds no certificate: it must be there as",
    ),
    "a key": (("certificates", "pin", "xyz", "FOLDER/key"), "FOLDER/key holds no certificate"),
    "another's certificate": (
        ("certificates", "pin", "xyz", "FOLDER/qrs"),
        'FOLDER/qrs has a certificate of "qrs", by which xyz is not let in: pin one of their own.',
    ),
    "a certificate of two": (
        ("certificates", "pin", "xyz", "FOLDER/two"),
        'FOLDER/two has a certificate of "xyz" and',
    ),
    "an old certificate": (
        ("certificates", "pin", "xyz", "FOLDER/old"),
        "FOLDER/old has a certificate that ended on",
    ),
    "nothing to revoke": (REVOKE, "Which certificate? Give its file, or both --serial and --issuer."),
    "a number alone": ((*REVOKE, "--serial", "7"), "Which certificate?"),
    "an issuer alone": ((*REVOKE, "--issuer", "CN=Ours"), "Which certificate?"),
    "a file and a number": ((*REVOKE, "FOLDER/qrs", "--serial", "7", "--issuer", "CN=Ours"), "Which certificate?"),
    "a fingerprint to revoke": ((*REVOKE, ":".join(32 * ["AB"])), NO_FINGERPRINT),
    "no file to revoke": ((*REVOKE, "FOLDER/none.pem"), "FOLDER/none.pem cannot be read: No such file or directory."),
    "no number": ((*REVOKE, "--serial", "x7", "--issuer", "CN=Ours"), '"x7" is no serial number: write it in hexa'),
    "no name": ((*REVOKE, "--serial", "7", "--issuer", "Ours"), '"Ours" is no name of an issuer: write it as the'),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_wrong_is_told_in_a_sentence_and_changes_nothing(
    market: Market, arguments: Sequence[str], told: str
) -> None:
    folder = market.folder
    authority = certificates.root("Ours", folder)
    for name, issued in {
        "qrs": authority.client("qrs"),
        "two": authority.client("xyz", "qrs"),
        "old": authority.client("xyz", begin=NOW - timedelta(days=9), end=NOW - timedelta(days=1)),
    }.items():
        issued.pem.rename(folder / name)
    (folder / "text").write_text("no certificate")
    (folder / "key").write_bytes((folder / "qrs").read_bytes().partition(b"-----BEGIN CERT")[0])
    before = market.people(), market.audited()
    ran = market(*(argument.replace("FOLDER", str(folder)) for argument in arguments))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.replace(str(folder), "FOLDER").startswith(told)
    assert ran.err.count("\n") == 1
    assert (market.people(), market.audited()) == before


def test_a_database_that_is_away_is_told(ibt: Command, tmp_path: Path) -> None:
    for arguments in (("users", "list"), ("users", "remove", "xyz"), ("certificates", "list")):
        ran = ibt(*arguments, "--database", f"sqlite:///{tmp_path}/none.db")
        assert (ran.status, ran.out) == (2, "")
        assert "has no schema: run ibt db upgrade" in ran.err
        assert ibt(*arguments).err.startswith("database is not set: give --database")


# --- the audit --------------------------------------------------------------------------------------------

#: A use of each command that changes something, in an order in which it does.
CHANGES: Mapping[tuple[str, str], Sequence[Sequence[object]]] = {
    ("users", "add"): [("new",), ("another", "--customer", 1)],
    ("users", "grant"): [("new", 2)],
    ("certificates", "pin"): [("new", "ab" * 32)],
    ("certificates", "unpin"): [("new", "ab" * 32)],
    ("certificates", "revoke"): [
        ("--serial", "07", "--issuer", "CN=Ours"),
        ("--serial", "07", "--issuer", "CN=Ours", "--undo"),
    ],
    ("users", "revoke"): [("new", 2)],
    ("users", "remove"): [("new",)],
    ("users", "list"): [()],
    ("certificates", "list"): [()],
}


def test_no_command_changes_people_without_a_row_in_the_audit(market: Market) -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    groups = {name: command.commands[name] for name in ("users", "certificates")}
    there = {(name, each) for name, group in groups.items() for each in group.commands}  # type: ignore[attr-defined]
    assert there == CHANGES.keys()
    for words, uses in CHANGES.items():
        for use in uses:
            before, count = market.people(), market.audited()
            assert market(*words, *use).status == 0
            changed = market.people() != before
            assert changed == (words[1] != "list")
            assert (market.audited() > count) == changed


def test_the_row_and_the_change_are_one_transaction(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Exception):
        pass

    def append(*_: object) -> int:
        raise Broken

    monkeypatch.setattr(audit, "append", append)
    before = market.people()
    with closing(Database(market.url)) as database:
        for change in (
            lambda connection: people.add_user(connection, "new", NOW),
            lambda connection: people.remove_user(connection, "xyz", NOW),
            lambda connection: people.grant(connection, "xyz", 2, "IBT", NOW),
        ):
            with pytest.raises(Broken), database.updating() as connection:
                change(connection)
    assert market.people() == before


def test_the_row_says_who_ran_the_command_and_where(market: Market) -> None:
    market("users", "grant", "xyz", "2")
    mine = tables.audit.c.customer_id == audit.OPERATOR
    last = select(tables.audit).where(mine).order_by(tables.audit.c.audit_number.desc()).limit(1)
    row = market.asked(lambda connection: connection.execute(last).one())
    here = audit.by_operator("users", NOW)
    assert (row.kind, row.detail) == ("users", "granted xyz the role IBT at customer 2")
    assert (row.user_name, row.address, row.subject) == (here.user_name, here.address, "")
    assert NOW - timedelta(seconds=1) <= row.time <= datetime.now(UTC)
