"""
`ibt sandbox` as its user meets it: a process, a folder, certificates, HTTPS.

Readings 64, 67, 68.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ibt.sandbox import pki
from ibt.sandbox import sandbox as module

PATIENCE = 60.0
WORLD = {
    "customers.csv": "customer_id,name\n7,Seven Inc\n8,Eight Inc\n",
    "subaccounts.csv": "customer_id,subaccount_id,begin,end,name,status\n",
    "contracts.csv": (
        "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status\n"
        "70,,ENERGY DAY AHEAD,4000,7,8,2015-01-01T05:00:00Z,2015-03-01T05:00:00Z,Conf\n"
    ),
    "users.csv": "user,customer_id,role\nseven,7,IBT\neight,8,IBT\n",
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return written(tmp_path / "world", WORLD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a sandbox that is not there yet, and neither are those above it."""
    return tmp_path / "not" / "yet" / "sandbox"


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def command(folder: Path, *options: str | Path) -> list[str]:
    return [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0", *map(str, options)]


@dataclass
class Running:
    """A sandbox that serves: its process, its base URL, and what it says when it has ended."""

    process: subprocess.Popen[str]
    url: str
    out: str = ""
    err: str = ""

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the sandbox; returns its exit status."""
        self.process.send_signal(how)
        self.out, self.err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def ready_and_guide(self) -> list[str]:
        """The lines on stderr until all that was to be said when it was ready is said."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line.rstrip("\n"))
            if "begin anew" in line and "Ctrl-C" in line:
                break
        return lines


@contextmanager
def running(folder: Path, *options: str | Path) -> Iterator[Running]:
    process = subprocess.Popen(
        command(folder, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), process.stderr.read()
        yield Running(process, ready.removeprefix("ready: ").strip())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def started(folder: Path, *options: str | Path) -> Running:
    """Starts a sandbox and ends it as soon as it serves; it must end well."""
    with running(folder, *options) as sandbox:
        assert sandbox.end() == 0, sandbox.err
    return sandbox


def refused(folder: Path, *options: str | Path) -> list[str]:
    """Starts a sandbox that must not come to serve: its lines on stderr."""
    ended = subprocess.run(
        command(folder, *options), capture_output=True, text=True, timeout=PATIENCE, check=False, encoding="utf-8"
    )
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def users(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "clients").glob("*.pem"))


def rest_of(tmp_path: Path) -> set[str]:
    """What there is beside the world."""
    return {path.name for path in tmp_path.iterdir()} - {"world"}


# --- a first start -----------------------------------------------------------------------------------------


def test_a_first_start_makes_the_folder_and_says_where_it_serves(folder: Path, world: Path) -> None:
    sandbox = started(folder, "--data", world)
    port = int(sandbox.url.removeprefix("https://localhost:").partition("/")[0])
    assert sandbox.url == f"https://localhost:{port}/sms_oper_contract/api/customers"
    assert sandbox.out == ""  # nothing after the first line
    assert set(contents(folder)) == {
        "ca.pem",
        "ca-key.pem",
        "server.pem",
        "ibt.db",
        "lock",
        "sample-post.xml",
        *(f"clients/{user}.{kind}" for user in ("seven", "eight") for kind in ("pem", "p12")),
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ca-key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_told_to(folder: Path, world: Path, how: signal.Signals) -> None:
    with running(folder, "--data", world) as sandbox:
        assert sandbox.end(how) == 0, sandbox.err
    assert "Traceback" not in sandbox.err


def test_without_a_folder_it_lies_in_the_users_data(
    tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    script = command(Path("unused"), "--data", world)
    del script[4:6]
    ended = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert ended.stdout is not None
    with ended, closing(ended.stdout):
        assert ended.stdout.readline().startswith("ready: ")
        ended.terminate()
    assert list(tmp_path.rglob("ibt/sandbox/ca.pem"))


def test_the_frozen_clock_is_not_that_of_certificates(folder: Path, world: Path) -> None:
    started(folder, "--data", world, "--now", "2015-07-11T12:01:22Z")
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert certificate.not_valid_before_utc > datetime.now(UTC) - timedelta(hours=1)


def test_an_empty_folder_is_used_as_it_is(tmp_path: Path, world: Path) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    started(folder, "--data", world)
    assert users(folder) == ["eight", "seven"]
    assert (folder / "mine.txt").read_text() == "mine"


def test_what_it_prints_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "it's a sandbox"
    with running(folder, "--now", "2015-07-11T12:01:22Z") as sandbox:
        lines = [line for line in sandbox.ready_and_guide() if line.startswith("curl ")]
        answers = [
            subprocess.run(
                ["sh", "-c", f"{line} --silent --show-error --fail"], capture_output=True, text=True, check=True
            ).stdout
            for line in lines
        ]
        assert sandbox.end() == 0
    subaccounts, mappings, mapping, update = answers
    assert "<subaccount_name>ABC1 activity</subaccount_name>" in subaccounts
    assert "<total_record_count>2</total_record_count>" in mappings
    assert "<contract_id>999999</contract_id>" in mapping
    assert "<version>2015-07-11T12:01:22Z</version>" in update


@pytest.mark.parametrize("kind", ["pem", "p12"])
def test_curl_takes_either_file_of_a_user(folder: Path, world: Path, kind: str) -> None:
    certificate = folder / "clients" / f"seven.{kind}"
    with running(folder, "--data", world) as sandbox:
        asked = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(folder / "ca.pem")]
        asked += ["--cert-type", kind.upper(), "--cert", f"{certificate}:sandbox", f"{sandbox.url}/7/subaccounts"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "<subaccount_id>Default</subaccount_id>" in answer.stdout, answer.stderr


def test_a_host_that_is_not_localhost_is_in_the_certificate_and_told(folder: Path, world: Path) -> None:
    with running(folder, "--data", world, "--host", "127.0.0.2") as sandbox:
        assert sandbox.url.startswith("https://localhost:")
        other = sandbox.url.replace("localhost", "127.0.0.2")
        assert any(other in line for line in sandbox.ready_and_guide())
        asked = ["curl", "--silent", "--show-error", "--cacert", str(folder / "ca.pem"), "--output", "-", other]
        assert subprocess.run(asked, capture_output=True, check=False).returncode == 0


# --- a start that fails or is interrupted ------------------------------------------------------------------


def test_each_fault_of_the_data_is_a_line_and_nothing_is_made(tmp_path: Path, folder: Path, world: Path) -> None:
    written(world, {"users.csv": "user,customer_id,role\nseven,77,IBT\n.hidden,7,IBT\n"})
    lines = refused(folder, "--data", world)
    assert len(lines) == 2
    assert "users.csv, line 2" in lines[0]
    assert '"77"' in lines[0]
    assert "users.csv, line 3" in lines[1]
    assert rest_of(tmp_path) == set()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, folder: Path) -> None:
    (line,) = refused(folder, "--data", tmp_path / "nowhere")
    assert "nowhere" in line
    assert rest_of(tmp_path) == set()


def test_a_folder_that_was_there_is_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    refused(folder, "--data", tmp_path / "nowhere")
    assert list(folder.iterdir()) == []


def test_a_port_in_use_comes_before_anything_else(tmp_path: Path, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = refused(folder, "--port", str(port), "--data", tmp_path / "nowhere")
    assert f"Port {port}" in line
    assert "--port" in line
    assert rest_of(tmp_path) == set()


@pytest.mark.parametrize(
    "database", ["nonsense", "sqlite:////nowhere/at/all/ibt.db", "postgresql://user:secret@127.0.0.1:1/ibt"]
)
def test_an_unusable_database_is_told_in_one_sentence(
    tmp_path: Path, folder: Path, world: Path, database: str
) -> None:
    (line,) = refused(folder, "--data", world, "--database", database)
    assert "secret" not in line
    assert rest_of(tmp_path) == set()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (line,) = refused(tmp_path / "file")
    assert "is a file" in line
    (line,) = refused(tmp_path / "file" / "sandbox")
    assert str(tmp_path / "file" / "sandbox") in line


def test_a_place_where_nothing_can_be_made_is_told() -> None:
    (line,) = refused(Path("/proc/sandbox"))
    assert "cannot be made or read in /proc/sandbox" in line


@contextmanager
def interrupted(folder: Path, world: Path, database: Path, how: signal.Signals) -> Iterator[subprocess.Popen[str]]:
    """
    A start that was sent *how* while it was making the sandbox.

    It is held there by a lock on its database, and let go after the signal.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode = WAL")
        holder.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(
            command(folder, "--data", world, "--database", f"sqlite:///{database}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None and not list(database.parent.glob(".ibt-sandbox-*/*/*/lock")):
            continue
        process.send_signal(how)
    with process:
        process.wait(PATIENCE)
        yield process
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, folder: Path, world: Path, how: signal.Signals) -> None:
    with interrupted(folder, world, tmp_path / "other.db", how) as process:
        assert process.returncode == 130
        assert process.stderr is not None
        assert process.stderr.read() == "Ended before it served.\n"
    assert {name for name in rest_of(tmp_path) if not name.startswith("other.db")} == set()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_is_lost_while_an_object_is_freed_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    complete, told_of_lost = module._complete, sys.unraisablehook

    class Freed:
        def __del__(self) -> None:
            os.kill(os.getpid(), how)
            time.sleep(0.01)  # in which the signal is noticed, and what it raises is lost

    def interrupted_within(*arguments: Any) -> None:
        complete(*arguments)
        Freed()

    monkeypatch.setattr(module, "_complete", interrupted_within)
    options = module.Options(tmp_path / "sandbox", None, "localhost", 0, None, None, 1, fresh=False)
    with pytest.raises(KeyboardInterrupt):
        module.serve_sandbox(options, announce=print, tell=print)
    assert list(tmp_path.iterdir()) == []
    assert sys.unraisablehook is told_of_lost


def test_a_killed_start_leaves_no_half_sandbox(tmp_path: Path, folder: Path, world: Path) -> None:
    with interrupted(folder, world, tmp_path / "other.db", signal.SIGKILL) as process:
        assert process.returncode == -signal.SIGKILL
    assert not folder.parent.parent.exists()
    started(folder, "--data", world, "--database", f"sqlite:///{tmp_path / 'other.db'}")
    assert users(folder) == ["eight", "seven"]


# --- a later start -----------------------------------------------------------------------------------------


def test_a_second_start_keeps_every_file(folder: Path, world: Path) -> None:
    started(folder, "--data", world)
    before = contents(folder)
    assert "ignored" not in started(folder).err
    assert contents(folder) == before


def test_data_are_ignored_where_data_are(folder: Path, world: Path, tmp_path: Path) -> None:
    started(folder, "--data", world)
    before = contents(folder)
    assert "is ignored, as the data are there" in started(folder, "--data", tmp_path / "nowhere").err
    assert contents(folder) == before


@pytest.mark.parametrize("lost", ["ibt.db", "ca.pem", "server.pem", "clients", "sample-post.xml", "lock"])
def test_what_is_lost_is_made_again(folder: Path, world: Path, lost: str) -> None:
    started(folder, "--data", world)
    before = set(contents(folder))
    shutil.rmtree(folder / lost) if (folder / lost).is_dir() else (folder / lost).unlink()
    started(folder, "--data", world)
    assert set(contents(folder)) == before


def test_certificates_near_their_end_are_renewed_at_a_start(folder: Path, world: Path) -> None:
    started(folder, "--data", world)
    past = datetime.now(UTC) - timedelta(days=380)
    issuer = pki.authority(folder, past)
    shutil.rmtree(folder / "clients")
    pki.client_certificates(folder, issuer, ["seven", "eight"], past)
    before = contents(folder)
    started(folder)
    changed = {name for name, content in contents(folder).items() if before[name] != content}
    assert changed == {f"clients/{user}.{kind}" for user in ("seven", "eight") for kind in ("pem", "p12")}


def test_a_damaged_key_is_told_and_mended_by_beginning_anew(folder: Path, world: Path) -> None:
    started(folder, "--data", world)
    (folder / "ca-key.pem").write_text("nothing of the kind")
    (line,) = refused(folder)
    assert str(folder / "ca-key.pem") in line
    started(folder, "--data", world, "--fresh")


def test_first_starts_at_one_time_share_what_one_of_them_makes(folder: Path, world: Path) -> None:
    starts = [
        subprocess.Popen(command(folder, "--data", world), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for start in starts:
        assert start.stdout is not None
        assert start.stdout.readline().startswith("ready: ")
        start.terminate()
    for start in starts:
        start.communicate(timeout=PATIENCE)
        assert start.returncode == 0
    assert users(folder) == ["eight", "seven"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_sandboxes_share_a_folder(folder: Path, world: Path) -> None:
    with running(folder, "--data", world) as first, running(folder) as second:
        assert first.url != second.url
        assert second.end() == 0
        assert first.end() == 0


# --- beginning anew ----------------------------------------------------------------------------------------


def test_beginning_anew_makes_everything_anew_and_spares_what_is_not_its_own(folder: Path, world: Path) -> None:
    started(folder, "--data", world)
    before = contents(folder)
    for mine in (folder / "mine.txt", folder / "clients" / "mine.pem"):
        mine.write_text("mine")
    written(world, {"users.csv": "user,customer_id,role\nseven,7,IBT\nnine,,\n"})
    started(folder, "--data", world, "--fresh")
    after = contents(folder)
    assert users(folder) == ["mine", "nine", "seven"]
    assert after["mine.txt"] == after["clients/mine.pem"] == b"mine"
    for name in ("ca.pem", "ca-key.pem", "server.pem", "clients/seven.pem"):
        assert after[name] != before[name]
    assert "clients/eight.p12" not in after


def test_bad_data_keep_what_is_there_from_being_begun_anew(folder: Path, world: Path, tmp_path: Path) -> None:
    started(folder, "--data", world)
    before = contents(folder)
    refused(folder, "--data", tmp_path / "nowhere", "--fresh")
    assert contents(folder) == before


def test_a_folder_in_use_is_not_begun_anew(folder: Path, world: Path) -> None:
    with running(folder, "--data", world) as first:
        before = contents(folder)
        (line,) = refused(folder, "--data", world, "--fresh")
        assert "in use" in line
        assert contents(folder) == before
        assert first.end() == 0
    started(folder, "--data", world, "--fresh")


# --- another database --------------------------------------------------------------------------------------


def test_users_come_from_the_database_that_is_named(tmp_path: Path, world: Path) -> None:
    database = f"sqlite:///{tmp_path / 'other.db'}"
    started(tmp_path / "one", "--data", world, "--database", database)
    sandbox = started(tmp_path / "two", "--data", world, "--database", database)
    assert "is ignored" in sandbox.err
    assert users(tmp_path / "one") == users(tmp_path / "two") == ["eight", "seven"]
    assert not (tmp_path / "two" / "ibt.db").exists()


def test_beginning_anew_clears_and_loads_the_database_that_is_named(
    tmp_path: Path, folder: Path, world: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'other.db'}"
    started(folder, "--data", world, "--database", database)
    written(world, {"users.csv": "user,customer_id,role\nnine,7,IBT\n"})
    started(folder, "--data", world, "--database", database, "--fresh")
    assert users(folder) == ["nine"]


def test_bad_data_make_no_tables_in_the_database_that_is_named(tmp_path: Path, folder: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")):
        refused(folder, "--data", tmp_path / "nowhere", "--database", f"sqlite:///{tmp_path / 'other.db'}")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    assert not folder.exists()
