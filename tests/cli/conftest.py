"""A sandbox with the demonstration world, and the command `ibt` with a configuration of its own."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

import certificates
from client.proxy import Gateway, gateway
from ibt.cli import main

NOW = "2015-07-11T12:01:22Z"

PATIENCE = 20.0

#: What a terminal colours and clears with.
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that serves, and the folder of the configuration in which it has left its profile."""

    url: str
    folder: Path
    config: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, user: str, ending: str = "pem") -> Path:
        return self.folder / "clients" / f"{user}.{ending}"


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox of all these tests."""
    place = tmp_path_factory.mktemp("cli")
    start = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(place / "sandbox"), "--port", "0", "--now", NOW]
    environment = os.environ | {"XDG_CONFIG_HOME": str(place / "config")}
    log = place / "log"
    with (
        log.open("wb") as err,
        subprocess.Popen(start, stdout=subprocess.PIPE, stderr=err, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready: "), log.read_text()
            url = ready.removeprefix("ready: ").strip()
            yield Sandbox(url, place / "sandbox", place / "config" / "ibt")
        finally:
            process.terminate()
            process.wait(PATIENCE)


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class Command:
    """Runs `ibt` in this process, as if from a shell whose environment has *variables* and no others of ours."""

    capture: pytest.CaptureFixture[str]
    config: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: object, **variables: str) -> Ran:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("IBT_")]:
                patch.delenv(name)
            for name, value in {**self.variables, **variables}.items():
                patch.setenv(name, value)
            patch.setenv("XDG_CONFIG_HOME", str(self.config))
            patch.setattr(sys, "stdin", io.StringIO())
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        out, err = self.capture.readouterr()
        return Ran(int(ended.value.code or 0), out, err)


@pytest.fixture
def ibt(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in an empty folder, without profiles."""
    monkeypatch.chdir(tmp_path)
    return Command(capsys, tmp_path / "config")


@pytest.fixture
def as_user(ibt: Command, sandbox: Sandbox) -> Callable[[str, int], Command]:
    """The command as a user of the sandbox, for a customer."""

    def command(user: str, customer: int) -> Command:
        certificate = str(sandbox.certificate(user))
        named = {"IBT_URL": sandbox.url, "IBT_CERTIFICATE": certificate, "IBT_CA": str(sandbox.ca)}
        return Command(ibt.capture, ibt.config, {**named, "IBT_CUSTOMER": str(customer)})

    return command


@pytest.fixture
def xyz(as_user: Callable[[str, int], Command]) -> Command:
    """The command as the specification's own user."""
    return as_user("xyz", 1)


@pytest.fixture
def door(sandbox: Sandbox, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway before the sandbox, which asks as user `xyz`."""
    context = ssl.create_default_context(cafile=sandbox.ca)
    context.load_cert_chain(sandbox.certificate("xyz"))
    place = tmp_path / "gateway"
    place.mkdir()
    with httpx2.Client(base_url=sandbox.url, verify=context) as upstream, gateway(upstream, place) as between:
        yield between


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def files(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A folder with files that do not serve."""
    folder = tmp_path / "files"
    folder.mkdir()
    text = sandbox.certificate("xyz").read_text()
    for name, part in (("certificate", "CERTIFICATE"), ("key", "PRIVATE KEY")):
        found = re.search(f"-----BEGIN {part}-----.*?-----END {part}-----\n", text, re.DOTALL)
        assert found is not None
        (folder / f"{name}.pem").write_text(found[0])
    (folder / "text.pem").write_text("no certificate")
    other = re.search("-----BEGIN PRIVATE.*", sandbox.certificate("two").read_text(), re.DOTALL)
    assert other is not None
    (folder / "other.pem").write_text(other[0])
    authority = certificates.root("Other", folder)
    shutil.copy(authority.client("xyz").pem, folder / "stranger.pem")
    past = datetime.now(UTC) - timedelta(days=2)
    shutil.copy(authority.client("xyz", begin=past - timedelta(days=9), end=past).pem, folder / "expired.pem")
    return folder


def on_a_terminal(
    *arguments: object, folder: Path, variables: dict[str, str], asked: str = "", typed: str = ""
) -> Ran:
    """
    Runs `ibt` with a terminal for everything; *out* is what that shows. Once it shows *asked*, *typed* is typed.
    """
    here, there = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IBT_")}
    environment |= {"TERM": "xterm", "COLUMNS": "200", **variables}
    command = [sys.executable, "-m", "ibt", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=there,
        stdout=there,
        stderr=there,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=_take_the_terminal,  # noqa: PLW1509 - two calls; so Ctrl-C comes through
    ) as process:
        os.close(there)
        try:
            shown = b""
            has_typed = not typed
            for piece in _pieces(here):
                shown += piece
                if not asked or asked.encode() not in shown:
                    continue
                # Python notices an interrupt that comes just before it begins to read with the next key only: as a
                # person would, Ctrl-C is typed again where nothing happens.
                if not has_typed or (typed == "\x03" and not piece):
                    os.write(here, typed.encode())
                    has_typed = True
        finally:
            os.close(here)  # ends what would wait for more
        status = process.wait(PATIENCE)
    return Ran(status, _CONTROLS.sub("", shown.decode()).replace("\r\n", "\n"), "")


def _take_the_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs the tests in the background ignores it


def _pieces(terminal: int) -> Iterator[bytes]:
    """What the terminal shows, piece by piece; an empty one for each second in which it shows nothing."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            yield b""
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # nobody is left who writes there
            return
        if not piece:
            return
        yield piece
