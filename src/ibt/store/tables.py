"""
The tables. Every key of a customer's data begins with customer_id, so that they can be spread by it.

`customer` is the same everywhere; `customer_state` stands beside the data and is what an update locks. A
contract is stored once for each of its parties, and so are its mappings: each party has its own (reading
26). `mapping_version` is only ever added to; `current_mapping` holds the last version of each mapping
period and is replaced in the same transaction. Versions are numbered within (customer, contract, month).

Columns are named as the XML's elements. Times are whole seconds since 1970 in UTC, a month is 201508:
whole numbers mean the same on every database. Texts are compared and ordered by code point (reading 61).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, MetaData, Table, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from ibt.rules.model import Month

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=65536)
def _time(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


class Time(TypeDecorator[datetime]):
    """An aware UTC datetime of whole seconds, kept as the number of seconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _SECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _time(value)


class EasternMonth(TypeDecorator[Month]):
    """A Month, kept as a number that reads as one: 201508."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Month | None, dialect: Dialect) -> int | None:
        return None if value is None else value.year * 100 + value.month

    def process_result_value(self, value: int | None, dialect: Dialect) -> Month | None:
        return None if value is None else Month.of(value // 100, value % 100)


#: SQLite compares texts by code point of itself; PostgreSQL does under this collation.
CodePoints = Text().with_variant(Text(collation="C"), "postgresql")

customer = Table(
    "customer",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("name", CodePoints, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("user_name", CodePoints, primary_key=True),
)

grants = Table(
    "grants",
    metadata,
    Column("user_name", CodePoints, primary_key=True),
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("role", CodePoints, primary_key=True),
    ForeignKeyConstraint(["user_name"], ["users.user_name"]),
)

customer_state = Table(
    "customer_state",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("revision", CodePoints, nullable=False),
)

subaccount_version = Table(
    "subaccount_version",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("subaccount_id", CodePoints, primary_key=True),
    Column("begin", Time, primary_key=True),
    Column("end", Time),
    Column("subaccount_name", CodePoints, nullable=False),
    Column("subaccount_status", CodePoints, nullable=False),
    sqlite_with_rowid=False,
)

contract = Table(
    "contract",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("contract_id", Integer, primary_key=True, autoincrement=False),
    Column("reference_id", CodePoints, nullable=False),
    Column("category", CodePoints, nullable=False),
    Column("location_id", Integer, nullable=False),
    Column("buyer_id", Integer, nullable=False),
    Column("seller_id", Integer, nullable=False),
    Column("contract_begin", Time, nullable=False),
    Column("contract_end", Time, nullable=False),
    Column("status", CodePoints, nullable=False),
    sqlite_with_rowid=False,
)

current_mapping = Table(
    "current_mapping",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("contract_id", Integer, primary_key=True, autoincrement=False),
    Column("month", EasternMonth, primary_key=True, autoincrement=False),
    Column("begin", Time, nullable=False),
    Column("end", Time, nullable=False),
    Column("version", Time, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("subaccount_id", CodePoints, nullable=False),
    sqlite_with_rowid=False,
)

mapping_version = Table(
    "mapping_version",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("contract_id", Integer, primary_key=True, autoincrement=False),
    Column("month", EasternMonth, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("begin", Time, nullable=False),
    Column("end", Time, nullable=False),
    Column("version", Time, nullable=False),
    Column("subaccount_id", CodePoints, nullable=False),
    sqlite_with_rowid=False,
)

Index("current_mapping_by_period", current_mapping.c.customer_id, current_mapping.c.begin, current_mapping.c.end)
