"""
What a folder of CSV files says of customers, subaccounts, contracts and users, judged beside what stands.

A line whose fields are right (`ibt.store.folder`) is judged here by what it says together with the other
lines, and with the data that are there: what the files do not name stays as it is. What refers to a refused
line, or to a file that could not be read, is not refused for that: one mistake is told once. This module
knows neither the database nor the clock: what stands, and `now`, the time of loading, are arguments.

Readings 25, 46, 47, 56, 63-67.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ibt.rules import periods
from ibt.rules.faults import Rule
from ibt.rules.mappings import birth
from ibt.rules.model import DEFAULT_SUBACCOUNT, Category, MappingPeriod, MappingVersion, Month, SubaccountVersion
from ibt.store.folder import CONTRACTS, CUSTOMERS, FILES, REQUIRED, SUBACCOUNTS, USERS, UserRow
from ibt.store.records import File, Records, Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from ibt.rules.faults import Faults

#: Where the `Default` that a customer's lines leave out begins, if no contract begins earlier (reading 66).
DEFAULT_BEGIN = datetime(2000, 1, 1, 5, tzinfo=UTC)

#: What a version of a subaccount is known by: customer, subaccount, begin.
SubaccountKey = tuple[int, str, datetime]


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

    @property
    def birth(self) -> Mapping[Month, MappingVersion]:
        """The versions with which its mapping periods start life, by month. Reading 25."""
        return _birth(self.contract_begin, self.contract_end, self.version)

    def says_as(self, other: MarketContract) -> bool:
        """Whether *other* says the same of the contract, whenever it was born."""
        return (
            (self.contract_begin, self.contract_end, self.status)
            == (other.contract_begin, other.contract_end, other.status)
            and (self.reference_id, self.category, self.location_id)
            == (other.reference_id, other.category, other.location_id)
            and self.parties == other.parties
        )


@dataclass(frozen=True, slots=True)
class Market:
    """
    What a folder says to an empty database.

    *customers* are names by id, *subaccounts* versions by customer and subaccount id, ordered by begin.
    *later* has, by customer and contract, all versions of the months that more than the birth version is
    known of: the first of a month too, oldest first. *user_names* has every user, with grants or without.
    *folder* and *now* are what it was read from and when.
    """

    folder: Path | Traversable
    now: datetime
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
                for month, version in contract.birth.items():
                    yield customer_id, contract.contract_id, month, later.get(month) or (version,)


class Grant(NamedTuple):
    """A user's role at a customer (reading 56)."""

    user_name: str
    customer_id: int
    role: str


class Standing(Protocol):
    """The data that are there before a folder is read."""

    def customers(self) -> dict[int, str]:
        """The names of all customers by id."""

    def subaccounts(self, customer_ids: Collection[int]) -> Iterable[tuple[int, str, SubaccountVersion]]:
        """Customer, subaccount id and each version of these customers' subaccounts, ordered by begin."""

    def contracts(self, contract_ids: Collection[int]) -> Iterable[MarketContract]:
        """Those of these contracts that are there, whosever; their *version* tells nothing."""


_LOADING = "reading 65"

NOT_A_FOLDER = Rule("not-a-folder", "must be a folder of CSV files", "reading 64")
NO_FILE = Rule("no-file", "must have one of the files {files}", "reading 64")
CUSTOMER_UNKNOWN = Rule("customer-unknown", "must be a customer of customers.csv or of the database", _LOADING)
OWN_COUNTERPARTY = Rule("own-counterparty", "must not be the buyer too", _LOADING)
PARTY_CHANGED = Rule("party-changed", "must be {party_id}, as the parties of a contract do not change", _LOADING)
END_BEFORE_BEGIN = Rule("end-before-begin", "must not be earlier than begin, {begin}", _LOADING)
END_NOT_AFTER_BEGIN = Rule("end-not-after-begin", "must be later than begin, {begin}", _LOADING)
VERSIONS_OVERLAP = Rule("versions-overlap", "must not overlap the version that begins at {begin}", _LOADING)
DEFAULT_NOT_IN_EFFECT = Rule(
    "default-not-in-effect",
    "has no Default in effect at {begin}, where a mapping period of contract {contract_id} begins",
    _LOADING,
)

#: Every rule of what the lines of these files say together.
RULES = (
    NOT_A_FOLDER,
    NO_FILE,
    CUSTOMER_UNKNOWN,
    OWN_COUNTERPARTY,
    PARTY_CHANGED,
    END_BEFORE_BEGIN,
    END_NOT_AFTER_BEGIN,
    VERSIONS_OVERLAP,
    DEFAULT_NOT_IN_EFFECT,
)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A version of a subaccount that the line now ends earlier: *until* is where it ended, None for never."""

    line: int
    customer_id: int
    subaccount_id: str
    end: datetime
    until: datetime | None


class MarketFiles:
    """
    What the files of *folder* say, beside *standing*; what is wrong is added to *faults*.

    `read` must be called first. Then *customers* are the names of customers.csv by id; *subaccounts* the versions
    by customer and subaccount id, ordered by begin, those of the files and those that stand; *versions* are the
    versions of the files alone, and *stood* the ones that they replace; *contracts* are those of contracts.csv by
    id, *changed* the same contracts as they stand, where that differs, and *new* the ids of those that do not.
    """

    def __init__(
        self,
        folder: Path | Traversable,
        now: datetime,
        faults: Faults,
        standing: Standing,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = folder
        self.now = now
        self.faults = faults
        self.standing = standing
        self.progress = progress
        self.standing_customers = standing.customers()
        self.customer_records = self.records(CUSTOMERS)
        self.subaccount_records = self.records(SUBACCOUNTS)
        self.contract_records = self.records(CONTRACTS)
        self.customers: dict[int, str] = {}
        self.subaccounts: defaultdict[tuple[int, str], list[SubaccountVersion]] = defaultdict(list)
        self.versions: dict[SubaccountKey, SubaccountVersion] = {}
        self.stood: dict[SubaccountKey, SubaccountVersion] = {}
        self.narrowed: list[Narrowed] = []
        self.contracts: dict[int, MarketContract] = {}
        self.changed: dict[int, MarketContract] = {}
        self.new: set[int] = set()
        self._subaccounts_of: set[int] = set()

    def records(self, file: File[Row]) -> Records[Row]:
        """The rows of *file*: an empty database needs most of the files, beside data each may be left out."""
        required = file.name in REQUIRED and not self.standing_customers
        return Records(self.folder, file, self.faults, required=required, progress=self.progress)

    def read(self) -> bool:
        """Reads and judges customers, subaccounts and contracts; false where there is no folder, or no file in it."""
        if not _is_folder(self.folder):
            self.faults.add(NOT_A_FOLDER, field="folder", value=str(self.folder))
            return False
        if self.standing_customers and not any(_is_there(self.folder / file.name) for file in FILES):
            names = ", ".join(file.name for file in FILES)
            self.faults.add(NO_FILE, field="folder", value=str(self.folder), files=names)
            return False
        self.customers = {row.customer_id: row.name for _, row in self.customer_records}
        self._read_subaccounts()
        self._read_contracts()
        self._complete_defaults()
        self._judge_defaults()
        return True

    def users(self) -> Iterator[UserRow]:
        """The lines of users.csv; a user with an empty customer has no grant by that line."""
        records = self.records(USERS)
        for line, row in records:
            if row.customer_id is None or self._known_customer(records, line, "customer_id", row.customer_id):
                yield row

    def know_subaccounts(self, customer_ids: Iterable[int]) -> None:
        """Adds the subaccounts of these customers that stand to *subaccounts*."""
        wanted = {id_ for id_ in customer_ids if id_ in self.standing_customers} - self._subaccounts_of
        self._subaccounts_of |= wanted
        for customer_id, subaccount_id, version in self.standing.subaccounts(wanted):
            self.subaccounts[customer_id, subaccount_id].append(version)

    def defined(self, customer_id: int, subaccount_id: str, instant: datetime) -> bool:
        """Whether the subaccount is in effect at *instant*; also where a refused line may have said so."""
        key = (customer_id, subaccount_id)
        if any(version.in_effect(instant) for version in self.subaccounts.get(key, ())):
            return True
        return key in self.subaccount_records.refused or not self.subaccount_records.whole

    def _read_subaccounts(self) -> None:
        """Puts the versions of subaccounts.csv in the place of those that begin at the same time, or beside them."""
        records = self.subaccount_records
        rows = list(records)
        self.know_subaccounts({row.customer_id for _, row in rows})
        for _, row in rows:
            versions = self.subaccounts[row.customer_id, row.subaccount_id]
            place = bisect(versions, row.begin, key=_begin) - 1
            if place >= 0 and versions[place].begin == row.begin:
                self.stood[row.customer_id, row.subaccount_id, row.begin] = versions.pop(place)
        for line, row in rows:
            key = (row.customer_id, row.subaccount_id)
            version = SubaccountVersion(row.begin, row.end, row.name, row.status)
            known = self._known_customer(records, line, "customer_id", row.customer_id)
            if row.end is not None and row.end <= row.begin:
                records.tell(END_NOT_AFTER_BEGIN, line, "end", row.end, begin=row.begin)
            elif (other := _overlapped(self.subaccounts[key], version)) is not None:
                records.tell(VERSIONS_OVERLAP, line, "begin", row.begin, begin=other.begin)
            elif known:
                self._put(key, version)
                self._note_narrowed(line, key, version)
                continue
            records.refused.add(key)

    def _put(self, key: tuple[int, str], version: SubaccountVersion) -> None:
        versions = self.subaccounts[key]
        versions.insert(bisect(versions, version.begin, key=_begin), version)
        self.versions[*key, version.begin] = version

    def _note_narrowed(self, line: int, key: tuple[int, str], version: SubaccountVersion) -> None:
        stood = self.stood.get((*key, version.begin))
        if stood and version.end and (stood.end is None or version.end < stood.end):
            self.narrowed.append(Narrowed(line, *key, version.end, stood.end))

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
                contract = MarketContract(*row[:-1], version=row.version or self.now)
                self.contracts[row.contract_id] = contract
        self._compare_contracts()

    def _compare_contracts(self) -> None:
        """Finds which contracts are new, and which changed; their parties may not. Reading 65."""
        wrong: dict[int, MarketContract] = {}
        self.new = set(self.contracts)
        for stands in self.standing.contracts(self.contracts.keys()):
            contract = self.contracts[stands.contract_id]
            self.new.discard(stands.contract_id)
            if contract.parties != stands.parties:
                wrong[stands.contract_id] = stands
            elif not contract.says_as(stands):
                self.changed[stands.contract_id] = stands
        for contract_id in [contract_id for contract_id in self.contracts if contract_id in wrong]:
            contract, stands = self.contracts.pop(contract_id), wrong[contract_id]
            for field in ("buyer_id", "seller_id"):
                if (party_id := getattr(stands, field)) != getattr(contract, field):
                    line = self.contract_records.lines[contract_id,]
                    self.contract_records.tell(
                        PARTY_CHANGED, line, field, getattr(contract, field), party_id=party_id
                    )

    def _complete_defaults(self) -> None:
        """Gives a `Default` to each new customer that has no line of it. Reading 66."""
        begins = {customer_id: DEFAULT_BEGIN for (customer_id,) in self.customer_records.lines}
        for contract in self.contracts.values():
            for party in contract.parties:
                begins[party] = min(begins.get(party, DEFAULT_BEGIN), contract.contract_begin)
        for customer_id, begin in begins.items():
            key = (customer_id, DEFAULT_SUBACCOUNT)
            if customer_id in self.standing_customers or key in self.subaccount_records.refused:
                continue
            if not self.subaccounts[key]:
                self._put(key, SubaccountVersion(begin, None, DEFAULT_SUBACCOUNT, "Active"))

    def _judge_defaults(self) -> None:
        """Tells of each customer whose `Default` misses a mapping period of a contract, once. Reading 65."""
        judged = [self.contracts[contract_id] for contract_id in self.contracts if self._moved(contract_id)]
        self.know_subaccounts({party for contract in judged for party in contract.parties})
        told: set[int] = set()
        for contract in judged:
            for field, party in (("buyer_id", contract.buyer_id), ("seller_id", contract.seller_id)):
                if party not in told and (missed := self._missed_by_default(contract, party)):
                    told.add(party)
                    line = self.contract_records.lines[contract.contract_id,]
                    known = {"begin": missed, "contract_id": contract.contract_id}
                    self.contract_records.tell(DEFAULT_NOT_IN_EFFECT, line, field, party, **known)

    def _moved(self, contract_id: int) -> bool:
        """Whether the contract is new, or has another period than the one that stands."""
        contract, stands = self.contracts[contract_id], self.changed.get(contract_id)
        return contract_id in self.new or (stands is not None and stands.periods != contract.periods)

    def moved(self) -> Iterator[MarketContract]:
        """The contracts that stand and have another period now, by id."""
        return (self.contracts[id_] for id_ in sorted(self.changed) if self._moved(id_))

    def _missed_by_default(self, contract: MarketContract, party: int) -> datetime | None:
        """The first begin of a mapping period at which the party's `Default` is not in effect, if there is one."""
        for version in self.subaccounts.get((party, DEFAULT_SUBACCOUNT), ()):
            if version.begin <= contract.contract_begin and (
                version.end is None or contract.contract_end <= version.end
            ):
                return None
        begins = (period.begin for period in contract.periods.values())
        return next((begin for begin in begins if not self.defined(party, DEFAULT_SUBACCOUNT, begin)), None)

    def _known_customer(self, records: Records[Row], line: int, field: str, customer_id: int) -> bool:
        known = (
            (customer_id,) in self.customer_records.lines
            or customer_id in self.standing_customers
            or not self.customer_records.whole
        )
        if not known:
            records.tell(CUSTOMER_UNKNOWN, line, field, customer_id)
        return known


def _is_folder(folder: Path | Traversable) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # a folder above it is closed to us
        return False


def _is_there(file: Path | Traversable) -> bool:
    return file.is_file() or file.is_dir()  # what cannot be read as a file is told when it is read


def _overlapped(versions: list[SubaccountVersion], version: SubaccountVersion) -> SubaccountVersion | None:
    """The version, of *versions* ordered by begin and without overlap, that *version* overlaps, or None."""
    place = bisect(versions, version.begin, key=_begin)
    for other in versions[max(place - 1, 0) : place + 1]:
        if (other.end is None or version.begin < other.end) and (version.end is None or other.begin < version.end):
            return other
    return None


def _begin(version: SubaccountVersion) -> datetime:
    return version.begin


@lru_cache(maxsize=1024)
def _periods(begin: datetime, end: datetime) -> Mapping[Month, MappingPeriod]:
    return {period.month: period for period in periods.mapping_periods(begin, end)}


@lru_cache(maxsize=1024)
def _birth(begin: datetime, end: datetime, version: datetime) -> Mapping[Month, MappingVersion]:
    return birth(_periods(begin, end).values(), version)
