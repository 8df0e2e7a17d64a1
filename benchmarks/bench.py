"""
How fast is each operation, and how far from what the machine can do: one command, one table.

Every figure is a ratio to its floor, measured in the same run: candidates and floors take turns, three rounds,
the median counts. Absolute figures stand beside it for orientation. Answers are checked; a wrong one is a
failure and is shown.

    python benchmarks/bench.py [--rounds 3] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import market
from load import Load, Measured, measure

from ibt.messages import read_update
from ibt.rules.periods import write_time
from ibt.store import Database

HERE = Path(__file__).parent
MARKET = market.Market(customers=100, contracts=1000)
BASE = "/sms_oper_contract/api/customers"
VENDOR = "application/vnd.iso-ne.contract.customers.v1+xml"


@dataclass(frozen=True)
class Row:
    """An operation, its floor and the ratio that is aimed at, with what measures each: answers a second."""

    operation: str
    floor: str
    goal: float
    measured: Callable[[], Measured]
    of_floor: Callable[[], Measured]


@dataclass(frozen=True)
class Found:
    """A row's figures: the median of the rounds, the spread of the ratio, all wrong answers."""

    operation: str
    floor: str
    goal: float
    ratio: float
    least: float
    most: float
    rate: float
    floor_rate: float
    p50: float
    p99: float
    failures: int


@contextmanager
def serving(*command: str) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=nowhere, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        found = re.search(r"(?:localhost|127\.0\.0\.1):(\d+)|ready (\d+)", ready)
        assert found, f"it did not start: {ready}"
        yield int(found[1] or found[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def service(folder: Path, database: str, *options: str) -> list[str]:
    """The command that serves *database* with the certificates of *folder*."""
    files = ["--server-certificate", str(folder / "server.pem"), "--client-ca", str(folder / "ca.pem")]
    return [
        "-m",
        "ibt",
        "serve",
        "--port",
        "0",
        "--workers",
        "1",
        "--operator-port",
        "0",
        "--database",
        database,
        *files,
        *options,
    ]


def get(path: str, *fields: str) -> str:
    """A raw GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: */*", *fields]
    return "\r\n".join(lines) + "\r\n\r\n"


def post(customer_id: int, body: str) -> str:
    """A raw POST of an update."""
    path = f"{BASE}/{customer_id}/contractSubaccountMappings"
    fields = f"Host: localhost\r\nContent-Type: {VENDOR}\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}"


def update(customer_id: int, contracts: int, months: int, changed: int, subaccount_id: str) -> str:
    """An update of the first contracts of a customer, of which the first *changed* versions ask for another."""
    periods = market.periods(MARKET)[:months]
    begin, end = write_time(market.periods(MARKET)[0].begin), write_time(market.periods(MARKET)[-1].end)
    mappings = []
    left = changed
    for contract_id in market.contract_ids(MARKET, customer_id)[:contracts]:
        versions = []
        for period in periods:
            wanted = subaccount_id if left > 0 else "Default"
            left -= 1
            versions.append(
                "<contract_subaccount_mapping_version>"
                f"<begin>{write_time(period.begin)}</begin><end>{write_time(period.end)}</end>"
                f"<version/><subaccount_id>{wanted}</subaccount_id></contract_subaccount_mapping_version>"
            )
        mappings.append(
            f"<contract_subaccount_mapping><customer_id>{customer_id}</customer_id><contract_id>{contract_id}"
            "</contract_id><market_name/><buyer_name/><seller_name/>"
            f"<contract_begin>{begin}</contract_begin><contract_end>{end}</contract_end><status/>"
            f"{''.join(versions)}</contract_subaccount_mapping>"
        )
    namespace = "http://xmlns.iso-ne.com/contract/customers"
    return f'<contract_subaccount_mappings xmlns="{namespace}">{"".join(mappings)}</contract_subaccount_mappings>'


def in_turn(rows: list[Row], rounds: int) -> Iterator[Found]:
    """Measures the rows, candidate and floor in turn."""
    for row in rows:
        pairs = [(row.measured(), row.of_floor()) for _ in range(rounds)]
        ratios = [ours.rate / floor.rate for ours, floor in pairs]
        middle = sorted(pairs, key=lambda pair: pair[0].rate)[len(pairs) // 2][0]
        yield Found(
            row.operation,
            row.floor,
            row.goal,
            ratio=statistics.median(ratios),
            least=min(ratios),
            most=max(ratios),
            rate=middle.rate,
            floor_rate=statistics.median(floor.rate for _, floor in pairs),
            p50=middle.p50,
            p99=middle.p99,
            failures=sum(ours.failures + floor.failures for ours, floor in pairs),
        )


def timed(work: Callable[[], object], seconds: float) -> Measured:
    """*work* done again and again in this process, as if each were an answer."""
    work()
    took = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        took.append(time.perf_counter() - began)
    took.sort()
    p50, p99 = took[len(took) // 2], took[-1 - len(took) // 100]
    return Measured(len(took) / sum(took), 1000 * p50, 1000 * p99, len(took), failures=0, bytes=0)


def bare_update(path: Path) -> Callable[[], object]:
    """The floor of a POST: one durable transaction of the bare driver that updates one row and adds two."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = wal", "synchronous = full"):
        connection.execute(f"pragma {pragma}")
    connection.execute("create table a (k integer primary key, v)")
    connection.execute("insert into a values (0, 0)")

    def once() -> None:
        connection.execute("begin immediate")
        connection.execute("update a set v = v + 1 where k = 0")
        connection.execute("insert into a (v) values (1)")
        connection.execute("insert into a (v) values (2)")
        connection.execute("commit")

    return once


def rows_of(stack: ExitStack, folder: Path, seconds: float) -> list[Row]:
    """Every row, its servers started."""
    url = f"sqlite:///{folder / 'ibt.db'}"
    market.build(Database(url), MARKET)
    market.certificates(folder, 16)
    forgetful = stack.enter_context(serving(*service(folder, url, "--remember", "0")))
    remembering = stack.enter_context(serving(*service(folder, url)))
    static = stack.enter_context(serving(str(HERE / "floors" / "static.py"), str(folder), "200", "8192"))
    unchanged = stack.enter_context(serving(str(HERE / "floors" / "static.py"), str(folder), "304", "0"))

    def ask(port: int, requests: list[str], status: int = 200, connections: int = 8, user: str = "user1") -> Measured:
        certificate = str(folder / "clients" / f"{user}.pem")
        return measure(Load(port, str(folder / "ca.pem"), certificate, requests, connections, seconds, status))

    collection = f"{BASE}/1/contractSubaccountMappings"
    shuffled = random.Random(1)
    starts = [25 * shuffled.randrange(MARKET.versions // 25) for _ in range(400)]
    pages = [get(f"{collection}?start={start}&limit=25") for start in starts]
    contracts = [get(f"{collection}/{contract_id}") for contract_id in market.contract_ids(MARKET, 1)[:400]]
    revision = (
        sqlite3.connect(folder / "ibt.db")
        .execute("select revision from customer_state where customer_id = 1")
        .fetchone()[0]
    )
    known = [get(f"{collection}?limit=25", f'If-None-Match: "{revision}.v"')]
    one_changed = [post(2, update(2, 3, 9, 1, f"S{100 + number}")) for number in (1, 2)]
    large = update(4, 1000, 12, 12_000, "S101")
    large_posts = [post(4, large), post(4, large.replace("S101", "S102"))]
    floor = partial(ask, static, [get("/")])
    durable = bare_update(folder / "bare.db")
    static_name = "static 8 KB, same server"
    return [
        Row("GET page of 25, not remembered", static_name, 0.50, partial(ask, forgetful, pages), floor),
        Row("GET page of 25, remembered", static_name, 0.85, partial(ask, remembering, pages[:100]), floor),
        Row(
            "GET unchanged (304)",
            "same server answering 304",
            0.80,
            partial(ask, remembering, known, 304),
            partial(ask, unchanged, [get("/")], 304),
        ),
        Row("GET one contract", static_name, 0.60, partial(ask, forgetful, contracts), floor),
        Row("GET 50 subaccounts", static_name, 0.60, partial(ask, forgetful, [get(f"{BASE}/1/subaccounts")]), floor),
        Row(
            "POST of 25, one changed, 1 client",
            "bare durable transaction, sqlite3",
            0.60,
            partial(ask, forgetful, one_changed, 200, 1, "user2"),
            lambda: timed(durable, seconds),
        ),
        Row(
            "POST of 12,000, all changed",
            "parse + validate + extract alone",
            1 / 3,
            partial(ask, forgetful, large_posts, 200, 1, "user4"),
            lambda: timed(lambda: read_update(large.encode()), seconds),
        ),
    ]


def table(found: list[Found]) -> str:
    """The figures as a table of Markdown."""
    lines = [
        "| Operation | Floor | Goal | Ratio (least to most) | a second | floor | p50 ms | p99 ms | wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        spread = f"{row.ratio:.2f} ({row.least:.2f} to {row.most:.2f})"
        rates = f"{row.rate:.0f} | {row.floor_rate:.0f} | {row.p50:.2f} | {row.p99:.2f} | {row.failures}"
        lines.append(f"| {row.operation} | {row.floor} | {row.goal:.2f} | {spread} | {rates} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the bench and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        rows = rows_of(stack, Path(name), options.seconds)
        found = list(in_turn(rows, options.rounds))
    print(table(found))
    machine = {"machine": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    if options.json:
        options.json.write_text(json.dumps({**machine, "rows": [asdict(row) for row in found]}, indent=2))


if __name__ == "__main__":
    main()
