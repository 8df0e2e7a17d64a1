"""
A clock that is stepped while a process runs: libfaketime between the process and what the system says of the time.

As where someone sets the system's clock: what a step changes is the time of day; the monotonic clock runs on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

MISSING = (
    "The tests need libfaketime, and it is not on this machine: install the package faketime, with `make system` or "
    "`apt-get install faketime`"
)

#: libfaketime 0.9.10 takes Python's sleep, until a moment of the monotonic clock, for one of the time of day.
_SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"


class SteppedClock:
    """The clock of processes that get *environment* on top of ours; *folder* is one that is not there yet."""

    def __init__(self, folder: Path) -> None:
        self._library = _library()
        self._folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SLEEP)
        self.step(timedelta())

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process has to be given."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._folder / "time"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # as the library called it before
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self._folder), os.environ.get("PYTHONPATH")])),
        }

    def step(self, off: timedelta) -> None:
        """Steps it: *off* is how far it is from the real time now."""
        written = self._folder / "time.new"
        written.write_text(f"{off.total_seconds():+.0f}s\n")
        written.replace(self._folder / "time")  # a process may read it at this moment
        self._off = off

    def now(self) -> datetime:
        """What it shows."""
        return datetime.now(UTC) + self._off


def _library() -> str:
    """What is to be preloaded; the program knows where its library lies. Fails where there is none."""
    if shutil.which("faketime") is None:
        pytest.fail(MISSING, pytrace=False)
    command = ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
