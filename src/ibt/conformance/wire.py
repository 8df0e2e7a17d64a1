"""
Raw HTTP/1.1 over TLS, for requests that no client library would send.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path

from ibt.conformance.server import PATIENCE, Server


@dataclass(frozen=True)
class Answer:
    """An answer as it came from the wire."""

    status_code: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.content.decode("utf-8")


def connection(server: Server, user: str | Path | None) -> ssl.SSLSocket:
    """A new TLS connection of *user*."""
    raw = socket.create_connection((server.host, server.port), timeout=PATIENCE)
    return server.tls(user).wrap_socket(raw, server_hostname=server.host)


def exchange(server: Server, user: str | Path | None, request: bytes) -> Answer:
    """Sends *request* as it is on a new connection; the one answer to it."""
    with connection(server, user) as wire:
        # A server may refuse and close before it has read everything; its answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.sendall(request)
        return answer(wire, request.split(b" ", 1)[0].decode("latin-1"))


def answer(wire: ssl.SSLSocket, method: str) -> Answer:
    """The next answer on *wire*, to a request with *method*."""
    response = HTTPResponse(wire, method=method)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def request(method: str, target: str, *fields: str, body: bytes = b"") -> bytes:
    """A request with these header fields; Host is added, and Content-Length where there is a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *length, *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def closed(wire: ssl.SSLSocket) -> bool:
    """Whether the server closes the connection, of its own accord, within the suite's patience."""
    try:
        return wire.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
