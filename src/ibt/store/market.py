"""
A market as a folder of CSV files describes it: read whole, judged whole, before any of it is stored.

A line whose fields are right (`ibt.store.folder`) is judged here by what it says together with the other
lines. What refers to a refused line, or to a file that could not be read, is not refused for that: one
mistake is told once. This module knows neither the database nor the clock: `now`, the time of loading, is
an argument.

Readings 25, 26, 46, 47, 56, 63-67.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ibt.rules import periods
from ibt.rules.faults import Rule
from ibt.rules.model import DEFAULT_SUBACCOUNT, Category, MappingPeriod, MappingVersion, Month, SubaccountVersion
from ibt.store.folder import (
    CONTRACTS,
    CUSTOMERS,
    HISTORY,
    MAPPINGS,
    SUBACCOUNTS,
    USERS,
    MappingRow,
    SubaccountRow,
    UserRow,
)
from ibt.store.records import Records, Row

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from ibt.rules.faults import Faults

_SECOND = timedelta(seconds=1)

#: Where the `Default` that a customer's lines leave out begins, if no contract begins earlier (reading 66).
DEFAULT_BEGIN = datetime(2000, 1, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MarketContract:
    """A contract with all that is known of it; *version* is the time of its birth versions (reading 25)."""

    contract_id: int
    reference_id: str
    category: Category
    location_id: int
    buyer_id: int
    seller_id: int
    contract_begin: datetime
    contract_end: datetime
    status: str
    version: datetime

    @property
    def parties(self) -> tuple[int, int]:
        """The customers that it is a contract of: buyer and seller."""
        return self.buyer_id, self.seller_id

    @property
    def periods(self) -> Mapping[Month, MappingPeriod]:
        """Its mapping periods by month, in order. Readings 24, 63."""
        return _periods(self.contract_begin, self.contract_end)

    def birth(self, period: MappingPeriod) -> MappingVersion:
        """The version with which *period* starts life. Reading 25."""
        return MappingVersion(period.begin, period.end, self.version, DEFAULT_SUBACCOUNT)


class Grant(NamedTuple):
    """A user's role at a customer (reading 56)."""

    user_name: str
    customer_id: int
    role: str


@dataclass(frozen=True, slots=True)
class Market:
    """
    What a folder says, ready to be stored.

    *customers* are names by id, *subaccounts* versions by customer and subaccount id, ordered by begin.
    *later* has, by customer and contract, all versions of the months that more than the birth version is
    known of: the first of a month too, oldest first. *user_names* has every user, with grants or without.
    """

    customers: Mapping[int, str]
    subaccounts: Mapping[tuple[int, str], Sequence[SubaccountVersion]]
    contracts: Mapping[int, MarketContract]
    later: Mapping[tuple[int, int], Mapping[Month, Sequence[MappingVersion]]]
    user_names: tuple[str, ...]
    grants: tuple[Grant, ...]

    def mappings(self) -> Iterator[tuple[int, int, Month, Sequence[MappingVersion]]]:
        """Customer, contract, month and all versions, oldest first, of each mapping period of each party."""
        for contract in self.contracts.values():
            for customer_id in contract.parties:
                later = self.later.get((customer_id, contract.contract_id), {})
                for month, period in contract.periods.items():
                    yield customer_id, contract.contract_id, month, later.get(month) or (contract.birth(period),)


_LOADING = "reading 65"

NOT_A_FOLDER = Rule("not-a-folder", "must be a folder of CSV files", "reading 64")
CUSTOMER_UNKNOWN = Rule("customer-unknown", "must be a customer of customers.csv", _LOADING)
CONTRACT_UNKNOWN = Rule("contract-unknown", "must be a contract of contracts.csv", _LOADING)
OWN_COUNTERPARTY = Rule("own-counterparty", "must not be the buyer too", _LOADING)
END_BEFORE_BEGIN = Rule("end-before-begin", "must not be earlier than begin, {begin}", _LOADING)
END_NOT_AFTER_BEGIN = Rule("end-not-after-begin", "must be later than begin, {begin}", _LOADING)
VERSIONS_OVERLAP = Rule("versions-overlap", "must not overlap the version that begins at {begin}", _LOADING)
DEFAULT_NOT_IN_EFFECT = Rule(
    "default-not-in-effect",
    "has no Default in effect at {begin}, where a mapping period of contract {contract_id} begins",
    _LOADING,
)
NOT_A_PARTY = Rule("not-a-party", "must be a party of contract {contract_id}: {buyer_id} or {seller_id}", _LOADING)
MONTH_OUTSIDE = Rule(
    "month-outside", "is in {month}, in which contract {contract_id} has no mapping period", _LOADING
)
MAPPING_PERIOD = Rule("mapping-period", "must be that of the mapping period of {month}, {begin} to {end}", _LOADING)
SINGLE_MONTH = Rule("single-month", "must belong to the same Eastern Time month as begin, {month}", "3.2.5")
SUBACCOUNT_UNDEFINED = Rule(
    "subaccount-undefined", "must be a subaccount of customer {customer_id} that is defined at {begin}", _LOADING
)
VERSION_EARLIER = Rule("version-earlier", "must not be earlier than the version before it, {forerunner}", _LOADING)

#: Every rule of what the lines of a folder say together.
RULES = (
    NOT_A_FOLDER,
    CUSTOMER_UNKNOWN,
    CONTRACT_UNKNOWN,
    OWN_COUNTERPARTY,
    END_BEFORE_BEGIN,
    END_NOT_AFTER_BEGIN,
    VERSIONS_OVERLAP,
    DEFAULT_NOT_IN_EFFECT,
    NOT_A_PARTY,
    MONTH_OUTSIDE,
    MAPPING_PERIOD,
    SINGLE_MONTH,
    SUBACCOUNT_UNDEFINED,
    VERSION_EARLIER,
)


def read_market(folder: Path | Traversable, now: datetime, faults: Faults) -> Market:
    """
    The market that *folder* describes; without meaning where it adds to *faults*.

    *now*, a UTC time of whole seconds, is that of birth versions where contracts.csv gives none. A fault names file,
    line (where the record begins), field and value. A user with an empty customer has no grant by that line.

    Readings 25, 64-67.
    """
    if not _is_folder(folder):
        faults.add(NOT_A_FOLDER, field="folder", value=str(folder))
        return Market({}, {}, {}, {}, (), ())
    return _Reading(folder, now, faults).market()


def _is_folder(folder: Path | Traversable) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # a folder above it is closed to us
        return False


class _Reading:
    """The files of one folder, read one after the other: each is judged by what those before it said."""

    def __init__(self, folder: Path | Traversable, now: datetime, faults: Faults) -> None:
        self.now = now
        self.faults = faults
        self.customer_records = Records(folder, CUSTOMERS, faults)
        self.subaccount_records = Records(folder, SUBACCOUNTS, faults)
        self.contract_records = Records(folder, CONTRACTS, faults)
        self.history_records = Records(folder, HISTORY, faults)
        self.mapping_records = Records(folder, MAPPINGS, faults)
        self.user_records = Records(folder, USERS, faults)
        self.subaccounts: dict[tuple[int, str], list[SubaccountVersion]] = {}
        self.contracts: dict[int, MarketContract] = {}
        self.later: dict[tuple[int, int], dict[Month, list[MappingVersion]]] = defaultdict(dict)

    def market(self) -> Market:
        customers = {row.customer_id: row.name for _, row in self.customer_records}
        self._read_subaccounts()
        self._read_contracts()
        self._complete_defaults()
        self._judge_defaults()
        self._read_history()
        self._read_mappings()
        users = list(self._users())
        return Market(
            customers=customers,
            subaccounts=self.subaccounts,
            contracts=self.contracts,
            later=self.later,
            user_names=tuple(dict.fromkeys(row.user for row in users)),
            grants=tuple(Grant(user, customer, role) for user, customer, role in users if customer is not None),
        )

    def _read_subaccounts(self) -> None:
        records = self.subaccount_records
        for line, row in records:
            key = (row.customer_id, row.subaccount_id)
            versions = self.subaccounts.setdefault(key, [])
            known = self._known_customer(records, line, "customer_id", row.customer_id)
            if row.end is not None and row.end <= row.begin:
                records.tell(END_NOT_AFTER_BEGIN, line, "end", row.end, begin=row.begin)
            elif (other := _overlapped(versions, row)) is not None:
                records.tell(VERSIONS_OVERLAP, line, "begin", row.begin, begin=other.begin)
            elif known:
                place = bisect(versions, row.begin, key=_begin)
                versions.insert(place, SubaccountVersion(row.begin, row.end, row.name, row.status))
                continue
            records.refused.add(key)

    def _read_contracts(self) -> None:
        records = self.contract_records
        for line, row in records:
            before = self.faults.count
            self._known_customer(records, line, "buyer_id", row.buyer_id)
            if row.seller_id == row.buyer_id:
                records.tell(OWN_COUNTERPARTY, line, "seller_id", row.seller_id)
            else:
                self._known_customer(records, line, "seller_id", row.seller_id)
            if row.end < row.begin:
                records.tell(END_BEFORE_BEGIN, line, "end", row.end, begin=row.begin)
            if self.faults.count == before:
                self.contracts[row.contract_id] = MarketContract(*row[:-1], version=row.version or self.now)

    def _complete_defaults(self) -> None:
        """Gives a `Default` to each customer that has no line of it. Reading 66."""
        begins = {customer_id: DEFAULT_BEGIN for (customer_id,) in self.customer_records.lines}
        for contract in self.contracts.values():
            for party in contract.parties:
                begins[party] = min(begins.get(party, DEFAULT_BEGIN), contract.contract_begin)
        for customer_id, begin in begins.items():
            key = (customer_id, DEFAULT_SUBACCOUNT)
            if key not in self.subaccounts and key not in self.subaccount_records.refused:
                self.subaccounts[key] = [SubaccountVersion(begin, None, DEFAULT_SUBACCOUNT, "Active")]

    def _judge_defaults(self) -> None:
        """Tells of each customer whose `Default` misses a mapping period of a contract, once. Reading 65."""
        told: set[int] = set()
        for contract in self.contracts.values():
            for field, party in (("buyer_id", contract.buyer_id), ("seller_id", contract.seller_id)):
                if party not in told and (missed := self._missed_by_default(contract, party)):
                    told.add(party)
                    line = self.contract_records.lines[contract.contract_id,]
                    known = {"begin": missed, "contract_id": contract.contract_id}
                    self.contract_records.tell(DEFAULT_NOT_IN_EFFECT, line, field, party, **known)

    def _missed_by_default(self, contract: MarketContract, party: int) -> datetime | None:
        """The first begin of a mapping period at which the party's `Default` is not in effect, if there is one."""
        begins = (period.begin for period in contract.periods.values())
        return next((begin for begin in begins if not self._defined(party, DEFAULT_SUBACCOUNT, begin)), None)

    def _read_history(self) -> None:
        """Adds whole months: the first version too, and older ones with the borders of their day. Reading 64."""
        records = self.history_records
        astray: dict[tuple[int, int, Month], tuple[int, MappingRow, MappingPeriod]] = {}
        for line, row, period, _ in self._mappings(records):
            versions = self.later[row.customer_id, row.contract_id].setdefault(period.month, [])
            astray.pop((row.customer_id, row.contract_id, period.month), None)
            if row.end <= row.begin:
                records.tell(END_NOT_AFTER_BEGIN, line, "end", row.end, begin=row.begin)
                continue
            if _month_of(row.end - _SECOND) != period.month:
                records.tell(SINGLE_MONTH, line, "end", row.end, month=period.month)
                continue
            if (row.begin, row.end) != (period.begin, period.end):
                astray[row.customer_id, row.contract_id, period.month] = line, row, period
            _add_version(records, line, row, versions)
        for line, row, period in astray.values() if records.whole else ():
            _tell_period(records, line, row, period)

    def _read_mappings(self) -> None:
        """Adds versions after those that a month has: its birth version, or its history. Reading 64."""
        records = self.mapping_records
        for line, row, period, contract in self._mappings(records):
            if (row.begin, row.end) != (period.begin, period.end):
                _tell_period(records, line, row, period)
                continue
            months = self.later[row.customer_id, row.contract_id]
            if period.month not in months:
                months[period.month] = [contract.birth(period)]
            _add_version(records, line, row, months[period.month])

    def _mappings(
        self, records: Records[MappingRow]
    ) -> Iterator[tuple[int, MappingRow, MappingPeriod, MarketContract]]:
        """The rows that name a contract of their customer and a month of it, with the period that the month has."""
        for line, row in records:
            contract = self._contract_of(records, line, row)
            if contract is None:
                continue
            if not self._defined(row.customer_id, row.subaccount_id, row.begin):
                known = {"customer_id": row.customer_id, "begin": row.begin}
                records.tell(SUBACCOUNT_UNDEFINED, line, "subaccount_id", row.subaccount_id, **known)
            month = _month_of(row.begin)
            if month in contract.periods:
                yield line, row, contract.periods[month], contract
            else:
                records.tell(MONTH_OUTSIDE, line, "begin", row.begin, month=month, contract_id=row.contract_id)

    def _contract_of(self, records: Records[MappingRow], line: int, row: MappingRow) -> MarketContract | None:
        """The contract of which the row's customer is a party, or None: told, unless its own line was refused."""
        contract = self.contracts.get(row.contract_id)
        if contract is None:
            if self.contract_records.whole and (row.contract_id,) not in self.contract_records.lines:
                records.tell(CONTRACT_UNKNOWN, line, "contract_id", row.contract_id)
        elif row.customer_id not in contract.parties:
            buyer_id, seller_id = contract.parties
            known = {"contract_id": row.contract_id, "buyer_id": buyer_id, "seller_id": seller_id}
            records.tell(NOT_A_PARTY, line, "customer_id", row.customer_id, **known)
        else:
            return contract
        return None

    def _users(self) -> Iterator[UserRow]:
        records = self.user_records
        for line, row in records:
            if row.customer_id is None or self._known_customer(records, line, "customer_id", row.customer_id):
                yield row

    def _known_customer(self, records: Records[Row], line: int, field: str, customer_id: int) -> bool:
        known = (customer_id,) in self.customer_records.lines or not self.customer_records.whole
        if not known:
            records.tell(CUSTOMER_UNKNOWN, line, field, customer_id)
        return known

    def _defined(self, customer_id: int, subaccount_id: str, instant: datetime) -> bool:
        """Whether the subaccount is in effect at *instant*; also where a refused line may have said so."""
        key = (customer_id, subaccount_id)
        if any(version.in_effect(instant) for version in self.subaccounts.get(key, ())):
            return True
        return key in self.subaccount_records.refused or not self.subaccount_records.whole


def _add_version(records: Records[MappingRow], line: int, row: MappingRow, versions: list[MappingVersion]) -> None:
    """Adds *row* to the versions of its month, unless it is earlier than its forerunner. Reading 65."""
    if versions and row.version < versions[-1].version:
        records.tell(VERSION_EARLIER, line, "version", row.version, forerunner=versions[-1].version)
    else:
        versions.append(MappingVersion(row.begin, row.end, row.version, row.subaccount_id))


def _tell_period(records: Records[MappingRow], line: int, row: MappingRow, period: MappingPeriod) -> None:
    field, value = ("begin", row.begin) if row.begin != period.begin else ("end", row.end)
    known = {"month": period.month, "begin": period.begin, "end": period.end}
    records.tell(MAPPING_PERIOD, line, field, value, **known)


def _overlapped(versions: list[SubaccountVersion], row: SubaccountRow) -> SubaccountVersion | None:
    """The version, of *versions* ordered by begin and without overlap, that *row* overlaps, or None."""
    place = bisect(versions, row.begin, key=_begin)
    for other in versions[max(place - 1, 0) : place + 1]:
        if (other.end is None or row.begin < other.end) and (row.end is None or other.begin < row.end):
            return other
    return None


def _begin(version: SubaccountVersion) -> datetime:
    return version.begin


@lru_cache(maxsize=1024)
def _periods(begin: datetime, end: datetime) -> Mapping[Month, MappingPeriod]:
    return {period.month: period for period in periods.mapping_periods(begin, end)}


_month_of = lru_cache(maxsize=65536)(periods.month_of)
