"""
The nouns of the specification, as the wire has them.

Everything that passes between rooms is one of these frozen values: contract and customer ids are `int`,
subaccount ids are `str`, times are aware UTC datetimes of whole seconds. Fields are named as the elements
of the XML. What only the filters know of a contract (location, reference) lives in `ibt.store`.

Clauses 3.1.6, 3.2.4, 3.2.7, 3.3.6 and the vocabulary of the readings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

#: The subaccount that every customer has, and to which a new contract's periods are mapped (readings 25, 47).
DEFAULT_SUBACCOUNT = "Default"

#: The largest contract or customer id: nine digits (3.2.4, reading 52).
LARGEST_ID = 999_999_999


class Category(Enum):
    """A market by its two names: the filter's, which is the value (3.2.4), and the displayed `market_name`."""

    ENERGY_DAY_AHEAD = "ENERGY DAY AHEAD"
    ENERGY_REAL_TIME = "ENERGY REAL TIME"
    LOAD_REAL_TIME = "LOAD REAL TIME"
    FCM_LOAD_OBLIGATION = "FCM LOAD OBLIGATION"

    @property
    def market_name(self) -> str:
        """The name that `market_name` shows. "Energy DA" and "FCM Load" are attested, the others are ours."""
        return _MARKET_NAMES[self]


_MARKET_NAMES = {
    Category.ENERGY_DAY_AHEAD: "Energy DA",
    Category.ENERGY_REAL_TIME: "Energy RT",
    Category.LOAD_REAL_TIME: "Load RT",
    Category.FCM_LOAD_OBLIGATION: "FCM Load",
}


@dataclass(frozen=True, slots=True, order=True, init=False)
class Month:
    """An Eastern Time calendar month: the identity of a mapping period (reading 62)."""

    year: int
    month: int

    def __init__(self, text: str) -> None:
        """Reads `2015-08`; raises ValueError for anything else."""
        if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
            raise ValueError(f'"{text}" is not a month: write it as 2015-08')
        object.__setattr__(self, "year", int(text[:4]))
        object.__setattr__(self, "month", int(text[5:]))

    @classmethod
    def of(cls, year: int, month: int) -> Month:
        """The month *month* (1 to 12) of *year*."""
        return cls(f"{year:04}-{month:02}")

    @property
    def next(self) -> Month:
        """The month after this one."""
        return Month.of(self.year + self.month // 12, self.month % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True, slots=True)
class SubaccountVersion:
    """A subaccount's name and status for the half-open period begin to end; open where end is None (3.1.6)."""

    begin: datetime
    end: datetime | None
    subaccount_name: str
    subaccount_status: str

    def in_effect(self, instant: datetime) -> bool:
        """Whether *instant* lies in this version's period."""
        return self.begin <= instant and (self.end is None or instant < self.end)


@dataclass(frozen=True, slots=True)
class Subaccount:
    """A customer's subaccount with its versions, ordered by begin (reading 46)."""

    subaccount_id: str
    subaccount_versions: tuple[SubaccountVersion, ...]

    def defined(self, instant: datetime) -> bool:
        """Whether a version is in effect at *instant*, whatever its status (reading 39)."""
        return any(version.in_effect(instant) for version in self.subaccount_versions)


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract as a mapping shows it; its period is half-open (3.2.7)."""

    contract_id: int
    market_name: str
    buyer_name: str
    seller_name: str
    contract_begin: datetime
    contract_end: datetime
    status: str


@dataclass(frozen=True, slots=True)
class MappingPeriod:
    """An Eastern Time calendar month cut to a contract's period: half-open, in UTC (reading 24)."""

    month: Month
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """The subaccount to which a mapping period is mapped since *version*, the time of its creation (3.2.4)."""

    begin: datetime
    end: datetime
    version: datetime
    subaccount_id: str


@dataclass(frozen=True, slots=True)
class SubaccountMapping:
    """One customer's mapping of one contract: the current versions, or all of them, by month (3.2.7, 3.3.6)."""

    customer_id: int
    contract: Contract
    versions: tuple[MappingVersion, ...]

    def with_versions(self, versions: tuple[MappingVersion, ...]) -> SubaccountMapping:
        """The same mapping with other versions."""
        return replace(self, versions=versions)

    def with_subaccount(self, month: Month, subaccount_id: str) -> SubaccountMapping:
        """
        The same mapping, current versions only, with *month* mapped to *subaccount_id*: what an update wants.

        Raises ValueError where no version of it is in *month*. Clause 3.2.8.
        """
        from ibt.rules.periods import month_of  # noqa: PLC0415 - periods are made of these nouns

        current = {month_of(version.begin): version for version in self.versions}
        if month not in current:
            raise ValueError(f"the mapping of contract {self.contract.contract_id} has no version in {month}")
        current[month] = replace(current[month], subaccount_id=subaccount_id)
        return self.with_versions(tuple(current.values()))


@dataclass(frozen=True, slots=True)
class RequestedVersion:
    """What an update asks for one mapping period; an *end* that was left out is None (reading 34)."""

    begin: datetime
    end: datetime | None
    subaccount_id: str


@dataclass(frozen=True, slots=True)
class RequestedMapping:
    """What an update asks for one contract. The repeated fields of 3.2.4 have no effect and are not kept."""

    customer_id: int
    contract_id: int
    versions: tuple[RequestedVersion, ...]


#: The message of a POST, in its own order (3.2.8).
Update = tuple[RequestedMapping, ...]
