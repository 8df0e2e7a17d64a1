"""
Two ways to the service: the application called in this process, and a sandbox over HTTPS.

Either loads a world and answers requests to it.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from worlds import NOW, USERS, World, wire

from ibt.conformance.server import PATIENCE, Server, sandbox
from ibt.rules.faults import Faults
from ibt.service.app import Application
from ibt.service.limits import Limits
from ibt.store import Database
from ibt.store.loading import clear, load, read_market

BASE = "/sms_oper_contract/api/customers"


@dataclass(frozen=True)
class Answer:
    """An answer: header fields by name in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class InProcess:
    """The application on a database, with a clock that a test may move."""

    clock_moves = True

    def __init__(self, database: Database, folder: Path, runner: asyncio.Runner) -> None:
        self.now = NOW
        self._database = database
        self._folder = folder
        self._runner = runner
        self._application = Application(database, Limits(), lambda: self.now)
        self._certificates = {user: certificate(user) for user in USERS}
        self._count = count()

    def close(self) -> None:
        """Ends the application's threads."""
        self._application.close()

    def load(self, world: World) -> None:
        """Makes *world* all that there is."""
        self.now = NOW
        faults = Faults()
        market = read_market(world.write(self._folder / f"world{next(self._count)}"), NOW, faults)
        assert faults.lines() == []
        with self._database.updating() as connection:
            clear(connection)
            load(connection, market)

    def send(
        self, method: str, target: str, user: str | None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """The answer to a request; *target* begins after the base path."""
        path, _, query = target.partition("?")
        chain = [self._certificates[user]] if user else []
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "raw_path": (BASE + path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "extensions": {"tls": {"client_cert_chain": chain}},
        }
        return self._runner.run(_asked(self._application, scope, body))


async def _asked(application: Application, scope: dict[str, Any], body: bytes) -> Answer:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    start, *rest = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(message["body"] for message in rest))


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


@contextmanager
def in_process(database_url: str, folder: Path) -> Iterator[InProcess]:
    """The application on the database at *database_url*, whose data are replaced by each world."""
    with asyncio.Runner() as runner:
        database = Database(database_url)
        database.upgrade()
        door = InProcess(database, folder, runner)
        try:
            yield door
        finally:
            door.close()
            database.close()


@dataclass
class OverHttps:
    """A sandbox of its own for each world, with a clock that stands still."""

    folder: Path
    clock_moves = False
    now: datetime = NOW
    _count: Iterator[int] = field(default_factory=count)
    _stack: ExitStack = field(default_factory=ExitStack)
    _server: Server | None = None
    _connections: dict[str | None, http.client.HTTPSConnection] = field(default_factory=dict)

    def close(self) -> None:
        """Ends the sandbox."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._stack.close()

    def load(self, world: World) -> None:
        """Starts a sandbox with *world*, in the place of the one before."""
        self.close()
        number = next(self._count)
        data = world.write(self.folder / f"world{number}")
        options = ("--data", str(data), "--now", wire(NOW))
        self._server = self._stack.enter_context(sandbox(self.folder / f"sandbox{number}", *options))

    def send(
        self, method: str, target: str, user: str | None, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """The answer to a request; *target* begins after the base path."""
        assert self._server is not None
        if user not in self._connections:
            server = self._server
            connection = http.client.HTTPSConnection(
                server.host, server.port, context=server.tls(user), timeout=PATIENCE
            )
            self._connections[user] = connection
        connection = self._connections[user]
        connection.request(method, BASE + target, body or None, dict(headers or {}))
        with connection.getresponse() as answer:
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


Door = InProcess | OverHttps
