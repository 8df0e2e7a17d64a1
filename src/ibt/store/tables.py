"""
The tables. Every key of a customer's data begins with customer_id, so that they can be spread by it.

`customer` is the same everywhere; `customer_state` stands beside the data and is what an update locks. A
contract is stored once for each of its parties, and so are its mappings: each party has its own (reading
26). `mapping_version` is only ever added to; `current_mapping` holds the last version of each mapping
period and is replaced in the same transaction. Versions are numbered within (customer, contract, month).
`audit` tells how each change came; its rows are numbered within the customer, and each holds the hash of the
one before it.

Columns are named as the XML's elements. Times are whole seconds since 1970 in UTC, a month is 201508:
whole numbers mean the same on every database. Texts are compared and ordered by code point (reading 61).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
)
from sqlalchemy.types import UserDefinedType

from ibt.rules.model import Month

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Dialect

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


# What a row holds is converted thousands of times for one answer, and there are few different times and months.


@lru_cache(maxsize=65536)
def seconds(instant: datetime | None) -> int | None:
    """*instant* as the tables keep it: the seconds since 1970."""
    return None if instant is None else (instant - _EPOCH) // _SECOND


@lru_cache(maxsize=65536)
def _maybe_instant(kept: int | None) -> datetime | None:
    return None if kept is None else instant(kept)


@lru_cache(maxsize=65536)
def instant(kept: int) -> datetime:
    """The time that the tables keep so: UTC."""
    return _EPOCH + timedelta(seconds=kept)


def month_number(month: Month | None) -> int | None:
    """*month* as the tables keep it: a number that reads as one, 201508."""
    return None if month is None else month.year * 100 + month.month


@lru_cache(maxsize=4096)
def _month(number: int | None) -> Month | None:
    return None if number is None else Month.of(number // 100, number % 100)


class Time(UserDefinedType[datetime]):
    """An aware UTC datetime of whole seconds, kept as the number of seconds since 1970."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        """What the database calls it."""
        return "BIGINT"

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """From a value to what is kept."""
        return seconds

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], datetime | None]:
        """From what is kept to a value."""
        return _maybe_instant


class EasternMonth(UserDefinedType[Month]):
    """A Month, kept as a number that reads as one: 201508."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        """What the database calls it."""
        return "INTEGER"

    def bind_processor(self, dialect: Dialect) -> Callable[[Month | None], int | None]:
        """From a value to what is kept."""
        return month_number

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], Month | None]:
        """From what is kept to a value."""
        return _month


#: What stands for the hash before the first row of an audit.
NO_HASH = "0" * 64

#: SQLite compares texts by code point of itself; PostgreSQL does under this collation.
CodePoints = Text().with_variant(Text(collation="C"), "postgresql")

#: The parameter that says whose data are asked for.
CUSTOMER_ID: BindParameter[int] = bindparam("customer_id", type_=Integer)

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

# Where a user has pins, no other certificate lets them in.
pins = Table(
    "pins",
    metadata,
    Column("user_name", CodePoints, primary_key=True),
    Column("fingerprint", CodePoints, primary_key=True),
    Column("time", Time, nullable=False),
    ForeignKeyConstraint(["user_name"], ["users.user_name"]),
    sqlite_with_rowid=False,
)

# By issuer and serial number, which its issuer has signed: who holds the key of a certificate can often make another
# encoding of its signature, with which it has another fingerprint and is trusted all the same.
revoked = Table(
    "revoked",
    metadata,
    Column("issuer", CodePoints, primary_key=True),
    Column("serial", CodePoints, primary_key=True),
    Column("subject", CodePoints, nullable=False),
    Column("fingerprint", CodePoints, nullable=False),
    Column("time", Time, nullable=False),
    sqlite_with_rowid=False,
)

customer_state = Table(
    "customer_state",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("revision", CodePoints, nullable=False),
    # The head of the customer's audit: how many rows it has, and the hash and the time of the last.
    Column("audit_count", Integer, nullable=False, server_default="0"),
    Column("audit_hash", CodePoints, nullable=False, server_default=NO_HASH),
    Column("audit_time", Time),
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
    # PostgreSQL writes a changed row beside the old one where there is room: no index has to learn of it.
    postgresql_with={"fillfactor": 70},
)

# How many current mappings the customer has up to some of its contracts, and the key of the last of them: made anew
# whenever a folder was loaded, see `ibt.store.places`.
place = Table(
    "place",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("passed", BigInteger, primary_key=True, autoincrement=False),
    Column("contract_id", Integer, nullable=False),
    Column("month", EasternMonth, nullable=False),
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
    # The row of the customer's audit that tells how it came; none where it is older than the audit.
    Column("audit_number", Integer),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("customer_id", Integer, primary_key=True, autoincrement=False),
    Column("audit_number", Integer, primary_key=True, autoincrement=False),
    Column("time", Time, nullable=False),
    Column("kind", CodePoints, nullable=False),
    Column("user_name", CodePoints, nullable=False),
    Column("subject", CodePoints, nullable=False),
    Column("serial", CodePoints, nullable=False),
    Column("fingerprint", CodePoints, nullable=False),
    Column("address", CodePoints, nullable=False),
    Column("request_id", CodePoints, nullable=False),
    Column("status", Integer),
    Column("body_sha256", CodePoints, nullable=False),
    Column("versions_created", Integer, nullable=False),
    Column("versions_sha256", CodePoints, nullable=False),
    Column("detail", CodePoints, nullable=False),
    Column("hash", CodePoints, nullable=False),
    sqlite_with_rowid=False,
)

#: "As of August 2015" is what is asked most: a month's page is read in its order.
MAPPING_BY_MONTH = Index(
    "current_mapping_by_month", current_mapping.c.customer_id, current_mapping.c.month, current_mapping.c.contract_id
)
