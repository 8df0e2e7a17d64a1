"""
What loading costs: `ibt load` into empty tables, with all its rules, beside the bare reading and inserting of rows.

Both are programs of their own, from start to end; the tables are there already.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import market
import servers
from load import Measured, processor_seconds
from market import Market

from ibt.rules.periods import write_time
from ibt.store import Database

if TYPE_CHECKING:
    from rows import Row, Site

_CATEGORIES = ("ENERGY DAY AHEAD", "ENERGY REAL TIME", "LOAD REAL TIME", "FCM LOAD OBLIGATION")
_CUSTOMERS = 20
_names = count(1)


def write_folder(folder: Path, lines: int) -> int:
    """The CSV files of a market with about *lines* mapping versions in history.csv; how many there are."""
    of = Market(_CUSTOMERS, max(1, lines // 12 // _CUSTOMERS))
    periods = [(write_time(period.begin), write_time(period.end)) for period in market.periods(of)]
    begin, end = periods[0][0], periods[-1][1]
    folder.mkdir()
    customers = range(1, _CUSTOMERS + 1)
    tables = {
        "customers.csv": ("customer_id,name", (f"{n},Customer {n}" for n in customers)),
        "users.csv": ("user,customer_id,role", (f"user{n},{n},IBT" for n in customers)),
        "subaccounts.csv": (
            "customer_id,subaccount_id,begin,end,name,status",
            (f"{n},S{k},2010-01-01T05:00:00Z,,Subaccount {k},Active" for n in customers for k in range(101, 151)),
        ),
        "contracts.csv": (
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status",
            (
                f"{contract_id},R{contract_id},{_CATEGORIES[contract_id % 4]},4000,{n},{n + 1},{begin},{end},Conf"
                for n in customers[::2]
                for contract_id in market.contract_ids(of, n)
            ),
        ),
        "history.csv": (
            "customer_id,contract_id,begin,end,version,subaccount_id",
            (
                f"{n},{contract_id},{first},{last},{begin},S{101 + contract_id % 50}"
                for n in customers
                for contract_id in market.contract_ids(of, n)
                for first, last in periods
            ),
        ),
    }
    for name, (header, each) in tables.items():
        with (folder / name).open("w") as file:
            file.write(f"{header}\n")
            file.writelines(f"{line}\n" for line in each)
    return of.versions * of.customers


def rows(site: Site, lines: int) -> Iterator[Row]:
    """A row for each kind of database."""
    from rows import Row  # noqa: PLC0415 - which has these among its own

    for where, bare in (("SQLite", "executemany"), ("PostgreSQL", "COPY")):
        yield Row(
            f"load-{where.lower()}",
            f"load of {lines:,} mappings, all rules checked, {where}",
            f"csv + convert + bare {bare}",
            1.3,
            lambda where=where: _loaded(site, where, lines, ours=True),  # type: ignore[misc]  # a default has no type
            lambda where=where: _loaded(site, where, lines, ours=False),  # type: ignore[misc]  # a default has no type
            times=True,
            slow=True,
        )


def _loaded(site: Site, where: str, lines: int, *, ours: bool) -> Measured:
    """One load into new tables, as if it were one answer."""
    folder = site.folder / f"csv-{lines}"
    if not folder.exists():
        write_folder(folder, lines)
    name = f"load_{next(_names)}"
    if where == "SQLite":
        url = f"sqlite:///{site.folder / name}.db"
    else:
        site.postgresql.tell(f"create database {name} template template0")
        url = site.postgresql.url(name)
    Database(url).upgrade()
    servers.settled()
    bare = [str(servers.FLOORS / "csv_load.py"), url, str(folder)]
    command = ["-m", "ibt", "load", str(folder), "--database", url] if ours else bare
    database = 0 if where == "SQLite" else site.postgresql.process
    began, used, used_there = time.perf_counter(), _processor(), processor_seconds(database) if database else 0.0
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    took = time.perf_counter() - began
    processor = {"service": 1e6 * (_processor() - used)}
    if database:
        processor["database"] = 1e6 * (processor_seconds(database) - used_there)
    failures = int(done.returncode != 0)
    if failures:
        print(f"a load failed: {done.stdout}{done.stderr}", file=sys.stderr)
    if where == "SQLite":
        for path in site.folder.glob(f"{name}.db*"):
            path.unlink()
    else:
        site.postgresql.tell(f"drop database {name} with (force)")
    return Measured(1 / took, 1000 * took, 1000 * took, 1, failures, 0, processor)


def _processor() -> float:
    """Seconds of the processor that programs have had which this one has run to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
