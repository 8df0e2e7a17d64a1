"""
The update transaction: the customer's lock, the new versions, the new revision.

An update is an insert: `mapping_version` only grows; `current_mapping` is brought level in the same
transaction. All of it inside one customer_id, a constant number of statements.

Clause 3.2.3. Readings 28, 41, 57.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from ibt.store.reads import CUSTOMER_ID
from ibt.store.tables import CodePoints, EasternMonth, Time, current_mapping, customer_state, mapping_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from ibt.rules.mappings import NewVersion


def new_revision() -> str:
    """A name for a customer's state that no other has had: random, so that it tells nothing. Reading 57."""
    return secrets.token_hex(16)


_LOCK = select(customer_state.c.revision).where(customer_state.c.customer_id == CUSTOMER_ID).with_for_update()


def lock(connection: Connection, customer_id: int) -> str:
    """Makes this the customer's only update until the transaction ends; returns the revision that stands."""
    return str(connection.execute(_LOCK, {"customer_id": customer_id}).scalar_one())


def _is_the_period(table: sa.Table) -> list[ColumnElement[bool]]:
    return [
        table.c.customer_id == bindparam("of_customer", type_=sa.Integer),
        table.c.contract_id == bindparam("of_contract", type_=sa.Integer),
        table.c.month == bindparam("of_month", type_=EasternMonth),
    ]


_REPLACE = (
    sa.update(current_mapping)
    .where(*_is_the_period(current_mapping))
    .values(
        sequence=current_mapping.c.sequence + 1,
        version=bindparam("new_version", type_=Time),
        subaccount_id=bindparam("new_subaccount", type_=CodePoints),
    )
)

_COLUMNS = [column.name for column in mapping_version.c]

_KEEP = sa.insert(mapping_version).from_select(
    _COLUMNS,
    select(*(current_mapping.c[name] for name in _COLUMNS)).where(*_is_the_period(current_mapping)),
)

_RENEW = (
    sa.update(customer_state)
    .where(customer_state.c.customer_id == bindparam("of_customer", type_=sa.Integer))
    .values(revision=bindparam("new_revision", type_=CodePoints))
)


def add_versions(connection: Connection, customer_id: int, new: Sequence[NewVersion]) -> str:
    """
    Makes *new* the current versions of their periods, and renews the revision, which it returns.

    To be called under the customer's lock, and only where there is something new.
    """
    rows: list[dict[str, Any]] = [
        {
            "of_customer": customer_id,
            "of_contract": version.contract_id,
            "of_month": version.month,
            "new_version": version.version.version,
            "new_subaccount": version.version.subaccount_id,
        }
        for version in new
    ]
    connection.execute(_REPLACE, rows)
    connection.execute(_KEEP, rows)
    renewed = new_revision()
    connection.execute(_RENEW, {"of_customer": customer_id, "new_revision": renewed})
    return renewed
