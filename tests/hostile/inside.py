"""
The application in this process: a request in parts, the answer to it, and what the database then holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import func, select
from strangers import write_world

from ibt.rules.faults import Faults
from ibt.service.app import Application
from ibt.service.limits import Limits
from ibt.store import Database, tables
from ibt.store.loading import clear, load, read_market

BASE = "/sms_oper_contract/api/customers"

#: The time of the specification's sample answer (3.2.9).
NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)

#: What takes longer than this hangs, in seconds.
PATIENCE = 20.0

#: Name and value of header fields, names in lower case.
Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Request:
    """A request of *user*, or of nobody who has a certificate."""

    method: str
    target: bytes
    fields: Fields = ()
    body: bytes = b""
    user: str | None = None

    def scope(self) -> dict[str, Any]:
        """The request as ASGI has it."""
        path, _, query = self.target.partition(b"?")
        chain = [] if self.user is None else [certificate(self.user)]
        return {
            "type": "http",
            "method": self.method,
            "raw_path": path,
            "query_string": query,
            "headers": list(self.fields),
            "extensions": {"tls": {"client_cert_chain": chain}},
        }

    def raw(self) -> bytes:
        """The request as it goes over the wire; a body has its length, and so has every POST."""
        length: Fields = ((b"content-length", b"%d" % len(self.body)),) if self.body or self.method == "POST" else ()
        fields = ((b"host", b"localhost"), *length, *self.fields)
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.target), *(b"%b: %b" % each for each in fields)]
        return b"\r\n".join([*lines, b"", b""]) + self.body


@dataclass(frozen=True)
class Answer:
    """An answer: header fields by name in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def whole(self) -> str:
        """All that the client gets to see, but for what is of this one request: its id."""
        fields = [f"{name}: {value}" for name, value in sorted(self.headers.items()) if name != "x-request-id"]
        return "\n".join([str(self.status), *fields, self.body.decode()])


@cache
def certificate(user: str) -> str:
    """A certificate whose subject is *user*, in PEM: in this process no one verifies who issued it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


class Inside:
    """The application over a database with the world of `strangers`, asked one request at a time."""

    def __init__(self, database: Database, folder: Path, runner: asyncio.Runner) -> None:
        faults = Faults()
        self._market = read_market(write_world(folder), NOW, faults)
        assert faults.lines() == []
        self._database = database
        self._runner = runner
        self._application = Application(database, Limits(), lambda: NOW)

    def close(self) -> None:
        """Ends the application's threads."""
        self._application.close()

    def load(self) -> None:
        """Makes the world all that there is."""
        with self._database.updating() as connection:
            clear(connection)
            load(connection, self._market)

    def ask(self, request: Request) -> Answer:
        """The answer. Raises TimeoutError where there is none in time."""
        return self._runner.run(self._ask(request))

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, each asked for when the one before has come."""

        async def answers() -> list[Answer]:
            return [await self._ask(request) for request in requests]

        return self._runner.run(answers())

    async def _ask(self, request: Request) -> Answer:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await asyncio.wait_for(self._application(request.scope(), receive, send), PATIENCE)
        start, *rest = sent
        headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message["body"] for message in rest))

    def state(self) -> tuple[tuple[Any, ...], ...]:  # Any: rows
        """Every customer's revision, and how many mapping versions it has."""
        with self._database.reading() as connection:
            return tuple(tuple(row) for row in connection.execute(_STATE))

    def contents(self) -> list[tuple[Any, ...]]:  # Any: rows
        """All that updates can change."""
        with self._database.reading() as connection:
            return [
                tuple(row)
                for table in (tables.mapping_version, tables.current_mapping)
                for row in connection.execute(select(table).order_by(*table.primary_key))
            ]


_VERSIONS = (
    select(func.count())
    .where(tables.mapping_version.c.customer_id == tables.customer_state.c.customer_id)
    .scalar_subquery()
)
_STATE = select(tables.customer_state.c.customer_id, tables.customer_state.c.revision, _VERSIONS).order_by(
    tables.customer_state.c.customer_id
)


@contextmanager
def inside(database_url: str, folder: Path) -> Iterator[Inside]:
    """The application on the database at *database_url*, with the world; *folder* is made for its files."""
    with asyncio.Runner() as runner:
        database = Database(database_url)
        database.upgrade()
        served = Inside(database, folder, runner)
        served.load()
        try:
            yield served
        finally:
            served.close()
            database.close()
