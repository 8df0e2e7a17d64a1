"""
Places: how many current versions of a customer there are up to some of its contracts.

From the nearest place a page in the middle is found without passing over all that come before, and all are counted
from the last. Which mapping periods a customer has changes by loading alone, as an update only gives them new
versions (3.2.5): places are made when a folder was loaded, and are true until the next is.
docs/decisions/0031.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from ibt.store.question import Question
from ibt.store.tables import CUSTOMER_ID, current_mapping, place

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ibt.rules.model import Month


class Place(NamedTuple):
    """Where something ended: how many versions are *passed* up to there, and the key of the last of them."""

    passed: int
    contract_id: int
    month: Month


#: There is a place at the end of the contract in which each so many versions are full.
BETWEEN = 100

#: After every place.
_LAST = 2**63 - 1

_OF_CUSTOMER: sa.BindParameter[int] = bindparam("of_customer", type_=sa.Integer)

_contracts = (
    select(
        current_mapping.c.contract_id,
        func.max(current_mapping.c.month).label("month"),
        func.count().label("versions"),
    )
    .where(current_mapping.c.customer_id == _OF_CUSTOMER)
    .group_by(current_mapping.c.contract_id)
    .subquery("contracts")
)
_passed = select(
    _contracts,
    sa.cast(func.sum(_contracts.c.versions).over(order_by=_contracts.c.contract_id), sa.BigInteger).label("passed"),
).subquery("passed")
_MADE = select(_passed.c.passed, _passed.c.contract_id, _passed.c.month).where(
    _passed.c.passed // BETWEEN > (_passed.c.passed - _passed.c.versions) // BETWEEN
)
_KEPT = select(place.c.passed, place.c.contract_id, place.c.month)
_FORGET = sa.delete(place).where(place.c.customer_id == _OF_CUSTOMER)
_KEEP = sa.insert(place).from_select(
    ["passed", "contract_id", "month", "customer_id"], _MADE.add_columns(_OF_CUSTOMER)
)

_NEAREST = Question(
    _KEPT.where(
        place.c.customer_id == CUSTOMER_ID,
        place.c.passed <= bindparam("start", type_=sa.BigInteger),
    )
    .order_by(place.c.passed.desc())
    .limit(1)
)


def keep(connection: Connection, customer_id: int) -> None:
    """Makes the customer's places anew, after its mapping periods became others, in the same transaction."""
    connection.execute(_FORGET, {"of_customer": customer_id})
    connection.execute(_KEEP, {"of_customer": customer_id})


def nearest(connection: Connection, customer_id: int, start: int = _LAST) -> Place | None:
    """The last place with at most *start* versions of the customer up to there; None where there is none."""
    for row in _NEAREST.ask(connection, {"customer_id": customer_id, "start": start}):
        return Place(*row)
    return None


def astray(connection: Connection, customer_id: int) -> list[Place]:
    """
    The customer's places that are kept and not there: from these, wrong pages are shown.

    Without a place a page is only found more slowly.
    """
    made = set(connection.execute(_MADE, {"of_customer": customer_id}))
    kept = connection.execute(
        _KEPT.where(place.c.customer_id == _OF_CUSTOMER).order_by(place.c.passed), {"of_customer": customer_id}
    )
    return [Place(*row) for row in kept if row not in made]
