"""
Random worlds: customers, subaccounts, contracts and users, as a folder of CSV files and as plain values.

What a world means (the mapping periods of a contract, the `Default` that nobody wrote) is reckoned here anew,
for the oracle: nothing of the service is used.

Readings 24, 25, 39, 47, 64-66.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

#: The time of the specification's sample answer (3.2.9): when worlds are loaded, and where clocks begin.
NOW = datetime(2015, 7, 11, 12, 1, 22, tzinfo=UTC)

EASTERN = ZoneInfo("America/New_York")

#: Each with a certificate. `ann` may do everything, the others less or nothing.
USERS = ("ann", "bob", "cyd", "viewer", "nobody")

#: The categories with the name that `market_name` shows.
MARKETS = {
    "ENERGY DAY AHEAD": "Energy DA",
    "ENERGY REAL TIME": "Energy RT",
    "LOAD REAL TIME": "Load RT",
    "FCM LOAD OBLIGATION": "FCM Load",
}


def wire(instant: datetime) -> str:
    """*instant*, in UTC, as the XML and the CSV files have it."""
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def month_begin(year: int, month: int) -> datetime:
    """When the Eastern month begins; *month* may be past 12."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=EASTERN).astimezone(UTC)


def month_end(instant: datetime) -> datetime:
    """When the Eastern month in which *instant* lies ends."""
    eastern = instant.astimezone(EASTERN)
    return month_begin(eastern.year, eastern.month + 1)


@dataclass(frozen=True)
class SubaccountVersion:
    """A line of subaccounts.csv, without the ids."""

    begin: datetime
    end: datetime | None
    name: str
    status: str

    def in_effect(self, instant: datetime) -> bool:
        """Whether this is what the subaccount is at *instant*."""
        return self.begin <= instant and (self.end is None or instant < self.end)


@dataclass(frozen=True)
class Contract:
    """A line of contracts.csv."""

    contract_id: int
    reference_id: str
    category: str
    location_id: int
    buyer_id: int
    seller_id: int
    begin: datetime
    end: datetime
    status: str
    version: datetime | None

    @property
    def parties(self) -> tuple[int, int]:
        """Buyer and seller."""
        return self.buyer_id, self.seller_id

    def periods(self) -> list[tuple[datetime, datetime]]:
        """The mapping periods: Eastern months cut to the contract. Reading 24."""
        found = []
        begin = self.begin
        while begin < self.end:
            end = min(month_end(begin), self.end)
            found.append((begin, end))
            begin = end
        return found


@dataclass(frozen=True)
class LaterVersion:
    """A line of mappings.csv."""

    customer_id: int
    contract_id: int
    begin: datetime
    end: datetime
    version: datetime
    subaccount_id: str


@dataclass(frozen=True)
class World:
    """What is loaded. *subaccounts* are lines of the file: a customer may have no `Default` among them."""

    customers: dict[int, str]
    subaccounts: dict[tuple[int, str], list[SubaccountVersion]]
    contracts: list[Contract]
    later: list[LaterVersion]
    grants: list[tuple[str, int | None, str]]

    def contracts_of(self, customer_id: int) -> list[Contract]:
        """The contracts that the customer is a party to, by id."""
        return sorted(
            (contract for contract in self.contracts if customer_id in contract.parties),
            key=lambda contract: contract.contract_id,
        )

    def subaccounts_of(self, customer_id: int) -> dict[str, list[SubaccountVersion]]:
        """The customer's subaccounts by id, each by begin; `Default` is always there. Readings 46, 47, 66."""
        found = {id_: versions for (customer, id_), versions in self.subaccounts.items() if customer == customer_id}
        begins = [contract.begin for contract in self.contracts_of(customer_id)]
        implied = SubaccountVersion(min([datetime(2000, 1, 1, 5, tzinfo=UTC), *begins]), None, "Default", "Active")
        found.setdefault("Default", [implied])
        return {id_: sorted(found[id_], key=lambda version: version.begin) for id_ in sorted(found)}

    def defined(self, customer_id: int, instant: datetime) -> list[str]:
        """The ids of the subaccounts that the customer has at *instant*. Reading 39."""
        return [
            id_
            for id_, versions in self.subaccounts_of(customer_id).items()
            if any(version.in_effect(instant) for version in versions)
        ]

    def write(self, folder: Path) -> Path:
        """Makes *folder* with the world's files."""
        folder.mkdir()
        _write(folder / "customers.csv", "customer_id,name", self.customers.items())
        _write(
            folder / "subaccounts.csv",
            "customer_id,subaccount_id,begin,end,name,status",
            (
                (*key, v.begin, v.end, v.name, v.status)
                for key, versions in self.subaccounts.items()
                for v in versions
            ),
        )
        _write(
            folder / "contracts.csv",
            "contract_id,reference_id,category,location_id,buyer_id,seller_id,begin,end,status,version",
            (vars(contract).values() for contract in self.contracts),
        )
        _write(
            folder / "mappings.csv",
            "customer_id,contract_id,begin,end,version,subaccount_id",
            (vars(version).values() for version in self.later),
        )
        _write(folder / "users.csv", "user,customer_id,role", self.grants)
        return folder


def _write(path: Path, header: str, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        for row in rows:
            writer.writerow([wire(value) if isinstance(value, datetime) else value for value in row])


# --- strategies -------------------------------------------------------------------------------------------

#: Ids that look alike to a careless comparison; U+FFEE and U+1D4B3 are in another order as UTF-16.
SUBACCOUNT_IDS = (
    *("ABC1", "abc1", "007", "7", "A*", "A%", "A_", "A?", "[A]", "A\\B", "a b", "a  b", "é", "e\u0301"),
    *("\uffee", "\U0001d4b3", "Z" * 100, "&<>", "default", "Default 2", "it's", '"'),
)
_NAMES = (
    *("XYZ Inc", "", "A & B <c>", "é", "100% Co", "a*b", "_", "[a-c]", "\\", "tab\there", 'a "b"', "it's"),
    *("\U0001d4b3", "two\nlines", "carriage\rreturn", " blank ", "A", "a", "n" * 100, "]]>"),
)
_REFERENCES = ("", "R-9", "r-9", "50%", "a_b", "axb", "*", "é", "x" * 25, " ", "R 9", "[R]", "?", "\\")
_CONTRACT_IDS = (1, 2, 12, 21, 99, 100, 123, 1234, 99999, 999998, 999999, 999999999)
_CUSTOMER_IDS = (1, 2, 7, 10, 999999999)
_LOCATIONS = (0, 4000, 4001, 8500, 999999999)
_STATUSES = ("New", "Conf", "<&>", "é")

#: Years whose clocks change on other days: war time, the winter of 1974, the rules of 1987 and of 2007.
_YEARS = (1943, 1974, 1999, 2006, 2007, 2012, 2015, 2016, 2037, 2055)

_MOVED = (
    *(timedelta(0),) * 4,
    *(timedelta(seconds=1), timedelta(seconds=-1), timedelta(hours=2), timedelta(days=7)),
    *(timedelta(days=13, hours=12, seconds=7), timedelta(days=27)),
)
_MONTHS = (2, 2, 1, 1, 3, 4, 13, 110, 0)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world that loading accepts."""
    ids = draw(st.lists(st.sampled_from(_CUSTOMER_IDS), min_size=2, max_size=4, unique=True))
    customers = {id_: draw(st.sampled_from(_NAMES)) for id_ in ids}
    year = draw(st.sampled_from(_YEARS))
    contracts = [
        draw(_contract(contract_id, ids, year))
        for contract_id in draw(st.lists(st.sampled_from(_CONTRACT_IDS), min_size=2, max_size=6, unique=True))
    ]
    subaccounts = {(id_, name): versions for id_ in ids for name, versions in draw(_subaccounts(year)).items()}
    world = World(customers, subaccounts, contracts, [], _grants(ids))
    _add_later(draw, world)
    return world


@st.composite
def _contract(draw: st.DrawFn, contract_id: int, customers: Sequence[int], year: int) -> Contract:
    buyer_id, seller_id = draw(st.permutations(customers))[:2]
    month = draw(st.integers(1, 14))
    begin = month_begin(year, month) + draw(st.sampled_from(_MOVED))
    end = month_begin(year, month + draw(st.sampled_from(_MONTHS))) + draw(st.sampled_from(_MOVED))
    return Contract(
        contract_id,
        draw(st.sampled_from(_REFERENCES)),
        draw(st.sampled_from(tuple(MARKETS))),
        draw(st.sampled_from(_LOCATIONS)),
        buyer_id,
        seller_id,
        begin,
        max(begin, end),  # often the same: a contract cancelled at its start
        draw(st.sampled_from(_STATUSES)),
        draw(st.sampled_from((None, NOW - timedelta(days=9), NOW + timedelta(seconds=1)))),
    )


@st.composite
def _subaccounts(draw: st.DrawFn, year: int) -> dict[str, list[SubaccountVersion]]:
    """A customer's subaccounts, with and without gaps, ends and a `Default`."""
    early = month_begin(year - 1, 1)
    found = {}
    if draw(st.booleans()):
        renamed = month_begin(year, draw(st.integers(1, 14)))
        found["Default"] = [
            SubaccountVersion(early, renamed, "Default", "Active"),
            SubaccountVersion(renamed, None, draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_STATUSES))),
        ]
    for id_ in draw(st.lists(st.sampled_from(SUBACCOUNT_IDS), max_size=5, unique=True)):
        months = sorted(draw(st.sets(st.integers(1, 16), min_size=1, max_size=4)))
        borders = [early if draw(st.booleans()) else month_begin(year, months[0])]
        borders += [month_begin(year, month) + draw(st.sampled_from(_MOVED[:7])) for month in months[1:]]
        periods = list(zip(borders, [*borders[1:], None], strict=True))
        kept = periods if draw(st.booleans()) else (periods[::2] or periods)
        found[id_] = [
            SubaccountVersion(begin, end, draw(st.sampled_from(_NAMES)), draw(st.sampled_from(_STATUSES)))
            for begin, end in kept
        ]
    return found


def _grants(customers: Sequence[int]) -> list[tuple[str, int | None, str]]:
    return [
        *(("ann", customer_id, "IBT") for customer_id in customers),
        ("bob", customers[0], "IBT"),
        ("cyd", customers[0], "VIEW"),
        ("cyd", customers[1], "IBT"),
        ("viewer", customers[0], "VIEW"),
        ("nobody", None, ""),
    ]


def _add_later(draw: st.DrawFn, world: World) -> None:
    """Adds further versions of some periods, none earlier than the one before it."""
    latest: dict[tuple[int, int, datetime], datetime] = {}
    for _ in range(draw(st.integers(0, 5))):
        contract = draw(st.sampled_from(world.contracts))
        periods = contract.periods()
        if not periods:
            continue
        customer_id = draw(st.sampled_from(contract.parties))
        begin, end = draw(st.sampled_from(periods))
        key = (customer_id, contract.contract_id, begin)
        version = latest.get(key, contract.version or NOW) + timedelta(seconds=draw(st.sampled_from((0, 1, 86400))))
        latest[key] = version
        subaccount_id = draw(st.sampled_from(world.defined(customer_id, begin)))
        world.later.append(LaterVersion(customer_id, contract.contract_id, begin, end, version, subaccount_id))
