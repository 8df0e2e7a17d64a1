"""
What the client costs: a large download beside the same pages fetched raw, and a large plan with its apply.

    .venv/bin/python benchmarks/client.py [CONTRACTS [ROUNDS]]

Each contract has 12 mapping versions, so the 25,000 of the default have 300,000. The client's download and the raw
one take turns, each in a process of its own, on one kept-alive connection; the first line has the median of
their ratios, which is to be at most 1.3, and the memory of each at its highest, which is not to grow with the
number of contracts. The second has 12,000 changes, planned and applied.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from ibt import Client, Month, Wish
from ibt.client import months, read_identity, tls_context

PAGE = 1000

#: A URL, a folder with certificates, how many pages.
Place = tuple[str, Path, int]


def main(contracts: int = 25_000, rounds: int = 5) -> None:
    """Prints the two lines."""
    with tempfile.TemporaryDirectory() as folder, _sandbox(Path(folder), contracts) as url:
        place = (url, Path(folder) / "sandbox", -(-contracts * 12 // PAGE))
        _alone(raw, place)  # so that what is made on first use is there
        pairs = [(_alone(download, place), _alone(raw, place)) for _ in range(rounds)]
        ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
        ours, theirs = (tuple(map(statistics.median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
        print(
            f"{contracts * 12} versions: client {ours[0]:.2f} s, raw {theirs[0]:.2f} s, {ratio:.2f} times; "
            f"at most {ours[1]:.0f} MB and {theirs[1]:.0f} MB"
        )
        planned, applied, memory = _alone(change, place)
        print(f"12000 changes: planned in {planned:.2f} s, applied in {applied:.2f} s, at most {memory:.0f} MB")


def download(place: Place) -> tuple[float, ...]:
    """Seconds and megabytes of reading all mappings with the client."""
    with _client(place) as client:
        client.subaccounts()
        begin = time.perf_counter()
        versions = sum(len(mapping.versions) for mapping in client.mappings())
        seconds = time.perf_counter() - begin
        assert versions == client.mappings().total
    return seconds, _megabytes()


def raw(place: Place) -> tuple[float, ...]:
    """Seconds and megabytes of fetching the same pages, of which nothing is read."""
    url, folder, pages = place
    context = tls_context(read_identity(folder / "clients" / "one.pem"), folder / "ca.pem")
    with httpx2.Client(base_url=f"{url}/1", verify=context, timeout=60.0) as client:
        client.get("/subaccounts")
        begin = time.perf_counter()
        for page in range(pages):
            answer = client.get("/contractSubaccountMappings", params={"limit": PAGE, "start": page * PAGE})
            assert answer.status_code == 200
            answer.content  # noqa: B018 - decompressed, as the client does
        return time.perf_counter() - begin, _megabytes()


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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _sandbox(folder: Path, contracts: int) -> Iterator[str]:
    data = folder / "data"
    data.mkdir()
    begin, end = "2015-01-01T05:00:00Z", "2016-01-01T05:00:00Z"
    files = {
        "customers.csv": ["customer_id,name", "1,One", "2,Two"],
        "users.csv": ["user,customer_id,role", "one,1,IBT"],
        "subaccounts.csv": ["customer_id,subaccount_id,begin,end,name,status", "1,A,2010-01-01T05:00:00Z,,A,Active"],
        "contracts.csv": [
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status",
            *(f"{1 + n},R{n},LOAD REAL TIME,4000,1,2,{begin},{end},Conf" for n in range(contracts)),
        ],
    }
    for name, lines in files.items():
        (data / name).write_text("\n".join([*lines, ""]))
    command = [sys.executable, "-m", "ibt", "sandbox", "--dir", str(folder / "sandbox"), "--data", str(data)]
    environment = os.environ | {"XDG_CONFIG_HOME": str(folder / "config")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("ready: ").strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
