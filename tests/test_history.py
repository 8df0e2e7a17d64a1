"""The checker finds what it is there to find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from history import Histories, Page, Period, Posted, Version, faults

A: Period = (1, 10, "2015-08-01T04:00:00Z")
B: Period = (1, 20, "2015-08-01T04:00:00Z")

BIRTH = Version("2015-07-01T00:00:00Z", "Default")
FIRST = Version("2015-07-11T12:00:01Z", "S0001")
SECOND = Version("2015-07-11T12:00:02Z", "S0002")

POSTED = [
    Posted("ann", "S0001", (A, B), began=1, ended=2, status=200, version=FIRST.version),
    Posted("bob", "S0002", (A, B), began=3, ended=4, status=200, version=SECOND.version),
]
HISTORIES: Histories = {A: [BIRTH, FIRST, SECOND], B: [BIRTH, FIRST, SECOND]}


def checked(
    posted: list[Posted] | None = None,
    histories: Histories | None = None,
    collection: list[tuple[Period, Version]] | None = None,
    pages: list[Page] | None = None,
) -> list[str]:
    there = histories or HISTORIES
    current = [(period, versions[-1]) for period, versions in there.items()]
    return faults(posted or POSTED, there, collection or current, pages or [])


def second(**changes: object) -> list[Posted]:
    return [POSTED[0], replace(POSTED[1], **changes)]  # type: ignore[arg-type]  # each case gives what the field takes


NOT_THERE: Histories = {A: [BIRTH, FIRST], B: [BIRTH, FIRST]}
HALF: Histories = {A: [BIRTH, FIRST, SECOND], B: [BIRTH, FIRST]}


@pytest.mark.parametrize(
    ("posted", "histories"),
    [
        pytest.param(POSTED, HISTORIES, id="as it should be"),
        pytest.param(second(status=None), HISTORIES, id="no answer, and there"),
        pytest.param(second(status=None), NOT_THERE, id="no answer, and not there"),
        pytest.param(second(status=503, unknown=True), HISTORIES, id="outcome unknown, and there"),
        pytest.param(second(status=400), NOT_THERE, id="refused, and not there"),
        pytest.param(
            second(began=1.5), {A: [BIRTH, SECOND, FIRST], B: [BIRTH, SECOND, FIRST]}, id="at the same time"
        ),
    ],
)
def test_what_is_right_has_no_faults(posted: list[Posted], histories: Histories) -> None:
    # Versions in one second are alike: the order of those that overlap is free.
    same = {
        period: [replace(version, version=FIRST.version) if version is not BIRTH else version for version in versions]
        for period, versions in histories.items()
    }
    told = [replace(each, version=FIRST.version) for each in posted]
    assert checked(told, same) == []


@pytest.mark.parametrize(
    ("posted", "histories", "said"),
    [
        pytest.param(POSTED, NOT_THERE, "was acknowledged and is in 0 of its 2", id="acknowledged and lost"),
        pytest.param(POSTED, HALF, "was acknowledged and is in 1 of its 2", id="acknowledged and half"),
        pytest.param(second(status=None), HALF, "was not answered and is in 1 of its 2", id="no answer and half"),
        pytest.param(second(status=503, unknown=True), HALF, "was not answered", id="outcome unknown and half"),
        pytest.param(second(status=400), HALF, "was refused and left traces", id="refused and there"),
        pytest.param(second(status=503), HISTORIES, "was refused and left traces", id="nothing changed, and there"),
        pytest.param(second(periods=(A,)), HISTORIES, "which it did not name", id="another period"),
        pytest.param(POSTED[:1], HISTORIES, "which no one asked for", id="asked for by no one"),
        pytest.param(second(version=FIRST.version), HISTORIES, "was told version", id="another version than told"),
        pytest.param(
            POSTED, {A: [*HISTORIES[A], SECOND], B: HISTORIES[B]}, "is 2 times in", id="acknowledged and there twice"
        ),
        pytest.param(
            POSTED,
            {A: [BIRTH, SECOND, FIRST], B: [BIRTH, SECOND, FIRST]},
            "after one that began when it was done",
            id="not in the order of time",
        ),
        pytest.param(
            second(began=1.5), {A: [BIRTH, SECOND, FIRST], B: HISTORIES[B]}, "no order of the updates", id="no order"
        ),
        pytest.param(POSTED, {A: [BIRTH, SECOND, FIRST], B: HISTORIES[B]}, "go back", id="version times go back"),
        pytest.param(
            POSTED,
            {A: HISTORIES[A], B: [BIRTH, FIRST, replace(SECOND, version="2015-07-11T12:00:03Z")]},
            "has several version times",
            id="two times for one update",
        ),
    ],
)
def test_what_is_wrong_is_found(posted: list[Posted], histories: Histories, said: str) -> None:
    assert any(said in fault for fault in checked(posted, histories))


@pytest.mark.parametrize(
    "collection",
    [
        pytest.param([(A, SECOND)], id="a period is missing"),
        pytest.param([(A, SECOND), (B, FIRST)], id="an older version"),
        pytest.param([(A, SECOND), (B, FIRST), (B, SECOND)], id="two versions"),
    ],
)
def test_another_collection_than_the_histories_is_found(collection: list[tuple[Period, Version]]) -> None:
    assert any("its history ends with" in fault for fault in checked(collection=collection))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        pytest.param(Page("cyd", 5, 6, {A: "S0002", B: "S0002"}), None, id="the last state"),
        pytest.param(Page("cyd", 3.5, 3.6, {A: "S0001", B: "S0001"}), None, id="the state before, meanwhile"),
        pytest.param(Page("cyd", 3.5, 3.6, {A: "S0002"}), None, id="a page of one period"),
        pytest.param(Page("cyd", 3.5, 3.6, {A: "S0002", B: "S0001"}), "a part of", id="a half update"),
        pytest.param(Page("cyd", 5, 6, {A: "S0001", B: "S0001"}), "does not show", id="an old state"),
        pytest.param(Page("cyd", 0, 0.5, {A: "S0001", B: "S0001"}), "which began later", id="a state to come"),
        pytest.param(Page("cyd", 5, 6, {A: "S0009", B: "S0002"}), "which never was", id="a state that never was"),
    ],
)
def test_a_page_must_show_a_state_that_existed(page: Page, said: str | None) -> None:
    found = checked(pages=[page])
    assert any(said in fault for fault in found) if said else found == []
