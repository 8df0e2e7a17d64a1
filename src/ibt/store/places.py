"""
Places: how many current versions of a customer there are up to some of its contracts.

From the nearest place a page in the middle is found without passing over all that come before, and all are counted
from the last. Which mapping periods a customer has changes by loading alone, as an update only gives them new
versions (3.2.5): places are made when a folder was loaded, and are true until the next is.
docs/decisions/0031.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from ibt.store.audit import as_kept
from ibt.store.dialects import one_of
from ibt.store.question import Question
from ibt.store.tables import CUSTOMER_ID, current_mapping, place

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import CompoundSelect, Connection, Select

    from ibt.rules.model import Month


class Place(NamedTuple):
    """Where something ended: how many versions are *passed* up to there, and the key of the last of them."""

    passed: int
    contract_id: int
    month: Month


#: One place for each so many versions: at the end of the contract that completes them.
_BETWEEN = 100

#: After every place.
_LAST = 2**63 - 1


def _made(contracts: Select[Any]) -> Select[Any]:
    """The places of customers by their *contracts*: how many versions each has, and the month of the last."""
    one = contracts.subquery("contracts")
    passed = func.sum(one.c.versions).over(partition_by=one.c.customer_id, order_by=one.c.contract_id)
    of = select(one, sa.cast(passed, sa.BigInteger).label("passed")).subquery("passed").c
    complete = of.passed // _BETWEEN > (of.passed - of.versions) // _BETWEEN
    return select(of.customer_id, of.passed, of.contract_id, of.month).where(complete)


_CONTRACTS = select(
    current_mapping.c.customer_id,
    current_mapping.c.contract_id,
    func.max(as_kept(current_mapping.c.month)).label("month"),
    func.count().label("versions"),
).group_by(current_mapping.c.customer_id, current_mapping.c.contract_id)
_KEPT = select(*map(as_kept, place.c))


def _insert(made: Select[Any]) -> sa.Insert:
    return sa.insert(place).from_select([column.name for column in place.c], made)


_FORGET = sa.delete(place).where(one_of(place.c.customer_id, "customer_ids"))
_KEEP = _insert(_made(_CONTRACTS.where(one_of(current_mapping.c.customer_id, "customer_ids"))))

_START: sa.BindParameter[int] = bindparam("start", type_=sa.BigInteger)
_nearest = (
    select(place.c.passed, place.c.contract_id, place.c.month)
    .where(place.c.customer_id == CUSTOMER_ID, place.c.passed <= _START)
    .order_by(place.c.passed.desc())
    .limit(1)
)
_NEAREST = Question(_nearest)

_near = _nearest.cte("near")


def _of_near(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return func.coalesce(select(column).scalar_subquery(), sa.literal_column("0"))


#: The nearest place within a statement on the customer that starts at *start*; zeros where there is none.
NEAREST_PASSED = _of_near(_near.c.passed)
NEAREST_KEY = _of_near(_near.c.contract_id), _of_near(_near.c.month)


def keep(connection: Connection, customer_ids: Collection[int]) -> None:
    """Makes the places of customers anew, in the transaction in which their mapping periods became others."""
    if customer_ids:
        of = {"customer_ids": sorted(customer_ids)}
        connection.execute(_FORGET, of)
        connection.execute(_KEEP, of)


def keep_all(connection: Connection) -> None:
    """Makes the places of all customers anew, while no folder is loaded."""
    connection.execute(sa.delete(place))
    connection.execute(_insert(_made(_CONTRACTS)))


def are_whole(connection: Connection) -> bool:
    """Whether each place is there, and none that is wrong."""
    missing = _made(_CONTRACTS).except_(_KEPT).limit(1)
    return connection.execute(astray(None).limit(1)).first() is None and connection.execute(missing).first() is None


def nearest(connection: Connection, customer_id: int, start: int = _LAST) -> Place | None:
    """The last place with at most *start* versions of the customer up to there; None where there is none."""
    for row in _NEAREST.ask(connection, {"customer_id": customer_id, "start": start}):
        return Place(*row)
    return None


def astray(customer_id: int | None) -> CompoundSelect[Any]:
    """
    The rows of `place`, as the tables keep them, that are wrong: of one customer, or of all.

    From these wrong pages are shown; without a place a page is only found more slowly.
    """
    kept, contracts = _KEPT, _CONTRACTS
    if customer_id is not None:
        kept = kept.where(place.c.customer_id == customer_id)
        contracts = contracts.where(current_mapping.c.customer_id == customer_id)
    return kept.except_(_made(contracts)).order_by("customer_id", "passed")
