"""Times, Eastern days and months, mapping periods. Readings 21, 24, 33, 62, 63."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules.model import Month
from ibt.rules.periods import (
    cut_month,
    eastern_days,
    mapping_periods,
    month_begin,
    month_end,
    month_of,
    read_time,
    write_time,
)

SECOND = timedelta(seconds=1)
MONTHS = [(year, month) for year in range(1990, 2061) for month in range(1, 13)]

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def instant(text: str) -> datetime:
    """The instant that *text* names, read by Python alone."""
    return datetime.fromisoformat(text)


# The reckoning by hand: it knows the law of the clocks (from 1987 the first Sunday of April to the last of
# October; from 2007 the second Sunday of March to the first of November) and no time zone database.


def sunday(year: int, month: int, number: int) -> date:
    """The *number*th Sunday of a month, counted from 1."""
    first = date(year, month, 1)
    return first + timedelta(days=6 - first.weekday(), weeks=number - 1)


def last_sunday_of_october(year: int) -> date:
    last = date(year, 10, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def by_hand(day: date) -> datetime:
    """The instant at which *day* begins in New England. The clocks change at two, so the day after is the first."""
    if day.year >= 2007:
        forward, back = sunday(day.year, 3, 2), sunday(day.year, 11, 1)
    else:
        forward, back = sunday(day.year, 4, 1), last_sunday_of_october(day.year)
    return datetime(day.year, day.month, day.day, 4 if forward < day <= back else 5, tzinfo=UTC)


def month_begin_by_hand(year: int, month: int) -> datetime:
    return by_hand(date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1))


@pytest.mark.parametrize(
    ("day", "begins"),
    [
        ("2015-03-01", "2015-03-01T05:00:00Z"),
        ("2015-03-08", "2015-03-08T05:00:00Z"),
        ("2015-03-09", "2015-03-09T04:00:00Z"),
        ("2015-04-01", "2015-04-01T04:00:00Z"),
        ("2015-11-01", "2015-11-01T04:00:00Z"),
        ("2015-11-02", "2015-11-02T05:00:00Z"),
        ("2006-04-01", "2006-04-01T05:00:00Z"),
        ("2006-10-29", "2006-10-29T04:00:00Z"),
        ("2006-10-30", "2006-10-30T05:00:00Z"),
        ("2001-04-01", "2001-04-01T05:00:00Z"),
    ],
)
def test_the_reckoning_by_hand_knows_the_days_on_which_clocks_changed(day: str, begins: str) -> None:
    assert by_hand(date.fromisoformat(day)) == instant(begins)


def test_every_month_from_1990_to_2060_begins_and_ends_as_reckoned_by_hand() -> None:
    for year, month in MONTHS:
        expected = month_begin_by_hand(year, month), month_begin_by_hand(year, month + 1)
        assert (month_begin(Month.of(year, month)), month_end(Month.of(year, month))) == expected


def test_every_border_from_1990_to_2060_parts_two_months() -> None:
    for year, month in MONTHS:
        begin, end = month_begin_by_hand(year, month), month_begin_by_hand(year, month + 1)
        months = [month_of(moment) for moment in (begin - SECOND, begin, end - SECOND, end)]
        this = Month.of(year, month)
        assert months[1:] == [this, this, this.next]
        assert months[0].next == this


def test_a_contract_of_71_years_has_every_month_as_reckoned_by_hand() -> None:
    periods = mapping_periods(month_begin_by_hand(1990, 1), month_begin_by_hand(2061, 1))
    assert [(p.month, p.begin, p.end) for p in periods] == [
        (Month.of(year, month), month_begin_by_hand(year, month), month_begin_by_hand(year, month + 1))
        for year, month in MONTHS
    ]


CONTRACTS = {
    "the sample's": (
        ("2015-08-01T04:00:00Z", "2015-10-01T04:00:00Z"),
        [
            ("2015-08", "2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z"),
            ("2015-09", "2015-09-01T04:00:00Z", "2015-10-01T04:00:00Z"),
        ],
    ),
    "inside one month": (
        ("2015-08-10T04:00:00Z", "2015-08-11T04:00:00Z"),
        [("2015-08", "2015-08-10T04:00:00Z", "2015-08-11T04:00:00Z")],
    ),
    "from mid-month to mid-month": (
        ("2015-08-31T20:00:00Z", "2015-09-01T05:00:00Z"),
        [
            ("2015-08", "2015-08-31T20:00:00Z", "2015-09-01T04:00:00Z"),
            ("2015-09", "2015-09-01T04:00:00Z", "2015-09-01T05:00:00Z"),
        ],
    ),
    "over the change in March": (
        ("2015-03-01T05:00:00Z", "2015-04-01T04:00:00Z"),
        [("2015-03", "2015-03-01T05:00:00Z", "2015-04-01T04:00:00Z")],
    ),
    "over the change in November": (
        ("2015-11-01T04:00:00Z", "2015-12-01T05:00:00Z"),
        [("2015-11", "2015-11-01T04:00:00Z", "2015-12-01T05:00:00Z")],
    ),
    "a leap day": (
        ("2016-02-29T05:00:00Z", "2016-03-01T05:00:00Z"),
        [("2016-02", "2016-02-29T05:00:00Z", "2016-03-01T05:00:00Z")],
    ),
    "one second before a border": (
        ("2015-09-01T03:59:59Z", "2015-09-01T04:00:00Z"),
        [("2015-08", "2015-09-01T03:59:59Z", "2015-09-01T04:00:00Z")],
    ),
    "from GMT midnight": (
        ("2016-01-01T00:00:00Z", "2016-01-02T00:00:00Z"),
        [
            ("2015-12", "2016-01-01T00:00:00Z", "2016-01-01T05:00:00Z"),
            ("2016-01", "2016-01-01T05:00:00Z", "2016-01-02T00:00:00Z"),
        ],
    ),
    "empty": (("2015-08-01T04:00:00Z", "2015-08-01T04:00:00Z"), []),
    "empty inside a month": (("2015-08-10T04:00:00Z", "2015-08-10T04:00:00Z"), []),
}


@pytest.mark.parametrize(("contract", "expected"), CONTRACTS.values(), ids=CONTRACTS)
def test_mapping_periods_are_eastern_months_cut_to_the_contract(
    contract: tuple[str, str], expected: list[tuple[str, str, str]]
) -> None:
    periods = mapping_periods(instant(contract[0]), instant(contract[1]))
    assert [(str(p.month), write_time(p.begin), write_time(p.end)) for p in periods] == expected


def moments(first: datetime, last: datetime) -> st.SearchStrategy[datetime]:
    seconds = st.integers(0, (last - first) // SECOND)
    return seconds.map(lambda count: first + count * SECOND)


@given(moments(instant("1990-01-01T05:00:00Z"), instant("2060-12-31T00:00:00Z")), st.integers(0, 900 * 86400))
def test_the_periods_of_any_contract_cover_it_without_gaps_each_in_one_month(begin: datetime, seconds: int) -> None:
    end = begin + seconds * SECOND
    periods = mapping_periods(begin, end)
    if begin == end:
        assert periods == []
        return
    assert (periods[0].begin, periods[-1].end) == (begin, end)
    assert all(before.end == after.begin for before, after in pairwise(periods))
    assert all(before.month.next == after.month for before, after in pairwise(periods))
    for period in periods:
        first = month_begin_by_hand(period.month.year, period.month.month)
        last = month_begin_by_hand(period.month.year, period.month.month + 1)
        assert first <= period.begin < period.end <= last


@given(moments(instant("2014-01-01T00:00:00Z"), instant("2017-01-01T00:00:00Z")), st.integers(1, 200 * 86400))
def test_a_contract_cut_to_a_month_of_its_own_is_that_mapping_period(begin: datetime, seconds: int) -> None:
    end = begin + seconds * SECOND
    periods = mapping_periods(begin, end)
    assert [cut_month(begin, end, period.month) for period in periods] == periods


@pytest.mark.parametrize(
    ("begin", "end", "months"),
    [
        (EARLIEST, EARLIEST + timedelta(days=31), ["0000-12", "0001-01"]),
        (EARLIEST, EARLIEST + SECOND, ["0000-12"]),
        (LATEST - timedelta(days=31), LATEST, ["9999-11", "9999-12"]),
        (LATEST - SECOND, LATEST, ["9999-12"]),
        (LATEST, LATEST, []),
    ],
)
def test_the_first_and_the_last_year_have_mapping_periods(begin: datetime, end: datetime, months: list[str]) -> None:
    periods = mapping_periods(begin, end)
    assert [str(period.month) for period in periods] == months
    assert all(before.end == after.begin for before, after in pairwise(periods))
    assert all(month_of(period.begin) == period.month for period in periods)


def test_the_longest_contract_has_a_period_for_every_month() -> None:
    periods = mapping_periods(EARLIEST, LATEST)
    assert len(periods) == 9999 * 12 + 1
    assert (periods[0].begin, periods[-1].end) == (EARLIEST, LATEST)


TIMES = {
    "the sample's": ("2015-08-01T04:00:00Z", "2015-08-01T04:00:00Z"),
    "a zero fraction": ("2015-08-01T04:00:00.000Z", "2015-08-01T04:00:00Z"),
    "a short zero fraction": ("2015-08-01T04:00:00.0Z", "2015-08-01T04:00:00Z"),
    "a long zero fraction": ("2015-08-01T04:00:00." + "0" * 5000 + "Z", "2015-08-01T04:00:00Z"),
    "a leap day": ("2016-02-29T23:59:59Z", "2016-02-29T23:59:59Z"),
    "the first": ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    "the last": ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
}


@pytest.mark.parametrize(("text", "written"), TIMES.values(), ids=TIMES)
def test_a_time_is_read_and_written(text: str, written: str) -> None:
    moment = read_time(text)
    assert moment == instant(written)
    assert moment.tzinfo is UTC
    assert write_time(moment) == written


NO_TIMES = {
    "an offset": "2015-08-01T00:00:00-04:00",
    "an offset of nothing": "2015-08-01T04:00:00+00:00",
    "no zone": "2015-08-01T04:00:00",
    "a small z": "2015-08-01T04:00:00z",
    "a small t": "2015-08-01t04:00:00Z",
    "a blank for T": "2015-08-01 04:00:00Z",
    "a real fraction": "2015-08-01T04:00:00.5Z",
    "a fraction with a late digit": "2015-08-01T04:00:00.0001Z",
    "a fraction without digits": "2015-08-01T04:00:00.Z",
    "a comma": "2015-08-01T04:00:00,0Z",
    "24:00:00": "2015-08-01T24:00:00Z",
    "a leap second": "2015-06-30T23:59:60Z",
    "minute 60": "2015-08-01T04:60:00Z",
    "no such day": "2015-02-29T05:00:00Z",
    "day 0": "2015-08-00T04:00:00Z",
    "month 13": "2015-13-01T04:00:00Z",
    "the year 0": "0000-01-01T00:00:00Z",
    "a negative year": "-2015-08-01T04:00:00Z",
    "a year of five digits": "12015-08-01T04:00:00Z",
    "a short year": "15-08-01T04:00:00Z",
    "no seconds": "2015-08-01T04:00Z",
    "a date": "2015-08-01",
    "a week": "2015-W31-6T04:00:00Z",
    "no dashes": "20150801T040000Z",
    "a blank before": " 2015-08-01T04:00:00Z",
    "a newline behind": "2015-08-01T04:00:00Z\n",
    "another script's digits": "٢٠١٥-08-01T04:00:00Z",
    "nothing": "",
}


@pytest.mark.parametrize("text", NO_TIMES.values(), ids=NO_TIMES)
def test_what_is_not_a_time_of_the_wire_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is Python's for days that do not exist; readers write their own
        read_time(text)


@given(moments(EARLIEST, LATEST))
def test_every_time_is_read_as_it_was_written(moment: datetime) -> None:
    assert read_time(write_time(moment)) == moment


DAYS = {
    "one day": ("2015-08-01", "2015-08-01", "2015-08-01T04:00:00Z", "2015-08-02T04:00:00Z"),
    "a month": ("2015-08-01", "2015-08-31", "2015-08-01T04:00:00Z", "2015-09-01T04:00:00Z"),
    "a day of 23 hours": ("2015-03-08", "2015-03-08", "2015-03-08T05:00:00Z", "2015-03-09T04:00:00Z"),
    "a day of 25 hours": ("2015-11-01", "2015-11-01", "2015-11-01T04:00:00Z", "2015-11-02T05:00:00Z"),
    "a leap day": ("2016-02-29", "2016-02-29", "2016-02-29T05:00:00Z", "2016-03-01T05:00:00Z"),
    "a turn of the year": ("2015-12-31", "2016-01-01", "2015-12-31T05:00:00Z", "2016-01-02T05:00:00Z"),
}


@pytest.mark.parametrize(("first", "last", "begin", "end"), DAYS.values(), ids=DAYS)
def test_eastern_days_are_a_half_open_period(first: str, last: str, begin: str, end: str) -> None:
    assert eastern_days(date.fromisoformat(first), date.fromisoformat(last)) == (instant(begin), instant(end))


@given(st.dates(date(1990, 1, 1), date(2060, 12, 30)))
def test_every_eastern_day_is_as_reckoned_by_hand(day: date) -> None:
    assert eastern_days(day, day) == (by_hand(day), by_hand(day + timedelta(days=1)))


def test_the_first_and_the_last_day_that_can_be_written_are_days() -> None:
    begin, end = eastern_days(date.min, date.max)
    assert EARLIEST < begin < EARLIEST + timedelta(hours=6)
    assert end > LATEST
