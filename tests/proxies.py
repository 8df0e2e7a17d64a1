"""
HAProxy and nginx before services, each with its file of `deploy/`, on loopback and free ports.

Of such a file only what is an operator's own is changed: places, addresses, ports, names of users, and how long a
client may take. Each change is a text that the file has, and what stands in its place.
"""

from __future__ import annotations

import csv
import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import certificates
from ibt.conformance.server import PATIENCE, Server
from ibt.sandbox import pki

DEPLOY = Path(__file__).parents[1] / "deploy"

#: How long a client may take for a head or a body, in the place of 30 and 60 seconds.
CLIENT_SECONDS = 5

PATH = "/sms_oper_contract/api/customers"


@dataclass(frozen=True)
class Place:
    """A folder with certificates as a sandbox has them, a database with a market, and the key of the authority."""

    folder: Path
    url: str
    authority: certificates.Authority


def made(folder: Path, market: Path, url: str) -> Place:
    """Certificates for the users of *market*, which is loaded into the database."""
    now = datetime.now(UTC)
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, "localhost", now)
    with (market / "users.csv").open(encoding="utf-8", newline="") as file:
        users = sorted({row["user"] for row in csv.DictReader(file)})
    pki.client_certificates(folder, issuer, users, now)
    ibt("db", "upgrade", "--database", url)
    ibt("load", str(market), "--database", url)
    key = load_pem_private_key((folder / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    return Place(folder, url, certificates.Authority(key, authority, folder))


def ibt(*arguments: str) -> None:
    """The command, which is to end well."""
    command = [sys.executable, "-m", "ibt", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


# --- a service --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """`ibt serve` behind a proxy: its process, its ports, its socket for proxies, what it logs."""

    process: subprocess.Popen[str]
    port: int
    operator_port: int
    socket: Path
    log: Path


def serve(place: Place, port: int, operator_port: int, *options: str) -> list[str]:
    """The command of a service with two workers that takes the word of a proxy from 127.0.0.1."""
    return [
        *(sys.executable, "-m", "ibt", "serve", "--workers", "2", "--database", place.url),
        *("--port", str(port), "--operator-port", str(operator_port)),
        *("--server-certificate", str(place.folder / "server.pem"), "--client-ca", str(place.folder / "ca.pem")),
        *("--trusted-proxies", "127.0.0.1", *options),
    ]


@contextmanager
def serving(place: Place, folder: Path, *options: str) -> Iterator[Service]:
    """Runs a service, which has a socket for proxies too, and sees that it ends well."""
    port, operator_port = free_ports(2)
    path, log = folder / "proxy.sock", folder / "service.log"
    command = serve(place, port, operator_port, "--proxy-socket", str(path), *options)
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("ready: "), log.read_text()
        yield Service(process, port, operator_port, path, log)
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- the proxies ------------------------------------------------------------------------------------------


def changed(name: str, changes: Mapping[str, str]) -> str:
    """The file *name* of `deploy/` with these changes."""
    text = (DEPLOY / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    return text


@contextmanager
def haproxy(place: Place, folder: Path, services: Sequence[tuple[int, int]]) -> Iterator[Server]:
    """Runs HAProxy before services, each with its port and its operator's; a second one that is not there is away."""
    (port,) = free_ports(1)
    ports = [*services, *(tuple(free_ports(2)) for _ in range(2 - len(services)))]
    changes = {
        "user haproxy": f"user {getpass.getuser()}",
        "group haproxy": f"gid {os.getgid()}",
        "log /dev/log local0": "log stdout format raw local0",
        "bind :8443": f"bind 127.0.0.1:{port}",
        "/etc/haproxy/server.pem": str(place.folder / "server.pem"),
        "/etc/haproxy/client-ca.pem": str(place.folder / "ca.pem"),
        "/etc/haproxy/service-ca.pem": str(place.folder / "ca.pem"),
        "ibt.example.org": "localhost",
        "timeout http-request 30s": f"timeout http-request {CLIENT_SECONDS}s",
        "wait-for-body time 60s": f"wait-for-body time {CLIENT_SECONDS}s",
    }
    changes |= {
        f"192.0.2.1{number}:8443": f"127.0.0.1:{serves} port {tells}"
        for number, (serves, tells) in enumerate(ports, start=1)
    }
    file = folder / "haproxy.cfg"
    file.write_text(changed("haproxy.cfg", changes))
    with _running(["haproxy", "-db", "-f", str(file)], folder / "haproxy.log", port):
        yield Server(f"https://localhost:{port}{PATH}", place.folder)


@contextmanager
def nginx(place: Place, folder: Path, service: Service) -> Iterator[Server]:
    """Runs nginx before a service, to whose socket it speaks."""
    (port,) = free_ports(1)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in kinds)
    changes = {
        "user www-data;": f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        "/run/nginx.pid": str(folder / "nginx.pid"),
        "/var/log/nginx/": f"{folder}/nginx-",
        "http {\n": "http {\n" + places,
        "js_path /etc/nginx/": f"js_path {DEPLOY}/",
        "listen 8443 ": f"listen 127.0.0.1:{port} ",
        "/etc/nginx/server.pem": str(place.folder / "server.pem"),
        "/etc/nginx/server-key.pem": str(place.folder / "server.pem"),
        "/etc/nginx/client-ca.pem": str(place.folder / "ca.pem"),
        "/run/ibt/proxy.sock": str(service.socket),
        "client_header_timeout 30s": f"client_header_timeout {CLIENT_SECONDS}s",
        "client_body_timeout 60s": f"client_body_timeout {CLIENT_SECONDS}s",
    }
    file = folder / "nginx.conf"
    file.write_text(changed("nginx.conf", changes))
    with _running(["nginx", "-c", str(file), "-g", "daemon off;"], folder / "nginx.log", port):
        yield Server(f"https://localhost:{port}{PATH}", place.folder)


@contextmanager
def _running(command: Sequence[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "PATH": _path()})
    try:
        _await_listening(port, process, log)
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _path() -> str:
    """Where programs of the system lie, also those that only an administrator usually runs."""
    return f"{os.environ['PATH']}:/usr/sbin"


def _await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    begin = time.monotonic()
    while True:
        assert process.poll() is None, log.read_text()
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() - begin < PATIENCE, log.read_text()
