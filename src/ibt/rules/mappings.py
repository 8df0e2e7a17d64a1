"""
How an update becomes mapping versions.

An update is judged whole against what stands: each rule that it breaks is a fault, and one fault refuses
all of it. What it asks for and already has keeps its version; what it changes gets a new version, and all
of those have one time. A contract's birth and the change of its period make versions too. This module does
not know the clock: `now` is an argument.

Clauses 3.2.3, 3.2.4, 3.2.5. Readings 25, 27-30, 34-43, 63.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ibt.rules.faults import Rule
from ibt.rules.model import DEFAULT_SUBACCOUNT, MappingVersion, SubaccountMapping
from ibt.rules.periods import cut_month, month_end, month_of, write_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set
    from datetime import datetime

    from ibt.rules.faults import Faults
    from ibt.rules.model import (
        Contract,
        MappingPeriod,
        Month,
        RequestedMapping,
        RequestedVersion,
        Subaccount,
        Update,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What an update is judged against, as it stands under the customer's lock.

    *mappings* are the current ones of the contracts that the update names, by contract id, where the customer
    is a party; *subaccounts* those that it names, by subaccount id, where the customer has them.
    """

    customer_id: int
    mappings: Mapping[int, SubaccountMapping]
    subaccounts: Mapping[str, Subaccount]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that an update creates, with the contract and month whose current version it becomes."""

    contract_id: int
    month: Month
    version: MappingVersion


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update comes to: the reply (reading 30) and the versions it creates, both in the request's order."""

    reply: tuple[SubaccountMapping, ...]
    new: tuple[NewVersion, ...]


NO_MAPPING = Rule(
    "no-mapping",
    "has no contract_subaccount_mapping: send at least one",
    "3.2.4, reading 40",
)
CUSTOMER = Rule(
    "customer",
    "must be the customer of the URL: send {customer_id}",
    "3.2.4",
)
CONTRACT_REPEATED = Rule(
    "contract-repeated",
    "must not be repeated within the message: put all its versions into one contract_subaccount_mapping",
    "3.2.5",
)
CONTRACT_UNKNOWN = Rule(
    "contract-unknown",
    "customer {customer_id} is not a party to a contract with this id: send one that its mappings list",
    "3.2.5",
)
NO_VERSION = Rule(
    "no-version",
    "has no contract_subaccount_mapping_version: send at least one, or leave the contract out",
    "3.2.4, reading 40",
)
BEGIN_BEFORE_END = Rule(
    "begin-before-end",
    "must be later than begin, which is {begin}",
    "3.2.5",
)
SINGLE_MONTH = Rule(
    "single-month",
    "must belong to the same Eastern Time month as begin, {month}, which ends at {month_end}",
    "3.2.5",
)
NOT_BEFORE_CONTRACT = Rule(
    "not-before-contract",
    "must be later than or the same as the contract period's begin, {contract_begin}",
    "3.2.5",
)
NOT_AFTER_CONTRACT = Rule(
    "not-after-contract",
    "must be {relation} the contract period's end, {contract_end}",
    "3.2.5",
)
MAPPING_PERIOD = Rule(
    "mapping-period",
    "the contract's period is divided into mapping periods, and this is not one: send {begin} to {end}",
    "3.2.4, reading 35",
)
MONTH_REPEATED = Rule(
    "month-repeated",
    "must not be in the same month, {month}, as another version of this mapping: send one for each month",
    "3.2.5",
)
SUBACCOUNT = Rule(
    "subaccount",
    "must be a subaccount of customer {customer_id} that is defined as of the mapping period's begin: "
    "GET …/{customer_id}/subaccounts lists them",
    "3.2.5",
)

#: Every rule of an update, in the order in which the parts of a message are judged.
RULES = (
    NO_MAPPING,
    CUSTOMER,
    CONTRACT_REPEATED,
    CONTRACT_UNKNOWN,
    NO_VERSION,
    BEGIN_BEFORE_END,
    SINGLE_MONTH,
    NOT_BEFORE_CONTRACT,
    NOT_AFTER_CONTRACT,
    MAPPING_PERIOD,
    MONTH_REPEATED,
    SUBACCOUNT,
)


def update(standing: Standing, requested: Update, now: datetime, faults: Faults) -> Outcome:
    """
    Judges *requested* against *standing*: what it comes to, or an outcome without meaning where it adds to *faults*.

    *now* is a UTC time of whole seconds, read under the customer's lock.

    Clauses 3.2.3, 3.2.5. Readings 29, 30, 41.
    """
    if not requested:
        faults.add(NO_MAPPING, field="message")
    current = list(_judged(standing, requested, faults))
    if faults.count:
        return Outcome((), ())
    return _outcome(requested, current, standing, now)


def _outcome(requested: Update, current: list[list[MappingVersion]], standing: Standing, now: datetime) -> Outcome:
    """The outcome of a message without faults; *current* are the versions it meets, mapping by mapping."""
    replaced = [
        old.version
        for mapping, versions in zip(requested, current, strict=True)
        for wish, old in zip(mapping.versions, versions, strict=True)
        if wish.subaccount_id != old.subaccount_id
    ]
    version = max(now, *replaced) if replaced else now
    reply: list[SubaccountMapping] = []
    new: list[NewVersion] = []
    for mapping, versions in zip(requested, current, strict=True):
        answered = []
        for wish, old in zip(mapping.versions, versions, strict=True):
            if wish.subaccount_id == old.subaccount_id:
                answered.append(old)
                continue
            created = MappingVersion(old.begin, old.end, version, wish.subaccount_id)
            new.append(NewVersion(mapping.contract_id, month_of(old.begin), created))
            answered.append(created)
        reply.append(standing.mappings[mapping.contract_id].with_versions(tuple(answered)))
    return Outcome(tuple(reply), tuple(new))


def _judged(standing: Standing, requested: Update, faults: Faults) -> Iterator[list[MappingVersion]]:
    """Judges each mapping of the message; yields the current versions that its periods meet."""
    seen: set[int] = set()
    for mapping in requested:
        where = f"contract {mapping.contract_id}"
        if mapping.customer_id != standing.customer_id:
            faults.add(
                CUSTOMER,
                where=where,
                field="customer_id",
                value=str(mapping.customer_id),
                customer_id=standing.customer_id,
            )
        if mapping.contract_id in seen:
            faults.add(CONTRACT_REPEATED, where=where, field="contract_id", value=str(mapping.contract_id))
        seen.add(mapping.contract_id)
        stands = standing.mappings.get(mapping.contract_id)
        if stands is None:
            faults.add(
                CONTRACT_UNKNOWN,
                where=where,
                field="contract_id",
                value=str(mapping.contract_id),
                customer_id=standing.customer_id,
            )
            yield []
        else:
            if not mapping.versions:
                faults.add(NO_VERSION, where=where, field="mapping")
            yield list(_judged_versions(standing, stands, mapping, faults))


def _judged_versions(
    standing: Standing, stands: SubaccountMapping, mapping: RequestedMapping, faults: Faults
) -> Iterator[MappingVersion]:
    """Judges the versions of one mapping; yields the current version of each period that is right."""
    current = {version.begin: version for version in stands.versions}
    months: set[Month] = set()
    for wish in mapping.versions:
        period = current.get(wish.begin)
        month = month_of(wish.begin)
        if period is None or wish.end not in (None, period.end):
            _wrong_period(stands.contract, wish, faults)
        elif month in months:
            faults.add(
                MONTH_REPEATED,
                where=_place(stands.contract, wish),
                field="begin",
                value=write_time(wish.begin),
                month=month,
            )
        else:
            yield period
        months.add(month)
        subaccount = standing.subaccounts.get(wish.subaccount_id)
        if subaccount is None or not subaccount.defined(wish.begin):
            faults.add(
                SUBACCOUNT,
                where=_place(stands.contract, wish),
                field="subaccount_id",
                value=wish.subaccount_id,
                customer_id=standing.customer_id,
            )


def _wrong_period(contract: Contract, wish: RequestedVersion, faults: Faults) -> None:
    """Adds the first rule that *wish*, whose period is not one of the contract's, breaks. Reading 6."""
    rule, field, known = _first_broken(contract, wish)
    value = wish.end if field == "end" else wish.begin
    text = None if value is None else write_time(value)
    faults.add(rule, where=_place(contract, wish), field=field, value=text, **known)


def _first_broken(contract: Contract, wish: RequestedVersion) -> tuple[Rule, str, dict[str, object]]:
    """The first rule of a mapping period that *wish* breaks, the field that breaks it, and what the rule tells."""
    begin, end = wish.begin, wish.end
    month = month_of(begin)
    contract_begin, contract_end = contract.contract_begin, contract.contract_end
    if end is not None and end <= begin:
        return BEGIN_BEFORE_END, "end", {"begin": write_time(begin)}
    if end is not None and end > month_end(month):
        return SINGLE_MONTH, "end", {"month": month, "month_end": write_time(month_end(month))}
    if begin < contract_begin:
        return NOT_BEFORE_CONTRACT, "begin", {"contract_begin": write_time(contract_begin)}
    if begin >= contract_end:
        return NOT_AFTER_CONTRACT, "begin", {"relation": "earlier than", "contract_end": write_time(contract_end)}
    if end is not None and end > contract_end:
        known: dict[str, object] = {
            "relation": "earlier than or the same as",
            "contract_end": write_time(contract_end),
        }
        return NOT_AFTER_CONTRACT, "end", known
    period = cut_month(contract_begin, contract_end, month)
    field = "begin" if begin != period.begin else "end"
    return MAPPING_PERIOD, field, {"begin": write_time(period.begin), "end": write_time(period.end)}


def _place(contract: Contract, wish: RequestedVersion) -> str:
    period = write_time(wish.begin) if wish.end is None else f"{write_time(wish.begin)} to {write_time(wish.end)}"
    return f"contract {contract.contract_id}, period {period}"


# --- the contract itself --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """
    What becomes of one customer's mapping when its contract's period changes.

    *new* are the versions to add, by month; *fallen* are the months that leave the current state; *undefined* are
    those of *new* that went to `Default` because their subaccount is not defined at their moved begin.
    """

    new: Mapping[Month, MappingVersion]
    fallen: tuple[Month, ...]
    undefined: tuple[Month, ...]


def birth(periods: Iterable[MappingPeriod], version: datetime) -> dict[Month, MappingVersion]:
    """The versions with which the mapping periods of a new contract start life, by month. Reading 25."""
    return {period.month: MappingVersion(period.begin, period.end, version, DEFAULT_SUBACCOUNT) for period in periods}


def change(
    periods: Iterable[MappingPeriod],
    last: Mapping[Month, MappingVersion],
    current: Set[Month],
    defined: Callable[[str, datetime], bool],
    now: datetime,
) -> Change:
    """
    What becomes of a mapping whose contract now has *periods*.

    *last* has the last version of every month that ever had one, *current* the months that have one now;
    *defined* tells whether the customer's subaccount is defined at an instant. The new versions have one time:
    *now*, or that of the latest version they follow, where that is later.

    Readings 27, 41, 62.
    """
    wanted = {period.month: period for period in periods}
    subaccounts: dict[Month, str] = {}
    undefined: list[Month] = []
    for month, period in wanted.items():
        if month not in current:
            subaccounts[month] = DEFAULT_SUBACCOUNT
        elif (last[month].begin, last[month].end) != (period.begin, period.end):
            subaccounts[month] = last[month].subaccount_id
            if not defined(subaccounts[month], period.begin):
                subaccounts[month] = DEFAULT_SUBACCOUNT
                undefined.append(month)
    version = max([now, *(last[month].version for month in subaccounts if month in last)])
    new = {
        month: MappingVersion(wanted[month].begin, wanted[month].end, version, subaccount_id)
        for month, subaccount_id in subaccounts.items()
    }
    return Change(new, tuple(sorted(current - wanted.keys())), tuple(undefined))
