"""
Time: the wire's `Z` times, Eastern days and months, and the mapping periods of a contract.

Everything is UTC except the two reckonings that the specification bases on Eastern Time: which month an
instant belongs to, and which day a query means. Both use the time zone database and nothing else.

Clauses 3.2.4 (begin, end, start_date, end_date), 3.2.5. Readings 21, 24, 33, 62, 63.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from ibt.rules.model import MappingPeriod, Month

_EASTERN = ZoneInfo("America/New_York")

#: The wire knows no time outside the years 0001 to 9999: a border beyond them stands at the last second inside.
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_LAST_MONTH = Month.of(9999, 12)

_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.0+)?Z")


def read_time(text: str) -> datetime:
    """
    The instant that `2015-08-01T04:00:00Z` names; a zero fraction is allowed, an offset is not.

    Raises ValueError for anything else. Reading 33.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a time: write it as 2015-08-01T04:00:00Z')
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)


def write_time(instant: datetime) -> str:
    """*instant*, in UTC, as the wire has it: `2015-08-01T04:00:00Z`."""
    return instant.replace(tzinfo=None).isoformat() + "Z"


@lru_cache(maxsize=4096)
def month_of(instant: datetime) -> Month:
    """The Eastern Time calendar month in which *instant* lies. Reading 62."""
    try:
        eastern = instant.astimezone(_EASTERN)
    except OverflowError:  # the first hours of the year 1, which are still the year before in New England
        return Month.of(0, 12)
    return Month.of(eastern.year, eastern.month)


@lru_cache(maxsize=4096)
def month_begin(month: Month) -> datetime:
    """The instant, in UTC, at which *month* begins in Eastern Time."""
    return _EARLIEST if month.year == 0 else _eastern_midnight(date(month.year, month.month, 1))


def month_end(month: Month) -> datetime:
    """The instant, in UTC, at which *month* ends in Eastern Time and the next one begins."""
    return _LATEST if month == _LAST_MONTH else month_begin(month.next)


def _eastern_midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=_EASTERN).astimezone(UTC)


def mapping_periods(contract_begin: datetime, contract_end: datetime) -> list[MappingPeriod]:
    """
    The mapping periods of a contract, in order and without gaps.

    Each is an Eastern Time calendar month cut to the contract's period, half-open, in UTC. A contract with an
    empty period has none.

    Clauses 3.2.4 (begin, end), 3.2.5. Readings 24, 63.
    """
    periods = []
    begin = contract_begin
    while begin < contract_end:
        period = cut_month(contract_begin, contract_end, month_of(begin))
        periods.append(period)
        begin = period.end
    return periods


def cut_month(contract_begin: datetime, contract_end: datetime, month: Month) -> MappingPeriod:
    """The mapping period of a contract in *month*, in which a part of the contract must lie. Readings 24, 62."""
    return MappingPeriod(month, max(contract_begin, month_begin(month)), min(contract_end, month_end(month)))


def eastern_days(first: date, last: date) -> tuple[datetime, datetime]:
    """
    The half-open period, in UTC, of the Eastern Time days *first* to *last*, both included.

    A period that is open upwards, since no later day can be written, ends after every time of the wire.

    Clause 3.2.4 (start_date, end_date). Reading 21.
    """
    begin = _eastern_midnight(first)
    end = _eastern_midnight(last + timedelta(days=1)) if last < date.max else datetime.max.replace(tzinfo=UTC)
    return begin, end
