"""
What stands while a folder is loaded, and where what it adds goes: the database, or nothing.

Readings 26, 27, 57, 65.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from ibt.rules.model import DEFAULT_SUBACCOUNT, Category, MappingVersion, SubaccountVersion
from ibt.store import audit, bulk, places, tables
from ibt.store.dialects import one_of
from ibt.store.market import MarketContract, Narrowed
from ibt.store.versions import Key, MappingVersions, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

#: The name, a number, of the lock on PostgreSQL under which one folder is loaded and others wait.
_LOADING = 0x69627401

#: After every begin of a mapping period.
_LATEST = datetime.max.replace(tzinfo=UTC, microsecond=0)


class Nothing:
    """What an empty database has; what is stored here is kept in memory."""

    def __init__(self) -> None:
        self._mappings: dict[Key, dict[int, list[Version]]] = {}

    def customers(self) -> dict[int, str]:
        return {}

    def subaccounts(self, customer_ids: Collection[int]) -> Iterable[tuple[int, str, SubaccountVersion]]:
        return ()

    def contracts(self, contract_ids: Collection[int]) -> Iterable[MarketContract]:
        return ()

    def contracts_of(self, keys: Collection[Key]) -> Iterable[tuple[Key, MarketContract]]:
        return ()

    def versions(self, keys: Collection[Key]) -> Iterable[tuple[Key, dict[int, list[Version]], set[int]]]:
        return ((key, self._mappings[key], set(self._mappings[key])) for key in keys)

    def store(self, mappings: Iterable[MappingVersions]) -> None:
        self._mappings |= {(mapping.customer_id, mapping.contract_id): mapping.versions for mapping in mappings}

    def later(self) -> dict[Key, dict[Any, list[MappingVersion]]]:
        """All that was stored, by customer and contract, then by month."""
        return {
            key: {
                bulk.month(month): [mapping_version(version) for version in of_month]
                for month, of_month in by_month.items()
            }
            for key, by_month in self._mappings.items()
            if by_month
        }


_SUBACCOUNTS = (
    select(tables.subaccount_version)
    .where(one_of(tables.subaccount_version.c.customer_id, "customer_ids"))
    .order_by(*tables.subaccount_version.primary_key.columns)
)

#: Each contract is there for both of its parties: the buyer's stands for both.
_CONTRACTS = select(
    *(
        sa.type_coerce(column, sa.BigInteger) if isinstance(column.type, tables.Time) else column
        for column in tables.contract.c
    )
).where(
    tables.contract.c.customer_id == tables.contract.c.buyer_id, one_of(tables.contract.c.contract_id, "contract_ids")
)

_COUNTERPARTIES = select(tables.contract.c.buyer_id, tables.contract.c.seller_id).where(
    one_of(tables.contract.c.customer_id, "customer_ids")
)

_LOCK = (
    select(tables.customer_state.c.customer_id, *audit.HEAD)
    .where(one_of(tables.customer_state.c.customer_id, "customer_ids"))
    .order_by(tables.customer_state.c.customer_id)
    .with_for_update()
)

_NEEDED = (
    select(tables.current_mapping.c.contract_id, tables.current_mapping.c.begin)
    .where(
        tables.current_mapping.c.customer_id == bindparam("customer_id", type_=sa.Integer),
        tables.current_mapping.c.begin >= bindparam("begin", type_=tables.Time),
        tables.current_mapping.c.begin < bindparam("end", type_=tables.Time),
    )
    .order_by(tables.current_mapping.c.begin)
    .limit(1)
)


#: What a customer has been given under a number of the audit, as its hash takes it.
_ADDED = (
    select(*audit.VERSION_COLUMNS)
    .where(
        tables.mapping_version.c.customer_id == bindparam("customer_id", type_=sa.Integer),
        tables.mapping_version.c.audit_number == bindparam("audit_number", type_=sa.Integer),
    )
    .order_by(*audit.VERSION_ORDER)
)

_later = tables.mapping_version.alias("later")
_period = [column.name for column in tables.current_mapping.primary_key.columns]

#: Makes the last version of each of a customer's months the current one.
_SHOW_LAST = sa.insert(tables.current_mapping).from_select(
    [column.name for column in tables.current_mapping.c],
    select(*(tables.mapping_version.c[column.name] for column in tables.current_mapping.c))
    .where(
        tables.mapping_version.c.customer_id == bindparam("of_customer", type_=sa.Integer),
        ~sa.exists(
            select(_later.c.sequence).where(
                *(_later.c[name] == tables.mapping_version.c[name] for name in _period),
                _later.c.sequence == tables.mapping_version.c.sequence + sa.literal_column("1"),
            )
        ),
    )
    .order_by(*(tables.mapping_version.c[name] for name in _period)),
)

#: How many rows are fetched at a time.
_CHUNK = 10_000

_FIRST = audit.Head()

#: Of a row of `mapping_version`: the customer, its place in `audit.VERSION_ORDER`, and what is hashed of it.
_CUSTOMER: Callable[[bulk.Values], int] = itemgetter(0)
_IN_ORDER: Callable[[bulk.Values], bulk.Values] = itemgetter(1, 2, 3)
_HASHED: Callable[[bulk.Values], bulk.Values] = itemgetter(1, 2, 4, 5, 6, 7)  # `audit.VERSION_COLUMNS`

_NONE = audit.VersionsDigest()


def lock_out_folders(connection: Connection) -> None:
    """
    Lets no folder be loaded until the transaction ends, but by this one: SQLite has one writer anyway.

    Only loading locks several customers, so that no two transactions can wait for each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(sa.func.pg_advisory_xact_lock(_LOADING)))


class Stored:
    """
    The database, whose customers are locked before what an update may change is read.

    *added* counts the mapping versions that were stored by customer, *fallen* the mapping periods that left the
    current state; *seen* are the customers who can see a difference.

    *new_customers* had nothing before: what is current of them is not stored with each version, but by `show_new`
    from all of theirs, which takes the database half the time. The mapping periods of those who are *moved* became
    others, and so their places.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.added: Counter[int] = Counter()
        self.fallen = 0
        self.seen: set[int] = set()
        self.new_customers: set[int] = set()
        self.moved: set[int] = set()
        self._locked: set[int] = set()
        self._heads: dict[int, audit.Head] = {}
        self._digests: dict[int, tuple[audit.VersionsDigest, bulk.Values]] = {}
        self._disordered: set[int] = set()

    def lock(self, customer_ids: Iterable[int]) -> None:
        """Keeps updates of these customers out until the transaction ends, in ascending order."""
        wanted = set(customer_ids) - self._locked
        if wanted:
            for customer_id, *head in self.connection.execute(_LOCK, {"customer_ids": sorted(wanted)}):
                self._heads[customer_id] = audit.Head(*head)
        self._locked |= wanted

    def head(self, customer_id: int) -> audit.Head:
        """The head of the audit of a customer, who is locked or new."""
        return self._heads.get(customer_id, _FIRST)

    def versions_hash(self, customer_id: int) -> tuple[int, str]:
        """How many mapping versions were stored for the customer, and their hash as the audit has it."""
        added = self.added[customer_id]
        if customer_id not in self._disordered:
            digest, _ = self._digests.get(customer_id, (_NONE, ()))
            return digest.count, digest.sha256
        values = {"customer_id": customer_id, "audit_number": self.head(customer_id).number + 1}
        # A server-side cursor where there are many: else all would be fetched before the first one is here.
        options = {"yield_per": _CHUNK} if added > _CHUNK else {}
        return audit.versions_hash(self.connection.execute(_ADDED, values, execution_options=options))

    def customers(self) -> dict[int, str]:
        rows = self.connection.execute(select(tables.customer.c.customer_id, tables.customer.c.name))
        return {customer_id: name for customer_id, name in rows}  # noqa: C416 - rows are no pairs to the types

    def counterparties(self, customer_ids: Collection[int]) -> set[int]:
        """The parties of all contracts of these customers, themselves too."""
        return set(
            chain.from_iterable(self.connection.execute(_COUNTERPARTIES, {"customer_ids": list(customer_ids)}))
        )

    def subaccounts(self, customer_ids: Collection[int]) -> Iterable[tuple[int, str, SubaccountVersion]]:
        if customer_ids:
            for row in self.connection.execute(_SUBACCOUNTS, {"customer_ids": sorted(customer_ids)}):
                customer_id, subaccount_id, *version = row
                yield customer_id, subaccount_id, SubaccountVersion(*version)

    def contracts(self, contract_ids: Collection[int]) -> Iterable[MarketContract]:
        if contract_ids:
            rows = self.connection.execute(_CONTRACTS, {"contract_ids": list(contract_ids)})
            return map(_contract, rows)
        return ()

    def contracts_of(self, keys: Collection[Key]) -> Iterable[tuple[Key, MarketContract]]:
        for row in bulk.select(self.connection, tables.contract, keys):
            contract = _contract(row)
            yield (row[0], contract.contract_id), contract

    def versions(self, keys: Collection[Key]) -> Iterable[tuple[Key, dict[int, list[Version]], set[int]]]:
        self.lock(customer_id for customer_id, _ in keys)
        versions: dict[Key, dict[int, list[Version]]] = {key: {} for key in keys}
        current: dict[Key, set[int]] = {key: set() for key in keys}
        for customer_id, contract_id, month, _, *version, _ in bulk.select(
            self.connection, tables.mapping_version, keys
        ):
            versions[customer_id, contract_id].setdefault(month, []).append(tuple(version))
        for customer_id, contract_id, month, *_ in bulk.select(self.connection, tables.current_mapping, keys):
            current[customer_id, contract_id].add(month)
        return ((key, versions[key], current[key]) for key in keys)

    def store(self, mappings: Iterable[MappingVersions]) -> None:
        added: list[bulk.Values] = []
        first: list[bulk.Values] = []
        further: list[bulk.Values] = []
        for mapping in mappings:
            if not mapping.added:
                continue
            customer_id, contract_id = mapping.customer_id, mapping.contract_id
            number = self.head(customer_id).number + 1
            added += [
                (customer_id, contract_id, month, place, begin, end, version, subaccount_id, number)
                for month, place, (begin, end, version, subaccount_id) in mapping.added
            ]
            self.seen.add(customer_id)
            if customer_id in self.new_customers:
                continue
            last = {
                month: (customer_id, contract_id, month, begin, end, version, place, subaccount_id)
                for month, place, (begin, end, version, subaccount_id) in mapping.added
            }
            for month, row in last.items():
                (further if month in mapping.current else first).append(row)
        self.add_versions(added)
        self.show_first(first)
        bulk.replace(self.connection, tables.current_mapping, further)

    def add_versions(self, rows: list[bulk.Values]) -> None:
        """
        Adds *rows* to `mapping_version`, counts them, and hashes them for the audit.

        The hash wants them ordered: those of a call are put in order here. A customer with rows that come before
        those of an earlier call is read again in the end.
        """
        rows.sort()
        bulk.insert(self.connection, tables.mapping_version, rows)
        for customer_id, run in groupby(rows, _CUSTOMER):
            of_customer = list(run)
            self.added[customer_id] += len(of_customer)
            digest, last = self._digests.get(customer_id) or (audit.VersionsDigest(), ())
            if customer_id in self._disordered or _IN_ORDER(of_customer[0]) < last:
                self._disordered.add(customer_id)
            else:
                digest.add(list(map(_HASHED, of_customer)))
                self._digests[customer_id] = digest, _IN_ORDER(of_customer[-1])

    def show_first(self, rows: list[bulk.Values]) -> None:
        """Makes *rows* current, of mapping periods that were not."""
        bulk.insert(self.connection, tables.current_mapping, rows)
        self.moved.update(map(_CUSTOMER, rows))

    def show_new(self) -> None:
        """Makes the last version of each month of the new customers the current one, when all are stored."""
        for customer_id in sorted(self.new_customers):
            if self.added[customer_id]:
                self.connection.execute(_SHOW_LAST, {"of_customer": customer_id})
                self.moved.add(customer_id)

    def keep_places(self) -> None:
        """Makes the places anew of those whose mapping periods became others, when all are."""
        places.keep(self.connection, self.moved)

    def let_fall(self, customer_id: int, contract_id: int, months: Collection[int]) -> None:
        """Takes these months out of the current state; their versions stay. Reading 27."""
        bulk.delete(self.connection, tables.current_mapping, [(customer_id, contract_id, month) for month in months])
        self.fallen += len(months)
        if months:
            self.moved.add(customer_id)

    def needed(self, narrowed: Narrowed, begin: datetime, end: datetime | None) -> tuple[int, datetime] | None:
        """A contract with a mapping period that begins in that time and needs the subaccount, and where it begins."""
        statement = _NEEDED
        if narrowed.subaccount_id != DEFAULT_SUBACCOUNT:  # which all mapping periods need
            statement = statement.where(tables.current_mapping.c.subaccount_id == narrowed.subaccount_id)
        values = {"customer_id": narrowed.customer_id, "begin": begin, "end": end or _LATEST}
        row = self.connection.execute(statement, values).first()
        return None if row is None else (row[0], row[1])


def _contract(row: Iterable[Any]) -> MarketContract:
    """A row of `contract`, as the table keeps it; the version, which no one asks for, is its begin."""
    _, contract_id, reference_id, category, location_id, buyer_id, seller_id, begin, end, status = row
    since = bulk.instant(begin)
    terms = (contract_id, reference_id, Category(category), location_id, buyer_id, seller_id)
    return MarketContract(*terms, since, bulk.instant(end), status, version=since)


def mapping_version(version: Version) -> MappingVersion:
    """*version*, as the tables keep it, as the noun that it is."""
    begin, end, born, subaccount_id = version
    return MappingVersion(bulk.instant(begin), bulk.instant(end), bulk.instant(born), subaccount_id)
