"""
The checker: what clients were told, held against what is there in the end.

It takes a log of updates and of pages read meanwhile, as their clients saw them, and the final state: all
histories (3.3) and the collection (3.2). It knows nothing of how these came to be. Each update must have
mapped its periods to a subaccount that no other update names, which is how it is known again.

    (a) each update that was answered 200 is there once, whole and in order, with the version it was told
    (b) each that was refused, or failed without "outcome unknown", left no trace
    (c) each without an answer, or with "outcome unknown", is there whole or not at all
    (d) each period has one current version, the last of its history
    (e) version times never go back
    (f) each page that was read shows a state that existed, between the first and the last moment of its reading

Clauses 2.1, 3.2.3, 3.3.1. Readings 28, 41, 44, 54.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

#: A mapping period: customer, contract, begin.
Period = tuple[int, int, str]


@dataclass(frozen=True)
class Version:
    """A mapping version: its time as the wire has it, and its subaccount."""

    version: str
    subaccount_id: str


#: All versions of each period, oldest first.
Histories = Mapping[Period, Sequence[Version]]


@dataclass(frozen=True)
class Posted:
    """
    An update as its client saw it, from *began* to *ended* on a clock that all clients share.

    *status* is None where no answer came; *unknown* where the answer said that the outcome is unknown. *version* is
    the one time that the answer gave to all the periods, None where it gave no such.
    """

    client: str
    subaccount_id: str
    periods: tuple[Period, ...]
    began: float
    ended: float
    status: int | None
    unknown: bool = False
    version: str | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the client may count on it."""
        return self.status == 200

    @property
    def undecided(self) -> bool:
        """Whether the client cannot know."""
        return self.status is None or self.unknown

    @property
    def done(self) -> float:
        """When it had taken effect, if it has one: never, as far as the client knows, if there was no answer."""
        return math.inf if self.undecided else self.ended

    def __str__(self) -> str:
        return f"the update to {self.subaccount_id} by {self.client} (status {self.status})"


@dataclass(frozen=True)
class Page:
    """What a page of a collection showed, read from *began* to *ended*: the subaccount of each period on it."""

    client: str
    began: float
    ended: float
    current: Mapping[Period, str]

    def __str__(self) -> str:
        return f"the page read by {self.client} at {self.began:.6f}"


def faults(
    posted: Sequence[Posted],
    histories: Histories,
    collection: Iterable[tuple[Period, Version]],
    pages: Iterable[Page] = (),
) -> list[str]:
    """
    What is wrong, a sentence for each fault; empty where all is well.

    *histories* has every period of the customers; *collection* every row of their collections.
    """
    found = _Found(posted, histories)
    return [
        *found.updates(),
        *found.order(),
        *_one_current(histories, collection),
        *_version_times(histories),
        *(fault for page in pages for fault in found.page(page)),
    ]


class _Found:
    """Where each update is found in the histories: its place in the history of each period."""

    def __init__(self, posted: Sequence[Posted], histories: Histories) -> None:
        self.posted = {each.subaccount_id: each for each in posted}
        assert len(self.posted) == len(posted), "two updates name the same subaccount: they cannot be told apart"
        self.histories = histories
        self.places: dict[str, dict[Period, list[int]]] = defaultdict(lambda: defaultdict(list))
        for period, versions in histories.items():
            for place, version in enumerate(versions):
                self.places[version.subaccount_id][period].append(place)

    def updates(self) -> Iterator[str]:
        """(a), (b), (c): of each update by itself; and what no update has asked for."""
        for each in self.posted.values():
            yield from self.update(each)
        for period, versions in self.histories.items():
            for version in versions[1:]:  # the first is the birth of the period
                if version.subaccount_id not in self.posted:
                    yield f"{period} has {version}, which no one asked for"

    def update(self, each: Posted) -> Iterator[str]:
        places = self.places.get(each.subaccount_id, {})
        there = [period for period in each.periods if period in places]
        for period, at in places.items():
            if period not in each.periods:
                yield f"{each} changed {period}, which it did not name"
            if len(at) > 1:
                yield f"{each} is {len(at)} times in {period}"
        if each.acknowledged and len(there) < len(each.periods):
            yield f"{each} was acknowledged and is in {len(there)} of its {len(each.periods)} periods"
        elif each.undecided and len(there) not in (0, len(each.periods)):
            yield f"{each} was not answered and is in {len(there)} of its {len(each.periods)} periods"
        elif not each.acknowledged and not each.undecided and there:
            yield f"{each} was refused and left traces in {there}"
        times = {self.histories[period][place].version for period, at in places.items() for place in at}
        if len(times) > 1:
            yield f"{each} has several version times: {sorted(times)}"
        if each.acknowledged and times and times != {each.version}:
            yield f"{each} was told version {each.version} and has {sorted(times)}"

    def order(self) -> Iterator[str]:
        """(a): the histories are those of one update after the other, in an order that no client saw otherwise."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for period, versions in self.histories.items():
            known = [
                self.posted[version.subaccount_id] for version in versions if version.subaccount_id in self.posted
            ]
            for before, after in pairwise(known):
                sorter.add(after.subaccount_id, before.subaccount_id)
            latest = -math.inf
            for each in known:
                if each.done < latest:
                    yield f"{each} is in {period} after one that began when it was done"
                latest = max(latest, each.began)
        try:
            sorter.prepare()
        except CycleError as error:
            yield f"no order of the updates makes these histories: {error.args[1]} are each before the next"

    def page(self, page: Page) -> Iterator[str]:
        """(f): for each period which updates the page shows; what it shows of one, it shows of all its periods."""
        shown: dict[Period, int] = {}
        for period, subaccount_id in page.current.items():
            places = self.places[subaccount_id][period]
            if not places:
                yield f"{page} shows {subaccount_id} in {period}, which never was"
                return
            shown[period] = places[-1]
        for period, place in shown.items():
            for version in self.histories[period][1 : place + 1]:
                yield from self.shown_whole(page, self.posted.get(version.subaccount_id), shown)
            for version in self.histories[period][place + 1 :]:
                missed = self.posted.get(version.subaccount_id)
                if missed and missed.done < page.began:
                    yield f"{page} does not show {missed} in {period}, which was done before"

    def shown_whole(self, page: Page, update: Posted | None, shown: Mapping[Period, int]) -> Iterator[str]:
        if update is None:
            return
        if update.began > page.ended:
            yield f"{page} shows {update}, which began later"
        for period, at in self.places[update.subaccount_id].items():
            if period in shown and shown[period] < at[0]:
                yield f"{page} shows a part of {update}, and not what it did to {period}"


def _one_current(histories: Histories, collection: Iterable[tuple[Period, Version]]) -> Iterator[str]:
    """(d)"""
    current: dict[Period, list[Version]] = defaultdict(list)
    for period, version in collection:
        current[period].append(version)
    for period in sorted({*histories, *current}):
        last = list(histories.get(period, ())[-1:])
        if len(current[period]) != 1 or current[period] != last:
            yield f"{period} has the current versions {current[period]}, and its history ends with {last}"


def _version_times(histories: Histories) -> Iterator[str]:
    """(e)"""
    for period, versions in histories.items():
        for before, after in pairwise(versions):
            if after.version < before.version:
                yield f"the version times of {period} go back from {before.version} to {after.version}"
