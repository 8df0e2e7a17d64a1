"""
What breaks a rule, and how it is run: requests of the application, octets to a connection, folders, CSVs of wishes.

Each has `told()`: what came back, really.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import sqlalchemy
import structlog.testing
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from markets import SAMPLE, write_market

import certificates
from ibt.client import wishes
from ibt.rules.faults import Fault, Faults, Rule
from ibt.service import app, limits, metrics, proxy
from ibt.service.connection import Connection, State
from ibt.service.negotiation import VENDOR_TYPE
from ibt.service.revocation import Revocation
from ibt.store import Database, loading

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
REQUEST_ID = "0c5a47abf6d3621c"
MAPPINGS = "/sms_oper_contract/api/customers/1/contractSubaccountMappings"


class Told(NamedTuple):
    """What came back: the status, where HTTP was spoken, the line, and the name of the rule that the log has."""

    status: int | None
    line: str
    rule: str


@dataclass(frozen=True)
class Ask:
    """A request of the application, in whose world customer 1 has the contracts 999998 and 999999."""

    method: str = "GET"
    path: str = MAPPINGS
    query: str = ""
    names: tuple[str, ...] | None = ("xyz",)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    not_after: datetime | None = None
    trouble: Exception | None = None
    untrusted: bool = False
    done: Callable[[sqlalchemy.Connection], object] | None = None
    list_end: datetime | None = None

    def told(self) -> Told:
        """
        What the application answers and logs. *trouble* comes up while it makes the change; before it is asked,
        something is *done* to its database. Its list of revoked certificates, if it has one, ends at *list_end*.
        """
        with structlog.testing.capture_logs() as logged, _application(self) as application:
            status, body = asyncio.run(_answer(application, self._scope(), self.body))
        return Told(status, body.decode().splitlines()[0], logged[-1]["rule"])

    def _scope(self) -> dict[str, Any]:
        fields = [*self.headers.items(), *self.repeated, ("x-request-id", REQUEST_ID)]
        tls: dict[str, Any] = {
            "client_cert_chain": [] if self.names is None else [certificate(self.names, self.not_after)]
        }
        if self.untrusted:
            tls["client_cert_error"] = "not trusted"
        return {
            "type": "http",
            "method": self.method,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
            "extensions": {"tls": tls},
        }


def post(
    body: str | bytes = "",
    *repeated: tuple[str, str],
    trouble: Exception | None = None,
    **headers: str,
) -> Ask:
    """A POST of *body* to the collection; a header's name is written with `_` for `-`."""
    fields = {"content-type": VENDOR_TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    octets = body if isinstance(body, bytes) else body.encode()
    given = {name: value for name, value in fields.items() if value}
    return Ask("POST", headers=given, repeated=repeated, body=octets, trouble=trouble)


def query(text: str, **headers: str) -> Ask:
    """A GET of the collection with this query string."""
    return Ask(query=text, headers=headers)


@dataclass(frozen=True)
class Sent:
    """
    Octets as they come to a connection of the server, which is *full*, or whose client then sends no more; or to a
    *proxied* one.
    """

    octets: bytes
    slow: bool = False
    full: bool = False
    proxied: bool = False

    def told(self) -> Told:
        """What the connection answers and logs."""
        with structlog.testing.capture_logs() as logged:
            answered = asyncio.run(self._answered())
        head, _, body = answered.partition(b"\r\n\r\n")
        return Told(int(head.split()[1]), body.decode().rstrip("\n"), logged[-1]["rule"])

    async def _answered(self) -> bytes:
        state = State()
        if self.full:
            state.connections.update(range(limits.Limits().connections))  # type: ignore[arg-type]  # only counted
        transport = _Transport(tls=not self.proxied)
        nobody = proxy.Proxies((), proxy.authorities(certificate(("nobody",), None).encode()))
        connection = Connection(_CONFIG, state, limits.Limits(), metrics.Metrics(), nobody)
        connection.connection_made(transport)
        connection.data_received(self.octets)
        if self.slow:
            connection.expire()
        await asyncio.gather(*state.tasks)
        return transport.written


@dataclass(frozen=True)
class Folder:
    """A folder of CSV files with these changes of the sample world's; *elsewhere* is another name for it."""

    rule: Rule
    changes: Mapping[str, str | bytes | None]
    elsewhere: str = ""
    unreadable: str = ""

    def told(self) -> Told:
        """What loading it says."""
        faults = Faults()
        with TemporaryDirectory() as place:
            folder = write_market(Path(place), self.changes)
            if self.unreadable:
                (folder / self.unreadable).mkdir()
            loading.read_market(Path(self.elsewhere or folder), NOW, faults)
        return _first(faults, self.rule)


@dataclass(frozen=True)
class Over:
    """A folder of these files alone, which is loaded over the sample's world."""

    rule: Rule
    files: Mapping[str, str]

    def told(self) -> Told:
        """What loading it says."""
        faults = Faults()
        with TemporaryDirectory() as place, _sample() as database:
            folder = write_market(Path(place), {**dict.fromkeys(SAMPLE), **self.files})
            loading.load_folder(database, folder, NOW + timedelta(days=1), faults)
        return _first(faults, self.rule, place)


@dataclass(frozen=True)
class Wishes:
    """A CSV of wishes, as `ibt plan` reads it."""

    rule: Rule
    content: bytes

    def told(self) -> Told:
        """What reading it says."""
        faults = Faults()
        wishes.read_wishes(self.content, "wishes.csv", faults)
        return _first(faults, self.rule)


def _first(faults: Faults, rule: Rule, place: str = "") -> Told:
    """The first fault that *rule* is broken; the folder is called market, wherever its *place* was."""
    fault: Fault = next(fault for fault in faults.told if fault.rule == rule)
    return Told(None, str(fault).replace(place, "market") if place else str(fault), fault.rule.name)


@cache
def _database() -> bytes:
    """A database file with the sample world."""
    with TemporaryDirectory() as place:
        database = Database(f"sqlite:///{place}/ibt.db")
        database.upgrade()
        with database.updating() as connection:
            loading.load(connection, loading.read_market(write_market(Path(place)), NOW, Faults()))
        database.close()
        return Path(place, "ibt.db").read_bytes()


@contextmanager
def _application(ask: Ask) -> Iterator[app.Application]:
    def clock() -> datetime:
        if ask.trouble:
            raise ask.trouble
        return NOW

    with _sample() as database, TemporaryDirectory() as place:
        if ask.done:
            with database.updating() as connection:
                ask.done(connection)
        revocation = _revocation(Path(place), ask.list_end) if ask.list_end else None
        application = app.Application(database, limits.Limits(), clock, revocation=revocation)
        try:
            yield application
        finally:
            application.close()


def _revocation(place: Path, list_end: datetime) -> Revocation:
    authority = certificates.root("An authority", place)
    authority.write(place / "ca-key.pem", place / "ca.pem")
    (place / "crl.pem").write_bytes(authority.revoke(end=list_end))
    return Revocation(place / "crl.pem", place / "ca.pem")


@contextmanager
def _sample() -> Iterator[Database]:
    """A database of its own with the sample world."""
    with TemporaryDirectory() as place:
        Path(place, "ibt.db").write_bytes(_database())
        database = Database(f"sqlite:///{place}/ibt.db")
        try:
            yield database
        finally:
            database.close()


async def _answer(application: app.Application, scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


@cache
def certificate(names: tuple[str, ...], not_after: datetime | None) -> str:
    """A certificate whose subject has these common names, in PEM: here no one verifies who issued it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    end = not_after or datetime.now(UTC) + timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(end - timedelta(days=30)).not_valid_after(end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


async def _silent(_scope: Any, receive: Any, _send: Any) -> None:
    """An application that waits for the body, as ours does, and is told that it will not come."""
    await receive()


_CONFIG = uvicorn.Config(_silent, lifespan="off", ws="none", log_config=None, access_log=False)


class _Transport(asyncio.Transport):
    """What a connection writes to, and whose client sent no certificate."""

    def __init__(self, *, tls: bool) -> None:
        super().__init__()
        self.written = b""
        self._tls = tls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "ssl_object" and self._tls else default

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        """As `ssl.SSLObject` has it."""
        assert binary_form
        return None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
