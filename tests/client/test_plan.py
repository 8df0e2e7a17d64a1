"""
Plans, their application and the way back, against a live sandbox; what a plan refuses, the service refuses alike.

Clauses 3.2.3, 3.2.5. Readings 6, 28, 29, 35-39, 62.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ibt import Client, Month, Refused, Wish
from ibt.client import (
    NotTheDocument,
    Plan,
    Receipt,
    months,
    read_months,
    read_plan,
    read_receipt,
    write_plan,
    write_receipt,
)
from ibt.client.plan import make_plan, requested_update
from ibt.rules.mappings import Standing
from ibt.rules.model import Contract, MappingVersion, SubaccountMapping
from ibt.rules.periods import month_begin, month_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.conftest import Sandbox

AUGUST = Month("2015-08")
GOOD = ["Default", "A", "B & Ä"]

#: Contracts with 12 months, a part of four, one, none, and 5 over the turn of a year; the last three are nobody's.
CONTRACTS = [101, 102, 103, 104, 105, 106, 107, 136, 137, 301, 999, 0]

live = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.fixture(scope="module")
def one(sandbox: Sandbox) -> Iterator[Client]:
    """One client for all examples."""
    with sandbox.client() as client:
        yield client


@pytest.fixture(scope="module")
def second(sandbox: Sandbox) -> Iterator[Client]:
    """Another user of the same customer."""
    with sandbox.client("second") as client:
        yield client


State = dict[tuple[int, Month], str]


def state(client: Client) -> State:
    """The subaccount of every period."""
    return {
        (mapping.contract.contract_id, month_of(version.begin)): version.subaccount_id
        for mapping in client.mappings()
        for version in mapping.versions
    }


@st.composite
def good_wishes(draw: st.DrawFn) -> list[Wish]:
    """Wishes that can be, for some or all contracts; a month once for each."""
    contracts = st.sampled_from([*range(101, 141)])
    wishes = {}
    for contract in draw(st.lists(contracts, unique=True, max_size=draw(st.sampled_from([3, 40])))):
        n = (contract - 101) % 5
        begun = {0: range(1, 13), 1: range(3, 7), 2: range(8, 9), 3: range(0), 4: range(10, 13)}[n]
        for month in draw(st.lists(st.sampled_from(begun), unique=True)) if begun else ():
            wishes[contract, month] = Wish(contract, Month.of(2015, month), draw(st.sampled_from(GOOD)))
    return draw(st.permutations(list(wishes.values())))


@live
@given(wishes=good_wishes(), between=good_wishes())
def test_undo_leaves_each_subaccount_as_it_was_whoever_posts_between(
    one: Client, second: Client, wishes: list[Wish], between: list[Wish]
) -> None:
    before = state(one)
    plan = one.plan(wishes)
    assert plan.refused == ()
    receipt = one.apply(plan)
    assert state(one) == before | {(wish.contract_id, wish.month): wish.subaccount_id for wish in wishes}
    touched = {(wish.contract_id, wish.month) for wish in wishes}
    others = second.apply(second.plan(between))
    back = one.undo(receipt)
    one.apply(back)
    after = state(one)
    own = {(change.contract.contract_id, month_of(change.before.begin)) for change in receipt.changes}
    assert {period: after[period] for period in own} == {period: before[period] for period in own}
    assert own <= touched
    overwritten = [c for c in others.changes if (c.contract.contract_id, month_of(c.before.begin)) in own]
    assert len(back.notes) == len(overwritten)
    elsewhere = {(wish.contract_id, wish.month): wish.subaccount_id for wish in between}
    assert {period: after[period] for period in after.keys() - own} == {
        period: (before | elsewhere)[period] for period in after.keys() - own
    }


def bad_periods() -> st.SearchStrategy[Month | datetime]:
    begins = st.integers(-40, 900).map(lambda days: datetime(2015, 1, 1, 5, tzinfo=UTC) + timedelta(days=days))
    some_months = st.builds(Month.of, st.sampled_from([2014, 2015, 2016]), st.integers(1, 12))
    odd = st.sampled_from([Month("0001-01"), Month("9999-12"), datetime(1, 1, 1, tzinfo=UTC)])
    return st.one_of(some_months, begins, some_months.map(month_begin), odd)


any_wish = st.builds(
    Wish,
    st.sampled_from(CONTRACTS),
    bad_periods(),
    st.sampled_from([*GOOD, "LATE", "ENDED", "a", "Nope\n&", "x" * 100]),
)


@settings(live, max_examples=120)
@given(wishes=st.lists(any_wish, min_size=1, max_size=30))
def test_what_the_service_would_refuse_the_plan_refuses_with_the_same_lines(one: Client, wishes: list[Wish]) -> None:
    plan = one.plan(wishes)
    by_contract: dict[int, list[Wish]] = {}
    for wish in wishes:
        by_contract.setdefault(wish.contract_id, []).append(wish)
    known = {step.contract_id: step.contract for step in plan.steps if step.contract is not None}
    stands = {
        contract_id: SubaccountMapping(
            1, contract, tuple(step.old for step in plan.steps if step.contract_id == contract_id and step.old)
        )
        for contract_id, contract in known.items()
    }
    requested = requested_update(Standing(1, stands, {}), by_contract)
    if not plan.refused:
        one.apply(plan)
        return
    with pytest.raises(Refused) as caught:
        one.update(requested)
    assert caught.value.status == 400
    assert caught.value.faults == plan.refused
    told = [line for step in plan.steps for line in step.faults]
    assert set(plan.refused[:100]) >= set(told)
    assert {line for line in plan.refused if not line.startswith("and ")} <= set(told)


def test_a_plan_shows_old_and_new_what_is_unchanged_and_what_is_wrong(one: Client) -> None:
    one.update([one.mapping(102).with_subaccount(Month("2015-04"), "A").with_subaccount(Month("2015-05"), "Default")])
    plan = one.plan(
        [
            Wish(102, Month("2015-04"), "B & Ä"),
            Wish(102, Month("2015-05"), "Default"),
            Wish(102, Month("2015-07"), "A"),
            Wish(999, Month("2015-07"), "A"),
        ]
    )
    shown = [(step.contract_id, str(step.month), step.old and step.old.subaccount_id) for step in plan.steps]
    assert shown == [
        (102, "2015-04", "A"),
        (102, "2015-05", "Default"),
        (102, "2015-07", None),
        (999, "2015-07", None),
    ]
    assert plan.changes == plan.steps[:1]
    assert plan.unchanged == plan.steps[1:2]
    assert [len(step.faults) for step in plan.steps] == [0, 0, 1, 1]
    assert plan.refused == (*plan.steps[2].faults, *plan.steps[3].faults)


def test_a_refused_plan_is_not_applied(one: Client) -> None:
    plan = one.plan([Wish(101, AUGUST, "nobody's")])
    with pytest.raises(ValueError, match=r'^The plan is refused:\ncontract 101, period .*"nobody\'s": must be'):
        one.apply(plan)


def test_a_receipt_of_another_customer_is_no_way_back(sandbox: Sandbox) -> None:
    with (
        sandbox.client("two", 2) as two,
        pytest.raises(ValueError, match="The receipt is of customer 1, not of customer 2"),
    ):
        two.undo(Receipt(1, None, ()))


def test_a_plan_of_another_customer_is_not_applied(one: Client, sandbox: Sandbox) -> None:
    other = "A" if state(one)[101, AUGUST] != "A" else "Default"
    plan = one.plan([Wish(101, AUGUST, other)])
    with (
        sandbox.client("two", 2) as two,
        pytest.raises(ValueError, match="The plan is of customer 1, not of customer 2"),
    ):
        two.apply(plan)


def test_a_plan_that_changes_nothing_sends_nothing(one: Client) -> None:
    (now,) = one.mappings(contract_id=103)
    plan = one.plan([Wish(103, AUGUST, now.versions[0].subaccount_id)])
    assert one.apply(plan) == Receipt(1, None, ())


def test_a_receipt_has_the_versions_before_and_after_and_the_id_of_the_request(one: Client) -> None:
    (now,) = one.mappings(contract_id=103)
    other = "A" if now.versions[0].subaccount_id != "A" else "Default"
    receipt = one.apply(one.plan([Wish(103, now.versions[0].begin, other)]))
    (change,) = receipt.changes
    assert change.before == now.versions[0]
    assert change.after == one.mapping(103).versions[-1]
    assert receipt.request_id


def test_a_thousand_changes_are_planned_from_pages(sandbox: Sandbox) -> None:
    asked: list[str] = []
    with sandbox.client("three", 3, watch=lambda request, _: asked.append(request.path)) as three:
        wishes = [
            Wish(contract, month, "C") for contract in range(301, 331) for month in read_months("2015-01..2015-12")
        ]
        plan = three.plan(wishes)
    assert len(plan.changes) == 360
    assert asked == ["/3/subaccounts", "/3/contractSubaccountMappings"]


# --- documents --------------------------------------------------------------------------------------------


times = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
contracts = st.builds(Contract, st.integers(0, 999_999_999), texts, texts, texts, times, times, texts)
versions = st.builds(MappingVersion, times, times, times, texts)
mappings = st.lists(
    st.builds(SubaccountMapping, st.just(1), contracts, st.lists(versions, max_size=3).map(tuple)),
    max_size=3,
    unique_by=lambda mapping: mapping.contract.contract_id,
)


@settings(max_examples=60, deadline=None)
@given(mappings, st.lists(any_wish, max_size=5), st.none() | texts)
def test_a_plan_comes_back_from_its_json(
    mappings: list[SubaccountMapping], wishes: list[Wish], revision: str | None
) -> None:
    stands = {mapping.contract.contract_id: mapping for mapping in mappings}
    more = [Wish(number, each.begin, "A") for number, mapping in stands.items() for each in mapping.versions]
    plan = make_plan(Standing(1, stands, {}), [*wishes, *more], revision)
    text = write_plan(plan)
    assert read_plan(text) == plan
    assert write_plan(read_plan(text)) == text


def test_the_documents_have_a_form(one: Client) -> None:
    one.update([one.mapping(108).with_subaccount(AUGUST, "Default")])
    receipt = one.apply(one.plan([Wish(108, AUGUST, "B & Ä")]))
    text = write_receipt(receipt)
    assert read_receipt(text) == receipt
    assert text.startswith('{\n  "ibt": "receipt",\n  "form": 1,\n  "customer_id": 1,\n  "request_id": ')
    assert '"begin": "2015-08-01T04:00:00Z"' in text
    assert '"subaccount_id": "B & Ä"' in text


PLAN = write_plan(Plan(1, None, ()))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "this is not JSON"),
        ("[]", "this is not a plan of ibt"),
        (write_receipt(Receipt(1, None, ())), "this is a receipt, not a plan"),
        (PLAN.replace('"form": 1', '"form": 2'), "this plan has the form 2; this version of ibt reads form 1"),
        (PLAN.replace('"customer_id": 1', '"customer_id": "1"'), "was changed by hand"),
        (PLAN.replace('"refused"', '"retained"'), "was changed by hand"),
        (PLAN.replace('"contracts": []', '"contracts": 1'), "was changed by hand"),
    ],
)
def test_what_is_no_plan_is_told_in_one_sentence(text: str, told: str) -> None:
    with pytest.raises(NotTheDocument, match=told):
        read_plan(text)


# --- wishes and months ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract_id", "period", "subaccount_id", "told"),
    [
        (10**9, AUGUST, "A", "1000000000 is not a contract_id"),
        (-1, AUGUST, "A", "-1 is not a contract_id"),
        (1, AUGUST, "", "has 1 to 100 characters, not 0"),
        (1, AUGUST, "x" * 101, "has 1 to 100 characters, not 101"),
        (1, datetime(2015, 8, 1), "A", "must be in UTC"),
        (1, datetime(2015, 8, 1, microsecond=1, tzinfo=UTC), "A", "of whole seconds"),
    ],
)
def test_a_wish_that_no_message_can_carry_is_refused(
    contract_id: int, period: Month | datetime, subaccount_id: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Wish(contract_id, period, subaccount_id)


@pytest.mark.parametrize(
    ("contract_id", "period", "subaccount_id", "told"),
    [
        ("1", AUGUST, "A", "'1' is not a contract_id"),
        (1, "2015-08", "A", "'2015-08' is not a period: give Month"),
        (1, AUGUST, 7, "7 is not a subaccount_id"),
    ],
)
def test_a_wish_of_something_else_says_what_it_wants(
    contract_id: Any, period: Any, subaccount_id: Any, told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        Wish(contract_id, period, subaccount_id)


def test_months_go_from_the_first_to_the_last() -> None:
    assert [str(month) for month in months(Month("2015-11"), Month("2016-02"))] == [
        "2015-11",
        "2015-12",
        "2016-01",
        "2016-02",
    ]
    assert read_months("2015-08") == [AUGUST]
    assert read_months("2015-08..2015-09") == [AUGUST, Month("2015-09")]


@pytest.mark.parametrize("text", ["", "..", "2015-8", "2015-08..", "2015-08...2015-09", "2015-09..2015-08"])
def test_what_names_no_months_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="month"):
        read_months(text)
