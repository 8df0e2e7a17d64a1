"""A backup of SQLite: what is in it, while updates go on; where it is refused; what is left behind."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from markets import write_market
from test_export import post, state

from ibt.cli import main
from ibt.rules.faults import Faults
from ibt.store import Database, Unusable, loading
from ibt.store import backup as keeping
from ibt.store.backup import NotMade, backup

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)

RECIPE = 'PostgreSQL, whose own programs make its backups: see "Backing up PostgreSQL" in docs/operate.md.'

#: No connection is made to it.
POSTGRESQL = "postgresql://ibt:secret@127.0.0.1:1/ibt"


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Database]:
    """The sample market in an SQLite of which a step copies one page."""
    folder = tmp_path / "market"
    folder.mkdir()
    with closing(opened(tmp_path / "ibt.db")) as database:
        database.upgrade()
        faults = Faults()
        loading.load_folder(database, write_market(folder), NOW, faults)
        assert faults.lines() == []
        yield database


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "STEP", 1)


def opened(file: Path) -> Database:
    return Database(f"sqlite:///{file}")


def url(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def names(folder: Path) -> set[str]:
    """What is in *folder*, but for the two files that SQLite keeps beside a database in use."""
    return {path.name for path in folder.iterdir()} - {"ibt.db-wal", "ibt.db-shm"}


def test_the_copy_is_a_database_with_all_that_was_there(market: Database, tmp_path: Path) -> None:
    size = backup(market, tmp_path / "copy.db")
    assert size == (tmp_path / "copy.db").stat().st_size
    assert names(tmp_path) == {"market", "ibt.db", "copy.db"}
    with closing(opened(tmp_path / "copy.db")) as copy:
        copy.check()
        assert state(copy) == state(market)


def test_the_copy_is_its_owners_alone(market: Database, tmp_path: Path) -> None:
    backup(market, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("small_steps")
def test_the_copy_is_of_one_moment_though_updates_come_between_its_steps(market: Database, tmp_path: Path) -> None:
    before = state(market)
    hours = count()
    with closing(Database(url(market))) as service:

        def update(_remaining: int) -> None:
            post(service, NOW, (1, 999999), [("Default", "ABC1")[next(hours) % 2]])

        backup(market, tmp_path / "copy.db", progress=update)
    assert next(hours) > 10
    assert state(market) != before
    with closing(opened(tmp_path / "copy.db")) as copy:
        assert state(copy) == before
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.usefixtures("small_steps")
def test_what_has_not_reached_the_file_of_the_database_yet_is_in_the_copy(market: Database, tmp_path: Path) -> None:
    with market.reading() as connection:  # which keeps the write-ahead log from being emptied
        connection.exec_driver_sql("SELECT count(*) FROM customer").one()
        post(market, NOW, (1, 999999), ["Default"])
        backup(market, tmp_path / "copy.db")
    with closing(opened(tmp_path / "copy.db")) as copy:
        assert state(copy) == state(market)


def test_tables_that_this_program_cannot_run_on_are_copied_too(market: Database, tmp_path: Path) -> None:
    with market.updating() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    backup(market, tmp_path / "copy.db")
    with closing(opened(tmp_path / "copy.db")) as copy, pytest.raises(Unusable, match="run ibt db upgrade"):
        copy.check()


@pytest.mark.usefixtures("small_steps")
def test_an_interrupted_backup_leaves_nothing_behind(market: Database, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        backup(market, tmp_path / "copy.db", progress=interrupted)
    assert names(tmp_path) == {"market", "ibt.db"}
    post(market, NOW, (1, 999999), ["Default"])


def interrupted(_remaining: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("small_steps")
def test_a_file_that_someone_made_meanwhile_is_left_alone(market: Database, tmp_path: Path) -> None:
    def write(_remaining: int) -> None:
        (tmp_path / "copy.db").write_text("mine")

    with pytest.raises(NotMade, match="is there already"):
        backup(market, tmp_path / "copy.db", progress=write)
    assert (tmp_path / "copy.db").read_text() == "mine"
    assert names(tmp_path) == {"market", "ibt.db", "copy.db"}


def test_a_disk_that_is_full_is_told_and_nothing_is_left_behind(market: Database, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    command = [sys.executable, "-m", "ibt", "backup", str(file), "--database", url(market)]
    least = 'ulimit -f 40; exec "$@"'  # the shell's unit is 512 bytes or 1024
    ran = subprocess.run(["sh", "-c", least, "sh", *command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"The database {url(market)} cannot be copied to {file}: ")
    assert len(ran.stderr.splitlines()) == 1
    assert names(tmp_path) == {"market", "ibt.db"}


# --- the command ----------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The command's exit status, and what it wrote on stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_tells_what_it_made(capsys: pytest.CaptureFixture[str], market: Database, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    status, out, err = run(capsys, "backup", file, "--database", url(market))
    assert (status, out, err) == (0, f"{file} has the database, {file.stat().st_size:,} bytes.\n", "")


def test_the_command_finds_the_database_in_the_environment_and_in_the_file_of_settings(
    capsys: pytest.CaptureFixture[str], market: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ibt.toml").write_text(f'database = "{url(market)}"\n')
    assert run(capsys, "backup", tmp_path / "one.db", "--config", tmp_path / "ibt.toml")[0] == 0
    monkeypatch.setenv("IBT_DATABASE", url(market))
    assert run(capsys, "backup", tmp_path / "two.db")[0] == 0


@pytest.mark.parametrize(
    ("file", "database", "told"),
    [
        ("there", "sqlite:///{folder}/ibt.db", "{folder}/there is there already: name a new file."),
        ("dangling", "sqlite:///{folder}/ibt.db", "{folder}/dangling is there already: name a new file."),
        ("new", "sqlite:///{folder}/no.db", "There is no database {folder}/no.db."),
        ("new", "sqlite:///{folder}/other.db", "{folder}/other.db is no database of ibt: it has no schema."),
        (
            "new",
            "sqlite:///{folder}/there",
            "The database sqlite:///{folder}/there cannot be copied to {folder}/new: file is not a database.",
        ),
        ("no/new", "sqlite:///{folder}/ibt.db", "There is no backup in {folder}/no/new: No such file or directory."),
        ("there/new", "sqlite:///{folder}/ibt.db", "There is no backup in {folder}/there/new: Not a directory."),
        (
            "new",
            POSTGRESQL,
            f"The database postgresql+psycopg://ibt:***@127.0.0.1:1/ibt is {RECIPE}",
        ),
        ("new", "mysql://ibt", "mysql is not a database that ibt knows: use sqlite or postgresql"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], market: Database, tmp_path: Path, file: str, database: str, told: str
) -> None:
    (tmp_path / "there").write_text("no database, and mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE other (id)")
    before = names(tmp_path)
    ran = run(capsys, "backup", tmp_path / file, "--database", database.format(folder=tmp_path))
    assert ran == (2, "", told.format(folder=tmp_path) + "\n")
    assert names(tmp_path) == before
    assert (tmp_path / "there").read_text() == "no database, and mine"


def test_the_recipe_that_the_refusal_names_is_on_the_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "operate.md"
    assert "\n## Backing up PostgreSQL\n" in page.read_text()
