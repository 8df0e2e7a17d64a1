"""
How an honest client fares beside a thousand that keep the service waiting, in each way that they can.

    .venv/bin/python benchmarks/slow_clients.py [CONNECTIONS [REQUESTS]]

Each line has the times of the honest requests, one after the other and each tenth on a new connection, first
without and then with the crowd, how much slower p99 is, and how much memory the crowd took. The promise is at
most twice the p99 and 200 MB (reading 53).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "door"))

from crowd import WAYS, crowd, honest
from wire import door


def main(connections: int = 1000, requests: int = 3000) -> None:
    """Prints a line for each way."""
    for way, sent in WAYS.items():
        limits = {f"{name}_seconds": 600 for name in ("handshake", "head", "body", "idle")}
        with tempfile.TemporaryDirectory() as folder, door(Path(folder) / "sandbox", limits=limits) as service:
            honest(service, requests // 10)  # so that what is made on first use is there
            alone = honest(service, requests)
            memory = service.memory()
            with crowd(service, connections, sent):
                beside = honest(service, requests)
                more = (service.memory() - memory) / 1e6
        print(f"{way}: alone {alone}; beside {beside}; p99 {beside.p99 / alone.p99:.2f} times; {more:.0f} MB more")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
