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
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvicorn
import uvloop

from ibt.service import access, allocation, proxy
from ibt.service.app import Application
from ibt.service.connection import Connection, State
from ibt.service.limits import Limits
from ibt.service.log import configure, log
from ibt.service.memory import REMEMBER
from ibt.service.metrics import Metrics
from ibt.service.revocation import Revocation
from ibt.service.workers import supervise
from ibt.store import Database, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a thread that reads a large message keeps the others waiting: a page takes a turn for each of its rows.
_LONGEST_TURN_SECONDS = 0.0002

#: How often deadlines are looked at.
_SWEEP_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a worker serves: the database's URL; a PEM file with the server's certificates, and one with its key
    unless that is in the first; the CA whose client certificates are trusted, its lists of revoked ones, if any, and
    whether one past its end refuses everyone; from where proxies connect; how many processes; a frozen clock for
    version times, if any; how many bytes of answers a process remembers; how many seconds it serves on when it is to
    end.
    """

    database: str
    certificate: Path
    client_ca: Path
    key: Path | None = None
    client_crl: Path | None = None
    ended_crl_refuses: bool = True
    trusted_proxies: tuple[proxy.Network, ...] = ()
    workers: int = 1
    now: datetime | None = None
    remember: int = REMEMBER
    leave_seconds: float = 0
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


def listen_for_proxies(path: Path) -> socket.socket:
    """
    A socket at *path* that listens, for its owner and its group alone. Raises OSError.

    One that a service has left there which was killed is replaced.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and not _listened_on(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)  # nobody can connect before it listens
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _listened_on(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


class Listeners(NamedTuple):
    """The sockets that a worker serves: for whoever comes by TLS, and for proxies on this machine, in the clear."""

    clients: socket.socket
    proxies: socket.socket | None = None

    def close(self) -> None:
        """Closes them for this process."""
        self.clients.close()
        if self.proxies is not None:
            self.proxies.close()


#: What is agreed on under TLS 1.2: a key of its own for each connection, and a cipher that authenticates.
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls(settings: Settings) -> ssl.SSLContext:
    """
    TLS 1.2 and later; a client certificate is verified where one is sent (reading 8).

    Raises OSError where a file cannot be read, does not hold what it should, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_SUITES)
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

    SIGHUP reads the certificates anew, for the connections from then on; those of clients and the lists of revoked
    ones for all.
    *ready* is called once, when every worker accepts connections. Raises OSError where the certificates cannot be
    read, revocation.Unusable where the lists cannot, ibt.store.Unusable where the database cannot.
    """
    configure()
    listeners = Listeners(listener)
    if settings.workers == 1:
        work(listeners, settings, ready)
    else:
        supervise([partial(work, listeners, settings)] * settings.workers, ready, ending=listeners.close)


def work(listeners: Listeners, settings: Settings, started: Callable[[], None], lifeline: int | None = None) -> None:
    """What one process does. It also ends when *lifeline*, a file descriptor, is closed at its other end."""
    _allow_files(settings.limits.connections)
    sys.setswitchinterval(_LONGEST_TURN_SECONDS)
    database = Database(settings.database)
    with contextlib.suppress(Unavailable):  # it may come later, as it may go
        database.hold()
    revocation = Revocation(settings.client_crl, settings.client_ca, ended_refuses=settings.ended_crl_refuses)
    application = Application(database, settings.limits, settings.clock, settings.remember, revocation)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(listeners, settings, application, started, lifeline))
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
    listeners: Listeners,
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
    state = State()
    proxies = proxy.Proxies(settings.trusted_proxies, proxy.authorities(settings.client_ca.read_bytes()))
    connect = partial(Connection, config, state, settings.limits, application.metrics, proxies)
    server = await _accepting(listeners.clients, settings, connect, application.metrics)
    of_proxies = listeners.proxies and await loop.create_unix_server(connect, sock=listeners.proxies.dup())
    application.metrics.note_client_crl(application.revocation.end)
    _sweep(state, loop.time())
    allocation.settle()
    started()
    while not stop.is_set():
        application.measure()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SWEEP_SECONDS)
        _sweep(state, loop.time())
        told_to = reread.is_set()
        reread.clear()
        if told_to or application.revocation.is_due:
            await loop.run_in_executor(None, application.revocation.look, told_to)
            application.metrics.note_client_crl(application.revocation.end)
        if told_to:
            try:
                authorities = proxy.authorities(settings.client_ca.read_bytes())
                successor = await _accepting(listeners.clients, settings, connect, application.metrics)
            except (OSError, ValueError) as error:
                log.error("certificates not read anew", why=str(error))
            else:
                if proxies.go_by(authorities):
                    _look_again(state)
                server.close()
                server = successor
                log.info("certificates read anew")
    if lifeline is not None:
        loop.remove_reader(lifeline)
    await _leave(state, settings.leave_seconds)
    server.close()
    if of_proxies:
        of_proxies.close()
    listeners.close()  # else the system would take new clients and let them wait
    await _drain(state, settings.limits.drain_seconds)


async def _accepting(
    listener: socket.socket, settings: Settings, connect: Callable[[], Connection], metrics: Metrics
) -> asyncio.Server:
    """Accepts connections from *listener*, which stays open when the server is closed, under the present files."""
    server = await asyncio.get_running_loop().create_server(
        connect,
        sock=listener.dup(),
        ssl=tls(settings),
        ssl_handshake_timeout=settings.limits.handshake_seconds,
        ssl_shutdown_timeout=settings.limits.handshake_seconds,
    )
    metrics.note_server_certificate(settings.certificate.read_bytes())
    return server


def _look_again(state: State) -> None:
    for connection in list(state.connections):
        if isinstance(connection, Connection):
            connection.look_again()


def _sweep(state: State, now: float) -> None:
    state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
    for connection in list(state.connections):
        if isinstance(connection, Connection) and connection.deadline <= now:
            connection.expire()


async def _leave(state: State, seconds: float) -> None:
    """Serves on for *seconds*, in which who sends clients here learns to send them elsewhere."""
    state.leaving = True
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, _SWEEP_SECONDS))
        _sweep(state, loop.time())


async def _drain(state: State, seconds: float) -> None:
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
