"""A contract's birth and the change of its period: what becomes of its mapping periods. Readings 25, 27, 41, 62."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules.mappings import Change, birth, change
from ibt.rules.model import MappingPeriod, MappingVersion, Month
from ibt.rules.periods import mapping_periods, read_time, write_time

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
BORN = read_time("2015-07-01T04:00:00Z")
JULY, AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = (
    f"2015-{month}-01T04:00:00Z" for month in ("07", "08", "09", "10", "11")
)

Versions = dict[Month, MappingVersion]
Told = tuple[list[tuple[str, str, str, str, str]], list[str], list[str]]


def periods(begin: str, end: str) -> list[MappingPeriod]:
    return mapping_periods(read_time(begin), read_time(end))


def always(subaccount_id: str, begin: datetime) -> bool:
    return True


def mapped(begin: str, end: str, subaccount_id: str = "ABC1", version: datetime = BORN) -> Versions:
    """A mapping whose periods all have one subaccount."""
    return {
        period.month: MappingVersion(period.begin, period.end, version, subaccount_id)
        for period in periods(begin, end)
    }


def told(outcome: Change) -> Told:
    """The new versions with their months; the fallen months; the undefined ones."""
    new = [
        (str(month), write_time(one.begin), write_time(one.end), write_time(one.version), one.subaccount_id)
        for month, one in outcome.new.items()
    ]
    return new, [str(month) for month in outcome.fallen], [str(month) for month in outcome.undefined]


def test_every_period_of_a_new_contract_is_mapped_to_default_with_one_version_time() -> None:
    assert birth(periods("2015-08-15T04:00:00Z", OCTOBER), BORN) == {
        Month("2015-08"): MappingVersion(read_time("2015-08-15T04:00:00Z"), read_time(SEPTEMBER), BORN, "Default"),
        Month("2015-09"): MappingVersion(read_time(SEPTEMBER), read_time(OCTOBER), BORN, "Default"),
    }


def test_a_contract_with_an_empty_period_is_born_without_versions() -> None:
    assert birth(periods(AUGUST, AUGUST), BORN) == {}


THEN = write_time(NOW)

#: A mapping of August and September to ABC1; the new period of its contract, and what is told of the change.
CHANGES: dict[str, tuple[str, str, Told]] = {
    "the same period": (AUGUST, OCTOBER, ([], [], [])),
    "a later end": (AUGUST, NOVEMBER, ([("2015-10", OCTOBER, NOVEMBER, THEN, "Default")], [], [])),
    "an earlier begin": (JULY, OCTOBER, ([("2015-07", JULY, AUGUST, THEN, "Default")], [], [])),
    "an end in the last month": (
        AUGUST,
        "2015-09-16T04:00:00Z",
        ([("2015-09", SEPTEMBER, "2015-09-16T04:00:00Z", THEN, "ABC1")], [], []),
    ),
    "a begin in the first month": (
        "2015-08-31T04:00:00Z",
        OCTOBER,
        ([("2015-08", "2015-08-31T04:00:00Z", SEPTEMBER, THEN, "ABC1")], [], []),
    ),
    "without the last month": (AUGUST, SEPTEMBER, ([], ["2015-09"], [])),
    "without the first month, and longer": (
        SEPTEMBER,
        "2015-10-02T04:00:00Z",
        ([("2015-10", OCTOBER, "2015-10-02T04:00:00Z", THEN, "Default")], ["2015-08"], []),
    ),
    "nothing left": (AUGUST, AUGUST, ([], ["2015-08", "2015-09"], [])),
    "elsewhere": (
        OCTOBER,
        NOVEMBER,
        ([("2015-10", OCTOBER, NOVEMBER, THEN, "Default")], ["2015-08", "2015-09"], []),
    ),
}


@pytest.mark.parametrize(("begin", "end", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_period_cuts_adds_and_lets_fall(begin: str, end: str, expected: Told) -> None:
    last = mapped(AUGUST, OCTOBER)
    assert told(change(periods(begin, end), last, last.keys(), always, NOW)) == expected


def test_a_month_that_fell_away_comes_back_at_default() -> None:
    last = mapped(AUGUST, OCTOBER)
    outcome = change(periods(AUGUST, OCTOBER), last, {Month("2015-08")}, always, NOW)
    assert told(outcome) == ([("2015-09", SEPTEMBER, OCTOBER, THEN, "Default")], [], [])


def test_a_moved_begin_that_leaves_the_subaccount_undefined_goes_to_default() -> None:
    last = mapped(AUGUST, OCTOBER)

    def defined(subaccount_id: str, begin: datetime) -> bool:
        return begin < read_time("2015-08-10T04:00:00Z")

    outcome = change(periods("2015-08-10T04:00:00Z", OCTOBER), last, last.keys(), defined, NOW)
    assert told(outcome) == (
        [("2015-08", "2015-08-10T04:00:00Z", SEPTEMBER, THEN, "Default")],
        [],
        ["2015-08"],
    )


@pytest.mark.parametrize("current", [{"2015-08", "2015-09"}, {"2015-08"}], ids=["replaced", "come back"])
def test_the_new_versions_have_one_time_that_is_no_earlier_than_any_they_follow(current: set[str]) -> None:
    later = NOW + timedelta(days=1)
    last = mapped(AUGUST, OCTOBER) | mapped(SEPTEMBER, OCTOBER, version=later)
    changed = periods(AUGUST, "2015-09-16T04:00:00Z") + periods(OCTOBER, NOVEMBER)
    outcome = change(changed, last, {Month(month) for month in current}, always, NOW)
    assert {str(month): version.version for month, version in outcome.new.items()} == {
        "2015-09": later,
        "2015-10": later,
    }


@st.composite
def spans(draw: st.DrawFn) -> tuple[datetime, datetime]:
    begin = datetime(2014, 1, 1, tzinfo=UTC) + timedelta(hours=draw(st.integers(0, 10_000)))
    return begin, begin + timedelta(hours=draw(st.integers(0, 5_000)))


@given(
    st.lists(spans(), min_size=2, max_size=6),
    st.functions(like=always, returns=st.booleans(), pure=True),
)
def test_after_any_changes_the_current_periods_are_the_contracts(
    contract: list[tuple[datetime, datetime]], defined: Callable[[str, datetime], bool]
) -> None:
    last: Versions = {
        month: MappingVersion(one.begin, one.end, one.version, "ABC1")
        for month, one in birth(mapping_periods(*contract[0]), BORN).items()
    }
    current = set(last)
    for number, (begin, end) in enumerate(contract[1:]):
        now = NOW + timedelta(days=(-1) ** number)
        wanted = mapping_periods(begin, end)
        outcome = change(wanted, last, current, defined, now)
        assert current.isdisjoint(outcome.fallen) is not bool(outcome.fallen)
        for month, version in outcome.new.items():
            assert version.version >= max(now, last[month].version if month in last else now)
        last |= outcome.new
        current = (current - set(outcome.fallen)) | outcome.new.keys()
        assert current == {period.month for period in wanted}
        assert all(
            (last[period.month].begin, last[period.month].end) == (period.begin, period.end) for period in wanted
        )
        assert told(change(wanted, last, current, defined, now)) == ([], [], [])
