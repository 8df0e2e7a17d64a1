"""
The server: sockets, TLS, signals, and the sweep over the connections' deadlines.

With `connection` the only file that knows which ASGI server runs.

Clause 1.2. Readings 8, 53, 55.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from uvicorn.server import ServerState

from ibt.service import access
from ibt.service.app import Application
from ibt.service.connection import Connection
from ibt.service.limits import Limits
from ibt.service.log import configure, log
from ibt.service.memory import REMEMBER
from ibt.service.metrics import Metrics
from ibt.service.workers import supervise
from ibt.store import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: How often deadlines are looked at.
_SWEEP_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a worker serves: the database's URL; a PEM file with the server's certificates, and one with its key
    unless that is in the first; the CA whose client certificates are trusted; how many processes; a frozen clock
    for version times, if any; how many bytes of answers a process remembers.
    """

    database: str
    certificate: Path
    client_ca: Path
    key: Path | None = None
    workers: int = 1
    now: datetime | None = None
    remember: int = REMEMBER
    limits: Limits = field(default_factory=Limits)

    def clock(self) -> datetime:
        """The time that a version gets: UTC, whole seconds. Reading 41."""
        return self.now or datetime.now(UTC).replace(microsecond=0)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; *port* 0 picks a free one. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def tls(settings: Settings) -> ssl.SSLContext:
    """
    TLS 1.2 and later; a client certificate is verified where one is sent (reading 8).

    Raises OSError where a file cannot be read, does not hold what it should, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # A key with a password is one that cannot be used: without this, OpenSSL would ask for it on the terminal.
    context.load_cert_chain(settings.certificate, settings.key, password=lambda: b"")
    context.load_verify_locations(settings.client_ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.sslobject_class = _Handshake
    # A certificate that OpenSSL refuses it forgets; its only trace is the message that brought it. Not public, and
    # there is no public way: tests/door/test_certificates.py fails where it changes.
    context._msg_callback = _note_certificate  # type: ignore[attr-defined]  # as said above
    return context


class _Handshake(ssl.SSLObject):
    """A handshake that says in the log whose certificate it refused, and to the client why: no one else will."""

    #: The client's own certificate, until it is verified.
    certificate = b""
    failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self.failure:
            raise self.failure
        try:
            super().do_handshake()
        except ssl.SSLError as failure:
            if isinstance(failure, ssl.SSLCertVerificationError):
                log.warning("handshake refused", why=failure.verify_message, **self._names())
            elif failure.reason != "UNSUPPORTED_PROTOCOL":
                raise
            # OpenSSL has written an alert, but the event loop sends only for one that reads on. The client closes
            # when it has the alert; if it does not, the handshake's time runs out.
            self.failure = failure
            raise ssl.SSLWantReadError from failure
        self.certificate = b""

    def _names(self) -> dict[str, str]:
        with contextlib.suppress(Exception):  # what an untrusted client sent may be anything
            return access.read_certificate(ssl.DER_cert_to_PEM_cert(self.certificate)).names()
        return {}


def _note_certificate(  # noqa: PLR0913, PLR0917 - as the ssl module calls it
    connection: _Handshake, direction: str, version: int, content: int, kind: int, message: bytes
) -> None:
    """Keeps the first certificate of the message that brings them. RFC 5246 7.4.2, RFC 8446 4.4.2."""
    if direction == "read" and content == _HANDSHAKE and kind == _CERTIFICATE:
        place = 4 + (1 + message[4] if version == ssl.TLSVersion.TLSv1_3 else 0) + 3
        connection.certificate = message[place + 3 : place + 3 + int.from_bytes(message[place : place + 3])]


#: The numbers of TLS for a handshake's records and for the message in them that brings certificates.
_HANDSHAKE, _CERTIFICATE = 22, 11


def serve(listener: socket.socket, settings: Settings, ready: Callable[[], None]) -> None:
    """
    Serves *listener* until SIGTERM or SIGINT, then finishes the requests in flight and returns.

    SIGHUP reads the certificates anew, for the connections from then on. *ready* is called once, when every worker
    accepts connections. Raises OSError where the certificates cannot be read, ibt.store.Unusable where the
    database cannot.
    """
    configure()
    if settings.workers == 1:
        work(listener, settings, ready)
    else:
        supervise([partial(work, listener, settings)] * settings.workers, ready, ending=listener.close)


def work(
    listener: socket.socket, settings: Settings, started: Callable[[], None], lifeline: int | None = None
) -> None:
    """What one process does. It also ends when *lifeline*, a file descriptor, is closed at its other end."""
    _allow_files(settings.limits.connections)
    database = Database(settings.database)
    application = Application(database, settings.limits, settings.clock, settings.remember)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(listener, settings, application, started, lifeline))
    finally:
        application.close()
        database.close()


def _allow_files(connections: int) -> None:
    """Lets this process have that many connections open and as many in the handshake, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _serve(
    listener: socket.socket,
    settings: Settings,
    application: Application,
    started: Callable[[], None],
    lifeline: int | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reread = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reread.set)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)
    config = uvicorn.Config(
        application,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    state = ServerState()
    server = await _accepting(listener, settings, config, state, application.metrics)
    _sweep(state, loop.time())
    started()
    while not stop.is_set():
        application.metrics.note_memory()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SWEEP_SECONDS)
        _sweep(state, loop.time())
        if reread.is_set():
            reread.clear()
            try:
                successor = await _accepting(listener, settings, config, state, application.metrics)
            except OSError as error:
                log.error("certificates not read anew", why=str(error))
            else:
                server.close()
                server = successor
                log.info("certificates read anew")
    server.close()
    listener.close()  # else the system would take new clients and let them wait
    await _drain(state, settings.limits.drain_seconds)


async def _accepting(
    listener: socket.socket, settings: Settings, config: uvicorn.Config, state: ServerState, metrics: Metrics
) -> asyncio.Server:
    """Accepts connections from *listener*, which stays open when the server is closed, under the present files."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, settings.limits, metrics),
        sock=listener.dup(),
        ssl=tls(settings),
        ssl_handshake_timeout=settings.limits.handshake_seconds,
        ssl_shutdown_timeout=settings.limits.handshake_seconds,
    )
    metrics.note_server_certificate(settings.certificate.read_bytes())
    return server


def _sweep(state: ServerState, now: float) -> None:
    state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
    for connection in list(state.connections):
        if isinstance(connection, Connection) and connection.deadline <= now:
            connection.expire()


async def _drain(state: ServerState, seconds: float) -> None:
    """Closes the connections as their requests are answered, and what is left after *seconds* in any case."""
    for connection in list(state.connections):
        connection.shutdown()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (state.connections or state.tasks) and loop.time() < end:
        await asyncio.sleep(0.02)
        _sweep(state, loop.time())
    for connection in list(state.connections):
        connection.transport.abort()
