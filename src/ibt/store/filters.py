"""
The filters of 3.2.4, and the order of a page: how a statement on the collection reads.

Clauses 3.2.3, 3.2.4. Readings 16-18, 22, 23.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, bindparam, select

from ibt.rules.model import Category, Month
from ibt.rules.periods import month_of
from ibt.rules.queries import Pattern
from ibt.store import places
from ibt.store.dialects import InThisOrder, matching, not_by_index, on_sqlite
from ibt.store.tables import (
    CUSTOMER_ID,
    MAPPING_BY_MONTH,
    CodePoints,
    EasternMonth,
    Time,
    contract,
    current_mapping,
    subaccount_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sqlalchemy import Index, Select

    from ibt.rules.queries import Query
    from ibt.store.places import Place

_SECOND = timedelta(seconds=1)

#: The filters of 3.2.4. Each narrows by one value of the query; those on `contract` choose contracts, the others
#: choose versions (reading 23).
_FILTERS: dict[str, tuple[sa.Table, Callable[[bool], ColumnElement[bool]]]] = {
    "contract_id": (
        contract,
        lambda pattern: (
            matching(sa.cast(contract.c.contract_id, CodePoints), "contract_id_pattern")
            if pattern
            else contract.c.contract_id == bindparam("contract_id", type_=sa.BigInteger)
        ),
    ),
    "reference_id": (contract, lambda pattern: _text(contract.c.reference_id, "reference_id", pattern=pattern)),
    "category": (contract, lambda _: contract.c.category == bindparam("category", type_=CodePoints)),
    "location_id": (contract, lambda _: contract.c.location_id == bindparam("location_id", type_=sa.BigInteger)),
    "party_id": (
        contract,
        lambda _: sa.or_(
            contract.c.buyer_id == bindparam("party_id", type_=sa.BigInteger),
            contract.c.seller_id == bindparam("party_id", type_=sa.BigInteger),
        ),
    ),
    "subaccount_id": (
        current_mapping,
        lambda pattern: _text(current_mapping.c.subaccount_id, "subaccount_id", pattern=pattern),
    ),
    "subaccount_name": (current_mapping, lambda pattern: _named(pattern=pattern)),
    "begin": (current_mapping, lambda one_month: _in_days(one_month=one_month)),
}


def _text(column: ColumnElement[str], name: str, *, pattern: bool) -> ColumnElement[bool]:
    return matching(column, f"{name}_pattern") if pattern else column == bindparam(name, type_=CodePoints)


def _named(*, pattern: bool) -> ColumnElement[bool]:
    """
    The name in effect at the period's begin; where there is none, nothing matches. Reading 22.

    SQLite looks for the subaccounts that ever had the name first, once, and asks only their versions when they had
    it. PostgreSQL does so of itself, and would expect fewer versions than there are if it were told.
    """
    version = subaccount_version.c
    had = (
        select(version.subaccount_id)
        .where(version.customer_id == CUSTOMER_ID, _text(version.subaccount_name, "subaccount_name", pattern=pattern))
        .scalar_subquery()
    )
    has = (
        select(version.subaccount_id)
        .where(
            version.customer_id == current_mapping.c.customer_id,
            version.subaccount_id == current_mapping.c.subaccount_id,
            version.begin <= current_mapping.c.begin,
            sa.or_(version.end.is_(None), version.end > current_mapping.c.begin),
            _text(version.subaccount_name, "subaccount_name", pattern=pattern),
        )
        .correlate(current_mapping)
        .exists()
    )
    return sa.and_(on_sqlite(current_mapping.c.subaccount_id.in_(had)), has)


def _in_days(*, one_month: bool) -> ColumnElement[bool]:
    """
    Periods that overlap with the days asked for: they are of the months of these days, as each lies within its own.

    Of one month the index tells, in the order of a page; of several the periods are looked at in that order.
    """
    month = current_mapping.c.month
    first, last = (bindparam(name, type_=EasternMonth) for name in ("first_month", "last_month"))
    return sa.and_(
        month == first if one_month else sa.and_(not_by_index(month) >= first, not_by_index(month) <= last),
        current_mapping.c.begin < bindparam("end", type_=Time),
        current_mapping.c.end > bindparam("begin", type_=Time),
    )


#: Which filters a query has, and whether by a pattern, or of one month: all that decides how a statement reads.
Shape = tuple[tuple[str, bool], ...]


def shape_of(query: Query) -> Shape:
    """The filters that *query* has."""
    return tuple(
        (name, _of_one_month(query) if name == "begin" else isinstance(getattr(query, name), Pattern))
        for name in _FILTERS
        if getattr(query, name) is not None
    )


def _months(begin: datetime, end: datetime) -> tuple[Month, Month]:
    """The months of the first and of the last moment of that time."""
    return month_of(begin), month_of(end - _SECOND)


def _of_one_month(query: Query) -> bool:
    if query.begin is None or query.end is None:
        return False
    first, last = _months(query.begin, query.end)
    return first == last


def values_of(customer_id: int, query: Query, shape: Shape) -> dict[str, Any]:
    """The values of a statement of *shape*, by parameter; what a page needs beside them is not there."""
    values: dict[str, Any] = {"customer_id": customer_id}
    for name, _ in shape:
        value = getattr(query, name)
        pattern = isinstance(value, Pattern)
        values[f"{name}_pattern" if pattern else name] = value.value if isinstance(value, Category) else value
    if query.begin is not None and query.end is not None:
        values["end"] = query.end
        values["first_month"], values["last_month"] = _months(query.begin, query.end)
    return values


#: SQLite would read the versions first, and look up the contract of each; or, behind a place, all later versions for
#: each contract, as if what is asked of the one's id were asked of the other's.
_VERSIONS_BY_CONTRACT = InThisOrder(
    contract,
    current_mapping,
    sa.and_(
        current_mapping.c.customer_id == contract.c.customer_id,
        current_mapping.c.contract_id == not_by_index(contract.c.contract_id),
    ),
)


def _by_contract(shape: Shape) -> bool:
    """Whether the filters of *shape* choose contracts, which are fewer than versions: these are read first."""
    return any(_FILTERS[name][0] is contract for name, _ in shape)


def _key(shape: Shape) -> tuple[ColumnElement[int], ColumnElement[Month]]:
    """The order of a page, by what is read first."""
    return (contract if _by_contract(shape) else current_mapping).c.contract_id, current_mapping.c.month


class Behind(Enum):
    """Behind what the versions of a statement are: nothing, a place that is given, or the nearest that is kept."""

    NOTHING = "nothing"
    GIVEN = "given"
    NEAREST = "nearest"


_ENDED: dict[Behind, tuple[ColumnElement[Any], ColumnElement[Any]]] = {
    Behind.GIVEN: (bindparam("ended_contract", type_=sa.Integer), bindparam("ended_month", type_=EasternMonth)),
    Behind.NEAREST: places.NEAREST_KEY,
}


def selected(columns: Iterable[ColumnElement[Any]], shape: Shape, behind: Behind) -> Select[Any]:
    """The current versions of the customer that the filters of *shape* leave, *behind* a place."""
    selected = select(*columns).where(*(_FILTERS[name][1](pattern) for name, pattern in shape))
    if ended := _ENDED.get(behind):
        key = _key(shape)
        selected = selected.where(sa.tuple_(*key) > sa.tuple_(*ended))
        if _by_contract(shape):  # which is no order of one table: what of it an index knows is said once more
            selected = selected.where(key[0] >= ended[0])
    if not _by_contract(shape):
        return selected.select_from(current_mapping).where(current_mapping.c.customer_id == CUSTOMER_ID)
    return selected.select_from(_VERSIONS_BY_CONTRACT).where(contract.c.customer_id == CUSTOMER_ID)


def index(shape: Shape) -> Index | None:
    """Of one month the index tells; SQLite would rather read in the order of the key, and pass over all others."""
    return MAPPING_BY_MONTH if ("begin", True) in shape and not _by_contract(shape) else None


def page_of(columns: Iterable[ColumnElement[Any]], shape: Shape, behind: Behind) -> Select[Any]:
    """
    The versions of a page, by the key alone: *limit* of them, after the first *start*.

    Where a place is given, these are counted from behind it.
    """
    start, limit = (bindparam(name, type_=sa.BigInteger) for name in ("start", "limit"))
    passed = start - places.NEAREST_PASSED if behind is Behind.NEAREST else start
    return selected(columns, shape, behind).order_by(*_key(shape)).offset(passed).limit(limit)


def values_behind(ended: Place | None) -> dict[str, Any]:
    """The values of a statement behind a place that is given; none where there is none."""
    return {} if ended is None else {"ended_contract": ended.contract_id, "ended_month": ended.month}
