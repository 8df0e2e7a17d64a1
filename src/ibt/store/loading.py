"""
A market into the tables.

A market is read and judged whole (`ibt.store.market`) before it comes here: loading it has no faults of its
own. Everything happens in the transaction of the caller, so it is all or nothing.

Readings 25, 26, 64.
"""

from __future__ import annotations

import secrets
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert

from ibt.store import tables
from ibt.store.market import Market, read_market

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Table

__all__ = ["Market", "clear", "load", "new_revision", "read_market"]

#: How many rows are handed to the database at once: enough to be fast, few enough to be small.
CHUNK = 5_000

_Row = dict[str, object]


def load(connection: Connection, market: Market) -> None:
    """
    Stores *market* in tables that are empty, in the transaction of *connection*.

    Each party of a contract has the contract and its mappings as its own; the versions of a mapping period are
    numbered from 1, and the last one is current. Readings 25, 26.
    """
    for table, rows in _tables(market):
        while chunk := list(islice(rows, CHUNK)):
            connection.execute(insert(table), chunk)


def clear(connection: Connection) -> None:
    """Empties all tables, in the transaction of *connection*."""
    for table in reversed(tables.metadata.sorted_tables):
        connection.execute(delete(table))


def new_revision() -> str:
    """A name for a state of a customer's data that no other state has (reading 57)."""
    return secrets.token_hex(16)


def _tables(market: Market) -> Iterable[tuple[Table, Iterator[_Row]]]:
    """The rows of each table, in an order that references allow."""
    return (
        (tables.customer, ({"customer_id": id_, "name": name} for id_, name in market.customers.items())),
        (tables.customer_state, ({"customer_id": id_, "revision": new_revision()} for id_ in market.customers)),
        (tables.users, ({"user_name": name} for name in market.user_names)),
        (tables.grants, (grant._asdict() for grant in market.grants)),
        (tables.subaccount_version, _subaccount_versions(market)),
        (tables.contract, _contracts(market)),
        (tables.mapping_version, _mapping_versions(market)),
        (tables.current_mapping, _current_mappings(market)),
    )


def _subaccount_versions(market: Market) -> Iterator[_Row]:
    for (customer_id, subaccount_id), versions in market.subaccounts.items():
        for version in versions:
            yield {
                "customer_id": customer_id,
                "subaccount_id": subaccount_id,
                "begin": version.begin,
                "end": version.end,
                "subaccount_name": version.subaccount_name,
                "subaccount_status": version.subaccount_status,
            }


def _contracts(market: Market) -> Iterator[_Row]:
    for contract in market.contracts.values():
        for customer_id in contract.parties:
            yield {
                "customer_id": customer_id,
                "contract_id": contract.contract_id,
                "reference_id": contract.reference_id,
                "category": contract.category.value,
                "location_id": contract.location_id,
                "buyer_id": contract.buyer_id,
                "seller_id": contract.seller_id,
                "contract_begin": contract.contract_begin,
                "contract_end": contract.contract_end,
                "status": contract.status,
            }


def _mapping_versions(market: Market) -> Iterator[_Row]:
    for customer_id, contract_id, month, versions in market.mappings():
        for sequence, version in enumerate(versions, start=1):
            yield {
                "customer_id": customer_id,
                "contract_id": contract_id,
                "month": month,
                "sequence": sequence,
                "begin": version.begin,
                "end": version.end,
                "version": version.version,
                "subaccount_id": version.subaccount_id,
            }


def _current_mappings(market: Market) -> Iterator[_Row]:
    for customer_id, contract_id, month, versions in market.mappings():
        yield {
            "customer_id": customer_id,
            "contract_id": contract_id,
            "month": month,
            "sequence": len(versions),
            "begin": versions[-1].begin,
            "end": versions[-1].end,
            "version": versions[-1].version,
            "subaccount_id": versions[-1].subaccount_id,
        }
