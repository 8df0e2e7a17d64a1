"""
What stands between client and service and does harm: a wire below TLS, and a gateway that ends TLS.

`Wire` passes bytes on and cuts, holds or shortens what it is told to. `Gateway` has a certificate of its own, and
answers, or changes answers, as a test wants.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PATIENCE = 30.0


class Harm(Enum):
    """What happens to one request on a wire, and to the answer to it."""

    NONE = auto()
    CUT_BEFORE = auto()  # the request never arrives
    CUT_AFTER = auto()  # the request arrives, its answer does not
    HOLD = auto()  # the answer never comes, and the connection stays
    SHORTEN = auto()  # half of the answer comes


class Wire:
    """
    A TCP proxy that does not look inside. *harms* are for the next requests on a connection that has served already.

    On such a connection a request begins where the client speaks after the server did.
    """

    def __init__(self, port: int) -> None:
        self.harms: deque[Harm] = deque()
        self.down = False
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # else the thread that accepts would keep it open
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                if self.down:
                    client.close()
                else:
                    Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server, suppress(OSError):
            harm, answering = Harm.NONE, False
            while harm is not Harm.CUT_BEFORE:
                readable, _, _ = select.select([client, server], [], [], PATIENCE)
                if client in readable:
                    if answering and self.harms:
                        harm = self.harms.popleft()
                    answering = False
                    if harm is not Harm.CUT_BEFORE:
                        _passed(client, server)
                elif server not in readable or not self._answer(server, client, harm):
                    return
                else:
                    answering = True

    def _answer(self, server: socket.socket, client: socket.socket, harm: Harm) -> bool:
        """Whether the connection goes on after this piece of an answer."""
        if harm is Harm.CUT_AFTER:
            server.recv(1)
            return False
        if harm is Harm.HOLD:
            return bool(server.recv(65536))
        if harm is Harm.SHORTEN:
            piece = server.recv(65536)
            client.sendall(piece[: len(piece) // 2])
            return False
        _passed(server, client)
        return True


def _passed(source: socket.socket, target: socket.socket) -> None:
    piece = source.recv(65536)
    if not piece:
        raise ConnectionResetError
    target.sendall(piece)


@dataclass(frozen=True)
class Answer:
    """What a gateway answers."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


#: From what passes the request on to the service, the answer to give; None closes the connection without one.
Doing = Callable[[Callable[[], Answer]], Answer | None]


def honest(pass_on: Callable[[], Answer]) -> Answer:
    """As the service answers."""
    return pass_on()


def without_etag(pass_on: Callable[[], Answer]) -> Answer:
    """As a service that has no ETags."""
    answer = pass_on()
    return replace(answer, headers={name: value for name, value in answer.headers.items() if name != "etag"})


def cut_after(pass_on: Callable[[], Answer]) -> None:
    """The service has done it, and nobody hears of it."""
    pass_on()


def cut_before(_: Callable[[], Answer]) -> None:
    """The service never hears of it."""


def says(status: int, text: str = "", **headers: str) -> Doing:
    """An answer that does not come from the service, in plain text."""
    fields = {"content-type": "text/plain", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda _: Answer(status, fields, text.encode())


class Gateway:
    """
    A proxy that ends TLS and asks the service as one user.

    *script* says what to do with the next requests, then *otherwise* with all others; *seen* are their methods.
    """

    def __init__(self, upstream: httpx2.Client, folder: Path) -> None:
        self.script: deque[Doing] = deque()
        self.otherwise: Doing = honest
        self.seen: list[str] = []
        self.ca = folder / "gateway-ca.pem"
        self._upstream = upstream
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_localhost(folder, self.ca))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self.url = f"https://localhost:{self._server.server_address[1]}/sms_oper_contract/api/customers"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """What becomes of a request."""
        self.seen.append(method)

        def pass_on() -> Answer:
            kept = {name: value for name, value in headers.items() if name.lower() not in {"host", "connection"}}
            came = self._upstream.request(method, path, headers=kept, content=body or None)
            left = {"content-encoding", "content-length", "connection", "transfer-encoding", "date", "server"}
            return Answer(came.status_code, {k: v for k, v in came.headers.items() if k not in left}, came.content)

        return (self.script.popleft() if self.script else self.otherwise)(pass_on)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                path = self.path.partition("/customers")[2]
                answer = gateway.answer(self.command, path, dict(self.headers.items()), body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
                pass

        return Handler


def _localhost(folder: Path, ca: Path) -> Path:
    """A certificate for localhost with its key, of an authority whose certificate is then in *ca*."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=The gateway's authority")
    above = _certificate(name, name, authority, authority, x509.BasicConstraints(ca=True, path_length=0))
    own = _certificate(
        x509.Name.from_rfc4514_string("CN=localhost"),
        name,
        key,
        authority,
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
    )
    ca.write_bytes(above.public_bytes(Encoding.PEM))
    pem = folder / "gateway.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + own.public_bytes(Encoding.PEM)
    )
    return pem


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=False)
        .sign(authority, SHA256())
    )


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    """A wire to a port of this machine, for as long as the block runs."""
    between = Wire(port)
    try:
        yield between
    finally:
        between.close()


@contextmanager
def gateway(upstream: httpx2.Client, folder: Path) -> Iterator[Gateway]:
    """A gateway before *upstream*, for as long as the block runs."""
    between = Gateway(upstream, folder)
    try:
        yield between
    finally:
        between.close()
