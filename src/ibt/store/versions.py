"""
The mapping versions of a folder, judged beside those that stand: `history.csv` and `mappings.csv`.

`history.csv` has all versions of each month that it names: those that stand must be the first of them, the
others are added. `mappings.csv` has further versions: those that stand are left alone, the others come after
the month's last one. The files may be long: they are read a chunk at a time, in whatever order their lines
are, and what stands is asked for chunk by chunk. Times are seconds and months numbers, as the tables have them.

Readings 25, 26, 64, 65.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from ibt.rules.faults import Rule, quoted
from ibt.rules.mappings import birth
from ibt.rules.periods import mapping_periods, month_of
from ibt.store import bulk
from ibt.store.folder import HISTORY, MAPPINGS, MappingRow
from ibt.store.market import END_NOT_AFTER_BEGIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ibt.rules.model import MappingVersion
    from ibt.store.market import MarketContract, MarketFiles
    from ibt.store.records import Records, Values

#: Later than every time of the wire, in seconds.
_FOREVER = 1 << 62

#: How many lines are read before what stands is asked for, and before what is new is stored.
CHUNK = 20_000

#: A customer and a contract of which it is a party.
Key = tuple[int, int]

#: A mapping version: begin, end, version, subaccount id.
Version = tuple[int, int, int, str]

#: Of a line's values: its key, and the mapping version that it tells.
_KEY: Callable[[Values], Key] = itemgetter(0, 1)
_VERSION: Callable[[Values], Version] = itemgetter(slice(2, None))

_LOADING = "reading 65"

CONTRACT_UNKNOWN = Rule("contract-unknown", "must be a contract of contracts.csv or of the database", _LOADING)
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
HISTORY_DIFFERS = Rule(
    "history-differs",
    "must be version {place} of {month} as the database has it: {begin} to {end}, {version}, {subaccount_id}",
    "reading 64",
)
HISTORY_SHORT = Rule(
    "history-short",
    "is the last of {month} here, of which the database has {count} versions and not {place}",
    "reading 64",
)

#: Every rule of the lines of these files together.
RULES = (
    CONTRACT_UNKNOWN,
    NOT_A_PARTY,
    MONTH_OUTSIDE,
    MAPPING_PERIOD,
    SINGLE_MONTH,
    SUBACCOUNT_UNDEFINED,
    VERSION_EARLIER,
    HISTORY_DIFFERS,
    HISTORY_SHORT,
)


@dataclass(slots=True)
class MappingVersions:
    """
    One customer's mapping of one contract, while lines of it are read.

    By month, *periods* are the contract's, and *versions* those that stand and those that were added. *current* are
    the months that have a current version stored. *places* tell how far in the versions of a month the lines have
    come. *added* are the new versions with month and sequence, in order.
    """

    customer_id: int
    contract_id: int
    contract: MarketContract
    periods: Mapping[int, tuple[int, int]]
    versions: dict[int, list[Version]]
    current: set[int]
    places: dict[int, int] = field(default_factory=dict)
    added: list[tuple[int, int, Version]] = field(default_factory=list)

    def add(self, month: int, version: Version) -> int:
        """Adds *version* as the last of *month*; returns how many there are now."""
        versions = self.versions.setdefault(month, [])
        versions.append(version)
        self.added.append((month, len(versions), version))
        return len(versions)

    def add_first(self, months: Sequence[int], versions: Sequence[Version]) -> None:
        """Adds *versions* as the first of *months*, which have none."""
        self.versions.update(zip(months, [[version] for version in versions], strict=True))
        self.added += zip(months, repeat(1), versions)


class StandingVersions(Protocol):
    """The contracts and mapping versions that are there, and where new versions go."""

    def contracts(self, contract_ids: Collection[int]) -> Iterable[MarketContract]:
        """Those of these contracts that are there, whosever."""

    def contracts_of(self, keys: Collection[Key]) -> Iterable[tuple[Key, MarketContract]]:
        """Those of these contracts that are there, where the customer is a party."""

    def versions(self, keys: Collection[Key]) -> Iterable[tuple[Key, dict[int, list[Version]], set[int]]]:
        """All versions of these mappings by month, and the months that have a current one; may leave some out."""

    def store(self, mappings: Iterable[MappingVersions]) -> None:
        """Stores what was added to these mappings, which makes the last of each month the current one."""


class VersionFiles:
    """
    The lines of history.csv and mappings.csv, stored in *standing* as they are judged.

    *left_alone* counts the lines that say what stands.
    """

    def __init__(self, market: MarketFiles, standing: StandingVersions) -> None:
        self.market = market
        self.standing = standing
        self.left_alone = 0
        self._named: tuple[_Places, ...] = ()
        self._spans: dict[tuple[int, str], list[tuple[int, int]]] = {}
        self._elsewhere: dict[int, MarketContract | None] = {}

    def read_history(self) -> None:
        """Adds what history.csv has of each month beyond what stands. Readings 64, 65."""
        history = _History(self, self.market.records(HISTORY))
        self._read(history)
        history.judge_months()

    def read_mappings(self) -> None:
        """Adds what mappings.csv has beyond what stands; a month without versions is born first. Reading 64."""
        self._read(_Mappings(self, self.market.records(MAPPINGS)))

    def _read(self, file: _VersionFile) -> None:
        self._named += (file.places,)
        for lines, rows in file.records.batches(CHUNK):
            keys = list(map(_KEY, rows))
            mappings = self._mappings(dict.fromkeys(keys), file.places)
            first = 0
            for key, same in groupby(keys):
                end = first + len(list(same))
                if mapping := mappings.get(key):
                    file.judge_all(lines[first:end], rows[first:end], mapping)
                else:
                    for place in range(first, end):
                        self._tell_unknown(file.records, lines[place], MappingRow._make(rows[place]))
                first = end
            self.standing.store(mappings.values())
            file.places.keep(mappings.values())

    def months(self, customer_id: int, contract_id: int) -> set[int]:
        """The months of a mapping that the files name."""
        return set().union(*(places.months(customer_id, contract_id) for places in self._named))

    def defined(self, customer_id: int, subaccount_id: str, begin: int) -> bool:
        """Whether the customer's subaccount is in effect at *begin*; also where a refused line may have said so."""
        return self.defined_throughout(customer_id, subaccount_id, begin, begin)

    def defined_throughout(self, customer_id: int, subaccount_id: str, begin: int, last: int) -> bool:
        """Whether one version of the customer's subaccount is in effect at *begin*, and still at *last*."""
        key = (customer_id, subaccount_id)
        spans = self._spans.get(key)
        if spans is None:
            spans = self._spans[key] = list(self._spans_of(key))
        for since, until in spans:  # noqa: SIM110 - any() costs more than all the rest of a line
            if since <= begin and last < until:
                return True
        return False

    def _spans_of(self, key: tuple[int, str]) -> Iterator[tuple[int, int]]:
        if key in self.market.subaccount_records.refused or not self.market.subaccount_records.whole:
            yield -_FOREVER, _FOREVER
        for version in self.market.subaccounts.get(key, ()):
            yield bulk.seconds(version.begin), _FOREVER if version.end is None else bulk.seconds(version.end)

    def _mappings(self, keys: Collection[Key], places: _Places) -> dict[Key, MappingVersions]:
        """What stands of the mappings with these keys, as far as there are such."""
        contracts = dict(self._contracts(keys))
        self.market.know_subaccounts({customer_id for customer_id, _ in contracts})
        mappings = {
            key: MappingVersions(*key, contract, periods_of(contract), {}, set(), places.of(*key))
            for key, contract in contracts.items()
        }
        for key, versions, current in self.standing.versions([key for key in mappings if not self._fresh(key)]):
            mappings[key].versions, mappings[key].current = versions, current
        return mappings

    def _contracts(self, keys: Collection[Key]) -> Iterator[tuple[Key, MarketContract]]:
        elsewhere = []
        for key in keys:
            if (contract := self.market.contracts.get(key[1])) is not None:
                if key[0] in contract.parties:
                    yield key, contract
            elif not self._refused(key[1]):
                elsewhere.append(key)
        found = dict(self.standing.contracts_of(elsewhere))
        yield from found.items()
        unknown = {contract_id for key in elsewhere if key not in found for contract_id in key[1:]}
        self._elsewhere = {contract.contract_id: contract for contract in self.standing.contracts(unknown)}

    def _refused(self, contract_id: int) -> bool:
        """Whether a line of contracts.csv has the contract, but was refused."""
        return (contract_id,) in self.market.contract_records.lines and contract_id not in self.market.contracts

    def _fresh(self, key: Key) -> bool:
        """Whether nothing of the mapping can be stored yet."""
        if key[1] not in self.market.new:
            return False
        for places in self._named:  # noqa: SIM110 - as in `defined_throughout`
            if key in places:
                return False
        return True

    def _tell_unknown(self, records: Records[MappingRow], line: int, row: MappingRow) -> None:
        """Tells that the customer is no party of a contract with this id."""
        contract = self.market.contracts.get(row.contract_id) or self._elsewhere.get(row.contract_id)
        if contract is not None:
            buyer_id, seller_id = contract.parties
            known = {"contract_id": row.contract_id, "buyer_id": buyer_id, "seller_id": seller_id}
            records.tell(NOT_A_PARTY, line, "customer_id", row.customer_id, **known)
        elif self.market.contract_records.whole and not self._refused(row.contract_id):
            records.tell(CONTRACT_UNKNOWN, line, "contract_id", row.contract_id)


class _Places:
    """How far in the versions of each month of each mapping the lines of a file have come; 0 where none came."""

    def __init__(self) -> None:
        # There may be as many mappings as the market has: each is one number and a few bytes for each month.
        self._packed: dict[int, array[int]] = {}

    def __contains__(self, key: Key) -> bool:
        return bool(self._packed.get(_number(*key)))

    def months(self, customer_id: int, contract_id: int) -> Iterable[int]:
        return self._packed.get(_number(customer_id, contract_id), ())[::2]

    def of(self, customer_id: int, contract_id: int) -> dict[int, int]:
        packed = self._packed.get(_number(customer_id, contract_id))
        return dict(zip(packed[::2], packed[1::2], strict=True)) if packed else {}

    def keep(self, mappings: Iterable[MappingVersions]) -> None:
        for mapping in mappings:
            flat = [number for pair in mapping.places.items() for number in pair]
            self._packed[_number(mapping.customer_id, mapping.contract_id)] = array("I", flat)


class _VersionFile:
    """One of the two files while it is read."""

    def __init__(self, files: VersionFiles, records: Records[MappingRow]) -> None:
        self.files = files
        self.records = records
        self.places = _Places()

    def judge_all(self, lines: Sequence[int], rows: Sequence[Values], mapping: MappingVersions) -> None:
        """Judges *rows*, all of them of *mapping*."""
        for line, row in zip(lines, rows, strict=True):
            self.judge(line, MappingRow._make(row), mapping)

    def judge(self, line: int, row: MappingRow, mapping: MappingVersions) -> None:
        """Adds what *row* says to *mapping*, or tells what is wrong with it, or leaves alone what stands."""
        raise NotImplementedError

    def tell_period(self, line: int, row: MappingRow, month: int, period: tuple[int, int]) -> None:
        """Tells that the row's borders are not those of the mapping period."""
        begin, end = period
        name, value = ("begin", row.begin) if row.begin != begin else ("end", row.end)
        known = {"month": bulk.month(month), "begin": bulk.instant(begin), "end": bulk.instant(end)}
        self.records.tell(MAPPING_PERIOD, line, name, bulk.instant(value), **known)

    def tell_undefined(self, line: int, row: MappingRow) -> None:
        """Tells that the row's subaccount is not in effect at its begin."""
        known = {"customer_id": row.customer_id, "begin": bulk.instant(row.begin)}
        self.records.tell(SUBACCOUNT_UNDEFINED, line, "subaccount_id", row.subaccount_id, **known)

    def tell_outside(self, line: int, row: MappingRow, month: int) -> None:
        """Tells that the contract has no mapping period in the row's month."""
        known = {"month": bulk.month(month), "contract_id": row.contract_id}
        self.records.tell(MONTH_OUTSIDE, line, "begin", bulk.instant(row.begin), **known)

    def follows(self, line: int, row: MappingRow, versions: list[Version]) -> bool:
        """Whether the row may come after *versions*; told where not. Reading 65."""
        if versions and row.version < versions[-1][2]:
            known = {"forerunner": bulk.instant(versions[-1][2])}
            self.records.tell(VERSION_EARLIER, line, "version", bulk.instant(row.version), **known)
            return False
        return True


class _History(_VersionFile):
    """history.csv: whole months, the first version too, and older ones with the borders of their day. Reading 64."""

    def __init__(self, files: VersionFiles, records: Records[MappingRow]) -> None:
        super().__init__(files, records)
        # Months whose last version so far may not be the last one of all; months of which more versions stand than
        # the file has had so far; months that differ from what stands, which is told once.
        self._astray: dict[tuple[int, int, int], tuple[int, MappingRow, MappingVersions]] = {}
        self._short: dict[tuple[int, int, int], tuple[int, MappingRow, int, int]] = {}
        self._differing: set[tuple[int, int, int]] = set()

    def judge_all(self, lines: Sequence[int], rows: Sequence[Values], mapping: MappingVersions) -> None:
        if not self._began(rows, mapping):
            super().judge_all(lines, rows, mapping)

    def _began(self, rows: Sequence[Values], mapping: MappingVersions) -> bool:
        """
        Adds *rows* to *mapping*, if they are the first of all and one for each month from its first one on.

        Nearly all are, and that is seen at a glance: there are millions.
        """
        if mapping.versions or mapping.places:
            return False
        months, periods = list(mapping.periods)[: len(rows)], list(mapping.periods.values())[: len(rows)]
        if [row[2:4] for row in rows] != periods:
            return False
        begin, last = periods[0][0], periods[-1][0]
        for subaccount_id in {row[5] for row in rows}:
            if not self.files.defined_throughout(mapping.customer_id, subaccount_id, begin, last):
                return False
        mapping.add_first(months, list(map(_VERSION, rows)))
        mapping.places = dict.fromkeys(months, 1)
        return True

    def judge(self, line: int, row: MappingRow, mapping: MappingVersions) -> None:
        month = _month(row.begin)
        places = mapping.places
        versions = mapping.versions.get(month, [])
        place = places.get(month, 0)
        if place < len(versions):
            self._compare(line, row, versions, place)
            places[month] = place + 1
        elif self._may_be_added(line, row, mapping, month, versions):
            places[month] = mapping.add(month, row[2:])
            right = row[2:4] == mapping.periods[month]
            if not right or not self.files.defined(row.customer_id, row.subaccount_id, row.begin):
                self._astray[row.customer_id, row.contract_id, month] = line, row, mapping
            elif self._astray:
                self._astray.pop((row.customer_id, row.contract_id, month), None)

    def _compare(self, line: int, row: MappingRow, versions: list[Version], place: int) -> None:
        """A row whose place in the month is taken must say what stands there."""
        key = (row.customer_id, row.contract_id, _month(row.begin))
        if place + 1 < len(versions):
            self._short[key] = line, row, place + 1, len(versions)
        else:
            self._short.pop(key, None)
        if row[2:] == versions[place]:
            self.files.left_alone += 1
        elif key not in self._differing:
            self._differing.add(key)
            begin, end, version, subaccount_id = versions[place]
            known = {
                "place": place + 1,
                "month": bulk.month(key[2]),
                "begin": bulk.instant(begin),
                "end": bulk.instant(end),
                "version": bulk.instant(version),
                "subaccount_id": quoted(subaccount_id),
            }
            self.records.tell(HISTORY_DIFFERS, line, "version", bulk.instant(row.version), **known)

    def _may_be_added(
        self, line: int, row: MappingRow, mapping: MappingVersions, month: int, versions: list[Version]
    ) -> bool:
        """Whether the row can be a version of its month, if not the last one; told where not."""
        if row[2:4] == mapping.periods.get(month):  # as nearly all are
            return self.follows(line, row, versions)
        if month not in mapping.periods:
            self.tell_outside(line, row, month)
        elif row.end <= row.begin:
            self.records.tell(END_NOT_AFTER_BEGIN, line, "end", bulk.instant(row.end), begin=bulk.instant(row.begin))
        elif _month(row.end - 1) != month:
            self.records.tell(SINGLE_MONTH, line, "end", bulk.instant(row.end), month=bulk.month(month))
        else:
            return self.follows(line, row, versions)
        return False

    def judge_months(self) -> None:
        """Tells, after the last line, of months whose last version cannot be the current one, or that lack some."""
        if not self.records.whole:
            return
        for line, row, mapping in self._astray.values():
            month = _month(row.begin)
            if not self.files.defined(row.customer_id, row.subaccount_id, row.begin):
                self.tell_undefined(line, row)
            if (row.begin, row.end) != mapping.periods[month]:
                self.tell_period(line, row, month, mapping.periods[month])
        for key, (line, row, place, count) in self._short.items():
            if key not in self._differing:
                known = {"month": bulk.month(key[2]), "place": place, "count": count}
                self.records.tell(HISTORY_SHORT, line, "version", bulk.instant(row.version), **known)


class _Mappings(_VersionFile):
    """mappings.csv: versions after those that a month has, its birth version or its history. Reading 64."""

    def judge(self, line: int, row: MappingRow, mapping: MappingVersions) -> None:
        month = _month(row.begin)
        places = mapping.places
        versions = mapping.versions.get(month, [])
        if not versions and month in mapping.periods:
            places[month] = mapping.add(month, births(mapping.contract)[month])
            versions = mapping.versions[month]
        version = row[2:]
        for place in range(places.get(month, 0), len(versions)):
            if versions[place] == version:
                self.files.left_alone += 1
                places[month] = place + 1
                return
        if not self.files.defined(row.customer_id, row.subaccount_id, row.begin):
            self.tell_undefined(line, row)
        if month not in mapping.periods:
            self.tell_outside(line, row, month)
        elif (row.begin, row.end) != mapping.periods[month]:
            self.tell_period(line, row, month, mapping.periods[month])
        elif self.follows(line, row, versions):
            places[month] = mapping.add(month, version)


def periods_of(contract: MarketContract) -> Mapping[int, tuple[int, int]]:
    """The mapping periods of *contract*, begin and end by month."""
    return _periods(contract.contract_begin, contract.contract_end)


def births(contract: MarketContract) -> Mapping[int, Version]:
    """The versions with which the mapping periods of *contract* start life, by month. Reading 25."""
    return _births(contract.contract_begin, contract.contract_end, contract.version)


def version_row(version: MappingVersion) -> Version:
    """*version* as the tables keep it."""
    begin, end, born = bulk.seconds(version.begin), bulk.seconds(version.end), bulk.seconds(version.version)
    return begin, end, born, version.subaccount_id


@lru_cache(maxsize=1024)
def _periods(begin: datetime, end: datetime) -> Mapping[int, tuple[int, int]]:
    return {
        bulk.number(period.month): (bulk.seconds(period.begin), bulk.seconds(period.end))
        for period in mapping_periods(begin, end)
    }


@lru_cache(maxsize=1024)
def _births(begin: datetime, end: datetime, version: datetime) -> Mapping[int, Version]:
    born = birth(mapping_periods(begin, end), version)
    return {bulk.number(month): version_row(of_month) for month, of_month in born.items()}


@lru_cache(maxsize=65536)
def _month(seconds: int) -> int:
    return bulk.number(month_of(bulk.instant(seconds)))


def _number(customer_id: int, contract_id: int) -> int:
    """Both ids, of nine digits at most, as one number."""
    return customer_id << 30 | contract_id
