"""`ibt audit`, and its page, whose `sh` blocks are run as they stand."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markets import write_market

from ibt.rules.faults import Faults
from ibt.store import Database, audit, loading
from ibt.store.audit import Deed

from .conftest import Command, on_a_terminal

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "audit.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
PATIENCE = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a database with the sample world and two refusals."""
    place = tmp_path / "place with blanks" / "ibt.db"
    (market := place.parent / "market").mkdir(parents=True)
    with closing(Database(f"sqlite:///{place}")) as database:
        database.upgrade()
        loading.load_folder(database, write_market(market), NOW, Faults())
        with database.updating() as connection:
            for customer_id in (1, 2):
                audit.append(connection, customer_id, Deed(kind="refusal", time=NOW, user_name="xyz", status=412))
    return place


@pytest.fixture
def operator(ibt: Command, file: Path) -> Command:
    """The command on that database."""
    return Command(ibt.capture, ibt.config, {"IBT_DATABASE": f"sqlite:///{file}"})


def tamper(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def listed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# The page -----------------------------------------------------------------------------------------------------


def test_the_page_is_followed_step_by_step(file: Path, tmp_path: Path) -> None:
    place, *blocks = BLOCKS
    assert place.startswith("DATABASE=")
    lines = [
        "set -eu",
        f"DATABASE='sqlite:///{file}'",
        *(block.replace("$DATABASE", '"$DATABASE"') for block in blocks),
    ]
    programs = f"{PROJECT / '.venv' / 'bin'}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh"],
        input="\n".join(lines),
        cwd=tmp_path,
        env=os.environ | {"PATH": programs},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "rows.jsonl has 6 rows of 4 chains.\n")
    header, *rest = ran.stdout.splitlines()
    assert header.startswith("customer_id,audit_number,time,kind")
    assert len(rest) == 3 + 4
    assert rest[-1] == "every hash is right"


def test_the_page_names_every_column_and_kind() -> None:
    columns = re.findall(r"^\| (`[a-z].*?) \|", PAGE, re.MULTILINE)
    named = {name for cell in columns for name in re.findall(r"`(\w+)`", cell)}
    assert named == {*audit.Entry._fields, "update", "refusal", "load", "users", "certificates"}


# list ---------------------------------------------------------------------------------------------------------


def test_rows_are_listed_as_csv_with_all_columns(operator: Command) -> None:
    ran = operator("audit", "list", "--customer", 1)
    assert (ran.status, ran.err) == (0, "")
    load, refusal = listed(ran.out)
    assert tuple(load) == audit.Entry._fields
    assert (load["kind"], load["versions_created"]) == ("load", "5")
    assert (refusal["kind"], refusal["status"], refusal["time"]) == ("refusal", "412", "2015-07-11T12:01:22Z")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 6),
        (("--kind", "refusal"), 2),
        (("--user", "xyz", "--customer", 2), 1),
        (("--since", "2015-07-11T12:01:23Z"), 0),
        (("--limit", 4), 4),
        (("--customer", 0), 1),
    ],
)
def test_rows_are_narrowed_down(operator: Command, options: tuple[object, ...], count: int) -> None:
    ran = operator("audit", "list", *options)
    assert (ran.status, len(listed(ran.out))) == (0, count)


def test_a_terminal_shows_a_table(file: Path) -> None:
    ran = on_a_terminal("audit", "list", folder=file.parent, variables={"IBT_DATABASE": f"sqlite:///{file}"})
    assert ran.status == 0
    header, *lines = ran.out.splitlines()
    assert header.split()[:4] == ["time", "customer_id", "audit_number", "kind"]
    assert len(lines) == 6
    assert "hash" not in header


def test_nobody_who_reads_on_is_no_failure(file: Path) -> None:
    script = f"{PROJECT / '.venv' / 'bin' / 'ibt'} audit list | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = os.environ | {"IBT_DATABASE": f"sqlite:///{file}"}
    ran = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert ran.stdout.splitlines()[-1] in {"0", "141"}  # where all was written before the reader ended
    assert ran.stderr == ""


# verify -------------------------------------------------------------------------------------------------------


def test_what_is_whole_is_told_in_numbers(operator: Command) -> None:
    ran = operator("audit", "verify")
    assert (ran.status, ran.out) == (0, "The audit is whole: 4 chains, 6 rows, 9 mapping versions.\n")


def test_what_is_not_whole_is_told_with_customer_and_row(operator: Command, file: Path) -> None:
    tamper(file, "update audit set status = 200 where customer_id = 2 and audit_number = 2")
    tamper(file, "delete from mapping_version where customer_id = 3 and month = 201508")
    ran = operator("audit", "verify")
    assert (ran.status, ran.err) == (1, "")
    assert ran.lines == [
        "customer 2, row 2: its hash is not that of what it says and of the row before it.",
        "customer 3, row 1: it made 2 mapping versions, and there are 1 of it.",
        "customer 3, contract 999999, 2015-08: the current mapping is not the last version.",
        "The audit is not whole.",
    ]
    assert operator("audit", "verify", "--customer", 1).status == 0


def test_a_hundred_faults_are_told(operator: Command, file: Path) -> None:
    with closing(Database(f"sqlite:///{file}")) as database, database.updating() as connection:
        for _ in range(101):
            audit.append(connection, 1, Deed(kind="refusal", time=NOW))
    tamper(file, "update audit set detail = 'other' where customer_id = 1")
    ran = operator("audit", "verify")
    assert (ran.status, len(ran.lines), ran.lines[-1]) == (1, 101, "The audit is not whole, and there is more.")


def test_what_is_removed_at_the_end_is_found_by_a_head(operator: Command, file: Path, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    head.write_text(operator("audit", "head").out)
    assert operator("audit", "verify", "--head", head).status == 0
    tamper(file, "delete from audit where customer_id = 1 and audit_number = 2")
    tamper(
        file,
        "update customer_state set audit_count = 1, audit_hash = "
        "(select hash from audit where customer_id = 1) where customer_id = 1",
    )
    assert operator("audit", "verify").status == 0
    ran = operator("audit", "verify", "--head", head)
    assert (ran.status, ran.lines[0]) == (1, "customer 1: row 2 is missing, by the head that was kept.")


def test_a_head_is_small_and_of_one_customer_where_that_is_asked(operator: Command) -> None:
    assert [head["customer_id"] for head in json.loads(operator("audit", "head").out)["heads"]] == [0, 1, 2, 3]
    (head,) = json.loads(operator("audit", "head", "--customer", 1).out)["heads"]
    assert (head["count"], head["older"]) == (2, 0)


def test_a_file_is_verified_without_a_database(operator: Command, ibt: Command, file: Path, tmp_path: Path) -> None:
    rows, head = tmp_path / "rows.jsonl", tmp_path / "head.json"
    head.write_text(operator("audit", "head").out)
    ran = operator("audit", "export", rows)
    assert (ran.status, ran.err) == (0, f"{rows} has 6 rows of 4 chains.\n")
    file.unlink()
    assert ibt("audit", "verify", rows, "--head", head).status == 0
    rows.write_text(rows.read_text().replace('"xyz"', '"qrs"'))
    ran = ibt("audit", "verify", rows)
    assert (ran.status, len(ran.lines)) == (1, 3)


# What cannot be -----------------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_command_is_one_sentence(operator: Command, ibt: Command, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    for arguments, told in (
        (("verify", "nowhere"), "It is not known whether the audit is whole: nowhere: No such file or directory."),
        (("verify", "text"), "text is not what ibt audit export of this version wrote."),
        (("verify", "--head", "nowhere"), "It is not known whether the audit is whole: nowhere: No such file"),
        (("verify", "--head", "text"), "text is not what ibt audit head writes."),
        (("verify", "."), "It is not known whether the audit is whole: .: Is a directory."),
        (("export", "nowhere/rows"), "nowhere/rows cannot be written: No such file or directory."),
        (("list", "--kind", "other"), "Invalid value for '--kind'"),
        (("list", "--since", "yesterday"), "Invalid value for '--since'"),
    ):
        ran = operator("audit", *arguments)
        assert (ran.status, ran.out) == (2, ""), arguments
        assert ran.err.startswith(told), ran.err
    ran = ibt("audit", "head", "--database", "sqlite:////nowhere/at/all/ibt.db")
    assert (ran.status, ran.out) == (2, "")
