"""
What must be answered: the specification and the readings as plainly as they can be written down.

Slow and obvious on purpose: every mapping period of every customer with all its versions in one list, which is
searched. It shares no code with the service.

Clauses 3.1, 3.2, 3.3. Readings 6-9, 11-23, 25-47, 52, 57, 59, 63.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from worlds import EASTERN, MARKETS, Contract, World, month_end, wire

#: An element: its name, and its text or what is in it.
Node = tuple[str, "str | tuple[Node, ...]"]

#: What a line of a refusal tells: the contract or "", the field or "", the number of the clause.
Told = tuple[str, str, str]

CATEGORIES = tuple(MARKETS)


@dataclass(frozen=True)
class Expected:
    """An answer: its status, and the message, or what the refusal's lines tell; None where any one line will do."""

    status: int
    message: Node | None = None
    told: tuple[Told, ...] | None = None


@dataclass(frozen=True)
class AskedVersion:
    """A contract_subaccount_mapping_version of a POST, as texts."""

    begin: str
    end: str | None
    version: str
    subaccount_id: str


@dataclass(frozen=True)
class AskedMapping:
    """A contract_subaccount_mapping of a POST, as texts."""

    customer_id: str
    contract_id: str
    market_name: str
    buyer_name: str
    seller_name: str
    contract_begin: str
    contract_end: str
    status: str
    versions: tuple[AskedVersion, ...]


@dataclass
class Period:
    """A customer's mapping of one mapping period; versions (time, subaccount_id) oldest first."""

    customer_id: int
    contract: Contract
    begin: datetime
    end: datetime
    versions: list[tuple[datetime, str]]

    @property
    def subaccount_id(self) -> str:
        """The current subaccount."""
        return self.versions[-1][1]


class Oracle:
    """The state of *world*, loaded at *loaded*."""

    def __init__(self, world: World, loaded: datetime) -> None:
        self.world = world
        #: How many updates changed something, by customer: the customer's revision, so to speak (reading 57).
        self.changes = dict.fromkeys(world.customers, 0)
        self.periods = [
            Period(customer_id, contract, begin, end, [(contract.version or loaded, "Default")])
            for customer_id in world.customers
            for contract in world.contracts_of(customer_id)
            for begin, end in contract.periods()
        ]
        for later in world.later:
            (period,) = (
                period
                for period in self.periods_of(later.customer_id)
                if (period.contract.contract_id, period.begin) == (later.contract_id, later.begin)
            )
            period.versions.append((later.version, later.subaccount_id))

    def periods_of(self, customer_id: int) -> list[Period]:
        """The customer's mapping periods, by contract and begin."""
        return [period for period in self.periods if period.customer_id == customer_id]

    def admitted(self, user: str | None, customer_id: int) -> bool:
        """Whether the user may do anything at the customer. Readings 8, 9, 56."""
        return (user, customer_id, "IBT") in self.world.grants

    def contract(self, customer_id: int, contract_id: int) -> Contract | None:
        """The contract, where the customer is a party to it."""
        found = (each for each in self.world.contracts_of(customer_id) if each.contract_id == contract_id)
        return next(found, None)

    # The answers.

    def subaccounts(self, customer_id: int) -> Expected:
        """The answer to GET …/subaccounts. Clause 3.1."""
        subaccounts = self.world.subaccounts_of(customer_id)
        return Expected(200, ("subaccounts", tuple(_subaccount(id_, subaccounts[id_]) for id_ in subaccounts)))

    def collection(self, customer_id: int, parameters: Iterable[tuple[str, str]]) -> Expected:
        """The answer to GET …/contractSubaccountMappings. Clauses 3.2.3, 3.2.4. Readings 11-13."""
        given: dict[str, list[str]] = {}
        for name, text in parameters:
            if name in _VALID:
                given.setdefault(name, []).append(text)
        told = tuple(_query_faults(given))
        if told:
            return Expected(400, told=told)
        query = {name: texts[0] for name, texts in given.items()}
        matching = [period for period in self.periods_of(customer_id) if self._matches(period, query)]
        limit = int(query.get("limit", "25"))
        start = int(query.get("start", (int(query.get("page", "1")) - 1) * limit))
        info: Node = ("query_info", (("total_record_count", str(len(matching))),))
        return Expected(200, (_MAPPINGS, (info, *self._grouped(matching[start : start + limit]))))

    def history(self, customer_id: int, contract_id: int) -> Expected:
        """The answer to GET …/contractSubaccountMappings/{contractId}. Clause 3.3. Readings 44, 45, 63."""
        contract = self.contract(customer_id, contract_id)
        if contract is None:
            return Expected(404)
        versions = [
            _version(period, *version)
            for period in self.periods_of(customer_id)
            if period.contract == contract
            for version in period.versions
        ]
        return Expected(200, self._mapping(customer_id, contract, versions))

    def update(
        self, customer_id: int, asked: tuple[AskedMapping, ...], now: datetime, *, if_match_holds: bool = True
    ) -> Expected:
        """The answer to a POST, which takes effect. Clauses 3.2.3, 3.2.5. Readings 28-30, 34-43, 57."""
        told = list(_form_faults(asked)) or list(self._rule_faults(customer_id, asked))
        if told:
            return Expected(400, told=tuple(told))
        if not if_match_holds:
            return Expected(412)
        wishes = [
            (self._period(customer_id, mapping, version), version.subaccount_id)
            for mapping in asked
            for version in mapping.versions
        ]
        changed = [(period, wanted) for period, wanted in wishes if period.subaccount_id != wanted]
        at = max([now, *(period.versions[-1][0] for period, _ in changed)])
        for period, wanted in changed:
            period.versions.append((at, wanted))
        self.changes[customer_id] += bool(changed)
        return Expected(200, (_MAPPINGS, tuple(self._grouped(period for period, _ in wishes))))

    # What they are made of.

    def _grouped(self, periods: Iterable[Period]) -> Iterator[Node]:
        for _, group in groupby(periods, key=lambda period: period.contract.contract_id):
            versions = list(group)
            yield self._mapping(
                versions[0].customer_id,
                versions[0].contract,
                [_version(period, *period.versions[-1]) for period in versions],
            )

    def _mapping(self, customer_id: int, contract: Contract, versions: list[Node]) -> Node:
        return (
            _MAPPING,
            (
                ("customer_id", str(customer_id)),
                ("contract_id", str(contract.contract_id)),
                ("market_name", MARKETS[contract.category]),
                ("buyer_name", self.world.customers[contract.buyer_id]),
                ("seller_name", self.world.customers[contract.seller_id]),
                ("contract_begin", wire(contract.begin)),
                ("contract_end", wire(contract.end)),
                ("status", contract.status),
                *versions,
            ),
        )

    def _matches(self, period: Period, query: dict[str, str]) -> bool:
        """Whether each filter of the query chooses the version. Readings 16-23, 59."""
        return all(_FILTERS[name](self, period, text) for name, text in query.items() if name in _FILTERS) and (
            _overlaps(period, query)
        )

    def names(self, period: Period) -> list[str]:
        """The name, if there is one, of the period's subaccount at its begin. Reading 22."""
        versions = self.world.subaccounts_of(period.customer_id)[period.subaccount_id]
        return [version.name for version in versions if version.in_effect(period.begin)]

    def _period(self, customer_id: int, mapping: AskedMapping, version: AskedVersion) -> Period:
        (found,) = (
            period
            for period in self.periods_of(customer_id)
            if period.contract.contract_id == int(mapping.contract_id) and period.begin == _time(version.begin)
        )
        return found

    def _rule_faults(self, customer_id: int, asked: tuple[AskedMapping, ...]) -> Iterator[Told]:
        if not asked:
            yield "", "message", "3.2.4"
        seen = set()
        for mapping in asked:
            contract_id = int(mapping.contract_id)
            where = str(contract_id)
            if int(mapping.customer_id) != customer_id:
                yield where, "customer_id", "3.2.4"
            if contract_id in seen:
                yield where, "contract_id", "3.2.5"
            seen.add(contract_id)
            contract = self.contract(customer_id, contract_id)
            if contract is None:
                yield where, "contract_id", "3.2.5"
                continue
            if not mapping.versions:
                yield where, "mapping", "3.2.4"
            yield from self._version_faults(customer_id, contract, mapping.versions)

    def _version_faults(
        self, customer_id: int, contract: Contract, versions: tuple[AskedVersion, ...]
    ) -> Iterator[Told]:
        where = str(contract.contract_id)
        months: set[tuple[int, int]] = set()
        for version in versions:
            begin = _time(version.begin)
            month = (begin.astimezone(EASTERN).year, begin.astimezone(EASTERN).month)
            wrong = _wrong_period(contract, begin, None if version.end is None else _time(version.end))
            if wrong:
                yield where, *wrong
            elif month in months:
                yield where, "begin", "3.2.5"
            months.add(month)
            if version.subaccount_id not in self.world.defined(customer_id, begin):
                yield where, "subaccount_id", "3.2.5"


_MAPPINGS = "contract_subaccount_mappings"
_MAPPING = "contract_subaccount_mapping"


def _version(period: Period, version: datetime, subaccount_id: str) -> Node:
    return (
        "contract_subaccount_mapping_version",
        (
            ("begin", wire(period.begin)),
            ("end", wire(period.end)),
            ("version", wire(version)),
            ("subaccount_id", subaccount_id),
        ),
    )


def _subaccount(subaccount_id: str, versions: Iterable[object]) -> Node:
    return ("subaccount", (("subaccount_id", subaccount_id), *map(_subaccount_version, versions)))


def _subaccount_version(version: object) -> Node:
    values = vars(version)
    end: tuple[Node, ...] = (("end", wire(values["end"])),) if values["end"] else ()
    return (
        "subaccount_version",
        (
            ("begin", wire(values["begin"])),
            *end,
            ("subaccount_name", values["name"]),
            ("subaccount_status", values["status"]),
        ),
    )


# --- queries (3.2.4) --------------------------------------------------------------------------------------


def _fits(pattern: str, text: str) -> bool:
    """Whether the whole of *text* fits; `*` and `%` are any run. Reading 16."""
    return re.fullmatch(".*".join(map(re.escape, re.split("[*%]", pattern))), text, re.DOTALL) is not None


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]+", text) is not None


def _is_date(text: str) -> bool:
    if not re.fullmatch("[0-9]{2}/[0-9]{2}/[0-9]{4}", text):
        return False
    try:
        _date(text)
    except ValueError:
        return False
    return True


def _date(text: str) -> date:
    month, day, year = map(int, text.split("/"))
    return date(year, month, day)


#: Whether a value is one that the parameter takes. Readings 13-19, 59.
_VALID: dict[str, Callable[[str], bool]] = {
    "page": lambda text: _is_number(text) and int(text) >= 1,
    "start": _is_number,
    "limit": lambda text: _is_number(text) and 1 <= int(text) <= 1000,
    "contract_id": lambda text: re.fullmatch("[0-9*%]{1,9}", text) is not None,
    "reference_id": lambda text: len(text) <= 25,
    "subaccount_id": lambda text: 1 <= len(text) <= 100,
    "subaccount_name": lambda text: 1 <= len(text) <= 100,
    "category": lambda text: text in CATEGORIES,
    "location_id": _is_number,
    "party_id": _is_number,
    "start_date": _is_date,
    "end_date": _is_date,
}

PARAMETERS = tuple(_VALID)


def _query_faults(given: dict[str, list[str]]) -> Iterator[Told]:
    wrong = {name for name, texts in given.items() if len(texts) > 1 or not _VALID[name](texts[0])}
    dates = [name for name in given if name in {"start_date", "end_date"}]
    for name in given:
        if name in wrong:
            yield "", name, "3.2.4"
        elif len(dates) == 2 and name == dates[1] and not wrong & set(dates) and _dates_out_of_order(given):
            yield "", "start_date", "3.2.4"


def _dates_out_of_order(given: dict[str, list[str]]) -> bool:
    return _date(given["start_date"][0]) > _date(given["end_date"][0])


#: The filters but the dates. Readings 16-20, 22, 59.
_FILTERS: dict[str, Callable[[Oracle, Period, str], bool]] = {
    "contract_id": lambda _, period, text: (
        _fits(text, str(period.contract.contract_id))
        if set(text) & set("*%")
        else int(text) == period.contract.contract_id
    ),
    "reference_id": lambda _, period, text: _fits(text, period.contract.reference_id),
    "subaccount_id": lambda _, period, text: _fits(text, period.subaccount_id),
    "subaccount_name": lambda oracle, period, text: any(_fits(text, name) for name in oracle.names(period)),
    "category": lambda _, period, text: text == period.contract.category,
    "location_id": lambda _, period, text: int(text) == period.contract.location_id,
    "party_id": lambda _, period, text: int(text) in period.contract.parties,
}


def _overlaps(period: Period, query: dict[str, str]) -> bool:
    """Whether the period has an instant in common with the days asked for. Reading 21."""
    first = query.get("start_date", query.get("end_date"))
    last = query.get("end_date", first)
    if first is None or last is None:
        return True
    begin = datetime.combine(_date(first), time(), EASTERN).astimezone(UTC)
    if period.end <= begin:
        return False
    if _date(last) == date.max:
        return True
    return period.begin < datetime.combine(_date(last) + timedelta(days=1), time(), EASTERN).astimezone(UTC)


# --- updates (3.2.4, 3.2.5) -------------------------------------------------------------------------------

_BLANKS = " \t\r\n"


def _time(text: str) -> datetime:
    """The instant; ValueError where the text is no time of the wire. Reading 33."""
    bare = re.sub(r"\.0+Z$", "Z", text.strip(_BLANKS))
    return datetime.strptime(bare, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _is_time(text: str) -> bool:
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.0+)?Z"
    if not re.fullmatch(form, text.strip(_BLANKS), re.ASCII):
        return False
    try:
        _time(text)
    except ValueError:
        return False
    return True


def _is_id(text: str) -> bool:
    """Whether this is an xs:nonNegativeInteger of at most nine digits of value. Reading 52."""
    return re.fullmatch(r"\+?[0-9]+|-0+", text.strip(_BLANKS)) is not None and int(text) <= 999_999_999


def _form_faults(asked: tuple[AskedMapping, ...]) -> Iterator[Told]:
    """The values that are not of their types. Readings 10, 33, 52."""
    for mapping in asked:
        where = str(int(mapping.contract_id)) if _is_id(mapping.contract_id) else ""
        for field in ("customer_id", "contract_id"):
            if not _is_id(getattr(mapping, field)):
                yield where, field, "3.2.4"
        for field in ("contract_begin", "contract_end"):
            if not _is_time(getattr(mapping, field)):
                yield where, field, "3.2.4"
        for version in mapping.versions:
            if not _is_time(version.begin):
                yield where, "begin", "3.2.4"
            if version.end is not None and not _is_time(version.end):
                yield where, "end", "3.2.4"
            if not 1 <= len(version.subaccount_id) <= 100:
                yield where, "subaccount_id", "3.2.4"


def _wrong_period(contract: Contract, begin: datetime, end: datetime | None) -> tuple[str, str] | None:
    """The field and the clause of the first rule of a mapping period that is broken. Readings 6, 34, 35."""
    periods = contract.periods()
    rules = (
        (end is not None and begin >= end, "end", "3.2.5"),
        (end is not None and end > month_end(begin), "end", "3.2.5"),
        (begin < contract.begin or begin >= contract.end, "begin", "3.2.5"),
        (end is not None and end > contract.end, "end", "3.2.5"),
        (begin not in [first for first, _ in periods], "begin", "3.2.4"),
        (end is not None and (begin, end) not in periods, "end", "3.2.4"),
    )
    return next(((field, clause) for broken, field, clause in rules if broken), None)
