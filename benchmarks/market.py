"""
Markets of any size, made inside the database: as many customers, contracts and months as are asked for.

Customers 1 and 2 are parties of the same contracts, 3 and 4 of theirs, and so on. Each customer has fifty
subaccounts beside `Default` and a user of the name `user` and its id, for whom the sandbox's own code makes a
certificate. The rows are those that loading a folder of CSV files would have made. A market on SQLite is kept in a
folder outside the tree, so that a second run need not make it again.

    python benchmarks/market.py URL CUSTOMERS CONTRACTS [MONTHS]     makes one, to try things on
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from ibt.rules.model import MappingPeriod, Month
from ibt.rules.periods import month_begin, month_end
from ibt.sandbox import pki
from ibt.store import Database, migrations, places

SUBACCOUNTS = 50
_LONG_AGO = 946_702_800
FIRST_MONTH = Month("2015-01")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Group:
    """Customers that are alike: the first and the last, the first contract, how many each of them has."""

    first: int
    last: int
    first_contract: int
    contracts: int


@dataclass(frozen=True)
class Market:
    """
    How much there is: customers, contracts of each, months of each contract.

    After these customers come two for each of *others*, which have so many contracts. The periods of customers 1 and
    2 have *history* versions each, all others one.
    """

    customers: int
    contracts: int
    months: int = 12
    others: tuple[int, ...] = ()
    history: int = 1

    @property
    def versions(self) -> int:
        """The current mapping versions of one customer, of those that are alike."""
        return self.contracts * self.months

    @property
    def all_versions(self) -> int:
        """The current mapping versions of all customers."""
        return sum((group.last - group.first + 1) * group.contracts * self.months for group in self.groups())

    def groups(self) -> Iterator[Group]:
        """All customers."""
        contracts = self.customers // 2 * self.contracts
        yield Group(1, self.customers, 1, self.contracts)
        for place, of_other in enumerate(self.others):
            first = self.customers + 2 * place + 1
            yield Group(first, first + 1, contracts + 1, of_other)
            contracts += of_other

    def versions_of(self, customer_id: int) -> int:
        """The current mapping versions of a customer."""
        (contracts,) = {group.contracts for group in self.groups() if group.first <= customer_id <= group.last}
        return contracts * self.months

    def of_other(self, place: int) -> int:
        """The first of the two customers of *others* at *place*."""
        return self.customers + 2 * place + 1


def kept(market: Market, folder: Path) -> Path:
    """A SQLite file with *market*, which nothing may change: made in *folder* if it is not there."""
    made_by = "".join(source.read_text() for source in (Path(__file__), *sorted(_MIGRATIONS.glob("*.py"))))
    name = hashlib.sha256(f"{market}{made_by}".encode()).hexdigest()[:16]
    path = folder / f"market-{name}.db"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"unfinished-{os.getpid()}.db"
        database = Database(f"sqlite:///{unfinished}")
        build(database, market)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        unfinished.replace(path)
    return path


def copied(market: Market, folder: Path, to: Path) -> str:
    """The URL of a copy of `kept` in the file *to*."""
    shutil.copyfile(kept(market, folder), to)
    return f"sqlite:///{to}"


_MIGRATIONS = Path(migrations.__file__).parent / "versions"


def build(database: Database, market: Market) -> None:
    """Makes *market* in an empty database."""
    database.upgrade()
    with database.updating() as connection:
        for statement in _statements(market):
            connection.execute(text(statement))  # to psycopg, a % that is alone is no operator
        places.keep_all(connection)
    if not database.sqlite:  # which collects no statistics of itself, and the service does not tell it to
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def certificates(folder: Path, users: int) -> None:
    """A server's certificate, and one for each of the first *users*, in *folder*."""
    now = datetime.now(UTC)
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, "127.0.0.1", now)
    pki.client_certificates(folder, issuer, [f"user{number}" for number in range(1, users + 1)], now)


def _statements(market: Market) -> list[str]:
    begin, end = _period(market)
    months = ", ".join(f"({number}, {first}, {last})" for number, first, last in _months(market))
    of_month = f"(with month (month, period_begin, period_end) as (values {months}) select * from month) as m"
    version = 'customer_id, contract_id, month, sequence, "begin", "end", version, subaccount_id'
    categories = (
        "case k % 4 when 0 then 'ENERGY DAY AHEAD' when 1 then 'ENERGY REAL TIME' "
        "when 2 then 'LOAD REAL TIME' else 'FCM LOAD OBLIGATION' end"
    )
    subaccount = 'customer_id, subaccount_id, "begin", "end", subaccount_name, subaccount_status'
    contract = (
        "customer_id, contract_id, reference_id, category, location_id, buyer_id, seller_id, contract_begin, "
        "contract_end, status"
    )
    customers = _numbers("n", 1, market.of_other(len(market.others)) - 1)
    each_subaccount = f"{customers}, {_numbers('k', 1, SUBACCOUNTS)}"
    default = f"select n, 'Default', {_LONG_AGO}, null, 'Default', 'Active' from {customers}"
    others = f"select n, 'S' || (100 + k), {_LONG_AGO}, null, 'Subaccount ' || k, 'Active' from {each_subaccount}"
    statements = [
        f"insert into customer (customer_id, name) select n, 'Customer ' || n from {customers}",
        f"insert into customer_state (customer_id, revision) select n, 'state' || (10000000 + n) from {customers}",
        f"insert into users (user_name) select 'user' || n from {customers}",
        f"insert into grants (user_name, customer_id, role) select 'user' || n, n, 'IBT' from {customers}",
        f"insert into subaccount_version ({subaccount}) {default}",
        f"insert into subaccount_version ({subaccount}) {others}",
    ]
    for group in market.groups():
        contracts = f"{_numbers('n', group.first, group.last)}, {_numbers('k', 1, group.contracts)}"
        pair = f"((n - {group.first}) / 2)"
        contract_id = f"{group.first_contract} + {pair} * {group.contracts} + k - 1"
        buyer, seller = f"{pair} * 2 + {group.first}", f"{pair} * 2 + {group.first + 1}"
        shown = f"'REF-' || k, {categories}, 4000 + k % 9, {buyer}, {seller}, {begin}, {end}, 'Conf'"
        sequence = f"case when n <= 2 then {market.history} else 1 end"
        mapped = f"select n, {contract_id}, month, sequence, period_begin, period_end, {begin}, 'Default'"
        last = mapped.replace("sequence", sequence)
        statements += [
            f"insert into contract ({contract}) select n, {contract_id}, {shown} from {contracts}",
            f"insert into current_mapping ({version}) {last} from {contracts}, {of_month}",
            f"insert into mapping_version ({version}) {mapped.replace('sequence', '1')} from {contracts}, {of_month}",
        ]
        if group.first == 1 and market.history > 1:
            older = f"{contracts}, {of_month}, {_numbers('sequence', 2, market.history)} where n <= 2"
            statements.append(f"insert into mapping_version ({version}) {mapped} from {older}")
    return statements


def _numbers(name: str, first: int, last: int) -> str:
    """A table of the whole numbers *first* to *last*, as both databases have it."""
    counted = f"select {first} union all select {name} + 1 from counted where {name} < {last}"
    return f"(with recursive counted ({name}) as ({counted}) select {name} from counted) as of_{name}"


def periods(market: Market) -> list[MappingPeriod]:
    """The mapping periods of each contract of *market*."""
    found = []
    month = FIRST_MONTH
    for _ in range(market.months):
        found.append(MappingPeriod(month, month_begin(month), month_end(month)))
        month = month.next
    return found


def contract_ids(market: Market, customer_id: int) -> list[int]:
    """The contracts of a customer of *market*."""
    group = next(group for group in market.groups() if group.first <= customer_id <= group.last)
    first = group.first_contract + (customer_id - group.first) // 2 * group.contracts
    return list(range(first, first + group.contracts))


def _months(market: Market) -> list[tuple[int, int, int]]:
    return [
        (period.month.year * 100 + period.month.month, _seconds(period.begin), _seconds(period.end))
        for period in periods(market)
    ]


def _period(market: Market) -> tuple[int, int]:
    months = _months(market)
    return months[0][1], months[-1][2]


def _seconds(instant: datetime) -> int:
    return int((instant - _EPOCH).total_seconds())


if __name__ == "__main__":
    import sys

    customers, contracts, *months = map(int, sys.argv[2:5])
    build(Database(sys.argv[1]), Market(customers, contracts, *months))  # type: ignore[arg-type]  # one at most
