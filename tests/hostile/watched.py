"""
A sandbox whose process is looked at from outside: its memory, its open files, the system calls that open something.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ibt.conformance.server import NOW, PATIENCE, Server

MEBIBYTE = 1024 * 1024

_CALLS = "open,openat,openat2,creat,connect,socket"


@dataclass(frozen=True)
class Watched:
    """A sandbox that serves: where, which process it is, its log, and the trace of its system calls."""

    server: Server
    process: int
    log: Path
    trace: Path

    def memory(self) -> int:
        """The bytes of memory that the process has now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory that the process had since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """The peak is what the process has now."""
        self._proc("clear_refs").write_text("5")

    def worked(self) -> float:
        """The seconds that the process and its threads, those that ended too, were on a processor."""
        user, system = self._proc("stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> list[str]:
        """What each open file of the process is; sockets and the like without their numbers."""
        found = []
        for link in self._proc("fd").iterdir():
            try:
                found.append(re.sub(r":\[\d+\]", "", os.readlink(link)))
            except FileNotFoundError:  # it has just been closed
                continue
        return sorted(found)

    def _status(self, name: str) -> int:
        (kibibytes,) = re.findall(rf"^{name}:\s+(\d+) kB$", self._proc("status").read_text(), re.MULTILINE)
        return int(kibibytes) * 1024

    def _proc(self, name: str) -> Path:
        return Path("/proc") / str(self.process) / name


@contextmanager
def watched(folder: Path, *options: str, traced: bool = False, **environment: str) -> Iterator[Watched]:
    """
    Runs a sandbox in *folder* while the `with` lasts, with variables of its own, and sees that it ends well.

    *traced*: strace follows it, and all of its threads, into `Watched.trace`.
    """
    log, trace = folder.with_suffix(".log"), folder.with_suffix(".trace")
    # -D makes strace a grandchild, so that the process that we start is the service itself.
    strace = ["strace", "-D", "-f", "--seccomp-bpf", "-s", "4096", "-o", str(trace), "-e", f"trace={_CALLS}"]
    command = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder), "--port", "0", "--now", NOW, *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*strace, *command] if traced else command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **environment},
        )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), f"the sandbox did not start: {log.read_text()}"
        yield Watched(Server(ready.removeprefix("ready: ").strip(), folder), process.pid, log, trace)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, f"the sandbox did not end well: {log.read_text()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
