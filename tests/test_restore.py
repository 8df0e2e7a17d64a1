"""
Backups under a stream of updates, restored as the operators' page says, and judged by the checker.

The page's `bash` blocks are those of its sections on backups: each is run here as it stands, in other places than
the page's. What is restored has each update that was done before the backup or the moment to go back to, none that
began later, and of those in between all up to one moment.

Clause 2.1. Readings 28, 41, 54.
"""

from __future__ import annotations

import math
import os
import pwd
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

import postgresql as the_tests_own
from audited import audit_faults, heads
from ibt.conformance.server import PATIENCE
from ibt.store import Database
from ibt.store.chains import ChainHead
from ibt.store.tables import mapping_version
from test_crash import CLIENTS, await_acknowledged, forget_acknowledged, posting
from traffic import CUSTOMERS, Poster, Running, checked, running, write_world

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "operate.md").read_text()

#: So many updates are acknowledged before a backup, and after it: more than can be under way.
ACKNOWLEDGED = 2 * CLIENTS

#: More than are ever posted in one of the two parts of a test.
_POSTED = 1600

_BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"^([A-Z_]+)=", re.MULTILINE)


# --- the page -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A section of the page, of which the first block names the places, and the places in the test."""

    title: str
    places: Mapping[str, str]
    environment: Mapping[str, str]

    def follow(self, part: str, **changes: str) -> None:
        """Runs the one block with *part* in it."""
        _, _, text = PAGE.partition(f"\n## {self.title}\n")
        named, *blocks = _BLOCK.findall(text.partition("\n## ")[0])
        assert set(_PLACE.findall(named)) <= self.places.keys()
        (block,) = (block for block in blocks if part in block)
        places = [f"{name}={shlex.quote(value)}" for name, value in {**self.places, **changes}.items()]
        ran = subprocess.run(
            ["sh", "-eu"],
            input="\n".join([*places, block]),
            cwd="/",
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


def test_every_block_is_run_here() -> None:
    source = Path(__file__).read_text()
    followed = re.findall(r"follow\(['\"](.*?)['\"][,)]", source)
    blocks = [block for block in _BLOCK.findall(PAGE) if not _PLACE.match(block)]
    assert [block for block in blocks if not any(part in block for part in followed)] == []


@pytest.mark.parametrize(
    ("kept", "succeeds"),
    [(None, True), ("new", True), ("other", False)],
    ids=["not kept yet", "kept already", "another one is kept by its name"],
)
def test_a_file_of_the_log_is_kept_once_and_replaces_none(tmp_path: Path, kept: str | None, succeeds: bool) -> None:
    (tmp_path / "new").write_text("new")
    if kept is not None:
        (tmp_path / "0001").write_text(kept)
    (command,) = re.findall(r"^alter system set archive_command = '(.*)';$", PAGE, re.MULTILINE)
    for name, text in {"%p": str(tmp_path / "new"), "%f": "0001", "$WAL": str(tmp_path)}.items():
        command = command.replace(name, text)
    ran = subprocess.run(["sh", "-c", command], check=False, capture_output=True)
    assert (ran.returncode == 0) is succeeds
    assert (tmp_path / "0001").read_text() == (kept or "new")
    assert {path.name for path in tmp_path.iterdir()} == {"new", "0001"}


# --- what is judged -------------------------------------------------------------------------------------------


def posters(first: int) -> list[Poster]:
    """Two for each customer, with subaccounts from that number on."""
    acknowledged = threading.Semaphore(0)
    return [
        Poster(
            f"poster {first + number}",
            CUSTOMERS[number % len(CUSTOMERS)],
            count(first + number, CLIENTS),
            acknowledged,
        )
        for number in range(CLIENTS)
    ]


def restored_subaccounts(url: str) -> set[str]:
    """The subaccounts in the histories of the restored database, by which updates are known."""
    with closing(Database(url)) as database, database.reading() as connection:
        return set(connection.scalars(select(mapping_version.c.subaccount_id).distinct()))


@dataclass(frozen=True)
class Moment:
    """When the state was taken that is restored: between two times on the posters' clock."""

    earliest: float
    latest: float

    def expected(self, posted: list[Poster], there: set[str]) -> list[Poster]:
        """The logs as the checker must find them: what is missing by right counts as refused."""
        logs = [each for poster in posted for each in poster.log]
        late = {each.subaccount_id for each in logs if each.began > self.latest}
        between = {each.subaccount_id for each in logs if each.began <= self.latest and each.ended >= self.earliest}
        missing = late | (between - there)
        return [
            replace(
                poster,
                log=[
                    replace(each, status=503) if each.acknowledged and each.subaccount_id in missing else each
                    for each in poster.log
                ],
            )
            for poster in posted
        ]


def torn(posted: list[Poster], there: set[str]) -> list[str]:
    """The updates that are missing, though they were done before one began that is there: it is not of one moment."""
    logs = [each for poster in posted for each in poster.log]
    last = max((each.began for each in logs if each.subaccount_id in there), default=-math.inf)
    return [str(each) for each in logs if each.acknowledged and each.ended < last and each.subaccount_id not in there]


def judge(sandbox: Running, url: str, posted: list[Poster], moment: Moment, kept: list[ChainHead]) -> None:
    """The restored database, whose audit passes through heads *kept* before, and that updates go on from there."""
    assert audit_faults(url, kept) == []
    there = restored_subaccounts(url)
    assert torn(posted, there) == []
    expected = moment.expected(posted, there)
    assert checked(sandbox.server, expected) == []
    later = posters(_POSTED + 1)
    with posting(sandbox, later, may={200, 400, 503}):
        await_more(later)
    assert checked(sandbox.server, [*expected, *later]) == []
    assert audit_faults(url, kept) == []


def await_more(posted: list[Poster]) -> None:
    """Waits until so many updates are acknowledged from now on that some of them begin later."""
    forget_acknowledged(posted)
    await_acknowledged(posted, ACKNOWLEDGED)


def stream(posted: list[Poster], moment: Moment) -> list[int]:
    """How many updates were acknowledged before *moment*, around it, and after."""
    logs = [each for poster in posted for each in poster.log if each.acknowledged]
    before = sum(each.ended < moment.earliest for each in logs)
    after = sum(each.began > moment.latest for each in logs)
    return [before, len(logs) - before - after, after]


# --- SQLite ---------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_backup_of_sqlite_made_under_load_is_restored_to_one_moment(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    world = write_world(tmp_path / "world", subaccounts=2 * _POSTED)
    places = {
        "AS_IBT": "",
        "PROGRAM": str(tmp_path / "program"),
        "STATE": str(folder),
        "BACKUP": "",
        "STOP_IBT": ":",  # it is stopped and started here
        "START_IBT": ":",
    }
    (tmp_path / "program").symlink_to(PROJECT / ".venv")
    section = Section("Backing up SQLite", places, {})
    posted = posters(1)
    url = f"sqlite:///{folder / 'ibt.db'}"
    moments: dict[str, tuple[Moment, list[ChainHead]]] = {}
    with running(folder, "--data", str(world)) as sandbox, posting(sandbox, posted):
        for name in ("one.db", "two.db"):
            await_more(posted)
            kept = heads(url)
            began = time.monotonic()
            section.follow('ibt" backup', BACKUP=str(tmp_path / name))
            moments[name] = Moment(began, time.monotonic()), kept
        await_more(posted)
    # It was killed, so the two files that SQLite keeps beside the database are there.
    assert (folder / "ibt.db-wal").exists()
    for name, (moment, kept) in moments.items():
        assert all(stream(posted, moment))
        section.follow("mktemp", BACKUP=str(tmp_path / name))
        with running(folder) as sandbox:
            judge(sandbox, url, posted, moment, kept)
            end(sandbox)


def end(sandbox: Running) -> None:
    """Ends it as an operator does."""
    sandbox.process.terminate()
    assert sandbox.process.wait(PATIENCE) == 0


# --- PostgreSQL -----------------------------------------------------------------------------------------------


@contextmanager
def places_of(server: the_tests_own.Server) -> Iterator[Section]:
    """The section on PostgreSQL for *server*, which ends with the block also where the page has started it anew."""
    process = Path(f"/proc/{server.process}")
    owner = pwd.getpwuid(process.stat().st_uid).pw_name
    programs = (process / "exe").resolve().parent
    options = (process / "cmdline").read_text().split("\0")[3:-1]
    with psycopg.connect(server.url("postgres")) as connection:
        ((cluster,),) = connection.execute("show data_directory").fetchall()
    folder = Path(cluster).parent
    control = f"pg_ctl -D {cluster}"
    for name, command in {
        "stop": f"{control} -m fast stop",
        "start": f"{control} -l {folder / 'log-anew'} -o {shlex.quote(' '.join(options))} start",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (folder / name).chmod(0o755)
    as_owner = f"runuser -u {owner} --" if os.geteuid() == 0 else ""
    places = {
        "AS_POSTGRES": as_owner,
        "CLUSTER": cluster,
        "WAL": str(folder / "kept" / "wal"),
        "BASE": str(folder / "kept" / "base"),
        "MOMENT": "",
        "STOP_POSTGRES": f"{as_owner} {folder / 'stop'}",
        "START_POSTGRES": f"{as_owner} {folder / 'start'}",
    }
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": "ibt",
        "PGDATABASE": "postgres",
    }
    try:
        yield Section("Backing up PostgreSQL", places, environment)
    finally:
        stop = [*shlex.split(as_owner), str(folder / "stop")]
        # It may not have come up: then there is nothing to stop.
        subprocess.run(stop, env=os.environ | environment, cwd="/", check=False, capture_output=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("to_a_moment", [True, False], ids=["to a moment", "to the end"])
def test_postgresql_is_brought_back(tmp_path: Path, to_a_moment: bool) -> None:
    world = write_world(tmp_path / "world", subaccounts=2 * _POSTED)
    posted = posters(1)
    with the_tests_own.running(durable=True) as server, places_of(server) as section:
        section.follow("archive_mode")
        section.follow("pg_stat_archiver")
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("create database restored template template0")
        url = server.url("restored")
        options = ("--data", str(world), "--database", url, "--workers", "2")
        with running(tmp_path / "sandbox", *options) as sandbox:
            with posting(sandbox, posted):
                await_more(posted)
                section.follow("pg_basebackup")
                section.follow("pg_archivecleanup")
                await_more(posted)
                kept = heads(url)
                text, moment = now(server)
                await_more(posted)
            if to_a_moment:
                section.follow("recovery.signal", MOMENT=text)
                assert all(stream(posted, moment))
            else:
                section.follow("recovery.signal")
                moment = Moment(math.inf, math.inf)
            judge(sandbox, url, posted, moment, kept)
            end(sandbox)


def now(server: the_tests_own.Server) -> tuple[str, Moment]:
    """The time of *server* as it reads it, and as the posters do."""
    earliest = time.monotonic()
    with psycopg.connect(server.url("postgres")) as connection:
        ((text,),) = connection.execute("select clock_timestamp()::text").fetchall()
    return text, Moment(earliest, time.monotonic())
