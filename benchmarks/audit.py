"""
What the audit costs: on an update, and in bytes.

Updates go through the whole application in this process, with the audit and without what it adds, in turns.

    python benchmarks/audit.py 2> /dev/null                               on SQLite, in a folder of its own
    python benchmarks/audit.py postgresql://ibt@host/empty 2> /dev/null   on an empty database of PostgreSQL

The log goes to stderr.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import market
from sqlalchemy import text

from ibt.rules.periods import write_time
from ibt.service.app import Application
from ibt.service.limits import Limits
from ibt.service.log import configure
from ibt.service.negotiation import VENDOR_TYPE
from ibt.store import Database, audit, bulk, tables

CUSTOMERS = 100
MARKET = market.Market(CUSTOMERS, 500)
ROUNDS, UPDATES = 11, 100

#: Rows for the measure of bytes: of each customer.
ROWS = 2_000

FEW, MANY = 1, 240


def message(contracts: int, months: int, subaccount_id: str) -> bytes:
    """An update of customer 1: so many months of so many contracts."""
    chosen = market.contract_ids(MARKET, 1)[:contracts]
    versions = "".join(
        f"<contract_subaccount_mapping_version><begin>{write_time(period.begin)}</begin><version/>"
        f"<subaccount_id>{subaccount_id}</subaccount_id></contract_subaccount_mapping_version>"
        for period in market.periods(MARKET)[:months]
    )
    begin, end = (write_time(market.periods(MARKET)[place].begin) for place in (0, -1))
    end = write_time(market.periods(MARKET)[-1].end)
    mappings = "".join(
        f"<contract_subaccount_mapping><customer_id>1</customer_id><contract_id>{contract_id}</contract_id>"
        f"<market_name/><buyer_name/><seller_name/><contract_begin>{begin}</contract_begin>"
        f"<contract_end>{end}</contract_end><status/>{versions}</contract_subaccount_mapping>"
        for contract_id in chosen
    )
    namespace = "http://xmlns.iso-ne.com/contract/customers"
    return f'<contract_subaccount_mappings xmlns="{namespace}">{mappings}</contract_subaccount_mappings>'.encode()


@contextmanager
def without_audit() -> Iterator[None]:
    """No row is made, hashed or inserted; what is left is that the versions and the state have more columns."""
    kept = audit.insert, audit.versions_hash, audit.chained
    audit.insert, audit.versions_hash, audit.chained = (  # type: ignore[assignment]  # they do nothing here
        lambda *_: None,
        lambda versions: (0, ""),
        lambda *_: "0" * 64,
    )
    try:
        yield
    finally:
        audit.insert, audit.versions_hash, audit.chained = kept


class Posting:
    """Updates of customer 1 by its user, through the application."""

    def __init__(self, database: Database, folder: Path) -> None:
        market.certificates(folder, 1)
        pem = (folder / "clients" / "user1.pem").read_text()
        self._chain = [pem[pem.index("-----BEGIN CERTIFICATE") :]]
        self._application = Application(database, Limits(), lambda: datetime.now(UTC).replace(microsecond=0))
        self._runner = asyncio.Runner()

    def measure(self, contracts: int, months: int) -> tuple[float, float]:
        """Processor and wall seconds for each of some updates, all of which change something."""
        bodies = [message(contracts, months, f"S{101 + turn % 2}") for turn in range(UPDATES)]
        began, used = time.perf_counter(), time.process_time()
        for body in bodies:
            self._runner.run(self._post(body))
        return (time.process_time() - used) / UPDATES, (time.perf_counter() - began) / UPDATES

    async def _post(self, body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(sent: dict[str, Any]) -> None:
            assert sent.get("status", 200) == 200, sent

        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": b"/sms_oper_contract/api/customers/1/contractSubaccountMappings",
            "query_string": b"",
            "headers": [(b"content-type", VENDOR_TYPE.encode())],
            "client": ("192.0.2.1", 50000),
            "extensions": {"tls": {"client_cert_chain": self._chain}},
        }
        await self._application(scope, receive, send)

    def close(self) -> None:
        self._application.close()
        self._runner.close()


def cost(posting: Posting, contracts: int, months: int) -> None:
    """Prints what the audit adds to an update of so many versions."""
    with_audit, without = [], []
    for _ in range(ROUNDS):
        with_audit.append(posting.measure(contracts, months))
        with without_audit():
            without.append(posting.measure(contracts, months))
    for place, kind in enumerate(("processor", "wall")):
        # The least of all rounds: what else the machine does makes the others longer.
        more, less = (min(each[place] for each in measured) for measured in (with_audit, without))
        ratios = [one[place] / other[place] for one, other in zip(with_audit, without, strict=True)]
        print(
            f"{contracts * months:>6} versions, {kind:9}  with {more * 1e6:8.0f} us  without {less * 1e6:8.0f} us  "
            f"ratio {more / less:.3f} (median of the rounds {statistics.median(ratios):.3f})"
        )


def fill(database: Database) -> None:
    """Leaves rows as updates do, those of all customers in turn, and prints how many bytes each takes."""
    before = size(database)
    heads = {customer_id: audit.Head() for customer_id in range(1, CUSTOMERS + 1)}
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(ROWS):
        entries = []
        for customer_id, head in heads.items():
            deed = audit.Deed(
                kind="update",
                time=begin + timedelta(minutes=number),
                user_name=f"user{customer_id}",
                subject=f"CN=user{customer_id},OU=Settlements,O=Market Participant {customer_id} LLC,C=US",
                serial="5c1f0d9b7ae84c3391d2b65f0a7e1c48d93b2a10",
                fingerprint="f" * 64,
                address="198.51.100.23",
                request_id="0123456789abcdef",
                status=200,
                body_sha256="b" * 64,
                versions_created=1,
            )
            entry = audit.entry(customer_id, head, deed, "a" * 64)
            entries.append(entry)
            heads[customer_id] = entry.head
        with database.updating() as connection:
            bulk.insert(connection, tables.audit, entries)
    print(f"{(size(database) - before) / (ROWS * CUSTOMERS):.0f} bytes for each of {ROWS * CUSTOMERS:,} rows")


def size(database: Database) -> int:
    """The bytes of the table with its index on PostgreSQL; of the whole file on SQLite."""
    with database.reading() as connection:
        if database.sqlite:
            pages, page = (
                connection.execute(text(f"pragma {name}")).scalar_one() for name in ("page_count", "page_size")
            )
            return int(pages * page)
        names = connection.execute(text("select pg_total_relation_size('audit')"))
        return int(names.scalar_one())


def main() -> None:
    configure()  # one line of JSON for each request, as in service, to stderr
    with tempfile.TemporaryDirectory(prefix="ibt-audit-") as place:
        database = Database(sys.argv[1] if sys.argv[1:] else f"sqlite:///{place}/ibt.db")
        market.build(database, MARKET)
        posting = Posting(database, Path(place))
        posting.measure(1, 1)
        cost(posting, 1, FEW)
        cost(posting, MANY // 12, 12)
        posting.close()
        with database.updating() as connection:
            connection.execute(tables.audit.delete())
        fill(database)
        database.close()


if __name__ == "__main__":
    main()
