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

from ibt.store.dialects import ForEach
from ibt.store.reads import CUSTOMER_ID
from ibt.store.tables import (
    CodePoints,
    current_mapping,
    customer_state,
    mapping_version,
    month_number,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Executable
    from sqlalchemy.types import TypeEngine

    from ibt.rules.mappings import NewVersion


def new_revision() -> str:
    """A name for a customer's state that no other has had: random, so that it tells nothing. Reading 57."""
    return secrets.token_hex(16)


_LOCK = select(customer_state.c.revision).where(customer_state.c.customer_id == CUSTOMER_ID).with_for_update()


def lock(connection: Connection, customer_id: int) -> str:
    """Makes this the customer's only update until the transaction ends; returns the revision that stands."""
    return str(connection.execute(_LOCK, {"customer_id": customer_id}).scalar_one())


#: The period that gets a new version, and what is new of it, as the tables keep them.
_PERIOD: dict[str, TypeEngine[Any]] = {"contract_id": sa.Integer(), "month": sa.Integer()}
_NEW: dict[str, TypeEngine[Any]] = {"version": sa.BigInteger(), "subaccount_id": sa.Text()}

_OF_CUSTOMER: sa.BindParameter[int] = bindparam("of_customer", type_=sa.Integer)


def _is_the_period(given: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[bool]]:
    return [
        current_mapping.c.customer_id == _OF_CUSTOMER,
        current_mapping.c.contract_id == given["contract_id"],
        sa.type_coerce(current_mapping.c.month, sa.Integer) == given["month"],
    ]


def _replace(given: Mapping[str, ColumnElement[Any]]) -> Executable:
    new = {"sequence": current_mapping.c.sequence + sa.literal_column("1"), **{name: given[name] for name in _NEW}}
    return sa.update(current_mapping).where(*_is_the_period(given)).values(new)


def _keep(given: Mapping[str, ColumnElement[Any]]) -> Executable:
    columns = [column.name for column in mapping_version.c]
    current = select(*(current_mapping.c[name] for name in columns)).where(*_is_the_period(given))
    return sa.insert(mapping_version).from_select(columns, current)


_REPLACE = ForEach(_replace, {**_PERIOD, **_NEW})
_KEEP = ForEach(_keep, _PERIOD)

_RENEW = (
    sa.update(customer_state)
    .where(customer_state.c.customer_id == _OF_CUSTOMER)
    .values(revision=bindparam("new_revision", type_=CodePoints))
)


def add_versions(connection: Connection, customer_id: int, new: Sequence[NewVersion]) -> str:
    """
    Makes *new* the current versions of their periods, and renews the revision, which it returns.

    To be called under the customer's lock, and only where there is something new.
    """
    periods = [(each.contract_id, month_number(each.month)) for each in new]
    versions = [(seconds(each.version.version), each.version.subaccount_id) for each in new]
    replaced = [(*period, *version) for period, version in zip(periods, versions, strict=True)]
    _REPLACE.execute(connection, replaced, of_customer=customer_id)
    _KEEP.execute(connection, periods, of_customer=customer_id)
    renewed = new_revision()
    connection.execute(_RENEW, {"of_customer": customer_id, "new_revision": renewed})
    return renewed
