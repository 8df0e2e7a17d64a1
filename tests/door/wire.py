"""
The door from outside: a sandbox of its own, and raw HTTP over TLS, for what no client library would send.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BASE = "/sms_oper_contract/api/customers"
SUBACCOUNTS = f"{BASE}/1/subaccounts"
MAPPINGS = f"{BASE}/1/contractSubaccountMappings"

VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"
TEXT = "text/plain;charset=UTF-8"

#: How long anything here may take before it counts as hanging; it is only reached by what is wrong.
PATIENCE = 30.0


@dataclass(frozen=True)
class Door:
    """A sandbox that runs: its port, its folder, what it writes to stderr, its process."""

    port: int
    folder: Path
    log: Path
    process: int

    def tls(self, user: str | Path | None = "xyz") -> ssl.SSLContext:
        """The TLS settings of *user*: a name, a PEM file with key and certificates, or None for no certificate."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if user is not None:
            context.load_cert_chain(self.folder / "clients" / f"{user}.pem" if isinstance(user, str) else user)
        return context

    def connect(
        self,
        user: str | Path | None = "xyz",
        *,
        tls: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        receive_buffer: int | None = None,
    ) -> Wire:
        """A new connection of *user*, or with the TLS settings *tls*."""
        raw = self.tcp(receive_buffer)
        try:
            return Wire((tls or self.tls(user)).wrap_socket(raw, server_hostname="localhost", session=session))
        except BaseException:
            raw.close()
            raise

    def tcp(self, receive_buffer: int | None = None) -> socket.socket:
        """A new connection before its handshake."""
        raw = socket.socket()
        raw.settimeout(PATIENCE)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.connect(("127.0.0.1", self.port))
        return raw

    def answer(self, request: bytes, user: str | Path | None = "xyz") -> Answer:
        """The first answer to *request*, sent as it is on a new connection."""
        with self.connect(user) as wire:
            wire.send(request)
            return wire.answer(request.partition(b" ")[0].decode("latin-1"))

    def logged(self, **wanted: object) -> dict[str, Any]:
        """The first line of the log that has these keys and values; waits until it is written."""
        for event in self.events():
            if all(event.get(key) == value for key, value in wanted.items()):
                return event
        raise AssertionError(f"the log has no line with {wanted}")

    def events(self) -> Iterator[dict[str, Any]]:
        """What the log says from its beginning on, as it grows, until nothing has come for a while."""
        # A file gives no sign when it grows; `tail` knows how to wait for that.
        follow = ["timeout", str(PATIENCE / 6), "tail", "-c", "+1", "-f", str(self.log)]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, encoding="utf-8") as tail:
            assert tail.stdout is not None
            try:
                for line in tail.stdout:
                    if line.startswith("{"):
                        yield json.loads(line)
            finally:
                tail.terminate()

    def memory(self) -> int:
        """The bytes of memory that the process has now."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Wire:
    """A TLS connection, and what has come on it and was not yet read as an answer."""

    tls: ssl.SSLSocket
    kept: bytes = field(default=b"", repr=False)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    def send(self, *pieces: bytes) -> None:
        """Sends each of *pieces* in a record of its own; that the server has closed is seen by its answer."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            for piece in pieces:
                self.tls.sendall(piece)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, to a request with *method*; its framing is held to the letter."""
        while b"\r\n\r\n" not in self.kept:
            self._more()
        head, _, self.kept = self.kept.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        assert reason
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        answer = Answer(int(status), tuple(headers), b"")
        if answer.status < 200 or answer.status in (204, 304):
            assert "content-length" not in dict(headers)
            return answer
        length = 0 if method == "HEAD" else int(answer["content-length"])
        while len(self.kept) < length:
            self._more()
        body, self.kept = self.kept[:length], self.kept[length:]
        return Answer(answer.status, answer.headers, body)

    def _more(self) -> None:
        piece = self.tls.recv(65536)
        assert piece, f"the connection ended after {self.kept!r}"
        self.kept += piece

    def rest(self) -> bytes:
        """Everything until the server closes."""
        pieces = [self.kept]
        with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
            while piece := self.tls.recv(65536):
                pieces.append(piece)
        self.kept = b""
        return b"".join(pieces)


@dataclass(frozen=True)
class Answer:
    """An answer as it came: names of fields in lower case, in their order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The value of the one field of this name."""
        (value,) = (value for key, value in self.headers if key == name)
        return value

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8")


def request(method: str, target: str, *fields: str, body: bytes | None = None, version: str = "HTTP/1.1") -> bytes:
    """A request with Host and these fields; Content-Length is added where there is a body."""
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    lines = [f"{method} {target} {version}", "Host: localhost", *length, *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


def get(target: str = SUBACCOUNTS, *fields: str) -> bytes:
    """A GET."""
    return request("GET", target, *fields)


def post(body: bytes, *fields: str, target: str = MAPPINGS) -> bytes:
    """A POST of the service's type."""
    return request("POST", target, f"Content-Type: {VENDOR}", *fields, body=body)


def update(subaccount_id: str, customer_id: int = 1, contract_id: int = 999999) -> bytes:
    """The message that maps August 2015 of a contract to a subaccount."""
    return f"""<contract_subaccount_mappings xmlns="http://xmlns.iso-ne.com/contract/customers">
<contract_subaccount_mapping>
<customer_id>{customer_id}</customer_id><contract_id>{contract_id}</contract_id>
<market_name/><buyer_name/><seller_name/>
<contract_begin>2015-08-01T04:00:00Z</contract_begin><contract_end>2015-10-01T04:00:00Z</contract_end><status/>
<contract_subaccount_mapping_version><begin>2015-08-01T04:00:00Z</begin><version/>
<subaccount_id>{subaccount_id}</subaccount_id></contract_subaccount_mapping_version>
</contract_subaccount_mapping>
</contract_subaccount_mappings>""".encode()


@contextlib.contextmanager
def door(
    folder: Path, *options: str, limits: Mapping[str, object] | None = None, terminal: int | None = None
) -> Iterator[Door]:
    """
    Runs a sandbox in *folder* with these limits while the `with` lasts, and sees that it ends well.

    Its stderr is the file `Door.log`, or the descriptor *terminal*.
    """
    log = folder.with_suffix(".log")
    environment = {
        **os.environ,
        **{f"IBT_LIMIT_{name.upper()}": str(value) for name, value in (limits or {}).items()},
    }
    command = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0", *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=terminal or stderr, text=True, env=environment
        )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), log.read_text()
        port = int(ready.split(":")[3].partition("/")[0])
        yield Door(port, folder, log, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
