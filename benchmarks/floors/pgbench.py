"""
The floor on PostgreSQL: pgbench with the statements that the service itself asks.

They are not written here: the service answers a request in this process, its statements are noted as the driver gets
them, and become a script of pgbench. Each is prepared once for each connection, as the service's driver does.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import structlog

from ibt.service.app import Application
from ibt.service.limits import Limits
from ibt.store import Database

#: What must be another in each transaction, since it is a key: the number of the row of the audit. Each run begins
#: where none before it came.
_COUNTED = ("audit_number", "new_count")
_runs = count(1)
_MOST_OF_A_RUN = 1_000_000

_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class Script:
    """Statements for pgbench, and the values of their variables."""

    text: str
    values: Mapping[str, str]


class Recorder:
    """The service in this process, on the PostgreSQL at *url*."""

    def __init__(self, url: str) -> None:
        structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())  # no log beside the table
        self._database = Database(url)
        self._application = Application(
            self._database, Limits(), lambda: datetime.now(UTC).replace(microsecond=0), remember=0
        )

    def script(self, certificate: Path, *raw: str) -> Script:
        """
        What is asked of the database to answer the last of the requests *raw* of that certificate's holder.

        Those before it are answered first: what is asked only once, such as a total, is then known.
        """
        with _noted() as seen:
            for each in raw:
                seen.clear()
                asyncio.run(self._answer(certificate, each))
        return _script(seen)

    async def _answer(self, certificate: Path, raw: str) -> None:
        head, _, body = raw.partition("\r\n\r\n")
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        path, _, query = target.partition("?")
        pem = certificate.read_text()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body.encode(), "more_body": False}

        async def send(sent: dict[str, Any]) -> None:
            assert sent.get("status", 200) == 200, sent

        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode()) for name, _, value in (f.partition(": ") for f in fields)
            ],
            "client": ("192.0.2.1", 50000),
            "extensions": {"tls": {"client_cert_chain": [pem[pem.index("-----BEGIN CERTIFICATE") :]]}},
        }
        await self._application(scope, receive, send)

    def close(self) -> None:
        """Ends the service."""
        self._application.close()
        self._database.close()


@contextmanager
def _noted() -> Iterator[list[tuple[str, Any]]]:
    """A list that gets each statement as psycopg gets it, with its parameters."""
    seen: list[tuple[str, Any]] = []
    execute, commit = psycopg.Cursor.execute, psycopg.Connection.commit

    def noting(cursor: Any, query: Any, parameters: Any = None, **others: Any) -> Any:
        seen.append((query.decode() if isinstance(query, bytes) else str(query), parameters))
        return execute(cursor, query, parameters, **others)

    def committing(connection: Any) -> None:
        seen.append(("COMMIT", None))
        commit(connection)

    psycopg.Cursor.execute, psycopg.Connection.commit = noting, committing  # type: ignore[method-assign,assignment]  # it listens
    try:
        yield seen
    finally:
        psycopg.Cursor.execute, psycopg.Connection.commit = execute, commit  # type: ignore[method-assign]  # and no more


def _script(seen: Sequence[tuple[str, Any]]) -> Script:
    names = [statement.split(maxsplit=1)[0] for statement, _ in seen]
    assert "SET" not in names, "a connection was made meanwhile"
    assert names.count("BEGIN") == names.count("COMMIT"), names
    lines = [r"\set number :number + 1"]
    values: dict[str, str] = {}
    for place, (statement, parameters) in enumerate(seen):
        given = parameters if isinstance(parameters, dict) else {}

        def variable(found: re.Match[str], place: int = place, given: Mapping[str, Any] = given) -> str:
            name = found[1]
            if name in _COUNTED:
                return ":number"
            if given[name] is None:
                return "NULL"
            if given[name] == "":
                return "''"  # which no variable can hold
            values[f"{name}_{place}"] = _text(given[name])
            return f":{name}_{place}"

        text = " ".join(_PARAMETER.sub(variable, statement).split())
        lines.append(f"{text.replace('%%', '%')};")
    return Script("\n".join([*lines, ""]), values)


def _text(value: Any) -> str:
    """A parameter as PostgreSQL reads it."""
    if isinstance(value, list):
        return "{" + ",".join(f'"{item}"' if isinstance(item, str) else str(item) for item in value) + "}"
    return str(value)


def rate(pgbench: Path, url: str, scripts: Sequence[Script], clients: int, seconds: float) -> float:
    """Transactions a second: *clients* in all; where there are several scripts, a pgbench for each."""
    each = clients // len(scripts)
    first = next(_runs) * _MOST_OF_A_RUN
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = []
        for number, script in enumerate(scripts):
            path = Path(folder) / f"{number}.sql"
            path.write_text(script.text)
            values = [f"--define={name}={value}" for name, value in script.values.items()]
            values.append(f"--define=number={first}")
            options = [
                f"--client={each}",
                f"--jobs={min(each, 2)}",
                f"--time={max(1, round(seconds))}",
                "--no-vacuum",
            ]
            command = [str(pgbench), *options, "--protocol=prepared", f"--file={path}", *values, url]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            running.append(stack.enter_context(process))
        return sum(_rate(*process.communicate()) for process in running)


def _rate(told: str, wrong: str) -> float:
    found = re.search(r"tps = ([\d.]+)", told)
    failed = re.search(r"number of failed transactions: ([1-9]\d*)", told)
    if not found or failed:
        raise RuntimeError(f"pgbench failed: {told}{wrong}")
    return float(found[1])
