"""
What the client costs: a large download beside the same pages fetched raw, and a large plan with its apply.

    .venv/bin/python benchmarks/client.py [CONTRACTS [ROUNDS]]

Each contract has 12 mapping versions, so the 25,000 of the default have 300,000. The client's download and the raw
one take turns, each in a process of its own, on one kept-alive connection; a line has the median of their ratios,
which is to be at most 1.3, the seconds of the processor in the client alone, and the memory of each at its highest,
which is not to grow with the number of contracts.

There is a line for each of two markets and two services. In one market all contracts came at one time, so that a
page repeats itself; in the other each has a version time of its own. One service makes each page anew, the other
has all of them in its memory already, where the raw pages cost next to nothing. The last line of each market has
12,000 changes, planned and applied.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from ibt import Client, Month, Wish
from ibt.client import base_url, months, read_identity, tls_context
from ibt.rules.periods import read_time, write_time

PAGE = 1000

#: A URL, a folder with certificates, how many pages.
Place = tuple[str, Path, int]


def main(contracts: int = 25_000, rounds: int = 5) -> None:
    """Prints the lines."""
    for market, seconds_apart in (("contracts of one time", 0), ("each of its own time", 7)):
        with tempfile.TemporaryDirectory() as folder:
            sandbox, database = _market(Path(folder), contracts, seconds_apart)
            for remembers, options in (("pages made anew", ("--remember", "0")), ("pages remembered", ())):
                with _serving(*_service(sandbox, database), *options) as url:
                    place = (url, sandbox, -(-contracts * 12 // PAGE))
                    print(f"{market}, {remembers}: {_compared(place, rounds)}", flush=True)
            with _serving(*_service(sandbox, database)) as url:
                planned, applied, memory = _alone(change, (url, sandbox, 0))
            print(f"12000 changes: planned in {planned:.2f} s, applied in {applied:.2f} s, at most {memory:.0f} MB")


def _compared(place: Place, rounds: int) -> str:
    """Both downloads, in turn."""
    _alone(raw, place)  # so that what is made on first use is there
    pairs = [(_alone(download, place), _alone(raw, place)) for _ in range(rounds)]
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
    ours, theirs = (tuple(map(statistics.median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
    return (
        f"client {ours[0]:.2f} s, raw {theirs[0]:.2f} s, {ratio:.2f} times; "
        f"processor {ours[1]:.2f} s and {theirs[1]:.2f} s; at most {ours[2]:.0f} MB and {theirs[2]:.0f} MB"
    )


def download(place: Place) -> tuple[float, ...]:
    """Seconds, seconds of this process's processor, and megabytes of reading all mappings with the client."""
    with _client(place) as client:
        client.subaccounts()
        begin, busy = time.perf_counter(), time.process_time()
        versions = sum(len(mapping.versions) for mapping in client.mappings())
        took = time.perf_counter() - begin, time.process_time() - busy
        assert versions == client.mappings().total
    return *took, _megabytes()


def raw(place: Place) -> tuple[float, ...]:
    """The same of fetching the same pages, of which nothing is read."""
    url, folder, pages = place
    context = tls_context(read_identity(folder / "clients" / "one.pem"), folder / "ca.pem")
    with httpx2.Client(base_url=f"{url}/1", verify=context, timeout=60.0) as client:
        client.get("/subaccounts")
        begin, busy = time.perf_counter(), time.process_time()
        for page in range(pages):
            answer = client.get("/contractSubaccountMappings", params={"limit": PAGE, "start": page * PAGE})
            assert answer.status_code == 200
            answer.content  # noqa: B018 - decompressed, as the client does
        return time.perf_counter() - begin, time.process_time() - busy, _megabytes()


def change(place: Place) -> tuple[float, ...]:
    """Seconds of a plan of 12,000 changes, seconds of its apply, megabytes."""
    wanted = [Wish(1 + n, month, "A") for n in range(1000) for month in months(Month("2015-01"), Month("2015-12"))]
    with _client(place) as client:
        begin = time.perf_counter()
        plan = client.plan(wanted)
        planned = time.perf_counter()
        receipt = client.apply(plan)
        applied = time.perf_counter()
    assert len(receipt.changes) == 12_000
    return planned - begin, applied - planned, _megabytes()


def _client(place: Place) -> Client:
    url, folder, _ = place
    return Client(url, folder / "clients" / "one.pem", ca=folder / "ca.pem", customer=1, timeout=60.0)


def _alone(measure: Callable[[Place], tuple[float, ...]], place: Place) -> tuple[float, ...]:
    """What *measure* measures in a new process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (place,))


def _megabytes() -> float:
    # Not getrusage, which counts what the parent had before this process became its own.
    (most,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(most) / 1024


def _market(folder: Path, contracts: int, seconds_apart: int) -> tuple[Path, str]:
    """A sandbox's folder with certificates, and the URL of its database; nothing serves it."""
    data = folder / "data"
    data.mkdir()
    begin, end = "2015-01-01T05:00:00Z", "2016-01-01T05:00:00Z"
    first = read_time("2014-12-01T05:00:00Z")
    times = (write_time(first + timedelta(seconds=n * seconds_apart)) for n in range(contracts))
    files = {
        "customers.csv": ["customer_id,name", "1,One", "2,Two"],
        "users.csv": ["user,customer_id,role", "one,1,IBT"],
        "subaccounts.csv": ["customer_id,subaccount_id,begin,end,name,status", "1,A,2010-01-01T05:00:00Z,,A,Active"],
        "contracts.csv": [
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version",
            *(f"{1 + n},R{n},LOAD REAL TIME,4000,1,2,{begin},{end},Conf,{time}" for n, time in enumerate(times)),
        ],
    }
    for name, lines in files.items():
        (data / name).write_text("\n".join([*lines, ""]))
    sandbox = folder / "sandbox"
    with _serving("sandbox", "--dir", str(sandbox), "--data", str(data)):
        pass  # it is made, and goes
    return sandbox, f"sqlite:///{next(sandbox.glob('*.db'))}"


def _service(sandbox: Path, database: str) -> list[str]:
    """The command that serves *database* with the certificates of *sandbox*, in one process."""
    files = ["--server-certificate", str(sandbox / "server.pem"), "--client-ca", str(sandbox / "ca.pem")]
    return ["serve", "--database", database, *files, "--workers", "1", "--operator-port", "0"]


@contextmanager
def _serving(*command: str) -> Iterator[str]:
    """The URL of the service that *command* of `ibt` begins, for as long as the block runs."""
    start = [sys.executable, "-m", "ibt", *command, "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as configuration,
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            start,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"XDG_CONFIG_HOME": configuration},  # a sandbox leaves a profile
        ) as process,
    ):
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            log.seek(0)
            assert ready.startswith("ready: "), log.read()
            yield base_url(f"localhost:{urlsplit(ready.split()[1]).port}")
        finally:
            process.terminate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
