"""
The server under test: a sandbox that the suite starts, or any server with a URL and certificates.

This module knows the surface of `ibt sandbox` and nothing of how it works.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

#: The suite's own world; every sandbox but the demonstration has it.
WORLD = Path(__file__).parent / "world"

#: The time of the specification's sample answer (3.2.9), at which the sandboxes' clocks stand.
NOW = "2015-07-11T12:01:22Z"

VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml;charset=UTF-8"
XML = "application/xml;charset=UTF-8"
TEXT = "text/plain;charset=UTF-8"

#: How long the suite waits for anything; well above what a writer may wait for another (reading 54).
PATIENCE = 30.0


@dataclass(frozen=True)
class Server:
    """Where the service is, and the folder with `ca.pem` and `clients/USER.pem`."""

    url: str
    directory: Path

    @property
    def port(self) -> int:
        """The TCP port of the service."""
        return urlsplit(self.url).port or 443

    @property
    def host(self) -> str:
        """The host name that the server's certificate must carry."""
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        """The base path: `/sms_oper_contract/api/customers`."""
        return urlsplit(self.url).path

    def tls(self, user: str | Path | None) -> ssl.SSLContext:
        """The TLS settings of *user*: a name, a PEM file with key and certificate, or None for no certificate."""
        context = ssl.create_default_context(cafile=self.directory / "ca.pem")
        if user is not None:
            context.load_cert_chain(self.directory / "clients" / f"{user}.pem" if isinstance(user, str) else user)
        return context

    def client(self, user: str | Path | None) -> httpx2.Client:
        """A client with *user*'s certificate; its paths begin after the base path, as in `/1001/subaccounts`."""
        return httpx2.Client(
            base_url=self.url,
            verify=self.tls(user),
            headers={"Accept-Encoding": "identity"},
            timeout=PATIENCE,
            trust_env=False,
        )


@dataclass(frozen=True)
class Start:
    """A start of `ibt sandbox` that came to its end by itself: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of standard error."""
        return self.err.splitlines()


def command(directory: Path, *options: str) -> list[str]:
    """The command that starts a sandbox in *directory* on a free port, at the frozen time."""
    start = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(directory), "--port", "0", "--now", NOW]
    return [*start, *options]


def failed_start(directory: Path, *options: str) -> Start:
    """Starts a sandbox that is expected to end at once, and waits for it."""
    ended = subprocess.run(  # noqa: S603 - our own command, and no shell
        command(directory, *options), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return Start(ended.returncode, ended.stdout, ended.stderr)


def _apart(directory: Path, env: dict[str, str] | None) -> dict[str, str]:
    """The environment of a sandbox that leaves its profile beside *directory*, not in the home of whoever runs it."""
    return {**(os.environ if env is None else env), "XDG_CONFIG_HOME": str(directory.parent / "profiles")}


@contextmanager
def sandbox(directory: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """Runs a sandbox in *directory* while the `with` lasts; what it says is in `directory.log` beside it."""
    log = directory.with_suffix(".log")
    with log.open("ab") as err:
        process = subprocess.Popen(  # noqa: S603 - our own command, and no shell
            command(directory, *options), stdout=subprocess.PIPE, stderr=err, text=True, env=_apart(directory, env)
        )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), f"the sandbox did not start: {log.read_text()}"
        yield Server(ready.removeprefix("ready: ").strip(), directory)
        process.terminate()
        assert process.wait(PATIENCE) == 0, f"the sandbox did not end well: {log.read_text()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
