"""
The update transaction: the customer's lock, the new versions, their audit row, the new revision.

An update is an insert: `mapping_version` only grows; `current_mapping` is brought level in the same
transaction. All of it inside one customer_id, a constant number of statements.

Clause 3.2.3. Readings 28, 41, 57.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from ibt.store import audit
from ibt.store.audit import Deed, Head
from ibt.store.dialects import ForEach
from ibt.store.question import Change, Question
from ibt.store.tables import (
    CUSTOMER_ID,
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


class Locked(NamedTuple):
    """A customer whose only update this is: the revision that stands, and the head of the audit."""

    customer_id: int
    revision: str
    head: Head


_LOCK = Question(
    select(customer_state.c.revision, *audit.HEAD)
    .where(customer_state.c.customer_id == CUSTOMER_ID)
    .with_for_update()
)


def lock(connection: Connection, customer_id: int) -> Locked:
    """Makes this the customer's only update until the transaction ends; tells the state that stands."""
    ((revision, *head),) = _LOCK.ask(connection, {"customer_id": customer_id})
    return Locked(customer_id, revision, Head(*head))


#: The period that gets a new version, and what is new of it, as the tables keep them.
_PERIOD: dict[str, TypeEngine[Any]] = {"contract_id": sa.Integer(), "month": sa.Integer()}
_NEW: dict[str, TypeEngine[Any]] = {"version": sa.BigInteger(), "subaccount_id": sa.Text()}

_OF_CUSTOMER: sa.BindParameter[int] = bindparam("of_customer", type_=sa.Integer)
_NUMBER: sa.BindParameter[int] = bindparam("audit_number", type_=sa.Integer)


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
    of_current = [column.name for column in mapping_version.c if column.name in current_mapping.c]
    current = select(*(current_mapping.c[name] for name in of_current), _NUMBER).where(*_is_the_period(given))
    return sa.insert(mapping_version).from_select([*of_current, "audit_number"], current)


_REPLACE = ForEach(_replace, {**_PERIOD, **_NEW})
_KEEP = ForEach(_keep, _PERIOD)

_RENEW = Change(
    sa.update(customer_state)
    .where(customer_state.c.customer_id == _OF_CUSTOMER)
    .values(revision=bindparam("new_revision", type_=CodePoints), **audit.MOVED)
)


def add_versions(connection: Connection, locked: Locked, new: Sequence[NewVersion], deed: Deed) -> str:
    """
    Makes *new* the current versions of their periods, and renews the revision, which it returns.

    The audit tells of it as *deed*, with how many versions there are. To be called under the customer's lock, and
    only where there is something new.
    """
    customer_id = locked.customer_id
    rows = list(map(_version_row, new))
    created, versions_sha256 = audit.versions_hash(sorted(rows))
    entry = audit.entry(customer_id, locked.head, replace(deed, versions_created=created), versions_sha256)
    _REPLACE.execute(connection, [(*row[:2], *row[4:]) for row in rows], of_customer=customer_id)
    _KEEP.execute(connection, [row[:2] for row in rows], of_customer=customer_id, audit_number=entry.audit_number)
    audit.insert(connection, entry)
    renewed = new_revision()
    _RENEW.make(connection, {"of_customer": customer_id, "new_revision": renewed, **audit.moved_to(entry.head)})
    return renewed


def _version_row(new: NewVersion) -> tuple[Any, ...]:  # Any: what a column holds
    """*new* as `audit.versions_hash` wants it."""
    version = new.version
    times = seconds(version.begin), seconds(version.end), seconds(version.version)
    return (new.contract_id, month_number(new.month), *times, version.subaccount_id)
