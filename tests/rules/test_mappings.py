"""An update against what stands: each rule of 3.2.5, its exact line, and what an update comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibt.rules import mappings
from ibt.rules.faults import Faults
from ibt.rules.mappings import NewVersion, Outcome, Standing
from ibt.rules.model import (
    Contract,
    MappingVersion,
    Month,
    RequestedMapping,
    RequestedVersion,
    Subaccount,
    SubaccountMapping,
    SubaccountVersion,
    Update,
)
from ibt.rules.periods import mapping_periods, month_of, read_time, write_time

NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)
JULY, AUGUST, SEPTEMBER, OCTOBER, NOVEMBER = (
    f"2015-{month}-01T04:00:00Z" for month in ("07", "08", "09", "10", "11")
)
BORN = read_time("2015-07-01T04:00:00Z")


def contract(contract_id: int, begin: str, end: str) -> Contract:
    return Contract(contract_id, "FCM Load", "XYZ Inc", "QRS Ltd", read_time(begin), read_time(end), "Conf")


def born(of: Contract) -> SubaccountMapping:
    """The mapping of a new contract. Reading 25."""
    periods = mapping_periods(of.contract_begin, of.contract_end)
    return SubaccountMapping(
        1, of, tuple(MappingVersion(period.begin, period.end, BORN, "Default") for period in periods)
    )


def subaccount(subaccount_id: str, *periods: tuple[str, str | None], status: str = "Active") -> Subaccount:
    versions = (
        SubaccountVersion(read_time(begin), None if end is None else read_time(end), subaccount_id, status)
        for begin, end in periods
    )
    return Subaccount(subaccount_id, tuple(versions))


ALWAYS = ("2000-01-01T05:00:00Z", None)

#: Customer 1 with a contract of three months, one from the middle of a month into the next, and an empty one.
STANDING = Standing(
    1,
    {
        of.contract_id: born(of)
        for of in (
            contract(7, AUGUST, NOVEMBER),
            contract(8, "2015-08-10T16:00:00Z", "2015-09-20T16:00:00Z"),
            contract(9, AUGUST, AUGUST),
        )
    },
    {
        each.subaccount_id: each
        for each in (
            subaccount("Default", ALWAYS),
            subaccount("ABC1", ALWAYS),
            subaccount("007", ALWAYS),
            subaccount("retired", ALWAYS, status="Inactive"),
            subaccount("late", (SEPTEMBER, None)),
            subaccount("gap", (JULY, SEPTEMBER), (OCTOBER, None)),
        )
    },
)


def version(begin: str, end: str | None = None, subaccount_id: str = "ABC1") -> RequestedVersion:
    return RequestedVersion(read_time(begin), None if end is None else read_time(end), subaccount_id)


def mapping(contract_id: int, *versions: RequestedVersion, customer_id: int = 1) -> RequestedMapping:
    return RequestedMapping(customer_id, contract_id, versions)


def judged(*requested: RequestedMapping, standing: Standing = STANDING, now: datetime = NOW) -> Outcome | list[str]:
    """What the update comes to, or the lines that refuse it."""
    faults = Faults()
    outcome = mappings.update(standing, requested, now, faults)
    if faults.count:
        assert outcome == Outcome((), ())
        return faults.lines()
    return outcome


def place(contract_id: int, wish: RequestedVersion) -> str:
    """How a line about *wish* begins: with its period as it was sent."""
    end = "" if wish.end is None else f" to {write_time(wish.end)}"
    return f"contract {contract_id}, period {write_time(wish.begin)}{end}"


def outcome_of(*requested: RequestedMapping, standing: Standing = STANDING, now: datetime = NOW) -> Outcome:
    outcome = judged(*requested, standing=standing, now=now)
    assert isinstance(outcome, Outcome), outcome
    return outcome


# Periods ----------------------------------------------------------------------------------------------------

ACCEPTED = {
    "a whole month": version(AUGUST, SEPTEMBER),
    "without its end": version(AUGUST),
    "the last month": version(OCTOBER, NOVEMBER),
}


@pytest.mark.parametrize("wish", ACCEPTED.values(), ids=ACCEPTED)
def test_a_mapping_period_of_the_contract_is_accepted(wish: RequestedVersion) -> None:
    outcome = outcome_of(mapping(7, wish))
    begin, end = wish.begin, min(read_time(each) for each in (SEPTEMBER, NOVEMBER) if read_time(each) > wish.begin)
    assert outcome.new == (NewVersion(7, month_of(begin), MappingVersion(begin, end, NOW, "ABC1")),)


CUT = {
    "from the contract's begin": version("2015-08-10T16:00:00Z", SEPTEMBER),
    "to the contract's end": version(SEPTEMBER, "2015-09-20T16:00:00Z"),
    "to the contract's end, which is left out": version(SEPTEMBER),
}


@pytest.mark.parametrize("wish", CUT.values(), ids=CUT)
def test_a_month_cut_to_the_contract_is_accepted(wish: RequestedVersion) -> None:
    assert len(outcome_of(mapping(8, wish)).new) == 1


#: Of one version: what is sent for contract 7, August to October, and the one line about its period.
PERIODS: Mapping[str, tuple[RequestedVersion, str]] = {
    "end is begin": (
        version(AUGUST, AUGUST),
        f'end "{AUGUST}": must be later than begin, which is {AUGUST} (3.2.5)',
    ),
    "end before begin": (
        version(SEPTEMBER, AUGUST),
        f'end "{AUGUST}": must be later than begin, which is {SEPTEMBER} (3.2.5)',
    ),
    "two months": (
        version(AUGUST, OCTOBER),
        (
            f'end "{OCTOBER}": must belong to the same Eastern Time month as '
            f"begin, 2015-08, which ends at {SEPTEMBER} (3.2.5)"
        ),
    ),
    "a second into the next month": (
        version(AUGUST, "2015-09-01T04:00:01Z"),
        (
            f'end "2015-09-01T04:00:01Z": must belong to the same '
            f"Eastern Time month as begin, 2015-08, which ends at {SEPTEMBER} (3.2.5)"
        ),
    ),
    "a month of UTC": (
        version("2015-08-01T00:00:00Z", "2015-09-01T00:00:00Z"),
        (
            'end "2015-09-01T00:00:00Z": must belong to '
            f"the same Eastern Time month as begin, 2015-07, which ends at {AUGUST} (3.2.5)"
        ),
    ),
    "before the contract": (
        version(JULY, AUGUST),
        f'begin "{JULY}": must be later than or the same as the contract period\'s begin, {AUGUST} (3.2.5)',
    ),
    "before the contract without end": (
        version(JULY),
        f'begin "{JULY}": must be later than or the same as the contract period\'s begin, {AUGUST} (3.2.5)',
    ),
    "after the contract": (
        version(NOVEMBER, "2015-12-01T05:00:00Z"),
        f'begin "{NOVEMBER}": must be earlier than the contract period\'s end, {NOVEMBER} (3.2.5)',
    ),
    "from the middle of a month": (
        version("2015-08-10T04:00:00Z", SEPTEMBER),
        (
            f'begin "2015-08-10T04:00:00Z": the contract\'s '
            f"period is divided into mapping periods, and this is not one: send {AUGUST} to {SEPTEMBER} "
            "(3.2.4, reading 35)"
        ),
    ),
    "from the middle of a month without end": (
        version("2015-08-10T04:00:00Z"),
        (
            'begin "2015-08-10T04:00:00Z": the contract\'s period is divided '
            f"into mapping periods, and this is not one: send {AUGUST} to {SEPTEMBER} (3.2.4, reading 35)"
        ),
    ),
    "to the middle of a month": (
        version(AUGUST, "2015-08-10T04:00:00Z"),
        (
            f'end "2015-08-10T04:00:00Z": the contract\'s period is '
            f"divided into mapping periods, and this is not one: send {AUGUST} to {SEPTEMBER} (3.2.4, reading 35)"
        ),
    ),
}


@pytest.mark.parametrize(("wish", "line"), PERIODS.values(), ids=PERIODS)
def test_a_wrong_period_is_told_in_one_line(wish: RequestedVersion, line: str) -> None:
    assert judged(mapping(7, wish)) == [f"{place(7, wish)}, {line}"]


#: The same for contract 8, which has parts of August and September.
CUT_PERIODS: Mapping[str, tuple[RequestedVersion, str]] = {
    "the whole first month": (
        version(AUGUST, SEPTEMBER),
        (
            f'begin "{AUGUST}": must be later than or the same as the '
            "contract period's begin, 2015-08-10T16:00:00Z (3.2.5)"
        ),
    ),
    "the whole last month": (
        version(SEPTEMBER, OCTOBER),
        (
            f'end "{OCTOBER}": must be earlier than or the same as the '
            "contract period's end, 2015-09-20T16:00:00Z (3.2.5)"
        ),
    ),
    "the whole contract": (
        version("2015-08-10T16:00:00Z", "2015-09-20T16:00:00Z"),
        (
            'end "2015-09-20T16:00:00Z": must belong to '
            f"the same Eastern Time month as begin, 2015-08, which ends at {SEPTEMBER} (3.2.5)"
        ),
    ),
    "a part of the last month": (
        version("2015-09-02T04:00:00Z", "2015-09-03T04:00:00Z"),
        (
            'begin "2015-09-02T04:00:00Z": the '
            "contract's period is divided into mapping periods, and this is not one: send "
            f"{SEPTEMBER} to 2015-09-20T16:00:00Z (3.2.4, reading 35)"
        ),
    ),
}


@pytest.mark.parametrize(("wish", "line"), CUT_PERIODS.values(), ids=CUT_PERIODS)
def test_a_wrong_period_of_a_cut_month_is_told_in_one_line(wish: RequestedVersion, line: str) -> None:
    assert judged(mapping(8, wish)) == [f"{place(8, wish)}, {line}"]


#: Periods that break several rules, and the first, which alone is told. Reading 6.
FIRST = {
    "end before begin, and outside": (version(JULY, "2015-06-01T04:00:00Z"), "must be later than begin"),
    "two months, and outside": (version(JULY, SEPTEMBER), "must belong to the same Eastern Time month"),
    "several months around the contract": (version(JULY, "2016-07-01T04:00:00Z"), "must belong to the same"),
    "outside, and no mapping period": (version("2015-07-03T04:00:00Z", "2015-07-04T04:00:00Z"), "contract period's"),
    "after the contract, and no month": (version("2015-11-03T05:00:00Z", "2015-11-04T05:00:00Z"), "earlier than the"),
}


@pytest.mark.parametrize(("wish", "told"), FIRST.values(), ids=FIRST)
def test_of_several_faults_of_a_period_the_first_is_told(wish: RequestedVersion, told: str) -> None:
    lines = judged(mapping(7, wish))
    assert isinstance(lines, list)
    (line,) = lines
    assert told in line


def test_a_period_and_its_subaccount_may_both_be_wrong() -> None:
    wish = version(JULY, AUGUST, "nobody")
    assert judged(mapping(7, wish)) == [
        f"{place(7, wish)}, {PERIODS['before the contract'][1]}",
        f'{place(7, wish)}, subaccount_id "nobody": {SUBACCOUNT_SAYS}',
    ]


def test_a_contract_with_an_empty_period_has_nothing_to_map() -> None:
    wish = version(AUGUST, SEPTEMBER)
    says = f"must be earlier than the contract period's end, {AUGUST} (3.2.5)"
    assert judged(mapping(9, wish)) == [f'{place(9, wish)}, begin "{AUGUST}": {says}']


def test_a_month_twice_is_told_at_the_second() -> None:
    again = version(AUGUST, SEPTEMBER, "Default")
    says = (
        "must not be in the same month, 2015-08, as another version of this mapping: send one for each month (3.2.5)"
    )
    assert judged(mapping(7, version(AUGUST), version(SEPTEMBER), again)) == [
        f'{place(7, again)}, begin "{AUGUST}": {says}'
    ]


def test_a_repeated_month_is_judged_by_begin_and_told_once_for_each() -> None:
    middle = "2015-08-10T04:00:00Z"
    lines = judged(mapping(7, version(middle), version(AUGUST), version(AUGUST)))
    assert isinstance(lines, list)
    assert ["begin" in line and "divided into mapping periods" in line for line in lines] == [True, False, False]
    assert ["must not be in the same month" in line for line in lines] == [False, True, True]


SUBACCOUNT_SAYS = (
    "must be a subaccount of customer 1 that is defined as of the mapping period's begin: "
    "GET …/1/subaccounts lists them (3.2.5)"
)


# Subaccounts ------------------------------------------------------------------------------------------------

SUBACCOUNTS = {
    "Default": (version(AUGUST, SEPTEMBER, "Default"), True),
    "defined": (version(AUGUST, SEPTEMBER, "ABC1"), True),
    "whatever its status": (version(AUGUST, SEPTEMBER, "retired"), True),
    "from begin on": (version(SEPTEMBER, OCTOBER, "late"), True),
    "from a month after begin on": (version(AUGUST, SEPTEMBER, "late"), False),
    "until begin": (version(SEPTEMBER, OCTOBER, "gap"), False),
    "after a gap": (version(OCTOBER, NOVEMBER, "gap"), True),
    "unknown": (version(AUGUST, SEPTEMBER, "nobody"), False),
    "in other letters": (version(AUGUST, SEPTEMBER, "abc1"), False),
    "with a blank": (version(AUGUST, SEPTEMBER, "ABC1 "), False),
    "a number as a text": (version(AUGUST, SEPTEMBER, "007"), True),
    "a number in other digits": (version(AUGUST, SEPTEMBER, "7"), False),
}


@pytest.mark.parametrize(("wish", "right"), SUBACCOUNTS.values(), ids=SUBACCOUNTS)
def test_a_subaccount_must_be_the_customers_and_defined_at_begin(wish: RequestedVersion, right: bool) -> None:
    outcome = judged(mapping(7, wish))
    if right:
        assert isinstance(outcome, Outcome)
    else:
        assert outcome == [f'{place(7, wish)}, subaccount_id "{wish.subaccount_id}": {SUBACCOUNT_SAYS}']


def test_an_undefined_subaccount_is_refused_where_nothing_would_change_too() -> None:
    """Reading 39: it holds for every period sent, changed or not."""
    (first, *others) = STANDING.mappings[7].versions
    mapped = STANDING.mappings[7].with_versions((replace(first, subaccount_id="late"), *others))
    standing = replace(STANDING, mappings={7: mapped})
    assert isinstance(judged(mapping(7, version(AUGUST, None, "late")), standing=standing), list)


# Contracts and customers ------------------------------------------------------------------------------------

UNKNOWN = (
    'contract 5, contract_id "5": '
    "customer 1 is not a party to a contract with this id: send one that its mappings list (3.2.5)"
)
REPEATED = (
    "must not be repeated within the message: put all its versions into one contract_subaccount_mapping (3.2.5)"
)

MESSAGES: Mapping[str, tuple[Update, list[str]]] = {
    "no mapping": (
        (),
        ["message: has no contract_subaccount_mapping: send at least one (3.2.4, reading 40)"],
    ),
    "another customer": (
        (mapping(7, version(AUGUST), customer_id=2),),
        ['contract 7, customer_id "2": must be the customer of the URL: send 1 (3.2.4)'],
    ),
    "a contract twice": (
        (mapping(7, version(AUGUST)), mapping(7, version(SEPTEMBER))),
        [f'contract 7, contract_id "7": {REPEATED}'],
    ),
    "an unknown contract, whose periods are not judged": ((mapping(5, version(AUGUST, JULY, "nobody")),), [UNKNOWN]),
    "an unknown contract twice": (
        (mapping(5), mapping(5)),
        [UNKNOWN, f'contract 5, contract_id "5": {REPEATED}', UNKNOWN],
    ),
    "a mapping without versions": (
        (mapping(7), mapping(8, version(SEPTEMBER))),
        [
            (
                "contract 7, mapping: has no contract_subaccount_mapping_version: send at least one, or leave the "
                "contract out (3.2.4, reading 40)"
            )
        ],
    ),
}


@pytest.mark.parametrize(("message", "lines"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_that_breaks_a_rule_is_refused(message: Update, lines: list[str]) -> None:
    assert judged(*message) == lines


def test_all_faults_are_told_in_the_order_of_the_document() -> None:
    lines = judged(
        mapping(5, version(AUGUST)),
        mapping(8, version(AUGUST), version(SEPTEMBER, None, "nobody"), customer_id=2),
        mapping(7),
    )
    assert isinstance(lines, list)
    assert [line.partition(": ")[0] for line in lines] == [
        'contract 5, contract_id "5"',
        'contract 8, customer_id "2"',
        f'contract 8, period {AUGUST}, begin "{AUGUST}"',
        f'contract 8, period {SEPTEMBER}, subaccount_id "nobody"',
        "contract 7, mapping",
    ]


def test_every_rule_is_broken_by_an_example_here() -> None:
    broken = set()
    examples: list[Update] = [
        *(update for update, _ in MESSAGES.values()),
        *((mapping(7, wish),) for wish, _ in PERIODS.values()),
        *((mapping(8, wish),) for wish, _ in CUT_PERIODS.values()),
        (mapping(7, version(AUGUST), version(AUGUST)),),
        (mapping(7, version(AUGUST, None, "nobody")),),
    ]
    for example in examples:
        faults = Faults()
        mappings.update(STANDING, example, NOW, faults)
        broken |= {fault.rule for fault in faults.told}
    assert broken == set(mappings.RULES)


# Outcomes ---------------------------------------------------------------------------------------------------


def test_an_unchanged_period_keeps_its_version() -> None:
    """Reading 29."""
    outcome = outcome_of(mapping(7, version(AUGUST, None, "Default"), version(SEPTEMBER, None, "ABC1")))
    first, second, _ = STANDING.mappings[7].versions
    changed = MappingVersion(second.begin, second.end, NOW, "ABC1")
    assert outcome.new == (NewVersion(7, Month("2015-09"), changed),)
    assert outcome.reply == (STANDING.mappings[7].with_versions((first, changed)),)


def test_an_update_that_changes_nothing_creates_nothing() -> None:
    outcome = outcome_of(mapping(7, version(AUGUST, None, "Default")))
    assert outcome.new == ()
    assert outcome.reply == (STANDING.mappings[7].with_versions(STANDING.mappings[7].versions[:1]),)


def test_the_reply_has_the_periods_of_the_request_in_its_order() -> None:
    """Reading 30."""
    outcome = outcome_of(
        mapping(8, version(SEPTEMBER), version("2015-08-10T16:00:00Z", None, "Default")),
        mapping(7, version(OCTOBER, None, "007"), version(AUGUST)),
    )
    assert [
        (each.contract.contract_id, write_time(one.begin), one.subaccount_id)
        for each in outcome.reply
        for one in each.versions
    ] == [
        (8, SEPTEMBER, "ABC1"),
        (8, "2015-08-10T16:00:00Z", "Default"),
        (7, OCTOBER, "007"),
        (7, AUGUST, "ABC1"),
    ]
    assert [(new.contract_id, write_time(new.version.begin)) for new in outcome.new] == [
        (8, SEPTEMBER),
        (7, OCTOBER),
        (7, AUGUST),
    ]


def with_version_times(*times: datetime) -> Standing:
    stands = STANDING.mappings[7]
    versions = (replace(one, version=time) for one, time in zip(stands.versions, times, strict=True))
    return replace(STANDING, mappings={7: stands.with_versions(tuple(versions))})


SECOND = timedelta(seconds=1)

#: The times of the versions of August, September and October, of which the first two are replaced.
TIMES = {
    "all of them earlier": ((BORN, BORN, BORN), NOW),
    "one of now": ((BORN, NOW, BORN), NOW),
    "one of a clock ahead": ((BORN, NOW + SECOND, BORN), NOW + SECOND),
    "two of clocks ahead": ((NOW + 5 * SECOND, NOW + SECOND, BORN), NOW + 5 * SECOND),
    "one ahead that stays": ((BORN, BORN, NOW + SECOND), NOW),
}


@pytest.mark.parametrize(("times", "expected"), TIMES.values(), ids=TIMES)
def test_new_versions_have_one_time_that_is_never_earlier_than_what_they_replace(
    times: tuple[datetime, ...], expected: datetime
) -> None:
    """Reading 41."""
    requested = mapping(7, version(AUGUST), version(SEPTEMBER), version(OCTOBER, None, "Default"))
    outcome = outcome_of(requested, standing=with_version_times(*times))
    assert {new.version.version for new in outcome.new} == {expected}
    assert [one.version for one in outcome.reply[0].versions] == [expected, expected, times[2]]


# Laws -------------------------------------------------------------------------------------------------------

instants = st.integers(-50 * 86400, 150 * 86400).map(lambda seconds: read_time(AUGUST) + timedelta(seconds=seconds))
borders = st.sampled_from([one for each in STANDING.mappings.values() for one in each.versions]).flatmap(
    lambda one: st.sampled_from([one.begin, one.end])
)
wishes = st.builds(
    RequestedVersion,
    borders | instants,
    st.none() | borders | instants,
    st.sampled_from([*STANDING.subaccounts, "nobody"]),
)
messages = st.lists(
    st.builds(
        RequestedMapping,
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from([7, 8, 9, 5]),
        st.lists(wishes, max_size=4).map(tuple),
    ),
    max_size=3,
).map(tuple)


@given(messages)
def test_an_update_is_refused_or_does_exactly_what_it_asks(message: Update) -> None:
    outcome = judged(*message)
    right = (
        bool(message)
        and len({each.contract_id for each in message}) == len(message)
        and all(each.customer_id == 1 and each.contract_id in STANDING.mappings for each in message)
        and all(each.versions for each in message)
        and all(right_versions(each) for each in message)
    )
    assert isinstance(outcome, Outcome) is right
    if isinstance(outcome, Outcome):
        asked = [(each.contract_id, wish.begin, wish.subaccount_id) for each in message for wish in each.versions]
        answered = [(each.contract.contract_id, one) for each in outcome.reply for one in each.versions]
        assert [(contract_id, one.begin, one.subaccount_id) for contract_id, one in answered] == asked
        stands = {(contract_id, one) for contract_id, each in STANDING.mappings.items() for one in each.versions}
        assert {(new.contract_id, new.version) for new in outcome.new} == set(answered) - stands


def right_versions(requested: RequestedMapping) -> bool:
    """Whether the versions of one mapping are right, reckoned from the contract's periods as a set."""
    periods = {one.begin: one.end for one in STANDING.mappings[requested.contract_id].versions}
    begins = [wish.begin for wish in requested.versions]
    return len(set(begins)) == len(begins) and all(
        wish.begin in periods
        and wish.end in (None, periods[wish.begin])
        and wish.subaccount_id in STANDING.subaccounts
        and STANDING.subaccounts[wish.subaccount_id].defined(wish.begin)
        for wish in requested.versions
    )


@given(messages)
def test_an_accepted_update_sent_again_changes_nothing(message: Update) -> None:
    outcome = judged(*message)
    if isinstance(outcome, Outcome):
        new = {(each.contract_id, each.version.begin): each.version for each in outcome.new}
        stands = {
            contract_id: each.with_versions(tuple(new.get((contract_id, one.begin), one) for one in each.versions))
            for contract_id, each in STANDING.mappings.items()
        }
        again = outcome_of(*message, standing=replace(STANDING, mappings=stands), now=NOW + SECOND)
        assert again == Outcome(outcome.reply, ())
