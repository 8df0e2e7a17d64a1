"""
The tests' own PostgreSQL: made in a temporary folder, listening on 127.0.0.1 and on a socket in that folder.

Its texts are ordered by a human language of itself, so that what is ordered by code point is so by our doing.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

OLDEST = 15
MISSING = (
    f"The tests need PostgreSQL {OLDEST} or later, and its programs are not on this machine: "
    "install the package postgresql, with `make system` or `apt-get install postgresql`"
)

_STARTS_WITHIN_SECONDS = 60
_NAMES = (f"test_{number}" for number in count(1))

#: What makes a copy fast, which no test of durability may have.
_NOT_DURABLE = ("fsync=off", "full_page_writes=off")


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL that runs: its process, its port on 127.0.0.1, and who runs it, as Popen is told."""

    process: int
    port: int
    owner: Mapping[str, Any]  # Any: as Popen has it

    def url(self, name: str) -> str:
        """The URL of its database *name*."""
        return f"postgresql://ibt@127.0.0.1:{self.port}/{name}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database of its own, which is gone afterwards."""
        name = next(_NAMES)
        # Copying files is the faster strategy here: it needs a checkpoint, which costs little without fsync.
        self._tell(f"create database {name} template template0 strategy file_copy")
        try:
            yield self.url(name)
        finally:
            self._tell(f"drop database {name} with (force)")

    def _tell(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running(
    *, durable: bool = False, initdb: Sequence[str | Path] = (), configure: Sequence[str] = ()
) -> Iterator[Server]:
    """
    A PostgreSQL for as long as the block runs; commits survive a crash of the machine only where *durable*.

    *initdb* has more options for that program, *configure* more settings.
    """
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="ibt-postgresql-") as name:
        folder = Path(name)
        owner = {**the_owner(), "cwd": folder}
        if "user" in owner:
            os.chown(folder, owner["user"], owner["group"])
        cluster = folder / "cluster"
        _make_cluster(programs, cluster, owner, initdb)
        port = _free_port()
        settings = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}"]
        settings += [*(() if durable else _NOT_DURABLE), *configure]
        process = _started(programs, cluster, settings, owner)
        try:
            _await(process, port, folder / "log")
            yield Server(process.pid, port, owner)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_STARTS_WITHIN_SECONDS)


class Standby:
    """A copy of *primary* in *folder*, which follows it from `start` to `stop`, under the name `standby`."""

    def __init__(self, primary: Server, folder: Path) -> None:
        self._programs = _programs()
        self._owner = {**primary.owner, "cwd": folder}
        if "user" in self._owner:
            os.chown(folder, self._owner["user"], self._owner["group"])
        self._cluster = folder / "cluster"
        self._port = _free_port()
        self._settings = [f"port={self._port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        self._settings += [*_NOT_DURABLE, "cluster_name=standby"]
        self._process: subprocess.Popen[bytes] | None = None
        source = f"host=127.0.0.1 port={primary.port} user=ibt"
        command = [
            self._programs / "pg_basebackup",
            "-D",
            self._cluster,
            "-d",
            source,
            "-R",
            "-c",
            "fast",
            "--no-sync",
        ]
        subprocess.run(list(map(str, command)), check=True, **self._owner)

    def start(self) -> None:
        """Starts it; it answers then."""
        self._process = _started(self._programs, self._cluster, self._settings, self._owner)
        _await(self._process, self._port, self._cluster.parent / "log")

    def stop(self) -> None:
        """Stops it, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_STARTS_WITHIN_SECONDS)
            self._process = None


@contextmanager
def standby_of(primary: Server) -> Iterator[Standby]:
    """A standby of *primary* that does not run yet; it is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="ibt-standby-") as name:
        standby = Standby(primary, Path(name))
        try:
            yield standby
        finally:
            standby.stop()


def _started(
    programs: Path, cluster: Path, settings: Sequence[str], owner: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    """A server on *cluster*, which logs beside it."""
    options = [part for setting in settings for part in ("-c", setting)]
    with (cluster.parent / "log").open("ab") as log:
        return subprocess.Popen(
            [programs / "postgres", "-D", cluster, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests: they end it when they have ended
            preexec_fn=_end_with_the_tests,  # noqa: PLW1509 (nothing else runs yet that could hold a lock)
            **owner,
        )


def _programs() -> Path:
    """The folder of PostgreSQL's programs: where pg_ctl on the PATH lies, or Debian's newest. Fails without them."""
    on_path = shutil.which("pg_ctl")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    newest = max(folders, key=_version, default=None)
    if newest is None or _version(newest) < OLDEST:
        pytest.fail(MISSING, pytrace=False)
    return newest


def _version(folder: Path) -> int:
    """The major version of the server in *folder*; 0 where there is none."""
    try:
        told = subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r"\d+", told)
    return int(found[0]) if found else 0


def the_owner() -> dict[str, Any]:  # Any: as Popen has it
    """Who runs PostgreSQL, as Popen is told: we, or, as it refuses root, another user."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    if os.geteuid() != 0:
        return {"env": environment}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"env": environment, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _make_cluster(programs: Path, cluster: Path, owner: dict[str, Any], more: Sequence[str | Path]) -> None:
    language = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
    command: list[str | Path] = [
        programs / "initdb",
        "-D",
        cluster,
        "-U",
        "ibt",
        "--auth=trust",
        "--no-sync",
        *language,
        *more,
    ]
    made = subprocess.run(command, check=False, capture_output=True, text=True, **owner)
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _end_with_the_tests() -> None:
    """Has the kernel end PostgreSQL when the tests are gone without having done so."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGQUIT)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until PostgreSQL answers. Raises RuntimeError with its log where it never does."""
    for _ in range(_STARTS_WITHIN_SECONDS * 50):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="ibt", dbname="postgres").close()
        except psycopg.OperationalError:
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}")
