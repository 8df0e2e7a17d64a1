"""
The servers of the bench: the service, its floors, and a PostgreSQL whose commits are durable.

All listen on 127.0.0.1 and end with the block that started them.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import market
import psycopg
from load import Load, Measured, Request, Stream, measure
from market import Market

from ibt.store import Database

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import postgresql

FLOORS = Path(__file__).parent / "floors"


@dataclass(frozen=True)
class Server:
    """A server that runs: its port, its process, and the folder with the certificates that it trusts."""

    port: int
    process: int
    certificates: Path

    def stream(self, requests: Sequence[Request], connections: int = 8, status: int = 200, user: int = 1) -> Stream:
        """A stream of one user's requests."""
        certificate = self.certificates / "clients" / f"user{user}.pem"
        return Stream(str(certificate), requests, connections, status)

    def ask(
        self, *streams: Stream, seconds: float, warm_up: float = 0.5, database: int | None = None
    ) -> list[Measured]:
        """What comes back on each stream; *database* is the process of a PostgreSQL that works for this server."""
        processes = {"service": self.process} | ({} if database is None else {"database": database})
        return measure(Load(self.port, str(self.certificates / "ca.pem"), streams, seconds, warm_up, processes))

    def memory(self, field: str = "VmRSS") -> float:
        """Megabytes of the largest process of this server, now, or of its peak as `VmHWM`."""
        processes = [self.process, *_children(self.process)]
        sizes = [re.search(rf"{field}:\s*(\d+) kB", Path(f"/proc/{one}/status").read_text()) for one in processes]
        return max(int(size[1]) for size in sizes if size) / 1024


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@contextmanager
def running(certificates: Path, *command: str) -> Iterator[Server]:
    """A server in a process of its own, which says on its first line where it listens."""
    with (
        tempfile.TemporaryFile("w+") as log,  # it is written as in service, on a disk, and nobody reads it
        subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            found = re.search(r"(?:localhost|127\.0\.0\.1):(\d+)|ready (\d+)", ready)
            if not found:
                log.seek(0)
                raise RuntimeError(f"{' '.join(command)} did not start: {ready}{log.read()[-2000:]}")
            yield Server(int(found[1] or found[2]), process.pid, certificates)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            log.seek(0)
            for line in islice((line for line in log if '"level": "error"' in line), 3):
                print(f"the server told of an error: {line}", file=sys.stderr)


def service(certificates: Path, database: str, *options: str, workers: int = 1) -> list[str]:
    """The arguments of `python` that serve *database* with the certificates of that folder."""
    options = ("--workers", str(workers), *options)
    return ["-m", "ibt", *_arguments(certificates, database), *options]


def without_places(certificates: Path, database: str, *options: str, workers: int = 1) -> list[str]:
    """The same of a service that remembers totals alone: neither bytes nor where pages ended."""
    options = ("--remember", "0", "--workers", str(workers), *options)
    return [str(Path(__file__).parent / "without_places.py"), *_arguments(certificates, database), *options]


def _arguments(certificates: Path, database: str) -> list[str]:
    files = ("--server-certificate", str(certificates / "server.pem"), "--client-ca", str(certificates / "ca.pem"))
    return ["serve", "--port", "0", "--operator-port", "0", "--database", database, *files]


def static(certificates: Path, status: int, length: int, *, workers: int = 1, at_once: bool = False) -> list[str]:
    """The floor that answers at once: as any application may, or, *at_once*, without a task of its own."""
    way = "at-once" if at_once else "as-any"
    return [str(FLOORS / "static.py"), str(certificates), str(status), str(length), str(workers), way]


@dataclass(frozen=True)
class PostgreSQL:
    """A PostgreSQL that runs: its process, its port, and the folder of its programs."""

    process: int
    port: int
    programs: Path

    def url(self, name: str) -> str:
        """The URL of its database *name*."""
        return f"postgresql://ibt@127.0.0.1:{self.port}/{name}"

    def tell(self, *statements: str) -> None:
        """Has statements executed that are of no database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def built(self, name: str, of: Market) -> str:
        """The URL of a new database *name* that has that market."""
        self.tell(f"create database {name} template template0")
        database = Database(self.url(name), patience=math.inf)
        market.build(database, of)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
        database.close()
        return self.url(name)


#: As an operator sets a small server; durable, which it is of itself.
_SETTINGS = ("shared_buffers=512MB", "max_wal_size=4GB", "maintenance_work_mem=256MB", "checkpoint_timeout=30min")


@contextmanager
def durable_postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL with fsync, in a folder that goes with it."""
    kept, tempfile.tempdir = tempfile.tempdir, on_disk()
    try:
        with postgresql.running(durable=True, configure=_SETTINGS) as server:
            yield PostgreSQL(server.process, server.port, programs())
    finally:
        tempfile.tempdir = kept


def programs() -> Path:
    """The folder of PostgreSQL's programs."""
    return postgresql._programs()


def on_disk() -> str | None:
    """A folder for what is to be durable: /tmp may be memory."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None


def settled() -> None:
    """Waits a moment, in which what ended before lets go of the machine."""
    os.sync()
    time.sleep(0.2)
