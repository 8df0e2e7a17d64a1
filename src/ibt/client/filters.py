"""
The filters of 3.2.4 as Python values, and the query that they become.

Clause 3.2.4. Readings 14, 16-21.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import TYPE_CHECKING, TypedDict

from ibt.rules.faults import Refusal
from ibt.rules.model import Category, Month
from ibt.rules.queries import PARAMETERS, read_query

if TYPE_CHECKING:
    from collections.abc import Mapping


class Filters(TypedDict, total=False):
    """
    Each filter of 3.2.4 by its name; None is as if it were left out. Texts may have the wildcards * and %.

    A date is an Eastern day. A Month is all its days: as start_date its first, as end_date its last, and alone both.
    """

    contract_id: int | str | None
    reference_id: str | None
    subaccount_id: str | None
    subaccount_name: str | None
    category: Category | str | None
    location_id: int | None
    party_id: int | None
    start_date: date | Month | None
    end_date: date | Month | None


def parameters(filters: Mapping[str, object], limit: int) -> tuple[tuple[str, str], ...]:
    """
    The query parameters that *filters* and pages of *limit* mapping versions become, without `start`.

    Raises ValueError, in the words of the rules, for a value that the service would refuse; TypeError for a name
    that is no filter.
    """
    for name in filters:
        if name not in _NAMES:
            raise TypeError(f"{name} is not a filter: there are {', '.join(_NAMES)}")
    given = {name: value for name, value in filters.items() if value is not None}
    if isinstance(given.get("start_date"), Month):
        given.setdefault("end_date", given["start_date"])
    if isinstance(given.get("end_date"), Month):
        given.setdefault("start_date", given["end_date"])
    texts = (("limit", str(limit)), *((name, _text(name, given[name])) for name in PARAMETERS if name in given))
    try:
        read_query(texts)
    except Refusal as refusal:
        raise ValueError(refusal.text) from None
    return texts


_NAMES = tuple(name for name in PARAMETERS if name in Filters.__annotations__)


def _text(name: str, value: object) -> str:
    if isinstance(value, Month):
        value = date(value.year, value.month, 1 if name == "start_date" else monthrange(value.year, value.month)[1])
    if isinstance(value, datetime):
        raise TypeError(f"{name} is an Eastern day: give a date, not a time")
    if isinstance(value, date):
        return f"{value.month:02}/{value.day:02}/{value.year:04}"
    return value.value if isinstance(value, Category) else str(value)
