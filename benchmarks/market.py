"""
Markets of any size, made inside the database: as many customers, contracts and months as are asked for.

Customers 1 and 2 are parties of the same contracts, 3 and 4 of theirs, and so on. Each customer has fifty
subaccounts beside `Default` and a user of the name `user` and its id, for whom the sandbox's own code makes a
certificate. The rows are those that loading a folder of CSV files would have made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ibt.rules.model import MappingPeriod, Month
from ibt.rules.periods import month_begin, month_end
from ibt.sandbox import pki
from ibt.store import Database

SUBACCOUNTS = 50
_LONG_AGO = 946_702_800
FIRST_MONTH = Month("2015-01")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Market:
    """How much there is: customers, contracts of each, months of each contract."""

    customers: int
    contracts: int
    months: int = 12

    @property
    def versions(self) -> int:
        """The mapping versions of one customer."""
        return self.contracts * self.months


def build(database: Database, market: Market) -> None:
    """Makes *market* in an empty database."""
    database.upgrade()
    with database.updating() as connection:
        for statement in _statements(market):
            connection.exec_driver_sql(statement)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def certificates(folder: Path, users: int) -> None:
    """A server's certificate, and one for each of the first *users*, in *folder*."""
    now = datetime.now(UTC)
    issuer = pki.authority(folder, now)
    pki.server_certificate(folder, issuer, "127.0.0.1", now)
    pki.client_certificates(folder, issuer, [f"user{number}" for number in range(1, users + 1)], now)


def _statements(market: Market) -> list[str]:
    customers = _numbers("n", market.customers)
    contracts = f"{_numbers('n', market.customers)}, {_numbers('k', market.contracts)}"
    pair = "((n - 1) / 2)"
    contract_id = f"1 + {pair} * {market.contracts} + k - 1"
    buyer, seller = f"{pair} * 2 + 1", f"{pair} * 2 + 2"
    begin, end = _period(market)
    months = ", ".join(f"({number}, {first}, {last})" for number, first, last in _months(market))
    of_month = f"(with month (month, period_begin, period_end) as (values {months}) select * from month) as m"
    mapped = f"select n, {contract_id}, month, 1, period_begin, period_end, {begin}, 'Default'"
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
    shown = f"'REF-' || k, {categories}, 4000 + k % 9, {buyer}, {seller}, {begin}, {end}, 'Conf'"
    each_subaccount = f"{customers}, {_numbers('k', SUBACCOUNTS)}"
    default = f"select n, 'Default', {_LONG_AGO}, null, 'Default', 'Active' from {customers}"
    others = f"select n, 'S' || (100 + k), {_LONG_AGO}, null, 'Subaccount ' || k, 'Active' from {each_subaccount}"
    return [
        f"insert into customer (customer_id, name) select n, 'Customer ' || n from {customers}",
        f"insert into customer_state (customer_id, revision) select n, 'state' || (10000000 + n) from {customers}",
        f"insert into users (user_name) select 'user' || n from {customers}",
        f"insert into grants (user_name, customer_id, role) select 'user' || n, n, 'IBT' from {customers}",
        f"insert into subaccount_version ({subaccount}) {default}",
        f"insert into subaccount_version ({subaccount}) {others}",
        f"insert into contract ({contract}) select n, {contract_id}, {shown} from {contracts}",
        f"insert into mapping_version ({version}) {mapped} from {contracts}, {of_month}",
        f"insert into current_mapping ({version}) {mapped} from {contracts}, {of_month}",
    ]


def _numbers(name: str, last: int) -> str:
    """A table of the whole numbers 1 to *last*, as both databases have it."""
    counted = f"select 1 union all select {name} + 1 from counted where {name} < {last}"
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
    first = 1 + (customer_id - 1) // 2 * market.contracts
    return list(range(first, first + market.contracts))


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

    build(Database(sys.argv[1]), Market(*map(int, sys.argv[2:])))
