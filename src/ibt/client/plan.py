"""
Wishes, what they come to against what stands, and the way back: all of it pure.

A plan asks the same rules as the service, so what the service would refuse, the plan refuses with the same lines.
Nothing is sent from here: `exchange.py` reads what stands, and sends what a plan wants.

Clauses 3.2.3, 3.2.4, 3.2.5. Readings 6, 28-30, 34-39, 62.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ibt.rules import mappings as rules
from ibt.rules.faults import Faults
from ibt.rules.model import (
    LARGEST_ID,
    Contract,
    MappingVersion,
    Month,
    RequestedMapping,
    RequestedVersion,
    SubaccountMapping,
    Update,
)
from ibt.rules.periods import month_begin, month_end, month_of, write_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ibt.rules.mappings import Standing

#: The rules of an update need a time; what a plan shows does not have one.
_NO_TIME = datetime(1, 1, 1, tzinfo=UTC)

_ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    That a contract be mapped to a subaccount in a mapping period, named by its month or by its begin.

    Raises ValueError for an id that no contract can have, and for a subaccount_id that is no text of 1 to 100
    characters; TypeError for what is no such value at all.
    """

    contract_id: int
    period: Month | datetime
    subaccount_id: str

    def __post_init__(self) -> None:
        if not isinstance(self.contract_id, int):
            raise TypeError(f"{self.contract_id!r} is not a contract_id: give a number of at most 9 digits")
        if not isinstance(self.period, (Month, datetime)):
            raise TypeError(f'{self.period!r} is not a period: give Month("2015-08"), or its begin in UTC')
        if not isinstance(self.subaccount_id, str):
            raise TypeError(f"{self.subaccount_id!r} is not a subaccount_id: give a text")
        if not 0 <= self.contract_id <= LARGEST_ID:
            raise ValueError(f"{self.contract_id} is not a contract_id: it has at most 9 digits")
        if not 1 <= len(self.subaccount_id) <= 100:
            raise ValueError(f"a subaccount_id has 1 to 100 characters, not {len(self.subaccount_id)}")
        if isinstance(self.period, datetime) and (self.period.utcoffset() != _ZERO or self.period.microsecond):
            raise ValueError(f"{self.period} is not a begin: it must be in UTC and of whole seconds")

    @property
    def month(self) -> Month:
        """The Eastern month of the period."""
        return self.period if isinstance(self.period, Month) else month_of(self.period)


@dataclass(frozen=True, slots=True)
class Step:
    """
    One wish, judged: the version that stands, the subaccount that is to be, and the lines of what is wrong with it.

    *contract* and *old* are None where there is no such contract of this customer's, or no such mapping period.
    """

    contract_id: int
    month: Month
    subaccount_id: str
    contract: Contract | None
    old: MappingVersion | None
    faults: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the subaccount becomes another one. Reading 29."""
        return self.old is not None and self.old.subaccount_id != self.subaccount_id and not self.faults


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What wishes come to: the steps in their order, and the lines with which the service would refuse them, if any.

    *revision* is the state of the customer's data that it was made against; None where the service tells none.
    *notes* are for people: what the way back finds changed by others.
    """

    customer_id: int
    revision: str | None
    steps: tuple[Step, ...]
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.changes)

    @property
    def unchanged(self) -> tuple[Step, ...]:
        """The steps whose period has the wished subaccount already."""
        return tuple(step for step in self.steps if step.old is not None and not step.changes and not step.faults)

    def update(self) -> tuple[SubaccountMapping, ...]:
        """The message that makes the changes; each wanted version repeats the one that it replaces, as 3.2.8 does."""
        wanted: dict[int, SubaccountMapping] = {}
        for contract, old, subaccount_id in _changing(self.steps):
            mapping = wanted.setdefault(contract.contract_id, SubaccountMapping(self.customer_id, contract, ()))
            versions = (*mapping.versions, replace(old, subaccount_id=subaccount_id))
            wanted[contract.contract_id] = mapping.with_versions(versions)
        return tuple(wanted.values())

    def before(self) -> dict[int, SubaccountMapping]:
        """What stands where the changes are to be, by contract."""
        stands: dict[int, SubaccountMapping] = {}
        for contract, old, _ in _changing(self.steps):
            mapping = stands.setdefault(contract.contract_id, SubaccountMapping(self.customer_id, contract, ()))
            stands[contract.contract_id] = mapping.with_versions((*mapping.versions, old))
        return stands


@dataclass(frozen=True, slots=True)
class Change:
    """A version that was replaced, and the one that stands since."""

    contract: Contract
    before: MappingVersion
    after: MappingVersion


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an applied plan has changed; *request_id* is what the service's log has, where its answer arrived."""

    customer_id: int
    request_id: str | None
    changes: tuple[Change, ...]


def months(first: Month, last: Month) -> Iterator[Month]:
    """The months from *first* to *last*, both included."""
    month = first
    while month <= last:
        yield month
        month = month.next


def read_months(text: str) -> list[Month]:
    """The months of `2015-08..2015-12`, or of `2015-08` alone. Raises ValueError for anything else."""
    first, dots, last = text.partition("..")
    found = list(months(Month(first), Month(last if dots else first)))
    if not found:
        raise ValueError(f'"{text}" ends before it begins: give the earlier month first')
    return found


def make_plan(standing: Standing, wishes: Iterable[Wish], revision: str | None = None) -> Plan:
    """
    What *wishes* come to against *standing*, which is of *revision*.

    The message is in the order in which the contracts are first wished for. Readings 6, 28, 29.
    """
    by_contract: dict[int, list[Wish]] = {}
    for wish in wishes:
        by_contract.setdefault(wish.contract_id, []).append(wish)
    requested = requested_update(standing, by_contract)
    faults = Faults()
    if requested:
        rules.update(standing, requested, _NO_TIME, faults)
    lines: dict[str, list[str]] = {}
    for fault in faults.told:
        lines.setdefault(fault.where, []).append(str(fault))
    steps = [
        _step(standing, mapping.contract_id, version, lines) for mapping in requested for version in mapping.versions
    ]
    return Plan(standing.customer_id, revision, tuple(steps), tuple(faults.lines()))


def requested_update(standing: Standing, by_contract: dict[int, list[Wish]]) -> Update:
    """The message that asks for wishes as they are, right or wrong, in the order given."""
    update = []
    for contract_id, wishes in by_contract.items():
        mapping = standing.mappings.get(contract_id)
        versions = tuple(_requested(mapping, wish) for wish in wishes)
        update.append(RequestedMapping(standing.customer_id, contract_id, versions))
    return tuple(update)


def receipt(plan: Plan, made: Sequence[SubaccountMapping], request_id: str | None) -> Receipt:
    """The receipt of *plan*, of which *made* is the reply. Raises KeyError where that leaves out a change."""
    after = {(mapping.contract.contract_id, each.begin): each for mapping in made for each in mapping.versions}
    changes = [
        Change(contract, old, after[contract.contract_id, old.begin]) for contract, old, _ in _changing(plan.steps)
    ]
    return Receipt(plan.customer_id, request_id, tuple(changes))


def way_back(done: Receipt) -> list[Wish]:
    """The wishes that lead back to what stood before *done*, by months: a period's borders may have moved since."""
    return [
        Wish(each.contract.contract_id, month_of(each.before.begin), each.before.subaccount_id)
        for each in done.changes
    ]


def noted(plan: Plan, done: Receipt) -> Plan:
    """The *plan* of a way back, with a note for each period that someone else has changed since *done*."""
    left = {(each.contract.contract_id, month_of(each.before.begin)): each.after for each in done.changes}
    notes = []
    for step in plan.steps:
        after = left[step.contract_id, step.month]
        if step.old is not None and (step.old.version, step.old.subaccount_id) != (
            after.version,
            after.subaccount_id,
        ):
            notes.append(
                f"contract {step.contract_id}, {step.month}: was changed again at {write_time(step.old.version)}, "
                f'to "{step.old.subaccount_id}"'
            )
    return replace(plan, notes=tuple(notes))


def moved(plan: Plan, now: Plan) -> list[str]:
    """A line for each change of *plan* whose period no longer stands as it did, as *now*, made of the same, tells."""
    return [
        f"contract {then.contract_id}, {then.month}: another version stands now"
        for then, new in zip(plan.changes, now.steps, strict=True)
        if then.old != new.old
    ]


def wishes_of(plan: Plan) -> list[Wish]:
    """What the changes of *plan* wish for."""
    return [Wish(step.contract_id, step.month, step.subaccount_id) for step in plan.changes]


def _changing(steps: Iterable[Step]) -> Iterator[tuple[Contract, MappingVersion, str]]:
    for step in steps:
        if step.changes and step.contract is not None and step.old is not None:
            yield step.contract, step.old, step.subaccount_id


def _requested(mapping: SubaccountMapping | None, wish: Wish) -> RequestedVersion:
    """The version of the message: the period that *wish* means, with the borders it has; else as good as it gets."""
    for version in mapping.versions if mapping is not None else ():
        if wish.period in (month_of(version.begin), version.begin):
            return RequestedVersion(version.begin, version.end, wish.subaccount_id)
    return RequestedVersion(_begin(mapping, wish), None, wish.subaccount_id)


def _begin(mapping: SubaccountMapping | None, wish: Wish) -> datetime:
    if isinstance(wish.period, datetime):
        return wish.period
    begin = month_begin(wish.period)
    if mapping is None or month_end(wish.period) <= mapping.contract.contract_begin:
        return begin
    return max(begin, mapping.contract.contract_begin)


def _step(standing: Standing, contract_id: int, version: RequestedVersion, lines: dict[str, list[str]]) -> Step:
    mapping = standing.mappings.get(contract_id)
    old = next((each for each in mapping.versions if each.begin == version.begin), None) if mapping else None
    period = write_time(version.begin) + (f" to {write_time(version.end)}" if version.end is not None else "")
    places = (f"contract {contract_id}", f"contract {contract_id}, period {period}")
    return Step(
        contract_id,
        month_of(version.begin),
        version.subaccount_id,
        mapping.contract if mapping else None,
        old,
        tuple(line for place in places for line in lines.get(place, ())),
    )
