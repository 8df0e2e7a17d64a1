"""
How fast is each operation, how far from what the machine can do, and how cost grows: one command, one table.

Every figure is a ratio to its floor, measured in the same run: candidates and floors take turns, and the median
counts. Absolute figures stand beside it for orientation, with the microseconds of the processor per answer, which
are steadier where other work shares the machine. Answers are checked; a wrong one is a failure and is shown.

    python benchmarks/bench.py [--full] [--only NAME] [--rounds 3] [--seconds 1.3] [--json FILE]

--only runs the rows, and the parts `growth` and `shares`, whose names have NAME in them; it may be given again.
`benchmarks/report.py` makes docs/performance.md of the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import growth
import servers
import shares
from asking import BASE
from rows import Found, Site, in_turn, rows
from servers import service

__all__ = ["BASE", "service", "serving"]

#: Where markets are kept for a second run, unless --keep says otherwise.
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ibt-bench"

_LIBRARIES = ("uvicorn", "uvloop", "httptools", "sqlalchemy", "psycopg", "lxml", "structlog", "prometheus-client")


@contextmanager
def serving(*command: str) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    with servers.running(Path(), *command) as server:
        yield server.port


def machine(postgresql: Path | None) -> dict[str, Any]:
    """What this ran on, and how busy that was before."""
    processors = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    versions["SQLite"] = sqlite3.sqlite_version
    if postgresql:
        told = subprocess.run([postgresql / "postgres", "--version"], check=True, capture_output=True, text=True)
        versions["PostgreSQL"] = told.stdout.split()[2]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": platform.platform(),
        "processor": processors[0] if processors else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": versions,
        "load_before": os.getloadavg(),
    }


_HEAD = (
    "| Operation | Floor | Goal | Ratio (least to most) | | by processor | a second | floor | p50 ms | p99 ms "
    "| µs service | µs database | wrong |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: Found) -> str:
    """The figures of a row, as a line of a table in Markdown."""
    goal = "" if row.goal is None else f"{'at most ' if row.times else ''}{row.goal:.2f}{'x' if row.times else ''}"
    judged = {None: "", True: "met", False: "missed"}[row.met]
    ours = row.ours
    micros = [f"{ours['processor'][who]:.0f}" if who in ours["processor"] else "" for who in ("service", "database")]
    shown = (
        row.operation,
        row.floor,
        goal,
        f"{row.ratio:.2f} ({row.least:.2f} to {row.most:.2f})",
        judged,
        "" if row.by_processor is None else f"{row.by_processor:.2f}",
        *(f"{rate:.0f}" if rate >= 10 else f"{rate:.2f}" for rate in (ours["rate"], row.theirs["rate"])),
        f"{ours['p50']:.2f}",
        f"{ours['p99']:.2f}",
        *micros,
        str(row.failures),
    )
    return f"| {' | '.join(shown)} |"


def main() -> None:
    """Runs the bench and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=Path, default=KEPT)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.seconds = options.seconds or (3.0 if options.full else 1.3)

    def wanted(name: str) -> bool:
        return not options.only or any(part in name for part in options.only)

    began = time.monotonic()
    found: dict[str, Any] = machine(servers.programs()) | {"full": options.full, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(dir=servers.on_disk(), prefix="ibt-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(stack, folder, options.keep, options.seconds)
        chosen = (row for row in rows(site, 1_000_000 if options.full else 100_000) if wanted(row.name))
        print(_HEAD, flush=True)
        found["rows"] = []
        for row in in_turn(chosen, options.rounds, full=options.full):
            print(line(row), flush=True)
            found["rows"].append(asdict(row))
            _write(options.json, found)
        for part in (growth, shares):
            if wanted(part.__name__):
                found[part.__name__] = part.measured(site, full=options.full, tell=_tell)
                _write(options.json, found)
    found["seconds"] = round(time.monotonic() - began)
    found["load_after"] = os.getloadavg()
    _write(options.json, found)
    print(f"\n{found['seconds']} seconds in all")
    if any(row["failures"] for row in found["rows"]):
        sys.exit("Some answers were wrong: see above.")


def _tell(line: str) -> None:
    print(line, flush=True)


def _write(path: Path | None, found: dict[str, Any]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")


#: What tells a person how a part goes on.
Tell = Callable[[str], None]

if __name__ == "__main__":
    main()
